// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

var auditFields = []tenancy.FilterField{{Name: "action", Has: true}, {Name: "actor"}, {Name: "request_id"}, {Name: "resource", Has: true}}

// ListAuditEvents lists the chain of a tenant, or of the org for the zero tenant, the newest event first. The identity database has a
// chain of its own.
func (s *Service) ListAuditEvents(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, page tenancy.Page) (List[tenancy.AuditEvent], error) {
	q, binding, err := s.query(caller, page, auditFields, []string{"create_time"}, "auditEvents", org.String(), tenant.String())
	if err != nil {
		return List[tenancy.AuditEvent]{}, err
	}
	if !tenant.IsZero() {
		if err := s.store.TenantExists(ctx, org, tenant); err != nil {
			return List[tenancy.AuditEvent]{}, err
		}
	}
	items, err := s.store.AuditEvents(ctx, org, tenant, q)
	if err != nil {
		return List[tenancy.AuditEvent]{}, err
	}
	return paged(s, items, q, binding, func(e tenancy.AuditEvent) []byte { return store.EventCursor(e.Sequence) }), nil
}

// GetOperation reads an operation.
func (s *Service) GetOperation(ctx context.Context, caller tenancy.Principal, op id.Operation) (OperationState, error) {
	return s.operation(ctx, caller, op, time.Millisecond)
}

// WaitOperation waits until an operation is done or the timeout is over, a minute at most.
func (s *Service) WaitOperation(ctx context.Context, caller tenancy.Principal, op id.Operation, timeout time.Duration) (OperationState, error) {
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	return s.operation(ctx, caller, op, min(timeout, time.Minute))
}

// operation answers the key that started it, and keys that reach its tenant; others get NOT_FOUND.
func (s *Service) operation(ctx context.Context, caller tenancy.Principal, op id.Operation, patience time.Duration) (OperationState, error) {
	o, seeding, err := s.store.Operation(ctx, op)
	if err != nil {
		return OperationState{}, err
	}
	reach := caller.Rights.ReachesOrg(o.Org)
	if !o.Tenant.IsZero() {
		reach = caller.Rights.ReachesTenant(o.Org, o.Tenant)
	}
	if o.Method != methodProvision || caller.Key != o.Caller && !reach {
		return OperationState{}, tenancy.Refuse(tenancy.ReasonNotFound)
	}
	out := OperationState{Operation: o.ID, Org: o.Org, Tenant: o.Tenant, Method: o.Method, Seeded: !seeding}
	if err := json.Unmarshal(o.Answer, &out.Result); err != nil {
		return out, tenancy.Refuse(tenancy.ReasonInternal).Because(fmt.Errorf("kept answer of %s: %w", o.ID, err))
	}
	out.Result.AlreadyReturned = true
	out.Result.Tenant = seen(caller, out.Result.Tenant)
	if s.cfg.Token != nil {
		out.Result.ConsistencyToken = s.cfg.Token(o.Tenant, out.Result.ConfigVersion)
	}
	out.Result.URLs = addresses(out.Result.Tenant.Issuer, out.Result.ConsistencyToken)
	if w := s.cfg.Waiter; w != nil {
		ctx, cancel := context.WithTimeout(ctx, max(patience, 50*time.Millisecond))
		defer cancel()
		out.Published = w.Published(ctx, o.Tenant, out.Result.ConfigVersion) == nil
		if out.Published && seeding {
			out.Seeded = w.Seeded(ctx, o.Org, o.Tenant) == nil
		}
	}
	out.Done = out.Published && out.Seeded
	out.Result.Reached = out.Done
	return out, nil
}
