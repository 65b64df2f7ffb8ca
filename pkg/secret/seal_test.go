// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newKey(t testing.TB, region, purpose string) PrivateKey {
	t.Helper()
	k, err := GeneratePrivateKey(region, purpose, now)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func place() AAD {
	return AAD{Purpose: PurposeSigning, Tenant: id.NewTenant(), KeyID: id.NewSigningKey().String(), Algorithm: "ES256"}
}

func TestSealOpensInEveryAllowedRegion(t *testing.T) {
	local, other, recovery := newKey(t, "local", PurposeSigning), newKey(t, "eu-1", PurposeSigning), newKey(t, "vault", PurposeRecovery)
	aad, secret := place(), []byte("a PKCS #8 key")
	s, err := Seal([]PublicKey{local.Public(), other.Public(), recovery.Public()}, aad, secret)
	if err != nil {
		t.Fatal(err)
	}
	for region, k := range map[string]PrivateKey{"local": local, "eu-1": other, "vault": recovery} {
		if got, err := NewOpener(region, k).Open(aad, s); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("%s: %q, %v", region, got, err)
		}
	}
	// The same through JSON, as a store may keep it.
	text, err := json.Marshal(s)
	if err != nil || bytes.Contains(text, secret) {
		t.Fatalf("%s, %v", text, err)
	}
	var back Sealed
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if got, err := NewOpener("local", local).Open(aad, back); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("through JSON: %v", err)
	}
}

func TestOpenerWithoutTheRightKey(t *testing.T) {
	local := newKey(t, "local", PurposeSigning)
	aad := place()
	s, err := Seal([]PublicKey{local.Public()}, aad, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	relabelled := local
	relabelled.Purpose = PurposeConnection
	for name, o := range map[string]*Opener{
		"no key":                 NewOpener("local"),
		"new key only":           NewOpener("local", newKey(t, "local", PurposeSigning)),
		"another region":         NewOpener("eu-1", local),
		"login's key":            NewOpener("local", newKey(t, "local", PurposeConnection)),
		"key of another purpose": NewOpener("local", relabelled),
	} {
		if got, err := o.Open(aad, s); !errors.Is(err, ErrNoWrap) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	// During a rotation a process holds both keys.
	if _, err := NewOpener("local", newKey(t, "local", PurposeSigning), local).Open(aad, s); err != nil {
		t.Errorf("old and new key: %v", err)
	}
}

func TestSealedValueInAnotherPlaceDoesNotOpen(t *testing.T) {
	local := newKey(t, "local", PurposeSigning)
	aad := place()
	s, err := Seal([]PublicKey{local.Public()}, aad, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	o := NewOpener("local", local)
	for name, change := range map[string]func(*AAD){
		"another tenant":            func(a *AAD) { a.Tenant = id.NewTenant() },
		"another key id":            func(a *AAD) { a.KeyID += "x" },
		"another algorithm":         func(a *AAD) { a.Algorithm = "RS256" },
		"bytes between two members": func(a *AAD) { a.KeyID, a.Algorithm = a.KeyID+"E", "S256" },
	} {
		moved := aad
		change(&moved)
		if _, err := o.Open(moved, s); !errors.Is(err, ErrSealBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*Sealed){
		"ciphertext":            func(s *Sealed) { s.Ciphertext[20] ^= 1 },
		"cut ciphertext":        func(s *Sealed) { s.Ciphertext = s.Ciphertext[:5] },
		"no ciphertext":         func(s *Sealed) { s.Ciphertext = nil },
		"wrap":                  func(s *Sealed) { s.Wraps[0].Ciphertext[0] ^= 1 },
		"encapsulated key":      func(s *Sealed) { s.Wraps[0].Encapsulated[0] ^= 1 },
		"zero encapsulated key": func(s *Sealed) { clear(s.Wraps[0].Encapsulated) },
		"no encapsulated key":   func(s *Sealed) { s.Wraps[0].Encapsulated = nil },
		"too many wraps":        func(s *Sealed) { s.Wraps = append(s.Wraps, make([]Wrap, maxWraps)...) },
	} {
		changed := Sealed{Ciphertext: bytes.Clone(s.Ciphertext), Wraps: []Wrap{s.Wraps[0]}}
		changed.Wraps[0].Ciphertext = bytes.Clone(s.Wraps[0].Ciphertext)
		changed.Wraps[0].Encapsulated = bytes.Clone(s.Wraps[0].Encapsulated)
		change(&changed)
		if _, err := o.Open(aad, changed); !errors.Is(err, ErrSealBroken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A broken wrap in front does not hide a whole one.
	broken := s.Wraps[0]
	broken.Ciphertext = make([]byte, len(broken.Ciphertext))
	if _, err := o.Open(aad, Sealed{Ciphertext: s.Ciphertext, Wraps: []Wrap{broken, s.Wraps[0]}}); err != nil {
		t.Errorf("second wrap: %v", err)
	}
}

func TestSealRefusesRecipientsOfAnotherPurpose(t *testing.T) {
	signing, login := newKey(t, "local", PurposeSigning), newKey(t, "local", PurposeConnection)
	if _, err := Seal([]PublicKey{signing.Public(), login.Public()}, place(), nil); !errors.Is(err, ErrPurpose) {
		t.Errorf("signing key sealed for login: %v", err)
	}
	aad := place()
	aad.Purpose = "other"
	if _, err := Seal([]PublicKey{signing.Public()}, aad, nil); !errors.Is(err, ErrPurpose) {
		t.Errorf("unknown purpose: %v", err)
	}
	if _, err := Seal(nil, place(), nil); err == nil {
		t.Error("sealed for nobody")
	}
	if _, err := Seal([]PublicKey{{Purpose: PurposeSigning}}, place(), nil); err == nil {
		t.Error("sealed for a key that is none")
	}
	for _, bad := range [][2]string{{"", PurposeSigning}, {"local", "other"}, {strings.Repeat("r", 65), PurposeSigning}} {
		if _, err := GeneratePrivateKey(bad[0], bad[1], now); err == nil {
			t.Errorf("generated for %q", bad)
		}
	}
}

func TestRecipientKeyFiles(t *testing.T) {
	dir := t.TempDir()
	k := newKey(t, "local", PurposeSigning)
	private, public := filepath.Join(dir, "signing.key.json"), filepath.Join(dir, "signing.pub.json")
	if err := errors.Join(k.Save(private), k.Public().Save(public), k.Public().Save(public)); err != nil {
		t.Fatal(err)
	}
	if err := k.Save(private); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a private key was replaced: %v", err)
	}
	if info, err := os.Stat(private); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("files left: %v", left)
	}
	back, err := LoadPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := LoadPublicKey(public)
	if err != nil || pub.KeyID != k.KeyID || !pub.Created.Equal(now) {
		t.Fatalf("%+v, %v", pub, err)
	}
	aad := place()
	s, err := Seal([]PublicKey{pub}, aad, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewOpener("local", back).Open(aad, s); err != nil {
		t.Errorf("keys from files do not fit: %v", err)
	}
	text, err := os.ReadFile(private)
	if err != nil {
		t.Fatal(err)
	}
	other := newKey(t, "local", PurposeSigning)
	for name, content := range map[string]string{
		"empty":             "",
		"not JSON":          "BEGIN PRIVATE KEY",
		"unknown member":    strings.Replace(string(text), "{", `{"x":1,`, 1),
		"two values":        string(text) + "{}",
		"another kind":      strings.Replace(string(text), kindPrivateKey, kindKeyring, 1),
		"another kem":       strings.Replace(string(text), kemName, "P-256", 1),
		"no region":         strings.Replace(string(text), `"local"`, `""`, 1),
		"another purpose":   strings.Replace(string(text), `"signing"`, `"x"`, 1),
		"another's key id":  strings.Replace(string(text), k.KeyID, other.KeyID, 1),
		"key not base64url": strings.Replace(string(text), `"private_key": "`, `"private_key": "=`, 1),
		"key cut":           strings.Replace(string(text), `"private_key": "`, `"private_key": "","public_key":"`, 1),
		"too large":         string(text) + strings.Repeat(" ", maxKeyFile),
	} {
		path := filepath.Join(t.TempDir(), "k.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadPrivateKey(path); !errors.Is(err, ErrKeyFile) && !errors.Is(err, ErrPurpose) && name != "no region" || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := LoadPublicKey(private); !errors.Is(err, ErrKeyFile) {
		t.Errorf("a private key where the public one belongs: %v", err)
	}
	if err := os.Chmod(private, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadPrivateKey(private); !errors.Is(err, ErrKeyFile) || !strings.Contains(err.Error(), "chmod 0600") {
		t.Errorf("world-readable key: %v", err)
	}
	if _, err := LoadPrivateKey(dir); !errors.Is(err, ErrKeyFile) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := LoadPrivateKey(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
}

func TestPrintingDoesNotShowKeys(t *testing.T) {
	k := newKey(t, "local", PurposeSigning)
	raw, err := k.key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	ring, err := NewKeyring(now)
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%v %+v %#v %s %v %+v %#v %v", k, k, k, k, ring, ring, ring, ring.Tenant(id.NewTenant()))
	for _, secret := range [][]byte{raw, ring.keys[0].secret[:]} {
		for _, form := range []string{strings.Trim(fmt.Sprintf("%d", secret[:8]), "[]"), fmt.Sprintf("%x", secret[:8])} {
			if strings.Contains(printed, form) {
				t.Errorf("a secret in %s", printed)
			}
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	k, aad, secret := newKey(b, "local", PurposeSigning), place(), make([]byte, 138)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Seal([]PublicKey{k.Public()}, aad, secret); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k, aad := newKey(b, "local", PurposeSigning), place()
	s, err := Seal([]PublicKey{k.Public()}, aad, make([]byte, 138))
	if err != nil {
		b.Fatal(err)
	}
	o := NewOpener("local", k)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := o.Open(aad, s); err != nil {
			b.Fatal(err)
		}
	}
}
