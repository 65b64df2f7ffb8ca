// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// wallet is a client's key, with JWTs made by hand: nothing of what is tested makes what it is tested with.
type wallet struct {
	key *ecdsa.PrivateKey
	kid string
}

func newWallet(t testing.TB) *wallet {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &wallet{key: key, kid: "k" + rand.Text()}
}

func (k *wallet) jwk() map[string]any {
	raw, err := k.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		panic(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	return map[string]any{"kty": "EC", "crv": "P-256", "x": enc(raw[1:33]), "y": enc(raw[33:])}
}

func (k *wallet) thumbprint() string {
	j := k.jwk()
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, j["x"], j["y"]))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (k *wallet) jwks() []byte {
	j := k.jwk()
	j["kid"], j["use"] = k.kid, "sig"
	b, _ := json.Marshal(map[string]any{"keys": []any{j}})
	return b
}

func (k *wallet) sign(header, claims map[string]any) string {
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	input := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, k.key, sum[:])
	if err != nil {
		panic(err)
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// proof is a DPoP proof that is right but for what edit changes.
func (k *wallet) proof(now time.Time, method, htu string, edit func(header, claims map[string]any)) string {
	header := map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": k.jwk()}
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": htu, "iat": now.Unix()}
	if edit != nil {
		edit(header, claims)
	}
	return k.sign(header, claims)
}

func (k *wallet) assertion(now time.Time, client, audience string, edit func(header, claims map[string]any)) string {
	header := map[string]any{"alg": "ES256", "kid": k.kid}
	claims := map[string]any{"iss": client, "sub": client, "aud": audience, "jti": rand.Text(), "exp": now.Add(time.Minute).Unix(), "iat": now.Unix()}
	if edit != nil {
		edit(header, claims)
	}
	return k.sign(header, claims)
}

// bank is a tenant with clients that authenticate by keys.
type bank struct {
	*site
	keys  *wallet // of jwt and fapi
	jwt   string  // private_key_jwt
	fapi  string  // private_key_jwt under FAPI 2.0, DPoP
	dpop  app     // client_secret_basic, DPoP registered
	hs    app     // client_secret_jwt
	doc   *snapshotv1.TenantSnapshot
	org   *snapshotv1.OrgSnapshot
	dpopK *wallet
}

func (r *rig) bank(edit func(*snapshotv1.TenantSnapshot)) *bank {
	r.t.Helper()
	// The runtime Redis of a test is new, so that it remembers nothing from before: it has been there for a while.
	if err := r.service.grants.Remember(r.t.Context(), r.clock().Add(-time.Hour)); err != nil {
		r.t.Fatal(err)
	}
	b := &bank{keys: newWallet(r.t), dpopK: newWallet(r.t)}
	w := r.world
	b.org = w.Org("bank")
	add := func(edit func(*snapshotv1.Client)) app {
		doc, text := w.Client(edit)
		b.doc.Clients = append(b.doc.Clients, doc)
		return app{dptest.ClientID(doc), text}
	}
	b.doc = w.Document(r.t, b.org, "bank", nil)
	b.jwt = add(func(c *snapshotv1.Client) {
		c.TokenEndpointAuthMethod, c.Secrets = oauth2.AuthMethodPrivateKeyJWT, nil
		c.Protocol = &snapshotv1.ClientProtocol{Jwks: b.keys.jwks()}
	}).id
	b.fapi = add(func(c *snapshotv1.Client) {
		c.TokenEndpointAuthMethod, c.Secrets, c.RequirePkce = oauth2.AuthMethodPrivateKeyJWT, nil, true
		c.Protocol = &snapshotv1.ClientProtocol{Jwks: b.keys.jwks(), SecurityProfile: "FAPI_2_0", DpopBoundAccessTokens: true}
	}).id
	b.dpop = add(func(c *snapshotv1.Client) { c.Protocol = &snapshotv1.ClientProtocol{DpopBoundAccessTokens: true} })
	b.hs = b.secretJWT(r)
	if edit != nil {
		edit(b.doc)
	}
	b.site = &site{host: "bank.example.com", Tenant: w.Serve(r.t, b.doc, b.org), user: r.hooli.user}
	return b
}

func (b *bank) tokenURL() string { return b.Issuer + "/oauth2/token" }

// call sends a form with headers; pairs of the form follow after "--".
func (r *rig) call(host, path string, header http.Header, pairs ...string) *answer {
	r.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.server.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", web.MediaTypeForm)
	return r.send(req, host)
}

func dpopHeader(proofs ...string) http.Header { return http.Header{"Dpop": proofs} }

func asserted(assertion string, pairs ...string) []string {
	return append([]string{"client_assertion_type", oauth2.AssertionTypeJWTBearer, "client_assertion", assertion}, pairs...)
}

// machine asks for a token by private_key_jwt.
func (r *rig) machine(b *bank, client string, header http.Header) *answer {
	r.t.Helper()
	return r.call(b.host, "/oauth2/token", header, asserted(b.keys.assertion(r.clock(), client, b.Issuer, nil), "grant_type", "client_credentials")...)
}

func TestPrivateKeyJWT(t *testing.T) {
	r := newRig(t)
	b := r.bank(func(d *snapshotv1.TenantSnapshot) {
		d.Overrides = &snapshotv1.Policy{Oauth: &snapshotv1.OAuthPolicy{LegacyAssertionAudience: ptr(false)}}
	})
	r.machine(b, b.jwt, nil).is(t, 200, "")

	unknown := r.call(b.host, "/oauth2/token", nil, asserted(b.keys.assertion(r.clock(), id.NewClient().String(), b.Issuer, nil), "grant_type", "client_credentials")...)
	unknown.is(t, 401, "invalid_client")
	other := newWallet(t)
	set := func(name string, v any) func(h, c map[string]any) { return func(_, c map[string]any) { c[name] = v } }
	del := func(name string) func(h, c map[string]any) { return func(_, c map[string]any) { delete(c, name) } }
	head := func(name string, v any) func(h, c map[string]any) { return func(h, _ map[string]any) { h[name] = v } }
	at := func(d time.Duration) int64 { return r.clock().Add(d).Unix() }
	for name, tc := range map[string]struct {
		edit func(h, c map[string]any)
		key  *wallet
		ok   bool
	}{
		"nbf and iat 8 s ahead":                 {edit: func(_, c map[string]any) { c["nbf"], c["iat"] = at(8*time.Second), at(8*time.Second) }, ok: true},
		"typ JWT":                               {edit: head("typ", "JWT"), ok: true},
		"without iat":                           {edit: del("iat"), ok: true},
		"with a fraction of a second":           {edit: set("exp", float64(at(time.Minute))+0.5), ok: true},
		"by another key":                        {key: other},
		"aud an array (FAPI 2.0)":               {edit: set("aud", []string{b.Issuer})},
		"aud the token endpoint":                {edit: set("aud", b.tokenURL())},
		"aud the PAR endpoint":                  {edit: set("aud", b.Issuer+"/oauth2/par")},
		"aud another tenant's issuer":           {edit: set("aud", r.hooli.Issuer)},
		"aud missing":                           {edit: del("aud")},
		"aud with a slash more":                 {edit: set("aud", b.Issuer+"/")},
		"sub missing":                           {edit: del("sub")},
		"sub another client":                    {edit: set("sub", b.fapi)},
		"iss missing":                           {edit: del("iss")},
		"iss another client":                    {edit: set("iss", b.fapi)},
		"jti missing":                           {edit: del("jti")},
		"jti too long":                          {edit: set("jti", strings.Repeat("x", 600))},
		"exp missing":                           {edit: del("exp")},
		"expired 5 minutes ago":                 {edit: set("exp", at(-5*time.Minute))},
		"exp a day ahead":                       {edit: set("exp", at(24*time.Hour))},
		"exp a text":                            {edit: set("exp", "9999999999")},
		"nbf over 60 s ahead":                   {edit: set("nbf", at(61*time.Second))},
		"iat over 60 s ahead":                   {edit: set("iat", at(61*time.Second))},
		"iat two hours ago":                     {edit: set("iat", at(-2*time.Hour))},
		"a request object as an assertion":      {edit: head("typ", "oauth-authz-req+jwt")},
		"a DPoP proof as an assertion":          {edit: head("typ", "dpop+jwt")},
		"an access token type":                  {edit: head("typ", "at+jwt")},
		"crit":                                  {edit: head("crit", []string{"exp"})},
		"its own key in the header":             {edit: head("jwk", other.jwk()), key: other},
		"a key's address in the header":         {edit: head("jku", "https://evil.example/keys"), key: other},
		"alg none":                              {edit: head("alg", "none")},
		"the public key as an HMAC secret":      {edit: head("alg", "HS256")},
		"claims twice, in two cases of letters": {edit: func(_, c map[string]any) { delete(c, "iss"); c["ISS"] = b.jwt }},
	} {
		key := b.keys
		if tc.key != nil {
			key = &wallet{key: tc.key.key, kid: b.keys.kid}
		}
		got := r.call(b.host, "/oauth2/token", nil, asserted(key.assertion(r.clock(), b.jwt, b.Issuer, tc.edit), "grant_type", "client_credentials")...)
		if tc.ok {
			if got.StatusCode != 200 {
				t.Errorf("%s: %d %s", name, got.StatusCode, got.raw)
			}
			continue
		}
		if got.StatusCode != 401 || string(got.raw) != string(unknown.raw) {
			t.Errorf("%s: %d %s, want what an unknown client is told", name, got.StatusCode, got.raw)
		}
	}
}

// rs256 signs with RSA, for who must not.
func rs256(t *testing.T, key *rsa.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	header["alg"] = "RS256"
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	input := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// RS256 is not for FAPI, whatever the client's key set holds (FAPI 2.0 Security Profile section 5.4.1).
func TestRS256AssertionByProfile(t *testing.T) {
	r := newRig(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := json.Marshal(map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "kid": "r", "n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()), "e": "AQAB",
	}}})
	if err != nil {
		t.Fatal(err)
	}
	b := r.bank(func(d *snapshotv1.TenantSnapshot) {
		for _, c := range d.Clients {
			if c.Protocol != nil && len(c.Protocol.Jwks) > 0 {
				c.Protocol.Jwks = jwks
			}
		}
	})
	now := r.clock()
	for client, status := range map[string]int{b.jwt: 200, b.fapi: 401} {
		a := rs256(t, key, map[string]any{"kid": "r"}, map[string]any{
			"iss": client, "sub": client, "aud": b.Issuer, "jti": rand.Text(), "exp": now.Add(time.Minute).Unix(), "iat": now.Unix(),
		})
		got := r.call(b.host, "/oauth2/token", dpopHeader(b.dpopK.proof(now, "POST", b.tokenURL(), nil)), asserted(a, "grant_type", "client_credentials")...)
		if got.StatusCode != status {
			t.Errorf("%d %s, want %d", got.StatusCode, got.raw, status)
		}
	}
}

// secretJWT adds a client of client_secret_jwt, with its secret sealed as the control plane does it.
func (b *bank) secretJWT(r *rig) app {
	r.t.Helper()
	doc, text := r.world.Client(func(c *snapshotv1.Client) { c.TokenEndpointAuthMethod = oauth2.AuthMethodSecretJWT })
	one := doc.Secrets[0]
	sealed, err := secret.Seal([]secret.PublicKey{r.world.Private.Public()},
		snapshot.ClientSecretAAD(id.Client(doc.ClientId), id.ClientSecret(one.SecretId)), []byte(text))
	if err != nil {
		r.t.Fatal(err)
	}
	one.Sealed = sealed.Ciphertext
	for _, w := range sealed.Wraps {
		one.Wraps = append(one.Wraps, &snapshotv1.KeyWrap{Region: w.Region, Purpose: w.Purpose, KeyId: w.KeyID, EncapsulatedKey: w.Encapsulated, Ciphertext: w.Ciphertext})
	}
	b.doc.Clients = append(b.doc.Clients, doc)
	return app{dptest.ClientID(doc), text}
}

func TestClientSecretJWT(t *testing.T) {
	r := newRig(t)
	b := r.bank(nil)
	now := r.clock()
	mac := func(alg, key string, edit func(c map[string]any)) string {
		h, _ := json.Marshal(map[string]any{"alg": alg, "typ": "JWT"})
		c := map[string]any{"iss": b.hs.id, "sub": b.hs.id, "aud": b.Issuer, "jti": rand.Text(), "exp": now.Add(time.Minute).Unix(), "iat": now.Unix()}
		if edit != nil {
			edit(c)
		}
		payload, _ := json.Marshal(c)
		input := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(payload)
		m := hmac.New(sha256.New, []byte(key))
		m.Write([]byte(input))
		return input + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
	}
	for name, tc := range map[string]struct {
		assertion string
		status    int
	}{
		"right":              {mac("HS256", b.hs.secret, nil), 200},
		"again, opened once": {mac("HS256", b.hs.secret, nil), 200},
		"another's secret":   {mac("HS256", b.dpop.secret, nil), 401},
		"the empty secret":   {mac("HS256", "", nil), 401},
		"wrong aud":          {mac("HS256", b.hs.secret, func(c map[string]any) { c["aud"] = "x" }), 401},
		"by a key":           {b.keys.assertion(now, b.hs.id, b.Issuer, nil), 401},
	} {
		if got := r.call(b.host, "/oauth2/token", nil, asserted(tc.assertion, "grant_type", "client_credentials")...); got.StatusCode != tc.status {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.raw)
		}
	}
}

func TestAssertionCountsOnce(t *testing.T) {
	r := newRig(t)
	b := r.bank(nil)
	one := b.keys.assertion(r.clock(), b.jwt, b.Issuer, nil)
	form := asserted(one, "grant_type", "client_credentials")
	r.call(b.host, "/oauth2/token", nil, form...).is(t, 200, "")
	r.call(b.host, "/oauth2/token", nil, form...).is(t, 401, "invalid_client")
	r.call(b.host, "/oauth2/introspect", nil, asserted(one, "token", "x")...).is(t, 401, "invalid_client")
	// PROMISES.md R-16: with Redis away nobody can tell, and nobody gets in.
	fresh := asserted(b.keys.assertion(r.clock(), b.jwt, b.Issuer, nil), "grant_type", "client_credentials")
	away := r.service.grants
	r.service.grants = brokenGrants(t, r)
	got := r.call(b.host, "/oauth2/token", nil, fresh...)
	got.is(t, 503, "temporarily_unavailable")
	r.service.grants = away
	r.call(b.host, "/oauth2/token", nil, fresh...).is(t, 200, "")
}

func brokenGrants(t *testing.T, r *rig) *grant.Store {
	t.Helper()
	g, err := grant.Open(grant.Config{RedisURL: "redis://127.0.0.1:1", Keyring: r.world.Keyring})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

// A client that is registered for one method never gets in by another.
func TestOneMethodPerClient(t *testing.T) {
	r := newRig(t)
	b := r.bank(nil)
	good := func(client string) string { return b.keys.assertion(r.clock(), client, b.Issuer, nil) }
	basic := func(a app) http.Header {
		return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(a.id+":"+a.secret))}}
	}
	for name, tc := range map[string]struct {
		header http.Header
		form   []string
		status int
		code   string
	}{
		"a JWT client by its id alone":             {nil, []string{"client_id", b.jwt}, 401, "invalid_client"},
		"a JWT client by a secret":                 {nil, []string{"client_id", b.jwt, "client_secret", r.hooli.web.secret}, 401, "invalid_client"},
		"a secret client by an assertion":          {nil, asserted(good(b.dpop.id)), 401, "invalid_client"},
		"assertion and Basic":                      {basic(b.dpop), asserted(good(b.jwt)), 400, "invalid_request"},
		"assertion and client_secret":              {nil, asserted(good(b.jwt), "client_secret", b.dpop.secret), 400, "invalid_request"},
		"assertion beside another client_id":       {nil, asserted(good(b.jwt), "client_id", b.fapi), 401, "invalid_client"},
		"assertion beside its client_id":           {nil, asserted(good(b.jwt), "client_id", b.jwt), 200, ""},
		"an unknown client_assertion_type":         {nil, []string{"client_assertion_type", "x", "client_assertion", good(b.jwt)}, 401, "invalid_client"},
		"client_assertion_type alone":              {nil, []string{"client_assertion_type", oauth2.AssertionTypeJWTBearer, "client_id", b.jwt}, 401, "invalid_client"},
		"client_secret_jwt's secret sent in clear": {basic(b.hs), nil, 401, "invalid_client"},
	} {
		r.call(b.host, "/oauth2/token", tc.header, append(tc.form, "grant_type", "client_credentials")...).is(t, tc.status, tc.code)
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestLegacyAssertionAudience(t *testing.T) {
	r := newRig(t)
	b := r.bank(func(d *snapshotv1.TenantSnapshot) {
		d.Overrides = &snapshotv1.Policy{Oauth: &snapshotv1.OAuthPolicy{LegacyAssertionAudience: ptr(true)}}
	})
	for _, tc := range []struct {
		client string
		aud    any
		ok     bool
	}{
		{b.jwt, b.Issuer, true},
		{b.jwt, []string{b.Issuer}, true},
		{b.jwt, []string{"https://other.example", b.Issuer}, true},
		{b.jwt, b.tokenURL(), true},
		{b.jwt, b.Issuer + "/oauth2/par", true},
		{b.jwt, []string{"https://other.example"}, false},
		{b.jwt, "", false},
		{b.jwt, r.hooli.Issuer + "/oauth2/token", false},
		{b.fapi, []string{b.Issuer}, false}, // a stricter client is not loosened by its tenant
		{b.fapi, b.tokenURL(), false},
	} {
		a := b.keys.assertion(r.clock(), tc.client, b.Issuer, func(_, c map[string]any) { c["aud"] = tc.aud })
		got := r.call(b.host, "/oauth2/token", dpopHeader(b.dpopK.proof(r.clock(), "POST", b.tokenURL(), nil)), asserted(a, "grant_type", "client_credentials")...)
		if (got.StatusCode == 200) != tc.ok {
			t.Errorf("aud %v: %d %s", tc.aud, got.StatusCode, got.raw)
		}
	}
}

func ptr[T any](v T) *T { return &v }
