// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"sync"
	"time"
)

// budget is a token bucket for answers "not found" that Redis had to give. Random host names then cannot become a load on Redis.
// It is used under the cache's lock.
type budget struct {
	rate   float64 // tokens a second, and the most that are kept
	tokens float64
	last   time.Time
}

func (b *budget) has(now time.Time) bool {
	if !b.last.IsZero() {
		b.tokens = min(b.rate, b.tokens+b.rate*now.Sub(b.last).Seconds())
	}
	b.last = now
	return b.tokens >= 1
}

func (b *budget) spend() { b.tokens-- }

// breaker refuses questions to a Redis that does not answer: after five failures in a row it is open for half a second, then lets
// one question through at a time until one succeeds.
type breaker struct {
	mu       sync.Mutex
	failures int
	until    time.Time
	probing  bool
}

const (
	breakerFailures = 5
	breakerPause    = 500 * time.Millisecond
)

func (b *breaker) allow(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < breakerFailures {
		return true
	}
	if now.Before(b.until) || b.probing {
		return false
	}
	b.probing = true
	return true
}

func (b *breaker) success() {
	b.mu.Lock()
	b.failures, b.probing = 0, false
	b.mu.Unlock()
}

// failure answers true when it opens the breaker.
func (b *breaker) failure(now time.Time) (opened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures++
	b.probing = false
	if b.failures < breakerFailures {
		return false
	}
	b.until = now.Add(breakerPause)
	return b.failures == breakerFailures
}
