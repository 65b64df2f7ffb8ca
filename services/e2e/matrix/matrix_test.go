// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package matrix_test brings everything that one tenant has issued to every endpoint of another (PROMISES.md R-40): the list of
// endpoints is the services' own, so that one that is added is in the matrix at once.
package matrix_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// wait is how long a test waits for what happens in the background, on a machine that runs many tests.
const wait = 30 * time.Second

var system e2etest.Shared

func TestMain(m *testing.M) { e2etest.Main(m, &system) }

// volatile is what differs between two answers to the same request: handles, tokens, nonces, ids, times.
var volatile = regexp.MustCompile(`[A-Za-z0-9_+/=-]{16,}|req_[a-z0-9]+|"(iat|exp|nbf|auth_time|updated_at)":\d+`)

// judge is what an answer tells: everything but what is different each time, and the value itself where it is echoed.
func judge(a *e2etest.Answer, values ...string) string {
	var b strings.Builder
	fmt.Fprintln(&b, a.Status)
	for _, k := range slices.Sorted(maps.Keys(a.Header)) {
		if k != "Date" && k != "X-Request-Id" && k != "Content-Length" {
			fmt.Fprintf(&b, "%s: %q\n", k, a.Header[k])
		}
	}
	b.Write(a.Body)
	text := b.String()
	for _, v := range values {
		text = strings.ReplaceAll(strings.ReplaceAll(text, url.QueryEscape(v), "·"), v, "·")
	}
	return volatile.ReplaceAllString(text, "·")
}

// ask sends a probe with a value in a slot to an endpoint. Besides the value it holds what an attacker knows anyway: his own account
// and clients at the tenant that he attacks.
func ask(t *testing.T, issuer string, e e2etest.Endpoint, s slot, value string, at *tenantUnderAttack) *e2etest.Answer {
	t.Helper()
	p := &probe{query: url.Values{}, form: url.Values{}, header: http.Header{}, method: e.Method, path: e.Path, address: issuer + e.Path, at: at}
	own := func(id string) e2etest.Client { return at.Clients[id] }
	web := own("web")
	switch e.Path {
	case "/oauth2/token":
		p.form = url.Values{"grant_type": {"refresh_token"}, "redirect_uri": {e2etest.RedirectURI}}
		if s.grant != "" {
			p.form.Set("grant_type", s.grant)
		}
		if s.grant == grantExchange {
			p.form.Set("subject_token", at.tokens.AccessToken)
			p.form.Set("subject_token_type", typeAccess)
			p.form.Set("actor_token_type", typeAccess)
			if s.name != "parameter actor_token" {
				p.form.Del("actor_token_type")
			}
		}
		switch c := own(s.client); {
		case s.client == "":
			p.header.Set("Authorization", basic(web))
		case c.Secret == "":
			p.form.Set("client_id", c.ID)
		default:
			p.header.Set("Authorization", basic(c))
		}
	case "/oauth2/introspect", "/oauth2/revoke":
		p.header.Set("Authorization", basic(web))
	case "/oauth2/par":
		p.header.Set("Authorization", basic(web))
		p.form = url.Values{"response_type": {"code"}, "redirect_uri": {e2etest.RedirectURI}, "scope": {"openid"}}
	case "/oauth2/device_authorization":
		p.form = url.Values{"client_id": {own("tv").ID}, "scope": {"nothing-that-is-offered"}}
	case "/oauth2/bc-authorize":
		p.header.Set("Authorization", basic(own("bank")))
		p.form = url.Values{"scope": {"openid"}}
	case "/oauth2/authorize":
		p.query = url.Values{"client_id": {web.ID}, "response_type": {"code"}, "redirect_uri": {e2etest.RedirectURI}, "scope": {"openid"}, "prompt": {"none"}}
		if s.name == "parameter request_uri" {
			p.query = url.Values{"client_id": {web.ID}}
		}
	case "/oauth2/logout":
		p.query = url.Values{"post_logout_redirect_uri": {e2etest.PostLogoutURI}}
	}
	if strings.HasPrefix(s.name, "parameter r ") || s.name == "parameter r" {
		p.query = url.Values{}
	}
	s.put(p, value)
	if p.ownSession {
		p.header.Set("Cookie", "tnt_sid="+at.session)
		if p.formCookie != "" {
			p.header.Set("Cookie", "tnt_sid="+at.session+"; tnt_form="+p.formCookie)
		}
	}
	return p.send(t, issuer)
}

func (p *probe) send(t *testing.T, issuer string) *e2etest.Answer {
	t.Helper()
	path, body := strings.TrimSuffix(p.path, "…"), ""
	switch {
	case strings.HasPrefix(path, "/oauth2/clients") && p.method != http.MethodGet:
		p.header.Set("Content-Type", "application/json")
		body = registration
	case p.method == http.MethodPost:
		p.header.Set("Content-Type", "application/x-www-form-urlencoded")
		if p.query.Has("r") {
			path += "?r=" + url.QueryEscape(p.query.Get("r"))
		}
		for k := range p.query {
			if !p.form.Has(k) {
				p.form.Set(k, p.query.Get(k))
			}
		}
		body = p.form.Encode()
	case len(p.query) > 0:
		path += "?" + p.query.Encode()
	}
	req, err := http.NewRequestWithContext(t.Context(), p.method, issuer+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = p.header
	return e2etest.Send(t, req)
}

// TestNoArtefactOfATenantIsAcceptedByAnother brings everything that tenant A has issued to every endpoint of A itself, of a tenant of
// the same org, of one of another org, and of a deleted one. Elsewhere an artefact must be answered exactly like one that was never
// issued: not accepted, and not recognised.
func TestNoArtefactOfATenantIsAcceptedByAnother(t *testing.T) {
	rig := system.Rig(t)
	key := e2etest.NewKey(t, "ES256")
	org, foreign := rig.NewOrgWith(t, "matrix", blueprint(key)), rig.NewOrgWith(t, "foreign", blueprint(key))
	home := arm(t, rig, org.Provision(t, "alpha"), key)
	same := arm(t, rig, org.Provision(t, "beta"), key)
	other := arm(t, rig, foreign.Provision(t, "alpha"), key) // the same slug, too
	dead := arm(t, rig, org.Provision(t, "dead"), key)
	rig.API(t, org.Key, http.MethodDelete, "/v1/"+dead.Name+"?force=true", nil)
	e2etest.Eventually(t, wait, "the deleted host is closed", func() bool {
		closed := func(path string) bool {
			return (&probe{method: http.MethodGet, path: path, header: http.Header{}}).send(t, dead.Issuer).Status == http.StatusNotFound
		}
		return closed("/login") && closed("/.well-known/jwks.json")
	})
	endpoints := slices.DeleteFunc(rig.Endpoints(t), func(e e2etest.Endpoint) bool { return e.Method == http.MethodHead })
	var probes atomic.Int64

	from := func(victim *tenantUnderAttack, where string, at *tenantUnderAttack) {
		for _, art := range victim.arts {
			for _, s := range art.slots {
				for _, e := range endpoints {
					probes.Add(1)
					real := judge(ask(t, at.Issuer, e, s, art.value, at), art.value, art.garbage)
					fake := judge(ask(t, at.Issuer, e, s, art.garbage, at), art.value, art.garbage)
					if real != fake {
						t.Errorf("%s of %s as %s at %s %s of %s: told apart from one that was never issued\n%.600s\n--- never issued:\n%.600s", art.name, victim.Host, s.name, e.Method, e.Path, where, real, fake)
					}
					for _, canary := range []string{victim.Name, victim.Host, "The " + victim.Slug + " company", victim.who.Email} {
						if victim.Slug != at.Slug && strings.Contains(real, canary) {
							t.Errorf("%s as %s at %s %s of %s: the answer names %q", art.name, s.name, e.Method, e.Path, where, canary)
						}
					}
				}
			}
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { from(home, "a tenant of the same org", same) })
	wg.Go(func() { from(home, "a tenant of another org", other) })
	wg.Go(func() { from(home, "a deleted tenant", dead); from(dead, "itself, deleted", dead) })
	wg.Wait()
	from(dead, "a living tenant, from a deleted one", same)

	// None of it was harmed: what was brought to others' revocation and logout endpoints still works.
	if _, err := home.rp.UserInfo(home.tokens); err != nil {
		t.Errorf("the access token after the probes elsewhere: %v", err)
	}
	if a := e2etest.PostForm(t, home.rp.Endpoint("introspection_endpoint"), home.Clients["web"], url.Values{"token": {home.tokens.RefreshToken}}); a.JSON["active"] != true {
		t.Errorf("the refresh token after the probes elsewhere: %s", a.Body)
	}

	// At home each is accepted somewhere, else the matrix would prove nothing.
	accepted := map[string]int{}
	for _, art := range home.arts {
		for _, s := range art.slots {
			for _, e := range endpoints {
				value := art.value
				if art.fresh != nil {
					value = art.fresh()
				}
				if judge(ask(t, home.Issuer, e, s, value, home), value, art.garbage) != judge(ask(t, home.Issuer, e, s, art.garbage, home), value, art.garbage) {
					accepted[art.name]++
				}
			}
		}
		if accepted[art.name] == 0 && art.unseen == "" {
			t.Errorf("%s is accepted nowhere at home: the probes are wrong", art.name)
		}
		if accepted[art.name] > 0 && art.unseen != "" {
			t.Errorf("%s: %s, and yet it is", art.name, art.unseen)
		}
	}
	t.Logf("%d artefacts, %d endpoints, %d probes elsewhere; at home accepted or recognised: %v", len(home.arts), len(endpoints), probes.Load(), accepted)
}
