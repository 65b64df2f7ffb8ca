// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// CreateOrg implements OrgService.
func (s *Server) CreateOrg(ctx context.Context, req *controlv1.CreateOrgRequest) (*controlv1.Org, error) {
	o, err := s.control.CreateOrg(ctx, callOf(ctx).caller, provision.OrgInput{
		Call: changing(ctx, req.GetRequestId(), "", req.GetValidateOnly()), Slug: req.GetOrgId(), Org: orgIn(req.GetOrg()),
	})
	return s.org(ctx, o, err)
}

// GetOrg implements OrgService.
func (s *Server) GetOrg(ctx context.Context, _ *controlv1.GetOrgRequest) (*controlv1.Org, error) {
	c := callOf(ctx)
	o, err := s.control.GetOrg(ctx, c.caller, c.resolved.Org)
	if err != nil {
		return nil, err
	}
	return orgOut(&o), nil
}

// ListOrgs implements OrgService.
func (s *Server) ListOrgs(ctx context.Context, req *controlv1.ListOrgsRequest) (*controlv1.ListOrgsResponse, error) {
	l, err := s.control.ListOrgs(ctx, callOf(ctx).caller, listing(req))
	if err != nil {
		return nil, err
	}
	return &controlv1.ListOrgsResponse{Orgs: each(l.Items, orgOut), NextPageToken: l.NextPageToken}, nil
}

// UpdateOrg implements OrgService.
func (s *Server) UpdateOrg(ctx context.Context, req *controlv1.UpdateOrgRequest) (*controlv1.Org, error) {
	c := callOf(ctx)
	etag, err := oneEtag(req.GetEtag(), req.GetOrg().GetEtag())
	if err != nil {
		return nil, err
	}
	return update(req.GetOrg(), req.GetUpdateMask(), "org", etag, req.GetRequestId(), func() (*controlv1.Org, string, error) {
		o, err := s.control.GetOrg(ctx, c.caller, c.resolved.Org)
		return orgOut(&o), tenancy.Etag(o.ID, o.Version), err
	}, func(m *controlv1.Org, changed []string, etag string) (*controlv1.Org, error) {
		o, err := s.control.UpdateOrg(ctx, c.caller, c.resolved.Org, provision.OrgInput{
			Call: changing(ctx, req.GetRequestId(), etag, req.GetValidateOnly()), Mask: changed, Org: orgIn(m),
		})
		return s.org(ctx, o, err)
	})
}

func (s *Server) org(ctx context.Context, o tenancy.Org, err error) (*controlv1.Org, error) {
	if err != nil {
		return nil, err
	}
	setVersion(ctx, o.ConfigVersion)
	return orgOut(&o), nil
}
