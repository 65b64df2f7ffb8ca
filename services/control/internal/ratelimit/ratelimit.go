// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package ratelimit bounds how often somebody may ask. It counts in this process alone: with n replicas a key gets n times the rate,
// which is enough against a flood and against reading names out of hostname checks, and needs no server that could be down. What must be
// exact is counted in the database by who owns it.
package ratelimit

import (
	"sync"
	"time"
)

// Limiter is a token bucket for each key. It is safe for concurrent use.
type Limiter[K comparable] struct {
	rate, burst float64 // tokens a second, and at most
	limit       int     // keys that are remembered

	mu      sync.Mutex
	buckets map[K]bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

// New makes a Limiter of rate tokens a second for each key, and burst at most, that remembers as many keys as it is told.
func New[K comparable](rate, burst float64, keys int) *Limiter[K] {
	return &Limiter[K]{rate: rate, burst: burst, limit: keys, buckets: map[K]bucket{}}
}

// Take uses one token of the key, or says how long to wait for one; 0 means that it was there.
func (l *Limiter[K]) Take(key K, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets[key]
	if !ok {
		if len(l.buckets) >= l.limit {
			l.drop(now)
		}
		b = bucket{l.burst, now}
	}
	if d := now.Sub(b.at); d > 0 {
		b.tokens, b.at = min(l.burst, b.tokens+d.Seconds()*l.rate), now
	}
	wait := time.Duration(0)
	if b.tokens < 1 {
		wait = time.Duration((1 - b.tokens) / l.rate * float64(time.Second))
	} else {
		b.tokens--
	}
	l.buckets[key] = b
	return wait
}

// drop forgets buckets that are full again; when none is, all, which is the lesser evil.
func (l *Limiter[K]) drop(now time.Time) {
	for k, b := range l.buckets {
		if b.tokens+now.Sub(b.at).Seconds()*l.rate >= l.burst {
			delete(l.buckets, k)
		}
	}
	if len(l.buckets) >= l.limit {
		clear(l.buckets)
	}
}
