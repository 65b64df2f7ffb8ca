// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/secret"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

func dummyOpener(t *testing.T) *secret.Opener {
	t.Helper()
	k, err := secret.GeneratePrivateKey(dptest.Region, secret.PurposeSigning, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return secret.NewOpener(dptest.Region, k)
}

func fuzzRing(t testing.TB) *secret.Keyring {
	t.Helper()
	ring, err := secret.NewKeyring(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// OIDF oidcc-discovery-endpoint-verification.
func TestDiscovery(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		got := r.get(r.hooli.host, path, "Origin", "https://anybody.example")
		got.is(t, 200, "")
		if got.str("issuer") != r.hooli.Issuer || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Cache-Control") != "public, max-age=300" {
			t.Errorf("%s: %v %s", path, got.Header, got.raw)
		}
		if got.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s is not readable in browsers", path)
		}
		// Every endpoint in the document that this service owns exists.
		for name, want := range map[string]string{
			"token_endpoint": "/oauth2/token", "userinfo_endpoint": "/oauth2/userinfo", "jwks_uri": "/.well-known/jwks.json",
			"introspection_endpoint": "/oauth2/introspect", "revocation_endpoint": "/oauth2/revoke",
		} {
			if got.str(name) != r.hooli.Issuer+want {
				t.Errorf("%s: %s is %q", path, name, got.str(name))
			}
		}
	}
}

func TestDocumentsAreCacheable(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/jwks.json"} {
		first := r.get(r.hooli.host, path)
		tag := first.Header.Get("ETag")
		if !strings.HasPrefix(tag, `"`) || r.get(r.raviga.host, path).Header.Get("ETag") == tag {
			t.Errorf("%s: ETag %q", path, tag)
		}
		for _, match := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
			again := r.get(r.hooli.host, path, "If-None-Match", match)
			if again.StatusCode != 304 || len(again.raw) != 0 || again.Header.Get("ETag") != tag {
				t.Errorf("%s If-None-Match %s: %d", path, match, again.StatusCode)
			}
		}
		if other := r.get(r.hooli.host, path, "If-None-Match", `"x"`); other.StatusCode != 200 {
			t.Errorf("%s: %d", path, other.StatusCode)
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodHead, r.server.URL+path, nil)
		head := r.send(req, r.hooli.host)
		if head.StatusCode != 200 || head.ContentLength != int64(len(first.raw)) || len(head.raw) != 0 || head.Header.Get("ETag") != tag {
			t.Errorf("HEAD %s: %d, %d bytes", path, head.StatusCode, head.ContentLength)
		}
	}
}

func TestJWKSHasOnlyPublicHalvesOfThisTenant(t *testing.T) {
	r := newRig(t)
	kids := map[string]bool{}
	for _, s := range []*site{r.hooli, r.raviga, r.aviato} {
		var set struct {
			Keys []map[string]any `json:"keys"`
		}
		if err := json.Unmarshal(r.get(s.host, "/.well-known/jwks.json").raw, &set); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: 2, false: 1}[s == r.hooli]; len(set.Keys) != want {
			t.Fatalf("%d keys, want %d", len(set.Keys), want)
		}
		for _, k := range set.Keys {
			kid, _ := k["kid"].(string)
			if kid == "" || kids[kid] || k["alg"] == nil || k["use"] != "sig" {
				t.Errorf("key %v", k)
			}
			kids[kid] = true
			for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
				if k[private] != nil {
					t.Errorf("private member %s of key %s is published", private, kid)
				}
			}
		}
	}
}

// OIDF oidcc-userinfo-get, -post-header, -post-body, oidcc-scope-*.
func TestUserInfo(t *testing.T) {
	r := newRig(t)
	at := r.issue(r.hooli, r.hooli.web, nil).str("access_token")
	post := func(body string, header ...string) *answer {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL+"/oauth2/userinfo", strings.NewReader(body))
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Add(header[i], header[i+1])
		}
		return r.send(req, r.hooli.host)
	}
	for name, got := range map[string]*answer{
		"GET":             r.get(r.hooli.host, "/oauth2/userinfo", bearer(at)...),
		"scheme any case": r.get(r.hooli.host, "/oauth2/userinfo", "Authorization", "bEaReR "+at),
		"POST header":     post("", bearer(at)...),
		"POST empty form": post("", append(bearer(at), "Content-Type", web.MediaTypeForm)...),
		"POST body":       post("access_token="+at, "Content-Type", web.MediaTypeForm),
	} {
		got.is(t, 200, "")
		if got.str("sub") != r.hooli.user.ID.String() || got.str("name") != "Gavin hooli" || got.str("email") != "gavin@hooli.example" || got.body["email_verified"] != false {
			t.Errorf("%s: %s", name, got.raw)
		}
		if got.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", name, got.Header)
		}
	}
	for name, c := range map[string]struct {
		got    *answer
		status int
		code   string
	}{
		"no token":      {r.get(r.hooli.host, "/oauth2/userinfo"), 401, "invalid_token"},
		"in the query":  {r.get(r.hooli.host, "/oauth2/userinfo?access_token="+at), 401, "invalid_token"},
		"Basic":         {r.get(r.hooli.host, "/oauth2/userinfo", "Authorization", "Basic eDp5"), 401, "invalid_token"},
		"not a token":   {r.get(r.hooli.host, "/oauth2/userinfo", bearer("x")...), 401, "invalid_token"},
		"twice":         {post("access_token="+at, append(bearer(at), "Content-Type", web.MediaTypeForm)...), 400, "invalid_request"},
		"unsigned":      {r.get(r.hooli.host, "/oauth2/userinfo", bearer(unsigned(at))...), 401, "invalid_token"},
		"machine token": {r.get(r.hooli.host, "/oauth2/userinfo", bearer(r.token(r.hooli, r.hooli.web, "grant_type", "client_credentials").str("access_token"))...), 401, "invalid_token"},
		"ID token":      {r.get(r.hooli.host, "/oauth2/userinfo", bearer(r.issue(r.hooli, r.hooli.web, nil).str("id_token"))...), 401, "invalid_token"},
		"without openid": {r.get(r.hooli.host, "/oauth2/userinfo", bearer(r.issue(r.hooli, r.hooli.web, func(rec *grant.CodeRecord) {
			rec.Scopes = []string{"chat:read"}
		}).str("access_token"))...), 403, "insufficient_scope"},
	} {
		t.Run(name, func(t *testing.T) {
			c.got.is(t, c.status, c.code)
			if !strings.HasPrefix(c.got.Header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("WWW-Authenticate %q", c.got.Header.Get("WWW-Authenticate"))
			}
		})
	}
	r.pass(11 * time.Minute)
	r.get(r.hooli.host, "/oauth2/userinfo", bearer(at)...).is(t, 401, "invalid_token")
}

// unsigned is the alg-none attack.
func unsigned(token string) string {
	return "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + strings.Split(token, ".")[1] + "."
}

func TestUserInfoGivesOnlyWhatWasAsked(t *testing.T) {
	r := newRig(t)
	only := r.issue(r.hooli, r.hooli.web, func(rec *grant.CodeRecord) { rec.Scopes = []string{"openid"} })
	got := r.get(r.hooli.host, "/oauth2/userinfo", bearer(only.str("access_token"))...)
	if len(got.body) != 1 {
		t.Errorf("scope openid gave %s", got.raw)
	}
	// OIDF oidcc-claims-essential; OpenID Connect Core section 5.5. The same after a refresh.
	asked := r.issue(r.hooli, r.hooli.web, func(rec *grant.CodeRecord) {
		rec.Scopes, rec.Claims = []string{"openid"}, `{"userinfo":{"name":{"essential":true}},"id_token":{"email":null}}`
		rec.UserClaims = &oidc.UserClaims{Name: "Gavin hooli", Email: "gavin@hooli.example"}
	})
	refreshed := r.refresh(r.hooli, r.hooli.web, asked.str("refresh_token"))
	for _, one := range []*answer{asked, refreshed} {
		got = r.get(r.hooli.host, "/oauth2/userinfo", bearer(one.str("access_token"))...)
		if got.str("name") != "Gavin hooli" || len(got.body) != 2 {
			t.Errorf("claims gave %s", got.raw)
		}
		if _, it := r.claims(r.hooli, one.str("id_token")); it["email"] != "gavin@hooli.example" || it["name"] != nil {
			t.Errorf("ID token %v", it)
		}
	}
}

// PROMISES.md section 3: with the user store away the answer is what the token says.
func TestUserInfoWithoutTheUserStore(t *testing.T) {
	r := newRig(t)
	at := r.issue(r.hooli, r.hooli.web, nil).str("access_token")
	r.get(r.hooli.host, "/oauth2/userinfo", bearer(at)...).is(t, 200, "")
	r.identity.fail(true, "*", errAway)
	got := r.get(r.hooli.host, "/oauth2/userinfo", bearer(at)...)
	got.is(t, 200, "")
	if got.str("sub") != r.hooli.user.ID.String() || got.body["email"] != nil {
		t.Errorf("%s", got.raw)
	}
	r.redis.ShutdownNoSave(t.Context())
	r.get(r.hooli.host, "/oauth2/userinfo", bearer(at)...).is(t, 503, "temporarily_unavailable")
}

func TestIntrospection(t *testing.T) {
	r := newRig(t)
	w := r.hooli.web
	issued := r.issue(r.hooli, w, nil)
	got := r.post(r.hooli.host, "/oauth2/introspect", w, "token", issued.str("access_token"))
	got.is(t, 200, "")
	for name, want := range map[string]any{
		"active": true, "token_type": "Bearer", "client_id": w.id, "sub": r.hooli.user.ID.String(), "iss": r.hooli.Issuer, "scope": "openid profile email",
		"org": r.hooli.Org.String(), "tnt": r.hooli.ID.String(), "token_use": "user", "aud": "https://piedpiper.api.example",
	} {
		if got.body[name] != want {
			t.Errorf("%s is %v, want %v", name, got.body[name], want)
		}
	}
	for _, must := range []string{"exp", "iat", "nbf", "jti", "sid"} {
		if got.body[must] == nil {
			t.Errorf("no %s", must)
		}
	}
	// Another client of the tenant, a resource server say, may ask about access tokens, but not about refresh tokens.
	if !r.active(r.hooli, r.hooli.rs256, issued.str("access_token")) || r.active(r.hooli, r.hooli.rs256, issued.str("refresh_token")) {
		t.Error("another client of the tenant")
	}
	refresh := r.post(r.hooli.host, "/oauth2/introspect", w, "token", issued.str("refresh_token"), "token_type_hint", "access_token")
	if refresh.body["active"] != true || refresh.str("sub") != r.hooli.user.ID.String() || refresh.str("tnt") != r.hooli.ID.String() {
		t.Errorf("refresh token: %s", refresh.raw)
	}
	next := r.refresh(r.hooli, w, issued.str("refresh_token"))
	if r.active(r.hooli, w, issued.str("refresh_token")) || !r.active(r.hooli, w, next.str("refresh_token")) {
		t.Error("rotated refresh token")
	}
	for name, token := range map[string]string{
		"junk": "x", "unsigned": unsigned(issued.str("access_token")), "ID token": issued.str("id_token"), "cut": issued.str("access_token")[:100],
		"signature of another": swapSignature(issued.str("access_token"), next.str("access_token")),
	} {
		if r.active(r.hooli, w, token) {
			t.Errorf("%s is active", name)
		}
	}
	r.post(r.hooli.host, "/oauth2/introspect", w).is(t, 400, "invalid_request")
	r.post(r.hooli.host, "/oauth2/introspect", app{}, "token", "x").is(t, 401, "invalid_client")
	r.post(r.hooli.host, "/oauth2/introspect", r.hooli.spa, "token", "x").is(t, 400, "unauthorized_client")
	r.pass(11 * time.Minute)
	if r.active(r.hooli, w, next.str("access_token")) {
		t.Error("expired token is active")
	}
}

func swapSignature(a, b string) string {
	return a[:strings.LastIndexByte(a, '.')] + b[strings.LastIndexByte(b, '.'):]
}

func TestIntrospectionNeverGuesses(t *testing.T) {
	r := newRig(t)
	at := r.issue(r.hooli, r.hooli.web, nil).str("access_token")
	r.redis.FlushAll(t.Context())
	r.identity.fail(true, "Revocations", errAway)
	r.post(r.hooli.host, "/oauth2/introspect", r.hooli.web, "token", at).is(t, 503, "temporarily_unavailable")
	r.identity.heal()
	if !r.active(r.hooli, r.hooli.web, at) {
		t.Error("not active")
	}
	r.redis.ShutdownNoSave(t.Context())
	r.post(r.hooli.host, "/oauth2/introspect", r.hooli.web, "token", at).is(t, 503, "temporarily_unavailable")
}

func TestFlushedRedisDoesNotResurrectRevokedTokens(t *testing.T) {
	r := newRig(t)
	issued := r.issue(r.hooli, r.hooli.web, nil)
	r.post(r.hooli.host, "/oauth2/revoke", r.hooli.web, "token", issued.str("access_token")).is(t, 200, "")
	r.redis.FlushAll(t.Context())
	if r.active(r.hooli, r.hooli.web, issued.str("access_token")) {
		t.Error("a flush resurrected a revoked token")
	}
}

func TestRevocation(t *testing.T) {
	r := newRig(t)
	w := r.hooli.web
	revoke := func(a app, token string) *answer {
		return r.post(r.hooli.host, "/oauth2/revoke", a, "token", token, "token_type_hint", "nonsense")
	}
	t.Run("access token alone", func(t *testing.T) {
		got := r.issue(r.hooli, w, nil)
		ok := revoke(w, got.str("access_token"))
		if ok.StatusCode != 200 || len(ok.raw) != 0 {
			t.Errorf("%d %s", ok.StatusCode, ok.raw)
		}
		if r.active(r.hooli, w, got.str("access_token")) {
			t.Error("active")
		}
		r.refresh(r.hooli, w, got.str("refresh_token")).is(t, 200, "")
	})
	t.Run("refresh token with everything", func(t *testing.T) {
		got := r.issue(r.hooli, w, nil)
		next := r.refresh(r.hooli, w, got.str("refresh_token"))
		revoke(w, got.str("refresh_token")).is(t, 200, "") // an old generation will do
		r.refresh(r.hooli, w, next.str("refresh_token")).is(t, 400, "invalid_grant")
		if r.active(r.hooli, w, got.str("access_token")) || r.active(r.hooli, w, next.str("access_token")) {
			t.Error("access tokens of a revoked grant are active")
		}
		revoke(w, got.str("refresh_token")).is(t, 200, "")
	})
	t.Run("public client", func(t *testing.T) {
		got := r.issue(r.hooli, r.hooli.spa, nil)
		revoke(r.hooli.spa, got.str("refresh_token")).is(t, 200, "")
		r.refresh(r.hooli, r.hooli.spa, got.str("refresh_token")).is(t, 400, "invalid_grant")
	})
	t.Run("of another client", func(t *testing.T) {
		got := r.issue(r.hooli, w, nil)
		revoke(r.hooli.rs256, got.str("access_token")).is(t, 400, "invalid_grant")
		revoke(r.hooli.rs256, got.str("refresh_token")).is(t, 200, "") // looks like no token of ours, which is fine to "revoke"
		if !r.active(r.hooli, w, got.str("access_token")) {
			t.Error("a stranger revoked it")
		}
		r.refresh(r.hooli, w, got.str("refresh_token")).is(t, 200, "")
	})
	t.Run("junk is success", func(t *testing.T) {
		revoke(w, "junk").is(t, 200, "")
		revoke(w, "").is(t, 400, "invalid_request")
		r.post(r.hooli.host, "/oauth2/revoke", app{}, "token", "x").is(t, 401, "invalid_client")
	})
	t.Run("while Redis is away", func(t *testing.T) {
		got := r.issue(r.hooli, w, nil)
		r.redis.ShutdownNoSave(t.Context())
		revoke(w, got.str("access_token")).is(t, 200, "") // the row is what counts
		rows, err := r.identity.Revocations(t.Context(), ref(r.hooli.Tenant), r.clock())
		if err != nil || len(rows) == 0 {
			t.Errorf("%d rows, %v", len(rows), err)
		}
	})
}

// PROMISES.md R-40, the part of these endpoints: nothing of one tenant counts at another, of the same org or not.
func TestNothingCrossesTenants(t *testing.T) {
	r := newRig(t)
	issued := r.issue(r.hooli, r.hooli.web, func(rec *grant.CodeRecord) { rec.Scopes = append(rec.Scopes, "offline_access") })
	machine := r.token(r.hooli, r.hooli.web, "grant_type", "client_credentials")
	for _, other := range []*site{r.raviga, r.aviato} {
		t.Run(other.Slug, func(t *testing.T) {
			code := r.code(r.hooli, r.hooli.web, nil)
			r.exchange(other, other.web, code).is(t, 400, "invalid_grant")
			r.exchange(other, r.hooli.web, code).is(t, 401, "invalid_client")
			r.refresh(other, other.web, issued.str("refresh_token")).is(t, 400, "invalid_grant")
			r.token(other, r.hooli.web, "grant_type", "client_credentials").is(t, 401, "invalid_client")
			for _, token := range []string{issued.str("access_token"), issued.str("refresh_token"), issued.str("id_token"), machine.str("access_token")} {
				if r.active(other, other.web, token) {
					t.Error("a foreign token is active")
				}
				r.get(other.host, "/oauth2/userinfo", bearer(token)...).is(t, 401, "invalid_token")
				r.post(other.host, "/oauth2/revoke", other.web, "token", token).is(t, 200, "")
			}
			r.exchange(r.hooli, r.hooli.web, code).is(t, 200, "")
		})
	}
	if !r.active(r.hooli, r.hooli.web, issued.str("access_token")) || !r.active(r.hooli, r.hooli.web, machine.str("access_token")) {
		t.Error("another tenant revoked a token")
	}
	r.refresh(r.hooli, r.hooli.web, issued.str("refresh_token")).is(t, 200, "")
}

// Every endpoint, whatever the method: unknown and dropped hosts get the same bytes, and none of them needs anything.
func TestEveryEndpointAtAnUnknownHost(t *testing.T) {
	r := newRig(t)
	r.world.Drop(r.raviga.host) // what suspension and deletion look like from here
	var want string
	for _, e := range r.service.Routes() {
		for _, host := range []string{r.raviga.host, "nobody.example.com"} {
			req, _ := http.NewRequestWithContext(t.Context(), e.Method, r.server.URL+e.Path, nil)
			got := r.send(req, host)
			if e.Method == http.MethodHead {
				continue
			}
			got.Header.Del("Date")
			text := fmt.Sprint(got.StatusCode, got.Header, string(got.raw))
			if want == "" {
				want = text
			}
			if text != want || got.StatusCode != 404 {
				t.Errorf("%s %s at %s: %s", e.Method, e.Path, host, text)
			}
		}
	}
	if n := len(r.service.Routes()); n < 14 {
		t.Errorf("%d endpoints", n)
	}
}

func TestCORSPerClientAndTenant(t *testing.T) {
	r := newRig(t)
	preflight := func(s *site, origin string) *answer {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodOptions, r.server.URL+"/oauth2/token", nil)
		req.Header.Set("Origin", origin)
		req.Header.Set("Access-Control-Request-Method", "POST")
		return r.send(req, s.host)
	}
	const allow = "Access-Control-Allow-Origin"
	for origin, want := range map[string]string{"https://spa.example": "https://spa.example", "https://web.example": "https://web.example", "https://evil.example": "", "null": "", "https://spa.example.evil": ""} {
		got := preflight(r.hooli, origin)
		if got.StatusCode != 204 || got.Header.Get(allow) != want || got.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("preflight from %s: %d %v", origin, got.StatusCode, got.Header)
		}
	}
	call := func(a app, origin string) *answer {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, r.server.URL+"/oauth2/token",
			strings.NewReader("grant_type=refresh_token&refresh_token=x&client_id="+a.id))
		req.Header.Set("Content-Type", web.MediaTypeForm)
		req.Header.Set("Origin", origin)
		return r.send(req, r.hooli.host)
	}
	if got := call(r.hooli.spa, "https://spa.example"); got.Header.Get(allow) != "https://spa.example" || got.Header.Get("Vary") != "Origin" {
		t.Errorf("own origin: %v", got.Header)
	}
	if got := call(r.hooli.spa, "https://web.example"); got.Header.Get(allow) != "" {
		t.Errorf("another client's origin may read: %v", got.Header)
	}
}

// PROMISES.md R-61.
func TestNoSecretIsLogged(t *testing.T) {
	r := newRig(t)
	w := r.hooli.web
	code := r.code(r.hooli, w, nil)
	got := r.exchange(r.hooli, w, code)
	r.exchange(r.hooli, w, code)
	next := r.refresh(r.hooli, w, got.str("refresh_token"))
	r.active(r.hooli, w, got.str("access_token"))
	r.get(r.hooli.host, "/oauth2/userinfo?access_token="+got.str("access_token"), bearer(got.str("access_token"))...)
	r.post(r.hooli.host, "/oauth2/revoke", w, "token", got.str("refresh_token"))
	r.token(r.hooli, app{w.id, "tns_wrong"}, "grant_type", "client_credentials")
	r.token(r.hooli, w, "grant_type", code, "scope", verifier)
	log := r.log.String()
	for name, canary := range map[string]string{
		"code": code, "secret": w.secret, "access token": got.str("access_token"), "refresh token": got.str("refresh_token"), "ID token": got.str("id_token"),
		"verifier": verifier, "wrong secret": "tns_wrong", "e-mail": "gavin@",
	} {
		if strings.Contains(log, canary) {
			t.Errorf("the %s is in the log", name)
		}
	}
	_ = next
	if !strings.Contains(log, `"client_id":"`+w.id+`"`) || !strings.Contains(log, `"grant_type":"authorization_code"`) {
		t.Error("the events lack facts")
	}
}

func TestRotatedKeysVerifyUntilRetired(t *testing.T) {
	r := newRig(t)
	core := &snapshotv1.TenantSnapshot{}
	org := r.world.Org("acme")
	s := &site{host: "acme.example.com"}
	s.Tenant = r.world.Tenant(t, org, "acme", func(c *snapshotv1.TenantSnapshot) {
		doc, text := r.world.Client(func(c *snapshotv1.Client) { c.Scopes = []string{"x"} })
		s.web = app{dptest.ClientID(doc), text}
		c.Clients = append(c.Clients, doc)
		core = c
	})
	old := r.token(s, s.web, "grant_type", "client_credentials").str("access_token")

	core.ConfigVersion++
	core.SigningKeys[0].State = snapshotv1.SigningKeyState_SIGNING_KEY_STATE_RETIRING
	core.SigningKeys = append(core.SigningKeys, r.world.SigningKey(t, id.Tenant(core.TenantId), "ES256"))
	s.Tenant = r.world.Serve(t, core, org)
	fresh := r.token(s, s.web, "grant_type", "client_credentials").str("access_token")
	if !r.active(s, s.web, old) || !r.active(s, s.web, fresh) {
		t.Error("a rotation made a token invalid")
	}
	// PROMISES.md R-34: a revoked key's tokens are refused at once.
	core.ConfigVersion++
	core.SigningKeys = core.SigningKeys[1:]
	s.Tenant = r.world.Serve(t, core, org)
	if r.active(s, s.web, old) || !r.active(s, s.web, fresh) {
		t.Error("a removed key's token is active")
	}
}
