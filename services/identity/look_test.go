// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/internal/dbtest"
)

// admin connects as a superuser, to look at what was written and to spoil it.
func admin(t testing.TB, db dbtest.DB) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(context.Background(), db.AdminURL)
	ok(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func passwordOf(t testing.TB, db dbtest.DB, user id.User) (phc string) {
	t.Helper()
	ok(t, admin(t, db).QueryRow(context.Background(), `SELECT phc FROM credentials WHERE user_id = $1`, user.UUID()).Scan(&phc))
	return phc
}

// mentions counts the rows of every table but the audit chain whose text has s.
func mentions(t testing.TB, c *pgx.Conn, s string) map[string]int {
	t.Helper()
	ctx := context.Background()
	rows, err := c.Query(ctx, `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname NOT LIKE 'audit%'`)
	ok(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	ok(t, err)
	found := map[string]int{}
	for _, name := range names {
		var n int
		ok(t, c.QueryRow(ctx, fmt.Sprintf(`SELECT count(*) FROM %s x WHERE position($1 in x::text) > 0`, pgx.Identifier{name}.Sanitize()), s).Scan(&n))
		if n > 0 {
			found[name] = n
		}
	}
	return found
}
