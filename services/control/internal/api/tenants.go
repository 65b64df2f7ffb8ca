// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	"github.com/tenantry/tenantry/pkg/id"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"

	longrunning "cloud.google.com/go/longrunning/autogen/longrunningpb"
)

// ProvisionTenant implements TenantService.
func (s *Server) ProvisionTenant(ctx context.Context, req *controlv1.ProvisionTenantRequest) (*longrunning.Operation, error) {
	c := callOf(ctx)
	in := provisionIn(req)
	in.Call = changing(ctx, req.GetRequestId(), "", req.GetValidateOnly())
	var err error
	if in.Blueprint, in.Revision, err = s.blueprintOf(ctx, c, req.GetBlueprint()); err != nil {
		return nil, err
	}
	r, err := s.control.ProvisionTenant(ctx, c.caller, c.resolved.Org, in)
	if err != nil {
		return nil, err
	}
	setVersion(ctx, r.ConfigVersion)
	served := r.Reached && in.WaitFor != provision.DepthCommitted
	return operationOf(provision.OperationState{
		Operation: r.Operation, Org: c.resolved.Org, Tenant: r.Tenant.ID, Method: "ProvisionTenant", Result: r, Published: served, Seeded: served, Done: r.Reached,
	}, s.now())
}

// blueprintOf takes the name of a blueprint or revision apart. It must be one of the org that the tenant is made in, by whichever id
// the two names call it.
func (s *Server) blueprintOf(ctx context.Context, c *call, name string) (ref, revision string, err error) {
	if name == "" {
		return "", "", nil
	}
	other := tenancy.RefuseField(tenancy.ReasonInvalidArgument, "blueprint", "name a blueprint of the same org")
	n, ok := parseName(name)
	if !ok || n.platform || n.tenant != "" {
		return "", "", other
	}
	at, err := s.control.Authorize(ctx, c.caller, c.policy.permission, provision.Scope{Org: n.org})
	if err != nil || at.Org != c.resolved.Org {
		return "", "", other
	}
	return n.segment("blueprints"), n.segment("revisions"), nil
}

// GetTenant implements TenantService.
func (s *Server) GetTenant(ctx context.Context, _ *controlv1.GetTenantRequest) (*controlv1.Tenant, error) {
	c := callOf(ctx)
	t, err := s.control.GetTenant(ctx, c.caller, c.resolved.Org, c.resolved.Tenant)
	return answer(t, err, tenantOut)
}

// ListTenants implements TenantService.
func (s *Server) ListTenants(ctx context.Context, req *controlv1.ListTenantsRequest) (*controlv1.ListTenantsResponse, error) {
	c := callOf(ctx)
	l, err := s.control.ListTenants(ctx, c.caller, c.resolved.Org, listing(req), req.GetShowDeleted())
	if err != nil {
		return nil, err
	}
	return &controlv1.ListTenantsResponse{Tenants: each(l.Items, tenantOut), NextPageToken: l.NextPageToken}, nil
}

// UpdateTenant implements TenantService.
func (s *Server) UpdateTenant(ctx context.Context, req *controlv1.UpdateTenantRequest) (*controlv1.Tenant, error) {
	c := callOf(ctx)
	etag, err := oneEtag(req.GetEtag(), req.GetTenant().GetEtag())
	if err != nil {
		return nil, err
	}
	return update(req.GetTenant(), req.GetUpdateMask(), "tenant", etag, req.GetRequestId(), func() (*controlv1.Tenant, string, error) {
		t, err := s.control.GetTenant(ctx, c.caller, c.resolved.Org, c.resolved.Tenant)
		return tenantOut(&t), tenancy.Etag(t.ID, t.Version), err
	}, func(m *controlv1.Tenant, changed []string, etag string) (*controlv1.Tenant, error) {
		t, err := s.control.UpdateTenant(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, provision.TenantInput{
			Call: changing(ctx, req.GetRequestId(), etag, req.GetValidateOnly()), Mask: changed, Tenant: tenantIn(m),
		})
		return s.tenant(ctx, t, err)
	})
}

// SuspendTenant implements TenantService.
func (s *Server) SuspendTenant(ctx context.Context, req *controlv1.SuspendTenantRequest) (*controlv1.Tenant, error) {
	c := callOf(ctx)
	call := changing(ctx, req.GetRequestId(), req.GetEtag(), req.GetValidateOnly())
	call.Reason = req.GetReason()
	t, err := s.control.SuspendTenant(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, call)
	return s.tenant(ctx, t, err)
}

// ResumeTenant implements TenantService.
func (s *Server) ResumeTenant(ctx context.Context, req *controlv1.ResumeTenantRequest) (*controlv1.Tenant, error) {
	c := callOf(ctx)
	t, err := s.control.ResumeTenant(
		ctx, c.caller, c.resolved.Org, c.resolved.Tenant, changing(ctx, req.GetRequestId(), req.GetEtag(), req.GetValidateOnly()),
	)
	return s.tenant(ctx, t, err)
}

// DeleteTenant implements TenantService. A tenant that has users is deleted only when the caller says force.
func (s *Server) DeleteTenant(ctx context.Context, req *controlv1.DeleteTenantRequest) (*controlv1.Tenant, error) {
	c := callOf(ctx)
	if !req.GetForce() {
		if err := s.refuseUsers(ctx, c); err != nil {
			return nil, err
		}
	}
	t, err := s.control.DeleteTenant(
		ctx, c.caller, c.resolved.Org, c.resolved.Tenant, changing(ctx, req.GetRequestId(), req.GetEtag(), req.GetValidateOnly()),
	)
	return s.tenant(ctx, t, err)
}

// UndeleteTenant implements TenantService.
func (s *Server) UndeleteTenant(ctx context.Context, req *controlv1.UndeleteTenantRequest) (*controlv1.Tenant, error) {
	c := callOf(ctx)
	t, err := s.control.UndeleteTenant(
		ctx, c.caller, c.resolved.Org, c.resolved.Tenant, changing(ctx, req.GetRequestId(), req.GetEtag(), req.GetValidateOnly()),
	)
	return s.tenant(ctx, t, err)
}

func (s *Server) tenant(ctx context.Context, t tenancy.Tenant, err error) (*controlv1.Tenant, error) {
	if err != nil {
		return nil, err
	}
	setVersion(ctx, t.ConfigVersion)
	return tenantOut(&t), nil
}

// CheckHostname implements HostnameService.
func (s *Server) CheckHostname(ctx context.Context, req *controlv1.CheckHostnameRequest) (*controlv1.CheckHostnameResponse, error) {
	c := callOf(ctx)
	a, err := s.control.CheckHostname(ctx, c.caller, c.resolved.Org, provision.HostSpec{Label: req.GetLabel(), Domain: req.GetDomain()})
	if err != nil {
		return nil, err
	}
	m := &controlv1.CheckHostnameResponse{Availability: controlv1.CheckHostnameResponse_UNAVAILABLE, Host: a.Host}
	if a.Available {
		m.Availability = controlv1.CheckHostnameResponse_AVAILABLE
	}
	return m, nil
}

// tenantSegment resolves a tenant that a request names beside its parent; it must be one of the same org, within the caller's reach.
func (s *Server) tenantSegment(ctx context.Context, c *call, field, name string) (id.Tenant, error) {
	unknown := tenancy.RefuseField(tenancy.ReasonInvalidArgument, field, "name a tenant of the same org")
	n, ok := parseName(name)
	if !ok || n.tenant == "" || len(n.rest) > 0 {
		return id.Tenant{}, unknown
	}
	at, err := s.control.Authorize(ctx, c.caller, c.policy.permission, n.scope(false))
	if err != nil || at.Org != c.resolved.Org {
		return id.Tenant{}, unknown
	}
	return at.Tenant, nil
}
