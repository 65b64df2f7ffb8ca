// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"slices"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// Rights is where a caller may act and what it may do there. The zero value may do nothing anywhere.
type Rights struct {
	Scope       KeyScope
	Org         id.Org      // of the scopes ORG and TENANTS
	Tenants     []id.Tenant // of the scope TENANTS, sorted
	Permissions PermissionSet
}

// KeyScope is how far a key reaches.
type KeyScope int16

// The scopes, narrow to wide.
const (
	ScopeNone     KeyScope = 0
	ScopeTenants  KeyScope = 1
	ScopeOrg      KeyScope = 2
	ScopePlatform KeyScope = 3
)

// String is the name on the wire.
func (s KeyScope) String() string {
	switch s {
	case ScopeTenants:
		return "TENANTS"
	case ScopeOrg:
		return "ORG"
	case ScopePlatform:
		return "PLATFORM"
	case ScopeNone:
	}
	return "NONE"
}

// ReachesOrg reports whether anything of the org is within reach. A key locked to tenants reaches its org only for what is
// attached to those tenants, which the method itself decides.
func (r Rights) ReachesOrg(org id.Org) bool {
	return r.Scope == ScopePlatform || r.Scope == ScopeOrg && r.Org == org
}

// ReachesTenant reports whether the tenant of the org is within reach.
func (r Rights) ReachesTenant(org id.Org, tenant id.Tenant) bool {
	switch r.Scope {
	case ScopePlatform:
		return true
	case ScopeOrg:
		return r.Org == org
	case ScopeTenants:
		return r.Org == org && slices.Contains(r.Tenants, tenant)
	case ScopeNone:
	}
	return false
}

// Covers reports whether every act that o allows, r allows too.
func (r Rights) Covers(o Rights) bool {
	if o.Scope == ScopeNone || o.Permissions.IsEmpty() || o.Scope == ScopeTenants && len(o.Tenants) == 0 {
		return true
	}
	if !r.Permissions.Covers(o.Permissions) || o.Scope > r.Scope {
		return false
	}
	if r.Scope == ScopePlatform {
		return true
	}
	if r.Org != o.Org {
		return false
	}
	if r.Scope == ScopeOrg {
		return true
	}
	for _, t := range o.Tenants {
		if !slices.Contains(r.Tenants, t) {
			return false
		}
	}
	return true
}

// Intersect is what both allow.
func (r Rights) Intersect(o Rights) Rights {
	out := Rights{Permissions: r.Permissions.Intersect(o.Permissions)}
	narrow, wide := r, o
	if narrow.Scope > wide.Scope {
		narrow, wide = wide, narrow
	}
	out.Scope, out.Org, out.Tenants = narrow.Scope, narrow.Org, narrow.Tenants
	switch {
	case wide.Scope == ScopePlatform:
	case wide.Org != narrow.Org:
		return Rights{}
	case wide.Scope == ScopeTenants:
		out.Tenants = nil
		for _, t := range narrow.Tenants {
			if slices.Contains(wide.Tenants, t) {
				out.Tenants = append(out.Tenants, t)
			}
		}
	}
	return out
}

// Principal is an authenticated caller: its key and what that key may do now.
type Principal struct {
	Key         id.APIKey
	DisplayName string
	Rights      Rights     // own rights ∩ those of every minter above it
	Mint        *MintGrant // nil when it may not mint
	OrgSlug     string     // of the key's org, empty for a platform key
	Depth       int        // how many minters are above the key
	// Facts of the call, for audit events.
	RequestID string
	Source    string // network address of the caller
	UserAgent string // as the caller names itself
}

// Actor is how audit events name the caller.
func (p Principal) Actor() string {
	if p.Key.IsZero() {
		return "system"
	}
	return p.Key.String()
}

// Authorize decides a call that needs permission on something of org, and of tenant unless that is zero. attached says that the
// method reads what may be attached to one of the caller's tenants: it then decides itself. Outside the caller's reach the answer is
// NOT_FOUND; inside it, without the permission, PERMISSION_DENIED.
func (p Principal) Authorize(permission string, org id.Org, tenant id.Tenant, attached bool) error {
	var reach bool
	switch {
	case org.IsZero():
		reach = p.Rights.Scope == ScopePlatform
	case tenant.IsZero():
		reach = p.Rights.ReachesOrg(org) || attached && p.Rights.Scope == ScopeTenants && p.Rights.Org == org && len(p.Rights.Tenants) > 0
	default:
		reach = p.Rights.ReachesTenant(org, tenant)
	}
	if !reach {
		return Refuse(ReasonNotFound)
	}
	if !p.Rights.Permissions.Allows(permission) {
		return &Error{Reason: ReasonPermissionDenied, Meta: map[string]string{"permission": permission}}
	}
	if p.Rights.Scope == ScopePlatform && personal[Permission(permission).Collection()] {
		return &Error{Reason: ReasonSupportAccessRequired, Meta: map[string]string{"permission": permission}}
	}
	return nil
}

// MintGrant makes a key a key manager: the ceiling of what it may mint.
type MintGrant struct {
	MaxScope        KeyScope      `json:"maxScope,omitempty"`        // widest scope of a minted key
	Permissions     []string      `json:"permissions,omitempty"`     // ceiling of permissions; empty means the minter's own
	MaxTTL          time.Duration `json:"maxTtl,omitempty"`          // longest life; 0 means no limit
	Tenants         []id.Tenant   `json:"tenants,omitempty"`         // only keys of these tenants; empty means all within reach
	MayMintManagers bool          `json:"mayMintManagers,omitempty"` // whether minted keys may mint
}

// CheckMint is the law of minting: the rights asked for lie inside the minter's rights now and inside its ceiling, and the life
// inside the longest one. wantsMint is the ceiling of a new key manager, nil for an ordinary key.
func (p Principal) CheckMint(want Rights, wantsMint *MintGrant, expire, now time.Time) error {
	refuse := func(field, text string) error {
		return &Error{Reason: ReasonMintExceedsMinter, Field: field, Text: text}
	}
	if p.Mint == nil {
		return refuse("", "this key is no key manager: it mints no keys")
	}
	ceiling := p.MintCeiling()
	if !ceiling.Permissions.Covers(want.Permissions) {
		return refuse("api_key.permissions", "the permissions exceed those that this key may give")
	}
	if want.Scope > ceiling.Scope || p.Mint.MaxScope != ScopeNone && want.Scope > p.Mint.MaxScope {
		return refuse("api_key.scope", "the scope "+want.Scope.String()+" is wider than this key may give")
	}
	if !ceiling.Covers(want) {
		return refuse("api_key.tenants", "the tenants exceed those that this key may give")
	}
	if p.Mint.MaxTTL > 0 && (expire.IsZero() || expire.After(now.Add(p.Mint.MaxTTL))) {
		return refuse("api_key.expire_time", "the life is longer than "+p.Mint.MaxTTL.String()+", the longest that this key may give")
	}
	if wantsMint != nil {
		if !p.Mint.MayMintManagers {
			return refuse("api_key.mint", "this key may not mint key managers")
		}
		if p.Mint.MaxTTL > 0 && (wantsMint.MaxTTL == 0 || wantsMint.MaxTTL > p.Mint.MaxTTL) {
			return refuse("api_key.mint.max_ttl", "the longest life exceeds the minter's own")
		}
	}
	return nil
}

// MintCeiling is the rights that no minted key may exceed: the caller's own rights cut by the permissions and tenants of its mint
// grant. The grant's widest scope bounds the scope of a minted key, not its reach, so it is not in here.
func (p Principal) MintCeiling() Rights {
	c := p.Rights
	if p.Mint == nil {
		return Rights{}
	}
	if len(p.Mint.Permissions) > 0 {
		c.Permissions = c.Permissions.Intersect(NewPermissionSet(p.Mint.Permissions...))
	}
	if len(p.Mint.Tenants) > 0 {
		c = c.Intersect(Rights{Scope: ScopeTenants, Org: c.Org, Tenants: p.Mint.Tenants, Permissions: NewPermissionSet("*")})
	}
	return c
}

// ChainRights is what a key may do now: its own rights cut by those of each minter above it, nearest first. A minter that was revoked
// or has expired counts with its last rights: what becomes of its children was decided when it was revoked.
func ChainRights(chain []APIKey) Rights {
	if len(chain) == 0 {
		return Rights{}
	}
	r := chain[0].Rights()
	for _, minter := range chain[1:] {
		r = r.Intersect(minter.Rights())
	}
	return r
}
