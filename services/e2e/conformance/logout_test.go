// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

var rpLogout = map[string]func(*run){
	"oidcc-rp-initiated-logout-discovery-endpoint-verification": func(r *run) { r.offersLogout() },
	"oidcc-rp-initiated-logout": func(r *run) {
		g := r.login(nil)
		r.returns(url.Values{"id_token_hint": {g.IDToken}, "post_logout_redirect_uri": {e2etest.PostLogoutURI}, "state": {"s-17"}}, url.Values{"state": {"s-17"}})
		r.loggedOut()
	},
	"oidcc-rp-initiated-logout-no-state": func(r *run) {
		g := r.login(nil)
		r.returns(url.Values{"id_token_hint": {g.IDToken}, "post_logout_redirect_uri": {e2etest.PostLogoutURI}}, url.Values{})
		r.loggedOut()
	},
	"oidcc-rp-initiated-logout-no-post-logout-redirect-uri": func(r *run) {
		g := r.login(nil)
		r.stays(url.Values{"id_token_hint": {g.IDToken}})
		r.loggedOut()
	},
	"oidcc-rp-initiated-logout-no-params": func(r *run) {
		r.login(nil)
		r.stays(nil)
		r.loggedOut()
	},
	"oidcc-rp-initiated-logout-only-state": func(r *run) {
		r.login(nil)
		r.stays(url.Values{"state": {"s-18"}})
		r.loggedOut()
	},
	"oidcc-rp-initiated-logout-bad-post-logout-redirect-uri": func(r *run) {
		g := r.login(nil)
		r.refusedAddress(url.Values{"id_token_hint": {g.IDToken}, "post_logout_redirect_uri": {"https://app.example/elsewhere"}, "state": {"s"}})
	},
	"oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri": func(r *run) {
		g := r.login(nil)
		r.refusedAddress(url.Values{"id_token_hint": {g.IDToken}, "post_logout_redirect_uri": {e2etest.PostLogoutURI + "?foo=bar"}, "state": {"s"}})
	},
	"oidcc-rp-initiated-logout-modified-id-token-hint": func(r *run) {
		g := r.login(nil)
		parts := strings.Split(g.IDToken, ".")
		parts[0], parts[2] = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)), ""
		r.refusedAddress(url.Values{"id_token_hint": {strings.Join(parts, ".")}, "post_logout_redirect_uri": {e2etest.PostLogoutURI}, "state": {"s"}})
	},
	"oidcc-rp-initiated-logout-bad-id-token-hint": func(r *run) {
		g := r.login(nil)
		header, claims := e2etest.JWTClaims(r, g.IDToken)
		forged := e2etest.NewKey(r, "RS256").Sign(r, header, claims) // under the kid of the provider's key
		r.refusedAddress(url.Values{"id_token_hint": {forged}, "post_logout_redirect_uri": {e2etest.PostLogoutURI}, "state": {"s"}})
		r.refusedAddress(url.Values{"id_token_hint": {e2etest.BreakSignature(r, g.IDToken)}, "post_logout_redirect_uri": {e2etest.PostLogoutURI}, "state": {"s"}})
	},
	"oidcc-rp-initiated-logout-no-id-token-hint": func(r *run) {
		r.login(nil)
		r.refusedAddress(url.Values{"post_logout_redirect_uri": {e2etest.PostLogoutURI}, "state": {"s"}})
	},
}

// offersLogout checks what discovery says of logout, and returns the document.
func (r *run) offersLogout() map[string]any {
	r.Helper()
	if e := r.c.Endpoint("end_session_endpoint"); !strings.HasPrefix(e, r.tenant.Issuer+"/") {
		r.Errorf("end_session_endpoint %q", e)
	}
	return r.c.Doc
}

// end opens the end session endpoint and answers the question whether to sign out, when there is one.
func (r *run) end(params url.Values) *e2etest.Page {
	r.Helper()
	home := mustURL(r.T, r.tenant.Issuer).Host
	r.browser.StopAt = func(u *url.URL) bool { return u.Host != home }
	p := r.browser.Get(r.c.Endpoint("end_session_endpoint") + "?" + params.Encode())
	if p.Stopped == nil && hasField(p, "t") {
		p = p.Form("t").Submit()
	}
	return p
}

// returns logs out and must come back to the registered address with exactly the parameters.
func (r *run) returns(params, want url.Values) {
	r.Helper()
	p := r.end(params)
	if p.Stopped == nil {
		r.Fatalf("no redirect but %v\n%s", p, p.Text())
	}
	got := *p.Stopped
	got.RawQuery = ""
	if got.String() != e2etest.PostLogoutURI || p.Stopped.Query().Encode() != want.Encode() {
		r.Errorf("redirected to %s", p.Stopped)
	}
}

// stays logs out and must end at a page that says so.
func (r *run) stays(params url.Values) {
	r.Helper()
	p := r.end(params)
	if p.Stopped != nil {
		r.Fatalf("redirected to %s", p.Stopped)
	}
	if !strings.Contains(p.Text(), "You are signed out") {
		r.Errorf("the page does not say that the person is signed out: %v", p.Text())
	}
}

// refusedAddress must not redirect, whatever becomes of the session.
func (r *run) refusedAddress(params url.Values) {
	r.Helper()
	if p := r.end(params); p.Stopped != nil {
		r.Errorf("redirected to %s", p.Stopped)
	}
}

// loggedOut proves that the session is gone.
func (r *run) loggedOut() {
	r.Helper()
	r.errorAt(r.c.Start(url.Values{"prompt": {"none"}}, nil), "login_required")
}
