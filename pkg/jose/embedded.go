// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"fmt"
	"slices"
)

// maxEmbeddedRSABits bounds what anybody at all can make us compute with a key that he brings along.
const maxEmbeddedRSABits = 4096

// VerifyEmbedded checks a compact JWS with the public key that its own header holds as "jwk" (RFC 7515 section 4.1.3), and returns the payload and
// the key's SHA-256 thumbprint (RFC 7638, base64url). That proves possession of the key and nothing else: whether the key is the right
// one is the caller's question, by the thumbprint. It is for DPoP proofs (RFC 9449 section 4.3).
//
// The key must be asymmetric, without a private member, RSA of 2048 to 4096 bits, and fit the header's alg; if it has alg, use or key_ops of its own,
// these too. Coordinates and moduli have one accepted spelling, so that one key has one thumbprint. crit, x5c and the other ways of
// naming a key are refused as by KeySet.Verify; a kid beside the key means nothing.
//
// Errors: ErrMalformed, ErrAlgorithm, ErrType, ErrKey, ErrSignature. Nothing is cached.
func VerifyEmbedded(token string, opt VerifyOptions) (payload []byte, thumbprint string, h Header, err error) {
	var c compactJWS
	if err := c.open(token, opt, fromHeader); err != nil {
		return nil, "", Header{}, err
	}
	k, ok, err := parseForeignKey(c.jwk, maxEmbeddedRSABits)
	if err != nil {
		return nil, "", Header{}, err
	}
	if !ok || !slices.Contains(k.sigs, Algorithm(c.Alg)) {
		return nil, "", Header{}, fmt.Errorf("%w: jwk is not a key for alg", ErrKey)
	}
	if err := c.decode(); err != nil {
		return nil, "", Header{}, err
	}
	if !(PublicKey{alg: Algorithm(c.Alg), key: k.key}).verify(c.input(), c.signature) {
		return nil, "", Header{}, ErrSignature
	}
	return c.payload, k.thumbprint(), c.Header, nil
}
