// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package readme runs the commands of README.md and of docs/standards.md as a
// newcomer would: in a fresh clone, in order, against what `make run` started there.
package readme

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	block = regexp.MustCompile("(?s)```sh\n(.*?)```")
	// answers are what a block of README.md must print to have worked, in the order of the blocks.
	answers = [][]string{
		{"http://endframe.localhost:8080", "tnk_", "endframe"},
		{`"issuer":"http://aviato.localhost:8080"`, `"secret":"tnk_`, `"jwks_uri":"http://aviato.localhost:8080/.well-known/jwks.json"`},
		{"served, with the issuer http://aviato.localhost:8080"},
		{"make run"},
	}
)

func TestEveryCommandOfTheReadmeWorksInAFreshClone(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the whole system")
	}
	for _, port := range []string{"8025", "8080", "8090", "9080", "9090", "9190"} {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		_ = conn.Close()
		if os.Getenv("CI") == "" {
			t.Skipf("port %s is taken, probably by make run", port)
		}
		t.Fatalf("port %s is taken", port)
	}
	root, err := exec.CommandContext(t.Context(), "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir(): the database's user must be able to enter it.
	dir, err := os.MkdirTemp("", "readme")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	clone := filepath.Join(dir, "tenantry")
	if out, err := exec.CommandContext(t.Context(), "git", "clone", "-q", strings.TrimSpace(string(root)), clone).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	page, err := os.ReadFile(filepath.Join(clone, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(page), "\n"); n > 150 {
		t.Errorf("README.md has %d lines; one page has 150", n)
	}
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o755); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "XDG_CONFIG_HOME="+home, "TENANTRY_TEST_DATABASE_URL=", "TENANTRY_SERVER=", "TENANTRY_API_KEY=",
		"GOFLAGS=-trimpath") // so that what an earlier clone compiled is good for this one
	start := time.Now()
	makeRun(t, clone, env)
	t.Logf("make run took %v", time.Since(start).Round(time.Millisecond))

	blocks := block.FindAllStringSubmatch(string(page), -1)
	if len(blocks) != len(answers) {
		t.Fatalf("README.md has %d blocks of commands, this test knows the answers of %d", len(blocks), len(answers))
	}
	for i, b := range blocks {
		// This test is part of `make test`, which the gate calls itself.
		script := regexp.MustCompile(`(?m)^make test.*$`).ReplaceAllString(b[1], "")
		out, err := shell(t, clone, env, script)
		if err != nil {
			t.Errorf("block %d: %v\n%s\n%s", i+1, err, script, out)
			continue
		}
		expect(t, fmt.Sprintf("README.md: block %d", i+1), script, out, answers[i])
	}
	start = time.Now()
	standards(t, clone, env)
	t.Logf("docs/standards.md took %v", time.Since(start).Round(time.Millisecond))
}

// shell runs commands in a clone, and gives what they print.
func shell(t *testing.T, clone string, env []string, script string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = clone, env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// expect looks for what a block must print.
func expect(t *testing.T, name, script, out string, answers []string) {
	t.Helper()
	// The order of members and the spaces of the JSON mapping change between builds.
	text := strings.ReplaceAll(out, `": "`, `":"`)
	for _, want := range answers {
		if !strings.Contains(text, want) {
			t.Errorf("%s does not print %q\n%s\n%s", name, want, script, out)
		}
	}
}

// makeRun starts `make run` and waits until it says that it is ready.
func makeRun(t *testing.T, clone string, env []string) {
	t.Helper()
	cmd := exec.Command("make", "run")
	cmd.Dir, cmd.Env = clone, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	ready := make(chan struct{})
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(out)
		said := false
		for lines.Scan() {
			fmt.Fprintln(&printed, lines.Text())
			if !said && strings.HasPrefix(lines.Text(), "Ctrl-C stops") {
				said = true
				close(ready)
			}
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) // Ctrl-C
		<-read
		_ = cmd.Wait()
		if !strings.Contains(printed.String(), "Stopped after") {
			t.Errorf("make run did not stop cleanly:\n%s", printed.String())
		}
	})
	select {
	case <-ready:
	case <-read:
		t.Fatalf("make run ended:\n%s", printed.String())
	case <-time.After(5 * time.Minute):
		t.Fatal("make run is not ready after five minutes")
	}
}
