// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"strings"
	"testing"
)

func TestNormalizeHost(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, c := range []struct{ in, want string }{
		{"hooli.example.com", "hooli.example.com"},
		{"HOOLI.Example.COM", "hooli.example.com"},
		{"hooli.example.com.", "hooli.example.com"},
		{"hooli.example.com:8080", "hooli.example.com"},
		{"hooli.example.com:", "hooli.example.com"},
		{"Hooli.example.com.:443", "hooli.example.com"},
		{"hooli.localhost:8080", "hooli.localhost"},
		{"localhost", "localhost"},
		{"1and1.example", "1and1.example"},
		{"ab--cd.example", "ab--cd.example"},
		{"AB--CD.example", "ab--cd.example"},
		{"bücher.example", "xn--bcher-kva.example"},
		{"BÜCHER.example", "xn--bcher-kva.example"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"XN--BCHER-KVA.example", "xn--bcher-kva.example"},
		{"straße.example", "xn--strae-oqa.example"},
		{"例え.テスト", "xn--r8jz45g.xn--zckzah"},
		{"ｈｏｏｌｉ.example", "hooli.example"},
		{"hooli。example", "hooli.example"},
		{long + "." + long + "." + long + "." + strings.Repeat("b", 61), long + "." + long + "." + long + "." + strings.Repeat("b", 61)},
	} {
		if got, err := NormalizeHost(c.in); err != nil || got != c.want {
			t.Errorf("%q is %q, %v, want %q", c.in, got, err, c.want)
		}
	}
	for _, in := range []string{
		"", ".", "..", "a..b", ".a", "a.b..", "-a.example", "a-.example", "a.-b", "a_b.example", "a b.example", "a/b", "a\x00b", "a%2eb",
		"127.0.0.1", "127.1", "1", "0x7f.1", "0x7f000001", "a.0x10", "a.0x", "[::1]", "::1", "[::1]:80", "fe80::1%eth0", "user@host", "http://a",
		"a:b", "a:80:80", "a:999999", "a.example:-1", "*.example", "xn--", "xn--a", "xn--a.example", "xn--bcher-kv.example", "xn--hooli-.example",
		"xn--0.example", "１２７.0.0.1", "a．.example", "a\u200db.example", "a\u202eb.example", "\u0301a.example", "a\xffb.example", "xn--ab-gg4n.example", "a\ufffdb.example",
		strings.Repeat("a", 64) + ".example", long + "." + long + "." + long + "." + strings.Repeat("b", 62), strings.Repeat("a.", 5000),
		strings.Repeat("ü", 70) + ".example",
	} {
		if got, err := NormalizeHost(in); err == nil {
			t.Errorf("%q was accepted as %q", in, got)
		}
	}
}

func TestNormalHostAllocatesNothing(t *testing.T) {
	for _, host := range []string{"hooli.example.com", "hooli.example.com:8080"} {
		if n := testing.AllocsPerRun(100, func() { NormalizeHost(host) }); n != 0 { // a name
			t.Errorf("%s: %v allocations", host, n)
		}
	}
}

// What is normal stays so, in every spelling that a browser or proxy may use for it.
func FuzzNormalizeHost(f *testing.F) {
	for _, s := range []string{"hooli.example.com", "bücher.example:80", "xn--bcher-kva.example.", "127.0.0.1", "ａ.example", "a--b.c", "ß.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := NormalizeHost(s)
		if err != nil {
			return
		}
		for _, again := range []string{n, n + ":443", n + ".", strings.ToUpper(n)} {
			if got, err := NormalizeHost(again); err != nil || got != n {
				t.Fatalf("%q is normal %q, but %q is %q, %v", s, n, again, got, err)
			}
		}
		if len(n) > 253 || strings.ContainsAny(n, ":_/@ ") || n != strings.ToLower(n) {
			t.Fatalf("%q is normal %q", s, n)
		}
		if h, ok := hostShape(n); !ok || h != n {
			t.Fatalf("%q is normal and has not the shape", n)
		}
	})
}
