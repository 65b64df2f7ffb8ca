// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

func TestConfigCertification(t *testing.T) {
	t.Parallel()
	newProvider(t, "").plan(t, "oidcc-config-certification-test-plan", []module{{"oidcc-discovery-endpoint-verification", discovery}})
}

func TestBasicCertification(t *testing.T) {
	t.Parallel()
	newProvider(t, "").plan(t, "oidcc-basic-certification-test-plan", basic)
}

func TestFormPostBasicCertification(t *testing.T) {
	t.Parallel()
	newProvider(t, "form_post").plan(t, "oidcc-formpost-basic-certification-test-plan", basic)
}

// basic are the 35 modules of the basic plan for static clients, and those of its dynamic variant that need no registration.
var basic = []module{
	{"oidcc-server", server},
	{"oidcc-response-type-missing", responseTypeMissing},
	{"oidcc-userinfo-get", func(r *run) { r.userinfo(http.MethodGet, false) }},
	{"oidcc-userinfo-post-header", func(r *run) { r.userinfo(http.MethodPost, false) }},
	{"oidcc-userinfo-post-body", func(r *run) { r.userinfo(http.MethodPost, true) }},
	{"oidcc-ensure-request-without-nonce-succeeds-for-code-flow", withoutNonce},
	{"oidcc-scope-profile", func(r *run) {
		r.scopes("openid profile", "name", "given_name", "family_name", "nickname", "preferred_username", "picture", "website", "zoneinfo", "locale", "updated_at")
	}},
	{"oidcc-scope-email", func(r *run) { r.scopes("openid email", "email", "email_verified") }},
	{"oidcc-scope-address", func(r *run) { r.unsupportedScope("address") }},
	{"oidcc-scope-phone", func(r *run) { r.unsupportedScope("phone") }},
	{"oidcc-scope-all", func(r *run) { r.scopes("openid profile email address phone", "name", "email") }},
	{"oidcc-alternate-happy-flow", alternateHappyFlow},
	{"oidcc-display-page", func(r *run) { r.login(url.Values{"display": {"page"}}) }},
	{"oidcc-display-popup", func(r *run) { r.login(url.Values{"display": {"popup"}}) }},
	{"oidcc-prompt-login", promptLogin},
	{"oidcc-prompt-none-not-logged-in", promptNoneNotLoggedIn},
	{"oidcc-prompt-none-logged-in", promptNoneLoggedIn},
	{"oidcc-max-age-1", maxAge1},
	{"oidcc-max-age-10000", maxAge10000},
	{"oidcc-ensure-request-with-unknown-parameter-succeeds", func(r *run) { r.login(url.Values{"extra": {"foobar"}}) }},
	{"oidcc-id-token-hint", idTokenHint},
	{"oidcc-login-hint", loginHint},
	{"oidcc-ui-locales", func(r *run) { r.login(url.Values{"ui_locales": {"se de en"}}) }},
	{"oidcc-claims-locales", func(r *run) { r.login(url.Values{"claims_locales": {"se de"}}) }},
	{"oidcc-ensure-request-with-acr-values-succeeds", acrValues},
	{"oidcc-codereuse", func(r *run) { r.codeReuse(0) }},
	{"oidcc-codereuse-30seconds", func(r *run) { r.codeReuse(30 * time.Second) }},
	{"oidcc-ensure-registered-redirect-uri", registeredRedirectURI},
	{"oidcc-ensure-post-request-succeeds", postRequest},
	{"oidcc-server-client-secret-post", clientSecretPost},
	{"oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported", func(r *run) {
		r.errorAt(r.begin(url.Values{"request_uri": {"https://suite.example/object.jwt"}}), "request_uri_not_supported")
	}},
	{"oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported", func(r *run) {
		// {"alg":"none"} . {"scope":"openid"}: ignoring it would fail.
		r.errorAt(r.begin(url.Values{"request": {"eyJhbGciOiJub25lIn0.eyJzY29wZSI6Im9wZW5pZCJ9."}}), "request_not_supported")
	}},
	{"oidcc-claims-essential", claimsEssential},
	{"oidcc-ensure-request-object-with-redirect-uri", func(r *run) {
		r.errorAt(r.begin(url.Values{"request": {"eyJhbGciOiJub25lIn0.eyJyZWRpcmVjdF91cmkiOiJodHRwczovL2FwcC5leGFtcGxlL2NiIn0."}}), "request_not_supported")
	}},
	{"oidcc-refresh-token", refreshToken},
	{"oidcc-ensure-request-with-valid-pkce-succeeds", validPKCE},
	{"oidcc-ensure-redirect-uri-in-authorization-request", func(r *run) { r.errorPage(r.begin(url.Values{"redirect_uri": {""}}).URL) }},
	{"oidcc-redirect-uri-query-OK", func(r *run) {
		r.rp.Config.RedirectURL = e2etest.SecondRedirectURI
		s := r.begin(nil)
		p := r.open(s).SignIn(r.who)
		if v := r.rp.Response(p); p.Stopped != nil && v.Get("dummy1") != "lorem" {
			r.Errorf("the query of the redirect URI is lost: %s", p.Stopped)
		}
		r.exchange(s, p)
	}},
	{"oidcc-redirect-uri-query-mismatch", func(r *run) {
		r.errorPage(r.begin(url.Values{"redirect_uri": {strings.Replace(e2etest.SecondRedirectURI, "lorem", "ipsum", 1)}}).URL)
	}},
	{"oidcc-redirect-uri-query-added", func(r *run) { r.errorPage(r.begin(url.Values{"redirect_uri": {e2etest.RedirectURI + "?foo=bar"}}).URL) }},
}

func discovery(r *run) {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, r.tenant.Issuer+"/.well-known/openid-configuration", nil)
	if err != nil {
		r.Fatal(err)
	}
	a := e2etest.Send(r, req)
	if a.Status != http.StatusOK || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
		r.Fatalf("%d %s", a.Status, a.Header.Get("Content-Type"))
	}
	doc := a.JSON
	if e2etest.Str(doc, "issuer") != r.tenant.Issuer {
		r.Errorf("issuer %q is not the address of the document, %q", e2etest.Str(doc, "issuer"), r.tenant.Issuer)
	}
	for name, v := range doc {
		text, ok := v.(string)
		if ok && (strings.HasSuffix(name, "_endpoint") || strings.HasSuffix(name, "_uri") || name == "issuer") && !strings.HasPrefix(text, "https://") {
			r.Errorf("%s is %q, not https", name, text)
		}
		if list, ok := v.([]any); ok && len(list) == 0 {
			r.Errorf("%s is an empty list (Discovery section 4.2)", name)
		}
	}
	contains := func(name string, want ...string) {
		r.Helper()
		for _, w := range want {
			if !slices.Contains(e2etest.List(doc, name), any(w)) {
				r.Errorf("%s lacks %s: %v", name, w, e2etest.List(doc, name))
			}
		}
	}
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"} {
		if e2etest.Str(doc, name) == "" {
			r.Errorf("no %s", name)
		}
	}
	contains("response_types_supported", "code")
	contains("subject_types_supported", "public")
	contains("id_token_signing_alg_values_supported", "RS256")
	contains("scopes_supported", "openid")
	contains("token_endpoint_auth_methods_supported", "client_secret_basic", "client_secret_post")
	contains("claims_supported", "sub", "iss")
	contains("code_challenge_methods_supported", "S256")
	if slices.Contains(e2etest.List(doc, "id_token_signing_alg_values_supported"), any("none")) {
		r.Error("alg none is offered")
	}
	keys := r.jwks(r.T)
	kids := map[any]bool{}
	rsa := false
	for _, k := range keys {
		if k["kid"] == nil || kids[k["kid"]] || k["use"] != "sig" || k["alg"] == nil {
			r.Errorf("key %v has no kid of its own, use or alg", k)
		}
		kids[k["kid"]] = true
		rsa = rsa || k["kty"] == "RSA"
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if k[private] != nil {
				r.Errorf("the JWKS holds the private member %s", private)
			}
		}
	}
	if !rsa {
		r.Error("no RSA key")
	}
}

func server(r *run) {
	s := r.begin(nil)
	p := r.open(s).SignIn(r.who)
	code := r.rp.Response(p).Get("code")
	// The suite estimates entropy by the alphabet that it sees; 43 characters of base64url hold 258 bits.
	if len(code) < 43 {
		r.Errorf("the code has %d characters", len(code))
	}
	t := r.exchange(s, p)
	header, claims := e2etest.JWTClaims(r, t.RawIDToken)
	if header["alg"] != "RS256" {
		r.Errorf("alg %v", header["alg"])
	}
	for _, unasked := range []string{"name", "email", "given_name", "picture"} {
		if claims[unasked] != nil {
			r.Errorf("the ID token holds %s, which the userinfo endpoint is for", unasked)
		}
	}
	info, err := r.rp.UserInfo(t)
	if err != nil {
		r.Fatal(err)
	}
	if info["sub"] != claims["sub"] || info["name"] != r.who.Name {
		r.Errorf("userinfo %v", info)
	}
}

func responseTypeMissing(r *run) {
	r.errorAt(r.begin(url.Values{"response_type": {""}}), "unsupported_response_type", "invalid_request")
}

func (r *run) userinfo(method string, body bool) {
	r.Helper()
	t := r.login(nil)
	form := url.Values{}
	if body {
		form.Set("access_token", t.AccessToken)
	}
	req, err := http.NewRequestWithContext(r.Context(), method, r.rp.Endpoint("userinfo_endpoint"), strings.NewReader(form.Encode()))
	if err != nil {
		r.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if !body {
		req.Header.Set("Authorization", "Bearer "+t.AccessToken)
	}
	a := e2etest.Send(r, req)
	if a.Status != http.StatusOK || a.JSON["sub"] != t.Claims["sub"] {
		r.Errorf("%d %s", a.Status, a.Body)
	}
}

func withoutNonce(r *run) {
	t := r.login(url.Values{"nonce": {""}})
	if t.Claims["nonce"] != nil {
		r.Errorf("a nonce from nowhere: %v", t.Claims["nonce"])
	}
}

func (r *run) scopes(scope string, want ...string) {
	r.Helper()
	t := r.login(url.Values{"scope": {scope}})
	info, err := r.rp.UserInfo(t)
	if err != nil {
		r.Fatal(err)
	}
	for _, name := range want {
		if info[name] == nil {
			r.Errorf("userinfo lacks %s: %v", name, info)
		}
	}
	types := map[string]any{"email_verified": false, "updated_at": 0.0}
	for name, v := range info {
		switch types[name].(type) {
		case bool:
			if _, ok := v.(bool); !ok {
				r.Errorf("%s is a %T", name, v)
			}
		case float64:
			if _, ok := v.(float64); !ok {
				r.Errorf("%s is a %T", name, v)
			}
		default:
			if _, ok := v.(string); !ok && (name == "name" || name == "email" || name == "sub") {
				r.Errorf("%s is a %T", name, v)
			}
		}
	}
	if !strings.Contains(scope, "email") && info["email"] != nil {
		r.Error("email without scope email")
	}
}

func (r *run) unsupportedScope(scope string) {
	r.Helper()
	var doc map[string]any
	if err := r.rp.Provider.Claims(&doc); err != nil {
		r.Fatal(err)
	}
	if slices.Contains(e2etest.List(doc, "scopes_supported"), any(scope)) {
		r.Fatalf("scope %s is offered, and has no claims", scope)
	}
	r.skip("scopes_supported lacks " + scope)
}

func alternateHappyFlow(r *run) {
	s := r.begin(url.Values{"scope": {"email openid profile"}})
	u := mustURL(r.T, s.URL)
	var reversed []string
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		reversed = slices.Insert(reversed, 0, pair)
	}
	u.RawQuery = strings.Join(reversed, "&")
	s.URL = u.String()
	r.exchange(s, r.open(s).SignIn(r.who))
}

func promptLogin(r *run) {
	first := r.login(nil)
	nextSecond()
	second := r.asked(url.Values{"prompt": {"login"}})
	if num(second.Claims, "auth_time") <= num(first.Claims, "auth_time") {
		r.Errorf("auth_time %d, then %d", num(first.Claims, "auth_time"), num(second.Claims, "auth_time"))
	}
	if first.Claims["sub"] != second.Claims["sub"] {
		r.Error("another sub")
	}
}

func promptNoneNotLoggedIn(r *run) {
	r.errorAt(r.begin(url.Values{"prompt": {"none"}}), "login_required")
}

func promptNoneLoggedIn(r *run) {
	first := r.login(url.Values{"max_age": {"10000"}})
	second := r.silent(url.Values{"prompt": {"none"}, "max_age": {"10000"}})
	if first.Claims["sub"] != second.Claims["sub"] || num(first.Claims, "auth_time") != num(second.Claims, "auth_time") || num(first.Claims, "auth_time") == 0 {
		r.Errorf("first %v, second %v", first.Claims, second.Claims)
	}
}

func maxAge1(r *run) {
	first := r.login(nil)
	time.Sleep(2100 * time.Millisecond)
	second := r.asked(url.Values{"max_age": {"1"}})
	if num(second.Claims, "auth_time") <= num(first.Claims, "auth_time") {
		r.Errorf("auth_time %d, then %d", num(first.Claims, "auth_time"), num(second.Claims, "auth_time"))
	}
}

func maxAge10000(r *run) {
	first := r.login(url.Values{"max_age": {"15000"}})
	nextSecond()
	second := r.silent(url.Values{"max_age": {"10000"}})
	if num(first.Claims, "auth_time") != num(second.Claims, "auth_time") || num(first.Claims, "auth_time") == 0 {
		r.Errorf("auth_time %d, then %d", num(first.Claims, "auth_time"), num(second.Claims, "auth_time"))
	}
}

func idTokenHint(r *run) {
	first := r.login(nil)
	second := r.silent(url.Values{"prompt": {"none"}, "id_token_hint": {first.RawIDToken}})
	if first.Claims["sub"] != second.Claims["sub"] {
		r.Error("another sub")
	}
}

func loginHint(r *run) {
	s := r.begin(url.Values{"login_hint": {r.who.Email}})
	p := r.open(s)
	if got := p.Form("password").Values.Get("email"); got != r.who.Email {
		r.Errorf("the form does not offer the hint but %q", got)
	}
	r.exchange(s, p.SignIn(r.who))
}

func acrValues(r *run) {
	t := r.login(url.Values{"acr_values": {"1 2"}})
	if e2etest.Str(t.Claims, "acr") == "" {
		r.Error("no acr")
	}
}

func (r *run) codeReuse(after time.Duration) {
	r.Helper()
	s := r.begin(nil)
	v := r.rp.Response(r.open(s).SignIn(r.who))
	t := r.rp.Exchange(s, v)
	time.Sleep(after)
	a := e2etest.PostForm(r, r.rp.Endpoint("token_endpoint"), r.tenant.Clients[client], url.Values{
		"grant_type": {"authorization_code"}, "code": {v.Get("code")}, "redirect_uri": {r.rp.Config.RedirectURL},
	})
	if a.Status != http.StatusBadRequest || e2etest.Str(a.JSON, "error") != "invalid_grant" {
		r.Errorf("the second use: %d %s", a.Status, a.Body)
	}
	if _, err := r.rp.UserInfo(t); err == nil {
		r.Error("the access token from the first use still works (RFC 6749 section 4.1.2)")
	}
}

func registeredRedirectURI(r *run) {
	p := r.errorPage(r.begin(url.Values{"redirect_uri": {"https://app.example/other"}}).URL)
	if strings.Contains(string(p.Body), "app.example/other\"") {
		r.Error("the page links to the unregistered address")
	}
}

func postRequest(r *run) {
	s := r.begin(nil)
	u := mustURL(r.T, s.URL)
	form := u.Query()
	u.RawQuery = ""
	r.browser.StopAt = r.rp.Returned
	r.exchange(s, r.browser.Post(u.String(), form).SignIn(r.who))
}

func clientSecretPost(r *run) {
	r.rp = r.tenant.RP(r, clientPost)
	r.login(nil)
}

func claimsEssential(r *run) {
	t := r.login(url.Values{"claims": {`{"userinfo":{"name":{"essential":true}},"id_token":{"auth_time":{"essential":true}}}`}, "scope": {"openid"}})
	info, err := r.rp.UserInfo(t)
	if err != nil {
		r.Fatal(err)
	}
	if info["name"] != r.who.Name || num(t.Claims, "auth_time") == 0 {
		r.Errorf("userinfo %v, ID token %v", info, t.Claims)
	}
}

func refreshToken(r *run) {
	ask := url.Values{"scope": {"openid profile offline_access"}, "prompt": {"consent"}}
	s := r.begin(ask)
	p := r.open(s).SignIn(r.who)
	if _, done := r.rp.Responded(p); !done {
		p = p.Form("t").Press("answer", "allow")
	}
	t := r.exchange(s, p)
	if t.RefreshToken == "" {
		r.Fatal("no refresh token")
	}
	stolen := e2etest.PostForm(r, r.rp.Endpoint("token_endpoint"), r.tenant.Clients[client2], url.Values{"grant_type": {"refresh_token"}, "refresh_token": {t.RefreshToken}})
	if stolen.Status != http.StatusBadRequest || e2etest.Str(stolen.JSON, "error") != "invalid_grant" {
		r.Errorf("another client's use: %d %s", stolen.Status, stolen.Body)
	}
	next, err := r.rp.Refresh(t.RefreshToken)
	if err != nil {
		r.Fatal(err)
	}
	raw, ok := next.Extra("id_token").(string)
	if !ok {
		r.skip("no ID token in the answer to a refresh, which is allowed")
	}
	_, again := e2etest.JWTClaims(r, raw)
	for _, name := range []string{"iss", "sub", "aud", "auth_time"} {
		if e2etest.At(again, name) != e2etest.At(t.Claims, name) {
			r.Errorf("%s %v, then %v (OIDC Core 12.2)", name, t.Claims[name], again[name])
		}
	}
	if num(again, "iat") < num(t.Claims, "iat") {
		r.Error("iat went back")
	}
	if next.AccessToken == t.AccessToken {
		r.Error("the same access token")
	}
}

func validPKCE(r *run) {
	s := r.rp.Begin(modeOf(r))
	r.exchange(s, r.open(s).SignIn(r.who))
	// And with the wrong verifier it fails, else it was not checked.
	s = r.rp.Begin(modeOf(r))
	v := r.rp.Response(r.open(s))
	s.Verifier = strings.Repeat("x", 43)
	if _, err := r.rp.Redeem(s, v.Get("code")); err == nil {
		r.Error("a wrong code_verifier is accepted")
	}
}

func modeOf(r *run) url.Values {
	if r.mode == "" {
		return nil
	}
	return url.Values{"response_mode": {r.mode}}
}
