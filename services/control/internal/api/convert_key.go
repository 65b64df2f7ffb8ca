// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenantry/tenantry/pkg/id"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

var keyScopes = map[controlv1.ApiKey_Scope]tenancy.KeyScope{
	controlv1.ApiKey_PLATFORM: tenancy.ScopePlatform, controlv1.ApiKey_ORG: tenancy.ScopeOrg, controlv1.ApiKey_TENANTS: tenancy.ScopeTenants,
}

func keyScopeOut(s tenancy.KeyScope) controlv1.ApiKey_Scope {
	for wire, domain := range keyScopes {
		if domain == s {
			return wire
		}
	}
	return controlv1.ApiKey_SCOPE_UNSPECIFIED
}

var keyStates = map[tenancy.KeyState]controlv1.ApiKey_State{
	tenancy.KeyActive: controlv1.ApiKey_ACTIVE, tenancy.KeyDisabled: controlv1.ApiKey_DISABLED, tenancy.KeyExpired: controlv1.ApiKey_EXPIRED,
	tenancy.KeyRevoked: controlv1.ApiKey_REVOKED,
}

func keyOut(k *tenancy.APIKey, now time.Time) *controlv1.ApiKey {
	var tenant id.Tenant
	if k.Scope == tenancy.ScopeTenants && len(k.Tenants) == 1 {
		tenant = k.Tenants[0]
	}
	m := &controlv1.ApiKey{
		Name: keyName(k.Org, tenant, k.ID), Uid: uidText(k.ID), Slug: k.Slug, DisplayName: k.DisplayName, State: keyStates[k.StateAt(now)],
		Etag: tenancy.Etag(k.ID, k.Version), CreateTime: timestamp(k.CreateTime), UpdateTime: timestamp(k.UpdateTime), Annotations: k.Annotations,
		Labels: k.Labels, Description: k.Description, Scope: keyScopeOut(k.Scope), Permissions: k.Permissions, Role: k.Role,
		NotBefore: timestamp(k.NotBefore), ExpireTime: timestamp(k.ExpireTime), LastUsedTime: timestamp(k.LastUsedTime),
		MintedBy: uidText(k.MintedBy), CreatedBy: k.CreatedBy,
	}
	for _, t := range k.Tenants {
		m.Tenants = append(m.Tenants, tenantName(k.Org, t))
	}
	if g := k.Mint; g != nil {
		m.Mint = &controlv1.MintPolicy{MaxScope: keyScopeOut(g.MaxScope), PermissionsCeiling: g.Permissions, MayMintManagers: g.MayMintManagers}
		if g.MaxTTL > 0 {
			m.Mint.MaxTtl = durationpb.New(g.MaxTTL)
		}
		for _, t := range g.Tenants {
			m.Mint.TenantsCeiling = append(m.Mint.TenantsCeiling, tenantName(k.Org, t))
		}
	}
	return m
}

func keyCredentials(c *tenancy.APIKeyCredentials, now time.Time) *controlv1.ApiKeyCredentials {
	return &controlv1.ApiKeyCredentials{
		ApiKey: keyOut(&c.Key, now), Id: c.Key.Slug, Secret: c.Text, SecretAlreadyReturned: c.AlreadyReturned,
	}
}

// keyPlace is what the parent decides about a key to make.
type keyPlace struct {
	org    id.Org
	tenant id.Tenant
	// resolve finds a tenant of the org by the segment of a name.
	resolve func(field, name string) (id.Tenant, error)
}

// keyIn reads a key to make. The scope follows from the parent; a parent with a scope that it cannot have is refused.
func keyIn(k *controlv1.ApiKey, at keyPlace) (tenancy.APIKey, error) {
	out := tenancy.APIKey{
		Org: at.org, DisplayName: k.GetDisplayName(), Permissions: k.GetPermissions(), Role: k.GetRole(), Labels: k.GetLabels(),
		Annotations: k.GetAnnotations(), Description: k.GetDescription(), NotBefore: instant(k.GetNotBefore()), ExpireTime: instant(k.GetExpireTime()),
	}
	wrong := func(text string) error {
		return tenancy.RefuseField(tenancy.ReasonInvalidArgument, "api_key.scope", text)
	}
	asked := k.GetScope()
	switch {
	case at.org.IsZero():
		if out.Scope = tenancy.ScopePlatform; asked != controlv1.ApiKey_SCOPE_UNSPECIFIED && asked != controlv1.ApiKey_PLATFORM {
			return out, wrong("a key below platform has the scope PLATFORM")
		}
	case !at.tenant.IsZero():
		if out.Scope = tenancy.ScopeTenants; asked != controlv1.ApiKey_SCOPE_UNSPECIFIED && asked != controlv1.ApiKey_TENANTS {
			return out, wrong("a key below a tenant has the scope TENANTS")
		}
	case asked == controlv1.ApiKey_PLATFORM:
		return out, wrong("a key below an org has the scope ORG or TENANTS")
	case asked == controlv1.ApiKey_TENANTS || asked == controlv1.ApiKey_SCOPE_UNSPECIFIED && len(k.GetTenants()) > 0:
		out.Scope = tenancy.ScopeTenants
	default:
		out.Scope = tenancy.ScopeOrg
	}
	if len(k.GetTenants()) > 0 && out.Scope != tenancy.ScopeTenants {
		return out, tenancy.RefuseField(tenancy.ReasonInvalidArgument, "api_key.tenants", "only a key of the scope TENANTS has tenants")
	}
	for i, name := range k.GetTenants() {
		t, err := at.resolve(fmt.Sprintf("api_key.tenants[%d]", i), name)
		if err != nil {
			return out, err
		}
		if !at.tenant.IsZero() && t != at.tenant {
			return out, tenancy.RefuseField(tenancy.ReasonInvalidArgument, fmt.Sprintf("api_key.tenants[%d]", i), "below a tenant, a key is for that tenant")
		}
		out.Tenants = append(out.Tenants, t)
	}
	if !at.tenant.IsZero() {
		out.Tenants = []id.Tenant{at.tenant}
	}
	if out.Scope == tenancy.ScopeTenants && len(out.Tenants) == 0 {
		return out, tenancy.RefuseField(tenancy.ReasonInvalidArgument, "api_key.tenants", "name at least one tenant")
	}
	if p := k.GetMint(); p != nil {
		out.Mint = &tenancy.MintGrant{
			MaxScope: keyScopes[p.GetMaxScope()], Permissions: p.GetPermissionsCeiling(), MaxTTL: span(p.GetMaxTtl()), MayMintManagers: p.GetMayMintManagers(),
		}
		for i, name := range p.GetTenantsCeiling() {
			t, err := at.resolve(fmt.Sprintf("api_key.mint.tenants_ceiling[%d]", i), name)
			if err != nil {
				return out, err
			}
			out.Mint.Tenants = append(out.Mint.Tenants, t)
		}
	}
	return out, nil
}

func keySpecIn(k *controlv1.ApiKeySpec) tenancy.APIKeySpec {
	return tenancy.APIKeySpec{
		ID: k.GetId(), DisplayName: k.GetDisplayName(), Description: k.GetDescription(), Role: k.GetRole(), Permissions: k.GetPermissions(), TTL: span(k.GetTtl()),
	}
}

func keySpecOut(k *tenancy.APIKeySpec) *controlv1.ApiKeySpec {
	m := &controlv1.ApiKeySpec{Id: k.ID, DisplayName: k.DisplayName, Description: k.Description, Role: k.Role, Permissions: k.Permissions}
	if k.TTL > 0 {
		m.Ttl = durationpb.New(k.TTL)
	}
	return m
}
