// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

var proof = []byte(`{"jti":"-BwC3ESc6acc2lTc","htm":"POST","htu":"https://hooli.example.com/oauth2/token","iat":1790000000}`)

func proofOptions(algs ...Algorithm) VerifyOptions {
	return VerifyOptions{Typ: []string{"dpop+jwt"}, Algorithms: algs}
}

// proofWith is a proof whose header has these members beside alg and typ, signed by the key of the algorithm.
func proofWith(t testing.TB, a Algorithm, members string) string {
	t.Helper()
	input := base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"dpop+jwt","alg":"`+string(a)+`"`+members+`}`)) + "." + base64.RawURLEncoding.EncodeToString(proof)
	sig, err := keys()[a].sign(nil, []byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestVerifyEmbeddedEveryAlgorithm(t *testing.T) {
	for _, a := range algorithms {
		token := proofWith(t, a, `,"jwk":`+jwkWith(t, a, nothing))
		payload, thumbprint, h, err := VerifyEmbedded(token, proofOptions(algorithms...))
		if err != nil || !bytes.Equal(payload, proof) || h != (Header{Typ: "dpop+jwt", Alg: string(a)}) {
			t.Errorf("%s: %+v, %v", a, h, err)
		}
		if want := keys()[a].Public("x").Thumbprint(); thumbprint != want {
			t.Errorf("%s: thumbprint %s, want %s", a, thumbprint, want)
		}
	}
}

// RFC 9449 section 4.1 and figure 4: a proof made elsewhere; its key's thumbprint is the jkt of section 6.1.
func TestVerifyEmbeddedVector(t *testing.T) {
	const proofOfTheStandard = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
	payload, thumbprint, _, err := VerifyEmbedded(proofOfTheStandard, proofOptions(ES256))
	if err != nil || !bytes.Contains(payload, []byte(`"https://server.example.com/token"`)) {
		t.Fatalf("%s, %v", payload, err)
	}
	if thumbprint != "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" {
		t.Errorf("thumbprint %s", thumbprint)
	}
}

func TestAttackOnEmbeddedKey(t *testing.T) {
	own := jwkWith(t, ES256, nothing)
	with := func(change map[string]any) string {
		all := map[string]any{"kid": nil, "alg": nil, "use": nil}
		for k, v := range change {
			all[k] = v
		}
		return `,"jwk":` + jwkWith(t, ES256, all)
	}
	var ec map[string]string
	if err := json.Unmarshal([]byte(own), &ec); err != nil {
		t.Fatal(err)
	}
	stranger := string(mustGenerate(t, ES256).Public("s").JWK())
	big := base64.RawURLEncoding.EncodeToString(append(bytes.Repeat([]byte{0xff}, 1023), 0xfd))
	good := proofWith(t, ES256, `,"jwk":`+own)
	parts := strings.Split(good, ".")
	for _, c := range []struct {
		name, token string
		want        error
	}{
		{"control", good, nil},
		{"control: its own alg, use, key_ops and a kid", proofWith(t, ES256, `,"kid":"x"`+with(map[string]any{"alg": "ES256", "use": "sig", "key_ops": []string{"verify"}, "ext": true})), nil},
		{"no jwk", proofWith(t, ES256, ``), ErrMalformed},
		{"no jwk but a kid", proofWith(t, ES256, `,"kid":"k1"`), ErrMalformed},
		{"jwk null", proofWith(t, ES256, `,"jwk":null`), ErrMalformed},
		{"jwk a list", proofWith(t, ES256, `,"jwk":[`+own+`]`), ErrMalformed},
		{"jwk as text", proofWith(t, ES256, `,"jwk":"`+strings.ReplaceAll(own, `"`, `\"`)+`"`), ErrMalformed},
		{"two jwk", proofWith(t, ES256, `,"jwk":`+stranger+`,"jwk":`+own), ErrMalformed},
		{"jwk in a jwk", proofWith(t, ES256, `,"jwk":{"jwk":`+own+`}`), ErrKey},
		{"private member", proofWith(t, ES256, with(map[string]any{"d": "AA"})), ErrKey},
		{"private member of RSA in an EC key", proofWith(t, ES256, with(map[string]any{"qi": "AA"})), ErrKey},
		{"symmetric key", proofWith(t, ES256, `,"jwk":{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}`), ErrKey},
		{"key of a stranger", proofWith(t, ES256, `,"jwk":`+stranger), ErrSignature},
		{"unknown curve", proofWith(t, ES256, with(map[string]any{"crv": "secp256k1"})), ErrKey},
		{"key of another alg", proofWith(t, ES256, `,"jwk":`+jwkWith(t, RS256, nothing)), ErrKey},
		{"own alg is another", proofWith(t, ES256, with(map[string]any{"alg": "ES384"})), ErrKey},
		{"for encryption", proofWith(t, ES256, with(map[string]any{"use": "enc"})), ErrKey},
		{"not for verifying", proofWith(t, ES256, with(map[string]any{"key_ops": []string{"sign"}})), ErrKey},
		{"point off the curve", proofWith(t, ES256, with(map[string]any{"y": ec["x"]})), ErrKey},
		{"second spelling: line break in x", proofWith(t, ES256, with(map[string]any{"x": ec["x"][:5] + "\n" + ec["x"][5:]})), ErrMalformed},
		{"second spelling: padding", proofWith(t, ES256, with(map[string]any{"x": ec["x"] + "="})), ErrMalformed},
		{"second spelling: leading zero", proofWith(t, ES256, with(map[string]any{"x": "AA" + ec["x"]})), ErrMalformed},
		{"member twice in the key", proofWith(t, ES256, `,"jwk":{"crv":"P-384",`+own[1:]), ErrMalformed},
		{"RSA of 8192 bits", proofWith(t, RS256, `,"jwk":{"kty":"RSA","e":"AQAB","n":"`+big+`"}`), ErrKey},
		{"RSA of 1024 bits", proofWith(t, RS256, `,"jwk":{"kty":"RSA","e":"AQAB","n":"`+big[:170]+`Q"}`), ErrKey},
		{"x5c beside it", proofWith(t, ES256, `,"x5c":[],"jwk":`+own), ErrMalformed},
		{"jku beside it", proofWith(t, ES256, `,"jku":"https://evil.example","jwk":`+own), ErrMalformed},
		{"crit", proofWith(t, ES256, `,"crit":["jwk"],"jwk":`+own), ErrMalformed},
		{"b64 false", proofWith(t, ES256, `,"b64":false,"jwk":`+own), ErrMalformed},
		{"oversized", proofWith(t, ES256, `,"z":"`+strings.Repeat("z", DefaultMaxBytes)+`","jwk":`+own), ErrMalformed},
		{"nested deeply", proofWith(t, ES256, `,"jwk":{"kty":`+strings.Repeat("[", 3000)+strings.Repeat("]", 3000)+`}`), ErrKey},
		{"typ of an access token", assemble(t, `{"alg":"ES256","typ":"at+jwt","jwk":`+own+`}`), ErrType},
		{"typ missing", assemble(t, `{"alg":"ES256","jwk":`+own+`}`), ErrType},
		{"alg none", assemble(t, `{"alg":"none","typ":"dpop+jwt","jwk":`+own+`}`), ErrAlgorithm},
		{"alg HS256", assemble(t, `{"alg":"HS256","typ":"dpop+jwt","jwk":`+own+`}`), ErrAlgorithm},
		{"another payload", parts[0] + ".e30." + parts[2], ErrSignature},
		{"bad base64 in the signature", parts[0] + "." + parts[1] + ".*", ErrMalformed},
		{"four parts", good + ".e30", ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			payload, thumbprint, h, err := VerifyEmbedded(c.token, proofOptions(ES256, RS256))
			if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if err != nil && (payload != nil || thumbprint != "" || h != Header{}) {
				t.Error("something came with the error")
			}
		})
	}
	// HS256 in the caller's list by mistake: no key is one for it.
	if _, _, _, err := VerifyEmbedded(assemble(t, `{"alg":"HS256","typ":"dpop+jwt","jwk":`+own+`}`), proofOptions(HS256)); !errors.Is(err, ErrKey) {
		t.Errorf("HS256: %v", err)
	}
}

func TestHMAC(t *testing.T) {
	secret := []byte(strings.Repeat("s", 64))
	all := []Algorithm{HS256, HS384, HS512}
	for _, a := range all {
		token, err := SignHMAC(a, secret, "JWT", claims)
		if err != nil {
			t.Fatal(err)
		}
		payload, h, err := VerifyHMAC(secret, token, VerifyOptions{Typ: []string{"JWT"}, Algorithms: all})
		if err != nil || !bytes.Equal(payload, claims) || h != (Header{Typ: "JWT", Alg: string(a)}) {
			t.Errorf("%s: %+v, %v", a, h, err)
		}
		if _, _, err := VerifyHMAC(append([]byte("t"), secret[1:]...), token, VerifyOptions{Typ: []string{"JWT"}, Algorithms: all}); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: another secret: %v", a, err)
		}
		need := map[Algorithm]int{HS256: 32, HS384: 48, HS512: 64}[a]
		if _, err := SignHMAC(a, secret[:need], "", nil); err != nil {
			t.Errorf("%s with %d bytes: %v", a, need, err)
		}
		if _, err := SignHMAC(a, secret[:need-1], "", nil); !errors.Is(err, ErrKey) {
			t.Errorf("%s with %d bytes: %v", a, need-1, err)
		}
		if a.Valid() || a.HalfHash("x") != "" {
			t.Errorf("%s counts as an algorithm of keys", a)
		}
		if _, err := GenerateKey(a); !errors.Is(err, ErrAlgorithm) {
			t.Errorf("%s: a key pair: %v", a, err)
		}
	}
}

// RFC 7515 appendix A.1.
func TestHMACVector(t *testing.T) {
	const token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	secret, err := base64.RawURLEncoding.DecodeString("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := VerifyHMAC(secret, token, VerifyOptions{Typ: []string{"JWT"}, Algorithms: []Algorithm{HS256}}); err != nil {
		t.Error(err)
	}
}

func TestAttackOnHMAC(t *testing.T) {
	secret := []byte(strings.Repeat("s", 32))
	good, err := SignHMAC(HS256, secret, "", claims)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	header := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	mac := func(input string) string {
		sum, err := HS256.sum(secret, []byte(input))
		if err != nil {
			t.Fatal(err)
		}
		return input + "." + base64.RawURLEncoding.EncodeToString(sum)
	}
	opt := VerifyOptions{Typ: []string{""}, Algorithms: []Algorithm{HS256, ES256}}
	for _, c := range []struct {
		name, token string
		secret      []byte
		want        error
	}{
		{"control", good, secret, nil},
		{"control with a kid", mac(header(`{"alg":"HS256","kid":"x"}`) + "." + parts[1]), secret, nil},
		{"empty secret", good, nil, ErrKey},
		{"short secret", good, secret[:31], ErrKey},
		{"alg of a key, listed by mistake", tokenWith(t, ES256, `{"alg":"ES256"}`), secret, ErrAlgorithm},
		{"alg not listed", mac(header(`{"alg":"HS384"}`) + "." + parts[1]), secret, ErrAlgorithm},
		{"alg none", header(`{"alg":"none"}`) + "." + parts[1] + ".", secret, ErrMalformed},
		{"MAC cut", parts[0] + "." + parts[1] + "." + parts[2][:40], secret, ErrSignature},
		{"MAC longer", parts[0] + "." + parts[1] + "." + parts[2][:42] + "AAAA", secret, ErrSignature},
		{"crit", mac(header(`{"alg":"HS256","crit":["exp"]}`) + "." + parts[1]), secret, ErrMalformed},
		{"b64 false", mac(header(`{"alg":"HS256","b64":false}`) + "." + parts[1]), secret, ErrMalformed},
		{"jwk in the header", mac(header(`{"alg":"HS256","jwk":{"kty":"oct","k":"AA"}}`) + "." + parts[1]), secret, ErrMalformed},
		{"alg twice", mac(header(`{"alg":"none","alg":"HS256"}`) + "." + parts[1]), secret, ErrMalformed},
		{"another payload", parts[0] + ".e30." + parts[2], secret, ErrSignature},
		{"oversized", good + strings.Repeat("A", DefaultMaxBytes), secret, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			payload, _, err := VerifyHMAC(c.secret, c.token, opt)
			if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) || (payload == nil) != (err != nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	if _, err := SignHMAC(ES256, secret, "", nil); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("SignHMAC with ES256: %v", err)
	}
}

// The half hash is of the algorithm's own hash (OIDC Core section 3.1.3.6): SHA-256, SHA-384, and for Ed25519 SHA-512.
func TestHalfHashEveryAlgorithm(t *testing.T) {
	for a, want := range map[Algorithm]string{
		ES256: "ungWv48Bz-pBQUDeXa4iIw",
		RS256: "ungWv48Bz-pBQUDeXa4iIw",
		PS256: "ungWv48Bz-pBQUDeXa4iIw",
		ES384: "ywB1P0WjXou1oD1pmsZQBycsMqsO3tFj",
		EdDSA: "3a81oZNherrMQXNJriBBMRLm-k6JqX6iCp7u5ktV05o",
	} {
		if got := a.HalfHash("abc"); got != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
	}
}

// Every DPoP request reads a key; what that adds to the primitive is bounded here.
func TestVerifyEmbeddedAllocations(t *testing.T) {
	token := proofWith(t, ES256, `,"jwk":`+jwkWith(t, ES256, nothing))
	last := strings.LastIndexByte(token, '.')
	sig, err := base64.RawURLEncoding.DecodeString(token[last+1:])
	if err != nil {
		t.Fatal(err)
	}
	signed, pub := []byte(token[:last]), &keys()[ES256].signer.(*ecdsa.PrivateKey).PublicKey
	bare := testing.AllocsPerRun(200, func() { _ = verifiers[ES256].Verify(signed, sig, pub) })
	opt := proofOptions(ES256)
	ours := testing.AllocsPerRun(200, func() { _, _, _, _ = VerifyEmbedded(token, opt) })
	if added := ours - bare; added > 18 {
		t.Errorf("VerifyEmbedded adds %v allocations to the primitive's %v", added, bare)
	}
}

// The yardstick of VerifyEmbedded, which every DPoP request pays: one bare verification; and two ECDSA operations, verifying the proof and signing
// the access token, which is what a token request with DPoP cannot be without.
func BenchmarkVerifyEmbedded(b *testing.B) {
	token := proofWith(b, ES256, `,"jwk":`+jwkWith(b, ES256, nothing))
	priv := keys()[ES256].signer.(*ecdsa.PrivateKey)
	sum := sha256.Sum256(proof)
	sig, err := ecdsa.SignASN1(rand.Reader, priv, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	b.Run("bare verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !ecdsa.VerifyASN1(&priv.PublicKey, sum[:], sig) {
				b.Fatal("refused")
			}
		}
	})
	b.Run("bare verify and sign", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !ecdsa.VerifyASN1(&priv.PublicKey, sum[:], sig) {
				b.Fatal("refused")
			}
			if _, err := ecdsa.SignASN1(rand.Reader, priv, sum[:]); err != nil {
				b.Fatal(err)
			}
		}
	})
	opt := proofOptions(ES256)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, _, err := VerifyEmbedded(token, opt); err != nil {
				b.Fatal(err)
			}
		}
	})
	s := NewSigner(keys()[ES256], "k1")
	b.Run("ours and sign", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, _, err := VerifyEmbedded(token, opt); err != nil {
				b.Fatal(err)
			}
			if _, err := s.Sign("at+jwt", claims); err != nil {
				b.Fatal(err)
			}
		}
	})
}
