// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParseScopes(t *testing.T) {
	many := make([]string, MaxScopes+1)
	for i := range many {
		many[i] = fmt.Sprint("s", i)
	}
	for _, tc := range []struct {
		name, in string
		want     Scopes
		code     string
	}{
		{"empty", "", nil, ""},
		{"only spaces", "   ", nil, ""},
		{"order is kept", "profile openid email", Scopes{"profile", "openid", "email"}, ""},
		{"duplicates are dropped", "a b a", Scopes{"a", "b"}, ""},
		{"extra spaces", " a  b ", Scopes{"a", "b"}, ""},
		{"RFC 6749 section 3.3: all of the set", "!#$%&'()*+,-./09:;<=>?@AZ[]^_`az{|}~", Scopes{"!#$%&'()*+,-./09:;<=>?@AZ[]^_`az{|}~"}, ""},
		{"quote", `a"b`, nil, CodeInvalidScope},
		{"backslash", `a\b`, nil, CodeInvalidScope},
		{"tab", "a\tb", nil, CodeInvalidScope},
		{"not ASCII", "ä", nil, CodeInvalidScope},
		{"the most", strings.Join(many[:MaxScopes], " "), Scopes(many[:MaxScopes]), ""},
		{"too many", strings.Join(many, " "), nil, CodeInvalidScope},
		{"too long", strings.Repeat("x", maxScopeBytes+1), nil, CodeInvalidScope},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseScopes(tc.in)
			if !slices.Equal(got, tc.want) || CodeOf(err) != tc.code {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestScopeSets(t *testing.T) {
	s := Scopes{"a", "b", "c"}
	if got := s.Intersect(Scopes{"c", "a", "x"}); !slices.Equal(got, Scopes{"a", "c"}) {
		t.Errorf("Intersect: %q", got)
	}
	if got := s.Intersect(s); !slices.Equal(got, s) {
		t.Errorf("Intersect with itself: %q", got)
	}
	if got := s.Intersect(nil); len(got) != 0 {
		t.Errorf("Intersect with nothing: %q", got)
	}
	if got := s.Without("b"); !slices.Equal(got, Scopes{"a", "c"}) || !slices.Equal(s, Scopes{"a", "b", "c"}) {
		t.Errorf("Without: %q, %q", got, s)
	}
	if !(Scopes{"c", "a"}).Subset(s) || (Scopes{"a", "x"}).Subset(s) || !Scopes(nil).Subset(nil) {
		t.Error("Subset")
	}
	if s.String() != "a b c" || !s.Contains("b") || s.Contains("B") {
		t.Error("String or Contains")
	}
}

func FuzzParseScopes(f *testing.F) {
	for _, s := range []string{"", "openid profile", " a  a ", "\"", "x\x00", "é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		s, err := ParseScopes(in)
		if err != nil {
			return
		}
		again, err := ParseScopes(s.String())
		if err != nil || !slices.Equal(s, again) {
			t.Fatalf("%q: %q became %q, %v", in, s, again, err)
		}
		if len(s) > MaxScopes {
			t.Fatalf("%d scopes", len(s))
		}
	})
}
