// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/pkg/oauth2"
)

func metadataInput() MetadataInput {
	return MetadataInput{Issuer: issuer, IDTokenAlgs: []string{"ES256", "RS256"}, RegistrationOpen: true}
}

func TestBuildMetadata(t *testing.T) {
	b := BuildMetadata(metadataInput())
	golden(t, "discovery.json", b)
	if !bytes.Equal(b, BuildMetadata(metadataInput())) {
		t.Error("equal inputs, other bytes")
	}
	closed := metadataInput()
	closed.RegistrationOpen = false
	closed.Scopes = oauth2.Scopes{"openid"}
	m := members(t, BuildMetadata(closed))
	if slices.Contains(m["prompt_values_supported"].([]any), any("create")) {
		t.Error("prompt=create is offered where nobody may register")
	}
	if slices.Contains(m["claims_supported"].([]any), any("email")) {
		t.Error("claims of scopes that do not exist here")
	}
}

// TestMetadataByProfile: what a profile forbids is not offered, and everything else that the policy allows is.
func TestMetadataByProfile(t *testing.T) {
	for profile, file := range map[oauth2.Profile]string{
		oauth2.ProfileBaseline: "discovery_baseline.json", oauth2.ProfileOAuth21: "discovery_oauth21.json",
		oauth2.ProfileFAPI2: "discovery_fapi2.json", oauth2.ProfileFAPI2MessageSigning: "discovery_fapi2_message_signing.json",
	} {
		in := MetadataInput{
			Issuer: issuer, Profile: profile, IDTokenAlgs: []string{"ES256", "RS256"}, SigningAlgs: []string{"ES256", "RS256", "PS256"},
			ResponseTypes: ResponseTypes(), Pairwise: true, ClientRegistration: true, ClientDocuments: true, DetailTypes: []string{"payment"},
			SessionManagement: true, RegistrationOpen: true,
		}
		b := BuildMetadata(in)
		golden(t, file, b)
		m := NewMetadata(in)
		for name, list := range map[string][]string{
			"id_token": m.IDTokenSigningAlgValuesSupported, "dpop": m.DPoPSigningAlgValuesSupported, "request": m.RequestObjectSigningAlgValuesSupported,
			"userinfo": m.UserInfoSigningAlgValuesSupported, "jarm": m.AuthorizationSigningAlgValuesSupported,
		} {
			if slices.ContainsFunc(list, func(alg string) bool { return !profile.AllowsAlg(alg) }) || len(list) == 0 {
				t.Errorf("%s: %s algorithms %q", profile, name, list)
			}
		}
		if slices.ContainsFunc(m.TokenEndpointAuthMethodsSupported, func(method string) bool { return !profile.AllowsAuthMethod(method) }) {
			t.Errorf("%s: methods %q", profile, m.TokenEndpointAuthMethodsSupported)
		}
		if tokens := len(m.ResponseTypesSupported) > 1; tokens != profile.AllowsTokenResponses() || tokens != slices.Contains(m.GrantTypesSupported, "implicit") {
			t.Errorf("%s: response types %q, grants %q", profile, m.ResponseTypesSupported, m.GrantTypesSupported)
		}
		if m.RequirePushedAuthorizationRequests != profile.RequiresPAR() || m.RequireSignedRequestObject != profile.RequiresSignedRequest() {
			t.Errorf("%s: PAR %v, signed %v", profile, m.RequirePushedAuthorizationRequests, m.RequireSignedRequestObject)
		}
		if plain := slices.Contains(m.ResponseModesSupported, "query"); plain == profile.RequiresSignedResponse() {
			t.Errorf("%s: modes %q", profile, m.ResponseModesSupported)
		}
	}
}

// What the conformance suite's discovery module looks at (OpenID Connect Discovery section 3).
func TestDiscoveryEndpointVerification(t *testing.T) {
	for _, iss := range []string{issuer, issuer + "/", "http://hooli.localhost:8080"} {
		in := metadataInput()
		in.Issuer = iss
		m := members(t, BuildMetadata(in))
		if m["issuer"] != iss {
			t.Errorf("issuer %v, want %s", m["issuer"], iss)
		}
		for name, value := range m {
			if !strings.HasSuffix(name, "_endpoint") && name != "jwks_uri" {
				continue
			}
			u, err := url.Parse(value.(string))
			if err != nil || !strings.HasPrefix(value.(string), strings.TrimSuffix(iss, "/")+"/") || strings.Contains(u.Path, "//") {
				t.Errorf("%s is %v", name, value)
			}
		}
		for _, required := range []string{
			"issuer", "authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri", "scopes_supported", "response_types_supported",
			"subject_types_supported", "id_token_signing_alg_values_supported", "claims_supported", "end_session_endpoint",
		} {
			if m[required] == nil {
				t.Errorf("%s is missing", required)
			}
		}
		// Absent would mean false for the first and true for the second.
		if m["request_parameter_supported"] != true || m["request_uri_parameter_supported"] != true || m["require_request_uri_registration"] != true {
			t.Error("request objects are not told of")
		}
	}
}

func TestScopeClaims(t *testing.T) {
	// OpenID Connect Core section 5.4.
	for scope, want := range map[string][]string{
		"openid":  {"sub"},
		"email":   {"email", "email_verified"},
		"phone":   {"phone_number", "phone_number_verified"},
		"address": {"address"},
		"profile": {
			"name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile", "picture", "website", "gender",
			"birthdate", "zoneinfo", "locale", "updated_at",
		},
		"offline_access": nil,
		"chat:write":     nil,
	} {
		got := ScopeClaims(scope)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", scope, got, want)
		}
	}
}

func TestBuildUserInfo(t *testing.T) {
	all := UserInfoInput{Subject: user.String(), Scopes: oauth2.Scopes{"openid", "profile", "email", "address", "phone", "roles"}, User: person()}
	golden(t, "userinfo.json", BuildUserInfo(all))
	for _, tc := range []struct {
		name   string
		scopes oauth2.Scopes
		claims []string
		user   UserClaims
		want   []string
	}{
		{"openid alone", oauth2.Scopes{"openid"}, nil, person(), []string{"sub"}},
		{"email", oauth2.Scopes{"openid", "email"}, nil, person(), []string{"sub", "email", "email_verified"}},
		{"by name (OpenID Connect Core section 5.5)", oauth2.Scopes{"openid"}, []string{"name", "made_up"}, person(), []string{"sub", "name"}},
		{"sub cannot be asked away", oauth2.Scopes{"openid"}, []string{"sub", "iss"}, person(), []string{"sub"}},
		{"no value, no claim", oauth2.Scopes{"openid", "profile", "email", "phone", "address", "roles"}, nil, UserClaims{EmailVerified: true}, []string{"sub"}},
	} {
		got := members(t, BuildUserInfo(UserInfoInput{Subject: "uid_x", Scopes: tc.scopes, Claims: tc.claims, User: tc.user}))
		if len(got) != len(tc.want) || got["sub"] != "uid_x" {
			t.Errorf("%s: %v", tc.name, got)
		}
		for _, name := range tc.want {
			if _, ok := got[name]; !ok {
				t.Errorf("%s: %s is missing", tc.name, name)
			}
		}
	}
}

func TestACRForAMR(t *testing.T) {
	if ACRForAMR([]string{"pwd"}) != ACRPassword || ACRForAMR([]string{"pwd", "otp", "mfa"}) != ACRMFA || ACRForAMR(nil) != ACRPassword {
		t.Error("class of a login")
	}
}
