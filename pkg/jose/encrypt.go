// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto"
	"crypto/ecdh"
	"errors"
	"fmt"
	"slices"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwe"
	"github.com/lestrrat-go/jwx/v2/x25519"
)

// JWE "alg" values (RFC 7518 section 4.1). RSA1_5 is not among them: its padding makes a decrypter an oracle.
const (
	algRSAOAEP256   = "RSA-OAEP-256"
	algRSAOAEP      = "RSA-OAEP"
	algECDHES       = "ECDH-ES"
	algECDHESA128KW = "ECDH-ES+A128KW"
	algECDHESA256KW = "ECDH-ES+A256KW"
)

// EncryptionAlgs are the JWE "alg" values that Encrypt takes, in the order of preference, as metadata lists them.
func EncryptionAlgs() []string {
	return []string{algRSAOAEP256, algRSAOAEP, algECDHES, algECDHESA128KW, algECDHESA256KW}
}

// EncryptionEncs are the JWE "enc" values that Encrypt takes (RFC 7518 section 5.1).
func EncryptionEncs() []string {
	return []string{"A128GCM", "A256GCM", "A128CBC-HS256", "A256CBC-HS512"}
}

// EncryptionKey is a public key to encrypt to, from ForeignSet.Encryption.
type EncryptionKey struct {
	kid  string
	key  crypto.PublicKey
	algs []string
}

// KeyID is the "kid", or empty.
func (k EncryptionKey) KeyID() string { return k.kid }

var errEncrypt = errors.New("jose: encrypting failed")

// Encrypt returns the compact JWE (RFC 7516 section 7.1) of the payload with the protected header alg, enc, the key's kid if it has one,
// cty unless it is empty ("JWT" for a nested JWT, RFC 7519 section 5.2), and epk where the algorithm has one. Nothing is compressed:
// the length of a compressed secret tells about it.
//
// Errors: ErrAlgorithm when alg or enc is not in the lists above or alg is not one of the key's; ErrKey for the zero key.
func Encrypt(k EncryptionKey, alg, enc, cty string, payload []byte) (string, error) {
	switch {
	case k.key == nil:
		return "", fmt.Errorf("%w: no key to encrypt with", ErrKey)
	case !slices.Contains(k.algs, alg) || !slices.Contains(EncryptionAlgs(), alg):
		return "", fmt.Errorf("%w: the key is not for this JWE alg", ErrAlgorithm)
	case !slices.Contains(EncryptionEncs(), enc):
		return "", fmt.Errorf("%w: unknown JWE enc", ErrAlgorithm)
	}
	key := k.key
	if pub, ok := key.(*ecdh.PublicKey); ok {
		key = x25519.PublicKey(pub.Bytes())
	}
	h := jwe.NewHeaders()
	for name, value := range map[string]string{"kid": k.kid, "cty": cty} {
		if value == "" {
			continue
		}
		if err := h.Set(name, value); err != nil {
			return "", errEncrypt
		}
	}
	out, err := jwe.Encrypt(payload, jwe.WithKey(jwa.KeyEncryptionAlgorithm(alg), key),
		jwe.WithContentEncryption(jwa.ContentEncryptionAlgorithm(enc)), jwe.WithProtectedHeaders(h))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errEncrypt, err)
	}
	return string(out), nil
}
