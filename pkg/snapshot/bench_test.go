// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// filled is a cache with n tenants in it, put in without Redis.
func filled(t testing.TB, n int) (*Cache, []string) {
	t.Helper()
	rdb, err := Connect("redis://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rdb.Close() }) // never connected
	c, err := Open(Config{Redis: rdb, Verifier: testVerifier(t), MaxBytes: 4 << 30})
	if err != nil {
		t.Fatal(err)
	}
	orgDoc := testOrg()
	org, err := compileOrg(orgDoc)
	if err != nil {
		t.Fatal(err)
	}
	dep := &dependency[compiledOrg]{subject: org.id, last: org, version: 1, loaded: time.Now()}
	dep.cur.Store(org)
	c.orgs[org.id] = dep
	doc := testTenant(t, id.Org(orgDoc.GetOrgId()), "x")
	hosts := make([]string, n)
	for i := range n {
		slug := fmt.Sprintf("tenant-%d", i)
		tenant := id.NewTenant()
		hosts[i] = slug + ".example.com"
		doc.TenantId, doc.Slug, doc.Hosts, doc.Issuer = tenant[:], slug, hosts[i:i+1], "https://"+hosts[i]
		body, err := proto.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		raw := append(make([]byte, HeaderBytes), body...)
		raw[7] = 1
		c.stale()
		compiled, err := c.compile(t.Context(), tenant, raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.install(compiled, raw, arrival{generation: c.generation.Load()}); err != nil {
			t.Fatal(err)
		}
	}
	return c, hosts
}

// stale keeps the age of the configuration at nothing, as heartbeats do.
func (c *Cache) stale() { c.staleMS.Store(0) }

func TestHotLookupAllocatesNothing(t *testing.T) {
	c, hosts := filled(t, 10)
	for _, host := range []string{hosts[3], hosts[3] + ":8080"} {
		if n := testing.AllocsPerRun(1000, func() {
			if _, err := c.Lookup(t.Context(), host); err != nil {
				t.Error(err)
			}
		}); n != 0 {
			t.Errorf("lookup of %s allocates %v times", host, n)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	c, hosts := filled(b, 50_000)
	ctx := b.Context()
	b.Run("same host", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Lookup(ctx, hosts[7]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("same host with port", func(b *testing.B) {
		host := hosts[7] + ":8080"
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Lookup(ctx, host); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("random of 50000", func(b *testing.B) {
		// Names lie in the order of their use, as a request's header is at hand when it is looked up.
		var arena strings.Builder
		names := make([]string, 1<<16)
		for i := range names {
			names[i] = hosts[rand.IntN(len(hosts))]
			arena.WriteString(names[i])
		}
		for i, all := 0, arena.String(); i < len(names); i++ {
			names[i], all = all[:len(names[i])], all[len(names[i]):]
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if _, err := c.Lookup(ctx, names[i&(len(names)-1)]); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := c.Lookup(ctx, hosts[7]); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkMemory measures what a cached tenant takes, with its record: bytes and objects of the heap, beside the cache's estimate.
func BenchmarkMemory(b *testing.B) {
	const n = 5000
	for _, used := range []bool{false, true} {
		name := "as loaded"
		if used {
			name = "with discovery, JWKS, signer and one client"
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c0, _ := filled(b, 1)
				before := heap()
				c, hosts := filled(b, n)
				if used {
					opener := secret.NewOpener(testRegion, testKeys().recipient)
					for _, h := range hosts {
						t, err := c.Lookup(b.Context(), h)
						if err != nil {
							b.Fatal(err)
						}
						t.Metadata()
						t.JWKS()
						t.Client(t.inline[0].String())
						t.Keys.Signer("ES256", opener) // sealed for another tenant: only its cost counts
					}
				}
				after := heap()
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/tenant")
				b.ReportMetric(float64(after.HeapObjects-before.HeapObjects)/n, "objects/tenant")
				b.ReportMetric(float64(c.bytes.Load())/n, "estimate-B/tenant")
				s := c.slots[c.head.id]
				b.ReportMetric(float64(len(s.record)), "record-B")
				runtime.KeepAlive(hosts)
				runtime.KeepAlive(c0)
				runtime.KeepAlive(c)
			}
		})
	}
}

func heap() (m runtime.MemStats) {
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m
}

func BenchmarkNormalizeHost(b *testing.B) {
	for _, host := range []string{"hooli.piedpiper.example", "HOOLI.piedpiper.example", "bücher.example"} {
		b.Run(host, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				NormalizeHost(host) // all are names
			}
		})
	}
}

func BenchmarkVerifyAndCompile(b *testing.B) {
	c, _ := filled(b, 1)
	var org id.Org
	for o := range c.orgs {
		org = o
	}
	doc := testTenant(b, org, "bench")
	raw := sign(b, testKeys().signing, KindTenant, tenantOf(doc), 1, doc)
	b.Run("verify", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.verifier.verifyTenant(tenantOf(doc), raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("compile", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.compile(b.Context(), tenantOf(doc), raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sign", func(b *testing.B) {
		body := raw[HeaderBytes:]
		for b.Loop() {
			testKeys().signing.Sign(KindTenant, tenantOf(doc), 1, time.Now(), body) // valid
		}
	})
}

func BenchmarkColdLookup(b *testing.B) {
	w := newWorld(b)
	c := w.cache()
	org := w.org()
	const n = 512
	docs := make([]*snapshotv1.TenantSnapshot, n)
	for i := range docs {
		docs[i] = w.tenant(org, fmt.Sprintf("cold-%d", i))
	}
	i := 0
	for b.Loop() {
		doc := docs[i%n]
		c.forget(tenantOf(doc))
		if _, err := c.Lookup(b.Context(), doc.GetHosts()[0]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
