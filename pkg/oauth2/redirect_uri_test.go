// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"errors"
	"strings"
	"testing"
)

var (
	production  = RedirectRules{}
	development = RedirectRules{Development: true}
	native      = RedirectRules{Native: true}
)

func TestParseRedirectURI(t *testing.T) {
	for _, tc := range []struct {
		name, raw string
		rules     RedirectRules
		ok        bool
	}{
		{"https", "https://app.example/cb", production, true},
		{"https with port and query", "https://app.example:8443/cb?dummy1=lorem&dummy2=ipsum", production, true},
		{"https without path", "https://app.example", production, true},
		{"punycode", "https://xn--bcher-kva.example/cb", production, true},
		{"https to an IPv4 address", "https://192.0.2.1/cb", production, true},
		{"https to an IPv6 address", "https://[2001:db8::1]/cb", production, true},
		{"loopback IPv4 (RFC 8252 section 7.3)", "http://127.0.0.1/cb", production, true},
		{"loopback IPv6", "http://[::1]:8000/cb", production, true},
		{"localhost", "http://localhost:3000/cb", production, true},
		{"host under localhost in development", "http://hooli.piedpiper.localhost:8090/cb", development, true},
		{"private-use scheme (RFC 8252 section 7.1)", "com.example.app:/oauth2redirect", native, true},
		{"private-use scheme with host", "com.example.app://callback", native, true},

		{"empty", "", production, false},
		{"relative", "/cb", production, false},
		{"scheme-relative", "//app.example/cb", production, false},
		{"fragment (RFC 6749 section 3.1.2)", "https://app.example/cb#x", production, false},
		{"empty fragment", "https://app.example/cb#", production, false},
		{"user information", "https://app.example@evil.example/cb", production, false},
		{"backslash, which browsers read as a slash", `https://app.example\@evil.example/cb`, production, false},
		{"encoded backslash", "https://app.example/%5c..%5ccb", production, false},
		{"wildcard host", "https://*.example/cb", production, false},
		{"dot segments", "https://app.example/a/../cb", production, false},
		{"encoded dot segments", "https://app.example/a/%2e%2E/cb", production, false},
		{"space", "https://app.example/c b", production, false},
		{"line break", "https://app.example/cb\r\nX: y", production, false},
		{"tab", "https://app.example/\tcb", production, false},
		{"not ASCII", "https://bücher.example/cb", production, false},
		{"placeholder", "https://{tenant.slug}.app.example/cb", production, false},
		{"upper-case host", "https://App.example/cb", production, false},
		{"upper-case scheme", "HTTPS://app.example/cb", production, false},
		{"host with a final dot", "https://app.example./cb", production, false},
		{"no host", "https:///cb", production, false},
		{"no host, opaque", "https:cb", production, false},
		{"empty port", "https://app.example:/cb", production, false},
		{"port 0", "https://app.example:0/cb", production, false},
		{"port too high", "https://app.example:65536/cb", production, false},
		{"port with a zero in front", "https://app.example:0443/cb", production, false},
		{"IPv4 as one number", "https://2130706433/cb", production, false},
		{"IPv4 in hexadecimal", "https://127.0.0.0x1/cb", production, false},
		{"IPv4 with zeros", "https://127.0.0.01/cb", production, false},
		{"IPv6 in another spelling", "http://[0:0:0:0:0:0:0:1]/cb", production, false},
		{"IPv6 with a zone", "http://[fe80::1%25eth0]/cb", production, false},
		{"IPv4 in IPv6", "https://[::ffff:192.0.2.1]/cb", production, false},
		{"response parameter in the query (mix-up)", "https://app.example/cb?code=x", production, false},
		{"iss in the query (RFC 9207)", "https://app.example/cb?iss=https://evil.example", production, false},
		{"encoded state in the query", "https://app.example/cb?st%61te=x", production, false},
		{"semicolons in the query", "https://app.example/cb?a;b", production, false},
		{"plain http", "http://app.example/cb", production, false},
		{"plain http in development", "http://app.example/cb", development, false},
		{"host under localhost in production", "http://hooli.localhost/cb", production, false},
		{"name that only ends in localhost", "http://evillocalhost/cb", development, false},
		{"localhost as a left label", "http://localhost.evil.example/cb", development, false},
		{"other loopback address", "http://127.0.0.2/cb", production, false},
		{"private-use scheme of a web client", "com.example.app:/cb", production, false},
		{"scheme without a dot", "myapp:/cb", native, false},
		{"scheme with an empty label", "com..app:/cb", native, false},
		{"private-use, opaque", "com.example.app:cb", native, false},
		{"private-use without a path", "com.example.app:", native, false},
		{"javascript", "javascript:/alert(1)", native, false},
		{"data", "data:text/html,x", native, false},
		{"file", "file:///etc/passwd", native, false},
		{"too long", "https://app.example/" + strings.Repeat("x", MaxRedirectURIBytes), production, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := ParseRedirectURI(tc.raw, tc.rules)
			if (err == nil) != tc.ok {
				t.Fatalf("ParseRedirectURI(%q) = %v", tc.raw, err)
			}
			if err != nil {
				if !errors.Is(err, ErrRedirectURI) || r.Matches(tc.raw) {
					t.Errorf("error %v, value %v", err, r)
				}
				return
			}
			if r.String() != tc.raw || !r.Matches(tc.raw) || r.Web() != strings.HasPrefix(tc.raw, "https:") {
				t.Errorf("value %+v", r)
			}
		})
	}
}

// RFC 9700 section 2.1: nothing but the very same bytes, except the port of a native client's loopback address.
func TestRedirectURIMatches(t *testing.T) {
	for _, tc := range []struct {
		name, registered, requested string
		rules                       RedirectRules
		want                        bool
	}{
		{"same", "https://app.example/cb", "https://app.example/cb", production, true},
		{"longer path (prefix attack)", "https://app.example/cb", "https://app.example/cb/evil", production, false},
		{"shorter path", "https://app.example/cb", "https://app.example/c", production, false},
		{"query added", "https://app.example/cb", "https://app.example/cb?x=1", production, false},
		{"empty query added", "https://app.example/cb", "https://app.example/cb?", production, false},
		{"query differs", "https://app.example/cb?x=1", "https://app.example/cb?x=2", production, false},
		{"fragment added", "https://app.example/cb", "https://app.example/cb#", production, false},
		{"other case", "https://app.example/cb", "https://app.example/CB", production, false},
		{"slash added", "https://app.example", "https://app.example/", production, false},
		{"other spelling of a character", "https://app.example/cb", "https://app.example/%63b", production, false},
		{"subdomain", "https://app.example/cb", "https://evil.app.example/cb", production, false},
		{"host suffix", "https://app.example/cb", "https://app.example.evil.example/cb", production, false},
		{"default port spelt out", "https://app.example/cb", "https://app.example:443/cb", production, false},
		{"plain http instead", "https://app.example/cb", "http://app.example/cb", production, false},
		{"empty", "https://app.example/cb", "", production, false},

		{"native loopback, any port (RFC 8252 section 7.3)", "http://127.0.0.1/cb", "http://127.0.0.1:51004/cb", native, true},
		{"native loopback, other port than registered", "http://127.0.0.1:8000/cb", "http://127.0.0.1:51004/cb", native, true},
		{"native loopback, no port", "http://127.0.0.1:8000/cb", "http://127.0.0.1/cb", native, true},
		{"native loopback IPv6", "http://[::1]/cb", "http://[::1]:51004/cb", native, true},
		{"native loopback without path", "http://127.0.0.1", "http://127.0.0.1:51004", native, true},
		{"native loopback with query", "http://127.0.0.1/cb?x=1", "http://127.0.0.1:9/cb?x=1", native, true},
		{"native loopback, other path", "http://127.0.0.1/cb", "http://127.0.0.1:51004/evil", native, false},
		{"native loopback, longer path", "http://127.0.0.1/cb", "http://127.0.0.1:51004/x/cb", native, false},
		{"native loopback without path, path added", "http://127.0.0.1", "http://127.0.0.1:80/evil", native, false},
		{"native loopback, other address", "http://127.0.0.1/cb", "http://127.0.0.2:51004/cb", native, false},
		{"host that goes on (127.0.0.1.evil.example)", "http://127.0.0.1/cb", "http://127.0.0.1.evil.example/cb", native, false},
		{"user information in the port's place", "http://127.0.0.1/cb", "http://127.0.0.1:80@evil.example/cb", native, false},
		{"port 0", "http://127.0.0.1/cb", "http://127.0.0.1:0/cb", native, false},
		{"port too high", "http://127.0.0.1/cb", "http://127.0.0.1:65536/cb", native, false},
		{"empty port", "http://127.0.0.1/cb", "http://127.0.0.1:/cb", native, false},
		{"signed port", "http://127.0.0.1/cb", "http://127.0.0.1:+80/cb", native, false},
		{"localhost is a name: exact", "http://localhost:8000/cb", "http://localhost:8001/cb", native, false},
		{"https loopback: exact", "https://127.0.0.1/cb", "https://127.0.0.1:8443/cb", native, false},
		{"loopback of a web client: exact", "http://127.0.0.1:8000/cb", "http://127.0.0.1:8001/cb", production, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := ParseRedirectURI(tc.registered, tc.rules)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Matches(tc.requested); got != tc.want {
				t.Errorf("%s for %s: %v", tc.requested, tc.registered, got)
			}
		})
	}
	if (RedirectURI{}).Matches("") {
		t.Error("the zero value matches the empty text")
	}
}

func TestRedirectTemplate(t *testing.T) {
	for _, tc := range []struct {
		name, raw string
		rules     RedirectRules
		ok        bool
	}{
		{"https", "https://{tenant.slug}.app.example/cb", production, true},
		{"with port and query", "https://{tenant.slug}.app.example:8443/cb?x=1", production, true},
		{"development", "http://{tenant.slug}.piedpiper.localhost:8090/callback", development, true},
		{"right under localhost", "http://{tenant.slug}.localhost:8090/callback", development, true},
		{"plain http in production", "http://{tenant.slug}.app.example/cb", production, false},
		{"no placeholder", "https://app.example/cb", production, false},
		{"two", "https://{tenant.slug}.{tenant.slug}.example/cb", production, false},
		{"in the path (a slug would choose the page)", "https://app.example/{tenant.slug}/cb", production, false},
		{"part of a label", "https://x-{tenant.slug}.app.example/cb", production, false},
		{"part of a label, right", "https://{tenant.slug}x.app.example/cb", production, false},
		{"the whole host", "https://{tenant.slug}/cb", production, false},
		{"right under a top-level domain", "https://{tenant.slug}.example/cb", production, false},
		{"second label", "https://app.{tenant.slug}.example/cb", production, false},
		{"as user information", "https://{tenant.slug}.a.b@evil.example/cb", production, false},
		{"as the scheme", "{tenant.slug}.a.b://x/cb", native, false},
		{"other placeholder", "https://{tenant.slug}.app.example/{path}", production, false},
		{"fragment", "https://{tenant.slug}.app.example/cb#x", production, false},
		{"empty", "", production, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tpl, err := ParseRedirectTemplate(tc.raw, tc.rules)
			if (err == nil) != tc.ok {
				t.Fatalf("ParseRedirectTemplate(%q) = %v", tc.raw, err)
			}
			if err != nil {
				if !errors.Is(err, ErrRedirectURI) {
					t.Errorf("error %v", err)
				}
				return
			}
			if tpl.String() != tc.raw {
				t.Errorf("prints as %q", tpl)
			}
			got, err := tpl.Expand("hooli")
			if want := strings.Replace(tc.raw, slugPlaceholder, "hooli", 1); err != nil || got != want {
				t.Errorf("Expand = %q, %v; want %q", got, err, want)
			}
		})
	}
}

func TestExpandRefusesWhatIsNoLabel(t *testing.T) {
	tpl, err := ParseRedirectTemplate("https://{tenant.slug}.app.example/cb", production)
	if err != nil {
		t.Fatal(err)
	}
	for _, slug := range []string{"", "a.b", "evil.example/", "evil.example?", "A", "-a", "a-", "a_b", "a@b", "ä", strings.Repeat("a", 64)} {
		if got, err := tpl.Expand(slug); !errors.Is(err, ErrRedirectURI) {
			t.Errorf("Expand(%q) = %q, %v", slug, got, err)
		}
	}
	if _, err := (RedirectTemplate{}).Expand("a"); err == nil {
		t.Error("the zero template expands")
	}
}

func TestParseOrigin(t *testing.T) {
	for raw, ok := range map[string]bool{
		"https://app.example":        true,
		"https://app.example:8443":   true,
		"http://localhost:3000":      true,
		"http://a.localhost:3000":    false,
		"https://app.example/":       false,
		"https://app.example?":       false,
		"https://app.example:443":    false,
		"http://localhost:80":        false,
		"https://u@app.example":      false,
		"https://*.app.example":      false,
		"http://app.example":         false,
		"null":                       false,
		"*":                          false,
		"chrome-extension://abcdefg": false,
	} {
		if _, err := ParseOrigin(raw, production); (err == nil) != ok {
			t.Errorf("ParseOrigin(%q): %v", raw, err)
		}
	}
	if _, err := ParseOrigin("http://a.localhost:3000", development); err != nil {
		t.Error(err)
	}
	tpl, err := ParseOriginTemplate("https://{tenant.slug}.app.example", production)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := tpl.Expand("hooli"); got != "https://hooli.app.example" {
		t.Errorf("Expand = %q", got)
	}
	if _, err := ParseOriginTemplate("https://{tenant.slug}.app.example/", production); err == nil {
		t.Error("origin template with a path")
	}
}

// Whatever is accepted at registration matches itself, and no browser would send it anywhere but to a host that passed the rules.
func FuzzRedirectURI(f *testing.F) {
	for _, s := range []string{
		"https://app.example/cb", "http://127.0.0.1/cb", "http://[::1]:1/", "com.example.app:/cb", "http://a.localhost", "https://a@b",
		`https://a\b`, "https://a/%2e%2e/", "HTTPS://A", "https://127.1", "javascript:alert(1)", "https://a?code=1",
	} {
		f.Add(s, "http://127.0.0.1:99/cb", true, true)
	}
	f.Fuzz(func(t *testing.T, raw, requested string, dev, nat bool) {
		r, err := ParseRedirectURI(raw, RedirectRules{Development: dev, Native: nat})
		if err != nil {
			if !errors.Is(err, ErrRedirectURI) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if !r.Matches(raw) || r.String() != raw {
			t.Fatalf("%q does not match itself", raw)
		}
		if strings.ContainsAny(raw, "# \\@\r\n") && !strings.Contains(raw, "/") {
			t.Fatalf("%q accepted", raw)
		}
		if requested != raw && r.Matches(requested) && (!nat || !strings.HasPrefix(raw, "http://127.0.0.1") && !strings.HasPrefix(raw, "http://[::1]")) {
			t.Fatalf("%q matches %q", raw, requested)
		}
		if r.Matches(requested) {
			if _, err := ParseRedirectURI(requested, RedirectRules{Development: dev, Native: nat}); err != nil {
				t.Fatalf("%q matches %q, which could not be registered: %v", raw, requested, err)
			}
		}
	})
}

func FuzzRedirectTemplate(f *testing.F) {
	f.Add("https://{tenant.slug}.app.example/cb", "hooli")
	f.Add("https://{tenant.slug}.app.example/cb", "a.evil.example/")
	f.Add("https://{tenant.slug}/x", "a")
	f.Add("http://{tenant.slug}.localhost", "a")
	f.Fuzz(func(t *testing.T, raw, slug string) {
		tpl, err := ParseRedirectTemplate(raw, development)
		if err != nil {
			return
		}
		if tpl.String() != raw {
			t.Fatalf("%q prints as %q", raw, tpl)
		}
		expanded, err := tpl.Expand(slug)
		if err != nil {
			return
		}
		if _, err := ParseRedirectURI(expanded, development); err != nil && len(expanded) <= MaxRedirectURIBytes && len(slug) < 30 && len(raw) < 200 {
			t.Fatalf("%q with %q gives %q: %v", raw, slug, expanded, err)
		}
	})
}
