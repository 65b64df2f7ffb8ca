// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import "fmt"

// Misfit is a rule of its profile that a client does not meet.
type Misfit struct {
	// Field is the metadata that would have to change, by its name in RFC 7591 or in what extends it.
	Field string
	// Rule says what the profile demands, for people.
	Rule string
}

// Misfits lists what a client does not meet of its profile, nil for one that meets it. The services refuse such a client when it
// comes; who registers it is told before.
func (c *Client) Misfits() []Misfit {
	var list []Misfit
	p := c.Profile
	bad := func(field, format string, args ...any) {
		list = append(list, Misfit{field, fmt.Sprintf(format, args...) + " under " + p.String()})
	}
	if !p.AllowsTokenResponses() {
		for _, r := range c.ResponseTypes {
			if r != ResponseTypeCode {
				bad("response_types", "%q is not allowed: the response type is code alone", r)
			}
		}
		if c.GrantTypes.Has(GrantImplicit) {
			bad("grant_types", "implicit is not allowed")
		}
	}
	if p.RequiresPKCE() && !c.Public && !c.RequirePKCE && c.GrantTypes.Has(GrantAuthorizationCode) {
		bad("pkce_optional", "PKCE is mandatory")
	}
	if p.RequiresConfidentialClient() && c.Public {
		bad("client_type", "a public client is not allowed")
	}
	if !c.Public && !p.AllowsAuthMethod(c.AuthMethod) {
		bad("token_endpoint_auth_method", "the method is private_key_jwt, tls_client_auth or self_signed_tls_client_auth")
	}
	for _, a := range [...]struct{ field, alg string }{
		{"id_token_signed_response_alg", c.IDTokenAlg},
		{"token_endpoint_auth_signing_alg", c.AssertionAlg},
		{"request_object_signing_alg", c.RequestObjectAlg},
		{"userinfo_signed_response_alg", c.UserInfoAlg},
		{"authorization_signed_response_alg", c.AuthorizationAlg},
		{"introspection_signed_response_alg", c.IntrospectionAlg},
		{"backchannel_authentication_request_signing_alg", c.BackchannelRequestAlg},
	} {
		// An HMAC belongs to client_secret_jwt, which the method's own rule refuses where it is not allowed.
		if hmac := a.alg == "HS256" || a.alg == "HS384" || a.alg == "HS512"; a.alg != "" && !hmac && !p.AllowsAlg(a.alg) {
			bad(a.field, "%s is not allowed: choose PS256, ES256 or EdDSA", a.alg)
		}
	}
	// Not metadata of the client but of its tenant's policy or its overrides; an opaque token has no signature.
	if c.AccessAlg != "" && !c.OpaqueAccessTokens && !p.AllowsAlg(c.AccessAlg) {
		bad("overrides.token_policy.access_alg", "access tokens signed with %s are not allowed: choose PS256, ES256 or EdDSA", c.AccessAlg)
	}
	if p.RequiresSignedRequest() && c.GrantTypes.Has(GrantAuthorizationCode) && len(c.JWKS) == 0 && c.JWKSURI == "" {
		bad("jwks", "authorization requests are signed, so the client needs jwks or jwks_uri")
	}
	return list
}
