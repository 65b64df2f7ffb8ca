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
	PathPushedRequest       = "/oauth2/par"
	PathDeviceAuthorization = "/oauth2/device_authorization"
	PathDevice              = "/oauth2/device" // where people enter the code of a device
	PathBackchannel         = "/oauth2/bc-authorize"
	PathRegistration        = "/oauth2/clients" // served by the control plane
	PathCheckSession        = "/oauth2/check_session"
	PathJWKS                = "/.well-known/jwks.json"
	PathDiscovery           = "/.well-known/openid-configuration"       // OpenID Connect Discovery section 4
	PathAuthorizationServer = "/.well-known/oauth-authorization-server" // RFC 8414 section 3
)

// Metadata is an OpenID Provider's description of itself (OpenID Connect Discovery section 3 and later standards in their order).
type Metadata struct {
	oauth2.Metadata
	UserInfoEndpoint                       string   `json:"userinfo_endpoint"`
	ACRValuesSupported                     []string `json:"acr_values_supported"`
	SubjectTypesSupported                  []string `json:"subject_types_supported"`
	IDTokenSigningAlgValuesSupported       []string `json:"id_token_signing_alg_values_supported"`
	IDTokenEncryptionAlgValuesSupported    []string `json:"id_token_encryption_alg_values_supported"`
	IDTokenEncryptionEncValuesSupported    []string `json:"id_token_encryption_enc_values_supported"`
	UserInfoSigningAlgValuesSupported      []string `json:"userinfo_signing_alg_values_supported"`
	UserInfoEncryptionAlgValuesSupported   []string `json:"userinfo_encryption_alg_values_supported"`
	UserInfoEncryptionEncValuesSupported   []string `json:"userinfo_encryption_enc_values_supported"`
	RequestObjectSigningAlgValuesSupported []string `json:"request_object_signing_alg_values_supported"`
	DisplayValuesSupported                 []string `json:"display_values_supported"`
	ClaimTypesSupported                    []string `json:"claim_types_supported"`
	ClaimsSupported                        []string `json:"claims_supported"`
	ClaimsParameterSupported               bool     `json:"claims_parameter_supported"`
	RequestParameterSupported              bool     `json:"request_parameter_supported"`
	RequestURIParameterSupported           bool     `json:"request_uri_parameter_supported"`
	RequireRequestURIRegistration          bool     `json:"require_request_uri_registration"`
	PromptValuesSupported                  []string `json:"prompt_values_supported"`                                         // Initiating User Registration section 4
	EndSessionEndpoint                     string   `json:"end_session_endpoint"`                                            // RP-Initiated Logout section 2.1
	CheckSessionIframe                     string   `json:"check_session_iframe,omitempty"`                                  // Session Management section 3.3
	FrontchannelLogoutSupported            bool     `json:"frontchannel_logout_supported"`                                   // Front-Channel Logout section 3
	FrontchannelLogoutSessionSupported     bool     `json:"frontchannel_logout_session_supported"`                           // Front-Channel Logout section 3
	BackchannelLogoutSupported             bool     `json:"backchannel_logout_supported"`                                    // Back-Channel Logout section 2.1
	BackchannelLogoutSessionSupported      bool     `json:"backchannel_logout_session_supported"`                            // Back-Channel Logout section 2.1
	BackchannelAuthenticationEndpoint      string   `json:"backchannel_authentication_endpoint"`                             // CIBA Core section 4
	BackchannelTokenDeliveryModesSupported []string `json:"backchannel_token_delivery_modes_supported"`                      // CIBA Core section 4
	BackchannelRequestSigningAlgsSupported []string `json:"backchannel_authentication_request_signing_alg_values_supported"` // CIBA Core section 4
	BackchannelUserCodeParameterSupported  bool     `json:"backchannel_user_code_parameter_supported"`                       // CIBA Core section 4
}

// MetadataInput is what differs between tenants.
type MetadataInput struct {
	// Issuer is the tenant's issuer. A slash at its end is kept there and not doubled in the endpoints.
	Issuer string
	// Profile is the tenant's: what it forbids to everybody is not offered.
	Profile oauth2.Profile
	// Scopes are the scopes that every client may ask for; nil means StandardScopes.
	Scopes oauth2.Scopes
	// IDTokenAlgs are the algorithms of the keys that can sign ID tokens; RS256 should be among them (Discovery section 3).
	IDTokenAlgs []string
	// SigningAlgs are those of all keys: for UserInfo, introspection and authorization responses. Nil means IDTokenAlgs.
	SigningAlgs []string
	// ACRValues are the authentication classes that a login can reach; nil means ACRPassword alone.
	ACRValues []string
	// RegistrationOpen is true when people may register themselves, which offers prompt=create.
	RegistrationOpen bool
	// UILocales are the languages of the pages.
	UILocales []string
	// ResponseTypes are those that the tenant allows beside code.
	ResponseTypes []string
	// Pairwise is true where clients may have subjects of their own.
	Pairwise bool
	// ClientRegistration is true where clients may be registered dynamically (RFC 7591).
	ClientRegistration bool
	// ClientDocuments is true where an https URL may be a client_id.
	ClientDocuments bool
	// DetailTypes are the types of authorization_details that the tenant knows.
	DetailTypes []string
	// SessionManagement is true where clients may watch the login by an iframe.
	SessionManagement bool
}

// Lists that every tenant has, before its profile takes away.
var (
	// clientAlgs sign what clients send: assertions, request objects, DPoP proofs.
	clientAlgs     = []string{"ES256", "ES384", "PS256", "RS256", "EdDSA"}
	secretAlgs     = []string{"HS256", "HS384", "HS512"}
	encryptionAlgs = []string{"RSA-OAEP-256", "RSA-OAEP", "ECDH-ES", "ECDH-ES+A128KW", "ECDH-ES+A256KW"}
	encryptionEncs = []string{"A128GCM", "A256GCM", "A128CBC-HS256", "A256CBC-HS512"}
	authMethods    = []string{
		oauth2.AuthMethodBasic, oauth2.AuthMethodPost, oauth2.AuthMethodSecretJWT, oauth2.AuthMethodPrivateKeyJWT, oauth2.AuthMethodTLS,
		oauth2.AuthMethodSelfSignedTLS, oauth2.AuthMethodNone,
	}
	plainModes  = []string{oauth2.ResponseModeQuery, oauth2.ResponseModeFragment, oauth2.ResponseModeFormPost}
	signedModes = []string{oauth2.ResponseModeJWT, oauth2.ResponseModeQueryJWT, oauth2.ResponseModeFragmentJWT, oauth2.ResponseModeFormPostJWT}
)

// NewMetadata describes a tenant: exactly what it allows, so that a client which goes by it is not refused.
func NewMetadata(in MetadataInput) Metadata {
	at := func(path string) string { return strings.TrimSuffix(in.Issuer, "/") + path }
	when := func(ok bool, path string) string {
		if !ok {
			return ""
		}
		return at(path)
	}
	scopes := in.Scopes
	if scopes == nil {
		scopes = StandardScopes
	}
	acr := in.ACRValues
	if acr == nil {
		acr = []string{ACRPassword}
	}
	ours := in.SigningAlgs
	if ours == nil {
		ours = in.IDTokenAlgs
	}
	var prompts []string
	for _, p := range promptNames {
		if p.bit != PromptCreate || in.RegistrationOpen {
			prompts = append(prompts, p.name)
		}
	}
	responses, hashes := in.responses()
	algs, auth := allowedAlgs(clientAlgs, in.Profile), slices.Clone(allowedAlgs(clientAlgs, in.Profile))
	if in.Profile.AllowsAuthMethod(oauth2.AuthMethodSecretJWT) {
		auth = append(auth, secretAlgs...)
	}
	methods := in.authMethods()
	confidential := without(methods, oauth2.AuthMethodNone)
	subjects := []string{"public"}
	if in.Pairwise {
		subjects = append(subjects, "pairwise")
	}
	return Metadata{
		Metadata: oauth2.Metadata{
			Issuer:                            in.Issuer,
			AuthorizationEndpoint:             at(PathAuthorize),
			TokenEndpoint:                     at(PathToken),
			JWKSURI:                           at(PathJWKS),
			RegistrationEndpoint:              when(in.ClientRegistration, PathRegistration),
			ScopesSupported:                   scopes,
			ResponseTypesSupported:            responses,
			ResponseModesSupported:            in.modes(),
			GrantTypesSupported:               in.grants(len(responses) > 1),
			TokenEndpointAuthMethodsSupported: methods,
			TokenEndpointAuthSigningAlgValuesSupported:         auth,
			UILocalesSupported:                                 in.UILocales,
			RevocationEndpoint:                                 at(PathRevoke),
			RevocationEndpointAuthMethodsSupported:             methods,
			RevocationEndpointAuthSigningAlgValuesSupported:    auth,
			IntrospectionEndpoint:                              at(PathIntrospect),
			IntrospectionEndpointAuthMethodsSupported:          confidential,
			IntrospectionEndpointAuthSigningAlgValuesSupported: auth,
			CodeChallengeMethodsSupported:                      []string{oauth2.ChallengeMethodS256},
			DeviceAuthorizationEndpoint:                        at(PathDeviceAuthorization),
			TLSClientCertificateBoundAccessTokens:              true,
			RequireSignedRequestObject:                         in.Profile.RequiresSignedRequest(),
			PushedAuthorizationRequestEndpoint:                 at(PathPushedRequest),
			RequirePushedAuthorizationRequests:                 in.Profile.RequiresPAR(),
			AuthorizationResponseIssParameterSupported:         true,
			AuthorizationDetailsTypesSupported:                 in.DetailTypes,
			DPoPSigningAlgValuesSupported:                      algs,
			IntrospectionSigningAlgValuesSupported:             allowedAlgs(ours, in.Profile),
			AuthorizationSigningAlgValuesSupported:             allowedAlgs(ours, in.Profile),
			ClientIDMetadataDocumentSupported:                  in.ClientDocuments,
		},
		UserInfoEndpoint:                       at(PathUserInfo),
		ACRValuesSupported:                     acr,
		SubjectTypesSupported:                  subjects,
		IDTokenSigningAlgValuesSupported:       allowedAlgs(in.IDTokenAlgs, in.Profile),
		IDTokenEncryptionAlgValuesSupported:    encryptionAlgs,
		IDTokenEncryptionEncValuesSupported:    encryptionEncs,
		UserInfoSigningAlgValuesSupported:      allowedAlgs(ours, in.Profile),
		UserInfoEncryptionAlgValuesSupported:   encryptionAlgs,
		UserInfoEncryptionEncValuesSupported:   encryptionEncs,
		RequestObjectSigningAlgValuesSupported: algs,
		DisplayValuesSupported:                 []string{"page", "popup"},
		ClaimTypesSupported:                    []string{"normal"},
		ClaimsSupported:                        in.claims(scopes, hashes),
		ClaimsParameterSupported:               true,
		RequestParameterSupported:              true,
		RequestURIParameterSupported:           true,
		RequireRequestURIRegistration:          true,
		PromptValuesSupported:                  prompts,
		EndSessionEndpoint:                     at(PathLogout),
		CheckSessionIframe:                     when(in.SessionManagement, PathCheckSession),
		FrontchannelLogoutSupported:            true,
		FrontchannelLogoutSessionSupported:     true,
		BackchannelLogoutSupported:             true,
		BackchannelLogoutSessionSupported:      true,
		BackchannelAuthenticationEndpoint:      at(PathBackchannel),
		BackchannelTokenDeliveryModesSupported: []string{"poll", "ping"},
		BackchannelRequestSigningAlgsSupported: algs,
		BackchannelUserCodeParameterSupported:  false,
	}
}

// responses are the response types, and the claims of ID tokens that only some of them have.
func (in *MetadataInput) responses() (types, hashes []string) {
	types = []string{oauth2.ResponseTypeCode}
	if !in.Profile.AllowsTokenResponses() {
		return types, nil
	}
	for _, known := range ResponseTypes()[1:] {
		if slices.Contains(in.ResponseTypes, known) {
			types, hashes = append(types, known), []string{"c_hash", "s_hash"}
		}
	}
	return types, hashes
}

func (in *MetadataInput) modes() []string {
	if in.Profile.RequiresSignedResponse() {
		return signedModes
	}
	return append(slices.Clone(plainModes), signedModes...)
}

func (in *MetadataInput) grants(tokens bool) []string {
	if tokens {
		return oauth2.GrantTypes()
	}
	return without(oauth2.GrantTypes(), oauth2.GrantTypeImplicit)
}

func (in *MetadataInput) authMethods() []string {
	var methods []string
	for _, m := range authMethods {
		if in.Profile.AllowsAuthMethod(m) {
			methods = append(methods, m)
		}
	}
	return methods
}

func (in *MetadataInput) claims(scopes oauth2.Scopes, hashes []string) []string {
	claims := []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash"}
	claims = append(append(claims, hashes...), "sid", "org", "tnt")
	for _, c := range userClaims {
		if scopes.Contains(c.scope) {
			claims = append(claims, c.name)
		}
	}
	return claims
}

// allowedAlgs are the algorithms that a profile allows. A tenant whose keys are all of other algorithms keeps them in its list: a document
// without any would be invalid, and its clients find out at the first token.
func allowedAlgs(algs []string, p oauth2.Profile) []string {
	var kept []string
	for _, a := range algs {
		if p.AllowsAlg(a) {
			kept = append(kept, a)
		}
	}
	if kept == nil {
		return algs
	}
	return kept
}

func without(list []string, word string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(w string) bool { return w == word })
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
