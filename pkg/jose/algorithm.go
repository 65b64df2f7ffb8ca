// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // registers SHA-256 with package crypto
	_ "crypto/sha512" // registers SHA-384 and SHA-512
	"encoding/base64"
	"errors"
	"fmt"
)

// Algorithm is a JWS "alg" value (RFC 7518 section 3.1, RFC 8037 section 3.1). "none" is not one.
type Algorithm string

// The algorithms that this package signs and verifies with.
const (
	ES256 Algorithm = "ES256" // ECDSA with P-256 and SHA-256
	ES384 Algorithm = "ES384" // ECDSA with P-384 and SHA-384
	RS256 Algorithm = "RS256" // RSASSA-PKCS1-v1_5 with SHA-256
	PS256 Algorithm = "PS256" // RSASSA-PSS with SHA-256
	EdDSA Algorithm = "EdDSA" // Ed25519
)

// Errors of this package. Each may be wrapped with what was wrong, never with the token or key itself.
var (
	// ErrMalformed: the bytes are not a compact JWS or a JWK as the standards write them.
	ErrMalformed = errors.New("jose: malformed")
	// ErrAlgorithm: the algorithm is unknown, not in the caller's list, or not the one of the key.
	ErrAlgorithm = errors.New("jose: algorithm not allowed")
	// ErrType: the "typ" header is not in the caller's list (RFC 8725 section 3.11).
	ErrType = errors.New("jose: token of another type")
	// ErrUnknownKey: no key of the set has the token's key id.
	ErrUnknownKey = errors.New("jose: unknown key")
	// ErrSignature: the signature is not this key's signature of this token.
	ErrSignature = errors.New("jose: bad signature")
	// ErrKey: the key cannot be used: wrong kind or curve for its algorithm, too weak, or not a key.
	ErrKey = errors.New("jose: unusable key")
)

// minRSABits is what RFC 7518 section 3.3 demands; maxRSABits bounds what a stranger's key can cost us.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// traits are the facts about an algorithm.
type traits struct {
	hash  crypto.Hash
	kty   string
	curve elliptic.Curve // for ECDSA
	crv   string         // "crv" in a JWK
	size  int            // of each of r and s
}

func (a Algorithm) traits() (t traits, ok bool) {
	switch a {
	case ES256:
		return traits{hash: crypto.SHA256, kty: "EC", curve: elliptic.P256(), crv: "P-256", size: 32}, true
	case ES384:
		return traits{hash: crypto.SHA384, kty: "EC", curve: elliptic.P384(), crv: "P-384", size: 48}, true
	case RS256, PS256:
		return traits{hash: crypto.SHA256, kty: "RSA"}, true
	case EdDSA:
		return traits{hash: crypto.SHA512, kty: "OKP", crv: "Ed25519"}, true
	default: // also those of a shared secret
		return traits{}, false
	}
}

// Valid reports whether a is an algorithm of key pairs: one of the five constants above.
func (a Algorithm) Valid() bool {
	_, ok := a.traits()
	return ok
}

// HalfHash is the base64url form of the left half of text's hash, as at_hash, c_hash and s_hash want it (OIDC Core 3.1.3.6,
// 3.3.2.11). EdDSA with Ed25519 hashes with SHA-512. It is empty for an algorithm that is not Valid.
func (a Algorithm) HalfHash(text string) string {
	t, ok := a.traits()
	if !ok {
		return ""
	}
	h := t.hash.New()
	h.Write([]byte(text))
	sum := h.Sum(nil)
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// checkPublic says whether pub is a key that a may be used with.
func (a Algorithm) checkPublic(pub crypto.PublicKey) error {
	t, ok := a.traits()
	if !ok {
		return ErrAlgorithm
	}
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if t.curve == nil || k.Curve != t.curve {
			return fmt.Errorf("%w: the curve is not that of %s", ErrKey, a)
		}
		if _, err := k.Bytes(); err != nil { // also refuses points that are not on the curve
			return fmt.Errorf("%w: not a point of the curve", ErrKey)
		}
		return nil
	case *rsa.PublicKey:
		switch {
		case t.kty != "RSA":
		case k.N == nil || k.N.BitLen() < minRSABits || k.N.BitLen() > maxRSABits || k.N.Bit(0) == 0:
			return fmt.Errorf("%w: RSA modulus must be odd with %d to %d bits", ErrKey, minRSABits, maxRSABits)
		case k.E < 65537 || k.E&1 == 0 || k.E > 1<<31-1:
			return fmt.Errorf("%w: RSA exponent must be odd and at least 65537", ErrKey)
		default:
			return nil
		}
	case ed25519.PublicKey:
		if a == EdDSA && len(k) == ed25519.PublicKeySize {
			return nil
		}
	}
	return fmt.Errorf("%w: not a key for %s", ErrKey, a)
}
