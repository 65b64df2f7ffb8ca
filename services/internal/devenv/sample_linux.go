// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package devenv

import (
	"runtime"
	"syscall"
)

// childAttributes keep a terminal's Ctrl-C from the child, which this program stops in its order, and end it when this
// program dies.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// start starts the program from a thread that lives as long as the program: the kernel sends Pdeathsig at the end of the
// thread that started it.
func (s *sample) start() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			s.err = s.cmd.Wait()
			close(s.done)
		}
		runtime.UnlockOSThread()
	}()
	return <-started
}
