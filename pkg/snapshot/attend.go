// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// attend makes a cached tenant current: loads what was announced, confirms what may have been missed, compiles again what was
// compiled with another org or layer. Without an error and without a tenant, the slot is gone.
func (c *Cache) attend(ctx context.Context, s *slot) (*Tenant, error) {
	for range raceRetries {
		c.mu.Lock()
		gone, t := c.slots[s.id] != s, s.tenant
		s.visited = true
		c.mu.Unlock()
		if gone {
			return nil, nil
		}
		if t == nil {
			if _, err := c.fly(ctx, "r"+string(s.id[:]), func(ctx context.Context) (*Tenant, error) { return c.revive(ctx, s) }); err != nil {
				return nil, err
			}
			continue
		}
		if c.staleMS.Load() > t.maxAge {
			return nil, unavailable(errStale)
		}
		// A refused recompilation must not keep a tenant open whose org was closed.
		if org := t.orgDep.cur.Load(); org != nil && !org.active {
			return nil, ErrUnknownHost
		}
		flags := t.flags.Load()
		switch {
		case flags&(flagRefresh|flagRestrictive) != 0:
			fresh, err := c.fly(ctx, tenantFlight(s.id), func(ctx context.Context) (*Tenant, error) { return c.reload(ctx, s.id) })
			if err != nil {
				return nil, err
			}
			if fresh == t && t.flags.Load()&flagRefresh != 0 {
				return t, nil // Redis does not answer; the announcement was not restrictive
			}
		case t.confirmed.Load() != c.generation.Load():
			done, err := c.confirm(ctx, s, t)
			if err != nil {
				return nil, err
			}
			if !done {
				return t, nil
			}
		case t.outdated():
			fresh, err := c.fly(ctx, "r"+string(s.id[:]), func(ctx context.Context) (*Tenant, error) { return c.revive(ctx, s) })
			if err != nil {
				return nil, err
			}
			if fresh == t && !t.inForce() {
				// The new org or layer cannot be used or not be loaded, so the last accepted one stays. Not every request tries again.
				t.held.Store(time.Now().Add(holdTime).UnixMilli())
				return t, nil
			}
		default:
			t.setFlag(flagVisited)
			return t, nil
		}
	}
	return nil, ErrUnavailable
}

// holdTime is how long a tenant is served with an org or layer that was replaced by one that could not be used.
const holdTime = time.Second

// inForce reports whether t is compiled with its org and ring table as they are now.
func (c *cached) inForce() bool {
	return c.orgDep.cur.Load() == c.org && (c.ringDep == nil || c.ringDep.cur.Load() == c.ring.Load())
}

// outdated reports whether t has to be compiled again now: what it is compiled with was replaced, and either nobody may be served
// before the replacement is loaded, or the last attempt is some time ago.
func (c *cached) outdated() bool {
	if c.inForce() {
		return false
	}
	restrictive := c.orgDep.cur.Load() == nil || c.ringDep != nil && c.ringDep.cur.Load() == nil
	return restrictive || c.held.Load() < time.Now().UnixMilli()
}

var errStale = errors.New("snapshot: configuration older than the tenant allows")

// revive compiles a slot's record again, with its org and layer as they are now. It runs in a flight.
func (c *Cache) revive(ctx context.Context, s *slot) (*Tenant, error) {
	for range raceRetries {
		c.mu.Lock()
		raw, t, pending := s.record, s.tenant, s.pending
		since := c.stripes.note(c.stripes.ofSubject(KindTenant, s.id))
		gone, generation := c.slots[s.id] != s, s.confirmed
		c.mu.Unlock()
		if gone {
			return nil, ErrUnavailable
		}
		if t != nil {
			// Another may have revived it; a new ring table may give the layer that it has.
			if ok, err := c.adopt(ctx, t); ok || err != nil {
				return t, err
			}
			generation, pending = t.confirmed.Load(), t.flags.Load()&(flagRefresh|flagRestrictive)
		}
		fresh, err := c.compile(ctx, s.id, raw)
		if err != nil {
			if isRefusal(err) {
				c.nack(KindTenant, s.id, headerVersion(raw), err)
				return c.keep(s.id, unavailable(err))
			}
			return c.keep(s.id, err)
		}
		fresh, err = c.install(fresh, raw, arrival{generation: generation, since: since, pending: pending})
		if !errors.Is(err, errRace) {
			return fresh, err
		}
	}
	return nil, ErrUnavailable
}

// adopt reports whether t is compiled with what is in force, where a new ring table with the same layer counts.
func (c *Cache) adopt(ctx context.Context, t *Tenant) (bool, error) {
	_, org, err := c.org(ctx, t.Org)
	if err != nil {
		if t.orgDep.cur.Load() == nil {
			return false, err // restrictive
		}
		return true, nil
	}
	if org != t.org {
		return false, nil
	}
	if t.ringDep == nil {
		return true, nil
	}
	_, table, err := c.ring(ctx, t.ringDep.subject)
	if err != nil {
		if t.ringDep.cur.Load() == nil {
			return false, err
		}
		return true, nil
	}
	if table.pick(t.ID, t.ringNumber) != t.LayerDigest {
		return false, nil
	}
	t.ring.Store(table)
	return true, nil
}

// confirm compares the versions of a tenant, its org and its ring table with what Redis has, after entries may have been missed.
// False: Redis could not be asked, so what is cached is served as it is.
func (c *Cache) confirm(ctx context.Context, s *slot, t *Tenant) (bool, error) {
	fresh, err := c.fly(ctx, "c"+string(s.id[:]), func(ctx context.Context) (*Tenant, error) {
		generation := c.generation.Load()
		versions, err := c.askVersions(ctx, []*Tenant{t})
		if err != nil {
			return nil, nil //nolint:nilnil // "could not ask" is no failure of the tenant
		}
		return t, c.compare(ctx, t, versions[0], generation)
	})
	return fresh != nil, err
}

// storedTriple is what Redis has for one tenant; 0: nothing.
type storedTriple struct{ tenant, org, ring uint64 }

func (c *Cache) askVersions(ctx context.Context, tenants []*Tenant) ([]storedTriple, error) {
	out := make([]storedTriple, len(tenants))
	err := c.ask(ctx, func(ctx context.Context) error {
		pipe := c.rdb.Pipeline()
		cmds := make([][3]*redis.StringCmd, len(tenants))
		for i, t := range tenants {
			cmds[i][0] = pipe.GetRange(ctx, tenantKey(t.ID), 0, 7)
			cmds[i][1] = pipe.GetRange(ctx, recordKey(KindOrg, t.Org), 0, 7)
			if t.ringDep != nil {
				cmds[i][2] = pipe.GetRange(ctx, recordKey(KindRingTable, t.ringDep.subject), 0, 7)
			}
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
		for i := range cmds {
			for n, into := range [...]*uint64{&out[i].tenant, &out[i].org, &out[i].ring} {
				if cmds[i][n] != nil {
					*into = versionOf(cmds[i][n])
				}
			}
		}
		return nil
	})
	return out, err
}

// compare ends the doubt about a tenant, by a reload where Redis has something newer. A lower version in Redis is a failover or a
// restored backup: what is cached stays.
func (c *Cache) compare(ctx context.Context, t *Tenant, stored storedTriple, generation uint64) error {
	if stored.tenant == 0 && c.absenceKnown(ctx) {
		c.forget(t.ID)
		return ErrUnknownHost
	}
	c.mu.Lock()
	if stored.org > t.orgDep.version {
		t.orgDep.stale = true
	}
	if t.ringDep != nil && stored.ring > t.ringDep.version {
		t.ringDep.stale = true
	}
	orgStale, ringStale := t.orgDep.stale, t.ringDep != nil && t.ringDep.stale
	c.mu.Unlock()
	if orgStale {
		if _, _, err := c.org(ctx, t.Org); err != nil && t.orgDep.cur.Load() == nil {
			return err
		}
	}
	if ringStale {
		if _, _, err := c.ring(ctx, t.ringDep.subject); err != nil && t.ringDep.cur.Load() == nil {
			return err
		}
	}
	if stored.tenant > t.ConfigVersion {
		_, err := c.reload(ctx, t.ID)
		return err
	}
	t.confirmed.Store(generation)
	return nil
}
