// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/identity"
)

func (r *rig) basicCall(host, path string, a app, header http.Header, pairs ...string) *answer {
	r.t.Helper()
	h := header.Clone()
	if h == nil {
		h = http.Header{}
	}
	if a.secret != "" {
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(a.id+":"+a.secret)))
	} else {
		pairs = append(pairs, "client_id", a.id)
	}
	return r.call(host, path, h, pairs...)
}

// The conformance suite's negative proofs, at the token endpoint.
func TestProofAtTheTokenEndpoint(t *testing.T) {
	r := newRig(t)
	b := r.bank(nil)
	other := newWallet(t)
	htu := b.tokenURL()
	set := func(name string, v any) func(h, c map[string]any) { return func(_, c map[string]any) { c[name] = v } }
	del := func(name string) func(h, c map[string]any) { return func(_, c map[string]any) { delete(c, name) } }
	head := func(name string, v any) func(h, c map[string]any) { return func(h, _ map[string]any) { h[name] = v } }
	at := func(d time.Duration) int64 { return r.clock().Add(d).Unix() }
	for name, tc := range map[string]struct {
		edit func(h, c map[string]any)
		ok   bool
	}{
		"right":                         {nil, true},
		"10 s ago":                      {set("iat", at(-10*time.Second)), true},
		"10 s ahead":                    {set("iat", at(10*time.Second)), true},
		"with nbf and exp":              {func(_, c map[string]any) { c["nbf"], c["exp"] = at(0), at(time.Minute) }, true},
		"with members of its own":       {set("extra", map[string]any{"a": 1}), true},
		"htu with query and fragment":   {set("htu", htu+"?a=b#c"), true},
		"htu in capitals":               {set("htu", "HTTPS://BANK.example.COM/oauth2/token"), true},
		"htu with the default port":     {set("htu", "https://bank.example.com:443/oauth2/token"), true},
		"htu with needless encoding":    {set("htu", "https://bank.example.com/oauth2/%74oken"), true},
		"htu with another port":         {set("htu", "https://bank.example.com:8443/oauth2/token"), false},
		"htu with another path":         {set("htu", b.Issuer+"/oauth2/par"), false},
		"htu with the path in capitals": {set("htu", b.Issuer+"/OAUTH2/token"), false},
		"htu of another tenant":         {set("htu", r.hooli.Issuer+"/oauth2/token"), false},
		"htu with a user":               {set("htu", "https://x@bank.example.com/oauth2/token"), false},
		"htu missing":                   {del("htu"), false},
		"htm of another method":         {set("htm", "GET"), false},
		"htm in small letters":          {set("htm", "post"), false},
		"htm missing":                   {del("htm"), false},
		"jti missing":                   {del("jti"), false},
		"jti empty":                     {set("jti", ""), false},
		"jti too long":                  {set("jti", strings.Repeat("x", 600)), false},
		"iat missing":                   {del("iat"), false},
		"iat an hour ago":               {set("iat", at(-time.Hour)), false},
		"iat an hour ahead":             {set("iat", at(time.Hour)), false},
		"iat a text":                    {set("iat", "1"), false},
		"expired":                       {set("exp", at(-time.Hour)), false},
		"typ missing":                   {func(h, _ map[string]any) { delete(h, "typ") }, false},
		"typ JWT":                       {head("typ", "JWT"), false},
		"alg none":                      {head("alg", "none"), false},
		"alg HS256":                     {head("alg", "HS256"), false},
		"alg of another key type":       {head("alg", "PS256"), false},
		"jwk missing":                   {func(h, _ map[string]any) { delete(h, "jwk") }, false},
		"jwk of another key":            {head("jwk", other.jwk()), false},
		"jwk with a private part":       {func(h, _ map[string]any) { h["jwk"].(map[string]any)["d"] = h["jwk"].(map[string]any)["x"] }, false},
		"jwk symmetric":                 {head("jwk", map[string]any{"kty": "oct", "k": "AAAA"}), false},
		"a nonce that is not ours":      {set("nonce", "x"), false},
		"crit":                          {head("crit", []string{"jti"}), false},
	} {
		got := r.basicCall(b.host, "/oauth2/token", b.dpop, dpopHeader(b.dpopK.proof(r.clock(), "POST", htu, tc.edit)), "grant_type", "client_credentials")
		code := "invalid_dpop_proof"
		if strings.HasPrefix(name, "a nonce") {
			code = "use_dpop_nonce"
		}
		switch {
		case tc.ok && (got.StatusCode != 200 || got.str("token_type") != "DPoP"):
			t.Errorf("%s: %d %s", name, got.StatusCode, got.raw)
		case !tc.ok && (got.StatusCode != 400 || got.str("error") != code):
			t.Errorf("%s: %d %s", name, got.StatusCode, got.raw)
		}
	}
	one := b.dpopK.proof(r.clock(), "POST", htu, nil)
	for i, want := range []int{200, 400} {
		if got := r.basicCall(b.host, "/oauth2/token", b.dpop, dpopHeader(one), "grant_type", "client_credentials"); got.StatusCode != want {
			t.Errorf("proof used %d times: %d %s", i+1, got.StatusCode, got.raw)
		}
	}
	fresh := func() string { return b.dpopK.proof(r.clock(), "POST", htu, nil) }
	r.basicCall(b.host, "/oauth2/token", b.dpop, dpopHeader(fresh(), fresh()), "grant_type", "client_credentials").is(t, 400, "invalid_dpop_proof")
	r.basicCall(b.host, "/oauth2/token", b.dpop, dpopHeader(fresh()+", "+fresh()), "grant_type", "client_credentials").is(t, 400, "invalid_dpop_proof")
	// A client that is registered for DPoP gets no bearer token.
	r.basicCall(b.host, "/oauth2/token", b.dpop, nil, "grant_type", "client_credentials").is(t, 400, "invalid_dpop_proof")
}

// user gives a user's tokens that are bound to a key, by the public client of hooli.
func (r *rig) boundTokens(t *testing.T, a app, key *wallet, edit func(*grant.CodeRecord)) *answer {
	t.Helper()
	htu := r.hooli.Issuer + "/oauth2/token"
	got := r.basicCall(r.hooli.host, "/oauth2/token", a, dpopHeader(key.proof(r.clock(), "POST", htu, nil)),
		"grant_type", "authorization_code", "code", r.code(r.hooli, a, edit), "redirect_uri", redirectURI, "code_verifier", verifier)
	if got.StatusCode != 200 || got.str("token_type") != "DPoP" {
		t.Fatalf("exchange: %d %s", got.StatusCode, got.raw)
	}
	return got
}

func (r *rig) remembers(t *testing.T) {
	t.Helper()
	if err := r.service.grants.Remember(t.Context(), r.clock().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
}

func TestBoundTokenAtUserInfo(t *testing.T) {
	r := newRig(t)
	r.remembers(t)
	key, other := newWallet(t), newWallet(t)
	token := r.boundTokens(t, r.hooli.spa, key, nil).str("access_token")
	bearerToken := r.issue(r.hooli, r.hooli.web, nil).str("access_token")
	htu := r.hooli.Issuer + "/oauth2/userinfo"
	ath := func(of string) func(h, c map[string]any) {
		return func(_, c map[string]any) { c["ath"] = oauth2.TokenHash(of) }
	}
	good := func() string { return key.proof(r.clock(), "GET", htu, ath(token)) }
	used := good()
	for _, tc := range []struct {
		name, scheme, token string
		proofs              []string
		ok                  bool
	}{
		{"right", "DPoP", token, []string{used}, true},
		{"the same proof again", "DPoP", token, []string{used}, false},
		{"the scheme in small letters", "dpop", token, []string{good()}, true},
		{"as a bearer token", "Bearer", token, nil, false},
		{"as a bearer token with its proof", "Bearer", token, []string{good()}, false},
		{"without a proof", "DPoP", token, nil, false},
		{"with two proofs", "DPoP", token, []string{good(), good()}, false},
		{"another key", "DPoP", token, []string{other.proof(r.clock(), "GET", htu, ath(token))}, false},
		{"ath missing", "DPoP", token, []string{key.proof(r.clock(), "GET", htu, nil)}, false},
		{"ath of another token", "DPoP", token, []string{key.proof(r.clock(), "GET", htu, ath(bearerToken))}, false},
		{"a proof for the token endpoint", "DPoP", token, []string{key.proof(r.clock(), "POST", r.hooli.Issuer+"/oauth2/token", ath(token))}, false},
		{"a bearer token as a DPoP one", "DPoP", bearerToken, []string{key.proof(r.clock(), "GET", htu, ath(bearerToken))}, false},
		{"a bearer token in capitals", "BEARER", bearerToken, nil, true},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.server.URL+"/oauth2/userinfo", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", tc.scheme+" "+tc.token)
		req.Header.Set("X-Fapi-Interaction-Id", "c770aef3-6784-41f7-8e0e-ff5f97bddb3a")
		if tc.proofs != nil {
			req.Header["DPOP"] = tc.proofs // a header's name has no case
		}
		got := r.send(req, r.hooli.host)
		challenge := got.Header.Get("WWW-Authenticate")
		if (got.StatusCode == 200) != tc.ok || got.StatusCode != 200 && got.StatusCode != 401 {
			t.Errorf("%s: %d %s", tc.name, got.StatusCode, got.raw)
		}
		if !tc.ok && tc.token == token && (!strings.HasPrefix(challenge, "DPoP error=") || !strings.Contains(challenge, `algs="ES256`)) {
			t.Errorf("%s: challenge %q", tc.name, challenge)
		}
		if got.Header.Get("X-Fapi-Interaction-Id") != "c770aef3-6784-41f7-8e0e-ff5f97bddb3a" {
			t.Errorf("%s: the interaction id did not come back", tc.name)
		}
	}
	got := r.post(r.hooli.host, "/oauth2/introspect", r.hooli.web, "token", token)
	cnf, _ := got.body["cnf"].(map[string]any)
	if got.str("token_type") != "DPoP" || cnf["jkt"] != key.thumbprint() {
		t.Errorf("introspection: %s", got.raw)
	}
}

// Refresh tokens of public clients are bound to the key, those of others to the client (RFC 9449 section 5).
func TestRefreshTokenBinding(t *testing.T) {
	r := newRig(t)
	r.remembers(t)
	key, other := newWallet(t), newWallet(t)
	htu := r.hooli.Issuer + "/oauth2/token"
	refresh := func(a app, token string, k *wallet) *answer {
		var h http.Header
		if k != nil {
			h = dpopHeader(k.proof(r.clock(), "POST", htu, nil))
		}
		return r.basicCall(r.hooli.host, "/oauth2/token", a, h, "grant_type", "refresh_token", "refresh_token", token)
	}
	first := r.boundTokens(t, r.hooli.spa, key, nil).str("refresh_token")
	// Nothing is burnt by who has not the key.
	for range 3 {
		refresh(r.hooli.spa, first, other).is(t, 400, "invalid_grant")
		refresh(r.hooli.spa, first, nil).is(t, 400, "invalid_grant")
	}
	second := refresh(r.hooli.spa, first, key)
	second.is(t, 200, "")
	if second.str("token_type") != "DPoP" {
		t.Errorf("refreshed %s", second.raw)
	}
	// An old token without the key ends nothing; with it, it is a replay.
	r.pass(time.Hour)
	refresh(r.hooli.spa, first, other).is(t, 400, "invalid_grant")
	third := refresh(r.hooli.spa, second.str("refresh_token"), key)
	third.is(t, 200, "")

	confidential := r.boundTokens(t, r.hooli.web, key, nil).str("refresh_token")
	got := refresh(r.hooli.web, confidential, other)
	got.is(t, 200, "")
	_, claims := r.claims(r.hooli, got.str("access_token"))
	if cnf, _ := claims["cnf"].(map[string]any); cnf["jkt"] != other.thumbprint() {
		t.Errorf("claims %v", claims)
	}
}

// A code that was asked for with a key is worth nothing without it (RFC 9449 section 10), and trying does not burn it.
func TestCodeIsBoundToTheKey(t *testing.T) {
	r := newRig(t)
	r.remembers(t)
	key, other := newWallet(t), newWallet(t)
	htu := r.hooli.Issuer + "/oauth2/token"
	code := r.code(r.hooli, r.hooli.spa, func(rec *grant.CodeRecord) { rec.DPoPJKT = key.thumbprint() })
	form := []string{"grant_type", "authorization_code", "code", code, "redirect_uri", redirectURI, "code_verifier", verifier}
	for range 2 {
		r.basicCall(r.hooli.host, "/oauth2/token", r.hooli.spa, dpopHeader(other.proof(r.clock(), "POST", htu, nil)), form...).is(t, 400, "invalid_grant")
		r.basicCall(r.hooli.host, "/oauth2/token", r.hooli.spa, nil, form...).is(t, 400, "invalid_dpop_proof")
		r.basicCall(r.hooli.host, "/oauth2/token", r.hooli.spa, dpopHeader(key.proof(r.clock(), "GET", htu, nil)), form...).is(t, 400, "invalid_dpop_proof")
	}
	r.basicCall(r.hooli.host, "/oauth2/token", r.hooli.spa, dpopHeader(key.proof(r.clock(), "POST", htu, nil)), form...).is(t, 200, "")
}

// FAPI 2.0: a key for every token, no secrets, no public clients, no rotation.
func TestFAPIClient(t *testing.T) {
	r := newRig(t)
	b := r.bank(nil)
	proof := func() http.Header { return dpopHeader(b.dpopK.proof(r.clock(), "POST", b.tokenURL(), nil)) }
	r.machine(b, b.fapi, nil).is(t, 400, "invalid_dpop_proof")
	got := r.machine(b, b.fapi, proof())
	got.is(t, 200, "")
	if got.str("token_type") != "DPoP" {
		t.Errorf("%s", got.raw)
	}
	fapi := "FAPI_2_0"
	for _, c := range b.doc.Clients {
		if c.Protocol == nil {
			continue
		}
		c.Protocol.SecurityProfile = fapi
	}
	b.Tenant = r.world.Serve(t, b.doc, b.org)
	r.basicCall(b.host, "/oauth2/token", b.dpop, proof(), "grant_type", "client_credentials").is(t, 400, "unauthorized_client")
	wrong := app{b.dpop.id, r.hooli.web.secret}
	r.basicCall(b.host, "/oauth2/token", wrong, proof(), "grant_type", "client_credentials").is(t, 401, "invalid_client")
}

func TestNonces(t *testing.T) {
	r := newRig(t)
	b := r.bank(nil)
	r.service.nonces = true
	ask := func(nonce string) *answer {
		return r.basicCall(b.host, "/oauth2/token", b.dpop, dpopHeader(b.dpopK.proof(r.clock(), "POST", b.tokenURL(), func(_, c map[string]any) {
			if nonce != "" {
				c["nonce"] = nonce
			}
		})), "grant_type", "client_credentials")
	}
	first := ask("")
	first.is(t, 400, "use_dpop_nonce")
	nonce := first.Header.Get("DPoP-Nonce")
	if nonce == "" || first.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("headers %v", first.Header)
	}
	ask(nonce).is(t, 200, "")
	ask(nonce+"x").is(t, 400, "use_dpop_nonce")
	ask(newNonce(r.world.Keyring.Tenant(r.hooli.ID), r.clock())).is(t, 400, "use_dpop_nonce") // another tenant's
	r.pass(nonceWindow)
	again := ask(nonce)
	again.is(t, 200, "")
	if again.Header.Get("DPoP-Nonce") == nonce {
		t.Error("the next nonce is not offered in time")
	}
	r.pass(nonceWindow)
	ask(nonce).is(t, 400, "use_dpop_nonce")
}

// A proof of a tenant's client is worth nothing at another tenant, and neither is a bound token.
func TestProofsStayWithTheirTenant(t *testing.T) {
	r := newRig(t)
	r.remembers(t)
	key := newWallet(t)
	token := r.boundTokens(t, r.hooli.spa, key, nil).str("access_token")
	htu := r.raviga.Issuer + "/oauth2/userinfo"
	got := r.get(r.raviga.host, "/oauth2/userinfo", "Authorization", "DPoP "+token,
		"DPoP", key.proof(r.clock(), "GET", htu, func(_, c map[string]any) { c["ath"] = oauth2.TokenHash(token) }))
	got.is(t, 401, "invalid_token")
	if strings.Contains(string(got.raw), "hooli") || strings.Contains(string(got.raw), id.Tenant(r.hooli.ID).String()) {
		t.Errorf("names the other tenant: %s", got.raw)
	}
}

// FAPI 2.0 does not rotate refresh tokens; their client's key is what keeps a thief of one out.
func TestFAPIRefreshTokenStays(t *testing.T) {
	r := newRig(t)
	b := r.bank(nil)
	user, err := r.identity.Register(t.Context(), ref(b.Tenant), identity.Op{Now: r.clock(), Actor: "system"},
		identity.Registration{Email: "gavin@bank.example", Password: password}, identity.PasswordPolicy{MinLength: 12})
	if err != nil {
		t.Fatal(err)
	}
	b.site.user = user
	ask := func(client string, pairs ...string) *answer {
		return r.call(b.host, "/oauth2/token", dpopHeader(b.dpopK.proof(r.clock(), "POST", b.tokenURL(), nil)),
			asserted(b.keys.assertion(r.clock(), client, b.Issuer, nil), pairs...)...)
	}
	code := r.code(b.site, app{id: b.fapi}, func(rec *grant.CodeRecord) { rec.DPoPJKT = b.dpopK.thumbprint() })
	exchange := []string{"grant_type", "authorization_code", "code", code, "redirect_uri", redirectURI, "code_verifier", verifier}
	ask(b.jwt, exchange...).is(t, 400, "invalid_grant") // another client with the code, and the same keys
	first := ask(b.fapi, exchange...)
	first.is(t, 200, "")
	token := first.str("refresh_token")
	for range 3 {
		r.pass(time.Hour)
		got := ask(b.fapi, "grant_type", "refresh_token", "refresh_token", token)
		got.is(t, 200, "")
		if got.str("refresh_token") != token || got.str("token_type") != "DPoP" {
			t.Errorf("refresh: %s", got.raw)
		}
	}
	ask(b.jwt, "grant_type", "refresh_token", "refresh_token", token).is(t, 400, "invalid_grant")
	ask(b.fapi, "grant_type", "refresh_token", "refresh_token", token).is(t, 200, "")
}

// PROMISES.md: a flushed Redis lets nothing through that was used before, and one that is away lets nothing through.
func TestProofsAfterAFlush(t *testing.T) {
	r := newRig(t)
	b := r.bank(nil)
	used := b.dpopK.proof(r.clock(), "POST", b.tokenURL(), nil)
	assertion := b.keys.assertion(r.clock(), b.fapi, b.Issuer, nil)
	ask := func(proof, assertion string) *answer {
		return r.call(b.host, "/oauth2/token", dpopHeader(proof), asserted(assertion, "grant_type", "client_credentials")...)
	}
	ask(used, assertion).is(t, 200, "")
	r.redis.FlushAll(t.Context())
	ask(used, assertion).is(t, 401, "invalid_client")
	r.pass(2 * time.Second)
	ask(used, b.keys.assertion(r.clock(), b.fapi, b.Issuer, nil)).is(t, 400, "invalid_dpop_proof")
	ask(b.dpopK.proof(r.clock(), "POST", b.tokenURL(), nil), b.keys.assertion(r.clock(), b.fapi, b.Issuer, nil)).is(t, 200, "")
	r.service.grants = brokenGrants(t, r)
	r.basicCall(b.host, "/oauth2/token", b.dpop, dpopHeader(b.dpopK.proof(r.clock(), "POST", b.tokenURL(), nil)), "grant_type", "client_credentials").
		is(t, 503, "temporarily_unavailable")
}
