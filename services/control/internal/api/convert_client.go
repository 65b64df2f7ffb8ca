// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// clientTypes and clientKinds have the same numbers on both sides; a test holds them together.
func clientKind(k controlv1.Client_Kind) tenancy.ClientKind { return tenancy.ClientKind(k) } //nolint:gosec // few values

func clientType(t controlv1.Client_ClientType) tenancy.ClientType { return tenancy.ClientType(t) } //nolint:gosec // few values

func clientIn(c *controlv1.Client) tenancy.Client {
	return tenancy.Client{
		Labels: c.GetLabels(), Annotations: c.GetAnnotations(),
		ClientSettings: tenancy.ClientSettings{
			DisplayName: c.GetDisplayName(), Type: clientType(c.GetClientType()), Kind: clientKind(c.GetKind()), RedirectURIs: c.GetRedirectUris(),
			RedirectURITemplates: c.GetRedirectUriTemplates(), PostLogoutRedirectURIs: c.GetPostLogoutRedirectUris(),
			PostLogoutRedirectURITemplates: c.GetPostLogoutRedirectUriTemplates(), GrantTypes: c.GetGrantTypes(),
			TokenEndpointAuthMethod: c.GetTokenEndpointAuthMethod(), Scopes: c.GetScopes(), Audiences: c.GetAudiences(), CORSOrigins: c.GetCorsOrigins(),
			CORSOriginTemplates: c.GetCorsOriginTemplates(), IDTokenSignedResponseAlg: c.GetIdTokenAlg(), FirstParty: c.GetFirstParty(), Disabled: c.GetDisabled(),
			PKCEOptional: c.GetPkceOptional(), LogoURI: c.GetLogoUri(), PolicyURI: c.GetPolicyUri(), TOSURI: c.GetTosUri(),
			InitiateLoginURI: c.GetInitiateLoginUri(), Protocol: protocolIn(c.GetProtocol()),
		},
	}
}

func clientOut(c *tenancy.Client) *controlv1.Client {
	m := &controlv1.Client{
		Name: parentName(c.Org, c.Tenant) + "/clients/" + idText(c.ID), Uid: uidText(c.ID), Slug: c.Slug, DisplayName: c.DisplayName,
		State: controlv1.Client_ACTIVE, Etag: tenancy.Etag(c.ID, c.Version), CreateTime: timestamp(c.CreateTime), UpdateTime: timestamp(c.UpdateTime),
		Annotations: c.Annotations, Labels: c.Labels, ConfigVersion: c.ConfigVersion,
		Kind: controlv1.Client_Kind(c.Kind), ClientType: controlv1.Client_ClientType(c.Type), TenantBinding: controlv1.Client_ONE,
		RedirectUris: c.RedirectURIs, RedirectUriTemplates: c.RedirectURITemplates, PostLogoutRedirectUris: c.PostLogoutRedirectURIs,
		PostLogoutRedirectUriTemplates: c.PostLogoutRedirectURITemplates, GrantTypes: c.GrantTypes, TokenEndpointAuthMethod: c.TokenEndpointAuthMethod,
		Scopes: c.Scopes, Audiences: c.Audiences, IdTokenAlg: c.IDTokenSignedResponseAlg, CorsOrigins: c.CORSOrigins,
		CorsOriginTemplates: c.CORSOriginTemplates, FirstParty: c.FirstParty, Disabled: c.Disabled, PkceOptional: c.PKCEOptional,
		LogoUri: c.LogoURI, PolicyUri: c.PolicyURI, TosUri: c.TOSURI, InitiateLoginUri: c.InitiateLoginURI, Protocol: protocolOut(c.Protocol),
		Warnings: each(c.Warnings, warningOut),
	}
	if c.Tenant.IsZero() {
		m.TenantBinding = controlv1.Client_ALL
	}
	for i := range c.Secrets {
		x := &c.Secrets[i]
		m.Secrets = append(m.Secrets, &controlv1.ClientSecret{Id: x.ID.String(), CreateTime: timestamp(x.CreateTime), ExpireTime: timestamp(x.ExpireTime)})
	}
	return m
}

func clientCredentials(c *tenancy.ClientCredentials) *controlv1.ClientCredentials {
	return &controlv1.ClientCredentials{
		Client: clientOut(&c.Client), Id: c.Client.Slug, ClientId: uidText(c.Client.ID), SecretId: uidText(c.SecretID), Secret: c.Secret,
		SecretAlreadyReturned: c.AlreadyReturned,
	}
}

func clientSpecIn(c *controlv1.ClientSpec) tenancy.ClientSpec {
	return tenancy.ClientSpec{
		ID: c.GetId(),
		ClientSettings: tenancy.ClientSettings{
			DisplayName: c.GetDisplayName(), Type: clientType(c.GetClientType()), Kind: clientKind(c.GetKind()), RedirectURIs: c.GetRedirectUris(),
			RedirectURITemplates: c.GetRedirectUriTemplates(), PostLogoutRedirectURIs: c.GetPostLogoutRedirectUris(),
			PostLogoutRedirectURITemplates: c.GetPostLogoutRedirectUriTemplates(), GrantTypes: c.GetGrantTypes(),
			TokenEndpointAuthMethod: c.GetTokenEndpointAuthMethod(), Scopes: c.GetScopes(), Audiences: c.GetAudiences(), CORSOrigins: c.GetCorsOrigins(),
			IDTokenSignedResponseAlg: c.GetIdTokenAlg(), FirstParty: c.GetFirstParty(), PKCEOptional: c.GetPkceOptional(),
			LogoURI: c.GetLogoUri(), PolicyURI: c.GetPolicyUri(), TOSURI: c.GetTosUri(), InitiateLoginURI: c.GetInitiateLoginUri(),
			Protocol: protocolIn(c.GetProtocol()),
		},
	}
}

func clientSpecOut(c *tenancy.ClientSpec) *controlv1.ClientSpec {
	return &controlv1.ClientSpec{
		Id: c.ID, DisplayName: c.DisplayName, Kind: controlv1.Client_Kind(c.Kind), ClientType: controlv1.Client_ClientType(c.Type), RedirectUris: c.RedirectURIs,
		RedirectUriTemplates: c.RedirectURITemplates, PostLogoutRedirectUris: c.PostLogoutRedirectURIs,
		PostLogoutRedirectUriTemplates: c.PostLogoutRedirectURITemplates, GrantTypes: c.GrantTypes, TokenEndpointAuthMethod: c.TokenEndpointAuthMethod,
		Scopes: c.Scopes, Audiences: c.Audiences, IdTokenAlg: c.IDTokenSignedResponseAlg, CorsOrigins: c.CORSOrigins, FirstParty: c.FirstParty,
		PkceOptional: c.PKCEOptional, LogoUri: c.LogoURI, PolicyUri: c.PolicyURI, TosUri: c.TOSURI, InitiateLoginUri: c.InitiateLoginURI,
		Protocol: protocolOut(c.Protocol),
	}
}
