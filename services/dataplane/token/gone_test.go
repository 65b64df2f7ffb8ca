// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/identity"
)

// kiosk is a tenant whose document the test can change, with an app of the device grant that gets no refresh tokens.
type kiosk struct {
	*rig
	*site
	org    *snapshotv1.OrgSnapshot
	core   *snapshotv1.TenantSnapshot
	device app
}

func newKiosk(t *testing.T) *kiosk {
	r := newRig(t)
	k := &kiosk{rig: r, site: &site{host: "kiosk.example.com"}, org: r.world.Org("kiosk")}
	k.core = r.world.Document(t, k.org, "kiosk", func(core *snapshotv1.TenantSnapshot) {
		add := func(a *app, grants ...string) {
			doc, text := r.world.Client(func(c *snapshotv1.Client) { c.GrantTypes = grants })
			*a = app{dptest.ClientID(doc), text}
			core.Clients = append(core.Clients, doc)
		}
		add(&k.device, oauth2.GrantTypeDeviceCode)
		add(&k.web, "authorization_code", "client_credentials")
	})
	k.Tenant = r.world.Serve(t, k.core, k.org)
	var err error
	k.user, err = r.identity.Register(t.Context(), ref(k.Tenant), identity.Op{Now: r.clock(), Actor: "system"}, identity.Registration{
		Email: "gavin@kiosk.example", Password: password,
	}, identity.PasswordPolicy{MinLength: 12})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// change serves the tenant's next document.
func (k *kiosk) change(edit func(*snapshotv1.TenantSnapshot)) {
	k.t.Helper()
	k.core = proto.CloneOf(k.core)
	k.core.ConfigVersion++
	edit(k.core)
	k.Tenant = k.world.Serve(k.t, k.core, k.org)
}

func TestTokensEndWithTheirClient(t *testing.T) {
	k := newKiosk(t)
	own := k.token(k.site, k.web, "grant_type", "client_credentials").str("access_token")
	users := k.issue(k.site, k.web, func(rec *grant.CodeRecord) { rec.Scopes = []string{"openid"} }).str("access_token")
	info := func() int { return k.get(k.host, "/oauth2/userinfo", bearer(users)...).StatusCode }
	if !k.active(k.site, k.device, own) || !k.active(k.site, k.device, users) || info() != 200 {
		t.Fatal("not active to begin with")
	}
	for name, edit := range map[string]func(*snapshotv1.TenantSnapshot){
		"disabled": func(c *snapshotv1.TenantSnapshot) { c.Clients[1].Enabled = false },
		"deleted":  func(c *snapshotv1.TenantSnapshot) { c.Clients = c.Clients[:1] },
	} {
		before := k.core
		k.change(edit)
		if k.active(k.site, k.device, own) || k.active(k.site, k.device, users) || info() != 401 {
			t.Errorf("tokens of a %s client are good", name)
		}
		k.core = before
	}
}

// A person says yes, and is suspended or logs out before the device comes for its tokens: it gets none, also when no refresh token is to be
// stored with them.
func TestDeviceAfterTheUsersEnd(t *testing.T) {
	k := newKiosk(t)
	ctx := context.Background()
	allowed := func() (deviceCode string, session id.Session) {
		t.Helper()
		started := k.rig.post(k.host, oidc.PathDeviceAuthorization, k.device, "scope", "openid")
		code, ok := oauth2.ParseUserCode(started.str("user_code"))
		if !ok {
			t.Fatal(started.raw)
		}
		d, err := k.service.grants.Device(ctx, k.ID, code, k.clock())
		if err != nil {
			t.Fatal(err)
		}
		session = k.login(k.site)
		if err := k.service.grants.DecideDevice(ctx, k.ID, d, &grant.CodeRecord{
			Grant: id.NewGrant(), Client: k.device.id, Scopes: d.Scopes, User: k.user.ID, Session: session, AuthTime: k.clock(), ACR: oidc.ACRPassword, AMR: []string{"pwd"},
		}, k.clock()); err != nil {
			t.Fatal(err)
		}
		return started.str("device_code"), session
	}
	poll := func(code string) *answer {
		return k.token(k.site, k.device, "grant_type", oauth2.GrantTypeDeviceCode, "device_code", code)
	}
	mark := func(ended []identity.Revocation) {
		for _, v := range ended {
			if err := k.redis.Set(ctx, "rv:{"+k.ID.String()+"}:"+v.Subject, "1", time.Hour).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	code, _ := allowed()
	poll(code).is(t, 200, "")

	code, session := allowed()
	ended, err := k.identity.EndSession(ctx, ref(k.Tenant), identity.Op{Now: k.clock(), Actor: "system"}, session)
	if err != nil {
		t.Fatal(err)
	}
	mark(ended.Revocations)
	poll(code).is(t, 400, "invalid_grant")

	code, _ = allowed()
	_, suspended, err := k.identity.UpdateUser(ctx, ref(k.Tenant), identity.Op{Now: k.clock(), Actor: "system"}, k.user.ID,
		identity.UserChange{State: new(identity.UserSuspended)}, "")
	if err != nil {
		t.Fatal(err)
	}
	mark(suspended.Revocations)
	poll(code).is(t, 400, "invalid_grant")
}

func TestTokenOfAnAssertionEndsWithItsUser(t *testing.T) {
	l := newLounge(t)
	now := l.clock()
	made := l.token(l.site, l.robot, "grant_type", oauth2.GrantTypeJWTBearer, "scope", "openid", "assertion", l.issuer.jwt(t, "JWT", map[string]any{
		"iss": trusted, "sub": l.user.ID.String(), "aud": l.Issuer, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}, nil)).str("access_token")
	if !l.active(l.site, l.robot, made) {
		t.Fatal("not active to begin with")
	}
	if _, _, err := l.identity.UpdateUser(t.Context(), ref(l.Tenant), identity.Op{Now: now, Actor: "system"}, l.user.ID,
		identity.UserChange{State: new(identity.UserSuspended)}, ""); err != nil {
		t.Fatal(err)
	}
	if l.active(l.site, l.robot, made) {
		t.Error("active after the user was suspended")
	}
}

// A switched token ends with the tenant that it came of, and what was allowed there in detail does not come along.
func TestSwitchedTokenEndsWithItsOrigin(t *testing.T) {
	b := newBazaar(t)
	b.join(b.west)
	subject := b.made(b.portal, func(in *oidc.AccessTokenInput) {
		in.AuthorizationDetails = []byte(`[{"type":"payment","amount":"5"}]`)
	})
	got := b.swap(b.portal, subject, "tenant", b.west.ID.String())
	if c := b.good(got, b.west); c["authorization_details"] != nil {
		t.Errorf("details of another tenant: %v", c["authorization_details"])
	}
	if c := b.good(b.swap(b.portal, subject), b.east); c["authorization_details"] == nil {
		t.Error("an exchange at the same tenant lost the details")
	}
	text := got.str("access_token")
	if !b.active(b.west, b.portal, text) {
		t.Fatal("not active to begin with")
	}
	b.world.Drop(b.east.host) // suspended or deleted: it is not served any more
	if b.active(b.west, b.portal, text) {
		t.Error("active though its origin is gone")
	}
}

// Somebody else's application that a user allowed things at one tenant is not let into their other tenants by that.
func TestAttackSwitchWithoutConsent(t *testing.T) {
	b := newBazaar(t)
	for _, c := range b.org.Clients {
		c.FirstParty = false
	}
	north := b.tenant("north", b.org, func(*snapshotv1.TenantSnapshot) {})
	b.join(north)
	ask := func() *answer { return b.swap(b.portal, b.subject(b.portal), "tenant", north.ID.String()) }
	ask().is(t, 400, "invalid_grant")
	c, _ := north.Client(b.portal.id)
	by := identity.Op{Now: b.clock(), Actor: b.east.user.ID.String()}
	if _, err := b.identity.GrantConsent(t.Context(), ref(north.Tenant), by, b.east.user.ID, c.UID, []string{"openid"}); err != nil {
		t.Fatal(err)
	}
	ask().is(t, 400, "invalid_grant")
	if _, err := b.identity.GrantConsent(t.Context(), ref(north.Tenant), by, b.east.user.ID, c.UID, []string{"openid", "files:read", "files:write"}); err != nil {
		t.Fatal(err)
	}
	b.good(ask(), north)
}

// Anybody may register an application where the tenant lets them. That makes nobody a resource server.
func TestAttackIntrospectionByAStranger(t *testing.T) {
	k := newKiosk(t)
	var stranger, partner, machine app
	k.change(func(core *snapshotv1.TenantSnapshot) {
		add := func(a *app, edit func(*snapshotv1.Client)) {
			doc, text := k.world.Client(func(c *snapshotv1.Client) {
				c.FirstParty, c.GrantTypes = false, []string{"authorization_code", "client_credentials"}
				edit(c)
			})
			*a = app{dptest.ClientID(doc), text}
			core.Clients = append(core.Clients, doc)
		}
		add(&stranger, func(*snapshotv1.Client) {})
		add(&partner, func(c *snapshotv1.Client) { c.Audiences = []string{k.DefaultAudience} })
		add(&machine, func(c *snapshotv1.Client) {
			c.Kind, c.GrantTypes, c.RedirectUris = snapshotv1.ClientKind_CLIENT_KIND_SERVICE, []string{"client_credentials"}, nil
		})
	})
	found := k.token(k.site, k.web, "grant_type", "client_credentials").str("access_token")
	if k.active(k.site, stranger, found) {
		t.Error("a stranger learns that the token is good")
	}
	if !k.active(k.site, partner, found) || !k.active(k.site, machine, found) {
		t.Error("a resource server does not")
	}
	if own := k.token(k.site, stranger, "grant_type", "client_credentials").str("access_token"); !k.active(k.site, stranger, own) {
		t.Error("its own token")
	}
}

// A code is in its client's hands when the user logs out, and the client gets no refresh token with which that would be noticed.
func TestCodeAfterTheUsersLogout(t *testing.T) {
	k := newKiosk(t)
	session := k.login(k.site)
	code := k.code(k.site, k.web, func(rec *grant.CodeRecord) { rec.Session, rec.Scopes = session, []string{"openid"} })
	if err := k.redis.Set(t.Context(), "rv:{"+k.ID.String()+"}:"+session.String(), "1", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	k.exchange(k.site, k.web, code).is(t, 400, "invalid_grant")
	k.issue(k.site, k.web, func(rec *grant.CodeRecord) { rec.Session, rec.Scopes = k.login(k.site), []string{"openid"} }).is(t, 200, "")
}

// A tenant takes on FAPI 2.0. Tokens that no key is needed for are from before and open nothing any more.
func TestAttackUnboundTokenAfterTheSwitchToFAPI(t *testing.T) {
	k := newKiosk(t)
	old := k.issue(k.site, k.web, func(rec *grant.CodeRecord) { rec.Scopes = []string{"openid"} }).str("access_token")
	if info := k.get(k.host, "/oauth2/userinfo", bearer(old)...); info.StatusCode != 200 {
		t.Fatal(info.raw)
	}
	k.change(func(core *snapshotv1.TenantSnapshot) {
		core.Overrides = &snapshotv1.Policy{Oauth: &snapshotv1.OAuthPolicy{SecurityProfile: proto.String("FAPI_2_0")}}
	})
	if info := k.get(k.host, "/oauth2/userinfo", bearer(old)...); info.StatusCode != 401 {
		t.Errorf("%d %s", info.StatusCode, info.raw)
	}
}
