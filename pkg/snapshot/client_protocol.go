// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// Bounds of a client's protocol metadata.
const (
	maxJWKS           = 16 << 10 // bytes of a key set given by value
	maxTrustedIssuers = 10
	maxDefaultMaxAge  = 365 * day
)

// assertionAlgs are those that pkg/jose verifies.
var assertionAlgs = []string{"ES256", "ES384", "PS256", "RS256", "EdDSA"}

// clientProtocol fills in what the client is registered for beyond the basics. It refuses what is malformed. What a profile forbids
// is not refused here, or a stricter policy would stop a tenant whose clients are not all ready for it: the services refuse such a
// client when it comes.
func clientProtocol(c *oauth2.Client, doc *snapshotv1.Client, ctx clientContext) error {
	c.Profile = ctx.policy.Profile
	c.AuthorizationAlg = "ES256"
	p := doc.GetProtocol()
	if p == nil {
		return protocolKeys(c, nil, ctx)
	}
	own, ok := oauth2.ParseProfile(p.GetSecurityProfile())
	if !ok {
		return fmt.Errorf("security_profile: %q is no profile", p.GetSecurityProfile())
	}
	c.Profile = max(c.Profile, own) // stricter than the tenant, never looser
	c.Protocol = oauth2.Protocol{
		ResponseTypes: p.GetResponseTypes(), JWKS: p.GetJwks(), JWKSURI: p.GetJwksUri(), AssertionAlg: p.GetTokenEndpointAuthSigningAlg(),
		TLSSubjectDN: p.GetTlsClientAuthSubjectDn(), TLSSANDNS: p.GetTlsClientAuthSanDns(), TLSSANURI: p.GetTlsClientAuthSanUri(),
		TLSSANIP: p.GetTlsClientAuthSanIp(), TLSSANEmail: p.GetTlsClientAuthSanEmail(),
		TLSBoundTokens: p.GetTlsClientCertificateBoundAccessTokens(), DPoPBoundTokens: p.GetDpopBoundAccessTokens(),
		RequirePAR: p.GetRequirePushedAuthorizationRequests(), RequireSignedRequest: p.GetRequireSignedRequestObject(),
		RequestObjectAlg: p.GetRequestObjectSigningAlg(), RequestURIs: p.GetRequestUris(), Pairwise: p.GetPairwise(), Sector: p.GetSector(),
		SectorIdentifierURI: p.GetSectorIdentifierUri(), UserInfoAlg: p.GetUserinfoSignedResponseAlg(),
		UserInfoEncryptionAlg: p.GetUserinfoEncryptedResponseAlg(), UserInfoEncryptionEnc: p.GetUserinfoEncryptedResponseEnc(),
		IDTokenEncryptionAlg: p.GetIdTokenEncryptedResponseAlg(), IDTokenEncryptionEnc: p.GetIdTokenEncryptedResponseEnc(),
		AuthorizationAlg: p.GetAuthorizationSignedResponseAlg(), IntrospectionAlg: p.GetIntrospectionSignedResponseAlg(),
		BackchannelLogoutURI: p.GetBackchannelLogoutUri(), BackchannelLogoutSession: p.GetBackchannelLogoutSessionRequired(),
		FrontchannelLogoutURI: p.GetFrontchannelLogoutUri(), FrontchannelLogoutSession: p.GetFrontchannelLogoutSessionRequired(),
		RequireAuthTime: p.GetRequireAuthTime(), DefaultACRValues: p.GetDefaultAcrValues(),
		AuthorizationDetailsTypes: p.GetAuthorizationDetailsTypes(), DeliveryMode: p.GetBackchannelTokenDeliveryMode(),
		NotificationEndpoint:  p.GetBackchannelClientNotificationEndpoint(),
		BackchannelRequestAlg: p.GetBackchannelAuthenticationRequestSigningAlg(), ClientURI: p.GetClientUri(),
		OpaqueAccessTokens: p.GetOpaqueAccessTokens(), Impersonation: p.GetImpersonation(),
	}
	if c.AuthorizationAlg == "" {
		c.AuthorizationAlg = "ES256"
	}
	if d := p.GetDefaultMaxAge(); d != nil {
		if err := d.CheckValid(); err != nil || d.AsDuration() < 0 || d.AsDuration() > maxDefaultMaxAge {
			return fmt.Errorf("default_max_age: outside 0 to %s", maxDefaultMaxAge)
		}
		age := d.AsDuration()
		c.DefaultMaxAge = &age
	}
	for _, step := range [...]func(*oauth2.Client, *snapshotv1.ClientProtocol, clientContext) error{
		protocolKeys, protocolAlgorithms, protocolLists, protocolAddresses,
	} {
		if err := step(c, p, ctx); err != nil {
			return err
		}
	}
	return nil
}

func protocolKeys(c *oauth2.Client, p *snapshotv1.ClientProtocol, ctx clientContext) error {
	if err := keySource("", p.GetJwks(), p.GetJwksUri(), ctx); err != nil {
		return err
	}
	names := 0
	for _, s := range []string{c.TLSSubjectDN, c.TLSSANDNS, c.TLSSANURI, c.TLSSANIP, c.TLSSANEmail} {
		if s != "" {
			names++
		}
		if len(s) > 1024 {
			return fmt.Errorf("tls_client_auth_subject_dn and its like: 1024 bytes at most")
		}
	}
	switch c.AuthMethod {
	case oauth2.AuthMethodTLS:
		if names != 1 {
			return fmt.Errorf("tls_client_auth: wants exactly one of tls_client_auth_subject_dn, _san_dns, _san_uri, _san_ip and _san_email")
		}
	case oauth2.AuthMethodPrivateKeyJWT, oauth2.AuthMethodSelfSignedTLS:
		if len(c.JWKS) == 0 && c.JWKSURI == "" {
			return fmt.Errorf("token_endpoint_auth_method: %s wants jwks or jwks_uri", c.AuthMethod)
		}
	}
	if len(p.GetTrustedIssuers()) > maxTrustedIssuers {
		return fmt.Errorf("trusted_issuers: %d, %d allowed", len(p.GetTrustedIssuers()), maxTrustedIssuers)
	}
	for _, t := range p.GetTrustedIssuers() {
		if t.GetIssuer() == "" || len(t.GetIssuer()) > maxURL {
			return fmt.Errorf("trusted_issuers: want an issuer of 1 to %d bytes", maxURL)
		}
		if len(t.GetJwks()) == 0 && t.GetJwksUri() == "" {
			return fmt.Errorf("trusted_issuers: %q wants jwks or jwks_uri", t.GetIssuer())
		}
		if err := keySource("trusted_issuers.", t.GetJwks(), t.GetJwksUri(), ctx); err != nil {
			return err
		}
		algs := t.GetAlgorithms()
		if len(algs) == 0 {
			algs = []string{"ES256", "PS256", "EdDSA", "RS256"}
		}
		for _, a := range algs {
			if !slices.Contains(assertionAlgs, a) {
				return fmt.Errorf("trusted_issuers.algorithms: %q is not an algorithm that can be used", a)
			}
		}
		c.TrustedIssuers = append(c.TrustedIssuers, oauth2.TrustedIssuer{Issuer: t.GetIssuer(), JWKS: t.GetJwks(), JWKSURI: t.GetJwksUri(), Algorithms: algs})
	}
	return nil
}

// keySource checks where keys come from. What the set holds is parsed by who uses it: keys of unknown kinds are no error (RFC 7517
// section 5).
func keySource(prefix string, jwks []byte, uri string, ctx clientContext) error {
	if len(jwks) > 0 && uri != "" {
		return fmt.Errorf("%sjwks: not together with jwks_uri", prefix)
	}
	if len(jwks) > 0 {
		var set struct {
			Keys []json.RawMessage `json:"keys"`
		}
		if len(jwks) > maxJWKS {
			return fmt.Errorf("%sjwks: %d bytes, %d allowed", prefix, len(jwks), maxJWKS)
		}
		if err := json.Unmarshal(jwks, &set); err != nil || set.Keys == nil {
			return fmt.Errorf("%sjwks: not a JWK Set", prefix)
		}
	}
	return webAddress(prefix+"jwks_uri", uri, ctx)
}

func protocolAlgorithms(c *oauth2.Client, _ *snapshotv1.ClientProtocol, _ clientContext) error {
	for _, a := range [...]struct {
		field, value string
		ours         bool
	}{
		{"token_endpoint_auth_signing_alg", c.AssertionAlg, false},
		{"request_object_signing_alg", c.RequestObjectAlg, false},
		{"backchannel_authentication_request_signing_alg", c.BackchannelRequestAlg, false},
		{"userinfo_signed_response_alg", c.UserInfoAlg, true},
		{"authorization_signed_response_alg", c.AuthorizationAlg, true},
		{"introspection_signed_response_alg", c.IntrospectionAlg, true},
	} {
		switch {
		case a.value == "":
		case a.ours:
			if err := checkAlgorithm(a.value); err != nil {
				return fmt.Errorf("%s: %w", a.field, err)
			}
		case a.field == "token_endpoint_auth_signing_alg" && c.AuthMethod == oauth2.AuthMethodSecretJWT:
			if a.value != "HS256" && a.value != "HS384" && a.value != "HS512" {
				return fmt.Errorf("%s: %q is no HMAC", a.field, a.value)
			}
		case !slices.Contains(assertionAlgs, a.value):
			return fmt.Errorf("%s: %q is not an algorithm that can be used", a.field, a.value)
		}
	}
	for _, e := range [...]struct{ field, alg, enc string }{
		{"userinfo_encrypted_response", c.UserInfoEncryptionAlg, c.UserInfoEncryptionEnc},
		{"id_token_encrypted_response", c.IDTokenEncryptionAlg, c.IDTokenEncryptionEnc},
	} {
		if e.alg == "" && e.enc != "" {
			return fmt.Errorf("%s_enc: not without %s_alg", e.field, e.field)
		}
		if e.alg != "" && !slices.Contains(encryptionAlgs, e.alg) {
			return fmt.Errorf("%s_alg: %q is not an algorithm that can be used", e.field, e.alg)
		}
		if e.enc != "" && !slices.Contains(encryptionEncs, e.enc) {
			return fmt.Errorf("%s_enc: %q is not an algorithm that can be used", e.field, e.enc)
		}
	}
	if c.UserInfoEncryptionAlg != "" && c.UserInfoEncryptionEnc == "" {
		c.UserInfoEncryptionEnc = "A128CBC-HS256" // the default of OpenID Connect Registration section 2
	}
	if c.IDTokenEncryptionAlg != "" && c.IDTokenEncryptionEnc == "" {
		c.IDTokenEncryptionEnc = "A128CBC-HS256"
	}
	return nil
}

var (
	encryptionAlgs = []string{"RSA-OAEP", "RSA-OAEP-256", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW"}
	encryptionEncs = []string{"A128GCM", "A256GCM", "A128CBC-HS256", "A256CBC-HS512"}
	responseTypes  = []string{
		oauth2.ResponseTypeCode, oauth2.ResponseTypeIDToken, oauth2.ResponseTypeIDTokenToken, oauth2.ResponseTypeCodeIDToken,
		oauth2.ResponseTypeCodeToken, oauth2.ResponseTypeCodeIDTokenToken,
	}
)

func protocolLists(c *oauth2.Client, p *snapshotv1.ClientProtocol, _ clientContext) error {
	for _, r := range c.ResponseTypes {
		if !slices.Contains(responseTypes, r) {
			return fmt.Errorf("response_types: %q is not known", r)
		}
	}
	for _, l := range [...]struct {
		field string
		list  []string
	}{
		{"response_types", c.ResponseTypes},
		{"request_uris", c.RequestURIs},
		{"default_acr_values", c.DefaultACRValues},
		{"authorization_details_types", c.AuthorizationDetailsTypes},
	} {
		if err := bounded(l.field, l.list); err != nil {
			return err
		}
	}
	switch p.GetBackchannelTokenDeliveryMode() {
	case "", "poll":
	case "ping":
		if c.NotificationEndpoint == "" {
			return fmt.Errorf("backchannel_client_notification_endpoint: wanted for ping")
		}
	default:
		return fmt.Errorf("backchannel_token_delivery_mode: want poll or ping")
	}
	return nil
}

func protocolAddresses(c *oauth2.Client, _ *snapshotv1.ClientProtocol, ctx clientContext) error {
	for field, uri := range map[string]string{
		"sector_identifier_uri": c.SectorIdentifierURI, "backchannel_logout_uri": c.BackchannelLogoutURI,
		"frontchannel_logout_uri": c.FrontchannelLogoutURI, "backchannel_client_notification_endpoint": c.NotificationEndpoint,
		"client_uri": c.ClientURI,
	} {
		if err := webAddress(field, uri, ctx); err != nil {
			return err
		}
	}
	for _, uri := range c.RequestURIs {
		if err := webAddress("request_uris", uri, ctx); err != nil {
			return err
		}
	}
	if c.Pairwise && c.Sector == "" {
		if c.Sector = sectorOf(c); c.Sector == "" {
			return fmt.Errorf("pairwise: redirect URIs of several hosts want a sector_identifier_uri")
		}
	}
	if len(c.Sector) > 253 {
		return fmt.Errorf("sector: no host name")
	}
	return nil
}

// sectorOf is the one host of the client's redirect URIs (OpenID Connect Core section 8.1); empty when there are several.
func sectorOf(c *oauth2.Client) string {
	host := ""
	for _, r := range c.RedirectURIs {
		u, err := url.Parse(r.String())
		if err != nil || host != "" && u.Hostname() != host {
			return ""
		}
		host = u.Hostname()
	}
	if host == "" {
		return c.ID // no redirect URI: nobody to share the sector with
	}
	return host
}

// webAddress refuses what is no https address; http is for development tenants under .localhost and on loopback alone.
// hostMarks are what net/url takes in a host and no host name has. The origin of an address becomes part of a Content-Security-Policy, where
// they would begin another rule or stand for any host.
const hostMarks = ";,'\"*!$&()+=<>|~ "

func webAddress(field, uri string, ctx clientContext) error {
	if uri == "" {
		return nil
	}
	u, err := url.Parse(uri)
	if err != nil || len(uri) > maxURL || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" || strings.ContainsAny(u.Host, hostMarks) {
		return fmt.Errorf("%s: %q is not an https address", field, uri)
	}
	if u.Scheme == "http" && !(ctx.development || ctx.shared) {
		return fmt.Errorf("%s: %q: http is for development tenants alone", field, uri)
	}
	if u.Scheme == "http" && u.Hostname() != "localhost" && !strings.HasSuffix(u.Hostname(), ".localhost") && u.Hostname() != "127.0.0.1" && u.Hostname() != "::1" {
		return fmt.Errorf("%s: %q is not an https address", field, uri)
	}
	return nil
}

// Bounds of the lives of requests that a client makes before there is a user.
const (
	maxPushedTTL      = 599 * time.Second // FAPI 2.0 Security Profile section 5.3.2.2
	maxDeviceTTL      = time.Hour
	maxBackchannelTTL = time.Hour
)
