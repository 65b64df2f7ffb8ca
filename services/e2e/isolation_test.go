// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// artefact is something of tenant A that an attacker holds, with something that looks alike and was never issued.
type artefact struct {
	name, value, garbage string
	// slots are the ways in which it is brought.
	slots []slot
	// spend makes another one, for artefacts that work once.
	fresh func() string
}

// slot puts a value into a request.
type slot struct {
	name string
	put  func(req *probe, value string)
}

// probe is a request in the making.
type probe struct {
	query, form url.Values
	header      http.Header
	path        string
}

func param(name string) slot {
	return slot{"parameter " + name, func(p *probe, v string) { p.query.Set(name, v); p.form.Set(name, v) }}
}

func bearer() slot {
	return slot{"Bearer", func(p *probe, v string) { p.header.Set("Authorization", "Bearer "+v) }}
}

func cookie(name string) slot {
	return slot{"cookie " + name, func(p *probe, v string) { p.header.Set("Cookie", name+"="+v) }}
}

// tenantUnderAttack is a tenant with one of each artefact.
type tenantUnderAttack struct {
	*e2etest.Tenant
	rp     *e2etest.RP
	who    e2etest.Person
	arts   []artefact
	tokens *e2etest.Tokens
}

// arm makes a tenant's artefacts. Those that work once are made again for each probe at home.
func arm(t *testing.T, rig *e2etest.Rig, tn *e2etest.Tenant) *tenantUnderAttack {
	t.Helper()
	a := &tenantUnderAttack{Tenant: tn, rp: tn.RP(t, "web"), who: e2etest.NewPerson()}
	browser := e2etest.NewBrowser(t)
	a.tokens = a.rp.Register(browser, a.who, nil)
	begun := a.rp.Begin(url.Values{"code_challenge": {""}, "code_challenge_method": {""}})
	code := func() string {
		browser.StopAt = a.rp.Returned
		s := a.rp.Begin(url.Values{"code_challenge": {""}, "code_challenge_method": {""}})
		return a.rp.Response(browser.Get(s.URL)).Get("code")
	}
	stranger := e2etest.NewBrowser(t)
	login := stranger.Get(begun.URL)
	sealed := login.URL.Query().Get("r")
	csrf := login.Form("password").Values.Get("t")
	formCookie := cookieValue(t, stranger.Cookies(tn.Issuer), "tnt_form")
	session := cookieValue(t, browser.Cookies(tn.Issuer), "tnt_sid")
	invitation := invitationLink(t, rig, tn)
	web := tn.Clients["web"]
	basicOf := slot{"Basic", func(p *probe, v string) { p.header.Set("Authorization", v) }}
	a.arts = []artefact{
		{name: "code", value: code(), slots: []slot{param("code"), param("token"), bearer()}, fresh: code},
		{name: "access token", value: a.tokens.AccessToken, slots: []slot{bearer(), param("token"), param("access_token"), param("id_token_hint")}},
		{name: "ID token", value: a.tokens.RawIDToken, slots: []slot{param("id_token_hint"), bearer(), param("token")}},
		{name: "refresh token", value: a.tokens.RefreshToken, slots: []slot{param("refresh_token"), param("token"), bearer()}},
		{name: "session cookie", value: session, slots: []slot{cookie("tnt_sid"), cookie("__Host-tnt_sid")}},
		{name: "CSRF token", value: csrf, slots: []slot{{"field with its cookie", func(p *probe, v string) {
			p.header.Set("Cookie", "tnt_form="+formCookie)
			p.form.Set("t", v)
			p.form.Set("email", "somebody@people.example")
			p.form.Set("password", "correct horse 47 battery")
		}}}},
		{name: "sealed authorization request", value: sealed, slots: []slot{param("r")}},
		{name: "invitation link", value: invitation, slots: []slot{{"path", func(p *probe, v string) {
			if strings.HasSuffix(p.path, "…") {
				p.path = strings.TrimSuffix(p.path, "…") + v
			}
		}}}},
		{name: "client credential", value: basic(web), slots: []slot{basicOf, {"fields", func(p *probe, v string) {
			raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(v, "Basic "))
			id, secret, _ := strings.Cut(string(raw), ":")
			p.form.Set("client_id", id)
			p.form.Set("client_secret", secret)
		}}}},
		{name: "API key", value: tn.Keys["tenant-admin"], slots: []slot{bearer(), param("token"), param("access_token")}},
	}
	for i := range a.arts {
		art := &a.arts[i]
		if art.value == "" {
			t.Fatalf("no %s", art.name)
		}
		art.garbage = lookalike(art.value)
	}
	return a
}

// lookalike is a text of the same form that was never issued: each letter and digit of its later part is exchanged for another.
func lookalike(s string) string {
	if raw, ok := strings.CutPrefix(s, "Basic "); ok {
		plain, _ := base64.StdEncoding.DecodeString(raw)
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(lookalike(string(plain))))
	}
	b := []byte(s)
	for i := range b {
		if i < len(b)/3 {
			continue
		}
		switch c := b[i]; {
		case c >= 'a' && c < 'z' || c >= 'A' && c < 'Z' || c >= '0' && c < '9':
			b[i]++
		case c == 'z' || c == 'Z' || c == '9':
			b[i]--
		}
	}
	return string(b)
}

func cookieValue(t *testing.T, cookies []*http.Cookie, name string) string {
	t.Helper()
	for _, c := range cookies {
		if c.Name == name {
			return c.Value
		}
	}
	t.Fatalf("no cookie %s in %v", name, cookies)
	return ""
}

// invitationLink is the secret part of the link in the owner's mail.
func invitationLink(t *testing.T, rig *e2etest.Rig, tn *e2etest.Tenant) string {
	t.Helper()
	_, link, ok := strings.Cut(invitationMail(t, rig, tn), "/invite/")
	if !ok {
		t.Fatal("the mail has no link")
	}
	return link
}

var inviteURL = regexp.MustCompile(`https?://\S+/invite/[A-Za-z0-9_.~-]+`)

// invitationMail waits for the owner's mail and returns the address in it.
func invitationMail(t *testing.T, rig *e2etest.Rig, tn *e2etest.Tenant) (address string) {
	t.Helper()
	e2etest.Eventually(t, e2eWait, "the invitation mail", func() bool {
		for _, m := range rig.Mail.Mails(tn.Owner) {
			if u := inviteURL.FindString(m.Text); strings.HasPrefix(u, tn.Issuer) {
				address = u
			}
		}
		return address != ""
	})
	return address
}

// volatile is what differs between two answers to the same request: handles, tokens, nonces, ids, times.
var volatile = regexp.MustCompile(`[A-Za-z0-9_+/=-]{16,}|req_[a-z0-9]+|"(iat|exp|nbf|auth_time|updated_at)":\d+`)

// judge is what an answer tells: everything but what is different each time, and the value itself where it is echoed.
func judge(a *e2etest.Answer, values ...string) string {
	h := a.Header.Clone()
	for _, k := range []string{"Date", "X-Request-Id", "Content-Length"} {
		h.Del(k)
	}
	text := seen(&e2etest.Answer{Status: a.Status, Header: h, Body: a.Body})
	for _, v := range values {
		text = strings.ReplaceAll(strings.ReplaceAll(text, url.QueryEscape(v), "·"), v, "·")
	}
	return volatile.ReplaceAllString(text, "·")
}

// ask sends a probe with a value in a slot to an endpoint. Besides the value it holds what an attacker knows anyway: his own account
// and client at the tenant that he attacks.
func ask(t *testing.T, issuer string, e e2etest.Endpoint, s slot, value string, at *tenantUnderAttack) *e2etest.Answer {
	t.Helper()
	p := &probe{query: url.Values{}, form: url.Values{}, header: http.Header{}, path: e.Path}
	if at != nil {
		web := at.Clients["web"]
		switch e.Path {
		case "/oauth2/token":
			p.form = url.Values{"grant_type": {"refresh_token"}, "redirect_uri": {e2etest.RedirectURI}}
			p.header.Set("Authorization", basic(web))
			if s.name == "parameter code" {
				p.form.Set("grant_type", "authorization_code")
			}
		case "/oauth2/introspect", "/oauth2/revoke":
			p.header.Set("Authorization", basic(web))
		case "/oauth2/authorize":
			p.query = url.Values{"client_id": {web.ID}, "response_type": {"code"}, "redirect_uri": {e2etest.RedirectURI}, "scope": {"openid"}, "prompt": {"none"}}
		case "/oauth2/logout":
			p.query = url.Values{"post_logout_redirect_uri": {e2etest.PostLogoutURI}}
		}
		if s.name == "fields" {
			p.header.Del("Authorization")
		}
		if s.name == "parameter r" {
			p.query = url.Values{}
		}
	}
	s.put(p, value)
	path, body := strings.TrimSuffix(p.path, "…"), ""
	if e.Method == http.MethodPost {
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
	} else if len(p.query) > 0 {
		path += "?" + p.query.Encode()
	}
	return send(t, e.Method, issuer+path, body, p.header)
}

// TestNoArtefactOfATenantIsAcceptedByAnother brings everything that tenant A has issued to every endpoint of A itself, of a tenant of
// the same org, of one of another org, and of a deleted one. Elsewhere an artefact must be answered exactly like one that was never
// issued: not accepted, and not recognised (PROMISES.md R-40).
func TestNoArtefactOfATenantIsAcceptedByAnother(t *testing.T) {
	t.Parallel()
	rig := system.Rig(t)
	org, foreign := rig.NewOrg(t, "matrix"), rig.NewOrg(t, "foreign")
	home := arm(t, rig, org.Provision(t, "alpha"))
	same := arm(t, rig, org.Provision(t, "beta"))
	other := arm(t, rig, foreign.Provision(t, "alpha")) // the same slug, too
	dead := arm(t, rig, org.Provision(t, "dead"))
	rig.API(t, org.Key, http.MethodDelete, "/v1/"+dead.Name+"?force=true", nil)
	e2etest.Eventually(t, e2eWait, "the deleted host is closed", func() bool {
		return send(t, http.MethodGet, dead.Issuer+"/login", "", nil).Status == http.StatusNotFound && send(t, http.MethodGet, dead.Issuer+"/.well-known/jwks.json", "", nil).Status == http.StatusNotFound
	})
	endpoints := rig.Endpoints(t)
	probes, accepted := 0, map[string]int{}

	from := func(victim *tenantUnderAttack, where string, at *tenantUnderAttack) {
		for _, art := range victim.arts {
			for _, s := range art.slots {
				for _, e := range endpoints {
					if e.Method == http.MethodHead {
						continue
					}
					probes++
					real := judge(ask(t, at.Issuer, e, s, art.value, at), art.value, art.garbage)
					fake := judge(ask(t, at.Issuer, e, s, art.garbage, at), art.value, art.garbage)
					if real != fake {
						t.Errorf("%s of %s as %s at %s %s of %s: told apart from one that was never issued\n%s\n--- never issued:\n%s", art.name, victim.Host, s.name, e.Method, e.Path, where, real, fake)
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
	from(home, "a tenant of the same org", same)
	from(home, "a tenant of another org", other)
	from(home, "a deleted tenant", dead)
	from(dead, "a living tenant, from a deleted one", same)
	from(dead, "itself, deleted", dead)

	// None of it was harmed: what was brought to others' revocation and logout endpoints still works.
	if _, err := home.rp.UserInfo(home.tokens); err != nil {
		t.Errorf("the access token after the probes elsewhere: %v", err)
	}
	if a := e2etest.PostForm(t, home.rp.Endpoint("introspection_endpoint"), home.Clients["web"], url.Values{"token": {home.tokens.RefreshToken}}); a.JSON["active"] != true {
		t.Errorf("the refresh token after the probes elsewhere: %s", a.Body)
	}

	// At home each is accepted somewhere, else the matrix would prove nothing.
	for _, art := range home.arts {
		if art.name == "API key" {
			continue // never at a tenant's host; the routes of the API have a test of their own
		}
		for _, s := range art.slots {
			for _, e := range endpoints {
				if e.Method == http.MethodHead {
					continue
				}
				value := art.value
				if art.fresh != nil {
					value = art.fresh()
				}
				if judge(ask(t, home.Issuer, e, s, value, home), value, art.garbage) != judge(ask(t, home.Issuer, e, s, art.garbage, home), value, art.garbage) {
					accepted[art.name]++
				}
			}
		}
		if accepted[art.name] == 0 {
			t.Errorf("%s is accepted nowhere at home: the probes are wrong", art.name)
		}
	}
	t.Logf("%d probes elsewhere; at home accepted or recognised: %v", probes, accepted)
}

// TestEveryRouteOfTheAPIRefusesTheKeysOfOthers calls every path of the published OpenAPI document without a key, with another org's
// and with another tenant's.
func TestEveryRouteOfTheAPIRefusesTheKeysOfOthers(t *testing.T) {
	t.Parallel()
	rig := system.Rig(t)
	org, foreign := rig.NewOrg(t, "routes"), rig.NewOrg(t, "strangers")
	tenant, neighbour := org.Provision(t, "alpha"), org.Provision(t, "beta")
	stranger := foreign.Provision(t, "alpha")
	user := e2etest.Str(rig.API(t, org.Key, http.MethodGet, "/v1/"+tenant.Name+"/users", nil), "users", 0, "name")
	key := e2etest.Str(rig.API(t, org.Key, http.MethodGet, "/v1/"+tenant.Name+"/apiKeys", nil), "apiKeys", 0, "name")
	orgKey := e2etest.Str(rig.API(t, org.Key, http.MethodGet, "/v1/"+org.Name+"/apiKeys", nil), "apiKeys", 0, "name")
	signing := e2etest.Str(rig.API(t, org.Key, http.MethodGet, "/v1/"+tenant.Name+"/signingKeys", nil), "signingKeys", 0, "name")
	operation := e2etest.Str(rig.API(t, org.Key, http.MethodPost, "/v1/"+org.Name+"/tenants:provision", org.ProvisionRequest("gamma")), "name")
	last := func(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }
	// real and missing are the same names, once of what exists and once of what does not.
	real := map[string]string{
		"org": last(org.Resource), "tenant": last(tenant.Name), "user": last(user), "apiKey": last(key), "signingKey": last(signing), "client": tenant.Clients["web"].ID,
		"blueprint": "standard", "revision": "1", "operation": last(operation),
	}
	missing := map[string]string{}
	for k, v := range real {
		missing[k] = lookalikeID(v)
	}

	paths, _ := rig.Do(t, e2etest.Call{Method: http.MethodGet, Path: "/openapi.json"}).JSON["paths"].(map[string]any)
	if len(paths) < 30 {
		t.Fatalf("the document has %d paths", len(paths))
	}
	routes := 0
	for path, methods := range paths {
		for method := range methods.(map[string]any) { //nolint:forcetypeassert // a document of ours: let it fail loudly
			method = strings.ToUpper(method)
			routes++
			fill := func(names map[string]string) string {
				if strings.Contains(path, "/orgs/{org}/apiKeys/") {
					names = with(names, "apiKey", last(orgKey))
				}
				return regexp.MustCompile(`\{(\w+)\}`).ReplaceAllStringFunc(path, func(m string) string { return names[m[1:len(m)-1]] })
			}
			call := func(key string, names map[string]string) *e2etest.Answer {
				c := e2etest.Call{Method: method, Path: fill(names), Key: key}
				if method == http.MethodPost || method == http.MethodPatch {
					c.Body = map[string]any{}
				}
				return rig.Do(t, c)
			}
			if a := call("", real); a.Status != http.StatusUnauthorized || a.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s without a key: %d %.200s", method, path, a.Status, a.Body)
			}
			for who, key := range map[string]string{
				"another org's key": foreign.Key, "a key of a tenant of another org": stranger.Keys["tenant-admin"], "another tenant's key": neighbour.Keys["tenant-admin"],
			} {
				a := call(key, real)
				if path == "/v1/orgs" && method == http.MethodGet {
					if strings.Contains(string(a.Body), last(org.Resource)) && who != "another tenant's key" {
						t.Errorf("%s lists the org: %.300s", who, a.Body)
					}
					continue
				}
				if a.Status/100 == 2 && !attached(method, path, who) {
					t.Errorf("%s %s with %s: %d %.300s", method, path, who, a.Status, a.Body)
					continue
				}
				if attached(method, path, who) {
					continue
				}
				if got, none := judge(a), judge(call(key, missing)); got != none {
					t.Errorf("%s %s with %s: told apart from what does not exist\n%s\n--- does not exist:\n%s", method, path, who, got, none)
				}
			}
		}
	}
	t.Logf("%d routes × 4", routes)
	// Nothing of it had an effect.
	if a := rig.Do(t, e2etest.Call{Method: http.MethodGet, Path: "/v1/" + tenant.Name, Key: tenant.Keys["tenant-admin"]}); a.Status != http.StatusOK || e2etest.Str(a.JSON, "state") != "ACTIVE" {
		t.Errorf("the tenant is %d %.300s", a.Status, a.Body)
	}
}

// attached are the org's resources that a tenant-locked key may read because its tenant uses them (API.md 5.4).
func attached(method, path, who string) bool {
	return who == "another tenant's key" && method == http.MethodGet && strings.HasPrefix(path, "/v1/orgs/{org}/blueprints/{blueprint}")
}

func with(m map[string]string, key, value string) map[string]string {
	out := map[string]string{key: value}
	for k, v := range m {
		if k != key {
			out[k] = v
		}
	}
	return out
}

// lookalikeID is an id of the same kind that nobody has; slugs get another letter.
func lookalikeID(s string) string {
	b := []byte(s)
	i := len(b) - 2
	if i < 0 {
		return s + "9"
	}
	if b[i] == '0' {
		b[i] = '1'
	} else {
		b[i] = '0'
	}
	return string(b)
}

// TestRavigasUsersAreHiddenFromHoolisKey is the sentence of the walk: the answer for what is not yours is that for what is not there.
func TestRavigasUsersAreHiddenFromHoolisKey(t *testing.T) {
	t.Parallel()
	rig := system.Rig(t)
	org := rig.NewOrg(t, "walk")
	hooli, raviga := org.Provision(t, "hooli"), org.Provision(t, "raviga")
	who := e2etest.NewPerson()
	atHooli := hooli.RP(t, "web").Register(e2etest.NewBrowser(t), who, nil)
	atRaviga := raviga.RP(t, "web").Register(e2etest.NewBrowser(t), who, nil)
	if atHooli.Claims["sub"] == atRaviga.Claims["sub"] {
		t.Error("the same sub in two tenants")
	}
	key := hooli.Keys["user-reader"]
	mine := rig.API(t, key, http.MethodGet, "/v1/"+hooli.Name+"/users", nil)
	if n := len(e2etest.List(mine, "users")); n != 2 {
		t.Errorf("%d users at Hooli, want the owner and the one who registered", n)
	}
	theirs := rig.Do(t, e2etest.Call{Method: http.MethodGet, Path: "/v1/" + raviga.Name + "/users", Key: key})
	nobody := rig.Do(t, e2etest.Call{Method: http.MethodGet, Path: "/v1/" + raviga.Name[:len(raviga.Name)-2] + "00/users", Key: key})
	if theirs.Status != http.StatusNotFound || theirs.Reason() != "NOT_FOUND" {
		t.Errorf("Raviga's users: %d %s", theirs.Status, theirs.Body)
	}
	if a, b := judge(theirs), judge(nobody); a != b {
		t.Errorf("told apart:\n%s\n%s", a, b)
	}
	for _, form := range []string{"orgs/-/tenants/-", org.Name + "/tenants/-"} {
		if n := len(e2etest.List(rig.API(t, key, http.MethodGet, "/v1/"+form+"/users", nil), "users")); n != 2 {
			t.Errorf("%d users at %s of a key with one tenant", n, form)
		}
	}
	one := e2etest.Str(mine, "users", 0, "uid")
	crossed := fmt.Sprintf("/v1/%s/users/%s", raviga.Name, one)
	if a := rig.Do(t, e2etest.Call{Method: http.MethodGet, Path: crossed, Key: raviga.Keys["tenant-admin"]}); a.Status != http.StatusNotFound {
		t.Errorf("Hooli's user under Raviga's name: %d", a.Status)
	}
}
