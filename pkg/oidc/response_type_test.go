// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"testing"

	"github.com/tenantry/tenantry/pkg/oauth2"
)

func TestCanonicalResponseType(t *testing.T) {
	for in, want := range map[string]string{
		"code": "code", "token id_token": "id_token token", "token  id_token code": "code id_token token", "id_token code": "code id_token",
		"code code": "code code", "token": "token", "": "", "none": "none", "code x": "code x",
	} {
		if got := CanonicalResponseType(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestCheckResponseType(t *testing.T) {
	all := ResponseTypes()
	client := func(change func(c *oauth2.Client)) *oauth2.Client {
		c := &oauth2.Client{GrantTypes: oauth2.GrantSet(oauth2.GrantAuthorizationCode | oauth2.GrantImplicit), Protocol: oauth2.Protocol{ResponseTypes: all}}
		if change != nil {
			change(c)
		}
		return c
	}
	for _, c := range []struct {
		name, responseType string
		client             *oauth2.Client
		tenant             []string
		code               string
	}{
		{"code", "code", client(nil), nil, ""},
		{"everything allowed", "code id_token token", client(nil), all, ""},
		{"id_token alone", "id_token", client(func(c *oauth2.Client) { c.GrantTypes = oauth2.GrantSet(oauth2.GrantImplicit) }), all, ""},
		{"missing", "", client(nil), all, oauth2.CodeInvalidRequest},
		{"token alone", "token", client(nil), all, oauth2.CodeUnsupportedResponseType},
		{"the tenant does not allow it", "id_token", client(nil), []string{"code id_token"}, oauth2.CodeUnsupportedResponseType},
		{"the client is not registered for it", "id_token", client(func(c *oauth2.Client) { c.ResponseTypes = nil }), all, oauth2.CodeUnauthorizedClient},
		{"not registered for code", "code", client(func(c *oauth2.Client) { c.ResponseTypes = []string{"id_token"} }), all, oauth2.CodeUnauthorizedClient},
		{"no implicit grant", "code id_token", client(func(c *oauth2.Client) { c.GrantTypes = oauth2.GrantSet(oauth2.GrantAuthorizationCode) }), all, oauth2.CodeUnauthorizedClient},
		{"no code grant", "code id_token", client(func(c *oauth2.Client) { c.GrantTypes = oauth2.GrantSet(oauth2.GrantImplicit) }), all, oauth2.CodeUnauthorizedClient},
		{"OAuth 2.1", "id_token", client(func(c *oauth2.Client) { c.Profile = oauth2.ProfileOAuth21 }), all, oauth2.CodeUnauthorizedClient},
		{"FAPI 2.0", "code id_token", client(func(c *oauth2.Client) { c.Profile = oauth2.ProfileFAPI2 }), all, oauth2.CodeUnauthorizedClient},
		{"a bound client's access token", "code token", client(func(c *oauth2.Client) { c.DPoPBoundTokens = true }), all, oauth2.CodeUnauthorizedClient},
		{"a bound client's ID token", "code id_token", client(func(c *oauth2.Client) { c.TLSBoundTokens = true }), all, ""},
	} {
		if _, err := CheckResponseType(c.responseType, c.client, c.tenant); oauth2.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", c.name, err, c.code)
		}
	}
}
