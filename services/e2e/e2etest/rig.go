// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package e2etest runs the whole of Tenantry for tests that stand outside: PostgreSQL, two Redis servers, a mail inbox, and the
// programs control, login and token from configuration files, with the path table of deploy/routes.yaml as their edge.
//
// It owns the running system and the people and programs in front of it: a caller of the REST API, a browser without scripts, a real
// Chromium, a relying party made of stock libraries. What is true of the system is the business of the tests. A Rig reaches into the
// system only where an operator could: it stops a program, looks at rows, empties a Redis.
package e2etest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/pkg/localserver"
	"github.com/tenantry/tenantry/services/control"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/dbtest"
	"github.com/tenantry/tenantry/services/internal/edge"
	"github.com/tenantry/tenantry/services/internal/keyfiles"
	"github.com/tenantry/tenantry/services/internal/mailsink"
)

// Options are how a Rig differs from the usual.
type Options struct {
	// Binaries runs the built programs as processes of their own, so that they can be killed. Without it they run in this process,
	// where only one Rig can: libraries keep settings of a process (the gateway's query parser, telemetry).
	Binaries bool
	// Port is the edge's; 0 takes a free one.
	Port int
	// TLS serves tenants by https, as in production: with certificates that only HTTPClient trusts.
	TLS bool
}

// Rig is a running Tenantry.
type Rig struct {
	// Control and Identity are the databases.
	Control, Identity dbtest.DB
	// ConfigRedis and RuntimeRedis are the two Redis servers.
	ConfigRedis, RuntimeRedis *localserver.Redis
	// Keys are the key files of the installation.
	Keys keyfiles.Dir
	// Mail is what the system has sent.
	Mail *mailsink.Sink
	// REST is the base URL of the API.
	REST string
	// GRPC is the address of the same API for gRPC.
	GRPC string
	// Port is the port of the edge, on which all tenants are.
	Port int
	// Login and Token are the services' own base URLs, behind the edge.
	Login, Token string
	// PlatformKey is the first key of the installation.
	PlatformKey string
	// Log is what the programs have logged.
	Log *Buffer
	// Dir holds the configuration files.
	Dir string

	tls          bool
	programs     map[string]*Program
	adminAddress map[string]string
}

// Root is the root of the repository.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

// Start runs everything and ends it after the test.
func Start(t testing.TB, opt Options) *Rig {
	t.Helper()
	r := &Rig{
		Control: dbtest.New(t, "e2e_control", control.Migrate), Identity: dbtest.New(t, "e2e_identity", identity.Migrate),
		ConfigRedis: localserver.TestRedis(t), RuntimeRedis: localserver.TestRedis(t),
		Port: opt.Port, tls: opt.TLS, Log: new(Buffer), programs: map[string]*Program{},
	}
	// A new runtime Redis does not know what was presented before it began, so proofs that are older are refused. This one has been there
	// for an hour, as a real one has, so that tests of clocks that run behind are about clocks.
	RedisDo(t, r.RuntimeRedis.URL(), "SET", "on:epoch", strconv.FormatInt(time.Now().Add(-time.Hour).UnixMilli(), 10))
	dir, err := os.MkdirTemp("", "tenantry-e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r.Dir, r.Keys = dir, keyfiles.Dir(filepath.Join(dir, "keys"))
	if _, err := keyfiles.Init(r.Keys, "local", time.Now()); err != nil {
		t.Fatal(err)
	}
	r.startMail(t)
	ports := freePorts(t, 7)
	if r.Port == 0 {
		r.Port = ports[0]
	}
	r.REST, r.GRPC = fmt.Sprintf("http://127.0.0.1:%d", ports[1]), fmt.Sprintf("127.0.0.1:%d", ports[2])
	r.Login, r.Token = fmt.Sprintf("http://127.0.0.1:%d", ports[3]), fmt.Sprintf("http://127.0.0.1:%d", ports[4])
	r.writeConfig(t)
	r.PlatformKey = r.mintPlatformKey(t)
	for _, name := range []string{Control, Login, Token} {
		r.programs[name] = newProgram(t, r, name, opt.Binaries)
	}
	var wg sync.WaitGroup
	for _, p := range r.programs {
		wg.Go(p.Start)
	}
	wg.Wait()
	if t.Failed() {
		t.Fatalf("the programs did not start:\n%s", r.Log)
	}
	r.startEdge(t)
	return r
}

// Program is one of the programs of a Rig, by its name.
func (r *Rig) Program(name string) *Program { return r.programs[name] }

// Host is the hostname of a label under localhost.
func Host(label string) string { return label + ".localhost" }

// Issuer is the address of a tenant's host, which is its issuer.
func (r *Rig) Issuer(label string) string { return r.Base(Host(label)) }

// Base is the address of a hostname at the edge.
func (r *Rig) Base(host string) string { return fmt.Sprintf("%s://%s:%d", r.scheme(), host, r.Port) }

func (r *Rig) scheme() string {
	if r.tls {
		return "https"
	}
	return "http"
}

func (r *Rig) startMail(t testing.TB) {
	t.Helper()
	var err error
	if r.Mail, err = mailsink.New("", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
}

// serveMail receives mails until the test ends and returns the port.
func (r *Rig) serveMail(t testing.TB) int {
	t.Helper()
	l, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Mail.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("mail sink: %v", err)
		}
	})
	return l.Addr().(*net.TCPAddr).Port
}

// startEdge serves the path table in front of login and token, as the edge proxy of an installation does: the Host header passes.
func (r *Rig) startEdge(t testing.TB) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(Root(), "deploy", "routes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	table, err := edge.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	to := func(base string) http.Handler {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		return &httputil.ReverseProxy{
			Rewrite: func(p *httputil.ProxyRequest) {
				p.SetURL(u)
				p.Out.Host = p.In.Host
				p.Out.URL.RawQuery = p.In.URL.RawQuery // ReverseProxy drops what it cannot parse: the services shall see it
				if r.tls {
					p.SetXForwarded() // the services trust this proxy, and it drops what the client said
					passCertificate(p)
					return
				}
				// ReverseProxy takes them away; a stranger's pass here, for the services to disbelieve.
				for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
					if v := p.In.Header[name]; v != nil {
						p.Out.Header[name] = v
					}
				}
			},
			Transport: shared,
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
				http.Error(w, "edge: "+err.Error(), http.StatusBadGateway)
			},
		}
	}
	l, err := listen(fmt.Sprintf("127.0.0.1:%d", r.Port))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: table.Handler(to(r.Login), to(r.Token), to(r.REST)), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	if r.tls {
		cfg := daemon.ServerTLS(certificates().certificate, "http/1.1") // that of our own listeners
		cfg.ClientAuth = tls.RequestClientCert
		l = tls.NewListener(l, cfg)
	}
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("edge: %v", err)
		}
	}()
	t.Cleanup(func() { _ = server.Close() })
}

// passCertificate says in the fields of RFC 9440 which certificate the caller has shown, and in nothing that the caller wrote.
func passCertificate(p *httputil.ProxyRequest) {
	p.Out.Header.Del("Client-Cert")
	p.Out.Header.Del("Client-Cert-Chain")
	if p.In.TLS == nil {
		return
	}
	for i, c := range p.In.TLS.PeerCertificates {
		name := "Client-Cert-Chain"
		if i == 0 {
			name = "Client-Cert"
		}
		p.Out.Header.Add(name, ":"+base64.StdEncoding.EncodeToString(c.Raw)+":")
	}
}

func listen(address string) (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
}

// freePorts finds ports that nobody listens on. They are below the range from which the kernel gives ports to outgoing connections,
// so that none of those takes one before its program listens.
func freePorts(t testing.TB, n int) (ports []int) {
	t.Helper()
	portsMu.Lock()
	defer portsMu.Unlock()
	if nextPort == 0 {
		nextPort = 20000 + os.Getpid()*64%12000
	}
	for range 4000 {
		if len(ports) == n {
			return ports
		}
		if nextPort++; nextPort > 32000 {
			nextPort = 20000
		}
		l, err := listen(fmt.Sprintf("127.0.0.1:%d", nextPort))
		if err != nil {
			continue
		}
		_ = l.Close()
		ports = append(ports, nextPort)
	}
	t.Fatal("no free ports")
	return nil
}

var (
	portsMu  sync.Mutex
	nextPort int
)

// Buffer collects what several programs write.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String is the newest part of it, as much as a failed test should show.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	const most = 16 << 10
	text := b.b.String()
	return text[max(0, len(text)-most):]
}

// Contains reports whether anything was logged that contains the text.
func (b *Buffer) Contains(text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Contains(b.b.Bytes(), []byte(text))
}

var _ io.Writer = (*Buffer)(nil)

// writeFile writes a file of the installation and returns its path.
func (r *Rig) writeFile(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(r.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// yaml renders a flat or nested configuration; nesting is by maps.
func yaml(indent string, m map[string]any) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		switch v := m[k].(type) {
		case map[string]any:
			fmt.Fprintf(&b, "%s%s:\n%s", indent, k, yaml(indent+"  ", v))
		case []string:
			fmt.Fprintf(&b, "%s%s:\n", indent, k)
			for _, s := range v {
				fmt.Fprintf(&b, "%s  - %q\n", indent, s)
			}
		case string:
			fmt.Fprintf(&b, "%s%s: %q\n", indent, k, v)
		default:
			fmt.Fprintf(&b, "%s%s: %v\n", indent, k, v)
		}
	}
	return b.String()
}

// FreePort is a port that nobody listens on.
func FreePort(t testing.TB) int {
	t.Helper()
	return freePorts(t, 1)[0]
}
