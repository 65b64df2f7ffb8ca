// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2etest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
)

// What follows signs and verifies JSON Web Signatures with the standard library alone. It is written a second time here on purpose: a
// mistake in pkg/jose would otherwise be made on both sides and never be seen.

// Key is a key pair of a client.
type Key struct {
	// Alg is what it signs with: ES256, PS256, RS256 or EdDSA.
	Alg string
	// KID is its id.
	KID string

	private crypto.Signer
}

// rsaKeys are made once: to find primes is most of what a key costs, and what tests say of a key does not depend on whose it is.
var rsaKeys = sync.OnceValues(func() (keys [3]*rsa.PrivateKey, err error) {
	for i := range keys {
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return keys, err
		}
	}
	return keys, nil
})

// NewKey makes a key for an algorithm. RSA keys are drawn from a few: two in a row differ.
func NewKey(t testing.TB, alg string) *Key {
	t.Helper()
	k := &Key{Alg: alg, KID: Unique("k-")}
	switch alg {
	case "ES256":
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		k.private = private
	case "EdDSA":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		k.private = private
	case "PS256", "RS256":
		all, err := rsaKeys()
		if err != nil {
			t.Fatal(err)
		}
		rsaMu.Lock()
		rsaNext++
		k.private = all[rsaNext%len(all)]
		rsaMu.Unlock()
	default:
		t.Fatalf("no keys for %q", alg)
	}
	return k
}

var (
	rsaMu   sync.Mutex
	rsaNext int
)

// With is the same key for another algorithm of its type, such as RS256 with an RSA key.
func (k *Key) With(alg string) *Key { return &Key{Alg: alg, KID: k.KID, private: k.private} }

// JWK is the public half (RFC 7517) with `kid`, `alg` and `use`.
func (k *Key) JWK() map[string]any {
	jwk := k.Bare()
	jwk["kid"], jwk["alg"], jwk["use"] = k.KID, k.Alg, "sig"
	return jwk
}

// JWKS is a set with the public halves of keys.
func JWKS(keys ...*Key) map[string]any {
	set := make([]any, len(keys))
	for i, k := range keys {
		set[i] = k.JWK()
	}
	return map[string]any{"keys": set}
}

// Bare is the public half with the members that make the key, and no other: those of which the thumbprint is (RFC 7638).
func (k *Key) Bare() map[string]any {
	switch pub := k.private.Public().(type) {
	case *ecdsa.PublicKey:
		raw, err := pub.Bytes()
		if err != nil {
			panic(err) // the key was generated on its curve
		}
		return map[string]any{"kty": "EC", "crv": "P-256", "x": b64(raw[1:33]), "y": b64(raw[33:])}
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64(pub)}
	case *rsa.PublicKey:
		return map[string]any{"kty": "RSA", "n": b64(pub.N.Bytes()), "e": b64(big.NewInt(int64(pub.E)).Bytes())}
	}
	return nil
}

// PrivateJWK is the key with its private half: what nobody should ever send.
func (k *Key) PrivateJWK() map[string]any {
	jwk := k.Bare()
	if private, ok := k.private.(*ecdsa.PrivateKey); ok {
		raw, err := private.Bytes()
		if err != nil {
			panic(err) // as above
		}
		jwk["d"] = b64(raw)
	}
	return jwk
}

// Thumbprint is the SHA-256 thumbprint (RFC 7638): encoding/json writes the members in the order that it wants.
func (k *Key) Thumbprint() string {
	raw, err := json.Marshal(k.Bare())
	if err != nil {
		panic(err) // strings in a map
	}
	sum := sha256.Sum256(raw)
	return b64(sum[:])
}

// Sign makes a compact JWS. The header gets `alg` and `kid` unless it says something of them itself; a nil value takes a member out.
func (k *Key) Sign(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	h := map[string]any{"alg": k.Alg, "kid": k.KID}
	maps.Copy(h, header)
	input := encode(t, h) + "." + encode(t, claims)
	signature, err := k.sign([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + b64(signature)
}

func (k *Key) sign(input []byte) ([]byte, error) {
	sum := sha256.Sum256(input)
	switch private := k.private.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, private, sum[:])
		if err != nil {
			return nil, err
		}
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), nil
	case ed25519.PrivateKey:
		return ed25519.Sign(private, input), nil
	case *rsa.PrivateKey:
		if k.Alg == "RS256" {
			return rsa.SignPKCS1v15(nil, private, crypto.SHA256, sum[:])
		}
		return rsa.SignPSS(rand.Reader, private, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	}
	return nil, errors.New("no such key")
}

// Unsigned makes a JWS with alg none.
func Unsigned(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	h := map[string]any{"alg": "none"}
	maps.Copy(h, header)
	return encode(t, h) + "." + encode(t, claims) + "."
}

// SignHMAC makes a JWS with HS256.
func SignHMAC(t testing.TB, secret string, header, claims map[string]any) string {
	t.Helper()
	h := map[string]any{"alg": "HS256"}
	maps.Copy(h, header)
	input := encode(t, h) + "." + encode(t, claims)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(input))
	return input + "." + b64(mac.Sum(nil))
}

// BreakSignature changes one bit in the middle of a JWS's signature.
func BreakSignature(t testing.TB, token string) string {
	t.Helper()
	i := strings.LastIndexByte(token, '.')
	raw, err := base64.RawURLEncoding.DecodeString(token[i+1:])
	if err != nil || len(raw) == 0 {
		t.Fatalf("signature: %v", err)
	}
	raw[len(raw)/2] ^= 1
	return token[:i+1] + b64(raw)
}

func encode(t testing.TB, m map[string]any) string {
	t.Helper()
	clean := make(map[string]any, len(m))
	for k, v := range m {
		if v != nil {
			clean[k] = v
		}
	}
	raw, err := json.Marshal(clean)
	if err != nil {
		t.Fatal(err)
	}
	return b64(raw)
}

func b64(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// VerifyJWS verifies a compact JWS by the key of a set that its header names, which must be for that algorithm and for signatures.
func VerifyJWS(keys []map[string]any, token string, algs ...string) (header, claims map[string]any, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, nil, fmt.Errorf("%d parts, a JWS has 3", len(parts))
	}
	var signature []byte
	for i, into := range []*map[string]any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return nil, nil, err
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return nil, nil, err
		}
	}
	if signature, err = base64.RawURLEncoding.DecodeString(parts[2]); err != nil {
		return nil, nil, err
	}
	alg := Str(header, "alg")
	if !slices.Contains(algs, alg) {
		return nil, nil, fmt.Errorf("alg %q, want one of %q", alg, algs)
	}
	i := slices.IndexFunc(keys, func(k map[string]any) bool { return k["kid"] == header["kid"] && k["kid"] != nil })
	if i < 0 {
		return nil, nil, fmt.Errorf("kid %v is not in the set", header["kid"])
	}
	k := keys[i]
	if k["alg"] != alg || k["use"] != "sig" {
		return nil, nil, fmt.Errorf("the key is for %v and %v, the header says %s", k["alg"], k["use"], alg)
	}
	if !verifies(k, alg, []byte(parts[0]+"."+parts[1]), signature) {
		return nil, nil, errors.New("wrong signature")
	}
	return header, claims, nil
}

func verifies(jwk map[string]any, alg string, input, signature []byte) bool {
	member := func(name string) []byte {
		raw, _ := base64.RawURLEncoding.DecodeString(Str(jwk, name)) // a wrong one makes a key that verifies nothing
		return raw
	}
	sum := sha256.Sum256(input)
	switch alg {
	case "ES256":
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, member("x"), member("y")))
		return err == nil && len(signature) == 64 && ecdsa.Verify(pub, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	case "EdDSA":
		x := member("x")
		return len(x) == ed25519.PublicKeySize && ed25519.Verify(x, input, signature)
	case "RS256", "PS256":
		pub := &rsa.PublicKey{N: new(big.Int).SetBytes(member("n")), E: int(new(big.Int).SetBytes(member("e")).Int64())}
		if alg == "RS256" {
			return rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], signature) == nil
		}
		return rsa.VerifyPSS(pub, crypto.SHA256, sum[:], signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	}
	return false
}

// HalfHash is the left half of a SHA-256 hash, as at_hash, c_hash and s_hash are for the algorithms that end in 256.
func HalfHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return b64(sum[:16])
}

// Hash is the whole SHA-256 hash in base64url: of an access token for a DPoP proof, of a code_verifier.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return b64(sum[:])
}
