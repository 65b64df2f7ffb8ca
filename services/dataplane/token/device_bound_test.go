// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"net/http"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
)

// proven is a call to the token endpoint with a proof of the key; nil proves nothing.
func (r *rig) proven(s *site, a app, key *wallet, pairs ...string) *answer {
	r.t.Helper()
	r.pass(5 * time.Second)
	header := http.Header{}
	if key != nil {
		header = dpopHeader(key.proof(r.clock(), http.MethodPost, s.Issuer+"/oauth2/token", nil))
	}
	return r.basicCall(s.host, "/oauth2/token", a, header, pairs...)
}

func boundTo(t *testing.T, l interface {
	claims(s *site, token string) (header, payload map[string]any)
}, s *site, token string, key *wallet,
) {
	t.Helper()
	_, c := l.claims(s, token)
	cnf, _ := c["cnf"].(map[string]any)
	if cnf["jkt"] != key.thumbprint() {
		t.Errorf("cnf %v, want %s", c["cnf"], key.thumbprint())
	}
}

// A device's tokens, and the refresh tokens of a public one, belong to the key that it polls with.
func TestDeviceTokensAreBound(t *testing.T) {
	l := newLounge(t)
	mine, thief := newWallet(t), newWallet(t)
	got := l.rig.post(l.host, oidc.PathDeviceAuthorization, l.tv, "scope", "openid offline_access")
	l.answerDevice(got.str("user_code"), true)
	tokens := l.proven(l.site, l.tv, mine, "grant_type", oauth2.GrantTypeDeviceCode, "device_code", got.str("device_code"))
	if tokens.StatusCode != 200 || tokens.str("token_type") != "DPoP" {
		t.Fatalf("%d %s", tokens.StatusCode, tokens.raw)
	}
	boundTo(t, l, l.site, tokens.str("access_token"), mine)
	refresh := []string{"grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")}
	l.proven(l.site, l.tv, thief, refresh...).is(t, 400, "invalid_grant")
	l.proven(l.site, l.tv, nil, refresh...).is(t, 400, "invalid_grant")
	if got := l.proven(l.site, l.tv, mine, refresh...); got.StatusCode != 200 {
		t.Errorf("the rightful device: %s", got.raw)
	}

	requestID := l.ask(l.polls, "scope", "openid", "login_hint", l.user.ID.String()).str("auth_req_id")
	l.answer(true)
	tokens = l.proven(l.site, l.polls, mine, "grant_type", oauth2.GrantTypeCIBA, "auth_req_id", requestID)
	if tokens.StatusCode != 200 || tokens.str("token_type") != "DPoP" {
		t.Fatalf("%d %s", tokens.StatusCode, tokens.raw)
	}
	boundTo(t, l, l.site, tokens.str("access_token"), mine)
}

// A wrong proof uses nothing up.
func TestWrongProofBurnsNoDeviceCode(t *testing.T) {
	l := newLounge(t)
	mine := newWallet(t)
	got := l.rig.post(l.host, oidc.PathDeviceAuthorization, l.tv)
	l.answerDevice(got.str("user_code"), true)
	poll := []string{"grant_type", oauth2.GrantTypeDeviceCode, "device_code", got.str("device_code"), "client_id", l.tv.id}
	l.pass(5 * time.Second)
	l.call(l.host, "/oauth2/token", dpopHeader(mine.proof(l.clock(), http.MethodPost, "https://evil.example/token", nil)), poll...).is(t, 400, "invalid_dpop_proof")
	if got := l.proven(l.site, l.tv, mine, poll[:4]...); got.StatusCode != 200 {
		t.Errorf("%s", got.raw)
	}
}

// A bound token is exchanged by who holds its key, and what comes out is bound to the same.
func TestExchangeOfBoundTokens(t *testing.T) {
	b := newBazaar(t)
	if err := b.service.grants.Remember(t.Context(), b.clock().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	b.join(b.west)
	mine, thief := newWallet(t), newWallet(t)
	code := b.code(b.east, b.portal, nil)
	issued := b.proven(b.east, b.portal, mine, "grant_type", "authorization_code", "code", code, "redirect_uri", redirectURI, "code_verifier", verifier)
	if issued.StatusCode != 200 {
		t.Fatalf("%s", issued.raw)
	}
	swap := []string{"grant_type", oauth2.GrantTypeTokenExchange, "subject_token", issued.str("access_token"), "subject_token_type", oauth2.TokenTypeURNAccessToken}
	b.proven(b.east, b.portal, nil, swap...).is(t, 400, "invalid_request")
	b.proven(b.east, b.portal, thief, swap...).is(t, 400, "invalid_request")
	got := b.proven(b.east, b.portal, mine, swap...)
	b.good(got, b.east)
	boundTo(t, b, b.east, got.str("access_token"), mine)
	got = b.proven(b.east, b.portal, mine, append(swap, "tenant", b.west.ID.String())...)
	b.good(got, b.west)
	boundTo(t, b, b.west, got.str("access_token"), mine)
}
