// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package secret

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/pkg/id"
)

func TestTokenRoundTrip(t *testing.T) {
	for _, k := range []TokenKind{APIKey, ClientSecret} {
		record := [16]byte(id.NewAPIKey())
		text, h := NewToken(k, record)
		got, gotHash, err := ParseToken(k, text)
		if err != nil || got != record || !gotHash.Equal(h) {
			t.Fatalf("%s: %x, %v", text, got, err)
		}
		other, otherHash := NewToken(k, record)
		if other == text || otherHash.Equal(h) {
			t.Error("two secrets are the same")
		}
	}
}

// The form of API.md 5.4, computed with arithmetic that shares nothing with the code.
func TestTokenTextIsWhatTheDocumentSays(t *testing.T) {
	record := [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	for _, raw := range [][32]byte{{}, {31: 1}, {31: 62}, {0: 0x80, 31: 7}, {0: 0xff, 15: 0xaa}, allOnes()} {
		text := formatToken(APIKey, record, &raw)
		body := "tnk_00041061050r3gg28a1c60t3gf_" + bigBase62(new(big.Int).SetBytes(raw[:]), 43)
		want := body + "_" + bigBase62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), 6)
		if text != want {
			t.Errorf("%s, want %s", text, want)
		}
		_, h, err := ParseToken(APIKey, text)
		if err != nil || h != sha256.Sum256(raw[:]) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func allOnes() (b [32]byte) {
	for i := range b {
		b[i] = 0xff
	}
	return b
}

func bigBase62(n *big.Int, width int) string {
	var b []byte
	for m, r := new(big.Int).Set(n), new(big.Int); len(b) < width; {
		m.DivMod(m, big.NewInt(62), r)
		b = append([]byte{base62[r.Int64()]}, b...)
	}
	return string(b)
}

// reseal gives a changed text a right checksum, so that what is behind the checksum is tested.
func reseal(body string) string {
	return body + "_" + bigBase62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), 6)
}

func TestParseTokenRefuses(t *testing.T) {
	text, _ := NewToken(APIKey, id.NewAPIKey())
	body := text[:len(text)-7]
	zero := "tnk_" + strings.Repeat("0", 26) + body[30:]
	over := bigBase62(new(big.Int).Lsh(big.NewInt(1), 256), 43)
	for name, bad := range map[string]string{
		"empty":                       "",
		"client secret":               "tns" + text[3:],
		"client secret, sealed again": reseal("tns" + body[3:]),
		"cut":                         text[:80],
		"longer":                      text + "0",
		"one character changed":       flip(text, 40),
		"one character of the sum":    flip(text, 80),
		"space around":                " " + text,
		"line end":                    text + "\n",
		"zero id":                     reseal(zero),
		"upper case id":               reseal("tnk_" + strings.ToUpper(body[4:30]) + body[30:]),
		"id overflow":                 reseal("tnk_8" + body[5:]),
		"secret of 2^256":             reseal(body[:31] + over),
		"secret of all z":             reseal(body[:31] + strings.Repeat("z", 43)),
		"character not in base62":     reseal(body[:31] + "-" + body[32:]),
		"hyphen for underscore":       reseal(body[:30] + "-" + body[31:]),
		"checksum above 2^32":         body + "_zzzzzz",
	} {
		if got, h, err := ParseToken(APIKey, bad); !errors.Is(err, ErrMalformed) || got != ([16]byte{}) || h != (Hash{}) {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
}

func flip(s string, i int) string {
	c := byte('a')
	if s[i] == c {
		c = 'b'
	}
	return s[:i] + string(c) + s[i+1:]
}

func TestHashEqual(t *testing.T) {
	_, h := NewToken(APIKey, id.NewAPIKey())
	o := h
	o[31] ^= 1
	if !h.Equal(h) || h.Equal(o) {
		t.Error("Equal is wrong")
	}
	if (Hash{}).Equal(Hash{}) {
		t.Error("an unset hash lets somebody in")
	}
	if back, ok := HashFromBytes(h[:]); !ok || back != h {
		t.Error("HashFromBytes lost it")
	}
	for _, n := range []int{0, 31, 33} {
		if _, ok := HashFromBytes(make([]byte, n)); ok {
			t.Errorf("a hash of %d bytes", n)
		}
	}
}

func TestTokenAllocations(t *testing.T) {
	text, h := NewToken(ClientSecret, id.NewClientSecret())
	bad := flip(text, 50)
	if n := testing.AllocsPerRun(100, func() {
		if _, got, err := ParseToken(ClientSecret, text); err != nil || !got.Equal(h) {
			t.Error(err)
		}
		if _, _, err := ParseToken(ClientSecret, bad); err == nil {
			t.Error("accepted")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A text that parses is the only text of its id and secret.
func FuzzParseToken(f *testing.F) {
	text, _ := NewToken(APIKey, id.NewAPIKey())
	f.Add(text)
	f.Add(reseal(text[:31] + strings.Repeat("z", 43)))
	f.Fuzz(func(t *testing.T, text string) {
		// A fuzzer does not find checksums by itself: every body of the right length gets a right one as well.
		texts := []string{text}
		if len(text) >= tokenLen-7 {
			texts = append(texts, reseal(text[:tokenLen-7]))
		}
		for _, text := range texts {
			record, _, err := ParseToken(APIKey, text)
			if err != nil {
				continue
			}
			var raw [32]byte
			if !decodeBase62(text[31:74], &raw) {
				t.Fatalf("%q parsed without a secret", text)
			}
			if again := formatToken(APIKey, record, &raw); again != text {
				t.Fatalf("%q prints %q", text, again)
			}
		}
	})
}

func BenchmarkNewToken(b *testing.B) {
	record := [16]byte(id.NewAPIKey())
	b.ReportAllocs()
	for b.Loop() {
		NewToken(APIKey, record)
	}
}

func BenchmarkParseToken(b *testing.B) {
	text, _ := NewToken(APIKey, id.NewAPIKey())
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ParseToken(APIKey, text); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleParseToken() {
	text, stored := NewToken(APIKey, id.NewAPIKey())
	_, h, err := ParseToken(APIKey, text)
	fmt.Println(len(text), h.Equal(stored), err)
	// Output: 81 true <nil>
}
