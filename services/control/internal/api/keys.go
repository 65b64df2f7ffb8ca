// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/tenantry/tenantry/pkg/id"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// MintApiKey implements ApiKeyService.
func (s *Server) MintApiKey(ctx context.Context, req *controlv1.MintApiKeyRequest) (*controlv1.ApiKeyCredentials, error) {
	c := callOf(ctx)
	key, err := keyIn(req.GetApiKey(), keyPlace{
		org: c.resolved.Org, tenant: c.resolved.Tenant,
		resolve: func(field, name string) (id.Tenant, error) { return s.tenantSegment(ctx, c, field, name) },
	})
	if err != nil {
		return nil, err
	}
	key.Slug = req.GetApiKeyId()
	v, err := s.control.MintAPIKey(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, provision.MintInput{
		Call: changing(ctx, req.GetRequestId(), "", req.GetValidateOnly()), Key: key,
	})
	return answer(v, err, func(v *tenancy.APIKeyCredentials) *controlv1.ApiKeyCredentials { return keyCredentials(v, s.now()) })
}

// keyRef is the key that a name names.
func keyRef(name string) (id.APIKey, error) {
	key, err := id.ParseAPIKey(lastSegment(name, "apiKeys"))
	if err != nil {
		return id.APIKey{}, tenancy.Refuse(tenancy.ReasonNotFound)
	}
	return key, nil
}

// GetApiKey implements ApiKeyService.
func (s *Server) GetApiKey(ctx context.Context, req *controlv1.GetApiKeyRequest) (*controlv1.ApiKey, error) {
	c := callOf(ctx)
	key, err := keyRef(req.GetName())
	if err != nil {
		return nil, err
	}
	v, err := s.control.GetAPIKey(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, key)
	return answer(v, err, func(k *tenancy.APIKey) *controlv1.ApiKey { return keyOut(k, s.now()) })
}

// ListApiKeys implements ApiKeyService.
func (s *Server) ListApiKeys(ctx context.Context, req *controlv1.ListApiKeysRequest) (*controlv1.ListApiKeysResponse, error) {
	c := callOf(ctx)
	l, err := s.control.ListAPIKeys(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, listing(req))
	if err != nil {
		return nil, err
	}
	now := s.now()
	return &controlv1.ListApiKeysResponse{
		ApiKeys:       each(l.Items, func(k *tenancy.APIKey) *controlv1.ApiKey { return keyOut(k, now) }),
		NextPageToken: l.NextPageToken,
	}, nil
}

// RotateApiKey implements ApiKeyService.
func (s *Server) RotateApiKey(ctx context.Context, req *controlv1.RotateApiKeyRequest) (*controlv1.ApiKeyCredentials, error) {
	c := callOf(ctx)
	key, err := keyRef(req.GetName())
	if err != nil {
		return nil, err
	}
	v, err := s.control.RotateAPIKey(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, provision.RotateKeyInput{
		Call: changing(ctx, req.GetRequestId(), req.GetEtag(), req.GetValidateOnly()), Key: key, Grace: span(req.GetGrace()),
	})
	return answer(v, err, func(v *tenancy.APIKeyCredentials) *controlv1.ApiKeyCredentials { return keyCredentials(v, s.now()) })
}

// RevokeApiKey implements ApiKeyService.
func (s *Server) RevokeApiKey(ctx context.Context, req *controlv1.RevokeApiKeyRequest) (*controlv1.ApiKey, error) {
	c := callOf(ctx)
	key, err := keyRef(req.GetName())
	if err != nil {
		return nil, err
	}
	v, err := s.control.RevokeAPIKey(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, provision.RevokeKeyInput{
		Call: changing(ctx, req.GetRequestId(), req.GetEtag(), req.GetValidateOnly()), Key: key,
		RevokeChildren: req.GetChildren() == controlv1.RevokeApiKeyRequest_REVOKE,
	})
	return answer(v, err, func(k *tenancy.APIKey) *controlv1.ApiKey { return keyOut(k, s.now()) })
}

var signingStates = map[tenancy.SigningKeyState]controlv1.SigningKey_State{
	tenancy.SigningStaged: controlv1.SigningKey_STAGED, tenancy.SigningPublished: controlv1.SigningKey_PUBLISHED,
	tenancy.SigningActive: controlv1.SigningKey_ACTIVE, tenancy.SigningRetiring: controlv1.SigningKey_RETIRING,
	tenancy.SigningRemoved: controlv1.SigningKey_REMOVED, tenancy.SigningRevoked: controlv1.SigningKey_REVOKED,
}

func signingKeyOut(k *tenancy.SigningKey) *controlv1.SigningKey {
	m := &controlv1.SigningKey{
		Name: tenantName(k.Org, k.Tenant) + "/signingKeys/" + idText(k.ID), Uid: uidText(k.ID), State: signingStates[k.State],
		Etag: tenancy.Etag(k.ID, k.Version), CreateTime: timestamp(k.CreateTime), UpdateTime: timestamp(k.UpdateTime), ConfigVersion: k.ConfigVersion,
		Alg: k.Algorithm, KeyId: uidText(k.ID), PublishTime: timestamp(k.PublishTime), ActivateTime: timestamp(k.ActivateTime),
		RetireTime: timestamp(k.RetireTime), RemoveTime: timestamp(k.RemoveTime),
	}
	jwk := &structpb.Struct{}
	if len(k.PublicJWK) > 0 && protojson.Unmarshal(k.PublicJWK, jwk) == nil {
		m.PublicJwk = jwk
		if kid := jwk.GetFields()["kid"].GetStringValue(); kid != "" {
			m.KeyId = kid
		}
	}
	return m
}

func successor(k *tenancy.SigningKey) *controlv1.SigningKey {
	if k == nil {
		return nil
	}
	return signingKeyOut(k)
}

func signingKeyRef(name string) (id.SigningKey, error) {
	key, err := id.ParseSigningKey(lastSegment(name, "signingKeys"))
	if err != nil {
		return id.SigningKey{}, tenancy.Refuse(tenancy.ReasonNotFound)
	}
	return key, nil
}

// ListSigningKeys implements SigningKeyService.
func (s *Server) ListSigningKeys(ctx context.Context, req *controlv1.ListSigningKeysRequest) (*controlv1.ListSigningKeysResponse, error) {
	c := callOf(ctx)
	l, err := s.control.ListSigningKeys(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, listing(req))
	if err != nil {
		return nil, err
	}
	return &controlv1.ListSigningKeysResponse{SigningKeys: each(l.Items, signingKeyOut), NextPageToken: l.NextPageToken}, nil
}

// RotateSigningKey implements SigningKeyService.
func (s *Server) RotateSigningKey(ctx context.Context, req *controlv1.RotateSigningKeyRequest) (*controlv1.RotateSigningKeyResponse, error) {
	c := callOf(ctx)
	key, err := signingKeyRef(req.GetName())
	if err != nil {
		return nil, err
	}
	v, err := s.control.RotateSigningKey(
		ctx, c.caller, c.resolved.Org, c.resolved.Tenant, key, changing(ctx, req.GetRequestId(), req.GetEtag(), req.GetValidateOnly()),
	)
	if err != nil {
		return nil, err
	}
	setVersion(ctx, v.ConfigVersion)
	return &controlv1.RotateSigningKeyResponse{Rotated: signingKeyOut(&v.Key), Successor: successor(v.Successor), ConfigVersion: v.ConfigVersion}, nil
}

// RevokeSigningKeyNow implements SigningKeyService.
func (s *Server) RevokeSigningKeyNow(ctx context.Context, req *controlv1.RevokeSigningKeyNowRequest) (*controlv1.RevokeSigningKeyNowResponse, error) {
	c := callOf(ctx)
	key, err := signingKeyRef(req.GetName())
	if err != nil {
		return nil, err
	}
	call := changing(ctx, req.GetRequestId(), req.GetEtag(), req.GetValidateOnly())
	call.Reason = req.GetReason()
	v, err := s.control.RevokeSigningKeyNow(ctx, c.caller, c.resolved.Org, c.resolved.Tenant, key, call)
	if err != nil {
		return nil, err
	}
	setVersion(ctx, v.ConfigVersion)
	return &controlv1.RevokeSigningKeyNowResponse{Revoked: signingKeyOut(&v.Key), Successor: successor(v.Successor), ConfigVersion: v.ConfigVersion}, nil
}
