// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package publish

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/provision"
)

// BenchmarkRepublish is what a flushed Redis costs: records read, signed and written in the three steps.
func BenchmarkRepublish(b *testing.B) {
	p := newPlant(b)
	p.publisher.cfg.RepublishRate = 1 << 30
	const tenants = 1000
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < tenants; i += 8 {
				p.provision(fmt.Sprintf("t%d", i), provision.DepthCommitted)
			}
		})
	}
	wg.Wait()
	b.ResetTimer()
	var n int64
	for range b.N {
		b.StopTimer()
		if err := p.redis.FlushAll(p.ctx).Err(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		m, err := p.publisher.Republish(p.ctx, id.Org{}, time.Time{})
		if err != nil {
			b.Fatal(err)
		}
		n += m
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkCommitToRedis is the time from the answer of a provision to its record being in Redis, one at a time.
func BenchmarkCommitToRedis(b *testing.B) {
	p := newPlant(b)
	p.start()
	p.complete()
	var total time.Duration
	b.ResetTimer()
	for i := range b.N {
		res := p.provision(fmt.Sprintf("t%d", i), provision.DepthCommitted)
		start := time.Now()
		if err := p.watcher.Wait(p.ctx, res.Tenant.ID, 1); err != nil {
			b.Fatal(err)
		}
		total += time.Since(start)
	}
	b.ReportMetric(float64(total.Microseconds())/float64(b.N)/1000, "ms-to-redis")
}
