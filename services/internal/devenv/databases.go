// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package devenv

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tenantry/tenantry/pkg/localserver"
)

// What an operator makes by hand, or the compose file's scripts do: an owner that is no superuser, and the two databases.
const (
	owner            = "tenantry_owner"
	controlDatabase  = "tenantry_control"
	identityDatabase = "tenantry_identity"
)

// makeDatabases makes the owner and the databases that are missing.
func makeDatabases(ctx context.Context, pg *localserver.Postgres) (err error) {
	conn, err := pgx.Connect(ctx, pg.URL("postgres", localserver.Superuser))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for _, s := range []string{
		"CREATE ROLE " + owner + " LOGIN CREATEROLE NOSUPERUSER NOCREATEDB NOBYPASSRLS",
		"CREATE DATABASE " + controlDatabase + " OWNER " + owner + " TEMPLATE template0",
		"CREATE DATABASE " + identityDatabase + " OWNER " + owner + " TEMPLATE template0",
	} {
		_, err := conn.Exec(ctx, s)
		var pe *pgconn.PgError
		const duplicateObject, duplicateDatabase = "42710", "42P04"
		if errors.As(err, &pe) && (pe.Code == duplicateObject || pe.Code == duplicateDatabase) {
			continue
		}
		if err != nil {
			return fmt.Errorf("make roles and databases: %w", err)
		}
	}
	return nil
}
