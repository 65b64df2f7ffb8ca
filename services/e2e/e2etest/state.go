// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2etest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// State is what the databases and the runtime Redis hold: a digest of each table's rows.
type State map[string]string

// unsaid are tables that change by themselves, or that only say what happened: refusals are audited, queues are worked, pools filled.
var unsaid = []string{
	"audit_events", "audit_heads", "outbox", "rsa_key_pool", "rsa_wanted", "republish", "operations", "unknown_logins", "goose_db_version",
	"snapshots", // re-signed and re-stamped by the publisher; what they are compiled from is in other tables
}

// unsaidColumns are columns of other tables for which the same holds.
var unsaidColumns = []string{"last_used_time", "last_used_ip", "last_used_at", "used_at"}

// State looks at everything that a refused request must not change.
func (r *Rig) State(t testing.TB) State {
	t.Helper()
	s := State{}
	for name, url := range map[string]string{"control": r.Control.AdminURL, "identity": r.Identity.AdminURL} {
		r.tables(t, name, url, s)
	}
	if r.RuntimeRedis != nil {
		s["runtime redis keys"] = fmt.Sprint(RedisDo(t, r.RuntimeRedis.URL(), "DBSIZE"))
	}
	return s
}

func (r *Rig) tables(t testing.TB, database, url string, into State) {
	t.Helper()
	err := query(t.Context(), url, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'river%'")
		if err != nil {
			return err
		}
		tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, table := range tables {
			if slices.Contains(unsaid, table) {
				continue
			}
			minus := ""
			for _, c := range unsaidColumns {
				minus += fmt.Sprintf(" - '%s'", c)
			}
			var digest string
			sql := fmt.Sprintf("SELECT count(*) || ' rows ' || md5(coalesce(string_agg(j, ',' ORDER BY j), '')) FROM (SELECT (to_jsonb(x)%s)::text AS j FROM %s x) y",
				minus, pgx.Identifier{table}.Sanitize())
			if err := conn.QueryRow(ctx, sql).Scan(&digest); err != nil {
				return fmt.Errorf("%s: %w", table, err)
			}
			into[database+"."+table] = digest
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Diff names what differs between two states.
func (s State) Diff(other State) string {
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(s)) {
		if s[k] != other[k] {
			lines = append(lines, fmt.Sprintf("%s: %s → %s", k, s[k], other[k]))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(other)) {
		if _, ok := s[k]; !ok {
			lines = append(lines, k+" is new")
		}
	}
	return strings.Join(lines, "; ")
}

// Count is the answer of a query for one number, of the control database or the identity database.
func Count(t testing.TB, url, sql string, args ...any) int {
	t.Helper()
	var n int
	err := query(t.Context(), url, func(ctx context.Context, conn *pgx.Conn) error { return conn.QueryRow(ctx, sql, args...).Scan(&n) })
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// Strings are the texts that a query answers with.
func Strings(t testing.TB, url, sql string, args ...any) (all []string) {
	t.Helper()
	err := query(t.Context(), url, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return all
}

func query(ctx context.Context, url string, f func(context.Context, *pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return f(ctx, conn)
}
