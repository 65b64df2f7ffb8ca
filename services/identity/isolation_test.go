// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/identity"
)

// world is everything that a method could find, in one tenant.
type world struct {
	ref        identity.TenantRef
	user       identity.User
	session    identity.Session
	token      identity.SessionToken
	family     identity.Family
	client     id.Client
	invitation id.Invitation
	link       string
}

func newWorld(t *testing.T, s *identity.Store) *world {
	t.Helper()
	ctx := context.Background()
	w := &world{ref: newTenant(), client: id.NewClient()}
	w.user = register(t, s, w.ref)
	w.session, w.token = login(t, s, w.ref, w.user)
	w.family = family(t, s, w.ref, w.user, w.session.ID, false)
	ok(t, s.NoteClient(ctx, w.ref, w.session.ID, w.client, noon))
	_, err := s.GrantConsent(ctx, w.ref, at(noon), w.user.ID, w.client, []string{"openid"})
	ok(t, err)
	invited, err := s.CreateUser(ctx, w.ref, at(noon), identity.NewUser{
		Email: "invited@hooli.example", Invitation: &identity.NewInvitation{ID: id.NewInvitation(), ExpireTime: noon.Add(time.Hour)},
	}, policy)
	ok(t, err)
	if invited.State != identity.UserInvited {
		t.Fatalf("state %s", invited.State)
	}
	events, err := s.ListAuditEvents(ctx, w.ref, identity.AuditPage{Action: identity.ActionInvitationCreated})
	ok(t, err)
	if w.invitation, err = id.ParseInvitation(events[0].Resource); err != nil {
		t.Fatal(err)
	}
	_, w.link, err = s.IssueInvitationToken(ctx, w.ref, w.invitation, noon)
	ok(t, err)
	return w
}

// notFound and empty are the two ways of saying that there is nothing here.
func empty[T any](list []T, err error) error {
	if err != nil {
		return err
	}
	if len(list) > 0 {
		return errors.New("it answered somebody else's data")
	}
	return identity.ErrNotFound
}

// Every method of the store that takes a tenant is called by the neighbour with this tenant's ids. attack must answer "not found"
// (or the error that stands for it), and after all attacks this tenant must be as it was. A method without a row fails the test.
var neighbour = map[string]struct {
	attack func(context.Context, *identity.Store, identity.TenantRef, *world) error
	want   error
}{
	"GetUser": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		_, err := s.GetUser(ctx, me, w.user.ID)
		return err
	}},
	"ListUsers": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		if err := empty(s.ListUsers(ctx, me, identity.UserPage{Filter: identity.UserFilter{Email: w.user.Email}})); !errors.Is(err, identity.ErrNotFound) {
			return err
		}
		return empty(s.ListUsers(ctx, me, identity.UserPage{}))
	}},
	"SearchUsers": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, _ *world) error {
		return empty(s.SearchUsers(ctx, me, "g", id.User{}, 10))
	}},
	"UpdateUser": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		name := "taken over"
		_, _, err := s.UpdateUser(ctx, me, at(noon), w.user.ID, identity.UserChange{Name: &name, Roles: &[]string{"admin"}}, "")
		return err
	}},
	"DeleteUser": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		_, err := s.DeleteUser(ctx, me, at(noon), w.user.ID, "")
		return err
	}},
	"SetPassword": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		_, err := s.SetPassword(ctx, me, at(noon), w.user.ID, "another horse 48 battery", policy, id.Session{})
		return err
	}},
	"Authenticate": {want: identity.ErrBadCredentials, attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		_, err := s.Authenticate(ctx, me, at(noon), w.user.Email, goodPassword)
		return err
	}},
	// The address is free here: the same e-mail in another pool is another user.
	"Register": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		u, err := s.Register(ctx, me, at(noon), identity.Registration{Email: w.user.Email, Password: goodPassword}, policy)
		if err != nil {
			return err
		}
		if u.ID == w.user.ID {
			return errors.New("two people share a sub")
		}
		_, err = s.DeleteUser(ctx, me, at(noon), u.ID, "")
		return errors.Join(err, identity.ErrNotFound)
	}},
	"CreateUser": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		u, err := s.CreateUser(ctx, me, at(noon), identity.NewUser{Email: w.user.Email}, policy)
		if err != nil {
			return err
		}
		_, err = s.DeleteUser(ctx, me, at(noon), u.ID, "")
		return errors.Join(err, identity.ErrNotFound)
	}},
	"CreateSession": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		_, _, err := s.CreateSession(ctx, me, at(noon), identity.NewSession{User: w.user.ID})
		return err
	}},
	"RenewSession": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		_, _, err := s.RenewSession(ctx, me, at(noon), w.session.ID, identity.NewSession{User: w.user.ID})
		return err
	}},
	"Session": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		_, _, err := s.Session(ctx, me, w.token, noon, identity.SessionLimits{})
		return err
	}},
	"ListSessions": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		return empty(s.ListSessions(ctx, me, w.user.ID, noon))
	}},
	"NoteClient": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		return s.NoteClient(ctx, me, w.session.ID, w.client, noon)
	}},
	"AskByMail": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		return s.AskByMail(ctx, me, w.user.ID, "request")
	}},
	"EndSession": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		_, err := s.EndSession(ctx, me, at(noon), w.session.ID)
		return err
	}},
	"CreateFamily": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		_, err := s.CreateFamily(ctx, me, at(noon), identity.NewFamily{Grant: id.NewGrant(), User: w.user.ID, Client: w.client, Session: w.session.ID})
		return err
	}},
	"Rotate": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		_, err := s.Rotate(ctx, me, at(noon), rotation(w.family, 7)) // would revoke it at home
		return err
	}},
	"Family": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		_, err := s.Family(ctx, me, w.family.Grant)
		return err
	}},
	// A grant without a family may be revoked, so that a replayed code can be; it is then revoked in the neighbour's tenant.
	"RevokeGrant": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		ended, err := s.RevokeGrant(ctx, me, at(noon), w.family.Grant, id.Client{}, "test")
		if err != nil || len(ended.Revocations) != 1 || ended.Revocations[0].Tenant != me.Tenant {
			return errors.Join(errors.New("the revocation is not the neighbour's own"), err)
		}
		return identity.ErrNotFound
	}},
	"Revoke": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		return errors.Join(s.Revoke(ctx, me, at(noon), identity.RevokedSession, w.session.ID.String(), noon.Add(time.Hour)), identity.ErrNotFound)
	}},
	"Revocations": {attack: func(ctx context.Context, s *identity.Store, _ identity.TenantRef, _ *world) error {
		return empty(s.Revocations(ctx, newTenant(), noon))
	}},
	"Consent": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		_, err := s.Consent(ctx, me, w.user.ID, w.client)
		return err
	}},
	"GrantConsent": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		_, err := s.GrantConsent(ctx, me, at(noon), w.user.ID, w.client, []string{"everything"})
		return err
	}},
	"IssueInvitationToken": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		_, _, err := s.IssueInvitationToken(ctx, me, w.invitation, noon)
		return err
	}},
	"Invitation": {want: identity.ErrInvitation, attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		_, err := s.Invitation(ctx, me, w.link, noon)
		return err
	}},
	"AcceptInvitation": {want: identity.ErrInvitation, attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		_, _, err := s.AcceptInvitation(ctx, me, at(noon), w.link, goodPassword, "", policy)
		return err
	}},
	"ListAuditEvents": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, w *world) error {
		return empty(s.ListAuditEvents(ctx, me, identity.AuditPage{Resource: w.user.ID.String()}))
	}},
	"VerifyAudit": {attack: func(ctx context.Context, s *identity.Store, _ identity.TenantRef, _ *world) error {
		if n, err := s.VerifyAudit(ctx, newTenant()); n != 0 || err != nil {
			return errors.New("a new tenant has events")
		}
		return identity.ErrNotFound
	}},
	"EraseTenant": {attack: func(ctx context.Context, s *identity.Store, me identity.TenantRef, _ *world) error {
		return errors.Join(s.EraseTenant(ctx, me, at(noon), true), identity.ErrNotFound)
	}},
}

func TestNeighbourFindsNothing(t *testing.T) {
	s, ctx := open(t), context.Background()
	w, me := newWorld(t, s), newTenant()
	before := snapshot(t, s, w)

	ref := reflect.TypeFor[identity.TenantRef]()
	methods := reflect.TypeOf(s)
	seen := 0
	for i := range methods.NumMethod() {
		m := methods.Method(i)
		takesTenant := false
		for p := range m.Type.NumIn() {
			takesTenant = takesTenant || m.Type.In(p) == ref
		}
		if !takesTenant {
			continue
		}
		seen++
		t.Run(m.Name, func(t *testing.T) {
			row, there := neighbour[m.Name]
			if !there {
				t.Fatalf("%s has no row in the table of attacks", m.Name)
			}
			target := row.want
			if target == nil {
				target = identity.ErrNotFound
			}
			want(t, row.attack(ctx, s, me, w), target)
			// With the right tenant and somebody else's pool, and the other way round, there is nothing either.
			switch m.Name {
			case "GetUser", "Authenticate", "Session", "RenewSession", "Rotate", "Invitation", "AcceptInvitation", "UpdateUser", "DeleteUser", "SetPassword":
				want(t, row.attack(ctx, s, identity.TenantRef{Tenant: w.ref.Tenant, Pool: me.Pool}, w), target)
				want(t, row.attack(ctx, s, identity.TenantRef{Tenant: me.Tenant, Pool: w.ref.Pool}, w), target)
			}
		})
	}
	if seen != len(neighbour) {
		t.Errorf("%d methods take a tenant, the table has %d rows", seen, len(neighbour))
	}
	if after := snapshot(t, s, w); before != after {
		t.Errorf("the neighbour changed something:\nbefore %s\nafter  %s", before, after)
	}
}

// snapshot is what the attacked tenant sees of itself.
func snapshot(t *testing.T, s *identity.Store, w *world) string {
	t.Helper()
	ctx := context.Background()
	u, err := s.Authenticate(ctx, w.ref, at(noon), w.user.Email, goodPassword)
	ok(t, err)
	_, _, err = s.Session(ctx, w.ref, w.token, noon, identity.SessionLimits{})
	ok(t, err)
	f, err := s.Family(ctx, w.ref, w.family.Grant)
	ok(t, err)
	if !f.RevokeTime.IsZero() {
		t.Error("the family was revoked")
	}
	_, err = s.Invitation(ctx, w.ref, w.link, noon)
	ok(t, err)
	c, err := s.Consent(ctx, w.ref, w.user.ID, w.client)
	ok(t, err)
	return strings.Join(append(append(actions(t, s, w.ref), u.Name, u.Etag), append(u.Roles, c.Scopes...)...), " ")
}
