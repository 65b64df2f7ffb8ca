// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

var sessionManagement = map[string]func(*run){
	"oidcc-session-management-discovery-endpoint-verification": func(r *run) {
		doc := r.offersLogout()
		if e := e2etest.Str(doc, "check_session_iframe"); !strings.HasPrefix(e, r.tenant.Issuer+"/") {
			r.Errorf("check_session_iframe %q", e)
		}
	},
	"oidcc-session-management-rp-initiated-logout": sessionIframe,
}

// clientPage is what a client's page does with the provider's iframe (OpenID Connect Session Management section 3.1).
const clientPage = `<!doctype html><title>client</title><iframe id="op" src="%s"></iframe><p id="answer"></p>
<script>
addEventListener("message", e => { if (e.origin === %q) document.getElementById("answer").textContent += e.data + ";" })
function ask(text) { document.getElementById("op").contentWindow.postMessage(text, %q) }
</script>`

// sessionIframe asks the provider's iframe about the session in a real browser, as a client does: unchanged after the login, changed
// for another client's state, and changed after the logout.
func sessionIframe(r *run) {
	iframe := e2etest.Str(r.c.Doc, "check_session_iframe")
	home, _ := strings.CutSuffix(r.c.Redirect, "/callback")
	page := r.suite.Handle("rp", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, clientPage, iframe, r.tenant.Issuer, r.tenant.Issuer)
	})
	page = home + mustURL(r.T, page).Path
	ctx := e2etest.Chrome(r, chromedp.Flag("ignore-certificate-errors", true))
	do := func(what string, steps ...chromedp.Action[chromedp.Void]) {
		r.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			r.Fatalf("%s: %v", what, err)
		}
	}
	read := func(expression string) string {
		r.Helper()
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression))
		if err != nil {
			return "" // the page changes
		}
		return text
	}
	s := r.c.Start(nil, nil)
	do("log in", chromedp.Navigate(s.URL), chromedp.WaitVisible("#email"), chromedp.SendKeys("#email", r.who.Email), chromedp.SendKeys("#password", r.who.Password),
		chromedp.Click("main form button.primary"))
	var at string
	e2etest.Eventually(r, 30*time.Second, "the browser is back at the client", func() bool {
		at = read("document.location.toString()")
		return strings.HasPrefix(at, r.c.Redirect)
	})
	v := mustURL(r.T, at).Query()
	state := v.Get("session_state")
	if state == "" || strings.Contains(state, " ") {
		r.Fatalf("session_state %q in %v", state, v)
	}
	g := r.c.Front(s, v)
	r.c.Back(s, g, r.c.Redeem(s, v.Get("code"), nil))
	// answer asks the iframe until it has answered.
	answer := func(text string) (first string) {
		r.Helper()
		do("open the client's page", chromedp.Navigate(page), chromedp.WaitReady("#op"))
		e2etest.Eventually(r, 20*time.Second, "the iframe answers", func() bool {
			all := read(fmt.Sprintf(`(ask(%q), document.getElementById("answer").textContent)`, text))
			first, _, _ = strings.Cut(all, ";")
			return first != ""
		})
		return first
	}
	for _, c := range []struct{ what, text, want string }{
		{"after the login", r.c.ID + " " + state, "unchanged"},
		{"with another state", r.c.ID + " " + strings.Repeat("0", 43) + ".salt", "changed"},
		{"with rubbish", "rubbish", "error"},
	} {
		if got := answer(c.text); got != c.want {
			r.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	end := r.c.Endpoint("end_session_endpoint") + "?" + url.Values{"id_token_hint": {g.IDToken}, "post_logout_redirect_uri": {home + "/bye"}}.Encode()
	do("log out", chromedp.Navigate(end), chromedp.WaitReady("body"))
	if read(`String(document.querySelector("form[action='/oauth2/logout'] button") !== null)`) == "true" {
		do("confirm", chromedp.Click("main form button.primary"), chromedp.WaitNotPresent("form[action='/oauth2/logout']"))
	}
	if got := answer(r.c.ID + " " + state); got != "changed" {
		r.Errorf("after the logout: %q, want changed", got)
	}
}
