// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// CreateBlueprint implements BlueprintService.
func (s *Server) CreateBlueprint(ctx context.Context, req *controlv1.CreateBlueprintRequest) (*controlv1.Blueprint, error) {
	c := callOf(ctx)
	b, err := s.control.CreateBlueprint(ctx, c.caller, c.resolved.Org, provision.BlueprintInput{
		Call: changing(ctx, req.GetRequestId(), "", req.GetValidateOnly()), Slug: req.GetBlueprintId(), Blueprint: blueprintIn(req.GetBlueprint()),
	})
	return answer(b, err, blueprintOut)
}

// GetBlueprint implements BlueprintService.
func (s *Server) GetBlueprint(ctx context.Context, req *controlv1.GetBlueprintRequest) (*controlv1.Blueprint, error) {
	c := callOf(ctx)
	b, err := s.control.GetBlueprint(ctx, c.caller, c.resolved.Org, lastSegment(req.GetName(), "blueprints"))
	return answer(b, err, blueprintOut)
}

// ListBlueprints implements BlueprintService.
func (s *Server) ListBlueprints(ctx context.Context, req *controlv1.ListBlueprintsRequest) (*controlv1.ListBlueprintsResponse, error) {
	c := callOf(ctx)
	l, err := s.control.ListBlueprints(ctx, c.caller, c.resolved.Org, listing(req))
	if err != nil {
		return nil, err
	}
	return &controlv1.ListBlueprintsResponse{Blueprints: each(l.Items, blueprintOut), NextPageToken: l.NextPageToken}, nil
}

// UpdateBlueprint implements BlueprintService.
func (s *Server) UpdateBlueprint(ctx context.Context, req *controlv1.UpdateBlueprintRequest) (*controlv1.Blueprint, error) {
	c := callOf(ctx)
	ref := lastSegment(req.GetBlueprint().GetName(), "blueprints")
	etag, err := oneEtag(req.GetEtag(), req.GetBlueprint().GetEtag())
	if err != nil {
		return nil, err
	}
	return update(req.GetBlueprint(), req.GetUpdateMask(), "blueprint", etag, req.GetRequestId(), func() (*controlv1.Blueprint, string, error) {
		b, err := s.control.GetBlueprint(ctx, c.caller, c.resolved.Org, ref)
		return blueprintOut(&b), tenancy.Etag(b.ID, b.Version), err
	}, func(m *controlv1.Blueprint, changed []string, etag string) (*controlv1.Blueprint, error) {
		b, err := s.control.UpdateBlueprint(ctx, c.caller, c.resolved.Org, ref, provision.BlueprintInput{
			Call: changing(ctx, req.GetRequestId(), etag, req.GetValidateOnly()), Mask: changed, Blueprint: blueprintIn(m),
		})
		return answer(b, err, blueprintOut)
	})
}

// PublishBlueprint implements BlueprintService.
func (s *Server) PublishBlueprint(ctx context.Context, req *controlv1.PublishBlueprintRequest) (*controlv1.BlueprintRevision, error) {
	c := callOf(ctx)
	r, err := s.control.PublishBlueprint(
		ctx, c.caller, c.resolved.Org, lastSegment(req.GetName(), "blueprints"), req.GetMessage(),
		changing(ctx, req.GetRequestId(), req.GetEtag(), req.GetValidateOnly()),
	)
	return answer(r, err, revisionOut)
}

// GetBlueprintRevision implements BlueprintService.
func (s *Server) GetBlueprintRevision(ctx context.Context, req *controlv1.GetBlueprintRevisionRequest) (*controlv1.BlueprintRevision, error) {
	c := callOf(ctx)
	r, err := s.control.GetBlueprintRevision(
		ctx, c.caller, c.resolved.Org, lastSegment(req.GetName(), "blueprints"), lastSegment(req.GetName(), "revisions"),
	)
	return answer(r, err, revisionOut)
}

// ListBlueprintRevisions implements BlueprintService.
func (s *Server) ListBlueprintRevisions(ctx context.Context, req *controlv1.ListBlueprintRevisionsRequest) (*controlv1.ListBlueprintRevisionsResponse, error) {
	c := callOf(ctx)
	l, err := s.control.ListBlueprintRevisions(ctx, c.caller, c.resolved.Org, lastSegment(req.GetParent(), "blueprints"), listing(req))
	if err != nil {
		return nil, err
	}
	return &controlv1.ListBlueprintRevisionsResponse{
		Revisions: each(l.Items, func(r *blueprint.Revision) *controlv1.BlueprintRevision { return revisionOut(r) }), NextPageToken: l.NextPageToken,
	}, nil
}

// answer converts a result, or hands on the error.
func answer[A any, B any](v A, err error, out func(*A) B) (B, error) {
	if err != nil {
		var none B
		return none, err
	}
	return out(&v), nil
}
