// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/secret"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// ErrNoKey: the tenant has no active key of the algorithm.
var ErrNoKey = errors.New("snapshot: no active signing key of this algorithm")

// KeyRing is a tenant's signing keys. Everything in it is made at first use and then read without a lock. It is safe for
// concurrent use.
type KeyRing struct {
	tenant *Tenant

	mu      sync.Mutex // one building at a time; never held together with the tenant's own
	set     atomic.Pointer[jose.KeySet]
	jwks    atomic.Pointer[[]byte]
	signers atomic.Pointer[map[string]*jose.Signer]
}

// Set verifies what the tenant signed: its published, active and retiring keys.
func (k *KeyRing) Set() *jose.KeySet {
	if s := k.set.Load(); s != nil {
		return s
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.set.Load(); s != nil {
		return s
	}
	s := jose.NewKeySet(k.public()...)
	k.set.Store(s)
	k.grow(1 << 10)
	return s
}

// JWKS is the tenant's JWK Set document (RFC 7517 section 5). Callers must not change it.
func (t *Tenant) JWKS() []byte {
	k := t.Keys
	if b := k.jwks.Load(); b != nil {
		return *b
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if b := k.jwks.Load(); b != nil {
		return *b
	}
	b := jose.MarshalSet(k.public())
	k.jwks.Store(&b)
	k.grow(cap(b))
	return b
}

// Signer signs with the tenant's active key of an algorithm ("ES256"). The key is opened at the first call and kept; a process has
// one opener. The errors are ErrNoKey and those of secret.Opener: a process without the region's signing key gets secret.ErrNoWrap.
func (k *KeyRing) Signer(alg string, o *secret.Opener) (*jose.Signer, error) {
	if m := k.signers.Load(); m != nil {
		if s, ok := (*m)[alg]; ok {
			return s, nil
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var old map[string]*jose.Signer
	if m := k.signers.Load(); m != nil {
		old = *m
		if s, ok := old[alg]; ok {
			return s, nil
		}
	}
	s, err := k.open(alg, o)
	if err != nil {
		return nil, err
	}
	fresh := make(map[string]*jose.Signer, len(old)+1)
	for a, s := range old {
		fresh[a] = s
	}
	fresh[alg] = s
	k.signers.Store(&fresh)
	k.grow(2 << 10)
	return s, nil
}

func (k *KeyRing) open(alg string, o *secret.Opener) (*jose.Signer, error) {
	for _, doc := range k.docs() {
		if doc.GetState() != snapshotv1.SigningKeyState_SIGNING_KEY_STATE_ACTIVE || doc.GetAlgorithm() != alg {
			continue
		}
		keyID := id.SigningKey(doc.GetKeyId())
		der, err := o.Open(SigningKeyAAD(k.tenant.ID, keyID, alg), sealedOf(doc.GetSealedPrivateKey(), doc.GetWraps()))
		if err != nil {
			return nil, fmt.Errorf("snapshot: open signing key %s: %w", keyID, err)
		}
		defer clear(der)
		private, err := jose.ParsePKCS8(jose.Algorithm(alg), der)
		if err != nil {
			return nil, fmt.Errorf("snapshot: signing key %s: %w", keyID, err)
		}
		// What is signed must verify against what is published, or every relying party would refuse the tenant's tokens.
		if public, err := jose.ParseJWK(doc.GetPublicJwk()); err != nil || !public.Equal(private.Public(keyID.String())) {
			return nil, fmt.Errorf("snapshot: signing key %s: its public half is another key", keyID)
		}
		return jose.NewSigner(private, keyID.String()), nil
	}
	return nil, fmt.Errorf("%w: %s", ErrNoKey, alg)
}

func sealedOf(ciphertext []byte, wraps []*snapshotv1.KeyWrap) secret.Sealed {
	sealed := secret.Sealed{Ciphertext: ciphertext, Wraps: make([]secret.Wrap, len(wraps))}
	for i, w := range wraps {
		sealed.Wraps[i] = secret.Wrap{
			Region: w.GetRegion(), Purpose: w.GetPurpose(), KeyID: w.GetKeyId(), Encapsulated: w.GetEncapsulatedKey(), Ciphertext: w.GetCiphertext(),
		}
	}
	return sealed
}

// SigningKeyAAD is the place that a tenant's private key is sealed for: the control plane seals with it, the token service opens.
func SigningKeyAAD(tenant id.Tenant, key id.SigningKey, alg string) secret.AAD {
	return secret.AAD{Purpose: secret.PurposeSigning, Tenant: tenant, KeyID: key.String(), Algorithm: alg}
}

// public lists the keys of the JWK Set. Compile has checked that they parse.
func (k *KeyRing) public() []jose.PublicKey {
	var keys []jose.PublicKey
	for _, doc := range k.docs() {
		switch doc.GetState() {
		case snapshotv1.SigningKeyState_SIGNING_KEY_STATE_PUBLISHED, snapshotv1.SigningKeyState_SIGNING_KEY_STATE_ACTIVE,
			snapshotv1.SigningKeyState_SIGNING_KEY_STATE_RETIRING:
			if key, err := jose.ParseJWK(doc.GetPublicJwk()); err == nil {
				keys = append(keys, key)
			}
		default: // staged: nobody is to know it yet
		}
	}
	return keys
}

func (k *KeyRing) docs() []*snapshotv1.SigningKey {
	core := &snapshotv1.TenantSnapshot{}
	if err := proto.Unmarshal(k.tenant.core, core); err != nil {
		return nil // decoded before; cannot happen
	}
	return core.GetSigningKeys()
}

func (k *KeyRing) grow(bytes int) {
	k.tenant.mu.Lock()
	k.tenant.grow(bytes)
	k.tenant.mu.Unlock()
}
