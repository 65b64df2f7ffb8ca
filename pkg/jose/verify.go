// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
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
	// One buffer for the three decoded parts, and one for the signed bytes, which hash functions take as a slice.
	buf := make([]byte, 0, base64.RawURLEncoding.DecodedLen(len(token)))
	buf, err = encoding.AppendDecode(buf, []byte(token[:first]))
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
	if buf, err = encoding.AppendDecode(buf, []byte(token[first+1:last])); err != nil {
		return nil, Header{}, fmt.Errorf("%w: payload is not base64url", ErrMalformed)
	}
	end := len(buf)
	if buf, err = encoding.AppendDecode(buf, []byte(token[last+1:])); err != nil {
		return nil, Header{}, fmt.Errorf("%w: signature is not base64url", ErrMalformed)
	}
	if !key.verify([]byte(token[:last]), buf[end:]) {
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

func (h *tokenHeader) read(name string, value []byte) (err error) {
	switch name {
	case "alg":
		h.Alg, err = stringValue(name, value)
	case "kid":
		h.KeyID, err = stringValue(name, value)
	case "typ":
		h.hasTyp = true
		h.Typ, err = stringValue(name, value)
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
	t, _ := k.alg.traits()
	switch key := k.key.(type) {
	case *ecdsa.PublicKey:
		if len(sig) != 2*t.size {
			return false
		}
		var der [maxDER]byte
		return ecdsa.VerifyASN1(key, digest(t.hash, input), appendDER(der[:0], sig))
	case *rsa.PublicKey:
		if k.alg == PS256 {
			return rsa.VerifyPSS(key, t.hash, digest(t.hash, input), sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(key, t.hash, digest(t.hash, input), sig) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(key, input, sig)
	}
	return false
}

func digest(h crypto.Hash, input []byte) []byte {
	if h == crypto.SHA384 {
		sum := sha512.Sum384(input)
		return sum[:]
	}
	sum := sha256.Sum256(input)
	return sum[:]
}

// maxDER is the longest P-384 signature: a sequence of two integers of 49 bytes.
const maxDER = 2 + 2*(2+49)

// appendDER turns r and s of equal size into the ASN.1 form that crypto/ecdsa takes. Lengths stay below 128, so each is one byte.
func appendDER(dst, raw []byte) []byte {
	half := len(raw) / 2
	dst = append(dst, 0x30, 0)
	dst = appendInteger(dst, raw[:half])
	dst = appendInteger(dst, raw[half:])
	dst[1] = byte(len(dst) - 2)
	return dst
}

func appendInteger(dst, n []byte) []byte {
	for len(n) > 1 && n[0] == 0 {
		n = n[1:]
	}
	pad := 0
	if n[0] >= 0x80 {
		pad = 1
	}
	dst = append(dst, 0x02, byte(len(n)+pad))
	dst = append(dst, make([]byte, pad)...)
	return append(dst, n...)
}
