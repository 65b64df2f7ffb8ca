// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

func (w *world) watcher() *Watcher {
	w.t.Helper()
	watcher := NewWatcher(w.connect(), nil)
	watcher.Start(context.WithoutCancel(w.t.Context()))
	w.t.Cleanup(watcher.Stop)
	return watcher
}

func TestWatcherSeesAChangeInRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	org := w.org()
	early := w.tenant(org, "early") // before anybody watched
	watcher := w.watcher()
	doc := testTenant(t, id.Org(org.GetOrgId()), "hooli")

	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := watcher.Wait(short, tenantOf(doc), 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a wait for what was not published: %v", err)
	}
	done := make(chan error, 3)
	for range 3 {
		go func() { done <- watcher.Wait(t.Context(), tenantOf(doc), 1) }()
	}
	w.publish(w.item(doc))
	for range 3 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := watcher.Wait(t.Context(), tenantOf(doc), 1); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if err := watcher.Wait(t.Context(), tenantOf(early), 1); err != nil {
		t.Errorf("published before the watcher began: %v", err)
	}
	watcher.mu.Lock()
	defer watcher.mu.Unlock()
	if len(watcher.waiters) != 0 {
		t.Errorf("%d waiters left", len(watcher.waiters))
	}
}

func TestWaitEverywhereWaitsForEveryLiveReplica(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	org := w.org()
	doc := w.tenant(org, "hooli")
	a := w.cache(func(cfg *Config) { cfg.Replica, cfg.Build = "a", "v1" })
	b := w.cache(func(cfg *Config) { cfg.Replica = "b" })
	mustLookup(t, a, "hooli.example.com")
	mustLookup(t, b, "hooli.example.com")
	watcher := w.watcher()
	w.eventually("both have reported", func() bool { return len(watcher.Fleet()) == 2 })

	doc = next(doc)
	w.publish(w.item(doc))
	if err := watcher.WaitEverywhere(t.Context(), tenantOf(doc), 2); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Cache{a, b} {
		if got := mustLookup(t, c, "hooli.example.com"); got.ConfigVersion != 2 {
			t.Errorf("version %d is served after EVERYTHING", got.ConfigVersion)
		}
	}
	if f := watcher.Fleet(); f[0].Name != "a" || !f[0].Live || f[0].Build != "v1" || f[0].ReaderLevel != ReaderLevel || f[0].Epoch != w.epoch {
		t.Errorf("fleet: %+v", f)
	}
	// A replica that reports and does not apply holds it up; one that has left, or is silent, does not.
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				body := strings.ReplaceAll(laggingReport, "COUNT", strconv.FormatInt(time.Now().UnixMilli(), 10))
				w.rdb.HSet(context.Background(), fleetKey, "lagging", body)
			}
		}
	}()
	w.eventually("the lagging replica is seen", func() bool { return len(watcher.Fleet()) == 3 })
	doc = next(doc)
	w.publish(w.item(doc))
	short, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	if err := watcher.WaitEverywhere(short, tenantOf(doc), 3); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("EVERYTHING was reached with a lagging replica: %v", err)
	}
	close(stop)
	time.Sleep(100 * time.Millisecond)
	w.rdb.HDel(t.Context(), fleetKey, "lagging")
	b.Stop()
	if err := watcher.WaitEverywhere(t.Context(), tenantOf(doc), 3); err != nil {
		t.Error(err)
	}
	if got := mustLookup(t, a, "hooli.example.com"); got.ConfigVersion != 3 {
		t.Errorf("version %d", got.ConfigVersion)
	}
}

const laggingReport = `{"seen":COUNT,"lanes":["1-0","1-0","1-0","1-0","1-0","1-0","1-0","1-0"],"reader":1,"reports":COUNT}`

func TestConsistencyTokenReadsYourWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	org := w.org()
	// A replica that hears nothing of changes: Redis answers it, its streams do not come.
	deaf, err := Open(Config{Redis: w.connect(), Verifier: testVerifier(t)})
	if err != nil {
		t.Fatal(err)
	}
	deaf.begin(Meta{Epoch: w.epoch, Complete: true})
	key := testKeys().signing

	wantLookup(t, deaf, "hooli.example.com", ErrUnknownHost) // remembered
	doc := w.tenant(org, "hooli")
	wantLookup(t, deaf, "hooli.example.com", ErrUnknownHost)
	tenant := tenantOf(doc)
	got, err := deaf.Fresh(t.Context(), "hooli.example.com", key.ConsistencyToken(tenant, 1))
	if err != nil || got.ID != tenant {
		t.Fatalf("with a token, right after sign-up: %v, %v", got, err)
	}
	doc = next(doc)
	w.publish(w.item(doc))
	if got := mustLookup(t, deaf, "hooli.example.com"); got.ConfigVersion != 1 {
		t.Fatal("this replica was to be deaf")
	}
	loads := deaf.Stats().Loads
	text := key.ConsistencyToken(tenant, 2)
	stranger := testKeys().stranger.ConsistencyToken(tenant, 9)
	elsewhere := testKeys().elsewhere.ConsistencyToken(tenant, 9)
	for name, token := range map[string]string{
		"empty": "", "junk": "abc", "long": strings.Repeat("A", 10_000), "stranger": stranger, "region": elsewhere,
		"altered": text[:30] + flipLetter(text[30:31]) + text[31:], "current": key.ConsistencyToken(tenant, 1),
	} {
		if got, err := deaf.Fresh(t.Context(), "hooli.example.com", token); err != nil || got.ConfigVersion != 1 {
			t.Errorf("%s token: %v, %v", name, got, err)
		}
	}
	if deaf.Stats().Loads != loads {
		t.Error("a token that is worth nothing made the replica ask Redis")
	}
	if got, err := deaf.Fresh(t.Context(), "hooli.example.com", text); err != nil || got.ConfigVersion != 2 {
		t.Errorf("with the token of version 2: %v, %v", got, err)
	}
	if got, err := deaf.Fresh(t.Context(), "hooli.example.com", key.ConsistencyToken(tenant, 3)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("with the token of a version that Redis does not have: %v, %v", got, err)
	}
	// A token for another tenant says nothing about this host.
	other := w.tenant(org, "raviga")
	if got, err := deaf.Fresh(t.Context(), "hooli.example.com", key.ConsistencyToken(tenantOf(other), 1)); err != nil || got.ID != tenant {
		t.Errorf("with another tenant's token: %v, %v", got, err)
	}
}

func flipLetter(s string) string {
	if s == "A" {
		return "B"
	}
	return "A"
}

func TestServerThatMayEvictIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	set := func(k, v string) {
		if err := w.rdb.ConfigSet(t.Context(), k, v).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("maxmemory-policy", "noeviction")
	if err := w.writer.CheckServer(t.Context()); err != nil {
		t.Error(err)
	}
	set("maxmemory-policy", "allkeys-lru")
	if err := w.writer.CheckServer(t.Context()); !errors.Is(err, ErrEvicts) {
		t.Errorf("allkeys-lru: %v", err)
	}
	set("maxmemory-policy", "noeviction")
	set("maxmemory", "1mb")
	if err := w.writer.CheckServer(t.Context()); !errors.Is(err, ErrMemory) {
		t.Errorf("full: %v", err)
	}
}

func TestEpochs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fresh := NewEpoch()
	if ok, err := w.writer.BeginEpoch(t.Context(), "not this", fresh); ok || err != nil {
		t.Errorf("an epoch was begun over another: %v, %v", ok, err)
	}
	if ok, err := w.writer.BeginEpoch(t.Context(), w.epoch, fresh); !ok || err != nil {
		t.Errorf("begin: %v, %v", ok, err)
	}
	if m, err := w.writer.Meta(t.Context()); err != nil || m != (Meta{Epoch: fresh, Layout: layoutVersion}) {
		t.Errorf("%+v, %v", m, err)
	}
	if ok, err := w.writer.SetComplete(t.Context(), w.epoch); ok || err != nil {
		t.Errorf("the old epoch was completed: %v, %v", ok, err)
	}
	if ok, err := w.writer.SetComplete(t.Context(), fresh); !ok || err != nil {
		t.Errorf("complete: %v, %v", ok, err)
	}
	w.rdb.FlushAll(t.Context())
	if ok, err := w.writer.SetComplete(t.Context(), ""); ok || err != nil {
		t.Errorf("a flushed server was completed: %v, %v", ok, err)
	}
}
