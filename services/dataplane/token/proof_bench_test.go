// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// driveMade is drive for requests that count once: each is made while the clock stands still.
func driveMade(b *testing.B, h http.Handler, status int, build func() *http.Request) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		req := build()
		b.StartTimer()
		w := &sink{h: make(http.Header, 16)}
		h.ServeHTTP(w, req)
		if w.status != status {
			b.Fatalf("status %d", w.status)
		}
	}
}

func formRequest(ctx context.Context, host, path string, header http.Header, pairs ...string) *http.Request {
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, path, strings.NewReader(form.Encode()))
	req.Host, req.RemoteAddr = host, "203.0.113.9:5555"
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", web.MediaTypeForm)
	return req
}

// The FAPI machine path: an assertion and a proof verified and remembered, a bound token signed. Its yardstick verifies the same two
// signatures and makes the same one, and remembers nothing.
func BenchmarkPrivateKeyJWTAndDPoP(b *testing.B) {
	r := newRig(b)
	bank := r.bank(nil)
	quiet(b, r)
	request := func() *http.Request {
		now := time.Now()
		return formRequest(b.Context(), bank.host, "/oauth2/token", dpopHeader(bank.dpopK.proof(now, "POST", bank.tokenURL(), nil)),
			asserted(bank.keys.assertion(now, bank.fapi, bank.Issuer, nil), "grant_type", "client_credentials")...)
	}
	b.Run("ours", func(b *testing.B) { driveMade(b, r.service.Handler(), http.StatusOK, request) })
	b.Run("bare two verifies and a sign", func(b *testing.B) {
		set, err := jose.ParseForeignSet(bank.keys.jwks())
		if err != nil {
			b.Fatal(err)
		}
		key, err := jose.GenerateKey(jose.ES256)
		if err != nil {
			b.Fatal(err)
		}
		signer := jose.NewSigner(key, "kid")
		algs := []jose.Algorithm{jose.ES256}
		driveMade(b, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			raw, err := io.ReadAll(req.Body)
			if err != nil {
				b.Fatal(err)
			}
			form, err := url.ParseQuery(string(raw))
			if err != nil {
				b.Fatal(err)
			}
			payload, _, err := set.Verify(form.Get("client_assertion"), jose.VerifyOptions{Typ: oauth2.AssertionTypes, Algorithms: algs})
			if err != nil {
				b.Fatal(err)
			}
			if _, _, _, err := jose.VerifyEmbedded(req.Header.Get("DPoP"), jose.VerifyOptions{Typ: []string{oauth2.TypeProof}, Algorithms: algs}); err != nil {
				b.Fatal(err)
			}
			token, err := signer.Sign("at+jwt", payload)
			if err != nil {
				b.Fatal(err)
			}
			web.WriteJSON(w, 200, []byte(`{"access_token":"`+token+`"}`))
		}), http.StatusOK, request)
	})
}

func BenchmarkPushedRequest(b *testing.B) {
	r := newRig(b)
	bank := r.bank(nil)
	quiet(b, r)
	b.Run("private_key_jwt", func(b *testing.B) {
		driveMade(b, r.service.Handler(), http.StatusCreated, func() *http.Request {
			return formRequest(b.Context(), bank.host, "/oauth2/par", nil, asserted(bank.keys.assertion(time.Now(), bank.fapi, bank.Issuer, nil), asked(nil)...)...)
		})
	})
	b.Run("client_secret_basic", func(b *testing.B) {
		driveMade(b, r.service.Handler(), http.StatusCreated, func() *http.Request {
			req := formRequest(b.Context(), r.hooli.host, "/oauth2/par", nil, asked(nil)...)
			req.SetBasicAuth(r.hooli.web.id, r.hooli.web.secret)
			return req
		})
	})
}

// The FAPI machine path allocates a bounded number of objects, too.
func TestKeyPathAllocations(t *testing.T) {
	r := newRig(t)
	bank := r.bank(nil)
	s := r.replica()
	s.log = slog.New(slog.DiscardHandler)
	server, err := web.NewServer(web.Config{Service: "token", Machines: true, Tenants: r.world, Logger: s.log})
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range s.web.Routes() {
		server.Mount(route)
	}
	const runs = 50
	now := time.Now()
	requests := make([]*http.Request, 0, runs+1)
	for range runs + 1 { // AllocsPerRun makes one more, to warm up
		requests = append(requests, formRequest(t.Context(), bank.host, "/oauth2/token", dpopHeader(bank.dpopK.proof(now, "POST", bank.tokenURL(), nil)),
			asserted(bank.keys.assertion(now, bank.fapi, bank.Issuer, nil), "grant_type", "client_credentials")...))
	}
	next := 0
	n := testing.AllocsPerRun(runs, func() {
		w := &sink{h: make(http.Header, 16)}
		server.ServeHTTP(w, requests[next])
		next++
		if w.status != http.StatusOK {
			t.Fatalf("status %d", w.status)
		}
	})
	if n > 320 {
		t.Errorf("%.0f allocations", n)
	}
	t.Logf("%.0f allocations", n)
}
