// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package keyfiles_test

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/services/internal/keyfiles"
)

// everything reads all files below a directory, with their modes.
func everything(t *testing.T, dir keyfiles.Dir) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(string(dir), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		info, infoErr := entry.Info()
		all[strings.TrimPrefix(path, string(dir)+"/")] = info.Mode().String() + " " + string(text)
		return errors.Join(err, infoErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestInitStackTwiceChangesNothing(t *testing.T) {
	dir := keyfiles.Dir(t.TempDir())
	made, err := keyfiles.InitStack(dir, "local", now)
	if err != nil {
		t.Fatal(err)
	}
	before := everything(t, dir)
	if len(before) != len(made) {
		t.Errorf("%d files, and %d are named: %v", len(before), len(made), made)
	}
	for name, text := range before {
		if !strings.HasPrefix(text, "-rw-------") && name != "snapshot-pins.json" && !strings.HasSuffix(name, ".pub") {
			t.Errorf("%s has mode %.10s", name, text)
		}
	}
	if made, err = keyfiles.InitStack(dir, "local", now.Add(time.Hour)); err != nil || len(made) != 0 {
		t.Fatalf("made %v, %v", made, err)
	}
	for name, text := range everything(t, dir) {
		if before[name] != text {
			t.Errorf("a second run changed %s", name)
		}
	}
}

// An operator who loses an address gets it again, with the password that the server knows.
func TestDerivedFilesAreMadeAgainFromThePasswords(t *testing.T) {
	dir := keyfiles.Dir(t.TempDir())
	if _, err := keyfiles.InitStack(dir, "local", now); err != nil {
		t.Fatal(err)
	}
	before := everything(t, dir)
	for _, name := range []string{"identity.url", "redis-config.acl"} {
		if err := os.Remove(filepath.Join(string(dir), name)); err != nil {
			t.Fatal(err)
		}
	}
	if made, err := keyfiles.InitStack(dir, "local", now); err != nil || len(made) != 2 {
		t.Fatalf("made %v, %v", made, err)
	}
	for name, text := range everything(t, dir) {
		if before[name] != text {
			t.Errorf("%s is another now", name)
		}
	}
}

func TestAccessListsHoldNoPassword(t *testing.T) {
	dir := keyfiles.Dir(t.TempDir())
	if _, err := keyfiles.InitStack(dir, "local", now); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	all := everything(t, dir)
	for name, text := range all {
		if !strings.HasSuffix(name, ".password") {
			continue
		}
		password := strings.TrimSpace(text[len("-rw------- "):])
		if len(password) < 26 { // 130 bits in base 32
			t.Errorf("%s is short", name)
		}
		if other, again := seen[password]; again {
			t.Errorf("%s and %s are the same", name, other)
		}
		seen[password] = name
		for _, list := range []string{"redis-config.acl", "redis-runtime.acl"} {
			if strings.Contains(all[list], password) {
				t.Errorf("%s holds %s", list, name)
			}
		}
	}
}

func TestSelfSignedPairsLoadAndALostHalfIsToldOf(t *testing.T) {
	dir := keyfiles.Dir(t.TempDir())
	if _, err := keyfiles.InitStack(dir, "local", now); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(string(dir), name) }
	pair, err := tls.LoadX509KeyPair(in("grpc.crt"), in("grpc.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := pair.Leaf.VerifyHostname("localhost"); err != nil {
		t.Error(err)
	}
	if edge, err := tls.LoadX509KeyPair(in("edge/tls.crt"), in("edge/tls.key")); err != nil {
		t.Error(err)
	} else if err := edge.Leaf.VerifyHostname("hooli.localhost"); err != nil {
		t.Error(err)
	}
	if err := os.Remove(in("grpc.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := keyfiles.InitStack(dir, "local", now); !errors.Is(err, keyfiles.ErrOrphan) {
		t.Errorf("a certificate without its key: %v", err)
	}
}

func TestShareWithLetsTheGroupReadAndNobodyElse(t *testing.T) {
	dir := keyfiles.Dir(t.TempDir())
	if _, err := keyfiles.InitStack(dir, "local", now); err != nil {
		t.Fatal(err)
	}
	if err := keyfiles.ShareWith(dir, os.Getgid()); err != nil {
		t.Fatal(err)
	}
	for name, text := range everything(t, dir) {
		if !strings.HasPrefix(text, "-rw-r-----") {
			t.Errorf("%s has mode %.10s", name, text)
		}
	}
	if info, err := os.Stat(string(dir)); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("the directory has mode %v, %v", info.Mode(), err)
	}
}
