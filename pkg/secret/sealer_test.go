// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// sealing is a Sealer with two recipients and the openers of both.
func sealing(t testing.TB) (s *Sealer, to []PublicKey, local, recovery *Opener) {
	a, b := newKey(t, "local", PurposeSigning), newKey(t, "vault", PurposeRecovery)
	return NewSealer(), []PublicKey{a.Public(), b.Public()}, NewOpener("local", a), NewOpener("vault", b)
}

func TestSealerValuesOpenInAnyOrderAndEachAlone(t *testing.T) {
	s, to, local, recovery := sealing(t)
	type value struct {
		aad AAD
		s   Sealed
	}
	var values []value
	for i := range 20 {
		aad := place()
		sealed, err := s.Seal(now, to, aad, fmt.Append(nil, "value ", i))
		if err != nil {
			t.Fatal(err)
		}
		values = append(values, value{aad, sealed})
	}
	if !bytes.Equal(values[0].s.Wraps[0].Encapsulated, values[19].s.Wraps[0].Encapsulated) {
		t.Error("a context was not used twice")
	}
	for i := len(values) - 1; i >= 0; i-- {
		for name, o := range map[string]*Opener{"region": local, "recovery": recovery} {
			if got, err := o.Open(values[i].aad, values[i].s); err != nil || string(got) != fmt.Sprint("value ", i) {
				t.Errorf("%s: value %d: %q, %v", name, i, got, err)
			}
		}
	}
	// The same place twice, and values of both forms beside each other.
	again, err := s.Seal(now, to, values[0].aad, []byte("value 0"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(again.Wraps[0].Ciphertext, values[0].s.Wraps[0].Ciphertext) || bytes.Equal(again.Ciphertext, values[0].s.Ciphertext) {
		t.Error("a nonce or a data key came twice")
	}
	if _, err := local.Open(values[0].aad, again); err != nil {
		t.Error(err)
	}
	own, err := Seal(to, values[0].aad, []byte("own"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := local.Open(values[0].aad, own); err != nil || string(got) != "own" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSealerValueInAnotherPlaceDoesNotOpen(t *testing.T) {
	s, to, local, _ := sealing(t)
	aad, other := place(), place()
	sealed, err := s.Seal(now, to, aad, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := s.Seal(now, to, other, []byte("y"))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Sealed){
		"ciphertext":             func(s *Sealed) { s.Ciphertext[20] ^= 1 },
		"wrap":                   func(s *Sealed) { s.Wraps[0].Ciphertext[15] ^= 1 },
		"no wrap":                func(s *Sealed) { s.Wraps[0].Ciphertext = nil },
		"encapsulated key":       func(s *Sealed) { s.Wraps[0].Encapsulated[9] ^= 1 },
		"zero encapsulated key":  func(s *Sealed) { clear(s.Wraps[0].Encapsulated[1:]) },
		"mark":                   func(s *Sealed) { s.Wraps[0].Encapsulated[0] = 3 },
		"no mark":                func(s *Sealed) { s.Wraps[0].Encapsulated = s.Wraps[0].Encapsulated[1:] },
		"wrap of another place":  func(s *Sealed) { s.Wraps[0] = foreign.Wraps[0] },
		"value of another place": func(s *Sealed) { s.Ciphertext = foreign.Ciphertext },
		"all of another place":   func(s *Sealed) { *s = foreign },
	} {
		changed := Sealed{Ciphertext: bytes.Clone(sealed.Ciphertext), Wraps: []Wrap{sealed.Wraps[0]}}
		changed.Wraps[0].Ciphertext = bytes.Clone(sealed.Wraps[0].Ciphertext)
		changed.Wraps[0].Encapsulated = bytes.Clone(sealed.Wraps[0].Encapsulated)
		change(&changed)
		if _, err := local.Open(aad, changed); !errors.Is(err, ErrSealBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	moved := aad
	moved.Algorithm = "RS256"
	if _, err := local.Open(moved, sealed); !errors.Is(err, ErrSealBroken) {
		t.Errorf("another algorithm: %v", err)
	}
	// A wrap that names another key or region is nobody's.
	relabelled := sealed
	relabelled.Wraps = []Wrap{sealed.Wraps[0]}
	relabelled.Wraps[0].Region = "eu-1"
	if _, err := local.Open(aad, relabelled); !errors.Is(err, ErrNoWrap) {
		t.Errorf("another region: %v", err)
	}
	// One form is not taken for the other: an own wrap with a mark, a shared one without.
	own, err := Seal(to, aad, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	own.Wraps[0].Encapsulated = append([]byte{sharedMark}, own.Wraps[0].Encapsulated...)
	own.Wraps = own.Wraps[:1]
	if _, err := local.Open(aad, own); !errors.Is(err, ErrSealBroken) {
		t.Errorf("an own wrap as a shared one: %v", err)
	}
}

func TestSealerReplacesItsContext(t *testing.T) {
	s, to, local, _ := sealing(t)
	aad := place()
	context := func(at time.Time) string {
		t.Helper()
		sealed, err := s.Seal(at, to[:1], aad, []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := local.Open(aad, sealed); err != nil {
			t.Fatal(err)
		}
		return string(sealed.Wraps[0].Encapsulated)
	}
	first := context(now)
	if context(now.Add(-time.Millisecond)) != first || context(now.Add(SealerLife-1)) != first {
		t.Error("a young context was replaced")
	}
	second := context(now.Add(SealerLife))
	if second == first {
		t.Error("an old context was used")
	}
	for i := 1; i < SealerUses; i++ {
		if context(now.Add(SealerLife)) != second {
			t.Fatalf("replaced after %d uses", i)
		}
	}
	if context(now.Add(SealerLife)) == second {
		t.Error("a context was used too often")
	}
	// Clocks that are set back do not keep one alive.
	third := context(now.Add(SealerLife))
	if context(now.Add(-time.Hour)) == third {
		t.Error("a context of the future was used")
	}
	// Recipients do not share one.
	two, err := s.Seal(now, to, aad, nil)
	if err != nil || bytes.Equal(two.Wraps[0].Encapsulated, two.Wraps[1].Encapsulated) {
		t.Errorf("recipients share a context, or %v", err)
	}
}

func TestSealerRefusesWhatSealRefuses(t *testing.T) {
	s := NewSealer()
	if _, err := s.Seal(now, []PublicKey{newKey(t, "local", PurposeConnection).Public()}, place(), nil); !errors.Is(err, ErrPurpose) {
		t.Errorf("signing key sealed for login: %v", err)
	}
	if _, err := s.Seal(now, []PublicKey{{Purpose: PurposeSigning}}, place(), nil); err == nil {
		t.Error("sealed for a key that is none")
	}
	if _, err := s.Seal(now, nil, place(), nil); err == nil {
		t.Error("sealed for nobody")
	}
	for range 3 * maxSenders {
		if _, err := s.Seal(now, []PublicKey{newKey(t, "local", PurposeSigning).Public()}, place(), nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.senders) > maxSenders {
		t.Errorf("%d contexts are kept", len(s.senders))
	}
}

func TestSealerIsSafeForConcurrentUse(t *testing.T) {
	s, to, local, _ := sealing(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				aad := place()
				sealed, err := s.Seal(now, to[:1], aad, []byte("x"))
				if err == nil {
					_, err = local.Open(aad, sealed)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkSealer(b *testing.B) {
	s, to, _, _ := sealing(b)
	aad, secret := place(), make([]byte, 138)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Seal(now, to[:1], aad, secret); err != nil {
			b.Fatal(err)
		}
	}
}
