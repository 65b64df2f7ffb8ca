// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package dbtest gives each test a migrated PostgreSQL database of its own.
//
// It owns the databases and the roles that stand for an operator's: the migrations run once per process and name, into a
// template that is then copied for each test (30 ms) and dropped after it. It leaves the server to pkg/localserver (one per
// test binary, or the one that TENANTRY_TEST_DATABASE_URL names) and the schema, with the services' own roles, to the
// migrations.
//
// Databases of test binaries that were killed are dropped by the next one on the same server: every name carries the key of
// an advisory lock that its process holds for as long as it lives.
package dbtest

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/localserver"
)

// Owner is the role that owns the databases and runs the migrations: it may create roles, and is neither a superuser nor
// exempt from row-level security where that is forced, like the owner that a managed PostgreSQL hands out.
const Owner = "tenantry_owner"

// setupTimeout bounds a migration or a copy on a machine that runs many tests at once.
const setupTimeout = 2 * time.Minute

// DB is a database for one test. All URLs lead to the same database.
type DB struct {
	// OwnerURL connects as [Owner].
	OwnerURL string
	// AdminURL connects as a superuser, who sees every row whatever the policies say: for looking at what was written.
	AdminURL string
	// URL connects as one of the roles that the migrations made.
	URL func(role string) string
}

// Migrate brings an empty database to the current schema. It must close every connection before it returns, because a
// database with connections cannot be copied.
type Migrate func(ctx context.Context, ownerURL string) error

// New returns a fresh copy of the database that migrate makes, and drops it after the test. Calls with the same name share
// the template, so a name stands for one schema. An empty name with a nil migrate is an empty database.
//
// The test is skipped when no server is installed and the environment variable CI is unset.
func New(t testing.TB, name string, migrate Migrate) DB {
	t.Helper()
	s, err := serverFor(localserver.TestPostgres(t))
	if err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	tmpl, err := s.template(ctx, name, migrate)
	if err != nil {
		t.Fatalf("dbtest: database %s: %v", name, err)
	}
	copied := s.name(name)
	if err := s.exec(ctx, "CREATE DATABASE "+quote(copied)+" TEMPLATE "+quote(tmpl)+" OWNER "+Owner); err != nil {
		t.Fatalf("dbtest: copy %s: %v", name, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
		defer cancel()
		if err := s.drop(ctx, copied); err != nil {
			t.Errorf("dbtest: drop %s: %v", copied, err)
		}
	})
	return s.db(copied)
}

// server is one PostgreSQL server as this process uses it.
type server struct {
	url func(database string) string // as superuser
	key int64                        // of the advisory lock that says that this process lives
	seq atomic.Int64

	// The administration connection holds the lock, so it stays open as long as the process.
	mu   sync.Mutex
	conn *pgx.Conn

	templatesMu sync.Mutex
	templates   map[string]*template
}

// template is made once; those who come meanwhile wait for it.
type template struct {
	once sync.Once
	name string
	err  error
}

// serverFor returns this process's view of the server, which it sets up at its first call. All tests of a process share
// one server, so there is no second view.
func serverFor(superuserURL func(string) string) (*server, error) {
	firstMu.Lock()
	defer firstMu.Unlock()
	if first != nil {
		return first, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), setupTimeout)
	defer cancel()
	s, err := newServer(ctx, superuserURL)
	if err != nil {
		return nil, err
	}
	first = s
	return s, nil
}

var (
	firstMu sync.Mutex
	first   *server
)

func newServer(ctx context.Context, superuserURL func(string) string) (*server, error) {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	s := &server{
		url:       superuserURL,
		key:       int64(binary.BigEndian.Uint64(random[:]) >> 1), // the shift makes it fit
		templates: map[string]*template{},
	}
	conn, err := pgx.Connect(ctx, superuserURL("postgres"))
	if err != nil {
		return nil, fmt.Errorf("connect to the test server: %w", err)
	}
	s.conn = conn
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", s.key); err != nil {
		return nil, fmt.Errorf("mark this process: %w", err)
	}
	err = s.exclusively(ctx, func() error {
		if err := s.makeOwner(ctx); err != nil {
			return fmt.Errorf("make role %s: %w", Owner, err)
		}
		return s.sweep(ctx)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// setupLock is the key of the advisory lock under which a process changes what belongs to the whole server. Roles do:
// two migrations that create the same ones at once fail in each other's catalogue rows.
const setupLock = 0x74656e616e747279 // "tenantry"

// exclusively runs f while no other process of this package changes the server.
func (s *server) exclusively(ctx context.Context, f func() error) error {
	conn, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // which unlocks
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(setupLock)); err != nil {
		return err
	}
	return f()
}

func (s *server) makeOwner(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var exists bool
	if err := s.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", Owner).Scan(&exists); err != nil || exists {
		return err
	}
	_, err := s.conn.Exec(ctx, "CREATE ROLE "+Owner+" LOGIN CREATEROLE NOSUPERUSER NOCREATEDB NOBYPASSRLS")
	return err
}

// sweep drops the databases of processes that no longer hold their lock.
func (s *server) sweep(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows, err := s.conn.Query(ctx, `SELECT datname FROM pg_database WHERE datname ~ '^`+prefix+`[0-9a-f]{16}_'`)
	if err != nil {
		return err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range names {
		key, err := strconv.ParseInt(strings.TrimPrefix(name, prefix)[:16], 16, 64)
		if err != nil || key == s.key {
			continue
		}
		var dead bool
		if err := s.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", key).Scan(&dead); err != nil {
			return err
		}
		if !dead {
			continue
		}
		_, errDrop := s.conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)")
		_, errUnlock := s.conn.Exec(ctx, "SELECT pg_advisory_unlock($1)", key)
		if err := errors.Join(errDrop, errUnlock); err != nil {
			return fmt.Errorf("drop %s of a dead process: %w", name, err)
		}
	}
	return nil
}

// prefix begins every name of a database of this package.
const prefix = "tenantry_test_"

// name makes a fresh database name: prefix, key of this process, number, and as much of the given name as fits into
// PostgreSQL's 63 bytes.
func (s *server) name(of string) string {
	n := fmt.Sprintf("%s%016x_%d_%s", prefix, s.key, s.seq.Add(1), of)
	return n[:min(len(n), 63)]
}

// template returns the name of the migrated database, made by the first caller.
func (s *server) template(ctx context.Context, name string, migrate Migrate) (string, error) {
	s.templatesMu.Lock()
	tmpl := s.templates[name]
	if tmpl == nil {
		tmpl = &template{name: s.name(name)}
		s.templates[name] = tmpl
	}
	s.templatesMu.Unlock()
	tmpl.once.Do(func() {
		if tmpl.err = s.exec(ctx, "CREATE DATABASE "+quote(tmpl.name)+" OWNER "+Owner+" TEMPLATE template0"); tmpl.err != nil || migrate == nil {
			return
		}
		tmpl.err = s.exclusively(ctx, func() error { return migrate(ctx, s.db(tmpl.name).OwnerURL) })
		if tmpl.err != nil {
			tmpl.err = fmt.Errorf("migrate: %w", tmpl.err)
		}
	})
	return tmpl.name, tmpl.err
}

// exec runs one statement on the administration connection.
func (s *server) exec(ctx context.Context, sql string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.conn.Exec(ctx, sql)
	return err
}

// drop removes a database, with whatever connections a failed test has left in it.
func (s *server) drop(ctx context.Context, database string) error {
	return s.exec(ctx, "DROP DATABASE IF EXISTS "+quote(database)+" WITH (FORCE)")
}

func (s *server) db(database string) DB {
	admin := s.url(database)
	return DB{
		OwnerURL: as(admin, Owner),
		AdminURL: admin,
		URL:      func(role string) string { return as(admin, role) },
	}
}

// as is a superuser's URL with another role in it. A server that trusts its callers is simply asked for the role. One that
// wants a password knows none for it: there the superuser logs in and takes the role at once, which row-level security and
// rights look at.
func as(superuserURL, role string) string {
	u, err := url.Parse(superuserURL)
	if err != nil {
		return superuserURL // TestPostgres has parsed it
	}
	if _, password := u.User.Password(); !password {
		u.User = url.User(role)
		return u.String()
	}
	q := u.Query()
	q.Set("options", strings.TrimSpace(q.Get("options")+" -c role="+role))
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20") // libpq and pgx take a plus sign for itself
	return u.String()
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
