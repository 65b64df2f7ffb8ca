// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

func TestRecordLayout(t *testing.T) {
	k := testKeys().signing
	subject := [16]byte(id.NewTenant())
	at := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	raw, err := k.Sign(KindTenant, subject, 0x010203, at, []byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{0, 0, 0, 0, 0, 1, 2, 3, 0x6a, 0x10, 0x0a, 0x40, 1, 0, 1, 0}
	want[8], want[9], want[10], want[11] = byte(at.Unix()>>24), byte(at.Unix()>>16), byte(at.Unix()>>8), byte(at.Unix())
	if !bytes.Equal(raw[:16], want) || string(raw[80:]) != "body" {
		t.Errorf("header %x, want %x", raw[:16], want)
	}
	r, err := testVerifier(t).Verify(KindTenant, subject, raw)
	if err != nil || r.Version != 0x010203 || !r.SignedAt.Equal(at) || string(r.Body) != "body" || r.Signer != 1 || r.Subject != subject {
		t.Errorf("verified %+v, %v", r, err)
	}
	for name, f := range map[string]func() ([]byte, error){
		"tombstone with a body":  func() ([]byte, error) { return k.Sign(KindTombstone, subject, 1, at, []byte("x")) },
		"tenant without a body":  func() ([]byte, error) { return k.Sign(KindTenant, subject, 1, at, nil) },
		"oversized":              func() ([]byte, error) { return k.Sign(KindTenant, subject, 1, at, make([]byte, MaxBody+1)) },
		"version 0":              func() ([]byte, error) { return k.Sign(KindTenant, subject, 0, at, []byte("x")) },
		"version 2^53":           func() ([]byte, error) { return k.Sign(KindTenant, subject, 1<<53, at, []byte("x")) },
		"unknown kind":           func() ([]byte, error) { return k.Sign(9, subject, 1, at, []byte("x")) },
		"signed before 1970":     func() ([]byte, error) { return k.Sign(KindTenant, subject, 1, time.Unix(-1, 0), []byte("x")) },
		"signed after the epoch": func() ([]byte, error) { return k.Sign(KindTenant, subject, 1, time.Unix(1<<32, 0), []byte("x")) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s was signed", name)
		}
	}
}

func TestKeyRotationPinsBothKeys(t *testing.T) {
	old := testKeys().signing
	fresh, err := GenerateSigningKey(testRegion, 2)
	if err != nil {
		t.Fatal(err)
	}
	both, err := NewVerifier(testRegion, old.Public(), fresh.Public())
	if err != nil {
		t.Fatal(err)
	}
	after, err := NewVerifier(testRegion, fresh.Public())
	if err != nil {
		t.Fatal(err)
	}
	subject := [16]byte(id.NewTenant())
	for _, k := range []SigningKey{old, fresh} {
		raw, err := k.Sign(KindTombstone, subject, 1, time.Now(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := both.Verify(KindTombstone, subject, raw); err != nil {
			t.Errorf("key %d during the rotation: %v", k.Signer(), err)
		}
		if _, err := after.Verify(KindTombstone, subject, raw); (err == nil) != (k.Signer() == 2) {
			t.Errorf("key %d after the rotation: %v", k.Signer(), err)
		}
	}
	for name, pins := range map[string][]Pin{
		"none": nil, "short": {{Signer: 1, Public: []byte("x")}}, "twice": {old.Public(), old.Public()},
	} {
		if _, err := NewVerifier(testRegion, pins...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, region := range []string{"", "EU", "a b", "a\x00b", strings.Repeat("a", 65)} {
		if _, err := NewVerifier(region, old.Public()); err == nil {
			t.Errorf("region %q: accepted", region)
		}
		if _, err := GenerateSigningKey(region, 1); err == nil {
			t.Errorf("region %q: a key was made", region)
		}
	}
}

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	k := testKeys().signing
	private, pins := filepath.Join(dir, "signing.json"), filepath.Join(dir, "pins.json")
	if err := k.Save(private); err != nil {
		t.Fatal(err)
	}
	if err := k.Save(private); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a key was replaced: %v", err)
	}
	if err := testVerifier(t).Save(pins); err != nil {
		t.Fatal(err)
	}
	back, err := LoadSigningKey(private)
	if err != nil || !back.private.Equal(k.private) || back.Region() != testRegion || back.Signer() != 1 {
		t.Fatalf("%v, %v", back, err)
	}
	v, err := LoadVerifier(pins)
	if err != nil {
		t.Fatal(err)
	}
	subject := [16]byte(id.NewTenant())
	raw, err := back.Sign(KindTombstone, subject, 1, time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(KindTombstone, subject, raw); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(private); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for name, damage := range map[string]func(path string) error{
		"readable by all":   func(p string) error { return os.Chmod(p, 0o644) },
		"writable by group": func(p string) error { return os.Chmod(p, 0o660) },
		"unknown member": func(p string) error {
			return os.WriteFile(p, []byte(`{"kind":"tenantry-snapshot-signing-key","x":1}`), 0o600)
		},
		"another kind": func(p string) error { return os.WriteFile(p, []byte(`{"kind":"x"}`), 0o600) },
		"short key": func(p string) error {
			return os.WriteFile(p, []byte(`{"kind":"tenantry-snapshot-signing-key","region":"local","private_key":"AAAA"}`), 0o600)
		},
		"two values": func(p string) error {
			b, err := os.ReadFile(private)
			return errors.Join(err, os.WriteFile(p, append(b, "{}"...), 0o600))
		},
		"large":      func(p string) error { return os.WriteFile(p, make([]byte, maxKeyFile+1), 0o600) },
		"a link out": func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o700)) },
		"missing":    func(p string) error { return os.RemoveAll(p) },
	} {
		path := filepath.Join(dir, "damaged.json")
		os.RemoveAll(path) // may not be there
		if err := k.Save(path); err != nil {
			t.Fatal(err)
		}
		if err := damage(path); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadSigningKey(path); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
	if err := os.Chmod(pins, 0o666); err != nil { // on purpose
		t.Fatal(err)
	}
	if _, err := LoadVerifier(pins); !errors.Is(err, ErrKeyFile) {
		t.Errorf("pins that all may write: %v", err)
	}
	for _, text := range []string{k.String(), k.GoString()} {
		if strings.Contains(text, string(k.private.Seed())) || len(text) > 60 {
			t.Errorf("a key prints as %q", text)
		}
	}
}

func FuzzVerify(f *testing.F) {
	v := testVerifier(f)
	subject := [16]byte(id.NewTenant())
	good := sign(f, testKeys().signing, KindTenant, subject, 7, testOrg())
	f.Add(good)
	f.Add(good[:80])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := v.verifyTenant(subject, raw)
		if err == nil && !bytes.Equal(raw, good) {
			t.Fatalf("verified %+v", r)
		}
	})
}

func FuzzConsistencyToken(f *testing.F) {
	v := testVerifier(f)
	tenant := id.NewTenant()
	good := testKeys().signing.ConsistencyToken(tenant, 7)
	f.Add(good)
	f.Add(good[1:])
	f.Fuzz(func(t *testing.T, text string) {
		tok, ok := parseConsistencyToken(text)
		if ok && v.verifyToken(&tok) && text != good {
			t.Fatalf("verified %q", text)
		}
	})
	f.Add("")
}

func FuzzStreamID(f *testing.F) {
	f.Add("1700000000000-0")
	f.Add("0-0")
	f.Add("-")
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := parseStreamID(s)
		if ok && a.less(a) {
			t.Fatal("less than itself")
		}
	})
}
