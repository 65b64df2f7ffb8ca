// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

func TestClientCredentials(t *testing.T) {
	r := newRig(t)
	got := r.token(r.hooli, r.hooli.web, "grant_type", "client_credentials", "scope", "chat:read openid")
	got.is(t, 200, "")
	if got.str("token_type") != "Bearer" || got.body["expires_in"] != 600.0 || got.str("scope") != "chat:read" || got.body["refresh_token"] != nil || got.body["id_token"] != nil {
		t.Errorf("answer %s", got.raw)
	}
	// RFC 6749 section 5.1.
	if got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("Pragma") != "no-cache" || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", got.Header)
	}
	h, c := r.claims(r.hooli, got.str("access_token"))
	if h["typ"] != "at+jwt" || h["alg"] != "ES256" {
		t.Errorf("header %v", h)
	}
	for name, want := range map[string]any{
		"iss": r.hooli.Issuer, "sub": r.hooli.web.id, "client_id": r.hooli.web.id, "aud": "https://piedpiper.api.example",
		"org": r.hooli.Org.String(), "tnt": r.hooli.ID.String(), "token_use": "client", "env": "prod", "scope": "chat:read", "cfg": 1.0,
	} {
		if c[name] != want {
			t.Errorf("%s is %v, want %v", name, c[name], want)
		}
	}
	for _, absent := range []string{"sid", "gnt", "auth_time", "email", "name", "roles"} {
		if c[absent] != nil {
			t.Errorf("%s is %v", absent, c[absent])
		}
	}
	all := r.token(r.hooli, r.hooli.web, "grant_type", "client_credentials")
	if all.str("scope") != "chat:read chat:write" {
		t.Errorf("default scope %q", all.str("scope"))
	}
	r.token(r.hooli, r.hooli.web, "grant_type", "client_credentials", "scope", "admin").is(t, 400, "invalid_scope")
	r.token(r.hooli, r.hooli.web, "grant_type", "client_credentials", "resource", "https://files.example").is(t, 200, "")
	r.token(r.hooli, r.hooli.web, "grant_type", "client_credentials", "resource", "https://other.example").is(t, 400, "invalid_target")
	r.token(r.hooli, r.hooli.spa, "grant_type", "client_credentials").is(t, 400, "unauthorized_client")
}

// PROMISES.md section 3: client_credentials live through the loss of everything.
func TestClientCredentialsNeedNothing(t *testing.T) {
	r := newRig(t)
	r.identity.fail(true, "*", errAway)
	r.redis.ShutdownNoSave(t.Context())
	r.token(r.hooli, r.hooli.web, "grant_type", "client_credentials").is(t, 200, "")
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/jwks.json"} {
		r.get(r.hooli.host, path).is(t, 200, "")
	}
	got := r.exchange(r.hooli, r.hooli.web, strings.Repeat("a", 43))
	got.is(t, 503, "temporarily_unavailable")
	if got.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	r.refresh(r.hooli, r.hooli.web, mustRefresh(t, r, r.hooli.web.id)).is(t, 503, "temporarily_unavailable")
}

func mustRefresh(t *testing.T, r *rig, client string) string {
	t.Helper()
	uid, err := id.ParseClient(client)
	if err != nil {
		t.Fatal(err)
	}
	text, err := refreshText(r.world.Keyring.Tenant(r.hooli.ID), id.NewGrant(), 1, uid)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestClientAuthentication(t *testing.T) {
	r := newRig(t)
	cc := []string{"grant_type", "client_credentials"}
	wrong := app{r.hooli.web.id, r.hooli.post.secret}
	for _, c := range []struct {
		name   string
		a      app
		extra  []string
		status int
		code   string
		basic  bool
	}{
		{"basic", r.hooli.web, nil, 200, "", false},
		{"post", app{}, []string{"client_id", r.hooli.post.id, "client_secret", r.hooli.post.secret}, 200, "", false},
		{"none given", app{}, nil, 401, "invalid_client", false},
		{"wrong secret", wrong, nil, 401, "invalid_client", true},
		{"malformed secret", app{r.hooli.web.id, "x"}, nil, 401, "invalid_client", true},
		{"confidential without secret", app{id: r.hooli.web.id}, nil, 401, "invalid_client", false},
		{"unknown client", app{id.NewClient().String(), r.hooli.web.secret}, nil, 401, "invalid_client", true},
		{"no client at all", app{"x", "y"}, nil, 401, "invalid_client", true},
		{"client of another tenant", r.raviga.web, nil, 401, "invalid_client", true},
		{"basic for a post client", r.hooli.post, nil, 401, "invalid_client", true},
		{"post for a basic client", app{}, []string{"client_id", r.hooli.web.id, "client_secret", r.hooli.web.secret}, 401, "invalid_client", false},
		{"both at once", r.hooli.web, []string{"client_secret", r.hooli.web.secret}, 400, "invalid_request", false},
		{"another id in the body", r.hooli.web, []string{"client_id", r.hooli.post.id}, 400, "invalid_request", false},
		{"assertion beside the header", r.hooli.web, []string{"client_assertion", "x", "client_assertion_type", "y"}, 400, "invalid_request", false},
		{"assertion that is none", app{}, []string{"client_assertion", "x", "client_assertion_type", oauth2.AssertionTypeJWTBearer}, 401, "invalid_client", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := r.token(r.hooli, c.a, append(cc, c.extra...)...)
			got.is(t, c.status, c.code)
			// RFC 6749 section 5.2: a challenge where the Authorization header was used.
			if has := strings.HasPrefix(got.Header.Get("WWW-Authenticate"), "Basic "); has != c.basic {
				t.Errorf("WWW-Authenticate %q", got.Header.Get("WWW-Authenticate"))
			}
		})
	}
}

func TestUnknownWrongAndForeignClientsLookAlike(t *testing.T) {
	r := newRig(t)
	var want string
	for _, a := range []app{{r.hooli.web.id, r.hooli.post.secret}, {id.NewClient().String(), r.hooli.web.secret}, r.raviga.web, r.aviato.web} {
		got := r.token(r.hooli, a, "grant_type", "client_credentials")
		if want == "" {
			want = string(got.raw)
		}
		if string(got.raw) != want {
			t.Errorf("%s differs from %s", got.raw, want)
		}
	}
}

func TestTokenRequestShape(t *testing.T) {
	r := newRig(t)
	w := r.hooli.web
	for _, c := range []struct {
		name   string
		pairs  []string
		status int
		code   string
	}{
		{"no grant_type", nil, 400, "invalid_request"},
		{"unknown grant_type", []string{"grant_type", "password"}, 400, "unsupported_grant_type"},
		{"grant_type in another case", []string{"grant_type", "Client_Credentials"}, 400, "unsupported_grant_type"},
		{"twice", []string{"grant_type", "client_credentials", "grant_type", "client_credentials"}, 400, "invalid_request"},
		{"malformed scope", []string{"grant_type", "client_credentials", "scope", `a"b`}, 400, "invalid_scope"},
		{"two resources", []string{"grant_type", "client_credentials", "resource", "https://files.example", "resource", "https://x.example"}, 400, "invalid_target"},
		{"no code", []string{"grant_type", "authorization_code"}, 400, "invalid_request"},
		{"no refresh token", []string{"grant_type", "refresh_token"}, 400, "invalid_request"},
		{"unknown parameter is ignored", []string{"grant_type", "client_credentials", "foo", "bar"}, 200, ""},
		{"empty parameter counts as absent", []string{"grant_type", "client_credentials", "scope", ""}, 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) { r.token(r.hooli, w, c.pairs...).is(t, c.status, c.code) })
	}
	t.Run("parameters in the URL do not count", func(t *testing.T) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL+"/oauth2/token?grant_type=client_credentials", nil)
		req.SetBasicAuth(w.id, w.secret)
		req.Header.Set("Content-Type", web.MediaTypeForm)
		r.send(req, r.hooli.host).is(t, 400, "invalid_request")
	})
	t.Run("JSON", func(t *testing.T) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL+"/oauth2/token", strings.NewReader(`{"grant_type":"client_credentials"}`))
		req.Header.Set("Content-Type", "application/json")
		r.send(req, r.hooli.host).is(t, 415, "invalid_request")
	})
	t.Run("GET", func(t *testing.T) {
		got := r.get(r.hooli.host, "/oauth2/token")
		got.is(t, 405, "invalid_request")
		if got.Header.Get("Allow") != "POST, OPTIONS" {
			t.Errorf("Allow %q", got.Header.Get("Allow"))
		}
	})
	t.Run("two Authorization headers", func(t *testing.T) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL+"/oauth2/token", strings.NewReader("grant_type=client_credentials"))
		req.Header.Set("Content-Type", web.MediaTypeForm)
		v := "Basic " + base64.StdEncoding.EncodeToString([]byte(w.id+":"+w.secret))
		req.Header["Authorization"] = []string{v, v}
		r.send(req, r.hooli.host).is(t, 400, "invalid_request")
	})
}

func TestGrantThatTheClientMayNotUse(t *testing.T) {
	r := newRig(t)
	code := r.code(r.hooli, r.hooli.web, nil)
	r.token(r.hooli, r.hooli.spa, "grant_type", "client_credentials").is(t, 400, "unauthorized_client")
	r.exchange(r.hooli, r.hooli.web, code).is(t, 200, "")
}

func TestCodeExchange(t *testing.T) {
	r := newRig(t)
	got := r.issue(r.hooli, r.hooli.web, func(rec *grant.CodeRecord) { rec.Scopes = append(rec.Scopes, "chat:write") })
	if got.str("scope") != "openid profile email chat:write" || got.str("refresh_token") == "" {
		t.Errorf("answer %s", got.raw)
	}
	_, at := r.claims(r.hooli, got.str("access_token"))
	for name, want := range map[string]any{
		"sub": r.hooli.user.ID.String(), "token_use": "user", "tnt": r.hooli.ID.String(), "org": r.hooli.Org.String(), "client_id": r.hooli.web.id,
		"acr": "urn:tenantry:acr:pwd", "scope": "openid profile email chat:write", "aud": "https://piedpiper.api.example",
	} {
		if at[name] != want {
			t.Errorf("access token: %s is %v, want %v", name, at[name], want)
		}
	}
	if at["sid"] == nil || at["gnt"] == nil || at["auth_time"] == nil || at["amr"] == nil || at["roles"] == nil || at["entitlements"] == nil {
		t.Errorf("access token lacks claims: %v", at)
	}
	// API.md 6.2: no personal data in an access token.
	if at["email"] != nil || at["name"] != nil {
		t.Errorf("personal data: %v", at)
	}
	h, it := r.claims(r.hooli, got.str("id_token"))
	if h["alg"] != "ES256" || h["typ"] != "JWT" {
		t.Errorf("ID token header %v", h)
	}
	for name, want := range map[string]any{
		"iss": r.hooli.Issuer, "sub": r.hooli.user.ID.String(), "aud": r.hooli.web.id, "nonce": "n-0S6_WzA2Mj", "sid": at["sid"],
		"org": r.hooli.Org.String(), "tnt": r.hooli.ID.String(), "auth_time": at["auth_time"],
	} {
		if it[name] != want {
			t.Errorf("ID token: %s is %v, want %v", name, it[name], want)
		}
	}
	if it["at_hash"] == nil || it["email"] != nil {
		t.Errorf("ID token %v", it)
	}
}

func TestIDTokenAlgorithmIsTheOneRegistered(t *testing.T) {
	r := newRig(t)
	h, _ := r.claims(r.hooli, r.issue(r.hooli, r.hooli.rs256, nil).str("id_token"))
	if h["alg"] != "RS256" {
		t.Errorf("header %v", h)
	}
}

func TestNoIDTokenWithoutOpenID(t *testing.T) {
	r := newRig(t)
	got := r.issue(r.hooli, r.hooli.web, func(rec *grant.CodeRecord) { rec.Scopes = []string{"chat:read"} })
	if got.body["id_token"] != nil {
		t.Errorf("answer %s", got.raw)
	}
}

func TestPublicClientExchange(t *testing.T) {
	r := newRig(t)
	got := r.issue(r.hooli, r.hooli.spa, nil)
	if got.str("refresh_token") == "" {
		t.Errorf("answer %s", got.raw)
	}
}

// Each of these is an attack or a mistake, and none of them costs the rightful client its code.
func TestCodeIsBoundToItsRequest(t *testing.T) {
	r := newRig(t)
	w := r.hooli.web
	ok := []string{"redirect_uri", redirectURI, "code_verifier", verifier}
	for _, c := range []struct {
		name   string
		client app
		pairs  []string
		code   string
	}{
		{"another client's", r.hooli.post, ok, ""},
		{"no verifier", w, []string{"redirect_uri", redirectURI}, "invalid_grant"},
		{"wrong verifier", w, []string{"redirect_uri", redirectURI, "code_verifier", strings.Repeat("x", 43)}, "invalid_grant"},
		{"short verifier", w, []string{"redirect_uri", redirectURI, "code_verifier", "x"}, ""},
		{"challenge as verifier", w, []string{"redirect_uri", redirectURI, "code_verifier", challenge}, "invalid_grant"},
		{"no redirect URI", w, []string{"code_verifier", verifier}, "invalid_grant"},
		{"redirect URI differs in one byte", w, []string{"redirect_uri", redirectURI + "/", "code_verifier", verifier}, "invalid_grant"},
		{"redirect URI in another case", w, []string{"redirect_uri", strings.ToUpper(redirectURI), "code_verifier", verifier}, "invalid_grant"},
		{"another resource", w, append([]string{"resource", "https://files.example"}, ok...), "invalid_target"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code := r.code(r.hooli, w, nil)
			a, pairs := c.client, append([]string{"grant_type", "authorization_code", "code", code}, c.pairs...)
			if a == r.hooli.post {
				pairs = append(pairs, "client_id", a.id, "client_secret", a.secret)
				a = app{}
			}
			got := r.token(r.hooli, a, pairs...)
			if got.StatusCode != 400 || c.code != "" && got.str("error") != c.code {
				t.Errorf("got %d %s", got.StatusCode, got.raw)
			}
			r.exchange(r.hooli, w, code).is(t, 200, "")
		})
	}
}

func TestVerifierWithoutChallengeIsADowngrade(t *testing.T) {
	r := newRig(t)
	code := r.code(r.hooli, r.hooli.web, func(rec *grant.CodeRecord) { rec.CodeChallenge = "" })
	r.exchange(r.hooli, r.hooli.web, code).is(t, 400, "invalid_grant")
	r.token(r.hooli, r.hooli.web, "grant_type", "authorization_code", "code", code, "redirect_uri", redirectURI).is(t, 200, "")
	// A public client's code without a challenge is never honoured, whoever issued it.
	code = r.code(r.hooli, r.hooli.spa, func(rec *grant.CodeRecord) { rec.CodeChallenge = "" })
	r.token(r.hooli, r.hooli.spa, "grant_type", "authorization_code", "code", code, "redirect_uri", redirectURI).is(t, 400, "invalid_grant")
}

func TestUnknownAndExpiredCodes(t *testing.T) {
	r := newRig(t)
	for _, code := range []string{"x", strings.Repeat("a", 43), strings.Repeat("a", 4000)} {
		r.exchange(r.hooli, r.hooli.web, code).is(t, 400, "invalid_grant")
	}
	code := r.code(r.hooli, r.hooli.web, nil)
	r.pass(31 * time.Second)
	r.exchange(r.hooli, r.hooli.web, code).is(t, 400, "invalid_grant")
}

// OIDF oidcc-codereuse, oidcc-codereuse-30seconds; RFC 6749 section 4.1.2.
func TestReusedCodeRevokesWhatItGave(t *testing.T) {
	r := newRig(t)
	for _, offline := range []bool{false, true} {
		code := r.code(r.hooli, r.hooli.web, func(rec *grant.CodeRecord) {
			if offline {
				rec.Scopes = append(rec.Scopes, "offline_access")
			}
		})
		first := r.exchange(r.hooli, r.hooli.web, code)
		first.is(t, 200, "")
		other := r.issue(r.hooli, r.hooli.web, nil)
		r.pass(30 * time.Second)
		r.exchange(r.hooli, r.hooli.web, code).is(t, 400, "invalid_grant")
		if r.active(r.hooli, r.hooli.web, first.str("access_token")) {
			t.Error("the access token of a reused code is active")
		}
		r.get(r.hooli.host, "/oauth2/userinfo", bearer(first.str("access_token"))...).is(t, 401, "invalid_token")
		r.refresh(r.hooli, r.hooli.web, first.str("refresh_token")).is(t, 400, "invalid_grant")
		if !r.active(r.hooli, r.hooli.web, other.str("access_token")) {
			t.Error("the reuse revoked another grant")
		}
	}
}

// A replay is not answered and forgotten: without the database the client is asked to come again, and then the revocation happens.
func TestReplayDuringAnOutageStillRevokes(t *testing.T) {
	r := newRig(t)
	code := r.code(r.hooli, r.hooli.web, nil)
	first := r.exchange(r.hooli, r.hooli.web, code)
	r.identity.fail(true, "RevokeGrant", errAway)
	r.exchange(r.hooli, r.hooli.web, code).is(t, 503, "temporarily_unavailable")
	r.identity.heal()
	r.exchange(r.hooli, r.hooli.web, code).is(t, 400, "invalid_grant")
	if r.active(r.hooli, r.hooli.web, first.str("access_token")) {
		t.Error("still active")
	}
}

func TestCodeOfAUserWhoIsGone(t *testing.T) {
	r := newRig(t)
	code := r.code(r.hooli, r.hooli.web, nil)
	if _, err := r.identity.DeleteUser(t.Context(), ref(r.hooli.Tenant), opAt(r), r.hooli.user.ID, ""); err != nil {
		t.Fatal(err)
	}
	r.exchange(r.hooli, r.hooli.web, code).is(t, 400, "invalid_grant")
}
