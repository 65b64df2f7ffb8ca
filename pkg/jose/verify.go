// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

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
	limit := opt.MaxBytes
	if limit <= 0 {
		limit = DefaultMaxBytes
	}
	if len(token) > limit {
		return nil, Header{}, fmt.Errorf("%w: token above %d bytes", ErrMalformed, limit)
	}
	first := strings.IndexByte(token, '.')
	last := strings.LastIndexByte(token, '.')
	// Two dots, three parts; encoding/base64 would skip line breaks.
	if first < 1 || last < first+2 || last == len(token)-1 ||
		strings.IndexByte(token[first+1:last], '.') >= 0 || strings.ContainsAny(token, "\r\n") {
		return nil, Header{}, fmt.Errorf("%w: not a compact JWS", ErrMalformed)
	}
	// Two buffers: the text, since hash functions and decoders take slices, and the three decoded parts.
	text := []byte(token)
	buf := make([]byte, 0, base64.RawURLEncoding.DecodedLen(len(text)))
	buf, err = encoding.AppendDecode(buf, text[:first])
	if err != nil {
		return nil, Header{}, fmt.Errorf("%w: header is not base64url", ErrMalformed)
	}
	var head tokenHeader
	if err := head.parse(buf); err != nil {
		return nil, Header{}, err
	}
	h = head.Header
	if !slices.Contains(opt.Algorithms, Algorithm(h.Alg)) {
		return nil, Header{}, ErrAlgorithm
	}
	if !slices.ContainsFunc(opt.Typ, func(want string) bool { return sameType(want, h.Typ) }) {
		return nil, Header{}, ErrType
	}
	key, known := s.keys[h.KeyID]
	if !known {
		return nil, h, ErrUnknownKey
	}
	if string(key.alg) != h.Alg {
		return nil, Header{}, fmt.Errorf("%w: the key is for another", ErrAlgorithm)
	}
	start := len(buf)
	if buf, err = encoding.AppendDecode(buf, text[first+1:last]); err != nil {
		return nil, Header{}, fmt.Errorf("%w: payload is not base64url", ErrMalformed)
	}
	end := len(buf)
	if buf, err = encoding.AppendDecode(buf, text[last+1:]); err != nil {
		return nil, Header{}, fmt.Errorf("%w: signature is not base64url", ErrMalformed)
	}
	if !key.verify(text[:last], buf[end:]) {
		return nil, Header{}, ErrSignature
	}
	return buf[start:end:end], h, nil
}

// encoding is base64url without padding; Strict refuses trailing bits that an encoder would have left at zero.
var encoding = base64.RawURLEncoding.Strict()

type tokenHeader struct {
	Header
	hasTyp bool
}

func (h *tokenHeader) parse(data []byte) error {
	if err := eachMember(data, h.read); err != nil {
		return err
	}
	if h.Alg == "" || h.KeyID == "" || len(h.KeyID) > maxKeyID || h.hasTyp && h.Typ == "" {
		return fmt.Errorf("%w: header needs alg and kid", ErrMalformed)
	}
	return nil
}

func (h *tokenHeader) read(name, value []byte) (err error) {
	switch string(name) {
	case "alg":
		h.Alg, err = stringValue(value)
	case "kid":
		h.KeyID, err = stringValue(value)
	case "typ":
		h.hasTyp = true
		h.Typ, err = stringValue(value)
	case "crit", "b64":
		return fmt.Errorf("%w: header has extensions", ErrMalformed)
	case "jwk", "jku", "x5c", "x5u":
		return fmt.Errorf("%w: header brings its own key", ErrMalformed)
	}
	return err
}

// sameType compares media types as RFC 7515 section 4.1.9 abbreviates them: "application/" may be left out where no other slash
// follows.
func sameType(want, got string) bool {
	return strings.EqualFold(want, got) || want != "" && got != "" && strings.EqualFold(longType(want), longType(got))
}

func longType(t string) string {
	if strings.Contains(t, "/") {
		return t
	}
	return "application/" + t
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
