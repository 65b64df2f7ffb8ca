// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"errors"
	"testing"
	"time"
)

func TestBuildResponseJWT(t *testing.T) {
	expire := time.Unix(1795190460, 0)
	got, err := BuildResponseJWT("https://hooli.example", "cli_1", expire, [][2]string{{"code", `a"b`}, {"state", "s"}, {"iss", "https://hooli.example"}})
	want := `{"iss":"https://hooli.example","aud":"cli_1","exp":1795190460,"code":"a\"b","state":"s"}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	for name, params := range map[string][][2]string{
		"none": nil, "a subject": {{"sub", "uid_1"}}, "events": {{"code", "x"}, {"events", "{}"}}, "an audience": {{"aud", "x"}},
		"one twice": {{"code", "x"}, {"code", "y"}}, "a nested response": {{"response", "x"}},
	} {
		if b, err := BuildResponseJWT("https://hooli.example", "cli_1", expire, params); !errors.Is(err, ErrResponseJWT) {
			t.Errorf("%s: %s, %v", name, b, err)
		}
	}
}

func TestResponseWithJWT(t *testing.T) {
	for mode, want := range map[string]string{
		ResponseModeQueryJWT:    "https://app.example/cb?response=J",
		ResponseModeFragmentJWT: "https://app.example/cb#response=J",
		ResponseModeFormPostJWT: "https://app.example/cb",
		ResponseModeQuery:       "https://app.example/cb?code=c",
	} {
		r := AuthorizationResponse{RedirectURI: "https://app.example/cb", Mode: mode, Params: [][2]string{{ParamCode, "c"}}}.WithJWT("J")
		if got := r.Location(); got != want {
			t.Errorf("%s: %s, want %s", mode, got, want)
		}
		if SignedMode(r.Mode) {
			t.Errorf("%s: the mode is still %s", mode, r.Mode)
		}
	}
}
