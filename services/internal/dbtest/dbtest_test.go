// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package dbtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantry/tenantry/pkg/localserver"
)

var migrations atomic.Int32

// migrate makes one table that only its own role may read, as the services' migrations do.
func migrate(ctx context.Context, ownerURL string) error {
	migrations.Add(1)
	conn, err := pgx.Connect(ctx, ownerURL)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, `
		DO $$ BEGIN CREATE ROLE dbtest_reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
		CREATE TABLE thing (n int PRIMARY KEY);
		ALTER TABLE thing ENABLE ROW LEVEL SECURITY;
		ALTER TABLE thing FORCE ROW LEVEL SECURITY;
		CREATE POLICY odd ON thing USING (n % 2 = 1) WITH CHECK (true);
		GRANT SELECT ON thing TO dbtest_reader`)
	return err
}

func connect(t *testing.T, u string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func count(t *testing.T, conn *pgx.Conn) (n int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM thing").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestEachTestHasItsOwnCopyOfOneMigration(t *testing.T) {
	before := migrations.Load()
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				conn := connect(t, New(t, "copies", migrate).OwnerURL)
				if n := count(t, conn); n != 0 {
					t.Errorf("a fresh database has %d rows", n)
				}
				if _, err := conn.Exec(t.Context(), "INSERT INTO thing VALUES (1)"); err != nil {
					t.Error(err)
				}
			})
		})
	}
	wg.Wait()
	if n := migrations.Load() - before; n != 1 {
		t.Errorf("migrated %d times", n)
	}
}

func TestRolesAreHeldToThePolicies(t *testing.T) {
	db := New(t, "copies", migrate)
	owner := connect(t, db.OwnerURL)
	if _, err := owner.Exec(t.Context(), "INSERT INTO thing VALUES (1), (2), (3)"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		url  string
		rows int
	}{"admin": {db.AdminURL, 3}, "owner": {db.OwnerURL, 2}, "reader": {db.URL("dbtest_reader"), 2}} {
		if got := count(t, connect(t, want.url)); got != want.rows {
			t.Errorf("%s sees %d rows, want %d", name, got, want.rows)
		}
	}
	_, err := connect(t, db.URL("dbtest_reader")).Exec(t.Context(), "INSERT INTO thing VALUES (5)")
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "42501" {
		t.Errorf("the reader may write: %v", err)
	}
}

func TestDatabaseIsDroppedAfterItsTestDespiteOpenConnections(t *testing.T) {
	var name string
	t.Run("inner", func(t *testing.T) {
		u := New(t, "", nil).OwnerURL
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		name = strings.TrimPrefix(parsed.Path, "/")
		if _, err := pgx.Connect(context.Background(), u); err != nil {
			t.Fatal(err)
		}
	})
	if databaseExists(t, name) {
		t.Errorf("%s is still there", name)
	}
}

func databaseExists(t *testing.T, name string) (exists bool) {
	t.Helper()
	admin := connect(t, localserver.TestPostgres(t)("postgres"))
	if err := admin.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil {
		t.Fatal(err)
	}
	return exists
}

func TestDatabasesOfDeadProcessesAreSwept(t *testing.T) {
	urls := localserver.TestPostgres(t)
	dead, err := newServer(t.Context(), urls)
	if err != nil {
		t.Fatal(err)
	}
	alive, err := newServer(t.Context(), urls)
	if err != nil {
		t.Fatal(err)
	}
	deadDB, aliveDB := dead.name("x"), alive.name("x")
	for s, name := range map[*server]string{dead: deadDB, alive: aliveDB} {
		if err := s.exec(t.Context(), "CREATE DATABASE "+quote(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := dead.conn.Close(t.Context()); err != nil { // what the end of a process does
		t.Fatal(err)
	}
	next, err := newServer(t.Context(), urls)
	if err != nil {
		t.Fatal(err)
	}
	if databaseExists(t, deadDB) {
		t.Error("the database of a dead process is still there")
	}
	if !databaseExists(t, aliveDB) {
		t.Error("the database of a living process was dropped")
	}
	for _, s := range []*server{alive, next} {
		if err := s.drop(t.Context(), aliveDB); err != nil {
			t.Error(err)
		}
		_ = s.conn.Close(t.Context())
	}
}

// recorder stands for a test that is expected to fail.
type recorder struct {
	testing.TB
	failed string
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = fmt.Sprintf(format, args...)
	panic(r)
}

func TestFailedMigrationFailsEveryTestOfItsName(t *testing.T) {
	broken := func(context.Context, string) error { return errors.New("column is odd") }
	for range 2 {
		r := &recorder{TB: t}
		func() {
			defer func() { _ = recover() }()
			New(r, "broken", broken)
		}()
		if !strings.Contains(r.failed, "column is odd") {
			t.Errorf("failure = %q", r.failed)
		}
	}
}

func TestRoleOfAServerWithPasswords(t *testing.T) {
	got := as("postgres://super:pw@db.example:5432/x?sslmode=disable", "tenantry_identity")
	want := "postgres://super:pw@db.example:5432/x?options=-c%20role%3Dtenantry_identity&sslmode=disable"
	if got != want {
		t.Errorf("as = %s, want %s", got, want)
	}
	base := localserver.TestPostgres(t)("postgres")
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	New(t, "copies", migrate) // makes the role
	u.User = url.UserPassword(u.User.Username(), "ignored by a trusting server")
	var user string
	if err := connect(t, as(u.String(), "dbtest_reader")).QueryRow(t.Context(), "SELECT current_user").Scan(&user); err != nil || user != "dbtest_reader" {
		t.Errorf("current_user = %s, %v", user, err)
	}
}

func TestLongNamesFit(t *testing.T) {
	db := New(t, strings.Repeat("long", 30), nil)
	if err := connect(t, db.OwnerURL).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		t := &cleanups{TB: b}
		New(t, "copies", migrate)
		for _, f := range t.fs {
			f()
		}
	}
}

// cleanups runs the cleanups of one iteration when it ends.
type cleanups struct {
	testing.TB
	fs []func()
}

func (c *cleanups) Cleanup(f func()) { c.fs = append(c.fs, f) }
