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
