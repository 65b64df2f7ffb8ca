// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tenantry/tenantry/pkg/id"
)

// The universe of the property tests: small enough that sets meet often.
var (
	somePermissions = []string{"users.get", "users.list", "users.*", "clients.get", "clients.*", "apiKeys.mint", "tenants.provision", "*"}
	someActs        = []string{"users.get", "users.list", "users.delete", "clients.get", "apiKeys.mint", "tenants.provision", "orgs.get"}
	someOrgs        = []id.Org{id.NewOrg(), id.NewOrg()}
	someTenants     = []id.Tenant{id.NewTenant(), id.NewTenant(), id.NewTenant()}
)

func drawRights(t *rapid.T, name string) Rights {
	r := Rights{
		Scope:       KeyScope(rapid.IntRange(1, 3).Draw(t, name+" scope")),
		Permissions: NewPermissionSet(rapid.SliceOfN(rapid.SampledFrom(somePermissions), 0, 4).Draw(t, name+" permissions")...),
	}
	if r.Scope != ScopePlatform {
		r.Org = rapid.SampledFrom(someOrgs).Draw(t, name+" org")
	}
	if r.Scope == ScopeTenants {
		r.Tenants = rapid.SliceOfNDistinct(rapid.SampledFrom(someTenants), 0, 3, rapid.ID).Draw(t, name+" tenants")
	}
	return r
}

// acts lists everything that rights allow, by brute force: what the set functions are compared with.
func acts(r Rights) map[string]bool {
	all := map[string]bool{}
	for _, p := range someActs {
		if !r.Permissions.Allows(p) {
			continue
		}
		for _, o := range someOrgs {
			if r.ReachesOrg(o) {
				all[p+" "+o.String()] = true
			}
			for _, t := range someTenants {
				if r.ReachesTenant(o, t) {
					all[p+" "+o.String()+" "+t.String()] = true
				}
			}
		}
	}
	return all
}

func TestIntersectAllowsExactlyWhatBothAllow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawRights(t, "a"), drawRights(t, "b")
		both, wa, wb := acts(a.Intersect(b)), acts(a), acts(b)
		for act := range wa {
			if wb[act] != both[act] {
				t.Fatalf("%s: in both %v, in the intersection %v", act, wb[act], both[act])
			}
		}
		for act := range both {
			if !wa[act] || !wb[act] {
				t.Fatalf("the intersection allows %s, which one of the two does not", act)
			}
		}
	})
}

func TestCoversNeverClaimsTooMuch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawRights(t, "a"), drawRights(t, "b")
		if !a.Covers(b) {
			return
		}
		wa := acts(a)
		for act := range acts(b) {
			if !wa[act] {
				t.Fatalf("a covers b, and b allows %s, which a does not", act)
			}
		}
	})
}

// Law 1 of API.md section 5.4: whatever is minted, now or after the minter lost rights, is a subset of the minter's rights.
func TestMintedRightsAreASubsetOfTheMintersAtMintTimeAndNow(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		minter := APIKey{ID: id.NewAPIKey(), Scope: KeyScope(rapid.IntRange(1, 3).Draw(t, "scope")), State: KeyActive}
		own := drawRights(t, "minter")
		minter.Scope, minter.Org, minter.Tenants, minter.Permissions = own.Scope, own.Org, own.Tenants, own.Permissions.Patterns()
		minter.Mint = &MintGrant{
			MaxScope:    KeyScope(rapid.IntRange(0, 3).Draw(t, "max scope")),
			Permissions: rapid.SliceOfN(rapid.SampledFrom(somePermissions), 0, 3).Draw(t, "ceiling"),
			Tenants:     rapid.SliceOfNDistinct(rapid.SampledFrom(someTenants), 0, 2, rapid.ID).Draw(t, "tenants ceiling"),
			MaxTTL:      rapid.SampledFrom([]time.Duration{0, time.Hour}).Draw(t, "ttl"),
		}
		p := Principal{Key: minter.ID, Rights: ChainRights([]APIKey{minter}), Mint: minter.Mint}
		want := drawRights(t, "child")
		expire := rapid.SampledFrom([]time.Time{{}, now.Add(time.Minute), now.Add(48 * time.Hour)}).Draw(t, "expire")
		err := p.CheckMint(want, nil, expire, now)
		if err != nil {
			if !errors.Is(err, ReasonMintExceedsMinter) {
				t.Fatalf("refused for another reason: %v", err)
			}
			return
		}
		have := acts(p.Rights)
		for act := range acts(want) {
			if !have[act] {
				t.Fatalf("a key was minted that may %s, which its minter may not", act)
			}
		}
		if minter.Mint.MaxTTL > 0 && (expire.IsZero() || expire.Sub(now) > minter.Mint.MaxTTL) {
			t.Fatal("a key was minted that lives longer than its minter may give")
		}
		if minter.Mint.MaxScope != ScopeNone && want.Scope > minter.Mint.MaxScope {
			t.Fatal("a key was minted with a wider scope than its minter may give")
		}
		// Law 2: the minter loses rights, and so does the child.
		child := APIKey{ID: id.NewAPIKey(), Scope: want.Scope, Org: want.Org, Tenants: want.Tenants, Permissions: want.Permissions.Patterns(), MintedBy: minter.ID}
		minter.Permissions = rapid.SliceOfN(rapid.SampledFrom(somePermissions), 0, 2).Draw(t, "later")
		later := acts(minter.Rights())
		for act := range acts(ChainRights([]APIKey{child, minter})) {
			if !later[act] {
				t.Fatalf("the child may still %s, which its minter may no more", act)
			}
		}
	})
}

func TestAKeyThatIsNoManagerMintsNothing(t *testing.T) {
	p := Principal{Key: id.NewAPIKey(), Rights: Rights{Scope: ScopePlatform, Permissions: NewPermissionSet("*")}}
	if err := p.CheckMint(Rights{Scope: ScopeTenants}, nil, time.Time{}, time.Now()); !errors.Is(err, ReasonMintExceedsMinter) {
		t.Errorf("got %v", err)
	}
	p.Mint = &MintGrant{}
	if err := p.CheckMint(Rights{Scope: ScopeTenants}, &MintGrant{}, time.Time{}, time.Now()); !errors.Is(err, ReasonMintExceedsMinter) {
		t.Errorf("a manager that may not mint managers minted one: %v", err)
	}
}

func TestOutOfReachIsNotFoundAndInReachWithoutThePermissionIsDenied(t *testing.T) {
	org, tenant := someOrgs[0], someTenants[0]
	key := Principal{Rights: Rights{Scope: ScopeTenants, Org: org, Tenants: []id.Tenant{tenant}, Permissions: NewPermissionSet("users.list", "clients.get")}}
	platform := Principal{Rights: Rights{Scope: ScopePlatform, Permissions: NewPermissionSet("*")}}
	for name, c := range map[string]struct {
		p          Principal
		permission string
		org        id.Org
		tenant     id.Tenant
		attached   bool
		want       error
	}{
		"own tenant":                      {key, "users.list", org, tenant, false, nil},
		"own tenant, other permission":    {key, "users.delete", org, tenant, false, ReasonPermissionDenied},
		"another tenant":                  {key, "users.list", org, someTenants[1], false, ReasonNotFound},
		"another tenant, no permission":   {key, "users.delete", org, someTenants[1], false, ReasonNotFound},
		"own org":                         {key, "clients.get", org, id.Tenant{}, false, ReasonNotFound},
		"own org, attached":               {key, "clients.get", org, id.Tenant{}, true, nil},
		"another org, attached":           {key, "clients.get", someOrgs[1], id.Tenant{}, true, ReasonNotFound},
		"same tenant id in another org":   {key, "users.list", someOrgs[1], tenant, false, ReasonNotFound},
		"platform resource":               {key, "apiKeys.mint", id.Org{}, id.Tenant{}, false, ReasonNotFound},
		"platform key, personal data":     {platform, "users.list", org, tenant, false, ReasonSupportAccessRequired},
		"platform key, tenant of any org": {platform, "tenants.get", org, tenant, false, nil},
		"nobody":                          {Principal{}, "tenants.get", org, tenant, false, ReasonNotFound},
	} {
		if err := c.p.Authorize(c.permission, c.org, c.tenant, c.attached); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestRolesAreWellFormedAndOnlyTheOperatorsHasEverything(t *testing.T) {
	for role, permissions := range Roles {
		for _, p := range permissions {
			if !ValidPermission(p) {
				t.Errorf("%s: %q is no permission", role, p)
			}
			if p == "*" && role != "platformOperator" {
				t.Errorf("%s has every permission", role)
			}
		}
	}
}
