// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/jose"
)

func TestVerifyAnswersTheClaims(t *testing.T) {
	c := newCluster(t)
	v := c.verifier()
	claims, err := v.Verify(t.Context(), ask("hooli", c.token("hooli", map[string]any{
		"groups": []string{"eng"}, "entitlements": []string{"plan:premium"}, "permissions": []string{"chat.write"}, "claims_truncated": true,
		"act": map[string]string{"sub": "uid_2"}, "authorization_details": []any{map[string]string{"type": "x"}}, "https://piedpiper.example/room": "general",
	})))
	if err != nil {
		t.Fatal(err)
	}
	now := c.clock.now().Truncate(time.Second)
	if claims.Issuer != "http://hooli.localhost:"+c.port || claims.Subject != "uid_1" || claims.ClientID != "cli_chat" || claims.Org != "org_piedpiper" || claims.Tenant != "tnt_hooli" ||
		claims.TokenUse != "user" || claims.Env != "prod" || claims.SessionID != "ses_1" || claims.GrantID != "gnt_1" || claims.ACR != "urn:tenantry:acr:pwd" || claims.ConfigVersion != 7 || claims.ID != "01j9zr0g5vx3" ||
		!claims.AuthTime.Equal(now.Add(-100*time.Second)) || !claims.ExpireTime.Equal(now.Add(600*time.Second)) || !claims.IssuedAt.Equal(now) || !claims.NotBefore.Equal(now) {
		t.Errorf("%+v", claims)
	}
	if !claims.HasScope("chat:write") || claims.HasScope("chat") || !claims.HasRole("moderator") || claims.HasRole("admin") || !claims.Truncated ||
		!slices.Equal(claims.Groups, []string{"eng"}) || !slices.Equal(claims.Entitlements, []string{"plan:premium"}) || !slices.Equal(claims.Permissions, []string{"chat.write"}) || !slices.Equal(claims.AMR, []string{"pwd"}) ||
		string(claims.Actor) != `{"sub":"uid_2"}` || string(claims.AuthorizationDetails) != `[{"type":"x"}]` {
		t.Errorf("%+v", claims)
	}
	var custom struct {
		Room string `json:"https://piedpiper.example/room"`
	}
	if err := claims.Decode(&custom); err != nil || custom.Room != "general" {
		t.Errorf("%+v, %v", custom, err)
	}
}

func TestEveryAlgorithm(t *testing.T) {
	c := newCluster(t)
	v := c.verifier()
	for _, s := range signers() {
		if _, err := v.Verify(t.Context(), ask("hooli", c.sign(s, "at+jwt", c.payload("hooli", nil)))); err != nil {
			t.Errorf("%s: %v", s.Algorithm(), err)
		}
	}
	only := c.verifier(func(cfg *Config) { cfg.Algorithms = []jose.Algorithm{jose.ES256} })
	_, err := only.Verify(t.Context(), ask("hooli", c.sign(signers()[4], "at+jwt", c.payload("hooli", nil))))
	wantCode(t, err, CodeInvalidToken)
}

func TestRules(t *testing.T) {
	c := newCluster(t)
	now := c.clock.now().Unix()
	type m = map[string]any
	machine := m{"token_use": "client", "sub": "cli_chat", "sid": nil, "gnt": nil, "auth_time": nil, "acr": nil, "amr": nil}
	with := func(base m, more m) m {
		out := m{}
		for k, v := range base {
			out[k] = v
		}
		for k, v := range more {
			out[k] = v
		}
		return out
	}
	for _, r := range []struct {
		name   string
		change m
		cfg    func(*Config)
		ok     bool
	}{
		{"as it is", nil, nil, true},
		{"issuer of a neighbour", m{"iss": "http://initech.localhost:" + c.port}, nil, false},
		{"issuer with a slash", m{"iss": "http://hooli.localhost:" + c.port + "/"}, nil, false},
		{"iss missing", m{"iss": nil}, nil, false},
		{"another audience", m{"aud": "https://other.example"}, nil, false},
		{"one of several audiences", m{"aud": []string{"https://other.example", api}}, nil, true},
		{"none of several audiences", m{"aud": []string{"https://other.example", "https://x.example"}}, nil, false},
		{"no audience", m{"aud": []string{}}, nil, false},
		{"aud missing", m{"aud": nil}, nil, false},
		{"aud of another kind", m{"aud": 7}, nil, false},
		{"expired within the leeway", m{"iat": now - 100, "exp": now - 29}, nil, true},
		{"expired", m{"iat": now - 100, "exp": now - 30}, nil, false},
		{"exp missing", m{"exp": nil}, nil, false},
		{"exp as text", m{"exp": "tomorrow"}, nil, false},
		{"not yet, within the leeway", m{"nbf": now + 30, "iat": now + 30}, nil, true},
		{"not yet", m{"nbf": now + 31}, nil, false},
		{"issued in the future", m{"iat": now + 31}, nil, false},
		{"iat missing", m{"iat": nil}, nil, false},
		{"tenant of a neighbour", m{"tnt": "tnt_initech"}, nil, false},
		{"tnt missing", m{"tnt": nil}, nil, false},
		{"tnt empty", m{"tnt": ""}, nil, false},
		{"org missing", m{"org": nil}, nil, false},
		{"org pinned", nil, func(cfg *Config) { cfg.Org = "org_piedpiper" }, true},
		{"another org", nil, func(cfg *Config) { cfg.Org = "org_endframe" }, false},
		{"sub missing", m{"sub": nil}, nil, false},
		{"client_id missing", m{"client_id": nil}, nil, false},
		{"jti missing", m{"jti": nil}, nil, false},
		{"user's token about a client", m{"sub": "cli_chat"}, nil, false},
		{"auth_time missing", m{"auth_time": nil}, nil, false},
		{"use unknown", m{"token_use": "session"}, func(cfg *Config) { cfg.TokenUse = AnyTokens }, false},
		{"use missing", m{"token_use": nil}, nil, false},
		{"client's token where users are wanted", machine, nil, false},
		{"client's token where clients are wanted", machine, func(cfg *Config) { cfg.TokenUse = ClientTokens }, true},
		{"client's token where both are wanted", machine, func(cfg *Config) { cfg.TokenUse = AnyTokens }, true},
		{"service account", with(machine, m{"sub": "sva_1"}), func(cfg *Config) { cfg.TokenUse = ClientTokens }, true},
		{"client's token about a user", with(machine, m{"sub": "uid_1"}), func(cfg *Config) { cfg.TokenUse = ClientTokens }, false},
		{"user's token where clients are wanted", nil, func(cfg *Config) { cfg.TokenUse = ClientTokens }, false},
		{"client's token without a tenant", with(machine, m{"tnt": nil}), func(cfg *Config) { cfg.TokenUse = ClientTokens }, false},
		{"development", m{"env": "dev"}, nil, false},
		{"development allowed", m{"env": "dev"}, func(cfg *Config) { cfg.AllowDevelopment = true }, true},
		{"env unknown", m{"env": "test"}, func(cfg *Config) { cfg.AllowDevelopment = true }, false},
		{"env missing", m{"env": nil}, func(cfg *Config) { cfg.AllowDevelopment = true }, false},
		{"unbound where binding is required", nil, func(cfg *Config) { cfg.RequireBinding = true }, false},
		{"bound in an unknown way", m{"cnf": m{"x5u": "https://x"}}, nil, false},
		{"cnf empty", m{"cnf": m{}}, nil, false},
		{"cnf of another kind", m{"cnf": "x"}, nil, false},
		{"scopes of the configuration", nil, func(cfg *Config) { cfg.Require.Scopes = []string{"chat:write"} }, true},
	} {
		t.Run(r.name, func(t *testing.T) {
			v := c.verifier(func(cfg *Config) {
				if r.cfg != nil {
					r.cfg(cfg)
				}
			})
			claims, err := v.Verify(t.Context(), ask("hooli", c.token("hooli", r.change)))
			if r.ok {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantCode(t, err, CodeInvalidToken)
			if claims != nil {
				t.Error("claims came with the error")
			}
		})
	}
}

func TestAttackOnSignature(t *testing.T) {
	c := newCluster(t)
	v := c.verifier()
	good := c.token("hooli", nil)
	parts := strings.Split(good, ".")
	stranger, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	header := func(text string) string { return b64([]byte(text)) }
	mac, err := jose.SignHMAC(jose.HS256, signers()[4].Public().JWK(), "at+jwt", c.payload("hooli", nil))
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"alg none":                          header(`{"alg":"none","typ":"at+jwt","kid":"sgk_a"}`) + "." + parts[1] + ".",
		"public key as secret":              mac,
		"stranger's key under our kid":      c.sign(jose.NewSigner(stranger, "sgk_a"), "at+jwt", c.payload("hooli", nil)),
		"stranger's key in the header":      proofKeys()[0].proof(t, map[string]any{"iss": "x"}, map[string]any{"typ": "at+jwt"}),
		"ID token":                          c.sign(signers()[0], "JWT", c.payload("hooli", nil)),
		"logout token":                      c.sign(signers()[0], "logout+jwt", c.payload("hooli", nil)),
		"no typ":                            c.sign(signers()[0], "", c.payload("hooli", nil)),
		"payload of another token":          parts[0] + "." + b64(c.payload("hooli", map[string]any{"roles": []string{"admin"}})) + "." + parts[2],
		"neighbour's token, renamed issuer": c.sign(jose.NewSigner(stranger, "sgk_b"), "at+jwt", c.payload("hooli", nil)),
		"not a token":                       "hello",
		"too large":                         good + strings.Repeat("A", maxToken),
		"not JSON":                          c.sign(signers()[0], "at+jwt", []byte("hello")),
		"a list":                            c.sign(signers()[0], "at+jwt", []byte("[]")),
	} {
		_, err := v.Verify(t.Context(), ask("hooli", token))
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeInvalidToken {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(e.Description, "sgk_") || strings.ContainsAny(e.Description, `"\`) {
			t.Errorf("%s: says %q", name, e.Description)
		}
	}
	if _, err := v.Verify(t.Context(), Request{Host: "hooli.chat.example"}); !errors.Is(err, ErrNoToken) {
		t.Errorf("no token: %v", err)
	}
}

// Every way to bring one tenant's token to another.
func TestAttackAcrossTenants(t *testing.T) {
	c := newCluster(t)
	v := c.verifier()
	// initech's key is also one of hooli's keys here, the worst that could happen; issuer and tenant still tell them apart.
	initech := c.token("initech", nil)
	if _, err := v.Verify(t.Context(), ask("initech", initech)); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]Request{
		"at another host":                    ask("hooli", initech),
		"at another host for its own tenant": {Token: initech, Host: "hooli.chat.example", Tenant: "tnt_initech"},
		"at its host for another tenant":     {Token: initech, Host: "initech.chat.example", Tenant: "tnt_hooli"},
		"at a host of nobody":                {Token: initech, Host: "www.example", Tenant: "tnt_initech"},
		"at a host of nobody's label":        ask("endframe", initech),
		"at no host":                         {Token: initech, Tenant: "tnt_initech"},
		"for no tenant":                      {Token: initech, Host: "initech.chat.example"},
		"for the word of the configuration":  {Token: initech, Host: "initech.chat.example", Tenant: TenantOfIssuer},
		"for another word":                   {Token: initech, Host: "initech.chat.example", Tenant: NoTenant},
		"for a prefix":                       {Token: initech, Host: "initech.chat.example", Tenant: "tnt_"},
		"at a label with a dot":              {Token: initech, Host: "a.initech.chat.example", Tenant: "tnt_initech"},
		"at a label with a port in it":       {Token: initech, Host: "initech:80.chat.example", Tenant: "tnt_initech"},
		"at a label with a slash":            {Token: initech, Host: "initech/x.chat.example", Tenant: "tnt_initech"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), r)
			wantCode(t, err, CodeInvalidToken)
		})
	}
}

func TestTenantWords(t *testing.T) {
	c := newCluster(t)
	machine := map[string]any{"token_use": "client", "sub": "cli_chat", "tnt": nil, "auth_time": nil}
	host := func(token string) Request { return Request{Token: token, Host: "HOOLI.chat.example.:443"} }
	ofIssuer := c.verifier(func(cfg *Config) { cfg.Tenant, cfg.TokenUse = TenantOfIssuer, AnyTokens })
	if claims, err := ofIssuer.Verify(t.Context(), host(c.token("hooli", nil))); err != nil || claims.Tenant != "tnt_hooli" {
		t.Errorf("of the issuer: %v", err)
	}
	_, err := ofIssuer.Verify(t.Context(), host(c.token("hooli", machine)))
	wantCode(t, err, CodeInvalidToken)
	none := c.verifier(func(cfg *Config) { cfg.Tenant, cfg.TokenUse = NoTenant, AnyTokens })
	if _, err := none.Verify(t.Context(), host(c.token("hooli", machine))); err != nil {
		t.Errorf("no tenant: %v", err)
	}
	_, err = none.Verify(t.Context(), host(c.token("hooli", nil)))
	wantCode(t, err, CodeInvalidToken)
	one := c.verifier(func(cfg *Config) {
		cfg.Tenant, cfg.IssuerFor, cfg.Issuer = "tnt_hooli", nil, "http://hooli.localhost:"+c.port
	})
	if _, err := one.Verify(t.Context(), Request{Token: c.token("hooli", nil)}); err != nil {
		t.Errorf("one tenant: %v", err)
	}
	_, err = one.Verify(t.Context(), Request{Token: c.token("hooli", map[string]any{"tnt": "tnt_other"})})
	wantCode(t, err, CodeInvalidToken)
	// A tenant that a request names narrows, and is not a word.
	_, err = one.Verify(t.Context(), Request{Token: c.token("hooli", nil), Tenant: "tnt_other"})
	wantCode(t, err, CodeInvalidToken)
	_, err = ofIssuer.Verify(t.Context(), Request{Token: c.token("hooli", nil), Host: "hooli.chat.example", Tenant: "tnt_other"})
	wantCode(t, err, CodeInvalidToken)
}

func TestStepUp(t *testing.T) {
	c := newCluster(t)
	v := c.verifier(func(cfg *Config) { cfg.TokenUse = AnyTokens })
	for _, r := range []struct {
		name   string
		change map[string]any
		need   Requirement
		want   string
	}{
		{"nothing needed", nil, Requirement{}, ""},
		{"scope there", nil, Requirement{Scopes: []string{"chat:write", "openid"}}, ""},
		{"scope missing", nil, Requirement{Scopes: []string{"chat:write", "chat:admin"}}, CodeInsufficientScope},
		{"part of a scope", nil, Requirement{Scopes: []string{"chat"}}, CodeInsufficientScope},
		{"scope claim missing", map[string]any{"scope": nil}, Requirement{Scopes: []string{"openid"}}, CodeInsufficientScope},
		{"acr there", nil, Requirement{ACR: []string{"urn:tenantry:acr:mfa", "urn:tenantry:acr:pwd"}}, ""},
		{"acr weaker", nil, Requirement{ACR: []string{"urn:tenantry:acr:mfa"}}, CodeInsufficientAuthentication},
		{"acr missing", map[string]any{"acr": nil}, Requirement{ACR: []string{"urn:tenantry:acr:mfa"}}, CodeInsufficientAuthentication},
		{"recent enough", nil, Requirement{MaxAge: 100 * time.Second}, ""},
		{"recent enough within the leeway", nil, Requirement{MaxAge: 70 * time.Second}, ""},
		{"too long ago", nil, Requirement{MaxAge: 69 * time.Second}, CodeInsufficientAuthentication},
		{"a client has no login", map[string]any{"token_use": "client", "sub": "cli_chat", "auth_time": nil, "acr": nil}, Requirement{MaxAge: time.Hour}, CodeInsufficientAuthentication},
		{"login before scope", nil, Requirement{MaxAge: time.Second, Scopes: []string{"chat:admin"}}, CodeInsufficientAuthentication},
	} {
		req := ask("hooli", c.token("hooli", r.change))
		req.Require = r.need
		_, err := v.Verify(t.Context(), req)
		if r.want == "" {
			if err != nil {
				t.Errorf("%s: %v", r.name, err)
			}
			continue
		}
		t.Run(r.name, func(t *testing.T) { wantCode(t, err, r.want) })
	}
	// Requirements add up, and contexts that exclude each other let nobody in.
	both := Requirement{Scopes: []string{"a"}, ACR: []string{"x", "y"}, MaxAge: time.Hour}.and(Requirement{Scopes: []string{"b"}, ACR: []string{"y", "z"}, MaxAge: time.Minute})
	if !slices.Equal(both.Scopes, []string{"a", "b"}) || !slices.Equal(both.ACR, []string{"y"}) || both.MaxAge != time.Minute {
		t.Errorf("%+v", both)
	}
	strict := c.verifier(func(cfg *Config) { cfg.Require.ACR = []string{"urn:tenantry:acr:mfa"} })
	req := ask("hooli", c.token("hooli", nil))
	req.Require.ACR = []string{"urn:tenantry:acr:pwd"}
	_, err := strict.Verify(t.Context(), req)
	wantCode(t, err, CodeInsufficientAuthentication)
}

func TestCertificateBinding(t *testing.T) {
	c := newCluster(t)
	v := c.verifier()
	certificate := func(serial int64) *x509.Certificate {
		k := proofKeys()[0].key
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial)}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
		if err != nil {
			t.Fatal(err)
		}
		return &x509.Certificate{Raw: der}
	}
	own, other := certificate(1), certificate(2)
	token := c.token("hooli", map[string]any{"cnf": map[string]string{"x5t#S256": hashOf(string(own.Raw))}})
	req := ask("hooli", token)
	req.Certificate = own
	claims, err := v.Verify(t.Context(), req)
	if err != nil || claims.CertificateThumbprint != hashOf(string(own.Raw)) {
		t.Fatal(err)
	}
	strict := c.verifier(func(cfg *Config) { cfg.RequireBinding = true })
	if _, err := strict.Verify(t.Context(), req); err != nil {
		t.Errorf("bound, where binding is required: %v", err)
	}
	req.Certificate = other
	_, err = v.Verify(t.Context(), req)
	wantCode(t, err, CodeInvalidToken)
	req.Certificate = nil
	_, err = v.Verify(t.Context(), req)
	wantCode(t, err, CodeInvalidToken)
	// Bound to both: each alone is not enough.
	key := proofKeys()[0]
	both := ask("hooli", c.token("hooli", map[string]any{"cnf": map[string]string{"x5t#S256": hashOf(string(own.Raw)), "jkt": key.thumbprint()}}))
	both.Certificate = own
	_, err = v.Verify(t.Context(), both)
	wantCode(t, err, CodeInvalidToken)
	both.Certificate, both.Scheme, both.Method, both.URL = nil, SchemeDPoP, http.MethodGet, &url.URL{Scheme: "https", Host: "x.example"}
	both.Proofs = []string{key.proof(t, map[string]any{"jti": "1", "htm": "GET", "htu": "https://x.example/", "iat": c.clock.now().Unix(), "ath": hashOf(both.Token)}, nil)}
	_, err = v.Verify(t.Context(), both)
	wantCode(t, err, CodeInvalidToken)
	both.Certificate = own
	if _, err := v.Verify(t.Context(), both); err != nil {
		t.Errorf("both proved: %v", err)
	}
}

func TestConfigurationHasNoDangerousDefaults(t *testing.T) {
	good := func() Config {
		return Config{Issuer: "https://hooli.example.com", Audience: api, Tenant: "tnt_1", TokenUse: UserTokens}
	}
	if _, err := New(good()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"nothing":                 func(c *Config) { *c = Config{} },
		"no issuer":               func(c *Config) { c.Issuer = "" },
		"two issuers":             func(c *Config) { c.IssuerFor = func(string) (string, bool) { return "", false } },
		"issuer on http":          func(c *Config) { c.Issuer = "http://hooli.example.com" },
		"issuer with credentials": func(c *Config) { c.Issuer = "https://a:b@hooli.example.com" },
		"no audience":             func(c *Config) { c.Audience = "" },
		"no tenant":               func(c *Config) { c.Tenant = "" },
		"two tenants":             func(c *Config) { c.TenantFor = func(*http.Request) (string, bool) { return "", false } },
		"tenant of another form":  func(c *Config) { c.Tenant = "hooli" },
		"no use":                  func(c *Config) { c.TokenUse = "" },
		"users without a tenant":  func(c *Config) { c.Tenant = NoTenant },
		"leeway above a minute":   func(c *Config) { c.Leeway = 61 * time.Second },
		"leeway below zero":       func(c *Config) { c.Leeway = -1 },
		"proofs of an hour":       func(c *Config) { c.ProofWindow = time.Hour },
		"shared secrets":          func(c *Config) { c.Algorithms = []jose.Algorithm{jose.HS256} },
		"proofs with none":        func(c *Config) { c.ProofAlgorithms = []jose.Algorithm{"none"} },
		"introspection of nobody": func(c *Config) { c.Introspection = &Introspection{} },
		"answers kept for long": func(c *Config) {
			c.Introspection = &Introspection{ClientID: "a", ClientSecret: "b", Cache: time.Hour}
		},
		"metadata of no URL": func(c *Config) { c.Audience, c.Metadata = "urn:x", &ResourceMetadata{} },
	} {
		cfg := good()
		change(&cfg)
		if v, err := New(cfg); err == nil || v != nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestHostPattern(t *testing.T) {
	f, err := HostPattern("{label}.App.example.com", "https://{label}.login.example.com/")
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"hooli.app.example.com": "https://hooli.login.example.com/", "a-1.app.example.com": "https://a-1.login.example.com/",
		".app.example.com": "", "app.example.com": "", "a.b.app.example.com": "", "hooli.app.example.com.evil.example": "", "-a.app.example.com": "",
		"a_b.app.example.com": "", "hööli.app.example.com": "", "a/b.app.example.com": "", "a@evil.app.example.com": "", strings.Repeat("a", 64) + ".app.example.com": "", "": "",
	} {
		if got, ok := f(host); got != want || ok != (want != "") {
			t.Errorf("%q: %q", host, got)
		}
	}
	for _, bad := range [][2]string{{"app.example.com", "https://{label}.x.example"}, {"{label}.{label}", "https://{label}.x.example"}, {"{label}.a", "https://x.example"}, {"{label}.a", "http://{label}.x.example"}, {"{label}.a", "{label}"}} {
		if _, err := HostPattern(bad[0], bad[1]); err == nil {
			t.Errorf("%v: taken", bad)
		}
	}
}

// Base64 that is not base64url must not pass through the claims either.
func TestClaimsAreReadStrictly(t *testing.T) {
	c := newCluster(t)
	v := c.verifier()
	token := c.token("hooli", nil)
	parts := strings.Split(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	padded := parts[0] + "." + base64.URLEncoding.EncodeToString(append(raw, ' ')) + "." + parts[2]
	_, err = v.Verify(t.Context(), ask("hooli", padded))
	wantCode(t, err, CodeInvalidToken)
}
