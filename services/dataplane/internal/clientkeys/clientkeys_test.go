// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package clientkeys

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

// host serves a key set and counts who reads it.
type host struct {
	mu     sync.Mutex
	status int
	body   []byte
	cache  string
	reads  atomic.Int32
	server *httptest.Server
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{status: http.StatusOK}
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h.reads.Add(1)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.cache != "" {
			w.Header().Set("Cache-Control", h.cache)
		}
		w.WriteHeader(h.status)
		w.Write(h.body)
	}))
	t.Cleanup(h.server.Close)
	return h
}

func (h *host) set(status int, keys ...*jose.Signer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status, h.body = status, set(keys...)
}

func set(keys ...*jose.Signer) []byte {
	list := []json.RawMessage{}
	for _, k := range keys {
		list = append(list, k.Public().JWK())
	}
	b, _ := json.Marshal(map[string]any{"keys": list})
	return b
}

func newKey(t *testing.T, kid string) *jose.Signer {
	t.Helper()
	k, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	return jose.NewSigner(k, kid)
}

type rig struct {
	cache *Cache
	mu    sync.Mutex
	now   time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	out, err := outbound.New(outbound.Config{AllowNetworks: []string{"127.0.0.0/8"}, AllowHTTP: true}, outbound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	r := &rig{cache: New(out, nil), now: time.Now()}
	r.cache.now = func() time.Time {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.now
	}
	return r
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

var options = jose.VerifyOptions{Typ: []string{"JWT"}, Algorithms: []jose.Algorithm{jose.ES256}}

func (r *rig) verify(t *testing.T, c *oauth2.Client, k *jose.Signer) error {
	t.Helper()
	token, err := k.Sign("JWT", []byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	payload, _, err := r.cache.Verify(t.Context(), c, token, options)
	if err == nil && string(payload) != `{"a":1}` {
		t.Errorf("payload %s", payload)
	}
	return err
}

func remoteClient(url string) *oauth2.Client {
	return &oauth2.Client{UID: id.NewClient(), Protocol: oauth2.Protocol{JWKSURI: url}}
}

func TestKeysByValueFollowTheClient(t *testing.T) {
	r := newRig(t)
	one, two := newKey(t, "k"), newKey(t, "k")
	c := &oauth2.Client{UID: id.NewClient(), Protocol: oauth2.Protocol{JWKS: set(one)}}
	if err := r.verify(t, c, one); err != nil {
		t.Fatal(err)
	}
	if err := r.verify(t, c, two); !errors.Is(err, jose.ErrSignature) {
		t.Errorf("another key of the same name: %v", err)
	}
	changed := *c
	changed.JWKS = set(two) // a newer version of the client's registration
	if err := r.verify(t, &changed, two); err != nil {
		t.Error(err)
	}
	if err := r.verify(t, &changed, one); err == nil {
		t.Error("the old key still counts")
	}
	for name, c := range map[string]*oauth2.Client{
		"no keys":      {UID: id.NewClient()},
		"not a set":    {UID: id.NewClient(), Protocol: oauth2.Protocol{JWKS: []byte(`{"keys":1}`)}},
		"a secret key": {UID: id.NewClient(), Protocol: oauth2.Protocol{JWKS: []byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`)}},
	} {
		if err := r.verify(t, c, one); !errors.Is(err, ErrKeys) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysByAddressAreReadSeldom(t *testing.T) {
	r, h := newRig(t), newHost(t)
	key, stranger := newKey(t, "a"), newKey(t, "b")
	h.set(http.StatusOK, key)
	c := remoteClient(h.server.URL)
	for range 10 {
		if err := r.verify(t, c, key); err != nil {
			t.Fatal(err)
		}
	}
	// Invented key ids do not make us read again and again.
	for range 10 {
		if err := r.verify(t, c, stranger); !errors.Is(err, jose.ErrUnknownKey) {
			t.Fatal(err)
		}
	}
	if n := h.reads.Load(); n != 1 {
		t.Errorf("%d reads, want 1", n)
	}
	for range 5 {
		r.pass(again)
		for range 10 {
			_ = r.verify(t, c, stranger)
		}
	}
	if n := h.reads.Load(); n > 6 {
		t.Errorf("%d reads in 50 s, want one in ten seconds", n)
	}
}

func TestClientRotatesItsKey(t *testing.T) {
	r, h := newRig(t), newHost(t)
	before, after := newKey(t, "a"), newKey(t, "b")
	h.set(http.StatusOK, before)
	c := remoteClient(h.server.URL)
	if err := r.verify(t, c, before); err != nil {
		t.Fatal(err)
	}
	h.set(http.StatusOK, after)
	r.pass(again)
	if err := r.verify(t, c, after); err != nil {
		t.Errorf("the new key: %v", err)
	}
	if err := r.verify(t, c, before); err == nil {
		t.Error("the old key still counts")
	}
}

func TestKeysStayWhileTheHostIsAway(t *testing.T) {
	r, h := newRig(t), newHost(t)
	key := newKey(t, "a")
	h.set(http.StatusOK, key)
	c := remoteClient(h.server.URL)
	if err := r.verify(t, c, key); err != nil {
		t.Fatal(err)
	}
	h.set(http.StatusBadGateway)
	r.pass(freshDefault)
	if err := r.verify(t, c, key); err != nil {
		t.Errorf("while the host is away: %v", err)
	}
	n := h.reads.Load()
	_ = r.verify(t, c, key)
	if h.reads.Load() != n {
		t.Error("asked again at once after a failure")
	}
	r.pass(staleMax)
	if err := r.verify(t, c, key); !errors.Is(err, ErrUnavailable) {
		t.Errorf("after a day: %v", err)
	}
}

func TestKeysThatCannotBeRead(t *testing.T) {
	r, h := newRig(t), newHost(t)
	key := newKey(t, "a")
	for _, tc := range []struct {
		name string
		do   func() string
		want error
	}{
		{"not found", func() string { h.set(http.StatusNotFound); return h.server.URL + "/1" }, ErrKeys},
		{"down", func() string { h.set(http.StatusServiceUnavailable); return h.server.URL + "/2" }, ErrUnavailable},
		{"a redirect", func() string { h.set(http.StatusFound); return h.server.URL + "/3" }, ErrKeys},
		{"nobody there", func() string { return "http://127.0.0.1:1/" }, ErrUnavailable},
		{"a private network (SSRF)", func() string { return "http://10.0.0.1/keys" }, ErrKeys},
		{"the cloud's metadata (SSRF)", func() string { return "http://169.254.169.254/latest" }, ErrKeys},
		{"no set", func() string {
			h.mu.Lock()
			h.status, h.body = http.StatusOK, []byte("<html>")
			h.mu.Unlock()
			return h.server.URL + "/4"
		}, ErrKeys},
	} {
		if err := r.verify(t, remoteClient(tc.do()), key); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	if err := r.verify(t, remoteClient("https://app.example/"), key); err == nil {
		t.Error("a set from nowhere")
	}
}

func TestManyWaitForOneRead(t *testing.T) {
	r, h := newRig(t), newHost(t)
	key := newKey(t, "a")
	h.set(http.StatusOK, key)
	c := remoteClient(h.server.URL)
	token, err := key.Sign("JWT", []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock() // the host is slow
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, _, err := r.cache.Verify(t.Context(), c, token, options); err != nil {
				t.Error(err)
			}
		})
	}
	for h.reads.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	h.mu.Unlock()
	wg.Wait()
	if n := h.reads.Load(); n != 1 {
		t.Errorf("%d reads for one address", n)
	}
}

func TestAnswersSayHowLongTheyAreFresh(t *testing.T) {
	for header, fresh := range map[string]time.Duration{
		"max-age=600": 10 * time.Minute, "max-age=1": freshMin, "no-store": freshMin, "max-age=86400": freshMax, "": freshDefault,
	} {
		r, h := newRig(t), newHost(t)
		key := newKey(t, "a")
		h.cache = header
		h.set(http.StatusOK, key)
		c := remoteClient(h.server.URL)
		for _, step := range []struct {
			pass  time.Duration
			reads int32
		}{{0, 1}, {fresh - 5*time.Second, 1}, {10 * time.Second, 2}} {
			r.pass(step.pass)
			if err := r.verify(t, c, key); err != nil {
				t.Fatal(err)
			}
			if n := h.reads.Load(); n != step.reads {
				t.Errorf("Cache-Control %q, after %s: %d reads, want %d", header, step.pass, n, step.reads)
			}
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	r := newRig(t)
	key := newKey(t, "k")
	text := set(key)
	for range maxEntries + 100 {
		if _, err := r.cache.byValue(source{name: id.NewClient().String(), text: text}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.cache.values); n > maxEntries {
		t.Errorf("%d sets are kept", n)
	}
}

func TestTrustedIssuer(t *testing.T) {
	r := newRig(t)
	key := newKey(t, "k")
	token, err := key.Sign("JWT", []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.cache.VerifyIssuer(t.Context(), oauth2.TrustedIssuer{Issuer: "https://idp.example", JWKS: set(key)}, token, options); err != nil {
		t.Error(err)
	}
	if _, _, err := r.cache.VerifyIssuer(t.Context(), oauth2.TrustedIssuer{Issuer: "https://idp.example", JWKS: set(newKey(t, "k"))}, token, options); err == nil {
		t.Error("another set of the same issuer verifies it")
	}
}
