// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

// Parameters, in the order of the standards that define them.
const (
	ParamClientID     = "client_id"     // RFC 6749 section 2.3.1
	ParamClientSecret = "client_secret" // RFC 6749 section 2.3.1
	ParamResponseType = "response_type" // RFC 6749 section 3.1.1
	ParamRedirectURI  = "redirect_uri"  // RFC 6749 section 3.1.2
	ParamScope        = "scope"         // RFC 6749 section 3.3
	ParamState        = "state"         // RFC 6749 section 4.1.1
	ParamCode         = "code"          // RFC 6749 section 4.1.2

	ParamError            = "error"             // RFC 6749 sections 4.1.2.1 and 5.2
	ParamErrorDescription = "error_description" // RFC 6749 sections 4.1.2.1 and 5.2
	ParamErrorURI         = "error_uri"         // RFC 6749 sections 4.1.2.1 and 5.2

	ParamGrantType    = "grant_type"    // RFC 6749 section 4.1.3
	ParamUsername     = "username"      // RFC 6749 section 4.3.2
	ParamPassword     = "password"      // RFC 6749 section 4.3.2
	ParamAccessToken  = "access_token"  // RFC 6749 section 5.1, RFC 6750 section 2.2
	ParamTokenType    = "token_type"    // RFC 6749 section 5.1
	ParamExpiresIn    = "expires_in"    // RFC 6749 section 5.1
	ParamRefreshToken = "refresh_token" // RFC 6749 section 6

	ParamToken         = "token"           // RFC 7009 section 2.1, RFC 7662 section 2.1
	ParamTokenTypeHint = "token_type_hint" // RFC 7009 section 2.1, RFC 7662 section 2.1

	ParamClientAssertion     = "client_assertion"      // RFC 7521 section 4.2
	ParamClientAssertionType = "client_assertion_type" // RFC 7521 section 4.2

	ParamCodeVerifier        = "code_verifier"         // RFC 7636 section 4.5
	ParamCodeChallenge       = "code_challenge"        // RFC 7636 section 4.3
	ParamCodeChallengeMethod = "code_challenge_method" // RFC 7636 section 4.3

	ParamResource = "resource" // RFC 8707 section 2

	ParamRequest    = "request"     // RFC 9101 section 5
	ParamRequestURI = "request_uri" // RFC 9101 section 5, RFC 9126 section 4

	ParamIssuer = "iss" // RFC 9207 section 2

	ParamDPoPKeyThumbprint    = "dpop_jkt"              // RFC 9449 section 10
	ParamAuthorizationDetails = "authorization_details" // RFC 9396 section 2
	ParamResponse             = "response"              // JWT Secured Authorization Response Mode section 2.3
	ParamIDToken              = "id_token"              // OpenID Connect Core section 3.2.2.5

	ParamAssertion = "assertion" // RFC 7521 section 4.1

	ParamSubjectToken       = "subject_token"        // RFC 8693 section 2.1
	ParamSubjectTokenType   = "subject_token_type"   // RFC 8693 section 2.1
	ParamActorToken         = "actor_token"          // RFC 8693 section 2.1
	ParamActorTokenType     = "actor_token_type"     // RFC 8693 section 2.1
	ParamRequestedTokenType = "requested_token_type" // RFC 8693 section 2.1
	ParamAudience           = "audience"             // RFC 8693 section 2.1
	ParamIssuedTokenType    = "issued_token_type"    //nolint:gosec // G101: a name; RFC 8693 section 2.2.1
	ParamTenant             = "tenant"               // ours: the tenant that a token exchange switches to

	ParamDeviceCode = "device_code" // RFC 8628 section 3.4
	ParamUserCode   = "user_code"   // RFC 8628 section 3.3.1

	ParamAuthReqID = "auth_req_id" // CIBA Core section 10.1

	ParamResponseMode = "response_mode" // OAuth 2.0 Multiple Response Type Encoding Practices section 2.1
)

// Grant types.
const (
	GrantTypeAuthorizationCode = "authorization_code" // RFC 6749 section 4.1.3
	GrantTypeClientCredentials = "client_credentials" // RFC 6749 section 4.4.2
	GrantTypeRefreshToken      = "refresh_token"      // RFC 6749 section 6

	GrantTypeImplicit      = "implicit"                                        // RFC 7591 section 2; for response types with tokens, not for the token endpoint
	GrantTypeJWTBearer     = "urn:ietf:params:oauth:grant-type:jwt-bearer"     //nolint:gosec // G101: a name; RFC 7523 section 2.1
	GrantTypeDeviceCode    = "urn:ietf:params:oauth:grant-type:device_code"    // RFC 8628 section 3.4
	GrantTypeTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange" //nolint:gosec // G101: a name; RFC 8693 section 2.1
	GrantTypeCIBA          = "urn:openid:params:grant-type:ciba"               // CIBA Core section 10.1
)

// Response types.
const (
	ResponseTypeCode             = "code"                // RFC 6749 section 4.1.1
	ResponseTypeIDToken          = "id_token"            // OAuth 2.0 Multiple Response Type Encoding Practices section 3
	ResponseTypeIDTokenToken     = "id_token token"      // section 5
	ResponseTypeCodeIDToken      = "code id_token"       // section 5
	ResponseTypeCodeToken        = "code token"          // section 5
	ResponseTypeCodeIDTokenToken = "code id_token token" // section 5
)

// Response modes.
const (
	ResponseModeQuery    = "query"     // OAuth 2.0 Multiple Response Type Encoding Practices section 2.1
	ResponseModeFragment = "fragment"  // OAuth 2.0 Multiple Response Type Encoding Practices section 2.1
	ResponseModeFormPost = "form_post" // OAuth 2.0 Form Post Response Mode section 2

	ResponseModeJWT         = "jwt"           // JWT Secured Authorization Response Mode section 2.3.4
	ResponseModeQueryJWT    = "query.jwt"     // section 2.3.1
	ResponseModeFragmentJWT = "fragment.jwt"  // section 2.3.2
	ResponseModeFormPostJWT = "form_post.jwt" // section 2.3.3
)

// Client authentication methods.
const (
	AuthMethodNone  = "none"                // RFC 7591 section 2
	AuthMethodBasic = "client_secret_basic" // RFC 6749 section 2.3.1, named by RFC 7591 section 2
	AuthMethodPost  = "client_secret_post"  // RFC 6749 section 2.3.1, named by RFC 7591 section 2

	AuthMethodSecretJWT     = "client_secret_jwt"           // OpenID Connect Core section 9
	AuthMethodPrivateKeyJWT = "private_key_jwt"             // OpenID Connect Core section 9
	AuthMethodTLS           = "tls_client_auth"             // RFC 8705 section 2.1
	AuthMethodSelfSignedTLS = "self_signed_tls_client_auth" // RFC 8705 section 2.2
)

// Token types and code challenge methods.
const (
	TokenTypeBearer     = "Bearer" // RFC 6750 section 4
	TokenTypeDPoP       = "DPoP"   // RFC 9449 section 5
	ChallengeMethodS256 = "S256"   // RFC 7636 section 4.2; `plain` is not supported
)

// Token type hints.
const (
	HintAccessToken  = "access_token"  // RFC 7009 section 2.1
	HintRefreshToken = "refresh_token" // RFC 7009 section 2.1
)

// Error codes.
const (
	CodeInvalidRequest                 = "invalid_request"                  // RFC 6749 sections 4.1.2.1 and 5.2
	CodeUnauthorizedClient             = "unauthorized_client"              // RFC 6749 sections 4.1.2.1 and 5.2
	CodeAccessDenied                   = "access_denied"                    // RFC 6749 section 4.1.2.1
	CodeUnsupportedResponseType        = "unsupported_response_type"        // RFC 6749 section 4.1.2.1
	CodeInvalidScope                   = "invalid_scope"                    // RFC 6749 sections 4.1.2.1 and 5.2
	CodeServerError                    = "server_error"                     // RFC 6749 section 4.1.2.1
	CodeTemporarilyUnavailable         = "temporarily_unavailable"          // RFC 6749 section 4.1.2.1
	CodeInvalidClient                  = "invalid_client"                   // RFC 6749 section 5.2
	CodeInvalidGrant                   = "invalid_grant"                    // RFC 6749 section 5.2
	CodeUnsupportedGrantType           = "unsupported_grant_type"           // RFC 6749 section 5.2
	CodeInvalidToken                   = "invalid_token"                    // RFC 6750 section 3.1
	CodeInsufficientScope              = "insufficient_scope"               // RFC 6750 section 3.1
	CodeUnsupportedTokenType           = "unsupported_token_type"           // RFC 7009 section 2.2.1
	CodeInvalidRedirectURI             = "invalid_redirect_uri"             // RFC 7591 section 3.2.2
	CodeInvalidClientMetadata          = "invalid_client_metadata"          // RFC 7591 section 3.2.2
	CodeInvalidTarget                  = "invalid_target"                   // RFC 8707 section 2
	CodeAuthorizationPending           = "authorization_pending"            // RFC 8628 section 3.5
	CodeSlowDown                       = "slow_down"                        // RFC 8628 section 3.5
	CodeExpiredToken                   = "expired_token"                    // RFC 8628 section 3.5
	CodeInvalidRequestURI              = "invalid_request_uri"              // RFC 9101 section 7
	CodeInvalidRequestObject           = "invalid_request_object"           // RFC 9101 section 7
	CodeInvalidAuthorizationDetails    = "invalid_authorization_details"    // RFC 9396 section 5
	CodeInvalidDPoPProof               = "invalid_dpop_proof"               // RFC 9449 section 5
	CodeUseDPoPNonce                   = "use_dpop_nonce"                   // RFC 9449 section 8
	CodeInsufficientUserAuthentication = "insufficient_user_authentication" // RFC 9470 section 3
)
