// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/identity/internal/store"
)

// An invitation's link ends in the base64url of its id and 256 random bits: the id finds the row, the bits prove the mail.
const invitationTokenLen = 16 + 32

func parseInvitationToken(token string) (id.Invitation, [32]byte, error) {
	var raw [invitationTokenLen]byte
	if len(token) != base64.RawURLEncoding.EncodedLen(invitationTokenLen) {
		return id.Invitation{}, [32]byte{}, ErrInvitation
	}
	if _, err := base64.RawURLEncoding.Strict().Decode(raw[:], []byte(token)); err != nil {
		return id.Invitation{}, [32]byte{}, ErrInvitation
	}
	return id.Invitation(raw[:16]), sha256.Sum256(raw[16:]), nil
}

// IssueInvitationToken draws a new link secret for an open invitation. The mail worker calls it while it writes the mail: the plain
// text exists there and nowhere else. Earlier mails' links keep working, up to three. ErrNotFound when the invitation is not open.
func (s *Store) IssueInvitationToken(ctx context.Context, ref TenantRef, invitation id.Invitation, now time.Time) (Invitation, string, error) {
	secret, hash := newSecret()
	i, err := s.db.AddInvitationToken(ctx, ref, invitation, hash, now)
	if err != nil {
		return Invitation{}, "", err
	}
	raw := append(append(make([]byte, 0, invitationTokenLen), invitation[:]...), secret[:]...)
	return i, base64.RawURLEncoding.EncodeToString(raw), nil
}

// Invitation answers the open invitation of a link; ErrInvitation otherwise.
func (s *Store) Invitation(ctx context.Context, ref TenantRef, token string, now time.Time) (Invitation, error) {
	invitation, hash, err := parseInvitationToken(token)
	if err != nil {
		return Invitation{}, err
	}
	i, err := s.db.FindInvitation(ctx, ref, invitation, hash, now)
	if errors.Is(err, ErrNotFound) {
		return Invitation{}, ErrInvitation
	}
	return i, err
}

// AcceptInvitation uses a link up: the user gets this password, a proven address and the invitation's roles, and is active. Of many
// callers with one link one wins, the others get ErrInvitation. An empty name leaves the name as it is. When somebody had
// registered the address before without proof, their sessions are in Ended. Errors: ErrInvitation, *PasswordError,
// *InvalidError, secret.ErrBusy.
func (s *Store) AcceptInvitation(ctx context.Context, ref TenantRef, op Op, token, password, name string, policy PasswordPolicy) (User, Ended, error) {
	invitation, hash, err := parseInvitationToken(token)
	if err != nil {
		return User{}, Ended{}, err
	}
	// Before the hash: who has no link gets no CPU time, and the policy must know the address.
	i, err := s.Invitation(ctx, ref, token, op.Now)
	if err != nil {
		return User{}, Ended{}, err
	}
	name, err = text("name", name, maxName)
	if err != nil {
		return User{}, Ended{}, err
	}
	phc, err := s.hash(ctx, ref, password, policy, i.Email)
	if err != nil {
		return User{}, Ended{}, err
	}
	u, ended, err := s.db.AcceptInvitation(ctx, ref, op, invitation, hash, phc, name, foldKey(name))
	if errors.Is(err, ErrNotFound) {
		return User{}, Ended{}, ErrInvitation
	}
	return u, ended, err
}

// SeedError says which seed of a list can never be applied; the others were not applied either.
type SeedError struct {
	// Index of the seed in the list.
	Index int
	// Err is why.
	Err error
}

// Error says which seed and why.
func (e *SeedError) Error() string { return fmt.Sprintf("identity: seed %d: %v", e.Index, e.Err) }

// Unwrap gives the reason.
func (e *SeedError) Unwrap() error { return e.Err }

// ApplySeeds applies the seeds of many tenants in one transaction: users, memberships, invitations and the jobs for their mails.
// It is idempotent by the seed's content. A *SeedError names a seed that can never be applied; any other error may go away.
func (s *Store) ApplySeeds(ctx context.Context, seeds []Seed) error {
	if len(seeds) == 0 {
		return nil
	}
	list := make([]store.DigestedSeed, len(seeds))
	for i := range seeds {
		if err := digestSeed(&list[i], &seeds[i]); err != nil {
			return &SeedError{Index: i, Err: err}
		}
	}
	return s.db.ApplySeeds(ctx, list)
}

func digestSeed(out *store.DigestedSeed, seed *Seed) error {
	if seed.Tenant.IsZero() || seed.Pool.IsZero() || seed.Time.IsZero() {
		return &InvalidError{Field: "tenant", Reason: "tenant, pool and time are needed"}
	}
	out.Seed = *seed
	out.Users = make([]SeedUser, len(seed.Users))
	for i, u := range seed.Users {
		if u.ID.IsZero() || u.Membership.IsZero() || u.Invitation != nil && (u.Invitation.ID.IsZero() || !u.Invitation.ExpireTime.After(seed.Time)) {
			return &InvalidError{Field: "users", Reason: "ids and an expiry after the seed's time are needed"}
		}
		var err error
		if u.Email, u.EmailKey, err = NormalizeEmail(u.Email); err != nil {
			return err
		}
		if u.Profile, u.NameKey, err = profile(u.Profile); err != nil {
			return err
		}
		if err := labels(u.Roles, u.Groups); err != nil {
			return err
		}
		out.Users[i] = u
	}
	raw, err := json.Marshal(seed)
	if err != nil {
		return fmt.Errorf("identity: digest a seed: %w", err)
	}
	out.Digest = sha256.Sum256(raw)
	return nil
}
