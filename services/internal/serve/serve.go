// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package serve is what the programs of the services have in common: the flags of the small binaries, their exit codes,
// the bounds of memory and the version. How a service is built from its configuration file is in the packages below it, one
// for each service, so that no binary holds the code of another.
package serve

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync/atomic"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/services/internal/logbuf"
)

// version is set by the linker (-X) in releases.
var version string

// Version names the build: the release, else the revision that it was built from.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			if s.Value == "true" {
				modified = "+changes"
			}
		}
	}
	if revision == "" {
		return "dev"
	}
	return "dev-" + revision + modified
}

// Memory bounds the Go heap of a process.
type Memory struct {
	// Limit is what the runtime tries to stay under, by collecting earlier; set it to about 90 % of a container's limit. 0: the
	// environment variable GOMEMLIMIT, else none.
	Limit daemon.Bytes `yaml:"limit"`
	// GCPercent is how much the heap may grow over what is alive before it is collected. 0: the environment variable GOGC, else
	// 100. Less memory and more work with smaller numbers.
	GCPercent int `yaml:"gc_percent"`
	// Headroom is counted as alive by the collector without being used, so that a small heap is not collected all the time: a service
	// has a few MiB alive and makes a hundred times as much garbage each second. It costs up to as much memory (with GCPercent 100).
	// 0: 12 MiB.
	Headroom daemon.Bytes `yaml:"headroom"`
}

// headroom is never written to, so that it takes address space and no memory. Tests run several programs in one process, hence the
// atomic.
var headroom atomic.Pointer[[]byte]

const defaultHeadroom = 12 << 20

// Validate implements daemon.Validator.
func (m *Memory) Validate(k *daemon.Check) {
	if m.Limit != 0 && m.Limit < 16<<20 {
		k.Fail("limit", "must be at least 16MiB")
	}
	if m.GCPercent < 0 || m.GCPercent > 1000 {
		k.Fail("gc_percent", "must be between 0 (the default) and 1000")
	}
	if m.Headroom < 0 || m.Headroom > 1<<30 {
		k.Fail("headroom", "must be between 0 (the default) and 1GiB")
	}
}

// Apply sets the bounds for this process.
func (m Memory) Apply() {
	if m.Limit > 0 {
		debug.SetMemoryLimit(int64(m.Limit))
	}
	if m.GCPercent > 0 {
		debug.SetGCPercent(m.GCPercent)
	}
	size := int64(m.Headroom)
	if size == 0 {
		size = defaultHeadroom
	}
	unused := make([]byte, size)
	headroom.Store(&unused)
}

// Service is a program of one service.
type Service struct {
	// Name of the program, as in logs: tenantry-token.
	Name string
	// Check loads the configuration file and says what is wrong with it.
	Check func(file string) error
	// Run serves until it is told to end. Logs go to the writer.
	Run func(ctx context.Context, file string, log io.Writer) error
}

// Exit codes of the programs.
const (
	ExitOK     = 0
	ExitFailed = 1
	ExitUsage  = 2
)

// Main is main of a service's own binary.
func Main(s Service) { os.Exit(s.main(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

func (s Service) main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet(s.Name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, "Usage:\n  %[1]s --config FILE           serve until SIGTERM\n  %[1]s --config FILE --check   only check the configuration\n  %[1]s --version\n", s.Name)
	}
	file := flags.String("config", "", "configuration file (YAML)")
	check := flags.Bool("check", false, "check the configuration and end")
	show := flags.Bool("version", false, "show the version and end")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return ExitOK
		}
		return ExitUsage
	}
	if *show {
		fmt.Fprintln(stdout, s.Name, Version())
		return ExitOK
	}
	if *file == "" || flags.NArg() > 0 {
		flags.Usage()
		return ExitUsage
	}
	log := logbuf.New(stderr) // one system call for many requests' events; errors go straight through
	defer log.Close()
	run := func() error { return s.Run(ctx, *file, log) }
	if *check {
		run = func() error { return s.Check(*file) }
	}
	if err := run(); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", s.Name, err)
		return ExitFailed
	}
	if *check {
		fmt.Fprintln(stdout, *file+": ok")
	}
	return ExitOK
}
