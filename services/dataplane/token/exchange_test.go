// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
	"github.com/tenantry/tenantry/services/dataplane/internal/subject"
	"github.com/tenantry/tenantry/services/identity"
)

// bazaar is an org with clients that all its tenants share, and tenants that share their users or not.
type bazaar struct {
	*rig
	org *snapshotv1.OrgSnapshot
	// portal logs people in, api and boss exchange its tokens: boss may impersonate. spa is public.
	portal, api, boss, spa           app
	east, west, south, dev, otherOrg *site
	pool                             id.UserPool
}

func newBazaar(t *testing.T) *bazaar {
	r := newRig(t)
	b := &bazaar{rig: r, org: r.world.Org("endframe"), pool: id.NewUserPool()}
	shared := func(a *app, edit func(*snapshotv1.Client)) {
		doc, text := r.world.Client(func(c *snapshotv1.Client) {
			c.GrantTypes = []string{"authorization_code", "refresh_token", "client_credentials", oauth2.GrantTypeTokenExchange}
			c.Scopes = []string{"openid", "profile", "offline_access", "files:read", "files:write"}
			c.Audiences = []string{"https://files.example"}
		})
		edit(doc)
		if doc.GetPublic() {
			text = ""
		}
		*a = app{dptest.ClientID(doc), text}
		b.org.Clients = append(b.org.Clients, doc)
	}
	shared(&b.portal, func(*snapshotv1.Client) {})
	shared(&b.api, func(c *snapshotv1.Client) { c.Scopes = []string{"openid", "files:read"} })
	shared(&b.boss, func(c *snapshotv1.Client) { c.Protocol = &snapshotv1.ClientProtocol{Impersonation: true} })
	shared(&b.spa, func(c *snapshotv1.Client) {
		c.Public, c.Secrets, c.TokenEndpointAuthMethod = true, nil, "none"
		c.GrantTypes = []string{"authorization_code", oauth2.GrantTypeTokenExchange}
	})
	b.east = b.tenant("east", b.org, func(*snapshotv1.TenantSnapshot) {})
	b.west = b.tenant("west", b.org, func(*snapshotv1.TenantSnapshot) {})
	b.south = b.tenant("south", b.org, func(c *snapshotv1.TenantSnapshot) { p := id.NewUserPool(); c.UserPoolId = p[:] })
	b.dev = b.tenant("dev", b.org, func(c *snapshotv1.TenantSnapshot) { c.Type = snapshotv1.TenantType_TENANT_TYPE_DEVELOPMENT })
	elsewhere := r.world.Org("elsewhere")
	elsewhere.Clients = b.org.Clients // as if ids had been copied
	b.otherOrg = b.tenant("elsewhere", elsewhere, func(*snapshotv1.TenantSnapshot) {})
	var err error
	b.east.user, err = r.identity.Register(t.Context(), ref(b.east.Tenant), identity.Op{Now: r.clock(), Actor: "system"}, identity.Registration{
		Email: "gavin@east.example", Password: password, Roles: []string{"admin"},
	}, identity.PasswordPolicy{MinLength: 12})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bazaar) tenant(slug string, org *snapshotv1.OrgSnapshot, edit func(*snapshotv1.TenantSnapshot)) *site {
	b.t.Helper()
	s := &site{host: slug + ".example.com"}
	s.Tenant = b.world.Tenant(b.t, org, slug, func(core *snapshotv1.TenantSnapshot) {
		core.UserPoolId = b.pool[:]
		edit(core)
	})
	return s
}

// join makes east's user a member of another tenant of the pool.
func (b *bazaar) join(s *site, roles ...string) {
	b.t.Helper()
	ctx, now, invitation := context.Background(), b.clock(), id.NewInvitation()
	err := b.identity.ApplySeeds(ctx, []identity.Seed{{TenantRef: ref(s.Tenant), Time: now, Actor: "system", Users: []identity.SeedUser{{
		ID: id.NewUser(), Membership: id.NewMembership(), Email: b.east.user.Email, Roles: roles,
		Invitation: &identity.NewInvitation{ID: invitation, ExpireTime: now.Add(time.Hour)},
	}}}})
	if err != nil {
		b.t.Fatal(err)
	}
	_, link, err := b.identity.IssueInvitationToken(ctx, ref(s.Tenant), invitation, now)
	if err != nil {
		b.t.Fatal(err)
	}
	_, _, err = b.identity.AcceptInvitation(ctx, ref(s.Tenant), identity.Op{Now: now, Actor: "system"}, link, password, "", identity.PasswordPolicy{})
	if err != nil {
		b.t.Fatal(err)
	}
}

// subject is a token of east's user, given to the portal.
func (b *bazaar) subject(a app, scopes ...string) string {
	b.t.Helper()
	if len(scopes) == 0 {
		scopes = []string{"openid", "files:read", "files:write"}
	}
	return b.made(a, func(in *oidc.AccessTokenInput) { in.Scopes = scopes })
}

// made is a token of east's user with the claims that edit wants.
func (b *bazaar) made(a app, edit func(*oidc.AccessTokenInput)) string {
	b.t.Helper()
	c, ok := b.east.Client(a.id)
	if !ok {
		b.t.Fatal("no client")
	}
	in := oidc.AccessTokenInput{
		Subject: b.east.user.ID.String(), Audience: b.east.DefaultAudience, TokenUse: oidc.TokenUseUser, Session: b.login(b.east), Grant: id.NewGrant(),
		Scopes: []string{"openid", "files:read"}, AuthTime: b.clock(), ACR: oidc.ACRPassword, AMR: []string{"pwd"},
	}
	edit(&in)
	token, _, err := b.service.mint.AccessToken(b.east.Tenant, c, &in, b.clock())
	if err != nil {
		b.t.Fatal(err)
	}
	return token
}

func (b *bazaar) swap(a app, token string, pairs ...string) *answer {
	b.t.Helper()
	return b.token(b.east, a, append([]string{
		"grant_type", oauth2.GrantTypeTokenExchange, "subject_token", token, "subject_token_type", oauth2.TokenTypeURNAccessToken,
	}, pairs...)...)
}

// own is a client's own token.
func (b *bazaar) own(s *site, a app) string {
	b.t.Helper()
	got := b.token(s, a, "grant_type", "client_credentials")
	if got.StatusCode != 200 {
		b.t.Fatalf("%s", got.raw)
	}
	return got.str("access_token")
}

func (b *bazaar) good(got *answer, at *site) map[string]any {
	b.t.Helper()
	if got.StatusCode != 200 || got.str("issued_token_type") != oauth2.TokenTypeURNAccessToken || got.str("refresh_token") != "" || got.str("id_token") != "" {
		b.t.Fatalf("%d %s", got.StatusCode, got.raw)
	}
	_, claims := b.claims(at, got.str("access_token"))
	return claims
}

func TestTokenExchange(t *testing.T) {
	b := newBazaar(t)
	t.Run("own token, narrower", func(t *testing.T) {
		token := b.subject(b.portal)
		_, before := b.claims(b.east, token)
		b.pass(4 * time.Minute)
		got := b.swap(b.portal, token, "scope", "files:read", "resource", "https://files.example")
		c := b.good(got, b.east)
		if c["scope"] != "files:read" || c["aud"] != "https://files.example" || c["sub"] != before["sub"] || c["act"] != nil {
			t.Errorf("claims %v", c)
		}
		if c["exp"].(float64) > before["exp"].(float64) || got.body["expires_in"].(float64) > 360 {
			t.Errorf("lives until %v, the subject's token until %v, expires_in %v", c["exp"], before["exp"], got.body["expires_in"])
		}
		if c["sid"] != before["sid"] || c["gnt"] != before["gnt"] || got.body["issuer"] != nil {
			t.Errorf("session and grant changed: %v", c)
		}
	})
	t.Run("impersonation", func(t *testing.T) {
		c := b.good(b.swap(b.boss, b.subject(b.portal)), b.east)
		if fmt.Sprint(c["act"]) != "map[sub:"+b.boss.id+"]" || c["client_id"] != b.boss.id || c["sub"] != b.east.user.ID.String() {
			t.Errorf("claims %v", c)
		}
	})
	t.Run("delegation, with the actors before inside", func(t *testing.T) {
		c := b.good(b.swap(b.api, b.subject(b.portal), "actor_token", b.own(b.east, b.api), "actor_token_type", oauth2.TokenTypeURNAccessToken), b.east)
		if fmt.Sprint(c["act"]) != "map[sub:"+b.api.id+"]" || c["scope"] != "openid files:read" {
			t.Errorf("claims %v", c)
		}
		first := b.made(b.api, func(in *oidc.AccessTokenInput) { in.Actor = []byte(`{"sub":"` + b.api.id + `"}`) })
		c = b.good(b.swap(b.boss, first), b.east)
		if fmt.Sprint(c["act"]) != "map[act:map[sub:"+b.api.id+"] sub:"+b.boss.id+"]" {
			t.Errorf("act %v", c["act"])
		}
	})
	t.Run("may_act lets whom it names", func(t *testing.T) {
		token := b.made(b.portal, func(in *oidc.AccessTokenInput) { in.MayAct = []byte(`{"sub":"` + b.boss.id + `"}`) })
		b.good(b.swap(b.boss, token), b.east)
	})
	t.Run("the roles are those of now", func(t *testing.T) {
		if c := b.good(b.swap(b.portal, b.subject(b.portal)), b.east); fmt.Sprint(c["roles"]) != "[admin]" {
			t.Errorf("roles %v", c["roles"])
		}
	})
	t.Run("ends with the session behind it", func(t *testing.T) {
		session := b.login(b.east)
		token := b.made(b.portal, func(in *oidc.AccessTokenInput) { in.Session = session })
		got := b.swap(b.boss, token)
		b.good(got, b.east)
		if !b.active(b.east, b.portal, got.str("access_token")) {
			t.Fatal("not active to begin with")
		}
		b.endSession(b.east, session)
		if b.active(b.east, b.portal, got.str("access_token")) {
			t.Error("active after the session's end")
		}
		b.swap(b.boss, token).is(t, 400, "invalid_request")
	})
}

// endSession is a logout at a tenant.
func (b *bazaar) endSession(s *site, session id.Session) {
	b.t.Helper()
	ended, err := b.identity.EndSession(context.Background(), ref(s.Tenant), identity.Op{Now: b.clock(), Actor: "system"}, session)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, v := range ended.Revocations {
		if err := b.redis.Set(context.Background(), "rv:{"+s.ID.String()+"}:"+v.Subject, "1", time.Hour).Err(); err != nil {
			b.t.Fatal(err)
		}
	}
}

func TestAttackTokenExchange(t *testing.T) {
	b := newBazaar(t)
	token := b.subject(b.portal)
	code, access := oauth2.TokenTypeURNRefreshToken, oauth2.TokenTypeURNAccessToken
	expired := b.subject(b.portal)
	b.pass(11 * time.Minute)
	fresh := b.subject(b.portal)
	foreign := b.issue(b.hooli, b.hooli.web, nil).str("access_token")
	westToken := func() string {
		in := oidc.AccessTokenInput{
			Subject: b.east.user.ID.String(), Audience: b.west.DefaultAudience, TokenUse: oidc.TokenUseUser, AuthTime: b.clock(), ACR: oidc.ACRPassword, AMR: []string{"pwd"},
		}
		c, _ := b.west.Client(b.portal.id)
		text, _, err := b.service.mint.AccessToken(b.west.Tenant, c, &in, b.clock())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}()
	longChain := b.made(b.portal, func(in *oidc.AccessTokenInput) {
		in.Actor = []byte(`{"sub":"a","act":{"sub":"b","act":{"sub":"c","act":{"sub":"d","act":{"sub":"e"}}}}}`)
	})
	onlyPortal := b.made(b.portal, func(in *oidc.AccessTokenInput) { in.MayAct = []byte(`{"sub":"` + b.portal.id + `"}`) })
	strangeMayAct := b.made(b.portal, func(in *oidc.AccessTokenInput) { in.MayAct = []byte(`{"sub":"` + b.boss.id + `","before":"2020"}`) })
	bound := b.made(b.portal, func(in *oidc.AccessTokenInput) {
		in.Binding = oauth2.Binding{JKT: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}
	})
	for name, c := range map[string]struct {
		by    app
		token string
		pairs []string
		code  string
	}{
		"no token":                             {b.boss, "", nil, "invalid_request"},
		"a text":                               {b.boss, "abc", nil, "invalid_request"},
		"an expired token":                     {b.portal, expired, nil, "invalid_request"},
		"another tenant's token":               {b.boss, foreign, nil, "invalid_request"},
		"a sister tenant's token":              {b.portal, westToken, nil, "invalid_request"},
		"impersonation without the permission": {b.api, fresh, nil, "unauthorized_client"},
		"a public client with another's token": {b.spa, fresh, nil, "unauthorized_client"},
		"somebody else's actor token":          {b.api, fresh, []string{"actor_token", b.own(b.east, b.boss), "actor_token_type", access}, "invalid_request"},
		"an actor token of another tenant":     {b.api, fresh, []string{"actor_token", b.own(b.west, b.api), "actor_token_type", access}, "invalid_request"},
		"an actor token of no type":            {b.api, fresh, []string{"actor_token", b.own(b.east, b.api)}, "invalid_request"},
		"a type without an actor token":        {b.boss, fresh, []string{"actor_token_type", access}, "invalid_request"},
		"a client's own token as the subject":  {b.boss, b.own(b.east, b.portal), nil, "invalid_request"},
		"may_act names another":                {b.boss, onlyPortal, nil, "invalid_request"},
		"may_act with an unknown condition":    {b.boss, strangeMayAct, nil, "invalid_request"},
		"a sixth actor":                        {b.boss, longChain, nil, "invalid_request"},
		"more scopes":                          {b.portal, b.subject(b.portal, "files:read"), []string{"scope", "files:read files:write"}, "invalid_scope"},
		"none of the client's scopes":          {b.api, b.subject(b.portal, "files:write"), []string{"actor_token", b.own(b.east, b.api), "actor_token_type", access}, "invalid_scope"},
		"an unregistered resource":             {b.portal, fresh, []string{"resource", "https://bank.example"}, "invalid_target"},
		"an unregistered audience":             {b.portal, fresh, []string{"audience", "https://bank.example"}, "invalid_target"},
		"two audiences":                        {b.portal, fresh, []string{"audience", "https://files.example", "resource", b.east.DefaultAudience}, "invalid_target"},
		"a refresh token asked for":            {b.portal, fresh, []string{"requested_token_type", code}, "invalid_request"},
		"an ID token asked for":                {b.portal, fresh, []string{"requested_token_type", oauth2.TokenTypeURNIDToken}, "invalid_request"},
		"a bound token without its key":        {b.portal, bound, nil, "invalid_request"},
		"a bound token, impersonated":          {b.boss, bound, nil, "invalid_request"},
	} {
		got := b.swap(c.by, c.token, c.pairs...)
		if got.StatusCode != 400 || got.str("error") != c.code {
			t.Errorf("%s: %d %s, want %s", name, got.StatusCode, got.raw, c.code)
		}
	}
	got := b.token(b.east, b.portal, "grant_type", oauth2.GrantTypeTokenExchange, "subject_token", fresh, "subject_token_type", oauth2.TokenTypeURNIDToken)
	got.is(t, 400, "invalid_request")
	_ = token
}

func TestTenantSwitch(t *testing.T) {
	b := newBazaar(t)
	b.join(b.west, "guest")
	token := b.subject(b.portal)
	got := b.swap(b.portal, token, "tenant", b.west.ID.String())
	c := b.good(got, b.west)
	if got.str("issuer") != b.west.Issuer || c["iss"] != b.west.Issuer || c["tnt"] != b.west.ID.String() || c["sub"] != b.east.user.ID.String() ||
		fmt.Sprint(c["roles"]) != "[guest]" || c["origin_tnt"] != b.east.ID.String() || c["aud"] != b.west.DefaultAudience {
		t.Errorf("claims %v, issuer %q", c, got.str("issuer"))
	}
	if !b.active(b.west, b.portal, got.str("access_token")) || b.active(b.east, b.portal, got.str("access_token")) {
		t.Error("must be alive at the new tenant alone")
	}
	if info := b.get(b.west.host, "/oauth2/userinfo", bearer(got.str("access_token"))...); info.StatusCode != 200 || info.str("sub") != b.east.user.ID.String() {
		t.Errorf("userinfo %s", info.raw)
	}
	// It goes on to a third tenant, and still hangs on the first one's session.
	third := b.token(b.west, b.portal, "grant_type", oauth2.GrantTypeTokenExchange, "subject_token", got.str("access_token"),
		"subject_token_type", oauth2.TokenTypeURNAccessToken, "tenant", b.east.ID.String())
	back := b.good(third, b.east)
	if back["origin_tnt"] != nil {
		t.Errorf("back home it hangs on its own tenant: %v", back)
	}
	session, err := id.ParseSession(c["sid"].(string))
	if err != nil {
		t.Fatal(err)
	}
	b.endSession(b.east, session)
	for name, at := range map[string]*site{"switched": b.west, "switched back": b.east} {
		text := got.str("access_token")
		if at == b.east {
			text = third.str("access_token")
		}
		if b.active(at, b.portal, text) {
			t.Errorf("%s: active after the logout at the first tenant", name)
		}
	}
	if info := b.get(b.west.host, "/oauth2/userinfo", bearer(got.str("access_token"))...); info.StatusCode != 401 {
		t.Errorf("userinfo after the logout: %d %s", info.StatusCode, info.raw)
	}
}

// Whatever is wrong with the other tenant, the answer is the same to the byte: nothing is learnt of it.
func TestAttackTenantSwitch(t *testing.T) {
	b := newBazaar(t)
	suspended := b.tenant("gone", b.org, func(*snapshotv1.TenantSnapshot) {})
	b.join(suspended)
	b.world.Drop(suspended.host)
	disabled := b.tenant("disabled", &snapshotv1.OrgSnapshot{
		OrgId: b.org.GetOrgId(), ConfigVersion: 1, Active: true, Slug: "endframe", DisplayName: "endframe", DefaultAudience: b.org.GetDefaultAudience(),
	}, func(*snapshotv1.TenantSnapshot) {})
	b.join(disabled)
	b.join(b.otherOrg)
	b.join(b.dev)
	strict := b.tenant("strict", b.org, func(c *snapshotv1.TenantSnapshot) {
		profile := "FAPI_2_0"
		c.Overrides = &snapshotv1.Policy{Oauth: &snapshotv1.OAuthPolicy{SecurityProfile: &profile}}
	})
	b.join(strict)

	token := b.subject(b.portal)
	want := ""
	for name, tenant := range map[string]string{
		"no member there":                b.west.ID.String(),
		"another pool":                   b.south.ID.String(),
		"another org, same pool and ids": b.otherOrg.ID.String(),
		"suspended or deleted":           suspended.ID.String(),
		"never existed":                  id.NewTenant().String(),
		"no tenant at all":               "acme",
		"a user's id":                    b.east.user.ID.String(),
		"the client is not known there":  disabled.ID.String(),
		"stricter than the client":       strict.ID.String(),
	} {
		got := b.swap(b.portal, token, "tenant", tenant)
		if want == "" {
			want = string(got.raw)
		}
		if got.StatusCode != 400 || got.str("error") != "invalid_target" || string(got.raw) != want {
			t.Errorf("%s: %d %s, want %s", name, got.StatusCode, got.raw, want)
		}
	}
	b.join(b.west)
	b.good(b.swap(b.portal, token, "tenant", b.west.ID.String()), b.west) // the mechanism works when nothing is wrong

	t.Run("a test tenant's login opens nothing real", func(t *testing.T) {
		c, _ := b.dev.Client(b.portal.id)
		in := oidc.AccessTokenInput{
			Subject: b.east.user.ID.String(), Audience: b.dev.DefaultAudience, TokenUse: oidc.TokenUseUser, AuthTime: b.clock(), ACR: oidc.ACRPassword, AMR: []string{"pwd"},
		}
		text, _, err := b.service.mint.AccessToken(b.dev.Tenant, c, &in, b.clock())
		if err != nil {
			t.Fatal(err)
		}
		b.token(b.dev, b.portal, "grant_type", oauth2.GrantTypeTokenExchange, "subject_token", text, "subject_token_type", oauth2.TokenTypeURNAccessToken,
			"tenant", b.east.ID.String()).is(t, 400, "invalid_target")
	})
	t.Run("another client's token", func(t *testing.T) {
		b.swap(b.boss, token, "tenant", b.west.ID.String()).is(t, 400, "invalid_request")
	})
	t.Run("a member who was suspended", func(t *testing.T) {
		state := identity.UserSuspended
		if _, _, err := b.identity.UpdateUser(t.Context(), ref(b.west.Tenant), identity.Op{Now: b.clock(), Actor: "system"}, b.east.user.ID, identity.UserChange{State: &state}, ""); err != nil {
			t.Fatal(err)
		}
		if got := b.swap(b.portal, token, "tenant", b.west.ID.String()); got.StatusCode != 400 || string(got.raw) != want {
			t.Errorf("%d %s", got.StatusCode, got.raw)
		}
		b.swap(b.portal, token).is(t, 400, "invalid_request") // users of a pool are suspended everywhere
	})
}

func TestSwitchToATenantThatAsksForMore(t *testing.T) {
	b := newBazaar(t)
	doc := b.org.Clients[0]
	doc.Protocol = &snapshotv1.ClientProtocol{DefaultAcrValues: []string{oidc.ACRMFA}}
	strong := b.tenant("strong", b.org, func(*snapshotv1.TenantSnapshot) {})
	token := b.subject(b.portal)
	got := b.swap(b.portal, token, "tenant", strong.ID.String())
	got.is(t, 400, "invalid_target") // no member: nothing is said of what it asks for
	b.join(strong)
	got = b.swap(b.portal, token, "tenant", strong.ID.String())
	got.is(t, 400, "invalid_grant")
	if want := "that tenant asks for a login with acr " + oidc.ACRMFA; got.str("error_description") != want {
		t.Errorf("description %q", got.str("error_description"))
	}
	strongToken := b.made(b.portal, func(in *oidc.AccessTokenInput) { in.ACR, in.AMR = oidc.ACRMFA, []string{"pwd", "otp", "mfa"} })
	b.good(b.swap(b.portal, strongToken, "tenant", strong.ID.String()), strong)
}

// Each client goes on knowing the user by its own name, and nobody learns another's from an exchange.
func TestExchangeBetweenPairwiseClients(t *testing.T) {
	b := newBazaar(t)
	pairwise := func(doc *snapshotv1.Client, sector string) {
		if doc.Protocol == nil {
			doc.Protocol = &snapshotv1.ClientProtocol{}
		}
		doc.Protocol.Pairwise, doc.Protocol.Sector = true, sector
	}
	pairwise(b.org.Clients[0], "portal.example")
	pairwise(b.org.Clients[2], "boss.example")
	home := b.tenant("private", b.org, func(c *snapshotv1.TenantSnapshot) { c.PairwiseSalt = []byte("0123456789abcdef0123456789abcdef") })
	b.join(home)
	portal, _ := home.Client(b.portal.id)
	boss, _ := home.Client(b.boss.id)
	in := oidc.AccessTokenInput{
		Subject: subject.For(home.Tenant, portal, b.east.user.ID), Audience: home.DefaultAudience, TokenUse: oidc.TokenUseUser, Scopes: []string{"openid"},
		AuthTime: b.clock(), ACR: oidc.ACRPassword, AMR: []string{"pwd"},
	}
	text, _, err := b.service.mint.AccessToken(home.Tenant, portal, &in, b.clock())
	if err != nil {
		t.Fatal(err)
	}
	got := b.token(home, b.boss, "grant_type", oauth2.GrantTypeTokenExchange, "subject_token", text, "subject_token_type", oauth2.TokenTypeURNAccessToken)
	c := b.good(got, home)
	if want := subject.For(home.Tenant, boss, b.east.user.ID); c["sub"] != want || c["sub"] == in.Subject || c["sub"] == b.east.user.ID.String() {
		t.Errorf("sub %v, want %s", c["sub"], want)
	}
	// A token whose sub is not one of its client's is no token of ours.
	in.Subject = b.east.user.ID.String()
	if text, _, err = b.service.mint.AccessToken(home.Tenant, portal, &in, b.clock()); err != nil {
		t.Fatal(err)
	}
	b.token(home, b.boss, "grant_type", oauth2.GrantTypeTokenExchange, "subject_token", text, "subject_token_type", oauth2.TokenTypeURNAccessToken).is(t, 400, "invalid_request")
}
