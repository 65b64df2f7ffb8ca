// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
)

var algorithms = []Algorithm{ES256, ES384, RS256, PS256, EdDSA}

// keys are made once: RSA takes its time.
var keys = sync.OnceValue(func() map[Algorithm]*PrivateKey {
	m := make(map[Algorithm]*PrivateKey)
	for _, a := range algorithms {
		k, err := GenerateKey(a)
		if err != nil {
			panic(err)
		}
		m[a] = k
	}
	return m
})

func accept(algs ...Algorithm) VerifyOptions {
	return VerifyOptions{Typ: []string{"at+jwt"}, Algorithms: algs}
}

func sign(t testing.TB, a Algorithm, kid, typ string) string {
	t.Helper()
	token, err := NewSigner(keys()[a], kid).Sign(typ, claims)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestSignVerifyEveryAlgorithm(t *testing.T) {
	for _, a := range algorithms {
		t.Run(string(a), func(t *testing.T) {
			token := sign(t, a, "k1", "at+jwt")
			payload, h, err := NewKeySet(keys()[a].Public("k1")).Verify(token, accept(a))
			if err != nil || !bytes.Equal(payload, claims) {
				t.Fatalf("Verify: %q, %v", payload, err)
			}
			if want := (Header{Typ: "at+jwt", Alg: string(a), KeyID: "k1"}); h != want {
				t.Errorf("header %+v, want %+v", h, want)
			}
			// A stock library agrees, with the key taken from our published JWK.
			set, err := jwk.Parse(MarshalSet([]PublicKey{keys()[a].Public("k1")}))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := jws.Verify([]byte(token), jws.WithKeySet(set)); err != nil || !bytes.Equal(got, claims) {
				t.Errorf("jwx refuses our token: %v", err)
			}
		})
	}
}

func TestHeaderIsExactlyAlgKidTyp(t *testing.T) {
	for typ, want := range map[string]string{
		"at+jwt": `{"alg":"ES256","kid":"k1","typ":"at+jwt"}`,
		"":       `{"alg":"ES256","kid":"k1"}`,
	} {
		head, _, _ := strings.Cut(sign(t, ES256, "k1", typ), ".")
		if got, _ := base64.RawURLEncoding.DecodeString(head); string(got) != want {
			t.Errorf("header %s, want %s", got, want)
		}
	}
}

func TestSignerKeepsTypesApart(t *testing.T) {
	s := NewSigner(keys()[EdDSA], "k1")
	set := NewKeySet(s.Public())
	var wg sync.WaitGroup
	for i := range 40 { // more than maxHeaders, at the same time
		typ := "t" + strings.Repeat("x", i)
		wg.Go(func() {
			for range 3 {
				token, err := s.Sign(typ, claims)
				if err != nil {
					t.Error(err)
				}
				if _, h, err := set.Verify(token, VerifyOptions{Typ: []string{typ}, Algorithms: []Algorithm{EdDSA}}); err != nil || h.Typ != typ {
					t.Errorf("typ %q: %+v, %v", typ, h, err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(*s.headers.Load()); n > maxHeaders {
		t.Errorf("%d prepared headers", n)
	}
}

func TestSignLongPayload(t *testing.T) {
	payload := bytes.Repeat([]byte("x"), 9000)
	token, err := NewSigner(keys()[ES256], "k").Sign("", payload)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := NewKeySet(keys()[ES256].Public("k")).Verify(token, VerifyOptions{Typ: []string{""}, Algorithms: []Algorithm{ES256}})
	if err != nil || !bytes.Equal(got, payload) {
		t.Fatal(err)
	}
}

// r or s is short in one signature of 128; the JOSE form must not be.
func TestES256SignatureIsAlways64Bytes(t *testing.T) {
	s := NewSigner(keys()[ES256], "k")
	set := NewKeySet(s.Public())
	short := 0
	for i := 0; i < 5000 && short < 3; i++ {
		token, err := s.Sign("", []byte(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		sig, err := base64.RawURLEncoding.DecodeString(token[strings.LastIndexByte(token, '.')+1:])
		if err != nil || len(sig) != 64 {
			t.Fatalf("signature of %d bytes, %v", len(sig), err)
		}
		if sig[0] == 0 || sig[32] == 0 {
			short++
			if _, _, err := set.Verify(token, VerifyOptions{Typ: []string{""}, Algorithms: []Algorithm{ES256}}); err != nil {
				t.Fatalf("padded signature: %v", err)
			}
		}
	}
	if short == 0 {
		t.Error("no short r or s in 5000 signatures")
	}
}

// assemble makes a token with any header, signed by the ES256 key unless it is told a signature.
func assemble(t testing.TB, header string) string {
	t.Helper()
	return signInput(t, base64.RawURLEncoding.EncodeToString([]byte(header))+"."+base64.RawURLEncoding.EncodeToString(claims))
}

func signInput(t testing.TB, input string) string {
	t.Helper()
	sig, err := keys()[ES256].sign(nil, []byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestAttackOnHeader(t *testing.T) {
	own := keys()[ES256].Public("k1")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"k1","typ":"at+jwt"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims) + "."
	cases := []struct {
		name, token string
		want        error
	}{
		{"control", assemble(t, `{"alg":"ES256","kid":"k1","typ":"at+jwt"}`), nil},
		{"control with x5t and cty", assemble(t, `{"alg":"ES256","kid":"k1","typ":"at+jwt","x5t":"abc","cty":"x","n":{"alg":[1,"}"]}}`), nil},
		{"control typ as long media type", assemble(t, `{"alg":"ES256","kid":"k1","typ":"application/AT+JWT"}`), nil},
		{"control spaces and escapes", assemble(t, " { \"\\u0061lg\" : \"ES256\" ,\n\"kid\":\"k1\",\"typ\":\"at+jwt\" } "), nil},
		{"alg none without signature", none, ErrMalformed},
		{"alg none with signature", assemble(t, `{"alg":"none","kid":"k1","typ":"at+jwt"}`), ErrAlgorithm},
		{"alg nOnE", assemble(t, `{"alg":"nOnE","kid":"k1","typ":"at+jwt"}`), ErrAlgorithm},
		{"alg HS256 with the public key as secret", assemble(t, `{"alg":"HS256","kid":"k1","typ":"at+jwt"}`), ErrAlgorithm},
		{"alg of another key", assemble(t, `{"alg":"RS256","kid":"k1","typ":"at+jwt"}`), ErrAlgorithm},
		{"alg not in the list", assemble(t, `{"alg":"ES384","kid":"k1","typ":"at+jwt"}`), ErrAlgorithm},
		{"alg missing", assemble(t, `{"kid":"k1","typ":"at+jwt"}`), ErrMalformed},
		{"alg in another case", assemble(t, `{"ALG":"ES256","kid":"k1","typ":"at+jwt"}`), ErrMalformed},
		{"alg not a string", assemble(t, `{"alg":["ES256"],"kid":"k1","typ":"at+jwt"}`), ErrMalformed},
		{"duplicate alg", assemble(t, `{"alg":"none","alg":"ES256","kid":"k1","typ":"at+jwt"}`), ErrMalformed},
		{"duplicate kid, one escaped", assemble(t, `{"alg":"ES256","kid":"k1","\u006bid":"k1","typ":"at+jwt"}`), ErrMalformed},
		{"duplicate of a name we ignore", assemble(t, `{"alg":"ES256","kid":"k1","typ":"at+jwt","z":1,"z":1}`), ErrMalformed},
		{"kid missing", assemble(t, `{"alg":"ES256","typ":"at+jwt"}`), ErrMalformed},
		{"kid empty", assemble(t, `{"alg":"ES256","kid":"","typ":"at+jwt"}`), ErrMalformed},
		{"kid unknown", assemble(t, `{"alg":"ES256","kid":"k2","typ":"at+jwt"}`), ErrUnknownKey},
		{"kid above 256 bytes", assemble(t, `{"alg":"ES256","kid":"`+strings.Repeat("k", 257)+`","typ":"at+jwt"}`), ErrMalformed},
		{"typ of an ID token", assemble(t, `{"alg":"ES256","kid":"k1","typ":"JWT"}`), ErrType},
		{"typ missing", assemble(t, `{"alg":"ES256","kid":"k1"}`), ErrType},
		{"typ empty", assemble(t, `{"alg":"ES256","kid":"k1","typ":""}`), ErrMalformed},
		{"typ of another tree", assemble(t, `{"alg":"ES256","kid":"k1","typ":"text/at+jwt"}`), ErrType},
		{"crit", assemble(t, `{"alg":"ES256","kid":"k1","typ":"at+jwt","crit":["exp"],"exp":1}`), ErrMalformed},
		{"b64 false", assemble(t, `{"alg":"ES256","kid":"k1","typ":"at+jwt","b64":false}`), ErrMalformed},
		{"embedded jwk", assemble(t, `{"alg":"ES256","kid":"k1","typ":"at+jwt","jwk":`+string(own.JWK())+`}`), ErrMalformed},
		{"jku", assemble(t, `{"alg":"ES256","kid":"k1","typ":"at+jwt","jku":"https://evil.example"}`), ErrMalformed},
		{"x5u", assemble(t, `{"alg":"ES256","kid":"k1","typ":"at+jwt","x5u":"https://evil.example"}`), ErrMalformed},
		{"x5c", assemble(t, `{"alg":"ES256","kid":"k1","typ":"at+jwt","x5c":[]}`), ErrMalformed},
		{"not an object", assemble(t, `["ES256"]`), ErrMalformed},
		{"null", assemble(t, `null`), ErrMalformed},
		{"something after the object", assemble(t, `{"alg":"ES256","kid":"k1","typ":"at+jwt"}{}`), ErrMalformed},
		{"invalid UTF-8", assemble(t, "{\"alg\":\"ES256\",\"kid\":\"k1\",\"typ\":\"at+jwt\",\"z\":\"\xff\"}"), ErrMalformed},
		{"lone surrogate", assemble(t, `{"alg":"ES256","kid":"k1","typ":"at+jwt","\ud800":1}`), ErrMalformed},
		{"too many members", assemble(t, `{"alg":"ES256","kid":"k1","typ":"at+jwt"`+manyMembers(70)+`}`), ErrMalformed},
	}
	set := NewKeySet(own)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			payload, h, err := set.Verify(c.token, accept(ES256, RS256))
			if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
				t.Fatalf("err = %v, want %v", err, c.want)
			}
			if err != nil && payload != nil {
				t.Error("a payload came with an error")
			}
			if err != nil && (h != Header{}) != errors.Is(err, ErrUnknownKey) {
				t.Errorf("header %+v came with %v", h, err)
			}
		})
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`,"m` + strings.Repeat("x", i) + `":0`)
	}
	return b.String()
}

func TestAttackOnCompactForm(t *testing.T) {
	token := sign(t, ES256, "k1", "at+jwt")
	parts := strings.Split(token, ".")
	set := NewKeySet(keys()[ES256].Public("k1"))
	paddedPayload := parts[0] + "." + base64.URLEncoding.EncodeToString([]byte("ab"))
	trailingBits := parts[0] + "." + "YWJ" // 'ab' is YWI; the last bits are not zero
	zeroSig := parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64))
	raw, _ := base64.RawURLEncoding.DecodeString(parts[2])
	asn1 := derOf(raw)
	negated := append([]byte(nil), raw...)
	new(big.Int).Sub(elliptic.P256().Params().N, new(big.Int).SetBytes(raw[32:])).FillBytes(negated[32:])
	for name, bad := range map[string]string{
		"empty":                         "",
		"one part":                      parts[0],
		"two parts":                     parts[0] + "." + parts[1],
		"four parts":                    token + "." + parts[2],
		"five parts, as a JWE":          token + "." + parts[1] + "." + parts[2],
		"empty header":                  "." + parts[1] + "." + parts[2],
		"empty payload":                 parts[0] + ".." + parts[2],
		"empty signature":               parts[0] + "." + parts[1] + ".",
		"line break in the signature":   token[:len(token)-2] + "\n" + token[len(token)-2:],
		"carriage return in the header": "\r" + token,
		"space":                         " " + token,
		"padding, signed":               signInput(t, paddedPayload),
		"trailing bits, signed":         signInput(t, trailingBits),
		"standard alphabet":             parts[0] + "." + parts[1] + "." + "+/" + parts[2][2:],
		"too long":                      token + strings.Repeat("A", DefaultMaxBytes),
		"JSON serialisation":            `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"first byte of payload changed": parts[0] + ".f" + parts[1][1:] + "." + parts[2],
		"signature of zeros":            zeroSig,
		"signature cut":                 parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(raw[:63]),
		"signature longer":              parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(append(raw, 0)),
		"signature in ASN.1":            parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(asn1),
		"signature of another token":    parts[0] + "." + parts[1] + sign(t, ES256, "k1", "JWT")[strings.LastIndexByte(sign(t, ES256, "k1", "JWT"), '.'):],
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := set.Verify(bad, accept(ES256)); !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrSignature) {
				t.Errorf("err = %v", err)
			}
		})
	}
	// ECDSA is malleable by nature: (r, n-s) verifies as well. So Verify's comment says that a token's text is not its identity.
	if _, _, err := set.Verify(parts[0]+"."+parts[1]+"."+base64.RawURLEncoding.EncodeToString(negated), accept(ES256)); err != nil {
		t.Errorf("malleated signature: %v; Verify's comment on token identity is out of date", err)
	}
}

// derOf is a plain ASN.1 encoding for the attack table.
func derOf(raw []byte) []byte {
	var out []byte
	for _, half := range [][]byte{raw[:32], raw[32:]} {
		n := new(big.Int).SetBytes(half).Bytes()
		if n[0] >= 0x80 {
			n = append([]byte{0}, n...)
		}
		out = append(append(out, 2, byte(len(n))), n...)
	}
	return append([]byte{0x30, byte(len(out))}, out...)
}

func TestVerifyAcceptsNothingByDefault(t *testing.T) {
	token := sign(t, ES256, "k1", "at+jwt")
	set := NewKeySet(keys()[ES256].Public("k1"))
	if _, _, err := set.Verify(token, VerifyOptions{Typ: []string{"at+jwt"}}); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("no algorithms: %v", err)
	}
	if _, _, err := set.Verify(token, VerifyOptions{Algorithms: []Algorithm{ES256}}); !errors.Is(err, ErrType) {
		t.Errorf("no types: %v", err)
	}
	if _, _, err := NewKeySet().Verify(token, accept(ES256)); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("no keys: %v", err)
	}
	if _, _, err := set.Verify(token, VerifyOptions{Typ: []string{"at+jwt"}, Algorithms: []Algorithm{ES256}, MaxBytes: 100}); !errors.Is(err, ErrMalformed) {
		t.Errorf("MaxBytes: %v", err)
	}
}

func TestAttackNeighboursKeyUnderOurKid(t *testing.T) {
	other, err := GenerateKey(ES256)
	if err != nil {
		t.Fatal(err)
	}
	token, err := NewSigner(other, "k1").Sign("at+jwt", claims)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := NewKeySet(keys()[ES256].Public("k1")).Verify(token, accept(ES256)); !errors.Is(err, ErrSignature) {
		t.Errorf("err = %v", err)
	}
}

func TestPS256SaltHasTheLengthOfTheHash(t *testing.T) {
	k := keys()[PS256]
	input := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"PS256","kid":"k","typ":"at+jwt"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sig, err := rsa.SignPSS(rand.Reader, k.signer.(*rsa.PrivateKey), crypto.SHA256, digest(crypto.SHA256, []byte(input)), &rsa.PSSOptions{SaltLength: 20})
	if err != nil {
		t.Fatal(err)
	}
	token := input + "." + base64.RawURLEncoding.EncodeToString(sig)
	if _, _, err := NewKeySet(k.Public("k")).Verify(token, accept(PS256)); !errors.Is(err, ErrSignature) {
		t.Errorf("err = %v", err)
	}
}

func TestPKCS8RoundTrip(t *testing.T) {
	for _, a := range algorithms {
		k, err := ParsePKCS8(a, keys()[a].PKCS8())
		if err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		if !k.Public("x").Equal(keys()[a].Public("y")) || k.Algorithm() != a {
			t.Errorf("%s: another key came back", a)
		}
		if r, ok := k.signer.(*rsa.PrivateKey); ok && r.Precomputed.Dp == nil {
			t.Errorf("%s: CRT values are not computed", a)
		}
		if s := k.String() + k.GoString(); !strings.Contains(s, string(a)) || len(s) > 60 {
			t.Errorf("prints as %q", s)
		}
	}
}

func TestParsePKCS8Refuses(t *testing.T) {
	p384 := keys()[ES384].PKCS8()
	weak := weakRSA(t)
	ecdhKey, err := elliptic384ECDH()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		a   Algorithm
		der []byte
	}{
		"empty":             {ES256, nil},
		"garbage":           {ES256, []byte("0123456789")},
		"wrong curve":       {ES256, p384},
		"RSA as EC":         {ES256, keys()[RS256].PKCS8()},
		"EC as RSA":         {RS256, keys()[ES256].PKCS8()},
		"Ed25519 as EC":     {ES256, keys()[EdDSA].PKCS8()},
		"X25519":            {EdDSA, ecdhKey},
		"RSA of 1024 bits":  {RS256, weak},
		"unknown algorithm": {"HS256", keys()[ES256].PKCS8()},
	} {
		if _, err := ParsePKCS8(c.a, c.der); !errors.Is(err, ErrKey) && !errors.Is(err, ErrAlgorithm) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func elliptic384ECDH() ([]byte, error) {
	k, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, err
	}
	e, err := k.ECDH()
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKCS8PrivateKey(e)
}

func weakRSA(t *testing.T) []byte {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	k, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestGenerateKeyRefusesUnknownAlgorithms(t *testing.T) {
	for _, a := range []Algorithm{"", "none", "HS256", "es256"} {
		if _, err := GenerateKey(a); !errors.Is(err, ErrAlgorithm) || a.Valid() {
			t.Errorf("%q: %v", a, err)
		}
	}
}

// RFC 7638 section 3.1, RFC 8037 appendix A.3.
func TestThumbprintVectors(t *testing.T) {
	for want, text := range map[string]string{
		"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs": `{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`,
		"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k": `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"EdDSA","kid":"a"}`,
	} {
		k, err := ParseJWK([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := k.Thumbprint(); got != want {
			t.Errorf("thumbprint %s, want %s", got, want)
		}
	}
}

// RFC 8037 appendix A.4: Ed25519 is deterministic, so the whole path has a known answer.
func TestEdDSAVector(t *testing.T) {
	seed, _ := base64.RawURLEncoding.DecodeString("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
	k := &PrivateKey{alg: EdDSA, signer: ed25519.NewKeyFromSeed(seed)}
	sig, err := k.sign(nil, []byte("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"))
	if err != nil {
		t.Fatal(err)
	}
	const want = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
	if got := base64.RawURLEncoding.EncodeToString(sig); got != want {
		t.Errorf("signature %s", got)
	}
}

func TestJWKIsCanonicalAndPublic(t *testing.T) {
	for _, a := range algorithms {
		pub := keys()[a].Public(`sgk "1" ü`)
		text := pub.JWK()
		var members map[string]string
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if sorted, _ := json.Marshal(members); !bytes.Equal(sorted, text) { // encoding/json sorts map keys
			t.Errorf("%s: not canonical: %s", a, text)
		}
		if members["use"] != "sig" || members["alg"] != string(a) || members["kid"] != `sgk "1" ü` || members["d"] != "" {
			t.Errorf("%s: %s", a, text)
		}
		back, err := ParseJWK(text)
		if err != nil || !back.Equal(pub) || !bytes.Equal(back.JWK(), text) {
			t.Errorf("%s: round trip: %v", a, err)
		}
		lib, err := jwk.ParseKey(text)
		if err != nil {
			t.Fatal(err)
		}
		tp, err := lib.Thumbprint(crypto.SHA256)
		if err != nil || base64.RawURLEncoding.EncodeToString(tp) != pub.Thumbprint() {
			t.Errorf("%s: jwx has another thumbprint", a)
		}
	}
}

func TestParseJWKRefuses(t *testing.T) {
	ec := string(keys()[ES256].Public("k").JWK())
	private, err := jwk.FromRaw(keys()[ES256].signer)
	if err != nil {
		t.Fatal(err)
	}
	_ = private.Set("kid", "k")
	_ = private.Set("alg", jwa.ES256)
	leaked, _ := json.Marshal(private)
	replace := func(old, with string) string {
		if !strings.Contains(ec, old) {
			t.Fatalf("%s not in %s", old, ec)
		}
		return strings.Replace(ec, old, with, 1)
	}
	zero := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"empty":               {``, ErrMalformed},
		"array":               {`[]`, ErrMalformed},
		"no kid":              {replace(`"kid":"k",`, ``), ErrMalformed},
		"kid a number":        {replace(`"kid":"k"`, `"kid":1`), ErrMalformed},
		"no alg":              {replace(`"alg":"ES256",`, ``), ErrAlgorithm},
		"alg none":            {replace(`ES256`, `none`), ErrAlgorithm},
		"alg of another kty":  {replace(`ES256`, `RS256`), ErrKey},
		"alg of another crv":  {replace(`ES256`, `ES384`), ErrKey},
		"for encryption":      {replace(`"use":"sig"`, `"use":"enc"`), ErrKey},
		"key_ops sign":        {replace(`"use":"sig"`, `"key_ops":["sign"]`), ErrKey},
		"key_ops a string":    {replace(`"use":"sig"`, `"key_ops":"verify"`), ErrMalformed},
		"duplicate member":    {replace(`{`, `{"kid":"other",`), ErrMalformed},
		"private key":         {string(leaked), ErrKey},
		"symmetric key":       {`{"alg":"HS256","k":"c2VjcmV0","kid":"k","kty":"oct"}`, ErrKey},
		"point off the curve": {`{"alg":"ES256","crv":"P-256","kid":"k","kty":"EC","x":"` + zero + `","y":"` + zero + `"}`, ErrKey},
		"weak RSA":            {`{"alg":"RS256","e":"AQAB","kid":"k","kty":"RSA","n":"` + base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 128)) + `"}`, ErrKey},
		"RSA exponent 3":      {`{"alg":"RS256","e":"Aw","kid":"k","kty":"RSA","n":"` + base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 256)) + `"}`, ErrKey},
		"huge RSA":            {`{"alg":"RS256","e":"AQAB","kid":"k","kty":"RSA","n":"` + base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 2000)) + `"}`, ErrKey},
		"short Ed25519":       {`{"alg":"EdDSA","crv":"Ed25519","kid":"k","kty":"OKP","x":"AAAA"}`, ErrKey},
		"X25519":              {`{"alg":"EdDSA","crv":"X25519","kid":"k","kty":"OKP","x":"` + zero + `"}`, ErrKey},
		"too large":           {replace(`{`, `{"pad":"`+strings.Repeat("x", maxJWKBytes)+`",`), ErrMalformed},
	} {
		if _, err := ParseJWK([]byte(c.text)); !errors.Is(err, c.want) {
			// Broken key material may be named by either sentinel, whichever layer notices it.
			if errors.Is(c.want, ErrKey) && errors.Is(err, ErrMalformed) {
				continue
			}
			t.Errorf("%s: err = %v, want %v", name, err, c.want)
		}
	}
}

func TestParseSetPassesOverStrangeKeys(t *testing.T) {
	a, b := keys()[ES256].Public("a"), keys()[RS256].Public("b")
	set := `{"x":1,"keys":[` + string(a.JWK()) + `,{"kty":"future"},{"kty":"oct","k":"AA","kid":"s"},7,` + string(b.JWK()) + `]}`
	got, err := ParseSet([]byte(set))
	if err != nil || len(got) != 2 || got[0].KeyID() != "a" || got[1].KeyID() != "b" {
		t.Fatalf("%v, %v", got, err)
	}
	same, err := ParseSet(MarshalSet([]PublicKey{a, b}))
	if err != nil || !bytes.Equal(MarshalSet(same), MarshalSet([]PublicKey{a, b})) {
		t.Errorf("round trip: %v", err)
	}
	if got := string(MarshalSet(nil)); got != `{"keys":[]}` {
		t.Errorf("empty set %s", got)
	}
	for name, bad := range map[string]string{
		"no keys":        `{}`,
		"keys an object": `{"keys":{}}`,
		"two of one kid": `{"keys":[` + string(a.JWK()) + `,` + string(keys()[RS256].Public("a").JWK()) + `]}`,
		"too many":       `{"keys":[1` + strings.Repeat(",1", maxSetKeys) + `]}`,
		"duplicate keys": `{"keys":[],"keys":[]}`,
		"cut":            `{"keys":[`,
		"too large":      `{"keys":[],"pad":"` + strings.Repeat("x", maxSetBytes) + `"}`,
	} {
		if _, err := ParseSet([]byte(bad)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// OIDC Core appendix A.3 and A.4 give c_hash and at_hash of known values.
func TestHalfHash(t *testing.T) {
	if got := RS256.HalfHash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"); got != "77QmUPtjPfzWtF2AnpK9RQ" {
		t.Errorf("at_hash %s", got)
	}
	if n := len(EdDSA.HalfHash("x")); n != 43 { // 32 bytes
		t.Errorf("EdDSA half hash of %d characters", n)
	}
	if n := len(ES384.HalfHash("x")); n != 32 { // 24 bytes
		t.Errorf("ES384 half hash of %d characters", n)
	}
	if Algorithm("none").HalfHash("x") != "" {
		t.Error("a hash for none")
	}
}

// The primitive allocates by itself; what the package adds around it is bounded here.
func TestAllocations(t *testing.T) {
	k := keys()[ES256]
	priv := k.signer.(*ecdsa.PrivateKey)
	sum := digest(crypto.SHA256, claims)
	bareSign := testing.AllocsPerRun(200, func() { _, _ = ecdsa.SignASN1(rand.Reader, priv, sum) })
	s := NewSigner(k, "k1")
	ours := testing.AllocsPerRun(200, func() { _, _ = s.Sign("at+jwt", claims) })
	if added := ours - bareSign; added > 5 {
		t.Errorf("Sign adds %v allocations to the primitive's %v", added, bareSign)
	}
	token := sign(t, ES256, "k1", "at+jwt")
	last := strings.LastIndexByte(token, '.')
	sig, err := base64.RawURLEncoding.DecodeString(token[last+1:])
	if err != nil {
		t.Fatal(err)
	}
	signed := []byte(token[:last])
	bareVerify := testing.AllocsPerRun(200, func() {
		if err := verifiers[ES256].Verify(signed, sig, &priv.PublicKey); err != nil {
			t.Error(err)
		}
	})
	set, opt := NewKeySet(s.Public()), accept(ES256)
	ours = testing.AllocsPerRun(200, func() { _, _, _ = set.Verify(token, opt) })
	if added := ours - bareVerify; added > 6 {
		t.Errorf("Verify adds %v allocations to the primitive's %v", added, bareVerify)
	}
	t.Logf("allocations of the primitives: sign %v, verify %v; Verify in all %v", bareSign, bareVerify, ours)
}
