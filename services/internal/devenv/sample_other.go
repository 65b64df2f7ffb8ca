// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

//go:build !linux

package devenv

import "syscall"

// childAttributes keep a terminal's Ctrl-C from the child, which this program stops in its order. What a killed run leaves
// behind, the next one ends.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func (s *sample) start() error {
	if err := s.cmd.Start(); err != nil {
		return err
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	return nil
}
