// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// issuers are the tenants' issuers of a test: http://<label>.localhost, each with
// the same key, the worst that could happen. It is what the chat app reaches.
type issuers struct{ key *ecdsa.PrivateKey }

func (s issuers) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	b64 := base64.RawURLEncoding.EncodeToString
	issuer := "http://" + r.URL.Host
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		_ = json.NewEncoder(rec).Encode(map[string]string{"issuer": issuer, "jwks_uri": issuer + "/keys"})
	case "/keys":
		point, err := s.key.PublicKey.Bytes()
		if err != nil {
			return nil, err
		}
		_ = json.NewEncoder(rec).Encode(map[string]any{"keys": []any{map[string]string{
			"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "k", "x": b64(point[1:33]), "y": b64(point[33:]),
		}}})
	default:
		rec.WriteHeader(http.StatusNotFound)
	}
	return rec.Result(), nil
}

// token is an access token of a tenant with some claims changed.
func (s issuers) token(t *testing.T, label string, change map[string]any) string {
	t.Helper()
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": "http://" + label + ".localhost", "sub": "uid_1", "aud": "https://api.test", "client_id": "cli_chat", "org": "org_1", "tnt": "tnt_" + label,
		"token_use": "user", "env": "dev", "auth_time": now, "iat": now, "exp": now + 600, "jti": "1",
	}
	for k, v := range change {
		claims[k] = v
	}
	raw, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	input := b64([]byte(`{"alg":"ES256","kid":"k","typ":"at+jwt"}`)) + "." + b64(raw)
	sum := sha256.Sum256([]byte(input))
	a, b, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	var sig [64]byte
	a.FillBytes(sig[:32])
	b.FillBytes(sig[32:])
	return input + "." + b64(sig[:])
}

func TestAPITakesTheTokensOfItsHostAlone(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tenants := issuers{key}
	cfg := config{DataPlane: "http://{host}", BaseDomain: "localhost", Listen: ":8090", Audience: "https://api.test"}
	app, err := newApp(cfg, &http.Client{Transport: tenants}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	call := func(label, method, path, token, body string) *httptest.ResponseRecorder {
		req := httptest.NewRequest(method, "http://"+label+".piedpiper.localhost:8090"+path, strings.NewReader(body))
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		rec := httptest.NewRecorder()
		app.ServeHTTP(rec, req)
		return rec
	}
	hooli, raviga := tenants.token(t, "hooli", nil), tenants.token(t, "raviga", nil)
	if rec := call("hooli", "POST", "/api/rooms/general", hooli, `{"text":"the plan"}`); rec.Code != http.StatusNoContent {
		t.Fatalf("status %d %s", rec.Code, rec.Body)
	}
	if rec := call("hooli", "GET", "/api/rooms/general", hooli, ""); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "the plan") {
		t.Errorf("status %d %s", rec.Code, rec.Body)
	}
	if rec := call("raviga", "GET", "/api/rooms/general", raviga, ""); rec.Code != http.StatusOK || strings.Contains(rec.Body.String(), "the plan") {
		t.Errorf("raviga reads %s", rec.Body)
	}
	for name, rec := range map[string]*httptest.ResponseRecorder{
		"no token":                 call("hooli", "GET", "/api/rooms", "", ""),
		"token of a neighbour":     call("hooli", "GET", "/api/rooms", raviga, ""),
		"token at a neighbour":     call("raviga", "POST", "/api/rooms/general", hooli, `{"text":"x"}`),
		"token of another API":     call("hooli", "GET", "/api/rooms", tenants.token(t, "hooli", map[string]any{"aud": "https://other.test"}), ""),
		"token of nobody":          call("hooli", "GET", "/api/rooms", tenants.token(t, "hooli", map[string]any{"tnt": ""}), ""),
		"token of yesterday":       call("hooli", "GET", "/api/rooms", tenants.token(t, "hooli", map[string]any{"iat": 1, "exp": 2}), ""),
		"token of a client":        call("hooli", "GET", "/api/rooms", tenants.token(t, "hooli", map[string]any{"token_use": "client", "sub": "cli_chat"}), ""),
		"a path that is not there": call("hooli", "GET", "/api/secrets", "", ""),
	} {
		if rec.Code != http.StatusUnauthorized || !strings.HasPrefix(rec.Header().Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: status %d, %v", name, rec.Code, rec.Header())
		}
	}
	if rec := call("hooli", "GET", "/api/rooms/none", hooli, ""); rec.Code != http.StatusNotFound {
		t.Errorf("a room that is not there: %d", rec.Code)
	}
	if rec := call("hooli", "POST", "/api/rooms/general", hooli, `{"text":""}`); rec.Code != http.StatusUnprocessableEntity {
		t.Errorf("an empty message: %d", rec.Code)
	}
}

func TestAnAudienceThatIsMissingIsNoticedAtTheStart(t *testing.T) {
	cfg := config{DataPlane: "http://{host}", BaseDomain: "localhost", Listen: ":8090"}
	if _, err := newApp(cfg, http.DefaultClient, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("the app starts and would take tokens of every API")
	}
}
