// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"slices"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

var keyFields = []tenancy.FilterField{
	{Name: "slug", Has: true},
	{Name: "state", Check: choices("ACTIVE", "DISABLED", "EXPIRED", "REVOKED")},
	{Name: "role"},
	{Name: "minted_by", Check: func(v string) bool { _, err := id.ParseAPIKey(v); return err == nil }},
}

// checkMint is the law of minting, and keeps chains of minters short enough to be walked at each call.
func checkMint(caller tenancy.Principal, want tenancy.Rights, mint *tenancy.MintGrant, expire, now time.Time) error {
	if caller.Depth+1 >= store.MaxChain {
		return &tenancy.Error{Reason: tenancy.ReasonMintExceedsMinter, Text: "too many keys stand between this one and the first"}
	}
	return caller.CheckMint(want, mint, expire, now)
}

func keyName(k *tenancy.APIKey) string {
	switch {
	case k.Scope == tenancy.ScopePlatform:
		return "platform/apiKeys/" + k.ID.String()
	case len(k.Tenants) > 0:
		return tenantName(k.Org, k.Tenants[0]) + "/apiKeys/" + k.ID.String()
	}
	return orgName(k.Org) + "/apiKeys/" + k.ID.String()
}

// MintAPIKey makes a key under the caller, inside its rights and ceiling. The parent gives the scope: the platform, an org, or a tenant;
// a key of an org may also be for several of its tenants.
func (s *Service) MintAPIKey(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, in MintInput) (tenancy.APIKeyCredentials, error) {
	k := in.Key
	var vs []tenancy.Violation
	bad := func(field, text string) {
		vs = append(vs, tenancy.Violation{Field: "api_key." + field, Text: text})
	}
	vs = append(vs, blueprint.CheckAPIKey(tenancy.APIKeySpec{Role: k.Role, Permissions: k.Permissions}, "api_key.")...)
	k.Org = org
	switch {
	case org.IsZero():
		k.Tenants = nil
		if k.Scope != tenancy.ScopeNone && k.Scope != tenancy.ScopePlatform {
			bad("scope", "a key below platform has the scope PLATFORM")
		}
		k.Scope = tenancy.ScopePlatform
	case !tenant.IsZero():
		if k.Scope != tenancy.ScopeNone && k.Scope != tenancy.ScopeTenants {
			bad("scope", "a key below a tenant has the scope TENANTS")
		}
		// Its parent first; others of the org may follow.
		k.Scope, k.Tenants = tenancy.ScopeTenants, slices.Compact(append([]id.Tenant{tenant}, slices.DeleteFunc(slices.Clone(k.Tenants), func(t id.Tenant) bool { return t == tenant })...))
	case k.Scope == tenancy.ScopePlatform:
		bad("scope", "a key below an org has the scope ORG or TENANTS")
	case k.Scope == tenancy.ScopeTenants || k.Scope == tenancy.ScopeNone && len(k.Tenants) > 0:
		k.Scope = tenancy.ScopeTenants
		if len(k.Tenants) == 0 {
			bad("tenants", "name the tenants that the key is for")
		}
	default:
		k.Scope = tenancy.ScopeOrg
	}
	if len(k.Tenants) > 100 {
		bad("tenants", "at most 100")
	}
	now := s.time()
	if !k.ExpireTime.IsZero() && !k.ExpireTime.After(now) {
		bad("expire_time", "choose a time that is still to come")
	}
	if !k.ExpireTime.IsZero() && !k.NotBefore.Before(k.ExpireTime) {
		bad("not_before", "choose a time before expire_time")
	}
	if m := k.Mint; m != nil {
		for _, p := range m.Permissions {
			if !tenancy.ValidPermission(p) {
				bad("mint.permissions_ceiling", "write permissions as collection.verb or collection.*")
			}
		}
		if m.MaxTTL < 0 || m.MaxScope > k.Scope {
			bad("mint.max_scope", "choose a scope that is not wider than the key's own")
		}
	}
	if err := tenancy.Violated(tenancy.ReasonInvalidArgument, vs); err != nil {
		return tenancy.APIKeyCredentials{}, err
	}
	if err := checkMint(caller, k.Rights(), k.Mint, k.ExpireTime, now); err != nil {
		return tenancy.APIKeyCredentials{}, err
	}
	v, replayed, err := change(ctx, s, caller, org, "MintApiKey", in.Call, func(tx *store.Tx, now time.Time) (out tenancy.APIKeyCredentials, err error) {
		for _, t := range k.Tenants {
			if _, err := lockServed(tx, t); err != nil {
				return out, err
			}
		}
		k.ID, k.State, k.MintedBy, k.CreatedBy = id.NewAPIKey(), tenancy.KeyActive, caller.Key, caller.Actor()
		k.Version, k.CreateTime, k.UpdateTime = 1, now, now
		out.Text, k.Hash = secret.NewToken(secret.APIKey, k.ID)
		out.Key = k
		if err := tx.InsertAPIKey(k); err != nil {
			return out, err
		}
		return out, tx.Audit(keyEvent(caller, now, tenancy.ActionKeyMinted, &k))
	})
	if in.ValidateOnly {
		v.Key.ID, v.Text = id.APIKey{}, ""
	}
	v.AlreadyReturned = replayed
	return v, err
}

func keyEvent(caller tenancy.Principal, now time.Time, action string, k *tenancy.APIKey) tenancy.AuditEvent {
	e := event(caller, now, action, keyName(k))
	if len(k.Tenants) > 0 {
		e.Tenant = k.Tenants[0]
	}
	return e
}

// GetAPIKey reads a key without its secret.
func (s *Service) GetAPIKey(ctx context.Context, _ tenancy.Principal, org id.Org, tenant id.Tenant, key id.APIKey) (tenancy.APIKey, error) {
	return s.store.APIKey(ctx, org, tenant, key)
}

// ListAPIKeys lists the keys whose name lies below a tenant, the org, or the platform.
func (s *Service) ListAPIKeys(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, page tenancy.Page) (List[tenancy.APIKey], error) {
	q, binding, err := s.query(caller, page, keyFields, []string{"create_time"}, "apiKeys", org.String(), tenant.String())
	if err != nil {
		return List[tenancy.APIKey]{}, err
	}
	if !tenant.IsZero() {
		if err := s.store.TenantExists(ctx, org, tenant); err != nil {
			return List[tenancy.APIKey]{}, err
		}
	}
	items, err := s.store.APIKeys(ctx, org, tenant, q, s.time())
	if err != nil {
		return List[tenancy.APIKey]{}, err
	}
	return paged(s, items, q, binding, func(k tenancy.APIKey) []byte { return k.ID[:] }), nil
}

// mayHold reports whether the caller may come to hold a key's secret, or end the key: it is its own, or one that it could have minted.
// Otherwise rotating a stronger key would be a way to its rights.
func mayHold(caller tenancy.Principal, k *tenancy.APIKey) error {
	if caller.Key == k.ID || caller.Rights.Covers(k.Rights()) && (k.Mint == nil || caller.Mint != nil) {
		return nil
	}
	return &tenancy.Error{Reason: tenancy.ReasonMintExceedsMinter, Text: "this key has rights that the calling key lacks"}
}

// RotateAPIKey gives a key a new secret; its id and the keys that it minted stay. The old secret works for the time of grace.
func (s *Service) RotateAPIKey(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, in RotateKeyInput) (tenancy.APIKeyCredentials, error) {
	if in.Grace < 0 || in.Grace > 7*24*time.Hour {
		return tenancy.APIKeyCredentials{}, tenancy.RefuseField(tenancy.ReasonInvalidArgument, "grace", "at most 7 days")
	}
	v, replayed, err := change(ctx, s, caller, org, "RotateApiKey", in.Call, func(tx *store.Tx, now time.Time) (out tenancy.APIKeyCredentials, err error) {
		k, err := tx.LockAPIKey(tenant, in.Key)
		if err != nil {
			return out, err
		}
		if err := mayHold(caller, &k); err != nil {
			return out, err
		}
		if err := tenancy.CheckEtag(in.Etag, k.ID, k.Version); err != nil {
			return out, err
		}
		if k.State != tenancy.KeyActive {
			return out, tenancy.RefuseField(tenancy.ReasonTenantState, "name", "the key is "+k.State.String())
		}
		k.OldHash, k.OldUntil = secret.Hash{}, time.Time{}
		if in.Grace > 0 {
			k.OldHash, k.OldUntil = k.Hash, now.Add(in.Grace)
		}
		out.Text, k.Hash = secret.NewToken(secret.APIKey, k.ID)
		k.UpdateTime = now
		if err := tx.UpdateAPIKey(&k); err != nil {
			return out, err
		}
		out.Key = k
		return out, tx.Audit(keyEvent(caller, now, tenancy.ActionKeyRotated, &k))
	})
	if in.ValidateOnly {
		v.Text = ""
	}
	v.AlreadyReturned = replayed
	return v, err
}

// RevokeAPIKey ends a key. The keys that it minted live on under its last rights, or end with it.
func (s *Service) RevokeAPIKey(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, in RevokeKeyInput) (tenancy.APIKey, error) {
	v, _, err := change(ctx, s, caller, org, "RevokeApiKey", in.Call, func(tx *store.Tx, now time.Time) (tenancy.APIKey, error) {
		k, err := tx.LockAPIKey(tenant, in.Key)
		if err != nil {
			return k, err
		}
		if err := mayHold(caller, &k); err != nil {
			return k, err
		}
		if err := tenancy.CheckEtag(in.Etag, k.ID, k.Version); err != nil {
			return k, err
		}
		if k.State == tenancy.KeyRevoked && !in.RevokeChildren {
			return k, errDryAnswer
		}
		if k.State != tenancy.KeyRevoked {
			k.RevokeTime = now
		}
		k.State, k.OldHash, k.OldUntil, k.UpdateTime = tenancy.KeyRevoked, secret.Hash{}, time.Time{}, now
		if err := tx.UpdateAPIKey(&k); err != nil {
			return k, err
		}
		e := keyEvent(caller, now, tenancy.ActionKeyRevoked, &k)
		if in.RevokeChildren {
			if err := tx.RevokeChildren(k.ID, now); err != nil {
				return k, err
			}
			e.ChangedFields = []string{"children"}
		}
		return k, tx.Audit(e)
	})
	return v, err
}
