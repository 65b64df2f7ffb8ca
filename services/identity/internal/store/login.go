// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
)

// Lockout of a password: after lockAfter failures in a row the credential answers nobody for a minute, doubling to a quarter of an
// hour. Failures more than a day apart are not in a row. What arrives while it is locked neither counts nor extends it, so that a
// stranger cannot keep a person out by patience alone.
const (
	lockAfter = 10
	// UnknownSlots is the number of counters for attempts on unknown users in each pool.
	UnknownSlots = 256
)

// FindLogin answers what checking a password needs, whatever the user's state.
func (s *Store) FindLogin(ctx context.Context, ref TenantRef, emailKey string) (Login, error) {
	var (
		l   Login
		phc *string
	)
	dest := append(fullDest(&l.User), &phc, when{&l.LockedUntil})
	err := s.one(ctx, ref, `
		SELECT `+fullUser+`, c.phc, c.locked_until
		FROM users u JOIN memberships m ON m.tenant_id = $1 AND m.user_id = u.id
			LEFT JOIN credentials c ON c.pool_id = u.pool_id AND c.user_id = u.id AND c.kind = 'PASSWORD'
		WHERE u.pool_id = $2 AND u.email_key = $3`,
		[]any{uuid(ref.Tenant), uuid(ref.Pool), emailKey}, dest...)
	if phc != nil {
		l.PHC = *phc
	}
	return l, err
}

// LoginFailed counts a wrong password, durably, before it is answered.
func (s *Store) LoginFailed(ctx context.Context, ref TenantRef, user id.User, now time.Time) error {
	return s.exec(ctx, ref, `
		UPDATE credentials SET failures = n.failures, last_failure_time = $3,
			locked_until = CASE WHEN n.failures >= $4 THEN
				$3::timestamptz + least(interval '1 minute' * power(2, least(n.failures - $4, 4)), interval '15 minutes') END
		FROM (SELECT CASE WHEN failures > 0 AND last_failure_time > $3::timestamptz - interval '1 day' THEN failures + 1 ELSE 1 END AS failures
			FROM credentials WHERE pool_id = $1 AND user_id = $2 AND kind = 'PASSWORD' FOR NO KEY UPDATE) n
		WHERE pool_id = $1 AND user_id = $2 AND kind = 'PASSWORD' AND (locked_until IS NULL OR locked_until <= $3)`,
		uuid(ref.Pool), uuid(user), micro(now), lockAfter)
}

// LoginUnknown writes as much as LoginFailed does, for an address that nobody has or that is locked. slot is below UnknownSlots.
func (s *Store) LoginUnknown(ctx context.Context, ref TenantRef, slot int) error {
	return s.exec(ctx, ref, `
		INSERT INTO unknown_logins AS l (pool_id, slot, failures) VALUES ($1, $2, 1)
		ON CONFLICT (pool_id, slot) DO UPDATE SET failures = l.failures + 1`, uuid(ref.Pool), slot)
}

// LoginSucceeded forgets the failures, stores a new hash when there is one, and reports whether the password that was checked is
// still the password and is not locked now: a right guess among many parallel ones does not count once the wrong ones have locked it.
// The usual login changes nothing and so costs no write.
func (s *Store) LoginSucceeded(ctx context.Context, ref TenantRef, user id.User, oldPHC, newPHC string, now time.Time) (ok bool, err error) {
	err = s.one(ctx, ref, `
		WITH w AS (
			UPDATE credentials SET failures = 0, last_failure_time = NULL, locked_until = NULL,
				phc = CASE WHEN $5 <> '' THEN $5 ELSE phc END
			WHERE pool_id = $1 AND user_id = $2 AND kind = 'PASSWORD' AND phc = $4
				AND (locked_until IS NULL OR locked_until <= $3) AND (failures > 0 OR $5 <> '')
		)
		SELECT phc = $4 AND (locked_until IS NULL OR locked_until <= $3)
		FROM credentials WHERE pool_id = $1 AND user_id = $2 AND kind = 'PASSWORD'`,
		[]any{uuid(ref.Pool), uuid(user), micro(now), oldPHC, newPHC}, &ok)
	return ok, err
}

// SetPassword replaces the user's password and ends their sessions and families, except keep and what was granted in it.
func (s *Store) SetPassword(ctx context.Context, ref TenantRef, op Op, user id.User, phc string, keep id.Session) (Ended, error) {
	var ended Ended
	err := s.tx(ctx, ref, func(tx pgx.Tx) error {
		if _, err := lock(ctx, tx, ref, user, ""); err != nil {
			return err
		}
		now := micro(op.Now)
		if err := putPassword(ctx, tx, ref, user, phc, now); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			UPDATE users SET state = CASE WHEN state = 'INVITED' THEN 'ACTIVE' ELSE state END, version = version + 1, update_time = $3
			WHERE pool_id = $1 AND id = $2`, uuid(ref.Pool), uuid(user), now)
		if err != nil {
			return err
		}
		if ended, err = s.endAll(ctx, tx, ref, now, user, keep, "password_changed"); err != nil {
			return err
		}
		return record(ctx, tx, ref, op, ActionPasswordChanged, user.String(), nil)
	})
	return ended, err
}

func putPassword(ctx context.Context, tx pgx.Tx, ref TenantRef, user id.User, phc string, now time.Time) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO credentials (pool_id, user_id, kind, phc, create_time, update_time) VALUES ($1, $2, 'PASSWORD', $3, $4, $4)
		ON CONFLICT (pool_id, user_id, kind) DO UPDATE
			SET phc = excluded.phc, failures = 0, last_failure_time = NULL, locked_until = NULL, update_time = excluded.update_time`,
		uuid(ref.Pool), uuid(user), phc, now)
	return err
}
