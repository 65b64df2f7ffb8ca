// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

func opAt(r *rig) identity.Op { return identity.Op{Now: r.clock(), Actor: "system"} }

// OIDF oidcc-refresh-token.
func TestRefreshRotates(t *testing.T) {
	r := newRig(t)
	first := r.issue(r.hooli, r.hooli.web, func(rec *grant.CodeRecord) { rec.Scopes = append(rec.Scopes, "chat:read") })
	r.pass(time.Minute)
	second := r.refresh(r.hooli, r.hooli.web, first.str("refresh_token"))
	second.is(t, 200, "")
	if second.str("refresh_token") == first.str("refresh_token") || second.str("access_token") == first.str("access_token") {
		t.Error("nothing new")
	}
	_, was := r.claims(r.hooli, first.str("id_token"))
	_, is := r.claims(r.hooli, second.str("id_token"))
	// OpenID Connect Core section 12.2.
	for _, same := range []string{"iss", "sub", "aud", "auth_time", "acr"} {
		if was[same] != is[same] {
			t.Errorf("%s was %v, is %v", same, was[same], is[same])
		}
	}
	if is["nonce"] != nil || is["iat"].(float64) <= was["iat"].(float64) {
		t.Errorf("ID token %v", is)
	}
	r.refresh(r.hooli, r.hooli.web, second.str("refresh_token")).is(t, 200, "")
}

func TestRefreshTokenIsBoundToItsClient(t *testing.T) {
	r := newRig(t)
	first := r.issue(r.hooli, r.hooli.web, nil)
	token := first.str("refresh_token")
	r.refresh(r.hooli, r.hooli.rs256, token).is(t, 400, "invalid_grant")
	r.refresh(r.hooli, r.hooli.spa, token).is(t, 400, "invalid_grant")
	r.refresh(r.hooli, r.hooli.web, token).is(t, 200, "")
}

func TestRetryWithinTheGraceGetsTheSameToken(t *testing.T) {
	r := newRig(t)
	old := r.issue(r.hooli, r.hooli.web, nil).str("refresh_token")
	a := r.refresh(r.hooli, r.hooli.web, old)
	r.pass(10 * time.Second)
	b := r.refresh(r.hooli, r.hooli.web, old)
	b.is(t, 200, "")
	if a.str("refresh_token") != b.str("refresh_token") {
		t.Error("a retry made a second live token")
	}
	r.refresh(r.hooli, r.hooli.web, b.str("refresh_token")).is(t, 200, "")
}

// RFC 9700 section 4.14.2.
func TestReusedRefreshTokenRevokesTheFamily(t *testing.T) {
	for name, wait := range map[string]time.Duration{"after the grace": 31 * time.Second, "after the next was used": 0} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			old := r.issue(r.hooli, r.hooli.web, nil)
			next := r.refresh(r.hooli, r.hooli.web, old.str("refresh_token"))
			if wait == 0 {
				next = r.refresh(r.hooli, r.hooli.web, next.str("refresh_token"))
			}
			r.pass(wait)
			r.refresh(r.hooli, r.hooli.web, old.str("refresh_token")).is(t, 400, "invalid_grant")
			r.refresh(r.hooli, r.hooli.web, next.str("refresh_token")).is(t, 400, "invalid_grant")
			if r.active(r.hooli, r.hooli.web, next.str("access_token")) || r.active(r.hooli, r.hooli.web, next.str("refresh_token")) {
				t.Error("tokens of a stolen family are active")
			}
		})
	}
}

func TestSixteenRefreshesOneNewToken(t *testing.T) {
	r := newRig(t)
	old := r.issue(r.hooli, r.hooli.web, nil).str("refresh_token")
	var mu sync.Mutex
	seen := map[string]int{}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			got := r.refresh(r.hooli, r.hooli.web, old)
			got.is(t, 200, "")
			mu.Lock()
			seen[got.str("refresh_token")]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(seen) != 1 {
		t.Fatalf("%d live tokens", len(seen))
	}
}

func TestSixteenExchangesOfOneCode(t *testing.T) {
	r := newRig(t)
	code := r.code(r.hooli, r.hooli.web, nil)
	var won, lost atomic.Int32
	var winner atomic.Pointer[answer]
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			switch got := r.exchange(r.hooli, r.hooli.web, code); got.StatusCode {
			case 200:
				won.Add(1)
				winner.Store(got)
			case 400:
				lost.Add(1)
			default:
				t.Errorf("%d %s", got.StatusCode, got.raw)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != 15 {
		t.Fatalf("%d won, %d lost", won.Load(), lost.Load())
	}
	// One of sixteen was a thief, and nobody can say which.
	if r.active(r.hooli, r.hooli.web, winner.Load().str("access_token")) {
		t.Error("tokens of a code that was used sixteen times are active")
	}
}

func TestRefreshNarrowsButNeverWidens(t *testing.T) {
	r := newRig(t)
	first := r.issue(r.hooli, r.hooli.web, func(rec *grant.CodeRecord) { rec.Scopes = []string{"openid", "chat:read", "chat:write"} })
	wide := r.refresh(r.hooli, r.hooli.web, first.str("refresh_token"), "scope", "chat:read offline_access")
	wide.is(t, 400, "invalid_scope")
	narrow := r.refresh(r.hooli, r.hooli.web, first.str("refresh_token"), "scope", "chat:read")
	narrow.is(t, 200, "")
	if narrow.str("scope") != "chat:read" || narrow.body["id_token"] != nil {
		t.Errorf("answer %s", narrow.raw)
	}
	whole := r.refresh(r.hooli, r.hooli.web, narrow.str("refresh_token"))
	if whole.str("scope") != "openid chat:read chat:write" {
		t.Errorf("the grant lost scopes: %s", whole.raw)
	}
	r.refresh(r.hooli, r.hooli.web, whole.str("refresh_token"), "resource", "https://files.example").is(t, 400, "invalid_target")
}

func TestRefusedRefreshDoesNotRotate(t *testing.T) {
	r := newRig(t)
	token := r.issue(r.hooli, r.hooli.web, nil).str("refresh_token")
	r.refresh(r.hooli, r.hooli.web, token, "scope", "admin").is(t, 400, "invalid_scope")
	r.pass(10 * time.Minute) // far beyond the grace: a rotation would now count as a reuse
	r.refresh(r.hooli, r.hooli.web, token).is(t, 200, "")
}

func TestForgedRefreshTokensNeverReachTheDatabase(t *testing.T) {
	r := newRig(t)
	good := r.issue(r.hooli, r.hooli.web, nil).str("refresh_token")
	r.identity.fail(true, "*", errAway) // whatever gets through is a 503
	parts := strings.Split(good, ".")
	for name, token := range map[string]string{
		"other grant":      strings.Repeat("0", 25) + "1." + parts[1] + "." + parts[2],
		"next generation":  parts[0] + ".2." + parts[2],
		"leading zero":     parts[0] + ".01." + parts[2],
		"plus":             parts[0] + ".+1." + parts[2],
		"generation zero":  parts[0] + ".0." + parts[2],
		"upper case":       strings.ToUpper(parts[0]) + "." + parts[1] + "." + parts[2],
		"cut MAC":          good[:len(good)-1],
		"longer MAC":       good + "A",
		"padded":           good + "=",
		"other MAC":        parts[0] + ".1." + strings.Repeat("A", 44),
		"unknown key":      parts[0] + ".1._" + parts[2][1:],
		"MAC bits flipped": parts[0] + ".1." + flip(parts[2]),
		"three dots":       good + ".x",
		"a JWT":            "eyJhbGciOiJub25lIn0.e30.",
		"long":             strings.Repeat("a", 4000),
	} {
		t.Run(name, func(t *testing.T) { r.refresh(r.hooli, r.hooli.web, token).is(t, 400, "invalid_grant") })
	}
	t.Run("of another client", func(t *testing.T) { r.refresh(r.hooli, r.hooli.rs256, good).is(t, 400, "invalid_grant") })
	t.Run("of another tenant", func(t *testing.T) { r.refresh(r.raviga, r.raviga.web, good).is(t, 400, "invalid_grant") })
	r.identity.heal()
	r.refresh(r.hooli, r.hooli.web, good).is(t, 200, "")
}

func flip(s string) string {
	b := []byte(s)
	if b[20]++; b[20] > 'y' {
		b[20] = 'a'
	}
	return string(b)
}

func TestRefreshEndsWithUserSessionAndTime(t *testing.T) {
	t.Run("session", func(t *testing.T) {
		r := newRig(t)
		var sid id.Session
		online := r.issue(r.hooli, r.hooli.web, func(rec *grant.CodeRecord) { sid = rec.Session })
		offline := r.issue(r.hooli, r.hooli.web, func(rec *grant.CodeRecord) { rec.Session, rec.Scopes = sid, append(rec.Scopes, "offline_access") })
		if _, at := r.claims(r.hooli, offline.str("access_token")); at["sid"] != nil {
			t.Error("an offline grant's token dies with the session")
		}
		if _, err := r.identity.EndSession(t.Context(), ref(r.hooli.Tenant), opAt(r), sid); err != nil {
			t.Fatal(err)
		}
		r.refresh(r.hooli, r.hooli.web, online.str("refresh_token")).is(t, 400, "invalid_grant")
		r.refresh(r.hooli, r.hooli.web, offline.str("refresh_token")).is(t, 200, "")
	})
	t.Run("user", func(t *testing.T) {
		r := newRig(t)
		got := r.issue(r.hooli, r.hooli.web, nil)
		if _, err := r.identity.DeleteUser(t.Context(), ref(r.hooli.Tenant), opAt(r), r.hooli.user.ID, ""); err != nil {
			t.Fatal(err)
		}
		r.refresh(r.hooli, r.hooli.web, got.str("refresh_token")).is(t, 400, "invalid_grant")
		r.get(r.hooli.host, "/oauth2/userinfo", bearer(got.str("access_token"))...).is(t, 401, "invalid_token")
	})
	t.Run("time", func(t *testing.T) {
		r := newRig(t)
		got := r.issue(r.hooli, r.hooli.web, func(rec *grant.CodeRecord) { rec.Scopes = append(rec.Scopes, "offline_access") })
		client, _ := r.hooli.Client(r.hooli.web.id)
		r.pass(client.RefreshTTL + time.Second)
		r.refresh(r.hooli, r.hooli.web, got.str("refresh_token")).is(t, 400, "invalid_grant")
	})
}

// PROMISES.md R-06: a failing dependency never burns a credential, whether it failed before or after it did its work.
func TestOutageBurnsNoCredential(t *testing.T) {
	for _, before := range []bool{true, false} {
		t.Run(map[bool]string{true: "before", false: "after"}[before], func(t *testing.T) {
			r := newRig(t)
			w := r.hooli.web

			code := r.code(r.hooli, w, nil)
			r.identity.fail(before, "CreateFamily", errAway)
			got := r.exchange(r.hooli, w, code)
			got.is(t, 503, "temporarily_unavailable")
			if got.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			r.identity.heal()
			first := r.exchange(r.hooli, w, code)
			first.is(t, 200, "")

			r.identity.fail(before, "Rotate", errAway)
			r.refresh(r.hooli, w, first.str("refresh_token")).is(t, 503, "temporarily_unavailable")
			r.identity.heal()
			second := r.refresh(r.hooli, w, first.str("refresh_token"))
			second.is(t, 200, "")

			r.identity.fail(before, "Family", errAway)
			r.refresh(r.hooli, w, second.str("refresh_token"), "scope", "openid").is(t, 503, "temporarily_unavailable")
			r.identity.heal()
			third := r.refresh(r.hooli, w, second.str("refresh_token"), "scope", "openid")
			third.is(t, 200, "")

			for _, c := range []struct{ call, token string }{{"Revoke", third.str("access_token")}, {"RevokeGrant", third.str("refresh_token")}} {
				r.identity.fail(before, c.call, errAway)
				r.post(r.hooli.host, "/oauth2/revoke", w, "token", c.token).is(t, 503, "temporarily_unavailable")
				r.identity.heal()
				r.post(r.hooli.host, "/oauth2/revoke", w, "token", c.token).is(t, 200, "")
				if r.active(r.hooli, w, c.token) {
					t.Errorf("%s: still active", c.call)
				}
			}
		})
	}
}

// The runtime Redis hangs after the code was taken: nothing is delivered, and the code works when Redis does.
func TestRedisOutageDuringAnExchangeBurnsNoCode(t *testing.T) {
	r := newRig(t)
	code := r.code(r.hooli, r.hooli.web, nil)
	r.identity.hook("CreateFamily", func() {
		if err := r.redis.Do(context.Background(), "CLIENT", "PAUSE", "1500", "ALL").Err(); err != nil {
			t.Error(err)
		}
	})
	r.exchange(r.hooli, r.hooli.web, code).is(t, 503, "temporarily_unavailable")
	r.identity.hook("CreateFamily", nil)
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		got := r.exchange(r.hooli, r.hooli.web, code)
		if got.StatusCode == 200 {
			r.refresh(r.hooli, r.hooli.web, got.str("refresh_token")).is(t, 200, "")
			return
		}
		if got.StatusCode != 503 || time.Now().After(end) {
			t.Fatalf("%d %s", got.StatusCode, got.raw)
		}
	}
}

// A failure after the code was taken and the family was made (here: no signing key) leaves both usable.
func TestSigningFailureBurnsNoCode(t *testing.T) {
	r := newRig(t)
	code := r.code(r.hooli, r.hooli.rs256, nil)
	keyless := *r.service
	keyless.mint = NewMinter(dummyOpener(t))
	h := httptest.NewServer(handlerOf(&keyless, r))
	defer h.Close()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {redirectURI}, "code_verifier": {verifier}}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, h.URL+"/oauth2/token", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", web.MediaTypeForm)
	req.SetBasicAuth(r.hooli.rs256.id, r.hooli.rs256.secret)
	r.send(req, r.hooli.host).is(t, 503, "temporarily_unavailable")
	r.exchange(r.hooli, r.hooli.rs256, code).is(t, 200, "")
}

// handlerOf mounts the token endpoint of a changed service.
func handlerOf(s *Service, r *rig) http.Handler {
	server, err := web.NewServer(web.Config{Service: "token", Tenants: r.world, Logger: s.log, Now: r.clock})
	if err != nil {
		r.t.Fatal(err)
	}
	server.Mount(web.Route{Path: "/oauth2/token", Post: s.token})
	return server
}

func FuzzParseRefresh(f *testing.F) {
	ring := fuzzRing(f)
	keys := ring.Tenant(id.NewTenant())
	client := id.NewClient()
	good, err := refreshText(keys, id.NewGrant(), 7, client)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(strings.Repeat("0", 26) + ".1." + strings.Repeat("A", 44))
	f.Fuzz(func(t *testing.T, s string) {
		g, n, ok := parseRefresh(keys, s, client)
		if !ok {
			return
		}
		again, err := refreshText(keys, g, n, client)
		if err != nil || again != s {
			t.Fatalf("%q is accepted and prints as %q (%v)", s, again, err)
		}
	})
}
