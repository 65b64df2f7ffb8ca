// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"slices"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// install puts a compiled tenant in, unless an entry that concerns it has been applied since it was read (errRace). A newer version
// that is already there wins, and is the answer.
func (c *Cache) install(t *Tenant, raw []byte, a arrival) (*Tenant, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stripes.unchanged(a.since) || !c.stripes.unchanged(a.hostSince) {
		c.stats.races.Add(1)
		return nil, errRace
	}
	// A dependency may have been dropped or replaced between its load and now; then the tenant would not hear of its changes.
	if c.orgs[t.Org] != t.orgDep || t.ringDep != nil && c.rings[t.ringDep.subject] != t.ringDep {
		return nil, errRace
	}
	if t.LayerDigest != [32]byte{} && c.layers[t.LayerDigest] == nil {
		return nil, errRace
	}
	s := c.slots[t.ID]
	switch {
	case s == nil:
		s = &slot{id: t.ID}
		c.slots[t.ID] = s
		c.pushFront(s)
		c.bytes.Add(slotBytes)
	case s.version > t.ConfigVersion:
		if s.tenant == nil {
			return nil, errRace
		}
		return s.tenant, nil
	}
	h, err := parseHeader(raw)
	if err != nil {
		return nil, err
	}
	c.bytes.Add(int64(cap(raw) - cap(s.record)))
	s.record, s.version, s.signedAt = raw, t.ConfigVersion, time.Unix(int64(h.signedAt), 0)
	t.confirmed.Store(a.generation)
	t.setFlag(a.pending)
	c.setTenant(s, t, a.host)
	c.evict()
	return t, nil
}

// setTenant makes t the compiled view of s and points its hosts to it. The caller holds mu.
func (c *Cache) setTenant(s *slot, t *Tenant, via string) {
	old := s.tenant
	c.hold(t)
	t.attach(&c.bytes)
	if old != nil && old.flags.Load()&flagVisited != 0 {
		t.setFlag(flagVisited)
	}
	// First hosts that the new document does not list, so that nobody finds them any more.
	s.hosts = slices.DeleteFunc(s.hosts, func(e *hostEntry) bool {
		if t.hasHost(e.host) {
			return false
		}
		c.hosts.remove(e)
		return true
	})
	for _, host := range t.Hosts {
		e := c.hosts.get(host)
		if e != nil && e.slot != s {
			// Two cached documents list the host: it moved, and one of them is old. The pointer that led here decides; without one,
			// whoever has the host keeps it until its own document has been read again.
			other := e.slot
			if other.tenant != nil {
				other.tenant.setFlag(flagRefresh)
			}
			if host != via {
				continue
			}
			c.hosts.remove(e)
			other.hosts = slices.DeleteFunc(other.hosts, func(o *hostEntry) bool { return o == e })
			e = nil
		}
		if e == nil {
			e = c.hosts.add(host, s)
			s.hosts = append(s.hosts, e)
		}
		e.cur.Store(t)
	}
	s.tenant = t
	if old != nil {
		c.release(old)
	}
}

// hold and release count who uses a dependency. The caller holds mu.
func (c *Cache) hold(t *Tenant) {
	t.orgDep.refs++
	if t.ringDep != nil {
		t.ringDep.refs++
	}
	if l := c.layers[t.LayerDigest]; l != nil {
		l.refs++
	}
}

func (c *Cache) release(t *Tenant) {
	t.detach()
	t.orgDep.refs--
	if t.ringDep != nil {
		t.ringDep.refs--
	}
	if l := c.layers[t.LayerDigest]; l != nil {
		l.refs--
	}
}

// bury takes out a tenant whose tombstone was read.
func (c *Cache) bury(tenant id.Tenant, version uint64, a arrival) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stripes.unchanged(a.since) || !c.stripes.unchanged(a.hostSince) {
		return errRace
	}
	if s := c.slots[tenant]; s != nil {
		if s.version > version {
			return errRace
		}
		c.removeSlot(s)
	}
	c.floors.raise(KindTenant, tenant, version)
	return ErrUnknownHost
}

// forget takes out a tenant that Redis is known not to have.
func (c *Cache) forget(tenant id.Tenant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.slots[tenant]; s != nil {
		c.removeSlot(s)
	}
}

// removeSlot takes a tenant out of the cache and remembers its version. The caller holds mu.
func (c *Cache) removeSlot(s *slot) {
	c.demote(s)
	for _, e := range s.hosts {
		c.hosts.remove(e)
	}
	s.hosts = nil
	c.floors.raise(KindTenant, s.id, s.version)
	c.bytes.Add(-slotBytes - int64(cap(s.record)))
	c.unlink(s)
	delete(c.slots, s.id)
}

// demote drops the compiled view and keeps the record. The caller holds mu.
func (c *Cache) demote(s *slot) {
	if s.tenant == nil {
		return
	}
	for _, e := range s.hosts {
		e.cur.Store(nil)
	}
	t := s.tenant
	s.pending, s.confirmed = t.flags.Load()&(flagRefresh|flagRestrictive), t.confirmed.Load()
	c.release(t)
	s.tenant = nil
}

// evict brings the cache within its bound. A hand goes round from the oldest to the newest (SIEVE): what was used since it came by
// stays, what was not loses first its compiled view and, if it is not used until the hand comes again, its place. Hits only set
// a bit. The caller holds mu.
func (c *Cache) evict() {
	for guard := 3*len(c.slots) + 3; c.bytes.Load() > c.maxBytes && len(c.slots) > 1 && guard > 0; guard-- {
		s := c.hand
		if s == nil {
			s = c.tail
		}
		c.hand = s.prev
		switch {
		case s.tenant != nil && s.tenant.flags.Load()&flagVisited != 0:
			s.tenant.clearFlag(flagVisited)
			s.visited = false
		case s.tenant != nil:
			c.demote(s)
			s.visited = false
			c.stats.demotions.Add(1)
		case s.visited:
			s.visited = false
		default:
			c.removeSlot(s)
			c.stats.evictions.Add(1)
		}
	}
}

func (c *Cache) pushFront(s *slot) {
	s.next = c.head
	if c.head != nil {
		c.head.prev = s
	}
	c.head = s
	if c.tail == nil {
		c.tail = s
	}
}

func (c *Cache) unlink(s *slot) {
	if c.hand == s {
		c.hand = s.prev
	}
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		c.head = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		c.tail = s.prev
	}
	s.prev, s.next = nil, nil
}
