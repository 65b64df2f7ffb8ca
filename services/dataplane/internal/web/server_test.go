// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
)

// tenants is a cache with the hosts that a test wants; everything else is unknown.
type tenants struct {
	hosts map[string]*snapshot.Tenant
	err   map[string]error
	fresh []string
}

func (t *tenants) Lookup(_ context.Context, host string) (*snapshot.Tenant, error) {
	if err := t.err[host]; err != nil {
		return nil, err
	}
	if found := t.hosts[host]; found != nil {
		return found, nil
	}
	return nil, fmt.Errorf("%q: %w", host, snapshot.ErrUnknownHost)
}

func (t *tenants) Fresh(ctx context.Context, host, token string) (*snapshot.Tenant, error) {
	t.fresh = append(t.fresh, token)
	return t.Lookup(ctx, host)
}

// events collects log lines.
type events struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (e *events) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.b.Write(p)
}

func (e *events) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.b.String()
}

func (e *events) all(t *testing.T) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(e.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		all = append(all, m)
	}
	return all
}

const (
	hooli  = "hooli.example.com"
	raviga = "raviga.example.com"
	broken = "broken.example.com"
)

type rig struct {
	*Server
	tenants *tenants
	log     *events
}

func newRig(t *testing.T, edit func(*Config)) *rig {
	t.Helper()
	world := dptest.New(t)
	org := world.Org("piedpiper")
	app := world.Public(func(c *snapshotv1.Client) { c.CorsOrigins = []string{"https://app.example"} })
	r := &rig{log: new(events), tenants: &tenants{
		hosts: map[string]*snapshot.Tenant{
			hooli:  world.Tenant(t, org, "hooli", func(c *snapshotv1.TenantSnapshot) { c.Clients = append(c.Clients, app) }),
			raviga: world.Tenant(t, org, "raviga", nil),
		},
		err: map[string]error{broken: fmt.Errorf("redis: %w", snapshot.ErrUnavailable), "bug.example.com": errors.New("bug")},
	}}
	cfg := Config{Service: "token", Tenants: r.tenants, Logger: slog.New(slog.NewJSONHandler(r.log, nil))}
	if edit != nil {
		edit(&cfg)
	}
	var err error
	if r.Server, err = NewServer(cfg); err != nil {
		t.Fatal(err)
	}
	say := func(w http.ResponseWriter, _ *http.Request, q *Request) error {
		WriteJSON(w, 200, []byte(`{"tenant":"`+q.Tenant.ID.String()+`","ip":"`+q.ClientIP.String()+`","scheme":"`+q.Scheme+`","rest":"`+q.Rest+`"}`))
		return nil
	}
	form := func(w http.ResponseWriter, r *http.Request, q *Request) error {
		p, err := ReadForm(w, r)
		if err != nil {
			return err
		}
		q.Note(slog.String("grant_type", p.Get("grant_type")))
		WriteJSON(w, 200, []byte(`{}`))
		return nil
	}
	r.Mount(
		Route{Path: "/say", Get: say, CORS: AnyOrigin},
		Route{Path: "/form", Post: form, CORS: TenantOrigins},
		Route{Path: "/invite/…", Get: say},
		Route{Path: "/invite/special/…", Get: say},
		Route{Path: "/panic", Get: func(http.ResponseWriter, *http.Request, *Request) error { panic("boom") }},
		Route{Path: "/abort", Get: func(http.ResponseWriter, *http.Request, *Request) error { panic(http.ErrAbortHandler) }},
		Route{Path: "/late", Get: func(w http.ResponseWriter, _ *http.Request, _ *Request) error {
			io.WriteString(w, "begun")
			return errors.New("too late")
		}},
		Route{Path: "/secret-error", Get: func(http.ResponseWriter, *http.Request, *Request) error {
			return errors.New("pq: password of the database")
		}},
		Route{Path: "/away", Get: func(http.ResponseWriter, *http.Request, *Request) error {
			return Unavailable(errors.New("dial tcp"))
		}},
	)
	return r
}

func (r *rig) do(method, host, target, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	req.Host = host
	req.RemoteAddr = "203.0.113.9:5555"
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w
}

func TestUnknownHostIsOneFixedAnswer(t *testing.T) {
	r := newRig(t, nil)
	var want string
	for _, host := range []string{"nobody.example.com", "", "HOOLI.example.com.evil", "127.0.0.1", hooli + "\x00"} {
		for _, path := range []string{"/", "/say", "/form", "/nothing", "/invite/abc", "/panic", "/say?tcv=x"} {
			for _, method := range []string{"GET", "POST", "OPTIONS", "DELETE", "BREW"} {
				w := r.do(method, host, path, "x", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST")
				got := dump(w)
				if want == "" {
					want = got
				}
				if got != want || w.Code != 404 {
					t.Fatalf("%s %s at %q differs:\n%s\n---\n%s", method, path, host, got, want)
				}
			}
		}
	}
}

func dump(w *httptest.ResponseRecorder) string {
	var b bytes.Buffer
	fmt.Fprintln(&b, w.Code)
	w.Header().Write(&b)
	b.Write(w.Body.Bytes())
	return b.String()
}

func TestUnavailableIsNeverTheAnswerForUnknown(t *testing.T) {
	r := newRig(t, nil)
	w := r.do("GET", broken, "/say", "")
	if w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if w := r.do("GET", "bug.example.com", "/say", ""); w.Code != 500 || strings.Contains(w.Body.String(), "bug") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := r.do("GET", hooli, "/away", ""); w.Code != 503 || w.Header().Get("Retry-After") != "1" || strings.Contains(w.Body.String(), "dial") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

func TestErrorsInside(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"GET", "/nothing", 404, "not_found", ""},
		{"GET", "/SAY", 404, "not_found", ""},
		{"GET", "/say/", 404, "not_found", ""},
		{"GET", "/invite/", 404, "not_found", ""},
		{"POST", "/say", 405, "invalid_request", "GET, HEAD, OPTIONS"},
		{"GET", "/form", 405, "invalid_request", "POST, OPTIONS"},
		{"BREW", "/form", 405, "invalid_request", "POST, OPTIONS"},
		{"OPTIONS", "/panic", 405, "invalid_request", "GET, HEAD"},
		{"GET", "/panic", 500, "server_error", ""},
		{"GET", "/secret-error", 500, "server_error", ""},
	} {
		w := r.do(c.method, hooli, c.path, "")
		var e struct {
			Error string `json:"error"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
			t.Errorf("%s %s: body %q", c.method, c.path, w.Body)
		}
		if w.Code != c.status || e.Error != c.code || w.Header().Get("Allow") != c.allow {
			t.Errorf("%s %s: %d %s, Allow %q", c.method, c.path, w.Code, e.Error, w.Header().Get("Allow"))
		}
		if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: headers %v", c.method, c.path, w.Header())
		}
		if b := w.Body.String(); strings.Contains(b, "boom") || strings.Contains(b, "password") {
			t.Errorf("%s %s: the cause is sent: %s", c.method, c.path, b)
		}
	}
	log := r.log.String()
	for _, want := range []string{"boom", "password of the database", "server_test.go"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

func TestProcessLivesThroughPanics(t *testing.T) {
	r := newRig(t, nil)
	srv := httptest.NewServer(r)
	defer srv.Close()
	get := func(path string) (*http.Response, error) {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
		req.Host = hooli
		return http.DefaultClient.Do(req)
	}
	for path, status := range map[string]int{"/panic": 500, "/late": 200, "/say": 200} {
		resp, err := get(path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	if resp, err := get("/abort"); err == nil {
		resp.Body.Close()
		t.Error("an aborted answer looked whole")
	}
}

func TestOneEventPerRequestWithoutSecrets(t *testing.T) {
	r := newRig(t, nil)
	const canary = "CANARY"
	do := []struct{ method, host, path, body string }{
		{"GET", hooli, "/say?code=" + canary, ""},
		{"GET", hooli, "/invite/" + canary, ""},
		{"GET", hooli, "/nothing/" + canary, ""},
		{"POST", hooli, "/form", "grant_type=authorization_code&code=" + canary + "&client_secret=" + canary},
		{"POST", hooli, "/form", "code=" + canary + "&code=" + canary},
		{canary, hooli, "/say", ""},
		{"GET", "nobody.example.com", "/" + canary, ""},
		{"GET", hooli, "/panic?x=" + canary, ""},
	}
	for _, c := range do {
		r.do(c.method, c.host, c.path, c.body, "Content-Type", MediaTypeForm, "Authorization", "Bearer "+canary, "Cookie", canary)
	}
	if strings.Contains(r.log.String(), canary) {
		t.Fatalf("a secret is in the log:\n%s", r.log)
	}
	all := r.log.all(t)
	if len(all) != len(do) {
		t.Fatalf("%d events for %d requests", len(all), len(do))
	}
	for i, e := range all {
		if e["msg"] != "request" || e["component"] != "token" || e["request_id"] == "" || e["status"] == nil || e["took"] == nil {
			t.Errorf("event %d: %v", i, e)
		}
	}
	if e := all[3]; e["grant_type"] != "authorization_code" || e["route"] != "/form" || e["tenant"] != r.tenants.hosts[hooli].ID.String() {
		t.Errorf("event %v", e)
	}
	if e := all[1]; e["route"] != "/invite/…" {
		t.Errorf("prefix route logged as %v", e["route"])
	}
}

func TestForwardedHeadersOfAStrangerAreIgnored(t *testing.T) {
	r := newRig(t, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	w := r.do("GET", hooli, "/say", "", "X-Forwarded-Host", raviga, "X-Forwarded-Proto", "https", "X-Forwarded-For", "198.51.100.7", "X-Request-Id", "mine")
	var got struct{ Tenant, IP, Scheme string }
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Tenant != r.tenants.hosts[hooli].ID.String() || got.IP != "203.0.113.9" || got.Scheme != "http" || w.Header().Get("X-Request-Id") == "mine" {
		t.Errorf("%+v %v", got, w.Header())
	}
	if w.Header().Get("Strict-Transport-Security") != "" {
		t.Error("HSTS on http")
	}
}

func TestForwardedHeadersOfATrustedProxy(t *testing.T) {
	p := proxies{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	for _, c := range []struct {
		name, remote     string
		headers          []string
		host, scheme, ip string
	}{
		{"nothing said", "10.0.0.1:1", nil, hooli, "http", "10.0.0.1"},
		{"all said", "10.0.0.1:1", []string{"X-Forwarded-Host", raviga, "X-Forwarded-Proto", "https", "X-Forwarded-For", "198.51.100.7"}, raviga, "https", "198.51.100.7"},
		{"spoofed left part", "10.0.0.1:1", []string{"X-Forwarded-For", "1.2.3.4, 198.51.100.7, 10.0.0.2", "X-Forwarded-Proto", "https, http", "X-Forwarded-Host", "evil.example, " + raviga}, raviga, "http", "198.51.100.7"},
		{"several fields", "10.0.0.1:1", []string{"X-Forwarded-For", "1.2.3.4", "X-Forwarded-For", "198.51.100.7"}, hooli, "http", "198.51.100.7"},
		{"junk stops the walk", "10.0.0.1:1", []string{"X-Forwarded-For", "1.2.3.4, junk, 10.0.0.3"}, hooli, "http", "10.0.0.3"},
		{"port and brackets", "[2001:db8::1]:1", []string{"X-Forwarded-For", "[2001:db8::5]:443"}, hooli, "http", "2001:db8::5"},
		{"mapped peer", "[::ffff:10.0.0.1]:1", []string{"X-Forwarded-Proto", "HTTPS"}, hooli, "https", "10.0.0.1"},
		{"unix socket", "@", []string{"X-Forwarded-Host", raviga}, hooli, "http", "invalid IP"},
	} {
		req := httptest.NewRequest("GET", "/", nil)
		req.Host, req.RemoteAddr = hooli, c.remote
		for i := 0; i+1 < len(c.headers); i += 2 {
			req.Header.Add(c.headers[i], c.headers[i+1])
		}
		got := p.seen(req)
		if got.host != c.host || got.scheme != c.scheme || got.addr.String() != c.ip {
			t.Errorf("%s: %s %s %s", c.name, got.host, got.scheme, got.addr)
		}
	}
}

func TestForms(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct {
		name, media, encoding, body string
		status                      int
	}{
		{"plain", MediaTypeForm, "", "grant_type=x", 200},
		{"charset", MediaTypeForm + "; charset=UTF-8", "", "a=b", 200},
		{"case", "Application/X-WWW-Form-Urlencoded", "", "a=b", 200},
		{"empty", MediaTypeForm, "", "", 200},
		{"json", "application/json", "", "{}", 415},
		{"multipart", "multipart/form-data; boundary=x", "", "", 415},
		{"none", "", "", "a=b", 415},
		{"other charset", MediaTypeForm + "; charset=utf-16", "", "a=b", 415},
		{"compressed", MediaTypeForm, "gzip", "a=b", 415},
		{"twice", MediaTypeForm, "", "a=b&a=c", 400},
		{"invalid UTF-8", MediaTypeForm, "", "a=%ff", 400},
		{"NUL", MediaTypeForm, "", "a=%00", 400},
		{"over a buffer", MediaTypeForm, "", "a=" + strings.Repeat("x", 5000), 200},
		{"at the bound", MediaTypeForm, "", strings.Repeat("&", MaxFormBytes), 400},
		{"over the bound", MediaTypeForm, "", strings.Repeat("&", MaxFormBytes+1), 413},
	} {
		h := []string{}
		if c.media != "" {
			h = append(h, "Content-Type", c.media)
		}
		if c.encoding != "" {
			h = append(h, "Content-Encoding", c.encoding)
		}
		if w := r.do("POST", hooli, "/form", c.body, h...); w.Code != c.status {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
}

type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return copy(p, bytes.Repeat([]byte{0x61}, len(p))), nil
}

func TestEndlessBodyIsCutOff(t *testing.T) {
	r := newRig(t, nil)
	body := new(endless)
	req := httptest.NewRequest("POST", "/form", body)
	req.Host, req.ContentLength = hooli, -1
	req.Header.Set("Content-Type", MediaTypeForm)
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	if w.Code != 413 || w.Header().Get("Connection") != "close" || body.read > 2*MaxFormBytes {
		t.Fatalf("%d after %d bytes", w.Code, body.read)
	}
}

func TestCORS(t *testing.T) {
	r := newRig(t, nil)
	pre := []string{"Origin", "https://app.example", "Access-Control-Request-Method", "POST"}
	if w := r.do("OPTIONS", hooli, "/form", "", pre...); w.Code != 204 || w.Header().Get("Access-Control-Allow-Origin") != "https://app.example" ||
		w.Header().Get("Access-Control-Allow-Methods") != "POST" || w.Header().Get("Vary") != "Origin" {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
	if w := r.do("OPTIONS", raviga, "/form", "", pre...); w.Code != 204 || w.Header().Get("Access-Control-Allow-Origin") != "" || w.Header().Get("Vary") != "Origin" {
		t.Errorf("preflight at another tenant: %d %v", w.Code, w.Header())
	}
	if w := r.do("OPTIONS", hooli, "/say", "", "Origin", "https://anybody.example", "Access-Control-Request-Method", "GET"); w.Code != 204 ||
		w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("Access-Control-Allow-Methods") != "GET, HEAD" {
		t.Errorf("public document: %d %v", w.Code, w.Header())
	}
	if w := r.do("GET", hooli, "/say", "", "Origin", "https://anybody.example"); w.Header().Get("Access-Control-Allow-Origin") != "*" ||
		w.Header().Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("public document: %v", w.Header())
	}
	if w := r.do("GET", hooli, "/invite/x", "", "Origin", "https://app.example"); w.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("a page is readable across origins: %v", w.Header())
	}
	if w := r.do("OPTIONS", hooli, "/say", ""); w.Code != 405 {
		t.Errorf("OPTIONS that is no preflight: %d", w.Code)
	}
}

func TestConsistencyTokenIsPassedOn(t *testing.T) {
	r := newRig(t, nil)
	r.do("GET", hooli, "/say?a=b&tcv=abc", "")
	r.do("GET", hooli, "/say", "", "Tenantry-Config-Version", "def")
	r.do("GET", hooli, "/say?xtcv=no", "")
	if got := strings.Join(r.tenants.fresh, ","); got != "abc,def" {
		t.Fatalf("passed on %q", got)
	}
}

func TestPrefixRoutes(t *testing.T) {
	r := newRig(t, nil)
	for path, want := range map[string]string{"/invite/abc": "abc", "/invite/a/b": "a/b", "/invite/special/x": "x", "/invite/special": "special"} {
		var got struct{ Rest string }
		if err := json.Unmarshal(r.do("GET", hooli, path, "").Body.Bytes(), &got); err != nil || got.Rest != want {
			t.Errorf("%s: rest %q, %v", path, got.Rest, err)
		}
	}
}

func TestMetricsHaveNoLabelThatACallerChooses(t *testing.T) {
	m := NewMetrics()
	r := newRig(t, func(c *Config) { c.Metrics = m })
	for i := range 50 {
		r.do("GET", fmt.Sprintf("canary-%d.example.com", i), "/say", "")
		r.do("GET", hooli, fmt.Sprintf("/canary-%d", i), "")
		r.do("GET", hooli, "/say", "")
	}
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "canary") || strings.Contains(b.String(), "tnt_") {
		t.Error(b.String())
	}
	for _, want := range []string{
		`tenantry_http_requests_total{service="token",route="/say",class="2xx"} 50`,
		`tenantry_http_requests_total{service="token",route="(unknown host)",class="4xx"} 50`,
		`tenantry_http_request_duration_seconds_count{service="token",route="(none)"} 50`,
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("lacks %s", want)
		}
	}
	if m.Count("token", 2) != 50 || m.Count("token", 4) != 100 {
		t.Error("counts")
	}
}

func TestMountRefusesMistakes(t *testing.T) {
	for name, routes := range map[string][]Route{
		"nothing answered": {{Path: "/x"}},
		"no slash":         {{Path: "x", Get: func(http.ResponseWriter, *http.Request, *Request) error { return nil }}},
		"twice": {
			{Path: "/x", Get: func(http.ResponseWriter, *http.Request, *Request) error { return nil }},
			{Path: "/x", Get: func(http.ResponseWriter, *http.Request, *Request) error { return nil }},
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: mounted", name)
				}
			}()
			newRig(t, nil).Mount(routes...)
		}()
	}
}

func TestTableOfErrors(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
	}{
		"ours":      {fmt.Errorf("x: %w", oauth2.InvalidGrant("no")), 400},
		"snapshot":  {fmt.Errorf("x: %w", snapshot.ErrUnavailable), 503},
		"deadline":  {fmt.Errorf("x: %w", context.DeadlineExceeded), 503},
		"caller":    {fmt.Errorf("x: %w", context.Canceled), 499},
		"surprise":  {errors.New("x"), 500},
		"dependent": {Unavailable(errors.New("x")), 503},
	} {
		if got := wireError(c.err); got.Status != c.status {
			t.Errorf("%s: %d", name, got.Status)
		}
	}
}

// nowhere is a writer that costs nothing, so that what is measured is ours.
type nowhere struct{ h http.Header }

func (n nowhere) Header() http.Header       { return n.h }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}

func TestWrapperAllocatesLittle(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Logger = slog.New(slog.DiscardHandler) })
	r.Mount(Route{Path: "/nop", Get: func(http.ResponseWriter, *http.Request, *Request) error { return nil }})
	req := httptest.NewRequest("GET", "/nop", nil)
	req.Host = hooli
	w := nowhere{make(http.Header, 16)}
	if n := testing.AllocsPerRun(200, func() { r.ServeHTTP(w, req) }); n > 2 {
		t.Errorf("%.0f allocations: want the Request and its identifier", n)
	}
}

func BenchmarkWrapper(b *testing.B) {
	for name, h := range map[string]slog.Handler{"discard": slog.DiscardHandler, "json": slog.NewJSONHandler(io.Discard, nil)} {
		b.Run(name, func(b *testing.B) {
			s, err := NewServer(Config{
				Service: "token", Logger: slog.New(h),
				Tenants: &tenants{hosts: map[string]*snapshot.Tenant{hooli: {ID: id.NewTenant()}}},
			})
			if err != nil {
				b.Fatal(err)
			}
			s.Mount(Route{Path: "/nop", Get: func(http.ResponseWriter, *http.Request, *Request) error { return nil }})
			req := httptest.NewRequest("GET", "/nop", nil)
			req.Host = hooli
			w := nowhere{make(http.Header, 16)}
			b.ReportAllocs()
			for b.Loop() {
				s.ServeHTTP(w, req)
			}
		})
	}
}
