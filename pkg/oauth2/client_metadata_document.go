// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// MaxClientDocumentBytes bounds a client ID metadata document.
const MaxClientDocumentBytes = 16 << 10

// maxClientIDURL bounds a client_id that is a URL: it is stored with every code and token.
const maxClientIDURL = 512

// ClientIDURL says whether a client_id is the URL of a metadata document (OAuth Client ID Metadata Document section 3): https, with a path,
// without fragment, credentials and dot segments, and in the one spelling that has no second one to compare with.
func ClientIDURL(clientID string) bool {
	if !strings.HasPrefix(clientID, "https://") || len(clientID) > maxClientIDURL {
		return false
	}
	for i := range len(clientID) {
		if c := clientID[i]; c <= ' ' || c >= 0x7f || c == '#' || c == '\\' || c == '"' || c == '<' || c == '>' {
			return false
		}
	}
	u, err := url.Parse(clientID)
	if err != nil || u.User != nil || u.Hostname() == "" || u.Path == "" || u.Opaque != "" || u.ForceQuery {
		return false
	}
	if u.Host != strings.ToLower(u.Host) || u.Port() == "443" || strings.HasSuffix(u.Host, ":") {
		return false
	}
	for _, segment := range strings.Split(u.Path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return u.String() == clientID
}

// CompleteDocument checks a metadata document that was found at clientID, and fills in the defaults of such clients: they have no secret,
// because nobody could have told us one, so they are public or authenticate by private_key_jwt. Redirect URIs are on the document's own
// origin, or on the user's own machine (RFC 8252 section 7.3): who controls the document then also controls where codes go. The error is
// an *Error.
func (m *ClientMetadata) CompleteDocument(clientID string) error {
	switch {
	case m.ClientID != clientID:
		return InvalidClientMetadata("client_id: must be the document's own address")
	case m.ClientSecret != "":
		return InvalidClientMetadata("client_secret: a public document has no secret")
	}
	if m.TokenEndpointAuthMethod == "" {
		m.TokenEndpointAuthMethod = AuthMethodNone
	}
	switch m.TokenEndpointAuthMethod {
	case AuthMethodNone:
	case AuthMethodPrivateKeyJWT:
		if m.JWKS == nil && m.JWKSURI == "" {
			return InvalidClientMetadata("jwks_uri: private_key_jwt needs keys")
		}
	default:
		return InvalidClientMetadata("token_endpoint_auth_method: must be none or private_key_jwt")
	}
	if len(m.GrantTypes) == 0 {
		m.GrantTypes = []string{GrantTypeAuthorizationCode, GrantTypeRefreshToken}
	}
	// A document may name grants that it uses at other servers.
	m.GrantTypes = slices.DeleteFunc(slices.Clone(m.GrantTypes), func(g string) bool { return g != GrantTypeAuthorizationCode && g != GrantTypeRefreshToken })
	if !slices.Contains(m.GrantTypes, GrantTypeAuthorizationCode) {
		return InvalidClientMetadata("grant_types: authorization_code is what can be had here")
	}
	m.ResponseTypes = []string{ResponseTypeCode}
	if err := m.Complete("ES256"); err != nil {
		return err
	}
	own, err := url.Parse(clientID)
	if err != nil {
		return InvalidClientMetadata("client_id: is no URL")
	}
	for _, r := range m.RedirectURIs {
		u, err := url.Parse(r)
		if err != nil || u.User != nil || !(u.Scheme == own.Scheme && u.Host == own.Host) && !loopbackURL(u) {
			return metadataError("redirect_uris", "must be on the origin of the document, or on the loopback interface")
		}
	}
	return nil
}

// loopbackURL says whether a URL is of the machine that the browser runs on.
func loopbackURL(u *url.URL) bool {
	if u.Scheme != "http" {
		return false
	}
	if u.Hostname() == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(u.Hostname())
	return err == nil && (a == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || a == netip.IPv6Loopback())
}

// ClientIDHost is the host name of a client_id that is a URL, as people are shown it: what vouches for the client.
func ClientIDHost(clientID string) string {
	u, err := url.Parse(clientID)
	if err != nil {
		return ""
	}
	if host, port, err := net.SplitHostPort(u.Host); err == nil {
		return host + ":" + port
	}
	return u.Host
}
