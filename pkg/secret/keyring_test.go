// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

func newRing(t testing.TB) *Keyring {
	t.Helper()
	k, err := NewKeyring(now)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestTenantSealRoundTrip(t *testing.T) {
	ring, tnt := newRing(t), id.NewTenant()
	keys := ring.Tenant(tnt)
	for _, plaintext := range [][]byte{nil, []byte("state"), bytes.Repeat([]byte{7}, 5000)} {
		sealed := keys.Seal("cookie", plaintext, []byte("aad"))
		if len(sealed) != len(plaintext)+sealOverhead || sealed[0] != ring.CurrentKeyID() {
			t.Errorf("%d bytes of %d, key %d", len(sealed), len(plaintext), sealed[0])
		}
		if got, err := ring.Tenant(tnt).Open("cookie", sealed, []byte("aad")); err != nil || !bytes.Equal(got, plaintext) {
			t.Errorf("%q, %v", got, err)
		}
	}
	if bytes.Equal(keys.Seal("cookie", nil, nil), keys.Seal("cookie", nil, nil)) {
		t.Error("the nonce does not change")
	}
}

func TestTenantOpenRefusesAnotherPlace(t *testing.T) {
	ring, tnt := newRing(t), id.NewTenant()
	sealed := ring.Tenant(tnt).Seal("cookie", []byte("x"), []byte("aad"))
	change := func(i int) []byte {
		b := bytes.Clone(sealed)
		b[i] ^= 1
		return b
	}
	for name, open := range map[string]func() ([]byte, error){
		"neighbouring tenant": func() ([]byte, error) { return ring.Tenant(id.NewTenant()).Open("cookie", sealed, []byte("aad")) },
		"another purpose":     func() ([]byte, error) { return ring.Tenant(tnt).Open("cookie2", sealed, []byte("aad")) },
		"another aad":         func() ([]byte, error) { return ring.Tenant(tnt).Open("cookie", sealed, []byte("aae")) },
		"another keyring":     func() ([]byte, error) { return newRing(t).Tenant(tnt).Open("cookie", sealed, []byte("aad")) },
		"key id":              func() ([]byte, error) { return ring.Tenant(tnt).Open("cookie", change(0), []byte("aad")) },
		"nonce":               func() ([]byte, error) { return ring.Tenant(tnt).Open("cookie", change(1), []byte("aad")) },
		"ciphertext":          func() ([]byte, error) { return ring.Tenant(tnt).Open("cookie", change(13), []byte("aad")) },
		"tag":                 func() ([]byte, error) { return ring.Tenant(tnt).Open("cookie", change(len(sealed)-1), []byte("aad")) },
		"cut":                 func() ([]byte, error) { return ring.Tenant(tnt).Open("cookie", sealed[:28], []byte("aad")) },
		"empty":               func() ([]byte, error) { return ring.Tenant(tnt).Open("cookie", nil, []byte("aad")) },
	} {
		if got, err := open(); !errors.Is(err, ErrSealBroken) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestMAC(t *testing.T) {
	ring, tnt := newRing(t), id.NewTenant()
	keys := ring.Tenant(tnt)
	mac := keys.MAC("refresh", []byte("ab"), []byte("c"))
	if !keys.VerifyMAC("refresh", mac[:], []byte("ab"), []byte("c")) || mac != keys.MAC("refresh", []byte("ab"), []byte("c")) {
		t.Error("own MAC refused")
	}
	for name, ok := range map[string]bool{
		"moved boundary":      keys.VerifyMAC("refresh", mac[:], []byte("a"), []byte("bc")),
		"one part":            keys.VerifyMAC("refresh", mac[:], []byte("abc")),
		"an empty part more":  keys.VerifyMAC("refresh", mac[:], []byte("ab"), []byte("c"), nil),
		"another purpose":     keys.VerifyMAC("refres", mac[:], []byte("ab"), []byte("c")),
		"neighbouring tenant": ring.Tenant(id.NewTenant()).VerifyMAC("refresh", mac[:], []byte("ab"), []byte("c")),
		"cut":                 keys.VerifyMAC("refresh", mac[:31], []byte("ab"), []byte("c")),
		"empty":               keys.VerifyMAC("refresh", nil, []byte("ab"), []byte("c")),
	} {
		if ok {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Sealed values and MACs outlive a process and its version, so their derivation is pinned, step by step and apart from the code.
func TestDerivationIsPinned(t *testing.T) {
	ring := newKeyring([]runtimeKey{{id: 3, created: now, secret: [32]byte{31: 9}}}, 3)
	tnt := id.Tenant{15: 7}
	expand := func(use string) []byte {
		info := "tenantry-runtime-v1" + use + string(tnt[:]) + "cookie"
		key, err := hkdf.Key(sha256.New, ring.keys[0].secret[:], nil, info, 32)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	h := hmac.New(sha256.New, expand("m"))
	h.Write([]byte("\x00\x00\x00\x00\x00\x00\x00\x02ab\x00\x00\x00\x00\x00\x00\x00\x01c"))
	if mac := ring.Tenant(tnt).MAC("cookie", []byte("ab"), []byte("c")); !hmac.Equal(mac[:], h.Sum(nil)) {
		t.Error("MAC is derived in another way")
	}
	block, err := aes.NewCipher(expand("s"))
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	sealed := ring.Tenant(tnt).Seal("cookie", []byte("x"), []byte("aad"))
	if got, err := gcm.Open(nil, sealed[1:13], sealed[13:], []byte("aad")); err != nil || sealed[0] != 3 || string(got) != "x" {
		t.Errorf("sealed in another way: %v", err)
	}
}

func TestRotation(t *testing.T) {
	tnt := id.NewTenant()
	one := newRing(t)
	sealed, mac := one.Tenant(tnt).Seal("p", []byte("x"), nil), one.Tenant(tnt).MAC("p", []byte("x"))
	both, added, err := one.Add(now.Add(time.Hour))
	if err != nil || both.CurrentKeyID() != one.CurrentKeyID() || added == one.CurrentKeyID() {
		t.Fatalf("%v, %v", both, err)
	}
	moved, err := both.Activate(added)
	if err != nil || moved.CurrentKeyID() != added {
		t.Fatal(err)
	}
	// A replica that is a step behind opens what one ahead makes, and the other way round.
	if _, err := both.Tenant(tnt).Open("p", moved.Tenant(tnt).Seal("p", []byte("y"), nil), nil); err != nil {
		t.Errorf("staged key does not open: %v", err)
	}
	if _, err := moved.Tenant(tnt).Open("p", sealed, nil); err != nil || !moved.Tenant(tnt).VerifyMAC("p", mac[:], []byte("x")) {
		t.Errorf("old values are lost: %v", err)
	}
	// A generation of a refresh token is computed again under the key it names.
	if again, err := moved.Tenant(tnt).MACWith(one.CurrentKeyID(), "p", []byte("x")); err != nil || again != mac {
		t.Errorf("MACWith: %v", err)
	}
	if moved.Tenant(tnt).MAC("p", []byte("x")) == mac {
		t.Error("the new key makes the old MAC")
	}
	if _, err := moved.Remove(added); err == nil {
		t.Error("the current key was removed")
	}
	last, err := moved.Remove(one.CurrentKeyID())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := last.Tenant(tnt).Open("p", sealed, nil); !errors.Is(err, ErrSealBroken) || last.Tenant(tnt).VerifyMAC("p", mac[:], []byte("x")) {
		t.Errorf("a removed key still opens: %v", err)
	}
	for _, err := range []error{second(last.Activate(77)), second(last.Remove(77)), second(last.Tenant(tnt).MACWith(77, "p"))} {
		if !errors.Is(err, ErrUnknownKey) {
			t.Errorf("unknown key: %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestKeyIDsGoRound(t *testing.T) {
	k, used := newRing(t), map[uint8]bool{1: true}
	for range 254 {
		next, added, err := k.Add(now)
		if err != nil || added == 0 || used[added] {
			t.Fatalf("id %d, %v", added, err)
		}
		used[added] = true
		if next, err = next.Activate(added); err != nil {
			t.Fatal(err)
		}
		if k, err = next.Remove(k.CurrentKeyID()); err != nil {
			t.Fatal(err)
		}
	}
	if _, added, err := k.Add(now); err != nil || added != 1 {
		t.Errorf("after 255 comes %d, %v", added, err)
	}
	for k = newRing(t); len(k.keys) < maxRuntimeKeys; {
		var err error
		if k, _, err = k.Add(now); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := k.Add(now); err == nil {
		t.Error("no bound on keys")
	}
}

func TestKeyringFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyring.json")
	one := newRing(t)
	both, _, err := one.Add(now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(one.Save(path), both.Save(path)); err != nil {
		t.Fatal(err)
	}
	back, err := LoadKeyring(path)
	if err != nil || fmt.Sprint(back.Keys()) != fmt.Sprint(both.Keys()) {
		t.Fatalf("%v, want %v: %v", back, both, err)
	}
	tnt := id.NewTenant()
	if _, err := back.Tenant(tnt).Open("p", both.Tenant(tnt).Seal("p", nil, nil), nil); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(content string, mode os.FileMode) string {
		p := filepath.Join(t.TempDir(), "k.json")
		if err := os.WriteFile(p, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	newest, err := LoadKeyring(write(strings.Replace(string(text), `"current": 1,`, "", 1), 0o600))
	if err != nil || newest.CurrentKeyID() != 2 {
		t.Errorf("without current the newest signs: %v, %v", newest, err)
	}
	if _, err := LoadKeyring(write(string(text), 0o440)); err != nil {
		t.Errorf("a mounted secret that the group reads: %v", err)
	}
	for name, p := range map[string]string{
		"readable by all":    write(string(text), 0o604),
		"writable by group":  write(string(text), 0o600),
		"another kind":       write(strings.Replace(string(text), kindKeyring, kindPublicKey, 1), 0o600),
		"current names none": write(strings.Replace(string(text), `"current": 1`, `"current": 9`, 1), 0o600),
		"id 0":               write(strings.Replace(string(text), `"id": 2`, `"id": 0`, 1), 0o600),
		"id twice":           write(strings.Replace(string(text), `"id": 2`, `"id": 1`, 1), 0o600),
		"id above a byte":    write(strings.Replace(string(text), `"id": 2`, `"id": 256`, 1), 0o600),
		"short key":          write(strings.Replace(string(text), `"key": "`, `"key": "AAAA","key":"AA`, 1), 0o600),
		"no keys":            write(`{"kind":"`+kindKeyring+`","keys":[]}`, 0o600),
		"no created":         write(strings.Replace(string(text), now.Format(time.RFC3339), "0001-01-01T00:00:00Z", 1), 0o600),
	} {
		if name == "writable by group" {
			if err := os.Chmod(p, 0o620); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := LoadKeyring(p); !errors.Is(err, ErrKeyFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// More tenants than the cache holds, from many goroutines: bounded, and never another tenant's key.
func TestDerivedCacheIsBoundedAndRight(t *testing.T) {
	ring := newRing(t)
	fresh := *ring
	fresh.cache = newDerivedCache()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 4000 {
				tnt := id.NewTenant()
				if ring.Tenant(tnt).MAC("p") != fresh.Tenant(tnt).MAC("p") || ring.Tenant(tnt).MAC("p") == ring.Tenant(tnt).MAC("q") {
					t.Error("derivations differ")
				}
			}
		})
	}
	wg.Wait()
	n := 0
	for i := range ring.cache.shards {
		n += len(ring.cache.shards[i].young) + len(ring.cache.shards[i].old)
	}
	if n > 16*2*cacheGeneration || n < 16*cacheGeneration/2 {
		t.Errorf("%d derivations are kept", n)
	}
}

func TestDerivedCacheKeepsWhatIsUsed(t *testing.T) {
	ring, tnt := newRing(t), id.NewTenant()
	d := ring.Tenant(tnt).derive(&ring.keys[0], "p")
	for range 20 * cacheGeneration * 16 / 10 {
		ring.Tenant(id.NewTenant()).MAC("p")
		if ring.Tenant(tnt).derive(&ring.keys[0], "p") != d {
			t.Fatal("a derivation in use was dropped")
		}
	}
}

// Whatever comes back from a browser, Open neither panics nor opens it.
func FuzzTenantOpen(f *testing.F) {
	ring, tnt := newRing(f), id.NewTenant()
	good := ring.Tenant(tnt).Seal("p", []byte("x"), nil)
	f.Add(good[1:])
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Equal(data, good) {
			return
		}
		if got, err := ring.Tenant(tnt).Open("p", data, nil); err == nil || got != nil {
			t.Fatalf("%x opens", data)
		}
		if ring.Tenant(tnt).VerifyMAC("p", data, data) {
			t.Fatalf("%x is a MAC", data)
		}
	})
}

func BenchmarkTenantKeys(b *testing.B) {
	ring, tnt := newRing(b), id.NewTenant()
	plaintext := make([]byte, 200)
	sealed := ring.Tenant(tnt).Seal("p", plaintext, nil)
	b.Run("Seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ring.Tenant(tnt).Seal("p", plaintext, nil)
		}
	})
	b.Run("Open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ring.Tenant(tnt).Open("p", sealed, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("MAC", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ring.Tenant(tnt).MAC("p", plaintext[:32])
		}
	})
	b.Run("Seal of a cold tenant", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ring.Tenant(id.NewTenant()).Seal("p", plaintext, nil)
		}
	})
}
