// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/tenantry/tenantry/pkg/id"
)

// cheap keeps tests fast; the mechanism does not depend on the costs.
var cheap = Argon2Params{MemoryKiB: 64, Time: 1, Threads: 1}

func TestPasswordRoundTrip(t *testing.T) {
	ctx, tnt := t.Context(), id.NewTenant()
	h := NewHasher(Argon2Params{}, 1, 1)
	phc, err := h.Hash(ctx, tnt, "correct horse")
	if err != nil || !strings.HasPrefix(phc, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("%s, %v", phc, err)
	}
	if ok, rehash, err := h.Verify(ctx, tnt, phc, "correct horse"); !ok || rehash || err != nil {
		t.Errorf("right password: %v %v %v", ok, rehash, err)
	}
	if ok, rehash, err := h.Verify(ctx, tnt, phc, "correct horse "); ok || rehash || err != nil {
		t.Errorf("wrong password: %v %v %v", ok, rehash, err)
	}
	again, err := h.Hash(ctx, tnt, "correct horse")
	if err != nil || again == phc {
		t.Error("the salt does not change")
	}
	if err := h.VerifyAbsent(ctx, tnt, "correct horse"); err != nil {
		t.Error(err)
	}
}

// The answer of the reference implementation for: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32 -e
func TestVerifyForeignString(t *testing.T) {
	const phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	h := NewHasher(cheap, 1, 1)
	if ok, rehash, err := h.Verify(t.Context(), id.NewTenant(), phc, "password"); !ok || !rehash || err != nil {
		t.Errorf("%v %v %v", ok, rehash, err)
	}
	if ok, rehash, err := h.Verify(t.Context(), id.NewTenant(), phc, "Password"); ok || rehash || err != nil {
		t.Errorf("%v %v %v", ok, rehash, err)
	}
}

func TestVerifyAbsentTakesTheTimeOfVerify(t *testing.T) {
	ctx, tnt := t.Context(), id.NewTenant()
	h := NewHasher(Argon2Params{MemoryKiB: 8 * 1024}, 1, 1)
	phc, err := h.Hash(ctx, tnt, "x")
	if err != nil {
		t.Fatal(err)
	}
	// The least of alternating runs leaves the noise of other processes out; on a busy machine that takes more of them.
	known, absent := time.Hour, time.Hour
	for round := 0; round < 8 || round < 60 && outside(absent, known); round++ {
		begin := time.Now()
		_, _, _ = h.Verify(ctx, tnt, phc, "wrong")
		between := time.Now()
		_ = h.VerifyAbsent(ctx, tnt, "wrong")
		known, absent = min(known, between.Sub(begin)), min(absent, time.Since(between))
	}
	if outside(absent, known) {
		t.Errorf("absent user %v, known user %v", absent, known)
	}
}

func outside(a, b time.Duration) bool { return a*10 < b*8 || a*8 > b*10 }

func TestParsePHCRefuses(t *testing.T) {
	const good = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if _, err := parsePHC(good); err != nil {
		t.Fatal(err)
	}
	h := NewHasher(cheap, 1, 1)
	for name, r := range map[string][2]string{
		"another function":      {"argon2id", "argon2i"},
		"another version":       {"v=19", "v=16"},
		"no version":            {"v=19$", ""},
		"memory of a gigabyte":  {"m=64", "m=1048576"},
		"memory overflow":       {"m=64", "m=4294967360"},
		"too little memory":     {"m=64", "m=7"},
		"leading zero":          {"m=64", "m=064"},
		"sign":                  {"m=64", "m=+64"},
		"no passes":             {"t=1", "t=0"},
		"endless passes":        {"t=1", "t=4000000"},
		"no lanes":              {"p=1", "p=0"},
		"lanes overflow a byte": {"p=1", "p=257"},
		"another order":         {"m=64,t=1", "t=1,m=64"},
		"more parameters":       {"p=1", "p=1,keyid=x"},
		"short salt":            {"c29tZXNhbHQ", "c29t"},
		"padded salt":           {"c29tZXNhbHQ", "c29tZXNhbHQ="},
		"trailing bits":         {"c29tZXNhbHQ", "c29tZXNhbHR"},
		"short key":             {"CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "CTFhFdXP"},
		"no key":                {"$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", ""},
		"empty key":             {"CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", ""},
		"line break":            {"c29t", "c29t\n"},
		"more after the key":    {"RPPc", "RPPc$x"},
		"empty":                 {good, ""},
		"endless":               {"RPPc", strings.Repeat("A", 4096)},
	} {
		bad := strings.Replace(good, r[0], r[1], 1)
		if ok, rehash, err := h.Verify(t.Context(), id.Tenant{}, bad, "password"); ok || rehash || !errors.Is(err, ErrPHC) {
			t.Errorf("%s: %q: %v %v %v", name, bad, ok, rehash, err)
		}
	}
}

// What parses prints the same bytes.
func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$argon2id$v=19$m=65536,t=16,p=16$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5Q")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parsePHC(text)
		if err != nil {
			return
		}
		if s.String() != text {
			t.Fatalf("%q prints %q", text, s)
		}
		if err := s.params.Validate(); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

func TestArgon2ParamsValidate(t *testing.T) {
	if err := (Argon2Params{}).Validate(); err != nil {
		t.Error(err)
	}
	for _, p := range []Argon2Params{{MemoryKiB: 64*1024 + 1}, {Time: 17}, {Threads: 17}, {MemoryKiB: 8, Threads: 2}} {
		if p.Validate() == nil {
			t.Errorf("%+v is accepted", p)
		}
	}
}

// blocked fills the slots, so that a test sees who is next.
func blocked(t *testing.T, slots, queue int) *fairSlots {
	t.Helper()
	f := newFairSlots(slots, queue)
	for range slots {
		if err := f.acquire(t.Context(), id.NewTenant()); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// wait starts a waiter and returns when it stands in line.
func wait(t *testing.T, ctx context.Context, f *fairSlots, tenant id.Tenant, done func(error)) {
	t.Helper()
	f.mu.Lock()
	before := 0
	if l := f.lines[tenant]; l != nil {
		before = l.length
	}
	f.mu.Unlock()
	go func() { done(f.acquire(ctx, tenant)) }()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Microsecond) {
		f.mu.Lock()
		l := f.lines[tenant]
		in := l != nil && l.length > before
		f.mu.Unlock()
		if in {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the waiter does not come into line")
		}
	}
}

func TestFloodOfOneTenantDoesNotStarveAnother(t *testing.T) {
	f := blocked(t, 1, 1000)
	flood, victim, third := id.NewTenant(), id.NewTenant(), id.NewTenant()
	order := make(chan id.Tenant, 2000)
	refused := make(chan id.Tenant, 2000)
	enter := func(tenant id.Tenant) func(error) {
		return func(err error) {
			if err != nil {
				refused <- tenant
				return
			}
			order <- tenant
		}
	}
	for range 1000 {
		wait(t, t.Context(), f, flood, enter(flood))
	}
	// The queue is full of one tenant's logins. Its next one is turned away …
	if err := f.acquire(t.Context(), flood); !errors.Is(err, ErrBusy) {
		t.Fatalf("1001st of the flood: %v", err)
	}
	// … and another tenant's first one is let in, at the cost of the flood's newest.
	wait(t, t.Context(), f, victim, enter(victim))
	if who := <-refused; who != flood {
		t.Fatal("the flood does not pay")
	}
	wait(t, t.Context(), f, third, enter(third))
	<-refused
	if n := f.waiting(); n != 1000 {
		t.Errorf("%d waiting", n)
	}
	// Turns go round: flood, victim, third, then flood alone.
	var got []id.Tenant
	for range 5 {
		f.release()
		got = append(got, <-order)
	}
	want := []id.Tenant{flood, victim, third, flood, flood}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("turn %d is wrong: %v, want %v", i, got, want)
		}
	}
	for range 995 {
		f.release()
		<-order
	}
	f.release()
	if f.free != 1 || f.room != 1000 || len(f.lines) != 0 || f.next != nil {
		t.Errorf("not empty at the end: %+v", f)
	}
}

func TestLateTenantWaitsForOneTurnOfEachOther(t *testing.T) {
	f := blocked(t, 1, 100)
	tenants := []id.Tenant{id.NewTenant(), id.NewTenant(), id.NewTenant()}
	order := make(chan id.Tenant, 100)
	for range 5 {
		for _, tnt := range tenants {
			wait(t, t.Context(), f, tnt, func(error) { order <- tnt })
		}
	}
	f.release() // the first tenant has had its turn, so the ring stands at the second
	<-order
	late := id.NewTenant()
	wait(t, t.Context(), f, late, func(error) { order <- late })
	for turn := 1; ; turn++ {
		f.release()
		if <-order == late {
			if turn != 4 {
				t.Errorf("turn %d", turn)
			}
			return
		}
	}
}

func TestCancelledWaiterLeavesTheLine(t *testing.T) {
	f := blocked(t, 1, 10)
	tnt := id.NewTenant()
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	wait(t, ctx, f, tnt, func(err error) { gone <- err })
	served := make(chan error, 1)
	wait(t, t.Context(), f, tnt, func(err error) { served <- err })
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if n := f.waiting(); n != 1 {
		t.Errorf("%d waiting", n)
	}
	f.release()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := f.acquire(ctx, tnt); !errors.Is(err, context.Canceled) {
		t.Errorf("acquire with a dead context: %v", err)
	}
}

// Everything at once: no slot is lost, and never are more taken than there are.
func TestSlotsUnderContention(t *testing.T) {
	const slots = 3
	f := newFairSlots(slots, 20)
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		inside int
	)
	tenants := []id.Tenant{id.NewTenant(), id.NewTenant(), id.NewTenant(), id.NewTenant(), id.NewTenant()}
	for i := range 60 {
		wg.Go(func() {
			for n := range 200 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration((i*n)%50)*time.Microsecond)
				if err := f.acquire(ctx, tenants[(i*i+n)%len(tenants)]); err == nil {
					mu.Lock()
					if inside++; inside > slots {
						t.Error("too many inside")
					}
					mu.Unlock()
					if n%7 == 0 {
						time.Sleep(time.Microsecond)
					}
					mu.Lock()
					inside--
					mu.Unlock()
					f.release()
				} else if !errors.Is(err, ErrBusy) && !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if f.free != slots || f.room != 20 || len(f.lines) != 0 || f.next != nil {
		t.Errorf("at the end: free %d, room %d, lines %d", f.free, f.room, len(f.lines))
	}
}

func TestHasherWithoutQueueIsBusy(t *testing.T) {
	h := NewHasher(cheap, 1, -1)
	if err := h.slots.acquire(t.Context(), id.Tenant{}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Hash(t.Context(), id.NewTenant(), "x"); !errors.Is(err, ErrBusy) {
		t.Errorf("Hash: %v", err)
	}
	if _, _, err := h.Verify(t.Context(), id.NewTenant(), "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5Q", "x"); !errors.Is(err, ErrBusy) {
		t.Errorf("Verify: %v", err)
	}
	if err := h.VerifyAbsent(t.Context(), id.NewTenant(), "x"); !errors.Is(err, ErrBusy) {
		t.Errorf("VerifyAbsent: %v", err)
	}
	h.slots.release()
	if _, err := h.Hash(t.Context(), id.NewTenant(), "x"); err != nil {
		t.Errorf("Hash after release: %v", err)
	}
}

// The yardstick is argon2 itself, with as many goroutines as the Hasher has workers.
func BenchmarkHasher(b *testing.B) {
	p := Argon2Params{}.withDefaults()
	b.Run("bare", func(b *testing.B) {
		salt := make([]byte, saltLen)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				argon2.IDKey([]byte("correct horse"), salt, p.Time, p.MemoryKiB, p.Threads, keyLen)
			}
		})
	})
	b.Run("ours", func(b *testing.B) {
		h := NewHasher(p, 0, 1000)
		tenants := []id.Tenant{id.NewTenant(), id.NewTenant(), id.NewTenant()}
		phc, err := h.Hash(b.Context(), tenants[0], "correct horse")
		if err != nil {
			b.Fatal(err)
		}
		b.SetParallelism(32)
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if ok, _, err := h.Verify(b.Context(), tenants[i%3], phc, "correct horse"); !ok || err != nil {
					b.Error(ok, err)
				}
			}
		})
	})
}
