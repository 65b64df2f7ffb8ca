// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/jose"
)

const room = "https://hooli.chat.example/rooms/general"

func TestProofs(t *testing.T) {
	c := newCluster(t)
	key, other := proofKeys()[0], proofKeys()[1]
	token := c.token("hooli", map[string]any{"cnf": map[string]string{"jkt": key.thumbprint()}})
	now := c.clock.now().Unix()
	type m = map[string]any
	claims := func(change m) m {
		out := m{"jti": "-BwC3ESc6acc2lTc", "htm": "POST", "htu": room, "iat": now, "ath": hashOf(token)}
		for k, v := range change {
			if out[k] = v; v == nil {
				delete(out, k)
			}
		}
		return out
	}
	for _, r := range []struct {
		name   string
		proofs []string
		want   string
	}{
		{"as it is", []string{key.proof(t, claims(nil), nil)}, ""},
		{"no proof", nil, CodeInvalidDPoPProof},
		{"two proofs", []string{key.proof(t, claims(nil), nil), key.proof(t, claims(nil), nil)}, CodeInvalidDPoPProof},
		{"proof of another key", []string{other.proof(t, claims(nil), nil)}, CodeInvalidToken},
		{"another key in the header", []string{other.proof(t, claims(nil), m{"jwk": m{"kty": "EC", "crv": "P-256", "x": key.x, "y": key.y}})}, CodeInvalidDPoPProof},
		{"typ of something else", []string{key.proof(t, claims(nil), m{"typ": "JWT"})}, CodeInvalidDPoPProof},
		{"alg none", []string{key.proof(t, claims(nil), m{"alg": "none"})}, CodeInvalidDPoPProof},
		{"private key in the header", []string{key.proof(t, claims(nil), m{"jwk": m{"kty": "EC", "crv": "P-256", "x": key.x, "y": key.y, "d": "AA"}})}, CodeInvalidDPoPProof},
		{"another method", []string{key.proof(t, claims(m{"htm": "GET"}), nil)}, CodeInvalidDPoPProof},
		{"method in lower case", []string{key.proof(t, claims(m{"htm": "post"}), nil)}, CodeInvalidDPoPProof},
		{"another URL", []string{key.proof(t, claims(m{"htu": "https://hooli.chat.example/rooms/secret"}), nil)}, CodeInvalidDPoPProof},
		{"the URL of a neighbour", []string{key.proof(t, claims(m{"htu": strings.Replace(room, "hooli", "initech", 1)}), nil)}, CodeInvalidDPoPProof},
		{"URL with query and fragment", []string{key.proof(t, claims(m{"htu": room + "?a=b#c"}), nil)}, ""},
		{"URL in another spelling", []string{key.proof(t, claims(m{"htu": "HTTPS://HOOLI.chat.example:443/rooms/%67eneral"}), nil)}, ""},
		{"hash of another token", []string{key.proof(t, claims(m{"ath": hashOf("x")}), nil)}, CodeInvalidDPoPProof},
		{"no hash, as at the token endpoint", []string{key.proof(t, claims(m{"ath": nil}), nil)}, CodeInvalidDPoPProof},
		{"jti missing", []string{key.proof(t, claims(m{"jti": nil}), nil)}, CodeInvalidDPoPProof},
		{"jti too long", []string{key.proof(t, claims(m{"jti": strings.Repeat("x", 257)}), nil)}, CodeInvalidDPoPProof},
		{"iat missing", []string{key.proof(t, claims(m{"iat": nil}), nil)}, CodeInvalidDPoPProof},
		{"iat as text", []string{key.proof(t, claims(m{"iat": "now"}), nil)}, CodeInvalidDPoPProof},
		{"iat at the edge", []string{key.proof(t, claims(m{"iat": now - 90}), nil)}, ""},
		{"iat too old", []string{key.proof(t, claims(m{"iat": now - 91}), nil)}, CodeInvalidDPoPProof},
		{"iat a little ahead", []string{key.proof(t, claims(m{"iat": now + 30}), nil)}, ""},
		{"iat in the future", []string{key.proof(t, claims(m{"iat": now + 31}), nil)}, CodeInvalidDPoPProof},
		{"the access token as proof", []string{token}, CodeInvalidDPoPProof},
		{"not a proof", []string{"hello"}, CodeInvalidDPoPProof},
		{"two in one header", []string{key.proof(t, claims(nil), nil) + ", " + key.proof(t, claims(nil), nil)}, CodeInvalidDPoPProof},
	} {
		t.Run(r.name, func(t *testing.T) {
			u, err := url.Parse(room + "?page=2")
			if err != nil {
				t.Fatal(err)
			}
			req := ask("hooli", token)
			req.Scheme, req.Method, req.URL, req.Proofs = "dpop", http.MethodPost, u, r.proofs
			got, err := c.verifier().Verify(t.Context(), req)
			if r.want != "" {
				wantCode(t, err, r.want)
				return
			}
			if err != nil || got.KeyThumbprint != key.thumbprint() {
				t.Fatal(err)
			}
		})
	}
}

func TestAttackStolenTokenInAnotherScheme(t *testing.T) {
	c := newCluster(t)
	v := c.verifier()
	key := proofKeys()[0]
	// A bound token as a bearer token, with and without the proof that was beside it.
	bound := ask("hooli", c.token("hooli", map[string]any{"cnf": map[string]string{"jkt": key.thumbprint()}}))
	for _, scheme := range []string{"", SchemeBearer, "bearer"} {
		bound.Scheme = scheme
		_, err := v.Verify(t.Context(), bound)
		wantCode(t, err, CodeInvalidToken)
	}
	// An unbound token in the DPoP scheme: a thief's own proof proves nothing.
	free := ask("hooli", c.token("hooli", nil))
	free.Scheme, free.Method, free.URL = SchemeDPoP, "GET", &url.URL{Scheme: "https", Host: "x.example"}
	free.Proofs = []string{key.proof(t, map[string]any{"jti": "1", "htm": "GET", "htu": "https://x.example/", "iat": c.clock.now().Unix(), "ath": hashOf(free.Token)}, nil)}
	_, err := v.Verify(t.Context(), free)
	wantCode(t, err, CodeInvalidToken)
}

func TestSameURL(t *testing.T) {
	for _, r := range []struct {
		claimed, actual string
		want            bool
	}{
		{"https://a.example/x", "https://a.example/x", true},
		{"https://a.example", "https://a.example/", true},
		{"https://A.EXAMPLE:443/x?q#f", "https://a.example/x?z", true},
		{"http://a.example:80/", "http://a.example", true},
		{"https://a.example:80/", "https://a.example/", false},
		{"https://a.example:8443/", "https://a.example/", false},
		{"http://a.example/", "https://a.example/", false},
		{"https://a.example/X", "https://a.example/x", false},
		{"https://a.example/x/", "https://a.example/x", false},
		{"https://a.example/%7Eu/%2f", "https://a.example/~u/%2F", true},
		{"https://a.example/a%2Fb", "https://a.example/a/b", false},
		{"https://a.example/a%252Fb", "https://a.example/a%2Fb", false},
		{"https://[::1]:443/", "https://[::1]/", true},
		{"https://u:p@a.example/", "https://a.example/", false},
		{"https://a.example.evil.example/", "https://a.example/", false},
		{"//a.example/", "https://a.example/", false},
		{"/x", "https://a.example/x", false},
		{"", "https://a.example/", false},
		{"https://a.example/" + strings.Repeat("x", 5000), "https://a.example/" + strings.Repeat("x", 5000), false},
	} {
		u, err := url.Parse(r.actual)
		if err != nil {
			t.Fatal(err)
		}
		if got := sameURL(r.claimed, u); got != r.want {
			t.Errorf("%q and %q: %v", r.claimed, r.actual, got)
		}
	}
	if sameURL("https://a.example/", nil) {
		t.Error("no URL is the same as one")
	}
}

// proofRequest is a good request with a proof of this jti and nonce.
func proofRequest(t *testing.T, c *cluster, jti, nonce string) Request {
	key := proofKeys()[0]
	token := c.token("hooli", map[string]any{"cnf": map[string]string{"jkt": key.thumbprint()}})
	req := ask("hooli", token)
	req.Scheme, req.Method, req.URL = SchemeDPoP, "GET", &url.URL{Scheme: "https", Host: "x.example", Path: "/"}
	claims := map[string]any{"jti": jti, "htm": "GET", "htu": "https://x.example/", "iat": c.clock.now().Unix(), "ath": hashOf(token)}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	req.Proofs = []string{key.proof(t, claims, nil)}
	return req
}

// Of many at once with one proof, one gets through.
func TestAttackReplayedProof(t *testing.T) {
	c := newCluster(t)
	replays := NewMemoryReplays(100)
	replays.(*memoryReplays).now = c.clock.now
	v := c.verifier(func(cfg *Config) { cfg.Replays = replays })
	req := proofRequest(t, c, "j1", "")
	var let atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := v.Verify(t.Context(), req); err == nil {
				let.Add(1)
			} else {
				wantCode(t, err, CodeInvalidDPoPProof)
			}
		})
	}
	wg.Wait()
	if let.Load() != 1 {
		t.Errorf("%d of 16 got through", let.Load())
	}
	if _, err := v.Verify(t.Context(), proofRequest(t, c, "j2", "")); err != nil {
		t.Errorf("another jti: %v", err)
	}
	// A proof that fails marks nothing: the next one with its jti is not punished.
	bad := proofRequest(t, c, "j3", "")
	bad.Method = "PUT"
	_, err := v.Verify(t.Context(), bad)
	wantCode(t, err, CodeInvalidDPoPProof)
	if _, err := v.Verify(t.Context(), proofRequest(t, c, "j3", "")); err != nil {
		t.Errorf("after a failure: %v", err)
	}
}

type brokenReplays struct{}

func (brokenReplays) Once(context.Context, string, time.Time) (bool, error) {
	return false, errors.New("redis is away")
}

func TestReplayCacheFailsClosed(t *testing.T) {
	c := newCluster(t)
	v := c.verifier(func(cfg *Config) { cfg.Replays = brokenReplays{} })
	if _, err := v.Verify(t.Context(), proofRequest(t, c, "j", "")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

func TestMemoryReplaysForgetsInTimeAndNotBefore(t *testing.T) {
	clk := newClock()
	m := NewMemoryReplays(3).(*memoryReplays)
	m.now = clk.now
	once := func(key string, life time.Duration) bool {
		t.Helper()
		fresh, err := m.Once(t.Context(), key, clk.now().Add(life))
		if err != nil {
			t.Fatal(err)
		}
		return fresh
	}
	if !once("a", time.Minute) || once("a", time.Minute) {
		t.Error("a twice")
	}
	// Whenever it came within a generation, it is known for the longest life that anything has.
	for range 4 {
		key := fmt.Sprint("k", clk.now().UnixNano())
		if !once(key, replayGeneration) {
			t.Fatal("new and known")
		}
		clk.advance(replayGeneration - time.Second)
		if once(key, time.Second) {
			t.Error("forgotten too early")
		}
		clk.advance(2 * time.Second)
	}
	clk.advance(10 * replayGeneration)
	if !once("a", time.Minute) || len(m.past) != 0 {
		t.Errorf("nothing is forgotten: %d", len(m.past))
	}
	once("b", time.Minute)
	once("c", time.Minute)
	if _, err := m.Once(t.Context(), "d", clk.now().Add(time.Minute)); !errors.Is(err, errReplaysFull) {
		t.Errorf("beyond the bound: %v", err)
	}
	if once("c", time.Minute) {
		t.Error("full, and what is known gets through")
	}
	if _, err := m.Once(t.Context(), "e", clk.now().Add(time.Hour)); err == nil {
		t.Error("a life that cannot be kept is taken")
	}
}

func TestNonces(t *testing.T) {
	c := newCluster(t)
	source, err := NewNonces([]byte(strings.Repeat("k", 32)), 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	source.(*nonces).now = c.clock.now
	v := c.verifier(func(cfg *Config) { cfg.Nonces = source })
	_, err = v.Verify(t.Context(), proofRequest(t, c, "j", ""))
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeUseDPoPNonce || e.Nonce == "" {
		t.Fatalf("no nonce: %v", err)
	}
	if _, err := v.Verify(t.Context(), proofRequest(t, c, "j", e.Nonce)); err != nil {
		t.Errorf("with the nonce of the error: %v", err)
	}
	stranger, err := NewNonces([]byte(strings.Repeat("x", 32)), 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	stranger.(*nonces).now = c.clock.now
	for name, nonce := range map[string]string{"of another key": stranger.Nonce(), "made up": "x", "cut": e.Nonce[:20], "changed": "B" + e.Nonce[1:]} {
		_, err := v.Verify(t.Context(), proofRequest(t, c, "j", nonce))
		t.Run(name, func(t *testing.T) { wantCode(t, err, CodeUseDPoPNonce) })
	}
	c.clock.advance(5 * time.Minute)
	_, err = v.Verify(t.Context(), proofRequest(t, c, "j", e.Nonce))
	wantCode(t, err, CodeUseDPoPNonce)
	if _, err := NewNonces(make([]byte, 31), time.Minute); err == nil {
		t.Error("a short key is taken")
	}
	if _, err := NewNonces(make([]byte, 32), time.Second); err == nil {
		t.Error("a short life is taken")
	}
}

func TestProofAlgorithmsOfTheConfiguration(t *testing.T) {
	c := newCluster(t)
	v := c.verifier(func(cfg *Config) { cfg.ProofAlgorithms = []jose.Algorithm{jose.PS256} })
	_, err := v.Verify(t.Context(), proofRequest(t, c, "j", ""))
	wantCode(t, err, CodeInvalidDPoPProof)
}
