// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import "github.com/tenantry/tenantry/pkg/oauth2"

// Parameters, in the order of the standards that define them. Those of OAuth 2.0 are in package oauth2.
const (
	ParamNonce         = "nonce"          // OpenID Connect Core section 3.1.2.1
	ParamDisplay       = "display"        // OpenID Connect Core section 3.1.2.1
	ParamPrompt        = "prompt"         // OpenID Connect Core section 3.1.2.1
	ParamMaxAge        = "max_age"        // OpenID Connect Core section 3.1.2.1
	ParamUILocales     = "ui_locales"     // OpenID Connect Core section 3.1.2.1
	ParamIDTokenHint   = "id_token_hint"  // OpenID Connect Core section 3.1.2.1
	ParamLoginHint     = "login_hint"     // OpenID Connect Core section 3.1.2.1
	ParamACRValues     = "acr_values"     // OpenID Connect Core section 3.1.2.1
	ParamClaimsLocales = "claims_locales" // OpenID Connect Core section 5.2
	ParamClaims        = "claims"         // OpenID Connect Core section 5.5
	ParamRegistration  = "registration"   // OpenID Connect Core section 7.2.1

	ParamLogoutHint            = "logout_hint"              // OpenID Connect RP-Initiated Logout section 2
	ParamPostLogoutRedirectURI = "post_logout_redirect_uri" // OpenID Connect RP-Initiated Logout section 2
)

// Scopes.
const (
	ScopeOpenID        = "openid"         // OpenID Connect Core section 3.1.2.1
	ScopeProfile       = "profile"        // OpenID Connect Core section 5.4
	ScopeEmail         = "email"          // OpenID Connect Core section 5.4
	ScopeAddress       = "address"        // OpenID Connect Core section 5.4
	ScopePhone         = "phone"          // OpenID Connect Core section 5.4
	ScopeOfflineAccess = "offline_access" // OpenID Connect Core section 11
	ScopeRoles         = "roles"          // ours: the claims roles and groups of the active tenant
)

// StandardScopes are the scopes that every client may ask for unless it has a list of its own. address and phone are left out
// until users have such claims.
var StandardScopes = oauth2.Scopes{ScopeOpenID, ScopeProfile, ScopeEmail, ScopeOfflineAccess, ScopeRoles}

// Error codes.
const (
	CodeInteractionRequired      = "interaction_required"       // OpenID Connect Core section 3.1.2.6
	CodeLoginRequired            = "login_required"             // OpenID Connect Core section 3.1.2.6
	CodeAccountSelectionRequired = "account_selection_required" // OpenID Connect Core section 3.1.2.6
	CodeConsentRequired          = "consent_required"           // OpenID Connect Core section 3.1.2.6
	CodeRequestNotSupported      = "request_not_supported"      // OpenID Connect Core section 3.1.2.6
	CodeRequestURINotSupported   = "request_uri_not_supported"  // OpenID Connect Core section 3.1.2.6
	CodeRegistrationNotSupported = "registration_not_supported" // OpenID Connect Core section 3.1.2.6

	// OpenID Connect Core Unmet Authentication Requirements section 2.
	CodeUnmetAuthenticationRequirements = "unmet_authentication_requirements"
)

// Authentication context classes that logins here reach (OpenID Connect Core section 2, `acr`).
const (
	ACRPassword = "urn:tenantry:acr:pwd" //nolint:gosec // G101: a name for one factor
	ACRMFA      = "urn:tenantry:acr:mfa" // more than one factor
)

// ACRForAMR gives the class of a login with the given methods (RFC 8176): the one for several factors when `mfa` is among them.
func ACRForAMR(amr []string) string {
	for _, m := range amr {
		if m == "mfa" {
			return ACRMFA
		}
	}
	return ACRPassword
}

// Values of token_use in access tokens.
const (
	TokenUseUser   = "user"   // a user's token
	TokenUseClient = "client" // a client's own token
)

// Values of env in access tokens.
const (
	EnvDevelopment = "dev"
	EnvProduction  = "prod"
)

func protocolError(code, description string) *oauth2.Error {
	return oauth2.NewError(code, 400, description)
}
