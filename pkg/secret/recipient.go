// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package secret

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// PublicKey is the half of a recipient key that the control plane holds: whom a sealed value is wrapped for. The fields are read-only.
type PublicKey struct {
	Region  string // where the private half lives, for example "local"
	Purpose string // PurposeSigning, PurposeConnection or PurposeRecovery
	KeyID   string // derived from the key itself, so that a mislabelled file is noticed
	Created time.Time
	key     hpke.PublicKey
}

// PrivateKey is a whole recipient key: an X25519 key pair with its place. It has no String and no JSON form but its file.
type PrivateKey struct {
	Region  string
	Purpose string
	KeyID   string
	Created time.Time
	key     hpke.PrivateKey
}

// GeneratePrivateKey makes a recipient key for a region and one of the purposes.
func GeneratePrivateKey(region, purpose string, now time.Time) (PrivateKey, error) {
	k, err := kem().GenerateKey()
	if err != nil {
		return PrivateKey{}, fmt.Errorf("secret: generate recipient key: %w", err)
	}
	return newPrivateKey(region, purpose, now.UTC().Truncate(time.Second), k)
}

func newPrivateKey(region, purpose string, created time.Time, k hpke.PrivateKey) (PrivateKey, error) {
	if err := checkPlace(region, purpose); err != nil {
		return PrivateKey{}, err
	}
	return PrivateKey{Region: region, Purpose: purpose, KeyID: recipientKeyID(k.PublicKey()), Created: created, key: k}, nil
}

func checkPlace(region, purpose string) error {
	if region == "" || len(region) > 64 {
		return errors.New("secret: recipient key needs a region of 1 to 64 bytes")
	}
	switch purpose {
	case PurposeSigning, PurposeConnection, PurposeRecovery:
		return nil
	}
	return fmt.Errorf("%w: %q", ErrPurpose, purpose)
}

// Public is the half to give to the control plane.
func (k PrivateKey) Public() PublicKey {
	return PublicKey{Region: k.Region, Purpose: k.Purpose, KeyID: k.KeyID, Created: k.Created, key: k.key.PublicKey()}
}

// String names the key without its secret, which fmt and slog would otherwise reach through the fields.
func (k PrivateKey) String() string { return "recipient private key " + k.KeyID }

// GoString is String, for %#v.
func (k PrivateKey) GoString() string { return k.String() }

func recipientKeyID(k hpke.PublicKey) string {
	sum := sha256.Sum256(k.Bytes())
	return hex.EncodeToString(sum[:8])
}

func kem() hpke.KEM { return hpke.DHKEM(ecdh.X25519()) }

// recipientFile is the JSON form of both halves; one of the two keys is set.
type recipientFile struct {
	Kind       string    `json:"kind"`
	Region     string    `json:"region"`
	Purpose    string    `json:"purpose"`
	KeyID      string    `json:"key_id"`
	Created    time.Time `json:"created"`
	KEM        string    `json:"kem"`
	PublicKey  string    `json:"public_key,omitempty"`  // base64url, RFC 9180 SerializePublicKey
	PrivateKey string    `json:"private_key,omitempty"` // base64url, RFC 9180 SerializePrivateKey
}

const (
	kindPublicKey  = "tenantry-recipient-public-key"
	kindPrivateKey = "tenantry-recipient-private-key"
	kemName        = "X25519"
)

// Save writes the private key as JSON with mode 0600. It never replaces a file (fs.ErrExist): a lost region key is lost signing keys.
func (k PrivateKey) Save(path string) error {
	raw, err := k.key.Bytes()
	if err != nil {
		return fmt.Errorf("secret: encode recipient key: %w", err)
	}
	return writeKeyFile(path, recipientFile{
		Kind: kindPrivateKey, Region: k.Region, Purpose: k.Purpose, KeyID: k.KeyID, Created: k.Created, KEM: kemName,
		PrivateKey: base64.RawURLEncoding.EncodeToString(raw),
	}, 0o600, false)
}

// LoadPrivateKey reads what PrivateKey.Save wrote. A file that others than its owner and group may read is refused.
func LoadPrivateKey(path string) (PrivateKey, error) {
	f, raw, err := loadRecipient(path, kindPrivateKey, privateMode)
	if err != nil {
		return PrivateKey{}, err
	}
	defer clear(raw)
	key, err := kem().NewPrivateKey(raw)
	if err != nil {
		return PrivateKey{}, keyFileError(path, "private_key is not an X25519 key")
	}
	k, err := newPrivateKey(f.Region, f.Purpose, f.Created, key)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("%s: %w", path, err)
	}
	if k.KeyID != f.KeyID {
		return PrivateKey{}, keyFileError(path, "key_id does not belong to the key")
	}
	return k, nil
}

// Save writes the public key as JSON with mode 0644, replacing an older file.
func (k PublicKey) Save(path string) error {
	return writeKeyFile(path, recipientFile{
		Kind: kindPublicKey, Region: k.Region, Purpose: k.Purpose, KeyID: k.KeyID, Created: k.Created, KEM: kemName,
		PublicKey: base64.RawURLEncoding.EncodeToString(k.key.Bytes()),
	}, 0o644, true)
}

// LoadPublicKey reads what PublicKey.Save wrote. A private key's file is refused: it does not belong in the control plane.
func LoadPublicKey(path string) (PublicKey, error) {
	f, raw, err := loadRecipient(path, kindPublicKey, anyMode)
	if err != nil {
		return PublicKey{}, err
	}
	key, err := kem().NewPublicKey(raw)
	if err != nil {
		return PublicKey{}, keyFileError(path, "public_key is not an X25519 key")
	}
	if err := checkPlace(f.Region, f.Purpose); err != nil {
		return PublicKey{}, fmt.Errorf("%s: %w", path, err)
	}
	if recipientKeyID(key) != f.KeyID {
		return PublicKey{}, keyFileError(path, "key_id does not belong to the key")
	}
	return PublicKey{Region: f.Region, Purpose: f.Purpose, KeyID: f.KeyID, Created: f.Created, key: key}, nil
}

func loadRecipient(path, kind string, refused fs.FileMode) (f recipientFile, raw []byte, err error) {
	if err := readKeyFile(path, &f, refused); err != nil {
		return f, nil, err
	}
	text, other := f.PublicKey, f.PrivateKey
	if kind == kindPrivateKey {
		text, other = other, text
	}
	switch {
	case f.Kind != kind:
		return f, nil, keyFileError(path, fmt.Sprintf("kind is %q, want %q", f.Kind, kind))
	case f.KEM != kemName:
		return f, nil, keyFileError(path, fmt.Sprintf("kem is %q, want %q", f.KEM, kemName))
	case other != "":
		return f, nil, keyFileError(path, "both private_key and public_key are set")
	}
	if raw, err = base64.RawURLEncoding.Strict().DecodeString(text); err != nil {
		return f, nil, keyFileError(path, "the key is not base64url")
	}
	return f, raw, nil
}
