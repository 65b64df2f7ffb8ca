// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Signer signs with one key under one key id. It is safe for concurrent use; keep it as long as the key, since it prepares headers.
type Signer struct {
	key     *PrivateKey
	kid     string
	sigSize int
	// headers are the encoded protected headers by typ, with the dot after them. The list is copied to grow.
	headers atomic.Pointer[[]preparedHeader]
}

type preparedHeader struct{ typ, encoded string }

// maxHeaders bounds the prepared headers. A program uses a handful of typ values; more are built each time.
const maxHeaders = 16

// NewSigner makes a Signer.
func NewSigner(k *PrivateKey, kid string) *Signer {
	s := &Signer{key: k, kid: kid}
	switch pub := publicOf(k.signer).(type) {
	case *ecdsa.PublicKey:
		s.sigSize = 2 * ((pub.Curve.Params().BitSize + 7) / 8)
	case *rsa.PublicKey:
		s.sigSize = pub.Size()
	default:
		s.sigSize = 64 // Ed25519 (RFC 8032 section 5.1.6)
	}
	s.headers.Store(new([]preparedHeader))
	return s
}

// KeyID is the "kid" of the tokens.
func (s *Signer) KeyID() string { return s.kid }

// Algorithm is the "alg" of the tokens.
func (s *Signer) Algorithm() Algorithm { return s.key.alg }

// Public is the key that verifies the tokens.
func (s *Signer) Public() PublicKey { return s.key.Public(s.kid) }

// Sign returns the compact JWS (RFC 7515 section 7.1) of the payload with the protected header alg, kid and, unless it is empty,
// typ. The error is that of the signature primitive; with a key of this package it does not happen.
func (s *Signer) Sign(typ string, payload []byte) (string, error) {
	header := s.header(typ)
	n := len(header) + base64.RawURLEncoding.EncodedLen(len(payload))
	total := n + 1 + base64.RawURLEncoding.EncodedLen(s.sigSize)

	// Tokens of a usual size are assembled on the stack; the string is then the one allocation of their own.
	var stack [2048]byte
	buf := stack[:0]
	if total > len(stack) {
		buf = make([]byte, 0, total)
	}
	buf = append(buf, header...)
	buf = base64.RawURLEncoding.AppendEncode(buf, payload)

	var sig [64]byte
	signature, err := s.key.sign(sig[:0], buf)
	if err != nil {
		return "", fmt.Errorf("jose: sign with %s: %w", s.key.alg, err)
	}
	buf = append(buf, '.')
	buf = base64.RawURLEncoding.AppendEncode(buf, signature)
	return string(buf), nil
}

// header is the encoded protected header with its dot.
func (s *Signer) header(typ string) string {
	list := s.headers.Load()
	for i := range *list {
		if (*list)[i].typ == typ {
			return (*list)[i].encoded
		}
	}
	members := []member{{"alg", string(s.key.alg)}, {"kid", s.kid}}
	if typ != "" {
		members = append(members, member{"typ", typ})
	}
	encoded := base64.RawURLEncoding.EncodeToString(appendObject(nil, members)) + "."
	if len(*list) < maxHeaders {
		grown := append((*list)[:len(*list):len(*list)], preparedHeader{strings.Clone(typ), encoded})
		s.headers.CompareAndSwap(list, &grown) // who loses prepares it the next time
	}
	return encoded
}

// sign appends the JOSE form of the signature of input to dst.
func (k *PrivateKey) sign(dst, input []byte) ([]byte, error) {
	t, _ := k.alg.traits()
	switch k.alg {
	case ES256, ES384:
		der, err := ecdsa.SignASN1(rand.Reader, k.signer.(*ecdsa.PrivateKey), digest(t.hash, input))
		if err != nil {
			return nil, err
		}
		return appendRaw(dst, der, t.size)
	case RS256:
		return rsa.SignPKCS1v15(nil, k.signer.(*rsa.PrivateKey), t.hash, digest(t.hash, input))
	case PS256:
		// The salt is as long as the hash (RFC 7518 section 3.5).
		return rsa.SignPSS(rand.Reader, k.signer.(*rsa.PrivateKey), t.hash, digest(t.hash, input), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case EdDSA:
		return k.signer.Sign(nil, input, crypto.Hash(0))
	default:
		return nil, ErrAlgorithm
	}
}

var errDER = errors.New("jose: ECDSA signature is not DER")

// appendRaw turns an ASN.1 signature into r and s of fixed size (RFC 7518 section 3.4).
func appendRaw(dst, der []byte, size int) ([]byte, error) {
	var seq cryptobyte.String
	in := cryptobyte.String(der)
	if !in.ReadASN1(&seq, asn1.SEQUENCE) || !in.Empty() {
		return nil, errDER
	}
	var zeros [66]byte
	for range 2 {
		var n []byte
		if !seq.ReadASN1Integer(&n) || len(n) > size {
			return nil, errDER
		}
		dst = append(dst, zeros[:size-len(n)]...)
		dst = append(dst, n...)
	}
	if !seq.Empty() {
		return nil, errDER
	}
	return dst, nil
}
