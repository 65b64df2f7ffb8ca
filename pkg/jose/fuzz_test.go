// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

// A token that verifies is exactly one that our encoder could have produced around its parts.
func FuzzVerify(f *testing.F) {
	set := NewKeySet(keys()[ES256].Public("k1"), keys()[EdDSA].Public("k2"))
	opt := VerifyOptions{Typ: []string{"at+jwt", ""}, Algorithms: []Algorithm{ES256, EdDSA}}
	f.Add(sign(f, ES256, "k1", "at+jwt"))
	f.Add(sign(f, EdDSA, "k2", ""))
	f.Add(assemble(f, `{"alg":"ES256","kid":"k1","x":{"y":[1,"\"}"]}}`))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		payload, h, err := set.Verify(token, opt)
		if err != nil {
			if payload != nil {
				t.Fatal("payload with an error")
			}
			return
		}
		parts := strings.Split(token, ".")
		if len(parts) != 3 || base64.RawURLEncoding.EncodeToString(payload) != parts[1] {
			t.Fatalf("second spelling accepted: %q", token)
		}
		if h.KeyID != "k1" && h.KeyID != "k2" {
			t.Fatalf("key id %q", h.KeyID)
		}
	})
}

// What parses prints as canonical JSON that parses to the same bytes.
func FuzzParseJWK(f *testing.F) {
	for _, a := range algorithms {
		f.Add(keys()[a].Public("k").JWK())
	}
	f.Add([]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","alg":"EdDSA","kid":"\u0061\ud83d\ude00"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := ParseJWK(data)
		if err != nil {
			return
		}
		text := k.JWK()
		if !json.Valid(text) {
			t.Fatalf("prints %q", text)
		}
		again, err := ParseJWK(text)
		if err != nil || !bytes.Equal(again.JWK(), text) || again.Thumbprint() != k.Thumbprint() {
			t.Fatalf("%q: %v", text, err)
		}
	})
}

// The scanner finds the same members as encoding/json, and nothing that encoding/json would merge.
func FuzzEachMember(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":{"c":[1,2,"}"]},"d":"\"","e":null , "f" : true}`))
	f.Add([]byte(`{}`))
	f.Add([]byte("\t{ \"\\u0061\" : -1.5e3\n}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got := map[string]string{}
		err := eachMember(data, func(name, value []byte) error {
			got[string(name)] = string(value)
			return nil
		})
		if err != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("accepted %q: %v", data, err)
		}
		if len(got) != len(want) {
			t.Fatalf("%q: %v, want %v", data, got, want)
		}
		for name, value := range want {
			if got[name] != string(value) {
				t.Fatalf("%q: %q is %q, want %q", data, name, got[name], value)
			}
		}
	})
}

// A set that parses has only keys that do what it says they do, and never more than the bounds.
func FuzzParseForeignSet(f *testing.F) {
	for _, a := range algorithms {
		f.Add(setOf(string(keys()[a].Public("k").JWK())))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseForeignSet(data)
		if err != nil {
			if s != nil {
				t.Fatal("a set with an error")
			}
			return
		}
		if s.Len() > maxForeignSetKeys {
			t.Fatalf("%d keys", s.Len())
		}
		for i := range s.keys {
			k := &s.keys[i]
			for _, a := range k.sigs {
				if err := a.checkPublic(k.key); err != nil {
					t.Fatalf("%s: %v", a, err)
				}
				// Two ways to the thumbprint: from the text, and from the number.
				if want := (PublicKey{alg: a, key: k.key}).Thumbprint(); k.thumbprint() != want {
					t.Fatalf("%s is %s, not %s", k.name, k.thumbprint(), want)
				}
			}
			if k.use == "sig" && len(k.encs) > 0 || k.use == "enc" && len(k.sigs) > 0 {
				t.Fatalf("a key for %q does something else", k.use)
			}
		}
	})
}

// A proof that verifies has one spelling, and its thumbprint is that of the one key that can have signed it.
func FuzzVerifyEmbedded(f *testing.F) {
	for _, a := range algorithms {
		f.Add(proofWith(f, a, `,"jwk":`+jwkWith(f, a, nothing)))
	}
	f.Fuzz(func(t *testing.T, token string) {
		payload, thumbprint, h, err := VerifyEmbedded(token, proofOptions(algorithms...))
		if err != nil {
			if payload != nil || thumbprint != "" {
				t.Fatal("something came with an error")
			}
			return
		}
		parts := strings.Split(token, ".")
		if len(parts) != 3 || base64.RawURLEncoding.EncodeToString(payload) != parts[1] || len(thumbprint) != 43 || !Algorithm(h.Alg).Valid() {
			t.Fatalf("accepted %q", token)
		}
		var head struct {
			JWK map[string]any `json:"jwk"`
		}
		raw, err := base64.RawURLEncoding.DecodeString(parts[0])
		if err != nil || json.Unmarshal(raw, &head) != nil {
			t.Fatalf("accepted header %q", raw)
		}
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if _, ok := head.JWK[private]; ok {
				t.Fatalf("a key with %q", private)
			}
		}
	})
}

// Of a client's assertion nothing is accepted but the spelling that an encoder would have produced, by a set and by a secret.
func FuzzVerifyForeign(f *testing.F) {
	set := parseForeign(f, string(keys()[ES256].Public("k1").JWK()), jwkWith(f, EdDSA, nothing))
	secret := []byte(strings.Repeat("s", 64))
	f.Add(tokenWith(f, ES256, `{"alg":"ES256","kid":"k1"}`))
	f.Add(tokenWith(f, EdDSA, `{"alg":"EdDSA","typ":"JWT"}`))
	if token, err := SignHMAC(HS256, secret, "", claims); err == nil {
		f.Add(token)
	}
	opt := VerifyOptions{Typ: []string{"", "JWT"}, Algorithms: []Algorithm{ES256, EdDSA, HS256, HS384, HS512}}
	f.Fuzz(func(t *testing.T, token string) {
		bySet, h, errSet := set.Verify(token, opt)
		byMAC, _, errMAC := VerifyHMAC(secret, token, opt)
		if errSet == nil && (errMAC == nil || strings.HasPrefix(h.Alg, "HS")) {
			t.Fatalf("a shared secret among keys: %q", token)
		}
		for payload, err := range map[*[]byte]error{&bySet: errSet, &byMAC: errMAC} {
			parts := strings.Split(token, ".")
			if err == nil && (len(parts) != 3 || base64.RawURLEncoding.EncodeToString(*payload) != parts[1]) {
				t.Fatalf("second spelling accepted: %q", token)
			}
		}
	})
}
