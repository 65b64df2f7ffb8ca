// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/services/identity"
)

// cookie gives the browser's cookie of the tenant.
func (b *browser) cookie(s *site, name string) *http.Cookie {
	u, _ := url.Parse(s.base)
	for _, c := range b.client.Jar.Cookies(u) {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func TestCookiesAreBoundToHostAndBrowser(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	p := b.get(r.hooli.authorizeURL(r.hooli.chat))
	form := url.Values{"email": {"gavin@hooli.example"}, "password": {password}, "t": {hiddenField.FindStringSubmatch(p.body)[2]}}
	b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	done := b.do("POST", p.url.String(), form)
	if done.status != 303 || !strings.HasPrefix(done.header.Get("Location"), "/oauth2/authorize?r=") {
		t.Fatalf("%d %s", done.status, done.header.Get("Location"))
	}
	set := done.header.Get("Set-Cookie")
	for _, want := range []string{"__Host-tnt_sid=", "Path=/", "HttpOnly", "Secure", "SameSite=Lax", "Max-Age="} {
		if !strings.Contains(set, want) {
			t.Errorf("cookie %q lacks %s", set, want)
		}
	}
	if strings.Contains(set, "Domain") {
		t.Errorf("cookie %q is sent to other hosts", set)
	}
}

// TestCrossSiteRequestForgery sends every form of ours without what proves that it is ours.
func TestCrossSiteRequestForgery(t *testing.T) {
	r := newRig(t)
	invite := r.invite(r.hooli, "dinesh@hooli.example", "")
	forms := map[string]struct {
		page   string
		values []string
	}{
		"login":    {"/login", []string{"email", "gavin@hooli.example", "password", password}},
		"register": {"/oauth2/register", []string{"email", "new@hooli.example", "password", password}},
		"invite":   {"/invite/" + invite, []string{"password", password}},
	}
	stranger := r.browser()
	strangers := hiddenField.FindStringSubmatch(stranger.get(r.hooli.base + "/login").body)[2]
	for name, f := range forms {
		for attack, c := range map[string]struct {
			token  func(own string) string
			header []string
			clear  bool
		}{
			"no token":                 {token: func(string) string { return "" }},
			"a stranger's token":       {token: func(string) string { return strangers }},
			"a cut token":              {token: func(own string) string { return own[:len(own)-1] }},
			"from another site":        {token: func(own string) string { return own }, header: []string{"Sec-Fetch-Site", "cross-site"}},
			"from a sibling host":      {token: func(own string) string { return own }, header: []string{"Sec-Fetch-Site", "same-site"}},
			"from another origin, old": {token: func(own string) string { return own }, header: []string{"Sec-Fetch-Site", "", "Origin", "https://evil.example"}},
			"without cookies":          {token: func(own string) string { return own }, clear: true},
		} {
			b := r.browser()
			p := b.get(r.hooli.base + f.page).shows(200)
			form := url.Values{}
			for i := 0; i < len(f.values); i += 2 {
				form.Set(f.values[i], f.values[i+1])
			}
			form.Set("t", c.token(hiddenField.FindStringSubmatch(p.body)[2]))
			if c.clear {
				b = r.browser()
			}
			p = b.do("POST", r.hooli.base+f.page, form, c.header...)
			if p.status != 403 || b.cookie(r.hooli, "__Host-tnt_sid") != nil {
				t.Errorf("%s, %s: %d at %s", name, attack, p.status, p.url)
			}
			if strings.Contains(p.body, password) {
				t.Errorf("%s, %s: the password is in the page", name, attack)
			}
		}
		// An old browser that says nothing about sites, and whose no-referrer policy makes the origin null, still works.
		b := r.browser()
		p := b.get(r.hooli.base + f.page)
		values := append([]string{"t", hiddenField.FindStringSubmatch(p.body)[2]}, f.values...)
		form := url.Values{}
		for i := 0; i < len(values); i += 2 {
			form.Set(values[i], values[i+1])
		}
		b.do("POST", r.hooli.base+f.page, form, "Sec-Fetch-Site", "", "Origin", "null").shows(200, "You are signed in")
	}
	if _, err := r.identity.Invitation(t.Context(), ref(r.hooli.Tenant), invite, r.clock()); err == nil {
		t.Error("the last one should have used the invitation")
	}
}

// TestSessionFixation: what a browser held before a login is worth nothing after it.
func TestSessionFixation(t *testing.T) {
	r := newRig(t)
	r.user(r.hooli, "mallory@hooli.example", "Mallory")
	attacker := r.browser()
	attacker.signIn(attacker.get(r.hooli.authorizeURL(r.hooli.chat)), "mallory@hooli.example")
	planted := attacker.cookie(r.hooli, "__Host-tnt_sid")
	victim := r.browser()
	u, _ := url.Parse(r.hooli.base)
	victim.client.Jar.SetCookies(u, []*http.Cookie{{Name: planted.Name, Value: planted.Value, Path: "/", Secure: true}})
	r.pass(time.Second)
	rec := victim.code(victim.signIn(victim.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "login")), "gavin@hooli.example"), r.hooli, chatCallback)
	if rec.User != r.hooli.gavin.ID {
		t.Fatalf("logged in as %v", rec.User)
	}
	if now := victim.cookie(r.hooli, "__Host-tnt_sid"); now.Value == planted.Value {
		t.Error("the planted session goes on")
	}
	q := attacker.answered(attacker.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "none")), chatCallback)
	if q.Get("error") != "login_required" {
		t.Errorf("the attacker's cookie still works: %v", q)
	}
}

// TestNothingOfATenantCountsAtItsNeighbour plants the artefacts of one tenant at another.
func TestNothingOfATenantCountsAtItsNeighbour(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	login := b.get(r.hooli.authorizeURL(r.hooli.chat))
	handle := login.url.Query().Get("r")
	b.code(b.signIn(login, "gavin@hooli.example"), r.hooli, chatCallback)
	sid := b.cookie(r.hooli, "__Host-tnt_sid")
	nonce := b.cookie(r.hooli, "__Host-tnt_form")
	token := hiddenField.FindStringSubmatch(b.get(r.hooli.base + "/login").body)[2]

	at := r.browser()
	u, _ := url.Parse(r.raviga.base)
	at.client.Jar.SetCookies(u, []*http.Cookie{
		{Name: sid.Name, Value: sid.Value, Path: "/", Secure: true}, {Name: nonce.Name, Value: nonce.Value, Path: "/", Secure: true},
	})
	if q := at.answered(at.get(r.raviga.authorizeURL(r.raviga.chat, "prompt", "none")), chatCallback); q.Get("error") != "login_required" {
		t.Errorf("session cookie: %v", q)
	}
	for _, path := range []string{"/oauth2/authorize", "/login", "/consent", "/oauth2/register", "/oauth2/logout"} {
		p := at.get(r.raviga.base + path + "?r=" + handle)
		if p.status != 400 || at.ended != nil || strings.Contains(p.body, "ooli") {
			t.Errorf("sealed request at %s: %d %s", path, p.status, p.text())
		}
	}
	p := at.do("POST", r.raviga.base+"/login", url.Values{"t": {token}, "email": {"gavin@hooli.example"}, "password": {password}})
	if p.status != 403 {
		t.Errorf("form token: %d", p.status)
	}
	// The same person at both tenants is two people.
	r.pass(time.Second)
	own := r.browser()
	rec := own.code(own.signIn(own.get(r.raviga.authorizeURL(r.raviga.chat)), "gavin@hooli.example"), r.raviga, chatCallback)
	if rec.User == r.hooli.gavin.ID {
		t.Error("one subject at two tenants")
	}
	// A sealed logout request is no authorization request, and the other way round.
	lo := b.do("POST", r.hooli.base+"/oauth2/logout", url.Values{"client_id": {r.hooli.chat}}, "Sec-Fetch-Site", "cross-site")
	if p := b.get(r.hooli.base + "/login?r=" + lo.url.Query().Get("r")); p.status != 400 {
		t.Errorf("a sealed logout at /login: %d", p.status)
	}
	if p := b.get(r.hooli.base + "/oauth2/logout?r=" + handle); p.status != 400 {
		t.Errorf("a sealed request at /oauth2/logout: %d", p.status)
	}
}

var (
	nonces  = regexp.MustCompile(`nonce-?=?"?[A-Za-z0-9_-]{24}`)
	tokens  = regexp.MustCompile(`name="t" value="[^"]*"`)
	request = regexp.MustCompile(`req_[0-9a-f]+`)
)

// same removes what every answer draws anew.
func (p *page) same() string {
	s := fmt.Sprint(p.status, p.header.Get("Content-Security-Policy"), p.header.Values("Set-Cookie"), p.header.Get("Retry-After"), p.header.Get("Content-Length"), p.body)
	return request.ReplaceAllString(tokens.ReplaceAllString(nonces.ReplaceAllString(s, ""), ""), "")
}

// TestNobodyLearnsWhoHasAnAccount: an unknown address, a wrong password, a locked one and a suspended person get the very same bytes.
func TestNobodyLearnsWhoHasAnAccount(t *testing.T) {
	r := newRig(t)
	r.user(r.hooli, "locked@hooli.example", "Locked")
	suspended := r.user(r.hooli, "closed@hooli.example", "Closed")
	state := identity.UserSuspended
	if _, _, err := r.identity.UpdateUser(context.Background(), ref(r.hooli.Tenant), identity.Op{Now: r.clock(), Actor: "system"}, suspended.ID, identity.UserChange{State: &state}, ""); err != nil {
		t.Fatal(err)
	}
	r.invitation(r.hooli, "guests@hooli.example", "")
	b := r.browser()
	login := b.get(r.hooli.authorizeURL(r.hooli.chat))
	for range 12 {
		b.submit(login, "email", "locked@hooli.example", "password", "wrong")
	}
	mask := func(email string) string {
		pw := "wrong"
		if email != "gavin@hooli.example" && email != "nobody@hooli.example" {
			pw = password
		}
		return strings.ReplaceAll(b.submit(login, "email", email, "password", pw).same(), email, strings.Repeat("x", len(email)))
	}
	want := mask("nobody@hooli.example")
	if !strings.Contains(want, "do not match an account at Hooli") {
		t.Fatal(want)
	}
	for _, email := range []string{"locked@hooli.example", "closed@hooli.example", "guests@hooli.example"} {
		if got := mask(email); got != want {
			t.Errorf("%s differs:\n%s\n%s", email, got, want)
		}
	}
	// Another length, so that only what is outside the address is compared.
	wrong := mask("gavin@hooli.example")
	strip := func(s string) string { return regexp.MustCompile(`x{10,}|\d{4}<!doctype`).ReplaceAllString(s, "") }
	if strip(wrong) != strip(want) {
		t.Errorf("a wrong password differs:\n%s\n%s", strip(wrong), strip(want))
	}
}

// TestOpenRedirector: no parameter of any page leads anywhere but to a proven address.
func TestOpenRedirector(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	evil := "https://evil.example/x"
	for _, path := range []string{
		"/login", "/oauth2/register", "/consent", "/account", "/", "/oauth2/logout", "/oauth2/authorize", "/invite/x", "/assets/x", "/nothing",
	} {
		for _, param := range []string{"redirect_uri", "post_logout_redirect_uri", "next", "return_to", "url", "continue", "r", "target_link_uri", "iss"} {
			for _, more := range []string{"", "&client_id=" + r.hooli.chat, "&client_id=" + r.hooli.chat + "&response_type=code"} {
				p := b.get(r.hooli.base + path + "?" + param + "=" + url.QueryEscape(evil) + more)
				if b.ended != nil || strings.Contains(p.body, "evil.example") {
					t.Errorf("%s?%s%s leads to %v", path, param, more, b.ended)
				}
			}
		}
	}
}

// TestHostHeaderIsNoSourceOfLinks: links and redirects are relative or made from the issuer.
func TestHostHeaderIsNoSourceOfLinks(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	for _, path := range []string{"/login", "/oauth2/authorize?" + strings.SplitN(r.hooli.authorizeURL(r.hooli.chat), "?", 2)[1]} {
		p := b.get(r.hooli.base+path, "X-Forwarded-Host", "evil.example", "Forwarded", "host=evil.example", "X-Forwarded-Proto", "http")
		if strings.Contains(p.body+fmt.Sprint(p.header), "evil.example") {
			t.Errorf("%s: %s", path, p.body)
		}
	}
	req, _ := http.NewRequestWithContext(t.Context(), "GET", r.hooli.base+"/login", nil)
	req.Host = "evil.example"
	resp, err := b.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 404 {
		t.Errorf("an unknown host: %d", resp.StatusCode)
	}
}

// TestScriptInjection plants markup in every text that a stranger or a tenant can choose.
func TestScriptInjection(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>{{.Token}}{tenant}`
	pages := []*page{
		b.get(r.hooli.authorizeURL(r.hooli.chat, "login_hint", evil, "ui_locales", evil, "display", evil)),
		b.get(r.hooli.base + "/login?lang=" + url.QueryEscape(evil)),
		b.get(r.hooli.authorizeURL(r.hooli.chat, "client_id", evil)),
		b.get(r.hooli.authorizeURL(r.hooli.chat, "redirect_uri", evil)),
		b.get(r.hooli.base + "/" + url.PathEscape(evil)),
		b.get(r.hooli.base + "/invite/" + url.PathEscape(evil)),
		b.get(r.hooli.authorizeURL(r.hooli.chat, "response_mode", "form_post", "scope", "none:such", "state", evil)),
	}
	login := b.get(r.hooli.base + "/login")
	pages = append(pages, b.submit(login, "email", evil, "password", evil))
	register := b.get(r.hooli.base + "/oauth2/register")
	pages = append(pages, b.submit(register, "email", evil, "name", evil, "password", "x"))
	r.user(r.hooli, "evil@hooli.example", `<script>alert(1)</script>`)
	pages = append(pages, b.signIn(b.get(r.hooli.authorizeURL(r.hooli.photos)), "evil@hooli.example"))
	for _, p := range pages {
		if strings.Contains(p.body, "<script>") || strings.Contains(p.body, "<img src=x") || strings.Contains(p.body, "alert(1)</") && !strings.Contains(p.body, html.EscapeString("<script>alert(1)</script>")) {
			t.Errorf("%s: %s", p.url, p.body)
		}
		csp := p.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") || !strings.Contains(csp, "base-uri 'none'") {
			t.Errorf("%s: policy %s", p.url, csp)
		}
	}
}

func TestHeadersOfEveryPage(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat)), "gavin@hooli.example")
	seen := map[string]bool{}
	for _, target := range []string{
		"/login", "/oauth2/register", "/account", "/oauth2/logout", "/nothing", "/invite/x", "/login?r=x",
		strings.TrimPrefix(r.hooli.authorizeURL(r.hooli.photos), r.hooli.base), strings.TrimPrefix(r.hooli.authorizeURL(r.hooli.chat, "response_mode", "form_post"), r.hooli.base),
	} {
		p := b.get(r.hooli.base + target)
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
			"Cross-Origin-Opener-Policy": "same-origin", "Content-Type": "text/html; charset=utf-8", "Content-Language": "en",
		} {
			if got := p.header.Get(name); got != want {
				t.Errorf("%s: %s is %q", target, name, got)
			}
		}
		csp := p.header.Get("Content-Security-Policy")
		if seen[csp] {
			t.Errorf("%s: a nonce came twice", target)
		}
		seen[csp] = true
		if len(p.body) > 6<<10 {
			t.Errorf("%s has %d bytes", target, len(p.body))
		}
		if !strings.Contains(p.body, `<html lang="en" dir="ltr">`) || strings.Contains(p.body, "required") || strings.Contains(p.body, "maxlength") {
			t.Errorf("%s: %s", target, p.body)
		}
	}
	// An application that opened a window and waits for its answer keeps its handle on it.
	if p := r.browser().get(r.hooli.authorizeURL(r.hooli.chat, "display", "popup")); p.header.Get("Cross-Origin-Opener-Policy") != "" {
		t.Error("display=popup cuts the application off")
	}
}

func TestMalformedRequests(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	for _, query := range []string{
		"client_id=" + r.hooli.chat + "&client_id=" + r.hooli.chat, "client_id=%ff", "client_id=%00", "client_id=%zz",
		strings.Repeat("a=b&", 100), "x=" + strings.Repeat("y", 33<<10), "response_type=code;client_id=x",
	} {
		for _, path := range []string{"/oauth2/authorize", "/login", "/oauth2/register", "/oauth2/logout"} {
			p := b.get(r.hooli.base + path + "?" + query)
			if p.status != 400 || b.ended != nil {
				t.Errorf("%s?%.40s: %d", path, query, p.status)
			}
		}
	}
	for path, status := range map[string]int{"/oauth2/authorize": 400, "/oauth2/logout": 413, "/login": 413} {
		if p := b.do("POST", r.hooli.base+path, url.Values{"x": {strings.Repeat("y", 65<<10)}}); p.status != status {
			t.Errorf("%s: %d", path, p.status)
		}
	}
	if p := b.do("POST", r.hooli.base+"/login", url.Values{"a": {"b"}}, "Content-Type", "application/json"); p.status != 415 {
		t.Errorf("JSON: %d", p.status)
	}
	if p := b.do("PUT", r.hooli.base+"/login", url.Values{}); p.status != 405 || p.header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("PUT: %d %s", p.status, p.header.Get("Allow"))
	}
}

// TestNoSecretIsLogged greps the log of whole flows for everything that is one.
func TestNoSecretIsLogged(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	login := b.get(r.hooli.authorizeURL(r.hooli.chat, "state", "canary-state", "login_hint", "canary@hooli.example"))
	b.submit(login, "email", "gavin@hooli.example", "password", "canary wrong")
	b.signIn(login, "gavin@hooli.example")
	code := b.ended.Query().Get("code")
	hint := r.idToken(r.hooli, r.hooli.chat, r.hooli.gavin.ID, r.take(r.hooli, code).Session, r.clock())
	invite := r.invite(r.hooli, "dinesh@hooli.example", "")
	b.get(r.hooli.base + "/invite/" + invite)
	sid := b.cookie(r.hooli, "__Host-tnt_sid").Value
	b.get(r.hooli.base + "/oauth2/logout?id_token_hint=" + hint)
	for name, secret := range map[string]string{
		"canary": "canary", "password": password, "code": code, "hint": hint, "invitation": invite, "cookie": sid,
		"sealed request": login.url.Query().Get("r"), "form token": hiddenField.FindStringSubmatch(login.body)[2], "address": "@hooli.example",
	} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("the %s is in the log", name)
		}
	}
	if !strings.Contains(r.log.String(), `"client_id":"`+r.hooli.chat) || !strings.Contains(r.log.String(), `"logged_out":true`) {
		t.Error("the log says too little")
	}
}

// TestHeadChangesNothing: a link scanner that sends HEAD gets no code and logs nobody out.
func TestHeadChangesNothing(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	rec := b.code(b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat)), "gavin@hooli.example"), r.hooli, chatCallback)
	hint := r.idToken(r.hooli, r.hooli.chat, rec.User, rec.Session, r.clock())
	for _, target := range []string{r.hooli.authorizeURL(r.hooli.chat), r.hooli.base + "/oauth2/logout?id_token_hint=" + hint} {
		if p := b.do("HEAD", target, nil); p.status != 204 || b.ended != nil {
			t.Errorf("%s: %d to %v", target, p.status, b.ended)
		}
	}
	b.code(b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "none")), r.hooli, chatCallback)
}
