// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/identity"
)

// pen signs JWTs of a client or of an issuer that a client trusts.
type pen struct {
	*jose.Signer
	jwks []byte
}

func newPen(t testing.TB, alg jose.Algorithm) pen {
	t.Helper()
	key, err := jose.GenerateKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	kid := string(alg)
	return pen{jose.NewSigner(key, kid), fmt.Appendf(nil, `{"keys":[%s]}`, key.Public(kid).JWK())}
}

// jwt signs claims, some of which edit replaces; nil removes one.
func (p pen) jwt(t testing.TB, typ string, claims, edit map[string]any) string {
	t.Helper()
	all := maps.Clone(claims)
	maps.Copy(all, edit)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	payload, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	text, err := p.Sign(typ, payload)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// lounge is a tenant with clients for the grants in which a person, or another issuer, answers elsewhere.
type lounge struct {
	*rig
	*site
	tv, box          app // public and confidential device
	polls, pings     app // backchannel, plain
	signs            app // backchannel, signed requests
	robot, partner   app // JWT bearer: first party, third party
	pen, issuer, rsa pen
}

const trusted = "https://idp.partner.example"

func newLounge(t *testing.T) *lounge {
	r := newRig(t)
	if err := r.service.grants.Remember(t.Context(), r.clock().Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	l := &lounge{rig: r, pen: newPen(t, jose.ES256), issuer: newPen(t, jose.ES256), rsa: newPen(t, jose.RS256)}
	l.site = &site{host: "lounge.example.com"}
	l.Tenant = r.world.Tenant(t, r.world.Org("lounge"), "lounge", func(core *snapshotv1.TenantSnapshot) {
		add := func(a *app, grants []string, edit func(*snapshotv1.Client)) {
			doc, text := r.world.Client(func(c *snapshotv1.Client) { c.GrantTypes, c.Protocol = grants, &snapshotv1.ClientProtocol{} })
			edit(doc)
			if doc.GetPublic() {
				text = ""
			}
			*a = app{dptest.ClientID(doc), text}
			core.Clients = append(core.Clients, doc)
		}
		device := []string{oauth2.GrantTypeDeviceCode, "refresh_token"}
		add(&l.tv, device, func(c *snapshotv1.Client) {
			c.Public, c.Secrets, c.TokenEndpointAuthMethod = true, nil, "none"
			c.Audiences = []string{"https://files.example"}
		})
		add(&l.box, device, func(*snapshotv1.Client) {})
		ciba := []string{oauth2.GrantTypeCIBA, "refresh_token"}
		add(&l.polls, ciba, func(c *snapshotv1.Client) {
			c.Protocol.BackchannelTokenDeliveryMode = "poll"
			c.Protocol.TrustedIssuers = []*snapshotv1.TrustedIssuer{{Issuer: trusted, Jwks: l.issuer.jwks, Algorithms: []string{"ES256"}}}
		})
		add(&l.pings, ciba, func(c *snapshotv1.Client) {
			c.Protocol.BackchannelTokenDeliveryMode, c.Protocol.BackchannelClientNotificationEndpoint = "ping", "https://client.example/cb"
		})
		add(&l.signs, ciba, func(c *snapshotv1.Client) {
			c.Protocol.BackchannelTokenDeliveryMode, c.Protocol.BackchannelAuthenticationRequestSigningAlg = "poll", "ES256"
			keys := strings.TrimSuffix(string(l.pen.jwks), "]}") + "," + strings.TrimPrefix(string(l.rsa.jwks), `{"keys":[`)
			c.Protocol.Jwks = []byte(keys)
		})
		bearer := []string{oauth2.GrantTypeJWTBearer, "refresh_token"}
		trust := []*snapshotv1.TrustedIssuer{{Issuer: trusted, Jwks: l.issuer.jwks, Algorithms: []string{"ES256"}}}
		add(&l.robot, bearer, func(c *snapshotv1.Client) {
			c.Scopes, c.Protocol.TrustedIssuers = []string{"openid", "profile", "files:read", "offline_access"}, trust
		})
		add(&l.partner, bearer, func(c *snapshotv1.Client) {
			c.FirstParty, c.Protocol.TrustedIssuers = false, trust
		})
	})
	var err error
	l.user, err = r.identity.Register(t.Context(), ref(l.Tenant), identity.Op{Now: r.clock(), Actor: "system"}, identity.Registration{
		Email: "gavin@lounge.example", Password: password, Roles: []string{"admin"},
	}, identity.PasswordPolicy{MinLength: 12})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// yes is what login stores when the person allows a request.
func (l *lounge) yes(w grant.Waiting) *grant.CodeRecord {
	return &grant.CodeRecord{
		Grant: id.NewGrant(), Client: w.Client, Scopes: w.Scopes, Audience: w.Audience, User: l.user.ID, Session: l.login(l.site), AuthTime: l.clock(),
		ACR: oidc.ACRPassword, AMR: []string{"pwd"}, Roles: l.user.Roles,
	}
}

func (l *lounge) answerDevice(userCode string, allow bool) {
	l.t.Helper()
	code, ok := oauth2.ParseUserCode(userCode)
	if !ok {
		l.t.Fatalf("user code %q", userCode)
	}
	ctx := context.Background()
	d, err := l.service.grants.Device(ctx, l.ID, code, l.clock())
	if err != nil {
		l.t.Fatal(err)
	}
	var yes *grant.CodeRecord
	if allow {
		yes = l.yes(d.Waiting)
	}
	if err := l.service.grants.DecideDevice(ctx, l.ID, d, yes, l.clock()); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lounge) ask(a app, pairs ...string) *answer {
	l.t.Helper()
	return l.rig.post(l.host, oidc.PathBackchannel, a, pairs...)
}

// answer says yes or no to the only request that waits for the person.
func (l *lounge) answer(allow bool) grant.Backchannel {
	l.t.Helper()
	ctx := context.Background()
	list, err := l.service.grants.Backchannels(ctx, l.ID, l.user.ID, l.clock())
	if err != nil || len(list) != 1 {
		l.t.Fatalf("%d requests wait, %v", len(list), err)
	}
	var yes *grant.CodeRecord
	if allow {
		yes = l.yes(list[0].Waiting)
	}
	if err := l.service.grants.DecideBackchannel(ctx, l.ID, list[0], yes, l.clock()); err != nil {
		l.t.Fatal(err)
	}
	return list[0]
}

func (l *lounge) pollDevice(a app, code string, pairs ...string) *answer {
	l.t.Helper()
	l.pass(5 * time.Second)
	return l.token(l.site, a, append([]string{"grant_type", oauth2.GrantTypeDeviceCode, "device_code", code}, pairs...)...)
}

func (l *lounge) pollCIBA(a app, requestID string) *answer {
	l.t.Helper()
	l.pass(5 * time.Second)
	return l.token(l.site, a, "grant_type", oauth2.GrantTypeCIBA, "auth_req_id", requestID)
}

func TestDeviceGrant(t *testing.T) {
	l := newLounge(t)
	start := func(a app, pairs ...string) *answer {
		t.Helper()
		got := l.rig.post(l.host, oidc.PathDeviceAuthorization, a, append([]string{"scope", "openid offline_access"}, pairs...)...)
		if got.StatusCode != 200 {
			t.Fatalf("%d %s", got.StatusCode, got.raw)
		}
		return got
	}
	t.Run("public", func(t *testing.T) {
		got := start(l.tv, "resource", "https://files.example")
		if len(got.str("device_code")) != 43 || len(got.str("user_code")) != 9 || got.body["interval"] != 5.0 || got.body["expires_in"] != 600.0 ||
			got.str("verification_uri") != l.Issuer+"/oauth2/device" || got.str("verification_uri_complete") != l.Issuer+"/oauth2/device?user_code="+got.str("user_code") ||
			got.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%v %s", got.Header, got.raw)
		}
		code := got.str("device_code")
		l.pollDevice(l.tv, code).is(t, 400, "authorization_pending")
		l.token(l.site, l.tv, "grant_type", oauth2.GrantTypeDeviceCode, "device_code", code).is(t, 400, "slow_down")
		l.answerDevice(got.str("user_code"), true)
		// A failure on our side burns nothing.
		l.identity.fail(true, "CreateFamily", errAway)
		l.pollDevice(l.tv, code).is(t, 503, "temporarily_unavailable")
		l.identity.heal()
		l.pollDevice(l.tv, code, "resource", "https://other.example").is(t, 400, "invalid_target")
		tokens := l.pollDevice(l.tv, code)
		if tokens.StatusCode != 200 || tokens.str("id_token") == "" || tokens.str("refresh_token") == "" {
			t.Fatalf("%d %s", tokens.StatusCode, tokens.raw)
		}
		_, claims := l.claims(l.site, tokens.str("access_token"))
		if claims["aud"] != "https://files.example" || claims["sub"] != l.user.ID.String() || claims["client_id"] != l.tv.id || claims["sid"] != nil {
			t.Errorf("claims %v", claims)
		}
		l.pollDevice(l.tv, code).is(t, 400, "invalid_grant")
		if got := l.refresh(l.site, l.tv, tokens.str("refresh_token")); got.StatusCode != 200 {
			t.Errorf("refresh: %s", got.raw)
		}
	})
	t.Run("denied, expired, unknown", func(t *testing.T) {
		got := start(l.box)
		l.answerDevice(got.str("user_code"), false)
		l.pollDevice(l.box, got.str("device_code")).is(t, 400, "access_denied")
		got = start(l.box)
		l.pass(10 * time.Minute)
		l.pollDevice(l.box, got.str("device_code")).is(t, 400, "expired_token")
		l.pollDevice(l.box, strings.Repeat("A", 43)).is(t, 400, "invalid_grant")
		l.pollDevice(l.box, "x").is(t, 400, "invalid_grant")
		l.token(l.site, l.box, "grant_type", oauth2.GrantTypeDeviceCode).is(t, 400, "invalid_request")
	})
	t.Run("what may not be asked", func(t *testing.T) {
		for name, c := range map[string]struct {
			by    app
			pairs []string
			code  string
			want  int
		}{
			"a client without the grant": {l.polls, nil, "unauthorized_client", 400},
			"a wrong secret":             {app{l.box.id, l.polls.secret}, nil, "invalid_client", 401},
			"a secret left out":          {app{id: l.box.id}, nil, "invalid_client", 401},
			"a foreign resource":         {l.tv, []string{"resource", "https://bank.example"}, "invalid_target", 400},
			"a scope with a quote":       {l.tv, []string{"scope", `a"b`}, "invalid_scope", 400},
			"unknown details":            {l.tv, []string{"authorization_details", `[{"type":"x"}]`}, "invalid_authorization_details", 400},
		} {
			if got := l.rig.post(l.host, oidc.PathDeviceAuthorization, c.by, c.pairs...); got.StatusCode != c.want || got.str("error") != c.code {
				t.Errorf("%s: %d %s", name, got.StatusCode, got.raw)
			}
		}
	})
	t.Run("another client's code", func(t *testing.T) {
		got := start(l.tv)
		l.answerDevice(got.str("user_code"), true)
		l.pollDevice(l.box, got.str("device_code")).is(t, 400, "invalid_grant")
		l.pass(5 * time.Second)
		l.token(l.hooli, l.hooli.web, "grant_type", oauth2.GrantTypeDeviceCode, "device_code", got.str("device_code")).is(t, 400, "unauthorized_client")
		if got := l.pollDevice(l.tv, got.str("device_code")); got.StatusCode != 200 {
			t.Errorf("the rightful client: %s", got.raw)
		}
	})
	t.Run("the session of the yes has ended", func(t *testing.T) {
		got := l.rig.post(l.host, oidc.PathDeviceAuthorization, l.tv, "scope", "openid")
		l.answerDevice(got.str("user_code"), true)
		sessions, err := l.identity.ListSessions(t.Context(), ref(l.Tenant), l.user.ID, l.clock())
		if err != nil || len(sessions) == 0 {
			t.Fatalf("%d sessions, %v", len(sessions), err)
		}
		for _, one := range sessions {
			if _, err := l.identity.EndSession(t.Context(), ref(l.Tenant), identity.Op{Now: l.clock(), Actor: "system"}, one.ID); err != nil {
				t.Fatal(err)
			}
		}
		refused := l.pollDevice(l.tv, got.str("device_code"))
		refused.is(t, 400, "invalid_grant")
		if refused.str("error_description") != errDeviceCode.Description {
			t.Errorf("description %q", refused.str("error_description"))
		}
	})
	t.Run("many polls, one winner", func(t *testing.T) {
		got := start(l.tv)
		l.answerDevice(got.str("user_code"), true)
		l.pass(5 * time.Second)
		var wg sync.WaitGroup
		var won atomic.Int32
		for range 16 {
			wg.Go(func() {
				got := l.token(l.site, l.tv, "grant_type", oauth2.GrantTypeDeviceCode, "device_code", got.str("device_code"))
				switch code := got.str("error"); {
				case got.StatusCode == 200:
					won.Add(1)
				case code != "authorization_pending" && code != "invalid_grant":
					t.Errorf("%d %s", got.StatusCode, got.raw)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%d polls were given tokens", won.Load())
		}
	})
	t.Run("a flood from one address", func(t *testing.T) {
		for range 60 {
			got := l.rig.post(l.host, oidc.PathDeviceAuthorization, l.tv)
			if got.StatusCode == 429 {
				if got.str("error") != "temporarily_unavailable" || got.Header.Get("Retry-After") == "" {
					t.Errorf("%v %s", got.Header, got.raw)
				}
				start(l.box) // a client that proves who it is has a bound of its own
				return
			}
		}
		t.Error("no end of it")
	})
}

func TestBackchannelAuthentication(t *testing.T) {
	l := newLounge(t)
	t.Run("poll", func(t *testing.T) {
		got := l.ask(l.polls, "scope", "openid", "login_hint", "GAVIN@lounge.example", "binding_message", "W4SCT", "requested_expiry", "90")
		if got.StatusCode != 200 || len(got.str("auth_req_id")) != 43 || got.body["expires_in"] != 90.0 || got.body["interval"] != 5.0 {
			t.Fatalf("%d %s", got.StatusCode, got.raw)
		}
		requestID := got.str("auth_req_id")
		l.pollCIBA(l.polls, requestID).is(t, 400, "authorization_pending")
		l.pollCIBA(l.signs, requestID).is(t, 400, "invalid_grant")
		if b := l.answer(true); b.BindingMessage != "W4SCT" || b.Client != l.polls.id {
			t.Errorf("asked %+v", b)
		}
		tokens := l.pollCIBA(l.polls, requestID)
		if tokens.StatusCode != 200 || tokens.str("id_token") == "" || tokens.str("refresh_token") == "" {
			t.Fatalf("%d %s", tokens.StatusCode, tokens.raw)
		}
		_, claims := l.claims(l.site, tokens.str("id_token"))
		if claims["sub"] != l.user.ID.String() || claims["aud"] != l.polls.id {
			t.Errorf("claims %v", claims)
		}
		l.pollCIBA(l.polls, requestID).is(t, 400, "invalid_grant")
		// The next time the client knows whom it means.
		hint := tokens.str("id_token")
		l.pass(24 * time.Hour)
		if got = l.ask(l.polls, "scope", "openid", "id_token_hint", hint); got.StatusCode != 200 {
			t.Fatalf("id_token_hint: %s", got.raw)
		}
		l.answer(false)
		l.pollCIBA(l.polls, got.str("auth_req_id")).is(t, 400, "access_denied")
		l.ask(l.pings, "scope", "openid", "id_token_hint", hint, "client_notification_token", "n").is(t, 400, "invalid_request")
	})
	t.Run("expired", func(t *testing.T) {
		got := l.ask(l.polls, "scope", "openid", "login_hint", l.user.ID.String(), "requested_expiry", "30")
		l.pass(31 * time.Second)
		l.pollCIBA(l.polls, got.str("auth_req_id")).is(t, 400, "expired_token")
	})
	t.Run("ping keeps the client's token", func(t *testing.T) {
		got := l.ask(l.pings, "scope", "openid", "login_hint", l.user.ID.String(), "client_notification_token", "8d67dc78-7faa-4d41-aabd-67707b374255")
		if got.StatusCode != 200 {
			t.Fatalf("%s", got.raw)
		}
		if b := l.answer(true); b.NotificationToken != "8d67dc78-7faa-4d41-aabd-67707b374255" || b.RequestID != got.str("auth_req_id") {
			t.Errorf("%+v", b)
		}
	})
	t.Run("login_hint_token", func(t *testing.T) {
		claims := map[string]any{
			"iss": trusted, "sub": l.user.ID.String(), "aud": l.Issuer, "jti": rand.Text(), "iat": l.clock().Unix(), "exp": l.clock().Add(time.Minute).Unix(),
		}
		if got := l.ask(l.polls, "scope", "openid", "login_hint_token", l.issuer.jwt(t, "JWT", claims, nil)); got.StatusCode != 200 {
			t.Fatalf("%s", got.raw)
		}
		l.answer(false)
		old := map[string]any{"iat": l.clock().Add(-time.Hour).Unix(), "exp": l.clock().Add(-time.Minute).Unix()}
		l.ask(l.polls, "scope", "openid", "login_hint_token", l.issuer.jwt(t, "JWT", claims, old)).is(t, 400, "expired_login_hint_token")
		l.ask(l.polls, "scope", "openid", "login_hint_token", l.pen.jwt(t, "JWT", claims, nil)).is(t, 400, "invalid_request")
	})
	t.Run("what is refused", func(t *testing.T) {
		for name, c := range map[string]struct {
			by    app
			pairs string
			code  string
		}{
			"two hints":                    {l.polls, "scope=openid&login_hint=a@b.example&id_token_hint=x", "invalid_request"},
			"no hint":                      {l.polls, "scope=openid", "invalid_request"},
			"nobody":                       {l.polls, "scope=openid&login_hint=nobody@lounge.example", "unknown_user_id"},
			"no e-mail address":            {l.polls, "scope=openid&login_hint=@", "unknown_user_id"},
			"another tenant's user":        {l.polls, "scope=openid&login_hint=" + l.hooli.user.ID.String(), "unknown_user_id"},
			"no openid":                    {l.polls, "scope=profile&login_hint=gavin@lounge.example", "invalid_scope"},
			"a message that turns":         {l.polls, "scope=openid&login_hint=gavin@lounge.example&binding_message=a\u202eb", "invalid_binding_message"},
			"a long message":               {l.polls, "scope=openid&login_hint=gavin@lounge.example&binding_message=" + strings.Repeat("a", 101), "invalid_binding_message"},
			"no expiry":                    {l.polls, "scope=openid&login_hint=gavin@lounge.example&requested_expiry=0", "invalid_request"},
			"an expiry of words":           {l.polls, "scope=openid&login_hint=gavin@lounge.example&requested_expiry=soon", "invalid_request"},
			"ping without a token":         {l.pings, "scope=openid&login_hint=gavin@lounge.example", "invalid_request"},
			"ping with a header in it":     {l.pings, "scope=openid&login_hint=gavin@lounge.example&client_notification_token=a b", "invalid_request"},
			"unsigned, must be signed":     {l.signs, "scope=openid&login_hint=gavin@lounge.example", "invalid_request"},
			"signed, not registered for":   {l.polls, "request=a.b.c", "invalid_request"},
			"a client without the grant":   {l.box, "scope=openid&login_hint=gavin@lounge.example", "unauthorized_client"},
			"an access token as a hint":    {l.polls, "scope=openid&id_token_hint=" + l.issue(l.hooli, l.hooli.web, nil).str("access_token"), "invalid_request"},
			"another tenant's token":       {l.polls, "scope=openid&id_token_hint=" + l.issue(l.hooli, l.hooli.web, nil).str("id_token"), "invalid_request"},
			"authorization_details at all": {l.polls, `scope=openid&login_hint=gavin@lounge.example&authorization_details=[{"type":"x"}]`, "invalid_authorization_details"},
		} {
			var pairs []string
			for p := range strings.SplitSeq(c.pairs, "&") {
				k, v, _ := strings.Cut(p, "=")
				pairs = append(pairs, k, v)
			}
			if got := l.ask(c.by, pairs...); got.StatusCode != 400 || got.str("error") != c.code {
				t.Errorf("%s: %d %s, want %s", name, got.StatusCode, got.raw, c.code)
			}
		}
		l.ask(app{id: l.polls.id}, "scope", "openid", "login_hint", "gavin@lounge.example").is(t, 401, "invalid_client")
	})
	t.Run("a person is not asked without end", func(t *testing.T) {
		for range grant.MaxBackchannelOfUser {
			if got := l.ask(l.polls, "scope", "openid", "login_hint", l.user.ID.String()); got.StatusCode != 200 {
				t.Fatalf("%s", got.raw)
			}
		}
		l.ask(l.polls, "scope", "openid", "login_hint", l.user.ID.String()).is(t, 429, "temporarily_unavailable")
	})
}

func TestAttackSignedBackchannelRequest(t *testing.T) {
	l := newLounge(t)
	now := l.clock()
	good := func() map[string]any {
		return map[string]any{
			"iss": l.signs.id, "aud": l.Issuer, "jti": rand.Text(), "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
			"scope": "openid", "login_hint": "gavin@lounge.example", "requested_expiry": 60,
		}
	}
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	send := func(object string, pairs ...string) *answer {
		return l.ask(l.signs, append([]string{"request", object}, pairs...)...)
	}
	for name, edit := range map[string]map[string]any{
		"as it should be": {}, "expiry as a string": {"requested_expiry": "60"}, "several audiences": {"aud": []string{"https://x.example", l.Issuer}},
		"an hour ahead": {"exp": at(time.Hour)}, "signed an hour ago": {"nbf": at(-time.Hour)}, "clocks apart": {"nbf": at(8 * time.Second), "iat": at(8 * time.Second)},
	} {
		if got := send(l.pen.jwt(t, "", good(), edit)); got.StatusCode != 200 || got.body["expires_in"] != 60.0 {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.raw)
		} else {
			l.answer(false)
		}
	}
	for name, edit := range map[string]map[string]any{
		"no aud": {"aud": nil}, "another aud": {"aud": "https://other.example"}, "no iss": {"iss": nil}, "another iss": {"iss": l.polls.id},
		"no exp": {"exp": nil}, "expired": {"exp": at(-time.Minute)}, "70 minutes ahead": {"exp": at(70 * time.Minute)}, "no iat": {"iat": nil},
		"no nbf": {"nbf": nil}, "10 minutes in the future": {"nbf": at(10 * time.Minute)}, "70 minutes ago": {"nbf": at(-70 * time.Minute)},
		"no jti": {"jti": nil}, "iat as a text": {"iat": "now"}, "another client_id inside": {"client_id": l.polls.id}, "a request inside": {"request": "x"},
		"a request for the browser": {"response_type": "code"}, "a client assertion": {"sub": l.signs.id}, "two hints": {"id_token_hint": "x"}, "a list of scopes": {"scope": []string{"openid"}},
	} {
		if got := send(l.pen.jwt(t, "", good(), edit)); got.StatusCode != 400 || got.str("error") != "invalid_request" {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.raw)
		}
	}
	for name, object := range map[string]string{
		"alg none":           "eyJhbGciOiJub25lIn0." + strings.Split(l.pen.jwt(t, "", good(), nil), ".")[1] + ".",
		"another key":        l.issuer.jwt(t, "", good(), nil),
		"another algorithm":  l.rsa.jwt(t, "", good(), nil),
		"an access token":    l.pen.jwt(t, "at+jwt", good(), nil),
		"a client assertion": l.pen.jwt(t, "client-authentication+jwt", good(), nil),
		"no JWT":             "abc",
	} {
		if got := send(object); got.StatusCode != 400 || got.str("error") != "invalid_request" {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.raw)
		}
	}
	object := l.pen.jwt(t, "", good(), nil)
	send(object, "binding_message", "from outside").is(t, 400, "invalid_request")
	if got := send(object); got.StatusCode != 200 {
		t.Fatalf("%s", got.raw)
	}
	send(object).is(t, 400, "invalid_request") // a copy would ask the person again
}

func TestJWTBearerGrant(t *testing.T) {
	l := newLounge(t)
	now := l.clock()
	claims := func() map[string]any {
		return map[string]any{
			"iss": trusted, "sub": l.user.ID.String(), "aud": l.Issuer, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
		}
	}
	send := func(a app, assertion string, pairs ...string) *answer {
		return l.token(l.site, a, append([]string{"grant_type", oauth2.GrantTypeJWTBearer, "assertion", assertion, "scope", "openid files:read offline_access"}, pairs...)...)
	}
	t.Run("a user", func(t *testing.T) {
		got := send(l.robot, l.issuer.jwt(t, "JWT", claims(), map[string]any{"auth_time": now.Add(-time.Hour).Unix()}))
		if got.StatusCode != 200 || got.str("refresh_token") != "" || got.str("id_token") != "" || got.str("scope") != "openid files:read" {
			t.Fatalf("%d %s", got.StatusCode, got.raw)
		}
		_, c := l.claims(l.site, got.str("access_token"))
		if c["sub"] != l.user.ID.String() || c["token_use"] != "user" || c["acr"] != acrAssertion || c["auth_time"] != float64(now.Add(-time.Hour).Unix()) || fmt.Sprint(c["roles"]) != "[admin]" {
			t.Errorf("claims %v", c)
		}
	})
	t.Run("the client itself", func(t *testing.T) {
		got := send(l.robot, l.issuer.jwt(t, "", claims(), map[string]any{"sub": l.robot.id}))
		if got.StatusCode != 200 || got.str("scope") != "files:read" {
			t.Fatalf("%d %s", got.StatusCode, got.raw)
		}
		if _, c := l.claims(l.site, got.str("access_token")); c["sub"] != l.robot.id || c["token_use"] != "client" {
			t.Errorf("claims %v", c)
		}
	})
	t.Run("another company's client needs the user's consent", func(t *testing.T) {
		scope := []string{"scope", "openid"}
		ask := func() *answer {
			return l.token(l.site, l.partner, append([]string{"grant_type", oauth2.GrantTypeJWTBearer, "assertion", l.issuer.jwt(t, "", claims(), nil)}, scope...)...)
		}
		ask().is(t, 400, "invalid_grant")
		partner, _ := l.Client(l.partner.id)
		if _, err := l.identity.GrantConsent(t.Context(), ref(l.Tenant), identity.Op{Now: now, Actor: "system"}, l.user.ID, partner.UID, []string{"openid"}); err != nil {
			t.Fatal(err)
		}
		if got := ask(); got.StatusCode != 200 {
			t.Errorf("%s", got.raw)
		}
	})
	for name, object := range map[string]string{
		"another issuer":          l.issuer.jwt(t, "", claims(), map[string]any{"iss": "https://evil.example"}),
		"another key":             l.pen.jwt(t, "", claims(), nil),
		"another algorithm":       l.rsa.jwt(t, "", claims(), nil),
		"another audience":        l.issuer.jwt(t, "", claims(), map[string]any{"aud": "https://other.example"}),
		"another tenant's issuer": l.issuer.jwt(t, "", claims(), map[string]any{"aud": l.hooli.Issuer}),
		"another endpoint as aud": l.issuer.jwt(t, "", claims(), map[string]any{"aud": l.Issuer + "/oauth2/par"}),
		"no aud":                  l.issuer.jwt(t, "", claims(), map[string]any{"aud": nil}),
		"expired":                 l.issuer.jwt(t, "", claims(), map[string]any{"exp": now.Add(-time.Second).Unix()}),
		"too long a life":         l.issuer.jwt(t, "", claims(), map[string]any{"exp": now.Add(2 * time.Hour).Unix()}),
		"not valid yet":           l.issuer.jwt(t, "", claims(), map[string]any{"nbf": now.Add(time.Minute).Unix()}),
		"from the future":         l.issuer.jwt(t, "", claims(), map[string]any{"iat": now.Add(time.Minute).Unix()}),
		"no jti":                  l.issuer.jwt(t, "", claims(), map[string]any{"jti": nil}),
		"no iat":                  l.issuer.jwt(t, "", claims(), map[string]any{"iat": nil}),
		"no exp":                  l.issuer.jwt(t, "", claims(), map[string]any{"exp": nil}),
		"an e-mail address":       l.issuer.jwt(t, "", claims(), map[string]any{"sub": "gavin@lounge.example"}),
		"another tenant's user":   l.issuer.jwt(t, "", claims(), map[string]any{"sub": l.hooli.user.ID.String()}),
		"another client":          l.issuer.jwt(t, "", claims(), map[string]any{"sub": l.partner.id}),
		"an access token":         l.issuer.jwt(t, "at+jwt", claims(), nil),
		"a text":                  "abc",
	} {
		if got := send(l.robot, object); got.StatusCode != 400 || got.str("error") != "invalid_grant" || got.str("error_description") != errAssertion.Description {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.raw)
		}
	}
	// RFC 7523 section 3 names the token endpoint; the tenant's policy may forbid it.
	if got := send(l.robot, l.issuer.jwt(t, "", claims(), map[string]any{"aud": l.Issuer + "/oauth2/token"})); got.StatusCode == 200 != l.Policy.LegacyAssertionAudience {
		t.Errorf("the token endpoint as aud: %d, allowed %t", got.StatusCode, l.Policy.LegacyAssertionAudience)
	}
	once := l.issuer.jwt(t, "", claims(), nil)
	l.identity.fail(true, "GetUser", errAway)
	send(l.robot, once).is(t, 503, "temporarily_unavailable")
	l.identity.heal()
	if got := send(l.robot, once); got.StatusCode != 200 {
		t.Fatalf("a failure of ours used it up: %s", got.raw)
	}
	send(l.robot, once).is(t, 400, "invalid_grant")
	send(l.polls, l.issuer.jwt(t, "", claims(), nil)).is(t, 400, "unauthorized_client")
}
