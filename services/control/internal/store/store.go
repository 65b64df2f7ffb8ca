// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// Config is where the control database is.
type Config struct {
	URL      string // as the role tenantry_control, or tenantry_publisher for a Worker
	MaxConns int32  // 0 means 16
}

// Store is the control database as the API uses it.
type Store struct {
	pool   *pgxpool.Pool
	gather gather
}

// Open connects as the service's role. It refuses a role that row-level security would not bind: a superuser, one with BYPASSRLS,
// or the owner of the tables.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	pool, err := open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &Store{pool: pool, gather: gather{groups: map[gathering]*group{}}}, nil
}

// ErrPrivilegedRole is returned by Open for a role that row-level security does not bind.
var ErrPrivilegedRole = errors.New("store: this role is a superuser, bypasses row-level security or owns the tables; connect as tenantry_control or tenantry_publisher")

func open(ctx context.Context, cfg Config) (*pgxpool.Pool, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("store: database URL: %w", err)
	}
	pc.MaxConns = cfg.MaxConns
	if pc.MaxConns <= 0 {
		pc.MaxConns = 16
	}
	// A plan that fits every org: statements are prepared once for each connection and never planned again.
	pc.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_generic_plan"
	pc.ConnConfig.RuntimeParams["application_name"] = "tenantry-control"
	if pc.ConnConfig.ConnectTimeout == 0 {
		pc.ConnConfig.ConnectTimeout = 3 * time.Second
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	var privileged bool
	err = pool.QueryRow(ctx, `SELECT rolsuper OR rolbypassrls OR EXISTS (
		SELECT FROM pg_class WHERE relname = 'tenants' AND pg_has_role(current_user, relowner, 'USAGE')) FROM pg_roles WHERE rolname = current_user`).Scan(&privileged)
	if err == nil && privileged {
		err = ErrPrivilegedRole
	}
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("store: %w", err)
	}
	return pool, nil
}

// Close ends all connections.
func (s *Store) Close() { s.pool.Close() }

// Ping asks the database for a sign of life.
func (s *Store) Ping(ctx context.Context) error { return refusal(s.pool.Ping(ctx)) }

const (
	setOrg      = `SELECT set_config('tenantry.org_id', $1, true)`
	setPlatform = `SELECT set_config('tenantry.org_id', $1, true), set_config('tenantry.platform', 'on', true)`
)

// read runs one query for an org in one round trip: a batch is one implicit transaction, which is as long as the setting lives.
func (s *Store) read(ctx context.Context, org id.Org, platform bool, scan func(pgx.Rows) error, sql string, args ...any) error {
	b := &pgx.Batch{}
	if platform {
		b.Queue(setPlatform, org.UUID())
	} else {
		b.Queue(setOrg, org.UUID())
	}
	b.Queue(sql, args...)
	br := s.pool.SendBatch(ctx, b)
	defer br.Close()
	if _, err := br.Exec(); err != nil {
		return refusal(err)
	}
	rows, err := br.Query()
	if err != nil {
		return refusal(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return refusal(err)
		}
	}
	rows.Close()
	return refusal(rows.Err())
}

// one is read for a query with at most one row; NOT_FOUND when there is none.
func (s *Store) one(ctx context.Context, org id.Org, platform bool, scan func(pgx.Rows) error, sql string, args ...any) error {
	found := false
	err := s.read(ctx, org, platform, func(r pgx.Rows) error { found = true; return scan(r) }, sql, args...)
	if err == nil && !found {
		return tenancy.Refuse(tenancy.ReasonNotFound)
	}
	return err
}

// Tx is a write for one org. It is used by one goroutine, inside Write.
type Tx struct {
	ctx context.Context //nolint:containedctx // a Tx lives exactly as long as the call that it is for
	tx  pgx.Tx
	org id.Org
}

// Write runs f in a transaction for an org: what f returns nil for is committed, everything else is rolled back. Platform work
// takes the zero org.
func (s *Store) Write(ctx context.Context, org id.Org, f func(*Tx) error) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, setOrg, org.UUID()); err != nil {
			return err
		}
		return f(&Tx{ctx, tx, org})
	})
	return refusal(err)
}

// Org is the org of the transaction.
func (t *Tx) Org() id.Org { return t.org }

func (t *Tx) exec(sql string, args ...any) (int64, error) {
	tag, err := t.tx.Exec(t.ctx, sql, args...)
	return tag.RowsAffected(), refusal(err)
}

// must is exec for a statement that changes exactly one row.
func (t *Tx) must(sql string, args ...any) error {
	n, err := t.exec(sql, args...)
	if err == nil && n != 1 {
		return tenancy.Refuse(tenancy.ReasonNotFound)
	}
	return err
}

func (t *Tx) row(scan func(pgx.Rows) error, sql string, args ...any) error {
	found := false
	err := t.rows(func(r pgx.Rows) error { found = true; return scan(r) }, sql, args...)
	if err == nil && !found {
		return tenancy.Refuse(tenancy.ReasonNotFound)
	}
	return err
}

func (t *Tx) rows(scan func(pgx.Rows) error, sql string, args ...any) error {
	rows, err := t.tx.Query(t.ctx, sql, args...)
	if err != nil {
		return refusal(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return refusal(err)
		}
	}
	rows.Close()
	return refusal(rows.Err())
}

// ErrRepeated says that another call with the same request id was faster; its answer is there to be read.
var ErrRepeated = errors.New("store: the request id is already taken")

// constraints turns broken constraints into reasons.
var constraints = map[string]error{
	"orgs_slug_key":              tenancy.RefuseField(tenancy.ReasonSlugTaken, "org_id", ""),
	"blueprints_org_id_slug_key": tenancy.RefuseField(tenancy.ReasonSlugTaken, "blueprint_id", ""),
	"tenants_org_id_slug_key":    tenancy.RefuseField(tenancy.ReasonSlugTaken, "tenant_id", ""),
	"api_keys_slug":              tenancy.RefuseField(tenancy.ReasonSlugTaken, "api_key_id", ""),
	"hostnames_pkey":             tenancy.Refuse(tenancy.ReasonHostnameUnavailable),
	"operations_request":         ErrRepeated,
}

// refusal turns an error of the database into what callers are told: a reason, with the whole error as its cause.
func refusal(err error) error {
	if err == nil {
		return nil
	}
	var told *tenancy.Error
	if errors.As(err, &told) || errors.Is(err, ErrRepeated) {
		return err
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch {
		case pg.Code == "TN001":
			return tenancy.Refuse(tenancy.Reason(pg.Message))
		case pg.Code == "23505" && constraints[pg.ConstraintName] != nil:
			return constraints[pg.ConstraintName]
		case pg.Code == "40001" || pg.Code == "40P01" || pg.Code == "55P03":
			return tenancy.Refuse(tenancy.ReasonConcurrentChange).Because(err)
		case pg.Code[:2] == "08" || pg.Code[:2] == "53" || pg.Code[:2] == "57":
			return tenancy.Refuse(tenancy.ReasonUnavailable).Because(err)
		}
		return tenancy.Refuse(tenancy.ReasonInternal).Because(fmt.Errorf("store: %w", err))
	}
	var connect *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, context.Canceled) {
		return tenancy.Refuse(tenancy.ReasonUnavailable).Because(fmt.Errorf("store: %w", err))
	}
	return tenancy.Refuse(tenancy.ReasonInternal).Because(fmt.Errorf("store: %w", err))
}

// orNil turns the zero time into NULL.
func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func fromNil(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

func notNil[M ~map[string]V, V any](m M) M {
	if m == nil {
		return M{}
	}
	return m
}

func list[S ~[]E, E any](s S) S {
	if s == nil {
		return S{}
	}
	return s
}
