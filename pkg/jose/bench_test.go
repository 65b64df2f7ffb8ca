// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// claims is an access token's payload of the usual size.
var claims = []byte(`{"iss":"https://hooli.example.com","sub":"uid_06c1q3v5r1ezfb4d2n8m0k7h9s","aud":["https://api.piedpiper.example"],` +
	`"exp":1790000600,"iat":1790000000,"jti":"3f1c2b9a7d6e5f40","client_id":"cli_06c1q3v5r1ezfb4d2n8m0k7h9s","scope":"openid profile email",` +
	`"org":"org_06c1q3v5r1ezfb4d2n8m0k7h9s","tnt":"tnt_06c1q3v5r1ezfb4d2n8m0k7h9s","sid":"ses_06c1q3v5r1ezfb4d2n8m0k7h9s","roles":["admin"]}`)

// The yardstick of Sign: one ECDSA signature over the same bytes, with nothing but the base64 that a JWS cannot be without.
func BenchmarkSign(b *testing.B) {
	k := mustGenerate(b, ES256)
	priv := k.signer.(*ecdsa.PrivateKey)
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			input := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","kid":"k","typ":"at+jwt"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
			sum := sha256.Sum256([]byte(input))
			sig, err := ecdsa.SignASN1(rand.Reader, priv, sum[:])
			if err != nil {
				b.Fatal(err)
			}
			_ = input + "." + base64.RawURLEncoding.EncodeToString(sig)
		}
	})
	b.Run("ours", func(b *testing.B) {
		s := NewSigner(k, "sgk_06c1q3v5r1ezfb4d2n8m0k7h9s")
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Sign("at+jwt", claims); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("jwx", func(b *testing.B) {
		h := jws.NewHeaders()
		_ = h.Set("kid", "sgk_06c1q3v5r1ezfb4d2n8m0k7h9s")
		_ = h.Set("typ", "at+jwt")
		b.ReportAllocs()
		for b.Loop() {
			if _, err := jws.Sign(claims, jws.WithKey(jwa.ES256, priv, jws.WithProtectedHeaders(h))); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The yardstick of Verify: split, decode, one ECDSA verification.
func BenchmarkVerify(b *testing.B) {
	k := mustGenerate(b, ES256)
	priv := k.signer.(*ecdsa.PrivateKey)
	token, err := NewSigner(k, "k1").Sign("at+jwt", claims)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			last := strings.LastIndexByte(token, '.')
			sig, _ := base64.RawURLEncoding.DecodeString(token[last+1:])
			_, _ = base64.RawURLEncoding.DecodeString(token[strings.IndexByte(token, '.')+1 : last])
			sum := sha256.Sum256([]byte(token[:last]))
			if !ecdsa.Verify(&priv.PublicKey, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
				b.Fatal("refused")
			}
		}
	})
	b.Run("ours", func(b *testing.B) {
		set := NewKeySet(k.Public("k1"))
		opt := VerifyOptions{Typ: []string{"at+jwt"}, Algorithms: []Algorithm{ES256, RS256}}
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := set.Verify(token, opt); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("jwx primitive", func(b *testing.B) {
		v, err := jws.NewVerifier(jwa.ES256)
		if err != nil {
			b.Fatal(err)
		}
		last := strings.LastIndexByte(token, '.')
		sig, _ := base64.RawURLEncoding.DecodeString(token[last+1:])
		b.ReportAllocs()
		for b.Loop() {
			if err := v.Verify([]byte(token[:last]), sig, &priv.PublicKey); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("jwx", func(b *testing.B) {
		raw := []byte(token)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := jws.Verify(raw, jws.WithKey(jwa.ES256, &priv.PublicKey)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func mustGenerate(tb testing.TB, a Algorithm) *PrivateKey {
	tb.Helper()
	k, err := GenerateKey(a)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}
