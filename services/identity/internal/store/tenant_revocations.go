// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Revocations answers all revocations of one tenant that still matter at now, in one round trip.
func (s *Store) Revocations(ctx context.Context, ref TenantRef, now time.Time) ([]Revocation, error) {
	return many(ctx, s, ref, `SELECT kind, subject, until, create_time FROM revocations WHERE tenant_id = $1 AND until > $2`,
		[]any{uuid(ref.Tenant), micro(now)}, func(row pgx.CollectableRow) (Revocation, error) {
			r := Revocation{Tenant: ref.Tenant}
			err := row.Scan(&r.Kind, &r.Subject, when{&r.Until}, when{&r.CreateTime})
			return r, err
		})
}
