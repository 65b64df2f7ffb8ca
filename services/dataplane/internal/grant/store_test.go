// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/localserver"
	"github.com/tenantry/tenantry/pkg/secret"
)

// link forwards to a Redis server's socket and can be cut, so that tests see an unreachable server come back with its data.
type link struct {
	addr string
	mu   sync.Mutex
	cut  bool
	open map[net.Conn]bool
}

func newLink(t *testing.T, redisURL string) *link {
	t.Helper()
	u, err := url.Parse(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	var dialer net.Dialer
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{addr: ln.Addr().String(), open: map[net.Conn]bool{}}
	t.Cleanup(func() { ln.Close(); l.set(true) })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			network, addr := "tcp", u.Host
			if u.Scheme == "unix" {
				network, addr = "unix", u.Path
			}
			far, err := dialer.DialContext(context.Background(), network, addr)
			if err != nil || !l.add(c, far) {
				c.Close()
				continue
			}
			go func() { io.Copy(far, c); far.Close(); c.Close() }()
			go func() { io.Copy(c, far); far.Close(); c.Close() }()
		}
	}()
	return l
}

func (l *link) add(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		for _, c := range conns {
			c.Close()
		}
		return false
	}
	for _, c := range conns {
		l.open[c] = true
	}
	return true
}

func (l *link) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	if cut {
		for c := range l.open {
			c.Close()
			delete(l.open, c)
		}
	}
}

func (l *link) url() string { return "redis://" + l.addr }

// fakeSource is the identity database's list of revocations, with failures on demand.
type fakeSource struct {
	mu    sync.Mutex
	marks map[id.Tenant][]Mark
	err   error
	reads int
}

func (f *fakeSource) Revocations(_ context.Context, tenant id.Tenant, _ time.Time) ([]Mark, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	return f.marks[tenant], f.err
}

func (f *fakeSource) set(tenant id.Tenant, err error, marks ...Mark) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.marks == nil {
		f.marks = map[id.Tenant][]Mark{}
	}
	f.marks[tenant], f.err = marks, err
}

func (f *fakeSource) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads
}

type rig struct {
	store  *Store
	link   *link
	raw    *redis.Client // straight to the server, for looking and breaking
	ring   *secret.Keyring
	source *fakeSource
	tenant id.Tenant
}

func newRig(t *testing.T) *rig {
	t.Helper()
	server := localserver.TestRedis(t)
	ring, err := secret.NewKeyring(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{ring: ring, source: &fakeSource{}, tenant: id.NewTenant(), link: newLink(t, server.URL())}
	r.store = r.open(t)
	opt, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	r.raw = redis.NewClient(opt)
	t.Cleanup(func() { r.raw.Close() })
	return r
}

// open is another replica on the same server.
func (r *rig) open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(Config{RedisURL: r.link.url(), Keyring: r.ring, Revocations: r.source})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// eventually waits for the event, not for a time; the bound is only for tests that are broken.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

func TestOpenNamesWhatIsMissing(t *testing.T) {
	ring, _ := secret.NewKeyring(time.Now())
	for name, cfg := range map[string]Config{
		"no keyring": {RedisURL: "redis://127.0.0.1:1"},
		"no scheme":  {RedisURL: "127.0.0.1:6379", Keyring: ring},
		"empty":      {Keyring: ring},
	} {
		if s, err := Open(cfg); err == nil {
			s.Close()
			t.Errorf("%s: opened", name)
		}
	}
}

func TestOpeningNeedsNoServer(t *testing.T) {
	ring, _ := secret.NewKeyring(time.Now())
	s, err := Open(Config{RedisURL: "redis://127.0.0.1:1", Keyring: ring})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Ping(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("ping: %v", err)
	}
}

func TestBreakerStopsAskingAndTriesAgain(t *testing.T) {
	var b breaker
	now := time.Unix(1000, 0)
	for range breakerThreshold {
		if !b.allow(now) {
			t.Fatal("closed breaker refused")
		}
		b.failure(now)
	}
	if b.allow(now) {
		t.Fatal("open breaker let a caller through at once")
	}
	later := now.Add(breakerPause)
	if !b.allow(later) || b.allow(later) {
		t.Fatal("want exactly one caller through after the pause")
	}
	b.success()
	if !b.allow(later) {
		t.Fatal("a success did not close it")
	}
}
