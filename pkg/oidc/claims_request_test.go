// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/pkg/oauth2"
)

func TestParseClaimsRequest(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     ClaimsRequest
	}{
		{"empty", "", ClaimsRequest{}},
		{"empty object", "{}", ClaimsRequest{}},
		{"null lists", `{"userinfo":null,"id_token":null}`, ClaimsRequest{}},
		{
			"OpenID Connect Core section 5.5", `{
			"userinfo": {"given_name": {"essential": true}, "nickname": null, "http://example.info/claims/groups": null},
			"id_token": {"auth_time": {"essential": true}, "acr": {"values": ["urn:mace:incommon:iap:silver", "x"]}}}`,
			ClaimsRequest{
				UserInfo: []ClaimRequest{{Name: "given_name", Essential: true}, {Name: "nickname"}, {Name: "http://example.info/claims/groups"}},
				IDToken:  []ClaimRequest{{Name: "auth_time", Essential: true}, {Name: "acr", Values: []string{"urn:mace:incommon:iap:silver", "x"}}},
			},
		},
		{"value", `{"id_token":{"sub":{"value":"248289761001"}}}`, ClaimsRequest{IDToken: []ClaimRequest{{Name: "sub", Values: []string{"248289761001"}}}}},
		{"unknown members are ignored", `{"x":[1,{"y":[[]]}],"userinfo":{"email":{"purpose":{"a":1},"value":5}}}`, ClaimsRequest{UserInfo: []ClaimRequest{{Name: "email"}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseClaimsRequest(tc.in)
			if err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestParseClaimsRequestRefuses(t *testing.T) {
	var many []string
	for i := range maxClaims + 1 {
		many = append(many, fmt.Sprintf(`"c%d":null`, i))
	}
	for name, in := range map[string]string{
		"not JSON":                            `{`,
		"array":                               `[]`,
		"string":                              `"x"`,
		"null":                                `null`,
		"text behind":                         `{} {}`,
		"list of claims":                      `{"userinfo":["email"]}`,
		"claim is true":                       `{"userinfo":{"email":true}}`,
		"essential is a string":               `{"userinfo":{"email":{"essential":"true"}}}`,
		"values is no array":                  `{"userinfo":{"email":{"values":"x"}}}`,
		"claim without a name":                `{"userinfo":{"":null}}`,
		"member twice (two parsers disagree)": `{"userinfo":{"email":null},"userinfo":{}}`,
		"claim twice":                         `{"id_token":{"sub":{"value":"a"},"sub":{"value":"b"}}}`,
		"escaped claim twice":                 `{"id_token":{"sub":null,"s\u0075b":null}}`,
		"essential twice":                     `{"id_token":{"acr":{"essential":true,"essential":false}}}`,
		"too many":                            `{"userinfo":{` + strings.Join(many, ",") + `}}`,
		"too many values":                     `{"id_token":{"acr":{"values":["x"` + strings.Repeat(`,"x"`, maxClaimValues) + `]}}}`,
		"too deep (stack exhaustion)":         `{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
		"cut off":                             `{"userinfo":{"email":{"essential":true`,
		"too long":                            `{"x":"` + strings.Repeat("y", oauth2.MaxParamBytes) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseClaimsRequest(in)
			if oauth2.CodeOf(err) != oauth2.CodeInvalidRequest || !reflect.DeepEqual(got, ClaimsRequest{}) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func FuzzClaimsRequest(f *testing.F) {
	for _, s := range []string{
		"", "{}", `{"userinfo":{"email":null}}`, `{"id_token":{"acr":{"essential":true,"values":["a","b"]}}}`, `{"x":[[[]]]}`, `{"a":1,"a":2}`,
		`{"id_token":{"sub":{"value":"x"}}}`, `{"userinfo":{"a":{"value":[1]}}}`, "{\"userinfo\":{\"\xff\":null}}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseClaimsRequest(s)
		if err != nil {
			if oauth2.CodeOf(err) != oauth2.CodeInvalidRequest {
				t.Fatalf("code of %v", err)
			}
			return
		}
		for _, list := range [][]ClaimRequest{r.UserInfo, r.IDToken} {
			if len(list) > maxClaims {
				t.Fatalf("%d claims", len(list))
			}
			seen := map[string]bool{}
			for _, c := range list {
				if c.Name == "" || seen[c.Name] {
					t.Fatalf("claim %q", c.Name)
				}
				seen[c.Name] = true
			}
		}
	})
}
