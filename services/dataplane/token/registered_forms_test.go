// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oidc"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/subject"
	"github.com/tenantry/tenantry/services/identity"
)

const accountsType = `{"type":"accounts","fields":[{"name":"ibans","kind":"strings","label":"Accounts"}]}`

// registered is a tenant with one client that is registered as edit says.
func (r *rig) registered(slug string, edit func(*snapshotv1.Client)) (*site, app) {
	r.t.Helper()
	s := &site{host: slug + ".example.com"}
	var a app
	s.Tenant = r.world.Tenant(r.t, r.world.Org(slug), slug, func(core *snapshotv1.TenantSnapshot) {
		core.PairwiseSalt = []byte(strings.Repeat(slug[:1], 32))
		core.Overrides = &snapshotv1.Policy{Oauth: &snapshotv1.OAuthPolicy{AuthorizationDetailsTypes: &snapshotv1.StringList{Values: []string{accountsType}}}}
		for _, alg := range []jose.Algorithm{jose.RS256, jose.PS256, jose.ES384, jose.EdDSA} {
			core.SigningKeys = append(core.SigningKeys, r.world.SigningKey(r.t, id.Tenant(core.TenantId), alg))
		}
		doc, text := r.world.Client(func(c *snapshotv1.Client) {
			c.Protocol = &snapshotv1.ClientProtocol{AuthorizationDetailsTypes: []string{"accounts"}}
			edit(c)
		})
		a = app{dptest.ClientID(doc), text}
		core.Clients = append(core.Clients, doc)
	})
	var err error
	s.user, err = r.identity.Register(context.Background(), ref(s.Tenant), identity.Op{Now: r.clock(), Actor: "system"}, identity.Registration{
		Email: "gavin@" + slug + ".example", Password: password, Profile: identity.Profile{Name: "Gavin"},
	}, identity.PasswordPolicy{MinLength: 12})
	if err != nil {
		r.t.Fatal(err)
	}
	return s, a
}

// TestPairwiseSubjectEverywhere: a pairwise client never sees the user's own id, in no token and no answer.
func TestPairwiseSubjectEverywhere(t *testing.T) {
	r := newRig(t)
	s, a := r.registered("pair", func(c *snapshotv1.Client) { c.Protocol.Pairwise = true })
	client, _ := s.Client(a.id)
	want := subject.For(s.Tenant, client, s.user.ID)
	got := r.issue(s, a, nil)
	again := r.refresh(s, a, got.str("refresh_token"))
	for name, answer := range map[string]*answer{"code": got, "refresh": again} {
		_, idToken := r.claims(s, answer.str("id_token"))
		_, access := r.claims(s, answer.str("access_token"))
		info := r.get(s.host, "/oauth2/userinfo", bearer(answer.str("access_token"))...)
		seen := r.post(s.host, "/oauth2/introspect", a, "token", answer.str("access_token"))
		refresh := r.post(s.host, "/oauth2/introspect", a, "token", answer.str("refresh_token"))
		for what, sub := range map[string]any{
			"ID token": idToken["sub"], "access token": access["sub"], "userinfo": info.body["sub"], "introspection": seen.body["sub"],
		} {
			if sub != want {
				t.Errorf("%s: %s is about %v, want %s", name, what, sub, want)
			}
		}
		if sub := refresh.body["sub"]; name == "refresh" && sub != want {
			t.Errorf("the refresh token is about %v: %s", sub, refresh.raw)
		}
		for _, raw := range [][]byte{answer.raw, info.raw, seen.raw, refresh.raw} {
			if strings.Contains(string(raw), s.user.ID.String()) {
				t.Errorf("%s: the user's id: %s", name, raw)
			}
		}
		if info.body["name"] != "Gavin" {
			t.Errorf("%s: userinfo %s", name, info.raw)
		}
	}
}

// TestSignedUserInfo: by the algorithm that the client registered, with iss and aud (OpenID Connect Core section 5.3.2).
func TestSignedUserInfo(t *testing.T) {
	r := newRig(t)
	for i, alg := range []string{"ES256", "RS256", "PS256", "ES384", "EdDSA"} {
		s, a := r.registered(fmt.Sprintf("signed%d", i), func(c *snapshotv1.Client) {
			c.Protocol.UserinfoSignedResponseAlg, c.IdTokenSignedResponseAlg = alg, alg
		})
		got := r.issue(s, a, nil)
		info := r.get(s.host, "/oauth2/userinfo", bearer(got.str("access_token"))...)
		if info.StatusCode != http.StatusOK || info.Header.Get("Content-Type") != "application/jwt" {
			t.Fatalf("%s: %d %s: %s", alg, info.StatusCode, info.Header.Get("Content-Type"), info.raw)
		}
		payload, h, err := s.Keys.Set().Verify(string(info.raw), jose.VerifyOptions{Typ: []string{"JWT"}, Algorithms: []jose.Algorithm{jose.Algorithm(alg)}})
		if err != nil || string(h.Alg) != alg {
			t.Fatalf("%s: %v", alg, err)
		}
		var m map[string]any
		if err := json.Unmarshal(payload, &m); err != nil {
			t.Fatal(err)
		}
		if m["iss"] != s.Issuer || m["aud"] != a.id || m["sub"] != s.user.ID.String() || m["name"] != "Gavin" {
			t.Errorf("%s: %v", alg, m)
		}
		idToken, _, err := s.Keys.Set().Verify(got.str("id_token"), jose.VerifyOptions{Typ: []string{"JWT"}, Algorithms: []jose.Algorithm{jose.Algorithm(alg)}})
		if err != nil || !strings.Contains(string(idToken), `"at_hash":"`+oidc.HalfHash(alg, got.str("access_token"))+`"`) {
			t.Errorf("%s: ID token %s, %v", alg, idToken, err)
		}
	}
}

// decrypt opens a JWE of RSA-OAEP-256 and A256GCM with the standard library alone (RFC 7516 section 5.2).
func decrypt(t *testing.T, key *rsa.PrivateKey, text string) (header map[string]any, plain []byte) {
	t.Helper()
	parts := strings.Split(text, ".")
	if len(parts) != 5 {
		t.Fatalf("no JWE: %s", text)
	}
	var raw [5][]byte
	for i, p := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.DecodeString(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := json.Unmarshal(raw[0], &header); err != nil {
		t.Fatal(err)
	}
	cek, err := rsa.DecryptOAEP(sha256.New(), nil, key, raw[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(cek)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err = aead.Open(nil, raw[2], append(raw[3], raw[4]...), []byte(parts[0])); err != nil {
		t.Fatal(err)
	}
	return header, plain
}

// TestEncryptedForTheClient: ID tokens and UserInfo for the client's eyes alone, signed first; never in the clear when its key is missing.
func TestEncryptedForTheClient(t *testing.T) {
	r := newRig(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	jwks := fmt.Sprintf(`{"keys":[{"kty":"RSA","use":"enc","alg":"RSA-OAEP-256","kid":"e1","n":"%s","e":"%s"}]}`, b64(key.N.Bytes()), b64(big.NewInt(int64(key.E)).Bytes()))
	wanted := func(c *snapshotv1.Client) {
		c.Protocol.IdTokenEncryptedResponseAlg, c.Protocol.IdTokenEncryptedResponseEnc = "RSA-OAEP-256", "A256GCM"
		c.Protocol.UserinfoEncryptedResponseAlg, c.Protocol.UserinfoEncryptedResponseEnc = "RSA-OAEP-256", "A256GCM"
	}
	s, a := r.registered("sealed", func(c *snapshotv1.Client) { wanted(c); c.Protocol.Jwks = []byte(jwks) })
	got := r.issue(s, a, nil)
	header, plain := decrypt(t, key, got.str("id_token"))
	if _, claims := r.claims(s, string(plain)); header["cty"] != "JWT" || header["kid"] != "e1" || claims["sub"] != s.user.ID.String() {
		t.Errorf("header %v, claims %v", header, claims)
	}
	info := r.get(s.host, "/oauth2/userinfo", bearer(got.str("access_token"))...)
	header, plain = decrypt(t, key, string(info.raw))
	if info.Header.Get("Content-Type") != "application/jwt" || header["cty"] != nil || !strings.Contains(string(plain), `"name":"Gavin"`) {
		t.Errorf("header %v, claims %s", header, plain)
	}

	s, a = r.registered("nested", func(c *snapshotv1.Client) {
		wanted(c)
		c.Protocol.Jwks, c.Protocol.UserinfoSignedResponseAlg = []byte(jwks), "ES256"
	})
	info = r.get(s.host, "/oauth2/userinfo", bearer(r.issue(s, a, nil).str("access_token"))...)
	header, plain = decrypt(t, key, string(info.raw))
	if _, claims := r.claims(s, string(plain)); header["cty"] != "JWT" || claims["aud"] != a.id {
		t.Errorf("nested: header %v, claims %v", header, claims)
	}

	// Without a key nothing is sent, and the code is not burned by it.
	s, a = r.registered("keyless", func(c *snapshotv1.Client) { wanted(c); c.Protocol.Jwks = []byte(`{"keys":[]}`) })
	code := r.code(s, a, nil)
	for range 2 {
		if refused := r.exchange(s, a, code); refused.StatusCode != http.StatusServiceUnavailable || strings.Contains(string(refused.raw), "id_token") {
			t.Errorf("%d %s", refused.StatusCode, refused.raw)
		}
	}
}

// TestAuthorizationDetailsInTokens: what was granted is in the token and its answer, may be narrowed and never widened (RFC 9396
// sections 6 and 7).
func TestAuthorizationDetailsInTokens(t *testing.T) {
	r := newRig(t)
	s, a := r.registered("details", func(*snapshotv1.Client) {})
	const all, one, more = `[{"type":"accounts","ibans":["A","B"]}]`, `[{"type":"accounts","ibans":["B"]}]`, `[{"type":"accounts","ibans":["B","C"]}]`
	granted := func(rec *grant.CodeRecord) { rec.AuthorizationDetails = json.RawMessage(all) }
	carried := func(got *answer) string {
		t.Helper()
		if got.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", got.StatusCode, got.raw)
		}
		_, claims := r.claims(s, got.str("access_token"))
		in, _ := json.Marshal(claims["authorization_details"])
		out, _ := json.Marshal(got.body["authorization_details"])
		seen, _ := json.Marshal(r.post(s.host, "/oauth2/introspect", a, "token", got.str("access_token")).body["authorization_details"])
		if string(in) != string(out) || string(in) != string(seen) {
			t.Errorf("token %s, answer %s, introspection %s", in, out, seen)
		}
		return string(in)
	}
	same := func(got, want string) bool {
		var g, w any
		return json.Unmarshal([]byte(got), &g) == nil && json.Unmarshal([]byte(want), &w) == nil && fmt.Sprint(g) == fmt.Sprint(w)
	}
	first := r.issue(s, a, granted)
	if got := carried(first); !same(got, all) {
		t.Errorf("code: %s", got)
	}
	refresh := first.str("refresh_token")
	r.refresh(s, a, refresh, "authorization_details", more).is(t, http.StatusBadRequest, "invalid_authorization_details")
	narrowed := r.refresh(s, a, refresh, "authorization_details", one) // the refusal has burned nothing
	if got := carried(narrowed); !same(got, one) {
		t.Errorf("narrowed: %s", got)
	}
	r.pass(time.Minute)
	if got := carried(r.refresh(s, a, narrowed.str("refresh_token"))); !same(got, all) {
		t.Errorf("the grant itself was narrowed: %s", got)
	}
	code := r.code(s, a, granted)
	form := []string{"grant_type", "authorization_code", "code", code, "redirect_uri", redirectURI, "code_verifier", verifier, "authorization_details"}
	r.token(s, a, append(form, more)...).is(t, http.StatusBadRequest, "invalid_authorization_details")
	if got := carried(r.token(s, a, append(form, one)...)); !same(got, one) {
		t.Errorf("code, narrowed: %s", got)
	}
	if got := r.issue(s, a, nil); got.body["authorization_details"] != nil {
		t.Errorf("details out of nothing: %s", got.raw)
	}
}
