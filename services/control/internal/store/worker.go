// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// Worker is the control database as the background work uses it: it sees what is to be distributed, of all orgs, and nothing else.
type Worker struct{ pool *pgxpool.Pool }

// OpenWorker connects as the role tenantry_publisher, and refuses a role that row-level security would not bind.
func OpenWorker(ctx context.Context, cfg Config) (*Worker, error) {
	pool, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Worker{pool}, nil
}

// Close ends all connections.
func (w *Worker) Close() { w.pool.Close() }

// claimLimit bounds how long a claim may be held: a tombstone may be purged when nobody can hold an older record of it any more.
const claimLimit = 5 * time.Second

const recordColumns = `s.subject, s.org_id, s.kind, s.config_version, s.restrictive, s.body, s.hosts, s.host_claims, s.host_live, s.blobs, s.update_time`

func scanRecord(r pgx.Rows, v *Record) error {
	var hosts []string
	var claims []int64
	var live []bool
	if err := r.Scan(&v.Subject, &v.Org, &v.Kind, &v.ConfigVersion, &v.Restrictive, &v.Body, &hosts, &claims, &live, &v.Blobs, &v.Time); err != nil {
		return err
	}
	for i := range hosts {
		v.Hosts = append(v.Hosts, tenancy.Host{Name: hosts[i], ClaimVersion: claims[i], Released: !live[i]})
	}
	return nil
}

// Claim takes up to limit outbox rows of a region and hands the current records of their subjects to publish. They are gone from the
// outbox when publish returns nil and the commit succeeds; otherwise they are there again for whoever asks next. It answers how many rows
// were taken. Records that another worker holds are skipped.
func (w *Worker) Claim(ctx context.Context, region string, priority int16, limit int, publish func([]Record) error) (taken int, err error) {
	ctx, cancel := context.WithTimeout(ctx, claimLimit)
	defer cancel()
	conn, err := w.pool.Acquire(ctx)
	if err != nil {
		return 0, refusal(err)
	}
	defer conn.Release()
	// BEGIN and the claim travel together: a publisher far from the database pays one round trip for a batch.
	b := &pgx.Batch{}
	b.Queue(`BEGIN`)
	b.Queue(`WITH q AS (DELETE FROM outbox WHERE region = $1 AND priority = $2 AND id = ANY(ARRAY(
				SELECT id FROM outbox WHERE region = $1 AND priority = $2 ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED)) RETURNING subject)
		SELECT (SELECT count(*) FROM q), `+recordColumns+` FROM snapshots s WHERE s.subject IN (SELECT subject FROM q)`, region, priority, limit)
	var records []Record
	br := conn.SendBatch(ctx, b)
	_, err = br.Exec()
	if err == nil {
		var rows pgx.Rows
		if rows, err = br.Query(); err == nil {
			err = each(rows, func() error {
				records = append(records, Record{})
				return scanRecord(&counted{rows, &taken}, &records[len(records)-1])
			})
			rows.Close()
		}
	}
	if err = errors.Join(err, br.Close()); err == nil && len(records) > 0 {
		err = publish(records)
	}
	if err != nil {
		// A connection whose transaction cannot be ended is closed, which ends it.
		if _, rerr := conn.Exec(context.WithoutCancel(ctx), `ROLLBACK`); rerr != nil {
			conn.Conn().Close(context.WithoutCancel(ctx))
		}
		return 0, refusal(err)
	}
	_, err = conn.Exec(ctx, `COMMIT`)
	return taken, refusal(err)
}

// counted reads a count from the first column and hands on the rest.
type counted struct {
	pgx.Rows
	n *int
}

func (c *counted) Scan(dest ...any) error { return c.Rows.Scan(append([]any{c.n}, dest...)...) }

// Backlog is the age of the oldest unpublished change of a region, zero when there is none.
func (w *Worker) Backlog(ctx context.Context, region string, now time.Time) (age time.Duration, err error) {
	var oldest *time.Time
	err = w.pool.QueryRow(ctx, `SELECT min(t) FROM (SELECT (SELECT create_time FROM outbox WHERE region = $1 AND priority = p ORDER BY id LIMIT 1) t
		FROM unnest('{0,1}'::smallint[]) p) x`, region).Scan(&oldest)
	if err != nil || oldest == nil {
		return 0, refusal(err)
	}
	return max(0, now.Sub(*oldest)), nil
}

// Blobs reads the blobs of an org that a record names.
func (w *Worker) Blobs(ctx context.Context, org id.Org, digests [][]byte) (blobs [][]byte, err error) {
	rows, err := w.pool.Query(ctx, `SELECT body FROM snapshot_blobs WHERE org_id = $1 AND digest = ANY($2)`, org, digests)
	if err != nil {
		return nil, refusal(err)
	}
	blobs, err = pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err == nil && len(blobs) < len(digests) {
		err = fmt.Errorf("store: %d of %d blobs of %s are missing", len(digests)-len(blobs), len(digests), org)
	}
	return blobs, refusal(err)
}

// Scan reads records in the order of their subjects, after one: what a republish walks over. A zero org means all, a zero time any.
func (w *Worker) Scan(ctx context.Context, org id.Org, since time.Time, after [16]byte, limit int) (records []Record, err error) {
	rows, err := w.pool.Query(ctx, `SELECT `+recordColumns+` FROM snapshots s WHERE s.subject > $1 AND ($2::uuid = '00000000-0000-0000-0000-000000000000'::uuid OR s.org_id = $2)
		AND s.update_time >= $3 ORDER BY s.subject LIMIT $4`, after, org, since, limit)
	if err != nil {
		return nil, refusal(err)
	}
	defer rows.Close()
	err = each(rows, func() error {
		records = append(records, Record{})
		return scanRecord(rows, &records[len(records)-1])
	})
	return records, refusal(err)
}

// Tombstones lists tenants whose tombstone was written between two times.
func (w *Worker) Tombstones(ctx context.Context, from, to time.Time, limit int) (tenants []id.Tenant, versions []int64, err error) {
	rows, err := w.pool.Query(ctx, `SELECT subject, config_version FROM snapshots WHERE kind = 2 AND update_time >= $1 AND update_time < $2 ORDER BY update_time LIMIT $3`, from, to, limit)
	if err != nil {
		return nil, nil, refusal(err)
	}
	defer rows.Close()
	err = each(rows, func() error {
		var t id.Tenant
		var v int64
		defer func() { tenants, versions = append(tenants, t), append(versions, v) }()
		return rows.Scan(&t, &v)
	})
	return tenants, versions, refusal(err)
}

// Republish is where the republish of a region stands.
type Republish struct {
	Epoch     string
	Cursor    [16]byte
	Started   time.Time
	Finished  time.Time // zero while it runs
	Published int64
}

// Republish reads it; the zero value when there never was one.
func (w *Worker) Republish(ctx context.Context, region string) (r Republish, err error) {
	var finished *time.Time
	err = w.pool.QueryRow(ctx, `SELECT epoch, cursor, started, finished, published FROM republish WHERE region = $1`, region).
		Scan(&r.Epoch, &r.Cursor, &r.Started, &finished, &r.Published)
	if errors.Is(err, pgx.ErrNoRows) {
		return Republish{}, nil
	}
	r.Finished = fromNil(finished)
	return r, refusal(err)
}

// SaveRepublish writes it.
func (w *Worker) SaveRepublish(ctx context.Context, region string, r Republish) error {
	_, err := w.pool.Exec(ctx, `INSERT INTO republish (region, epoch, cursor, started, finished, published) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (region) DO UPDATE SET epoch = excluded.epoch, cursor = excluded.cursor, started = excluded.started, finished = excluded.finished,
			published = excluded.published`, region, r.Epoch, r.Cursor, r.Started, orNil(r.Finished), r.Published)
	return refusal(err)
}

// Alone runs f while no other process runs one with the same name; ran is false when another one does. The lock is of the session, so it
// vanishes with the connection of a process that dies.
func (w *Worker) Alone(ctx context.Context, name string, f func(ctx context.Context) error) (ran bool, err error) {
	conn, err := w.pool.Acquire(ctx)
	if err != nil {
		return false, refusal(err)
	}
	defer conn.Release()
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock(hashtextextended($1, 0))`, name).Scan(&ran); err != nil || !ran {
		return false, refusal(err)
	}
	defer func() {
		if _, uerr := conn.Exec(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock(hashtextextended($1, 0))`, name); uerr != nil {
			conn.Conn().Close(context.WithoutCancel(ctx))
		}
	}()
	return true, f(ctx)
}

// Channel is the name of the notification that wakes publishers.
const Channel = "tenantry_outbox"

// Listen calls woken for each notification until ctx ends or the connection does. It needs a session of its own, so not a pooler that
// shares sessions.
func (w *Worker) Listen(ctx context.Context, woken func()) error {
	conn, err := w.pool.Acquire(ctx)
	if err != nil {
		return refusal(err)
	}
	raw := conn.Hijack()
	defer raw.Close(context.WithoutCancel(ctx))
	if _, err := raw.Exec(ctx, `LISTEN `+Channel); err != nil {
		return refusal(err)
	}
	for {
		if _, err := raw.WaitForNotification(ctx); err != nil {
			return refusal(err)
		}
		woken()
	}
}

// Notify wakes the publishers of other processes. It is never part of a change's transaction: a notification holds a lock of the whole
// server through the commit.
func (s *Store) Notify(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, `SELECT pg_notify($1, '')`, Channel)
	return refusal(err)
}

// Seed is a row of identity_seeds.
type Seed struct {
	Tenant  id.Tenant
	Org     id.Org
	Payload []byte
}

// ClaimSeeds takes up to limit seeds and hands them to apply; they are gone when it returns nil and the commit succeeds. apply may name
// seeds that can never be applied: they are set aside with the reason, the others stay for the next time. Applying is idempotent, so a
// process that dies between apply and commit costs a repetition.
func (w *Worker) ClaimSeeds(ctx context.Context, limit int, apply func([]Seed) (poison map[id.Tenant]string, err error)) (taken int, err error) {
	ctx, cancel := context.WithTimeout(ctx, claimLimit)
	defer cancel()
	var poison map[id.Tenant]string
	err = pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `DELETE FROM identity_seeds WHERE tenant_id = ANY(ARRAY(
			SELECT tenant_id FROM identity_seeds WHERE failed = '' LIMIT $1 FOR UPDATE SKIP LOCKED)) RETURNING tenant_id, org_id, payload`, limit)
		if err != nil {
			return err
		}
		seeds, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Seed])
		if err != nil || len(seeds) == 0 {
			return err
		}
		taken = len(seeds)
		poison, err = apply(seeds)
		return err
	})
	for tenant, why := range poison {
		if _, uerr := w.pool.Exec(ctx, `UPDATE identity_seeds SET failed = $2 WHERE tenant_id = $1`, tenant, why); uerr != nil {
			err = errors.Join(err, uerr)
		}
	}
	if err != nil {
		taken = 0
	}
	return taken, refusal(err)
}

// Place names something of a tenant.
type Place struct {
	Org    id.Org
	Tenant id.Tenant
	Key    id.SigningKey
}

// DueKeys lists signing keys whose scheduled step is due.
func (w *Worker) DueKeys(ctx context.Context, now time.Time, limit int) ([]Place, error) {
	return w.places(ctx, `SELECT org_id, tenant_id, id FROM signing_keys WHERE due_time <= $1 ORDER BY due_time LIMIT $2`, now, limit)
}

// AgedKeys lists signing keys that sign since before a time, in the order of their places after one.
func (w *Worker) AgedKeys(ctx context.Context, before time.Time, after Place, limit int) ([]Place, error) {
	return w.places(ctx, `SELECT org_id, tenant_id, id FROM signing_keys WHERE state = 3 AND activate_time < $1
		AND (org_id, tenant_id, id) > ($2, $3, $4) ORDER BY org_id, tenant_id, id LIMIT $5`, before, after.Org, after.Tenant, after.Key, limit)
}

// Wanting lists tenants that wait for a key, the longest waiting first.
func (w *Worker) Wanting(ctx context.Context, limit int) ([]Place, error) {
	return w.places(ctx, `SELECT org_id, tenant_id, '00000000-0000-0000-0000-000000000000'::uuid FROM rsa_wanted ORDER BY create_time LIMIT $1`, limit)
}

func (w *Worker) places(ctx context.Context, sql string, args ...any) ([]Place, error) {
	rows, err := w.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, refusal(err)
	}
	places, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Place])
	return places, refusal(err)
}

// PoolKey is an RSA key made ahead, sealed.
type PoolKey struct {
	ID     [16]byte
	Sealed []byte
}

// PutPoolKey adds a key to the pool.
func (w *Worker) PutPoolKey(ctx context.Context, k PoolKey, algorithm string, now time.Time) error {
	_, err := w.pool.Exec(ctx, `INSERT INTO rsa_key_pool (id, algorithm, sealed, create_time) VALUES ($1, $2, $3, $4)`, k.ID, algorithm, k.Sealed, now)
	return refusal(err)
}

// TakePoolKeys takes up to limit keys out of the pool.
func (w *Worker) TakePoolKeys(ctx context.Context, algorithm string, limit int) ([]PoolKey, error) {
	rows, err := w.pool.Query(ctx, `DELETE FROM rsa_key_pool WHERE id = ANY(ARRAY(
		SELECT id FROM rsa_key_pool WHERE algorithm = $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING id, sealed`, algorithm, limit)
	if err != nil {
		return nil, refusal(err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowToStructByPos[PoolKey])
	return keys, refusal(err)
}

// PoolSize counts the keys in the pool.
func (w *Worker) PoolSize(ctx context.Context, algorithm string) (n int, err error) {
	err = w.pool.QueryRow(ctx, `SELECT count(*) FROM rsa_key_pool WHERE algorithm = $1`, algorithm).Scan(&n)
	return n, refusal(err)
}

// ForgetAnswers removes answers that were kept long enough. Operations go with them.
func (w *Worker) ForgetAnswers(ctx context.Context, before time.Time, limit int) (n int64, err error) {
	tag, err := w.pool.Exec(ctx, `DELETE FROM operations WHERE id = ANY(ARRAY(SELECT id FROM operations WHERE create_time < $1 LIMIT $2))`, before, limit)
	return tag.RowsAffected(), refusal(err)
}
