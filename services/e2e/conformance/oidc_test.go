// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// oidc are the modules of OpenID Connect Core, for every response type and response mode.
var oidc = map[string]func(*run){
	"oidcc-discovery-endpoint-verification":                     discovery,
	"oidcc-server":                                              server,
	"oidcc-response-type-missing":                               responseTypeMissing,
	"oidcc-userinfo-get":                                        func(r *run) { r.userinfo(http.MethodGet, false) },
	"oidcc-userinfo-post-header":                                func(r *run) { r.userinfo(http.MethodPost, false) },
	"oidcc-userinfo-post-body":                                  func(r *run) { r.userinfo(http.MethodPost, true) },
	"oidcc-ensure-request-without-nonce-succeeds-for-code-flow": withoutNonce,
	"oidcc-ensure-request-without-nonce-fails":                  withoutNonceFails,
	"oidcc-scope-profile": func(r *run) {
		r.scopes("openid profile", "name", "given_name", "family_name", "nickname", "preferred_username", "picture", "website", "zoneinfo", "locale", "updated_at")
	},
	"oidcc-scope-email":                                    func(r *run) { r.scopes("openid email", "email", "email_verified") },
	"oidcc-scope-address":                                  func(r *run) { r.unsupportedScope("address") },
	"oidcc-scope-phone":                                    func(r *run) { r.unsupportedScope("phone") },
	"oidcc-scope-all":                                      func(r *run) { r.scopes("openid profile email address phone", "name", "email") },
	"oidcc-alternate-happy-flow":                           alternateHappyFlow,
	"oidcc-display-page":                                   func(r *run) { r.login(url.Values{"display": {"page"}}) },
	"oidcc-display-popup":                                  func(r *run) { r.login(url.Values{"display": {"popup"}}) },
	"oidcc-prompt-login":                                   promptLogin,
	"oidcc-prompt-none-not-logged-in":                      promptNoneNotLoggedIn,
	"oidcc-prompt-none-logged-in":                          promptNoneLoggedIn,
	"oidcc-max-age-1":                                      maxAge1,
	"oidcc-max-age-10000":                                  maxAge10000,
	"oidcc-ensure-request-with-unknown-parameter-succeeds": func(r *run) { r.login(url.Values{"extra": {"foobar"}}) },
	"oidcc-id-token-hint":                                  idTokenHint,
	"oidcc-login-hint":                                     loginHint,
	"oidcc-ui-locales":                                     func(r *run) { r.login(url.Values{"ui_locales": {"se de en"}}) },
	"oidcc-claims-locales":                                 func(r *run) { r.login(url.Values{"claims_locales": {"se de"}}) },
	"oidcc-ensure-request-with-acr-values-succeeds":        acrValues,
	"oidcc-codereuse":                                      func(r *run) { r.codeReuse(0) },
	"oidcc-codereuse-30seconds":                            codeReuseLate,
	"oidcc-ensure-registered-redirect-uri":                 registeredRedirectURI,
	"oidcc-ensure-post-request-succeeds":                   postRequest,
	"oidcc-server-client-secret-post":                      clientSecretPost,
	"oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported": unsignedObject,
	"oidcc-claims-essential":                        claimsEssential,
	"oidcc-ensure-request-object-with-redirect-uri": objectWithRedirectURI,
	"oidcc-refresh-token":                           refreshToken,
	"oidcc-ensure-request-with-valid-pkce-succeeds": validPKCE,
}

// has reports whether the plan's response type has a word in it.
func (r *run) has(word string) bool {
	t := r.c.ResponseType
	return t == "" && word == "code" || slices.Contains(strings.Fields(t), word)
}

// noAccessToken ends modules about access tokens where the response type gives none.
func (r *run) noAccessToken() bool {
	if r.has("code") || r.has("token") {
		return false
	}
	r.notApplicable("response_type id_token gives no access token (OpenID Connect Core section 3.2.2.5)")
	return true
}

func discovery(r *run) {
	a := get(r.T, r.tenant.Issuer+"/.well-known/openid-configuration", nil)
	if a.Status != http.StatusOK || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
		r.Fatalf("%d %s", a.Status, a.Header.Get("Content-Type"))
	}
	doc := a.JSON
	r.wellFormed(doc)
	for _, name := range []string{"authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"} {
		if e2etest.Str(doc, name) == "" {
			r.Errorf("no %s", name)
		}
	}
	r.lists(doc, "response_types_supported", "code")
	r.lists(doc, "subject_types_supported", "public")
	r.lists(doc, "id_token_signing_alg_values_supported", "RS256")
	r.lists(doc, "scopes_supported", "openid")
	r.lists(doc, "token_endpoint_auth_methods_supported", "client_secret_basic", "client_secret_post")
	r.lists(doc, "claims_supported", "sub", "iss")
	r.lists(doc, "code_challenge_methods_supported", "S256")
	if r.options.dynamic {
		// Discovery section 3: what a dynamic OpenID Provider must support.
		r.lists(doc, "response_types_supported", "code", "id_token", "id_token token")
		r.lists(doc, "grant_types_supported", "authorization_code", "implicit")
		if e2etest.Str(doc, "registration_endpoint") == "" {
			r.Error("no registration_endpoint")
		}
	}
	for name := range doc {
		if strings.HasSuffix(name, "_alg_values_supported") && slices.Contains(e2etest.List(doc, name), any("none")) {
			r.Errorf("alg none is offered in %s", name)
		}
	}
	rsa := false
	for _, k := range r.keySet() {
		rsa = rsa || k["kty"] == "RSA"
	}
	if !rsa {
		r.Error("no RSA key")
	}
}

// wellFormed checks what holds for every member of a discovery document.
func (r *run) wellFormed(doc map[string]any) {
	r.Helper()
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
}

func (r *run) lists(doc map[string]any, name string, want ...string) {
	r.Helper()
	for _, w := range want {
		if !slices.Contains(e2etest.List(doc, name), any(w)) {
			r.Errorf("%s lacks %s: %v", name, w, e2etest.List(doc, name))
		}
	}
}

// listsOnly checks that a list has nothing but what is allowed, and something.
func (r *run) listsOnly(doc map[string]any, name string, allowed ...string) {
	r.Helper()
	list := e2etest.List(doc, name)
	for _, v := range list {
		if s, _ := v.(string); !slices.Contains(allowed, s) {
			r.Errorf("%s has %v, allowed are %q", name, v, allowed)
		}
	}
	if len(list) == 0 {
		r.Errorf("no %s", name)
	}
}

// keySet is the JWK set, of which each key must be whole and public.
func (r *run) keySet() []map[string]any {
	r.Helper()
	kids := map[any]bool{}
	keys := r.c.Keys()
	for _, k := range keys {
		if k["kid"] == nil || kids[k["kid"]] || k["use"] != "sig" || k["alg"] == nil {
			r.Errorf("key %v has no kid of its own, use or alg", k)
		}
		kids[k["kid"]] = true
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if k[private] != nil {
				r.Errorf("the JWKS holds the private member %s", private)
			}
		}
	}
	return keys
}

func server(r *run) {
	g := r.login(nil)
	// The suite estimates entropy by the alphabet that it sees; 43 characters of base64url hold 258 bits.
	if code := g.Response.Get("code"); r.has("code") && len(code) < 43 {
		r.Errorf("the code has %d characters", len(code))
	}
	header, claims := e2etest.JWTClaims(r, g.IDToken)
	if header["alg"] != "RS256" {
		r.Errorf("alg %v", header["alg"])
	}
	if r.c.ResponseType != "id_token" {
		for _, unasked := range []string{"name", "email", "given_name", "picture"} {
			if claims[unasked] != nil {
				r.Errorf("the ID token holds %s, which the userinfo endpoint is for", unasked)
			}
		}
		info := r.c.UserInfo(g.AccessToken)
		if info.JSON["sub"] != claims["sub"] || info.JSON["name"] != r.who.Name {
			r.Errorf("userinfo %d %s", info.Status, info.Body)
		}
	}
	r.keySet()
}

func responseTypeMissing(r *run) {
	s := r.c.Start(url.Values{"response_type": {""}}, nil)
	p := r.open(r.c, s)
	if _, _, back := r.c.Delivered(p); !back {
		if p.Status < 400 {
			r.Fatalf("no error page but %v", p)
		}
		return
	}
	r.isError(r.c, s, p, "unsupported_response_type", "invalid_request")
}

func (r *run) userinfo(method string, body bool) {
	r.Helper()
	if r.noAccessToken() {
		return
	}
	g := r.login(nil)
	form, header := url.Values{}, http.Header{"Authorization": {"Bearer " + g.AccessToken}}
	if body {
		form.Set("access_token", g.AccessToken)
		header = http.Header{}
	}
	req, err := http.NewRequestWithContext(r.Context(), method, r.c.Endpoint("userinfo_endpoint"), strings.NewReader(form.Encode()))
	if err != nil {
		r.Fatal(err)
	}
	req.Header = header
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if a := e2etest.Send(r, req); a.Status != http.StatusOK || a.JSON["sub"] != g.Claims["sub"] {
		r.Errorf("%d %s", a.Status, a.Body)
	}
}

func withoutNonce(r *run) {
	if r.has("id_token") {
		r.notApplicable("nonce is required where an ID token comes from the authorization endpoint (OpenID Connect Core section 3.3.2.11)")
		return
	}
	r.signedIn().login(url.Values{"nonce": {""}})
}

func withoutNonceFails(r *run) {
	if !r.has("id_token") {
		r.notApplicable("response_type code token gives no ID token at the authorization endpoint (OpenID Connect Core section 3.3.2.11)")
		return
	}
	r.signedIn()
	s := r.c.Start(url.Values{"nonce": {""}}, nil)
	r.errorAt(s, "invalid_request")
}

func (r *run) scopes(scope string, want ...string) {
	r.Helper()
	g := r.signedIn().login(url.Values{"scope": {scope}})
	info := g.Claims // with response_type id_token there is no other place (OpenID Connect Core section 5.4)
	if r.c.ResponseType != "id_token" {
		info = r.c.UserInfo(g.AccessToken).JSON
	}
	for _, name := range want {
		if info[name] == nil {
			r.Errorf("%s is missing: %v", name, info)
		}
	}
	for name, v := range info {
		ok := true
		switch name {
		case "email_verified":
			_, ok = v.(bool)
		case "updated_at":
			_, ok = v.(float64)
		case "name", "email", "sub", "given_name", "locale", "zoneinfo":
			_, ok = v.(string)
		}
		if !ok {
			r.Errorf("%s is a %T", name, v)
		}
	}
	if !strings.Contains(scope, "email") && info["email"] != nil {
		r.Error("email without scope email")
	}
}

func (r *run) unsupportedScope(scope string) {
	r.Helper()
	if r.advertises("scopes_supported", scope) {
		r.Fatalf("scope %s is offered, and has no claims", scope)
	}
	// The scope that nobody knows is ignored (section 3.1.2.1), and what is left works.
	r.signedIn().login(url.Values{"scope": {"openid " + scope}})
	r.notApplicable("the scope is not in scopes_supported; offering it is optional (OpenID Connect Core section 5.4)")
}

func alternateHappyFlow(r *run) {
	s := r.c.Start(url.Values{"scope": {"email openid profile"}}, nil)
	u := mustURL(r.T, s.URL)
	var reversed []string
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		reversed = slices.Insert(reversed, 0, pair)
	}
	u.RawQuery = strings.Join(reversed, "&")
	s.URL = u.String()
	r.c.Grants(s, r.through(r.c, r.open(r.c, s)), nil)
}

func promptLogin(r *run) {
	first := r.login(nil)
	nextSecond()
	second := r.asked(url.Values{"prompt": {"login"}, "max_age": {"10000"}})
	if second.Claims["auth_time"] == nil || e2etest.Num(second.Claims, "auth_time") <= e2etest.Num(first.Claims, "auth_time") {
		r.Errorf("auth_time %v, then %v", first.Claims["auth_time"], second.Claims["auth_time"])
	}
	if first.Claims["sub"] != second.Claims["sub"] {
		r.Error("another sub")
	}
}

func promptNoneNotLoggedIn(r *run) {
	r.errorAt(r.c.Start(url.Values{"prompt": {"none"}}, nil), "login_required")
}

func promptNoneLoggedIn(r *run) {
	first := r.login(url.Values{"max_age": {"10000"}})
	second := r.silent(url.Values{"prompt": {"none"}, "max_age": {"10000"}})
	r.sameLogin(first, second)
}

func (r *run) sameLogin(first, second *e2etest.Granted) {
	r.Helper()
	if first.Claims["sub"] != second.Claims["sub"] || first.Claims["auth_time"] != second.Claims["auth_time"] || first.Claims["auth_time"] == nil {
		r.Errorf("first %v, second %v", first.Claims, second.Claims)
	}
}

func maxAge1(r *run) {
	first := r.login(url.Values{"max_age": {"15000"}})
	time.Sleep(2100 * time.Millisecond)
	second := r.asked(url.Values{"max_age": {"1"}})
	if e2etest.Num(second.Claims, "auth_time") <= e2etest.Num(first.Claims, "auth_time") {
		r.Errorf("auth_time %v, then %v", first.Claims["auth_time"], second.Claims["auth_time"])
	}
}

func maxAge10000(r *run) {
	first := r.login(url.Values{"max_age": {"15000"}})
	nextSecond()
	r.sameLogin(first, r.silent(url.Values{"max_age": {"10000"}}))
}

func idTokenHint(r *run) {
	first := r.login(nil)
	second := r.silent(url.Values{"prompt": {"none"}, "id_token_hint": {first.IDToken}})
	if first.Claims["sub"] != second.Claims["sub"] {
		r.Error("another sub")
	}
}

func loginHint(r *run) {
	s := r.c.Start(url.Values{"login_hint": {r.who.Email}}, nil)
	p := r.open(r.c, s)
	if got := p.Form("password").Values.Get("email"); got != r.who.Email {
		r.Errorf("the form does not offer the hint but %q", got)
	}
	r.c.Grants(s, r.through(r.c, p), nil)
}

func acrValues(r *run) {
	asked := "1 2"
	if list := e2etest.List(r.c.Doc, "acr_values_supported"); len(list) > 0 {
		asked, _ = list[0].(string)
	}
	g := r.signedIn().login(url.Values{"acr_values": {asked}})
	if e2etest.Str(g.Claims, "acr") == "" {
		r.Error("no acr")
	}
}

func (r *run) codeReuse(after time.Duration) {
	r.Helper()
	s := r.c.Start(nil, nil)
	g := r.c.Grants(s, r.through(r.c, r.open(r.c, s)), nil)
	if after > 0 {
		time.Sleep(after)
	}
	r.refusedAt(r.c.Redeem(s, g.Response.Get("code"), nil), "invalid_grant")
	if a := r.c.UserInfo(g.AccessToken); a.Status != http.StatusUnauthorized {
		r.Errorf("the access token from the first use still works (RFC 6749 section 4.1.2): %d", a.Status)
	}
}

// codeReuseLate is the suite's wait of 30 seconds where codes live for briefLife: the second use comes when the code has expired, too.
func codeReuseLate(r *run) {
	r.provider = r.brief
	r.c = r.client.For(r.T)
	r.codeReuse(briefLife + time.Second)
}

func registeredRedirectURI(r *run) {
	p := r.errorPage(r.c.Start(url.Values{"redirect_uri": {"https://app.example/other"}}, nil).URL)
	if strings.Contains(string(p.Body), "app.example/other\"") {
		r.Error("the page links to the unregistered address")
	}
}

func postRequest(r *run) {
	s := r.c.Start(nil, nil)
	u := mustURL(r.T, s.URL)
	form := u.Query()
	u.RawQuery = ""
	r.browser.StopAt = r.c.Returned
	r.c.Grants(s, r.through(r.c, r.browser.Post(u.String(), form)), nil)
}

func clientSecretPost(r *run) {
	r.c = r.clientPost.For(r.T)
	r.login(nil)
}

// unsignedObject: an object with alg none is refused by name, or processed where that is advertised; it is not.
func unsignedObject(r *run) {
	if r.advertises("request_object_signing_alg_values_supported", "none") {
		r.Fatal("alg none is offered")
	}
	r.signedIn()
	s := r.c.Prepare(nil)
	object := e2etest.Unsigned(r, nil, map[string]any{"scope": "openid", "iss": r.c.ID, "aud": r.tenant.Issuer})
	s.Params.Set("request", object)
	s.URL = r.c.Endpoint("authorization_endpoint") + "?" + s.Params.Encode()
	r.errorAt(s, "request_not_supported", "invalid_request_object")
	r.notApplicable("alg none is not in request_object_signing_alg_values_supported (RFC 9101 section 10.8); it is refused")
}

// objectWithRedirectURI: the object's redirect URI counts, or the request is refused.
func objectWithRedirectURI(r *run) {
	r.signedIn()
	s := r.c.Prepare(nil)
	object := e2etest.Unsigned(r, nil, map[string]any{"redirect_uri": e2etest.SecondRedirectURI})
	s.Params.Set("request", object)
	p := r.open(r.c, &e2etest.Started{URL: r.c.Endpoint("authorization_endpoint") + "?" + s.Params.Encode()})
	if _, _, back := r.c.Delivered(p); !back {
		if p.Status < 400 {
			r.Errorf("no error page but %v", p)
		}
		return
	}
	r.isError(r.c, s, p, "request_not_supported", "invalid_request_object")
}

func claimsEssential(r *run) {
	r.signedIn()
	if r.c.ResponseType == "id_token" {
		g := r.login(url.Values{"claims": {`{"id_token":{"name":{"essential":true}}}`}, "scope": {"openid"}})
		if g.Claims["name"] != r.who.Name {
			r.Errorf("ID token %v", g.Claims)
		}
		return
	}
	g := r.login(url.Values{"claims": {`{"userinfo":{"name":{"essential":true}},"id_token":{"auth_time":{"essential":true}}}`}, "scope": {"openid"}})
	if info := r.c.UserInfo(g.AccessToken); info.JSON["name"] != r.who.Name || g.Claims["auth_time"] == nil {
		r.Errorf("userinfo %s, ID token %v", info.Body, g.Claims)
	}
}

func refreshToken(r *run) {
	g := r.login(url.Values{"scope": {"openid profile offline_access"}, "prompt": {"consent"}})
	if g.RefreshToken == "" {
		r.Fatal("no refresh token")
	}
	r.refusedAt(r.c2.Refresh(g.RefreshToken, nil, nil), "invalid_grant")
	r.refreshed(g, r.c.Refresh(g.RefreshToken, nil, nil))
}

// refreshed checks the answer to a refresh against what the code gave (OpenID Connect Core section 12.2).
func (r *run) refreshed(g *e2etest.Granted, a *e2etest.Answer) {
	r.Helper()
	if a.Status != http.StatusOK {
		r.Fatalf("refresh: %d %s", a.Status, a.Body)
	}
	if raw := e2etest.Str(a.JSON, "id_token"); raw != "" { // which the answer may have
		_, again := e2etest.JWTClaims(r, raw)
		for _, name := range []string{"iss", "sub", "aud", "auth_time"} {
			if e2etest.At(again, name) != e2etest.At(g.Claims, name) {
				r.Errorf("%s %v, then %v (OpenID Connect Core section 12.2)", name, g.Claims[name], again[name])
			}
		}
		if e2etest.Num(again, "iat") < e2etest.Num(g.Claims, "iat") {
			r.Error("iat went back")
		}
		if again["nonce"] != nil && again["nonce"] != g.Claims["nonce"] {
			r.Errorf("nonce %v", again["nonce"])
		}
	}
	token := e2etest.Str(a.JSON, "access_token")
	if token == g.AccessToken {
		r.Error("the same access token")
	}
	if info := r.c.UserInfo(token); info.Status != http.StatusOK {
		r.Errorf("the refreshed access token: %d %s", info.Status, info.Body)
	}
}

func validPKCE(r *run) {
	r.signedIn()
	r.c.PKCE = true
	r.login(nil)
	// And with the wrong verifier it fails, else it was not checked.
	s := r.c.Start(nil, nil)
	v := r.c.Response(s, r.through(r.c, r.open(r.c, s)))
	s.Verifier = strings.Repeat("x", 43)
	r.refusedAt(r.c.Redeem(s, v.Get("code"), nil), "invalid_grant")
}
