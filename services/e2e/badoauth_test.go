// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// badOAuth is a request to a tenant's host that must be refused.
type badOAuth struct {
	name, method, path, body string
	header                   http.Header
	// want is the status, code the `error` of RFC 6749 section 5.2; "" for pages and empty answers.
	want int
	code string
}

func TestBadInputOfTheOAuthEndpointsIsRefusedClearlyAndChangesNothing(t *testing.T) {
	t.Parallel()
	rig := e2etest.Start(t, e2etest.Options{Binaries: true})
	org := rig.NewOrg(t, "badoauth")
	tenant := org.Provision(t, "hooli")
	rp := tenant.RP(t, "web")
	who := e2etest.NewPerson()
	tokens := rp.Register(e2etest.NewBrowser(t), who, nil)
	settle(t, rig)
	before := rig.State(t)
	for _, c := range badOAuthCalls(tenant, tokens) {
		t.Run(c.name, func(t *testing.T) {
			a := send(t, c.method, tenant.Issuer+c.path, c.body, c.header)
			if a.Status != c.want {
				t.Errorf("status %d, want %d: %.500s", a.Status, c.want, a.Body)
			}
			if c.code != "" {
				if got := e2etest.Str(a.JSON, "error"); got != c.code {
					t.Errorf("error %q, want %q: %s", got, c.code, a.Body)
				}
				if e2etest.Str(a.JSON, "error_description") == "" {
					t.Error("no error_description: who wrote the app does not learn what is wrong")
				}
			}
			if location := a.Header.Get("Location"); location != "" && !strings.HasPrefix(location, "/") {
				t.Errorf("redirected to %s", location)
			}
			if a.Header.Get("Cache-Control") != "no-store" && a.Status != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("Cache-Control %q: an error may be stored", a.Header.Get("Cache-Control"))
			}
			for _, inner := range []string{"goroutine", "jackc", "SQLSTATE", "panic", ".go:", "redis"} {
				if strings.Contains(string(a.Body), inner) {
					t.Errorf("the answer shows the inside (%q): %s", inner, a.Body)
				}
			}
			if diff := before.Diff(rig.State(t)); diff != "" {
				t.Errorf("it changed %s", diff)
				before = rig.State(t)
			}
		})
	}
	// Nothing of it hurt: the same tokens still work.
	if _, err := rp.UserInfo(tokens); err != nil {
		t.Error(err)
	}
	if _, err := rp.Refresh(tokens.RefreshToken); err != nil {
		t.Error(err)
	}
}

func badOAuthCalls(tenant *e2etest.Tenant, tokens *e2etest.Tokens) []badOAuth {
	web, spa := tenant.Clients["web"], tenant.Clients["spa"]
	auth := form(http.Header{"Authorization": {basic(web)}})
	post := func(path, name, body string, want int, code string) badOAuth {
		return badOAuth{name, http.MethodPost, path, body, auth, want, code}
	}
	token := func(name, body string, want int, code string) badOAuth {
		return post("/oauth2/token", "token: "+name, body, want, code)
	}
	refresh := "grant_type=refresh_token&refresh_token=" + url.QueryEscape(tokens.RefreshToken)
	calls := []badOAuth{
		token("no body", "", 400, "invalid_request"),
		token("no grant type", "scope=openid", 400, "invalid_request"),
		token("an unknown grant type", "grant_type=magic", 400, "unsupported_grant_type"),
		token("the password grant", "grant_type=password&username=a&password=b", 400, "unsupported_grant_type"),
		token("the grant type twice", "grant_type=refresh_token&"+refresh, 400, "invalid_request"),
		token("a refresh token twice", refresh+"&refresh_token=x", 400, "invalid_request"),
		token("invalid UTF-8", refresh+"&scope=%ff%fe", 400, "invalid_request"),
		token("a control character", refresh+"&scope=a%00b", 400, "invalid_request"),
		token("half an escape", refresh+"&scope=%f", 400, "invalid_request"),
		token("65 parameters", refresh+strings.Repeat("&", 1)+manyParams(65), 400, "invalid_request"),
		token("a value of 9 KiB", refresh+"&x="+strings.Repeat("a", 9<<10), 400, "invalid_request"),
		token("a scope with a quote", refresh+"&scope=%22", 400, "invalid_scope"),
		token("more scopes than were granted", refresh+"&scope=openid+admin", 400, "invalid_scope"),
		token("a refresh token of letters", "grant_type=refresh_token&refresh_token=abc", 400, "invalid_grant"),
		token("a refresh token with one letter changed", "grant_type=refresh_token&refresh_token="+url.QueryEscape(flip(tokens.RefreshToken)), 400, "invalid_grant"),
		token("a code of letters", "grant_type=authorization_code&code=abc&redirect_uri="+url.QueryEscape(e2etest.RedirectURI), 400, "invalid_grant"),
		token("no code", "grant_type=authorization_code", 400, "invalid_request"),
		token("credentials in two places", refresh+"&client_id="+web.ID+"&client_secret="+web.Secret, 400, "invalid_request"),
		token("a grant that the client has not", "grant_type=client_credentials", 400, "unauthorized_client"),
		{"token: a body of 128 KiB", http.MethodPost, "/oauth2/token", refresh + "&x=" + strings.Repeat("a", 128<<10), auth, 413, "invalid_request"},
		{"token: JSON", http.MethodPost, "/oauth2/token", `{"grant_type":"refresh_token"}`, http.Header{"Content-Type": {"application/json"}}, 415, "invalid_request"},
		{"token: no content type", http.MethodPost, "/oauth2/token", refresh, http.Header{"Authorization": {basic(web)}}, 415, "invalid_request"},
		{"token: GET", http.MethodGet, "/oauth2/token?" + refresh, "", nil, 405, "invalid_request"},
		{"token: no credentials", http.MethodPost, "/oauth2/token", refresh, form(nil), 401, "invalid_client"},
		{"token: a wrong secret", http.MethodPost, "/oauth2/token", refresh, form(http.Header{"Authorization": {basic(e2etest.Client{ID: web.ID, Secret: flip(web.Secret)})}}), 401, "invalid_client"},
		{"token: an unknown client", http.MethodPost, "/oauth2/token", refresh, form(http.Header{"Authorization": {basic(e2etest.Client{ID: "cli_nobody", Secret: web.Secret})}}), 401, "invalid_client"},
		{"token: Basic of rubbish", http.MethodPost, "/oauth2/token", refresh, form(http.Header{"Authorization": {"Basic !!!"}}), 401, "invalid_client"},
		{"token: another scheme", http.MethodPost, "/oauth2/token", refresh, form(http.Header{"Authorization": {"Digest x"}}), 401, "invalid_client"},
		{"token: two Authorization headers", http.MethodPost, "/oauth2/token", refresh, form(http.Header{"Authorization": {basic(web), basic(spa)}}), 400, "invalid_request"},
		{"token: a header of 64 KiB", http.MethodPost, "/oauth2/token", refresh, form(http.Header{"X-Big": {strings.Repeat("x", 64<<10)}}), 431, ""},
		{"token: credentials in the query", http.MethodPost, "/oauth2/token?client_id=" + spa.ID, "grant_type=refresh_token&refresh_token=x", form(nil), 401, "invalid_client"},

		{"userinfo: no token", http.MethodGet, "/oauth2/userinfo", "", nil, 401, ""},
		{"userinfo: rubbish", http.MethodGet, "/oauth2/userinfo", "", http.Header{"Authorization": {"Bearer rubbish"}}, 401, "invalid_token"},
		{"userinfo: an ID token", http.MethodGet, "/oauth2/userinfo", "", http.Header{"Authorization": {"Bearer " + tokens.RawIDToken}}, 401, "invalid_token"},
		{"userinfo: a changed signature", http.MethodGet, "/oauth2/userinfo", "", http.Header{"Authorization": {"Bearer " + flipEnd(tokens.AccessToken)}}, 401, "invalid_token"},
		{"userinfo: the token in header and body", http.MethodPost, "/oauth2/userinfo", "access_token=" + tokens.AccessToken, form(http.Header{"Authorization": {"Bearer " + tokens.AccessToken}}), 400, "invalid_request"},
		{"userinfo: the token in the query", http.MethodGet, "/oauth2/userinfo?access_token=" + tokens.AccessToken, "", nil, 401, ""},
		{"introspect: no client", http.MethodPost, "/oauth2/introspect", "token=x", form(nil), 401, "invalid_client"},
		post("/oauth2/introspect", "introspect: no token", "", 400, "invalid_request"),
		post("/oauth2/introspect", "introspect: a token twice", "token=a&token=b", 400, "invalid_request"),
		{"revoke: no client", http.MethodPost, "/oauth2/revoke", "token=x", form(nil), 401, "invalid_client"},
		post("/oauth2/revoke", "revoke: no token", "", 400, "invalid_request"),
		post("/oauth2/revoke", "revoke: a token twice", "token=a&token=b", 400, "invalid_request"),

		{"a path of nobody", http.MethodGet, "/oauth2/everything", "", nil, 404, ""},
		{"discovery by POST", http.MethodPost, "/.well-known/openid-configuration", "x=1", form(nil), 405, ""},
		{"jwks by DELETE", http.MethodDelete, "/.well-known/jwks.json", "", nil, 405, ""},
		{"login: a form that no page has given", http.MethodPost, "/login", "email=a%40b.example&password=x", form(nil), 403, ""},
		{"login: a form from another site", http.MethodPost, "/login", "email=a%40b.example&password=x", form(http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}}), 403, ""},
		{"register: a form that no page has given", http.MethodPost, "/oauth2/register", "email=a%40b.example&password=correct+horse+47&name=x", form(nil), 403, ""},
		{"consent: a form that no page has given", http.MethodPost, "/consent", "answer=allow", form(nil), 303, ""},
		{"login: a sealed request of rubbish", http.MethodGet, "/login?r=rubbish", "", nil, 400, ""},
		{"login: a field twice", http.MethodPost, "/login", "email=a&email=b&password=x", form(nil), 400, ""},
		{"invite: a link of rubbish", http.MethodGet, "/invite/rubbish", "", nil, 404, ""},
		{"invite: a link of dots", http.MethodGet, "/invite/..%2f..%2faccount", "", nil, 404, ""},
		{"assets: a file outside", http.MethodGet, "/assets/..%2f..%2fetc%2fpasswd", "", nil, 404, ""},
	}
	return append(calls, badAuthorizeCalls(tenant)...)
}

// badAuthorizeCalls are requests whose client or redirect URI is not proven, or which say a thing twice: they end at a page.
func badAuthorizeCalls(tenant *e2etest.Tenant) (calls []badOAuth) {
	good := func() url.Values {
		return url.Values{
			"response_type": {"code"}, "client_id": {tenant.Clients["web"].ID}, "redirect_uri": {e2etest.RedirectURI}, "scope": {"openid"}, "state": {"s"},
		}
	}
	page := func(name, query string) {
		calls = append(calls, badOAuth{"authorize: " + name, http.MethodGet, "/oauth2/authorize?" + query, "", nil, 400, ""})
	}
	change := func(name, key, value string) {
		v := good()
		v.Set(key, value)
		page(name, v.Encode())
	}
	page("nothing", "")
	change("an unknown client", "client_id", "cli_nobody")
	change("a client with a blank", "client_id", tenant.Clients["web"].ID+" ")
	change("no redirect URI", "redirect_uri", "")
	for _, name := range []string{"client_id", "redirect_uri", "state", "response_type", "scope"} {
		page(name+" twice", good().Encode()+"&"+name+"=x")
	}
	page("invalid UTF-8", good().Encode()+"&nonce=%ff%fe")
	page("a control character", good().Encode()+"&nonce=%0d%0aSet-Cookie:x")
	page("half an escape", good().Encode()+"&nonce=%z")
	page("65 parameters", good().Encode()+"&"+manyParams(65))
	page("a state of 9 KiB", good().Encode()+"&nonce="+strings.Repeat("a", 9<<10))
	for i := range len(e2etest.RedirectURI) {
		for _, c := range []byte{'x', '/', '.', '%', '@', e2etest.RedirectURI[i] ^ 0x20} {
			b := []byte(e2etest.RedirectURI)
			if b[i] == c || c < 0x21 || c > 0x7e {
				continue
			}
			b[i] = c
			change(fmt.Sprintf("redirect URI %s, one byte off", b), "redirect_uri", string(b))
		}
	}
	for _, uri := range []string{
		e2etest.RedirectURI + "/", e2etest.RedirectURI + "?", e2etest.RedirectURI + "#", e2etest.RedirectURI + "?a=b", e2etest.RedirectURI + "%20", e2etest.RedirectURI[:len(e2etest.RedirectURI)-1],
		"HTTPS://app.example/cb", "https://APP.example/cb", "https://app.example:443/cb", "https://app.example/./cb", "https://app.example/x/../cb", "https://app.example//cb",
		"https://app.example\\@evil.example/cb", "https://app.example@evil.example/cb", "https://app.example.evil.example/cb", "https://app.example/c%62", "//app.example/cb", "/cb", "javascript:alert(1)",
		" " + e2etest.RedirectURI, e2etest.PostLogoutURI, "https://spa.example/cb",
	} {
		change("redirect URI "+uri, "redirect_uri", uri)
	}
	return calls
}

func TestBadAuthorizationRequestsOfAProvenClientGoBackToIt(t *testing.T) {
	t.Parallel()
	tenant := system.Rig(t).NewOrg(t, "authz").Provision(t, "hooli")
	rp := tenant.RP(t, "web")
	spa := tenant.RP(t, "spa")
	for name, tc := range map[string]struct {
		rp     *e2etest.RP
		change url.Values
		want   string
	}{
		"an implicit response type":     {rp, url.Values{"response_type": {"token"}}, "unsupported_response_type"},
		"a hybrid response type":        {rp, url.Values{"response_type": {"code id_token"}}, "unsupported_response_type"},
		"no response type":              {rp, url.Values{"response_type": {""}}, "invalid_request"},
		"an unknown response mode":      {rp, url.Values{"response_mode": {"carrier_pigeon"}}, "invalid_request"},
		"the plain challenge method":    {rp, url.Values{"code_challenge_method": {"plain"}}, "invalid_request"},
		"no method, which means plain":  {rp, url.Values{"code_challenge_method": {""}}, "invalid_request"},
		"a challenge that is too short": {rp, url.Values{"code_challenge": {"short"}}, "invalid_request"},
		"a public client without PKCE":  {spa, url.Values{"code_challenge": {""}, "code_challenge_method": {""}}, "invalid_request"},
		"prompt none and login":         {rp, url.Values{"prompt": {"none login"}}, "invalid_request"},
		"an unknown prompt":             {rp, url.Values{"prompt": {"coffee"}}, "invalid_request"},
		"max_age below zero":            {rp, url.Values{"max_age": {"-1"}}, "invalid_request"},
		"max_age of letters":            {rp, url.Values{"max_age": {"soon"}}, "invalid_request"},
		"claims that are no JSON":       {rp, url.Values{"claims": {"{"}}, "invalid_request"},
		"a scope with a quote":          {rp, url.Values{"scope": {`openid "`}}, "invalid_scope"},
		"an id_token_hint of rubbish":   {rp, url.Values{"id_token_hint": {"rubbish"}}, "invalid_request"},
		"a request object of nobody":    {rp, url.Values{"request": {"e30.e30."}}, "invalid_request_object"},
		"one without a signature":       {rp, url.Values{"request": {"eyJhbGciOiJub25lIn0.e30."}}, "request_not_supported"},
		"a request_uri of somewhere":    {rp, url.Values{"request_uri": {"https://app.example/r"}}, "invalid_request_uri"},
	} {
		t.Run(name, func(t *testing.T) {
			b := e2etest.NewBrowser(t)
			b.StopAt = tc.rp.Returned
			s := tc.rp.Begin(tc.change)
			p := b.Get(s.URL)
			if p.Stopped == nil {
				t.Fatalf("not sent back but shown %v: %s", p, p.Text())
			}
			v := p.Stopped.Query()
			if fragment, err := url.ParseQuery(p.Stopped.Fragment); err == nil && len(fragment) > 0 {
				v = fragment // the default of the response types that we do not offer (OAuth 2.0 Multiple Response Types 5)
			}
			if v.Get("error") != tc.want || v.Get("state") != s.State || v.Get("iss") != tenant.Issuer || v.Get("error_description") == "" || v.Has("code") {
				t.Errorf("answered %v, want error %s with state, iss and a description", v, tc.want)
			}
		})
	}
}

func manyParams(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "&p%d=x", i)
	}
	return b.String()[1:]
}

// flipEnd changes a letter of the signature that decodes to other bytes.
func flipEnd(token string) string {
	b := []byte(token)
	i := len(b) - 10
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}
