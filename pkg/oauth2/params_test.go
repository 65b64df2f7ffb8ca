// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"slices"
	"strings"
	"testing"
)

func TestParseParams(t *testing.T) {
	for _, tc := range []struct {
		name, raw string
		want      map[string]string
	}{
		{"empty", "", nil},
		{"plain", "grant_type=client_credentials&scope=a", map[string]string{"grant_type": "client_credentials", "scope": "a"}},
		{
			"plus and percent are decoded (RFC 6749 appendix B)", "scope=a+b%20c&redirect_uri=https%3A%2F%2Fa.example%2Fcb%3Fx%3D1%26y",
			map[string]string{"scope": "a b c", "redirect_uri": "https://a.example/cb?x=1&y"},
		},
		{"encoded name", "client%5Fid=x", map[string]string{"client_id": "x"}},
		{"without a value counts as omitted (RFC 6749 section 3.1)", "state=&nonce", map[string]string{"state": "", "nonce": ""}},
		{"empty pairs", "&&a=1&&b=2&", map[string]string{"a": "1", "b": "2"}},
		{"equals in a value", "state=a=b==", map[string]string{"state": "a=b=="}},
		{"not ASCII", "login_hint=zo%C3%AB", map[string]string{"login_hint": "zoë"}},
		{"lines in claims", "claims=%7B%0A%09%7D", map[string]string{"claims": "{\n\t}"}},
		{"lower-case hex", "a=%c3%ab", map[string]string{"a": "ë"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := ParseParams(tc.raw)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range tc.want {
				if got := p.Get(name); got != want {
					t.Errorf("Get(%q) = %q, want %q", name, got, want)
				}
				if p.Has(name) != (want != "") {
					t.Errorf("Has(%q) = %v", name, p.Has(name))
				}
			}
		})
	}
}

func TestParseParamsRefuses(t *testing.T) {
	for _, tc := range []struct{ name, raw, want string }{
		{"parameter pollution (RFC 6749 section 3.1)", "client_id=a&client_id=b", "parameter client_id is given more than once"},
		{"pollution by an empty twin", "state=&state=x", "parameter state is given more than once"},
		{"pollution by an encoded twin", "state=x&%73tate=y", "parameter state is given more than once"},
		{"pollution of an unknown parameter", "x=1&x=1", "parameter x is given more than once"},
		{"semicolon as a hidden separator", "a=1;client_id=evil", "malformed"},
		{"NUL byte", "state=a%00b", "malformed"},
		{"header injection by CRLF", "state=a%0d%0aSet-Cookie:x", "malformed"},
		{"line break outside of claims", "scope=a%0Ab", "malformed"},
		{"DEL", "state=%7f", "malformed"},
		{"C1 control character", "state=%C2%85", "malformed"},
		{"invalid UTF-8", "state=%ff", "malformed"},
		{"overlong UTF-8", "state=%c0%af", "malformed"},
		{"surrogate half", "state=%ed%a0%80", "malformed"},
		{"cut-off escape", "state=%4", "malformed"},
		{"bad escape", "state=%zz", "malformed"},
		{"no name", "=x", "malformed"},
		{"control character in a name", "a%0ab=x", "malformed"},
		{"too many", strings.Repeat("&", MaxParams), "too many"},
		{"value too long", "a=" + strings.Repeat("x", MaxParamBytes+1), "malformed"},
		{"too long", "a=" + strings.Repeat("x", MaxParamsBytes), "too long"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ParseParams(tc.raw)
			if CodeOf(err) != CodeInvalidRequest || !strings.Contains(AsError(err).Description, tc.want) {
				t.Errorf("got %v, want invalid_request with %q", err, tc.want)
			}
		})
	}
}

// The description of an error must not carry a stranger's text into pages and logs of others.
func TestReflectedParameterName(t *testing.T) {
	for _, name := range []string{"%3Cscript%3E", "a%22b", "x%20y", strings.Repeat("n", 200)} {
		_, err := ParseParams(name + "=1&" + name + "=2")
		if d := AsError(err).Description; d != "a parameter is given more than once" {
			t.Errorf("%s: description %q", name, d)
		}
	}
}

func TestResourceMayBeRepeated(t *testing.T) {
	p, err := ParseParams("resource=https%3A%2F%2Fa&resource=https%3A%2F%2Fb&resource=")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Values(ParamResource); !slices.Equal(got, []string{"https://a", "https://b"}) {
		t.Errorf("Values = %q (RFC 8707 section 2)", got)
	}
	if _, err := OneResource(p); CodeOf(err) != CodeInvalidTarget {
		t.Errorf("two resources: %v, want invalid_target", err)
	}
	if got := p.Values("absent"); got != nil {
		t.Errorf("absent: %q", got)
	}
}

func TestWith(t *testing.T) {
	p, err := ParseParams("a=1&b=2")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.With("a", "x y").Encode(); got != "b=2&a=x+y" {
		t.Errorf("replaced: %s", got)
	}
	if got := p.With("a", "").Encode(); got != "b=2" {
		t.Errorf("removed: %s", got)
	}
	if got := p.Encode(); got != "a=1&b=2" {
		t.Errorf("the original changed: %s", got)
	}
}

func FuzzParseParams(f *testing.F) {
	for _, s := range []string{
		"", "a=1&b=2", "grant_type=authorization_code&code=x&redirect_uri=https%3A%2F%2Fa%2Fcb&code_verifier=abc", "a=%00", "a=%ff&a=%",
		"claims=%7B%22userinfo%22%3A%7B%7D%7D", "resource=a&resource=b", "a;b=c", "&&&", "=", "%=%", "a=+%2B+", "st%61te=x&state=y",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := ParseParams(raw)
		if err != nil {
			if CodeOf(err) != CodeInvalidRequest {
				t.Fatalf("error without a code: %v", err)
			}
			return
		}
		printed := p.Encode()
		if len(printed) > MaxParamsBytes {
			return // re-encoding may be longer than a lazily encoded original
		}
		again, err := ParseParams(printed)
		if err != nil {
			t.Fatalf("ParseParams(%q).Encode() = %q: %v", raw, printed, err)
		}
		if !slices.Equal(p.pairs, again.pairs) {
			t.Fatalf("%q became %q", p.pairs, again.pairs)
		}
		if again.Encode() != printed {
			t.Fatalf("printing is not stable")
		}
	})
}

// The token path parses one form for every token: one allocation for the list, one for each value that is encoded.
func TestParseParamsAllocations(t *testing.T) {
	const plain = "grant_type=client_credentials&client_id=cli_01&client_secret=tns_x&scope=chat:write"
	if n := testing.AllocsPerRun(200, func() { _, _ = ParseParams(plain) }); n > 1 {
		t.Errorf("plain form: %v allocations, want at most 1", n)
	}
	const encoded = "grant_type=authorization_code&code=abc&redirect_uri=https%3A%2F%2Fapp.example%2Fcb&code_verifier=xyz"
	if n := testing.AllocsPerRun(200, func() { _, _ = ParseParams(encoded) }); n > 3 {
		t.Errorf("form with one encoded value: %v allocations, want at most 3", n)
	}
}

func BenchmarkParseParams(b *testing.B) {
	const form = "grant_type=client_credentials&scope=chat%3Awrite+chat%3Aread"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseParams(form); err != nil {
			b.Fatal(err)
		}
	}
}
