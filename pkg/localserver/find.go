// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package localserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// Oldest majors that Tenantry supports.
const (
	minPostgres = 15
	minRedis    = 7
)

// Environment variables that come before every other place.
const (
	postgresEnv = "TENANTRY_PG_BIN"       // directory of postgres and initdb
	redisEnv    = "TENANTRY_REDIS_SERVER" // redis-server or valkey-server
)

// Binaries says where the servers are and what they are.
type Binaries struct {
	Postgres        string // path of postgres
	Initdb          string // path of initdb, of the same installation
	PostgresVersion string // "15.13"
	Redis           string // path of redis-server or valkey-server
	RedisVersion    string // "7.0.15"
}

// Find looks for PostgreSQL 15 or later and Redis 7 (or Valkey) or later: first where TENANTRY_PG_BIN (a directory) and
// TENANTRY_REDIS_SERVER (a file) point, then on PATH, then where Debian, Homebrew and the RPM packages put them. Within
// one of these places the newest wins. The error wraps [ErrMissing] and names all that is missing.
func Find() (Binaries, error) {
	p, errPostgres := findPostgres(0)
	r, errRedis := findRedis()
	b := Binaries{
		Postgres: p.server, Initdb: p.initdb, PostgresVersion: p.version,
		Redis: r.server, RedisVersion: r.version,
	}
	return b, errors.Join(errPostgres, errRedis)
}

type installation struct {
	server, initdb string
	version        string
	major          int
}

// findPostgres returns the preferred installation; with a major it must be of that one, because only it can open the
// data directories of its own making.
func findPostgres(major int) (installation, error) {
	var places [][]string // by preference; within a place the newest wins
	if dir := os.Getenv(postgresEnv); dir != "" {
		places = [][]string{{dir}}
	} else {
		if path, err := exec.LookPath("postgres"); err == nil {
			places = append(places, []string{filepath.Dir(path)})
		}
		for _, pattern := range []string{
			"/usr/lib/postgresql/*/bin",          // Debian, Ubuntu
			"/opt/homebrew/opt/postgresql*/bin",  // Homebrew on Apple silicon
			"/usr/local/opt/postgresql*/bin",     // Homebrew on Intel
			"/usr/pgsql-*/bin",                   // PostgreSQL's own RPMs
			"/Library/PostgreSQL/*/bin",          // the macOS installer
			"/Applications/Postgres.app/*/*/bin", // Postgres.app
		} {
			if dirs, _ := filepath.Glob(pattern); len(dirs) > 0 {
				places = append(places, dirs)
			}
		}
	}
	seen := ""
	for _, dirs := range places {
		var found []installation
		for _, dir := range dirs {
			in := installation{server: filepath.Join(dir, "postgres"), initdb: filepath.Join(dir, "initdb")}
			if _, err := os.Stat(in.initdb); err != nil {
				continue
			}
			if in.version, in.major = versionOf(in.server, postgresVersion); in.major < minPostgres || (major != 0 && in.major != major) {
				if in.version != "" {
					seen += fmt.Sprintf("; %s is %s", in.server, in.version)
				}
				continue
			}
			found = append(found, in)
		}
		if len(found) > 0 {
			return slices.MaxFunc(found, func(a, b installation) int { return a.major - b.major }), nil
		}
	}
	want := fmt.Sprintf("PostgreSQL %d or later", minPostgres)
	if major != 0 {
		want = fmt.Sprintf("PostgreSQL %d (it made the data directory)", major)
	}
	return installation{}, fmt.Errorf("%w: %s%s; %s, or set %s to its bin directory", ErrMissing, want, seen, hint("postgresql", "postgresql@17"), postgresEnv)
}

func findRedis() (installation, error) {
	var paths []string
	if path := os.Getenv(redisEnv); path != "" {
		paths = []string{path}
	} else {
		for _, name := range []string{"redis-server", "valkey-server"} {
			if path, err := exec.LookPath(name); err == nil {
				paths = append(paths, path)
			}
			for _, dir := range []string{"/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"} {
				paths = append(paths, filepath.Join(dir, name))
			}
		}
	}
	seen := ""
	for _, path := range paths {
		in := installation{server: path}
		if in.version, in.major = versionOf(path, redisVersion); in.major >= minRedis {
			return in, nil
		}
		if in.version != "" {
			seen += fmt.Sprintf("; %s is %s", path, in.version)
		}
	}
	return installation{}, fmt.Errorf("%w: Redis %d or Valkey%s; %s, or set %s to the server's path", ErrMissing, minRedis, seen, hint("redis-server", "valkey"), redisEnv)
}

// hint is the line that installs a package on this kind of machine.
func hint(debian, homebrew string) string {
	if runtime.GOOS == "darwin" {
		return "brew install " + homebrew
	}
	return "apt-get install " + debian
}

var (
	postgresVersion = regexp.MustCompile(`\(PostgreSQL\) ((\d+)[.\w]*)`) // "postgres (PostgreSQL) 15.13 (Debian …)"
	redisVersion    = regexp.MustCompile(`\bv=((\d+)[.\w]*)`)            // "Redis server v=7.0.15 sha=…", "Valkey server v=8.0.1 …"
)

// versionOf asks a server for its version; "" and 0 when it does not answer like one.
func versionOf(path string, pattern *regexp.Regexp) (version string, major int) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return "", 0
	}
	m := pattern.FindSubmatch(out)
	if m == nil {
		return "", 0
	}
	major, err = strconv.Atoi(string(m[2]))
	if err != nil {
		return "", 0
	}
	return string(m[1]), major
}
