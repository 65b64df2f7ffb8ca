// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// visible publishes new tenants at a rate and measures from the beginning of Publish until a replica serves the host. Nothing may
// be missing.
func visible(b testing.TB, c *Cache, w *world, n, perSecond int) []time.Duration {
	b.Helper()
	org := w.org()
	items := make([]Item, n)
	for i := range items {
		items[i] = w.item(testTenant(b, id.Org(org.GetOrgId()), fmt.Sprintf("v-%d-%d", perSecond, i)))
	}
	took := make([]time.Duration, n)
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for i, item := range items {
		<-tick.C
		wg.Go(func() {
			start := time.Now()
			if _, err := w.writer.Publish(b.Context(), []Item{item}, PublishOptions{}); err != nil {
				b.Error(err)
				return
			}
			for {
				if _, err := c.Lookup(b.Context(), item.Hosts[0].Host); err == nil {
					break
				}
				if time.Since(start) > 5*time.Second {
					b.Errorf("%s is missing", item.Hosts[0].Host)
					return
				}
				time.Sleep(100 * time.Microsecond)
			}
			took[i] = time.Since(start)
		})
	}
	wg.Wait()
	slices.Sort(took)
	return took
}

// BenchmarkPublishToVisible measures new tenants; BenchmarkChangeToVisible what is cached already, through the streams.
func BenchmarkPublishToVisible(b *testing.B) {
	for _, rate := range []int{100, 1000} {
		b.Run(fmt.Sprintf("%d a second", rate), func(b *testing.B) {
			w := newWorld(b)
			c := w.cache()
			for b.Loop() {
				took := visible(b, c, w, rate, rate)
				b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
			}
		})
	}
}

func BenchmarkChangeToVisible(b *testing.B) {
	w := newWorld(b)
	c := w.cache()
	doc := w.tenant(w.org(), "change")
	host := doc.GetHosts()[0]
	mustLookup(b, c, host)
	for b.Loop() {
		doc = next(doc)
		w.publish(w.item(doc))
		for mustLookup(b, c, host).ConfigVersion != doc.GetConfigVersion() {
			time.Sleep(20 * time.Microsecond)
		}
	}
}

// BenchmarkPublish measures what a republish costs: signing, three awaited steps, batches of 200.
func BenchmarkPublish(b *testing.B) {
	w := newWorld(b)
	org := w.org()
	const batch = 200
	docs := make([]Item, batch)
	for i := range docs {
		docs[i] = w.item(testTenant(b, id.Org(org.GetOrgId()), fmt.Sprintf("p-%d", i)))
	}
	version := uint64(1)
	for b.Loop() {
		version++
		items := slices.Clone(docs)
		for i := range items {
			raw, err := testKeys().signing.Sign(KindTenant, items[i].Subject, version, time.Now(), items[i].Record[HeaderBytes:])
			if err != nil {
				b.Fatal(err)
			}
			items[i].Record, items[i].Version = raw, version
		}
		w.publish(items...)
	}
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "tenants/s")
}

// 1,000 changes, none lost, to four replicas.
func TestNoChangeIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	org := w.org()
	replicas := []*Cache{w.cache(), w.cache(), w.cache(), w.cache()}
	const tenants, versions = 50, 20
	docs := make([]Item, tenants)
	for i := range docs {
		docs[i] = w.item(testTenant(t, id.Org(org.GetOrgId()), fmt.Sprintf("n-%d", i)))
		w.publish(docs[i])
		for _, c := range replicas {
			mustLookup(t, c, docs[i].Hosts[0].Host)
		}
	}
	var wg sync.WaitGroup
	for i := range docs {
		wg.Go(func() {
			doc := testTenant(t, id.Org(org.GetOrgId()), fmt.Sprintf("n-%d", i))
			doc.TenantId, doc.Hosts = docs[i].Subject[:], []string{docs[i].Hosts[0].Host}
			for v := uint64(2); v <= versions+1; v++ {
				doc.ConfigVersion = v
				raw := sign(t, testKeys().signing, KindTenant, docs[i].Subject, v, doc)
				w.publish(Item{Record: raw, Kind: KindTenant, Subject: docs[i].Subject, Version: v})
			}
		})
	}
	wg.Wait()
	for _, c := range replicas {
		for i := range docs {
			w.eventually("the last version", func() bool { return mustLookup(t, c, docs[i].Hosts[0].Host).ConfigVersion == versions+1 })
		}
	}
}
