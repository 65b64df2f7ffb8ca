// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// keyChain is what a key is authenticated from.
type keyChain struct {
	keys     []tenancy.APIKey // the key and its minters
	orgSlug  string
	orgState tenancy.State
}

// Authenticate finds the caller of a key's text in one round trip, with no cache in between: a revoked key is refused at its next
// request. Requests with one key at the same time share a reading that began after them all. The caller's rights are the key's own, cut by those that each minter above it has now.
func (s *Service) Authenticate(ctx context.Context, keyText string) (tenancy.Principal, error) {
	raw, presented, err := secret.ParseToken(secret.APIKey, keyText)
	if err != nil {
		return tenancy.Principal{}, tenancy.Refuse(tenancy.ReasonKeyInvalid)
	}
	now := s.time()
	read, err := s.chains.get(ctx, id.APIKey(raw))
	if errors.Is(err, tenancy.ReasonNotFound) {
		return tenancy.Principal{}, tenancy.Refuse(tenancy.ReasonKeyInvalid)
	}
	if err != nil {
		return tenancy.Principal{}, err
	}
	chain := read.keys
	k := &chain[0]
	if !k.Hash.Equal(presented) && (k.OldUntil.IsZero() || !now.Before(k.OldUntil) || !k.OldHash.Equal(presented)) {
		return tenancy.Principal{}, tenancy.Refuse(tenancy.ReasonKeyInvalid)
	}
	switch {
	case k.State != tenancy.KeyActive:
		return tenancy.Principal{}, tenancy.Refuse(tenancy.ReasonKeyInvalid)
	case !k.ExpireTime.IsZero() && !now.Before(k.ExpireTime), now.Before(k.NotBefore):
		return tenancy.Principal{}, tenancy.Refuse(tenancy.ReasonKeyExpired)
	case read.orgState != tenancy.StateActive:
		return tenancy.Principal{}, tenancy.Refuse(tenancy.ReasonOrgSuspended)
	}
	p := tenancy.Principal{Key: k.ID, DisplayName: k.DisplayName, Mint: k.Mint, Rights: tenancy.ChainRights(chain), Depth: len(chain) - 1}
	if k.Scope != tenancy.ScopePlatform {
		p.OrgSlug = read.orgSlug
	}
	s.touch(k, now)
	return p, nil
}

// usage remembers when this process last noted the use of a key, so that a busy key costs one write a minute.
type usage struct {
	mu   sync.Mutex
	seen map[id.APIKey]time.Time
}

func newUsage() *usage { return &usage{seen: map[id.APIKey]time.Time{}} }

// due reports whether the use of a key is to be noted now.
func (u *usage) due(key id.APIKey, stored, now time.Time) bool {
	if now.Sub(stored) < time.Minute {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.Sub(u.seen[key]) < time.Minute {
		return false
	}
	if len(u.seen) >= cacheLimit {
		clear(u.seen)
	}
	u.seen[key] = now
	return true
}

// touch notes the use of a key beside the call: nobody waits for it, and a failure costs only the note.
func (s *Service) touch(k *tenancy.APIKey, now time.Time) {
	if !s.used.due(k.ID, k.LastUsedTime, now) {
		return
	}
	org, key := k.Org, k.ID
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.store.TouchKey(ctx, org, key, now); err != nil {
			s.log.Warn("could not note the use of an API key", "key", key.String(), "error", err)
		}
	}()
}

// Authorize resolves the segments of a resource name and decides whether the caller has the permission there. What is out of reach,
// and what does not exist, is NOT_FOUND. The segment `-` stands for the caller's own org, and for its tenant when it has exactly one.
func (s *Service) Authorize(ctx context.Context, caller tenancy.Principal, permission string, at Scope) (Resolved, error) {
	var r Resolved
	if at.Platform {
		return r, caller.Authorize(permission, id.Org{}, id.Tenant{}, false)
	}
	var err error
	if r.Org, err = s.resolveOrg(ctx, caller, at.Org); err != nil {
		return Resolved{}, err
	}
	if at.Tenant != "" {
		// Reach of the org is looked at first: whoever has none learns nothing of its tenants.
		if caller.Rights.Scope != tenancy.ScopePlatform && caller.Rights.Org != r.Org {
			return Resolved{}, tenancy.Refuse(tenancy.ReasonNotFound)
		}
		if r.Tenant, err = s.resolveTenant(ctx, caller, r.Org, at.Tenant); err != nil {
			return Resolved{}, err
		}
	}
	if err := caller.Authorize(permission, r.Org, r.Tenant, at.Attached); err != nil {
		return Resolved{}, err
	}
	return r, nil
}

func (s *Service) resolveOrg(ctx context.Context, caller tenancy.Principal, segment string) (id.Org, error) {
	own := caller.Rights.Org
	switch {
	case segment == "-" && !own.IsZero():
		return own, nil
	case segment == "-" || segment == "":
		return id.Org{}, tenancy.Refuse(tenancy.ReasonNotFound)
	case !own.IsZero():
		if segment == own.String() || segment == caller.OrgSlug {
			return own, nil
		}
		return id.Org{}, tenancy.Refuse(tenancy.ReasonNotFound)
	}
	if org, err := id.ParseOrg(segment); err == nil {
		return org, nil
	}
	if !tenancy.ValidSlug(segment) {
		return id.Org{}, tenancy.Refuse(tenancy.ReasonNotFound)
	}
	return s.store.OrgBySlug(ctx, segment)
}

func (s *Service) resolveTenant(ctx context.Context, caller tenancy.Principal, org id.Org, segment string) (id.Tenant, error) {
	if segment == "-" {
		if caller.Rights.Scope == tenancy.ScopeTenants && len(caller.Rights.Tenants) == 1 {
			return caller.Rights.Tenants[0], nil
		}
		return id.Tenant{}, tenancy.Refuse(tenancy.ReasonNotFound)
	}
	if tenant, err := id.ParseTenant(segment); err == nil {
		return tenant, nil
	}
	if !tenancy.ValidSlug(segment) {
		return id.Tenant{}, tenancy.Refuse(tenancy.ReasonNotFound)
	}
	return s.store.TenantBySlug(ctx, org, segment)
}
