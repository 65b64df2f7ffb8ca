// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
)

// The rows are named like the modules of the conformance suite where there is one.
func TestLogout(t *testing.T) {
	const bye = "https://app.example/bye"
	c := newClient(t)
	disabled := newClient(t)
	disabled.Enabled = false
	here := SessionState{Present: true, UserID: user, SessionID: session}
	hint := &IDTokenHint{Subject: user.String(), SessionID: session.String(), Audience: []string{"cli_a"}}
	otherSession := &IDTokenHint{Subject: user.String(), SessionID: id.NewSession().String(), Audience: []string{"cli_a"}}
	noSID := &IDTokenHint{Subject: user.String(), Audience: []string{"cli_a"}}
	otherUser := &IDTokenHint{Subject: id.NewUser().String(), Audience: []string{"cli_a"}}
	gone := &IDTokenHint{Subject: user.String(), SessionID: session.String(), Audience: []string{"cli_gone"}}
	bad := errors.New("signature")

	for _, tc := range []struct {
		name    string
		client  *oauth2.Client
		params  string
		hint    *IDTokenHint
		hintErr error
		session SessionState
		to      string
		confirm bool
		page    bool
	}{
		{"rp-initiated-logout", c, "id_token_hint=x&post_logout_redirect_uri=" + bye + "&state=a b&", hint, nil, here, bye + "?state=a+b", false, false},
		{"no-state", c, "id_token_hint=x&post_logout_redirect_uri=" + bye, hint, nil, here, bye, false, false},
		{"bad-post-logout-redirect-uri", c, "id_token_hint=x&post_logout_redirect_uri=https://evil.example/", hint, nil, here, "", false, true},
		{"query-added-to-post-logout-redirect-uri", c, "id_token_hint=x&post_logout_redirect_uri=" + bye + "?foo=bar", hint, nil, here, "", false, true},
		{"modified-id-token-hint", c, "id_token_hint=x&post_logout_redirect_uri=" + bye, nil, bad, here, "", false, true},
		{"bad-id-token-hint, nothing else", c, "id_token_hint=x", nil, bad, here, "", false, true},
		{"a hint that the caller forgot to verify", c, "id_token_hint=x&client_id=cli_a&post_logout_redirect_uri=" + bye, nil, nil, here, "", false, true},
		{"no-id-token-hint", c, "post_logout_redirect_uri=" + bye + "&state=a", nil, nil, here, "", false, true},
		{"no-params", c, "", nil, nil, here, "", true, false},
		{"no-post-logout-redirect-uri", c, "id_token_hint=x", hint, nil, here, "", false, false},
		{"only-state", c, "state=a", nil, nil, here, "", true, false},

		{"client_id instead of a hint: asked first", c, "client_id=cli_a&post_logout_redirect_uri=" + bye, nil, nil, here, bye, true, false},
		{"client_id and hint of the same client", c, "client_id=cli_a&id_token_hint=x&post_logout_redirect_uri=" + bye, hint, nil, here, bye, false, false},
		{"client_id and hint of another client", c, "client_id=cli_b&id_token_hint=x&post_logout_redirect_uri=" + bye, hint, nil, here, "", false, true},
		{"unknown client_id", c, "client_id=cli_b", nil, nil, here, "", false, true},
		{"disabled client", disabled, "client_id=cli_a&post_logout_redirect_uri=" + bye, nil, nil, here, "", false, true},
		{"hint of a client that is gone", c, "id_token_hint=x", gone, nil, here, "", false, false},
		{"hint of a client that is gone, with a URI", c, "id_token_hint=x&post_logout_redirect_uri=" + bye, gone, nil, here, "", false, true},
		{"forced logout by a hint of another session", c, "id_token_hint=x", otherSession, nil, here, "", true, false},
		{"forced logout by a hint of another user", c, "id_token_hint=x", otherUser, nil, here, "", true, false},
		{"hint without sid, same user", c, "id_token_hint=x", noSID, nil, here, "", false, false},
		{"already logged out", c, "id_token_hint=x&post_logout_redirect_uri=" + bye, hint, nil, SessionState{}, bye, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			raw := strings.NewReplacer(" ", "+", "https://", "https%3A%2F%2F", "?foo=", "%3Ffoo%3D").Replace(tc.params)
			p, err := oauth2.ParseParams(raw)
			if err != nil {
				t.Fatal(err)
			}
			r, err := ParseLogoutRequest(p)
			if err != nil {
				t.Fatal(err)
			}
			l, err := r.Resolve(tc.hint, tc.hintErr, only(tc.client), tc.session)
			if tc.page {
				page, ok := errors.AsType[*oauth2.PageError](err)
				if !ok || l != (Logout{}) {
					t.Fatalf("got %+v, %v", l, err)
				}
				if strings.Contains(page.Description, "evil") {
					t.Errorf("description %q", page.Description)
				}
				return
			}
			if err != nil || l.RedirectURI != tc.to || l.Confirm != tc.confirm {
				t.Errorf("got %+v, %v", l, err)
			}
		})
	}
}

func TestLogoutBounds(t *testing.T) {
	p, err := oauth2.ParseParams("state=" + strings.Repeat("s", maxEchoBytes+1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseLogoutRequest(p); err == nil {
		t.Error("a state of any length")
	}
}

func FuzzLogout(f *testing.F) {
	c := newClient(f)
	f.Add("post_logout_redirect_uri=https%3A%2F%2Fapp.example%2Fbye&client_id=cli_a&state=x")
	f.Add("post_logout_redirect_uri=https%3A%2F%2Fevil.example&client_id=cli_a")
	f.Add("id_token_hint=x")
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := oauth2.ParseParams(raw)
		if err != nil {
			return
		}
		r, err := ParseLogoutRequest(p)
		if err != nil {
			return
		}
		l, err := r.Resolve(nil, nil, only(c), SessionState{})
		if err != nil || l.RedirectURI == "" {
			return
		}
		u, err := url.Parse(l.RedirectURI)
		if err != nil || u.Host != "app.example" || u.Path != "/bye" || u.Query().Get("state") != r.State {
			t.Fatalf("a logout goes to %q", l.RedirectURI)
		}
		if !l.Confirm {
			t.Fatal("a logout without a hint and without a question")
		}
	})
}
