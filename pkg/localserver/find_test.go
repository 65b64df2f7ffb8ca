// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package localserver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// script writes an executable that prints one line.
func script(t *testing.T, path, line string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho '"+line+"'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestFindTakesTheEnvironmentFirst(t *testing.T) {
	dir := t.TempDir()
	script(t, filepath.Join(dir, "postgres"), "postgres (PostgreSQL) 17.2 (Debian 17.2-1)")
	script(t, filepath.Join(dir, "initdb"), "")
	script(t, filepath.Join(dir, "valkey"), "Valkey server v=8.0.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=0")
	t.Setenv(postgresEnv, dir)
	t.Setenv(redisEnv, filepath.Join(dir, "valkey"))
	b, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	want := Binaries{
		Postgres: filepath.Join(dir, "postgres"), Initdb: filepath.Join(dir, "initdb"), PostgresVersion: "17.2",
		Redis: filepath.Join(dir, "valkey"), RedisVersion: "8.0.1",
	}
	if b != want {
		t.Errorf("Find() = %+v, want %+v", b, want)
	}
}

func TestFindTakesPathFirst(t *testing.T) {
	dir := t.TempDir()
	script(t, filepath.Join(dir, "postgres"), "postgres (PostgreSQL) 16beta1")
	script(t, filepath.Join(dir, "initdb"), "")
	script(t, filepath.Join(dir, "redis-server"), "Redis server v=7.4.0 sha=0")
	t.Setenv(postgresEnv, "")
	t.Setenv(redisEnv, "")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	b, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	if b.PostgresVersion != "16beta1" || b.RedisVersion != "7.4.0" {
		t.Errorf("Find() = %+v", b)
	}
}

func TestFindNamesWhatIsMissingAndWhatIsTooOld(t *testing.T) {
	dir := t.TempDir()
	script(t, filepath.Join(dir, "postgres"), "postgres (PostgreSQL) 12.9")
	script(t, filepath.Join(dir, "initdb"), "")
	script(t, filepath.Join(dir, "redis"), "Redis server v=6.2.7 sha=0")
	for name, redis := range map[string]string{"too old": filepath.Join(dir, "redis"), "absent": filepath.Join(dir, "nothing")} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(postgresEnv, dir)
			t.Setenv(redisEnv, redis)
			_, err := Find()
			if !errors.Is(err, ErrMissing) {
				t.Fatalf("err = %v", err)
			}
			want := []string{"PostgreSQL 15 or later", "is 12.9", "install postgresql", postgresEnv, "Redis 7", redisEnv}
			if name == "too old" {
				want = append(want, "is 6.2.7")
			}
			for _, w := range want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
}

func TestFindPostgresOfTheClusterItMade(t *testing.T) {
	dir := t.TempDir()
	script(t, filepath.Join(dir, "postgres"), "postgres (PostgreSQL) 16.1")
	script(t, filepath.Join(dir, "initdb"), "")
	t.Setenv(postgresEnv, dir)
	if _, err := findPostgres(16); err != nil {
		t.Error(err)
	}
	_, err := findPostgres(15)
	if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "PostgreSQL 15 (it made the data directory)") {
		t.Errorf("err = %v", err)
	}
}
