// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// cached is what a cache keeps in each Tenant, so that a hot lookup reads few objects.
type cached struct {
	flags     atomic.Uint32
	serving   bool          // tenant and org are active
	confirmed atomic.Uint64 // Cache.generation under which the version was last known to be current
	maxAge    int64         // MaxConfigAge in milliseconds
	held      atomic.Int64  // until then (Unix milliseconds) not compiled again: the new org or layer was refused

	org     *compiledOrg // what it is compiled with
	orgDep  *dependency[compiledOrg]
	ringDep *dependency[ringTable] // nil without a ring table
	ring    atomic.Pointer[ringTable]
}

// Flags of a cached tenant.
const (
	flagVisited     = 1 << iota // used since the eviction hand came by
	flagRefresh                 // a newer version was announced and not loaded yet
	flagRestrictive             // and nobody may be served before it is
)

// setFlag adds bits.
func (c *cached) setFlag(bits uint32) {
	for {
		old := c.flags.Load()
		if old&bits == bits || c.flags.CompareAndSwap(old, old|bits) {
			return
		}
	}
}

func (c *cached) clearFlag(bits uint32) {
	for {
		old := c.flags.Load()
		if old&bits == 0 || c.flags.CompareAndSwap(old, old&^bits) {
			return
		}
	}
}

// slot is a tenant's place in the cache: always the verified record, and the compiled view while it is in use. All fields are under
// the cache's lock.
type slot struct {
	id       id.Tenant
	record   []byte // header and body, verified
	version  uint64
	signedAt time.Time

	tenant *Tenant      // nil: only the record is kept
	hosts  []*hostEntry // those of the last compiled view

	// For the record alone, while tenant is nil; a compiled tenant has its own.
	visited   bool
	pending   uint32 // flags
	confirmed uint64

	prev, next *slot
}

const slotBytes = 220

// dependency is a signed record that many tenants are compiled with: an org, a ring table.
type dependency[T any] struct {
	subject [16]byte
	// cur is the value in force. A tenant compiled with another pointer is compiled again before it is served. Nil: a restrictive
	// change was announced and not loaded yet.
	cur       atomic.Pointer[T]
	confirmed atomic.Uint64 // as in cached

	// Under the cache's lock.
	last    *T // the last accepted value
	version uint64
	stale   bool // a newer version was announced and not loaded yet
	refs    int  // compiled tenants that use it
	bytes   int64
	loaded  time.Time
}

// stripes are the generation counters of the load race rule: every applied entry bumps those of the names in it, and a load inserts
// what it read only if the counters that it noted before reading have not moved. Names share counters; a collision costs a
// repeated read. All methods are called under the cache's lock.
type stripes struct {
	seed maphash.Seed
	gen  [stripeCount]uint32
}

const stripeCount = 4096

func (s *stripes) ofHost(host string) uint16 {
	return uint16(maphash.String(s.seed, host) % stripeCount)
}

func (s *stripes) ofSubject(kind Kind, subject [16]byte) uint16 {
	var b [17]byte
	b[0] = byte(kind)
	copy(b[1:], subject[:])
	return uint16(maphash.Bytes(s.seed, b[:]) % stripeCount)
}

// noted is a counter as it was before a read. The zero value is no counter, and never changes.
type noted struct {
	stripe uint16
	set    bool
	gen    uint32
}

func (s *stripes) note(stripe uint16) noted { return noted{stripe, true, s.gen[stripe]} }
func (s *stripes) bump(stripe uint16)       { s.gen[stripe]++ }
func (s *stripes) unchanged(n noted) bool   { return !n.set || s.gen[n.stripe] == n.gen }

// floors remembers versions of records that are no longer cached: what Redis may not go below. It is a fixed table; a collision
// forgets the older entry. All methods are called under the cache's lock.
type floors struct {
	seed  maphash.Seed
	cells []floor
}

type floor struct{ hash, version uint64 }

const floorCells = 1 << 16

func (f *floors) cell(kind Kind, subject [16]byte) (*floor, uint64) {
	var b [17]byte
	b[0] = byte(kind)
	copy(b[1:], subject[:])
	h := maphash.Bytes(f.seed, b[:])
	return &f.cells[h%floorCells], h
}

func (f *floors) raise(kind Kind, subject [16]byte, version uint64) {
	if c, h := f.cell(kind, subject); c.hash != h || c.version < version {
		*c = floor{h, version}
	}
}

func (f *floors) get(kind Kind, subject [16]byte) uint64 {
	if c, h := f.cell(kind, subject); c.hash == h {
		return c.version
	}
	return 0
}

// negatives are short-lived refusals: unknown hosts, and tenants whose record cannot be used. An entry holds only while the counter
// of what it depends on has not moved. They are bounded in number; the oldest goes first. All methods are called under the
// cache's lock.
type negatives struct {
	entries map[string]negative
	queue   []string // ring of names in the order of their insertion
	head    int
}

type negative struct {
	until time.Time
	since noted // of the host
	also  noted // of the tenant, where the refusal is about it
	err   error
}

const (
	maxNegatives = 65_536
	negativeTTL  = 2 * time.Second
	// badTTL is how long a tenant whose record cannot be used is not read again.
	badTTL = time.Second
)

func (n *negatives) get(host string, now time.Time, s *stripes) error {
	e, ok := n.entries[host]
	if !ok || !now.Before(e.until) || !s.unchanged(e.since) || !s.unchanged(e.also) {
		return nil
	}
	return e.err
}

// put remembers a refusal. host must not alias a request's buffer.
func (n *negatives) put(host string, e negative) {
	if _, present := n.entries[host]; !present {
		if len(n.queue) < maxNegatives {
			n.queue = append(n.queue, host)
		} else {
			delete(n.entries, n.queue[n.head])
			n.queue[n.head] = host
			n.head = (n.head + 1) % maxNegatives
		}
	}
	n.entries[host] = e
}

func (n *negatives) reset() {
	n.entries = map[string]negative{}
	n.queue, n.head = nil, 0
}

// expire drops everything once nothing in it can be valid any more, so that a flood's memory does not stay.
func (n *negatives) expire(now time.Time, newest time.Time) {
	if len(n.entries) > 0 && now.Sub(newest) > negativeTTL {
		n.reset()
	}
}

// entryTime is the time part of a stream entry id, for comparing positions.
type streamID struct{ ms, seq uint64 }

func (a streamID) less(b streamID) bool { return a.ms < b.ms || a.ms == b.ms && a.seq < b.seq }

func parseStreamID(s string) (streamID, bool) {
	var v [2]uint64
	part, digits := 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9' && v[part] < 1<<59:
			v[part] = v[part]*10 + uint64(c-'0')
			digits++
		case c == '-' && part == 0 && digits > 0:
			part, digits = 1, 0
		default:
			return streamID{}, false
		}
	}
	return streamID{v[0], v[1]}, part == 1 && digits > 0
}
