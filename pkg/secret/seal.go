// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hpke"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tenantry/tenantry/pkg/id"
)

// What a sealed value is for, which is also who may open it.
const (
	// PurposeSigning: tenants' signing keys, opened by the token service alone.
	PurposeSigning = "signing"
	// PurposeConnection: secrets of connections, mail senders and SAML, opened by the login service.
	PurposeConnection = "connection"
	// PurposeRecovery keys lie offline. Any value may be wrapped for them too.
	PurposeRecovery = "recovery"
)

var (
	// ErrNoWrap: the value is not wrapped for this region under a key that this process holds.
	ErrNoWrap = errors.New("secret: not sealed for any key held here")
	// ErrSealBroken: authentication failed. The bytes were changed, belong to another place (tenant, key id, purpose), or were made
	// under another key.
	ErrSealBroken = errors.New("secret: seal broken")
	// ErrPurpose: a recipient key of one purpose was asked to seal a value of another.
	ErrPurpose = errors.New("secret: recipient key has another purpose")
)

// AAD is the place a sealed value belongs to. All of it is authenticated: a value copied to another tenant, key id, algorithm or
// purpose does not open.
type AAD struct {
	Purpose   string    // PurposeSigning or PurposeConnection
	Tenant    id.Tenant // zero for what belongs to no tenant
	KeyID     string    // the record that holds the value: a signing key's or connection's id
	Algorithm string    // what the plaintext is: the JOSE algorithm of a signing key, the kind of a connection secret
}

// Sealed is a value encrypted once with AES-256-GCM under a random data key (DEK), and that key wrapped for each recipient.
type Sealed struct {
	Ciphertext []byte `json:"ciphertext"` // nonce, ciphertext, tag
	Wraps      []Wrap `json:"wraps"`
}

// Wrap is the data key, encrypted to one recipient key with HPKE (RFC 9180): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. It is
// the first message of an HPKE context of its own (Seal), or lies under a key that a shared context exported for its place (Sealer).
type Wrap struct {
	Region       string `json:"region"`
	Purpose      string `json:"purpose"`
	KeyID        string `json:"key_id"` // of the recipient key
	Encapsulated []byte `json:"encapsulated"`
	Ciphertext   []byte `json:"ciphertext"`
}

const (
	dekLen = 32
	// maxWraps bounds the public-key work that one foreign value can ask for. Regions times purposes, both keys of a rotation.
	maxWraps = 64
	// sealLabel separates these ciphertexts from every other use of the same keys, and names the format.
	sealLabel = "tenantry-seal-v1"
)

// Seal encrypts plaintext for the recipients. Each must be of the purpose in aad or a recovery key (ErrPurpose), so that a
// mistaken configuration cannot hand signing keys to a process that must not have them.
func Seal(recipients []PublicKey, aad AAD, plaintext []byte) (Sealed, error) {
	return seal(recipients, aad, plaintext, func(r PublicKey, w *Wrap, place, dek []byte) error {
		enc, sender, err := hpke.NewSender(r.key, hpke.HKDFSHA256(), hpke.AES256GCM(), w.info(sealLabel))
		if err != nil {
			return err
		}
		w.Encapsulated = enc
		w.Ciphertext, err = sender.Seal(place, dek)
		return err
	})
}

// seal encrypts under a fresh data key, which wrap encrypts to each recipient.
func seal(recipients []PublicKey, aad AAD, plaintext []byte, wrap func(r PublicKey, w *Wrap, place, dek []byte) error) (Sealed, error) {
	if len(recipients) == 0 || len(recipients) > maxWraps {
		return Sealed{}, fmt.Errorf("secret: %d recipients, want 1 to %d", len(recipients), maxWraps)
	}
	place, err := aad.encode()
	if err != nil {
		return Sealed{}, err
	}
	var dek [dekLen]byte
	rand.Read(dek[:]) // never fails: since Go 1.24 it ends the process instead
	defer clear(dek[:])
	aead, err := newGCM(dek[:])
	if err != nil {
		return Sealed{}, err
	}
	s := Sealed{Ciphertext: aead.Seal(nil, nil, plaintext, place), Wraps: make([]Wrap, 0, len(recipients))} //nolint:gosec // no nonce is given: newGCM draws a random one
	for _, r := range recipients {
		if r.Purpose != aad.Purpose && r.Purpose != PurposeRecovery {
			return Sealed{}, fmt.Errorf("%w: key %s is for %q, the value for %q", ErrPurpose, r.KeyID, r.Purpose, aad.Purpose)
		}
		if r.key == nil {
			return Sealed{}, errors.New("secret: recipient without a key")
		}
		w := Wrap{Region: r.Region, Purpose: r.Purpose, KeyID: r.KeyID}
		if err := wrap(r, &w, place, dek[:]); err != nil {
			return Sealed{}, fmt.Errorf("secret: wrap for key %s: %w", r.KeyID, err)
		}
		s.Wraps = append(s.Wraps, w)
	}
	return s, nil
}

// Opener opens what was sealed for one region with the private keys that a process holds. It is safe for concurrent use.
type Opener struct {
	region string
	keys   map[string]PrivateKey
}

// NewOpener makes an Opener. Keys of another region are never asked; a process whose keys rotate passes the old and the new one.
func NewOpener(region string, keys ...PrivateKey) *Opener {
	o := &Opener{region: region, keys: make(map[string]PrivateKey, len(keys))}
	for _, k := range keys {
		if k.Region == region {
			o.keys[k.KeyID] = k
		}
	}
	return o
}

// Open returns the plaintext. The error is ErrNoWrap when no wrap names this region and a key held here, else ErrSealBroken.
func (o *Opener) Open(aad AAD, s Sealed) ([]byte, error) {
	place, err := aad.encode()
	if err != nil || len(s.Wraps) > maxWraps {
		return nil, ErrSealBroken
	}
	failure := ErrNoWrap
	for _, w := range s.Wraps {
		k, held := o.keys[w.KeyID]
		if !held || w.Region != o.region || w.Purpose != k.Purpose || (k.Purpose != aad.Purpose && k.Purpose != PurposeRecovery) {
			continue
		}
		// A wrap that does not open is no reason to give up: the next one may be whole.
		failure = ErrSealBroken
		plaintext, err := openWrap(k, w, place, s.Ciphertext)
		if err == nil {
			return plaintext, nil
		}
	}
	return nil, failure
}

func openWrap(k PrivateKey, w Wrap, place, ciphertext []byte) ([]byte, error) {
	unwrap := openOwnWrap
	if w.shared() {
		unwrap = openSharedWrap
	}
	dek, err := unwrap(k, w, place)
	if err != nil {
		return nil, err
	}
	defer clear(dek)
	if len(dek) != dekLen {
		return nil, ErrSealBroken
	}
	aead, err := newGCM(dek)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nil, ciphertext, place)
}

func openOwnWrap(k PrivateKey, w Wrap, place []byte) (dek []byte, err error) {
	recipient, err := hpke.NewRecipient(w.Encapsulated, k.key, hpke.HKDFSHA256(), hpke.AES256GCM(), w.info(sealLabel))
	if err != nil {
		return nil, err
	}
	return recipient.Open(place, w.Ciphertext)
}

// info binds the wrap's own labels, which decide who looks at it, into the key schedule (RFC 9180 section 5.1).
func (w Wrap) info(label string) []byte {
	b := make([]byte, 0, 96)
	b = append(b, label...)
	for _, s := range [...]string{w.Region, w.Purpose, w.KeyID} {
		b = appendSized(b, []byte(s))
	}
	return b
}

// encode is injective: every variable part has its length in front.
func (a AAD) encode() ([]byte, error) {
	if a.Purpose != PurposeSigning && a.Purpose != PurposeConnection {
		return nil, fmt.Errorf("%w: %q is no purpose of a sealed value", ErrPurpose, a.Purpose)
	}
	b := make([]byte, 0, 128)
	b = append(b, sealLabel...)
	b = appendSized(b, []byte(a.Purpose))
	b = append(b, a.Tenant[:]...)
	b = appendSized(b, []byte(a.KeyID))
	return appendSized(b, []byte(a.Algorithm)), nil
}

func appendSized(dst, part []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(len(part)))
	return append(dst, part...)
}

// newGCM is AES-256-GCM with a random 96-bit nonce in front of the ciphertext.
func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
