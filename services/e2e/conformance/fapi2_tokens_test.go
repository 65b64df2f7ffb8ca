// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// fapi2Tokens are modules about codes, tokens and the resource.
var fapi2Tokens = map[string]func(*run){
	"access-token-type-header-case-sensitivity": func(r *run) {
		g := r.signedIn().login(nil)
		for _, scheme := range schemes(g.TokenType) {
			if a := r.c.Resource(http.MethodGet, scheme, g.AccessToken, nil); a.Status != http.StatusOK {
				r.Errorf("scheme %s: %d %s", scheme, a.Status, a.Header.Get("WWW-Authenticate"))
			}
		}
	},
	"ensure-client-id-in-token-endpoint": func(r *run) {
		s, code := r.code(nil, nil)
		r.refusedAt(r.c.Redeem(s, code, &e2etest.Twist{Form: func(f url.Values) { f.Set("client_id", r.c2.ID) }}), "invalid_client", "invalid_request", "invalid_grant")
		r.stillGood(s, code)
	},
	"ensure-holder-of-key-required": func(r *run) {
		s, code := r.code(nil, nil)
		tw := &e2etest.Twist{NoProof: true}
		if r.fapi.constraint == "mtls" {
			tw = &e2etest.Twist{NoCert: true}
		}
		r.refusedAt(r.c.Redeem(s, code, tw), "invalid_dpop_proof", "invalid_request", "invalid_client", "invalid_grant")
		r.stillGood(s, code)
		r.tlsIsStrict()
	},
	"ensure-authorization-code-is-bound-to-client": func(r *run) {
		s, code := r.code(nil, nil)
		r.refusedAt(r.c2.Redeem(s, code, nil), "invalid_grant")
	},
	"attempt-reuse-authorization-code-after-one-second": func(r *run) {
		s, code := r.code(nil, nil)
		g := &e2etest.Granted{}
		r.c.Back(s, g, r.c.Redeem(s, code, nil))
		time.Sleep(time.Second)
		r.refusedAt(r.c.Redeem(s, code, nil), "invalid_grant")
		if a := r.c.UserInfo(g.AccessToken); a.Status != http.StatusUnauthorized {
			r.Errorf("the access token from the first use still works: %d", a.Status)
		}
	},
	"ensure-token-endpoint-fails-with-expired-auth-code": func(r *run) {
		r.onBrief()
		s, code := r.code(nil, nil)
		time.Sleep(briefLife + time.Second)
		r.refusedAt(r.c.Redeem(s, code, nil), "invalid_grant")
	},
	"refresh-token":                      fapiRefresh,
	"ensure-pkce-code-verifier-required": func(r *run) { r.verifier("") },
	"incorrect-pkce-code-verifier-rejected": func(r *run) {
		r.verifier(strings.Repeat("wrong", 10))
	},
}

// schemes are an authentication scheme's name in other letters.
func schemes(name string) []string {
	return []string{strings.ToLower(name), strings.ToUpper(name), name[:1] + strings.ToUpper(name[1:]), strings.ToLower(name[:1]) + strings.ToUpper(name[1:2]) + name[2:]}
}

// code goes as far as a code.
func (r *run) code(more url.Values, tw *e2etest.Twist) (s *e2etest.Started, code string) {
	r.Helper()
	r.signedIn()
	s = r.c.Start(more, tw)
	v := r.c.Response(s, r.through(r.c, r.open(r.c, s)))
	if v.Get("code") == "" {
		r.Fatalf("no code: %v", v)
	}
	return s, v.Get("code")
}

// stillGood proves that a refused request has used nothing up.
func (r *run) stillGood(s *e2etest.Started, code string) {
	r.Helper()
	r.c.Back(s, &e2etest.Granted{}, r.c.Redeem(s, code, nil))
}

// onBrief moves the module to the tenant with short lives.
func (r *run) onBrief() {
	r.provider = r.brief
	r.c, r.c2 = r.client.For(r.T), r.client2.For(r.T)
}

func (r *run) verifier(v string) {
	r.Helper()
	s, code := r.code(nil, nil)
	s.Verifier = v
	r.refusedAt(r.c.Redeem(s, code, nil), "invalid_grant", "invalid_request")
}

func fapiRefresh(r *run) {
	g := r.signedIn().login(url.Values{"scope": {"openid profile offline_access"}, "prompt": {"consent"}})
	if g.RefreshToken == "" {
		r.Fatal("no refresh token")
	}
	r.refusedAt(r.c2.Refresh(g.RefreshToken, nil, nil), "invalid_grant")
	a := r.c.Refresh(g.RefreshToken, nil, nil)
	r.refreshed(g, a)
	r.bound(r.c, e2etest.Str(a.JSON, "access_token"))
	if next := e2etest.Str(a.JSON, "refresh_token"); next != "" && next != g.RefreshToken {
		r.Error("the refresh token is rotated (FAPI 2.0 Security Profile section 5.3.2.1)")
	}
	r.refreshed(g, r.c.Refresh(g.RefreshToken, nil, nil))
	if r.c.DPoP != nil {
		r.refusedAt(r.c.Refresh(g.RefreshToken, nil, &e2etest.Twist{NoProof: true}), "invalid_dpop_proof", "invalid_request", "invalid_grant")
	}
}

// tlsIsStrict checks protocol versions and cipher suites of the port that everything went through (FAPI 2.0 Security Profile section
// 5.2.2, RFC 9325).
func (r *run) tlsIsStrict() {
	r.Helper()
	host := mustURL(r.T, r.tenant.Issuer).Host
	if _, err := handshake(r, host, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		r.Error("TLS 1.1 is accepted")
	}
	good := []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	}
	var weak []uint16
	for _, c := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if slices.Contains(c.SupportedVersions, uint16(tls.VersionTLS12)) && !slices.Contains(good, c.ID) {
			weak = append(weak, c.ID)
		}
	}
	if state, err := handshake(r, host, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: weak}); err == nil {
		r.Errorf("cipher suite %s is accepted", tls.CipherSuiteName(state.CipherSuite))
	}
	if _, err := handshake(r, host, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: good}); err != nil {
		r.Errorf("TLS 1.2 with the suites of the profile: %v", err)
	}
	if _, err := handshake(r, host, &tls.Config{MinVersion: tls.VersionTLS13}); err != nil {
		r.Errorf("TLS 1.3: %v", err)
	}
}

func handshake(r *run, host string, cfg *tls.Config) (tls.ConnectionState, error) {
	r.Helper()
	conn, err := e2etest.DialTLS(r.Context(), host, cfg)
	if err != nil {
		var alert tls.AlertError
		var record tls.RecordHeaderError
		if !errors.As(err, &alert) && !errors.As(err, &record) && !strings.Contains(err.Error(), "remote error") && !strings.Contains(err.Error(), "tls:") {
			r.Fatalf("%s: %v", host, err) // the port is not there: nothing is proven
		}
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	return conn.ConnectionState(), nil
}

// fapi2Assertions are modules about private_key_jwt.
var fapi2Assertions = map[string]func(*run){
	"ensure-signed-client-assertion-with-RS256-fails": func(r *run) {
		r.badAssertion(&e2etest.Twist{AssertionKey: r.c.Key.With("RS256")})
	},
	"ensure-client-assertion-in-token-endpoint": func(r *run) {
		s, code := r.code(nil, nil)
		r.refusedAt(r.c.Redeem(s, code, &e2etest.Twist{NoAuth: true}), "invalid_client", "invalid_request")
		r.stillGood(s, code)
	},
	"ensure-client-assertion-with-exp-is-5-minutes-in-past-fails": func(r *run) {
		r.badAssertion(&e2etest.Twist{Assertion: func(_, c map[string]any) { c["iat"], c["exp"] = unix(-6*time.Minute), unix(-5*time.Minute) }})
	},
	"ensure-client-assertion-with-wrong-aud-fails": func(r *run) {
		r.badAssertion(&e2etest.Twist{Assertion: func(_, c map[string]any) { c["aud"] = "https://other.example/oauth2/token" }})
	},
	"ensure-client-assertion-with-no-sub-fails": func(r *run) {
		r.badAssertion(&e2etest.Twist{Assertion: func(_, c map[string]any) { c["sub"] = nil }})
	},
	"par-ensure-jwt-client-assertions-nbf-8-seconds-in-the-future-is-accepted": func(r *run) {
		r.signedIn().loginAs(r.c, nil, &e2etest.Twist{Assertion: func(_, c map[string]any) { c["nbf"] = unix(8 * time.Second) }})
	},
	"par-ensure-jwt-client-assertions-nbf-over-60-seconds-in-the-future-fails": func(r *run) {
		r.parRefuses(func(_, c map[string]any) { c["nbf"], c["exp"] = unix(70*time.Second), unix(130*time.Second) })
	},
	"par-test-array-as-audience-fails": func(r *run) {
		r.parRefuses(func(_, c map[string]any) { c["aud"] = []string{r.tenant.Issuer, "https://other.example"} })
		r.parRefuses(func(_, c map[string]any) { c["aud"] = []string{r.tenant.Issuer} })
	},
	"par-test-par-endpoint-url-as-audience-fails": func(r *run) {
		r.parRefuses(func(_, c map[string]any) { c["aud"] = r.c.Endpoint("pushed_authorization_request_endpoint") })
	},
	"par-test-token-endpoint-url-as-audience-fails": func(r *run) {
		r.parRefuses(func(_, c map[string]any) { c["aud"] = r.c.Endpoint("token_endpoint") })
	},
}

// badAssertion sends a code with a wrong client assertion, which must be refused and use up nothing.
func (r *run) badAssertion(tw *e2etest.Twist) {
	r.Helper()
	s, code := r.code(nil, nil)
	r.refusedAt(r.c.Redeem(s, code, tw), "invalid_client")
	r.stillGood(s, code)
}

// parRefuses sends a request to the PAR endpoint with a wrong client assertion.
func (r *run) parRefuses(change func(header, claims map[string]any)) {
	r.Helper()
	r.refusedAt(r.c.TryStart(nil, &e2etest.Twist{Assertion: change}).Pushed, "invalid_client")
}

// fapi2PAR are modules about pushed authorization requests.
var fapi2PAR = map[string]func(*run){
	"par-ensure-reused-request-uri-prior-to-auth-completion-succeeds": func(r *run) {
		s := r.c.Start(nil, nil)
		r.open(r.c, s)
		r.c.Grants(s, r.through(r.c, r.open(r.c, s)), nil)
	},
	"par-attempt-reuse-request_uri": func(r *run) {
		r.signedIn()
		s := r.c.Start(nil, nil)
		r.c.Grants(s, r.open(r.c, s), nil)
		r.deadURI(s)
	},
	"par-attempt-to-use-expired-request_uri": func(r *run) {
		r.onBrief()
		r.signedIn()
		s := r.c.Start(nil, nil)
		if life := e2etest.Num(s.Pushed.JSON, "expires_in"); life != int64(briefLife.Seconds()) {
			r.Errorf("expires_in %d", life)
		}
		time.Sleep(briefLife + time.Second)
		r.deadURI(s)
	},
	"par-attempt-to-use-request_uri-for-different-client": func(r *run) {
		r.signedIn()
		s := r.c.Start(nil, nil)
		u := mustURL(r.T, s.URL)
		q := u.Query()
		q.Set("client_id", r.c2.ID)
		u.RawQuery = q.Encode()
		s.URL = u.String()
		r.deadURI(s)
	},
	"par-authorization-request-containing-request_uri-form-param": func(r *run) {
		uri := r.c.Start(nil, nil).RequestURI
		s := r.c.TryStart(nil, &e2etest.Twist{Form: func(f url.Values) { f.Set("request_uri", uri) }})
		r.refusedAt(s.Pushed, "invalid_request", "invalid_request_uri", "invalid_request_object")
	},
	"par-attempt-invalid-http-method": func(r *run) {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodPatch} {
			req, err := http.NewRequestWithContext(r.Context(), method, r.c.Endpoint("pushed_authorization_request_endpoint"), nil)
			if err != nil {
				r.Fatal(err)
			}
			if a := e2etest.Send(r, req); a.Status != http.StatusMethodNotAllowed {
				r.Errorf("%s: %d", method, a.Status)
			}
		}
	},
	"par-ensure-pkce-required": func(r *run) {
		s := r.c.TryStart(url.Values{"code_challenge": {""}, "code_challenge_method": {""}}, nil)
		r.refusedAt(s.Pushed, "invalid_request", "invalid_request_object")
	},
	"par-plain-pkce-rejected": func(r *run) {
		v := strings.Repeat("plain", 10)
		s := r.c.TryStart(url.Values{"code_challenge": {v}, "code_challenge_method": {"plain"}}, nil)
		r.refusedAt(s.Pushed, "invalid_request", "invalid_request_object")
	},
	// What this client does in all modules: the two parameters and no other.
	"par-without-duplicate-parameters": func(r *run) { r.signedIn().login(nil) },
}

// deadURI opens a request whose request_uri must not be accepted: an error page, or an error at the client.
func (r *run) deadURI(s *e2etest.Started) {
	r.Helper()
	p := r.open(r.c, s)
	if v, _, back := r.c.Delivered(p); back {
		if signed := v.Get("response"); signed != "" {
			_, claims := e2etest.JWTClaims(r, signed)
			v = url.Values{"error": {e2etest.Str(claims, "error")}, "code": {e2etest.Str(claims, "code")}}
		}
		if v.Get("code") != "" || v.Get("error") == "" {
			r.Errorf("the client got %v", v)
		}
		return
	}
	if p.Status < 400 || hasField(p, "password") {
		r.Errorf("no error page but %v", p)
	}
}
