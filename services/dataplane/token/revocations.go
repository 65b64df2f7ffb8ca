// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/identity"
)

// revocations lets the grant store read what the identity database says is revoked.
type revocations struct{ identity Identity }

// Revocations implements grant.Source. Revocations are a tenant's own, whatever pool its users are in.
func (r revocations) Revocations(ctx context.Context, tenant id.Tenant, now time.Time) ([]grant.Mark, error) {
	rows, err := r.identity.Revocations(ctx, identity.TenantRef{Tenant: tenant}, now)
	if err != nil {
		return nil, err
	}
	marks := make([]grant.Mark, len(rows))
	for i, row := range rows {
		marks[i] = grant.Mark{ID: row.Subject, Until: row.Until}
	}
	return marks, nil
}
