// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"errors"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
)

const (
	issuer    = "https://hooli.ppvc.example"
	callback  = "https://app.example/cb"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// created is not on a whole second, so that a comparison that cuts to seconds is seen.
var created = time.Date(2026, 11, 20, 12, 0, 0, 500e6, time.UTC)

func redirects(t testing.TB, rules oauth2.RedirectRules, raw ...string) []oauth2.RedirectURI {
	t.Helper()
	var list []oauth2.RedirectURI
	for _, one := range raw {
		r, err := oauth2.ParseRedirectURI(one, rules)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

// newClient is a confidential third-party web client with all grants.
func newClient(t testing.TB) *oauth2.Client {
	t.Helper()
	grants, err := oauth2.ParseGrantTypes([]string{oauth2.GrantTypeAuthorizationCode, oauth2.GrantTypeRefreshToken})
	if err != nil {
		t.Fatal(err)
	}
	return &oauth2.Client{
		ID: "cli_a", Enabled: true, GrantTypes: grants, RedirectURIs: redirects(t, oauth2.RedirectRules{}, callback, callback+"?x=1"),
		PostLogoutRedirectURIs: []string{"https://app.example/bye"}, Protocol: oauth2.Protocol{AuthorizationDetailsTypes: []string{"payment"}},
	}
}

func only(c *oauth2.Client) func(string) (*oauth2.Client, bool) {
	return func(clientID string) (*oauth2.Client, bool) {
		if clientID == c.ID {
			return c, true
		}
		return nil, false
	}
}

func options() RequestOptions {
	return RequestOptions{Issuer: issuer, CreatedAt: created, DefaultAudience: "https://api.example", DetailTypes: []oauth2.DetailType{{Type: "payment"}}}
}

// request encodes parameters on top of a valid request; an empty value removes one.
func request(t testing.TB, change map[string]string) oauth2.Params {
	t.Helper()
	v := url.Values{
		"client_id": {"cli_a"}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"openid"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"}, "state": {"st"},
	}
	for name, value := range change {
		if value == "" {
			v.Del(name)
		} else {
			v.Set(name, value)
		}
	}
	p, err := oauth2.ParseParams(v.Encode())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func parse(t testing.TB, c *oauth2.Client, change map[string]string) *AuthorizationRequest {
	t.Helper()
	r, _, err := ParseAuthorizationRequest(request(t, change), only(c), options())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestParseAuthorizationRequest(t *testing.T) {
	r := parse(t, newClient(t), map[string]string{
		"scope": "openid profile unknown offline_access", "nonce": "n-1", "prompt": "login consent", "max_age": "3600", "display": "popup",
		"ui_locales": "de-CH de en! de", "claims_locales": "fr", "acr_values": "urn:tenantry:acr:pwd 1", "login_hint": "gavin@hooli.example",
		"id_token_hint": "a.b.c", "claims": `{"id_token":{"name":{"essential":true}}}`, "resource": "https://api.example", "extra": "foobar",
		"response_mode": "form_post",
	})
	hour := time.Hour
	want := &AuthorizationRequest{
		Issuer: issuer, CreatedAt: created, ClientID: "cli_a", RedirectURI: callback, WebRedirect: true, ResponseType: "code",
		Parts: ResponseParts{Code: true}, ResponseMode: "form_post", State: "st", Nonce: "n-1", Scopes: oauth2.Scopes{"openid", "profile", "offline_access"},
		CodeChallenge: challenge, Prompt: PromptLogin | PromptConsent, MaxAge: &hour, LoginHint: "gavin@hooli.example", IDTokenHint: "a.b.c",
		Display: "popup", UILocales: []string{"de-CH", "de"}, ClaimsLocales: []string{"fr"}, ACRValues: []string{"urn:tenantry:acr:pwd", "1"},
		Claims: ClaimsRequest{IDToken: []ClaimRequest{{Name: "name", Essential: true}}}, Resource: "https://api.example", Raw: r.Raw,
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
	if !r.OpenID() {
		t.Error("not an OpenID Connect request")
	}
	// What is sealed and parsed again on the next hop is the same request.
	sealed, err := oauth2.ParseParams(r.Raw.Encode())
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := ParseAuthorizationRequest(sealed, only(newClient(t)), options())
	if err != nil {
		t.Fatal(err)
	}
	again.Raw, want.Raw = oauth2.Params{}, oauth2.Params{}
	if !reflect.DeepEqual(again, want) {
		t.Errorf("after sealing: %+v", again)
	}
}

// Until client and redirect URI are proven, nothing may leave for an address that came with the request (RFC 9700 section 4.11).
func TestOpenRedirector(t *testing.T) {
	disabled := newClient(t)
	disabled.Enabled = false
	for _, tc := range []struct {
		name   string
		client *oauth2.Client
		change map[string]string
		named  bool
	}{
		{"no client_id", newClient(t), map[string]string{"client_id": ""}, false},
		{"unknown client", newClient(t), map[string]string{"client_id": "cli_b"}, false},
		{"disabled client", disabled, nil, false},
		{"no redirect_uri", newClient(t), map[string]string{"redirect_uri": ""}, true},
		{"unregistered redirect_uri", newClient(t), map[string]string{"redirect_uri": "https://evil.example/cb"}, true},
		{"query added", newClient(t), map[string]string{"redirect_uri": callback + "?y=1"}, true},
		{"unregistered redirect_uri and a broken request", newClient(t), map[string]string{"redirect_uri": "https://evil.example", "response_type": "x"}, true},
		{"request object beside an unregistered redirect_uri", newClient(t), map[string]string{"redirect_uri": "https://evil.example", "request": "e30.e30."}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, c, err := ParseAuthorizationRequest(request(t, tc.change), only(tc.client), options())
			page, ok := errors.AsType[*oauth2.PageError](err)
			if r != nil || c != nil || !ok {
				t.Fatalf("got %+v, %v", r, err)
			}
			if (page.Client != nil) != tc.named {
				t.Errorf("client of the page: %v", page.Client)
			}
			if strings.Contains(page.Description, "evil") {
				t.Errorf("description %q has the stranger's text", page.Description)
			}
		})
	}
}

func TestRedirectedErrors(t *testing.T) {
	public := newClient(t)
	public.Public = true
	strict := newClient(t)
	strict.RequirePKCE = true
	service := newClient(t)
	service.GrantTypes = 0
	noPKCE := map[string]string{"code_challenge": "", "code_challenge_method": ""}
	for _, tc := range []struct {
		name   string
		client *oauth2.Client
		change map[string]string
		code   string
		mode   string
	}{
		{"response_type missing", newClient(t), map[string]string{"response_type": ""}, oauth2.CodeInvalidRequest, "query"},
		{"response_type unknown", newClient(t), map[string]string{"response_type": "cod"}, oauth2.CodeUnsupportedResponseType, "query"},
		{"implicit (RFC 9700 section 2.1.2)", newClient(t), map[string]string{"response_type": "id_token token"}, oauth2.CodeUnsupportedResponseType, "fragment"},
		{"implicit with response_mode query", newClient(t), map[string]string{"response_type": "token", "response_mode": "query"}, oauth2.CodeInvalidRequest, "fragment"},
		{"implicit with form_post", newClient(t), map[string]string{"response_type": "id_token", "response_mode": "form_post"}, oauth2.CodeUnsupportedResponseType, "form_post"},
		{"hybrid", newClient(t), map[string]string{"response_type": "code id_token"}, oauth2.CodeUnsupportedResponseType, "fragment"},
		{"response_mode unknown", newClient(t), map[string]string{"response_mode": "web_message"}, oauth2.CodeInvalidRequest, "query"},
		{"client without the grant", service, nil, oauth2.CodeUnauthorizedClient, "query"},
		{"request object (OpenID Connect Core section 6)", newClient(t), map[string]string{"request": "e30.e30."}, CodeRequestNotSupported, "query"},
		{"request_uri", newClient(t), map[string]string{"request_uri": "https://a.example/r"}, CodeRequestURINotSupported, "query"},
		{"registration", newClient(t), map[string]string{"registration": "{}"}, CodeRegistrationNotSupported, "query"},
		{"PKCE missing, public client", public, noPKCE, oauth2.CodeInvalidRequest, "query"},
		{"PKCE missing, confidential client that must", strict, noPKCE, oauth2.CodeInvalidRequest, "query"},
		{"PKCE plain (downgrade)", newClient(t), map[string]string{"code_challenge_method": "plain"}, oauth2.CodeInvalidRequest, "query"},
		{"scope malformed", newClient(t), map[string]string{"scope": `a"b`}, oauth2.CodeInvalidScope, "query"},
		{"no scope left", newClient(t), map[string]string{"scope": "nothing"}, oauth2.CodeInvalidScope, "query"},
		{"resource not allowed", newClient(t), map[string]string{"resource": "https://evil.example"}, oauth2.CodeInvalidTarget, "query"},
		{"prompt unknown", newClient(t), map[string]string{"prompt": "maybe"}, oauth2.CodeInvalidRequest, "query"},
		{"prompt none with another", newClient(t), map[string]string{"prompt": "none login"}, oauth2.CodeInvalidRequest, "query"},
		{"max_age negative", newClient(t), map[string]string{"max_age": "-1"}, oauth2.CodeInvalidRequest, "query"},
		{"max_age signed", newClient(t), map[string]string{"max_age": "+1"}, oauth2.CodeInvalidRequest, "query"},
		{"max_age not a number", newClient(t), map[string]string{"max_age": "1h"}, oauth2.CodeInvalidRequest, "query"},
		{"claims not JSON", newClient(t), map[string]string{"claims": "{"}, oauth2.CodeInvalidRequest, "query"},
		{"nonce too long", newClient(t), map[string]string{"nonce": strings.Repeat("n", maxEchoBytes+1)}, oauth2.CodeInvalidRequest, "query"},
		{"error by form_post", newClient(t), map[string]string{"response_mode": "form_post", "prompt": "x"}, oauth2.CodeInvalidRequest, "form_post"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, c, err := ParseAuthorizationRequest(request(t, tc.change), only(tc.client), options())
			redirect, ok := errors.AsType[*oauth2.RedirectError](err)
			if r != nil || c != tc.client || !ok {
				t.Fatalf("got %+v, %v", r, err)
			}
			if redirect.Err.Code != tc.code {
				t.Errorf("code %q, want %q", redirect.Err.Code, tc.code)
			}
			resp := redirect.Response()
			if resp.Mode != tc.mode || resp.RedirectURI != callback {
				t.Errorf("goes to %s by %s, want %s", resp.RedirectURI, resp.Mode, tc.mode)
			}
			if !slices.Contains(resp.Params, [2]string{"iss", issuer}) || !slices.Contains(resp.Params, [2]string{"state", "st"}) {
				t.Errorf("parameters %q lack iss or state", resp.Params)
			}
		})
	}
	r, _, err := ParseAuthorizationRequest(request(t, map[string]string{"state": strings.Repeat("s", maxEchoBytes+1)}), only(newClient(t)), options())
	redirect, ok := errors.AsType[*oauth2.RedirectError](err)
	if r != nil || !ok || redirect.State != "" || redirect.Err.Code != oauth2.CodeInvalidRequest {
		t.Errorf("state too long: %v", err)
	}
}

func TestLenience(t *testing.T) {
	c := newClient(t)
	huge := strings.Repeat("x", 400)
	r := parse(t, c, map[string]string{"login_hint": huge, "display": "hologram", "ui_locales": strings.Repeat("de-x-a ", 3) + "en_US " + huge, "max_age": "999999999999"})
	if r.LoginHint != "" || r.Display != "" || !slices.Equal(r.UILocales, []string{"de-x-a"}) {
		t.Errorf("hints: %+v", r)
	}
	if *r.MaxAge != maxMaxAge*time.Second {
		t.Errorf("max_age %v", *r.MaxAge)
	}
	// Without openid it is a plain OAuth 2.0 request, and without any scope as well.
	if r := parse(t, c, map[string]string{"scope": "profile"}); r.OpenID() {
		t.Error("openid out of nothing")
	}
	if r := parse(t, c, map[string]string{"scope": ""}); r.OpenID() || len(r.Scopes) != 0 {
		t.Errorf("scopes %q", r.Scopes)
	}
	// A confidential client may go without PKCE where it is not required of it.
	if r := parse(t, c, map[string]string{"code_challenge": "", "code_challenge_method": ""}); r.CodeChallenge != "" {
		t.Errorf("challenge %q", r.CodeChallenge)
	}
	c.GrantTypes = oauth2.GrantSet(oauth2.GrantAuthorizationCode)
	if r := parse(t, c, map[string]string{"scope": "openid offline_access"}); r.Scopes.Contains(ScopeOfflineAccess) {
		t.Error("offline_access for a client without refresh tokens (OpenID Connect Core section 11)")
	}
	_, _, err := ParseAuthorizationRequest(request(t, map[string]string{"scope": "offline_access"}), only(c), options())
	if oauth2.CodeOf(err) != oauth2.CodeInvalidScope {
		t.Errorf("offline_access alone: %v", err)
	}
	o := options()
	o.Scopes = oauth2.Scopes{"openid", "chat:write"}
	r, _, err = ParseAuthorizationRequest(request(t, map[string]string{"scope": "openid profile chat:write"}), only(c), o)
	if err != nil || r.Scopes.String() != "openid chat:write" {
		t.Errorf("scopes of the tenant: %v", err)
	}
}

func TestRegistrationClosed(t *testing.T) {
	o := options()
	o.RegistrationClosed = true
	c := newClient(t)
	_, _, err := ParseAuthorizationRequest(request(t, map[string]string{"prompt": "create"}), only(c), o)
	if redirect, ok := errors.AsType[*oauth2.RedirectError](err); !ok || redirect.Err.Code != oauth2.CodeInvalidRequest {
		t.Errorf("prompt=create: %v", err)
	}
	if _, _, err := ParseAuthorizationRequest(request(t, map[string]string{"prompt": "login"}), only(c), o); err != nil {
		t.Error(err)
	}
}

func TestRespond(t *testing.T) {
	r := parse(t, newClient(t), map[string]string{"redirect_uri": callback + "?x=1"})
	want := callback + "?x=1&code=abc&state=st&iss=https%3A%2F%2Fhooli.ppvc.example"
	if got := r.Respond("abc").Location(); got != want {
		t.Errorf("got %s", got)
	}
}

func TestMachineScopes(t *testing.T) {
	c := &oauth2.Client{Scopes: oauth2.Scopes{"openid", "chat:read", "chat:write", "offline_access"}}
	for _, tc := range []struct {
		asked string
		want  string
		code  string
	}{
		{"", "chat:read chat:write", ""},
		{"chat:write openid", "chat:write", ""},
		{"openid", "", oauth2.CodeInvalidScope},
		{"other", "", oauth2.CodeInvalidScope},
	} {
		asked, err := oauth2.ParseScopes(tc.asked)
		if err != nil {
			t.Fatal(err)
		}
		got, err := MachineScopes(c, asked)
		if got.String() != tc.want || oauth2.CodeOf(err) != tc.code {
			t.Errorf("%q: %q, %v", tc.asked, got, err)
		}
	}
	if got, err := MachineScopes(&oauth2.Client{}, nil); err != nil || len(got) != 0 {
		t.Errorf("client without scopes: %q, %v", got, err)
	}
}

func FuzzAuthorizationRequest(f *testing.F) {
	c := newClient(f)
	for _, change := range []map[string]string{
		nil,
		{"prompt": "none"},
		{"response_mode": "form_post"},
		{"max_age": "0"},
		{"claims": `{"userinfo":{"email":null}}`},
		{"redirect_uri": "https://evil.example"},
		{"scope": "openid x"},
		{"resource": "https://api.example"},
	} {
		f.Add(request(f, change).Encode())
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := oauth2.ParseParams(raw)
		if err != nil {
			return
		}
		r, _, err := ParseAuthorizationRequest(p, only(c), options())
		if err != nil {
			redirect, isRedirect := errors.AsType[*oauth2.RedirectError](err)
			_, isPage := errors.AsType[*oauth2.PageError](err)
			if isRedirect == isPage {
				t.Fatalf("error of neither or both kinds: %v", err)
			}
			if isRedirect && !slices.ContainsFunc(c.RedirectURIs, func(u oauth2.RedirectURI) bool { return u.String() == redirect.RedirectURI }) {
				t.Fatalf("an error goes to %q", redirect.RedirectURI)
			}
			return
		}
		if r.RedirectURI != callback && r.RedirectURI != callback+"?x=1" {
			t.Fatalf("a code would go to %q", r.RedirectURI)
		}
		if r.Prompt.Has(PromptNone) {
			if step, _ := Next(r, c, SessionState{}, ConsentState{}, created); step != StepError {
				t.Fatalf("prompt=none without a session: %v", step)
			}
		}
	})
}
