// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
)

// foreignKey is a public key as a stranger wrote it: neither kid nor alg need be there.
type foreignKey struct {
	kid  string
	key  crypto.PublicKey // *ecdsa.PublicKey, *rsa.PublicKey, ed25519.PublicKey or, with X25519, *ecdh.PublicKey
	sigs []Algorithm      // what it may verify
	encs []string         // JWE "alg" values that it may encrypt with; those of its own "alg" if it has one
	use  string           // "sig", "enc" or ""
	name []byte           // the JSON that RFC 7638 hashes
	leaf string           // thumbprint of the first certificate of x5c, or empty
}

// What each kind of key can be used for. The lists are shared and never written to.
var (
	algES256 = []Algorithm{ES256}
	algES384 = []Algorithm{ES384}
	algRSA   = []Algorithm{RS256, PS256}
	algEdDSA = []Algorithm{EdDSA}
	encRSA   = []string{algRSAOAEP256, algRSAOAEP}
	encECDH  = []string{algECDHES, algECDHESA128KW, algECDHESA256KW}
	sigOps   = []string{"verify"}
	encOps   = []string{"encrypt", "wrapKey", "deriveKey", "deriveBits"}
)

// rawJWK are the members of a JWK that matter to us, still as JSON: what they have to be depends on kty.
type rawJWK struct {
	kty, crv, x, y, n, e    []byte
	kid, alg, use, ops, x5c []byte
	private, symmetricBytes bool
}

func (r *rawJWK) read(name, value []byte) error {
	switch string(name) {
	case "kty":
		r.kty = value
	case "crv":
		r.crv = value
	case "x":
		r.x = value
	case "y":
		r.y = value
	case "n":
		r.n = value
	case "e":
		r.e = value
	case "kid":
		r.kid = value
	case "alg":
		r.alg = value
	case "use":
		r.use = value
	case "key_ops":
		r.ops = value
	case "x5c":
		r.x5c = value
	case "d", "p", "q", "dp", "dq", "qi", "oth", "priv":
		r.private = true
	case "k":
		r.symmetricBytes = true
	}
	return nil
}

// parseForeignKey reads one JWK of a stranger. ok is false for a key that is none of our business: of a kind, a curve, an algorithm or
// a use that we do not know. ErrKey is for what nobody may publish (private and symmetric keys), for keys that are too weak or too
// costly, and for points that are not on their curve; ErrMalformed for what is no JWK and for numbers in a second spelling.
func parseForeignKey(data []byte, maxBits int) (k foreignKey, ok bool, err error) {
	var r rawJWK
	if err := eachMember(data, r.read); err != nil {
		return foreignKey{}, false, err
	}
	kty, _ := unquote(r.kty)
	if r.private || r.symmetricBytes || string(kty) == "oct" {
		return foreignKey{}, false, fmt.Errorf("%w: JWK holds a private or symmetric key", ErrKey)
	}
	switch string(kty) {
	case "EC":
		ok, err = k.readEC(&r)
	case "RSA":
		ok, err = k.readRSA(&r, maxBits)
	case "OKP":
		ok, err = k.readOKP(&r)
	}
	if !ok || err != nil {
		return foreignKey{}, false, err
	}
	if ok, err = k.restrict(&r); !ok || err != nil {
		return foreignKey{}, false, err
	}
	return k, true, nil
}

// restrict applies kid, alg, use and key_ops.
func (k *foreignKey) restrict(r *rawJWK) (ok bool, err error) {
	if r.kid != nil {
		if k.kid, err = stringValue(r.kid); err != nil {
			return false, err
		}
		if len(k.kid) > maxKeyID {
			return false, fmt.Errorf("%w: kid above %d bytes", ErrMalformed, maxKeyID)
		}
	}
	if r.use != nil {
		if k.use, err = stringValue(r.use); err != nil {
			return false, err
		}
		switch k.use {
		case "sig":
			k.encs = nil
		case "enc":
			k.sigs = nil
		default:
			return false, nil
		}
	}
	if r.alg != nil {
		alg, err := stringValue(r.alg)
		if err != nil {
			return false, err
		}
		k.sigs = only(k.sigs, Algorithm(alg))
		k.encs = only(k.encs, alg)
	}
	if r.ops != nil {
		var ops []string
		if json.Unmarshal(r.ops, &ops) != nil {
			return false, fmt.Errorf("%w: key_ops is not a list of strings", ErrMalformed)
		}
		// An empty list is what WebCrypto writes for the public half of a key agreement.
		has := func(op string) bool { return slices.Contains(ops, op) }
		if len(ops) > 0 && !slices.ContainsFunc(sigOps, has) {
			k.sigs = nil
		}
		if len(ops) > 0 && !slices.ContainsFunc(encOps, has) {
			k.encs = nil
		}
	}
	if r.x5c != nil {
		var chain []string
		if json.Unmarshal(r.x5c, &chain) != nil || len(chain) == 0 {
			return false, fmt.Errorf("%w: x5c is not a list of certificates", ErrMalformed)
		}
		der, err := base64.StdEncoding.DecodeString(chain[0]) // not base64url (RFC 7517 section 4.7)
		if err != nil {
			return false, fmt.Errorf("%w: x5c is not base64", ErrMalformed)
		}
		k.leaf = CertificateThumbprint(der)
	}
	return len(k.sigs)+len(k.encs) > 0, nil
}

// only is the part of the list that is alg.
func only[A ~string](list []A, alg A) []A {
	if i := slices.Index(list, alg); i >= 0 {
		return list[i : i+1 : i+1]
	}
	return nil
}

// readEC reads a key of RFC 7518 section 6.2.
func (k *foreignKey) readEC(r *rawJWK) (ok bool, err error) {
	var curve elliptic.Curve
	crv, _ := unquote(r.crv)
	switch string(crv) {
	case "P-256":
		curve, k.sigs = elliptic.P256(), algES256
	case "P-384":
		curve, k.sigs = elliptic.P384(), algES384
	case "P-521":
		curve = elliptic.P521() // for key agreement only
	default:
		return false, nil
	}
	k.encs = encECDH
	size := (curve.Params().BitSize + 7) / 8
	var stack [1 + 2*66]byte
	x, point, err := appendNumber(append(stack[:0], 4), r.x, size)
	if err != nil {
		return false, err
	}
	y, point, err := appendNumber(point, r.y, size)
	if err != nil {
		return false, err
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return false, fmt.Errorf("%w: not a point of the curve", ErrKey)
	}
	k.key = pub
	k.name = make([]byte, 0, 192)
	k.name = append(append(k.name, `{"crv":"`...), crv...)
	k.name = append(append(k.name, `","kty":"EC","x":"`...), x...)
	k.name = append(append(k.name, `","y":"`...), y...)
	k.name = append(k.name, `"}`...)
	return true, nil
}

// readRSA reads a key of RFC 7518 section 6.3.
func (k *foreignKey) readRSA(r *rawJWK, maxBits int) (ok bool, err error) {
	nText, n, err := appendNumber(nil, r.n, 0)
	if err != nil {
		return false, err
	}
	eText, e, err := appendNumber(nil, r.e, 0)
	if err != nil {
		return false, err
	}
	if len(n) > maxBits/8 || len(e) > 4 {
		return false, fmt.Errorf("%w: RSA key above %d bits or with a larger exponent than 32 bits", ErrKey, maxBits)
	}
	pub := &rsa.PublicKey{N: new(big.Int).SetBytes(n)}
	for _, b := range e {
		pub.E = pub.E<<8 | int(b)
	}
	if err := RS256.checkPublic(pub); err != nil {
		return false, err
	}
	k.key, k.sigs, k.encs = pub, algRSA, encRSA
	k.name = make([]byte, 0, 32+len(nText)+len(eText))
	k.name = append(append(k.name, `{"e":"`...), eText...)
	k.name = append(append(k.name, `","kty":"RSA","n":"`...), nText...)
	k.name = append(k.name, `"}`...)
	return true, nil
}

// readOKP reads a key of RFC 8037 section 2.
func (k *foreignKey) readOKP(r *rawJWK) (ok bool, err error) {
	crv, _ := unquote(r.crv)
	switch string(crv) {
	case "Ed25519", "X25519":
	default:
		return false, nil
	}
	text, x, err := appendNumber(nil, r.x, 32)
	if err != nil {
		return false, err
	}
	if string(crv) == "Ed25519" {
		k.key, k.sigs = ed25519.PublicKey(x), algEdDSA
	} else {
		pub, err := ecdh.X25519().NewPublicKey(x)
		if err != nil {
			return false, fmt.Errorf("%w: not an X25519 key", ErrKey)
		}
		k.key, k.encs = pub, encECDH
	}
	k.name = append(append([]byte(`{"crv":"`), crv...), `","kty":"OKP","x":"`...)
	k.name = append(append(k.name, text...), `"}`...)
	return true, nil
}

// appendNumber decodes a base64url member of exactly size bytes, or of any size without a leading zero when size is 0, appends it to
// dst and returns its text as well. The text is the only one that means these bytes, so it can go into a thumbprint as it is: a decoder
// that skips line breaks, spare bits or leading zeros would give one key many names.
func appendNumber(dst, value []byte, size int) (text, out []byte, err error) {
	text, ok := unquote(value)
	if !ok || len(text) == 0 || len(text) > maxJWKBytes || slices.Contains(text, '\n') || slices.Contains(text, '\r') {
		return nil, nil, fmt.Errorf("%w: JWK lacks a base64url member", ErrMalformed)
	}
	start := len(dst)
	if size > 0 && base64.RawURLEncoding.DecodedLen(len(text)) != size {
		return nil, nil, fmt.Errorf("%w: JWK member of another length than the curve's", ErrMalformed)
	}
	if out, err = encoding.AppendDecode(dst, text); err != nil {
		return nil, nil, fmt.Errorf("%w: JWK member is not base64url", ErrMalformed)
	}
	if size == 0 && out[start] == 0 {
		return nil, nil, fmt.Errorf("%w: JWK member with a leading zero", ErrMalformed)
	}
	return text, out, nil
}

// thumbprint is the base64url SHA-256 thumbprint of RFC 7638.
func (k *foreignKey) thumbprint() string {
	sum := sha256.Sum256(k.name)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// CertificateThumbprint is the base64url SHA-256 of a certificate's DER bytes: "x5t#S256" in RFC 7515 section 4.1.8, and in the cnf claim of
// a certificate-bound token (RFC 8705 section 3.1).
func CertificateThumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
