// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// Invariant 3 and the moves of hostnames: whatever is published first, a host is served by a tenant whose document lists it, or
// refused for a moment; it is never unknown and never served by the wrong tenant.
func TestHostMovesInAnyPublishOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	org := w.org()
	c := w.cache()
	const host = "moving.example.com"
	from := testTenant(t, id.Org(org.GetOrgId()), "from", "from.example.com", host)
	to := testTenant(t, id.Org(org.GetOrgId()), "to")
	w.publish(w.item(from), w.item(to))
	mustLookup(t, c, host)
	mustLookup(t, c, "to.example.com")

	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				got, err := c.Lookup(ctx, host)
				switch {
				case err == nil && !got.hasHost(host):
					t.Errorf("served by %s, whose document lacks the host", got.Slug)
					return
				case errors.Is(err, ErrUnknownHost):
					t.Error("the host was unknown while it moved")
					return
				}
			}
		})
	}
	for round := range 40 {
		// One transaction takes the host from one tenant and gives it to the other; the two are published in either order, with a
		// pause between, and the pointer goes with the receiver.
		from, to = next(from), next(to)
		from.Hosts, to.Hosts = []string{from.GetSlug() + ".example.com"}, []string{to.GetSlug() + ".example.com", host}
		giver, receiver := w.item(from), w.item(to)
		first, second := giver, receiver
		if round%2 == 1 {
			first, second = receiver, giver
		}
		w.publish(first)
		time.Sleep(time.Duration(round%5) * time.Millisecond)
		w.publish(second)
		want := tenantOf(to)
		w.eventually("the receiver serves it", func() bool { got, err := c.Lookup(t.Context(), host); return err == nil && got.ID == want })
		from, to = to, from
	}
	cancel()
	wg.Wait()
}

func TestReleasedHostIsUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	doc := w.tenant(w.org(), "hooli", "hooli.example.com", "old.example.com")
	mustLookup(t, c, "old.example.com")
	doc = next(doc)
	doc.Hosts = doc.Hosts[:1]
	w.publish(w.item(doc, "old.example.com"))
	w.eventually("the released host is unknown", func() bool { _, err := c.Lookup(t.Context(), "old.example.com"); return errors.Is(err, ErrUnknownHost) })
	mustLookup(t, c, "hooli.example.com")
}

func TestNegativeAnswerEndsWithTheEntryOfTheHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	org := w.org()
	wantLookup(t, c, "soon.example.com", ErrUnknownHost)
	loads := c.Stats().Loads
	wantLookup(t, c, "soon.example.com", ErrUnknownHost)
	if s := c.Stats(); s.Loads != loads || s.NegativeHits == 0 {
		t.Errorf("the second refusal asked Redis: %+v", s)
	}
	w.tenant(org, "soon")
	start := time.Now()
	w.eventually("the new host is served", func() bool { _, err := c.Lookup(t.Context(), "soon.example.com"); return err == nil })
	if d := time.Since(start); d > negativeTTL/2 {
		t.Errorf("served after %s: the refusal ran out instead of being ended", d)
	}
}

// Invariant 9: random host names reach neither Redis nor memory without bound.
func TestRandomHostFloodIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache(func(cfg *Config) { cfg.NotFoundPerSecond = 100 })
	w.tenant(w.org(), "hooli")
	mustLookup(t, c, "hooli.example.com")
	start := time.Now()
	unknown, refused := 0, 0
	for i := range 3000 {
		switch _, err := c.Lookup(t.Context(), fmt.Sprintf("flood-%d.example.com", i)); {
		case errors.Is(err, ErrUnknownHost):
			unknown++
		case errors.Is(err, ErrUnavailable):
			refused++
		default:
			t.Fatal(err)
		}
	}
	if allowed := 101 + int(100*time.Since(start).Seconds()); unknown > allowed {
		t.Errorf("%d names were asked of Redis in %s, %d allowed", unknown, time.Since(start), allowed)
	}
	if s := c.Stats(); refused == 0 || s.Throttled == 0 {
		t.Errorf("nothing was refused: %+v", s)
	}
	mustLookup(t, c, "hooli.example.com")
}

func TestNegativesAreBounded(t *testing.T) {
	var n negatives
	var s stripes
	n.reset()
	now := time.Now()
	for i := range maxNegatives + 1000 {
		n.put(fmt.Sprintf("n-%d", i), negative{until: now.Add(time.Second), err: ErrUnknownHost})
		n.put(fmt.Sprintf("n-%d", i), negative{until: now.Add(time.Second), err: ErrUnknownHost}) // again: no second place
	}
	if len(n.entries) != maxNegatives || len(n.queue) != maxNegatives {
		t.Errorf("%d entries, %d names", len(n.entries), len(n.queue))
	}
	if n.get("n-999", now, &s) != nil {
		t.Error("the oldest is still there")
	}
	if n.get("n-1000", now, &s) == nil || n.get(fmt.Sprintf("n-%d", maxNegatives+999), now, &s) == nil {
		t.Error("a newer one is gone")
	}
	if n.get("n-1000", now.Add(time.Second), &s) != nil {
		t.Error("one outlived its time")
	}
	since := s.note(7)
	n.put("x", negative{until: now.Add(time.Second), err: ErrUnknownHost, since: since})
	s.bump(7)
	if n.get("x", now, &s) != nil {
		t.Error("one outlived an entry that concerns it")
	}
	n.expire(now.Add(time.Minute), now)
	if len(n.entries) != 0 {
		t.Error("a past flood stays in memory")
	}
}

func TestHostTable(t *testing.T) {
	var table hostTable
	table.init()
	s := &slot{}
	const n = 5000
	entries := make([]*hostEntry, n)
	for i := range n {
		entries[i] = table.add(fmt.Sprintf("h%d", i), s)
	}
	for round := range 3 {
		for i := range n {
			if got := table.get(fmt.Sprintf("h%d", i)); got != entries[i] {
				t.Fatalf("round %d: h%d is %v", round, i, got)
			}
		}
		for i := round; i < n; i += 3 {
			table.remove(entries[i])
			if table.get(fmt.Sprintf("h%d", i)) != nil {
				t.Fatalf("h%d is there after its removal", i)
			}
		}
		for i := round; i < n; i += 3 {
			entries[i] = table.add(fmt.Sprintf("h%d", i), s)
		}
	}
	if table.live != n || table.get("h-1") != nil || table.get("") != nil {
		t.Errorf("%d live", table.live)
	}
	if cells := len(*table.cells.Load()); cells > 8*n {
		t.Errorf("%d cells for %d hosts: gravestones are never cleared", cells, n)
	}
}

// The bound on bytes holds, what is used stays, and what was evicted comes back.
func TestEvictionKeepsTheBoundAndWhatIsUsed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	org := w.org()
	const limit = 100 << 10
	c := w.cache(func(cfg *Config) { cfg.MaxBytes = limit; cfg.NotFoundPerSecond = 1 << 30 })
	docs := make([]*snapshotv1.TenantSnapshot, 150)
	for i := range docs {
		docs[i] = w.tenant(org, fmt.Sprintf("t%d", i))
	}
	hot := docs[0].GetHosts()[0]
	mustLookup(t, c, hot)
	for _, doc := range docs {
		mustLookup(t, c, doc.GetHosts()[0]).Metadata()
		mustLookup(t, c, hot).JWKS()
		if b := c.Stats().Bytes; b > limit+8<<10 {
			t.Fatalf("%d bytes cached, %d allowed", b, limit)
		}
	}
	s := c.Stats()
	if s.Evictions == 0 || s.Demotions == 0 || s.Tenants >= len(docs) || s.Compiled >= s.Tenants {
		t.Errorf("stats: %+v", s)
	}
	loads := c.Stats().Loads
	mustLookup(t, c, hot)
	if c.Stats().Loads != loads {
		t.Error("the hot tenant was evicted")
	}
	for _, doc := range docs {
		mustLookup(t, c, doc.GetHosts()[0])
	}
	// Nothing is counted twice or never: an empty cache counts nothing but what tenants share.
	c.mu.Lock()
	for _, slot := range c.slots {
		c.removeSlot(slot)
	}
	c.dropUnused(time.Now().Add(time.Hour))
	c.mu.Unlock()
	if b := c.Stats().Bytes; b != 0 {
		t.Errorf("an empty cache counts %d bytes", b)
	}
	if c.head != nil || c.tail != nil || c.hosts.live != 0 {
		t.Error("an empty cache is not empty")
	}
}

// A record that is kept alone is compiled without asking Redis, and hears of changes like any other.
func TestRawRecordIsRevivedAndKeptCurrent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	doc := w.tenant(w.org(), "hooli")
	mustLookup(t, c, "hooli.example.com")
	demote := func() {
		c.mu.Lock()
		c.demote(c.slots[tenantOf(doc)])
		c.mu.Unlock()
	}
	demote()
	loads := c.Stats().Loads
	mustLookup(t, c, "hooli.example.com")
	if c.Stats().Loads != loads {
		t.Error("reviving asked Redis")
	}
	demote()
	changes := c.Stats().Changes
	doc = next(doc)
	w.publish(w.item(doc))
	w.eventually("the entry is applied", func() bool { return c.Stats().Changes > changes })
	if got := mustLookup(t, c, "hooli.example.com"); got.ConfigVersion != 2 {
		t.Errorf("revived at version %d after version 2 was announced", got.ConfigVersion)
	}
}
