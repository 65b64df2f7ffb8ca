// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// counters count since the start.
type counters struct {
	loads, compiles, negativeHits, throttled, refused, redisErrors, races, pointerMismatches atomic.Uint64
	evictions, demotions, nacks, changes, gaps, badEntries                                   atomic.Uint64
}

// Stats is what a process exports about its cache. Counters grow from the start of the process.
type Stats struct {
	Tenants   int           // cached, compiled or not
	Compiled  int           // of these, compiled
	Bytes     int64         // estimate of what they take
	Epoch     string        // of the Redis that is followed; empty: none yet
	Complete  bool          // that Redis holds every tenant
	ConfigAge time.Duration // now, minus the last heartbeat of the slowest lane, plus the publisher's backlog then

	Loads, Compiles, Evictions, Demotions uint64
	NegativeHits                          uint64 // answered from the negative cache
	Throttled                             uint64 // refused because the not-found budget was spent
	Refused                               uint64 // refused because Redis had failed repeatedly
	RedisErrors                           uint64
	Races                                 uint64 // loads repeated because an entry arrived meanwhile
	PointerMismatches                     uint64 // host pointers whose tenant does not list the host
	Nacks                                 uint64 // records refused
	Changes                               uint64 // changes applied from the streams
	Gaps                                  uint64 // times that entries may have been missed
	BadEntries                            uint64 // stream entries that could not be read
}

// Stats reads the figures.
func (c *Cache) Stats() Stats {
	s := Stats{
		Bytes: c.bytes.Load(), ConfigAge: time.Duration(c.staleMS.Load()) * time.Millisecond,
		Loads: c.stats.loads.Load(), Compiles: c.stats.compiles.Load(), Evictions: c.stats.evictions.Load(), Demotions: c.stats.demotions.Load(),
		NegativeHits: c.stats.negativeHits.Load(), Throttled: c.stats.throttled.Load(), Refused: c.stats.refused.Load(),
		RedisErrors: c.stats.redisErrors.Load(), Races: c.stats.races.Load(), PointerMismatches: c.stats.pointerMismatches.Load(),
		Nacks: c.stats.nacks.Load(), Changes: c.stats.changes.Load(), Gaps: c.stats.gaps.Load(), BadEntries: c.stats.badEntries.Load(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Tenants, s.Epoch, s.Complete = len(c.slots), c.epoch, c.complete
	for _, slot := range c.slots {
		if slot.tenant != nil {
			s.Compiled++
		}
	}
	return s
}

// versionOf reads the answer of a GETRANGE over a record's version; 0: nothing is there.
func versionOf(cmd *redis.StringCmd) uint64 {
	b, err := cmd.Bytes()
	if err != nil || len(b) != 8 {
		return 0
	}
	v := uint64(0)
	for _, x := range b {
		v = v<<8 | uint64(x)
	}
	return v
}
