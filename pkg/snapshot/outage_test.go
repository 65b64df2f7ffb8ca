// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/pkg/id"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// Invariant 5: a flushed Redis makes nobody unknown. What is cached is served, the rest is unavailable until a republish under a
// new epoch is complete.
func TestFlushedRedisIsUnavailableNotUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	org := w.org()
	warm, cold := w.tenant(org, "warm"), w.tenant(org, "cold")
	mustLookup(t, c, "warm.example.com")
	wantLookup(t, c, "nobody.example.com", ErrUnknownHost)

	if err := w.rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		mustLookup(t, c, "warm.example.com")
		wantLookup(t, c, "cold.example.com", ErrUnavailable)
	}
	if _, err := c.Tenant(t.Context(), tenantOf(cold)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("by id: %v", err)
	}
	// The publisher notices and begins; nothing is complete yet.
	w.open()
	w.eventually("the new epoch is followed", func() bool { return c.Stats().Epoch == w.epoch })
	wantLookup(t, c, "cold.example.com", ErrUnavailable)
	wantLookup(t, c, "nobody.example.com", ErrUnavailable)
	mustLookup(t, c, "warm.example.com")

	w.publish(w.orgItem(org), w.item(cold))
	w.eventually("what is republished is served", func() bool { _, err := c.Lookup(t.Context(), "cold.example.com"); return err == nil })
	w.publish(w.item(warm))
	if ok, err := w.writer.SetComplete(t.Context(), w.epoch); err != nil || !ok {
		t.Fatal(ok, err)
	}
	w.eventually("absence is believed again", func() bool {
		_, err := c.Lookup(t.Context(), "nobody.example.com")
		return errors.Is(err, ErrUnknownHost)
	})
	mustLookup(t, c, "warm.example.com")
	w.eventually("the replica says so", func() bool { s := c.Stats(); return s.Complete && s.Epoch == w.epoch })
}

// A Redis restored from a backup holds records that are signed and old. What a replica has seen is the floor.
func TestRestoredBackupDoesNotTakeAReplicaBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	org := w.org()
	doc := w.tenant(org, "hooli")
	old := w.item(doc)
	doc = next(doc)
	w.publish(w.item(doc))
	if got := mustLookup(t, c, "hooli.example.com"); got.ConfigVersion != 2 {
		t.Fatalf("version %d", got.ConfigVersion)
	}
	w.rdb.FlushAll(t.Context())
	w.begin()
	w.publish(w.orgItem(org), old)
	w.eventually("the new epoch is followed", func() bool { return c.Stats().Epoch == w.epoch })
	for range 20 {
		if got := mustLookup(t, c, "hooli.example.com"); got.ConfigVersion != 2 {
			t.Fatalf("went back to version %d", got.ConfigVersion)
		}
	}
	// Also once the tenant has been evicted: its version is remembered.
	c.mu.Lock()
	c.removeSlot(c.slots[tenantOf(doc)])
	c.mu.Unlock()
	wantLookup(t, c, "hooli.example.com", ErrUnavailable)
	w.eventually("the rollback is reported", func() bool { return reported(t, w, tenantOf(doc), "ROLLBACK") })
}

// What was missed while a replica was cut off from the streams is found by comparing versions, not by flushing.
func TestTrimmedStreamIsNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	org := w.org()
	docs := map[string]*snapshotv1.TenantSnapshot{}
	var cut gate
	c := w.cache(func(cfg *Config) { cfg.Redis.AddHook(&cut) })
	for i := range 20 {
		doc := w.tenant(org, fmt.Sprintf("t%d", i))
		docs[doc.GetHosts()[0]] = doc
		mustLookup(t, c, doc.GetHosts()[0])
	}
	closed := w.tenant(org, "closed")
	mustLookup(t, c, "closed.example.com")
	w.eventually("all entries are applied", func() bool { return c.Stats().Changes >= 21 })
	before := c.Stats()

	cut.shut.Store(true)
	for host, doc := range docs {
		docs[host] = next(doc)
		w.publish(w.item(docs[host]))
	}
	closed = next(closed)
	closed.State = snapshotv1.TenantState_TENANT_STATE_SUSPENDED
	w.publish(w.item(closed))
	w.eventually("the replica has tried to read", func() bool { return cut.refused.Load() > 0 })
	if got := mustLookup(t, c, "t0.example.com"); got.ConfigVersion != 1 {
		t.Fatal("the replica was to be cut off")
	}
	for lane := range Lanes {
		w.rdb.XTrimMaxLen(t.Context(), laneKey(lane), 0)
	}
	w.heartbeat(0, 0) // the lanes go on
	cut.shut.Store(false)
	for host := range docs {
		w.eventually("version 2 of "+host, func() bool { return mustLookup(t, c, host).ConfigVersion == 2 })
	}
	w.eventually("the suspension", func() bool {
		_, err := c.Lookup(t.Context(), "closed.example.com")
		return errors.Is(err, ErrUnknownHost)
	})
	if s := c.Stats(); s.Gaps == before.Gaps {
		t.Error("no gap was noticed")
	}
}

func TestPositionBehindATrimIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	applied := 0
	f := &follower{rdb: w.rdb, apply: func(_ context.Context, _ int, entries []streamEntry) { applied += len(entries) }}
	lanes := []int{2}
	add := func() string {
		at, err := w.rdb.XAdd(t.Context(), &redis.XAddArgs{Stream: laneKey(2), Values: []any{"b", "x"}}).Result()
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	first, second, third := add(), add(), add()
	for _, step := range []struct {
		name string
		at   string
		do   func()
		want bool
	}{
		{"at the beginning", first, func() {}, false},
		{"at the end", third, func() {}, false},
		{"empty lane when positioned", "0-0", func() {}, false},
		{"ours is the oldest left", second, func() { w.rdb.XTrimMaxLen(t.Context(), laneKey(2), 2) }, false},
		{"ours was trimmed", first, func() {}, true},
		{"the server went back", "99999999999999-0", func() {}, true},
		{"the lane is gone", third, func() { w.rdb.Del(t.Context(), laneKey(2)) }, true},
	} {
		step.do()
		if lost, err := f.lost(t.Context(), lanes, []string{step.at}); err != nil || lost != step.want {
			t.Errorf("%s: lost is %v, %v", step.name, lost, err)
		}
	}

	// A reader that is far behind is passed over what was trimmed without a word: it looks back at where it came from.
	at := add()
	f.last[2].Store(&at)
	for range readCount + 100 {
		add()
	}
	if n, behind, err := f.read(t.Context(), lanes); n != readCount || behind == nil || err != nil {
		t.Fatalf("read %d, behind %v, %v", n, behind, err)
	} else if lost, err := f.lost(t.Context(), lanes, behind); lost || err != nil {
		t.Errorf("behind, and nothing trimmed: %v, %v", lost, err)
	}
	if n, behind, err := f.read(t.Context(), lanes); n != 100 || behind != nil || err != nil {
		t.Errorf("the rest: %d, %v, %v", n, behind, err)
	}
	f.last[2].Store(&at)
	w.rdb.XTrimMaxLen(t.Context(), laneKey(2), readCount+50)
	if n, behind, err := f.read(t.Context(), lanes); n != readCount || behind == nil || err != nil {
		t.Fatalf("read %d, behind %v, %v", n, behind, err)
	} else if lost, err := f.lost(t.Context(), lanes, behind); !lost || err != nil {
		t.Errorf("behind, and passed over 50 entries: lost is %v, %v", lost, err)
	}
}

// A stalled Redis: hot tenants are served at once, cold ones refused within 350 ms, and soon without waiting at all.
func TestStalledRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	org := w.org()
	w.tenant(org, "hot")
	w.tenant(org, "cold")
	mustLookup(t, c, "hot.example.com")
	w.server.Pause()
	resumed := false
	resume := func() {
		if !resumed {
			resumed = true
			w.server.Resume()
		}
	}
	defer resume()

	start := time.Now()
	wantLookup(t, c, "cold.example.com", ErrUnavailable)
	if d := time.Since(start); d > 500*time.Millisecond {
		t.Errorf("a cold lookup was refused after %s", d)
	} else {
		t.Logf("a cold lookup was refused after %s", d)
	}
	start = time.Now()
	for range 1000 {
		mustLookup(t, c, "hot.example.com")
	}
	if d := time.Since(start); d > 200*time.Millisecond {
		t.Errorf("1,000 hot lookups took %s", d)
	}
	w.eventually("the breaker opens", func() bool { wantLookup(t, c, "cold.example.com", ErrUnavailable); return c.Stats().Refused > 0 })
	resume()
	w.eventually("cold tenants are served again", func() bool { _, err := c.Lookup(t.Context(), "cold.example.com"); return err == nil })
}

// A replica may start while Redis is down, and serves as soon as it is there.
func TestStartWithoutRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tenant(w.org(), "hooli")
	w.server.Pause()
	c, err := Open(Config{Redis: w.connect(), Verifier: testVerifier(t), Replica: "early"})
	if err != nil {
		t.Fatal(err)
	}
	c.Start(t.Context())
	defer c.Stop()
	wantLookup(t, c, "hooli.example.com", ErrUnavailable)
	w.server.Resume()
	w.eventually("it serves", func() bool { _, err := c.Lookup(t.Context(), "hooli.example.com"); return err == nil })
	c.Stop()
	c.Stop()
	mustLookup(t, c, "hooli.example.com")
}

func TestConfigurationThatIsTooOldIsNotServed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	org := w.org()
	strict := testTenant(t, id.Org(org.GetOrgId()), "strict")
	strict.MaxConfigAge = durationOfMinutes(2)
	w.publish(w.item(strict))
	w.tenant(org, "patient")
	w.heartbeat(0, 0)
	w.eventually("a heartbeat is heard", func() bool { return c.heard() && c.Stats().ConfigAge < time.Minute })
	mustLookup(t, c, "strict.example.com")
	mustLookup(t, c, "patient.example.com")

	// The publisher lives, and says that its oldest change waits for three minutes.
	w.heartbeat(0, 3*time.Minute)
	w.eventually("the strict tenant is refused", func() bool {
		_, err := c.Lookup(t.Context(), "strict.example.com")
		return errors.Is(err, ErrUnavailable)
	})
	mustLookup(t, c, "patient.example.com")
	c.mu.Lock()
	c.removeSlot(c.slots[tenantOf(strict)])
	c.mu.Unlock()
	wantLookup(t, c, "strict.example.com", ErrUnavailable) // cold, too
	if age := c.Stats().ConfigAge; age < 3*time.Minute {
		t.Errorf("the age of the configuration is %s", age)
	}
	// An old heartbeat shown again does not help.
	w.heartbeat(time.Minute, 0)
	w.heartbeat(0, 0)
	w.eventually("it is served again", func() bool { _, err := c.Lookup(t.Context(), "strict.example.com"); return err == nil })
}

func TestReplayedHeartbeatDoesNotMakeTheConfigurationLookFresh(t *testing.T) {
	c, _ := filled(t, 1)
	now := time.Now()
	beat := func(at time.Time) []byte {
		body, err := encodeHeartbeat(at, 0, "")
		if err != nil {
			t.Fatal(err)
		}
		raw, err := testKeys().signing.Sign(KindHeartbeat, heartbeatSubject(0), uint64(at.UnixMilli()), at, body)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	newest := beat(now)
	c.hear(0, beat(now.Add(-time.Hour)))
	c.hear(0, newest)
	c.hear(0, beat(now.Add(-30*time.Minute)))
	if got := c.lanes[0].heard.Load(); got != now.UnixMilli() {
		t.Errorf("last heard %d, want %d", got, now.UnixMilli())
	}
	c.hear(1, newest) // of another lane
	if c.lanes[1].beaten.Load() {
		t.Error("a heartbeat of another lane was taken")
	}
	for range 3 {
		c.updateAge(now.Add(time.Hour))
	}
	if age := c.Stats().ConfigAge; age < 59*time.Minute {
		t.Errorf("an hour later the age is %s", age)
	}
}

// A record signed more than 30 days ago is refused while the publisher lives, which would have signed it again; and kept when
// the control plane is dead.
func TestRecordOlderThan30DaysIsRefusedUnderALivingPublisher(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	org := w.org()
	doc := testTenant(t, id.Org(org.GetOrgId()), "hooli")
	it := w.item(doc)
	raw, err := testKeys().signing.Sign(KindTenant, tenantOf(doc), 1, time.Now().Add(-MaxRecordAge-time.Hour), it.Record[HeaderBytes:])
	if err != nil {
		t.Fatal(err)
	}
	it.Record = raw
	w.publish(it)

	dead := w.cache() // no heartbeat yet
	mustLookup(t, dead, "hooli.example.com")
	w.heartbeat(0, 0)
	alive := w.cache()
	w.eventually("heartbeats are heard", alive.heard)
	wantLookup(t, alive, "hooli.example.com", ErrUnavailable)
	w.eventually("it is reported", func() bool { return reported(t, w, tenantOf(doc), "EXPIRED") })
	w.publish(w.item(doc)) // signed again
	w.eventually("it is served", func() bool { _, err := alive.Lookup(t.Context(), "hooli.example.com"); return err == nil })
}
