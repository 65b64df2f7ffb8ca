// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package devenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sampleName is the program of the sample apps.
const sampleName = "piedpiper"

// sample is the running program of the sample apps.
type sample struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how, after done
	pid  string        // file
}

// startSample starts the sample apps and waits until they listen.
func (l layout) startSample(ctx context.Context, program string, environment []string, port int) (*sample, error) {
	log, err := os.OpenFile(l.log(sampleName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program) //nolint:noctx // ours, ended by Stop and not by the start's context
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttributes()
	s := &sample{cmd: cmd, done: make(chan struct{}), pid: l.pid(sampleName)}
	if err := s.start(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(s.pid, []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o600); err != nil {
		s.stop()
		return nil, err
	}
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return s, conn.Close()
		}
		select {
		case <-s.done:
			return nil, fmt.Errorf("the sample apps ended at once (%w): see %s", s.err, l.log(sampleName))
		case <-ctx.Done():
			s.stop()
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop ends the program, and waits a moment before it insists.
func (s *sample) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(3 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
	_ = os.Remove(s.pid)
}

// endOrphan ends the program that a killed run of this environment left behind. A process that has its number by chance, and
// is another program, is left alone.
func (l layout) endOrphan(name string) {
	text, err := os.ReadFile(l.pid(name))
	if err != nil {
		return
	}
	defer os.Remove(l.pid(name))
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ps", "-o", "comm=", "-p", strconv.Itoa(pid)).Output()
	if running := ""; err == nil {
		running = filepath.Base(strings.TrimSpace(string(out)))
		if running != name {
			return
		}
	} else if command, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm"); err != nil || strings.TrimSpace(string(command)) != name {
		return // no ps on this machine
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	for range 100 {
		if syscall.Kill(pid, 0) != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	time.Sleep(50 * time.Millisecond)
}
