// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

//go:build stockrp

package rp_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

var system = e2etest.Shared{Options: e2etest.Options{TLS: true}}

func TestMain(m *testing.M) { e2etest.Main(m, &system) }

const (
	grantDevice = "urn:ietf:params:oauth:grant-type:device_code"
	grantCIBA   = "urn:openid:params:grant-type:ciba"
)

// bed is a tenant with a client for each scenario, and a person.
type bed struct {
	rig    *e2etest.Rig
	tenant *e2etest.Tenant
	who    e2etest.Person
	key    *e2etest.Key
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{rig: system.Rig(t), who: e2etest.NewPerson(), key: e2etest.NewKey(t, "ES256")}
	client := func(id, auth string, more map[string]any) map[string]any {
		c := map[string]any{
			"id": id, "displayName": "App " + id, "kind": "WEB", "clientType": "CONFIDENTIAL", "firstParty": true, "redirectUris": []string{e2etest.RedirectURI},
			"postLogoutRedirectUris": []string{e2etest.PostLogoutURI}, "grantTypes": []string{"authorization_code", "refresh_token"}, "tokenEndpointAuthMethod": auth,
		}
		maps.Copy(c, more)
		return c
	}
	signer := func(profile string) map[string]any {
		return map[string]any{"protocol": map[string]any{"jwks": e2etest.JWKS(b.key), "dpopBoundAccessTokens": true, "securityProfile": profile}}
	}
	d := e2etest.DraftRS256()
	config, _ := d["config"].(map[string]any)
	config["oauthPolicy"] = map[string]any{"responseTypes": []string{"code id_token"}, "dynamicRegistration": "OPEN"}
	d["clients"] = []any{
		client("code", "client_secret_basic", nil),
		client("fapi", "private_key_jwt", signer("FAPI_2_0")),
		client("signed", "private_key_jwt", signer("FAPI_2_0_MESSAGE_SIGNING")),
		client("hybrid", "client_secret_basic", map[string]any{
			"grantTypes": []string{"authorization_code", "implicit"}, "protocol": map[string]any{"responseTypes": []string{"code id_token"}},
		}),
		map[string]any{
			"id": "device", "displayName": "Television", "kind": "NATIVE", "clientType": "PUBLIC", "firstParty": true, "grantTypes": []string{grantDevice},
			"tokenEndpointAuthMethod": "none",
		},
		client("ciba", "client_secret_basic", map[string]any{
			"grantTypes": []string{grantCIBA}, "redirectUris": []string{}, "postLogoutRedirectUris": []string{},
			"protocol": map[string]any{"backchannelTokenDeliveryMode": "poll"},
		}),
	}
	org := b.rig.NewOrgWith(t, "stock", d)
	request := org.ProvisionRequest("op")
	request["tenant"] = map[string]any{"displayName": "Stock", "type": "PRODUCTION"}
	b.tenant = org.ProvisionWith(t, request)
	b.rig.API(t, b.tenant.Keys["tenant-admin"], http.MethodPost, "/v1/"+b.tenant.Name+"/users", map[string]any{
		"displayName": b.who.Name, "emails": []any{map[string]any{"address": b.who.Email, "verified": true}}, "password": b.who.Password, "locale": "en",
	})
	e2etest.Eventually(t, time.Minute, "an RSA key in the JWKS", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.tenant.Issuer+"/.well-known/jwks.json", nil)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(e2etest.Send(t, req).Body), `"RS256"`)
	})
	return b
}

func nodeDir() string { return filepath.Join(e2etest.Root(), "services", "e2e", "rp", "node") }

// TestOpenIDClient logs in with openid-client in each of the ways that it knows.
func TestOpenIDClient(t *testing.T) {
	b := newBed(t)
	for _, scenario := range []string{"code", "fapi", "signed", "hybrid", "registered", "device", "ciba"} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			b.node(t, scenario)
		})
	}
}

func (b *bed) node(t *testing.T, scenario string) {
	t.Helper()
	c := b.tenant.Clients[scenario]
	private := b.key.PrivateJWK()
	rp, err := json.Marshal(map[string]any{
		"scenario": scenario, "issuer": b.tenant.Issuer, "id": c.ID, "secret": c.Secret, "redirect": e2etest.RedirectURI, "bye": e2etest.PostLogoutURI,
		"email": b.who.Email, "key": private, "kid": b.key.KID,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "openid.js")
	cmd.Dir = nodeDir()
	cmd.Env = append(os.Environ(), "RP="+string(rp), "NODE_EXTRA_CA_CERTS="+filepath.Join(b.rig.Dir, "suite-ca.pem"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	browser := e2etest.NewBrowser(t)
	browser.StopAt = func(u *url.URL) bool { return u.Hostname() == "app.example" }
	var claims map[string]any
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var said struct {
			Open, Device, Backchannel, Error string
			Claims                           map[string]any
		}
		if err := json.Unmarshal(lines.Bytes(), &said); err != nil {
			t.Fatalf("%s: %v", lines.Bytes(), err)
		}
		back := ""
		switch {
		case said.Error != "":
			t.Errorf("%s\n%s", said.Error, stderr.String())
			continue
		case said.Claims != nil:
			claims = said.Claims
			continue
		case said.Open != "":
			back = b.through(t, browser.Get(said.Open)).Stopped.String()
		case said.Device != "":
			b.answered(t, browser.Get(said.Device))
		case said.Backchannel != "":
			b.answered(t, browser.Get(said.Backchannel))
		}
		if _, err := io.WriteString(in, back+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	if sub, _ := claims["sub"].(string); sub == "" {
		t.Errorf("claims %v\n%s", claims, stderr.String())
	}
}

// through answers the pages until the browser is back at the client.
func (b *bed) through(t *testing.T, p *e2etest.Page) *e2etest.Page {
	t.Helper()
	for range 4 {
		if p.Stopped != nil {
			return p
		}
		p = b.step(t, p)
	}
	t.Fatalf("the browser is at %v:\n%s", p, p.Text())
	return nil
}

// answered says yes on a page that leads nowhere else.
func (b *bed) answered(t *testing.T, p *e2etest.Page) {
	t.Helper()
	if _, asks := field(p, "password"); asks {
		p = b.step(t, p)
	}
	b.step(t, p).MustBe(http.StatusOK)
}

func (b *bed) step(t *testing.T, p *e2etest.Page) *e2etest.Page {
	t.Helper()
	if _, asks := field(p, "password"); asks {
		return p.SignIn(b.who)
	}
	f, ok := field(p, "t")
	if !ok {
		t.Fatalf("the browser is at %v:\n%s", p, p.Text())
	}
	for _, button := range f.Buttons {
		if button == [2]string{"answer", "allow"} {
			return f.Press("answer", "allow")
		}
	}
	return f.Submit()
}

func field(p *e2etest.Page, name string) (*e2etest.Form, bool) {
	for _, f := range p.Forms() {
		if f.Values.Has(name) {
			return f, true
		}
	}
	return nil, false
}

// TestOIDCClientTS logs in and out with oidc-client-ts in Chromium: code and PKCE across origins, userinfo, refresh.
func TestOIDCClientTS(t *testing.T) {
	b := newBed(t)
	suite := e2etest.NewSuite(t)
	host := "spa." + b.tenant.Org.Slug + ".localhost"
	origin := suite.At(host)
	page, err := os.ReadFile(filepath.Join(nodeDir(), "spa.html"))
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join(nodeDir(), "node_modules", "oidc-client-ts", "dist", "browser", "oidc-client-ts.min.js"))
	if err != nil {
		t.Fatalf("%v: run npm ci in services/e2e/rp/node", err)
	}
	home := origin + "/app/"
	made := b.rig.API(t, b.tenant.Org.Key, http.MethodPost, "/v1/"+b.tenant.Name+"/clients?clientId=spa", map[string]any{
		"displayName": "Single page", "kind": "SPA", "clientType": "PUBLIC", "firstParty": true, "redirectUris": []string{home}, "postLogoutRedirectUris": []string{home + "?bye"},
		"grantTypes": []string{"authorization_code", "refresh_token"}, "tokenEndpointAuthMethod": "none", "corsOrigins": []string{origin}, "idTokenAlg": "RS256",
	})
	config, err := json.Marshal(map[string]string{"issuer": b.tenant.Issuer, "clientId": e2etest.Str(made, "uid")})
	if err != nil {
		t.Fatal(err)
	}
	suite.Fixed("/app/", "text/html; charset=utf-8", page)
	suite.Fixed("/app/oidc-client-ts.min.js", "text/javascript", script)
	suite.Fixed("/app/config.json", "application/json", config)
	ctx := e2etest.Chrome(t, chromedp.Flag("ignore-certificate-errors", true))
	do := func(what string, steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	reads := func(want string) {
		t.Helper()
		got := ""
		e2etest.Eventually(t, 30*time.Second, "the application says "+want, func() bool {
			text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.querySelector("#state")?.textContent ?? ""`))
			if err == nil {
				got = text
			}
			if strings.HasPrefix(got, "error") {
				t.Fatal(got)
			}
			return got == want
		})
	}
	do("open", chromedp.Navigate(home))
	reads("ready")
	do("log in", chromedp.Navigate(home+"?login"), chromedp.WaitVisible("#email"), chromedp.SendKeys("#email", b.who.Email), chromedp.SendKeys("#password", b.who.Password),
		chromedp.Click("main form button.primary"))
	reads("hello " + b.who.Email)
	do("log out", chromedp.Navigate(home+"?logout"))
	e2etest.Eventually(t, 30*time.Second, "the browser is signed out", func() bool {
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`(() => {
			const b = document.querySelector("form[action='/oauth2/logout'] button.primary"); if (b) b.click();
			return document.querySelector("#state")?.textContent ?? "" })()`))
		return err == nil && text == "bye"
	})
}
