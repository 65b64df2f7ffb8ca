// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

var at = time.Unix(1_800_000_000, 0)

func TestParseAssertionRefuses(t *testing.T) {
	for _, payload := range []string{
		``, `null`, `[]`, `"x"`, `{`, `{}x`, `{"iss":1}`, `{"iss":null}`, `{"exp":"1"}`, `{"exp":null}`, `{"exp":-1}`, `{"exp":1e300}`, `{"aud":1}`, `{"aud":[1]}`,
		`{"aud":{"a":"b"}}`, `{"iss":"a","iss":"a"}`, "{\"iss\":\"\xff\"}", `{"a":` + strings.Repeat("[", 20000),
	} {
		if c, err := ParseAssertion([]byte(payload)); err == nil {
			t.Errorf("%.60s: %+v", payload, c)
		} else if !errors.Is(err, ErrClientAssertion) {
			t.Errorf("%.60s: %v", payload, err)
		}
	}
}

// Without an issuer or a client nothing is meant for us, whatever the assertion says.
func TestAssertionRulesFailClosed(t *testing.T) {
	c := AssertionClaims{Audience: []string{""}, ID: "x", ExpireTime: at.Add(time.Minute)}
	for _, r := range []AssertionRules{{Now: at}, {Now: at, ClientID: "c"}, {Now: at, Issuer: "i"}, {Now: at, Legacy: []string{""}}} {
		if err := c.Check(r); err == nil {
			t.Errorf("%+v accepts it", r)
		}
	}
}

func TestPlainURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://a.example/p":              "https://a.example/p",
		"HTTPS://A.Example:443/p?q#f":      "https://a.example/p",
		"http://a.example:80":              "http://a.example/",
		"https://a.example:8443/":          "https://a.example:8443/",
		"https://a.example:80/":            "https://a.example:80/",
		"https://a.example/%7euser/%2f%2F": "https://a.example/~user/%2F%2F",
		"https://[::1]:443/x":              "https://[::1]/x",
		"https://u@a.example/":             "",
		"ftp://a.example/":                 "",
		"/path":                            "",
		"https:a.example":                  "",
		"https://a.example/%zz":            "",
	} {
		got, _ := plainURL(in)
		if got != want {
			t.Errorf("plainURL(%q) = %q, want %q", in, got, want)
		}
	}
}

func certificateFor(t *testing.T, c *x509.Certificate) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(1)
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestMatchesSubject(t *testing.T) {
	uid := asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}
	cert := certificateFor(t, &x509.Certificate{Subject: pkix.Name{
		CommonName: "App  One", Organization: []string{"Pied Piper, Inc."}, Country: []string{"US"}, ExtraNames: []pkix.AttributeTypeAndValue{{Type: uid, Value: "a+b"}},
	}})
	text := cert.Subject.String()
	for dn, want := range map[string]bool{
		`UID=a\+b,CN=App  One,O=Pied Piper\, Inc.,C=US`:                        true,
		`0.9.2342.19200300.100.1.1=a\2Bb,CN=app one,O=PIED PIPER\2C INC.,C=us`: true,
		`CN=App One,UID=a\+b,O=Pied Piper\, Inc.,C=US`:                         false,
		`CN=App One,O=Pied Piper\, Inc.,C=US`:                                  false,
		`C=US,O=Pied Piper\, Inc.,CN=App One,UID=a\+b`:                         false,
		`CN=App One`: false,
		`CN=App`:     false,
		``:           false,
		`CN=App One+O=Pied Piper\, Inc.+C=US+UID=a\+b`: false,
		`CN=`:      false,
		`nonsense`: false,
	} {
		c := &Client{Protocol: Protocol{TLSSubjectDN: dn}}
		if got := c.MatchesCertificate(cert); got != want {
			t.Errorf("%q matches %s: %v, want %v", dn, text, got, want)
		}
	}
	for _, bad := range []string{"CN", "CN=a,", "CN=a,,O=b", "=a", "XX=a", "CN=a\\", "CN=a\\2", "CN=#zz", "CN=#0500", `CN="a"`, "CN=<a>", "1..2=a", "1=a", strings.Repeat("CN=a,", 40) + "CN=a", "CN=\\ff"} {
		if err := ParseDN(bad); err == nil {
			t.Errorf("%q was taken for a name", bad)
		}
	}
	for _, good := range []string{"CN=a", "cn = a , O=b", "CN=a;O=b", "CN=a+O=b,C=c", `CN=#0c0161`, `1.2.3=a`, `CN=a\,b\+c\"d\\e\<f\>g\;h`} {
		if err := ParseDN(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
}

func TestMatchesAlternativeName(t *testing.T) {
	uri, _ := url.Parse("spiffe://example.org/app")
	cert := certificateFor(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "other"}, DNSNames: []string{"App.example.org"}, URIs: []*url.URL{uri}, IPAddresses: []net.IP{net.ParseIP("192.0.2.1")},
		EmailAddresses: []string{"App@Example.org"},
	})
	for _, tc := range []struct {
		p    Protocol
		want bool
	}{
		{Protocol{TLSSANDNS: "app.example.org"}, true},
		{Protocol{TLSSANDNS: "example.org"}, false},
		{Protocol{TLSSANDNS: "other"}, false}, // a common name is no alternative name
		{Protocol{TLSSANDNS: "*.example.org"}, false},
		{Protocol{TLSSANURI: "spiffe://example.org/app"}, true},
		{Protocol{TLSSANURI: "spiffe://example.org/App"}, false},
		{Protocol{TLSSANIP: "192.0.2.1"}, true},
		{Protocol{TLSSANIP: "::ffff:192.0.2.1"}, true},
		{Protocol{TLSSANIP: "192.0.2.2"}, false},
		{Protocol{TLSSANIP: "x"}, false},
		{Protocol{TLSSANEmail: "App@example.org"}, true},
		{Protocol{TLSSANEmail: "app@example.org"}, false},
		{Protocol{}, false},
	} {
		c := &Client{Protocol: tc.p}
		if got := c.MatchesCertificate(cert); got != tc.want {
			t.Errorf("%+v: %v", tc.p, got)
		}
		if c.MatchesCertificate(nil) {
			t.Error("no certificate matches")
		}
	}
}

func TestRequestObjectParameters(t *testing.T) {
	rules := RequestObjectRules{ClientID: "c", Issuer: "i", Now: at}
	p, err := ParseRequestObject([]byte(`{"client_id":"c","max_age":3.6e3,"claims":{"a": [1, null]},"resource":["https://a","https://b"],"x":true,"empty":"","none":null,"iss":"c","aud":["i"],
		"exp":1800000060,"nbf":1800000000,"iat":1800000000,"jti":"j"}`), rules)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Encode(); got != "claims=%7B%22a%22%3A%5B1%2Cnull%5D%7D&client_id=c&max_age=3600&resource=https%3A%2F%2Fa&resource=https%3A%2F%2Fb&x=true" {
		t.Errorf("parameters %s", got)
	}
	if again, err := ParseParams(p.Encode()); err != nil || again.Encode() != p.Encode() {
		t.Errorf("does not survive being stored: %v", err)
	}
	for _, payload := range []string{
		`[]`, `{"client_id":"d"}`, `{"client_id":1}`, `{"state":"\u0000"}`, `{"state":"a","state":"b"}`, `{"resource":[1]}`, `{"resource":["\n"]}`, `{"request":""}`, `{"request_uri":null}`,
		`{"sub":"c"}`, `{"iss":"d"}`, `{"aud":"x"}`, `{"exp":1}`, `{"":"a"}`, `{"iat":1900000000}`,
	} {
		if p, err := ParseRequestObject([]byte(payload), rules); CodeOf(err) != CodeInvalidRequestObject {
			t.Errorf("%s: %s, %v", payload, p.Encode(), err)
		}
	}
}

func TestRequestURIRegistered(t *testing.T) {
	c := &Client{Protocol: Protocol{RequestURIs: []string{"https://app.example/r", "https://app.example/h#abc"}}}
	for uri, want := range map[string]bool{
		"https://app.example/r": true, "https://app.example/r#x": true, "https://app.example/h": true, "https://app.example/r/": false, "https://app.example/r?x": false,
		"": false, "#": false, "https://app.example": false,
	} {
		if got := c.RequestURIRegistered(uri); got != want {
			t.Errorf("%q: %v", uri, got)
		}
	}
}

// seeds are payloads that break readers.
func seeds(f *testing.F) {
	f.Helper()
	for _, s := range []string{
		`{}`, `{"iss":"c","sub":"c","aud":"i","jti":"j","exp":1800000060,"iat":1800000000}`, `{"aud":["i","x"],"exp":1.8e9}`, `{"ISS":"c"}`, `{"iss":"a","iss":"b"}`,
		`{"jti":"j","htm":"POST","htu":"https://i/p","iat":1800000000,"ath":"x","nonce":"n"}`, `{"client_id":"c","claims":{"a":1},"resource":["a"],"max_age":1e2,"exp":1800000060,"nbf":1800000000}`,
		"\xff", `[1]`, `{"exp":18446744073709551616}`, `{"\u0000":"a"}`, `{"state":"\ud800"}`,
	} {
		f.Add([]byte(s))
	}
}

// The reader of claims agrees with encoding/json on everything that it takes.
func FuzzClaimSet(f *testing.F) {
	seeds(f)
	for _, s := range []string{` { "a" : [1, {"b":"}"}] , "c":"\"\\","d" : true } `, `{"a":-1.5e-3,"b":null}`, `{"\u0061":1,"a":2}`, `{"a":"\ud83e\udd8a"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		set, err := parseClaims(payload)
		if err != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(payload, &want); err != nil || len(want) != len(set) {
			t.Fatalf("%q: %d names, encoding/json has %d, %v", payload, len(set), len(want), err)
		}
		for name, value := range set {
			if !bytes.Equal(value, want[name]) {
				t.Fatalf("%q: %q is %q, encoding/json has %q", payload, name, value, want[name])
			}
		}
	})
}

func FuzzAssertionClaims(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := ParseAssertion(payload)
		if err != nil {
			if !errors.Is(err, ErrClientAssertion) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if c.Check(AssertionRules{ClientID: "c", Issuer: "i", Now: at}) == nil &&
			(c.Issuer != "c" || c.Subject != "c" || c.AudienceList || c.Audience[0] != "i" || c.ID == "" || !c.ExpireTime.After(at) || c.ExpireTime.Sub(at) > 2*time.Hour) {
			t.Fatalf("%+v passes", c)
		}
	})
}

func FuzzProofClaims(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		p, err := ParseProof(payload)
		if err != nil {
			if !errors.Is(err, ErrProof) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if p.Check(ProofRules{Method: "POST", URLs: []string{"https://i/p"}, Now: at, Token: "t"}) == nil &&
			(p.Method != "POST" || p.TokenHash != TokenHash("t") || p.IssuedAt.Sub(at).Abs() > time.Minute || p.ID == "" || !p.Until().After(at)) {
			t.Fatalf("%+v passes", p)
		}
	})
}

func FuzzRequestObjectClaims(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		p, err := ParseRequestObject(payload, RequestObjectRules{ClientID: "c", Issuer: "i", Now: at})
		if err != nil {
			if CodeOf(err) != CodeInvalidRequestObject {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if p.Get(ParamClientID) != "c" || p.Has(ParamRequest) || p.Has(ParamRequestURI) {
			t.Fatalf("%q passes", p.Encode())
		}
		again, err := ParseParams(p.Encode())
		if err != nil || again.Encode() != p.Encode() {
			t.Fatalf("%q cannot be stored: %v", p.Encode(), err)
		}
	})
}

func FuzzClientCredentials(f *testing.F) {
	f.Add("Basic YTpi", "")
	f.Add("", "client_id=a&client_secret=b")
	f.Add("", "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.AA")
	f.Add("Basic !", "client_assertion=x")
	f.Fuzz(func(t *testing.T, header, body string) {
		p, err := ParseParams(body)
		if err != nil {
			return
		}
		cc, err := ParseClientCredentials(header, p)
		if err != nil {
			if code := CodeOf(err); code != CodeInvalidClient && code != CodeInvalidRequest {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if cc.ClientID == "" || cc.Secret != "" && cc.Assertion != "" || header != "" && cc.Assertion != "" {
			t.Fatalf("%+v", cc)
		}
	})
}

func FuzzDN(f *testing.F) {
	for _, s := range []string{"CN=a,O=b", `CN=a\,b`, "CN=#0c0161", "1.2.3=x+CN=y", "CN=", "\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		sets, err := parseDN(text)
		if err != nil {
			return
		}
		for _, set := range sets {
			for _, a := range set {
				if a.oid == "" || !strings.Contains(a.oid, ".") {
					t.Fatalf("%q: %+v", text, a)
				}
			}
		}
	})
}

// An assertion is only looked at for whom it says that it is from, and never for more.
func TestAssertionHint(t *testing.T) {
	enc := base64.RawURLEncoding.EncodeToString
	jwt := func(h, c string) string { return enc([]byte(h)) + "." + enc([]byte(c)) + ".AA" }
	for _, tc := range []struct {
		jwt, client, method string
	}{
		{jwt(`{"alg":"ES256"}`, `{"sub":"a"}`), "a", AuthMethodPrivateKeyJWT},
		{jwt(`{"alg":"none"}`, `{"sub":"a"}`), "a", AuthMethodPrivateKeyJWT},
		{jwt(`{"alg":"HS256"}`, `{"sub":"a"}`), "a", AuthMethodSecretJWT},
		{jwt(`{}`, `{"sub":"a"}`), "", ""},
		{jwt(`{"alg":"ES256"}`, `{"iss":"a"}`), "", ""},
		{jwt(`{"alg":"ES256"}`, `{"sub":"a\n"}`), "", ""},
		{"a.b", "", ""},
		{"", "", ""},
		{fmt.Sprintf("%s.%s", enc([]byte(`{"alg":"ES256"}`)), enc([]byte(`{"sub":"a"}`))), "", ""},
	} {
		client, method, ok := assertionHint(tc.jwt)
		if client != tc.client || method != tc.method && ok || ok != (tc.client != "") {
			t.Errorf("%s: %q, %q, %v", tc.jwt, client, method, ok)
		}
	}
}
