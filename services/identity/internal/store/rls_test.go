// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/internal/dbtest"
)

var testNow = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func testStore(t testing.TB) (*Store, dbtest.DB) {
	t.Helper()
	db := dbtest.New(t, "identity", Migrate)
	s, err := Open(context.Background(), Config{DatabaseURL: db.URL(Role)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, db
}

func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// populate puts a row into every table of the tenant.
func populate(t testing.TB, s *Store) TenantRef {
	t.Helper()
	ctx := context.Background()
	ref := TenantRef{Tenant: id.NewTenant(), Pool: id.NewUserPool()}
	op := Op{Now: testNow, Actor: "system"}
	u := NewUser{
		ID: id.NewUser(), Membership: id.NewMembership(), Email: "a@b.example", EmailKey: "a@b.example", State: UserActive, Source: "API", PHC: "phc",
		Invitation: &NewInvitation{ID: id.NewInvitation(), ExpireTime: testNow.Add(time.Hour)},
	}
	session := Session{ID: id.NewSession(), User: u.ID, AuthTime: testNow, CreateTime: testNow, ExpireTime: testNow.Add(time.Hour)}
	f := Family{Grant: id.NewGrant(), User: u.ID, Client: id.NewClient(), Session: session.ID, AuthTime: testNow, CreateTime: testNow, ExpireTime: testNow.Add(time.Hour)}
	seed := DigestedSeed{Seed: Seed{TenantRef: ref, Time: testNow, Actor: "system"}}
	must(t, s.CreateUser(ctx, ref, op, u))
	must(t, s.CreateSession(ctx, ref, session, [32]byte(append(u.ID[:], u.ID[:]...))))
	must(t, s.NoteClient(ctx, ref, session.ID, f.Client, testNow))
	_, err := s.CreateFamily(ctx, ref, f)
	must(t, err)
	_, err = s.GrantConsent(ctx, ref, op, u.ID, f.Client, []string{"openid"})
	must(t, err)
	must(t, s.Revoke(ctx, ref, op, RevokedToken, "jti", testNow.Add(time.Hour)))
	must(t, s.LoginUnknown(ctx, ref, 3))
	must(t, s.ApplySeeds(ctx, []DigestedSeed{seed}))
	return ref
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tables lists the tables of tenants and pools: all but those of the migrations and of the jobs, which hold ids only.
func tables(t testing.TB, admin *pgx.Conn) []string {
	t.Helper()
	rows, err := admin.Query(context.Background(), `
		SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
			AND relname <> 'goose_db_version' AND relname NOT LIKE 'river\_%' ORDER BY relname`)
	must(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	if len(names) < 12 {
		t.Fatalf("only %d tables: %v", len(names), names)
	}
	return names
}

func count(t testing.TB, c *pgx.Conn, table string) (n int) {
	t.Helper()
	must(t, c.QueryRow(context.Background(), `SELECT count(*) FROM `+pgx.Identifier{table}.Sanitize()).Scan(&n))
	return n
}

func TestRowsAreInvisibleWithoutTheSetting(t *testing.T) {
	s, db := testStore(t)
	ctx := context.Background()
	a, b := populate(t, s), populate(t, s)
	admin, service, owner := connect(t, db.AdminURL), connect(t, db.URL(Role)), connect(t, db.OwnerURL)
	for _, table := range tables(t, admin) {
		t.Run(table, func(t *testing.T) {
			if n := count(t, admin, table); n < 2 {
				t.Fatalf("%d rows: the test would show nothing", n)
			}
			if n := count(t, service, table); n != 0 {
				t.Errorf("the service sees %d rows without a tenant", n)
			}
			// FORCE: the owner is bound as well.
			if n := count(t, owner, table); n != 0 {
				t.Errorf("the owner sees %d rows without a tenant", n)
			}
			// After a transaction with a local setting the value on the connection is an empty string, not NULL.
			for _, ref := range []TenantRef{a, b} {
				must(t, pgx.BeginFunc(ctx, service, func(tx pgx.Tx) error {
					if _, err := tx.Exec(ctx, setTenant, ref.Tenant.UUID(), ref.Pool.UUID()); err != nil {
						return err
					}
					mine, foreign := 0, 0
					column, want := "tenant_id", ref.Tenant.UUID()
					if table == "users" || table == "credentials" || table == "unknown_logins" {
						column, want = "pool_id", ref.Pool.UUID()
					}
					err := tx.QueryRow(ctx, `SELECT count(*) FILTER (WHERE `+column+` = $1), count(*) FILTER (WHERE `+column+` <> $1) FROM `+table, want).Scan(&mine, &foreign)
					if err == nil && (mine == 0 || foreign > 0) {
						t.Errorf("with a tenant set: %d own rows, %d foreign ones", mine, foreign)
					}
					return err
				}))
				if n := count(t, service, table); n != 0 {
					t.Errorf("the service sees %d rows after the transaction", n)
				}
			}
		})
	}
}

// A statement whose WHERE clause was forgotten changes nothing of the neighbour, and cannot move a row there.
func TestForgottenWhereIsCaught(t *testing.T) {
	s, db := testStore(t)
	ctx := context.Background()
	a, b := populate(t, s), populate(t, s)
	admin, service := connect(t, db.AdminURL), connect(t, db.URL(Role))
	for _, table := range tables(t, admin) {
		if table == "audit_events" || table == "audit_heads" {
			continue // the service may not change these at all: see below
		}
		before := count(t, admin, table)
		err := pgx.BeginFunc(ctx, service, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, setTenant, a.Tenant.UUID(), a.Pool.UUID())
			if err == nil {
				_, err = tx.Exec(ctx, `DELETE FROM `+table)
			}
			return err
		})
		must(t, err)
		if n := count(t, admin, table); n >= before || n < before/2 {
			t.Errorf("DELETE FROM %s left %d of %d rows", table, n, before)
		}
		column, to := "tenant_id", a.Tenant
		if table == "users" || table == "credentials" || table == "unknown_logins" {
			column, to = "pool_id", id.Tenant(a.Pool)
		}
		err = pgx.BeginFunc(ctx, service, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, setTenant, b.Tenant.UUID(), b.Pool.UUID())
			if err == nil {
				_, err = tx.Exec(ctx, `UPDATE `+table+` SET `+column+` = $1`, uuid(to))
			}
			return err
		})
		var pe *pgconn.PgError
		if n := count(t, admin, table); n > 0 && (!errors.As(err, &pe) || pe.Code != "42501" || !strings.Contains(pe.Message, "row-level security")) {
			t.Errorf("moving a row of %s to another tenant: %v", table, err)
		}
	}
}

func TestServiceCannotRewriteHistory(t *testing.T) {
	s, db := testStore(t)
	ref := populate(t, s)
	service := connect(t, db.URL(Role))
	for _, sql := range []string{
		`UPDATE audit_events SET actor = 'nobody'`, `DELETE FROM audit_events`, `DELETE FROM audit_heads`, `TRUNCATE audit_events`,
		`ALTER TABLE users DISABLE ROW LEVEL SECURITY`, `CREATE TABLE mine ()`, `DROP FUNCTION append_audit`,
	} {
		err := pgx.BeginFunc(context.Background(), service, func(tx pgx.Tx) error {
			if _, err := tx.Exec(context.Background(), setTenant, ref.Tenant.UUID(), ref.Pool.UUID()); err != nil {
				return err
			}
			_, err := tx.Exec(context.Background(), sql)
			return err
		})
		var pe *pgconn.PgError
		if !errors.As(err, &pe) || pe.Code != "42501" {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func TestPrivilegedRolesAreRefused(t *testing.T) {
	_, db := testStore(t)
	ctx := context.Background()
	admin := connect(t, db.AdminURL)
	for _, url := range []string{db.AdminURL, db.OwnerURL} {
		s, err := Open(ctx, Config{DatabaseURL: url})
		must(t, err)
		defer s.Close()
		if err := s.Ping(ctx); !errors.Is(err, ErrPrivileged) {
			t.Errorf("Ping: %v", err)
		}
		if _, err := s.GetUser(ctx, TenantRef{}, id.NewUser()); !errors.Is(err, ErrPrivileged) {
			t.Errorf("GetUser: %v", err)
		}
	}
	// A member of the owner's role could SET ROLE to it.
	if _, err := admin.Exec(ctx, `
		DO $$ BEGIN CREATE ROLE tenantry_test_member LOGIN IN ROLE `+dbtest.Owner+`; EXCEPTION WHEN duplicate_object THEN NULL; END $$`); err != nil {
		t.Fatal(err)
	}
	s, err := Open(ctx, Config{DatabaseURL: db.URL("tenantry_test_member")})
	must(t, err)
	defer s.Close()
	if err := s.Ping(ctx); !errors.Is(err, ErrPrivileged) {
		t.Errorf("a member of the owner: %v", err)
	}
}

func TestEveryKeyBeginsWithTenantOrPool(t *testing.T) {
	_, db := testStore(t)
	admin := connect(t, db.AdminURL)
	for _, table := range tables(t, admin) {
		var first string
		must(t, admin.QueryRow(context.Background(), `
			SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
			WHERE i.indrelid = $1::regclass AND i.indisprimary`, table).Scan(&first))
		if first != "tenant_id" && first != "pool_id" {
			t.Errorf("the primary key of %s begins with %s", table, first)
		}
		var forced bool
		must(t, admin.QueryRow(context.Background(), `SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE oid = $1::regclass`, table).Scan(&forced))
		if !forced {
			t.Errorf("row-level security of %s is not forced", table)
		}
	}
}

func TestOpenDoesNotConnectAndHidesThePassword(t *testing.T) {
	s, err := Open(context.Background(), Config{DatabaseURL: "postgres://u:hunter2@192.0.2.1:1/x", ConnectTimeout: 50 * time.Millisecond})
	must(t, err)
	s.Close()
	if _, err := Open(context.Background(), Config{DatabaseURL: "postgres://u:hunter2@[::1/x"}); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Fatalf("a malformed URL: %v", err)
	}
}

func TestMigrateAgainAndAtOnce(t *testing.T) {
	_, db := testStore(t)
	errs := make(chan error, 3)
	for range 3 {
		go func() { errs <- Migrate(context.Background(), db.OwnerURL) }()
	}
	for range 3 {
		must(t, <-errs)
	}
	fresh := dbtest.New(t, "", nil)
	for range 3 {
		go func() { errs <- Migrate(context.Background(), fresh.OwnerURL) }()
	}
	for range 3 {
		must(t, <-errs)
	}
}
