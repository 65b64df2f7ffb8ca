// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"errors"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
)

// TestResponseTypesAndModes: which response a request gets, and how an error about it travels.
func TestResponseTypesAndModes(t *testing.T) {
	client := func(profile oauth2.Profile) *oauth2.Client {
		c := newClient(t)
		c.GrantTypes |= oauth2.GrantSet(oauth2.GrantImplicit)
		c.ResponseTypes, c.Profile, c.RequirePKCE = ResponseTypes(), profile, true
		c.AuthMethod, c.JWKSURI = oauth2.AuthMethodPrivateKeyJWT, "https://app.example/jwks"
		if profile > oauth2.ProfileBaseline {
			c.GrantTypes &^= oauth2.GrantSet(oauth2.GrantImplicit)
			c.ResponseTypes = nil
		}
		return c
	}
	o := options()
	o.ResponseTypes = ResponseTypes()
	for _, tc := range []struct {
		name    string
		profile oauth2.Profile
		change  map[string]string
		mode    string
		code    string
	}{
		{"code", 0, nil, "query", ""},
		{"code by jwt", 0, map[string]string{"response_mode": "jwt"}, "query.jwt", ""},
		{"code by fragment.jwt", 0, map[string]string{"response_mode": "fragment.jwt"}, "fragment.jwt", ""},
		{"hybrid", 0, map[string]string{"response_type": "id_token code", "nonce": "n"}, "fragment", ""},
		{"hybrid by jwt", 0, map[string]string{"response_type": "code id_token", "nonce": "n", "response_mode": "jwt"}, "fragment.jwt", ""},
		{"hybrid by form_post", 0, map[string]string{"response_type": "code id_token token", "nonce": "n", "response_mode": "form_post"}, "form_post", ""},
		{"implicit without PKCE", 0, map[string]string{"response_type": "id_token token", "nonce": "n", "code_challenge": "", "code_challenge_method": ""}, "fragment", ""},
		{"tokens by query", 0, map[string]string{"response_type": "code token", "response_mode": "query"}, "fragment", oauth2.CodeInvalidRequest},
		{"tokens by query.jwt", 0, map[string]string{"response_type": "id_token", "nonce": "n", "response_mode": "query.jwt"}, "fragment", oauth2.CodeInvalidRequest},
		{"an ID token without nonce (replay)", 0, map[string]string{"response_type": "code id_token"}, "fragment", oauth2.CodeInvalidRequest},
		{"an ID token without openid", 0, map[string]string{"response_type": "id_token", "nonce": "n", "scope": "profile"}, "fragment", oauth2.CodeInvalidRequest},
		{"code token needs no nonce", 0, map[string]string{"response_type": "code token"}, "fragment", ""},
		{"token alone", 0, map[string]string{"response_type": "token"}, "fragment", oauth2.CodeUnsupportedResponseType},
		{"OAuth 2.1", oauth2.ProfileOAuth21, map[string]string{"response_type": "code id_token", "nonce": "n"}, "fragment", oauth2.CodeUnauthorizedClient},
		{"FAPI 2.0", oauth2.ProfileFAPI2, nil, "query", ""},
		{"FAPI 2.0, hybrid", oauth2.ProfileFAPI2, map[string]string{"response_type": "code id_token", "nonce": "n"}, "fragment", oauth2.CodeUnauthorizedClient},
		{"message signing, no mode named", oauth2.ProfileFAPI2MessageSigning, nil, "query.jwt", ""},
		{"message signing, form_post.jwt", oauth2.ProfileFAPI2MessageSigning, map[string]string{"response_mode": "form_post.jwt"}, "form_post.jwt", ""},
		{"message signing, a plain mode", oauth2.ProfileFAPI2MessageSigning, map[string]string{"response_mode": "query"}, "query.jwt", oauth2.CodeInvalidRequest},
		{"an error in a signed mode", 0, map[string]string{"response_mode": "jwt", "prompt": "x"}, "query.jwt", oauth2.CodeInvalidRequest},
		{"no mode at all", 0, map[string]string{"response_mode": "web_message.jwt"}, "query", oauth2.CodeInvalidRequest},
	} {
		r, _, err := ParseAuthorizationRequest(request(t, tc.change), only(client(tc.profile)), o)
		if tc.code == "" {
			if err != nil || r.ResponseMode != tc.mode {
				t.Errorf("%s: %+v, %v", tc.name, r, err)
			}
			continue
		}
		e, ok := errors.AsType[*oauth2.RedirectError](err)
		if !ok || e.Err.Code != tc.code || e.ResponseMode != tc.mode || e.ClientID != "cli_a" {
			t.Errorf("%s: %+v, %v", tc.name, e, err)
		}
	}
}

// TestFAPIRedirectURI: an answer to an address of an application scheme is refused on a page, before anything is sent there.
func TestFAPIRedirectURI(t *testing.T) {
	c := newClient(t)
	c.RedirectURIs = append(c.RedirectURIs, redirects(t, oauth2.RedirectRules{Native: true}, "com.example.app:/cb")...)
	native := map[string]string{"redirect_uri": "com.example.app:/cb"}
	if _, _, err := ParseAuthorizationRequest(request(t, native), only(c), options()); err != nil {
		t.Error(err)
	}
	c.Profile = oauth2.ProfileFAPI2
	_, _, err := ParseAuthorizationRequest(request(t, native), only(c), options())
	if _, ok := errors.AsType[*oauth2.PageError](err); !ok {
		t.Errorf("%v", err)
	}
}

// TestRegisteredDefaults: what the client registered stands for what its request does not say.
func TestRegisteredDefaults(t *testing.T) {
	hour := time.Hour
	c := newClient(t)
	c.DefaultMaxAge, c.DefaultACRValues = &hour, []string{ACRMFA}
	r := parse(t, c, nil)
	if r.MaxAge == nil || *r.MaxAge != hour || len(r.ACRValues) != 1 || r.ACRValues[0] != ACRMFA {
		t.Errorf("max_age %v, acr_values %q", r.MaxAge, r.ACRValues)
	}
	r = parse(t, c, map[string]string{"max_age": "5", "acr_values": ACRPassword})
	if *r.MaxAge != 5*time.Second || r.ACRValues[0] != ACRPassword {
		t.Errorf("max_age %v, acr_values %q", r.MaxAge, r.ACRValues)
	}
}

// TestAuthorizationDetailsOfARequest: unknown types and those of other clients are refused by redirect (RFC 9396 section 5).
func TestAuthorizationDetailsOfARequest(t *testing.T) {
	c := newClient(t)
	if r := parse(t, c, map[string]string{"authorization_details": `[{"type":"payment"}]`}); len(r.Details) != 1 {
		t.Errorf("details %v", r.Details)
	}
	for _, text := range []string{`[{"type":"transfer"}]`, `[{"type":"payment","x":1}]`, `{}`} {
		_, _, err := ParseAuthorizationRequest(request(t, map[string]string{"authorization_details": text}), only(c), options())
		if e, ok := errors.AsType[*oauth2.RedirectError](err); !ok || e.Err.Code != oauth2.CodeInvalidAuthorizationDetails {
			t.Errorf("%s: %v", text, err)
		}
	}
}
