// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package localserver

import (
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// guardScript waits for its parent. It reads the server's process id, then waits on the same pipe: a second line says that
// the server has ended, and the end of the pipe that the parent has died, by kill -9 too. In that case it stops the server
// and, for servers of tests, removes their directory.
//
// A parent-death signal would be Linux only, would follow the parent's thread instead of its process, and cannot remove
// files.
const guardScript = `
read -r pid || exit 0
read -r _ && exit 0
kill -s "$1" "$pid" 2>/dev/null
[ -n "$2" ] || exit 0
n=0
while kill -0 "$pid" 2>/dev/null && [ "$n" -lt 200 ]; do sleep 0.05; n=$((n+1)); done
rm -rf -- "$2"
`

// guard is the small process that outlives this one just long enough to stop a server.
type guard struct {
	pipe io.WriteCloser
	cmd  *exec.Cmd
}

// newGuard starts a guard that would send the signal (its name without SIG) and then remove a directory, if one is given.
// It is started before the server, so that there is no moment in which a server has none.
func newGuard(signal, remove string) (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", guardScript, "tenantry-guard", signal, remove) //nolint:noctx // lives as long as its parent
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C in the terminal is not for it
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("guard: %w", err)
	}
	return &guard{pipe: pipe, cmd: cmd}, nil
}

// watch tells the guard which process it guards.
func (g *guard) watch(pid int) error {
	_, err := fmt.Fprintln(g.pipe, pid)
	return err
}

// release ends the guard without harm to anything: the server has ended, or never started.
func (g *guard) release() {
	_, _ = fmt.Fprintln(g.pipe, "done")
	_ = g.pipe.Close()
	_ = g.cmd.Wait()
}
