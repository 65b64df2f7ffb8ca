// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package matrix_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// artefact is something of tenant A that an attacker holds, with something that looks alike and was never issued.
type artefact struct {
	name, value, garbage string
	// slots are the ways in which it is brought.
	slots []slot
	// fresh makes another one, for artefacts that work once.
	fresh func() string
	// unseen is why nothing can be seen of it at home: then it cannot be shown to be accepted there.
	unseen string
}

// slot puts a value into a request.
type slot struct {
	name string
	put  func(req *probe, value string)
	// grant is the grant_type of a token request with it, and client the attacker's own client that sends it.
	grant, client string
}

// probe is a request in the making.
type probe struct {
	query, form  url.Values
	header       http.Header
	method, path string
	address      string
	ownSession   bool
	formCookie   string
	at           *tenantUnderAttack
}

// tenantUnderAttack is a tenant with one of each artefact.
type tenantUnderAttack struct {
	*e2etest.Tenant
	rp     *e2etest.RP
	who    e2etest.Person
	arts   []artefact
	tokens *e2etest.Tokens
	// session is the attacker's own session where this tenant is the one that is attacked.
	session string
	// registered is the attacker's own client that registered itself here.
	registered string
}

const (
	grantDevice   = "urn:ietf:params:oauth:grant-type:device_code"
	grantCIBA     = "urn:openid:params:grant-type:ciba"
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"
)

// blueprint is that of all tenants: a client for each way of getting tokens, and registration by initial access token.
func blueprint(key *e2etest.Key) map[string]any {
	d := e2etest.Draft()
	config, _ := d["config"].(map[string]any)
	config["oauthPolicy"] = map[string]any{"dynamicRegistration": "INITIAL_TOKEN"}
	clients, _ := d["clients"].([]any)
	for _, c := range clients {
		if m, _ := c.(map[string]any); m["id"] == "web" {
			m["grantTypes"] = []string{"authorization_code", "refresh_token", grantExchange}
			m["protocol"] = map[string]any{"impersonation": true}
		}
	}
	d["clients"] = append(clients,
		map[string]any{
			"id": "tv", "displayName": "Television", "kind": "NATIVE", "clientType": "PUBLIC", "firstParty": true, "grantTypes": []string{grantDevice, "refresh_token"},
			"tokenEndpointAuthMethod": "none",
		},
		map[string]any{
			"id": "bank", "displayName": "Bank", "kind": "WEB", "clientType": "CONFIDENTIAL", "firstParty": true, "grantTypes": []string{grantCIBA, "refresh_token"},
			"tokenEndpointAuthMethod": "client_secret_basic", "protocol": map[string]any{"backchannelTokenDeliveryMode": "poll"},
		},
		map[string]any{
			"id": "signer", "displayName": "Signer", "kind": "SERVICE", "clientType": "CONFIDENTIAL", "grantTypes": []string{"client_credentials"},
			"tokenEndpointAuthMethod": "private_key_jwt", "protocol": map[string]any{"jwks": e2etest.JWKS(key)},
		},
	)
	return d
}

func param(name string) slot {
	return slot{name: "parameter " + name, put: func(p *probe, v string) { p.query.Set(name, v); p.form.Set(name, v) }}
}

// granted is a parameter of the token endpoint, with its grant and the client that may use that.
func granted(name, grant, client string) slot {
	s := param(name)
	s.grant, s.client = grant, client
	return s
}

func bearer() slot {
	return slot{name: "Bearer", put: func(p *probe, v string) { p.header.Set("Authorization", "Bearer "+v) }}
}

func cookie(name string) slot {
	return slot{name: "cookie " + name, put: func(p *probe, v string) { p.header.Set("Cookie", name+"="+v) }}
}

// inPath is for links whose secret is a part of the path.
func inPath() slot {
	return slot{name: "path", put: func(p *probe, v string) {
		if strings.HasSuffix(p.path, "…") {
			p.path = strings.TrimSuffix(p.path, "…") + v
		}
	}}
}

func basic(c e2etest.Client) string {
	req := &http.Request{Header: http.Header{}}
	req.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
	return req.Header.Get("Authorization")
}

// arm makes a tenant's artefacts. Those that work once are made again for each probe at home.
func arm(t *testing.T, rig *e2etest.Rig, tn *e2etest.Tenant, key *e2etest.Key) *tenantUnderAttack {
	t.Helper()
	a := &tenantUnderAttack{Tenant: tn, rp: tn.RP(t, "web"), who: e2etest.NewPerson()}
	browser := e2etest.NewBrowser(t)
	a.tokens = a.rp.Register(browser, a.who, nil)
	plain := url.Values{"code_challenge": {""}, "code_challenge_method": {""}}
	code := func() string {
		browser.StopAt = a.rp.Returned
		return a.rp.Response(browser.Get(a.rp.Begin(plain).URL)).Get("code")
	}
	stranger := e2etest.NewBrowser(t)
	login := stranger.Get(a.rp.Begin(plain).URL)
	csrf, formCookie := login.Form("password").Values.Get("t"), cookieValue(t, stranger.Cookies(tn.Issuer), "tnt_form")
	a.session = cookieValue(t, browser.Cookies(tn.Issuer), "tnt_sid")
	web, tv, bank, signer := tn.Clients["web"], tn.Clients["tv"], tn.Clients["bank"], tn.Clients["signer"]
	post := func(path string, c e2etest.Client, form url.Values) map[string]any {
		t.Helper()
		if c.Secret == "" {
			form.Set("client_id", c.ID)
		}
		answer := e2etest.PostForm(t, tn.Issuer+path, c, form)
		if answer.Status/100 != 2 {
			t.Fatalf("%s: %d %s", path, answer.Status, answer.Body)
		}
		return answer.JSON
	}
	device := post("/oauth2/device_authorization", tv, url.Values{"scope": {"openid"}})
	pushed := post("/oauth2/par", web, url.Values{
		"client_id": {web.ID}, "response_type": {"code"}, "redirect_uri": {e2etest.RedirectURI}, "scope": {"openid"}, "code_challenge": {e2etest.Hash("v")}, "code_challenge_method": {"S256"},
	})
	waiting := post("/oauth2/bc-authorize", bank, url.Values{"scope": {"openid"}, "login_hint": {a.who.Email}})
	asked := browser.Get(tn.Issuer + "/oauth2/backchannel").Form("request")
	askedCookie := cookieValue(t, browser.Cookies(tn.Issuer), "tnt_form")
	initial := rig.Mint(t, rig.PlatformKey, tn.Name, map[string]any{"displayName": "initial access token", "permissions": []string{"clients.register"}})
	registered := register(t, tn, initial)
	a.registered = e2etest.Str(registered, "client_id")
	party := e2etest.NewParty(t, tn.Issuer, signer, "private_key_jwt")
	party.Key = key
	assertion := func() string { return party.Assertion(&e2etest.Twist{}) }
	a.arts = []artefact{
		{name: "code", value: code(), slots: []slot{granted("code", "authorization_code", "web"), param("token"), bearer()}, fresh: code},
		{name: "access token", value: a.tokens.AccessToken, slots: []slot{
			bearer(), param("token"), param("access_token"), param("id_token_hint"), granted("subject_token", grantExchange, "web"), granted("actor_token", grantExchange, "web"),
			granted("assertion", "urn:ietf:params:oauth:grant-type:jwt-bearer", "web"),
		}},
		{name: "ID token", value: a.tokens.RawIDToken, slots: []slot{param("id_token_hint"), bearer(), param("token"), granted("subject_token", grantExchange, "web")}},
		{name: "refresh token", value: a.tokens.RefreshToken, slots: []slot{granted("refresh_token", "refresh_token", "web"), param("token"), bearer(), granted("subject_token", grantExchange, "web")}},
		{name: "session cookie", value: a.session, slots: []slot{cookie("tnt_sid"), cookie("__Host-tnt_sid")}},
		{name: "form token", value: csrf, slots: []slot{{name: "field with its cookie", put: func(p *probe, v string) {
			p.header.Set("Cookie", "tnt_form="+formCookie)
			p.form.Set("t", v)
			p.form.Set("email", "somebody@people.example")
			p.form.Set("password", "correct horse 47 battery")
		}}}},
		{name: "sealed authorization request", value: login.URL.Query().Get("r"), slots: []slot{param("r")}},
		{name: "sealed logout request", value: logoutHandle(t, browser, a), slots: []slot{param("r"), {name: "parameter r with a session", put: func(p *probe, v string) {
			p.query.Set("r", v)
			p.form.Set("r", v)
			p.withSession()
		}}}},
		{name: "page to go on to", value: continuation(t, tn), slots: []slot{param("c")}},
		{name: "invitation link", value: invitationLink(t, rig, tn), slots: []slot{inPath()}},
		{name: "device code", value: e2etest.Str(device, "device_code"), slots: []slot{granted("device_code", grantDevice, "tv"), param("token")}},
		{name: "user code", value: e2etest.Str(device, "user_code"), slots: []slot{{name: "parameter user_code with a session", put: func(p *probe, v string) {
			p.query.Set("user_code", v)
			p.form.Set("user_code", v)
			p.withSession()
		}}}},
		{name: "request_uri", value: e2etest.Str(pushed, "request_uri"), slots: []slot{param("request_uri")}},
		{name: "auth_req_id", value: e2etest.Str(waiting, "auth_req_id"), slots: []slot{granted("auth_req_id", grantCIBA, "bank"), param("token")}},
		{name: "form token of a waiting request", value: asked.Values.Get("t"), slots: []slot{{name: "field with its cookie and a session", put: func(p *probe, v string) {
			p.withSession()
			p.formCookie = askedCookie
			p.form.Set("t", v)
			p.form.Set("request", asked.Values.Get("request"))
			p.form.Set("answer", "deny")
		}}}},
		{name: "client credential", value: basic(web), slots: []slot{{name: "Basic", put: func(p *probe, v string) { p.header.Set("Authorization", v) }}, {name: "fields", put: func(p *probe, v string) {
			raw, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(v, "Basic ")) // ours or a lookalike
			id, secret, _ := strings.Cut(string(raw), ":")
			p.header.Del("Authorization")
			p.form.Set("client_id", id)
			p.form.Set("client_secret", secret)
		}}}},
		{name: "client assertion", value: assertion(), fresh: assertion, slots: []slot{{name: "client_assertion", grant: "client_credentials", put: func(p *probe, v string) {
			p.header.Del("Authorization")
			p.form.Set("client_id", signer.ID)
			p.form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
			p.form.Set("client_assertion", v)
		}}}},
		{name: "DPoP nonce", value: dpopNonce(t, tn, web), slots: []slot{{name: "claim of a proof", grant: "refresh_token", client: "web", put: func(p *probe, v string) {
			p.form.Set("refresh_token", "none")
			p.header.Set("Dpop", proof(t, p.method, p.address, v))
		}}}},
		{name: "registration access token", value: e2etest.Str(registered, "registration_access_token"), slots: []slot{bearer(), {name: "Bearer at its client's path", put: func(p *probe, v string) {
			p.path = strings.Replace(p.path, "/oauth2/clients/…", "/oauth2/clients/"+e2etest.Str(registered, "client_id"), 1)
			p.header.Set("Authorization", "Bearer "+v)
		}}, {name: "Bearer at the attacker's client's path", put: func(p *probe, v string) {
			p.path = strings.Replace(p.path, "/oauth2/clients/…", "/oauth2/clients/"+p.at.registered, 1)
			p.header.Set("Authorization", "Bearer "+v)
		}}}},
		{name: "initial access token", value: initial, slots: []slot{bearer(), param("token")}},
		{name: "API key", value: tn.Keys["tenant-admin"], slots: []slot{bearer(), param("token"), param("access_token")}},
		{name: "consistency token", value: e2etest.Str(tn.Response, "consistencyToken"), slots: []slot{param("tcv"), {name: "header", put: func(p *probe, v string) {
			p.header.Set("Tenantry-Config-Version", v)
		}}}, unseen: "it makes a replica look whether there is something newer, and an answer never shows that"},
	}
	for i := range a.arts {
		art := &a.arts[i]
		if art.value == "" {
			t.Fatalf("no %s", art.name)
		}
		art.garbage = lookalike(art.value)
	}
	return a
}

// withSession marks a probe that comes from a browser in which the attacker is signed in.
func (p *probe) withSession() { p.ownSession = true }

// lookalike is a text of the same form that was never issued: each letter and digit of its later part is exchanged for another.
func lookalike(s string) string {
	if raw, ok := strings.CutPrefix(s, "Basic "); ok {
		plain, _ := base64.StdEncoding.DecodeString(raw) // we have made it
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(lookalike(string(plain))))
	}
	b := []byte(s)
	for i := range b {
		if i < len(b)/3 {
			continue
		}
		switch c := b[i]; {
		case strings.IndexByte("BCDFGHJKLMNPQRSTVWXZ", c) >= 0 && len(s) < 12: // a user code has an alphabet of its own
			b[i] = "CDFGHJKLMNPQRSTVWXZB"[strings.IndexByte("BCDFGHJKLMNPQRSTVWXZ", c)]
		case c >= 'a' && c < 'z' || c >= 'A' && c < 'Z' || c >= '0' && c < '9':
			b[i]++
		case c == 'z' || c == 'Z' || c == '9':
			b[i]--
		}
	}
	return string(b)
}

func cookieValue(t *testing.T, cookies []*http.Cookie, name string) string {
	t.Helper()
	for _, c := range cookies {
		if c.Name == name {
			return c.Value
		}
	}
	t.Fatalf("no cookie %s in %v", name, cookies)
	return ""
}

// logoutHandle is what the page that asks whether to sign out holds of a logout request.
func logoutHandle(t *testing.T, b *e2etest.Browser, a *tenantUnderAttack) string {
	t.Helper()
	p := b.Get(a.Issuer + "/oauth2/logout?" + url.Values{"client_id": {a.Clients["web"].ID}, "post_logout_redirect_uri": {e2etest.PostLogoutURI}, "state": {"s"}}.Encode())
	return p.Form("t").Values.Get("r")
}

// continuation is the sealed page that a login goes on to.
func continuation(t *testing.T, tn *e2etest.Tenant) string {
	t.Helper()
	return e2etest.NewBrowser(t).Get(tn.Issuer + "/oauth2/backchannel").MustBe(http.StatusOK).URL.Query().Get("c")
}

var inviteURL = regexp.MustCompile(`https?://\S+/invite/[A-Za-z0-9_.~-]+`)

// invitationLink is the secret part of the link in the owner's mail.
func invitationLink(t *testing.T, rig *e2etest.Rig, tn *e2etest.Tenant) (secret string) {
	t.Helper()
	e2etest.Eventually(t, wait, "the invitation mail", func() bool {
		for _, m := range rig.Mail.Mails(tn.Owner) {
			if u := inviteURL.FindString(m.Text); strings.HasPrefix(u, tn.Issuer) {
				_, secret, _ = strings.Cut(u, "/invite/")
			}
		}
		return secret != ""
	})
	return secret
}

// proof is a DPoP proof with a nonce, by a key that nobody has seen before.
func proof(t *testing.T, method, address, nonce string) string {
	t.Helper()
	key := e2etest.NewKey(t, "ES256")
	return key.Sign(t, map[string]any{"typ": "dpop+jwt", "jwk": key.Bare(), "kid": nil}, map[string]any{
		"jti": e2etest.Unique("jti-") + e2etest.Unique(""), "htm": method, "htu": address, "iat": time.Now().Unix(), "nonce": nonce,
	})
}

// register makes a client that registers itself.
func register(t *testing.T, tn *e2etest.Tenant, token string) map[string]any {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, tn.Issuer+"/oauth2/clients", strings.NewReader(registration))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	a := e2etest.Send(t, req)
	if a.Status != http.StatusCreated {
		t.Fatalf("registration: %d %s", a.Status, a.Body)
	}
	return a.JSON
}

// registration is the metadata of a client.
const registration = `{"client_name":"Self-registered","redirect_uris":["https://app.example/cb"]}`

// dpopNonce is a nonce that the token endpoint gives to who has none.
func dpopNonce(t *testing.T, tn *e2etest.Tenant, c e2etest.Client) string {
	t.Helper()
	address := tn.Issuer + "/oauth2/token"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader("grant_type=refresh_token&refresh_token=none"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Authorization": {basic(c)}, "Dpop": {proof(t, http.MethodPost, address, "none")}}
	a := e2etest.Send(t, req)
	if nonce := a.Header.Get("DPoP-Nonce"); nonce != "" {
		return nonce
	}
	t.Fatalf("no nonce: %d %v %s", a.Status, a.Header, a.Body)
	return ""
}
