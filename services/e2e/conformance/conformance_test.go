// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package conformance_test holds Tenantry against the modules of the OpenID Foundation's conformance suite for an OpenID provider: the
// config, basic, form post basic and RP-initiated logout plans with a static client. Each test has the name of the suite's module and
// checks what that module checks, in our own words, through https as the suite does.
//
// It runs without the suite, so that it is part of every `make test`; it does not replace a run of the suite itself.
package conformance_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

var system = e2etest.Shared{Options: e2etest.Options{TLS: true}}

func TestMain(m *testing.M) { e2etest.Main(m, &system) }

// The clients of the plans, by their ids in the blueprint. The suite wants RS256 unless a client registered otherwise.
const (
	client     = "rs256"
	clientPost = "post"
	client2    = "web"
)

// provider is a tenant under test.
type provider struct {
	rig    *e2etest.Rig
	tenant *e2etest.Tenant
	// mode is the response_mode that all requests ask for, "" for the default.
	mode string
}

// run is one module.
type run struct {
	*testing.T
	*provider
	browser *e2etest.Browser
	rp      *e2etest.RP
	who     e2etest.Person
	note    string
}

type module struct {
	name string
	test func(*run)
}

func newProvider(t *testing.T, mode string) *provider {
	t.Helper()
	rig := system.Rig(t)
	org := rig.NewOrgWith(t, "oidf", e2etest.DraftRS256())
	request := org.ProvisionRequest("op")
	request["tenant"] = map[string]any{"displayName": "Conformance", "type": "PRODUCTION"}
	p := &provider{rig: rig, tenant: org.ProvisionWith(t, request), mode: mode}
	p.waitForRSA(t)
	return p
}

// waitForRSA waits for the RSA key, which joins a moment later when the pool of them is empty.
func (p *provider) waitForRSA(t *testing.T) {
	t.Helper()
	e2etest.Eventually(t, 30*time.Second, "an RSA key in the JWKS", func() bool {
		for _, k := range p.jwks(t) {
			if k["alg"] == "RS256" {
				return true
			}
		}
		return false
	})
}

// plan runs modules side by side and prints what became of each.
func (p *provider) plan(t *testing.T, plan string, modules []module) {
	t.Helper()
	var mu sync.Mutex
	results := map[string]string{}
	t.Run(plan, func(t *testing.T) {
		for _, m := range modules {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				r := &run{T: t, provider: p, browser: e2etest.NewBrowser(t), who: p.person(t)}
				r.rp = p.tenant.RP(t, client)
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					result := "passed"
					switch {
					case t.Failed():
						result = "FAILED"
					case t.Skipped():
						result = "skipped"
					}
					results[m.name] = strings.TrimSpace(fmt.Sprintf("%-8s %s", result, r.note))
				}()
				m.test(r)
			})
		}
	})
	var table strings.Builder
	fmt.Fprintf(&table, "%s: %d modules\n", plan, len(results))
	for _, name := range slices.Sorted(maps.Keys(results)) {
		fmt.Fprintf(&table, "  %-86s %s\n", name, results[name])
	}
	t.Log(table.String())
}

// skip says why the suite skips a module, which is no failure there.
func (r *run) skip(why string) {
	r.Helper()
	r.note = why
	r.Skip(why)
}

// person makes a user with a full profile.
func (p *provider) person(t *testing.T) e2etest.Person {
	t.Helper()
	who := e2etest.NewPerson()
	p.rig.API(t, p.tenant.Keys["tenant-admin"], http.MethodPost, "/v1/"+p.tenant.Name+"/users", map[string]any{
		"displayName": who.Name, "emails": []any{map[string]any{"address": who.Email, "verified": true}}, "password": who.Password, "locale": "en",
		"profile": map[string]any{
			"givenName": "Dana", "familyName": "Example", "nickname": "dee", "website": "https://dana.example/", "zoneinfo": "Europe/Berlin",
			"preferredUsername": "dana", "picture": "https://dana.example/me.png",
		},
	})
	return who
}

func (p *provider) jwks(t *testing.T) (keys []map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.tenant.Issuer+"/.well-known/jwks.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range e2etest.List(e2etest.Send(t, req).JSON, "keys") {
		if m, ok := k.(map[string]any); ok {
			keys = append(keys, m)
		}
	}
	return keys
}

// begin makes a request as the suite does: state and nonce, no PKCE unless asked for.
func (r *run) begin(more url.Values) e2etest.Begun {
	all := url.Values{"code_challenge": {""}, "code_challenge_method": {""}}
	if r.mode != "" {
		all["response_mode"] = []string{r.mode}
	}
	maps.Copy(all, more)
	return r.rp.Begin(all)
}

// open sends the browser to the authorization endpoint.
func (r *run) open(s e2etest.Begun) *e2etest.Page {
	r.Helper()
	r.browser.StopAt = r.rp.Returned
	return r.browser.Get(s.URL)
}

// login completes a request, with the login form where it is shown.
func (r *run) login(more url.Values) *e2etest.Tokens {
	r.Helper()
	s := r.begin(more)
	p := r.open(s)
	if _, done := r.rp.Responded(p); !done {
		p = p.SignIn(r.who)
	}
	return r.exchange(s, p)
}

// silent completes a request without a form.
func (r *run) silent(more url.Values) *e2etest.Tokens {
	r.Helper()
	s := r.begin(more)
	p := r.open(s)
	if _, done := r.rp.Responded(p); !done {
		r.Fatalf("a page is shown: %v", p)
	}
	return r.exchange(s, p)
}

// asked completes a request that must show the login form.
func (r *run) asked(more url.Values) *e2etest.Tokens {
	r.Helper()
	s := r.begin(more)
	p := r.open(s)
	if _, done := r.rp.Responded(p); done {
		r.Fatal("no login page is shown")
	}
	return r.exchange(s, p.SignIn(r.who))
}

func (r *run) exchange(s e2etest.Begun, p *e2etest.Page) *e2etest.Tokens {
	r.Helper()
	v := r.rp.Response(p)
	if inForm := p.Stopped == nil; inForm != (r.mode == "form_post") {
		r.Fatalf("the response came in a form: %v, response_mode is %q", inForm, r.mode)
	}
	tokens := r.rp.Exchange(s, v)
	r.checkTokens(tokens)
	return tokens
}

// checkTokens holds every token answer against what all modules check (OIDC Core 2, 3.1.3.3, 3.1.3.7).
func (r *run) checkTokens(t *e2etest.Tokens) {
	r.Helper()
	header, claims := e2etest.JWTClaims(r, t.RawIDToken)
	if !strings.EqualFold(t.TokenType, "bearer") || t.ExpiresIn <= 0 {
		r.Errorf("token_type %q, expires_in %d", t.TokenType, t.ExpiresIn)
	}
	kid, _ := header["kid"].(string)
	known := slices.ContainsFunc(r.jwks(r.T), func(k map[string]any) bool { return k["kid"] == kid && k["alg"] == header["alg"] })
	if !known {
		r.Errorf("kid %q with alg %v is not in the JWKS", kid, header["alg"])
	}
	for _, name := range []string{"iss", "sub", "aud", "exp", "iat"} {
		if claims[name] == nil {
			r.Errorf("the ID token has no %s", name)
		}
	}
	if sub := e2etest.Str(claims, "sub"); len(sub) > 255 {
		r.Errorf("sub has %d characters", len(sub))
	}
}

// errorAt opens a request that must end in an error response at the client, and returns its parameters.
func (r *run) errorAt(s e2etest.Begun, want ...string) url.Values {
	r.Helper()
	v := r.rp.Response(r.open(s))
	if !slices.Contains(want, v.Get("error")) || v.Get("code") != "" {
		r.Fatalf("error %q (%s), want one of %q", v.Get("error"), v.Get("error_description"), want)
	}
	if v.Get("state") != s.State || v.Get("iss") != r.tenant.Issuer {
		r.Errorf("state %q, iss %q", v.Get("state"), v.Get("iss"))
	}
	return v
}

// errorPage opens an address that must end in a page of our own and never at the client.
func (r *run) errorPage(address string) *e2etest.Page {
	r.Helper()
	r.browser.StopAt = func(u *url.URL) bool { return u.Host != mustURL(r.T, r.tenant.Issuer).Host }
	p := r.browser.Get(address)
	if p.Stopped != nil {
		r.Fatalf("redirected to %s", p.Stopped)
	}
	if p.Status < 400 || p.Title() == "" {
		r.Fatalf("no error page but %v", p)
	}
	return p
}

// nextSecond waits until the second of a claim like auth_time has passed.
func nextSecond() {
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(1050 * time.Millisecond)))
}

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func num(v any, path ...any) int64 {
	f, _ := e2etest.At(v, path...).(float64)
	return int64(f)
}
