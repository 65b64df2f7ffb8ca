// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// hostEntry is one hostname that a cached tenant's document lists.
type hostEntry struct {
	host string
	hash uint64
	slot *slot
	// cur is the compiled tenant whose document lists host: never one that does not. Nil while only the raw record is kept.
	cur atomic.Pointer[Tenant]
	_   [24]byte // to a line of the processor's cache
}

// hostTable maps hostnames to entries: open addressing with linear probing over atomic pointers. Readers take no lock and write
// nothing; writers hold the cache's lock. A general concurrent map would need the host as an interface value, which costs an
// allocation, or a read lock, which costs more than the lookup.
type hostTable struct {
	seed  maphash.Seed
	cells atomic.Pointer[[]atomic.Pointer[hostEntry]]

	live int // entries; under the cache's lock
	used int // entries and gravestones
}

// gravestone marks a removed entry, so that probing goes on behind it.
var gravestone = &hostEntry{}

func (t *hostTable) init() {
	t.seed = maphash.MakeSeed()
	cells := make([]atomic.Pointer[hostEntry], 64)
	t.cells.Store(&cells)
}

// get finds an entry without a lock.
func (t *hostTable) get(host string) *hostEntry {
	hash := maphash.String(t.seed, host)
	cells := *t.cells.Load()
	mask := uint64(len(cells) - 1) //nolint:gosec // a length is not negative
	for i := hash & mask; ; i = (i + 1) & mask {
		e := cells[i].Load()
		if e == nil {
			return nil
		}
		if e.hash == hash && e.host == host && e != gravestone {
			return e
		}
	}
}

// add inserts an entry for a host that has none. The caller holds the cache's lock.
func (t *hostTable) add(host string, s *slot) *hostEntry {
	cells := *t.cells.Load()
	if (t.used+1)*2 > len(cells) {
		cells = t.rebuild()
	}
	e := &hostEntry{host: strings.Clone(host), hash: maphash.String(t.seed, host), slot: s}
	t.place(cells, e)
	t.live++
	t.used++
	return e
}

func (t *hostTable) place(cells []atomic.Pointer[hostEntry], e *hostEntry) {
	mask := uint64(len(cells) - 1) //nolint:gosec // a length is not negative
	i := e.hash & mask
	// Gravestones are not reused: a reader that has passed one must not miss an entry that moves there.
	for cells[i].Load() != nil {
		i = (i + 1) & mask
	}
	cells[i].Store(e)
}

// rebuild makes a table without gravestones, at most a quarter full: every step of a probe is a miss of the processor's cache.
func (t *hostTable) rebuild() []atomic.Pointer[hostEntry] {
	old := *t.cells.Load()
	size := 64
	for size < 4*(t.live+1) {
		size *= 2
	}
	cells := make([]atomic.Pointer[hostEntry], size)
	for i := range old {
		if e := old[i].Load(); e != nil && e != gravestone {
			t.place(cells, e)
		}
	}
	t.used = t.live
	t.cells.Store(&cells)
	return cells
}

// remove takes an entry out. The caller holds the cache's lock.
func (t *hostTable) remove(e *hostEntry) {
	e.cur.Store(nil)
	cells := *t.cells.Load()
	mask := uint64(len(cells) - 1) //nolint:gosec // a length is not negative
	for i := e.hash & mask; ; i = (i + 1) & mask {
		switch cells[i].Load() {
		case nil:
			return
		case e:
			cells[i].Store(gravestone)
			t.live--
			return
		}
	}
}
