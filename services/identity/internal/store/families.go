// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
)

const familyColumns = `f.grant_id, f.user_id, f.client_id, f.scopes, f.session_id, f.offline, f.auth_time, f.amr, f.acr, f.resource,
	f.claims, f.binding, f.authorization_details, f.generation, f.rotate_time, f.create_time, f.expire_time, f.revoke_time`

func familyDest(f *Family) []any {
	return []any{
		(*[16]byte)(&f.Grant), (*[16]byte)(&f.User), (*[16]byte)(&f.Client),
		words{&f.Scopes},
		scanID(&f.Session), &f.Offline,
		when{&f.AuthTime},
		words{&f.AMR},
		&f.ACR, &f.Resource, &f.Claims, &f.Binding, &f.AuthorizationDetails, &f.Generation,
		when{&f.RotateTime},
		when{&f.CreateTime},
		when{&f.ExpireTime},
		when{&f.RevokeTime},
	}
}

// CreateFamily stores a family at generation 1 and answers it as stored. The user must be able to log in and the session, when
// one is named, must be live: both are locked, so that a logout or a suspension either sees the family or prevents it. The family
// of an online grant ends with its session at the latest. A second call for the same grant, user and client, before any rotation,
// answers the same family: a code exchange that failed after this point can be repeated.
func (s *Store) CreateFamily(ctx context.Context, ref TenantRef, n Family) (Family, error) {
	source := `, NULL::uuid AS session_id, 'infinity'::timestamptz AS session_expire` + ofTenant
	locks := ` FOR SHARE OF u`
	if !n.Session.IsZero() {
		source = `, s.id AS session_id, s.expire_time AS session_expire
			FROM users u JOIN memberships m ON m.tenant_id = $1 AND m.user_id = u.id
				JOIN sessions s ON s.tenant_id = $1 AND s.id = $6 AND s.user_id = u.id AND s.expire_time > $14
			WHERE u.pool_id = $2`
		locks = ` FOR SHARE OF u, s`
	}
	var f Family
	now := micro(n.CreateTime)
	err := s.one(ctx, ref, `
		WITH who AS (
			SELECT u.id`+source+` AND u.id = $4 AND u.state = 'ACTIVE' AND m.state = 'ACTIVE'
				AND NOT EXISTS (SELECT FROM revocations r WHERE r.tenant_id = $1 AND r.kind = 'gnt' AND r.subject = $16)`+locks+`
		)
		INSERT INTO refresh_families AS f (tenant_id, grant_id, pool_id, user_id, client_id, session_id, offline, scopes, resource,
			auth_time, amr, acr, claims, generation, rotate_time, create_time, expire_time, binding, authorization_details)
		SELECT $1, $3, $2, who.id, $5, COALESCE(who.session_id, $6::uuid), $7, $8, $9, $10, $11, $12, $13, 1, $14, $14,
			CASE WHEN $7 THEN $15 ELSE least($15, who.session_expire) END, $17, $18
		FROM who
		ON CONFLICT (tenant_id, grant_id) DO UPDATE SET rotate_time = f.rotate_time
			WHERE f.user_id = excluded.user_id AND f.client_id = excluded.client_id AND f.binding = excluded.binding
				AND f.generation = 1 AND f.revoke_time IS NULL
		RETURNING `+familyColumns,
		[]any{
			uuid(ref.Tenant), uuid(ref.Pool), uuid(n.Grant), uuid(n.User), uuid(n.Client), orNull(n.Session), n.Offline, strings.Join(n.Scopes, " "),
			n.Resource, micro(n.AuthTime), strings.Join(n.AMR, " "), n.ACR, n.Claims, now, micro(n.ExpireTime), n.Grant.String(),
			n.Binding, n.AuthorizationDetails,
		}, familyDest(&f)...)
	return f, err
}

// A rotation is one statement, so that it is atomic, durable when answered, and never waits for anything but the family's own row.
// PostgreSQL evaluates conditions and SET list again on the newest version of the row when it had to wait for it: of many who
// present the newest generation one advances it and the others find themselves one behind, within the grace.
//
//	presented = newest                      → newest + 1
//	presented = newest − 1, within grace    → newest again (it is unused: using it would have advanced it)
//	anything else                           → revoked; a number above the newest means that this database has forgotten rotations
//	                                          (a restore), and then an old token cannot be told from a stolen one
//	another key than the family's           → nothing: who has not the key has not proven to have a token
//
// advance does the first two and touches nothing otherwise. It is apart from judge, which can do all three, because the machinery of
// a revocation costs PostgreSQL as much as the rotation itself, also when it has nothing to do.
var advance = rotation("$5 + 1")

// hold is advance for clients whose refresh tokens do not rotate: their newest generation stays the newest.
var hold = rotation("f.generation")

func rotation(next string) string {
	return `
	UPDATE refresh_families f SET
		generation = ` + next + `,
		rotate_time = CASE WHEN f.generation = $5 THEN $4 ELSE f.rotate_time END,
		rotate_mark = CASE WHEN f.generation = $5 THEN $9 ELSE f.rotate_mark END
	FROM users u, memberships m
	WHERE f.tenant_id = $1 AND f.grant_id = $2 AND f.client_id = $3 AND f.revoke_time IS NULL
		AND f.expire_time > $4 AND f.rotate_time > $7 AND f.create_time > $8
		AND (f.generation = $5 OR f.generation = $5 + 1 AND f.rotate_time >= $6)
		AND (f.binding = $11 OR f.binding = '')
		AND u.pool_id = $10 AND u.id = f.user_id AND u.state = 'ACTIVE'
		AND m.tenant_id = $1 AND m.user_id = f.user_id AND m.state = 'ACTIVE'
	RETURNING f.user_id, f.scopes, f.session_id, f.offline, f.auth_time, f.amr, f.acr, f.resource, f.claims, f.binding,
		f.authorization_details, f.generation, f.rotate_time, f.create_time, f.expire_time, f.rotate_mark = $9,
		u.email, u.email_verified, u.name, u.profile, u.version, u.create_time, u.update_time, m.id, m.roles, m.groups`
}

// judge decides in one statement about what advance did not do, so that a token is never called stolen on the word of an older row.
// The revocation's row and audit event hang on the same statement: a crash leaves all or nothing.
var judge = `
	WITH f AS (
		UPDATE refresh_families f SET revoke_time = $4, revoke_reason = 'reuse'
		WHERE f.tenant_id = $1 AND f.grant_id = $2 AND f.client_id = $3 AND f.revoke_time IS NULL
			AND f.expire_time > $4 AND f.rotate_time > $7 AND f.create_time > $8
			AND f.pool_id = $11 AND (f.binding = $12 OR f.binding = '') AND NOT (f.generation = $5 OR f.generation = $5 + 1 AND f.rotate_time >= $6)
		RETURNING f.grant_id
	), r AS (
		INSERT INTO revocations AS v (tenant_id, kind, subject, until, create_time)
		SELECT $1, 'gnt', $9, $10, $4 FROM f
		ON CONFLICT (tenant_id, kind, subject) DO UPDATE SET until = greatest(v.until, excluded.until)
		RETURNING ` + appendAudit(13) + `
	)
	SELECT FROM f`

// Rotate takes a family from the presented generation to the next: one round trip, two for a refusal. ErrReused when an old token
// came back, and then the family is revoked; ErrNotFound for a family that is unknown, another client's, expired, revoked, or whose
// user may not log in. Session is zero in the answer of an offline family: its tokens must outlive that session's revocation.
func (s *Store) Rotate(ctx context.Context, ref TenantRef, op Op, r Rotation) (Rotated, error) {
	var (
		out  Rotated
		mine bool
	)
	now := micro(op.Now)
	args := append(make([]any, 0, 12+auditParams),
		uuid(ref.Tenant), uuid(r.Grant), uuid(r.Client), now, r.Generation, micro(now.Add(-r.Grace)), cutoff(now, r.Idle),
		cutoff(now, r.Absolute), int64(rand.Uint64()), uuid(ref.Pool), r.Binding) //nolint:gosec // a mark, not a secret
	f, u := &out.Family, &out.Owner
	f.Grant, f.Client, u.State = r.Grant, r.Client, UserActive
	statement := advance
	if r.Keep {
		statement = hold
	}
	err := s.one(ctx, ref, statement, args,
		(*[16]byte)(&f.User), words{&f.Scopes}, scanID(&f.Session), &f.Offline, when{&f.AuthTime}, words{&f.AMR}, &f.ACR, &f.Resource,
		&f.Claims, &f.Binding, &f.AuthorizationDetails, &f.Generation, when{&f.RotateTime}, when{&f.CreateTime}, when{&f.ExpireTime}, &mine,
		&u.Email, &u.EmailVerified, &u.Name, claims{&u.Profile}, versioned{u}, when{&u.CreateTime}, when{&u.UpdateTime},
		(*[16]byte)(&u.Membership), &u.Roles, &u.Groups)
	switch {
	case errors.Is(err, ErrNotFound):
		return Rotated{}, s.judge(ctx, ref, op, r, args[:8:8])
	case err != nil:
		return Rotated{}, err
	}
	u.ID, out.Again = f.User, !mine
	if out.Offline {
		out.Session = id.Session{}
	}
	return out, nil
}

func (s *Store) judge(ctx context.Context, ref TenantRef, op Op, r Rotation, args []any) error {
	gnt := r.Grant.String()
	args = append(append(args, gnt, micro(op.Now).Add(maxAccessLife), uuid(ref.Pool), r.Binding), event(ref, op, ActionGrantRevoked, gnt, reuseDetails)...)
	if err := s.one(ctx, ref, judge, args); err != nil {
		return err
	}
	return ErrReused
}

var reuseDetails = map[string]any{"reason": "reuse"}

// GetFamily answers a family as it is, revoked and expired ones too.
func (s *Store) GetFamily(ctx context.Context, ref TenantRef, grant id.Grant) (Family, error) {
	var f Family
	err := s.one(ctx, ref, `SELECT `+familyColumns+` FROM refresh_families f WHERE f.tenant_id = $1 AND f.grant_id = $2`,
		[]any{uuid(ref.Tenant), uuid(grant)}, familyDest(&f)...)
	return f, err
}

// RevokeGrant revokes the grant's family, if it has one, and its access tokens, in one round trip. With a client it is ErrNotFound when the
// family is another client's. Revoking twice is one event.
func (s *Store) RevokeGrant(ctx context.Context, ref TenantRef, op Op, grant id.Grant, client id.Client, reason string) (Ended, error) {
	now := micro(op.Now)
	ended := endedAt(ref, now, nil, []id.Grant{grant})
	var foreign bool
	args := append([]any{uuid(ref.Tenant), uuid(grant), orNull(client), now, reason, grant.String(), now.Add(maxAccessLife)},
		event(ref, op, ActionGrantRevoked, grant.String(), map[string]any{"reason": reason})...)
	err := s.one(ctx, ref, `
		WITH mine AS (
			SELECT NOT EXISTS (SELECT FROM refresh_families
				WHERE tenant_id = $1 AND grant_id = $2 AND $3::uuid IS NOT NULL AND client_id <> $3::uuid) AS ok
		), f AS (
			UPDATE refresh_families SET revoke_time = $4, revoke_reason = $5
			WHERE tenant_id = $1 AND grant_id = $2 AND revoke_time IS NULL AND ($3::uuid IS NULL OR client_id = $3::uuid)
		), r AS (
			INSERT INTO revocations (tenant_id, kind, subject, until, create_time)
			SELECT $1, 'gnt', $6, $7, $4 FROM mine WHERE ok
			ON CONFLICT (tenant_id, kind, subject) DO NOTHING
			RETURNING `+appendAudit(8)+`
		)
		SELECT NOT ok FROM mine`, args, &foreign)
	if err != nil {
		return Ended{}, err
	}
	if foreign {
		return Ended{}, ErrNotFound
	}
	return ended, nil
}

// revokeFamilies revokes the live families that match; where's parameters begin at $4.
func revokeFamilies(ctx context.Context, tx pgx.Tx, ref TenantRef, now time.Time, reason, where string, args ...any) ([]id.Grant, error) {
	rows, err := tx.Query(ctx, `
		UPDATE refresh_families SET revoke_time = $2, revoke_reason = $3
		WHERE tenant_id = $1 AND revoke_time IS NULL AND `+where+` RETURNING grant_id`,
		append([]any{uuid(ref.Tenant), now, reason}, args...)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanOne[id.Grant])
}
