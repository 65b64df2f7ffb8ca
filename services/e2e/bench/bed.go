// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/localserver"
	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// life stands in for a test where the harness of the end-to-end tests wants one: it ends with the program.
type life struct {
	testing.TB // nil: only what is overridden below is used

	mu       sync.Mutex
	cleanups []func()
	failed   bool
}

// failure is what Fatal panics with.
type failure string

func (l *life) Helper()                         {}
func (l *life) Context() context.Context        { return context.Background() }
func (l *life) Log(args ...any)                 { progress("%s", fmt.Sprint(args...)) }
func (l *life) Logf(format string, args ...any) { progress(format, args...) }
func (l *life) Fatal(args ...any)               { panic(failure(fmt.Sprint(args...))) }
func (l *life) Fatalf(f string, args ...any)    { panic(failure(fmt.Sprintf(f, args...))) }
func (l *life) Skipf(f string, args ...any)     { l.Fatalf(f, args...) }
func (l *life) Error(args ...any)               { l.Errorf("%s", fmt.Sprint(args...)) }

func (l *life) Errorf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = true
	progress(format, args...)
}

func (l *life) Failed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

func (l *life) Cleanup(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cleanups = append(l.cleanups, f)
}

func (l *life) end() {
	for _, f := range slices.Backward(l.cleanups) {
		f()
	}
}

// must ends the run when something beside the measured could not be done.
func must(err error) {
	if err != nil {
		panic(failure(err.Error()))
	}
}

func try[T any](v T, err error) T {
	must(err)
	return v
}

// bed is the system that is measured: a durable PostgreSQL, two Redis servers, and the real programs as processes of their own.
type bed struct {
	*life
	seconds  time.Duration // for each side of a row
	profiles string        // directory for CPU profiles of the services; "" for none
	pg       *localserver.Postgres
	rig      *e2etest.Rig
	dir      string

	control, login, token *program
	org                   *e2etest.Org
	tenant                *e2etest.Tenant
	api, web              e2etest.Client
}

func newBed(each time.Duration, profiles string) *bed {
	return &bed{life: &life{}, seconds: each, profiles: profiles}
}

// start starts everything and makes a tenant.
func (b *bed) start() {
	progress("PostgreSQL with fsync, two Redis, control, login, token …")
	b.pg = try(localserver.StartPostgres(b.Context(), localserver.PostgresConfig{
		Durable: true, Settings: map[string]string{"track_commit_timestamp": "on"}, // when a change was committed, by the server's own clock
	}))
	b.Cleanup(b.pg.Stop)
	must(os.Setenv(localserver.TestDatabaseEnv, b.pg.URL("postgres", localserver.Superuser)))
	b.dir = try(os.MkdirTemp("", "tenantry-bench"))
	b.Cleanup(func() { _ = os.RemoveAll(b.dir) })
	b.rig = e2etest.Start(b, e2etest.Options{Binaries: true})
	// From here on they are this program's: with their logs in files, which is what a log costs in production.
	for name, p := range map[string]**program{e2etest.Control: &b.control, e2etest.Login: &b.login, e2etest.Token: &b.token} {
		b.rig.Program(name).Stop()
		config := filepath.Join(b.rig.Dir, name+".yaml")
		if b.profiles == "" {
			*p = b.program(filepath.Join(e2etest.Binaries(b), "tenantry-"+name), "--config", config)
		} else {
			*p = b.program(try(os.Executable()), "serve-"+name, config, filepath.Join(b.profiles, name+".cpu"))
		}
	}
	b.control.addr = strings.TrimPrefix(b.rig.REST, "http://")
	b.login.addr, b.token.addr = strings.TrimPrefix(b.rig.Login, "http://"), strings.TrimPrefix(b.rig.Token, "http://")
	for _, p := range []*program{b.control, b.login, b.token} {
		p.start()
	}
	b.org = b.rig.NewOrgWith(b, "bench", blueprint(
		map[string]any{
			"id": "api", "displayName": "Machine", "kind": "SERVICE", "clientType": "CONFIDENTIAL", "grantTypes": []string{"client_credentials"},
			"tokenEndpointAuthMethod": "client_secret_basic", "scopes": []string{"chat:read", "chat:write"},
		},
		map[string]any{
			"id": "web", "displayName": "Web", "kind": "WEB", "clientType": "CONFIDENTIAL", "firstParty": true, "redirectUris": []string{e2etest.RedirectURI},
			"grantTypes": []string{"authorization_code", "refresh_token"}, "tokenEndpointAuthMethod": "client_secret_basic",
		},
	))
	b.tenant = b.org.Provision(b, "hooli")
	b.api, b.web = b.tenant.Clients["api"], b.tenant.Clients["web"]
}

// blueprint has the clients, one key, and an owner who is invited. ID tokens are ES256, so that no RSA key is made beside.
func blueprint(clients ...any) map[string]any {
	return map[string]any{
		"config": map[string]any{
			"passwordPolicy": map[string]any{"minLength": 12},
			"tokenPolicy":    map[string]any{"accessAlg": "ES256", "idTokenAlgs": []string{"ES256"}},
			"registration":   map[string]any{"enabled": true},
		},
		"roles":        []any{map[string]any{"id": "admin"}, map[string]any{"id": "member", "default": true}},
		"clients":      clients,
		"apiKeys":      []any{map[string]any{"id": "tenant-admin", "role": "tenantAdmin"}},
		"initialUsers": []any{map[string]any{"email": "{{owner.email}}", "roles": []string{"admin"}, "invite": true}},
	}
}

// program is a process that this program started.
type program struct {
	b     *bed
	path  string
	args  []string
	addr  string // where it answers; "" before it is known
	stdin []byte

	cmd *exec.Cmd
	log *os.File
}

func (b *bed) program(path string, args ...string) *program {
	p := &program{b: b, path: path, args: args}
	b.Cleanup(p.stop)
	return p
}

// begin starts the process and does not wait.
func (p *program) begin() {
	p.log = try(os.CreateTemp(p.b.dir, filepath.Base(p.path)+"-*.log"))
	cmd := exec.CommandContext(p.b.Context(), p.path, p.args...)
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if p.stdin != nil {
		cmd.Stdin = bytes.NewReader(p.stdin)
	}
	must(cmd.Start())
	p.cmd = cmd
}

// start starts the process and waits until it accepts connections.
func (p *program) start() {
	p.begin()
	for range 3000 {
		if c, err := dial(p.addr); err == nil {
			_ = c.Close()
			return
		}
		if p.cmd.ProcessState != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	panic(failure(filepath.Base(p.path) + " does not answer: " + p.tail()))
}

func (p *program) tail() string {
	raw, _ := os.ReadFile(p.log.Name())
	return string(raw[max(0, len(raw)-2000):])
}

// stop ends the process as an operator does.
func (p *program) stop() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = p.cmd.Wait()
	p.cmd = nil
	_ = p.log.Close()
	_ = os.Remove(p.log.Name())
}

// cpu is the processor time that processes have used.
func cpu(programs ...*program) func() time.Duration {
	return func() (sum time.Duration) {
		for _, p := range programs {
			if now, ok := readProcess(p.cmd.Process.Pid); ok {
				sum += now.own
			}
		}
		return sum
	}
}

// postgresCPU is the processor time of the database server: of the backends that live, and of those that have ended.
func postgresCPU() (sum time.Duration) {
	for _, p := range processes() {
		if p.name == "postgres" && descends(p.pid) {
			sum += p.own
		}
	}
	return sum
}

// rss is the resident memory of the process in MiB.
func (p *program) rss() float64 {
	raw := try(os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)))
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return float64(try(strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(v), "kB"))))) / 1024
		}
	}
	panic(failure("no VmRSS"))
}

// request renders a request.
func request(method, host, path string, header map[string]string, body string) []byte {
	var r strings.Builder
	fmt.Fprintf(&r, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: tenantry-bench\r\n", method, path, host)
	for k, v := range header {
		fmt.Fprintf(&r, "%s: %s\r\n", k, v)
	}
	if method == "POST" {
		fmt.Fprintf(&r, "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n", len(body))
	}
	return []byte(r.String() + "\r\n" + body)
}

func basic(c e2etest.Client) map[string]string {
	return map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(c.ID)+":"+url.QueryEscape(c.Secret)))}
}

// host is the tenant's Host header.
func (b *bed) host() string { return fmt.Sprintf("%s:%d", b.tenant.Host, b.rig.Port) }

// ask sends the same request from each of c connections.
func ask(name, addr string, c int, served []*program, request []byte) *side {
	conns := connections(addr, c)
	return &side{
		name: name, workers: c, cpu: cpu(served...),
		step: func(w int) error {
			a, err := conns[w].do(request)
			if err == nil && a.status != 200 {
				err = fmt.Errorf("%d %s", a.status, a.body)
			}
			return err
		},
		cleanup: func() {
			for _, c := range conns {
				c.close()
			}
		},
	}
}

func connections(addr string, n int) []*conn {
	all := make([]*conn, n)
	for i := range all {
		all[i] = &conn{addr: addr}
	}
	return all
}

// one asks once and returns a copy of the answer.
func one(addr string, request []byte) answer {
	c := &conn{addr: addr}
	defer c.close()
	a := try(c.do(request))
	if a.status != 200 {
		panic(failure(fmt.Sprintf("%s: %d %s", bytes.SplitN(request, []byte("\r\n"), 2)[0], a.status, a.body)))
	}
	return answer{status: a.status, head: bytes.Clone(a.head), body: bytes.Clone(a.body)}
}

// tokens reads a token answer.
func tokens(body []byte) (access, refresh string, err error) {
	var t struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal(body, &t); err != nil {
		return "", "", err
	}
	if t.Access == "" {
		return "", "", errors.New("no access token")
	}
	return t.Access, t.Refresh, nil
}
