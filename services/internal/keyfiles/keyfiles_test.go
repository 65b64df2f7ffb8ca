// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package keyfiles_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/internal/keyfiles"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func TestInitMakesAWholeSetThatFits(t *testing.T) {
	dir := keyfiles.Dir(filepath.Join(t.TempDir(), "keys"))
	made, err := keyfiles.Init(dir, "local", now)
	if err != nil {
		t.Fatal(err)
	}
	if len(made) != 8 {
		t.Errorf("made %v", made)
	}
	signing, err := snapshot.LoadSigningKey(dir.SnapshotSigning())
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := snapshot.LoadVerifier(dir.SnapshotPins())
	if err != nil {
		t.Fatal(err)
	}
	if verifier.Region() != "local" || signing.Region() != "local" {
		t.Errorf("regions %q and %q", verifier.Region(), signing.Region())
	}
	for _, pair := range [][2]string{{dir.RegionSigning(), dir.RegionSigningPublic()}, {dir.Recovery(), dir.RecoveryPublic()}} {
		private, err := secret.LoadPrivateKey(pair[0])
		if err != nil {
			t.Fatal(err)
		}
		public, err := secret.LoadPublicKey(pair[1])
		if err != nil {
			t.Fatal(err)
		}
		if private.KeyID != public.KeyID {
			t.Errorf("%s is not the public half of %s", pair[1], pair[0])
		}
	}
	if _, err := secret.LoadKeyring(dir.Keyring()); err != nil {
		t.Error(err)
	}
	for _, file := range []string{dir.SnapshotSigning(), dir.RegionSigning(), dir.Recovery(), dir.Keyring(), dir.PageTokens()} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", filepath.Base(file), info.Mode().Perm())
		}
	}
}

func TestInitTwiceChangesNothing(t *testing.T) {
	dir := keyfiles.Dir(t.TempDir())
	if _, err := keyfiles.Init(dir, "local", now); err != nil {
		t.Fatal(err)
	}
	before := read(t, dir)
	made, err := keyfiles.Init(dir, "local", now.Add(time.Hour))
	if err != nil || len(made) != 0 {
		t.Fatalf("made %v, %v", made, err)
	}
	if after := read(t, dir); before != after {
		t.Error("a second run changed a key file")
	}
}

func TestALostPrivateKeyIsNotReplacedBehindItsPublicHalf(t *testing.T) {
	for _, lost := range []func(keyfiles.Dir) string{keyfiles.Dir.SnapshotSigning, keyfiles.Dir.RegionSigning} {
		dir := keyfiles.Dir(t.TempDir())
		if _, err := keyfiles.Init(dir, "local", now); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(lost(dir)); err != nil {
			t.Fatal(err)
		}
		if _, err := keyfiles.Init(dir, "local", now); !errors.Is(err, keyfiles.ErrOrphan) || !strings.Contains(err.Error(), filepath.Base(lost(dir))) {
			t.Errorf("%s: %v", filepath.Base(lost(dir)), err)
		}
	}
}

func TestTheRecoveryKeyMayBeTakenAway(t *testing.T) {
	dir := keyfiles.Dir(t.TempDir())
	if _, err := keyfiles.Init(dir, "local", now); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(dir.Recovery()); err != nil {
		t.Fatal(err)
	}
	if made, err := keyfiles.Init(dir, "local", now); err != nil || len(made) != 0 {
		t.Errorf("made %v, %v", made, err)
	}
}

func read(t *testing.T, dir keyfiles.Dir) string {
	t.Helper()
	var b strings.Builder
	entries, err := os.ReadDir(string(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(string(dir), e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(e.Name() + "\n" + string(text))
	}
	return b.String()
}
