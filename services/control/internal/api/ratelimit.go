// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"sync"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// limiter is a token bucket for each key, in this process alone: with n replicas a key gets n times the rate, which is enough to keep
// somebody from reading our customers' names out of hostname checks, and needs no server that could be down.
type limiter struct {
	rate  float64 // tokens a second
	burst float64
	limit int // keys that are remembered

	mu      sync.Mutex
	buckets map[id.APIKey]bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newLimiter(rate, burst float64) *limiter {
	return &limiter{rate: rate, burst: burst, limit: 10000, buckets: map[id.APIKey]bucket{}}
}

// take uses one token of the key, or says how long to wait for one.
func (l *limiter) take(key id.APIKey, now time.Time) time.Duration {
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
		b.tokens = min(l.burst, b.tokens+d.Seconds()*l.rate)
		b.at = now
	}
	if b.tokens < 1 {
		l.buckets[key] = b
		return time.Duration((1 - b.tokens) / l.rate * float64(time.Second))
	}
	b.tokens--
	l.buckets[key] = b
	return 0
}

// drop forgets buckets that are full again; when none is, all, which is the lesser evil.
func (l *limiter) drop(now time.Time) {
	for k, b := range l.buckets {
		if b.tokens+now.Sub(b.at).Seconds()*l.rate >= l.burst {
			delete(l.buckets, k)
		}
	}
	if len(l.buckets) >= l.limit {
		clear(l.buckets)
	}
}
