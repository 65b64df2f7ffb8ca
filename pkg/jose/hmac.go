// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto"
	"crypto/hmac"
	"encoding/base64"
	"fmt"
)

// The algorithms of a shared secret (RFC 7518 section 3.2). They are no algorithms of a key: Valid is false, and only VerifyHMAC and SignHMAC take
// them, so that a public key can never become a secret (RFC 8725 section 2.1).
const (
	HS256 Algorithm = "HS256" // HMAC with SHA-256
	HS384 Algorithm = "HS384" // HMAC with SHA-384
	HS512 Algorithm = "HS512" // HMAC with SHA-512
)

func (a Algorithm) mac() (crypto.Hash, bool) {
	switch a {
	case HS256:
		return crypto.SHA256, true
	case HS384:
		return crypto.SHA384, true
	case HS512:
		return crypto.SHA512, true
	default:
		return 0, false
	}
}

// sum is the MAC of input. ErrKey: the secret is shorter than the hash, which RFC 7518 section 3.2 forbids.
func (a Algorithm) sum(secret, input []byte) ([]byte, error) {
	h, ok := a.mac()
	if !ok {
		return nil, ErrAlgorithm
	}
	if len(secret) < h.Size() {
		return nil, fmt.Errorf("%w: %s needs a secret of at least %d bytes", ErrKey, a, h.Size())
	}
	m := hmac.New(h.New, secret)
	m.Write(input)
	return m.Sum(nil), nil
}

// VerifyHMAC checks a compact JWS with a shared secret and returns its payload, for client_secret_jwt (OIDC Core section 9). The MACs are compared
// in constant time. The header is judged as by KeySet.Verify, except that kid is optional and means nothing.
//
// Errors: ErrMalformed, ErrAlgorithm (also for an algorithm of the caller's list that has no shared secret), ErrType, ErrKey (the secret is
// shorter than the algorithm's hash), ErrSignature.
func VerifyHMAC(secret []byte, token string, opt VerifyOptions) (payload []byte, h Header, err error) {
	var c compactJWS
	if err := c.open(token, opt, fromHints); err != nil {
		return nil, Header{}, err
	}
	want, err := Algorithm(c.Alg).sum(secret, c.input())
	if err != nil {
		return nil, Header{}, err
	}
	if err := c.decode(); err != nil {
		return nil, Header{}, err
	}
	if !hmac.Equal(want, c.signature) {
		return nil, Header{}, ErrSignature
	}
	return c.payload, c.Header, nil
}

// SignHMAC returns the compact JWS of the payload with the protected header alg and, unless it is empty, typ. The error is ErrAlgorithm
// for another algorithm than the three, and ErrKey for a secret shorter than the algorithm's hash.
func SignHMAC(alg Algorithm, secret []byte, typ string, payload []byte) (string, error) {
	members := []member{{"alg", string(alg)}}
	if typ != "" {
		members = append(members, member{"typ", typ})
	}
	buf := base64.RawURLEncoding.AppendEncode(nil, appendObject(nil, members))
	buf = base64.RawURLEncoding.AppendEncode(append(buf, '.'), payload)
	mac, err := alg.sum(secret, buf)
	if err != nil {
		return "", err
	}
	return string(base64.RawURLEncoding.AppendEncode(append(buf, '.'), mac)), nil
}
