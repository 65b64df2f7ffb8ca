// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jsonw

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzString(f *testing.F) {
	for _, s := range []string{"", "plain", `quote " and \`, "\x00\x1f\x7f", "line\u2028sep\u2029", "bad\xffutf8\xc3", "</script>&", "Zoë 🦊"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := String(nil, s)
		if !utf8.Valid(got) {
			t.Fatalf("String(%q) is not UTF-8: %q", s, got)
		}
		var back string
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatalf("String(%q) = %s: %v", s, got, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); utf8.ValidString(s) && back != want {
			t.Errorf("String(%q) reads back as %q", s, back)
		}
		std, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var stdBack string
		if err := json.Unmarshal(std, &stdBack); err != nil || stdBack != back {
			t.Errorf("encoding/json reads %q, we wrote %q", stdBack, back)
		}
	})
}

func TestMembers(t *testing.T) {
	b := []byte{'{'}
	b = Member(b, "a", "x")
	b = OptionalMember(b, "absent", "")
	b = Int(b, "i", -1)
	b = Uint(b, "u", 18446744073709551615)
	b = Bool(b, "t", true)
	b = Strings(b, "none", nil)
	b = Strings(b, "two", []string{"p", "q"})
	b = append(b, '}')
	if want := `{"a":"x","i":-1,"u":18446744073709551615,"t":true,"none":[],"two":["p","q"]}`; string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	if !json.Valid(b) {
		t.Error("not JSON")
	}
}
