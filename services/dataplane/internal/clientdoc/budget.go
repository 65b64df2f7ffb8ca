// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package clientdoc

import (
	"hash/maphash"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// What strangers can make us fetch. A fetch is paid twice: out of the tenant's budget, and out of the tenant's budget for the site that the
// document is at, so that a stranger who makes up addresses at one site has a quarter of the tenant's rate and no more. Of both budgets the
// last part is kept for documents that were valid before: neither many made-up sites nor made-up addresses at an honest site keep a document
// that people use from being fetched again. Made-up sites without number still take the rest from documents that nobody has seen yet; who
// sends them is not known here.
var (
	tenantFetches = allowance{rate: 2, burst: 40, kept: 10}
	siteFetches   = allowance{rate: 0.5, burst: 10, kept: 2}
)

// Bounds of what is kept for it.
const (
	maxTenants = 4096
	// More sites than a tenant's budget pays for in the time in which a site's budget fills up again, so that those in use always fit.
	maxSitesOfTenant = 128
	// Documents that were valid before, of each site, so that one site with many documents pushes out its own alone.
	maxKnownSites, maxKnownOfSite = 1024, 64
)

// allowance says how a budget fills up: rate a second up to burst. The last kept of it are for documents that were valid before.
type allowance struct{ rate, burst, kept float64 }

// bucket is what is left of a budget. The zero value is none: allowance.full makes one.
type bucket struct {
	tokens float64
	at     time.Time
}

func (a allowance) full(now time.Time) bucket { return bucket{a.burst, now} }

func (a allowance) refill(b bucket, now time.Time) bucket {
	if d := now.Sub(b.at); d > 0 {
		b.tokens, b.at = min(a.burst, b.tokens+d.Seconds()*a.rate), now
	}
	return b
}

// pays reports whether one fetch can be paid out of b.
func (a allowance) pays(b bucket, known bool) bool {
	if known {
		return b.tokens >= 1
	}
	return b.tokens >= 1+a.kept
}

// idle reports whether b is full by now, and so as good as a new one.
func (a allowance) idle(b bucket, now time.Time) bool { return a.refill(b, now).tokens >= a.burst }

// budgets holds what every tenant may still fetch, and which documents were valid before. The Cache's mu guards it. Sites and URLs are kept
// as hashes under a seed of this process: whoever finds two that are the same has to guess.
type budgets struct {
	seed    maphash.Seed
	tenants map[id.Tenant]*tenantBudget
	known   map[uint64]*knownSite
}

type tenantBudget struct {
	bucket
	sites map[uint64]bucket
}

type knownSite struct {
	seen      time.Time            // when one of its documents was last found valid
	documents map[uint64]time.Time // when this one was
}

func newBudgets() *budgets {
	return &budgets{seed: maphash.MakeSeed(), tenants: map[id.Tenant]*tenantBudget{}, known: map[uint64]*knownSite{}}
}

// spend pays for one fetch of clientID for the tenant, and reports whether it could. has says that a copy of the document is at hand: it was
// valid before, whether or not it is among those remembered.
func (b *budgets) spend(tenant id.Tenant, clientID string, has bool, now time.Time) bool {
	site := b.site(clientID)
	known := has || b.knows(site, clientID)
	t := b.tenant(tenant, now)
	t.bucket = tenantFetches.refill(t.bucket, now)
	if !tenantFetches.pays(t.bucket, known) {
		return false // before the site is looked at, so that what is refused takes no room
	}
	s, ok := t.sites[site]
	if !ok {
		t.room(now)
		s = siteFetches.full(now)
	}
	if s = siteFetches.refill(s, now); !siteFetches.pays(s, known) {
		return false
	}
	t.tokens--
	s.tokens--
	t.sites[site] = s
	return true
}

// tenant answers a tenant's budget, a full one for who has none.
func (b *budgets) tenant(tenant id.Tenant, now time.Time) *tenantBudget {
	if t, ok := b.tenants[tenant]; ok {
		return t
	}
	if len(b.tenants) >= maxTenants {
		for other, t := range b.tenants {
			if tenantFetches.idle(t.bucket, now) {
				delete(b.tenants, other)
			}
		}
	}
	if len(b.tenants) >= maxTenants {
		clear(b.tenants) // the lesser evil: every tenant gets its burst again
	}
	t := &tenantBudget{bucket: tenantFetches.full(now), sites: map[uint64]bucket{}}
	b.tenants[tenant] = t
	return t
}

// room makes place for one more site.
func (t *tenantBudget) room(now time.Time) {
	if len(t.sites) < maxSitesOfTenant {
		return
	}
	for site, s := range t.sites {
		if siteFetches.idle(s, now) {
			delete(t.sites, site)
		}
	}
	if len(t.sites) >= maxSitesOfTenant {
		clear(t.sites) // only a clock that was set back gets here; the tenant's own budget still holds
	}
}

func (b *budgets) knows(site uint64, clientID string) bool {
	s, ok := b.known[site]
	if !ok {
		return false
	}
	_, ok = s.documents[maphash.String(b.seed, clientID)]
	return ok
}

// remember notes that a document was valid just now. What was so the longest ago makes room: of the same site, and of all sites.
func (b *budgets) remember(clientID string, now time.Time) {
	site, document := b.site(clientID), maphash.String(b.seed, clientID)
	s, ok := b.known[site]
	if !ok {
		if len(b.known) >= maxKnownSites {
			delete(b.known, oldest(b.known, func(s *knownSite) time.Time { return s.seen }))
		}
		s = &knownSite{documents: map[uint64]time.Time{}}
		b.known[site] = s
	}
	if _, ok := s.documents[document]; !ok && len(s.documents) >= maxKnownOfSite {
		delete(s.documents, oldest(s.documents, func(at time.Time) time.Time { return at }))
	}
	s.documents[document], s.seen = now, now
}

// forget notes that there is no such document any more.
func (b *budgets) forget(clientID string) {
	site := b.site(clientID)
	if s, ok := b.known[site]; ok {
		if delete(s.documents, maphash.String(b.seed, clientID)); len(s.documents) == 0 {
			delete(b.known, site)
		}
	}
}

func oldest[V any](m map[uint64]V, when func(V) time.Time) uint64 {
	var found uint64
	var at time.Time
	for k, v := range m {
		if w := when(v); at.IsZero() || w.Before(at) {
			found, at = k, w
		}
	}
	return found
}

func (b *budgets) site(clientID string) uint64 { return maphash.String(b.seed, site(clientID)) }

// site is whose document it is: the last two labels of its host name, whatever the port. That stands for the domain that somebody registered.
// Without the list of public suffixes it is an approximation: all of co.uk, or of one provider of pages, is one site and shares a budget,
// which costs its new documents a wait and those that were valid before nothing. Bare addresses together are one site, for they come by the
// network.
func site(clientID string) string {
	u, err := url.Parse(clientID)
	if err != nil {
		return ""
	}
	host := strings.TrimSuffix(u.Hostname(), ".")
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	if i := strings.LastIndexByte(host, '.'); i > 0 {
		if j := strings.LastIndexByte(host[:i], '.'); j >= 0 {
			return host[j+1:]
		}
	}
	return host
}
