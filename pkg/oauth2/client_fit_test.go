// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"slices"
	"testing"
)

// Each row is a client that meets a profile, with one thing changed: the field that it then does not meet, by profile.
func TestMisfitsNameWhatAProfileForbids(t *testing.T) {
	good := func() *Client {
		c := &Client{AuthMethod: AuthMethodPrivateKeyJWT, IDTokenAlg: "ES256", RequirePKCE: true, GrantTypes: GrantSet(GrantAuthorizationCode)}
		c.AuthorizationAlg, c.JWKSURI, c.ResponseTypes = "ES256", "https://a.example/jwks", []string{ResponseTypeCode}
		return c
	}
	const all, oauth21, fapi, signing = ProfileBaseline, ProfileOAuth21, ProfileFAPI2, ProfileFAPI2MessageSigning
	for name, row := range map[string]struct {
		change func(c *Client)
		field  string
		from   Profile // the first profile that forbids it
	}{
		"tokens in the front channel": {func(c *Client) { c.ResponseTypes = []string{ResponseTypeCodeIDToken} }, "response_types", oauth21},
		"implicit":                    {func(c *Client) { c.GrantTypes |= GrantSet(GrantImplicit) }, "grant_types", oauth21},
		"PKCE optional":               {func(c *Client) { c.RequirePKCE = false }, "pkce_optional", oauth21},
		"public":                      {func(c *Client) { c.Public, c.AuthMethod = true, AuthMethodNone }, "client_type", fapi},
		"a secret":                    {func(c *Client) { c.AuthMethod = AuthMethodBasic }, "token_endpoint_auth_method", fapi},
		"an HMAC":                     {func(c *Client) { c.AuthMethod, c.AssertionAlg = AuthMethodSecretJWT, "HS256" }, "token_endpoint_auth_method", fapi},
		"RS256 ID tokens":             {func(c *Client) { c.IDTokenAlg = "RS256" }, "id_token_signed_response_alg", fapi},
		"RS256 assertions":            {func(c *Client) { c.AssertionAlg = "RS256" }, "token_endpoint_auth_signing_alg", fapi},
		"RS256 request objects":       {func(c *Client) { c.RequestObjectAlg = "RS256" }, "request_object_signing_alg", fapi},
		"RS256 UserInfo":              {func(c *Client) { c.UserInfoAlg = "RS256" }, "userinfo_signed_response_alg", fapi},
		"RS256 JARM":                  {func(c *Client) { c.AuthorizationAlg = "RS256" }, "authorization_signed_response_alg", fapi},
		"RS256 introspection":         {func(c *Client) { c.IntrospectionAlg = "RS256" }, "introspection_signed_response_alg", fapi},
		"RS256 backchannel requests":  {func(c *Client) { c.BackchannelRequestAlg = "RS256" }, "backchannel_authentication_request_signing_alg", fapi},
		"RS256 access tokens":         {func(c *Client) { c.AccessAlg = "RS256" }, "overrides.token_policy.access_alg", fapi},
		"no keys to sign with":        {func(c *Client) { c.JWKSURI, c.AuthMethod = "", AuthMethodTLS }, "jwks", signing},
	} {
		t.Run(name, func(t *testing.T) {
			for p := all; p <= signing; p++ {
				c := good()
				c.Profile = p
				if m := c.Misfits(); len(m) > 0 {
					t.Fatalf("the good client under %s: %v", p, m)
				}
				row.change(c)
				found := slices.ContainsFunc(c.Misfits(), func(m Misfit) bool { return m.Field == row.field && m.Rule != "" })
				if found != (p >= row.from) {
					t.Errorf("under %s: %v", p, c.Misfits())
				}
			}
		})
	}
}
