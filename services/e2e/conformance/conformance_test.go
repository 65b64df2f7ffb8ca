// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package conformance_test holds Tenantry against the modules of the OpenID Foundation's conformance suite for an OpenID provider. Each
// module of each plan is one subtest under the plan's and the module's own names, and checks what that module checks, in our own words,
// through https and the public ports as the suite does.
//
// It runs without the suite, so that it is part of every `make test`; it does not replace a run of the suite itself. The lists of
// modules in plans_test.go are the suite's: a module without a test fails the run, and one that does not apply says which sentence of
// which standard makes it so. The clients of the tests are e2etest.Party, which shares no protocol code with what is tested.
package conformance_test

import (
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

var system = e2etest.Shared{Options: e2etest.Options{TLS: true}}

// atOnce is how many modules run side by side: more than a machine has processors, since some wait for a code to expire.
const atOnce = "8"

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	e2etest.Main(m, &system)
}

// plan is a test plan of the suite in one of its variants.
type plan struct {
	name, variant string
	// prefix is what all module names of the plan begin with.
	prefix string
	// modules are all that the suite runs in the plan, without the prefix.
	modules []string
	// tests are what they do.
	tests map[string]func(*run)
	// setup makes the tenant and the clients that they run against.
	setup func(t *testing.T) *provider
}

// row is what became of a module.
type row struct{ plan, variant, module, result, note string }

// run is one module.
type run struct {
	*testing.T
	*provider
	browser *e2etest.Browser
	// c and c2 are the two clients of the plan.
	c, c2 *e2etest.Party
	// na is why the module does not apply.
	na string
}

// notApplicable ends a module that the standard makes inapplicable, after the module has seen that it is so.
func (r *run) notApplicable(why string) { r.na = why }

func TestConformance(t *testing.T) {
	var (
		mu   sync.Mutex
		rows []row
	)
	done := func(p *plan, module string, r *run, failed bool) {
		mu.Lock()
		defer mu.Unlock()
		e := row{plan: p.name, variant: p.variant, module: module, result: "pass"}
		switch {
		case failed:
			e.result = "FAIL"
		case r.na != "":
			e.result, e.note = "n.a.", r.na
		}
		rows = append(rows, e)
	}
	all := plans()
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		t.Log(table(all, rows))
	})
	for _, name := range planNames(all) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, p := range all {
				if p.name != name {
					continue
				}
				t.Run(p.variant, func(t *testing.T) {
					t.Parallel()
					made := p.setup(t)
					for _, module := range p.modules {
						t.Run(module, func(t *testing.T) {
							t.Parallel()
							r := &run{T: t, provider: made, browser: e2etest.NewBrowser(t), c: made.client.For(t)}
							if made.client2 != nil {
								r.c2 = made.client2.For(t)
							}
							defer func() {
								if t.Skipped() { // a skip ends the test's goroutine: only what is deferred sees it
									t.Error("a module is not skipped: it applies, or the standard says why not")
								}
								done(p, module, r, t.Failed())
							}()
							test, ok := p.tests[module]
							if !ok {
								t.Fatalf("no test for module %s%s", p.prefix, module)
							}
							test(r)
						})
					}
				})
			}
		})
	}
}

func planNames(all []*plan) (names []string) {
	for _, p := range all {
		if !slices.Contains(names, p.name) {
			names = append(names, p.name)
		}
	}
	return names
}

// table is what became of each module of each plan, in the suite's order.
func table(all []*plan, rows []row) string {
	var b strings.Builder
	count := map[string]int{}
	for _, p := range all {
		fmt.Fprintf(&b, "\n%s, %s\n", p.name, p.variant)
		for _, module := range p.modules {
			i := slices.IndexFunc(rows, func(r row) bool { return r.plan == p.name && r.variant == p.variant && r.module == module })
			if i < 0 {
				continue // -run asked for others
			}
			count[rows[i].result]++
			fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("  %-84s %-4s %s", p.prefix+module, rows[i].result, rows[i].note), " "))
		}
	}
	fmt.Fprintf(&b, "\n%d modules: %d pass, %d do not apply, %d fail\n", len(rows), count["pass"], count["n.a."], count["FAIL"])
	return b.String()
}

// provider is a tenant under test with its clients.
type provider struct {
	rig    *e2etest.Rig
	tenant *e2etest.Tenant
	// client and client2 are the plan's two clients; clientPost is one that authenticates in the body.
	client, client2, clientPost *e2etest.Party
	// brief is the same with artefacts that live for briefLife, for modules that wait until one has expired.
	brief *provider
	// who has an account, and session are the cookies of a browser in which they are signed in.
	who     e2etest.Person
	session []*http.Cookie
	suite   *e2etest.Suite
	// protocol is what the first client registered beyond the basics.
	protocol map[string]any
	// options are the variant of an OpenID Connect plan.
	options oidcOptions
	// ciba is the variant of a CIBA plan, and notification its clients' notification endpoint.
	ciba         ciba
	notification string
	// fapi is the variant of a FAPI 2.0 plan.
	fapi fapi2
}

// briefLife is how long codes and pushed requests live where modules wait for their end: long enough for a busy machine to use them.
const briefLife = 5 * time.Second

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

// signedIn gives the module's browser a session, for modules that are about something else than the login.
func (r *run) signedIn() *run {
	r.browser.SetCookies(r.tenant.Issuer, r.session)
	return r
}

// signIn signs a person in once, for signedIn.
func (p *provider) signIn(t *testing.T) {
	t.Helper()
	b := e2etest.NewBrowser(t)
	b.StopAt = p.client.Returned
	c := p.client.For(t)
	r := &run{T: t, provider: p, browser: b}
	page := r.through(c, b.Get(c.Start(url.Values{"prompt": {"login"}}, nil).URL))
	if _, _, ok := c.Delivered(page); !ok {
		t.Fatalf("after the login: %v\n%s", page, page.Text())
	}
	p.session = b.Cookies(p.tenant.Issuer)
}

// open sends the browser to the authorization endpoint.
func (r *run) open(c *e2etest.Party, s *e2etest.Started) *e2etest.Page {
	r.Helper()
	r.browser.StopAt = c.Returned
	return r.browser.Get(s.URL)
}

// through goes on until the client has its response: it signs in and consents where it is asked.
func (r *run) through(c *e2etest.Party, page *e2etest.Page) *e2etest.Page {
	r.Helper()
	for range 3 {
		if _, _, done := c.Delivered(page); done {
			return page
		}
		if hasField(page, "password") {
			page = page.SignIn(r.who)
			continue
		}
		if hasButton(page, "answer", "allow") {
			page = page.Form("t").Press("answer", "allow")
			continue
		}
		break
	}
	return page
}

func hasField(p *e2etest.Page, name string) bool {
	return slices.ContainsFunc(p.Forms(), func(f *e2etest.Form) bool { return f.Values.Has(name) })
}

func hasButton(p *e2etest.Page, name, value string) bool {
	return slices.ContainsFunc(p.Forms(), func(f *e2etest.Form) bool { return slices.Contains(f.Buttons, [2]string{name, value}) })
}

// login completes a request, with whatever pages there are.
func (r *run) login(more url.Values) *e2etest.Granted {
	r.Helper()
	return r.loginAs(r.c, more, nil)
}

func (r *run) loginAs(c *e2etest.Party, more url.Values, tw *e2etest.Twist) *e2etest.Granted {
	r.Helper()
	s := c.Start(more, tw)
	return c.Grants(s, r.through(c, r.open(c, s)), tw)
}

// silent completes a request without a page.
func (r *run) silent(more url.Values) *e2etest.Granted {
	r.Helper()
	s := r.c.Start(more, nil)
	p := r.open(r.c, s)
	if _, _, done := r.c.Delivered(p); !done {
		r.Fatalf("a page is shown: %v", p)
	}
	return r.c.Grants(s, p, nil)
}

// asked completes a request that must show the login form.
func (r *run) asked(more url.Values) *e2etest.Granted {
	r.Helper()
	s := r.c.Start(more, nil)
	p := r.open(r.c, s)
	if !hasField(p, "password") {
		r.Fatalf("no login page is shown but %v", p)
	}
	return r.c.Grants(s, r.through(r.c, p), nil)
}

// errorAt opens a request that must end in an error response at the client, and returns its parameters.
func (r *run) errorAt(s *e2etest.Started, want ...string) url.Values {
	r.Helper()
	return r.isError(r.c, s, r.open(r.c, s), want...)
}

func (r *run) isError(c *e2etest.Party, s *e2etest.Started, p *e2etest.Page, want ...string) url.Values {
	r.Helper()
	v := c.Response(s, p)
	if !slices.Contains(want, v.Get("error")) {
		r.Fatalf("error %q (%s), want one of %q", v.Get("error"), v.Get("error_description"), want)
	}
	for _, name := range []string{"code", "id_token", "access_token"} {
		if v.Has(name) {
			r.Errorf("the error response has %s", name)
		}
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

// refusedAt checks a refusal of an endpoint for programs.
func (r *run) refusedAt(a *e2etest.Answer, want ...string) {
	r.Helper()
	if code := e2etest.Str(a.JSON, "error"); a.Status < 400 || a.Status > 499 || !slices.Contains(want, code) {
		r.Errorf("%d %s, want one of %q", a.Status, a.Body, want)
	}
}

// advertises reports whether a list of the discovery document has a value.
func (r *run) advertises(list, value string) bool {
	return slices.Contains(e2etest.List(r.c.Doc, list), any(value))
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

// get asks for an address.
func get(t *testing.T, address string, header http.Header) *e2etest.Answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	return e2etest.Send(t, req)
}
