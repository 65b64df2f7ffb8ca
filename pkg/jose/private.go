// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
)

// PrivateKey is a signing key that is bound to one algorithm. It prints as its algorithm only.
type PrivateKey struct {
	alg    Algorithm
	signer crypto.Signer
}

// GenerateKey makes a key: a fresh key pair of the algorithm's curve, or RSA with 2048 bits.
func GenerateKey(a Algorithm) (*PrivateKey, error) {
	t, ok := a.traits()
	if !ok {
		return nil, ErrAlgorithm
	}
	var (
		s   crypto.Signer
		err error
	)
	switch {
	case t.curve != nil:
		s, err = ecdsa.GenerateKey(t.curve, rand.Reader)
	case t.kty == "RSA":
		s, err = rsa.GenerateKey(rand.Reader, minRSABits)
	default:
		_, s, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		return nil, fmt.Errorf("jose: generate %s key: %w", a, err)
	}
	return &PrivateKey{alg: a, signer: s}, nil
}

// ParsePKCS8 reads a key from its PKCS #8 form (RFC 5958). The key must fit the algorithm (ErrKey otherwise). An RSA key comes back
// with its CRT values computed, so that no signature pays for them.
func ParsePKCS8(a Algorithm, der []byte) (*PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: not PKCS #8", ErrKey)
	}
	s, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: not a signing key", ErrKey)
	}
	if err := a.checkPublic(publicOf(s)); err != nil {
		return nil, err
	}
	if k, ok := s.(*rsa.PrivateKey); ok {
		if err := k.Validate(); err != nil {
			return nil, fmt.Errorf("%w: inconsistent RSA key", ErrKey)
		}
		k.Precompute()
	}
	return &PrivateKey{alg: a, signer: s}, nil
}

// PKCS8 is the key's PKCS #8 DER form: a secret, to be sealed by pkg/secret.
func (k *PrivateKey) PKCS8() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(k.signer)
	if err != nil {
		panic(err) // both constructors let only kinds and curves through that have this form
	}
	return der
}

// Algorithm is what the key signs with.
func (k *PrivateKey) Algorithm() Algorithm { return k.alg }

// Public is the public half under a key id.
func (k *PrivateKey) Public(kid string) PublicKey {
	return PublicKey{kid: kid, alg: k.alg, key: publicOf(k.signer)}
}

// String names the algorithm; the key stays out of logs.
func (k *PrivateKey) String() string { return string(k.alg) + " private key" }

// GoString is String, for %#v.
func (k *PrivateKey) GoString() string { return k.String() }

// publicOf is s.Public() in the one form that this package uses for each kind.
func publicOf(s crypto.Signer) crypto.PublicKey {
	switch k := s.(type) {
	case *ecdsa.PrivateKey:
		return &k.PublicKey
	case *rsa.PrivateKey:
		return &k.PublicKey
	}
	return s.Public()
}
