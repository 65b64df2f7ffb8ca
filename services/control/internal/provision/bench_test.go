// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// BenchmarkProvision is the provision transaction of DISTRIBUTION.md section 14: one client, one API key, an ES256 key, snapshot, audit
// event, outbox row; PostgreSQL and the load on the same machine. Set TENANTRY_TEST_DATABASE_URL to a durable server for the real figure.
// c is the number of callers at a time.
func BenchmarkProvision(b *testing.B) {
	for _, workers := range []int{1, 16} {
		b.Run(fmt.Sprintf("c=%d", workers), func(b *testing.B) { benchmarkProvision(b, workers) })
	}
}

func benchmarkProvision(b *testing.B, workers int) {
	// The services collect garbage at this size of the heap and not at 4 MiB (serve.Memory); it is never touched, so it is no memory.
	headroom := make([]byte, 12<<20)
	defer runtime.KeepAlive(headroom)
	h := newHarness(b)
	spec := sampleSpec()
	spec.Clients, spec.APIKeys = spec.Clients[1:], spec.APIKeys[:1]
	if _, err := h.UpdateBlueprint(h.ctx, h.owner, h.org.ID, "standard", BlueprintInput{Mask: []string{"draft"}, Blueprint: blueprint.Blueprint{Draft: spec}}); err != nil {
		b.Fatal(err)
	}
	if _, err := h.PublishBlueprint(h.ctx, h.owner, h.org.ID, "standard", "", Call{}); err != nil {
		b.Fatal(err)
	}
	warm := 300
	var next atomic.Int64
	run := func(n int) []time.Duration {
		done := make(chan []time.Duration, workers)
		limit := next.Load() + int64(n)
		for range workers {
			go func() {
				var took []time.Duration
				for {
					i := next.Add(1)
					if i > limit {
						done <- took
						return
					}
					start := time.Now()
					_, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, ProvisionInput{
						TenantID: fmt.Sprintf("t%d", i), Blueprint: "standard", Type: tenancy.TypeProduction,
						Owner: &OwnerSpec{Email: "owner@example.com"}, WaitFor: DepthCommitted,
					})
					if err != nil {
						b.Error(err)
						done <- took
						return
					}
					took = append(took, time.Since(start))
				}
			}()
		}
		var all []time.Duration
		for range workers {
			all = append(all, <-done...)
		}
		return all
	}
	run(warm)
	b.ResetTimer()
	took := run(b.N)
	b.StopTimer()
	b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "tenants/s")
	b.ReportMetric(float64(percentile(took, 0.50).Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(percentile(took, 0.99).Microseconds())/1000, "p99-ms")
}

// BenchmarkSingleRowCommit is the yardstick beside BenchmarkProvision: as many connections, one row and one durable commit each.
func BenchmarkSingleRowCommit(b *testing.B) {
	h := newHarness(b)
	pool, err := pgxpool.New(h.ctx, h.db.AdminURL+"&pool_max_conns=16")
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(h.ctx, `CREATE TABLE yardstick (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)`); err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := pool.Exec(h.ctx, `INSERT INTO yardstick (v) VALUES ($1)`, "x"); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}
