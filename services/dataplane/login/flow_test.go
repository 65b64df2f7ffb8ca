// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCodeFlowWithoutScripts(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	p := b.get(r.hooli.authorizeURL(r.hooli.chat, "resource", "https://piedpiper.api.example", "claims", `{"id_token":{"email":null}}`))
	p.shows(200, "Sign in to Hooli", "to continue to Chat", "You are signing in at hooli.example.com")
	if p.url.Path != "/login" {
		t.Fatalf("at %s", p.url)
	}
	r.pass(3 * time.Second)
	rec := b.code(b.signIn(p, "Gavin@Hooli.example"), r.hooli, chatCallback)
	if rec.Client != r.hooli.chat || rec.User != r.hooli.gavin.ID || rec.Nonce != "n-1" || rec.CodeChallenge != challenge ||
		rec.RedirectURI != chatCallback || rec.Audience != "https://piedpiper.api.example" || !slices.Equal(rec.Scopes, []string{"openid", "profile", "email"}) {
		t.Errorf("record %+v", rec)
	}
	if !rec.AuthTime.Equal(r.clock()) || rec.ACR == "" || !slices.Equal(rec.AMR, []string{"pwd"}) || rec.Session.IsZero() ||
		!slices.Equal(rec.Roles, []string{"admin"}) || rec.UserClaims == nil || rec.UserClaims.Email != "gavin@hooli.example" && rec.UserClaims.Email != "Gavin@hooli.example" {
		t.Errorf("login in record %+v", rec)
	}
	// A second request has no page at all.
	r.pass(time.Minute)
	again := b.code(b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "none")), r.hooli, chatCallback)
	if again.User != rec.User || again.Session != rec.Session || !again.AuthTime.Equal(rec.AuthTime) {
		t.Errorf("silent login %+v", again)
	}
}

func TestPostedRequestBecomesAGet(t *testing.T) {
	r := newRig(t)
	u, _ := url.Parse(r.hooli.authorizeURL(r.hooli.chat))
	b := r.browser()
	// From another site: no cookies, no token, and a browser says so.
	p := b.do("POST", r.hooli.base+"/oauth2/authorize", u.Query(), "Sec-Fetch-Site", "cross-site", "Origin", "https://chat.example")
	b.code(b.signIn(p, "gavin@hooli.example"), r.hooli, chatCallback)
	p = b.do("POST", r.hooli.base+"/oauth2/authorize", u.Query(), "Sec-Fetch-Site", "cross-site")
	b.code(p, r.hooli, chatCallback)
}

func TestFormPost(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	p := b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat, "response_mode", "form_post")), "gavin@hooli.example")
	p.shows(200, "Continue")
	if m := formAction.FindStringSubmatch(p.body); m == nil || m[1] != chatCallback {
		t.Fatalf("action %v", m)
	}
	fields := map[string]string{}
	for _, m := range hiddenField.FindAllStringSubmatch(p.body, -1) {
		fields[m[1]] = strings.ReplaceAll(m[2], "&amp;", "&")
	}
	if fields["iss"] != r.hooli.Issuer || fields["state"] != "st&te=1" || len(fields) != 3 {
		t.Errorf("fields %v", fields)
	}
	r.take(r.hooli, fields["code"])
	if csp := p.header.Get("Content-Security-Policy"); strings.Contains(csp, "form-action") || !strings.Contains(csp, "script-src 'nonce-") {
		t.Errorf("policy %s", csp)
	}
	// Errors go the same way.
	p = b.get(r.hooli.authorizeURL(r.hooli.chat, "response_mode", "form_post", "scope", "nothing:here"))
	p.shows(200)
	if !strings.Contains(p.body, `name="error" value="invalid_scope"`) {
		t.Error(p.body)
	}
}

// TestRequestsOfTheConformanceSuite has a row for each module of the Basic plan that is about this endpoint.
func TestRequestsOfTheConformanceSuite(t *testing.T) {
	r := newRig(t)
	signed := r.browser()
	first := signed.code(signed.signIn(signed.get(r.hooli.authorizeURL(r.hooli.chat)), "gavin@hooli.example"), r.hooli, chatCallback)
	r.pass(time.Second)
	hint := r.idToken(r.hooli, r.hooli.chat, first.User, first.Session, r.clock().Add(-48*time.Hour))
	foreign := r.idToken(r.raviga, r.raviga.chat, r.raviga.gavin.ID, first.Session, r.clock())
	other := r.user(r.hooli, "denpok@hooli.example", "Denpok")
	otherHint := r.idToken(r.hooli, r.hooli.chat, other.ID, first.Session, r.clock())

	for _, c := range []struct {
		module string
		extra  []string
		fresh  bool   // with no session
		want   string // "code", "login", "register", "page", or an error code
	}{
		{module: "oidcc-server", want: "code"},
		{module: "oidcc-response-type-missing", extra: []string{"response_type", ""}, want: "invalid_request"},
		{module: "unknown response type", extra: []string{"response_type", "magic"}, want: "unsupported_response_type"},
		{module: "oidcc-ensure-request-without-nonce-succeeds-for-code-flow", extra: []string{"nonce", ""}, want: "code"},
		{module: "oidcc-scope-all", extra: []string{"scope", "openid profile email address phone"}, want: "code"},
		{module: "oidcc-display-page", extra: []string{"display", "page"}, want: "code"},
		{module: "oidcc-display-popup", extra: []string{"display", "popup"}, want: "code"},
		{module: "oidcc-prompt-login", extra: []string{"prompt", "login"}, want: "login"},
		{module: "oidcc-prompt-none-not-logged-in", extra: []string{"prompt", "none"}, fresh: true, want: "login_required"},
		{module: "oidcc-prompt-none-logged-in", extra: []string{"prompt", "none"}, want: "code"},
		{module: "oidcc-max-age-1", extra: []string{"max_age", "0"}, want: "login"},
		{module: "oidcc-max-age-10000", extra: []string{"max_age", "10000"}, want: "code"},
		{module: "oidcc-ensure-request-with-unknown-parameter-succeeds", extra: []string{"extra", "foobar"}, want: "code"},
		{module: "oidcc-id-token-hint", extra: []string{"prompt", "none", "id_token_hint", hint}, want: "code"},
		{module: "hint of another user", extra: []string{"prompt", "none", "id_token_hint", otherHint}, want: "login_required"},
		{module: "hint of another user, with pages", extra: []string{"id_token_hint", otherHint}, want: "login"},
		{module: "hint of another tenant", extra: []string{"id_token_hint", foreign}, want: "invalid_request"},
		{module: "hint that is no token", extra: []string{"id_token_hint", "x"}, want: "invalid_request"},
		{module: "hint with alg none", extra: []string{"id_token_hint", "eyJhbGciOiJub25lIn0.e30."}, want: "invalid_request"},
		{module: "oidcc-login-hint", extra: []string{"login_hint", "gavin@hooli.example"}, fresh: true, want: "login"},
		{module: "oidcc-ui-locales", extra: []string{"ui_locales", "se fr-CA x!y"}, want: "code"},
		{module: "oidcc-claims-locales", extra: []string{"claims_locales", "se"}, want: "code"},
		{module: "oidcc-ensure-request-with-acr-values-succeeds", extra: []string{"acr_values", "1 2"}, want: "code"},
		{module: "oidcc-claims-essential", extra: []string{"claims", `{"userinfo":{"name":{"essential":true}}}`}, want: "code"},
		{module: "claims that are no JSON", extra: []string{"claims", `{"userinfo"`}, want: "invalid_request"},
		{module: "claims for another user", extra: []string{"claims", `{"id_token":{"sub":{"value":"uid_x"}}}`, "prompt", "none"}, want: "login_required"},
		{module: "oidcc-ensure-registered-redirect-uri", extra: []string{"redirect_uri", "https://chat.example/other"}, want: "page"},
		{module: "oidcc-ensure-redirect-uri-in-authorization-request", extra: []string{"redirect_uri", ""}, want: "page"},
		{module: "oidcc-redirect-uri-query-added", extra: []string{"redirect_uri", chatCallback + "?x=1"}, want: "page"},
		{module: "oidcc-unsigned-request-object", extra: []string{"request", "eyJhbGciOiJub25lIn0.e30."}, want: "request_not_supported"},
		{module: "oidcc-request-uri", extra: []string{"request_uri", "https://evil.example/r"}, want: "invalid_request_uri"},
		{module: "oidcc-ensure-request-object-with-redirect-uri", extra: []string{"request", "e30", "redirect_uri", "https://evil.example/"}, want: "page"},
		{module: "prompt none with another", extra: []string{"prompt", "none login"}, want: "invalid_request"},
		{module: "prompt create", extra: []string{"prompt", "create"}, want: "register"},
		{module: "unknown client", extra: []string{"client_id", "cli_nobody"}, want: "page"},
		{module: "client of the neighbour", extra: []string{"client_id", r.raviga.chat}, want: "page"},
		{module: "disabled client", extra: []string{"client_id", r.hooli.disabled}, want: "page"},
		{module: "no client", extra: []string{"client_id", ""}, want: "page"},
		{module: "plain PKCE", extra: []string{"code_challenge_method", "plain"}, want: "invalid_request"},
	} {
		t.Run(c.module, func(t *testing.T) {
			b := signed
			if c.fresh {
				b = r.browser()
			}
			p := b.get(r.hooli.authorizeURL(r.hooli.chat, c.extra...))
			switch c.want {
			case "code":
				rec := b.code(p, r.hooli, chatCallback)
				if rec.User != first.User || !rec.AuthTime.Equal(first.AuthTime) {
					t.Errorf("record %+v", rec)
				}
			case "login", "register":
				want := map[string]string{"login": "/login", "register": "/oauth2/register"}[c.want]
				if p.shows(200); p.url.Path != want || b.ended != nil {
					t.Errorf("at %s", p.url)
				}
			case "page":
				p.shows(400, "does not work", "Request number")
				if b.ended != nil || strings.Contains(p.body, "evil") {
					t.Error("an unproven address was used")
				}
			default:
				q := b.answered(p, chatCallback)
				if q.Get("error") != c.want || q.Get("iss") != r.hooli.Issuer || q.Get("state") != "st&te=1" || q.Get("code") != "" {
					t.Errorf("response %v", q)
				}
			}
		})
	}
}

func TestPromptLoginMovesAuthTime(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	first := b.code(b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat)), "gavin@hooli.example"), r.hooli, chatCallback)
	for _, extra := range [][]string{{"prompt", "login"}, {"prompt", "login select_account"}, {"max_age", "1"}} {
		r.pass(5 * time.Second)
		p := b.get(r.hooli.authorizeURL(r.hooli.chat, extra...))
		r.pass(time.Second)
		rec := b.code(b.signIn(p, "gavin@hooli.example"), r.hooli, chatCallback)
		if !rec.AuthTime.After(first.AuthTime) || rec.Session != first.Session {
			t.Errorf("%v: auth_time stayed, or the session did not: %+v", extra, rec)
		}
		first = rec
	}
}

// TestPagesAreNotPassedByEditingTheURL: what counts is what happened, not which address is asked for.
func TestPagesAreNotPassedByEditingTheURL(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat)), "gavin@hooli.example")
	r.pass(time.Second)
	login := b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "login"))
	handle := login.url.Query().Get("r")
	if p := b.get(r.hooli.base + "/oauth2/authorize?r=" + handle); p.url.Path != "/login" {
		t.Errorf("prompt=login was passed: at %s", p.url)
	}
	consent := b.get(r.hooli.authorizeURL(r.hooli.photos)).shows(200, "Photos asks for access")
	handle = consent.url.Query().Get("r")
	if p := b.get(r.hooli.base + "/oauth2/authorize?r=" + handle); p.url.Path != "/consent" {
		t.Errorf("consent was passed: at %s", p.url)
	}
	for _, cut := range []string{handle[:len(handle)-1], handle + "A", "", "%00", "AAAA", strings.ToUpper(handle)} {
		p := b.get(r.hooli.base + "/oauth2/authorize?r=" + cut)
		if p.status != 400 || b.ended != nil {
			t.Errorf("handle %.20s…: %d at %s", cut, p.status, p.url)
		}
	}
}

func TestConsentOfAThirdParty(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	p := b.signIn(b.get(r.hooli.authorizeURL(r.hooli.photos, "scope", "openid email offline_access")), "gavin@hooli.example")
	p.shows(200, "Photos asks for access", "see your email address", "keep this access while you are away", "Gavin@Hooli.example"[:0], "photos.example",
		"Photos: privacy policy", "Photos: terms")
	// No: told to the client, nothing stored.
	q := b.answered(b.submit(p, "answer", "cancel"), photosCallback)
	if q.Get("error") != "access_denied" || q.Get("kept") != "1" || q.Get("iss") != r.hooli.Issuer {
		t.Errorf("response %v", q)
	}
	if q := b.answered(b.get(r.hooli.authorizeURL(r.hooli.photos, "prompt", "none")), photosCallback); q.Get("error") != "consent_required" {
		t.Errorf("response %v", q)
	}
	// Yes: remembered, for these scopes.
	r.pass(time.Second)
	rec := b.code(b.submit(b.get(r.hooli.authorizeURL(r.hooli.photos, "scope", "openid email")), "answer", "allow"), r.hooli, photosCallback)
	if !slices.Equal(rec.Scopes, []string{"openid", "email"}) {
		t.Errorf("scopes %v", rec.Scopes)
	}
	r.pass(time.Second)
	b.code(b.get(r.hooli.authorizeURL(r.hooli.photos, "scope", "openid", "prompt", "none")), r.hooli, photosCallback)
	b.get(r.hooli.authorizeURL(r.hooli.photos, "scope", "openid profile")).shows(200, "Photos asks for access")
	p = b.get(r.hooli.authorizeURL(r.hooli.photos, "scope", "openid", "prompt", "consent")).shows(200, "Photos asks for access")
	r.pass(time.Second)
	b.code(b.submit(p, "answer", "allow"), r.hooli, photosCallback)
}

// TestConsentIsNotSentForSomebodyElse: the page was shown to one person, and another logged in meanwhile in another tab.
func TestConsentIsNotSentForSomebodyElse(t *testing.T) {
	r := newRig(t)
	r.user(r.hooli, "denpok@hooli.example", "Denpok")
	b := r.browser()
	asked := b.signIn(b.get(r.hooli.authorizeURL(r.hooli.photos)), "gavin@hooli.example").shows(200, "Photos asks for access")
	r.pass(time.Second)
	b.signIn(b.get(asked.link("Use another account")), "denpok@hooli.example").shows(200, "denpok@hooli.example")
	p := b.submit(asked, "answer", "allow")
	p.shows(200, "Photos asks for access", "denpok@hooli.example")
	if b.ended != nil {
		t.Error("a code was issued for a consent that nobody gave")
	}
}

func TestFiveTabsBackAndReload(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	var tabs []*page
	for range 5 {
		tabs = append(tabs, b.get(r.hooli.authorizeURL(r.hooli.chat)))
	}
	b.get(tabs[0].url.String()).shows(200) // reload
	for i, tab := range tabs {
		r.pass(time.Second)
		b.code(b.signIn(tab, "gavin@hooli.example"), r.hooli, chatCallback)
		if i == 0 {
			b.code(b.signIn(b.get(tab.url.String()), "gavin@hooli.example"), r.hooli, chatCallback) // Back, and again
		}
	}
}

// TestPageLeftOpenOvernight: the step begins again by itself and nothing typed is lost.
func TestPageLeftOpenOvernight(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	open := b.get(r.hooli.authorizeURL(r.hooli.chat, "login_hint", "gavin@hooli.example"))
	r.pass(14 * time.Hour)
	b.get(open.url.String()).shows(200, "was open for a long time", "Sign in to Hooli")
	// The form of the old page still works, too: wrong first, with the address kept, then right.
	p := b.submit(open, "email", "gavin@hooli.example", "password", "wrong")
	p.shows(422, "do not match")
	if !strings.Contains(p.body, `value="gavin@hooli.example"`) {
		t.Error("the address is gone")
	}
	b.code(b.submit(p, "email", "gavin@hooli.example", "password", password), r.hooli, chatCallback)

	// An application that says where to begin gets a request of its own making.
	b = r.browser()
	open = b.get(r.hooli.authorizeURL(r.hooli.starter, "login_hint", "gavin@hooli.example"))
	r.pass(14 * time.Hour)
	b.get(open.url.String())
	if b.ended == nil || b.ended.Host != "start.example" || b.ended.Query().Get("iss") != r.hooli.Issuer ||
		b.ended.Query().Get("login_hint") != "gavin@hooli.example" || b.ended.Query().Get("x") != "1" {
		t.Errorf("restarted at %v", b.ended)
	}
	// A login that was asked for is not passed by waiting.
	b = r.browser()
	open = b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "login"))
	b.signIn(open, "gavin@hooli.example")
	r.pass(2 * time.Hour)
	if p := b.get(r.hooli.base + "/oauth2/authorize?" + open.url.RawQuery); p.url.Path != "/login" {
		t.Errorf("an old request with prompt=login gave %s", p.url)
	}
}

func TestRegistration(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	p := b.get(strings.Replace(r.hooli.authorizeURL(r.hooli.chat), "/oauth2/authorize", "/oauth2/register", 1))
	p.shows(200, "Create your Hooli account", "At least 10 characters")
	p = b.submit(p, "email", "", "password", "")
	p.shows(422, "There is a problem", "Enter your email address", "Choose a password")
	p = b.submit(p, "email", "no address", "password", password, "name", "Jared")
	p.shows(422, "Enter an email address with a name, an @ and a domain")
	p = b.submit(p, "email", "jared@hooli.example", "password", "short", "name", "Jared Dunn")
	p.shows(422, "at least 10 characters")
	if !strings.Contains(p.body, `value="Jared Dunn"`) || !strings.Contains(p.body, `value="jared@hooli.example"`) || strings.Contains(p.body, "short") {
		t.Error("what was typed is not kept, or the password is")
	}
	p = b.submit(p, "email", "jared@hooli.example", "password", "password1234", "name", "Jared Dunn")
	p.shows(422, "list of common passwords")
	p = b.submit(p, "email", "GAVIN@hooli.example", "password", password)
	p.shows(422, "already has an account")
	r.pass(time.Second)
	rec := b.code(b.submit(p, "email", "jared@hooli.example", "password", password, "name", "Jared Dunn"), r.hooli, chatCallback)
	if !slices.Equal(rec.Roles, []string{"member"}) {
		t.Errorf("roles %v", rec.Roles)
	}
	u, err := r.identity.GetUser(t.Context(), ref(r.hooli.Tenant), rec.User)
	if err != nil || u.Name != "Jared Dunn" || u.EmailVerified {
		t.Errorf("user %+v %v", u, err)
	}
	// The same address at the neighbour is somebody else.
	other := r.browser()
	p = other.get(r.raviga.base+"/oauth2/register").shows(200, "Create your Raviga account")
	other.submit(p, "email", "jared@hooli.example", "password", password).shows(200, "You are signed in", "jared@hooli.example")
}
