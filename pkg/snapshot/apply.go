// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/pkg/id"
)

const (
	// refreshPatience is how long a cached tenant whose change was announced is served as it was. What is not refreshed by then
	// is refreshed by its next request.
	refreshPatience = 200 * time.Millisecond
	refreshBatch    = 64

	sweepBatch = 100
	sweepPause = 50 * time.Millisecond // 2,000 tenants a second
)

// apply does what the entries of a lane demand: first nothing that was read before them may be inserted any more, then what is
// cached and concerned is refreshed.
func (c *Cache) apply(ctx context.Context, lane int, entries []streamEntry) {
	var work refreshWork
	c.mu.Lock()
	for _, e := range entries {
		if e.bad {
			c.stats.badEntries.Add(1)
		}
		for _, change := range e.changes {
			c.stats.changes.Add(1)
			subject := [16]byte(change.GetSubject())
			for _, host := range change.GetHosts() {
				c.stripes.bump(c.stripes.ofHost(host))
				// A host that another cached tenant answers for has moved, or is about to.
				if h := c.hosts.get(host); h != nil && h.slot.id != subject && h.slot.tenant != nil {
					work.tenant(h.slot, false)
				}
			}
			switch kind := Kind(change.GetKind()); kind { //nolint:gosec // at most 255, see decodeEntry
			case KindTenant, KindTombstone:
				c.stripes.bump(c.stripes.ofSubject(KindTenant, subject))
				if s := c.slots[subject]; s != nil && s.version < change.GetVersion() {
					work.tenant(s, change.GetRestrictive())
				}
			case KindOrg:
				c.stripes.bump(c.stripes.ofSubject(kind, subject))
				if d := c.orgs[subject]; d != nil && d.version < change.GetVersion() {
					d.stale = true
					if change.GetRestrictive() {
						d.cur.Store(nil)
					}
					work.orgs = append(work.orgs, subject)
				}
			case KindRingTable:
				c.stripes.bump(c.stripes.ofSubject(kind, subject))
				if d := c.rings[subject]; d != nil && d.version < change.GetVersion() {
					d.stale = true
					if change.GetRestrictive() {
						d.cur.Store(nil)
					}
					work.rings = append(work.rings, subject)
				}
			default: // a kind of a later release: not for us
			}
		}
	}
	tenants := work.compiled()
	c.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, refreshPatience)
	defer cancel()
	for _, org := range work.orgs {
		c.org(ctx, org) //nolint:errcheck // stays stale, and is tried again by housekeeping and by the next request
	}
	for _, ring := range work.rings {
		c.ring(ctx, ring) //nolint:errcheck // as above
	}
	c.refresh(ctx, tenants)

	for _, e := range entries {
		if e.heartbeat != nil {
			c.hear(lane, e.heartbeat)
		}
	}
	id := entries[len(entries)-1].id
	c.lanes[lane].applied.Store(&id)
}

// refreshWork collects what a batch of entries concerns, each tenant once.
type refreshWork struct {
	tenants []*slot
	seen    map[*slot]struct{}
	orgs    []id.Org
	rings   [][16]byte
}

// tenant marks a slot. The caller holds the cache's lock.
func (w *refreshWork) tenant(s *slot, restrictive bool) {
	if s.tenant == nil {
		s.pending |= flagRefresh
		if restrictive {
			s.pending |= flagRestrictive
		}
		return
	}
	if restrictive {
		s.tenant.setFlag(flagRefresh | flagRestrictive)
	}
	if w.seen == nil {
		w.seen = map[*slot]struct{}{}
	}
	if _, twice := w.seen[s]; !twice {
		w.seen[s] = struct{}{}
		w.tenants = append(w.tenants, s)
	}
}

func (w *refreshWork) compiled() []*Tenant {
	out := make([]*Tenant, 0, len(w.tenants))
	for _, s := range w.tenants {
		if s.tenant != nil {
			out = append(out, s.tenant)
		}
	}
	return out
}

// refresh reads cached tenants again, many with one question. Those that cannot be refreshed in time are marked, so that their next
// request does it.
func (c *Cache) refresh(ctx context.Context, tenants []*Tenant) {
	for len(tenants) > 0 {
		n := min(refreshBatch, len(tenants))
		if ctx.Err() != nil || !c.refreshSome(ctx, tenants[:n]) {
			break
		}
		tenants = tenants[n:]
	}
	for _, t := range tenants {
		t.setFlag(flagRefresh)
	}
}

func (c *Cache) refreshSome(ctx context.Context, tenants []*Tenant) bool {
	arrivals := make([]arrival, len(tenants))
	c.mu.Lock()
	for i, t := range tenants {
		arrivals[i] = arrival{generation: c.generation.Load(), since: c.stripes.note(c.stripes.ofSubject(KindTenant, t.ID))}
	}
	c.mu.Unlock()
	cmds := make([]*redis.StringCmd, len(tenants))
	err := c.ask(ctx, func(ctx context.Context) error {
		pipe := c.rdb.Pipeline()
		for i, t := range tenants {
			cmds[i] = pipe.Get(ctx, tenantKey(t.ID))
		}
		_, err := pipe.Exec(ctx)
		return err
	})
	if err != nil {
		return false
	}
	for i, t := range tenants {
		raw, err := cmds[i].Bytes()
		if errors.Is(err, redis.Nil) {
			// Announced and not there: a flush, or a purge. The next request finds out which.
			t.setFlag(flagRefresh)
			continue
		}
		if err == nil {
			_, err = c.accept(ctx, t.ID, raw, arrivals[i])
		}
		if err != nil && !errors.Is(err, ErrUnknownHost) {
			t.setFlag(flagRefresh)
		}
	}
	return true
}

// begin follows a server from here on: entries before may have been missed, so everything cached is to be confirmed, and no
// refusal is remembered.
func (c *Cache) begin(m Meta) {
	c.mu.Lock()
	if c.epoch != m.Epoch {
		c.log.Info("following config redis", "epoch", m.Epoch, "complete", m.Complete)
	}
	c.epoch, c.complete = m.Epoch, m.Complete
	c.doubt()
	c.mu.Unlock()
}

// doubt makes everything cached unconfirmed. The caller holds mu.
func (c *Cache) doubt() {
	c.generation.Add(1)
	c.negatives.reset()
	for i := range c.stripes.gen {
		c.stripes.gen[i]++ // what is being loaded may have been read before the gap
	}
	c.stats.gaps.Add(1)
	select {
	case c.sweepNow <- struct{}{}:
	default:
	}
}

// sweep confirms everything cached, little by little, after doubt: so that tenants without requests are current, too, and do not
// all ask in the same second.
func (c *Cache) sweep(ctx context.Context) {
	generation := c.generation.Load()
	c.mu.Lock()
	var todo []*slot
	for _, s := range c.slots {
		if s.tenant != nil && s.tenant.confirmed.Load() != generation {
			todo = append(todo, s)
		}
	}
	c.mu.Unlock()
	for len(todo) > 0 && ctx.Err() == nil && c.generation.Load() == generation {
		sleep(ctx, sweepPause/2+rand.N(sweepPause)) //nolint:gosec // jitter
		n := min(sweepBatch, len(todo))
		c.sweepSome(ctx, todo[:n])
		todo = todo[n:]
	}
}

func (c *Cache) sweepSome(ctx context.Context, slots []*slot) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	generation := c.generation.Load()
	var tenants []*Tenant
	c.mu.Lock()
	for _, s := range slots {
		if t := s.tenant; t != nil && c.slots[s.id] == s && t.confirmed.Load() != generation {
			tenants = append(tenants, t)
		}
	}
	c.mu.Unlock()
	if len(tenants) == 0 {
		return
	}
	stored, err := c.askVersions(ctx, tenants)
	if err != nil {
		return
	}
	for i, t := range tenants {
		c.compare(ctx, t, stored[i], generation) //nolint:errcheck // a tenant that cannot be confirmed now is by its next request
	}
}
