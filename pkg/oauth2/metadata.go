// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

// Metadata is an authorization server's description of itself (RFC 8414 section 2, with the members of later standards in their
// order). Package oidc embeds it in the OpenID Provider's.
type Metadata struct {
	Issuer                                             string   `json:"issuer"`
	AuthorizationEndpoint                              string   `json:"authorization_endpoint"`
	TokenEndpoint                                      string   `json:"token_endpoint"`
	JWKSURI                                            string   `json:"jwks_uri"`
	RegistrationEndpoint                               string   `json:"registration_endpoint,omitempty"`
	ScopesSupported                                    []string `json:"scopes_supported"`
	ResponseTypesSupported                             []string `json:"response_types_supported"`
	ResponseModesSupported                             []string `json:"response_modes_supported"`
	GrantTypesSupported                                []string `json:"grant_types_supported"`
	TokenEndpointAuthMethodsSupported                  []string `json:"token_endpoint_auth_methods_supported"`
	TokenEndpointAuthSigningAlgValuesSupported         []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	ServiceDocumentation                               string   `json:"service_documentation,omitempty"`
	UILocalesSupported                                 []string `json:"ui_locales_supported,omitempty"`
	OPPolicyURI                                        string   `json:"op_policy_uri,omitempty"`
	OPTOSURI                                           string   `json:"op_tos_uri,omitempty"`
	RevocationEndpoint                                 string   `json:"revocation_endpoint"`
	RevocationEndpointAuthMethodsSupported             []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationEndpointAuthSigningAlgValuesSupported    []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	IntrospectionEndpoint                              string   `json:"introspection_endpoint"`
	IntrospectionEndpointAuthMethodsSupported          []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionEndpointAuthSigningAlgValuesSupported []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	CodeChallengeMethodsSupported                      []string `json:"code_challenge_methods_supported"`

	DeviceAuthorizationEndpoint                string   `json:"device_authorization_endpoint"`                   // RFC 8628 section 4
	TLSClientCertificateBoundAccessTokens      bool     `json:"tls_client_certificate_bound_access_tokens"`      // RFC 8705 section 3.3
	RequireSignedRequestObject                 bool     `json:"require_signed_request_object"`                   // RFC 9101 section 10.5
	PushedAuthorizationRequestEndpoint         string   `json:"pushed_authorization_request_endpoint"`           // RFC 9126 section 5
	RequirePushedAuthorizationRequests         bool     `json:"require_pushed_authorization_requests"`           // RFC 9126 section 5
	AuthorizationResponseIssParameterSupported bool     `json:"authorization_response_iss_parameter_supported"`  // RFC 9207 section 3
	AuthorizationDetailsTypesSupported         []string `json:"authorization_details_types_supported,omitempty"` // RFC 9396 section 10
	DPoPSigningAlgValuesSupported              []string `json:"dpop_signing_alg_values_supported"`               // RFC 9449 section 5.1
	IntrospectionSigningAlgValuesSupported     []string `json:"introspection_signing_alg_values_supported"`      // RFC 9701 section 7
	AuthorizationSigningAlgValuesSupported     []string `json:"authorization_signing_alg_values_supported"`      // JWT Secured Authorization Response Mode section 4
	ClientIDMetadataDocumentSupported          bool     `json:"client_id_metadata_document_supported,omitempty"` // OAuth Client ID Metadata Document section 5
}
