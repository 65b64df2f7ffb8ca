// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/identity"
)

// TestRPInitiatedLogout has a row for each module of the conformance suite's plan, and more.
func TestRPInitiatedLogout(t *testing.T) {
	r := newRig(t)
	foreignSession := id.NewSession()
	for _, c := range []struct {
		module string
		params func(hint string, who identity.User, session id.Session) url.Values
		// confirm: the person is asked. page: refused on a page, still signed in.
		confirm, page bool
		to            string // where the browser ends; empty for the logged-out page
	}{
		{module: "oidcc-rp-initiated-logout", to: goodbye + "?state=a%26b", params: func(hint string, _ identity.User, _ id.Session) url.Values {
			return url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {goodbye}, "state": {"a&b"}}
		}},
		{module: "no-state", to: goodbye, params: func(hint string, _ identity.User, _ id.Session) url.Values {
			return url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {goodbye}}
		}},
		{module: "bad-post-logout-redirect-uri", page: true, params: func(hint string, _ identity.User, _ id.Session) url.Values {
			return url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {"https://evil.example/bye"}}
		}},
		{module: "query-added-to-post-logout-redirect-uri", page: true, params: func(hint string, _ identity.User, _ id.Session) url.Values {
			return url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {goodbye + "?foo=bar"}}
		}},
		{module: "modified-id-token-hint", page: true, params: func(hint string, _ identity.User, _ id.Session) url.Values {
			parts := strings.Split(hint, ".")
			return url.Values{"id_token_hint": {"eyJhbGciOiJub25lIn0." + parts[1] + "."}, "post_logout_redirect_uri": {goodbye}}
		}},
		{module: "bad-id-token-hint", page: true, params: func(_ string, who identity.User, session id.Session) url.Values {
			return url.Values{"id_token_hint": {r.idToken(r.raviga, r.hooli.chat, who.ID, session, r.clock())}, "post_logout_redirect_uri": {goodbye}}
		}},
		{module: "no-id-token-hint", page: true, params: func(string, identity.User, id.Session) url.Values {
			return url.Values{"post_logout_redirect_uri": {goodbye}}
		}},
		{module: "no-params", confirm: true, params: func(string, identity.User, id.Session) url.Values { return url.Values{} }},
		{module: "only-state", confirm: true, params: func(string, identity.User, id.Session) url.Values { return url.Values{"state": {"x"}} }},
		{module: "no-post-logout-redirect-uri", params: func(hint string, _ identity.User, _ id.Session) url.Values {
			return url.Values{"id_token_hint": {hint}}
		}},
		{module: "client_id alone", confirm: true, to: goodbye, params: func(string, identity.User, id.Session) url.Values {
			return url.Values{"client_id": {r.hooli.chat}, "post_logout_redirect_uri": {goodbye}}
		}},
		{module: "hint of another client than client_id", page: true, params: func(hint string, _ identity.User, _ id.Session) url.Values {
			return url.Values{"id_token_hint": {hint}, "client_id": {r.hooli.photos}}
		}},
		{module: "hint of another login", confirm: true, to: goodbye, params: func(_ string, who identity.User, _ id.Session) url.Values {
			return url.Values{"id_token_hint": {r.idToken(r.hooli, r.hooli.chat, who.ID, foreignSession, r.clock())}, "post_logout_redirect_uri": {goodbye}}
		}},
		{module: "expired hint", to: goodbye, params: func(_ string, who identity.User, session id.Session) url.Values {
			return url.Values{"id_token_hint": {r.idToken(r.hooli, r.hooli.chat, who.ID, session, r.clock().Add(-90*24*time.Hour))}, "post_logout_redirect_uri": {goodbye}}
		}},
		{module: "client of the neighbour", page: true, params: func(string, identity.User, id.Session) url.Values {
			return url.Values{"client_id": {r.raviga.chat}, "post_logout_redirect_uri": {goodbye}}
		}},
	} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(c.module+" "+method, func(t *testing.T) {
				b := r.browser()
				rec := b.code(b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat)), "gavin@hooli.example"), r.hooli, chatCallback)
				params := c.params(r.idToken(r.hooli, r.hooli.chat, rec.User, rec.Session, r.clock()), r.hooli.gavin, rec.Session)
				var p *page
				if method == "GET" {
					p = b.get(r.hooli.base + "/oauth2/logout?" + params.Encode())
				} else {
					p = b.do("POST", r.hooli.base+"/oauth2/logout", params, "Sec-Fetch-Site", "cross-site")
				}
				signedIn := func() bool {
					ended := b.ended
					defer func() { b.ended = ended }()
					return b.answered(b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "none")), chatCallback).Get("error") == ""
				}
				if c.page {
					p.shows(400, "does not work")
					if b.ended != nil || !signedIn() {
						t.Errorf("refused, but at %v and signed in: %v", b.ended, signedIn())
					}
					return
				}
				if c.confirm {
					p.shows(200, "Sign out of Hooli?", "gavin@hooli.example")
					if !signedIn() {
						t.Fatal("logged out without a question")
					}
					p = b.submit(p)
				}
				switch {
				case c.to == "" && b.ended == nil:
					p.shows(200, "You are signed out")
				case b.ended == nil || b.ended.String() != c.to:
					t.Errorf("ended at %v (%s), want %q", b.ended, p.url, c.to)
				}
				if signedIn() {
					t.Error("still signed in")
				}
				if _, _, err := r.identity.Session(context.Background(), ref(r.hooli.Tenant), identity.SessionToken{}, r.clock(), identity.SessionLimits{}); !errors.Is(err, identity.ErrNotFound) {
					t.Error(err)
				}
				if left, err := r.identity.ListSessions(context.Background(), ref(r.hooli.Tenant), rec.User, r.clock()); err != nil || len(left) > 0 && containsSession(left, rec.Session) {
					t.Errorf("session is still in the database: %v %v", left, err)
				}
				// What the session gave is revoked at once, for everybody who asks the marks.
				if revoked, err := r.grants.Revoked(context.Background(), r.hooli.ID, r.clock(), rec.Session.String()); err == nil && !revoked {
					t.Error("the session has no mark")
				}
			})
		}
	}
}

func containsSession(list []identity.Session, session id.Session) bool {
	for _, s := range list {
		if s.ID == session {
			return true
		}
	}
	return false
}

// TestLogoutCrossSiteRequestForgery: a stranger's page can make the browser ask, but not answer.
func TestLogoutCrossSiteRequestForgery(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	rec := b.code(b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat)), "gavin@hooli.example"), r.hooli, chatCallback)
	ask := b.get(r.hooli.base+"/oauth2/logout").shows(200, "Sign out of Hooli?")
	token := hiddenField.FindStringSubmatch(ask.body)[2]
	// The attacker has a token of their own, from a browser of their own.
	other := r.browser()
	r.user(r.hooli, "mallory@hooli.example", "Mallory")
	other.signIn(other.get(r.hooli.authorizeURL(r.hooli.chat)), "mallory@hooli.example")
	theirs := hiddenField.FindStringSubmatch(other.get(r.hooli.base + "/oauth2/logout").body)[2]
	for name, c := range map[string]struct{ token, site string }{
		"a token of another browser": {theirs, "same-origin"}, "junk": {"junk", "same-origin"},
		"the right token from another site": {token, "cross-site"}, "from a sibling": {token, "same-site"},
	} {
		b.do("POST", r.hooli.base+"/oauth2/logout", url.Values{"t": {c.token}}, "Sec-Fetch-Site", c.site)
		if q := b.answered(b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "none")), chatCallback); q.Get("code") == "" {
			t.Errorf("%s logged the person out: %v", name, q)
		}
	}
	b.submit(ask).shows(200, "You are signed out")
	_ = rec
}
