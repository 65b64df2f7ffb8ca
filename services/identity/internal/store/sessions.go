// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
)

// CreateSession stores a session of a user who may log in now. The lock on the user's row orders it against a suspension: either
// the suspension sees the session and ends it, or the session is refused.
func (s *Store) CreateSession(ctx context.Context, ref TenantRef, n Session, tokenHash [32]byte) error {
	var made [16]byte
	return s.one(ctx, ref, `
		WITH who AS (
			SELECT u.id`+ofTenant+` AND u.id = $4 AND u.state = 'ACTIVE' AND m.state = 'ACTIVE' FOR SHARE OF u
		)
		INSERT INTO sessions (tenant_id, id, pool_id, user_id, token_hash, auth_time, amr, acr, ip, user_agent, create_time,
			last_use_time, expire_time, idle_seconds, check_time)
		SELECT $1, $3, $2, who.id, $5, $6, $7, $8, $9, $10, $11, $11, $12, $13, $14 FROM who RETURNING id`,
		[]any{
			uuid(ref.Tenant), uuid(ref.Pool), uuid(n.ID), uuid(n.User), tokenHash[:], micro(n.AuthTime), strings.Join(n.AMR, " "), n.ACR,
			clean(n.IP), clean(n.UserAgent), micro(n.CreateTime), micro(n.ExpireTime), seconds(n.Idle), checkTime(n, n.CreateTime),
		}, &made)
}

// RenewSession gives a live session of the user a new token and the times and methods of a new login. The old token is dead with the
// same statement. The lock on the user's row is for what CreateSession says.
func (s *Store) RenewSession(ctx context.Context, ref TenantRef, n Session, tokenHash [32]byte) (Session, error) {
	var out Session
	err := s.one(ctx, ref, `
		WITH who AS (
			SELECT u.id`+ofTenant+` AND u.id = $4 AND u.state = 'ACTIVE' AND m.state = 'ACTIVE' FOR SHARE OF u
		)
		UPDATE sessions s SET token_hash = $5, auth_time = $6, amr = $7, acr = $8, ip = $9, user_agent = $10, last_use_time = $11,
			expire_time = $12, idle_seconds = $13, check_time = $14
		FROM who WHERE s.tenant_id = $1 AND s.id = $3 AND s.user_id = who.id AND s.expire_time > $11
		RETURNING `+sessionColumns,
		[]any{
			uuid(ref.Tenant), uuid(ref.Pool), uuid(n.ID), uuid(n.User), tokenHash[:], micro(n.AuthTime), strings.Join(n.AMR, " "), n.ACR,
			clean(n.IP), clean(n.UserAgent), micro(n.LastUseTime), micro(n.ExpireTime), seconds(n.Idle), checkTime(n, n.LastUseTime),
		}, sessionDest(&out)...)
	return out, err
}

// seconds is a limit as the idle_seconds column has it; a part of a second counts as one.
func seconds(d time.Duration) int32 {
	if d <= 0 {
		return 0
	}
	return int32(min((d+time.Second-1)/time.Second, math.MaxInt32))
}

// checkTime is when a session that is used at now and never again has ended.
func checkTime(n Session, now time.Time) time.Time {
	if idle := now.Add(time.Duration(seconds(n.Idle)) * time.Second); n.Idle > 0 && idle.Before(n.ExpireTime) {
		return micro(idle)
	}
	return micro(n.ExpireTime)
}

const sessionColumns = `s.id, s.user_id, s.auth_time, s.amr, s.acr, s.ip, s.user_agent, s.create_time, s.last_use_time, s.expire_time`

func sessionDest(s *Session) []any {
	return []any{
		(*[16]byte)(&s.ID), (*[16]byte)(&s.User),
		when{&s.AuthTime},
		words{&s.AMR},
		&s.ACR, &s.IP, &s.UserAgent,
		when{&s.CreateTime},
		when{&s.LastUseTime},
		when{&s.ExpireTime},
	}
}

// FindSession answers the live session of a token with its user, if the user may still log in, and notes the use when the last
// note is older than touch. One round trip; a write once per touch.
func (s *Store) FindSession(ctx context.Context, ref TenantRef, tokenHash [32]byte, now time.Time, l SessionLimits, touch time.Duration) (Session, User, error) {
	var (
		out Session
		u   User
		b   pgx.Batch
	)
	now = micro(now)
	idle, absolute := cutoff(now, l.Idle), cutoff(now, l.Absolute)
	b.Queue(setTenant, ref.Tenant.UUID(), ref.Pool.UUID())
	b.Queue(`
		SELECT `+sessionColumns+`, `+leanUser+`
		FROM sessions s
			JOIN users u ON u.pool_id = $2 AND u.id = s.user_id
			JOIN memberships m ON m.tenant_id = $1 AND m.user_id = s.user_id
		WHERE s.tenant_id = $1 AND s.token_hash = $3 AND s.expire_time > $4 AND s.last_use_time > $5 AND s.auth_time > $6
			AND u.state = 'ACTIVE' AND m.state = 'ACTIVE'`,
		uuid(ref.Tenant), uuid(ref.Pool), tokenHash[:], now, idle, absolute)
	b.Queue(`
		UPDATE sessions SET last_use_time = $3, idle_seconds = $7
		WHERE tenant_id = $1 AND token_hash = $2 AND last_use_time < $4 AND last_use_time > $5 AND expire_time > $3 AND auth_time > $6`,
		uuid(ref.Tenant), tokenHash[:], now, micro(now.Add(-touch)), idle, absolute, seconds(l.Idle))
	res := s.pool.SendBatch(ctx, &b)
	if _, err := res.Exec(); err != nil {
		return Session{}, User{}, errors.Join(fail(err), closed(res))
	}
	err := res.QueryRow().Scan(append(sessionDest(&out), leanDest(&u)...)...)
	if cerr := res.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return Session{}, User{}, fail(err)
	}
	return out, u, nil
}

// ListSessions answers the user's live sessions, newest first.
func (s *Store) ListSessions(ctx context.Context, ref TenantRef, user id.User, now time.Time) ([]Session, error) {
	return many(ctx, s, ref, `SELECT `+sessionColumns+` FROM sessions s WHERE s.tenant_id = $1 AND s.user_id = $2 AND s.expire_time > $3 ORDER BY s.id DESC`,
		[]any{uuid(ref.Tenant), uuid(user), micro(now)}, func(row pgx.CollectableRow) (Session, error) {
			var v Session
			err := row.Scan(sessionDest(&v)...)
			return v, err
		})
}

func scanOne[T ~[16]byte](row pgx.CollectableRow) (T, error) {
	var raw [16]byte
	err := row.Scan(&raw)
	return T(raw), err
}

func endedAt(ref TenantRef, now time.Time, sessions []id.Session, grants []id.Grant) Ended {
	var e Ended
	mark := func(kind RevocationKind, subject string) {
		e.Revocations = append(e.Revocations, Revocation{
			Tenant: ref.Tenant, Kind: kind, Subject: subject, Until: now.Add(maxAccessLife), CreateTime: now,
		})
	}
	for _, s := range sessions {
		mark(RevokedSession, s.String())
	}
	for _, g := range grants {
		mark(RevokedGrant, g.String())
	}
	return e
}
