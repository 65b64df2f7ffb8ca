// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
	"github.com/tenantry/tenantry/services/identity"
)

// usersOf is whose users a call works on, with the tenant and the policy that holds for it.
type usersOf struct {
	ref    identity.TenantRef
	tenant tenancy.Tenant
	policy *snapshotv1.Policy
	parent string
}

func (s *Server) usersOf(ctx context.Context, c *call) (usersOf, error) {
	t, p, err := s.control.TenantView(ctx, c.resolved.Org, c.resolved.Tenant)
	if err != nil {
		return usersOf{}, err
	}
	return usersOf{identity.TenantRef{Tenant: t.ID, Pool: t.Pool}, t, p, tenantName(t.Org, t.ID)}, nil
}

// readersOf is usersOf for methods that only read, which need no policy.
func (s *Server) readersOf(ctx context.Context, c *call) (usersOf, error) {
	t, err := s.control.GetTenant(ctx, c.caller, c.resolved.Org, c.resolved.Tenant)
	if err != nil {
		return usersOf{}, err
	}
	return usersOf{identity.TenantRef{Tenant: t.ID, Pool: t.Pool}, t, nil, tenantName(t.Org, t.ID)}, nil
}

func (u *usersOf) passwords() identity.PasswordPolicy {
	return identity.PasswordPolicy{
		MinLength: int(u.policy.GetPassword().GetMinLength()), CommonCheck: u.policy.GetPassword().GetCommonCheck(), TenantName: u.tenant.DisplayName,
	}
}

// checkRoles wants every role to be one of the tenant's: a name that no app knows would be a mistake in writing.
func (u *usersOf) checkRoles(roles []string) error {
	var vs []tenancy.Violation
	for i, r := range roles {
		if !slices.ContainsFunc(u.tenant.Roles, func(have tenancy.Role) bool { return have.Name == r }) {
			vs = append(vs, tenancy.Violation{Field: fmt.Sprintf("user.roles[%d]", i), Text: "the tenant has no such role"})
		}
	}
	return tenancy.Violated(tenancy.ReasonInvalidArgument, vs)
}

// operation is who does it and when, for the audit log of the identity database.
func (s *Server) operator(c *call) identity.Op {
	return identity.Op{
		Now: s.now().UTC().Truncate(time.Microsecond), Actor: c.caller.Actor(), RequestID: c.id, IP: c.source, UserAgent: c.agent,
	}
}

// CreateUser implements UserService.
func (s *Server) CreateUser(ctx context.Context, req *controlv1.CreateUserRequest) (*controlv1.User, error) {
	c, in := callOf(ctx), req.GetUser()
	u, err := s.usersOf(ctx, c)
	if err != nil {
		return nil, err
	}
	op := s.operator(c)
	n := identity.NewUser{
		Profile: profileIn(in), Password: in.GetPassword(), Roles: in.GetRoles(), AppMetadata: rawObject(in.GetAppMetadata()), UserMetadata: rawObject(in.GetUserMetadata()),
	}
	if len(in.GetEmails()) != 1 {
		return nil, tenancy.RefuseField(tenancy.ReasonInvalidArgument, "user.emails", "a user has exactly one e-mail address")
	}
	n.Email, n.EmailVerified = in.GetEmails()[0].GetAddress(), in.GetEmails()[0].GetVerified()
	if st := in.GetState(); st != controlv1.User_STATE_UNSPECIFIED && st != controlv1.User_ACTIVE && (st != controlv1.User_INVITED || !req.GetInvite()) {
		return nil, tenancy.RefuseField(tenancy.ReasonInvalidArgument, "user.state", "leave it out: a new user is ACTIVE, or INVITED with invite")
	}
	if req.GetInvite() {
		if n.Password != "" {
			return nil, tenancy.RefuseField(tenancy.ReasonInvalidArgument, "invite", "a user has a password or an invitation, not both")
		}
		n.Invitation = &identity.NewInvitation{ExpireTime: op.Now.Add(u.policy.GetLifetimes().GetInvitation().AsDuration())}
	}
	if err := u.checkRoles(n.Roles); err != nil {
		return nil, err
	}
	if req.GetValidateOnly() {
		return s.wouldCreate(ctx, &u, n, op.Now)
	}
	v, err := s.users.CreateUser(ctx, u.ref, op, n, u.passwords())
	if err != nil {
		return nil, userError(err)
	}
	return userOut(u.parent, &v), nil
}

// wouldCreate checks what CreateUser would, and changes nothing.
func (s *Server) wouldCreate(ctx context.Context, u *usersOf, n identity.NewUser, now time.Time) (*controlv1.User, error) {
	address, _, err := identity.NormalizeEmail(n.Email)
	if err != nil {
		return nil, userError(err)
	}
	if n.Password != "" {
		if err := u.passwords().Check(n.Password, address); err != nil {
			return nil, userError(err)
		}
	}
	have, err := s.users.ListUsers(ctx, u.ref, identity.UserPage{Filter: identity.UserFilter{Email: address}, Limit: 1})
	if err != nil {
		return nil, userError(err)
	}
	if len(have) > 0 {
		return nil, userError(identity.ErrEmailTaken)
	}
	v := identity.User{
		Email: address, EmailVerified: n.EmailVerified, Profile: n.Profile, State: identity.UserActive, Roles: n.Roles, HasPassword: n.Password != "",
		AppMetadata: n.AppMetadata, UserMetadata: n.UserMetadata, CreateTime: now, UpdateTime: now,
	}
	if n.Invitation != nil {
		v.State = identity.UserInvited
	}
	return userOut(u.parent, &v), nil
}

// userRef is the user that a name names.
func userRef(name string) (id.User, error) {
	u, err := id.ParseUser(lastSegment(name, "users"))
	if err != nil {
		return id.User{}, tenancy.Refuse(tenancy.ReasonNotFound)
	}
	return u, nil
}

// GetUser implements UserService.
func (s *Server) GetUser(ctx context.Context, req *controlv1.GetUserRequest) (*controlv1.User, error) {
	user, err := userRef(req.GetName())
	if err != nil {
		return nil, err
	}
	u, err := s.readersOf(ctx, callOf(ctx))
	if err != nil {
		return nil, err
	}
	v, err := s.users.GetUser(ctx, u.ref, user)
	if err != nil {
		return nil, userError(err)
	}
	return userOut(u.parent, &v), nil
}

var userFields = []tenancy.FilterField{
	{Name: "email"}, {Name: "state", Check: func(v string) bool { return v == "ACTIVE" || v == "INVITED" || v == "SUSPENDED" }}, {Name: "roles", Has: true},
}

// ListUsers implements UserService.
func (s *Server) ListUsers(ctx context.Context, req *controlv1.ListUsersRequest) (*controlv1.ListUsersResponse, error) {
	f, err := tenancy.ParseFilter(req.GetFilter(), userFields)
	if err != nil {
		return nil, err
	}
	_, desc, err := tenancy.ParseOrder(req.GetOrderBy(), "create_time")
	if err != nil {
		return nil, err
	}
	p := identity.UserPage{Descending: desc}
	for _, r := range f {
		field := map[string]*string{"email": &p.Filter.Email, "roles": &p.Filter.Role, "state": (*string)(&p.Filter.State)}[r.Field]
		if *field != "" {
			return nil, tenancy.RefuseField(tenancy.ReasonFilterUnsupported, "filter", "the field "+r.Field+" may stand in it once")
		}
		*field = r.Value
	}
	users, next, err := s.userPage(ctx, listing(req), []string{"users", f.Canonical(), fmt.Sprint(desc)},
		func(u *usersOf, after id.User, limit int) ([]identity.User, error) {
			p.After, p.Limit = after, limit
			return s.users.ListUsers(ctx, u.ref, p)
		})
	if err != nil {
		return nil, err
	}
	return &controlv1.ListUsersResponse{Users: users, NextPageToken: next}, nil
}

// SearchUsers implements UserService.
func (s *Server) SearchUsers(ctx context.Context, req *controlv1.SearchUsersRequest) (*controlv1.SearchUsersResponse, error) {
	users, next, err := s.userPage(ctx, listing(req), []string{"search", req.GetQ()}, func(u *usersOf, after id.User, limit int) ([]identity.User, error) {
		return s.users.SearchUsers(ctx, u.ref, req.GetQ(), after, limit)
	})
	if err != nil {
		return nil, err
	}
	return &controlv1.SearchUsersResponse{Users: users, NextPageToken: next}, nil
}

func (s *Server) userPage(ctx context.Context, page tenancy.Page, binding []string, list func(u *usersOf, after id.User, limit int) ([]identity.User, error),
) (out []*controlv1.User, next string, err error) {
	c := callOf(ctx)
	limit, err := page.Limit()
	if err != nil {
		return nil, "", err
	}
	binding = append(binding, c.caller.Key.String(), c.resolved.Tenant.String())
	cursor, err := s.pages.Read(page.Token, binding...)
	if err != nil {
		return nil, "", err
	}
	var after id.User
	if cursor != nil && copy(after[:], cursor) != len(after) {
		return nil, "", tenancy.Refuse(tenancy.ReasonPageTokenInvalid)
	}
	u, err := s.readersOf(ctx, c)
	if err != nil {
		return nil, "", err
	}
	users, err := list(&u, after, limit+1)
	if err != nil {
		return nil, "", userError(err)
	}
	if len(users) > limit {
		users = users[:limit]
		last := users[limit-1].ID
		next = s.pages.Make(last[:], binding...)
	}
	return each(users, func(v *identity.User) *controlv1.User { return userOut(u.parent, v) }), next, nil
}

// UpdateUser implements UserService.
func (s *Server) UpdateUser(ctx context.Context, req *controlv1.UpdateUserRequest) (*controlv1.User, error) {
	c := callOf(ctx)
	user, err := userRef(req.GetUser().GetName())
	if err != nil {
		return nil, err
	}
	etag, err := oneEtag(req.GetEtag(), req.GetUser().GetEtag())
	if err != nil {
		return nil, err
	}
	u, err := s.usersOf(ctx, c)
	if err != nil {
		return nil, err
	}
	return update(req.GetUser(), req.GetUpdateMask(), "user", etag, "", func() (*controlv1.User, string, error) {
		v, err := s.users.GetUser(ctx, u.ref, user)
		if err != nil {
			return nil, "", userError(err)
		}
		return userOut(u.parent, &v), v.Etag, nil
	}, func(m *controlv1.User, changed []string, etag string) (*controlv1.User, error) {
		return s.writeUser(ctx, c, &u, user, m, changed, etag, req.GetValidateOnly())
	})
}

func (s *Server) writeUser(ctx context.Context, c *call, u *usersOf, user id.User, m *controlv1.User, changed []string, etag string, dry bool) (*controlv1.User, error) {
	password := m.GetPassword()
	m.Password = ""
	change, err := userChange(m, changed)
	if err != nil {
		return nil, err
	}
	if slices.Contains(changed, "roles") {
		if err := u.checkRoles(m.GetRoles()); err != nil {
			return nil, err
		}
	}
	if password != "" {
		// Looked at first: what is changed beside it must not be left half done.
		if err := u.passwords().Check(password, m.GetEmails()[0].GetAddress()); err != nil {
			return nil, userError(err)
		}
	}
	if dry {
		v, err := s.users.GetUser(ctx, u.ref, user)
		if err != nil {
			return nil, userError(err)
		}
		if v.Etag != etag {
			return nil, userError(identity.ErrEtag)
		}
		return m, nil
	}
	op := s.operator(c)
	if len(changed) > 1 || password == "" {
		if _, _, err := s.users.UpdateUser(ctx, u.ref, op, user, change, etag); err != nil {
			return nil, userError(err)
		}
	}
	if password != "" {
		if _, err := s.users.SetPassword(ctx, u.ref, op, user, password, u.passwords(), id.Session{}); err != nil {
			return nil, userError(err)
		}
	}
	v, err := s.users.GetUser(ctx, u.ref, user)
	if err != nil {
		return nil, userError(err)
	}
	return userOut(u.parent, &v), nil
}

// userChange is the change of the named fields.
func userChange(m *controlv1.User, changed []string) (ch identity.UserChange, err error) {
	for _, f := range changed {
		switch f {
		case "display_name":
			ch.Name = new(m.GetDisplayName())
		case "locale":
			ch.Locale = new(m.GetLocale())
		case "state":
			st := identity.UserState(m.GetState().String())
			if st != identity.UserActive && st != identity.UserSuspended {
				return ch, tenancy.RefuseField(tenancy.ReasonInvalidArgument, "user.state", "it can be set to ACTIVE or SUSPENDED")
			}
			ch.State = &st
		case "emails":
			if len(m.GetEmails()) != 1 {
				return ch, tenancy.RefuseField(tenancy.ReasonInvalidArgument, "user.emails", "a user has exactly one e-mail address")
			}
			ch.Email, ch.EmailVerified = new(m.GetEmails()[0].GetAddress()), new(m.GetEmails()[0].GetVerified())
		case "profile":
			p := m.GetProfile()
			ch.GivenName, ch.FamilyName, ch.Nickname = new(p.GetGivenName()), new(p.GetFamilyName()), new(p.GetNickname())
			ch.PreferredUsername, ch.Picture, ch.Website, ch.Zoneinfo = new(p.GetPreferredUsername()), new(p.GetPicture()), new(p.GetWebsite()), new(p.GetZoneinfo())
		case "roles":
			ch.Roles = new(append([]string{}, m.GetRoles()...))
		case "app_metadata":
			ch.AppMetadata = new(orEmpty(rawObject(m.GetAppMetadata())))
		case "user_metadata":
			ch.UserMetadata = new(orEmpty(rawObject(m.GetUserMetadata())))
		}
	}
	return ch, nil
}

func orEmpty(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("{}")
	}
	return raw
}

// DeleteUser implements UserService.
func (s *Server) DeleteUser(ctx context.Context, req *controlv1.DeleteUserRequest) (*controlv1.User, error) {
	c := callOf(ctx)
	user, err := userRef(req.GetName())
	if err != nil {
		return nil, err
	}
	u, err := s.readersOf(ctx, c)
	if err != nil {
		return nil, err
	}
	v, err := s.users.GetUser(ctx, u.ref, user)
	if err != nil {
		return nil, userError(err)
	}
	op := s.operator(c)
	etag := req.GetEtag()
	if etag == "*" {
		etag = ""
	}
	if req.GetValidateOnly() {
		if etag != "" && etag != v.Etag {
			return nil, userError(identity.ErrEtag)
		}
	} else if _, err := s.users.DeleteUser(ctx, u.ref, op, user, etag); err != nil {
		return nil, userError(err)
	}
	// Nothing of the user is kept, so the answer is the last that is seen of them.
	m := userOut(u.parent, &v)
	m.State, m.DeleteTime, m.PurgeTime = controlv1.User_DELETED, timestamp(op.Now), timestamp(op.Now)
	return m, nil
}

// refuseUsers refuses to go on when the tenant of the call has a user.
func (s *Server) refuseUsers(ctx context.Context, c *call) error {
	t, err := s.control.GetTenant(ctx, c.caller, c.resolved.Org, c.resolved.Tenant)
	if err != nil {
		return err
	}
	users, err := s.users.ListUsers(ctx, identity.TenantRef{Tenant: t.ID, Pool: t.Pool}, identity.UserPage{Limit: 1})
	if err != nil {
		return userError(err)
	}
	if len(users) > 0 {
		return refuse(reasonTenantHasUsers, "")
	}
	return nil
}

// userError hands on what the error table knows; anything else means that the identity database cannot answer.
func userError(err error) error {
	var known *tenancy.Error
	if errors.As(err, &known) || identityRefusal(err) != nil || errors.Is(err, secret.ErrBusy) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return tenancy.Refuse(tenancy.ReasonUnavailable).Because(err)
}

// passwordText is the sentence of a broken rule; it never quotes the password.
func passwordText(v identity.PasswordViolation, least int) string {
	switch v {
	case identity.PasswordTooShort:
		return fmt.Sprintf("use at least %d characters", least)
	case identity.PasswordTooLong:
		return "use at most 1024 bytes"
	case identity.PasswordUnusable:
		return "use text without control characters"
	case identity.PasswordCommon:
		return "choose one that is not on the list of common passwords"
	case identity.PasswordIsEmail:
		return "choose one that is not the e-mail address"
	case identity.PasswordIsTenant:
		return "choose one that is not the name of the tenant"
	}
	return "choose another one"
}

func profileIn(m *controlv1.User) identity.Profile {
	p := m.GetProfile()
	return identity.Profile{
		Name: m.GetDisplayName(), GivenName: p.GetGivenName(), FamilyName: p.GetFamilyName(), Nickname: p.GetNickname(),
		PreferredUsername: p.GetPreferredUsername(), Picture: p.GetPicture(), Website: p.GetWebsite(), Locale: m.GetLocale(), Zoneinfo: p.GetZoneinfo(),
	}
}

func userOut(parent string, u *identity.User) *controlv1.User {
	m := &controlv1.User{
		Name: parent + "/users/" + idText(u.ID), Uid: uidText(u.ID), DisplayName: u.Name, State: controlv1.User_State(controlv1.User_State_value[string(u.State)]),
		Etag: u.Etag, CreateTime: timestamp(u.CreateTime), UpdateTime: timestamp(u.UpdateTime), Locale: u.Locale, Roles: u.Roles,
		Emails:      []*controlv1.UserEmail{{Address: u.Email, Verified: u.EmailVerified}},
		AppMetadata: object(u.AppMetadata), UserMetadata: object(u.UserMetadata),
	}
	if u.MembershipSuspended {
		m.State = controlv1.User_SUSPENDED
	}
	p := u.Profile
	p.Name, p.Locale = "", ""
	if p != (identity.Profile{}) {
		m.Profile = &controlv1.UserProfile{
			GivenName: p.GivenName, FamilyName: p.FamilyName, Nickname: p.Nickname, PreferredUsername: p.PreferredUsername, Picture: p.Picture,
			Website: p.Website, Zoneinfo: p.Zoneinfo,
		}
	}
	if u.HasPassword {
		m.Credentials = []*controlv1.CredentialSummary{{Kind: controlv1.CredentialSummary_PASSWORD}}
	}
	if strings.HasSuffix(m.GetName(), "/-") {
		m.Etag = ""
	}
	return m
}
