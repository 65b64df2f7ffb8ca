// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/jose"
)

// es is what makes challenges short.
func es(cfg *Config) { cfg.ProofAlgorithms = []jose.Algorithm{jose.ES256} }

// hooli is a request to hooli's API, and byLabel the application's table.
func byLabel(r *http.Request) (string, bool) {
	label, ok := strings.CutSuffix(hostname(r.Host), ".chat.example")
	return "tnt_" + label, ok
}

func withTable(cfg *Config) { cfg.Tenant, cfg.TenantFor = "", byLabel }

func get(path string, header http.Header) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "https://hooli.chat.example"+path, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	return r
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// served is the answer of an API behind the middleware.
func served(v *Verifier, r *http.Request, need ...Requirement) *http.Response {
	w := httptest.NewRecorder()
	v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := FromContext(r.Context())
		if !ok {
			http.Error(w, "no claims", http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, c.Subject+" of "+c.Tenant)
	}), need...).ServeHTTP(w, r)
	return w.Result()
}

func TestMiddlewareLetsThrough(t *testing.T) {
	c := newCluster(t)
	v := c.verifier(withTable)
	for _, scheme := range []string{"Bearer", "bearer", "BEARER"} {
		res := served(v, get("/rooms", http.Header{"Authorization": {scheme + " " + c.token("hooli", nil)}}), Requirement{Scopes: []string{"chat:write"}})
		body, _ := io.ReadAll(res.Body)
		if res.StatusCode != http.StatusOK || string(body) != "uid_1 of tnt_hooli" || res.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s: %d %s", scheme, res.StatusCode, body)
		}
	}
	if _, ok := FromContext(t.Context()); ok {
		t.Error("claims out of nothing")
	}
}

// The challenges, byte for byte.
func TestChallenges(t *testing.T) {
	c := newCluster(t)
	key := proofKeys()[0]
	bound := c.token("hooli", map[string]any{"cnf": map[string]string{"jkt": key.thumbprint()}})
	const realm = `realm="https://api.piedpiper.example"`
	metadata := func(cfg *Config) { cfg.Metadata = &ResourceMetadata{Resource: "https://{host}/rooms"} }
	const address = `resource_metadata="https://hooli.chat.example/.well-known/oauth-protected-resource/rooms"`
	for _, r := range []struct {
		name   string
		header http.Header
		need   Requirement
		cfg    func(*Config)
		status int
		want   []string
	}{
		{"no token", nil, Requirement{}, nil, 401, []string{`Bearer ` + realm, `DPoP ` + realm + `, algs="ES256"`}},
		{"no token, with metadata", nil, Requirement{}, metadata, 401, []string{`Bearer ` + realm + `, ` + address, `DPoP ` + realm + `, algs="ES256", ` + address}},
		{"no token where DPoP is required", nil, Requirement{}, func(cfg *Config) { cfg.Metadata = &ResourceMetadata{DPoPRequired: true} }, 401, []string{`DPoP ` + realm + `, algs="ES256", resource_metadata="https://api.piedpiper.example/.well-known/oauth-protected-resource"`}},
		{"another scheme", http.Header{"Authorization": {"Basic YTpi"}}, Requirement{}, nil, 401, []string{`Bearer ` + realm, `DPoP ` + realm + `, algs="ES256"`}},
		{"no token after the scheme", http.Header{"Authorization": {"Bearer"}}, Requirement{}, nil, 400, []string{`Bearer ` + realm + `, error="invalid_request", error_description="The Authorization header is malformed"`}},
		{"something odd", http.Header{"Authorization": {`Bearer a"b`}}, Requirement{}, nil, 400, []string{`Bearer ` + realm + `, error="invalid_request", error_description="The Authorization header is malformed"`}},
		{"two headers", http.Header{"Authorization": {"Bearer a", "Bearer b"}}, Requirement{}, nil, 400, []string{`Bearer ` + realm + `, error="invalid_request", error_description="There is more than one Authorization header"`}},
		{"bad token", bearer("a.b.c"), Requirement{}, metadata, 401, []string{`Bearer ` + realm + `, error="invalid_token", error_description="The token is malformed, or was not issued by this issuer", ` + address}},
		{"a neighbour's token", bearer(c.token("initech", nil)), Requirement{}, nil, 401, []string{`Bearer ` + realm + `, error="invalid_token", error_description="The token is of another issuer"`}},
		{"scope", bearer(c.token("hooli", nil)), Requirement{Scopes: []string{"chat:write", "chat:admin"}}, nil, 403, []string{`Bearer ` + realm + `, error="insufficient_scope", error_description="The token lacks a scope that this needs", scope="chat:write chat:admin"`}},
		{"acr", bearer(c.token("hooli", nil)), Requirement{ACR: []string{"urn:tenantry:acr:mfa", "urn:tenantry:acr:hwk"}, MaxAge: time.Minute}, nil, 401, []string{`Bearer ` + realm + `, error="insufficient_user_authentication", error_description="A different authentication level is required", acr_values="urn:tenantry:acr:mfa urn:tenantry:acr:hwk", max_age="60"`}},
		{"max_age", bearer(c.token("hooli", nil)), Requirement{MaxAge: 5 * time.Second}, nil, 401, []string{`Bearer ` + realm + `, error="insufficient_user_authentication", error_description="More recent authentication is required", max_age="5"`}},
		{"bound token as bearer", bearer(bound), Requirement{}, nil, 401, []string{`DPoP ` + realm + `, error="invalid_token", error_description="The token is bound to a key and needs the DPoP scheme", algs="ES256"`}},
		{"DPoP without proof", http.Header{"Authorization": {"DPoP " + bound}}, Requirement{}, nil, 401, []string{`DPoP ` + realm + `, error="invalid_dpop_proof", error_description="The DPoP header is missing", algs="ES256"`}},
		{"bad token in the DPoP scheme", http.Header{"Authorization": {"DPoP a.b.c"}}, Requirement{}, nil, 401, []string{`DPoP ` + realm + `, error="invalid_token", error_description="The token is malformed, or was not issued by this issuer", algs="ES256"`}},
		{"DPoP of another key", http.Header{"Authorization": {"DPoP " + bound}, "Dpop": {proofKeys()[1].proof(t, map[string]any{"jti": "1", "htm": "GET", "htu": "https://hooli.chat.example/rooms", "iat": c.clock.now().Unix(), "ath": hashOf(bound)}, nil)}}, Requirement{}, nil, 401, []string{`DPoP ` + realm + `, error="invalid_token", error_description="Invalid DPoP key binding", algs="ES256"`}},
		{"words that would break the header", bearer(c.token("hooli", nil)), Requirement{Scopes: []string{`a"\` + "\r\nX: y"}}, func(cfg *Config) { cfg.Realm = "a\"b\n" }, 403, []string{`Bearer realm="ab", error="insufficient_scope", error_description="The token lacks a scope that this needs", scope="aX: y"`}},
	} {
		t.Run(r.name, func(t *testing.T) {
			v := c.verifier(withTable, es, func(cfg *Config) {
				if r.cfg != nil {
					r.cfg(cfg)
				}
			})
			res := served(v, get("/rooms", r.header), r.need)
			if got := res.Header.Values("WWW-Authenticate"); res.StatusCode != r.status || !slices.Equal(got, r.want) {
				t.Errorf("%d\n%s\nwant\n%s", res.StatusCode, strings.Join(got, "\n"), strings.Join(r.want, "\n"))
			}
			if res.Header.Get("Cache-Control") != "no-store" {
				t.Error("the answer may be kept")
			}
		})
	}
}

func TestMiddlewareWithDPoP(t *testing.T) {
	c := newCluster(t)
	source, err := NewNonces([]byte(strings.Repeat("k", 32)), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	source.(*nonces).now = c.clock.now
	v := c.verifier(withTable, es, func(cfg *Config) { cfg.Nonces, cfg.RequireBinding = source, true })
	key := proofKeys()[0]
	token := c.token("hooli", map[string]any{"cnf": map[string]string{"jkt": key.thumbprint()}})
	claims := map[string]any{"jti": "1", "htm": "GET", "htu": "https://hooli.chat.example/rooms/a%20b", "iat": c.clock.now().Unix(), "ath": hashOf(token)}
	header := func() http.Header {
		return http.Header{"Authorization": {"DPoP " + token}, "Dpop": {key.proof(t, claims, nil)}}
	}
	res := served(v, get("/rooms/a%20b?page=2", header()))
	nonce := res.Header.Get("DPoP-Nonce")
	if res.StatusCode != 401 || nonce == "" || res.Header.Get("WWW-Authenticate") != `DPoP realm="https://api.piedpiper.example", error="use_dpop_nonce", error_description="Resource server requires nonce in DPoP proof", algs="ES256"` {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	claims["nonce"] = nonce
	if res := served(v, get("/rooms/a%20b?page=2", header())); res.StatusCode != 200 {
		t.Errorf("with the nonce: %d %v", res.StatusCode, res.Header)
	}
	if res := served(v, get("/rooms/other", header())); res.StatusCode != 401 {
		t.Errorf("at another path: %d", res.StatusCode)
	}
	// Behind a proxy that ends TLS, the application says what the client called.
	inner := httptest.NewRequest(http.MethodGet, "http://10.0.0.7:8080/rooms/a%20b", nil)
	inner.Host = "hooli.chat.example"
	inner.Header = header()
	if res := served(v, inner); res.StatusCode != 401 {
		t.Errorf("http where the proof says https: %d", res.StatusCode)
	}
	behind := c.verifier(withTable, es, func(cfg *Config) {
		cfg.RequestURL = func(r *http.Request) *url.URL {
			return &url.URL{Scheme: "https", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath}
		}
	})
	if res := served(behind, inner); res.StatusCode != 200 {
		t.Errorf("behind a proxy: %d %v", res.StatusCode, res.Header)
	}
}

func TestMiddlewareWithCertificate(t *testing.T) {
	c := newCluster(t)
	v := c.verifier(withTable)
	cert := &x509.Certificate{Raw: []byte("der")}
	r := get("/", bearer(c.token("hooli", map[string]any{"cnf": map[string]string{"x5t#S256": hashOf("der")}})))
	if res := served(v, r); res.StatusCode != 401 || !strings.HasPrefix(res.Header.Get("WWW-Authenticate"), "Bearer ") {
		t.Errorf("no certificate: %d", res.StatusCode)
	}
	r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
	if res := served(v, r); res.StatusCode != 200 {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	r.TLS = nil
	proxied := c.verifier(withTable, func(cfg *Config) { cfg.Certificate = func(*http.Request) *x509.Certificate { return cert } })
	if res := served(proxied, r); res.StatusCode != 200 {
		t.Errorf("from the proxy: %d %v", res.StatusCode, res.Header)
	}
}

func TestTokenElsewhereThanInTheHeaderIsNone(t *testing.T) {
	c := newCluster(t)
	v := c.verifier(withTable)
	token := c.token("hooli", nil)
	r := get("/?access_token="+token, nil)
	if res := served(v, r); res.StatusCode != 401 {
		t.Errorf("query: %d", res.StatusCode)
	}
	r = httptest.NewRequest(http.MethodPost, "https://hooli.chat.example/", strings.NewReader("access_token="+token))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if res := served(v, r); res.StatusCode != 401 {
		t.Errorf("form: %d", res.StatusCode)
	}
	r = get("/", http.Header{"Cookie": {"access_token=" + token}})
	if res := served(v, r); res.StatusCode != 401 {
		t.Errorf("cookie: %d", res.StatusCode)
	}
}

func TestUnavailableIs503AndKeepsTheToken(t *testing.T) {
	c := newCluster(t)
	c.set(func() { c.status = 500 })
	res := served(c.verifier(withTable), get("/", bearer(c.token("hooli", nil))))
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || res.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	unknown := c.verifier(func(cfg *Config) {
		cfg.Tenant, cfg.TenantFor = "", func(*http.Request) (string, bool) { return "", false }
	})
	if res := served(unknown, get("/", bearer(c.token("hooli", nil)))); res.StatusCode != 401 {
		t.Errorf("a request of no tenant: %d", res.StatusCode)
	}
	word := c.verifier(func(cfg *Config) {
		cfg.Tenant, cfg.TenantFor = "", func(r *http.Request) (string, bool) { return strings.TrimPrefix(r.URL.Path, "/"), true }
	})
	if res := served(word, get("/"+TenantOfIssuer, bearer(c.token("hooli", nil)))); res.StatusCode != 401 {
		t.Errorf("a word of the configuration in the path: %d", res.StatusCode)
	}
}

func TestIntrospection(t *testing.T) {
	c := newCluster(t)
	asking := func(cfg *Config) {
		cfg.Introspection = &Introspection{ClientID: "cli_api", ClientSecret: "s3cret+/"}
	}
	v := c.verifier(asking)
	token := c.token("hooli", nil)
	answer := func(token string, payload []byte) {
		c.set(func() { c.active[token] = `{"active":true,"token_type":"Bearer",` + string(payload[1:]) })
	}
	// A JWT that is revoked has a good signature and is not active.
	_, err := v.Verify(t.Context(), ask("hooli", token))
	wantCode(t, err, CodeInvalidToken)
	answer(token, c.payload("hooli", nil))
	mustVerify(t, v, ask("hooli", token))
	// Who is asked only about tokens of its own is asked little: a bad signature costs no call.
	n := c.introspections.Load()
	_, err = v.Verify(t.Context(), ask("hooli", token[:len(token)-4]+"AAAA"))
	wantCode(t, err, CodeInvalidToken)
	if c.introspections.Load() != n {
		t.Error("asked about a token of nobody")
	}
	// Opaque tokens, and the answers go through all rules.
	answer("opaque-1", c.payload("hooli", nil))
	mustVerify(t, v, ask("hooli", "opaque-1"))
	for name, change := range map[string]map[string]any{
		"another tenant": {"tnt": "tnt_initech"}, "another issuer": {"iss": "http://initech.localhost:" + c.port}, "another audience": {"aud": "x"}, "no audience": {"aud": nil},
		"expired": {"iat": 1, "exp": 2}, "bound": {"cnf": map[string]string{"jkt": "x"}},
	} {
		answer("opaque-2", c.payload("hooli", change))
		_, err := v.Verify(t.Context(), ask("hooli", "opaque-2"))
		t.Run(name, func(t *testing.T) { wantCode(t, err, CodeInvalidToken) })
	}
	// Without introspection an opaque token is no token.
	_, err = c.verifier().Verify(t.Context(), ask("hooli", "opaque-1"))
	wantCode(t, err, CodeInvalidToken)

	for name, change := range map[string]func(*Config){
		"wrong secret": func(cfg *Config) { cfg.Introspection.ClientSecret = "x" },
		"no credentials": func(cfg *Config) {
			*cfg.Introspection = Introspection{CredentialsFor: func(string) (string, string, bool) { return "", "", false }}
		},
	} {
		if _, err := c.verifier(asking, change).Verify(t.Context(), ask("hooli", "opaque-1")); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	each := c.verifier(asking, func(cfg *Config) {
		*cfg.Introspection = Introspection{CredentialsFor: func(issuer string) (string, string, bool) {
			return "cli_api", "s3cret+/", issuer == "http://hooli.localhost:"+c.port
		}}
	})
	mustVerify(t, each, ask("hooli", "opaque-1"))
}

func TestIntrospectionCache(t *testing.T) {
	c := newCluster(t)
	v := c.verifier(func(cfg *Config) {
		cfg.Introspection = &Introspection{ClientID: "cli_api", ClientSecret: "s3cret+/", Cache: 10 * time.Second}
	})
	c.set(func() { c.active["opaque"] = `{"active":true,` + string(c.payloadLocked("hooli")[1:]) })
	mustVerify(t, v, ask("hooli", "opaque"))
	c.set(func() { delete(c.active, "opaque") })
	c.clock.advance(9 * time.Second)
	mustVerify(t, v, ask("hooli", "opaque"))
	if n := c.introspections.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	// The answer about one issuer's token is not another's.
	_, err := v.Verify(t.Context(), ask("initech", "opaque"))
	wantCode(t, err, CodeInvalidToken)
	c.clock.advance(time.Second)
	_, err = v.Verify(t.Context(), ask("hooli", "opaque"))
	wantCode(t, err, CodeInvalidToken)
	for i := range 2 * maxAnswers {
		v.answers.put([32]byte{byte(i), byte(i >> 8)}, nil)
	}
	if n := len(v.answers.kept); n > maxAnswers {
		t.Errorf("%d answers are kept", n)
	}
}

func TestMetadata(t *testing.T) {
	c := newCluster(t)
	v := c.verifier(es, func(cfg *Config) {
		cfg.Metadata = &ResourceMetadata{Resource: "https://{host}", ScopesSupported: []string{"chat:write"}, ResourceName: "Chat"}
	})
	fetch := func(v *Verifier, method, target string) *http.Response {
		w := httptest.NewRecorder()
		v.MetadataHandler().ServeHTTP(w, httptest.NewRequest(method, target, nil))
		return w.Result()
	}
	res := fetch(v, http.MethodGet, "https://Hooli.chat.example/.well-known/oauth-protected-resource")
	body, _ := io.ReadAll(res.Body)
	want := `{"resource":"https://hooli.chat.example","authorization_servers":["http://hooli.localhost:` + c.port + `"],"scopes_supported":["chat:write"],"bearer_methods_supported":["header"],"resource_name":"Chat","dpop_signing_alg_values_supported":["ES256"]}`
	if string(body) != want || res.Header.Get("Content-Type") != "application/json" || !json.Valid(body) {
		t.Errorf("%s", body)
	}
	if res := fetch(v, http.MethodGet, "https://www.example/"); res.StatusCode != 404 {
		t.Errorf("a host of nobody: %d", res.StatusCode)
	}
	if res := fetch(v, http.MethodPost, "https://hooli.chat.example/"); res.StatusCode != 405 {
		t.Errorf("POST: %d", res.StatusCode)
	}
	if res := fetch(c.verifier(), http.MethodGet, "https://hooli.chat.example/"); res.StatusCode != 404 {
		t.Errorf("no metadata: %d", res.StatusCode)
	}
	for resource, want := range map[string]string{
		"https://a.example": "https://a.example/.well-known/oauth-protected-resource", "https://a.example/": "https://a.example/.well-known/oauth-protected-resource",
		"https://a.example/x/y": "https://a.example/.well-known/oauth-protected-resource/x/y", "https://a.example:8443/x?k=1": "https://a.example:8443/.well-known/oauth-protected-resource/x?k=1",
		"http://localhost:1/x": "http://localhost:1/.well-known/oauth-protected-resource/x", "http://a.example": "", "https://a.example/#x": "", "a.example": "", "https://u@a.example": "", "": "",
	} {
		if got, err := ResourceMetadataURL(resource); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", resource, got, err)
		}
	}
}

// Whatever stands in the header, nothing panics and nothing of it comes back.
func FuzzAuthorization(f *testing.F) {
	c := newCluster(f)
	v := c.verifier(withTable)
	f.Add("Bearer a.b.c", "")
	f.Add("DPoP a.b.c", "x.y.z")
	f.Fuzz(func(t *testing.T, header, proof string) {
		r := get("/", http.Header{"Authorization": {header}, "Dpop": {proof}})
		res := served(v, r)
		if res.StatusCode != 401 && res.StatusCode != 400 {
			t.Fatalf("%q: %d", header, res.StatusCode)
		}
		for _, challenge := range res.Header.Values("WWW-Authenticate") {
			if strings.ContainsAny(challenge, "\r\n\\") {
				t.Fatalf("%q makes %q", header, challenge)
			}
		}
	})
}

// What is read as claims has the five facts and a life; what is not, does not panic.
func FuzzParseClaims(f *testing.F) {
	c := newCluster(f)
	f.Add(c.payload("hooli", nil))
	f.Add(c.payload("hooli", map[string]any{"cnf": map[string]string{"jkt": "x"}, "aud": []string{api}}))
	f.Fuzz(func(t *testing.T, payload []byte) {
		got, err := parseClaims(payload)
		if err != nil {
			return
		}
		if got.Issuer == "" || got.Subject == "" || got.ClientID == "" || got.Org == "" || len(got.Audience) == 0 || !got.ExpireTime.After(got.IssuedAt) ||
			got.TokenUse == UserTokens && (got.Tenant == "" || got.Subject == got.ClientID) {
			t.Fatalf("%s is read as %+v", payload, got)
		}
	})
}

// Comparing is symmetric, and a URL is the same as itself.
func FuzzSameURL(f *testing.F) {
	f.Add("https://a.example/x", "https://A.example:443/x?y")
	f.Add("https://a.example/%7e%2f", "https://a.example/~%2F")
	f.Fuzz(func(t *testing.T, a, b string) {
		ua, errA := url.Parse(a)
		ub, errB := url.Parse(b)
		if errA != nil || errB != nil {
			return
		}
		plain := func(u *url.URL) bool {
			return u.Host != "" && u.User == nil && u.Opaque == "" && len(u.String()) < 4096
		}
		if !plain(ua) || !plain(ub) || len(a) > 4096 || len(b) > 4096 {
			return
		}
		if !sameURL(a, ua) {
			t.Fatalf("%q is not itself", a)
		}
		if sameURL(a, ub) != sameURL(b, ua) {
			t.Fatalf("%q and %q", a, b)
		}
	})
}
