// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/localserver"
	"github.com/tenantry/tenantry/services/internal/devenv"
	"github.com/tenantry/tenantry/services/internal/restclient"
)

// screen is what a run prints, readable while it runs.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// environment is `tenantry dev` in a directory of its own.
type environment struct {
	dir, config string
	offset      int
}

func newEnvironment(t *testing.T) environment {
	t.Helper()
	if _, err := localserver.Find(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	// A block of ports that nobody has now: the offset is fixed for a directory, so that each port cannot be drawn by itself.
	for offset := 20000 + os.Getpid()%200*100; offset < 45000; offset += 1000 {
		p := devenv.DefaultPorts(offset)
		taken := false
		for _, port := range []int{p.DataPlane, p.REST, p.GRPC, p.Admin, p.Sample, p.Mail} {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			if err != nil {
				taken = true
				break
			}
			_ = l.Close()
		}
		if !taken {
			dir := t.TempDir()
			return environment{dir: filepath.Join(dir, "run"), config: filepath.Join(dir, "config.json"), offset: offset}
		}
	}
	t.Fatal("no free ports")
	return environment{}
}

// command calls the program as this environment's user.
func (e environment) command(ctx context.Context, out *screen, args ...string) int {
	a := &app{
		in: strings.NewReader(""), out: out, err: out, width: func() int { return 80 },
		getenv: func(k string) string { return map[string]string{"TENANTRY_CONFIG": e.config}[k] },
	}
	return a.main(ctx, args)
}

// start starts the environment and waits for its last screen; stop ends it as Ctrl-C does, and answers the exit code.
func (e environment) start(t *testing.T) (info devenv.Info, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, ended := &screen{}, make(chan int, 1)
	go func() {
		ended <- e.command(ctx, out, "dev", "--dir", e.dir, "--port-offset", strconv.Itoa(e.offset))
	}()
	stopped := false
	stop = func() int {
		if stopped {
			return 0
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() { stop() })
	for deadline := time.Now().Add(90 * time.Second); !strings.Contains(out.String(), "make reset"); time.Sleep(20 * time.Millisecond) {
		select {
		case code := <-ended:
			stopped = true
			t.Fatalf("ended with %d:\n%s", code, out)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready:\n%s", out)
		}
	}
	info, err := devenv.ReadInfo(e.dir)
	if err != nil {
		t.Fatal(err)
	}
	return info, stop
}

func TestDevIsTheSameTheSecondTime(t *testing.T) {
	e := newEnvironment(t)
	first, stop := e.start(t)
	out := &screen{}
	if code := e.command(context.Background(), out, "tenant", "provision", "hooli", "--blueprint", "ppvc-standard", "--owner", "gavin@hooli.example"); code != exitOK {
		t.Fatalf("provision: %d\n%s", code, out)
	}
	client := &http.Client{Transport: restclient.Transport(), Timeout: 10 * time.Second}
	issuer := fmt.Sprintf("http://hooli.localhost:%d", devenv.DefaultPorts(e.offset).DataPlane)
	discovery := func() string {
		res, err := client.Get(issuer + "/.well-known/openid-configuration")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var doc struct{ Issuer string }
		if err := json.NewDecoder(res.Body).Decode(&doc); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("discovery: %s, %v", res.Status, err)
		}
		return doc.Issuer
	}
	if got := discovery(); got != issuer {
		t.Errorf("issuer %q, want %q", got, issuer)
	}
	if info, err := os.Stat(filepath.Join(e.dir, "dev.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("dev.json: %v, %v", info, err)
	}
	if code := e.command(context.Background(), &screen{}, "dev", "--dir", e.dir, "--port-offset", strconv.Itoa(e.offset)); code != exitFailed {
		t.Errorf("a second start beside the first ended with %d", code)
	}
	if code := stop(); code != exitOK {
		t.Errorf("the end: %d", code)
	}

	second, stop := e.start(t)
	defer stop()
	if second.PlatformAPIKey != first.PlatformAPIKey || second.OrgAPIKey != first.OrgAPIKey || second.PortalAPIKey != first.PortalAPIKey ||
		second.Org != first.Org || second.ChatClientID != first.ChatClientID {
		t.Errorf("the second start made something anew:\n%+v\n%+v", first, second)
	}
	for name, value := range map[string]string{
		"rest": second.REST, "grpc": second.GRPC, "data_plane": second.DataPlane, "portal": second.Portal, "mail": second.Mail, "org": second.Org,
		"org_api_key": second.OrgAPIKey, "platform_api_key": second.PlatformAPIKey, "blueprint": second.Blueprint, "base_domain": second.BaseDomain,
		"control": second.DatabaseURLs.Control, "identity": second.DatabaseURLs.Identity, "config": second.RedisURLs.Config, "runtime": second.RedisURLs.Runtime,
	} {
		if value == "" {
			t.Errorf("dev.json has no %s", name)
		}
	}
	discovery()

	// The bootstrap file again, by hand.
	key := filepath.Join(t.TempDir(), "platform.key")
	if err := os.WriteFile(key, []byte(second.PlatformAPIKey), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := checkout()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "deploy", "dev", "bootstrap.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte(":8090/"), fmt.Appendf(nil, ":%d/", devenv.DefaultPorts(e.offset).Sample))
	apply := func(text []byte, want string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "bootstrap.yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		out := &screen{}
		if code := e.command(context.Background(), out, "apply", "-f", file, "--key-file", key); code != exitOK || !strings.Contains(out.String(), want) {
			t.Errorf("apply: %d, want %q in\n%s", code, want, out)
		}
	}
	apply(text, "Nothing to change.")
	apply(bytes.Replace(text, []byte("displayName: Pied Piper Chat\n"), []byte("displayName: Chat\n"), 1), "changed: displayName")
	apply(bytes.Replace(text, []byte("minLength: 10"), []byte("minLength: 12"), 1), "changed: draft")
}

func TestDevSaysWhoHasAPort(t *testing.T) {
	e := newEnvironment(t)
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(devenv.DefaultPorts(e.offset).REST)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out := &screen{}
	code := e.command(context.Background(), out, "dev", "--dir", e.dir, "--port-offset", strconv.Itoa(e.offset))
	want := fmt.Sprintf("port %d (control plane, REST) is taken by", devenv.DefaultPorts(e.offset).REST)
	if code != exitFailed || !strings.Contains(out.String(), want) || !strings.Contains(out.String(), strconv.Itoa(os.Getpid())) {
		t.Errorf("code %d, want %q and process %d in\n%s", code, want, os.Getpid(), out)
	}
	if _, err := os.Stat(filepath.Join(e.dir, "postgres")); err == nil {
		t.Error("something was started")
	}
}

func TestExecGivesItsCommandADatabaseAndPassesItsCodeOn(t *testing.T) {
	e := newEnvironment(t)
	t.Setenv(localserver.TestDatabaseEnv, "")
	out := &screen{}
	code := e.command(context.Background(), out, "dev", "exec", "--", "sh", "-c", `echo "$TENANTRY_TEST_DATABASE_URL"; exit 7`)
	if code != 7 || !strings.HasPrefix(out.String(), "postgres://postgres@/postgres?host=") {
		t.Errorf("code %d, printed %q", code, out)
	}
}
