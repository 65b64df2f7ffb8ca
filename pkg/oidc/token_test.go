// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares JSON with a file, indented so that a change can be read. Member order counts.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, got, "", "  "); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	b.WriteByte('\n')
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s differs; got\n%s", path, b.Bytes())
	}
}

func members(t *testing.T, payload []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(payload, &m); err != nil {
		t.Fatalf("%v in %s", err, payload)
	}
	return m
}

// Fixed ids, so that goldens stay the same.
var (
	org     = id.Org{1, 2, 3, 15: 1}
	tenant  = id.Tenant{1, 2, 3, 15: 2}
	user    = id.User{1, 2, 3, 15: 3}
	session = id.Session{1, 2, 3, 15: 4}
	grant   = id.Grant{1, 2, 3, 15: 5}
	client  = id.Client{1, 2, 3, 15: 6}
)

func person() UserClaims {
	return UserClaims{
		Name: "Gavin Belson", GivenName: "Gavin", FamilyName: "Belson", PreferredUsername: "gavin", Email: "gavin@hooli.example",
		EmailVerified: true, Zoneinfo: "America/Los_Angeles", Locale: "en-US", PhoneNumber: "+1 650 555 0100",
		Address:   Address{Country: "US", Locality: "Palo Alto", Formatted: "1 Hooli Way\nPalo Alto"},
		UpdatedAt: created.Add(-24 * time.Hour), Roles: []string{"admin"}, Groups: []string{"founders", "eng"},
	}
}

func idTokenInput() IDTokenInput {
	return IDTokenInput{
		Issuer: issuer, Subject: user.String(), ClientID: client.String(), Org: org, Tenant: tenant, Session: session, IssuedAt: created,
		ExpireTime: created.Add(10 * time.Minute), AuthTime: created.Add(-time.Minute), Nonce: "n-0S6_WzA2Mj", ACR: ACRPassword,
		AMR: []string{"pwd"}, Algorithm: "ES256", AccessToken: "dNZX1hEZ9wBCzNL40Upu646bdzQA", User: person(),
	}
}

func TestBuildIDToken(t *testing.T) {
	b, err := BuildIDToken(idTokenInput())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "id_token.json", b)

	in := idTokenInput()
	in.Claims = []string{"name", "email", "nothing", "address", "roles", "iss"}
	in.Session, in.Nonce, in.AccessToken = id.Session{}, "", ""
	if b, err = BuildIDToken(in); err != nil {
		t.Fatal(err)
	}
	golden(t, "id_token_claims.json", b)
}

// In the code flow the scopes are answered by UserInfo, so nothing personal is in an ID token that did not ask for it by name.
func TestIDTokenHasNoUnaskedClaims(t *testing.T) {
	b, err := BuildIDToken(idTokenInput())
	if err != nil {
		t.Fatal(err)
	}
	for name := range members(t, b) {
		switch name {
		case "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash", "sid", "org", "tnt":
		default:
			t.Errorf("claim %q", name)
		}
	}
}

func TestBuildIDTokenRefusesIncomplete(t *testing.T) {
	for name, spoil := range map[string]func(*IDTokenInput){
		"iss":           func(in *IDTokenInput) { in.Issuer = "" },
		"sub":           func(in *IDTokenInput) { in.Subject = "" },
		"aud":           func(in *IDTokenInput) { in.ClientID = "" },
		"org":           func(in *IDTokenInput) { in.Org = id.Org{} },
		"tnt":           func(in *IDTokenInput) { in.Tenant = id.Tenant{} },
		"iat":           func(in *IDTokenInput) { in.IssuedAt = time.Time{} },
		"auth_time":     func(in *IDTokenInput) { in.AuthTime = time.Time{} },
		"exp":           func(in *IDTokenInput) { in.ExpireTime = in.IssuedAt },
		"at_hash's alg": func(in *IDTokenInput) { in.Algorithm = "none" },
	} {
		in := idTokenInput()
		spoil(&in)
		if b, err := BuildIDToken(in); !errors.Is(err, ErrIncomplete) || b != nil {
			t.Errorf("without %s: %s, %v", name, b, err)
		}
	}
}

func TestHalfHash(t *testing.T) {
	// OpenID Connect Core appendix A.3 has the first one; the others are the same token's left halves of SHA-384 and SHA-512.
	const token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"
	if got := HalfHash("RS256", token); got != "77QmUPtjPfzWtF2AnpK9RQ" {
		t.Errorf("RS256: %s", got)
	}
	for alg, want := range map[string]int{"ES256": 22, "PS256": 22, "HS256": 22, "ES384": 32, "RS512": 43, "EdDSA": 43, "Ed25519": 43, "none": 0, "": 0} {
		if got := HalfHash(alg, token); len(got) != want {
			t.Errorf("%s: %q has %d characters, want %d", alg, got, len(got), want)
		}
	}
	if HalfHash("ES256", token) == HalfHash("ES256", token+"x") {
		t.Error("two tokens, one hash")
	}
}

func TestParseIDTokenHint(t *testing.T) {
	b, err := BuildIDToken(idTokenInput())
	if err != nil {
		t.Fatal(err)
	}
	h, err := ParseIDTokenHint(b, issuer)
	want := IDTokenHint{Subject: user.String(), SessionID: session.String(), Audience: []string{client.String()}}
	if err != nil || !reflect.DeepEqual(h, want) || h.Client() != client.String() {
		t.Errorf("got %+v, %v", h, err)
	}
	access, err := BuildAccessToken(userToken())
	if err != nil {
		t.Fatal(err)
	}
	for name, payload := range map[string]string{
		"access token as hint (token confusion)": string(access),
		"another issuer":                         `{"iss":"https://raviga.ppvc.example","sub":"a","aud":"b"}`,
		"no sub":                                 `{"iss":"` + issuer + `","aud":"b"}`,
		"no aud":                                 `{"iss":"` + issuer + `","sub":"a"}`,
		"empty aud":                              `{"iss":"` + issuer + `","sub":"a","aud":""}`,
		"empty list":                             `{"iss":"` + issuer + `","sub":"a","aud":[]}`,
		"aud is a number":                        `{"iss":"` + issuer + `","sub":"a","aud":1}`,
		"not JSON":                               `x`,
	} {
		if h, err := ParseIDTokenHint([]byte(payload), issuer); !errors.Is(err, ErrHint) || h.Subject != "" {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
	if _, err := ParseIDTokenHint([]byte(`{"sub":"a","aud":"b"}`), ""); err == nil {
		t.Error("no issuer at all is accepted")
	}
	if h, err := ParseIDTokenHint([]byte(`{"iss":"`+issuer+`","sub":"a","aud":["b","c"]}`), issuer); err != nil || len(h.Audience) != 2 {
		t.Errorf("two audiences: %+v, %v", h, err)
	}
}

func userToken() AccessTokenInput {
	return AccessTokenInput{
		Issuer: issuer, Subject: user.String(), Audience: "https://ppvc.api.example", ClientID: client.String(), Org: org, Tenant: tenant,
		TokenUse: TokenUseUser, Scopes: oauth2.Scopes{"openid", "chat:write"}, IssuedAt: created, ExpireTime: created.Add(10 * time.Minute),
		ID: [16]byte{9, 15: 9}, ConfigVersion: 4711, Session: session, Grant: grant, AuthTime: created.Add(-time.Minute), ACR: ACRPassword,
		AMR: []string{"pwd"}, Roles: []string{"moderator"}, Groups: []string{"eng"}, Entitlements: []string{"plan:premium", "chat_rooms:10"},
	}
}

func machineToken() AccessTokenInput {
	return AccessTokenInput{
		Issuer: issuer, Subject: client.String(), Audience: "https://ppvc.api.example", ClientID: client.String(), Org: org, Tenant: tenant,
		TokenUse: TokenUseClient, Development: true, IssuedAt: created, ExpireTime: created.Add(10 * time.Minute), ID: [16]byte{9, 15: 9},
		ConfigVersion: 4711,
	}
}

func TestBuildAccessToken(t *testing.T) {
	for name, in := range map[string]AccessTokenInput{"access_token_user.json": userToken(), "access_token_machine.json": machineToken()} {
		b, err := BuildAccessToken(in)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, b)
		// RFC 9068 section 2.2: required claims.
		m := members(t, b)
		for _, claim := range []string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti", "nbf", "org", "token_use", "env", "scope", "cfg"} {
			if _, ok := m[claim]; !ok {
				t.Errorf("%s lacks %s", name, claim)
			}
		}
		for _, personal := range []string{"name", "email"} {
			if _, ok := m[personal]; ok {
				t.Errorf("%s has %s", name, personal)
			}
		}
	}
}

func TestBuildAccessTokenRefusesIncomplete(t *testing.T) {
	for name, spoil := range map[string]func(*AccessTokenInput){
		"iss":                          func(in *AccessTokenInput) { in.Issuer = "" },
		"sub":                          func(in *AccessTokenInput) { in.Subject = "" },
		"aud":                          func(in *AccessTokenInput) { in.Audience = "" },
		"client_id":                    func(in *AccessTokenInput) { in.ClientID = "" },
		"org":                          func(in *AccessTokenInput) { in.Org = id.Org{} },
		"tnt":                          func(in *AccessTokenInput) { in.Tenant = id.Tenant{} },
		"iat":                          func(in *AccessTokenInput) { in.IssuedAt = time.Time{} },
		"exp":                          func(in *AccessTokenInput) { in.ExpireTime = in.IssuedAt.Add(-time.Second) },
		"jti":                          func(in *AccessTokenInput) { in.ID = [16]byte{} },
		"token_use":                    func(in *AccessTokenInput) { in.TokenUse = "" },
		"auth_time":                    func(in *AccessTokenInput) { in.AuthTime = time.Time{} },
		"acr":                          func(in *AccessTokenInput) { in.ACR = "" },
		"amr":                          func(in *AccessTokenInput) { in.AMR = nil },
		"user's token about a client":  func(in *AccessTokenInput) { in.Subject = in.ClientID },
		"client's token about a user":  func(in *AccessTokenInput) { in.TokenUse = TokenUseClient },
		"client's token with session":  func(in *AccessTokenInput) { *in = machineToken(); in.Session = session },
		"client's token with a login":  func(in *AccessTokenInput) { *in = machineToken(); in.AuthTime = created },
		"scope that breaks the string": func(in *AccessTokenInput) { in.Scopes = oauth2.Scopes{`a","sub":"x`} },
		"two scopes in one":            func(in *AccessTokenInput) { in.Scopes = oauth2.Scopes{"a admin"} },
	} {
		in := userToken()
		spoil(&in)
		if b, err := BuildAccessToken(in); !errors.Is(err, ErrIncomplete) || b != nil {
			t.Errorf("%s: %s, %v", name, b, err)
		}
	}
}

// A name that somebody chose must not become a claim.
func TestClaimInjection(t *testing.T) {
	in := userToken()
	evil := `x","roles":["admin"],"y":"`
	in.Roles, in.Groups, in.Audience = []string{evil}, []string{evil}, evil
	b, err := BuildAccessToken(in)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseAccessToken(b)
	if err != nil || len(c.Roles) != 1 || c.Roles[0] != evil || c.Audience != evil {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestClaimsTruncated(t *testing.T) {
	in := userToken()
	in.Roles = []string{"a", strings.Repeat("r", 3000), "b"}
	in.Groups = []string{"small", strings.Repeat("g", 3000)}
	in.Entitlements = []string{"e"}
	b, err := BuildAccessToken(in)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseAccessToken(b)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Truncated || len(c.Roles) != 3 || len(c.Groups) != 1 || c.Entitlements != nil {
		t.Errorf("roles %d, groups %q, entitlements %q, truncated %v", len(c.Roles), c.Groups, c.Entitlements, c.Truncated)
	}
	if len(b) > 6<<10 {
		t.Errorf("%d bytes", len(b))
	}
	in.Groups = nil
	if b, err = BuildAccessToken(in); err != nil || bytes.Contains(b, []byte("truncated")) {
		t.Errorf("what fits is called truncated: %v", err)
	}
}

func TestParseAccessToken(t *testing.T) {
	in := userToken()
	b, err := BuildAccessToken(in)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseAccessToken(b)
	want := AccessTokenClaims{
		Issuer: in.Issuer, Subject: in.Subject, Audience: in.Audience, ClientID: in.ClientID, Org: org.String(), Tenant: tenant.String(),
		TokenUse: TokenUseUser, Env: EnvProduction, SessionID: session.String(), GrantID: grant.String(), AuthTime: in.AuthTime.Unix(),
		ACR: in.ACR, AMR: in.AMR, Scope: "openid chat:write", Roles: in.Roles, Groups: in.Groups, Entitlements: in.Entitlements,
		ConfigVersion: 4711, IssuedAt: created.Unix(), NotBefore: created.Unix(), ExpireTime: in.ExpireTime.Unix(), ID: got.ID,
	}
	if err != nil || !reflect.DeepEqual(got, want) || len(got.ID) != 26 {
		t.Errorf("got %+v, %v", got, err)
	}
	if s := got.Scopes(); !s.Contains("chat:write") || len(s) != 2 {
		t.Errorf("scopes %q", s)
	}
	idToken, err := BuildIDToken(idTokenInput())
	if err != nil {
		t.Fatal(err)
	}
	whole := string(b)
	for name, payload := range map[string]string{
		"ID token as access token (token confusion)": string(idToken),
		"empty":                "",
		"empty object":         "{}",
		"list":                 "[]",
		"audience as a list":   strings.Replace(whole, `"aud":"https://ppvc.api.example"`, `"aud":["a"]`, 1),
		"no token_use":         strings.Replace(whole, `"token_use":"user",`, "", 1),
		"no tenant":            strings.Replace(whole, `"tnt"`, `"x"`, 1),
		"no org":               strings.Replace(whole, `"org"`, `"x"`, 1),
		"no jti":               strings.Replace(whole, `"jti"`, `"x"`, 1),
		"client's use, a user": strings.Replace(whole, `"token_use":"user"`, `"token_use":"client"`, 1),
		"user's use, a client": strings.Replace(whole, user.String(), client.String(), 1),
		"fractional exp":       strings.Replace(whole, `"exp":`, `"exp":1.5,"x":`, 1),
		"exp as text":          strings.Replace(whole, `"exp":`, `"exp":"9","x":`, 1),
	} {
		if c, err := ParseAccessToken([]byte(payload)); !errors.Is(err, ErrAccessToken) || c.Subject != "" {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestAccessTokenCheck(t *testing.T) {
	b, err := BuildAccessToken(userToken())
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseAccessToken(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name   string
		issuer string
		tenant id.Tenant
		now    time.Time
		ok     bool
	}{
		{"live", issuer, tenant, created, true},
		{"last second", issuer, tenant, created.Add(10*time.Minute - time.Second), true},
		{"expired", issuer, tenant, created.Add(10 * time.Minute), false},
		{"clock a little behind", issuer, tenant, created.Add(-time.Minute), true},
		{"from the future", issuer, tenant, created.Add(-61 * time.Second), false},
		{"token of another tenant (R-40)", issuer, id.NewTenant(), created, false},
		{"token of another issuer", "https://raviga.ppvc.example", tenant, created, false},
		{"no issuer", "", tenant, created, false},
	} {
		if err := c.Check(tc.issuer, tc.tenant, tc.now); (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrAccessToken) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestAppendIntrospection(t *testing.T) {
	b, err := BuildAccessToken(userToken())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "introspection.json", appendIntrospection(t, b))
	if m := members(t, []byte(Inactive)); len(m) != 1 || m["active"] != false {
		t.Errorf("inactive answer %v says more than it must (RFC 7662 section 2.2)", m)
	}
}

func appendIntrospection(t *testing.T, payload []byte) []byte {
	t.Helper()
	c, err := ParseAccessToken(payload)
	if err != nil {
		t.Fatal(err)
	}
	return AppendIntrospection(nil, payload, &c)
}

// A bound token says so in its claims and in introspection, and no reading of it loses the binding.
func TestBoundAccessToken(t *testing.T) {
	const jkt, x5t = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"
	for name, tc := range map[string]struct {
		binding   oauth2.Binding
		cnf       string
		tokenType string
	}{
		"bearer": {oauth2.Binding{}, "", "Bearer"},
		"dpop":   {oauth2.Binding{JKT: jkt}, `{"jkt":"` + jkt + `"}`, "DPoP"},
		"mtls":   {oauth2.Binding{X5T: jkt}, `{"x5t#S256":"` + jkt + `"}`, "Bearer"},
		"both":   {oauth2.Binding{JKT: jkt, X5T: jkt}, `{"jkt":"` + jkt + `","x5t#S256":"` + jkt + `"}`, "DPoP"},
	} {
		in := machineToken()
		in.Binding = tc.binding
		in.Actor, in.MayAct, in.AuthorizationDetails = json.RawMessage(`{"sub":"a"}`), json.RawMessage(`{"sub":"b"}`), json.RawMessage(`[{"type":"t"}]`)
		b, err := BuildAccessToken(in)
		if err != nil {
			t.Fatal(err)
		}
		c, err := ParseAccessToken(b)
		if err != nil || c.Binding != tc.binding || string(c.Actor) != `{"sub":"a"}` || string(c.MayAct) != `{"sub":"b"}` ||
			string(c.AuthorizationDetails) != `[{"type":"t"}]` {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		var all map[string]json.RawMessage
		if err := json.Unmarshal(AppendIntrospection(nil, b, &c), &all); err != nil {
			t.Fatal(err)
		}
		if string(all["cnf"]) != tc.cnf || string(all["token_type"]) != `"`+tc.tokenType+`"` {
			t.Errorf("%s: introspection says cnf %s, token_type %s", name, all["cnf"], all["token_type"])
		}
	}
	for _, cnf := range []string{`null`, `{}`, `[]`, `"x"`, `{"jkt":""}`, `{"jkt":"short"}`, `{"kid":"x"}`, `{"jkt":"` + jkt + `","kid":"x"}`, `{"x5t#S256":"` + x5t + `"}`} {
		payload := []byte(`{"iss":"i","sub":"c","aud":"a","client_id":"c","org":"o","jti":"j","iat":1,"exp":2,"token_use":"client","cnf":` + cnf + `}`)
		if _, err := ParseAccessToken(payload); err == nil {
			t.Errorf("cnf %s was taken for no binding", cnf)
		}
	}
	in := machineToken()
	in.Actor = json.RawMessage(`"x"`)
	if _, err := BuildAccessToken(in); err == nil {
		t.Error("act that is no object was signed")
	}
}

func TestBuildAccessTokenAllocations(t *testing.T) {
	user, machine := userToken(), machineToken()
	buf := make([]byte, 0, 2048)
	for name, in := range map[string]*AccessTokenInput{"user": &user, "machine": &machine} {
		n := testing.AllocsPerRun(200, func() {
			out, err := AppendAccessToken(buf[:0], in)
			if err != nil || len(out) == 0 {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("AppendAccessToken of a %s token: %v allocations", name, n)
		}
	}
	if n := testing.AllocsPerRun(200, func() { _, _ = BuildAccessToken(machine) }); n > 2 {
		t.Errorf("BuildAccessToken: %v allocations, want at most 2", n)
	}
}

func FuzzParseAccessToken(f *testing.F) {
	for _, in := range []AccessTokenInput{userToken(), machineToken()} {
		b, err := BuildAccessToken(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, s := range []string{"{}", "[]", `{"iss":1}`, `{"aud":["a"]}`, `{"exp":1e9}`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := ParseAccessToken(payload)
		if err != nil {
			if !errors.Is(err, ErrAccessToken) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		if c.Check(issuer, tenant, created) == nil && (c.Issuer != issuer || c.Tenant != "" && c.Tenant != tenant.String()) {
			t.Fatalf("%+v passes", c)
		}
		if !json.Valid(AppendIntrospection(nil, payload, &c)) {
			t.Fatalf("introspection of %q is not JSON", payload)
		}
	})
}

// Whatever a tenant puts into names comes back as it was, and nothing else.
func FuzzBuildAccessToken(f *testing.F) {
	f.Add("admin", "https://api.example", "chat:write")
	f.Add(`"],"roles":["x`, "\u2028", "a b")
	f.Fuzz(func(t *testing.T, role, audience, scope string) {
		in := userToken()
		in.Roles, in.Audience, in.Scopes = []string{role}, audience, oauth2.Scopes{scope}
		b, err := BuildAccessToken(in)
		if err != nil {
			return
		}
		c, err := ParseAccessToken(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		clean := func(s string) string {
			out, _ := json.Marshal(s)
			var back string
			_ = json.Unmarshal(out, &back)
			return back
		}
		if c.Audience != clean(audience) || c.Scope != scope || !c.Truncated && (len(c.Roles) != 1 || c.Roles[0] != clean(role)) {
			t.Fatalf("%q, %q, %q became %+v", role, audience, scope, c)
		}
		if n := len(members(t, b)); n < 18 || n > 24 {
			t.Fatalf("%d claims in %s", n, b)
		}
	})
}

func BenchmarkAppendAccessToken(b *testing.B) {
	in := machineToken()
	buf := make([]byte, 0, 2048)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := AppendAccessToken(buf[:0], &in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseAccessToken(b *testing.B) {
	payload, err := BuildAccessToken(userToken())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseAccessToken(payload); err != nil {
			b.Fatal(err)
		}
	}
}
