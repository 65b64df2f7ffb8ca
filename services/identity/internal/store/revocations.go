// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Revoke stores one revocation with its audit event. Doing it twice is one event.
func (s *Store) Revoke(ctx context.Context, ref TenantRef, op Op, kind RevocationKind, subject string, until time.Time) error {
	args := append([]any{uuid(ref.Tenant), string(kind), subject, micro(until), micro(op.Now)},
		event(ref, op, ActionTokenRevoked, subject, map[string]any{"kind": string(kind)})...)
	return s.exec(ctx, ref, `
		INSERT INTO revocations (tenant_id, kind, subject, until, create_time) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (tenant_id, kind, subject) DO NOTHING
		RETURNING `+appendAudit(6), args...)
}

// putRevocations stores the rows behind an Ended.
func putRevocations(ctx context.Context, tx pgx.Tx, list []Revocation) error {
	if len(list) == 0 {
		return nil
	}
	kinds, subjects := make([]string, len(list)), make([]string, len(list))
	for i, r := range list {
		kinds[i], subjects[i] = string(r.Kind), r.Subject
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO revocations AS v (tenant_id, kind, subject, until, create_time)
		SELECT $1, k, s, $4, $5 FROM unnest($2::text[], $3::text[]) AS t (k, s) ORDER BY k, s
		ON CONFLICT (tenant_id, kind, subject) DO UPDATE SET until = greatest(v.until, excluded.until)`,
		uuid(list[0].Tenant), kinds, subjects, list[0].Until, list[0].CreateTime)
	return err
}

// Revocations answers all revocations of one tenant that still matter at now, in one round trip.
func (s *Store) Revocations(ctx context.Context, ref TenantRef, now time.Time) ([]Revocation, error) {
	return many(ctx, s, ref, `SELECT kind, subject, until, create_time FROM revocations WHERE tenant_id = $1 AND until > $2`,
		[]any{uuid(ref.Tenant), micro(now)}, func(row pgx.CollectableRow) (Revocation, error) {
			r := Revocation{Tenant: ref.Tenant}
			err := row.Scan(&r.Kind, &r.Subject, when{&r.Until}, when{&r.CreateTime})
			return r, err
		})
}

// reloadPage is how many revocations one round trip brings.
const reloadPage = 2000

// LoadRevocations hands all revocations of all tenants that were stored at or after since and still matter at now to fn, page by
// page in the order of their storing. With the zero since it rebuilds the marks of an empty Redis.
func (s *Store) LoadRevocations(ctx context.Context, since, now time.Time, fn func([]Revocation) error) error {
	last := Revocation{CreateTime: micro(since)}
	first := true
	for {
		page, err := s.revocationPage(ctx, last, first, micro(now))
		if err != nil {
			return err
		}
		if len(page) > 0 {
			if err := fn(page); err != nil {
				return err
			}
			last, first = page[len(page)-1], false
		}
		if len(page) < reloadPage {
			return nil
		}
	}
}

func (s *Store) revocationPage(ctx context.Context, last Revocation, first bool, now time.Time) ([]Revocation, error) {
	rows, err := s.pool.Query(ctx, `SELECT tenant_id, kind, subject, until, create_time FROM reload_revocations($1, $2, $3, $4, $5, $6, $7)`,
		last.CreateTime, first, uuid(last.Tenant), string(last.Kind), last.Subject, now, reloadPage)
	if err != nil {
		return nil, fail(err)
	}
	page, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Revocation, error) {
		var r Revocation
		err := row.Scan((*[16]byte)(&r.Tenant), &r.Kind, &r.Subject, when{&r.Until}, when{&r.CreateTime})
		return r, err
	})
	return page, fail(err)
}

// Sweep removes up to limit expired rows of each of the tables that only grow, by the database's own clock, and answers how many
// went. Sessions that have ended by themselves end as in EndSession. Several processes may sweep at once.
func (s *Store) Sweep(ctx context.Context, actor string, limit int) (removed int64, err error) {
	if err := s.pool.QueryRow(ctx, `SELECT sweep_expired($1)`, limit).Scan(&removed); err != nil {
		return 0, fail(err)
	}
	ended, err := s.endDue(ctx, actor, limit)
	return removed + ended, err
}
