// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package localserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// How long a server may take for each step before a stronger one, or an error, follows.
const (
	startTimeout = 60 * time.Second // a crash recovery of a large write-ahead log is part of a start
	stopTimeout  = 10 * time.Second
	pollEvery    = 3 * time.Millisecond
)

// spec is what startProcess needs to know of a server.
type spec struct {
	name   string // for errors: "postgres"
	path   string
	args   []string
	dir    string // working directory
	owner  account
	log    io.Writer
	stop   syscall.Signal // asks for an orderly stop
	remove string         // directory that the guard removes after this program has died; "" for none
	ready  func(pid int) bool
}

// process is one running server.
type process struct {
	cmd      *exec.Cmd
	stopWith syscall.Signal
	asked    atomic.Bool   // Stop was called
	done     chan struct{} // closed when the server has ended
	err      error         // set before done is closed
}

// startProcess starts a server under a guard and returns when it is ready.
func startProcess(ctx context.Context, s spec) (*process, error) {
	log := &logTail{next: s.log}
	cmd := exec.Command(s.path, s.args...) //nolint:noctx // ends by stop, in order, not by a context
	cmd.Dir = s.dir
	cmd.Env = s.owner.environment()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = 2 * time.Second // children of a killed postmaster may hold the pipe a moment longer
	// A process group of its own: Ctrl-C in the terminal reaches this program alone, which stops the server last.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: s.owner.credential()}

	g, err := newGuard(strings.TrimPrefix(signalName(s.stop), "SIG"), s.remove)
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		g.release()
		return nil, fmt.Errorf("start %s: %w", s.name, err)
	}
	p := &process{cmd: cmd, stopWith: s.stop, done: make(chan struct{})}
	if err := g.watch(cmd.Process.Pid); err != nil {
		p.signal(syscall.SIGKILL)
	}
	go func() {
		err := cmd.Wait()
		g.release()
		if !p.asked.Load() {
			if err == nil {
				err = errors.New("exit status 0")
			}
			p.err = fmt.Errorf("%s ended by itself: %w%s", s.name, err, log.suffix())
		}
		close(p.done)
	}()

	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !s.ready(cmd.Process.Pid) {
		select {
		case <-p.done:
			return nil, p.err
		case <-ctx.Done():
			p.stop()
			return nil, ctx.Err()
		case <-timeout.C:
			p.stop()
			return nil, fmt.Errorf("%s not ready after %v%s", s.name, startTimeout, log.suffix())
		case <-tick.C:
		}
	}
	return p, nil
}

func (p *process) signal(sig syscall.Signal) {
	_ = p.cmd.Process.Signal(sig) // an ended process is what the caller wanted anyway
}

// stop asks for an orderly end, and insists after stopTimeout.
func (p *process) stop() {
	p.asked.Store(true)
	p.signal(p.stopWith)
	p.signal(syscall.SIGCONT) // a paused one would not hear it
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-timeout.C:
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

// kill ends the server at once, as a power failure of this one process would.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

func (p *process) wait() error {
	<-p.done
	return p.err
}

// logTail passes a server's output on and keeps the end of it for error messages.
type logTail struct {
	next io.Writer

	mu   sync.Mutex
	last []byte
}

const logTailBytes = 2048

// Write implements io.Writer. It never fails, because a full disk under the log must not stop the server.
func (l *logTail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = append(l.last, b...)
	if over := len(l.last) - logTailBytes; over > 0 {
		l.last = append(l.last[:0], l.last[over:]...)
	}
	if l.next != nil {
		_, _ = l.next.Write(b)
	}
	return len(b), nil
}

// suffix is the kept output in the form in which errors end.
func (l *logTail) suffix() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text := strings.TrimSpace(string(l.last)); text != "" {
		return "; it said:\n" + text
	}
	return ""
}

// signalName is the name that kill(1) knows a stop signal by.
func signalName(s syscall.Signal) string {
	if s == syscall.SIGTERM {
		return "SIGTERM"
	}
	return "SIGINT"
}

// stopOrphan stops the server whose process id stands in the first line of a file, if it still runs: the program that
// started it has died and its guard has not finished, or had no chance to. A process counts as that server only when its
// command line contains mark, since process ids are reused.
func stopOrphan(pidFile, mark string, sig syscall.Signal) error {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return nil // no file: no server
	}
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil || pid <= 1 || pid == os.Getpid() {
		return nil // a torn file names nobody
	}
	if !commandContains(pid, mark) {
		return nil
	}
	deadline := time.Now().Add(stopTimeout)
	for sent := sig; ; {
		if err := syscall.Kill(pid, sent); err != nil {
			return nil // gone
		}
		for range 100 {
			time.Sleep(5 * time.Millisecond)
			if syscall.Kill(pid, 0) != nil || !commandContains(pid, mark) {
				return nil
			}
		}
		switch now := time.Now(); {
		case now.After(deadline.Add(stopTimeout)):
			return fmt.Errorf("process %d (%s) of an earlier run does not end", pid, filepath.Base(pidFile))
		case now.After(deadline):
			sent = syscall.SIGKILL
		}
	}
}

// commandContains reports whether a process runs and its command line contains mark. A zombie has none.
func commandContains(pid int, mark string) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if _, noProc := os.Stat("/proc/self/cmdline"); noProc != nil { // not Linux
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		line, err = exec.CommandContext(ctx, "ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	}
	return err == nil && strings.Contains(string(line), mark)
}
