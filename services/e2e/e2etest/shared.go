// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2etest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
)

// process is a testing.TB that lives as long as the test binary: what it starts is shared by all tests and ends after the last.
type process struct {
	testing.TB // of the test that came first; only what is not overridden below is its own

	mu       sync.Mutex
	cleanups []func()
	failed   bool
}

func (p *process) Helper()                  {}
func (p *process) Context() context.Context { return context.Background() }
func (p *process) Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

func (p *process) Cleanup(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cleanups = append(p.cleanups, f)
}

func (p *process) Errorf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = true
	fmt.Fprintf(os.Stderr, "shared system: "+format+"\n", args...)
}

func (p *process) Failed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// end runs the clean-ups, the last first, and reports whether nothing went wrong.
func (p *process) end() bool {
	for {
		p.mu.Lock()
		n := len(p.cleanups)
		if n == 0 {
			p.mu.Unlock()
			return !p.Failed()
		}
		f := p.cleanups[n-1]
		p.cleanups = p.cleanups[:n-1]
		p.mu.Unlock()
		f()
	}
}

// Shared is a Rig that the tests of one package share. They run side by side in it, each in an Org of its own, and none may stop a
// program or empty a server of it.
type Shared struct {
	// Options are how it is started.
	Options Options

	once sync.Once
	life process
	rig  *Rig
}

// Rig starts the system for the first test that asks.
func (s *Shared) Rig(t testing.TB) *Rig {
	t.Helper()
	s.once.Do(func() {
		s.life.TB = t
		s.rig = Start(&s.life, s.Options)
	})
	if s.rig == nil {
		t.Fatal("the shared system did not start: see the test that came first")
	}
	return s.rig
}

// Main runs the tests of a package and then ends its shared systems. It is the whole of a TestMain.
func Main(m *testing.M, systems ...*Shared) {
	code := m.Run()
	for _, s := range slices.Backward(systems) {
		if !s.life.end() {
			code = max(code, 1)
		}
	}
	os.Exit(code)
}
