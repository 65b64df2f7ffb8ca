// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package secret

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"github.com/tenantry/tenantry/pkg/id"
)

// TenantKeys derives, from each key of a Keyring, keys of one tenant for one purpose each: HKDF-SHA256 (RFC 5869) with the use,
// the tenant and the purpose as info. A purpose is a constant of the program, such as "session-cookie", never data.
//
// Rotate the keyring before one purpose of one tenant has made 2^32 sealed values (NIST SP 800-38D section 8.3, random nonces).
type TenantKeys struct {
	ring   *Keyring
	tenant id.Tenant
}

// sealOverhead is the key id, nonce and tag around a plaintext.
const sealOverhead = 1 + 12 + 16

// CurrentKeyID is the id of the key that Seal and MAC use.
func (t TenantKeys) CurrentKeyID() uint8 { return t.ring.current }

// Seal encrypts and authenticates plaintext, and authenticates aad, which Open must be given again. The result is one byte of key
// id, a 12-byte random nonce, and the AES-256-GCM ciphertext with its tag: 29 bytes more than the plaintext.
func (t TenantKeys) Seal(purpose string, plaintext, aad []byte) []byte {
	key, err := t.ring.find(t.ring.current)
	if err != nil {
		panic(err) // every constructor of a Keyring checks that current is one of the keys
	}
	dst := make([]byte, 1, sealOverhead+len(plaintext))
	dst[0] = key.id
	return t.derive(key, purpose).aead.Seal(dst, nil, plaintext, aad) //nolint:gosec // no nonce is given: newGCM draws a random one
}

// Open is the inverse of Seal. The only error is ErrSealBroken: for changed bytes, another tenant, purpose or aad, or a key that is
// no longer in the keyring.
func (t TenantKeys) Open(purpose string, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < sealOverhead {
		return nil, ErrSealBroken
	}
	key, err := t.ring.find(sealed[0])
	if err != nil {
		return nil, ErrSealBroken
	}
	plaintext, err := t.derive(key, purpose).aead.Open(nil, nil, sealed[1:], aad)
	if err != nil {
		return nil, ErrSealBroken
	}
	return plaintext, nil
}

// MAC is HMAC-SHA256 of the parts under the current key. Each part goes in with its length, so ("ab","c") is not ("a","bc").
func (t TenantKeys) MAC(purpose string, parts ...[]byte) [32]byte {
	mac, err := t.MACWith(t.ring.current, purpose, parts...)
	if err != nil {
		panic(err) // as in Seal
	}
	return mac
}

// MACWith is MAC under the key that keyID names (ErrUnknownKey). A refresh token names its key, so that one generation can be
// computed again after the keyring has rotated.
func (t TenantKeys) MACWith(keyID uint8, purpose string, parts ...[]byte) (mac [32]byte, err error) {
	key, err := t.ring.find(keyID)
	if err != nil {
		return mac, err
	}
	return t.mac(key, purpose, parts), nil
}

// VerifyMAC reports, in constant time for each key, whether mac is the MAC of the parts under any key of the keyring.
func (t TenantKeys) VerifyMAC(purpose string, mac []byte, parts ...[]byte) bool {
	if len(mac) != sha256.Size {
		return false
	}
	for i := len(t.ring.keys) - 1; i >= 0; i-- {
		want := t.mac(&t.ring.keys[i], purpose, parts)
		if hmac.Equal(want[:], mac) {
			return true
		}
	}
	return false
}

func (t TenantKeys) mac(key *runtimeKey, purpose string, parts [][]byte) (mac [32]byte) {
	h := hmac.New(sha256.New, t.derive(key, purpose).macKey[:])
	var size [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(size[:], uint64(len(p)))
		h.Write(size[:])
		h.Write(p)
	}
	h.Sum(mac[:0])
	return mac
}

// derived is what one runtime key gives for one tenant and purpose.
type derived struct {
	aead   cipher.AEAD
	macKey [32]byte
}

type derivedName struct {
	tenant  id.Tenant
	purpose string
	key     uint8
}

// Use bytes keep the two derived keys apart. They stand first, so that no purpose can imitate them.
const (
	useSeal = 's'
	useMAC  = 'm'
)

func (t TenantKeys) derive(key *runtimeKey, purpose string) *derived {
	name := derivedName{tenant: t.tenant, purpose: purpose, key: key.id}
	if d := t.ring.cache.get(name); d != nil {
		return d
	}
	d := new(derived)
	sealKey := expand(key, useSeal, t.tenant, purpose)
	copy(d.macKey[:], expand(key, useMAC, t.tenant, purpose))
	var err error
	if d.aead, err = newGCM(sealKey); err != nil {
		panic(err) // only for a key of another length than 32 bytes
	}
	t.ring.cache.put(name, d)
	return d
}

func expand(key *runtimeKey, use byte, tenant id.Tenant, purpose string) []byte {
	const label = "tenantry-runtime-v1"
	info := make([]byte, 0, len(label)+1+len(tenant)+len(purpose))
	info = append(info, label...)
	info = append(info, use)
	info = append(info, tenant[:]...)
	info = append(info, purpose...) // last, so that no length is needed to keep it apart
	k, err := hkdf.Key(sha256.New, key.secret[:], nil, string(info), 32)
	if err != nil {
		panic(err) // only for an output of more than 255 hashes
	}
	return k
}

// derivedCache keeps the derivations of tenants in use. It is bounded to twice cacheGeneration a shard: when the young generation
// is full it becomes the old one, and what nobody asked for since then is dropped.
type derivedCache struct {
	shards [16]struct {
		mu         sync.RWMutex
		young, old map[derivedName]*derived
	}
}

// cacheGeneration times 2 generations and 16 shards is 8,192 derivations of about 0.8 KB.
const cacheGeneration = 256

func newDerivedCache() *derivedCache { return new(derivedCache) }

func (c *derivedCache) get(name derivedName) *derived {
	s := &c.shards[name.tenant[15]&15] // the last byte of an id is random
	s.mu.RLock()
	d, young := s.young[name]
	if !young {
		d = s.old[name]
	}
	s.mu.RUnlock()
	if d != nil && !young {
		c.put(name, d) // still in use: into the young generation
	}
	return d
}

func (c *derivedCache) put(name derivedName, d *derived) {
	s := &c.shards[name.tenant[15]&15]
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.young) >= cacheGeneration {
		s.old, s.young = s.young, nil
	}
	if s.young == nil {
		s.young = make(map[derivedName]*derived)
	}
	s.young[name] = d
}
