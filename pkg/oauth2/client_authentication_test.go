// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func newSecret(t testing.TB, expire time.Time) (string, ClientSecret) {
	t.Helper()
	sid := id.NewClientSecret()
	text, hash := secret.NewToken(secret.ClientSecret, sid)
	return text, ClientSecret{ID: sid, Hash: hash, ExpireTime: expire}
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestParseClientCredentials(t *testing.T) {
	for _, tc := range []struct {
		name, header, body string
		want               ClientCredentials
	}{
		{"basic", basic("cli_1", "s3"), "", ClientCredentials{ClientID: "cli_1", Secret: "s3", Method: AuthMethodBasic}},
		{"basic, form-encoded inside (RFC 6749 section 2.3.1)", basic("a%3Ab", "p%25+q"), "", ClientCredentials{ClientID: "a:b", Secret: "p% q", Method: AuthMethodBasic}},
		{"basic, password with colon", basic("a", "b:c"), "", ClientCredentials{ClientID: "a", Secret: "b:c", Method: AuthMethodBasic}},
		{"scheme in another case", "bAsIc " + base64.StdEncoding.EncodeToString([]byte("a:b")), "", ClientCredentials{ClientID: "a", Secret: "b", Method: AuthMethodBasic}},
		{"basic with the same client_id in the body", basic("a", "b"), "client_id=a", ClientCredentials{ClientID: "a", Secret: "b", Method: AuthMethodBasic}},
		{"basic without a password: a public client", basic("a", ""), "", ClientCredentials{ClientID: "a", Method: AuthMethodNone}},
		{"post", "", "client_id=a&client_secret=b", ClientCredentials{ClientID: "a", Secret: "b", Method: AuthMethodPost}},
		{"none", "", "client_id=a", ClientCredentials{ClientID: "a", Method: AuthMethodNone}},
		{"empty secret counts as omitted", "", "client_id=a&client_secret=", ClientCredentials{ClientID: "a", Method: AuthMethodNone}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseClientCredentials(tc.header, mustParams(t, tc.body))
			if err != nil {
				t.Fatal(err)
			}
			got.header = false
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestParseClientCredentialsRefuses(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	for _, tc := range []struct{ name, header, body, code string }{
		{"nothing", "", "", CodeInvalidClient},
		{"secret without id", "", "client_secret=b", CodeInvalidClient},
		{"two methods (RFC 6749 section 2.3)", basic("a", "b"), "client_id=a&client_secret=b", CodeInvalidRequest},
		{"two methods, the header's password empty", basic("a", ""), "client_id=a&client_secret=b", CodeInvalidRequest},
		{"another client in the body (client confusion)", basic("a", "b"), "client_id=c", CodeInvalidRequest},
		{"assertion", "", "client_id=a&client_assertion=x&client_assertion_type=y", CodeInvalidClient},
		{"assertion beside the header", basic("a", "b"), "client_assertion=x", CodeInvalidRequest},
		{"bearer", "Bearer abc", "client_id=a", CodeInvalidClient},
		{"scheme alone", "Basic", "", CodeInvalidClient},
		{"no colon", "Basic " + b64([]byte("ab")), "", CodeInvalidClient},
		{"no id", basic("", "b"), "", CodeInvalidClient},
		{"not base64", "Basic !!!!", "", CodeInvalidClient},
		{"base64 without padding", "Basic YTpiYg", "", CodeInvalidClient},
		{"base64 with spare bits (second spelling)", "Basic YTpiYh==", "", CodeInvalidClient},
		{"base64url alphabet", "Basic " + strings.ReplaceAll(b64([]byte("a:\xff\xff")), "/", "_"), "", CodeInvalidClient},
		{"line break inside", "Basic YTpi\nYg==", "", CodeInvalidClient},
		{"bad escape inside", basic("a%", "b"), "", CodeInvalidClient},
		{"control character inside", basic("a%0a", "b"), "", CodeInvalidClient},
		{"not UTF-8 inside", basic("a", "%ff"), "", CodeInvalidClient},
		{"too long", basic("a", strings.Repeat("b", maxBasicBytes)), "", CodeInvalidClient},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cc, err := ParseClientCredentials(tc.header, mustParams(t, tc.body))
			if CodeOf(err) != tc.code || cc != (ClientCredentials{}) {
				t.Fatalf("got %+v, %v; want %s", cc, err, tc.code)
			}
			e := AsError(err)
			if tc.code == CodeInvalidClient && (e.Status != 401 || (e.Challenge != "") != (tc.header != "")) {
				t.Errorf("status %d, challenge %q (RFC 6749 section 5.2)", e.Status, e.Challenge)
			}
		})
	}
}

func TestAuthenticate(t *testing.T) {
	text, current := newSecret(t, time.Time{})
	nextText, next := newSecret(t, now.Add(time.Hour))
	oldText, old := newSecret(t, now)
	strangeText, _ := newSecret(t, time.Time{})
	confidential := &Client{ID: "cli_a", Enabled: true, AuthMethod: AuthMethodBasic, Secrets: []ClientSecret{old, current, next}}
	post := &Client{ID: "cli_a", Enabled: true, AuthMethod: AuthMethodPost, Secrets: []ClientSecret{current}}
	byDefault := &Client{ID: "cli_a", Enabled: true, Secrets: []ClientSecret{current}}
	public := &Client{ID: "cli_a", Enabled: true, Public: true, AuthMethod: AuthMethodNone}
	disabled := &Client{ID: "cli_a", Secrets: []ClientSecret{current}}
	noSecret := &Client{ID: "cli_a", Enabled: true, Secrets: []ClientSecret{{}}}

	for _, tc := range []struct {
		name         string
		client       *Client
		header, body string
		ok           bool
	}{
		{"right secret", confidential, basic("cli_a", text), "", true},
		{"second secret of a rotation", confidential, basic("cli_a", nextText), "", true},
		{"expired secret, at the very moment", confidential, basic("cli_a", oldText), "", false},
		{"somebody else's secret", confidential, basic("cli_a", strangeText), "", false},
		{"one character off", confidential, basic("cli_a", text[:len(text)-1]), "", false},
		{"API key as client secret", confidential, basic("cli_a", "tnk"+text[3:]), "", false},
		{"no secret (downgrade to none)", confidential, "", "client_id=cli_a", false},
		{"empty password (downgrade to none)", confidential, basic("cli_a", ""), "", false},
		{"another method than registered", confidential, "", "client_id=cli_a&client_secret=" + text, false},
		{"post", post, "", "client_id=cli_a&client_secret=" + text, true},
		{"basic where post is registered", post, basic("cli_a", text), "", false},
		{"client_secret_basic by default (RFC 7591 section 2)", byDefault, basic("cli_a", text), "", true},
		{"another client's id", confidential, basic("cli_b", text), "", false},
		{"disabled", disabled, basic("cli_a", text), "", false},
		{"a hash that was never filled in", noSecret, basic("cli_a", text), "", false},
		{"public", public, "", "client_id=cli_a", true},
		{"public by a header without password", public, basic("cli_a", ""), "", true},
		{"public with a secret", public, basic("cli_a", text), "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cc, err := ParseClientCredentials(tc.header, mustParams(t, tc.body))
			if err != nil {
				t.Fatal(err)
			}
			err = tc.client.Authenticate(cc, now)
			if (err == nil) != tc.ok {
				t.Fatalf("got %v", err)
			}
			if err == nil {
				return
			}
			e := AsError(err)
			if e.Code != CodeInvalidClient || e.Status != 401 || (e.Challenge != "") != (tc.header != "") {
				t.Errorf("got %+v", e)
			}
			if strings.Contains(err.Error(), "tns_") {
				t.Error("the error has the secret in it")
			}
		})
	}
}

// Who tries ids and secrets must not be told which of the two was wrong.
func TestUnknownClientLooksLikeWrongSecret(t *testing.T) {
	_, s := newSecret(t, time.Time{})
	strange, _ := newSecret(t, time.Time{})
	c := &Client{ID: "cli_a", Enabled: true, Secrets: []ClientSecret{s}}
	cc, err := ParseClientCredentials(basic("cli_a", strange), Params{})
	if err != nil {
		t.Fatal(err)
	}
	wrong := AsError(c.Authenticate(cc, now))
	unknown := cc.Refused()
	if string(wrong.AppendJSON(nil)) != string(unknown.AppendJSON(nil)) || wrong.Status != unknown.Status || wrong.Challenge != unknown.Challenge {
		t.Errorf("%+v and %+v differ", wrong, unknown)
	}
	bad, err := ParseClientCredentials(basic("cli_a", "guess"), Params{})
	if err != nil {
		t.Fatal(err)
	}
	malformed := AsError(c.Authenticate(bad, now))
	if !errors.Is(malformed, secret.ErrMalformed) || string(malformed.AppendJSON(nil)) != string(unknown.AppendJSON(nil)) {
		t.Errorf("malformed secret: %+v", malformed)
	}
}

func TestAuthenticateAllocations(t *testing.T) {
	text, s := newSecret(t, time.Time{})
	c := &Client{ID: "cli_01j9zq2n5r00000000000000", Enabled: true, Secrets: []ClientSecret{s}}
	header := basic(c.ID, text)
	n := testing.AllocsPerRun(200, func() {
		cc, err := ParseClientCredentials(header, Params{})
		if err == nil {
			err = c.Authenticate(cc, now)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if n > 1 { // the decoded text
		t.Errorf("%v allocations, want at most 1", n)
	}
}

func FuzzBasicHeader(f *testing.F) {
	for _, s := range []string{basic("a", "b"), basic("a%3Ab", "c+d"), "Basic ", "Basic YTpi\n", "Bearer x", "basic Og==", basic("\xff", "\x00")} {
		f.Add(s, "client_id=a")
	}
	f.Fuzz(func(t *testing.T, header, body string) {
		p, err := ParseParams(body)
		if err != nil {
			return
		}
		cc, err := ParseClientCredentials(header, p)
		if err != nil {
			if code := CodeOf(err); code != CodeInvalidClient && code != CodeInvalidRequest {
				t.Fatalf("code %q", code)
			}
			return
		}
		if cc.ClientID == "" || (cc.Secret == "") != (cc.Method == AuthMethodNone) {
			t.Fatalf("%+v", cc)
		}
		if cc.Method == AuthMethodBasic && header == "" || cc.Method == AuthMethodPost && header != "" {
			t.Fatalf("%+v from header %q", cc, header)
		}
		if (&Client{ID: cc.ClientID, Enabled: true}).Authenticate(cc, now) == nil {
			t.Fatal("a client without secrets let somebody in")
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	text, s := newSecret(b, time.Time{})
	c := &Client{ID: "cli_a", Enabled: true, Secrets: []ClientSecret{s}}
	header := basic(c.ID, text)
	b.ReportAllocs()
	for b.Loop() {
		cc, err := ParseClientCredentials(header, Params{})
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Authenticate(cc, now); err != nil {
			b.Fatal(err)
		}
	}
}
