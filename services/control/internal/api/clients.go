// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"slices"

	"github.com/tenantry/tenantry/pkg/id"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// CreateClient implements ClientService.
func (s *Server) CreateClient(ctx context.Context, req *controlv1.CreateClientRequest) (*controlv1.Client, error) {
	c := callOf(ctx)
	want := controlv1.Client_ONE
	if c.resolved.Tenant.IsZero() {
		want = controlv1.Client_ALL
	}
	if b := req.GetClient().GetTenantBinding(); b != controlv1.Client_TENANT_BINDING_UNSPECIFIED && b != want {
		return nil, tenancy.RefuseField(tenancy.ReasonInvalidArgument, "client.tenant_binding", "below this parent it is "+want.String())
	}
	v, err := s.control.CreateClient(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, provision.ClientInput{
		Call: changing(ctx, req.GetRequestId(), "", req.GetValidateOnly()), Slug: req.GetClientId(), Client: clientIn(req.GetClient()),
	})
	return s.client(ctx, v, err)
}

// GetClient implements ClientService.
func (s *Server) GetClient(ctx context.Context, req *controlv1.GetClientRequest) (*controlv1.Client, error) {
	c := callOf(ctx)
	v, err := s.control.GetClient(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, lastSegment(req.GetName(), "clients"))
	return answer(v, err, clientOut)
}

// ListClients implements ClientService.
func (s *Server) ListClients(ctx context.Context, req *controlv1.ListClientsRequest) (*controlv1.ListClientsResponse, error) {
	c := callOf(ctx)
	l, err := s.control.ListClients(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, listing(req))
	if err != nil {
		return nil, err
	}
	return &controlv1.ListClientsResponse{Clients: each(l.Items, clientOut), NextPageToken: l.NextPageToken}, nil
}

// UpdateClient implements ClientService.
func (s *Server) UpdateClient(ctx context.Context, req *controlv1.UpdateClientRequest) (*controlv1.Client, error) {
	c := callOf(ctx)
	ref := lastSegment(req.GetClient().GetName(), "clients")
	etag, err := oneEtag(req.GetEtag(), req.GetClient().GetEtag())
	if err != nil {
		return nil, err
	}
	var settings tenancy.ClientSettings // what this API does not show stays as it is
	return update(req.GetClient(), req.GetUpdateMask(), "client", etag, req.GetRequestId(), func() (*controlv1.Client, string, error) {
		v, err := s.control.GetClient(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, ref)
		settings = v.ClientSettings
		return clientOut(&v), tenancy.Etag(v.ID, v.Version), err
	}, func(m *controlv1.Client, changed []string, etag string) (*controlv1.Client, error) {
		in := clientIn(m)
		in.Overrides = settings.Overrides
		mask := slices.Clone(changed)
		if i := slices.Index(mask, "id_token_alg"); i >= 0 {
			mask[i] = "id_token_signed_response_alg"
		}
		v, err := s.control.UpdateClient(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, ref, provision.ClientInput{
			Call: changing(ctx, req.GetRequestId(), etag, req.GetValidateOnly()), Mask: mask, Client: in,
		})
		return s.client(ctx, v, err)
	})
}

// DeleteClient implements ClientService.
func (s *Server) DeleteClient(ctx context.Context, req *controlv1.DeleteClientRequest) (*controlv1.Client, error) {
	c := callOf(ctx)
	v, err := s.control.DeleteClient(
		ctx, c.caller, c.resolved.Org, c.resolved.Tenant, lastSegment(req.GetName(), "clients"),
		changing(ctx, req.GetRequestId(), req.GetEtag(), req.GetValidateOnly()),
	)
	m, err := s.client(ctx, v, err)
	if err != nil {
		return nil, err
	}
	// The row is gone, so the answer is the last that is seen of it.
	m.State, m.DeleteTime, m.PurgeTime = controlv1.Client_DELETED, m.GetUpdateTime(), m.GetUpdateTime()
	return m, nil
}

// AddClientSecret implements ClientService.
func (s *Server) AddClientSecret(ctx context.Context, req *controlv1.AddClientSecretRequest) (*controlv1.ClientCredentials, error) {
	c := callOf(ctx)
	v, err := s.control.AddClientSecret(
		ctx, c.caller, c.resolved.Org, c.resolved.Tenant, lastSegment(req.GetName(), "clients"),
		changing(ctx, req.GetRequestId(), req.GetEtag(), req.GetValidateOnly()),
	)
	if err != nil {
		return nil, err
	}
	setVersion(ctx, v.Client.ConfigVersion)
	return clientCredentials(&v), nil
}

// RetireClientSecret implements ClientService.
func (s *Server) RetireClientSecret(ctx context.Context, req *controlv1.RetireClientSecretRequest) (*controlv1.Client, error) {
	c := callOf(ctx)
	secret, err := id.ParseClientSecret(req.GetSecretId())
	if err != nil {
		return nil, tenancy.Refuse(tenancy.ReasonNotFound)
	}
	v, err := s.control.RetireClientSecret(
		ctx, c.caller, c.resolved.Org, c.resolved.Tenant, lastSegment(req.GetName(), "clients"), secret, span(req.GetGrace()),
		changing(ctx, req.GetRequestId(), req.GetEtag(), req.GetValidateOnly()),
	)
	return s.client(ctx, v, err)
}

func (s *Server) client(ctx context.Context, v tenancy.Client, err error) (*controlv1.Client, error) {
	if err != nil {
		return nil, err
	}
	setVersion(ctx, v.ConfigVersion)
	return clientOut(&v), nil
}
