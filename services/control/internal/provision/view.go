// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"fmt"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// TenantView reads a tenant with its roles, and the policy that holds for it: the platform's defaults under the layer of its blueprint
// (which has the org's own in it) under what the tenant sets itself. Whatever works on a tenant's users needs it.
func (s *Service) TenantView(ctx context.Context, org id.Org, tenant id.Tenant) (tenancy.Tenant, *snapshotv1.Policy, error) {
	t, err := s.store.Tenant(ctx, org, tenant)
	if err != nil {
		return t, nil, err
	}
	var layer *snapshotv1.Layer
	if !t.Blueprint.IsZero() {
		number := t.BlueprintPin
		if number == 0 {
			b, err := s.store.Blueprint(ctx, org, t.Blueprint, "")
			if err != nil {
				return t, nil, err
			}
			number = b.Revision
		}
		_, digest, err := s.store.Revision(ctx, org, t.Blueprint, number, id.Revision{})
		if err != nil {
			return t, nil, err
		}
		if layer, err = s.docs.layer(ctx, org, digest); err != nil {
			return t, nil, err
		}
	}
	var overrides *snapshotv1.Policy
	if t.Overrides != nil {
		overrides = t.Overrides.Policy
	}
	p, _, err := snapshot.ResolveTenant(layer, overrides)
	if err != nil {
		return t, nil, fmt.Errorf("policy of %s: %w", tenant, err)
	}
	return t, p, nil
}
