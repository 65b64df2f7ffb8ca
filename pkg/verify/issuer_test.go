// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/jose"
)

// set changes the cluster under its lock.
func (c *cluster) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func mustVerify(t *testing.T, v *Verifier, r Request) {
	t.Helper()
	if _, err := v.Verify(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// settled waits for the fetch in the background that a call has begun.
func settled(t *testing.T, v *Verifier, name string) {
	t.Helper()
	v.issuers.mu.Lock()
	i := v.issuers.byName[name].Value.(*issuer)
	v.issuers.mu.Unlock()
	i.mu.Lock()
	f := i.flight
	i.mu.Unlock()
	if f != nil {
		<-f.done
	}
}

func TestKeysAreFetchedOnceForMany(t *testing.T) {
	c := newCluster(t)
	v := c.verifier()
	token := c.token("hooli", nil)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if _, err := v.Verify(t.Context(), ask("hooli", token)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if d, k := c.discoveries.Load(), c.keySets.Load(); d != 1 || k != 1 {
		t.Errorf("%d discoveries, %d key sets", d, k)
	}
	mustVerify(t, v, ask("initech", c.token("initech", nil)))
	if d := c.discoveries.Load(); d != 2 {
		t.Errorf("%d discoveries for two issuers", d)
	}
}

func TestFreshKeysAreNotFetchedAndOldOnesInTheBackground(t *testing.T) {
	for cache, fresh := range map[string]time.Duration{"": defaultFresh, "max-age=120": 2 * time.Minute, "max-age=1": minFresh, "no-store": minFresh, "max-age=99999999": maxFresh, "max-age=x": minFresh, "public": defaultFresh} {
		c := newCluster(t)
		c.set(func() { c.cache = cache })
		v := c.verifier()
		mustVerify(t, v, ask("hooli", c.token("hooli", nil)))
		c.clock.advance(fresh - time.Second)
		mustVerify(t, v, ask("hooli", c.token("hooli", nil)))
		settled(t, v, "http://hooli.localhost:"+c.port)
		if n := c.keySets.Load(); n != 1 {
			t.Errorf("%q: %d fetches while fresh", cache, n)
		}
		c.clock.advance(2 * time.Second)
		block := make(chan struct{})
		c.set(func() { c.block = block })
		mustVerify(t, v, ask("hooli", c.token("hooli", nil))) // does not wait for the issuer, which does not answer now
		close(block)
		settled(t, v, "http://hooli.localhost:"+c.port)
		if n := c.keySets.Load(); n != 2 {
			t.Errorf("%q: %d fetches after that", cache, n)
		}
	}
}

// A rotation in which the key signs before we have seen it: one look, and the token counts.
func TestUnknownKeyMakesOneLook(t *testing.T) {
	c := newCluster(t)
	var h *tenantHost
	c.set(func() { h = c.tenants["hooli"]; h.hidden = 1 })
	v := c.verifier()
	mustVerify(t, v, ask("hooli", c.token("hooli", nil)))
	c.set(func() { h.hidden = 0 })
	newest := c.sign(signers()[5], "at+jwt", c.payload("hooli", nil))
	_, err := v.Verify(t.Context(), ask("hooli", newest))
	wantCode(t, err, CodeInvalidToken) // the first look was less than a minute ago
	if n := c.keySets.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	c.clock.advance(unknownKeyPause)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := v.Verify(t.Context(), ask("hooli", newest)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := c.keySets.Load(); n != 2 {
		t.Errorf("%d fetches", n)
	}
}

func TestAttackMadeUpKeyIDs(t *testing.T) {
	c := newCluster(t)
	v := c.verifier()
	mustVerify(t, v, ask("hooli", c.token("hooli", nil)))
	stranger, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	for minute := range 3 {
		c.clock.advance(unknownKeyPause)
		for i := range 20 {
			made := jose.NewSigner(stranger, fmt.Sprint("made-up-", minute, "-", i))
			_, err := v.Verify(t.Context(), ask("hooli", c.sign(made, "at+jwt", c.payload("hooli", nil))))
			wantCode(t, err, CodeInvalidToken)
		}
	}
	if n := c.keySets.Load(); n != 4 {
		t.Errorf("%d fetches: the first, and one in each of three minutes", n)
	}
}

func TestKeysOutliveTheIssuer(t *testing.T) {
	c := newCluster(t)
	v := c.verifier()
	mustVerify(t, v, ask("hooli", c.token("hooli", nil)))
	c.set(func() { c.status = http.StatusBadGateway })
	for range 20 {
		c.clock.advance(time.Hour)
		mustVerify(t, v, ask("hooli", c.token("hooli", nil)))
		settled(t, v, "http://hooli.localhost:"+c.port)
	}
	// An unknown key while the issuer is away is no reason for 503: the token does not count.
	c.set(func() { c.tenants["hooli"].signers = signers()[:1] })
	stranger := c.sign(signers()[0], "at+jwt", c.payload("hooli", nil))
	mustVerify(t, v, ask("hooli", stranger))
	c.clock.advance(5 * time.Hour) // a day without an answer
	_, err := v.Verify(t.Context(), ask("hooli", c.token("hooli", nil)))
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("keys of a day ago: %v", err)
	}
	if _, err := v.Verify(t.Context(), ask("hooli", c.token("hooli", nil))); !errors.Is(err, ErrUnavailable) {
		t.Errorf("and again at once: %v", err)
	}
	tries := c.discoveries.Load()
	c.set(func() { c.status = 0 })
	c.clock.advance(failurePause)
	mustVerify(t, v, ask("hooli", c.token("hooli", nil)))
	if n := c.discoveries.Load(); n != tries+1 {
		t.Errorf("%d tries", n-tries)
	}
}

func TestIssuerThatCannotBeHad(t *testing.T) {
	c := newCluster(t)
	v := c.verifier()
	token := c.token("hooli", nil)
	c.set(func() { c.status = http.StatusServiceUnavailable })
	for range 5 {
		if _, err := v.Verify(t.Context(), ask("hooli", token)); !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if n := c.discoveries.Load(); n != 1 {
		t.Errorf("%d tries in a moment", n)
	}
	c.set(func() { c.status = 0 })
	c.clock.advance(failurePause)
	mustVerify(t, v, ask("hooli", token))

	// Nobody there, and somebody else there: the token does not count, and that is remembered for a while.
	for range 5 {
		_, err := v.Verify(t.Context(), ask("endframe", token))
		wantCode(t, err, CodeInvalidToken)
	}
	if n := c.discoveries.Load(); n != 3 {
		t.Errorf("%d discoveries", n)
	}
	c.add("endframe", "tnt_endframe", signers()[0])
	c.set(func() { c.claims = "http://hooli.localhost:" + c.port })
	c.clock.advance(missingLife)
	_, err := v.Verify(t.Context(), ask("endframe", c.token("endframe", nil)))
	wantCode(t, err, CodeInvalidToken)
	c.set(func() { c.claims = "" })
	c.clock.advance(missingLife)
	mustVerify(t, v, ask("endframe", c.token("endframe", nil)))
}

func TestCallerDoesNotWaitForever(t *testing.T) {
	c := newCluster(t)
	v := c.verifier()
	block := make(chan struct{})
	c.set(func() { c.block = block })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := v.Verify(ctx, ask("hooli", c.token("hooli", nil))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	close(block)
	mustVerify(t, v, ask("hooli", c.token("hooli", nil))) // the fetch went on, for whoever comes next
	if n := c.discoveries.Load(); n != 1 {
		t.Errorf("%d discoveries", n)
	}
}

// Strangers who make up hosts push no tenant out, and take no more memory than the bound.
func TestAttackMadeUpHosts(t *testing.T) {
	c := newCluster(t)
	v := c.verifier(func(cfg *Config) { cfg.MaxIssuers = 4 })
	mustVerify(t, v, ask("hooli", c.token("hooli", nil)))
	mustVerify(t, v, ask("initech", c.token("initech", nil)))
	before := c.discoveries.Load()
	for i := range 40 {
		_, err := v.Verify(t.Context(), Request{Token: c.token("hooli", nil), Host: fmt.Sprintf("made-up-%d.chat.example", i), Tenant: "tnt_hooli"})
		wantCode(t, err, CodeInvalidToken)
	}
	made := c.discoveries.Load()
	mustVerify(t, v, ask("hooli", c.token("hooli", nil)))
	mustVerify(t, v, ask("initech", c.token("initech", nil)))
	if c.discoveries.Load() != made || made-before != 40 {
		t.Errorf("tenants were pushed out: %d fetches", c.discoveries.Load()-made)
	}
	v.issuers.mu.Lock()
	defer v.issuers.mu.Unlock()
	if len(v.issuers.missing) > 4 || len(v.issuers.pending) != 0 || len(v.issuers.byName) != 2 {
		t.Errorf("%d missing, %d pending, %d known", len(v.issuers.missing), len(v.issuers.pending), len(v.issuers.byName))
	}
}

func TestLeastRecentlyUsedIssuerMakesRoom(t *testing.T) {
	c := newCluster(t)
	for i := range 4 {
		c.add(fmt.Sprint("t", i), fmt.Sprint("tnt_t", i), signers()[0])
	}
	v := c.verifier(func(cfg *Config) { cfg.MaxIssuers = 3 })
	use := func(label string) { t.Helper(); mustVerify(t, v, ask(label, c.token(label, nil))) }
	for _, label := range []string{"t0", "t1", "t2", "t0", "t3"} {
		use(label)
	}
	n := c.discoveries.Load()
	use("t0")
	use("t2")
	use("t3")
	if c.discoveries.Load() != n {
		t.Error("a used one was pushed out")
	}
	use("t1")
	if c.discoveries.Load() != n+1 {
		t.Error("more are kept than the bound")
	}
}

func TestEndpointsAreAsSecureAsTheIssuer(t *testing.T) {
	for _, r := range []struct {
		issuer, endpoint string
		ok               bool
	}{
		{"https://a.example", "https://b.example/keys", true},
		{"https://a.example", "http://a.example/keys", false},
		{"https://a.example", "http://localhost/keys", false},
		{"http://a.localhost", "http://a.localhost/keys", true},
		{"http://a.localhost", "http://a.example/keys", false},
		{"https://a.example", "https://u:p@a.example/keys", false},
		{"https://a.example", "/keys", false},
		{"https://a.example", "", false},
		{"https://a.example", "file:///etc/passwd", false},
	} {
		if err := sameSecurity(r.issuer, r.endpoint); (err == nil) != r.ok {
			t.Errorf("%s of %s: %v", r.endpoint, r.issuer, err)
		}
	}
}
