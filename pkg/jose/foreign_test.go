// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// members of a key of ours, to be changed by a test; nil deletes one.
func jwkWith(t testing.TB, a Algorithm, change map[string]any) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(keys()[a].Public("k1").JWK(), &m); err != nil {
		t.Fatal(err)
	}
	for name, value := range change {
		if m[name] = value; value == nil {
			delete(m, name)
		}
	}
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func setOf(jwks ...string) []byte { return []byte(`{"keys":[` + strings.Join(jwks, ",") + `]}`) }

func parseForeign(t testing.TB, jwks ...string) *ForeignSet {
	t.Helper()
	s, err := ParseForeignSet(setOf(jwks...))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var nothing = map[string]any{"kid": nil, "alg": nil, "use": nil}

// tokenWith is a token of any header that is signed by the key of the algorithm.
func tokenWith(t testing.TB, a Algorithm, header string) string {
	t.Helper()
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sig, err := keys()[a].sign(nil, []byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestForeignSetVerifiesEveryAlgorithm(t *testing.T) {
	for _, a := range algorithms {
		for _, withKid := range []bool{true, false} {
			header := `{"alg":"` + string(a) + `","typ":"at+jwt"}`
			if withKid {
				header = `{"alg":"` + string(a) + `","kid":"k1","typ":"at+jwt"}`
			}
			for name, set := range map[string]*ForeignSet{
				"full JWK": parseForeign(t, jwkWith(t, a, nil)),
				"bare JWK": parseForeign(t, jwkWith(t, a, map[string]any{"alg": nil, "use": nil})),
			} {
				payload, h, err := set.Verify(tokenWith(t, a, header), accept(a))
				if err != nil || !bytes.Equal(payload, claims) || h.Alg != string(a) || (h.KeyID != "") != withKid {
					t.Errorf("%s, %s, kid %v: %+v, %v", a, name, withKid, h, err)
				}
			}
		}
	}
}

func TestForeignSetFindsKeys(t *testing.T) {
	es, ps, rs := tokenWith(t, ES256, `{"alg":"ES256"}`), tokenWith(t, PS256, `{"alg":"PS256","kid":"k1"}`), tokenWith(t, RS256, `{"alg":"RS256"}`)
	bare := jwkWith(t, ES256, nothing)
	other := string(mustGenerate(t, ES256).Public("k1").JWK())
	nine := strings.Split(strings.Repeat(other+"|", 9), "|")[:9]
	for _, c := range []struct {
		name  string
		jwks  []string
		token string
		want  error
	}{
		{"second of two with one kid", []string{other, jwkWith(t, ES256, nil)}, tokenWith(t, ES256, `{"alg":"ES256","kid":"k1"}`), nil},
		{"one kid, other type", []string{jwkWith(t, RS256, nil), jwkWith(t, ES256, nil)}, tokenWith(t, ES256, `{"alg":"ES256","kid":"k1"}`), nil},
		{"no kid in the token", []string{other, jwkWith(t, ES256, nil)}, es, nil},
		{"no kid anywhere", []string{bare}, es, nil},
		{"kid of a token that no key has", []string{bare}, tokenWith(t, ES256, `{"alg":"ES256","kid":"k1"}`), ErrUnknownKey},
		{"another kid", []string{jwkWith(t, ES256, nil)}, tokenWith(t, ES256, `{"alg":"ES256","kid":"k2"}`), ErrUnknownKey},
		{"no key of the type", []string{jwkWith(t, RS256, nothing)}, es, ErrUnknownKey},
		{"empty set", nil, es, ErrUnknownKey},
		{"key for encryption", []string{jwkWith(t, ES256, map[string]any{"use": "enc", "alg": nil})}, es, ErrUnknownKey},
		{"key_ops without verify", []string{jwkWith(t, ES256, map[string]any{"use": nil, "key_ops": []string{"deriveBits"}})}, es, ErrUnknownKey},
		{"key of its own other alg", []string{jwkWith(t, PS256, map[string]any{"alg": "RS256"})}, ps, ErrUnknownKey},
		{"RSA without alg takes PS256", []string{jwkWith(t, PS256, map[string]any{"alg": nil})}, ps, nil},
		{"RSA without alg takes RS256", []string{jwkWith(t, RS256, nothing)}, rs, nil},
		{"key of a stranger", []string{other}, es, ErrSignature},
		{"the ninth key is not tried", append(slices.Clone(nine[:8]), bare), es, ErrSignature},
		{"the eighth key is tried", append(slices.Clone(nine[:7]), bare), es, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := parseForeign(t, c.jwks...)
			payload, h, err := set.Verify(c.token, VerifyOptions{Typ: []string{""}, Algorithms: []Algorithm{ES256, RS256, PS256}})
			if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) || (payload != nil) != (err == nil) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if h.Alg == "" { // every row either verifies or may be a rotation that the caller has not seen
				t.Error("no header, so the caller cannot decide to fetch again")
			}
		})
	}
	if _, h, err := parseForeign(t, other).Verify(tokenWith(t, ES256, `{"alg":"ES256","kid":"k1"}`), VerifyOptions{Typ: []string{""}, Algorithms: []Algorithm{ES256}}); !errors.Is(err, ErrSignature) || h != (Header{}) {
		t.Errorf("bad signature of a known kid: %+v, %v", h, err)
	}
	var none *ForeignSet
	if _, _, err := none.Verify(es, VerifyOptions{Typ: []string{""}, Algorithms: []Algorithm{ES256}}); !errors.Is(err, ErrUnknownKey) || none.Len() != 0 {
		t.Errorf("nil set: %v", err)
	}
}

func TestAttackOnForeignToken(t *testing.T) {
	set := parseForeign(t, jwkWith(t, ES256, nil), jwkWith(t, RS256, map[string]any{"kid": "rsa"}))
	public := keys()[RS256].Public("rsa")
	mac, err := SignHMAC(HS256, public.JWK(), "at+jwt", claims)
	if err != nil {
		t.Fatal(err)
	}
	good := tokenWith(t, ES256, `{"alg":"ES256","kid":"k1","typ":"at+jwt"}`)
	parts := strings.Split(good, ".")
	// Even a caller that lists an algorithm of shared secrets by mistake does not get it from a set of public keys.
	opt := VerifyOptions{Typ: []string{"at+jwt"}, Algorithms: []Algorithm{ES256, RS256, HS256}}
	if _, _, err := set.Verify(good, opt); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, token string
		want        error
	}{
		{"alg none", tokenWith(t, ES256, `{"alg":"none","kid":"k1","typ":"at+jwt"}`), ErrAlgorithm},
		{"alg none without signature", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + parts[1] + ".", ErrMalformed},
		{"RS256 key as HS256 secret", mac, ErrUnknownKey},
		{"alg of another key under this kid", tokenWith(t, ES256, `{"alg":"RS256","kid":"k1","typ":"at+jwt"}`), ErrUnknownKey},
		{"kid empty", tokenWith(t, ES256, `{"alg":"ES256","kid":"","typ":"at+jwt"}`), ErrMalformed},
		{"kid not a string", tokenWith(t, ES256, `{"alg":"ES256","kid":["k1"],"typ":"at+jwt"}`), ErrMalformed},
		{"kid twice", tokenWith(t, ES256, `{"alg":"ES256","kid":"k2","kid":"k1","typ":"at+jwt"}`), ErrMalformed},
		{"kid too long", tokenWith(t, ES256, `{"alg":"ES256","kid":"`+strings.Repeat("k", 300)+`","typ":"at+jwt"}`), ErrMalformed},
		{"kid as a path", tokenWith(t, ES256, `{"alg":"ES256","kid":"../k1","typ":"at+jwt"}`), ErrUnknownKey},
		{"kid as SQL", tokenWith(t, ES256, `{"alg":"ES256","kid":"k1' or '1","typ":"at+jwt"}`), ErrUnknownKey},
		{"jwk in the header", tokenWith(t, ES256, `{"alg":"ES256","typ":"at+jwt","jwk":`+jwkWith(t, ES256, nil)+`}`), ErrMalformed},
		{"jku", tokenWith(t, ES256, `{"alg":"ES256","kid":"k1","typ":"at+jwt","jku":"https://evil.example"}`), ErrMalformed},
		{"x5c", tokenWith(t, ES256, `{"alg":"ES256","kid":"k1","typ":"at+jwt","x5c":[]}`), ErrMalformed},
		{"crit", tokenWith(t, ES256, `{"alg":"ES256","kid":"k1","typ":"at+jwt","crit":["b64"],"b64":false}`), ErrMalformed},
		{"b64 false", tokenWith(t, ES256, `{"alg":"ES256","kid":"k1","typ":"at+jwt","b64":false}`), ErrMalformed},
		{"typ of something else", tokenWith(t, ES256, `{"alg":"ES256","kid":"k1","typ":"JWT"}`), ErrType},
		{"oversized", good + strings.Repeat("A", DefaultMaxBytes), ErrMalformed},
		{"nested in a fourth part", good + "." + parts[2], ErrMalformed},
		{"a JWE", good + "." + parts[1] + "." + parts[2], ErrMalformed},
		{"padding in the header", parts[0] + "=." + parts[1] + "." + parts[2], ErrMalformed},
		{"spare bits in the payload", parts[0] + ".YWJ." + parts[2], ErrMalformed},
		{"bad base64 in the signature", parts[0] + "." + parts[1] + ".***", ErrMalformed},
		{"line break", good[:len(good)-3] + "\n" + good[len(good)-3:], ErrMalformed},
		{"payload of another token", parts[0] + ".e30." + parts[2], ErrSignature},
	} {
		t.Run(c.name, func(t *testing.T) {
			if payload, _, err := set.Verify(c.token, opt); !errors.Is(err, c.want) || payload != nil {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	if _, _, err := set.Verify(good, VerifyOptions{Typ: []string{"at+jwt"}}); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("no algorithms: %v", err)
	}
}

func TestParseForeignSetPassesOverWhatItDoesNotKnow(t *testing.T) {
	p521 := `{"kty":"EC","crv":"P-521","x":"AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt","y":"AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1"}`
	for name, c := range map[string]struct {
		jwk  string
		want int
	}{
		"future kty":            {`{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}`, 0},
		"kty missing":           {`{"x":1}`, 0},
		"secp256k1":             {jwkWith(t, ES256, map[string]any{"crv": "secp256k1"}), 0},
		"Ed448":                 {jwkWith(t, EdDSA, map[string]any{"crv": "Ed448"}), 0},
		"alg unknown":           {jwkWith(t, RS256, map[string]any{"alg": "RS512"}), 0},
		"alg of RSA1_5":         {jwkWith(t, RS256, map[string]any{"alg": "RSA1_5", "use": "enc"}), 0},
		"alg of another type":   {jwkWith(t, ES256, map[string]any{"alg": "RS256"}), 0},
		"alg against use":       {jwkWith(t, RS256, map[string]any{"use": "enc"}), 0},
		"use unknown":           {jwkWith(t, ES256, map[string]any{"use": "tls"}), 0},
		"unknown members":       {jwkWith(t, ES256, map[string]any{"iat": 1, "ext": true, "z": map[string]any{"d": 1}}), 1},
		"empty key_ops":         {jwkWith(t, ES256, map[string]any{"key_ops": []string{}}), 1},
		"P-521, which encrypts": {p521, 1},
	} {
		s, err := ParseForeignSet(setOf(c.jwk, jwkWith(t, EdDSA, nil)))
		if err != nil || s.Len() != c.want+1 {
			t.Errorf("%s: %d keys, %v", name, s.Len(), err)
		}
	}
}

func TestParseForeignSetRefuses(t *testing.T) {
	private, err := jwk.FromRaw(keys()[EdDSA].signer)
	if err != nil {
		t.Fatal(err)
	}
	leaked, err := json.Marshal(private)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	var ec map[string]string
	if err := json.Unmarshal(keys()[ES256].Public("k").JWK(), &ec); err != nil {
		t.Fatal(err)
	}
	n, err := base64.RawURLEncoding.DecodeString(func() string {
		var m map[string]string
		_ = json.Unmarshal(keys()[RS256].Public("k").JWK(), &m)
		return m["n"]
	}())
	if err != nil {
		t.Fatal(err)
	}
	good := jwkWith(t, ES256, nil)
	for name, c := range map[string]struct {
		data string
		want error
	}{
		"empty":                         {``, ErrMalformed},
		"a list":                        {`[]`, ErrMalformed},
		"one key and no set":            {good, ErrMalformed},
		"keys an object":                {`{"keys":{}}`, ErrMalformed},
		"keys twice":                    {`{"keys":[],"keys":[` + good + `]}`, ErrMalformed},
		"a key that is a number":        {`{"keys":[7]}`, ErrMalformed},
		"51 keys":                       {string(setOf(slices.Repeat([]string{good}, 51)...)), ErrMalformed},
		"above 64 KiB":                  {`{"keys":[],"pad":"` + strings.Repeat("x", 64<<10) + `"}`, ErrMalformed},
		"nested 30000 deep":             {`{"keys":` + strings.Repeat("[", 30000) + strings.Repeat("]", 30000) + `}`, ErrMalformed},
		"private key":                   {string(setOf(good, string(leaked))), ErrKey},
		"private member of a future":    {string(setOf(`{"kty":"AKP","alg":"ML-DSA-44","pub":"AA","priv":"AA"}`)), ErrKey},
		"symmetric key":                 {string(setOf(`{"kty":"oct","k":"c2VjcmV0"}`)), ErrKey},
		"symmetric key without k":       {string(setOf(`{"kty":"oct"}`)), ErrKey},
		"duplicate member":              {string(setOf(strings.Replace(good, `{`, `{"kid":"z",`, 1))), ErrMalformed},
		"kid a number":                  {string(setOf(jwkWith(t, ES256, map[string]any{"kid": 1}))), ErrMalformed},
		"kid too long":                  {string(setOf(jwkWith(t, ES256, map[string]any{"kid": strings.Repeat("k", 257)}))), ErrMalformed},
		"alg a list":                    {string(setOf(jwkWith(t, ES256, map[string]any{"alg": []string{"ES256"}}))), ErrMalformed},
		"use a number":                  {string(setOf(jwkWith(t, ES256, map[string]any{"use": 1}))), ErrMalformed},
		"key_ops a word":                {string(setOf(jwkWith(t, ES256, map[string]any{"key_ops": "verify"}))), ErrMalformed},
		"x missing":                     {string(setOf(jwkWith(t, ES256, map[string]any{"x": nil}))), ErrMalformed},
		"x a number":                    {string(setOf(jwkWith(t, ES256, map[string]any{"x": 5}))), ErrMalformed},
		"x short":                       {string(setOf(jwkWith(t, ES256, map[string]any{"x": ec["x"][:40]}))), ErrMalformed},
		"x with a line break":           {string(setOf(jwkWith(t, ES256, map[string]any{"x": ec["x"][:9] + "\n" + ec["x"][9:]}))), ErrMalformed},
		"x with padding":                {string(setOf(jwkWith(t, ES256, map[string]any{"x": ec["x"] + "="}))), ErrMalformed},
		"point off the curve":           {string(setOf(jwkWith(t, ES256, map[string]any{"y": ec["x"]}))), ErrKey},
		"point at zero":                 {string(setOf(jwkWith(t, ES256, map[string]any{"x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))}))), ErrKey},
		"P-384 point as P-256":          {string(setOf(jwkWith(t, ES384, map[string]any{"crv": "P-256"}))), ErrMalformed},
		"RSA of 1024 bits":              {string(setOf(jwkWith(t, RS256, map[string]any{"n": b64(bytes.Repeat([]byte{0xff}, 128))}))), ErrKey},
		"RSA of 16384 bits":             {string(setOf(jwkWith(t, RS256, map[string]any{"n": b64(bytes.Repeat([]byte{0xff}, 2048))}))), ErrKey},
		"RSA exponent 1":                {string(setOf(jwkWith(t, RS256, map[string]any{"e": "AQ"}))), ErrKey},
		"RSA exponent 3":                {string(setOf(jwkWith(t, RS256, map[string]any{"e": "Aw"}))), ErrKey},
		"RSA exponent even":             {string(setOf(jwkWith(t, RS256, map[string]any{"e": "AQAA"}))), ErrKey},
		"RSA exponent of 5 bytes":       {string(setOf(jwkWith(t, RS256, map[string]any{"e": "AQAAAAE"}))), ErrKey},
		"RSA modulus with a line break": {string(setOf(jwkWith(t, RS256, map[string]any{"n": b64(n)[:100] + "\n" + b64(n)[100:]}))), ErrMalformed},
		"RSA modulus with a zero":       {string(setOf(jwkWith(t, RS256, map[string]any{"n": b64(append([]byte{0}, n...))}))), ErrMalformed},
		"Ed25519 short":                 {string(setOf(jwkWith(t, EdDSA, map[string]any{"x": "AAAA"}))), ErrMalformed},
		"x5c a word":                    {string(setOf(jwkWith(t, ES256, map[string]any{"x5c": "MII"}))), ErrMalformed},
		"x5c empty":                     {string(setOf(jwkWith(t, ES256, map[string]any{"x5c": []string{}}))), ErrMalformed},
		"x5c not base64":                {string(setOf(jwkWith(t, ES256, map[string]any{"x5c": []string{"*"}}))), ErrMalformed},
	} {
		if s, err := ParseForeignSet([]byte(c.data)); !errors.Is(err, c.want) || s != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestForeignEncryptionKeyIsTheOneMeant(t *testing.T) {
	rsaPub := func(change map[string]any) string { return jwkWith(t, RS256, change) }
	both := map[string]any{"kid": "both", "use": nil, "alg": nil}
	enc := map[string]any{"kid": "enc", "use": "enc", "alg": nil}
	own := map[string]any{"kid": "own", "use": "enc", "alg": "RSA-OAEP"}
	sig := map[string]any{"kid": "sig", "use": "sig", "alg": nil}
	for _, c := range []struct {
		name, alg, want string
		jwks            []string
	}{
		{"only one for signatures", "RSA-OAEP-256", "", []string{rsaPub(sig)}},
		{"one for both", "RSA-OAEP-256", "both", []string{rsaPub(sig), rsaPub(both)}},
		{"use=enc is preferred", "RSA-OAEP-256", "enc", []string{rsaPub(both), rsaPub(enc)}},
		{"own alg fits", "RSA-OAEP", "own", []string{rsaPub(own)}},
		{"own alg is another", "RSA-OAEP-256", "", []string{rsaPub(own)}},
		{"another type", "ECDH-ES", "", []string{rsaPub(enc)}},
		{"elliptic", "ECDH-ES+A256KW", "ec", []string{jwkWith(t, ES256, map[string]any{"kid": "ec", "use": "enc", "alg": nil})}},
		{"Ed25519 does not encrypt", "ECDH-ES", "", []string{jwkWith(t, EdDSA, map[string]any{"use": nil, "alg": nil})}},
		{"refused alg", "RSA1_5", "", []string{rsaPub(both)}},
	} {
		k, ok := parseForeign(t, c.jwks...).Encryption(c.alg)
		if ok != (c.want != "") || k.KeyID() != c.want {
			t.Errorf("%s: %q, %v", c.name, k.KeyID(), ok)
		}
	}
}

func TestForeignSetMatchesCertificate(t *testing.T) {
	priv := keys()[ES256].signer.(*ecdsa.PrivateKey)
	make := func(serial int64, pub, signer any) *x509.Certificate {
		tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "c"}, NotAfter: time.Unix(1<<33, 0)}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, signer)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	cert, renewed := make(1, &priv.PublicKey, priv), make(2, &priv.PublicKey, priv)
	stranger := mustGenerate(t, ES256).signer.(*ecdsa.PrivateKey)
	other := make(1, &stranger.PublicKey, stranger)
	x5c := func(c *x509.Certificate) map[string]any {
		return map[string]any{"x5c": []string{base64.StdEncoding.EncodeToString(c.Raw)}}
	}
	for _, c := range []struct {
		name string
		jwk  string
		cert *x509.Certificate
		want bool
	}{
		{"bare key", jwkWith(t, ES256, nil), cert, true},
		{"bare key, renewed certificate", jwkWith(t, ES256, nil), renewed, true},
		{"x5c", jwkWith(t, ES256, x5c(cert)), cert, true},
		{"x5c of another certificate of the key", jwkWith(t, ES256, x5c(cert)), renewed, false},
		{"a stranger's certificate as x5c of our key", jwkWith(t, ES256, x5c(other)), other, false},
		{"a stranger", jwkWith(t, ES256, nil), other, false},
		{"key for encryption", jwkWith(t, ES256, map[string]any{"use": "enc", "alg": nil}), cert, false},
		{"no certificate", jwkWith(t, ES256, nil), nil, false},
	} {
		if got := parseForeign(t, c.jwk).MatchesCertificate(c.cert); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	// RFC 8705 section 3.1: the thumbprint is over the DER.
	if got := CertificateThumbprint([]byte("abc")); got != "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0" {
		t.Errorf("thumbprint %s", got)
	}
}

// encryptable are the private halves that the tests of Encrypt open messages with.
func encryptable(t testing.TB) map[string]crypto.PrivateKey {
	t.Helper()
	x, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.PrivateKey{
		"RSA":    keys()[RS256].signer.(*rsa.PrivateKey),
		"P-256":  keys()[ES256].signer.(*ecdsa.PrivateKey),
		"P-384":  keys()[ES384].signer.(*ecdsa.PrivateKey),
		"P-521":  p521,
		"X25519": x,
	}
}
