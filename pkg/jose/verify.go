// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// DefaultMaxBytes is the size of a token that is looked at when VerifyOptions does not say: far above any token of ours, and what
// fits a request header.
const DefaultMaxBytes = 16 << 10

// KeySet verifies tokens with the public keys of one issuer, found by key id. It is immutable and safe for concurrent use.
type KeySet struct {
	keys map[string]PublicKey
}

// NewKeySet makes a KeySet. Of two keys with one id the first counts; zero keys and keys without an id are left out.
func NewKeySet(keys ...PublicKey) *KeySet {
	s := &KeySet{keys: make(map[string]PublicKey, len(keys))}
	for _, k := range keys {
		if _, twice := s.keys[k.kid]; !twice && k.kid != "" && !k.IsZero() {
			s.keys[k.kid] = k
		}
	}
	return s
}

// VerifyOptions say what the caller accepts. Both lists are explicit: an empty one accepts nothing (RFC 8725 sections 3.1, 3.11).
type VerifyOptions struct {
	// Typ are the accepted "typ" values, compared as media types (RFC 7515 section 4.1.9): in any case, with or without
	// "application/". The empty string accepts a token without typ.
	Typ []string
	// Algorithms are the accepted "alg" values.
	Algorithms []Algorithm
	// MaxBytes bounds the token; 0 means DefaultMaxBytes.
	MaxBytes int
}

// Header is what of a verified token's protected header is of use to a caller.
type Header struct {
	Typ   string
	Alg   string
	KeyID string
}

// Verify checks a compact JWS and returns its payload. The protected header must name alg and kid; the key is found by that kid in
// the set and nowhere else, and must be of that alg. A header with crit (no extension is understood), or with a key of its own (jwk,
// jku, x5c, x5u), is refused, as are duplicate members, padding, white space and every second spelling of base64url.
//
// A token's text is not its identity: ECDSA lets anybody turn a signature into a second valid one. Replay marks and revocation go by
// claims such as jti.
//
// Errors: ErrMalformed, ErrAlgorithm, ErrType, ErrUnknownKey, ErrSignature, in this order of checking. With ErrUnknownKey the
// header is filled in, so that a caller may fetch the issuer's keys again; with every other error it is zero.
func (s *KeySet) Verify(token string, opt VerifyOptions) (payload []byte, h Header, err error) {
	var c compactJWS
	if err := c.open(token, opt, fromKeyID); err != nil {
		return nil, Header{}, err
	}
	key, known := s.keys[c.KeyID]
	if !known {
		return nil, c.Header, ErrUnknownKey
	}
	if string(key.alg) != c.Alg {
		return nil, Header{}, fmt.Errorf("%w: the key is for another", ErrAlgorithm)
	}
	if err := c.decode(); err != nil {
		return nil, Header{}, err
	}
	if !key.verify(c.input(), c.signature) {
		return nil, Header{}, ErrSignature
	}
	return c.payload, c.Header, nil
}

// verify reports whether sig is the JOSE signature of input.
func (k PublicKey) verify(input, sig []byte) bool {
	if key, ok := k.key.(*rsa.PublicKey); ok && k.alg == PS256 {
		// jwx takes any salt length; RFC 7518 section 3.5 demands that of the hash.
		return rsa.VerifyPSS(key, crypto.SHA256, digest(crypto.SHA256, input), sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	}
	v, ok := verifiers[k.alg]
	return ok && v.Verify(input, sig, k.key) == nil
}

// verifiers are jwx's signature checks. They hold no state beside the algorithm.
var verifiers = func() map[Algorithm]jws.Verifier {
	m := make(map[Algorithm]jws.Verifier)
	for _, a := range []Algorithm{ES256, ES384, RS256, EdDSA} {
		v, err := jws.NewVerifier(jwa.SignatureAlgorithm(a))
		if err != nil {
			panic(err) // the library lacks an algorithm that it has always had
		}
		m[a] = v
	}
	return m
}()

func digest(h crypto.Hash, input []byte) []byte {
	if h == crypto.SHA384 {
		sum := sha512.Sum384(input)
		return sum[:]
	}
	sum := sha256.Sum256(input)
	return sum[:]
}
