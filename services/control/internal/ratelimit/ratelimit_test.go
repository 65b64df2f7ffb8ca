// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package ratelimit

import (
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

func TestLimiter(t *testing.T) {
	l := New[id.APIKey](1, 3, 10_000)
	now, key := time.Unix(1000, 0), id.NewAPIKey()
	for i := range 3 {
		if w := l.Take(key, now); w != 0 {
			t.Fatalf("%d of the burst: %v", i, w)
		}
	}
	if w := l.Take(key, now); w <= 0 || w > time.Second {
		t.Errorf("after the burst: %v", w)
	}
	if w := l.Take(id.NewAPIKey(), now); w != 0 {
		t.Errorf("another key: %v", w)
	}
	if w := l.Take(key, now.Add(time.Second)); w != 0 {
		t.Errorf("a second later: %v", w)
	}
	if w := l.Take(key, now.Add(-time.Hour)); w <= 0 {
		t.Errorf("a clock that goes back gives tokens")
	}
	for range 3 * l.limit {
		l.Take(id.NewAPIKey(), now)
	}
	if len(l.buckets) > l.limit {
		t.Errorf("%d buckets", len(l.buckets))
	}
}
