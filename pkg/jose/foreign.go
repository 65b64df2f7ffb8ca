// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto"
	"crypto/x509"
	"slices"
)

// Bounds of a client's JWK Set, and of what one token without a helpful kid may cost.
const (
	maxForeignSetBytes = 64 << 10
	maxForeignSetKeys  = 50
	maxForeignTries    = 8
)

// ForeignSet is the JWK Set of somebody else, typically a client's "jwks" or what its jwks_uri gave. It is immutable and safe for
// concurrent use. The zero value and nil are sets without keys.
type ForeignSet struct {
	keys []foreignKey
}

// ParseForeignSet reads a JWK Set (RFC 7517 section 5) of at most 64 KiB and 50 keys. It is more lenient than ParseSet, since the author is
// a stranger: kid and alg are optional, several keys may have one kid, and a key whose kty, crv, alg or use we do not know is passed
// over. It is not lenient where that would hide a mistake that hurts: a private or symmetric member, an RSA key below 2048 bits and a
// point off its curve make the whole set ErrKey, so that its author hears of it; everything else that is no JWK Set is ErrMalformed.
// A set without a usable key is not an error (see Len).
func ParseForeignSet(data []byte) (*ForeignSet, error) {
	list, err := setMembers(data, maxForeignSetBytes, maxForeignSetKeys)
	if err != nil {
		return nil, err
	}
	s := &ForeignSet{keys: make([]foreignKey, 0, len(list))}
	for _, item := range list {
		k, ok, err := parseForeignKey(item, maxRSABits)
		if err != nil {
			return nil, err
		}
		if ok {
			s.keys = append(s.keys, k)
		}
	}
	return s, nil
}

// Len is the number of usable keys, of either use.
func (s *ForeignSet) Len() int {
	if s == nil {
		return 0
	}
	return len(s.keys)
}

// Verify checks a compact JWS with the set's keys and returns its payload. It is as strict as KeySet.Verify, except that kid is optional:
// with one, only keys of that kid are tried; without, every key that fits the algorithm; in both cases at most 8. A key is used for the
// algorithms of its type only, and for none but its own "alg" when it has one.
//
// Errors: ErrMalformed, ErrAlgorithm, ErrType, ErrUnknownKey (no key fits), ErrSignature. With ErrUnknownKey the header is filled in,
// and so it is with ErrSignature when the token had no kid: the caller may fetch the set again, for its author may have rotated.
func (s *ForeignSet) Verify(token string, opt VerifyOptions) (payload []byte, h Header, err error) {
	var c compactJWS
	if err := c.open(token, opt, fromHints); err != nil {
		return nil, Header{}, err
	}
	tries := 0
	for i := range s.Len() {
		k := &s.keys[i]
		if c.KeyID != "" && c.KeyID != k.kid || !slices.Contains(k.sigs, Algorithm(c.Alg)) {
			continue
		}
		if tries == 0 {
			if err := c.decode(); err != nil {
				return nil, Header{}, err
			}
		}
		if tries++; tries > maxForeignTries {
			break
		}
		if (PublicKey{alg: Algorithm(c.Alg), key: k.key}).verify(c.input(), c.signature) {
			return c.payload, c.Header, nil
		}
	}
	switch {
	case tries == 0:
		return nil, c.Header, ErrUnknownKey
	case c.KeyID == "":
		return nil, c.Header, ErrSignature
	}
	return nil, Header{}, ErrSignature
}

// Encryption finds the key to encrypt with by a JWE algorithm (one of EncryptionAlgs): of those that fit, one that says use=enc is preferred to
// one that does not say, and then the first counts.
func (s *ForeignSet) Encryption(alg string) (EncryptionKey, bool) {
	var found *foreignKey
	for i := range s.Len() {
		k := &s.keys[i]
		if slices.Contains(k.encs, alg) && (found == nil || found.use == "" && k.use == "enc") {
			found = k
		}
	}
	if found == nil {
		return EncryptionKey{}, false
	}
	return EncryptionKey{kid: found.kid, key: found.key, algs: found.encs}, true
}

// MatchesCertificate reports whether the set registers the certificate, as self_signed_tls_client_auth asks (RFC 8705 section 2.2): one of its keys is
// the certificate's public key, and where that key has an x5c, its first certificate is this very one. A key with use=enc does not count.
func (s *ForeignSet) MatchesCertificate(cert *x509.Certificate) bool {
	if cert == nil {
		return false
	}
	thumbprint := CertificateThumbprint(cert.Raw)
	for i := range s.Len() {
		k := &s.keys[i]
		same, ok := k.key.(interface{ Equal(crypto.PublicKey) bool })
		if !ok || k.use == "enc" || !same.Equal(cert.PublicKey) {
			continue
		}
		if k.leaf == "" || k.leaf == thumbprint {
			return true
		}
	}
	return false
}
