// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// The benchmarks call handlers without a network, each beside its yardstick: what the work would cost with nothing around it. The
// ratios of the two are what counts; figures through real HTTP come from the repository's benchmark program.

// sink is a ResponseWriter that costs nothing.
type sink struct {
	h      http.Header
	status int
	n      int
}

func (s *sink) Header() http.Header { return s.h }
func (s *sink) WriteHeader(status int) {
	s.status = status
}

func (s *sink) Write(b []byte) (int, error) {
	s.n += len(b)
	return len(b), nil
}

// quiet replaces the rig's debug log by what production has: JSON at info, to nowhere.
func quiet(b *testing.B, r *rig) {
	b.Helper()
	r.service.log = slog.New(slog.NewJSONHandler(io.Discard, nil))
	server, err := web.NewServer(web.Config{Service: "token", Machines: true, Tenants: r.world, Logger: r.service.log})
	if err != nil {
		b.Fatal(err)
	}
	for _, route := range r.service.web.Routes() {
		server.Mount(route)
	}
	r.service.web = server
}

type call struct {
	method, path, body, basicID, basicSecret, bearer string
}

func (c call) request(host string) (*http.Request, *bytes.Reader) {
	body := bytes.NewReader([]byte(c.body))
	req := httptest.NewRequest(c.method, c.path, body)
	req.Host, req.RemoteAddr = host, "203.0.113.9:5555"
	if c.method == http.MethodPost {
		req.Header.Set("Content-Type", web.MediaTypeForm)
	}
	if c.basicID != "" {
		req.SetBasicAuth(c.basicID, c.basicSecret)
	}
	if c.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	return req, body
}

func drive(b *testing.B, h http.Handler, host string, c call) {
	b.Helper()
	b.ReportAllocs()
	req, body := c.request(host)
	for b.Loop() {
		body.Seek(0, io.SeekStart)
		req.Body = io.NopCloser(body)
		w := &sink{h: make(http.Header, 16)}
		h.ServeHTTP(w, req)
		if w.status != http.StatusOK {
			b.Fatalf("status %d", w.status)
		}
	}
}

func BenchmarkClientCredentials(b *testing.B) {
	r := newRig(b)
	quiet(b, r)
	c := call{method: "POST", path: "/oauth2/token", body: "grant_type=client_credentials&scope=chat%3Aread", basicID: r.hooli.web.id, basicSecret: r.hooli.web.secret}
	b.Run("ours", func(b *testing.B) { drive(b, r.service.Handler(), r.hooli.host, c) })
	b.Run("bare sign", func(b *testing.B) {
		key, err := jose.GenerateKey(jose.ES256)
		if err != nil {
			b.Fatal(err)
		}
		signer := jose.NewSigner(key, "kid")
		drive(b, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			raw, err := io.ReadAll(req.Body)
			if err != nil {
				b.Fatal(err)
			}
			form, err := url.ParseQuery(string(raw))
			if err != nil {
				b.Fatal(err)
			}
			hash := sha256.Sum256([]byte(req.Header.Get("Authorization")))
			payload, err := json.Marshal(map[string]any{
				"iss": "https://hooli.example.com", "sub": r.hooli.web.id, "scope": form.Get("scope"), "jti": base64.RawURLEncoding.EncodeToString(hash[:16]),
				"exp": time.Now().Add(time.Minute).Unix(),
			})
			if err != nil {
				b.Fatal(err)
			}
			token, err := signer.Sign("at+jwt", payload)
			if err != nil {
				b.Fatal(err)
			}
			web.WriteJSON(w, 200, []byte(`{"access_token":"`+token+`"}`))
		}), r.hooli.host, c)
	})
}

func BenchmarkDocuments(b *testing.B) {
	r := newRig(b)
	quiet(b, r)
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/jwks.json"} {
		c := call{method: "GET", path: path}
		b.Run(path, func(b *testing.B) { drive(b, r.service.Handler(), r.hooli.host, c) })
	}
}

func BenchmarkIntrospection(b *testing.B) {
	r := newRig(b)
	quiet(b, r)
	w := r.hooli.web
	token := r.issue(r.hooli, w, nil).str("access_token")
	c := call{method: "POST", path: "/oauth2/introspect", body: "token=" + token, basicID: w.id, basicSecret: w.secret}
	b.Run("ours", func(b *testing.B) { drive(b, r.service.Handler(), r.hooli.host, c) })
	b.Run("bare verify and GET", func(b *testing.B) {
		opt, err := redis.ParseURL(r.redisURL)
		if err != nil {
			b.Fatal(err)
		}
		rdb := redis.NewClient(opt)
		defer rdb.Close()
		drive(b, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			raw, err := io.ReadAll(req.Body)
			if err != nil {
				b.Fatal(err)
			}
			payload, _, err := r.hooli.Keys.Set().Verify(strings.TrimPrefix(string(raw), "token="), accessOptions)
			if err != nil {
				b.Fatal(err)
			}
			if n, err := rdb.Get(req.Context(), "rv:x").Result(); err != redis.Nil { //nolint:errorlint // unwrapped by contract
				b.Fatal(n, err)
			}
			web.WriteJSON(w, 200, payload)
		}), r.hooli.host, c)
	})
}

func BenchmarkRefresh(b *testing.B) {
	r := newRig(b)
	quiet(b, r)
	w := r.hooli.web
	token := r.issue(r.hooli, w, nil).str("refresh_token")
	b.ReportAllocs()
	for b.Loop() {
		req, _ := call{method: "POST", path: "/oauth2/token", body: "grant_type=refresh_token&refresh_token=" + token, basicID: w.id, basicSecret: w.secret}.request(r.hooli.host)
		rec := httptest.NewRecorder()
		r.service.Handler().ServeHTTP(rec, req.WithContext(context.Background()))
		var got struct {
			RefreshToken string `json:"refresh_token"`
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil || rec.Code != 200 {
			b.Fatalf("%d %s", rec.Code, rec.Body)
		}
		token = got.RefreshToken
	}
}

func BenchmarkUserInfo(b *testing.B) {
	r := newRig(b)
	quiet(b, r)
	token := r.issue(r.hooli, r.hooli.web, nil).str("access_token")
	drive(b, r.service.Handler(), r.hooli.host, call{method: "GET", path: "/oauth2/userinfo", bearer: token})
}

// The machine path allocates a bounded, small number of objects; a change that adds some shows here.
func TestMachinePathAllocations(t *testing.T) {
	r := newRig(t)
	s := r.replica()
	s.log = slog.New(slog.DiscardHandler)
	server, err := web.NewServer(web.Config{Service: "token", Machines: true, Tenants: r.world, Logger: s.log})
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range s.web.Routes() {
		server.Mount(route)
	}
	for _, c := range []struct {
		name  string
		call  call
		limit float64
	}{
		{"client_credentials", call{method: "POST", path: "/oauth2/token", body: "grant_type=client_credentials&scope=chat%3Aread", basicID: r.hooli.web.id, basicSecret: r.hooli.web.secret}, 90},
		{"discovery", call{method: "GET", path: "/.well-known/openid-configuration"}, 8},
	} {
		req, body := c.call.request(r.hooli.host)
		closer := io.NopCloser(body)
		w := &sink{h: make(http.Header, 16)}
		n := testing.AllocsPerRun(200, func() {
			body.Seek(0, io.SeekStart)
			req.Body = closer
			server.ServeHTTP(w, req)
		})
		if w.status != http.StatusOK {
			t.Fatalf("%s: status %d", c.name, w.status)
		}
		if n > c.limit {
			t.Errorf("%s: %.0f allocations, want at most %.0f", c.name, n, c.limit)
		}
		t.Logf("%s: %.0f allocations", c.name, n)
	}
}
