// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"strings"
	"testing"
)

// The example of RFC 7636 appendix B.
const (
	rfcVerifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	rfcChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

func mustParams(t testing.TB, raw string) Params {
	t.Helper()
	p, err := ParseParams(raw)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParseCodeChallenge(t *testing.T) {
	for _, tc := range []struct {
		name, raw string
		required  bool
		want      string
		ok        bool
	}{
		{"S256", "code_challenge=" + rfcChallenge + "&code_challenge_method=S256", true, rfcChallenge, true},
		{"absent, not required", "", false, "", true},
		{"absent, required (RFC 9700 section 2.1.1)", "", true, "", false},
		{"plain by name", "code_challenge=" + rfcVerifier + "&code_challenge_method=plain", false, "", false},
		{"plain by default (RFC 7636 section 4.3)", "code_challenge=" + rfcChallenge, false, "", false},
		{"method alone", "code_challenge_method=S256", false, "", false},
		{"method in another case", "code_challenge=" + rfcChallenge + "&code_challenge_method=s256", false, "", false},
		{"too short", "code_challenge=abc&code_challenge_method=S256", false, "", false},
		{"padded", "code_challenge=" + rfcChallenge + "%3D&code_challenge_method=S256", false, "", false},
		{"standard alphabet", "code_challenge=" + strings.ReplaceAll(rfcChallenge, "-", "%2B") + "&code_challenge_method=S256", false, "", false},
		{"a second spelling of the same hash", "code_challenge=" + rfcChallenge[:42] + "N&code_challenge_method=S256", false, "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseCodeChallenge(mustParams(t, tc.raw), tc.required)
			if got != tc.want || (err == nil) != tc.ok {
				t.Errorf("got %q, %v", got, err)
			}
			if !tc.ok && CodeOf(err) != CodeInvalidRequest {
				t.Errorf("code %q, want invalid_request", CodeOf(err))
			}
		})
	}
}

func TestVerifyCodeVerifier(t *testing.T) {
	for _, tc := range []struct {
		name, challenge, verifier string
		ok                        bool
	}{
		{"RFC 7636 appendix B", rfcChallenge, rfcVerifier, true},
		{"without PKCE", "", "", true},
		{"PKCE downgrade: verifier for a code without challenge (RFC 9700 section 4.8)", "", rfcVerifier, false},
		{"code injection: no verifier", rfcChallenge, "", false},
		{"the challenge itself", rfcChallenge, rfcChallenge, false},
		{"one bit off", rfcChallenge, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXl", false},
		{"too short", rfcChallenge, rfcVerifier[:42], false},
		{"too long", rfcChallenge, strings.Repeat("a", 129), false},
		{"bad character", rfcChallenge, rfcVerifier[:42] + "+", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := VerifyCodeVerifier(tc.challenge, tc.verifier)
			if (err == nil) != tc.ok {
				t.Errorf("got %v", err)
			}
			if !tc.ok && CodeOf(err) != CodeInvalidGrant {
				t.Errorf("code %q, want invalid_grant (RFC 7636 section 4.6)", CodeOf(err))
			}
		})
	}
}
