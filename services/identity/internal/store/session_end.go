// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
)

// NoteClient remembers that the client is known to the session. The lock on the session's row orders it against the session's end:
// either the end sees the client, or the client finds no session. One round trip.
func (s *Store) NoteClient(ctx context.Context, ref TenantRef, session id.Session, client id.Client, now time.Time) error {
	var live [16]byte
	return s.one(ctx, ref, `
		WITH live AS (
			SELECT s.id FROM sessions s WHERE s.tenant_id = $1 AND s.id = $2 AND s.expire_time > $4 FOR KEY SHARE
		), noted AS (
			INSERT INTO session_clients (tenant_id, session_id, client_id, create_time) SELECT $1, live.id, $3, $4 FROM live
			ON CONFLICT (tenant_id, session_id, client_id) DO NOTHING
		)
		SELECT id FROM live`,
		[]any{uuid(ref.Tenant), uuid(session), uuid(client), micro(now)}, &live)
}

// forgetClients removes what NoteClient noted of sessions that the caller has removed, and answers it.
func forgetClients(ctx context.Context, tx pgx.Tx, ref TenantRef, sessions []id.Session) ([]SessionClient, error) {
	if len(sessions) == 0 {
		return nil, nil
	}
	ids := make([][16]byte, len(sessions))
	for i, v := range sessions {
		ids[i] = uuid(v)
	}
	rows, err := tx.Query(ctx, `DELETE FROM session_clients WHERE tenant_id = $1 AND session_id = ANY($2) RETURNING session_id, client_id`,
		uuid(ref.Tenant), ids)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (SessionClient, error) {
		var c SessionClient
		err := row.Scan((*[16]byte)(&c.Session), (*[16]byte)(&c.Client))
		return c, err
	})
}

// EndSession removes the session and revokes the online families that were granted in it. Offline ones stay: that is what
// offline_access asks for (OpenID Connect Core 11). Clients that were noted are told.
func (s *Store) EndSession(ctx context.Context, ref TenantRef, op Op, session id.Session) (Ended, error) {
	var ended Ended
	err := s.tx(ctx, ref, func(tx pgx.Tx) error {
		var err error
		ended, err = s.endSession(ctx, tx, ref, op, session, "")
		return err
	})
	return ended, err
}

// endSession is EndSession in the caller's transaction. cause goes to the audit event; empty for an end that somebody asked for.
func (s *Store) endSession(ctx context.Context, tx pgx.Tx, ref TenantRef, op Op, session id.Session, cause string) (Ended, error) {
	now := micro(op.Now)
	var user id.User
	// Statements of their own on purpose: the later ones must see what a family's creation and a client's noting, which share the
	// session's row lock, committed.
	err := tx.QueryRow(ctx, `DELETE FROM sessions WHERE tenant_id = $1 AND id = $2 RETURNING user_id`,
		uuid(ref.Tenant), uuid(session)).Scan((*[16]byte)(&user))
	if err != nil {
		return Ended{}, err
	}
	clients, err := forgetClients(ctx, tx, ref, []id.Session{session})
	if err != nil {
		return Ended{}, err
	}
	grants, err := revokeFamilies(ctx, tx, ref, now, "session_ended", `user_id = $4 AND session_id = $5 AND NOT offline`, uuid(user), uuid(session))
	if err != nil {
		return Ended{}, err
	}
	ended := endedAt(ref, now, []id.Session{session}, grants)
	ended.Clients = clients
	if err := putRevocations(ctx, tx, ended.Revocations); err != nil {
		return Ended{}, err
	}
	if err := s.announce(ctx, tx, ref, now, user, clients); err != nil {
		return Ended{}, err
	}
	details := map[string]any{"user": user.String(), "grants": len(grants)}
	if cause != "" {
		details["cause"] = cause
	}
	return ended, record(ctx, tx, ref, op, ActionSessionEnded, session.String(), details)
}

// endAll ends the user's sessions and families, except keep and the online families granted in it, and tells clients that were noted.
// The caller holds the user's lock.
func (s *Store) endAll(ctx context.Context, tx pgx.Tx, ref TenantRef, now time.Time, user id.User, keep id.Session, reason string) (Ended, error) {
	rows, err := tx.Query(ctx, `DELETE FROM sessions WHERE tenant_id = $1 AND user_id = $2 AND id IS DISTINCT FROM $3 RETURNING id`,
		uuid(ref.Tenant), uuid(user), orNull(keep))
	if err != nil {
		return Ended{}, err
	}
	sessions, err := pgx.CollectRows(rows, scanOne[id.Session])
	if err != nil {
		return Ended{}, err
	}
	clients, err := forgetClients(ctx, tx, ref, sessions)
	if err != nil {
		return Ended{}, err
	}
	grants, err := revokeFamilies(ctx, tx, ref, now, reason,
		`user_id = $4 AND ($5::uuid IS NULL OR offline OR session_id IS DISTINCT FROM $5)`, uuid(user), orNull(keep))
	if err != nil {
		return Ended{}, err
	}
	ended := endedAt(ref, now, sessions, grants)
	ended.Clients = clients
	if err := putRevocations(ctx, tx, ended.Revocations); err != nil {
		return Ended{}, err
	}
	return ended, s.announce(ctx, tx, ref, now, user, clients)
}

// endDue ends the sessions that have ended by themselves: unused for too long or at the end of their life. A rotation of a refresh token
// that was granted in a session is a use of it, so an application that is in use keeps its session.
func (s *Store) endDue(ctx context.Context, actor string, limit int) (ended int64, err error) {
	type due struct {
		ref     TenantRef
		session id.Session
	}
	rows, err := s.pool.Query(ctx, `SELECT tenant_id, pool_id, id FROM due_sessions($1)`, limit)
	if err != nil {
		return 0, fail(err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (due, error) {
		var d due
		err := row.Scan((*[16]byte)(&d.ref.Tenant), (*[16]byte)(&d.ref.Pool), (*[16]byte)(&d.session))
		return d, err
	})
	if err != nil {
		return 0, fail(err)
	}
	for _, d := range list {
		over, err := s.endIfDue(ctx, d.ref, actor, d.session)
		switch {
		case errors.Is(err, ErrNotFound): // somebody else has ended it, or is at it
		case err != nil:
			return ended, err
		case over:
			ended++
		}
	}
	return ended, nil
}

func (s *Store) endIfDue(ctx context.Context, ref TenantRef, actor string, session id.Session) (over bool, err error) {
	err = s.tx(ctx, ref, func(tx pgx.Tx) error {
		var now, end time.Time
		err := tx.QueryRow(ctx, `
			SELECT now(), CASE WHEN s.idle_seconds = 0 THEN s.expire_time ELSE least(s.expire_time, make_interval(secs => s.idle_seconds) + greatest(
				s.last_use_time, (SELECT max(f.rotate_time) FROM refresh_families f
					WHERE f.tenant_id = $1 AND f.user_id = s.user_id AND f.session_id = s.id AND NOT f.offline AND f.revoke_time IS NULL))) END
			FROM sessions s WHERE s.tenant_id = $1 AND s.id = $2 FOR UPDATE OF s SKIP LOCKED`,
			uuid(ref.Tenant), uuid(session)).Scan(when{&now}, when{&end})
		if err != nil {
			return err
		}
		if end.After(now) {
			_, err := tx.Exec(ctx, `UPDATE sessions SET check_time = $3 WHERE tenant_id = $1 AND id = $2`, uuid(ref.Tenant), uuid(session), end)
			return err
		}
		over = true
		_, err = s.endSession(ctx, tx, ref, Op{Now: now, Actor: actor}, session, "expired")
		return err
	})
	return over && err == nil, err
}
