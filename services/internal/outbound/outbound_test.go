// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/daemon"
)

// names is a resolver with an answer for each name; a name may change its mind.
type names struct {
	mu    sync.Mutex
	hosts map[string][]string
	asked map[string]int
	next  map[string][]string // the answer from the second question on
}

func (n *names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.asked == nil {
		n.asked = map[string]int{}
	}
	n.asked[host]++
	list, ok := n.hosts[host]
	if later := n.next[host]; later != nil && n.asked[host] > 1 {
		list = later
	}
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

// rig is a TLS server on the loopback interface, named example.com, and a client that may reach it.
type rig struct {
	*httptest.Server
	names  *names
	client *Client
	port   string
}

var loopback = []string{"127.0.0.0/8", "::1/128"}

func newRig(t *testing.T, handler http.HandlerFunc, change ...func(*Config, *Options)) *rig {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what some tests are about
	s.StartTLS()
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Server: s, port: port, names: &names{hosts: map[string][]string{"example.com": {"127.0.0.1"}}}}
	cfg, opt := Config{AllowNetworks: loopback, CAFile: daemon.Path(file)}, Options{Resolver: r.names}
	for _, f := range change {
		f(&cfg, &opt)
	}
	if r.client, err = New(cfg, opt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.client.Close)
	return r
}

func (r *rig) url(path string) string { return "https://example.com:" + r.port + path }

func strict(c *Config, _ *Options) { c.AllowNetworks = nil }

func TestGetSaysWhoWeAreAndLittleElse(t *testing.T) {
	var got *http.Request
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		got = req.Clone(context.Background())
		w.Header().Set("Cache-Control", "public, max-age=60")
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"keys":[]}`)
	}, func(_ *Config, o *Options) {
		o.UserAgent = "Tenantry/9"
		o.Now = func() time.Time { return time.Unix(1000, 0) }
	})
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // nobody is there: who asks it fails
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	for range 2 { // the second time with a cookie, if one was kept
		res, err := r.client.Get(t.Context(), r.url("/jwks?x=1#fragment"), GetOptions{Accept: "application/json"})
		if err != nil {
			t.Fatal(err, Detail(err))
		}
		if res.Status != 200 || string(res.Body) != `{"keys":[]}` || !res.Expires.Equal(time.Unix(1060, 0)) || res.Header.Get("Set-Cookie") != "" || res.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%+v", res)
		}
	}
	if got.RequestURI != "/jwks?x=1" || got.Host != "example.com:"+r.port {
		t.Errorf("%s %s", got.Host, got.RequestURI)
	}
	want := map[string]string{"User-Agent": "Tenantry/9", "Accept": "application/json", "Accept-Encoding": "identity"}
	for name, values := range got.Header {
		if want[name] != strings.Join(values, ",") {
			t.Errorf("header %s: %q", name, values)
		}
	}
	if len(got.Header) != len(want) {
		t.Errorf("headers %v", got.Header)
	}
	if r.names.asked["example.com"] != 1 {
		t.Errorf("asked DNS %d times: the connection was not kept", r.names.asked["example.com"])
	}
}

func TestStatusIsTheCallers(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "gone", http.StatusGone) })
	if res, err := r.client.Get(t.Context(), r.url("/"), GetOptions{}); err != nil || res.Status != http.StatusGone || !res.Expires.IsZero() {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestForbiddenAddresses(t *testing.T) {
	public := []string{
		"1.1.1.1", "8.8.8.8", "99.255.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1", "168.63.129.15", "172.15.0.1", "172.32.0.1",
		"192.0.1.1", "198.17.0.1", "198.20.0.1", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001::64", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
	}
	private := []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255", "127.0.0.1", "127.255.255.254", "168.63.129.16",
		"169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1",
		"198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.1.2.3",
		"64:ff9b:1::8.8.8.8", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1", "5f00::1",
		"fc00::1", "fd00:ec2::254", "fd20:ce::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "2606:4700:4700::1111%eth0",
	}
	for _, a := range public {
		if forbidden(netip.MustParseAddr(a)) {
			t.Errorf("%s is refused", a)
		}
	}
	for _, a := range private {
		if !forbidden(netip.MustParseAddr(a)) {
			t.Errorf("%s is let through", a)
		}
	}
	if !forbidden(netip.Addr{}) {
		t.Error("no address is let through")
	}
}

// noCalls is a server that nobody must reach.
func noCalls(t *testing.T) http.HandlerFunc {
	return func(_ http.ResponseWriter, req *http.Request) { t.Errorf("a call arrived: %s", req.URL) }
}

func TestAttackAddressInTheURL(t *testing.T) {
	r := newRig(t, noCalls(t), strict)
	for _, host := range []string{
		"127.0.0.1", "localhost", "LOCALHOST.", "x.localhost", "[::1]", "[::]", "0.0.0.0", "169.254.169.254", "10.0.0.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
		"[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]", "127.0.0.1.",
	} {
		target := "https://" + host + ":" + r.port + "/"
		if _, err := r.client.Get(t.Context(), target, GetOptions{}); !errors.Is(err, ErrForbiddenAddress) {
			t.Errorf("GET %s: %v", target, Detail(err))
		}
		if _, err := r.client.Post(t.Context(), target, "text/plain", nil, nil); !errors.Is(err, ErrForbiddenAddress) {
			t.Errorf("POST %s: %v", target, Detail(err))
		}
	}
	// Spellings of 127.0.0.1 that are none for us are names, and names are DNS's.
	for _, host := range []string{"2130706433", "0x7f000001", "0177.0.0.1", "127.1"} {
		if _, err := r.client.Get(t.Context(), "https://"+host+":"+r.port+"/", GetOptions{}); !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", host, Detail(err))
		}
	}
}

func TestAttackAddressInDNS(t *testing.T) {
	r := newRig(t, noCalls(t), strict)
	for name, addresses := range map[string][]string{
		"loopback":               {"127.0.0.1"},
		"metadata":               {"169.254.169.254"},
		"mapped":                 {"::ffff:127.0.0.1"},
		"a public one first":     {"8.8.8.8", "127.0.0.1"},
		"a public one of IPv6":   {"2606:4700:4700::1111", "fe80::1"},
		"an address with a zone": {"fe80::1%lo"},
	} {
		r.names.hosts["evil.example"] = addresses
		_, err := r.client.Get(t.Context(), "https://evil.example:"+r.port+"/", GetOptions{})
		if !errors.Is(err, ErrForbiddenAddress) {
			t.Errorf("%s: %v", name, Detail(err))
		}
		// The developer is not told what the name resolves to; our log is.
		if strings.ContainsAny(err.Error(), "0123456789") || !strings.Contains(Detail(err).Error(), "evil.example") {
			t.Errorf("%s: says %q, detail %q", name, err, Detail(err))
		}
	}
	many := make([]string, maxAddresses+1)
	for i := range many {
		many[i] = fmt.Sprintf("9.9.9.%d", i+1)
	}
	for name, addresses := range map[string][]string{"none": {}, "too many": many} {
		r.names.hosts["odd.example"] = addresses
		if _, err := r.client.Get(t.Context(), "https://odd.example:"+r.port+"/", GetOptions{}); !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", name, Detail(err))
		}
	}
}

// A name that leads to a public host when it is looked at and to an inner one a moment later, with no time to live.
func TestAttackDNSRebinding(t *testing.T) {
	var calls atomic.Int32
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.Header().Set("Connection", "close")
	}, func(c *Config, _ *Options) { c.AllowNetworks = []string{"127.0.0.1/32"} })
	// 127.0.0.1 stands for the public host, 127.0.0.2, where the same server listens, for the inner one.
	r.names.next = map[string][]string{"example.com": {"127.0.0.2"}}
	if _, err := r.client.Get(t.Context(), r.url("/"), GetOptions{}); err != nil || r.names.asked["example.com"] != 1 {
		t.Fatalf("%v after %d questions: what was checked is not what was dialled", Detail(err), r.names.asked["example.com"])
	}
	if _, err := r.client.Get(t.Context(), r.url("/"), GetOptions{}); !errors.Is(err, ErrForbiddenAddress) || r.names.asked["example.com"] != 2 {
		t.Errorf("the second answer was not looked at: %v", Detail(err))
	}
	if calls.Load() != 1 {
		t.Errorf("%d calls", calls.Load())
	}
}

func TestOnlyCheckedAddressesAreDialled(t *testing.T) {
	r := newRig(t, func(http.ResponseWriter, *http.Request) {})
	// The first address is dead, the second is the server's.
	r.names.hosts["example.com"] = []string{"127.9.9.9", "::ffff:127.0.0.1"}
	if _, err := r.client.Get(t.Context(), r.url("/"), GetOptions{}); err != nil {
		t.Error(Detail(err))
	}
}

func TestAttackURL(t *testing.T) {
	r := newRig(t, noCalls(t), func(c *Config, _ *Options) { c.AllowHTTP = true; c.AllowNetworks = []string{"10.0.0.0/8"} })
	r.names.hosts["public.example"] = []string{"9.9.9.9"}
	r.names.hosts["mixed.example"] = []string{"10.0.0.1", "9.9.9.9"}
	for _, target := range []string{
		"", "/", "//example.com/", "example.com", "ftp://example.com/", "file:///etc/passwd", "gopher://127.0.0.1:70/", "javascript:1", "https:", "https:///x",
		"https://user:pw@example.com/", "https://user@example.com/", "https:example.com", "https://", "https://:443/", "https://exa mple.com/",
		"https://example.com:x/", "https://example.com:99999/", "https://example.com:0/", "https://example.com/" + strings.Repeat("x", maxURL), "https://example.com/\r\nHost: x",
		"http://public.example/", "http://mixed.example/",
	} {
		if _, err := r.client.Get(t.Context(), target, GetOptions{}); !errors.Is(err, ErrURL) {
			t.Errorf("%q: %v", target, Detail(err))
		}
	}
	for target, want := range map[string]error{
		"https://public.example/jwks": nil, "https://unknown.example/jwks": nil, "https://8.8.8.8/": nil, "https://10.1.2.3/": nil, "http://10.1.2.3/": nil,
		"https://127.0.0.1/": ErrForbiddenAddress, "ftp://public.example": ErrURL, "https://a:b@public.example": ErrURL,
	} {
		if err := r.client.CheckURL(target); !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("CheckURL(%q): %v", target, err)
		}
	}
	closed := newRig(t, noCalls(t), strict)
	if err := closed.client.CheckURL("http://example.com/"); !errors.Is(err, ErrURL) {
		t.Errorf("http without allow_http: %v", err)
	}
}

func TestHTTPInANamedNetwork(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "plain") }))
	defer s.Close()
	c, err := New(Config{AllowNetworks: loopback, AllowHTTP: true}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	for _, host := range []string{"127.0.0.1", "hooli.localhost", "localhost."} {
		if res, err := c.Get(t.Context(), "http://"+host+":"+port, GetOptions{}); err != nil || string(res.Body) != "plain" {
			t.Errorf("%s: %v", host, Detail(err))
		}
	}
	if _, err := c.Get(t.Context(), "https://127.0.0.1:"+port, GetOptions{}); !errors.Is(err, ErrTLS) {
		t.Errorf("https to a server of http: %v", Detail(err))
	}
}

func TestRedirects(t *testing.T) {
	var base string
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		to := map[string]string{
			"/loop": "/loop", "/one": "/end", "/two": "/one", "/metadata": "https://169.254.169.254/latest", "/private": "https://internal.example/",
			"/down": "http://example.com:" + base + "/end", "/file": "file:///etc/passwd", "/userinfo": "https://a:b@example.com:" + base + "/end", "/bad": "https://exa mple/", "/none": "",
		}[req.URL.Path]
		if req.URL.Path == "/end" {
			_, _ = io.WriteString(w, "end")
			return
		}
		if req.URL.Path != "/none" {
			w.Header()["Location"] = []string{to}
		}
		w.WriteHeader(http.StatusFound)
	}, func(c *Config, _ *Options) { c.AllowHTTP = true })
	base = r.port
	r.names.hosts["internal.example"] = []string{"10.0.0.1"}
	for _, c := range []struct {
		path    string
		allowed int
		want    error
	}{
		{"/end", 0, nil},
		{"/one", 0, ErrRedirect},
		{"/one", 1, nil},
		{"/two", 1, ErrRedirect},
		{"/two", 2, nil},
		{"/loop", 99, ErrRedirect},
		{"/metadata", 3, ErrForbiddenAddress},
		{"/private", 3, ErrForbiddenAddress},
		{"/down", 3, ErrRedirect},
		{"/file", 3, ErrRedirect},
		{"/userinfo", 3, ErrURL},
		{"/bad", 3, ErrRedirect},
		{"/none", 3, ErrRedirect},
	} {
		res, err := r.client.Get(t.Context(), r.url(c.path), GetOptions{Redirects: c.allowed})
		if !errors.Is(err, c.want) || (c.want == nil) != (err == nil) || err == nil && string(res.Body) != "end" {
			t.Errorf("%s with %d: %v", c.path, c.allowed, Detail(err))
		}
	}
	if _, err := r.client.Post(t.Context(), r.url("/one"), "text/plain", nil, nil); !errors.Is(err, ErrRedirect) {
		t.Errorf("POST: %v", err)
	}
}

func TestAttackLargeAnswers(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 10<<20))
	_ = z.Close()
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/announced":
			w.Header().Set("Content-Length", "1000000")
			_, _ = w.Write(make([]byte, 1000000))
		case "/chunked":
			for range 100 {
				if _, err := w.Write(make([]byte, 10000)); err != nil {
					return
				}
				w.(http.Flusher).Flush()
			}
		case "/exact":
			_, _ = w.Write(make([]byte, DefaultMaxBytes))
		case "/over":
			_, _ = w.Write(make([]byte, DefaultMaxBytes+1))
		case "/header":
			w.Header().Set("X-Long", strings.Repeat("x", maxHeaderBytes))
		case "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb.Bytes())
		case "/quiet-bomb":
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(bomb.Bytes()[:min(bomb.Len(), DefaultMaxBytes)])
		}
	})
	for path, want := range map[string]error{
		"/announced": ErrTooLarge, "/chunked": ErrTooLarge, "/over": ErrTooLarge, "/header": ErrTooLarge, "/bomb": ErrEncoding, "/exact": nil,
	} {
		res, err := r.client.Get(t.Context(), r.url(path), GetOptions{})
		if !errors.Is(err, want) || (want == nil) != (err == nil) || len(res.Body) > DefaultMaxBytes {
			t.Errorf("%s: %v", path, Detail(err))
		}
	}
	if res, err := r.client.Get(t.Context(), r.url("/quiet-bomb"), GetOptions{}); err != nil || len(res.Body) != min(bomb.Len(), DefaultMaxBytes) {
		t.Errorf("something was decompressed: %d bytes, %v", len(res.Body), err)
	}
	if _, err := r.client.Get(t.Context(), r.url("/exact"), GetOptions{MaxBytes: 100}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a bound of the call: %v", err)
	}
	// What a Post asked for has happened, whatever the answer looks like.
	if res, err := r.client.Post(t.Context(), r.url("/chunked"), "text/plain", []byte("x"), nil); err != nil || len(res.Body) != DefaultMaxBytes {
		t.Errorf("POST: %d bytes, %v", len(res.Body), err)
	}
}

func TestAttackSlowAnswers(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/header":
			select {
			case <-release:
			case <-req.Context().Done():
			}
		case "/body":
			for {
				if _, err := w.Write([]byte("x")); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				select {
				case <-release:
					return
				case <-req.Context().Done():
					return
				case <-time.After(20 * time.Millisecond):
				}
			}
		}
	}, func(c *Config, _ *Options) { c.Timeout = daemon.Duration(150 * time.Millisecond) })
	defer close(release)
	for _, path := range []string{"/header", "/body"} {
		start := time.Now()
		_, err := r.client.Get(t.Context(), r.url(path), GetOptions{})
		if !errors.Is(err, ErrTimeout) || time.Since(start) > 5*time.Second {
			t.Errorf("%s: %v after %s", path, Detail(err), time.Since(start))
		}
	}
	// A listener that accepts and never speaks TLS.
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	if _, err := r.client.Get(t.Context(), "https://"+mute.Addr().String(), GetOptions{}); !errors.Is(err, ErrTimeout) {
		t.Errorf("no handshake: %v", Detail(err))
	}
	// The caller's own end is not the host's fault.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.client.Get(ctx, r.url("/header"), GetOptions{}); !errors.Is(err, context.Canceled) || errors.Is(err, ErrTimeout) {
		t.Errorf("cancelled by the caller: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	r := newRig(t, noCalls(t))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	l.Close()
	garbage, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer garbage.Close()
	go func() {
		for {
			conn, err := garbage.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "220 mail.example ESMTP\r\n")
			conn.Close()
		}
	}()
	for target, want := range map[string]error{
		"https://" + dead: ErrUnreachable, "https://nowhere.example/": ErrUnreachable, "https://" + garbage.Addr().String(): ErrTLS,
		"https://other.example:" + r.port: ErrTLS, // the certificate is for example.com
	} {
		r.names.hosts["other.example"] = []string{"127.0.0.1"}
		_, err := r.client.Get(t.Context(), target, GetOptions{})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", target, Detail(err))
		}
		if strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("tells an address: %s", err)
		}
	}
	// Without the CA file, nobody vouches for the server.
	c, err := New(Config{AllowNetworks: loopback}, Options{Resolver: r.names})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Get(t.Context(), r.url("/"), GetOptions{}); !errors.Is(err, ErrTLS) {
		t.Errorf("unknown authority: %v", Detail(err))
	}
}

func TestPost(t *testing.T) {
	var got *http.Request
	var body []byte
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		got = req.Clone(context.Background())
		body, _ = io.ReadAll(req.Body)
		w.WriteHeader(http.StatusNoContent)
	})
	h := http.Header{"Authorization": {"Bearer x"}, "Cookie": {"a=b"}, "Host": {"evil.example"}, "Connection": {"upgrade"}, "Accept-Encoding": {"gzip"}}
	res, err := r.client.Post(t.Context(), r.url("/logout"), "application/x-www-form-urlencoded", []byte("logout_token=x"), h)
	if err != nil || res.Status != http.StatusNoContent {
		t.Fatal(res, Detail(err))
	}
	if string(body) != "logout_token=x" || got.Method != "POST" || got.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || got.Header.Get("Authorization") != "Bearer x" {
		t.Errorf("%s %v %q", got.Method, got.Header, body)
	}
	if got.Header.Get("Cookie") != "" || got.Host != "example.com:"+r.port || got.Header.Get("Accept-Encoding") != "identity" || h.Get("Cookie") == "" {
		t.Errorf("%s %v", got.Host, got.Header)
	}
	if _, err := r.client.Post(t.Context(), r.url("/"), "text/plain", make([]byte, maxPostBytes+1), nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("large: %v", err)
	}
}

// One slow host keeps its own turns, and the others go on.
func TestTurnsPerHost(t *testing.T) {
	var now, most atomic.Int32
	release := make(chan struct{})
	entered := make(chan struct{}, 16)
	r := newRig(t, func(_ http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/fast" {
			return
		}
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		entered <- struct{}{}
		<-release
		now.Add(-1)
	}, func(c *Config, o *Options) { c.Timeout, o.PerHost = daemon.Duration(10*time.Second), 2 })
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if _, err := r.client.Get(t.Context(), r.url("/slow"), GetOptions{}); err != nil {
				t.Error(Detail(err))
			}
		})
	}
	<-entered
	<-entered
	if _, err := r.client.Get(t.Context(), "https://127.0.0.1:"+r.port+"/fast", GetOptions{}); err != nil {
		t.Errorf("another host waits: %v", Detail(err))
	}
	// Who cannot wait is told.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.client.turns.take(ctx, strings.ToLower("example.com:"+r.port)); !errors.Is(err, ErrBusy) {
		t.Errorf("no turn: %v", err)
	}
	close(release)
	wg.Wait()
	if most.Load() != 2 {
		t.Errorf("%d calls at a time", most.Load())
	}
	if n := len(r.client.turns.hosts); n != 0 {
		t.Errorf("%d hosts are remembered", n)
	}
	few := newTurns(1, 1)
	done, err := few.take(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := few.take(ctx, "b"); !errors.Is(err, ErrBusy) || len(few.hosts) != 1 {
		t.Errorf("in all: %v, %d hosts", err, len(few.hosts))
	}
	done()
	if done, err = few.take(t.Context(), "b"); err != nil {
		t.Fatal(err)
	}
	done()
}

// Through a proxy, the proxy gets the address that was checked here, and hosts of named networks do not go through it.
func TestProxy(t *testing.T) {
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked := make(chan string, 4)
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				req, err := http.ReadRequest(bufio.NewReader(in))
				if err != nil {
					return
				}
				asked <- req.Method + " " + req.Host
				if strings.HasPrefix(req.Host, "8.8.4.4") {
					_, _ = io.WriteString(in, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
					return
				}
				out, err := net.Dial("tcp", r.Listener.Addr().String())
				if err != nil {
					return
				}
				defer out.Close()
				_, _ = io.WriteString(in, "HTTP/1.1 200 OK\r\n\r\n")
				go func() { _, _ = io.Copy(out, in) }()
				_, _ = io.Copy(in, out)
			}()
		}
	}()
	proxied := func(c *Config, _ *Options) {
		c.Proxy, c.AllowNetworks = "http://"+l.Addr().String(), []string{"127.0.0.5/32"}
	}
	p := newRig(t, noCalls(t), proxied)
	p.client.tls.RootCAs = r.client.tls.RootCAs
	p.names.hosts["example.com"] = []string{"8.8.8.8"}
	res, err := p.client.Get(t.Context(), "https://example.com/x", GetOptions{})
	if err != nil || string(res.Body) != "ok" {
		t.Fatal(Detail(err))
	}
	if got := <-asked; got != "CONNECT 8.8.8.8:443" {
		t.Errorf("the proxy was asked %q", got)
	}
	p.names.hosts["refused.example"] = []string{"8.8.4.4"}
	if _, err := p.client.Get(t.Context(), "https://refused.example/", GetOptions{}); !errors.Is(err, ErrUnreachable) {
		t.Errorf("refused by the proxy: %v", Detail(err))
	}
	<-asked
	p.names.hosts["inner.example"] = []string{"10.0.0.1"}
	if _, err := p.client.Get(t.Context(), "https://inner.example/", GetOptions{}); !errors.Is(err, ErrForbiddenAddress) {
		t.Errorf("forbidden through the proxy: %v", Detail(err))
	}
	if _, err := p.client.Get(t.Context(), "https://127.0.0.5:1/", GetOptions{}); !errors.Is(err, ErrUnreachable) {
		t.Errorf("directly: %v", Detail(err))
	}
	select {
	case got := <-asked:
		t.Errorf("the proxy was asked %q", got)
	default:
	}
}

// Whatever a stranger writes, nothing panics, and what is let through is https to a host.
func FuzzCheckURL(f *testing.F) {
	c, err := New(Config{}, Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("https://example.com/jwks.json")
	f.Add("https://[::ffff:127.0.0.1]/")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := c.parse(text)
		if err != nil {
			return
		}
		if u.Scheme != "https" || u.User != nil || u.Hostname() == "" || u.Fragment != "" {
			t.Fatalf("%q is let through as %q", text, u)
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && forbidden(a) {
			t.Fatalf("%q is let through", text)
		}
	})
}
