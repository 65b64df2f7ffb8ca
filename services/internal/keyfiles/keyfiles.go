// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package keyfiles makes the key files of an installation: what `tenantry keys init` writes for an operator, and
// `tenantry dev` for itself.
//
// It owns their names and who gets which; the formats belong to pkg/secret and pkg/snapshot. It never replaces a file: a lost
// private key means sealed tenant keys that nobody can open, so that a second run only adds what is missing and can be made
// from what is there.
//
//	file                  who reads it                            secret
//	snapshot-signing.key  control (publisher)                     yes
//	snapshot-pins.json    login, token                            no
//	region-signing.key    token                                   yes
//	region-signing.pub    control                                 no
//	recovery.key          nobody: keep it offline                 yes
//	recovery.pub          control                                 no
//	runtime-keyring.json  login, token                            yes
//	page-tokens.key       control                                 yes
package keyfiles

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
)

// Dir is the directory of an installation's key files.
type Dir string

// SnapshotSigning is the key that the publisher signs snapshots with.
func (d Dir) SnapshotSigning() string { return d.file("snapshot-signing.key") }

// SnapshotPins is the public half of it, which the data plane demands.
func (d Dir) SnapshotPins() string { return d.file("snapshot-pins.json") }

// RegionSigning is the private key that opens tenants' signing keys.
func (d Dir) RegionSigning() string { return d.file("region-signing.key") }

// RegionSigningPublic is its public half, for which tenants' signing keys are sealed.
func (d Dir) RegionSigningPublic() string { return d.file("region-signing.pub") }

// Recovery is the private key for the day when a region's key is lost.
func (d Dir) Recovery() string { return d.file("recovery.key") }

// RecoveryPublic is its public half, for which everything is sealed as well.
func (d Dir) RecoveryPublic() string { return d.file("recovery.pub") }

// Keyring is the runtime keyring of the data plane.
func (d Dir) Keyring() string { return d.file("runtime-keyring.json") }

// PageTokens is the secret that authenticates page tokens of lists.
func (d Dir) PageTokens() string { return d.file("page-tokens.key") }

func (d Dir) file(name string) string { return filepath.Join(string(d), name) }

// signer is the number of the first snapshot signing key; its successors count on.
const signer = 1

// Init makes the files that are missing and returns their names. It fails when a public half is there without its private
// half: a new pair would not fit what was sealed for the old one.
func Init(d Dir, region string, now time.Time) (made []string, err error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, err
	}
	step := func(err error, name string) error {
		if err == nil {
			made = append(made, filepath.Base(name))
		}
		return err
	}
	if err := d.snapshotPair(region, step); err != nil {
		return made, err
	}
	for _, pair := range []struct{ private, public, purpose string }{
		{d.RegionSigning(), d.RegionSigningPublic(), secret.PurposeSigning},
		{d.Recovery(), d.RecoveryPublic(), secret.PurposeRecovery},
	} {
		if err := sealingPair(pair.private, pair.public, pair.purpose, region, now, step); err != nil {
			return made, err
		}
	}
	if missing, err := absent(d.Keyring()); err != nil {
		return made, err
	} else if missing {
		ring, err := secret.NewKeyring(now)
		if err != nil {
			return made, err
		}
		if err := step(ring.Save(d.Keyring()), d.Keyring()); err != nil {
			return made, err
		}
	}
	if missing, err := absent(d.PageTokens()); err != nil {
		return made, err
	} else if missing {
		var raw [32]byte
		_, _ = rand.Read(raw[:]) // never fails
		if err := step(writeNew(d.PageTokens(), []byte(hex.EncodeToString(raw[:])+"\n")), d.PageTokens()); err != nil {
			return made, err
		}
	}
	return made, nil
}

func (d Dir) snapshotPair(region string, step func(error, string) error) error {
	missing, err := absent(d.SnapshotSigning())
	if err != nil {
		return err
	}
	if missing {
		if orphan, err := absent(d.SnapshotPins()); err != nil {
			return err
		} else if !orphan {
			return orphaned(d.SnapshotPins(), d.SnapshotSigning())
		}
		key, err := snapshot.GenerateSigningKey(region, signer)
		if err != nil {
			return err
		}
		if err := step(key.Save(d.SnapshotSigning()), d.SnapshotSigning()); err != nil {
			return err
		}
	}
	if missing, err := absent(d.SnapshotPins()); err != nil || !missing {
		return err
	}
	key, err := snapshot.LoadSigningKey(d.SnapshotSigning())
	if err != nil {
		return err
	}
	verifier, err := snapshot.NewVerifier(key.Region(), key.Public())
	if err != nil {
		return err
	}
	return step(verifier.Save(d.SnapshotPins()), d.SnapshotPins())
}

func sealingPair(private, public, purpose, region string, now time.Time, step func(error, string) error) error {
	missing, err := absent(private)
	if err != nil {
		return err
	}
	if missing {
		if orphan, err := absent(public); err != nil {
			return err
		} else if !orphan {
			if purpose == secret.PurposeRecovery {
				return nil // as it should be: the private half is kept elsewhere
			}
			return orphaned(public, private)
		}
		key, err := secret.GeneratePrivateKey(region, purpose, now)
		if err != nil {
			return err
		}
		if err := step(key.Save(private), private); err != nil {
			return err
		}
	}
	if missing, err := absent(public); err != nil || !missing {
		return err
	}
	key, err := secret.LoadPrivateKey(private)
	if err != nil {
		return err
	}
	return step(key.Public().Save(public), public)
}

// ErrOrphan: the public half of a key is there, and the private one is not.
var ErrOrphan = errors.New("private key file is missing")

func orphaned(public, private string) error {
	return fmt.Errorf("%w: %s belongs to %s; put that back, or use an empty directory", ErrOrphan, public, private)
}

func absent(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
