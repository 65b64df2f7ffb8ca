// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// NewFamily is a refresh family to be made for a grant.
type NewFamily struct {
	// Grant that was drawn when the code was issued.
	Grant id.Grant
	// User who gave it.
	User id.User
	// Client it was given to.
	Client id.Client
	// Scopes that were granted.
	Scopes []string
	// Session it was given in; zero when there was none.
	Session id.Session
	// Offline families outlive their session: offline_access was granted.
	Offline bool
	// AuthTime, AMR and ACR are how the user logged in.
	AuthTime time.Time
	AMR      []string
	ACR      string
	// Resource is the audience that was asked for (RFC 8707).
	Resource string
	// Claims is the claims parameter of the authorization request, as it came.
	Claims string
	// Binding is the key that its refresh tokens are bound to, as oauth2.Binding prints it; empty for none.
	Binding string
	// AuthorizationDetails are those granted (RFC 9396), a JSON array; empty for none.
	AuthorizationDetails string
	// Life is how long the family may live since now; zero means a year.
	Life time.Duration
}

const defaultFamilyLife = 365 * 24 * time.Hour

// CreateFamily begins a family at generation 1. ErrNotFound when the user may not log in, when the session has ended, or when the
// grant was revoked. Called again for the same grant, user and client before any rotation, it answers the same family, so that a
// failed code exchange can be repeated.
func (s *Store) CreateFamily(ctx context.Context, ref TenantRef, op Op, n NewFamily) (Family, error) {
	if err := wordLists(n.Scopes, n.AMR); err != nil {
		return Family{}, err
	}
	if n.Life <= 0 {
		n.Life = defaultFamilyLife
	}
	return s.db.CreateFamily(ctx, ref, Family{
		Grant: n.Grant, User: n.User, Client: n.Client, Scopes: n.Scopes, Session: n.Session, Offline: n.Offline, AuthTime: n.AuthTime,
		AMR: n.AMR, ACR: n.ACR, Resource: n.Resource, Claims: n.Claims, Binding: n.Binding, AuthorizationDetails: n.AuthorizationDetails,
		CreateTime: op.Now, ExpireTime: op.Now.Add(n.Life),
	})
}

// Rotate takes a family from the presented generation to the next, in one round trip; the answer is durable. The new refresh
// token is the answer's Generation. ErrReused when an old token came back: the family is revoked then, and the caller marks the
// grant in the runtime Redis. ErrNotFound for a family that is unknown, another client's, bound to another key, expired, revoked, or whose user may not
// log in.
func (s *Store) Rotate(ctx context.Context, ref TenantRef, op Op, r Rotation) (Rotated, error) {
	return s.db.Rotate(ctx, ref, op, r)
}

// Family answers a family as it is, revoked and expired ones too, for introspection of refresh tokens.
func (s *Store) Family(ctx context.Context, ref TenantRef, grant id.Grant) (Family, error) {
	return s.db.GetFamily(ctx, ref, grant)
}

// RevokeGrant revokes the grant's family, if it has one, and its access tokens. With a client it is ErrNotFound when the family is
// another client's (RFC 7009 section 2.1); the zero client revokes whosoever it is. reason goes to the audit event.
func (s *Store) RevokeGrant(ctx context.Context, ref TenantRef, op Op, grant id.Grant, client id.Client, reason string) (Ended, error) {
	return s.db.RevokeGrant(ctx, ref, op, grant, client, reason)
}

// Revoke stores that tokens of this kind and subject must not be believed until then. The caller marks it in the runtime Redis.
func (s *Store) Revoke(ctx context.Context, ref TenantRef, op Op, kind RevocationKind, subject string, until time.Time) error {
	return s.db.Revoke(ctx, ref, op, kind, subject, until)
}

// LoadRevocations hands the revocations of all tenants that were stored at or after since and still matter at now to fn, in pages.
// The zero since rebuilds the marks of an empty Redis; a moment ago (with some seconds of overlap for clocks and open transactions)
// finds those of the processes that have no Redis.
func (s *Store) LoadRevocations(ctx context.Context, since, now time.Time, fn func([]Revocation) error) error {
	return s.db.LoadRevocations(ctx, since, now, fn)
}

// Revocations answers what of one tenant is revoked and still matters at now. It is what a data plane reads before it believes in
// the absence of a mark: when the runtime Redis has been flushed, or was away while others revoked.
func (s *Store) Revocations(ctx context.Context, ref TenantRef, now time.Time) ([]Revocation, error) {
	return s.db.Revocations(ctx, ref, now)
}

// Consent answers what the user has said yes to at this client; ErrNotFound when nothing.
func (s *Store) Consent(ctx context.Context, ref TenantRef, user id.User, client id.Client) (Consent, error) {
	return s.db.Consent(ctx, ref, user, client)
}

// GrantConsent adds scopes to what the user has said yes to, and answers all of them.
func (s *Store) GrantConsent(ctx context.Context, ref TenantRef, op Op, user id.User, client id.Client, scopes []string) (Consent, error) {
	return s.db.GrantConsent(ctx, ref, op, user, client, scopes)
}
