// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/signer"
	"github.com/tenantry/tenantry/services/dataplane/internal/subject"
)

// paymentType is a type of authorization_details as a tenant defines it.
const paymentType = `{"type":"payment","title":"Make a payment","fields":[
	{"name":"amount","kind":"object","label":"Amount","required":true,"fields":[
		{"name":"currency","kind":"string","label":"Currency","required":true},{"name":"value","kind":"number","label":"Sum","required":true}]},
	{"name":"creditor","kind":"string","label":"To"},{"name":"instant","kind":"boolean","label":"At once"}]}`

const payment = `[{"type":"payment","creditor":"<b>Ann</b>","amount":{"currency":"EUR","value":12.50},"instant":true}]`

// modern lets hooli's clients use all that its policy can allow. key signs for chat.
func (r *rig) modern(key *jose.PrivateKey) {
	r.t.Helper()
	r.serve(r.hooli, func(core *snapshotv1.TenantSnapshot) {
		core.PairwiseSalt = []byte(strings.Repeat("s", 32))
		core.Overrides.Oauth = &snapshotv1.OAuthPolicy{
			ResponseTypes:             &snapshotv1.StringList{Values: oidc.ResponseTypes()[1:]},
			AuthorizationDetailsTypes: &snapshotv1.StringList{Values: []string{paymentType}},
		}
		for _, c := range core.Clients {
			if c.GetDisplayName() != "Chat" && c.GetDisplayName() != "Photos" {
				continue
			}
			c.GrantTypes = append(c.GrantTypes, "implicit")
			c.Protocol = &snapshotv1.ClientProtocol{ResponseTypes: oidc.ResponseTypes(), AuthorizationDetailsTypes: []string{"payment"}}
			if key != nil {
				c.Protocol.Jwks = []byte(`{"keys":[` + string(key.Public("k1").JWK()) + `]}`)
			}
		}
	})
}

// client changes one client's registration.
func (r *rig) client(name string, edit func(*snapshotv1.Client)) {
	r.t.Helper()
	r.serve(r.hooli, func(core *snapshotv1.TenantSnapshot) {
		for _, c := range core.Clients {
			if c.GetDisplayName() == name {
				edit(c)
			}
		}
	})
}

// verified are the claims of a JWT of hooli's.
func (r *rig) verified(text, typ string) map[string]any {
	r.t.Helper()
	payload, _, err := r.hooli.Keys.Set().Verify(text, jose.VerifyOptions{Typ: []string{typ}, Algorithms: []jose.Algorithm{jose.ES256}})
	if err != nil {
		r.t.Fatalf("%q: %v", text, err)
	}
	var m map[string]any
	if err := json.Unmarshal(payload, &m); err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (b *browser) fragment(p *page, callback string) url.Values {
	b.r.t.Helper()
	if b.answered(p, callback); b.ended.RawQuery != "" {
		b.r.t.Fatalf("something in the query: %s", b.ended)
	}
	q, err := url.ParseQuery(b.ended.EscapedFragment())
	if err != nil {
		b.r.t.Fatal(err)
	}
	return q
}

// TestResponseTypesWithTokens: OpenID Connect Core sections 3.2.2.5 and 3.3.2.5.
func TestResponseTypesWithTokens(t *testing.T) {
	r := newRig(t)
	r.modern(nil)
	b := r.browser()
	b.code(b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat)), "gavin@hooli.example"), r.hooli, chatCallback)
	for responseType, want := range map[string]string{
		"id_token": "id_token", "id_token token": "access_token id_token", "code id_token": "code id_token", "token code": "access_token code",
		"code id_token token": "access_token code id_token",
	} {
		q := b.fragment(b.get(r.hooli.authorizeURL(r.hooli.chat, "response_type", responseType, "prompt", "none")), chatCallback)
		var got []string
		for _, name := range []string{"access_token", "code", "id_token"} {
			if q.Has(name) {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want || q.Get("state") != "st&te=1" || q.Get("iss") != r.hooli.Issuer {
			t.Errorf("%s: %v", responseType, q)
			continue
		}
		if at := q.Get("access_token"); at != "" {
			if m := r.verified(at, oidc.TypeAccessToken); m["sub"] != r.hooli.gavin.ID.String() || q.Get("token_type") != "Bearer" || q.Get("expires_in") != "300" {
				t.Errorf("%s: %v %v", responseType, m, q)
			}
		}
		if it := q.Get("id_token"); it != "" {
			m := r.verified(it, "JWT")
			if m["sub"] != r.hooli.gavin.ID.String() || m["aud"] != r.hooli.chat || m["nonce"] != "n-1" || (m["email"] != nil) != (responseType == "id_token") ||
				q.Has("code") && m["c_hash"] != oidc.HalfHash("ES256", q.Get("code")) {
				t.Errorf("%s: %v", responseType, m)
			}
		}
		if code := q.Get("code"); code != "" {
			if rec := r.take(r.hooli, code); rec.Client != r.hooli.chat || rec.Nonce != "n-1" {
				t.Errorf("%s: %+v", responseType, rec)
			}
		}
	}
	p := b.get(r.hooli.authorizeURL(r.hooli.chat, "response_type", "code id_token", "response_mode", "form_post"))
	if p.shows(200, "Continue"); !strings.Contains(p.body, `name="id_token"`) || !strings.Contains(p.body, `name="code"`) {
		t.Errorf("form_post: %s", p.body)
	}
	// Errors come the same way.
	if q := b.fragment(b.get(r.hooli.authorizeURL(r.hooli.chat, "response_type", "id_token", "nonce", "")), chatCallback); q.Get("error") != "invalid_request" {
		t.Errorf("without nonce: %v", q)
	}
	if q := b.fragment(b.get(r.hooli.authorizeURL(r.hooli.starter, "response_type", "id_token")), "https://app.example/cb"); q.Get("error") != "unauthorized_client" {
		t.Errorf("a client that is not registered for it: %v", q)
	}
	if q := b.fragment(b.get(r.raviga.authorizeURL(r.raviga.chat, "response_type", "id_token")), chatCallback); q.Get("error") != "unsupported_response_type" {
		t.Errorf("a tenant that does not allow it: %v", q)
	}
}

// TestSignedResponses: JWT Secured Authorization Response Mode, for success and errors.
func TestSignedResponses(t *testing.T) {
	r := newRig(t)
	r.modern(nil)
	b := r.browser()
	b.code(b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat)), "gavin@hooli.example"), r.hooli, chatCallback)
	for mode, extra := range map[string][]string{
		"jwt": nil, "query.jwt": nil, "fragment.jwt": nil, "an error": {"prompt", "none login"}, "hybrid": {"response_type", "code id_token"},
	} {
		args := []string{"response_mode", mode}
		if extra != nil {
			args = append([]string{"response_mode", "jwt"}, extra...)
		}
		p := b.get(r.hooli.authorizeURL(r.hooli.chat, args...))
		q := b.answered(p, chatCallback)
		if mode == "fragment.jwt" || mode == "hybrid" {
			q = b.fragment(p, chatCallback)
		}
		if len(q) != 1 {
			t.Errorf("%s: %v", mode, q)
		}
		m := r.verified(q.Get("response"), "JWT")
		if m["iss"] != r.hooli.Issuer || m["aud"] != r.hooli.chat || m["state"] != "st&te=1" || (m["error"] == "invalid_request") != (mode == "an error") ||
			(m["code"] != nil) == (mode == "an error") || (m["id_token"] != nil) != (mode == "hybrid") {
			t.Errorf("%s: %v", mode, m)
		}
	}
	p := b.get(r.hooli.authorizeURL(r.hooli.chat, "response_mode", "form_post.jwt")).shows(200)
	if !strings.Contains(p.body, `name="response"`) || strings.Contains(p.body, `name="code"`) {
		t.Errorf("form_post.jwt: %s", p.body)
	}
	// Nothing leaves unsigned because the signer is away.
	r.service.signer = awaySigner{}
	for _, args := range [][]string{{"response_mode", "jwt"}, {"response_mode", "jwt", "prompt", "none login"}, {"response_type", "code id_token"}} {
		if b.get(r.hooli.authorizeURL(r.hooli.chat, args...)).shows(503); b.ended != nil {
			t.Errorf("%v: sent to %s", args, b.ended)
		}
	}
}

type awaySigner struct{ signer.Signer }

func (awaySigner) AuthorizationResponse(context.Context, *snapshot.Tenant, *oauth2.Client, [][2]string, time.Time) (string, error) {
	return "", errAway
}

func (awaySigner) FrontChannel(context.Context, *snapshot.Tenant, *oauth2.Client, signer.FrontChannelRequest) (signer.FrontChannelTokens, error) {
	return signer.FrontChannelTokens{}, errAway
}

// object signs a request object of chat's.
func (r *rig) object(key *jose.PrivateKey, claims map[string]any) string {
	r.t.Helper()
	all := map[string]any{
		"iss": r.hooli.chat, "aud": r.hooli.Issuer, "exp": r.clock().Add(time.Minute).Unix(), "nbf": r.clock().Unix(), "client_id": r.hooli.chat,
		"response_type": "code", "redirect_uri": chatCallback, "scope": "openid", "state": "inner", "code_challenge": challenge, "code_challenge_method": "S256",
	}
	for name, v := range claims {
		all[name] = v
	}
	payload, err := json.Marshal(all)
	if err != nil {
		r.t.Fatal(err)
	}
	text, err := jose.NewSigner(key, "k1").Sign("oauth-authz-req+jwt", payload)
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

// TestRequestObjects: what the client signed counts, and nothing that stands beside it (RFC 9101 section 6.3).
func TestRequestObjects(t *testing.T) {
	key, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	other, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.modern(key)
	b := r.browser()
	p := b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat, "request", r.object(key, nil), "redirect_uri", "https://evil.example/", "state", "outer")), "gavin@hooli.example")
	if q := b.answered(p, chatCallback); q.Get("state") != "inner" || q.Get("code") == "" {
		t.Errorf("response %v", q)
	}
	for name, text := range map[string]string{
		"signed by somebody else": r.object(other, nil), "expired": r.object(key, map[string]any{"exp": r.clock().Add(-time.Hour).Unix()}),
		"for another server": r.object(key, map[string]any{"aud": r.raviga.Issuer}), "no object": "x.y.z",
	} {
		if q := b.answered(b.get(r.hooli.authorizeURL(r.hooli.chat, "request", text)), chatCallback); q.Get("error") != "invalid_request_object" || q.Get("code") != "" {
			t.Errorf("%s: %v", name, q)
		}
		if b.get(r.hooli.authorizeURL(r.hooli.chat, "request", text, "redirect_uri", "https://evil.example/")).shows(400); b.ended != nil {
			t.Errorf("%s: an unproven address was used: %s", name, b.ended)
		}
	}
}

// push stores a request as the token service's endpoint does.
func (r *rig) push(client string, ttl time.Duration, extra ...string) string {
	r.t.Helper()
	u, err := url.Parse(r.hooli.authorizeURL(client, extra...))
	if err != nil {
		r.t.Fatal(err)
	}
	params, err := oauth2.ParseParams(u.RawQuery)
	if err != nil {
		r.t.Fatal(err)
	}
	uri, err := r.grants.PutRequest(context.Background(), r.hooli.ID, grant.PushedRequest{Client: client, Params: params, DPoPJKT: "jkt"}, r.clock(), ttl)
	if err != nil {
		r.t.Fatal(err)
	}
	return uri
}

// TestPushedRequests: a pushed request may be opened often, is answered once, and does not end while its person logs in (RFC 9126).
func TestPushedRequests(t *testing.T) {
	r := newRig(t)
	r.client("Chat", func(c *snapshotv1.Client) {
		c.Protocol = &snapshotv1.ClientProtocol{RequirePushedAuthorizationRequests: true}
	})
	b := r.browser()
	if q := b.answered(b.get(r.hooli.authorizeURL(r.hooli.chat)), chatCallback); q.Get("error") != "invalid_request" {
		t.Errorf("a request that was not pushed: %v", q)
	}
	at := func(client, uri string) string {
		return r.hooli.base + "/oauth2/authorize?" + url.Values{"client_id": {client}, "request_uri": {uri}}.Encode()
	}
	uri := r.push(r.hooli.chat, time.Minute)
	b.get(at(r.hooli.chat, uri)).shows(200, "Sign in")
	login := b.get(at(r.hooli.chat, uri) + "&state=outer&redirect_uri=https%3A%2F%2Fevil.example%2F")
	b.get(at(r.hooli.starter, uri)).shows(400) // another client's
	r.pass(2 * time.Minute)                    // longer than the client had for opening it
	rec := b.code(b.signIn(login, "gavin@hooli.example"), r.hooli, chatCallback)
	if rec.DPoPJKT != "jkt" {
		t.Errorf("record %+v", rec)
	}
	b.get(at(r.hooli.chat, uri)).shows(400)
	again := strings.Replace(login.url.String(), "/login?", "/oauth2/authorize?", 1)
	if q := b.answered(b.get(again), chatCallback); q.Get("error") != "invalid_request_uri" {
		t.Errorf("the other tab: %v", q)
	}
	expired := r.push(r.hooli.chat, time.Minute)
	r.pass(2 * time.Minute)
	b.get(at(r.hooli.chat, expired)).shows(400)
	b.get(at(r.hooli.chat, oauth2.ParamRequestURI)).shows(400)
}

// TestSelectAccount: prompt=select_account offers who is signed in, and the way in for somebody else.
func TestSelectAccount(t *testing.T) {
	r := newRig(t)
	r.user(r.hooli, "laurie@hooli.example", "Laurie Bream")
	b := r.browser()
	first := b.code(b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat)), "gavin@hooli.example"), r.hooli, chatCallback)
	r.pass(time.Minute)
	p := b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "select_account")).shows(200, "Choose an account", "Continue as Gavin Belson", "gavin@hooli.example")
	if rec := b.code(b.submit(p), r.hooli, chatCallback); rec.User != first.User || !rec.AuthTime.Equal(first.AuthTime) {
		t.Errorf("chosen: %+v", rec)
	}
	p = b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "select_account"))
	if rec := b.code(b.signIn(b.get(p.link("Use another account")), "laurie@hooli.example"), r.hooli, chatCallback); rec.User == first.User {
		t.Errorf("another account: %+v", rec)
	}
	// The page that offered Gavin chooses nobody now that Laurie is there.
	if b.submit(p).shows(200, "Choose an account", "Laurie Bream"); b.ended != nil {
		t.Errorf("chosen for somebody else: %s", b.ended)
	}
	b.get(r.hooli.base+"/select-account").shows(200, "You are signed in")
	fresh := r.browser()
	fresh.code(fresh.signIn(fresh.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "select_account")), "gavin@hooli.example"), r.hooli, chatCallback)
}

// TestAuthorizationDetails: they are shown, and only a yes to them counts, also for a client of the tenant's own company (RFC 9396).
func TestAuthorizationDetails(t *testing.T) {
	r := newRig(t)
	r.modern(nil)
	b := r.browser()
	b.code(b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat)), "gavin@hooli.example"), r.hooli, chatCallback)
	r.pass(time.Second)
	asked := r.hooli.authorizeURL(r.hooli.chat, "authorization_details", payment)
	p := b.get(asked).shows(200, "Make a payment", "Amount · Sum 12.50", "To <b>Ann</b>", "At once Yes")
	if strings.Contains(p.body, "<b>Ann") {
		t.Error("a client's text is markup")
	}
	b.get(asked+"&ui_locales=de").shows(200, "Außerdem sollen Sie genehmigen", "At once Ja")
	if q := b.answered(b.get(asked+"&prompt=none"), chatCallback); q.Get("error") != "consent_required" {
		t.Errorf("without a page: %v", q)
	}
	// A yes to another request of the client is none to this one (a second tab).
	other := b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "consent"))
	r.pass(time.Second)
	b.code(b.submit(other, "answer", "allow"), r.hooli, chatCallback)
	if b.get(strings.Replace(p.url.String(), "/consent", "/oauth2/authorize", 1)).shows(200, "Make a payment"); b.ended != nil {
		t.Error("details by the consent to another request")
	}
	if q := b.answered(b.submit(p, "answer", "cancel"), chatCallback); q.Get("error") != "access_denied" {
		t.Errorf("cancelled: %v", q)
	}
	allowed := b.submit(b.get(asked), "answer", "allow")
	rec := b.code(allowed, r.hooli, chatCallback)
	if b.get(allowed.url.String()).shows(200, "Make a payment"); b.ended != nil {
		t.Error("one yes, two codes")
	}
	if want := `[{"type":"payment","amount":{"currency":"EUR","value":12.50},"creditor":`; !strings.HasPrefix(string(rec.AuthorizationDetails), want) {
		t.Errorf("record has %s", rec.AuthorizationDetails)
	}
	b.get(asked).shows(200, "Make a payment") // each time anew
	for _, text := range []string{`[{"type":"transfer"}]`, `[{"type":"payment"}]`, `x`} {
		if q := b.answered(b.get(r.hooli.authorizeURL(r.hooli.chat, "authorization_details", text)), chatCallback); q.Get("error") != "invalid_authorization_details" {
			t.Errorf("%s: %v", text, q)
		}
	}
	if q := b.answered(b.get(r.hooli.authorizeURL(r.hooli.starter, "authorization_details", payment)), "https://app.example/cb"); q.Get("error") != "invalid_authorization_details" {
		t.Errorf("a client that is not registered for the type: %v", q)
	}
}

// TestPairwiseClient: its ID tokens name the user as it knows them, and so do hints and the claims parameter that it sends.
func TestPairwiseClient(t *testing.T) {
	r := newRig(t)
	r.modern(nil)
	r.client("Chat", func(c *snapshotv1.Client) { c.Protocol.Pairwise = true })
	b := r.browser()
	q := b.fragment(b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat, "response_type", "id_token token")), "gavin@hooli.example"), chatCallback)
	chat, _ := r.hooli.Client(r.hooli.chat)
	want := subject.For(r.hooli.Tenant, chat, r.hooli.gavin.ID)
	if m, at := r.verified(q.Get("id_token"), "JWT"), r.verified(q.Get("access_token"), oidc.TypeAccessToken); m["sub"] != want || at["sub"] != want || !strings.HasPrefix(want, "pwu_") {
		t.Errorf("ID token about %v, access token about %v, want %s", m["sub"], at["sub"], want)
	}
	hinted := func(client string) *page {
		return b.get(r.hooli.authorizeURL(client, "prompt", "none", "id_token_hint", q.Get("id_token")))
	}
	b.code(hinted(r.hooli.chat), r.hooli, chatCallback)
	b.code(hinted(r.hooli.starter), r.hooli, "https://app.example/cb") // another client's hint means the same person
	insist := func(sub string) string {
		return r.hooli.authorizeURL(r.hooli.chat, "prompt", "none", "claims", `{"id_token":{"sub":{"values":["pwu_x","`+sub+`"]}}}`)
	}
	b.code(b.get(insist(want)), r.hooli, chatCallback)
	if e := b.answered(b.get(insist(r.hooli.gavin.ID.String())), chatCallback).Get("error"); e != "login_required" {
		t.Errorf("the plain id passes for the subject: %q", e)
	}
}

// TestSecurityProfiles: a tenant's profile decides what its authorization endpoint takes; a neighbour does not notice.
func TestSecurityProfiles(t *testing.T) {
	key, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.modern(key)
	switchTo := func(profile oauth2.Profile) {
		r.serve(r.hooli, func(core *snapshotv1.TenantSnapshot) {
			core.Overrides.Oauth.SecurityProfile = proto.String(profile.String())
			for _, c := range core.Clients {
				if c.GetDisplayName() == "Chat" {
					c.Protocol.ResponseTypes, c.GrantTypes = nil, []string{"authorization_code", "refresh_token"}
					c.TokenEndpointAuthMethod, c.Secrets, c.RequirePkce, c.Protocol.DpopBoundAccessTokens = "private_key_jwt", nil, true, true
				}
			}
		})
	}
	b := r.browser()
	switchTo(oauth2.ProfileFAPI2)
	if q := b.answered(b.get(r.hooli.authorizeURL(r.hooli.chat)), chatCallback); q.Get("error") != "invalid_request" {
		t.Errorf("FAPI 2.0 without PAR: %v", q)
	}
	if q := b.answered(b.get(r.hooli.authorizeURL(r.hooli.chat, "request", r.object(key, nil))), chatCallback); q.Get("error") != "invalid_request" {
		t.Errorf("FAPI 2.0 with a request object by value: %v", q)
	}
	at := func(uri string) string {
		return r.hooli.base + "/oauth2/authorize?" + url.Values{"client_id": {r.hooli.chat}, "request_uri": {uri}}.Encode()
	}
	first := b.get(at(r.push(r.hooli.chat, time.Minute)))
	if b.ended != nil {
		t.Fatalf("FAPI 2.0: %s", b.ended)
	}
	b.code(b.signIn(first, "gavin@hooli.example"), r.hooli, chatCallback)
	if q := b.answered(b.get(at(r.push(r.hooli.chat, time.Minute, "code_challenge", "", "code_challenge_method", ""))), chatCallback); q.Get("error") != "invalid_request" {
		t.Errorf("FAPI 2.0 without PKCE: %v", q)
	}
	if q := b.fragment(b.get(at(r.push(r.hooli.chat, time.Minute, "response_type", "code id_token"))), chatCallback); q.Get("error") != "unsupported_response_type" && q.Get("error") != "unauthorized_client" {
		t.Errorf("FAPI 2.0 with a hybrid response type: %v", q)
	}
	// A client that does not meet the profile is refused when it comes.
	photos := r.push(r.hooli.photos, time.Minute)
	p := b.get(r.hooli.base + "/oauth2/authorize?" + url.Values{"client_id": {r.hooli.photos}, "request_uri": {photos}}.Encode())
	if q := b.answered(p, "https://photos.example/cb"); q.Get("error") != "unauthorized_client" {
		t.Errorf("a client that does not meet the profile: %v", q)
	}
	if r.browser().get(r.raviga.authorizeURL(r.raviga.chat)).shows(200, "Sign in to Raviga"); b.ended == nil {
		t.Error("the neighbour notices")
	}

	switchTo(oauth2.ProfileFAPI2MessageSigning)
	if p := b.get(at(r.push(r.hooli.chat, time.Minute))); p.status != 400 || b.ended != nil {
		t.Errorf("message signing with an unsigned request: %s", b.ended)
	}
	params, err := oauth2.ParseParams("response_type=code&scope=openid&state=st&code_challenge_method=S256&code_challenge=" + challenge + "&client_id=" + r.hooli.chat + "&redirect_uri=" + url.QueryEscape(chatCallback))
	if err != nil {
		t.Fatal(err)
	}
	uri, err := r.grants.PutRequest(context.Background(), r.hooli.ID, grant.PushedRequest{Client: r.hooli.chat, Params: params, Signed: true}, r.clock(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if m := r.verified(b.answered(b.get(at(uri)), chatCallback).Get("response"), "JWT"); m["code"] == nil || m["aud"] != r.hooli.chat {
		t.Errorf("message signing: %v", m)
	}
}

// TestApplicationsLogo: it comes from the application's own site, over https alone, and opens the policy for that site and no other.
func TestApplicationsLogo(t *testing.T) {
	r := newRig(t)
	r.client("Photos", func(c *snapshotv1.Client) { c.LogoUri = "https://cdn.photos.example/logo.png?a=1" })
	b := r.browser()
	p := b.get(r.hooli.authorizeURL(r.hooli.photos)).shows(200, "Photos: privacy policy", "Photos: terms")
	policy := p.header.Get("Content-Security-Policy")
	if !strings.Contains(p.body, `src="https://cdn.photos.example/logo.png?a=1"`) || !strings.Contains(policy, "img-src 'self' data: https://cdn.photos.example;") {
		t.Errorf("%s: %s", policy, p.body)
	}
	p = b.signIn(p, "gavin@hooli.example").shows(200, "Photos asks for access", "Photos: privacy policy")
	if !strings.Contains(p.body, `src="https://cdn.photos.example/logo.png?a=1"`) {
		t.Error("no logo on the consent page")
	}
	for _, uri := range []string{"", "http://photos.localhost/logo.png", "https://a;script-src.example/", "https://*.example/x"} {
		if got := (&view{AppLogo: strings.TrimPrefix(uri, "http://photos.localhost/logo.png")}).logoSource(); got != "" {
			t.Errorf("%s: %q", uri, got)
		}
	}
}

// TestSealedRequestKeepsWhatWasSeen: the fields that admit found travel with the request, and a restart forgets who said yes.
func TestSealedRequestKeepsWhatWasSeen(t *testing.T) {
	r := newRig(t)
	p := pending{created: r.clock(), pushed: "urn:x", signed: true, jkt: "j", hint: id.NewUser(), selected: id.NewUser(), approved: id.NewUser()}
	got, err := r.service.unseal(r.hooli.Tenant, r.service.seal(r.hooli.Tenant, p))
	if err != nil || got.pushed != p.pushed || !got.signed || got.jkt != "j" || got.hint != p.hint || got.selected != p.selected || got.approved != p.approved {
		t.Errorf("%+v, %v", got, err)
	}
}
