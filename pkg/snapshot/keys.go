// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrKeyFile is wrapped by every complaint about the content or mode of a key file; the message names the file, never the key.
var ErrKeyFile = errors.New("snapshot: unusable key file")

const maxKeyFile = 64 << 10

// SigningKey signs the records of one region. Only publishers hold it.
type SigningKey struct {
	region  string
	signer  uint8
	private ed25519.PrivateKey
}

// GenerateSigningKey makes a key. signer is the byte by which records name it, so keys that are valid at the same time differ in it.
func GenerateSigningKey(region string, signer uint8) (SigningKey, error) {
	if err := checkRegion(region); err != nil {
		return SigningKey{}, err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return SigningKey{}, fmt.Errorf("snapshot: generate signing key: %w", err)
	}
	return SigningKey{region: region, signer: signer, private: private}, nil
}

// Region is the region whose records the key signs.
func (k SigningKey) Region() string { return k.region }

// Signer is the byte by which records name the key.
func (k SigningKey) Signer() uint8 { return k.signer }

// Public is what replicas pin.
func (k SigningKey) Public() Pin {
	if k.private == nil {
		return Pin{Signer: k.signer}
	}
	return Pin{Signer: k.signer, Public: bytes.Clone(k.private.Public().(ed25519.PublicKey))}
}

// String never shows the private half.
func (k SigningKey) String() string {
	return fmt.Sprintf("snapshot signing key %d of %s", k.signer, k.region)
}

// GoString is String.
func (k SigningKey) GoString() string { return k.String() }

// Pin is the public half of a SigningKey.
type Pin struct {
	Signer uint8  `json:"signer"`
	Public []byte `json:"public_key"` // 32 bytes, base64 in JSON
}

// Verifier verifies records of one region with a set of pinned keys. It is immutable and safe for concurrent use.
type Verifier struct {
	region string
	keys   map[uint8]ed25519.PublicKey
}

// NewVerifier pins keys for a region. During a rotation both the old and the new key are pinned.
func NewVerifier(region string, pins ...Pin) (*Verifier, error) {
	if err := checkRegion(region); err != nil {
		return nil, err
	}
	if len(pins) == 0 {
		return nil, errors.New("snapshot: no pinned key, so no record would ever verify")
	}
	v := &Verifier{region: region, keys: make(map[uint8]ed25519.PublicKey, len(pins))}
	for _, p := range pins {
		if len(p.Public) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("snapshot: pinned key %d has %d bytes, want %d", p.Signer, len(p.Public), ed25519.PublicKeySize)
		}
		if _, twice := v.keys[p.Signer]; twice {
			return nil, fmt.Errorf("snapshot: two pinned keys are called %d", p.Signer)
		}
		v.keys[p.Signer] = bytes.Clone(p.Public)
	}
	return v, nil
}

// Region is the region whose records verify.
func (v *Verifier) Region() string { return v.region }

// checkRegion keeps the region a separable part of the signed bytes.
func checkRegion(region string) error {
	if region == "" || len(region) > 64 || strings.ContainsFunc(region, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	}) {
		return fmt.Errorf("snapshot: region %q: want 1 to 64 of a-z, 0-9 and -", region)
	}
	return nil
}

type signingKeyFile struct {
	Kind   string `json:"kind"`
	Region string `json:"region"`
	Signer uint8  `json:"signer"`
	Seed   []byte `json:"private_key"`
}

type pinFile struct {
	Kind   string `json:"kind"`
	Region string `json:"region"`
	Keys   []Pin  `json:"keys"`
}

const (
	signingKeyKind = "tenantry-snapshot-signing-key"
	pinKind        = "tenantry-snapshot-pins"
)

// Save writes the private key as JSON with mode 0600. It never replaces a file (fs.ErrExist).
func (k SigningKey) Save(path string) error {
	return writeFile(path, signingKeyFile{Kind: signingKeyKind, Region: k.region, Signer: k.signer, Seed: k.private.Seed()}, 0o600, false)
}

// LoadSigningKey reads what Save wrote. A file that others may read, or the group may write, is refused.
func LoadSigningKey(path string) (SigningKey, error) {
	var f signingKeyFile
	if err := readFile(path, &f, 0o027); err != nil {
		return SigningKey{}, err
	}
	if f.Kind != signingKeyKind {
		return SigningKey{}, fmt.Errorf("%w: %s: kind is %q, want %q", ErrKeyFile, path, f.Kind, signingKeyKind)
	}
	if len(f.Seed) != ed25519.SeedSize {
		return SigningKey{}, fmt.Errorf("%w: %s: private_key is not an Ed25519 seed", ErrKeyFile, path)
	}
	if err := checkRegion(f.Region); err != nil {
		return SigningKey{}, fmt.Errorf("%w: %s: %w", ErrKeyFile, path, err)
	}
	return SigningKey{region: f.Region, signer: f.Signer, private: ed25519.NewKeyFromSeed(f.Seed)}, nil
}

// Save writes the pins as JSON with mode 0644, replacing the file as a whole.
func (v *Verifier) Save(path string) error {
	f := pinFile{Kind: pinKind, Region: v.region}
	for signer := range 256 {
		if key, ok := v.keys[uint8(signer)]; ok {
			f.Keys = append(f.Keys, Pin{Signer: uint8(signer), Public: key})
		}
	}
	return writeFile(path, f, 0o644, true)
}

// LoadVerifier reads what Verifier.Save wrote. A file that the group or others may write is refused: it decides what is believed.
func LoadVerifier(path string) (*Verifier, error) {
	var f pinFile
	if err := readFile(path, &f, 0o022); err != nil {
		return nil, err
	}
	if f.Kind != pinKind {
		return nil, fmt.Errorf("%w: %s: kind is %q, want %q", ErrKeyFile, path, f.Kind, pinKind)
	}
	v, err := NewVerifier(f.Region, f.Keys...)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrKeyFile, path, err)
	}
	return v, nil
}

func readFile(path string, into any, refused fs.FileMode) error {
	f, err := os.Open(path) // the path comes from the operator's configuration
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer f.Close() // read only
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	if mode := info.Mode(); !mode.IsRegular() {
		return fmt.Errorf("%w: %s: not a regular file", ErrKeyFile, path)
	} else if mode.Perm()&refused != 0 {
		return fmt.Errorf("%w: %s: mode %#o is too open", ErrKeyFile, path, mode.Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer clear(data)
	if len(data) > maxKeyFile {
		return fmt.Errorf("%w: %s: larger than 64 KiB", ErrKeyFile, path)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		// Not wrapped: encoding/json quotes the input in some of its errors.
		return fmt.Errorf("%w: %s: not the JSON of a key file", ErrKeyFile, path)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %s: something follows the JSON value", ErrKeyFile, path)
	}
	return nil
}

// writeFile leaves path whole or untouched, also after a crash.
func writeFile(path string, v any, mode fs.FileMode, replace bool) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer clear(data)
	tmp, err := os.CreateTemp(filepath.Dir(path), ".snapshot-*") // mode 0600
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer os.Remove(tmp.Name()) // gone already after a rename
	_, err = tmp.Write(append(data, '\n'))
	if err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("snapshot: write %s: %w", path, err)
	}
	if replace {
		err = os.Rename(tmp.Name(), path)
	} else {
		err = os.Link(tmp.Name(), path) // fails where the name exists, which Rename would not
	}
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return nil
}
