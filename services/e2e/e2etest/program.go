// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2etest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tenantry/tenantry/services/internal/serve"
	"github.com/tenantry/tenantry/services/internal/serve/controlserver"
	"github.com/tenantry/tenantry/services/internal/serve/loginserver"
	"github.com/tenantry/tenantry/services/internal/serve/tokenserver"
)

// Names of the programs.
const (
	Control = "control"
	Login   = "login"
	Token   = "token"
)

var services = map[string]serve.Service{Control: controlserver.Program, Login: loginserver.Program, Token: tokenserver.Program}

// startTimeout is how long a program may take until it is ready, on a machine that runs many tests.
const startTimeout = 60 * time.Second

// Program is one program of a Rig: in this process, by the function that its main calls, or as a process of its own.
type Program struct {
	t      testing.TB
	name   string
	config string
	admin  string
	binary string
	log    *Buffer

	mu     sync.Mutex
	cancel context.CancelFunc
	cmd    *exec.Cmd
	ended  chan error
}

func newProgram(t testing.TB, r *Rig, name string, binary bool) *Program {
	t.Helper()
	p := &Program{t: t, name: name, config: r.configFile(name), admin: r.admin(name), log: r.Log}
	if binary {
		p.binary = filepath.Join(Binaries(t), "tenantry-"+name)
	}
	t.Cleanup(p.Stop)
	return p
}

// Start runs the program and waits until it is ready.
func (p *Program) Start() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended != nil {
		return
	}
	ended := make(chan error, 1)
	if p.binary != "" {
		cmd := exec.CommandContext(context.Background(), p.binary, "--config", p.config) // it lives until Stop
		cmd.Stdout, cmd.Stderr = p.log, p.log
		cmd.Env = os.Environ()
		if err := cmd.Start(); err != nil {
			p.t.Errorf("start %s: %v", p.name, err)
			return
		}
		p.cmd = cmd
		go func() { ended <- cmd.Wait() }()
	} else {
		ctx, cancel := context.WithCancel(context.Background())
		p.cancel = cancel
		go func() { ended <- services[p.name].Run(ctx, p.config, p.log) }()
	}
	p.ended = ended
	deadline := time.After(startTimeout)
	for {
		res, err := HTTPClient().Get(p.admin + "/readyz") //nolint:noctx // the client has a time-out
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case err := <-ended:
			ended <- err
			p.t.Errorf("%s ended at its start: %v\n%s", p.name, err, p.log)
			return
		case <-deadline:
			p.t.Errorf("%s is not ready after %v\n%s", p.name, startTimeout, p.log)
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Stop ends the program as an operator does, with SIGTERM, and waits for its end. It may be called twice.
func (p *Program) Stop() {
	p.t.Helper()
	if err := p.end(syscall.SIGTERM); err != nil {
		p.t.Errorf("%s ended with %v", p.name, err)
	}
}

// Kill ends the process with SIGKILL and waits for its end.
func (p *Program) Kill() {
	p.t.Helper()
	if p.binary == "" {
		p.t.Fatal("only a process of its own can be killed")
	}
	_ = p.end(syscall.SIGKILL) // "signal: killed" is what was asked for
}

func (p *Program) end(signal syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended == nil {
		return nil
	}
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(signal) // it may have ended itself: Wait says so
	} else {
		p.cancel()
	}
	var err error
	select {
	case err = <-p.ended:
	case <-time.After(startTimeout):
		err = fmt.Errorf("still alive %v after %v", startTimeout, signal)
	}
	p.ended, p.cmd, p.cancel = nil, nil, nil
	return err
}

// Running reports whether the program has been started and not ended by the rig.
func (p *Program) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended != nil
}

// PID is the process's id, 0 inside this process.
func (p *Program) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Binaries builds the programs once for all tests of this process and returns their directory.
func Binaries(t testing.TB) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var built = sync.OnceValues(func() (string, error) {
	// Below the repository's directory for such things, so that the linker's work is found again by the next run.
	dir := filepath.Join(Root(), ".build", "e2e")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "./services/cmd/...", "./examples/piedpiper")
	cmd.Dir = Root()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return dir, nil
})
