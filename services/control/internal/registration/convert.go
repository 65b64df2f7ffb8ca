// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package registration

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// userScopes are all that a client can register for by itself: they are about the person, who is asked. Everything else is an
// application's API, and who may use that the tenant's admins decide.
var userScopes = []string{
	oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail, oidc.ScopeAddress, oidc.ScopePhone, oidc.ScopeOfflineAccess,
}

// strangersGrants are the grants of a client that nobody has vouched for: each of them has a person in it, who has come by themselves. A
// backchannel request comes to them instead: by it a stranger could find out who has an account, and have us mail them words of its own.
var strangersGrants = []string{
	oauth2.GrantTypeAuthorizationCode, oauth2.GrantTypeImplicit, oauth2.GrantTypeRefreshToken, oauth2.GrantTypeDeviceCode,
}

// vouchedGrants may have been registered with an initial access token beside.
var vouchedGrants = append(slices.Clone(strangersGrants), oauth2.GrantTypeCIBA, oauth2.GrantTypeClientCredentials)

// Names of extras: metadata that is only given back.
const (
	extraContacts        = "contacts"
	extraSoftwareID      = "software_id"
	extraSoftwareVersion = "software_version"
	extraStatement       = "software_statement"
)

// settings are the client that complete metadata describes. A registered client is never first-party: people are asked.
func settings(m *oauth2.ClientMetadata, vouched bool) (tenancy.ClientSettings, error) {
	grants := strangersGrants
	if vouched {
		grants = vouchedGrants
	}
	for _, g := range m.GrantTypes {
		if !slices.Contains(grants, g) {
			return tenancy.ClientSettings{}, oauth2.InvalidClientMetadata("grant_types: choose of " + strings.Join(grants, ", "))
		}
	}
	if !vouched && len(m.DetailsTypes) > 0 {
		// As for scopes: what an application's API does is not for strangers to ask people for.
		return tenancy.ClientSettings{}, oauth2.InvalidClientMetadata("authorization_details_types: they are for clients that were registered with an initial access token")
	}
	scopes, err := registrable(m.Scope)
	if err != nil {
		return tenancy.ClientSettings{}, err
	}
	s := tenancy.ClientSettings{
		DisplayName: m.ClientName, Type: tenancy.ClientConfidential, Kind: tenancy.KindWeb, RedirectURIs: m.RedirectURIs,
		PostLogoutRedirectURIs: m.PostLogoutRedirectURIs, GrantTypes: m.GrantTypes, TokenEndpointAuthMethod: m.TokenEndpointAuthMethod, Scopes: scopes,
		IDTokenSignedResponseAlg: m.IDTokenAlg, LogoURI: m.LogoURI, PolicyURI: m.PolicyURI, TOSURI: m.TOSURI, InitiateLoginURI: m.InitiateLoginURI,
	}
	native := m.ApplicationType == oauth2.ApplicationNative
	if m.TokenEndpointAuthMethod == oauth2.AuthMethodNone {
		s.Type, s.Kind = tenancy.ClientPublic, tenancy.KindSPA
	}
	switch {
	case native:
		s.Kind = tenancy.KindNative
	case s.Type == tenancy.ClientConfidential && slices.Equal(m.GrantTypes, []string{oauth2.GrantTypeClientCredentials}):
		s.Kind = tenancy.KindService
	}
	// A confidential client may go by nonce instead (RFC 9700 section 2.1.1), as clients do that know OpenID Connect Core alone. A code_challenge
	// that it sends is held to all the same, and a tenant's profile may demand one.
	s.PKCEOptional = s.Type == tenancy.ClientConfidential
	s.Protocol = protocol(m)
	if s.DisplayName == "" {
		s.DisplayName = "Unnamed application"
	}
	if len(s.DisplayName) > maxName {
		return s, oauth2.InvalidClientMetadata("client_name: is too long")
	}
	return s, nil
}

// maxName bounds what people read on the consent page.
const maxName = 128

// registrable are the scopes to register of those asked for; all that can be, when none is.
func registrable(scope string) ([]string, error) {
	if scope == "" {
		return slices.Clone(userScopes), nil
	}
	asked, err := oauth2.ParseScopes(scope)
	if err != nil {
		return nil, oauth2.InvalidClientMetadata("scope: is not a list of scopes separated by spaces")
	}
	var kept []string
	for _, s := range asked {
		if slices.Contains(userScopes, s) {
			kept = append(kept, s)
		}
	}
	if kept == nil {
		return nil, oauth2.InvalidClientMetadata("scope: choose of " + strings.Join(userScopes, " "))
	}
	return kept, nil
}

func protocol(m *oauth2.ClientMetadata) *tenancy.Protocol {
	is := func(b *bool) bool { return b != nil && *b }
	p := &snapshotv1.ClientProtocol{
		Jwks: m.JWKS, JwksUri: m.JWKSURI, TokenEndpointAuthSigningAlg: m.AssertionAlg,
		TlsClientAuthSubjectDn: m.TLSSubjectDN, TlsClientAuthSanDns: m.TLSSANDNS, TlsClientAuthSanUri: m.TLSSANURI, TlsClientAuthSanIp: m.TLSSANIP,
		TlsClientAuthSanEmail: m.TLSSANEmail, TlsClientCertificateBoundAccessTokens: is(m.TLSBoundTokens), DpopBoundAccessTokens: is(m.DPoPBoundTokens),
		RequirePushedAuthorizationRequests: is(m.RequirePAR), RequireSignedRequestObject: is(m.RequireSignedRequest), RequestObjectSigningAlg: m.RequestObjectAlg,
		RequestUris: m.RequestURIs, Pairwise: m.SubjectType == "pairwise", SectorIdentifierUri: m.SectorIdentifierURI, UserinfoSignedResponseAlg: m.UserInfoAlg,
		UserinfoEncryptedResponseAlg: m.UserInfoEncryptionAlg, UserinfoEncryptedResponseEnc: m.UserInfoEncryptionEnc,
		IdTokenEncryptedResponseAlg: m.IDTokenEncryptionAlg, IdTokenEncryptedResponseEnc: m.IDTokenEncryptionEnc,
		AuthorizationSignedResponseAlg: m.AuthorizationAlg, IntrospectionSignedResponseAlg: m.IntrospectionAlg,
		BackchannelLogoutUri: m.BackchannelLogoutURI, BackchannelLogoutSessionRequired: is(m.BackchannelLogoutSession),
		FrontchannelLogoutUri: m.FrontchannelLogoutURI, FrontchannelLogoutSessionRequired: is(m.FrontchannelSession),
		RequireAuthTime: is(m.RequireAuthTime), DefaultAcrValues: m.DefaultACRValues, AuthorizationDetailsTypes: m.DetailsTypes,
		BackchannelTokenDeliveryMode: m.DeliveryMode, BackchannelClientNotificationEndpoint: m.NotificationEndpoint,
		BackchannelAuthenticationRequestSigningAlg: m.BackchannelRequestAlg, ClientUri: m.ClientURI,
	}
	if !slices.Equal(m.ResponseTypes, []string{oauth2.ResponseTypeCode}) {
		p.ResponseTypes = m.ResponseTypes
	}
	if m.DefaultMaxAge != nil {
		p.DefaultMaxAge = durationpb.New(time.Duration(*m.DefaultMaxAge) * time.Second)
	}
	return &tenancy.Protocol{ClientProtocol: p}
}

// extras are the members of metadata that are kept beside the client.
func extras(m *oauth2.ClientMetadata) map[string]string {
	all := map[string]string{}
	set := func(name, value string) {
		if value != "" {
			all[name] = value
		}
	}
	if m.Contacts != nil {
		if text, err := json.Marshal(m.Contacts); err == nil {
			set(extraContacts, string(text))
		}
	}
	set(extraSoftwareID, m.SoftwareID)
	set(extraSoftwareVersion, m.SoftwareVersion)
	set(extraStatement, m.SoftwareStatement)
	return all
}

// metadata is a client as it is registered now, whoever changed it last (RFC 7591 section 3.2.1: all registered metadata).
func metadata(c *tenancy.Client, kept map[string]string) *oauth2.ClientMetadata {
	p := &snapshotv1.ClientProtocol{}
	if c.Protocol != nil && c.Protocol.ClientProtocol != nil {
		p = c.Protocol.ClientProtocol
	}
	is := func(b bool) *bool {
		if !b {
			return nil
		}
		return &b
	}
	m := &oauth2.ClientMetadata{
		RedirectURIs: c.RedirectURIs, TokenEndpointAuthMethod: c.TokenEndpointAuthMethod, GrantTypes: c.GrantTypes, ResponseTypes: p.GetResponseTypes(),
		ClientName: c.DisplayName, ClientURI: p.GetClientUri(), LogoURI: c.LogoURI, Scope: strings.Join(c.Scopes, " "), TOSURI: c.TOSURI, PolicyURI: c.PolicyURI,
		JWKSURI: p.GetJwksUri(), ApplicationType: oauth2.ApplicationWeb, SectorIdentifierURI: p.GetSectorIdentifierUri(), SubjectType: "public",
		SoftwareID: kept[extraSoftwareID], SoftwareVersion: kept[extraSoftwareVersion], SoftwareStatement: kept[extraStatement],
		IDTokenAlg: c.IDTokenSignedResponseAlg, IDTokenEncryptionAlg: p.GetIdTokenEncryptedResponseAlg(), IDTokenEncryptionEnc: p.GetIdTokenEncryptedResponseEnc(),
		UserInfoAlg: p.GetUserinfoSignedResponseAlg(), UserInfoEncryptionAlg: p.GetUserinfoEncryptedResponseAlg(),
		UserInfoEncryptionEnc: p.GetUserinfoEncryptedResponseEnc(), RequestObjectAlg: p.GetRequestObjectSigningAlg(),
		AssertionAlg: p.GetTokenEndpointAuthSigningAlg(), RequireAuthTime: is(p.GetRequireAuthTime()), DefaultACRValues: p.GetDefaultAcrValues(),
		InitiateLoginURI: c.InitiateLoginURI, RequestURIs: p.GetRequestUris(), PostLogoutRedirectURIs: c.PostLogoutRedirectURIs,
		BackchannelLogoutURI: p.GetBackchannelLogoutUri(), BackchannelLogoutSession: is(p.GetBackchannelLogoutSessionRequired()),
		FrontchannelLogoutURI: p.GetFrontchannelLogoutUri(), FrontchannelSession: is(p.GetFrontchannelLogoutSessionRequired()),
		TLSSubjectDN: p.GetTlsClientAuthSubjectDn(), TLSSANDNS: p.GetTlsClientAuthSanDns(), TLSSANURI: p.GetTlsClientAuthSanUri(),
		TLSSANIP: p.GetTlsClientAuthSanIp(), TLSSANEmail: p.GetTlsClientAuthSanEmail(), TLSBoundTokens: is(p.GetTlsClientCertificateBoundAccessTokens()),
		DPoPBoundTokens: is(p.GetDpopBoundAccessTokens()), RequirePAR: is(p.GetRequirePushedAuthorizationRequests()),
		RequireSignedRequest: is(p.GetRequireSignedRequestObject()), AuthorizationAlg: p.GetAuthorizationSignedResponseAlg(),
		DetailsTypes: p.GetAuthorizationDetailsTypes(), IntrospectionAlg: p.GetIntrospectionSignedResponseAlg(), DeliveryMode: p.GetBackchannelTokenDeliveryMode(),
		NotificationEndpoint: p.GetBackchannelClientNotificationEndpoint(), BackchannelRequestAlg: p.GetBackchannelAuthenticationRequestSigningAlg(),
	}
	if c.Kind == tenancy.KindNative {
		m.ApplicationType = oauth2.ApplicationNative
	}
	if p.GetPairwise() {
		m.SubjectType = "pairwise"
	}
	if m.ResponseTypes == nil && slices.Contains(c.GrantTypes, oauth2.GrantTypeAuthorizationCode) {
		m.ResponseTypes = []string{oauth2.ResponseTypeCode}
	}
	if len(p.GetJwks()) > 0 && json.Valid(p.GetJwks()) {
		m.JWKS = p.GetJwks()
	}
	if p.GetDefaultMaxAge() != nil {
		n := p.GetDefaultMaxAge().GetSeconds()
		m.DefaultMaxAge = &n
	}
	if text := kept[extraContacts]; text != "" {
		if json.Unmarshal([]byte(text), &m.Contacts) != nil {
			m.Contacts = nil
		}
	}
	return m
}
