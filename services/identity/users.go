// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/identity/internal/store"
)

// Registration is a person who comes by themselves.
type Registration struct {
	// Email is the address; unverified until somebody proves to read it.
	Email string
	// Password in plain text, as typed.
	Password string
	// Profile, as far as the form asked.
	Profile Profile
	// Roles that the tenant gives to people who register.
	Roles []string
}

// NewUser is a user that the API makes.
type NewUser struct {
	// Email of the user.
	Email string
	// EmailVerified says that the caller vouches for the address.
	EmailVerified bool
	// Profile of the user.
	Profile Profile
	// Password in plain text; empty for none.
	Password string
	// Roles and groups in the tenant.
	Roles, Groups []string
	// AppMetadata and UserMetadata are JSON objects; empty for {}.
	AppMetadata, UserMetadata json.RawMessage
	// Invitation to be mailed, for a user without a password; nil for none. A zero ID is drawn.
	Invitation *NewInvitation
}

// Register makes an active user of a person who comes by themselves. Errors: ErrEmailTaken, *PasswordError, *InvalidError,
// secret.ErrBusy.
func (s *Store) Register(ctx context.Context, ref TenantRef, op Op, r Registration, policy PasswordPolicy) (User, error) {
	n := NewUser{Email: r.Email, Profile: r.Profile, Password: r.Password, Roles: r.Roles}
	return s.create(ctx, ref, op, n, policy, "OPEN", true)
}

// CreateUser makes a user for the API: with a password, with an invitation, or with neither (who then cannot log in by password).
// Errors as Register's.
func (s *Store) CreateUser(ctx context.Context, ref TenantRef, op Op, n NewUser, policy PasswordPolicy) (User, error) {
	return s.create(ctx, ref, op, n, policy, "API", n.Password != "")
}

func (s *Store) create(ctx context.Context, ref TenantRef, op Op, n NewUser, policy PasswordPolicy, source string, withPassword bool) (User, error) {
	u := store.NewUser{
		ID: id.NewUser(), Membership: id.NewMembership(), EmailVerified: n.EmailVerified, State: UserActive, Roles: n.Roles,
		Groups: n.Groups, Source: source, AppMetadata: n.AppMetadata, UserMetadata: n.UserMetadata,
	}
	var err error
	if u.Email, u.EmailKey, err = NormalizeEmail(n.Email); err != nil {
		return User{}, err
	}
	if u.Profile, u.NameKey, err = profile(n.Profile); err != nil {
		return User{}, err
	}
	if err := errors.Join(labels(n.Roles, n.Groups), metadata("app_metadata", n.AppMetadata), metadata("user_metadata", n.UserMetadata)); err != nil {
		return User{}, err
	}
	if n.Invitation != nil {
		if withPassword {
			return User{}, &InvalidError{Field: "invitation", Reason: "a user has a password or an invitation, not both"}
		}
		i := *n.Invitation
		if i.ID.IsZero() {
			i.ID = id.NewInvitation()
		}
		if !i.ExpireTime.After(op.Now) {
			return User{}, &InvalidError{Field: "invitation", Reason: "it expires before it begins"}
		}
		u.Invitation, u.State, u.Source = &i, UserInvited, "INVITE"
	}
	if withPassword {
		if u.PHC, err = s.hash(ctx, ref, n.Password, policy, u.Email); err != nil {
			return User{}, err
		}
	}
	if op.Actor == "" {
		op.Actor = u.ID.String() // who registers does it on their own behalf
	}
	if err := s.db.CreateUser(ctx, ref, op, u); err != nil {
		return User{}, err
	}
	return s.db.GetUser(ctx, ref, u.ID)
}

// GetUser answers a member of the tenant.
func (s *Store) GetUser(ctx context.Context, ref TenantRef, user id.User) (User, error) {
	return s.db.GetUser(ctx, ref, user)
}

// ListUsers answers a page of the tenant's members in the order of their creation.
func (s *Store) ListUsers(ctx context.Context, ref TenantRef, p UserPage) ([]User, error) {
	p.Limit = pageSize(p.Limit)
	if p.Filter.Email != "" {
		_, key, err := NormalizeEmail(p.Filter.Email)
		if err != nil {
			return nil, nil // nobody has what is no address
		}
		p.Filter.Email = key
	}
	return s.db.ListUsers(ctx, ref, p)
}

// SearchUsers answers members whose e-mail address or full name begins with prefix, whatever the case, after the given id.
func (s *Store) SearchUsers(ctx context.Context, ref TenantRef, prefix string, after id.User, limit int) ([]User, error) {
	key := foldKey(prefix)
	if key == "" {
		return nil, nil
	}
	return s.db.SearchUsers(ctx, ref, key, key, after, pageSize(limit))
}

// UpdateUser changes what c names, if the etag is empty or the user's. Suspending ends the user's sessions and families.
// Errors: ErrNotFound, ErrEtag, ErrEmailTaken, *InvalidError.
func (s *Store) UpdateUser(ctx context.Context, ref TenantRef, op Op, user id.User, c UserChange, etag string) (User, Ended, error) {
	if err := normalizeChange(&c); err != nil {
		return User{}, Ended{}, err
	}
	return s.db.UpdateUser(ctx, ref, op, user, c, etag)
}

// DeleteUser removes the user and all they have, if the etag is empty or the user's. The id is never drawn again.
func (s *Store) DeleteUser(ctx context.Context, ref TenantRef, op Op, user id.User, etag string) (Ended, error) {
	return s.db.DeleteUser(ctx, ref, op, user, etag)
}

// SetPassword gives the user a new password and ends their sessions and families, except keep and what was granted in it.
// Errors: ErrNotFound, *PasswordError, secret.ErrBusy.
func (s *Store) SetPassword(ctx context.Context, ref TenantRef, op Op, user id.User, password string, policy PasswordPolicy, keep id.Session) (Ended, error) {
	u, err := s.db.GetUser(ctx, ref, user)
	if err != nil {
		return Ended{}, err
	}
	phc, err := s.hash(ctx, ref, password, policy, u.Email)
	if err != nil {
		return Ended{}, err
	}
	return s.db.SetPassword(ctx, ref, op, user, phc, keep)
}

// Authenticate checks a password. Whatever is wrong (no such user, no password, the wrong one, locked, suspended, not a member) is
// ErrBadCredentials after the same work: one argon2id and one durable write. Other errors are secret.ErrBusy and the database's;
// they say nothing about the user.
func (s *Store) Authenticate(ctx context.Context, ref TenantRef, op Op, email, password string) (User, error) {
	typed, usable := normalizePassword(password)
	_, key, err := NormalizeEmail(email)
	if err != nil {
		key = "" // nobody has it: the lookup finds nobody, in the usual time
	}
	login, err := s.db.FindLogin(ctx, ref, key)
	switch {
	case errors.Is(err, ErrNotFound):
		return User{}, s.refuse(ctx, ref, key, typed)
	case err != nil:
		return User{}, err
	case login.PHC == "" || !usable || login.LockedUntil.After(op.Now):
		return User{}, s.refuse(ctx, ref, key, typed)
	}
	right, rehash, err := s.hasher.Verify(ctx, ref.Tenant, login.PHC, typed)
	if err != nil {
		return User{}, err
	}
	if !right {
		if err := s.db.LoginFailed(ctx, ref, login.ID, op.Now); err != nil {
			return User{}, err
		}
		return User{}, ErrBadCredentials
	}
	return s.succeed(ctx, ref, op.Now, &login, typed, rehash)
}

// refuse does what a wrong password costs, for somebody whose password cannot be right.
func (s *Store) refuse(ctx context.Context, ref TenantRef, key, typed string) error {
	if err := s.hasher.VerifyAbsent(ctx, ref.Tenant, typed); err != nil {
		return err
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	if err := s.db.LoginUnknown(ctx, ref, int(h.Sum32()%store.UnknownSlots)); err != nil {
		return err
	}
	return ErrBadCredentials
}

func (s *Store) succeed(ctx context.Context, ref TenantRef, now time.Time, login *store.Login, typed string, rehash bool) (User, error) {
	var better string
	if rehash {
		var err error
		// The old string still works: a full queue is no reason to refuse a right password.
		if better, err = s.hasher.Hash(ctx, ref.Tenant, typed); err != nil {
			better = ""
		}
	}
	ok, err := s.db.LoginSucceeded(ctx, ref, login.ID, login.PHC, better, now)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return User{}, err
	}
	if !ok || !login.CanLogIn() {
		return User{}, ErrBadCredentials
	}
	return login.User, nil
}

// hash checks a new password against the policy and hashes it.
func (s *Store) hash(ctx context.Context, ref TenantRef, password string, policy PasswordPolicy, email string) (string, error) {
	if err := policy.Check(password, email); err != nil {
		return "", err
	}
	typed, _ := normalizePassword(password)
	return s.hasher.Hash(ctx, ref.Tenant, typed)
}
