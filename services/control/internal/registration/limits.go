// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package registration

import (
	"sync"
	"time"
)

// limiter is a token bucket for each key, in this process alone. What it must hold against is a flood, for which the number of replicas
// matters little; the quota of registered clients is exact.
type limiter[K comparable] struct {
	rate, burst float64 // tokens a second, and at most
	limit       int     // keys that are remembered

	mu      sync.Mutex
	buckets map[K]bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newLimiter[K comparable](rate, burst float64) *limiter[K] {
	return &limiter[K]{rate: rate, burst: burst, limit: 20_000, buckets: map[K]bucket{}}
}

// take uses one token of the key, or says how long to wait for one.
func (l *limiter[K]) take(key K, now time.Time) time.Duration {
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
func (l *limiter[K]) drop(now time.Time) {
	for k, b := range l.buckets {
		if b.tokens+now.Sub(b.at).Seconds()*l.rate >= l.burst {
			delete(l.buckets, k)
		}
	}
	if len(l.buckets) >= l.limit {
		clear(l.buckets)
	}
}
