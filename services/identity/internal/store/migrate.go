// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrateLock is the advisory lock that lets one migrator work at a time: goose's own locker would not cover River's part.
const migrateLock = 0x74656e616e747279

// Role is the role that the services connect as. It owns nothing.
const Role = "tenantry_identity"

// Migrate brings the schema, River's tables and the service role's grants up to date. It connects as the owner, may run as often
// as one likes, and several at once take turns.
func Migrate(ctx context.Context, ownerURL string) (err error) {
	pc, err := pgxpool.ParseConfig(ownerURL)
	if err != nil {
		return errors.New("identity: the owner's database URL cannot be parsed")
	}
	// One connection holds the lock, the others work.
	pc.MaxConns = 4
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return fmt.Errorf("identity: open the owner's pool: %w", err)
	}
	defer pool.Close()
	lock, err := pgx.ConnectConfig(ctx, pc.ConnConfig.Copy())
	if err != nil {
		return fmt.Errorf("identity: connect as the owner: %w", err)
	}
	defer lock.Close(context.WithoutCancel(ctx)) // releases the lock, also when it fails
	if _, err := lock.Exec(ctx, `SELECT pg_advisory_lock($1)`, int64(migrateLock)); err != nil {
		return fmt.Errorf("identity: wait for other migrators: %w", err)
	}
	if err := migrateSchema(ctx, pool); err != nil {
		return err
	}
	return migrateJobs(ctx, pool)
}

func migrateSchema(ctx context.Context, pool *pgxpool.Pool) (err error) {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("identity: read the migrations: %w", err)
	}
	db := stdlib.OpenDBFromPool(pool)
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := goose.NewProvider(goose.DialectPostgres, db, dir)
	if err != nil {
		return fmt.Errorf("identity: read the migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("identity: migrate: %w", err)
	}
	return nil
}

func migrateJobs(ctx context.Context, pool *pgxpool.Pool) error {
	m, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("identity: prepare the job migrations: %w", err)
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("identity: migrate jobs: %w", err)
	}
	// River adds tables between releases, so the grants follow what is there.
	_, err = pool.Exec(ctx, `
		DO $$
		DECLARE
			t record;
		BEGIN
			FOR t IN SELECT c.relname, c.relkind FROM pg_catalog.pg_class c
				WHERE c.relnamespace = 'public'::regnamespace AND c.relname LIKE 'river\_%' AND c.relkind IN ('r', 'S') LOOP
				IF t.relname = 'river_migration' THEN
					EXECUTE format('GRANT SELECT ON %I TO tenantry_identity', t.relname);
				ELSIF t.relkind = 'S' THEN
					EXECUTE format('GRANT USAGE, SELECT ON SEQUENCE %I TO tenantry_identity', t.relname);
				ELSE
					EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO tenantry_identity', t.relname);
				END IF;
			END LOOP;
		END
		$$`)
	if err != nil {
		return fmt.Errorf("identity: grant the job tables: %w", err)
	}
	return nil
}
