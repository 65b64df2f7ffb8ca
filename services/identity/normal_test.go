// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNormalizeEmail(t *testing.T) {
	for _, tc := range []struct{ in, address, key string }{
		{"a@x.example", "a@x.example", "a@x.example"},
		{" Gavin.Belson+news@HOOLI.Example\t", "Gavin.Belson+news@hooli.example", "gavin.belson+news@hooli.example"},
		{"u\u0308ber@m\u00fcnchen.example", "\u00fcber@xn--mnchen-3ya.example", "\u00fcber@xn--mnchen-3ya.example"},
		{"a@XN--MNCHEN-3YA.example", "a@xn--mnchen-3ya.example", "a@xn--mnchen-3ya.example"},
		{"\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2@x.example", "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2@x.example", "\u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c3@x.example"},
		{"root@localhost", "root@localhost", "root@localhost"},
		{"o'brien@x.example", "o'brien@x.example", "o'brien@x.example"},
	} {
		address, key, err := NormalizeEmail(tc.in)
		if err != nil || address != tc.address || key != tc.key {
			t.Errorf("%q: %q %q %v", tc.in, address, key, err)
		}
	}
	for _, bad := range []string{
		"", "@", "a", "a@", "@x.example", "a@@x.example", "a b@x.example", "a@x", "a@x..example", "a@x.example.", "a@-x.example", "a@[192.0.2.1]", "a@192.0.2.1",
		".a@x.example", "a.@x.example", "a..b@x.example", `"a b"@x.example`, "a(comment)@x.example", "a@x.example,b@x.example", "a@x.example\nBcc: b@x.example",
		"a\x00@x.example", "a\u202e@x.example", "a\u200b@x.example", "a\xff@x.example", strings.Repeat("a", 65) + "@x.example", "a@" + strings.Repeat("x", 64) + ".example",
		"<a@x.example>", "a@x_y.example", "a@x.example?x", strings.Repeat("a", 2000) + "@x.example",
	} {
		if address, _, err := NormalizeEmail(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %q %v", bad, address, err)
		}
	}
}

// A normal form is its own normal form, is one line of text with one domain, and keeps its key.
func FuzzNormalizeEmail(f *testing.F) {
	for _, s := range []string{"a@x.example", "\u00dcber@M\u00dcNCHEN.example", "a@xn--a.example", "\u01c5@x.example", "a\u0345@x.example", "\u1e9e@\u1e9e.example", "a@\u3002b.c", "I\u0307@x.y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		address, key, err := NormalizeEmail(s)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || address != "" || key != "" {
				t.Fatalf("%q: %q %q %v", s, address, key, err)
			}
			return
		}
		if !utf8.ValidString(address) || strings.ContainsAny(address, " \t\r\n\x00<>,;:()\"\\[]") {
			t.Fatalf("%q became %q", s, address)
		}
		again, key2, err := NormalizeEmail(address)
		if err != nil || again != address || key2 != key {
			t.Fatalf("%q: %q %q, then %q %q %v", s, address, key, again, key2, err)
		}
		if foldKey(key) != key {
			t.Fatalf("%q: the key %q folds to %q", s, key, foldKey(key))
		}
	})
}

func FuzzInvitationToken(f *testing.F) {
	f.Add(strings.Repeat("A", 64))
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		invitation, hash, err := parseInvitationToken(s)
		if err != nil {
			if !errors.Is(err, ErrInvitation) || hash != [32]byte{} || !invitation.IsZero() {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if len(s) != 64 {
			t.Fatalf("%q has a second spelling", s)
		}
	})
}

func TestPasswordPolicy(t *testing.T) {
	p := PasswordPolicy{MinLength: 12, CommonCheck: true, TenantName: "Hooli Search"}
	const email = "gavin.belson@hooli.example"
	for _, tc := range []struct {
		password string
		want     []PasswordViolation
	}{
		{"correct horse 47 battery", nil},
		{"\u00fc\u00fc\u00df\u00e4\u00f6 \u4e2d\u6587\u5bc6\u7801 ok", nil},
		{"x7#Kq!v9Lm2p", nil},
		{"hunter's moon over oslo", nil},
		{"monkeys ride 3 blue trains", nil},
		{"7529410386527", nil},
		{"Xy7#q", []PasswordViolation{PasswordTooShort}},
		{"", []PasswordViolation{PasswordUnusable}},
		{"u\u0308u\u0308u\u0308u\u0308u\u0308u\u0308", []PasswordViolation{PasswordTooShort, PasswordCommon}}, // 6 characters, not 12
		{strings.Repeat("ab!9", 257), []PasswordViolation{PasswordTooLong}},
		{strings.Repeat("\u00e9x", 342), []PasswordViolation{PasswordTooLong}},
		{"good password\x00here", []PasswordViolation{PasswordUnusable}},
		{"good password\xff\xfehere", []PasswordViolation{PasswordUnusable}},
		{"Gavin.Belson@Hooli.example", []PasswordViolation{PasswordIsEmail}},
		{"GAVIN.BELSON", []PasswordViolation{PasswordIsEmail}},
		{"hooli search", []PasswordViolation{PasswordIsTenant}},
		{"Hooli-Search", []PasswordViolation{PasswordIsTenant}},
		{"password1234", []PasswordViolation{PasswordCommon}},
		{"P@ssw0rd2026!", []PasswordViolation{PasswordCommon}},
		{"!!!Password!!!", []PasswordViolation{PasswordCommon}},
		{"passwordpassword", []PasswordViolation{PasswordCommon}},
		{"Welcome2026!!", []PasswordViolation{PasswordCommon}},
		{"letmeinletmein", []PasswordViolation{PasswordCommon}},
		{"aaaaaaaaaaaa", []PasswordViolation{PasswordCommon}},
		{"ababababababab", []PasswordViolation{PasswordCommon}},
		{"123456789012", []PasswordViolation{PasswordCommon}},
		{"210987654321", []PasswordViolation{PasswordCommon}},
		{"qwertyuiop123", []PasswordViolation{PasswordCommon}},
		{"qwertyuiopasdf", []PasswordViolation{PasswordCommon}},
		{"abcdefghijklm", []PasswordViolation{PasswordCommon}},
		{"1qaz2wsx3edc", []PasswordViolation{PasswordCommon}},
		{"correcthorsebatterystaple", []PasswordViolation{PasswordCommon}},
	} {
		err := p.Check(tc.password, email)
		var got []PasswordViolation
		var refused *PasswordError
		if errors.As(err, &refused) {
			got = refused.Violations
			if refused.MinLength != 12 || !errors.Is(err, ErrInvalid) || tc.password != "" && strings.Contains(err.Error(), tc.password) {
				t.Errorf("%q: %v", tc.password, err)
			}
		} else if err != nil {
			t.Errorf("%q: %v", tc.password, err)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%q: %v, want %v", tc.password, got, tc.want)
		}
	}
	if err := (PasswordPolicy{MinLength: 1}).Check("1234567", ""); err == nil {
		t.Error("a policy cannot go below eight characters")
	}
	if err := (PasswordPolicy{MinLength: 8}).Check("password", "a@x.example"); err != nil {
		t.Errorf("the check of common passwords is off: %v", err)
	}
	if n := len(commonSet()); n < 1000 {
		t.Errorf("the list has %d words", n)
	}
	for w := range commonSet() {
		if foldKey(w) != w {
			t.Errorf("%q is not folded: it would never match", w)
		}
	}
}

func TestProfileTableCoversTheType(t *testing.T) {
	p := Profile{}
	for _, f := range profileFields {
		*f.of(&p) = "x"
	}
	for v, i := reflect.ValueOf(p), 0; i < v.NumField(); i++ {
		if v.Field(i).String() != "x" {
			t.Errorf("%s is not in the table", v.Type().Field(i).Name)
		}
	}
	for _, f := range profileFields {
		var c UserChange
		v := "v"
		setProfile(&c, f.name, &v)
		if f.in(&c) != &v {
			t.Errorf("%s is set elsewhere", f.name)
		}
	}
}
