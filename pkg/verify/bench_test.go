// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"net/url"
	"testing"
)

// The yardstick of a request with a token is one bare ES256 verification, with a DPoP proof it is two.
func BenchmarkVerify(b *testing.B) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256([]byte("token"))
	sig, err := ecdsa.SignASN1(rand.Reader, k, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	bare := func(b *testing.B) {
		if !ecdsa.VerifyASN1(&k.PublicKey, sum[:], sig) {
			b.Fatal("refused")
		}
	}
	b.Run("bare ES256", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			bare(b)
		}
	})
	c := newCluster(b)
	v := c.verifier()
	b.Run("bearer", func(b *testing.B) {
		req := ask("hooli", c.token("hooli", nil))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(b.Context(), req); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("two bare ES256", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			bare(b)
			bare(b)
		}
	})
	b.Run("DPoP", func(b *testing.B) {
		key := proofKeys()[0]
		req := ask("hooli", c.token("hooli", map[string]any{"cnf": map[string]string{"jkt": key.thumbprint()}}))
		req.Scheme, req.Method, req.URL = SchemeDPoP, "GET", &url.URL{Scheme: "https", Host: "x.example", Path: "/"}
		req.Proofs = []string{key.proof(b, map[string]any{"jti": "1", "htm": "GET", "htu": "https://x.example/", "iat": c.clock.now().Unix(), "ath": hashOf(req.Token)}, nil)}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(b.Context(), req); err != nil {
				b.Fatal(err)
			}
		}
	})
}
