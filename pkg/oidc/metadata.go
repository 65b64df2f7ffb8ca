// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/pkg/oauth2"
)

// Paths of the endpoints on a tenant's host.
const (
	PathAuthorize           = "/oauth2/authorize"
	PathRegister            = "/oauth2/register" // prompt=create for people who follow a link
	PathLogout              = "/oauth2/logout"
	PathToken               = "/oauth2/token" //nolint:gosec // G101: a path
	PathIntrospect          = "/oauth2/introspect"
	PathRevoke              = "/oauth2/revoke"
	PathUserInfo            = "/oauth2/userinfo"
	PathJWKS                = "/.well-known/jwks.json"
	PathDiscovery           = "/.well-known/openid-configuration"       // OpenID Connect Discovery section 4
	PathAuthorizationServer = "/.well-known/oauth-authorization-server" // RFC 8414 section 3
)

// Metadata is an OpenID Provider's description of itself (OpenID Connect Discovery section 3 and later standards in their order).
type Metadata struct {
	oauth2.Metadata
	UserInfoEndpoint                 string   `json:"userinfo_endpoint"`
	ACRValuesSupported               []string `json:"acr_values_supported"`
	SubjectTypesSupported            []string `json:"subject_types_supported"`
	IDTokenSigningAlgValuesSupported []string `json:"id_token_signing_alg_values_supported"`
	DisplayValuesSupported           []string `json:"display_values_supported"`
	ClaimTypesSupported              []string `json:"claim_types_supported"`
	ClaimsSupported                  []string `json:"claims_supported"`
	ClaimsParameterSupported         bool     `json:"claims_parameter_supported"`
	RequestParameterSupported        bool     `json:"request_parameter_supported"`
	RequestURIParameterSupported     bool     `json:"request_uri_parameter_supported"` // absent would mean true
	PromptValuesSupported            []string `json:"prompt_values_supported"`         // Initiating User Registration section 4
	EndSessionEndpoint               string   `json:"end_session_endpoint"`            // RP-Initiated Logout section 2.1
}

// MetadataInput is what differs between tenants.
type MetadataInput struct {
	// Issuer is the tenant's issuer. A slash at its end is kept there and not doubled in the endpoints.
	Issuer string
	// Scopes are the scopes that every client may ask for; nil means StandardScopes.
	Scopes oauth2.Scopes
	// IDTokenAlgs are the algorithms of the keys that can sign ID tokens; RS256 should be among them (Discovery section 3).
	IDTokenAlgs []string
	// ACRValues are the authentication classes that a login can reach; nil means ACRPassword alone.
	ACRValues []string
	// RegistrationOpen is true when people may register themselves, which offers prompt=create.
	RegistrationOpen bool
	// UILocales are the languages of the pages.
	UILocales []string
}

// NewMetadata describes a tenant.
func NewMetadata(in MetadataInput) Metadata {
	at := func(path string) string { return strings.TrimSuffix(in.Issuer, "/") + path }
	scopes := in.Scopes
	if scopes == nil {
		scopes = StandardScopes
	}
	acr := in.ACRValues
	if acr == nil {
		acr = []string{ACRPassword}
	}
	var prompts []string
	for _, p := range promptNames {
		if p.bit != PromptCreate || in.RegistrationOpen {
			prompts = append(prompts, p.name)
		}
	}
	claims := []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash", "sid", "org", "tnt"}
	for _, c := range userClaims {
		if scopes.Contains(c.scope) {
			claims = append(claims, c.name)
		}
	}
	secrets := []string{oauth2.AuthMethodBasic, oauth2.AuthMethodPost}
	return Metadata{
		Metadata: oauth2.Metadata{
			Issuer:                                     in.Issuer,
			AuthorizationEndpoint:                      at(PathAuthorize),
			TokenEndpoint:                              at(PathToken),
			JWKSURI:                                    at(PathJWKS),
			ScopesSupported:                            scopes,
			ResponseTypesSupported:                     []string{oauth2.ResponseTypeCode},
			ResponseModesSupported:                     []string{oauth2.ResponseModeQuery, oauth2.ResponseModeFragment, oauth2.ResponseModeFormPost},
			GrantTypesSupported:                        []string{oauth2.GrantTypeAuthorizationCode, oauth2.GrantTypeRefreshToken, oauth2.GrantTypeClientCredentials},
			TokenEndpointAuthMethodsSupported:          append(slices.Clone(secrets), oauth2.AuthMethodNone),
			UILocalesSupported:                         in.UILocales,
			RevocationEndpoint:                         at(PathRevoke),
			RevocationEndpointAuthMethodsSupported:     append(slices.Clone(secrets), oauth2.AuthMethodNone),
			IntrospectionEndpoint:                      at(PathIntrospect),
			IntrospectionEndpointAuthMethodsSupported:  secrets,
			CodeChallengeMethodsSupported:              []string{oauth2.ChallengeMethodS256},
			AuthorizationResponseIssParameterSupported: true,
		},
		UserInfoEndpoint:                 at(PathUserInfo),
		ACRValuesSupported:               acr,
		SubjectTypesSupported:            []string{"public"},
		IDTokenSigningAlgValuesSupported: in.IDTokenAlgs,
		DisplayValuesSupported:           []string{"page"},
		ClaimTypesSupported:              []string{"normal"},
		ClaimsSupported:                  claims,
		ClaimsParameterSupported:         true,
		PromptValuesSupported:            prompts,
		EndSessionEndpoint:               at(PathLogout),
	}
}

// BuildMetadata writes the document for both well-known addresses: RFC 8414 section 2 allows the members that only OpenID Connect
// Discovery has. Equal inputs give equal bytes.
func BuildMetadata(in MetadataInput) []byte {
	b, err := json.Marshal(NewMetadata(in))
	if err != nil {
		// Strings, lists of strings and booleans always marshal.
		return nil
	}
	return b
}
