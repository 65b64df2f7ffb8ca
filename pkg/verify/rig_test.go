// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/jose"
)

// clock is a time that a test moves.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// tenantHost is one tenant's issuer at <label>.localhost.
type tenantHost struct {
	issuer  string
	tenant  string
	signers []*jose.Signer // the first signs
	hidden  int            // how many of them are not published yet
}

// cluster is a data plane: many issuers behind one listener, found by Host.
type cluster struct {
	t      testing.TB
	server *httptest.Server
	port   string
	clock  *clock

	mu      sync.Mutex
	tenants map[string]*tenantHost
	status  int // of every answer, 0 for the right one
	cache   string
	claims  string // the iss of discovery, when it is to be a wrong one
	block   chan struct{}
	active  map[string]string // introspection answers by token

	discoveries, keySets, introspections atomic.Int32
}

// signers are made once for all tests.
var signers = sync.OnceValue(func() (out []*jose.Signer) {
	for i, a := range []jose.Algorithm{jose.ES256, jose.ES256, jose.ES384, jose.PS256, jose.RS256, jose.EdDSA} {
		k, err := jose.GenerateKey(a)
		if err != nil {
			panic(err)
		}
		out = append(out, jose.NewSigner(k, "sgk_"+string(rune('a'+i))))
	}
	return out
})

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{t: t, clock: newClock(), tenants: map[string]*tenantHost{}, active: map[string]string{}}
	c.server = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.server.Close)
	_, port, err := net.SplitHostPort(c.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.port = port
	c.add("hooli", "tnt_hooli", signers()...)
	c.add("initech", "tnt_initech", signers()[1])
	return c
}

func (c *cluster) add(label, tenant string, s ...*jose.Signer) *tenantHost {
	h := &tenantHost{issuer: "http://" + label + ".localhost:" + c.port, tenant: tenant, signers: s}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tenants[label] = h
	return h
}

func (c *cluster) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	status, cache, claims, block := c.status, c.cache, c.claims, c.block
	h := c.tenants[strings.TrimSuffix(hostname(r.Host), ".localhost")]
	var keys []jose.PublicKey
	if h != nil {
		for _, s := range h.signers[:len(h.signers)-h.hidden] {
			keys = append(keys, s.Public())
		}
	}
	c.mu.Unlock()
	if r.URL.Path == "/.well-known/openid-configuration" {
		c.discoveries.Add(1)
	}
	if block != nil {
		<-block
	}
	switch {
	case status != 0:
		http.Error(w, "away", status)
	case h == nil:
		http.NotFound(w, r)
	case r.URL.Path == "/.well-known/openid-configuration":
		issuer := h.issuer
		if claims != "" {
			issuer = claims
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": issuer, "jwks_uri": h.issuer + "/keys", "introspection_endpoint": h.issuer + "/introspect"})
	case r.URL.Path == "/keys":
		c.keySets.Add(1)
		if cache != "" {
			w.Header().Set("Cache-Control", cache)
		}
		_, _ = w.Write(jose.MarshalSet(keys))
	case r.URL.Path == "/introspect":
		c.introspections.Add(1)
		id, secret, _ := r.BasicAuth()
		if id != "cli_api" || secret != url.QueryEscape("s3cret+/") || r.PostFormValue("token_type_hint") != "access_token" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		c.mu.Lock()
		answer, ok := c.active[r.PostFormValue("token")]
		c.mu.Unlock()
		if !ok {
			answer = `{"active":false}`
		}
		_, _ = w.Write([]byte(answer))
	default:
		http.NotFound(w, r)
	}
}

// client reaches every *.localhost at the cluster.
func (c *cluster) client() *http.Client {
	tr := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, c.server.Listener.Addr().String())
	}}
	c.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 5 * time.Second}
}

const api = "https://api.piedpiper.example"

// config is that of a multi-tenant API: chat.<label>.example, each with its issuer.
func (c *cluster) config(change ...func(*Config)) Config {
	pattern, err := HostPattern("{label}.chat.example", "http://{label}.localhost:"+c.port)
	if err != nil {
		c.t.Fatal(err)
	}
	cfg := Config{
		IssuerFor: pattern, Audience: api, Tenant: TenantPerRequest, TokenUse: UserTokens,
		HTTPClient: c.client(), Now: c.clock.now,
	}
	for _, f := range change {
		f(&cfg)
	}
	return cfg
}

func (c *cluster) verifier(change ...func(*Config)) *Verifier {
	c.t.Helper()
	v, err := New(c.config(change...))
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

// token is a user's access token of a tenant, with some claims changed; nil takes one away.
func (c *cluster) token(label string, change map[string]any) string {
	c.t.Helper()
	c.mu.Lock()
	h := c.tenants[label]
	c.mu.Unlock()
	return c.sign(h.signers[0], "at+jwt", c.payload(label, change))
}

func (c *cluster) payload(label string, change map[string]any) []byte {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.payloadLocked(label, change)
}

func (c *cluster) payloadLocked(label string, changes ...map[string]any) []byte {
	c.t.Helper()
	h := c.tenants[label]
	now := c.clock.now().Unix()
	m := map[string]any{
		"iss": h.issuer, "sub": "uid_1", "aud": api, "client_id": "cli_chat", "org": "org_piedpiper", "tnt": h.tenant, "token_use": "user", "env": "prod",
		"sid": "ses_1", "gnt": "gnt_1", "auth_time": now - 100, "acr": "urn:tenantry:acr:pwd", "amr": []string{"pwd"}, "scope": "openid chat:write",
		"roles": []string{"moderator"}, "cfg": 7, "iat": now, "nbf": now, "exp": now + 600, "jti": "01j9zr0g5vx3",
	}
	for _, change := range changes {
		for name, value := range change {
			if m[name] = value; value == nil {
				delete(m, name)
			}
		}
	}
	raw, err := json.Marshal(m)
	if err != nil {
		c.t.Fatal(err)
	}
	return raw
}

func (c *cluster) sign(s *jose.Signer, typ string, payload []byte) string {
	c.t.Helper()
	token, err := s.Sign(typ, payload)
	if err != nil {
		c.t.Fatal(err)
	}
	return token
}

// ask is a request to the host of a tenant, for that tenant.
func ask(label, token string) Request {
	return Request{Token: token, Host: label + ".chat.example:8443", Tenant: "tnt_" + label}
}

// wantCode fails unless the error is one for the client with this code.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%v, want %s", err, code)
	}
}

// proofKey makes DPoP proofs with nothing but the standard library.
type proofKey struct {
	key  *ecdsa.PrivateKey
	x, y string
}

var proofKeys = sync.OnceValue(func() (out [2]proofKey) {
	for i := range out {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		point, err := k.PublicKey.Bytes()
		if err != nil {
			panic(err)
		}
		out[i] = proofKey{k, b64(point[1:33]), b64(point[33:])}
	}
	return out
})

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return b64(sum[:])
}

// thumbprint is the jkt of the key (RFC 7638).
func (k proofKey) thumbprint() string {
	return hashOf(`{"crv":"P-256","kty":"EC","x":"` + k.x + `","y":"` + k.y + `"}`)
}

// proof is a DPoP proof with these claims; a header member can be replaced.
func (k proofKey) proof(t testing.TB, claims, header map[string]any) string {
	t.Helper()
	h := map[string]any{"typ": "dpop+jwt", "alg": "ES256", "jwk": map[string]string{"kty": "EC", "crv": "P-256", "x": k.x, "y": k.y}}
	for name, value := range header {
		h[name] = value
	}
	rawHeader, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	rawClaims, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	input := b64(rawHeader) + "." + b64(rawClaims)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, k.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	var sig [64]byte
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return input + "." + b64(sig[:])
}
