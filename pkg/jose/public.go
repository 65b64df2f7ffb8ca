// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// PublicKey is a verification key with its key id and its one algorithm. In JSON its use is always "sig".
type PublicKey struct {
	kid string
	alg Algorithm
	key crypto.PublicKey // *ecdsa.PublicKey, *rsa.PublicKey or ed25519.PublicKey, checked against alg
}

// Bounds of foreign keys and sets. An 8192-bit RSA key takes 1.5 KB; a certificate chain beside it is ignored, but counted.
const (
	maxJWKBytes = 16 << 10
	maxSetBytes = 256 << 10
	maxSetKeys  = 100
	maxKeyID    = 256
)

// KeyID is the "kid".
func (k PublicKey) KeyID() string { return k.kid }

// Algorithm is the "alg".
func (k PublicKey) Algorithm() Algorithm { return k.alg }

// IsZero reports whether k is no key.
func (k PublicKey) IsZero() bool { return k.key == nil }

// Equal reports whether both are the same key material, whatever their ids.
func (k PublicKey) Equal(o PublicKey) bool {
	c, ok := k.key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && o.key != nil && c.Equal(o.key)
}

// member is a JSON member of a JWK. Values that need no escaping are marked by being base64url or fixed words; kid is escaped.
type member struct{ name, value string }

// required are the members of RFC 7638 section 3.2 and RFC 8037 section 2, in lexicographic order.
func (k PublicKey) required() []member {
	b64 := base64.RawURLEncoding.EncodeToString
	switch key := k.key.(type) {
	case *ecdsa.PublicKey:
		t, _ := k.alg.traits()
		point, err := key.Bytes() // 4 | x | y (SEC 1 section 2.3.3)
		if err != nil {
			panic(err) // checked when the key was made
		}
		return []member{{"crv", t.crv}, {"kty", "EC"}, {"x", b64(point[1 : 1+t.size])}, {"y", b64(point[1+t.size:])}}
	case *rsa.PublicKey:
		return []member{{"e", b64(big.NewInt(int64(key.E)).Bytes())}, {"kty", "RSA"}, {"n", b64(key.N.Bytes())}}
	case ed25519.PublicKey:
		return []member{{"crv", "Ed25519"}, {"kty", "OKP"}, {"x", b64(key)}}
	}
	return nil
}

// JWK is the key as a JWK (RFC 7517) in canonical JSON: members in lexicographic order, no white space. So the same key gives the
// same bytes everywhere, and a JWKS has a stable ETag.
func (k PublicKey) JWK() []byte {
	members := append(k.required(), member{"alg", string(k.alg)}, member{"kid", k.kid}, member{"use", "sig"})
	slices.SortFunc(members, func(a, b member) int {
		switch {
		case a.name < b.name:
			return -1
		case a.name > b.name:
			return 1
		}
		return 0
	})
	return appendObject(nil, members)
}

func appendObject(b []byte, members []member) []byte {
	b = append(b, '{')
	for i, m := range members {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, m.name...)
		b = append(b, '"', ':')
		b = appendString(b, m.value)
	}
	return append(b, '}')
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string always marshals
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// Thumbprint is the base64url SHA-256 JWK thumbprint of RFC 7638: a name of the key material alone.
func (k PublicKey) Thumbprint() string {
	sum := sha256.Sum256(appendObject(nil, k.required()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// MarshalSet is the JWK Set {"keys":[…]} in the given order (RFC 7517 section 5).
func MarshalSet(keys []PublicKey) []byte {
	b := []byte(`{"keys":[`)
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, k.JWK()...)
	}
	return append(b, `]}`...)
}

// ParseJWK reads a public signing key. Stricter than RFC 7517 where leniency would be ambiguous: kid and alg must be there, alg must
// be one of this package and fit the key, use must be absent or "sig", key_ops absent or holding "verify", no member may occur twice,
// and a private or symmetric key is refused, since someone published what they should not have. Errors are ErrMalformed,
// ErrAlgorithm or ErrKey.
func ParseJWK(data []byte) (PublicKey, error) {
	if len(data) > maxJWKBytes {
		return PublicKey{}, fmt.Errorf("%w: JWK above %d bytes", ErrMalformed, maxJWKBytes)
	}
	var h jwkHead
	err := eachMember(data, h.read)
	switch {
	case err != nil:
		return PublicKey{}, err
	case h.private:
		return PublicKey{}, fmt.Errorf("%w: JWK holds a private or symmetric key", ErrKey)
	case h.kid == "" || len(h.kid) > maxKeyID:
		return PublicKey{}, fmt.Errorf("%w: JWK needs a kid of 1 to %d bytes", ErrMalformed, maxKeyID)
	case h.hasUse && h.use != "sig":
		return PublicKey{}, fmt.Errorf("%w: JWK is not for signatures", ErrKey)
	case h.notVerify:
		return PublicKey{}, fmt.Errorf("%w: JWK is not for verifying", ErrKey)
	}
	a := Algorithm(h.alg)
	t, ok := a.traits()
	if !ok {
		return PublicKey{}, fmt.Errorf("%w: JWK needs an alg of those supported", ErrAlgorithm)
	}
	if h.kty != t.kty {
		return PublicKey{}, fmt.Errorf("%w: kty does not fit alg %s", ErrKey, a)
	}
	parsed, err := jwk.ParseKey(data)
	if err != nil {
		// Not wrapped: the library's text may quote the input.
		return PublicKey{}, fmt.Errorf("%w: JWK", ErrMalformed)
	}
	var raw any
	if err := parsed.Raw(&raw); err != nil {
		return PublicKey{}, fmt.Errorf("%w: JWK", ErrKey)
	}
	if err := a.checkPublic(raw); err != nil {
		return PublicKey{}, err
	}
	return PublicKey{kid: h.kid, alg: a, key: raw}, nil
}

// jwkHead is what of a JWK is judged before the key material is.
type jwkHead struct {
	kid, alg, kty, use         string
	hasUse, private, notVerify bool
}

func (h *jwkHead) read(name, value []byte) (err error) {
	switch string(name) {
	case "kid":
		h.kid, err = stringValue(value)
	case "alg":
		h.alg, err = stringValue(value)
	case "kty":
		h.kty, err = stringValue(value)
	case "use":
		h.hasUse = true
		h.use, err = stringValue(value)
	case "key_ops":
		var ops []string
		if json.Unmarshal(value, &ops) != nil {
			return fmt.Errorf("%w: key_ops is not a list of strings", ErrMalformed)
		}
		h.notVerify = !slices.Contains(ops, "verify")
	case "d", "p", "q", "dp", "dq", "qi", "oth", "k":
		h.private = true
	}
	return err
}

// ParseSet reads the keys of a JWK Set that ParseJWK takes, in order, and passes over the others, as RFC 7517 section 5 asks:
// an issuer may publish encryption keys and new kinds beside those we know. The error is ErrMalformed when the document is no JWK
// Set, is above 256 KiB or 100 keys, or gives one kid to two usable keys.
func ParseSet(data []byte) ([]PublicKey, error) {
	list, err := setMembers(data, maxSetBytes, maxSetKeys)
	if err != nil {
		return nil, err
	}
	keys := make([]PublicKey, 0, len(list))
	for _, item := range list {
		k, err := ParseJWK(item)
		if err != nil {
			continue
		}
		if slices.ContainsFunc(keys, func(o PublicKey) bool { return o.kid == k.kid }) {
			return nil, fmt.Errorf("%w: two keys of the set have one kid", ErrMalformed)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// setMembers are the texts of the keys of a JWK Set (RFC 7517 section 5). The error is ErrMalformed.
func setMembers(data []byte, maxBytes, maxKeys int) (list []json.RawMessage, err error) {
	if len(data) > maxBytes {
		return nil, fmt.Errorf("%w: JWK Set above %d bytes", ErrMalformed, maxBytes)
	}
	found := false
	err = eachMember(data, func(name, value []byte) error {
		if string(name) != "keys" {
			return nil
		}
		found = true
		if json.Unmarshal(value, &list) != nil {
			return fmt.Errorf("%w: keys is not a list", ErrMalformed)
		}
		return nil
	})
	if err == nil && (!found || len(list) > maxKeys) {
		err = fmt.Errorf("%w: JWK Set needs at most %d keys", ErrMalformed, maxKeys)
	}
	return list, err
}
