// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package secret

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// ErrUnknownKey is returned for a key id that the keyring does not hold.
var ErrUnknownKey = errors.New("secret: key not in the keyring")

const (
	runtimeKeyLen = 32
	// maxRuntimeKeys bounds the keys that a value of unknown origin is tried against. A rotation needs two.
	maxRuntimeKeys = 8
)

// Keyring holds the data plane's symmetric keys. It is mounted as a file in login and token, never stored in PostgreSQL or Redis.
// One key, the current one, makes new values; all of them open old ones.
//
// A rotation that no replica notices has three steps, each rolled out to all replicas before the next: Add (all can open what the
// new key makes), Activate (it makes new values), Remove the old one when the last value that it made has expired.
//
// A Keyring is immutable and safe for concurrent use; Add, Activate and Remove return another one.
type Keyring struct {
	keys    []runtimeKey // oldest first
	current uint8
	cache   *derivedCache
}

type runtimeKey struct {
	id      uint8
	created time.Time
	secret  [runtimeKeyLen]byte
}

// KeyInfo describes a key of a Keyring without its secret.
type KeyInfo struct {
	ID      uint8
	Created time.Time
	Current bool
}

// NewKeyring makes a keyring with one random key.
func NewKeyring(now time.Time) (*Keyring, error) {
	k := newKeyring([]runtimeKey{newRuntimeKey(1, now)}, 1)
	return k, nil
}

func newKeyring(keys []runtimeKey, current uint8) *Keyring {
	return &Keyring{keys: keys, current: current, cache: newDerivedCache()}
}

func newRuntimeKey(keyID uint8, now time.Time) runtimeKey {
	k := runtimeKey{id: keyID, created: now.UTC().Truncate(time.Second)}
	rand.Read(k.secret[:]) // never fails: since Go 1.24 it ends the process instead
	return k
}

// Add returns a keyring with one more random key that opens but is not current, and that key's id. Ids go round from 255 to 1, so
// that a new key does not take the id of one removed a moment ago.
func (k *Keyring) Add(now time.Time) (*Keyring, uint8, error) {
	if len(k.keys) >= maxRuntimeKeys {
		return nil, 0, fmt.Errorf("secret: keyring already holds %d keys", len(k.keys))
	}
	next := k.keys[len(k.keys)-1].id
	for {
		if next++; next == 0 {
			next = 1
		}
		if _, err := k.find(next); err != nil {
			break
		}
	}
	return newKeyring(append(slices.Clone(k.keys), newRuntimeKey(next, now)), k.current), next, nil
}

// Activate returns a keyring in which keyID is current; ErrUnknownKey when it has no such key.
func (k *Keyring) Activate(keyID uint8) (*Keyring, error) {
	if _, err := k.find(keyID); err != nil {
		return nil, err
	}
	return newKeyring(slices.Clone(k.keys), keyID), nil
}

// Remove returns a keyring without keyID. What that key made does not open any more. The current key cannot be removed.
func (k *Keyring) Remove(keyID uint8) (*Keyring, error) {
	if _, err := k.find(keyID); err != nil {
		return nil, err
	}
	if keyID == k.current {
		return nil, fmt.Errorf("secret: key %d is current", keyID)
	}
	keys := slices.DeleteFunc(slices.Clone(k.keys), func(r runtimeKey) bool { return r.id == keyID })
	return newKeyring(keys, k.current), nil
}

// Keys lists the keys, oldest first.
func (k *Keyring) Keys() []KeyInfo {
	infos := make([]KeyInfo, len(k.keys))
	for i, r := range k.keys {
		infos[i] = KeyInfo{ID: r.id, Created: r.created, Current: r.id == k.current}
	}
	return infos
}

// CurrentKeyID is the id of the key that makes new values.
func (k *Keyring) CurrentKeyID() uint8 { return k.current }

// Tenant is what the keyring gives for one tenant. The value is cheap; make it where it is needed.
func (k *Keyring) Tenant(t id.Tenant) TenantKeys { return TenantKeys{ring: k, tenant: t} }

// String names the keyring without its secrets.
func (k *Keyring) String() string { return fmt.Sprintf("keyring of %d keys", len(k.keys)) }

// GoString is String, for %#v.
func (k *Keyring) GoString() string { return k.String() }

func (k *Keyring) find(keyID uint8) (*runtimeKey, error) {
	for i := range k.keys {
		if k.keys[i].id == keyID {
			return &k.keys[i], nil
		}
	}
	return nil, ErrUnknownKey
}

type keyringFile struct {
	Kind    string           `json:"kind"`
	Current uint8            `json:"current,omitempty"` // absent: the newest key
	Keys    []keyringFileKey `json:"keys"`
}

type keyringFileKey struct {
	ID      uint8     `json:"id"` // 1 to 255
	Created time.Time `json:"created"`
	Key     string    `json:"key"` // 32 bytes, base64url
}

const kindKeyring = "tenantry-runtime-keyring"

// Save writes the keyring as JSON with mode 0600, replacing the file at once or not at all.
func (k *Keyring) Save(path string) error {
	f := keyringFile{Kind: kindKeyring, Current: k.current}
	for _, r := range k.keys {
		f.Keys = append(f.Keys, keyringFileKey{ID: r.id, Created: r.created, Key: base64.RawURLEncoding.EncodeToString(r.secret[:])})
	}
	return writeKeyFile(path, f, 0o600, true)
}

// LoadKeyring reads what Save wrote, or a file written by hand without "current": then the newest key is current. A file that
// others than its owner and group may read is refused.
func LoadKeyring(path string) (*Keyring, error) {
	var f keyringFile
	if err := readKeyFile(path, &f, privateMode); err != nil {
		return nil, err
	}
	if f.Kind != kindKeyring {
		return nil, keyFileError(path, fmt.Sprintf("kind is %q, want %q", f.Kind, kindKeyring))
	}
	if len(f.Keys) == 0 || len(f.Keys) > maxRuntimeKeys {
		return nil, keyFileError(path, fmt.Sprintf("%d keys, want 1 to %d", len(f.Keys), maxRuntimeKeys))
	}
	keys := make([]runtimeKey, 0, len(f.Keys))
	for i, fk := range f.Keys {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(fk.Key)
		switch {
		case err != nil || len(raw) != runtimeKeyLen:
			return nil, keyFileError(path, fmt.Sprintf("keys[%d].key is not 32 bytes in base64url", i))
		case fk.ID == 0:
			return nil, keyFileError(path, fmt.Sprintf("keys[%d].id is not 1 to 255", i))
		case fk.Created.IsZero():
			return nil, keyFileError(path, fmt.Sprintf("keys[%d].created is missing", i))
		}
		for _, r := range keys {
			if r.id == fk.ID {
				return nil, keyFileError(path, fmt.Sprintf("keys[%d].id is not unique", i))
			}
		}
		keys = append(keys, runtimeKey{id: fk.ID, created: fk.Created, secret: [runtimeKeyLen]byte(raw)})
	}
	slices.SortStableFunc(keys, func(a, b runtimeKey) int { return a.created.Compare(b.created) })
	k := newKeyring(keys, f.Current)
	if f.Current == 0 {
		k.current = keys[len(keys)-1].id
	} else if _, err := k.find(f.Current); err != nil {
		return nil, keyFileError(path, "current names no key")
	}
	return k, nil
}
