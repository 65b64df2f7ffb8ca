// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package localserver

import (
	"context"
	"errors"
	"net/url"
	"os"
	"sync"
)

// TestDatabaseEnv names the superuser URL of a PostgreSQL server that the tests of several packages share.
const TestDatabaseEnv = "TENANTRY_TEST_DATABASE_URL"

// TB is what the helpers for tests need of testing.TB. It stands here so that programs which run servers do not link the
// testing package.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// TestRedis starts a fresh server for one test and stops it after that. The test is skipped when no server is installed
// and the environment variable CI is unset.
func TestRedis(t TB) *Redis {
	t.Helper()
	r, err := startRedis(context.Background(), RedisConfig{NoEviction: true}, true)
	if err != nil {
		failOrSkip(t, err)
	}
	t.Cleanup(r.Stop)
	return r
}

// TestPostgres returns superuser URLs, by database, of a server for tests: that of [TestDatabaseEnv], else one that this
// process starts at its first call and that ends with the process. Tests share it, so what they make in it needs names of
// its own (services/internal/dbtest sees to that). The test is skipped when no server is installed and the environment
// variable CI is unset.
func TestPostgres(t TB) (ownerURL func(database string) string) {
	t.Helper()
	if shared := os.Getenv(TestDatabaseEnv); shared != "" {
		u, err := url.Parse(shared)
		if err != nil {
			t.Fatalf("%s is not a URL", TestDatabaseEnv) // its text may hold a password
		}
		return func(database string) string {
			of := *u
			of.Path = "/" + database
			return of.String()
		}
	}
	p, err := processPostgres()
	if err != nil {
		failOrSkip(t, err)
	}
	return func(database string) string { return p.URL(database, Superuser) }
}

// processPostgres is the one server of this process. Nothing stops it but the guard, since a test binary has no moment
// after its last test that a package could use.
var processPostgres = sync.OnceValues(func() (*Postgres, error) {
	return startPostgres(context.Background(), PostgresConfig{}, true)
})

func failOrSkip(t TB, err error) {
	t.Helper()
	if errors.Is(err, ErrMissing) && os.Getenv("CI") == "" {
		t.Skipf("%v", err)
		return
	}
	t.Fatalf("%v", err)
}
