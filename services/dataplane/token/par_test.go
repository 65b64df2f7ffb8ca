// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/jose"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
)

// asked are the parameters of an honest request.
func asked(edit func(url.Values)) []string {
	v := url.Values{
		"response_type": {"code"}, "redirect_uri": {redirectURI}, "scope": {"openid"}, "state": {"s"}, "nonce": {"n"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	if edit != nil {
		edit(v)
	}
	var pairs []string
	for name, values := range v {
		pairs = append(pairs, name, values[0])
	}
	return pairs
}

func TestPushedRequest(t *testing.T) {
	r := newRig(t)
	b := r.bank(nil)
	endpoint := b.Issuer + "/oauth2/par"
	push := func(header http.Header, edit func(url.Values)) *answer {
		return r.call(b.host, "/oauth2/par", header, asserted(b.keys.assertion(r.clock(), b.fapi, b.Issuer, nil), asked(edit)...)...)
	}
	got := push(nil, nil)
	if got.StatusCode != http.StatusCreated || !strings.HasPrefix(got.str("request_uri"), grant.RequestURIPrefix) || got.body["expires_in"] != 60.0 ||
		got.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s %v", got.StatusCode, got.raw, got.Header)
	}
	stored, err := r.service.grants.Request(t.Context(), b.ID, got.str("request_uri"), r.clock())
	if err != nil {
		t.Fatal(err)
	}
	if stored.Client != b.fapi || stored.Params.Get("client_id") != b.fapi || stored.Params.Has("client_assertion") || stored.Params.Get("state") != "s" {
		t.Errorf("stored %+v", stored)
	}
	// A proof binds the code, and dpop_jkt must agree with it.
	key := newWallet(t)
	proof := func() http.Header { return dpopHeader(key.proof(r.clock(), "POST", endpoint, nil)) }
	got = push(proof(), nil)
	if stored, err = r.service.grants.Request(t.Context(), b.ID, got.str("request_uri"), r.clock()); err != nil || stored.DPoPJKT != key.thumbprint() {
		t.Errorf("stored %+v, %v", stored, err)
	}
	got = push(proof(), func(v url.Values) { v.Set("dpop_jkt", key.thumbprint()) })
	got.is(t, 201, "")
	got = push(nil, func(v url.Values) { v.Set("dpop_jkt", key.thumbprint()) })
	if stored, err = r.service.grants.Request(t.Context(), b.ID, got.str("request_uri"), r.clock()); err != nil || stored.DPoPJKT != key.thumbprint() {
		t.Errorf("stored %+v, %v", stored, err)
	}
	push(proof(), func(v url.Values) { v.Set("dpop_jkt", newWallet(t).thumbprint()) }).is(t, 400, "invalid_dpop_proof")
	push(nil, func(v url.Values) { v.Set("dpop_jkt", "x") }).is(t, 400, "invalid_request")

	for name, tc := range map[string]struct {
		edit func(url.Values)
		code string
	}{
		"request_uri as a parameter":    {func(v url.Values) { v.Set("request_uri", grant.RequestURIPrefix+strings.Repeat("a", 43)) }, "invalid_request"},
		"without PKCE":                  {func(v url.Values) { v.Del("code_challenge"); v.Del("code_challenge_method") }, "invalid_request"},
		"PKCE plain":                    {func(v url.Values) { v.Set("code_challenge_method", "plain") }, "invalid_request"},
		"redirect_uri of somebody else": {func(v url.Values) { v.Set("redirect_uri", "https://evil.example/cb") }, "invalid_request"},
		"redirect_uri missing":          {func(v url.Values) { v.Del("redirect_uri") }, "invalid_request"},
		"response_type missing":         {func(v url.Values) { v.Del("response_type") }, "invalid_request"},
		"another client's client_id":    {func(v url.Values) { v.Set("client_id", b.jwt) }, "invalid_client"},
		"a request object that is none": {func(v url.Values) { v.Set("request", "x") }, "invalid_request_object"},
		"response_mode query.x":         {func(v url.Values) { v.Set("response_mode", "query.x") }, "invalid_request"},
	} {
		status := 400
		if tc.code == "invalid_client" {
			status = 401
		}
		got := push(nil, tc.edit)
		if got.StatusCode != status || got.str("error") != tc.code {
			t.Errorf("%s: %d %s, want %s", name, got.StatusCode, got.raw, tc.code)
		}
	}
	r.call(b.host, "/oauth2/par", nil, asked(nil)...).is(t, 401, "invalid_client")
	if got := r.get(b.host, "/oauth2/par"); got.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(got.Header.Get("Allow"), "POST") {
		t.Errorf("GET: %d", got.StatusCode)
	}
	// A pushed request of one tenant is unknown at another.
	got = push(nil, nil)
	if _, err := r.service.grants.Request(t.Context(), r.hooli.ID, got.str("request_uri"), r.clock()); err == nil {
		t.Error("another tenant reads it")
	}
}

// FAPI 2.0 Message Signing: the request is a signed object, and nothing outside counts.
func TestPushedRequestObject(t *testing.T) {
	r := newRig(t)
	var client string
	keys := newWallet(t)
	b := r.bank(func(d *snapshotv1.TenantSnapshot) {
		doc, _ := r.world.Client(func(c *snapshotv1.Client) {
			c.TokenEndpointAuthMethod, c.Secrets, c.RequirePkce = "private_key_jwt", nil, true
			c.Protocol = &snapshotv1.ClientProtocol{Jwks: keys.jwks(), SecurityProfile: "FAPI_2_0_MESSAGE_SIGNING", DpopBoundAccessTokens: true}
		})
		client = dptest.ClientID(doc)
		d.Clients = append(d.Clients, doc)
	})
	object := func(k *wallet, edit func(h, c map[string]any)) string {
		header := map[string]any{"alg": "ES256", "kid": keys.kid, "typ": "oauth-authz-req+jwt"}
		claims := map[string]any{
			"iss": client, "aud": b.Issuer, "client_id": client, "exp": r.clock().Add(5 * time.Minute).Unix(), "nbf": r.clock().Unix(), "iat": r.clock().Unix(),
			"response_type": "code", "redirect_uri": redirectURI, "scope": "openid", "nonce": "inside", "max_age": 300, "claims": map[string]any{"userinfo": map[string]any{"name": nil}},
			"code_challenge": challenge, "code_challenge_method": "S256", "response_mode": "jwt",
		}
		if edit != nil {
			edit(header, claims)
		}
		return k.sign(header, claims)
	}
	push := func(pairs ...string) *answer {
		return r.call(b.host, "/oauth2/par", nil, asserted(keys.assertion(r.clock(), client, b.Issuer, nil), pairs...)...)
	}
	got := push("request", object(keys, nil), "state", "outside", "nonce", "outside", "prompt", "none")
	got.is(t, 201, "")
	stored, err := r.service.grants.Request(t.Context(), b.ID, got.str("request_uri"), r.clock())
	if err != nil || !stored.Signed || stored.Params.Has("state") || stored.Params.Has("prompt") || stored.Params.Get("nonce") != "inside" ||
		stored.Params.Get("max_age") != "300" || stored.Params.Get("claims") != `{"userinfo":{"name":null}}` || stored.Params.Has("iss") {
		t.Errorf("stored %s, %v", stored.Params.Encode(), err)
	}
	push(asked(nil)...).is(t, 400, "invalid_request") // not signed
	at := func(d time.Duration) int64 { return r.clock().Add(d).Unix() }
	set := func(name string, v any) func(h, c map[string]any) { return func(_, c map[string]any) { c[name] = v } }
	del := func(name string) func(h, c map[string]any) { return func(_, c map[string]any) { delete(c, name) } }
	for name, tc := range map[string]struct {
		edit func(h, c map[string]any)
		key  *wallet
		ok   bool
	}{
		"aud an array with another": {edit: set("aud", []string{"https://other.example", b.Issuer}), ok: true},
		"nbf 8 s ahead":             {edit: set("nbf", at(8*time.Second)), ok: true},
		"without exp":               {edit: del("exp")},
		"without nbf":               {edit: del("nbf")},
		"without iss":               {edit: del("iss")},
		"without aud":               {edit: del("aud")},
		"expired":                   {edit: set("exp", at(-time.Minute))},
		"bad aud":                   {edit: set("aud", "https://other.example")},
		"aud the PAR endpoint":      {edit: set("aud", b.Issuer+"/oauth2/par")},
		"exp over 60 minutes":       {edit: set("exp", at(70*time.Minute))},
		"nbf over 60 minutes ago":   {edit: func(_, c map[string]any) { c["nbf"], c["exp"] = at(-70*time.Minute), at(time.Minute) }},
		"nbf over 60 s ahead":       {edit: set("nbf", at(61*time.Second))},
		"by another key":            {key: newWallet(t)},
		"alg none":                  {edit: func(h, _ map[string]any) { h["alg"] = "none" }},
		"another client's":          {edit: set("client_id", b.jwt)},
		"iss another client":        {edit: set("iss", b.jwt)},
		"sub the client":            {edit: set("sub", client)},
		"request inside":            {edit: set("request", "x")},
		"request_uri inside":        {edit: set("request_uri", "https://app.example/r")},
		"without redirect_uri":      {edit: del("redirect_uri")},
		"a DPoP proof as one":       {edit: func(h, _ map[string]any) { h["typ"] = "dpop+jwt" }},
		"a client assertion as one": {edit: func(h, _ map[string]any) { h["typ"] = "client-authentication+jwt" }},
	} {
		k := keys
		if tc.key != nil {
			k = &wallet{key: tc.key.key, kid: keys.kid}
		}
		got := push("request", object(k, tc.edit))
		if (got.StatusCode == 201) != tc.ok || !tc.ok && got.StatusCode != 400 {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.raw)
		}
	}
}

func TestOpaqueAccessTokens(t *testing.T) {
	r := newRig(t)
	var opaque app
	b := r.bank(func(d *snapshotv1.TenantSnapshot) {
		doc, text := r.world.Client(func(c *snapshotv1.Client) { c.Protocol = &snapshotv1.ClientProtocol{OpaqueAccessTokens: true} })
		opaque = app{dptest.ClientID(doc), text}
		d.Clients = append(d.Clients, doc)
	})
	token := r.token(b.site, opaque, "grant_type", "client_credentials").str("access_token")
	if !strings.HasPrefix(token, opaquePrefix) || strings.Contains(token, ".") {
		t.Fatalf("token %q", token)
	}
	got := r.post(b.host, "/oauth2/introspect", opaque, "token", token)
	if got.body["active"] != true || got.str("client_id") != opaque.id || got.str("token_type") != "Bearer" {
		t.Errorf("%s", got.raw)
	}
	for name, bad := range map[string]string{
		"changed": token[:len(token)-2] + "AA", "cut": token[:len(token)-4], "without its prefix": token[len(opaquePrefix):], "only the prefix": opaquePrefix,
	} {
		if r.active(b.site, opaque, bad) {
			t.Error(name)
		}
	}
	if r.active(r.hooli, r.hooli.web, token) {
		t.Error("alive at another tenant (R-40)")
	}
	r.post(b.host, "/oauth2/revoke", opaque, "token", token).is(t, 200, "")
	if r.active(b.site, opaque, token) {
		t.Error("revoked and alive")
	}
	again := r.token(b.site, opaque, "grant_type", "client_credentials").str("access_token")
	r.pass(2 * time.Hour)
	if r.active(b.site, opaque, again) {
		t.Error("expired and alive")
	}
}

// RFC 9701.
func TestSignedIntrospection(t *testing.T) {
	r := newRig(t)
	token := r.token(r.hooli, r.hooli.web, "grant_type", "client_credentials").str("access_token")
	ask := func(text string, accept ...string) *answer {
		return r.basicCall(r.hooli.host, "/oauth2/introspect", r.hooli.web, http.Header{"Accept": accept}, "token", text)
	}
	for _, tc := range []struct {
		accept string
		signed bool
	}{
		{"application/token-introspection+jwt", true},
		{"application/json;q=0.5, Application/Token-Introspection+JWT", true},
		{"application/json", false},
		{"application/token-introspection+jwt;q=0", false},
	} {
		if got := ask(token, tc.accept); (got.Header.Get("Content-Type") == "application/token-introspection+jwt") != tc.signed {
			t.Errorf("Accept %q: %s", tc.accept, got.Header.Get("Content-Type"))
		}
	}
	for text, active := range map[string]bool{token: true, "x": false} {
		header, claims := r.signedAnswer(t, ask(text, "application/token-introspection+jwt"))
		inner, _ := claims["token_introspection"].(map[string]any)
		if header["typ"] != "token-introspection+jwt" || claims["iss"] != r.hooli.Issuer || claims["aud"] != r.hooli.web.id || inner["active"] != active ||
			claims["sub"] != nil || claims["exp"] != nil {
			t.Errorf("%v %v", header, claims)
		}
	}
}

// signedAnswer verifies a signed introspection answer as a resource server would.
func (r *rig) signedAnswer(t *testing.T, got *answer) (header, payload map[string]any) {
	t.Helper()
	keys, err := jose.ParseSet(r.get(r.hooli.host, "/.well-known/jwks.json").raw)
	if err != nil {
		t.Fatal(err)
	}
	raw, h, err := jose.NewKeySet(keys...).Verify(string(got.raw), jose.VerifyOptions{Typ: []string{"token-introspection+jwt"}, Algorithms: []jose.Algorithm{jose.ES256}})
	if err != nil {
		t.Fatalf("%v: %s", err, got.raw)
	}
	if err := json.Unmarshal(raw, &payload); err != nil {
		t.Fatal(err)
	}
	return map[string]any{"typ": h.Typ}, payload
}
