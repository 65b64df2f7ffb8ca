// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package deploytest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/localserver"
	"github.com/tenantry/tenantry/services/e2e/e2etest"
	"github.com/tenantry/tenantry/services/internal/edge"
	"github.com/tenantry/tenantry/services/internal/keyfiles"
)

// caddyEnv names a Caddy 2 binary, with which the stack's edge is the real one. Without it the path table is served by this process.
const caddyEnv = "TENANTRY_TEST_CADDY"

// stack is what docker-compose.yml runs, as processes of this machine: the same programs and images' servers with the same arguments,
// configurations and secrets, with addresses of loopback in place of containers' names.
type stack struct {
	t       *testing.T
	dir     keyfiles.Dir
	log     *e2etest.Buffer
	ports   map[string]int
	process map[string]*exec.Cmd
}

var portNames = []string{"postgres", "redis-config", "redis-runtime", "grpc", "rest", "login", "token", "admin-control", "admin-login", "admin-token", "edge"}

func (s *stack) address(name string) string { return fmt.Sprintf("127.0.0.1:%d", s.ports[name]) }

// newStack makes secrets by the program's own command, and moves the addresses in them to this machine.
func newStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{
		t: t, dir: keyfiles.Dir(filepath.Join(t.TempDir(), "secrets")), log: new(e2etest.Buffer), ports: map[string]int{}, process: map[string]*exec.Cmd{},
	}
	// All listeners at once, so that no port is given twice.
	for _, name := range portNames {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		s.ports[name] = l.Addr().(*net.TCPAddr).Port
	}
	args := compose(t).Services["secrets"].Command
	args = append([]string{}, args...)
	for i, a := range args {
		switch a {
		case "/secrets":
			args[i] = string(s.dir)
		case "65532":
			args[i] = fmt.Sprint(os.Getgid())
		}
	}
	s.tenantry(args...)
	err := filepath.WalkDir(string(s.dir), func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".url") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, server := range []string{"postgres:5432", "redis-config:6379", "redis-runtime:6379"} {
			name, _, _ := strings.Cut(server, ":")
			text = bytes.Replace(text, []byte("@"+server), []byte("@"+s.address(name)), 1)
		}
		return errors.Join(err, os.WriteFile(path, text, 0o600))
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tenantry runs the command line and returns what it printed.
func (s *stack) tenantry(args ...string) string {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(e2etest.Binaries(s.t), "tenantry"), args...)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("tenantry %v: %v\n%s", args, err, errOut.String())
	}
	return strings.TrimSpace(string(out))
}

// start runs a program until the test ends.
func (s *stack) start(name, program string, args ...string) {
	s.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = s.log, s.log, s.t.TempDir()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.process[name] = cmd
	s.t.Cleanup(func() { s.end(name, syscall.SIGTERM) })
}

func (s *stack) end(name string, signal syscall.Signal) {
	if cmd := s.process[name]; cmd != nil {
		_ = cmd.Process.Signal(signal)
		_ = cmd.Wait() // how it ends is the business of other tests
		s.process[name] = nil
	}
}

func (s *stack) wait(what string, ready func() error) {
	s.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := ready()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: %v\n%s", what, err, s.log)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *stack) secret(name string) string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(string(s.dir), name))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// startPostgres starts a server that asks for passwords, and runs the compose file's script on it.
func (s *stack) startPostgres() {
	s.t.Helper()
	shared, err := os.MkdirTemp("", "tenantry-hba")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = os.RemoveAll(shared) })
	hba := filepath.Join(shared, "pg_hba.conf")
	err = errors.Join(os.Chmod(shared, 0o711), os.WriteFile(hba, []byte("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"), 0o600), os.Chmod(hba, 0o644)) // another user's server reads it
	if err != nil {
		s.t.Fatal(err)
	}
	pg, err := localserver.StartPostgres(s.t.Context(), localserver.PostgresConfig{Port: s.ports["postgres"], Settings: map[string]string{"hba_file": hba}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(pg.Stop)
	u, err := url.Parse(pg.URL("postgres", localserver.Superuser))
	if err != nil {
		s.t.Fatal(err)
	}
	script := exec.Command("sh", filepath.Join(e2etest.Root(), "deploy", "postgres", "init.sh"))
	script.Env = append(os.Environ(), "TENANTRY_SECRETS="+string(s.dir), "POSTGRES_USER="+localserver.Superuser, "PGHOST="+u.Query().Get("host"), "PGPORT="+u.Query().Get("port"))
	if out, err := script.CombinedOutput(); err != nil {
		s.t.Fatalf("init.sh: %v\n%s", err, out)
	}
}

// startRedis starts a server with the arguments of the compose file.
func (s *stack) startRedis(name string) {
	s.t.Helper()
	command := compose(s.t).Services[name].Command
	var args []string
	for _, a := range command[1:] {
		args = append(args, strings.Replace(a, "/run/secrets/", string(s.dir)+"/", 1))
	}
	s.start(name, command[0], append(args, "--port", fmt.Sprint(s.ports[name]), "--bind", "127.0.0.1")...)
	s.wait(name, func() error { return s.redisPing(name) })
}

// redisPing is the health check of the compose file: a PING from somebody without a password.
func (s *stack) redisPing(name string) error {
	answer, err := s.redis(name, "PING")
	if err == nil && answer != "+PONG" {
		err = errors.New(answer)
	}
	return err
}

// redis sends inline commands on one connection and returns the first line of the last answer.
func (s *stack) redis(name string, commands ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.address(name), time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	answer := ""
	for _, c := range commands {
		if _, err := io.WriteString(conn, c+"\r\n"); err != nil {
			return "", err
		}
		buf := make([]byte, 4096)
		n, err := conn.Read(buf)
		if err != nil {
			return "", err
		}
		answer, _, _ = strings.Cut(string(buf[:n]), "\r\n")
	}
	return answer, nil
}

// startProgram runs one of the three binaries with its sample configuration.
func (s *stack) startProgram(name string) {
	s.t.Helper()
	replace := map[string][]string{
		e2etest.Control: {
			`":9190"`, s.address("admin-control"), ":9090", s.address("grpc"), ":9080", s.address("rest"),
			"https://{host}", fmt.Sprintf("http://{host}:%d", s.ports["edge"]), "roles: [", "development: true\nhostname_checks: 1000\nroles: [",
		},
		e2etest.Login: {`":9191"`, s.address("admin-login"), ":8080", s.address("login"), "172.31.250.0/24", "127.0.0.0/8"},
		e2etest.Token: {`":9192"`, s.address("admin-token"), ":8080", s.address("token"), "172.31.250.0/24", "127.0.0.0/8"},
	}[name]
	s.start(name, filepath.Join(e2etest.Binaries(s.t), "tenantry-"+name), "--config", sample(s.t, name, s.dir, replace...))
	s.wait(name, func() error {
		return exec.Command(filepath.Join(e2etest.Binaries(s.t), "tenantry"), "healthcheck", "http://"+s.address("admin-"+name)+"/readyz").Run()
	})
}

// startEdge runs Caddy with the repository's file, or the same table in this process.
func (s *stack) startEdge() {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(e2etest.Root(), "deploy", "Caddyfile"))
	if err != nil {
		s.t.Fatal(err)
	}
	caddy := os.Getenv(caddyEnv)
	if caddy == "" {
		s.serveTable()
		return
	}
	adapted := strings.NewReplacer("login:8080", s.address("login"), "token:8080", s.address("token"),
		"/etc/caddy/", filepath.Join(e2etest.Root(), "deploy", "caddy")+"/").Replace(string(text))
	file := filepath.Join(s.t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(adapted), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.t.Setenv("TENANTRY_EDGE_ADDRESS", fmt.Sprintf("http://:%d", s.ports["edge"]))
	s.t.Setenv("TENANTRY_EDGE_TLS", "tls-off")
	s.t.Setenv("XDG_DATA_HOME", s.t.TempDir())
	s.t.Setenv("XDG_CONFIG_HOME", s.t.TempDir())
	s.start("edge", caddy, "run", "--config", file, "--adapter", "caddyfile")
	s.wait("edge", func() error {
		conn, err := net.Dial("tcp", s.address("edge"))
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

func (s *stack) serveTable() {
	s.t.Helper()
	raw, err := os.ReadFile(filepath.Join(e2etest.Root(), "deploy", "routes.yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	table, err := edge.Parse(raw)
	if err != nil {
		s.t.Fatal(err)
	}
	to := func(name string) http.Handler {
		return &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: s.address(name)})
			p.Out.Host = p.In.Host
			p.SetXForwarded()
		}}
	}
	l, err := net.Listen("tcp", s.address("edge"))
	if err != nil {
		s.t.Fatal(err)
	}
	server := &http.Server{Handler: table.Handler(to("login"), to("token"), to("rest")), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }() // until Close
	s.t.Cleanup(func() { _ = server.Close() })
}

// rig is the running stack for people and programs in front of it.
func (s *stack) rig(platformKey string) *e2etest.Rig {
	return &e2etest.Rig{
		REST: "http://" + s.address("rest"), GRPC: s.address("grpc"), Port: s.ports["edge"],
		Login: "http://" + s.address("login"), Token: "http://" + s.address("token"), PlatformKey: platformKey, Log: s.log, Keys: s.dir,
	}
}

// From the files of an operator to a person who is logged in, and still is when the control plane is gone.
func TestTheStackRuns(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil && os.Getenv("CI") == "" {
		t.Skip("no redis-server")
	}
	s := newStack(t)
	s.startPostgres()
	s.startRedis("redis-config")
	s.startRedis("redis-runtime")
	var migrate []string
	for _, a := range compose(t).Services["migrate"].Command {
		migrate = append(migrate, strings.Replace(a, "/run/secrets/", string(s.dir)+"/", 1))
	}
	s.tenantry(migrate...)
	for _, name := range names {
		s.startProgram(name)
	}
	s.startEdge()
	rig := s.rig(s.tenantry("key", "mint", "first", "--platform", "--database", "@"+filepath.Join(string(s.dir), "control-owner.url")))

	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.log)
		}
	})
	org := rig.NewOrg(t, "stack")
	tenant := org.Provision(t, "hooli")
	rp := tenant.RP(t, "web")
	who := e2etest.NewPerson()
	first := rp.Register(e2etest.NewBrowser(t), who, nil)
	if first.AccessToken == "" {
		t.Fatal("no access token")
	}

	t.Run("a stranger's forwarded headers", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, tenant.Issuer+"/.well-known/openid-configuration", nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{
			"X-Forwarded-Host": "evil.localhost", "Forwarded": "host=evil.localhost;proto=https", "X-Forwarded-For": "192.0.2.6", "X-Forwarded-Proto": "https",
		} {
			req.Header.Set(name, value)
		}
		if got := e2etest.Str(e2etest.Send(t, req).JSON, "issuer"); got != tenant.Issuer {
			t.Errorf("issuer %q", got)
		}
	})
	t.Run("an unknown host", func(t *testing.T) {
		res, err := e2etest.HTTPClient().Get(rig.Base("nobody.localhost") + "/oauth2/token")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusNotFound {
			t.Errorf("status %d", res.StatusCode)
		}
	})

	t.Run("servers refuse strangers", s.refuseStrangers)

	t.Run("control plane killed", func(t *testing.T) {
		s.end(e2etest.Control, syscall.SIGKILL)
		again := rp.Login(e2etest.NewBrowser(t), who, nil)
		if a, b := e2etest.Str(claims(t, again.AccessToken), "sub"), e2etest.Str(claims(t, first.AccessToken), "sub"); a == "" || a != b {
			t.Errorf("logged in as %q and then as %q", b, a)
		}
		if _, err := rp.Refresh(again.RefreshToken); err != nil {
			t.Errorf("refresh: %v", err)
		}
		// A replica that starts now knows the tenant from Redis alone.
		s.end(e2etest.Token, syscall.SIGTERM)
		s.startProgram(e2etest.Token)
		rp.Login(e2etest.NewBrowser(t), who, nil)
	})
}

func claims(t *testing.T, token string) map[string]any {
	t.Helper()
	_, c := e2etest.JWTClaims(t, token)
	return c
}

// refuseStrangers tries what each password does not allow.
func (s *stack) refuseStrangers(t *testing.T) {
	replica, publisher := "AUTH replica "+s.secret("redis-replica.password"), "AUTH publisher "+s.secret("redis-publisher.password")
	for name, tc := range map[string]struct {
		server, want string
		commands     []string
	}{
		"reading without a password":          {"redis-config", "-NOPERM", []string{"GET t:{x}"}},
		"a replica that writes a tenant":      {"redis-config", "-NOPERM", []string{replica, "SET t:{x} y"}},
		"a replica that writes a host":        {"redis-config", "-NOPERM", []string{replica, "SET h:{x} y"}},
		"a replica that writes the stream":    {"redis-config", "-NOPERM", []string{replica, "XADD log:{0} * b x"}},
		"a replica that empties the server":   {"redis-config", "-NOPERM", []string{replica, "FLUSHALL"}},
		"a replica that runs scripts":         {"redis-config", "-NOPERM", []string{replica, "EVAL return 0"}},
		"a replica that reports":              {"redis-config", ":1", []string{replica, "HSET fleet:{cfg} stranger x"}},
		"a publisher that empties the server": {"redis-config", "-NOPERM", []string{publisher, "FLUSHALL"}},
		"a publisher that writes elsewhere":   {"redis-config", "-NOPERM", []string{publisher, "SET other x"}},
		"a publisher that reconfigures":       {"redis-config", "-NOPERM", []string{publisher, "CONFIG GET *"}},
		"codes without a password":            {"redis-runtime", "-NOPERM", []string{"GET x"}},
		"a wrong password":                    {"redis-runtime", "-WRONGPASS", []string{"AUTH runtime x"}},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := s.redis(tc.server, tc.commands...)
			if err != nil || !strings.HasPrefix(answer, tc.want) {
				t.Errorf("got %q, %v; want %s", answer, err, tc.want)
			}
		})
	}
	for name, address := range map[string]string{
		"identity's role in the control database":   strings.Replace(s.secret("identity.url"), "/tenantry_identity?", "/tenantry_control?", 1),
		"the publisher's role in identity database": strings.Replace(s.secret("control-worker.url"), "/tenantry_control?", "/tenantry_identity?", 1),
		"a role without its password":               strings.Replace(s.secret("control.url"), s.secret("postgres-control.password"), "wrong", 1),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		conn, err := pgx.Connect(ctx, address)
		if err == nil {
			t.Errorf("%s: connected", name)
			_ = conn.Close(ctx)
		}
		cancel()
	}
}
