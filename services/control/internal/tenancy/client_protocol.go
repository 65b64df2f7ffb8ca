// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// authMethods are all methods of client authentication, in the order of the standards.
var authMethods = []string{
	oauth2.AuthMethodNone, oauth2.AuthMethodBasic, oauth2.AuthMethodPost, oauth2.AuthMethodSecretJWT, oauth2.AuthMethodPrivateKeyJWT,
	oauth2.AuthMethodTLS, oauth2.AuthMethodSelfSignedTLS,
}

// UsesSecret says whether the client authenticates with a client secret.
func (s *ClientSettings) UsesSecret() bool {
	switch s.TokenEndpointAuthMethod {
	case oauth2.AuthMethodBasic, oauth2.AuthMethodPost, oauth2.AuthMethodSecretJWT:
		return true
	}
	return false
}

// SealsSecrets says whether the text of the client's secrets is kept: it is the HMAC key of client_secret_jwt.
func (s *ClientSettings) SealsSecrets() bool {
	return s.TokenEndpointAuthMethod == oauth2.AuthMethodSecretJWT
}

// protocol is the client's protocol metadata; its getters work on nil, too.
func (s *ClientSettings) protocol() *snapshotv1.ClientProtocol {
	if s.Protocol == nil {
		return nil
	}
	return s.Protocol.ClientProtocol
}

// frontChannel says whether users come to the client through the authorization endpoint.
func (s *ClientSettings) frontChannel() bool {
	return slices.Contains(s.GrantTypes, oauth2.GrantTypeAuthorizationCode) || slices.Contains(s.GrantTypes, oauth2.GrantTypeImplicit)
}

// SectorURI is where the sector of the client's pairwise subjects is declared; empty when its redirect URIs decide.
func (s *ClientSettings) SectorURI() string {
	if p := s.protocol(); p.GetPairwise() {
		return p.GetSectorIdentifierUri()
	}
	return ""
}

func (s *ClientSettings) checkGrants(public bool, bad func(field, format string, args ...any)) {
	has := func(grant string) bool { return slices.Contains(s.GrantTypes, grant) }
	if _, err := oauth2.ParseGrantTypes(s.GrantTypes); err != nil {
		bad("grant_types", "choose of %s", strings.Join(oauth2.GrantTypes(), ", "))
	}
	if public && has(oauth2.GrantTypeClientCredentials) {
		bad("grant_types", "a public client cannot use client_credentials (RFC 6749 section 4.4)")
	}
	if public && has(oauth2.GrantTypeCIBA) {
		bad("grant_types", "a public client cannot use backchannel authentication (CIBA section 7.1)")
	}
	if has(oauth2.GrantTypeRefreshToken) && !has(oauth2.GrantTypeAuthorizationCode) && !has(oauth2.GrantTypeDeviceCode) && !has(oauth2.GrantTypeCIBA) {
		bad("grant_types", "refresh_token needs a grant with a user: authorization_code, device_code or ciba")
	}
	for _, r := range s.protocol().GetResponseTypes() {
		code := strings.HasPrefix(r, oauth2.ResponseTypeCode)
		if code && !has(oauth2.GrantTypeAuthorizationCode) {
			bad("protocol.response_types", "%q needs the grant type authorization_code (RFC 7591 section 2.1)", r)
		}
		if r != oauth2.ResponseTypeCode && !has(oauth2.GrantTypeImplicit) {
			bad("protocol.response_types", "%q needs the grant type implicit (RFC 7591 section 2.1)", r)
		}
	}
}

// checkProtocol brings the protocol metadata into its normal form and checks the client as the data plane would; that is worth doing
// only for a client whose other fields are in order.
func (s *ClientSettings) checkProtocol(p ClientPlace, inOrder bool, bad func(field, format string, args ...any)) {
	if s.Protocol != nil && (s.Protocol.ClientProtocol == nil || proto.Size(s.Protocol.ClientProtocol) == 0) {
		s.Protocol = nil
	}
	if s.Protocol != nil {
		own := proto.CloneOf(s.Protocol.ClientProtocol) // the caller's may be shared by many tenants
		own.Sector = ""
		if u, err := url.Parse(s.SectorURI()); err == nil {
			own.Sector = u.Hostname()
		}
		s.Protocol = &Protocol{own}
	}
	if s.SectorURI() != "" && len(s.RedirectURITemplates) > 0 {
		bad("protocol.sector_identifier_uri", "a client with redirect URI templates takes its sector from them, at each tenant")
	}
	s.checkKeys(bad)
	plain := s.Protocol == nil && s.LogoURI == "" && s.PolicyURI == "" && s.TOSURI == "" && s.InitiateLoginURI == ""
	switch s.TokenEndpointAuthMethod {
	case oauth2.AuthMethodNone, oauth2.AuthMethodBasic, oauth2.AuthMethodPost, oauth2.AuthMethodSecretJWT:
	default:
		plain = false
	}
	if plain || !inOrder {
		return
	}
	if _, err := s.Build(p.Shared, p.Development, nil); err != nil {
		field, rule := snapshot.ClientField(err)
		bad(clientPath(field), "%s", rule)
	}
}

// checkKeys looks at keys that come by value more closely than the data plane does: their owner is here to hear of a mistake. A private
// key that somebody sent is not kept.
func (s *ClientSettings) checkKeys(bad func(field, format string, args ...any)) {
	check := func(field string, jwks []byte) {
		if len(jwks) == 0 {
			return
		}
		set, err := jose.ParseForeignSet(jwks)
		switch {
		case errors.Is(err, jose.ErrKey):
			bad(field, "send public keys alone; RSA keys have 2048 bits or more")
		case err == nil && set.Len() == 0:
			bad(field, "it has no key that can be used")
		}
	}
	p := s.protocol()
	check("protocol.jwks", p.GetJwks())
	for i, t := range p.GetTrustedIssuers() {
		check(fmt.Sprintf("protocol.trusted_issuers[%d].jwks", i), t.GetJwks())
	}
}

// clientPath is the path in the API of a field as the standards or the snapshot name it.
func clientPath(field string) string {
	switch field {
	case "":
		return "protocol"
	case "id_token_signed_response_alg":
		return "id_token_alg"
	case "require_pkce":
		return "pkce_optional"
	}
	if (&snapshotv1.ClientProtocol{}).ProtoReflect().Descriptor().Fields().ByTextName(field) != nil {
		return "protocol." + field
	}
	return field
}

// Build makes of the settings what the data plane would use at a tenant with the policy, nil for the platform's. The error is that of
// snapshot.BuildClient.
func (s *ClientSettings) Build(shared, development bool, policy *snapshot.Policy) (*oauth2.Client, error) {
	c := Client{ClientSettings: *s, ID: id.Client{1}}
	return snapshot.BuildClient(c.Message(), shared, development, policy)
}

// Message is the client as the snapshot carries it.
func (c *Client) Message() *snapshotv1.Client {
	s := &c.ClientSettings
	m := &snapshotv1.Client{
		ClientId: c.ID[:], DisplayName: s.DisplayName, Public: s.Type == ClientPublic, Kind: snapshotv1.ClientKind(s.Kind),
		FirstParty: s.FirstParty, TokenEndpointAuthMethod: s.TokenEndpointAuthMethod, GrantTypes: s.GrantTypes,
		RedirectUris: s.RedirectURIs, RedirectUriTemplates: s.RedirectURITemplates, PostLogoutRedirectUris: s.PostLogoutRedirectURIs,
		PostLogoutRedirectUriTemplates: s.PostLogoutRedirectURITemplates, Scopes: s.Scopes, Audiences: s.Audiences, CorsOrigins: s.CORSOrigins,
		CorsOriginTemplates: s.CORSOriginTemplates, IdTokenSignedResponseAlg: s.IDTokenSignedResponseAlg, Enabled: !s.Disabled,
		LogoUri: s.LogoURI, PolicyUri: s.PolicyURI, TosUri: s.TOSURI, InitiateLoginUri: s.InitiateLoginURI, RequirePkce: !s.PKCEOptional,
		Protocol: s.protocol(),
	}
	if m.DisplayName == "" {
		m.DisplayName = c.Slug
	}
	if m.DisplayName == "" {
		m.DisplayName = c.ID.String()
	}
	if s.Overrides != nil {
		m.Overrides = s.Overrides.Policy
	}
	for i := range c.Secrets {
		x := &c.Secrets[i]
		v := &snapshotv1.ClientSecret{SecretId: x.ID[:], Hash: x.Hash[:]}
		if !x.ExpireTime.IsZero() {
			v.ExpireTime = timestamppb.New(x.ExpireTime)
		}
		if x.Sealed != nil {
			v.Sealed, v.Wraps = x.Sealed.Ciphertext, WrapMessages(x.Sealed.Wraps)
		}
		m.Secrets = append(m.Secrets, v)
	}
	return m
}
