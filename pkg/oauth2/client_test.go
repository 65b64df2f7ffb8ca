// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"slices"
	"testing"
)

func TestGrantSet(t *testing.T) {
	s, err := ParseGrantTypes([]string{"refresh_token", "authorization_code"})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Has(GrantAuthorizationCode) || !s.Has(GrantRefreshToken) || s.Has(GrantClientCredentials) || s.Has(0) {
		t.Errorf("set %b", s)
	}
	if got := s.Strings(); !slices.Equal(got, []string{"authorization_code", "refresh_token"}) {
		t.Errorf("Strings = %q", got)
	}
	// A client may be registered for implicit, but there is nothing of it at the token endpoint.
	if s, err := ParseGrantTypes([]string{"implicit"}); err != nil || !s.Has(GrantImplicit) {
		t.Errorf("implicit: %b, %v", s, err)
	}
	if _, ok := ParseGrant("implicit"); ok {
		t.Error("implicit is a grant of the token endpoint")
	}
	// RFC 9700 section 2.4: password does not exist here.
	for _, name := range []string{"password", "", "Authorization_Code"} {
		if _, err := ParseGrantTypes([]string{name}); err == nil {
			t.Errorf("grant type %q accepted", name)
		}
		if _, ok := ParseGrant(name); ok {
			t.Errorf("grant %q exists", name)
		}
	}
	c := &Client{GrantTypes: s}
	if err := c.CheckGrant(GrantRefreshToken); err != nil {
		t.Error(err)
	}
	if err := c.CheckGrant(GrantClientCredentials); CodeOf(err) != CodeUnauthorizedClient {
		t.Errorf("got %v, want unauthorized_client", err)
	}
	if got := GrantTypes(); len(got) != len(grantTypes) {
		t.Errorf("GrantTypes = %q", got)
	}
}

func TestResolveScopes(t *testing.T) {
	tenant := Scopes{"openid", "profile", "email"}
	for _, tc := range []struct {
		name                string
		client, asked, want Scopes
		code                string
	}{
		{"nothing asked", nil, nil, nil, ""},
		{"unknown ones are dropped (OpenID Connect Core section 3.1.2.1)", nil, Scopes{"openid", "x"}, Scopes{"openid"}, ""},
		{"nothing left", nil, Scopes{"x"}, nil, CodeInvalidScope},
		{"the client's own list counts alone", Scopes{"chat:write"}, Scopes{"openid", "chat:write"}, Scopes{"chat:write"}, ""},
		{"the client's own list, nothing left", Scopes{"chat:write"}, Scopes{"openid"}, nil, CodeInvalidScope},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := (&Client{Scopes: tc.client}).ResolveScopes(tc.asked, tenant)
			if !slices.Equal(got, tc.want) || CodeOf(err) != tc.code {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestResolveAudience(t *testing.T) {
	c := &Client{Audiences: []string{"https://api.example"}}
	for resource, want := range map[string]string{"": "https://default", "https://default": "https://default", "https://api.example": "https://api.example"} {
		if got, err := c.ResolveAudience(resource, "https://default"); err != nil || got != want {
			t.Errorf("%q: %q, %v", resource, got, err)
		}
	}
	for _, resource := range []string{"https://other.example", "https://api.example/", "HTTPS://api.example"} {
		if got, err := c.ResolveAudience(resource, "https://default"); CodeOf(err) != CodeInvalidTarget || got != "" {
			t.Errorf("%q: %q, %v, want invalid_target", resource, got, err)
		}
	}
}

func TestNeedsPKCE(t *testing.T) {
	for _, tc := range []struct{ public, require, want bool }{{true, false, true}, {true, true, true}, {false, true, true}, {false, false, false}} {
		if got := (&Client{Public: tc.public, RequirePKCE: tc.require}).NeedsPKCE(); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}
