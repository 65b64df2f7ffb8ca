// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package store owns the SQL of the control database and its migrations: nobody else of the control plane knows a table.
//
// Every method takes the org first. The org goes into the setting tenantry.org_id of the transaction, together with the statements
// in one round trip, and row-level security under a role that owns nothing refuses every row of another org, should a WHERE ever be
// forgotten. Work for the whole platform says so (tenantry.platform) and can then only read, and only four tables. The worker that
// distributes snapshots and seeds has a role of its own (Worker).
//
// A write is one transaction that also holds the snapshot, the outbox rows, the audit event and the kept answer of the call. The
// audit chain of a tenant or org hangs on its row, so it is serialised exactly as the changes of that tenant or org are.
package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/tenantry/tenantry/pkg/id"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the database to this release's schema, as its owner. Concurrent calls wait for each other.
func Migrate(ctx context.Context, ownerURL string) error {
	pool, err := pgxpool.New(ctx, ownerURL)
	if err != nil {
		return fmt.Errorf("store: migrate: %w", err)
	}
	defer pool.Close()
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("store: migrate: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return fmt.Errorf("store: migrate: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("store: migrate: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("store: migrate: %w", err)
	}
	return nil
}

// WriteAsOwner runs f in a transaction of the platform itself as the owner of the database: work on the operator's machine.
func WriteAsOwner(ctx context.Context, ownerURL string, f func(*Tx) error) error {
	conn, err := pgx.Connect(ctx, ownerURL)
	if err != nil {
		return refusal(err)
	}
	defer conn.Close(ctx)
	return refusal(pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, setOrg, id.Org{}.UUID()); err != nil {
			return err
		}
		return f(&Tx{ctx, tx, id.Org{}})
	}))
}
