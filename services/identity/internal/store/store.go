// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package store owns the SQL of the identity database: its schema and migrations, and one method for each statement or transaction
// that the identity package needs. Rules (what a good password is, how an address is folded) live there; here is only what must be
// decided inside PostgreSQL to be atomic.
//
// Every method takes the tenant first. A statement on a hot path and the row-level security setting it needs travel in one round
// trip: a pgx batch ends with one Sync, so PostgreSQL runs both in one implicit transaction and a local setting lasts exactly as
// long as the statement:
//
//	SELECT set_config('tenantry.tenant_id', $1, true), set_config('tenantry.pool_id', $2, true)
//	<statement>
//	Sync
//
// Rows are locked in one order everywhere, which is why there are no deadlocks: user, session, family, audit head.
package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/tenantry/tenantry/pkg/id"
)

// Config is what the store needs to reach its database.
type Config struct {
	// DatabaseURL of the service role.
	DatabaseURL string
	// MaxConns bounds the pool; 0 means 16.
	MaxConns int
	// ConnectTimeout bounds one attempt to connect; 0 means 2 s.
	ConnectTimeout time.Duration
	// Tracer sees every statement; nil for none.
	Tracer pgx.QueryTracer
}

// Store is the identity database. Make one per process.
type Store struct {
	pool *pgxpool.Pool
	jobs *river.Client[pgx.Tx] // inserts only
}

// Open prepares the store without connecting: a data plane starts, and issues machine tokens, while this database is down. Every
// connection is checked when it is made and refused with ErrPrivileged if its role could pass by row-level security.
func Open(ctx context.Context, c Config) (*Store, error) {
	pc, err := pgxpool.ParseConfig(c.DatabaseURL)
	if err != nil {
		// pgx repeats the URL without its password, but a malformed URL may have the password anywhere.
		return nil, errors.New("identity: the database URL cannot be parsed")
	}
	pc.MaxConns = 16
	if c.MaxConns > 0 {
		pc.MaxConns = int32(min(c.MaxConns, 1000))
	}
	pc.ConnConfig.ConnectTimeout = 2 * time.Second
	if c.ConnectTimeout > 0 {
		pc.ConnConfig.ConnectTimeout = c.ConnectTimeout
	}
	pc.ConnConfig.Tracer = c.Tracer
	if pc.ConnConfig.RuntimeParams["application_name"] == "" {
		pc.ConnConfig.RuntimeParams["application_name"] = "tenantry-identity"
	}
	pc.AfterConnect = refusePrivileged
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("identity: open the pool: %w", err)
	}
	jobs, err := river.NewClient(riverpgxv5.New(pool), &river.Config{})
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("identity: prepare jobs: %w", err)
	}
	return &Store{pool: pool, jobs: jobs}, nil
}

// Close waits for the connections in use and closes all.
func (s *Store) Close() { s.pool.Close() }

// Ping answers nil when the database can be reached with an unprivileged role, ErrPrivileged when the role is the wrong one.
func (s *Store) Ping(ctx context.Context) error { return s.pool.Ping(ctx) }

// Stat is the number of connections in use, idle, and allowed at most.
func (s *Store) Stat() (used, idle, limit int) {
	st := s.pool.Stat()
	return int(st.AcquiredConns()), int(st.IdleConns()), int(st.MaxConns())
}

// refusePrivileged runs once for each connection. Ownership counts as a privilege although FORCE ROW LEVEL SECURITY is set: an
// owner could take it off again.
func refusePrivileged(ctx context.Context, c *pgx.Conn) error {
	var privileged bool
	err := c.QueryRow(ctx, `
		SELECT r.rolsuper OR r.rolbypassrls OR EXISTS (
			SELECT FROM pg_catalog.pg_class t
			WHERE t.relnamespace = 'public'::regnamespace AND t.relkind IN ('r', 'p') AND pg_has_role(current_user, t.relowner, 'USAGE'))
		FROM pg_catalog.pg_roles r WHERE r.rolname = current_user`).Scan(&privileged)
	if err != nil {
		return fmt.Errorf("identity: check the database role: %w", err)
	}
	if privileged {
		return ErrPrivileged
	}
	return nil
}

const setTenant = `SELECT set_config('tenantry.tenant_id', $1, true), set_config('tenantry.pool_id', $2, true)`

// one runs a statement that answers at most one row, in the tenant's context, in one round trip. scan gets the row; no row is
// ErrNotFound.
func (s *Store) one(ctx context.Context, ref TenantRef, sql string, args []any, dest ...any) error {
	var b pgx.Batch
	b.Queue(setTenant, ref.Tenant.UUID(), ref.Pool.UUID())
	b.Queue(sql, args...)
	res := s.pool.SendBatch(ctx, &b)
	if _, err := res.Exec(); err != nil {
		return errors.Join(fail(err), closed(res))
	}
	err := res.QueryRow().Scan(dest...)
	// Close reads to the Sync: only then is the implicit transaction committed, and only its error says so.
	if cerr := res.Close(); err == nil {
		err = cerr
	}
	return fail(err)
}

// many runs a statement that answers rows, in the tenant's context, in one round trip.
func many[T any](ctx context.Context, s *Store, ref TenantRef, sql string, args []any, scan pgx.RowToFunc[T]) ([]T, error) {
	var b pgx.Batch
	b.Queue(setTenant, ref.Tenant.UUID(), ref.Pool.UUID())
	b.Queue(sql, args...)
	res := s.pool.SendBatch(ctx, &b)
	if _, err := res.Exec(); err != nil {
		return nil, errors.Join(fail(err), closed(res))
	}
	rows, err := res.Query()
	if err != nil {
		return nil, errors.Join(fail(err), closed(res))
	}
	out, err := pgx.CollectRows(rows, scan)
	if cerr := res.Close(); err == nil {
		err = cerr
	}
	return out, fail(err)
}

// exec runs a statement in the tenant's context, in one round trip, and does not ask what it did.
func (s *Store) exec(ctx context.Context, ref TenantRef, sql string, args ...any) error {
	var b pgx.Batch
	b.Queue(setTenant, ref.Tenant.UUID(), ref.Pool.UUID())
	b.Queue(sql, args...)
	return fail(s.pool.SendBatch(ctx, &b).Close())
}

// closed is for paths that already have an error: what Close adds to it says nothing new.
func closed(res pgx.BatchResults) error {
	_ = res.Close()
	return nil
}

// tx runs fn in a transaction with the tenant's context, for work that must look before it writes.
func (s *Store) tx(ctx context.Context, ref TenantRef, fn func(tx pgx.Tx) error) error {
	return fail(pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, setTenant, ref.Tenant.UUID(), ref.Pool.UUID()); err != nil {
			return err
		}
		return fn(tx)
	}))
}

// fail turns PostgreSQL's errors into the store's.
func fail(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.Code == "23505" && pe.ConstraintName == "users_email_key" {
		return ErrEmailTaken
	}
	return err
}

// uuid hands an id to pgx as the array it knows.
func uuid[K id.Kind](v id.ID[K]) [16]byte { return [16]byte(v) }

// orNull hands an id to pgx, the zero one as NULL.
func orNull[K id.Kind](v id.ID[K]) any {
	if v.IsZero() {
		return nil
	}
	return [16]byte(v)
}

// into scans a uuid that may be NULL.
type into[K id.Kind] struct{ to *id.ID[K] }

// ScanUUID implements pgtype.UUIDScanner.
func (n into[K]) ScanUUID(v pgtype.UUID) error {
	*n.to = id.ID[K](v.Bytes) // NULL leaves the zero bytes, which mean none
	return nil
}

func scanID[K id.Kind](to *id.ID[K]) into[K] { return into[K]{to} }

// words scans and stores a list of words that have no spaces, such as scopes: one text is cheaper to answer than an array.
type words struct{ to *[]string }

// ScanText implements pgtype.TextScanner.
func (w words) ScanText(v pgtype.Text) error {
	*w.to = strings.Fields(v.String)
	return nil
}

// when scans a time that may be NULL, in UTC.
type when struct{ to *time.Time }

// ScanTimestamptz implements pgtype.TimestamptzScanner.
func (w when) ScanTimestamptz(v pgtype.Timestamptz) error {
	*w.to = time.Time{}
	if v.Valid {
		*w.to = v.Time.UTC()
	}
	return nil
}

// micro cuts a time to what PostgreSQL keeps, so that what was written and what is read back are equal.
func micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// cutoff is the oldest time that d still allows at now; zero d allows every time.
func cutoff(now time.Time, d time.Duration) time.Time {
	if d <= 0 {
		return time.Unix(0, 0).UTC()
	}
	return micro(now.Add(-d))
}

func etag(version int64) string { return strconv.FormatInt(version, 36) }

// list keeps text[] columns NOT NULL.
func list(v []string) []string {
	if v == nil {
		return []string{}
	}
	return v
}
