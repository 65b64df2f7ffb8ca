// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// logoutKind is one of the logout plans for the code flow.
type logoutKind struct {
	name    string
	modules []string
	tests   map[string]func(*run)
	// protocol is what the client registers, with addresses at the suite; policy is the tenant's.
	protocol func(s *e2etest.Suite) map[string]any
	policy   map[string]any
}

func rpLogoutPlans() (all []*plan) {
	for _, v := range []struct {
		name string
		o    oidcOptions
	}{{"code,static_client", oidcOptions{}}, {"code,dynamic_client", oidcOptions{dynamic: true}}, {"code id_token,static_client", oidcOptions{responseType: "code id_token"}}} {
		all = append(all, &plan{
			name: "oidcc-rp-initiated-logout-certification-test-plan", variant: v.name, modules: inRPLogout, tests: rpLogout, setup: v.o.provider,
		})
	}
	return all
}

func otherLogoutPlans() (all []*plan) {
	ok := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<!doctype html><title>bye</title>")
	}
	for _, k := range []logoutKind{
		{
			name: "oidcc-backchannel-rp-initiated-logout-certification-test-plan", modules: inBackchannelLogout, tests: backchannelLogout,
			protocol: func(s *e2etest.Suite) map[string]any {
				return map[string]any{"backchannelLogoutUri": s.Handle("backchannel_logout", ok), "backchannelLogoutSessionRequired": true}
			},
		},
		{
			name: "oidcc-frontchannel-rp-initiated-logout-certification-test-plan", modules: inFrontchannelLogout, tests: frontchannelLogout,
			protocol: func(s *e2etest.Suite) map[string]any {
				return map[string]any{"frontchannelLogoutUri": s.Handle("frontchannel_logout", ok), "frontchannelLogoutSessionRequired": true}
			},
		},
		{
			name: "oidcc-session-management-certification-test-plan", modules: inSessionManagement, tests: sessionManagement,
			protocol: func(*e2etest.Suite) map[string]any { return map[string]any{} }, policy: map[string]any{"sessionManagement": true},
		},
	} {
		all = append(all, &plan{name: k.name, variant: "code,static_client", modules: k.modules, tests: k.tests, setup: k.provider})
	}
	return all
}

func (k logoutKind) provider(t *testing.T) *provider {
	t.Helper()
	suite := e2etest.NewSuite(t)
	protocol := k.protocol(suite)
	config := map[string]any{}
	if k.policy != nil {
		config["oauthPolicy"] = k.policy
	}
	p := provision(t, "logout", draft(config, web("one", "client_secret_basic", map[string]any{"idTokenAlg": "RS256", "protocol": protocol})), nil)
	p.waitForRSA(t)
	p.suite, p.protocol = suite, protocol
	p.client = oidcOptions{}.party(t, p.tenant, "one", "client_secret_basic")
	if k.policy != nil {
		p.client = p.neighbour(t)
	}
	p.signIn(t)
	return p
}

// neighbour makes a client whose pages are the suite's, under a name of the provider's own site: what a browser lets an iframe see of
// its cookies in the pages of other sites is the browser's business and not the provider's.
func (p *provider) neighbour(t *testing.T) *e2etest.Party {
	t.Helper()
	home := p.suite.At("rp." + p.tenant.Org.Slug + ".localhost")
	made := p.rig.API(t, p.tenant.Org.Key, http.MethodPost, "/v1/"+p.tenant.Name+"/clients?clientId=frame", map[string]any{
		"displayName": "Frame", "kind": "SPA", "clientType": "PUBLIC", "firstParty": true, "redirectUris": []string{home + "/callback"},
		"postLogoutRedirectUris": []string{home + "/bye"}, "grantTypes": []string{"authorization_code"}, "tokenEndpointAuthMethod": "none",
	})
	c := e2etest.NewParty(t, p.tenant.Issuer, e2etest.Client{ID: e2etest.Str(made, "uid")}, "none")
	c.Redirect, c.PKCE = home+"/callback", true
	e2etest.Eventually(t, 30*time.Second, "the new client is known", func() bool {
		return get(t, c.Start(nil, nil).URL, nil).Status < 400
	})
	return c
}

// says checks members of discovery that must be true.
func (r *run) says(names ...string) {
	r.Helper()
	doc := r.offersLogout()
	for _, name := range names {
		if doc[name] != true {
			r.Errorf("%s is %v", name, doc[name])
		}
	}
}

var backchannelLogout = map[string]func(*run){
	"oidcc-backchannel-logout-discovery-endpoint-verification": func(r *run) {
		r.says("backchannel_logout_supported", "backchannel_logout_session_supported")
	},
	"oidcc-backchannel-rp-initiated-logout": func(r *run) {
		g := r.login(nil)
		address := e2etest.Str(r.protocol, "backchannelLogoutUri")
		r.returns(url.Values{"id_token_hint": {g.IDToken}, "post_logout_redirect_uri": {e2etest.PostLogoutURI}, "state": {"b"}}, url.Values{"state": {"b"}})
		calls := r.suite.Wait(r, address, 1, 30*time.Second)
		if len(calls) != 1 || calls[0].Method != http.MethodPost || !strings.HasPrefix(calls[0].Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
			r.Fatalf("%d requests, the first %+v", len(calls), calls[0])
		}
		r.logoutToken(calls[0].Form().Get("logout_token"), g)
		r.loggedOut()
	},
}

// logoutToken validates a logout token (OpenID Connect Back-Channel Logout section 2.6).
func (r *run) logoutToken(raw string, g *e2etest.Granted) {
	r.Helper()
	header, claims, err := e2etest.VerifyJWS(r.c.Keys(), raw, "RS256")
	if err != nil {
		r.Fatalf("logout token %q: %v", raw, err)
	}
	if header["typ"] != "logout+jwt" {
		r.Errorf("typ %v", header["typ"])
	}
	now := time.Now().Unix()
	if claims["iss"] != r.tenant.Issuer || claims["aud"] != r.c.ID || claims["sub"] != g.Claims["sub"] || claims["sid"] != g.Claims["sid"] || claims["sid"] == nil {
		r.Errorf("logout token %v for the ID token %v", claims, g.Claims)
	}
	if iat, exp := e2etest.Num(claims, "iat"), e2etest.Num(claims, "exp"); iat > now+5 || iat < now-60 || exp <= now || exp > now+300 {
		r.Errorf("iat %d, exp %d, it is %d", iat, exp, now)
	}
	if event, ok := e2etest.At(claims, "events", "http://schemas.openid.net/event/backchannel-logout").(map[string]any); !ok || len(event) != 0 {
		r.Errorf("events %v", claims["events"])
	}
	if e2etest.Str(claims, "jti") == "" || claims["nonce"] != nil {
		r.Errorf("jti %v, nonce %v", claims["jti"], claims["nonce"])
	}
}

var frontchannelLogout = map[string]func(*run){
	"oidcc-frontchannel-logout-discovery-endpoint-verification": func(r *run) {
		r.says("frontchannel_logout_supported", "frontchannel_logout_session_supported")
	},
	"oidcc-frontchannel-rp-initiated-logout": func(r *run) {
		g := r.login(nil)
		address := e2etest.Str(r.protocol, "frontchannelLogoutUri")
		p := r.end(url.Values{"id_token_hint": {g.IDToken}, "post_logout_redirect_uri": {e2etest.PostLogoutURI}, "state": {"f"}})
		if p.Stopped != nil {
			r.Fatalf("redirected to %s before the client was told", p.Stopped)
		}
		var loaded *url.URL
		for _, frame := range p.Elements("iframe") {
			if src, _ := e2etest.Attr(frame, "src"); strings.HasPrefix(src, address) {
				loaded = mustURL(r.T, src)
			}
		}
		if loaded == nil {
			r.Fatalf("no iframe of %s:\n%s", address, p.Body)
		}
		if csp := p.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "frame-src") || !strings.Contains(csp, mustURL(r.T, address).Host) {
			r.Errorf("the page's policy would not load it: %s", csp)
		}
		get(r.T, loaded.String(), nil) // as a browser would
		call := r.suite.Wait(r, address, 1, 10*time.Second)[0]
		if call.Query.Get("iss") != r.tenant.Issuer || call.Query.Get("sid") != e2etest.Str(g.Claims, "sid") || call.Query.Get("sid") == "" {
			r.Errorf("the client was told %v, sid is %v", call.Query, g.Claims["sid"])
		}
		if !strings.Contains(string(p.Body), "app.example/bye") {
			r.Errorf("the page does not lead on to the client:\n%s", p.Body)
		}
		r.loggedOut()
	},
}
