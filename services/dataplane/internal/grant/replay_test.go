// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package grant

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// remembering is a rig whose Redis has been there for a minute.
func remembering(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	if err := r.store.Remember(t.Context(), time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	return r
}

func proof(parts ...string) Single {
	now := time.Now()
	s := Single{Kind: OnceProof, Issued: now, Until: now.Add(time.Minute)}
	copy(s.Parts[:], parts)
	return s
}

func TestOnceLetsOneThrough(t *testing.T) {
	r := remembering(t)
	one := proof("key", "jti")
	if err := r.store.Once(t.Context(), r.tenant, time.Now(), one); err != nil {
		t.Fatal(err)
	}
	if err := r.open(t).Once(t.Context(), r.tenant, time.Now(), one); !errors.Is(err, ErrReplayed) {
		t.Fatalf("the second one, at another replica: %v", err)
	}
	for name, other := range map[string]Single{
		"another jti":                    proof("key", "jti2"),
		"another key":                    proof("key2", "jti"),
		"the border between them moved":  proof("keyj", "ti"),
		"the same words, another kind":   {Kind: OnceAssertion, Parts: one.Parts, Issued: one.Issued, Until: one.Until},
		"the border to the kind moved":   {Kind: OnceProof + "key", Parts: [2]string{"", "jti"}, Issued: one.Issued, Until: one.Until},
		"it expired while it was judged": {Kind: OnceProof, Parts: [2]string{"late", "jti"}, Issued: one.Issued, Until: one.Issued.Add(-time.Hour)},
	} {
		if err := r.store.Once(t.Context(), r.tenant, time.Now(), other); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.store.Once(t.Context(), id.NewTenant(), time.Now(), one); err != nil {
		t.Errorf("the same words at another tenant: %v", err)
	}
}

// Many replicas are shown one proof at once.
func TestOnceHasOneWinner(t *testing.T) {
	r := remembering(t)
	one := proof("key", "raced")
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			switch err := r.store.Once(t.Context(), r.tenant, time.Now(), one); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, ErrReplayed):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d were let through", won.Load())
	}
}

func TestOnceMarkGoesWithWhatItMarks(t *testing.T) {
	r := remembering(t)
	if err := r.store.Once(t.Context(), r.tenant, time.Now(), proof("key", "jti")); err != nil {
		t.Fatal(err)
	}
	keys := r.raw.Keys(t.Context(), kindOnce+":{*").Val()
	if len(keys) != 1 || strings.Contains(keys[0], "jti") {
		t.Fatalf("keys %q", keys)
	}
	if ttl := r.raw.TTL(t.Context(), keys[0]).Val(); ttl <= 0 || ttl > time.Minute {
		t.Errorf("kept for %s", ttl)
	}
}

// PROMISES.md R-12: a flushed Redis accepts nothing that was used before the flush, and what is made afterwards works.
func TestOnceRefusesWhatIsOlderThanAFlush(t *testing.T) {
	r := remembering(t)
	used := proof("key", "used")
	if err := r.store.Once(t.Context(), r.tenant, time.Now(), used); err != nil {
		t.Fatal(err)
	}
	if err := r.raw.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	about := used
	about.Parts[1] = "made at about the flush"
	for range 2 { // the first finds no epoch, the second finds the first one's
		if err := r.store.Once(t.Context(), r.tenant, time.Now(), about); !errors.Is(err, ErrReplayed) {
			t.Fatalf("made before or after the flush, nobody can tell: %v", err)
		}
	}
	if err := r.store.Once(t.Context(), r.tenant, time.Now(), used); !errors.Is(err, ErrReplayed) {
		t.Fatalf("replayed after the flush: %v", err)
	}
	later := proof("key", "later")
	later.Issued = time.Now().Add(2 * time.Second)
	if err := r.store.Once(t.Context(), r.tenant, later.Issued, later); err != nil {
		t.Fatalf("made after the flush: %v", err)
	}
}

// PROMISES.md R-16: replay protection fails closed.
func TestOnceFailsClosed(t *testing.T) {
	r := remembering(t)
	r.link.set(true)
	for range 2 * breakerThreshold {
		if err := r.store.Once(t.Context(), r.tenant, time.Now(), proof("key", "jti")); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("with Redis away: %v", err)
		}
	}
}
