// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Command bench measures the figures that Tenantry promises and writes them down: `make bench`.
//
//	go run ./services/e2e/bench -out deploy/BENCHMARKS.md
//
// It runs the real programs on a PostgreSQL that syncs every commit and on two Redis servers, all on this machine, with the load
// generator beside them. A figure is a ratio to a yardstick that is measured in the same run, in turns: A B B A A B …, medians. So the
// ratios hold on another machine too, and what else this one does meets both sides. The yardsticks are in yardstick.go.
//
// It needs Linux: what a process costs is read from /proc.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
	"github.com/tenantry/tenantry/services/internal/logbuf"
	"github.com/tenantry/tenantry/services/internal/serve"
	"github.com/tenantry/tenantry/services/internal/serve/controlserver"
	"github.com/tenantry/tenantry/services/internal/serve/loginserver"
	"github.com/tenantry/tenantry/services/internal/serve/tokenserver"
)

// row is a line of the table.
type row struct {
	figure, reach, measured string
	ok                      bool
	peer                    string
}

// group measures rows that share a set-up.
type group struct {
	name string
	run  func(*bed) []row
}

// groups in their order. Those that end or disturb a program come last.
var groups = []group{
	{"token", clientCredentials},
	{"documents", documents},
	{"introspection", introspection},
	{"signed", signedRequests},
	{"refresh", refresh},
	{"lookup", lookup},
	{"login", passwordLogin},
	{"visible", visible},
	{"provision", provision},
	{"start", start},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "serve-yardsticks" {
		exit(serveYardsticks(os.Stdin))
	}
	if len(os.Args) > 2 && os.Args[1] == "serve-cheap" {
		exit(profiled(os.Args[3:], func() error { return serveLogin(os.Args[2]) }))
	}
	for name, p := range programs {
		if len(os.Args) > 2 && os.Args[1] == "serve-"+name {
			log := logbuf.New(os.Stderr)
			exit(profiled(os.Args[3:], func() error { defer log.Close(); return p.Run(context.Background(), os.Args[2], log) }))
		}
	}
	out := flag.String("out", "", "file to write the table to; none: only to standard output")
	only := flag.String("only", "", "measure some: "+strings.Join(names(), ", ")+" (separated by commas)")
	seconds := flag.Float64("seconds", 8, "how long each side of a comparison is measured")
	profiles := flag.String("profiles", "", "directory for CPU profiles of the services; they then run in copies of this program")
	flag.Parse()
	exit(run(*out, *only, *profiles, time.Duration(*seconds*float64(time.Second))))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func names() (all []string) {
	for _, g := range groups {
		all = append(all, g.name)
	}
	return all
}

// programs are the services, for when they are profiled.
var programs = map[string]serve.Service{e2etest.Control: controlserver.Program, e2etest.Login: loginserver.Program, e2etest.Token: tokenserver.Program}

// profiled runs a service and writes a CPU profile of it, when a file is given.
func profiled(file []string, run func() error) error {
	if len(file) == 0 || file[0] == "" {
		return run()
	}
	f, err := os.Create(file[0])
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	err = run()
	pprof.StopCPUProfile()
	return errors.Join(err, f.Close())
}

func run(out, only, profiles string, each time.Duration) (err error) {
	chosen := groups
	if only != "" {
		chosen = nil
		for name := range strings.SplitSeq(only, ",") {
			i := slices.Index(names(), name)
			if i < 0 {
				return fmt.Errorf("nothing is called %q; there are %s", name, strings.Join(names(), ", "))
			}
			chosen = append(chosen, groups[i])
		}
	}
	b := newBed(each, profiles)
	defer b.end()
	defer func() {
		if p := recover(); p != nil {
			f, ok := p.(failure)
			if !ok {
				panic(p)
			}
			err = errors.New(string(f))
		}
	}()
	begin := time.Now()
	b.start()
	busy := others()
	var rows []row
	for _, g := range chosen {
		progress("%s", g.name)
		for _, r := range g.run(b) {
			verdict := "reached"
			if !r.ok {
				verdict = "MISSED"
			}
			progress("  → %s: %s (%s) %s", r.figure, r.measured, r.reach, verdict)
			rows = append(rows, r)
		}
	}
	text := report(rows, command(only, each), busy(), time.Since(begin))
	if out == "" {
		fmt.Print(text)
		return nil
	}
	fmt.Print(text)
	return os.WriteFile(out, []byte(text), 0o644)
}

func command(only string, each time.Duration) string {
	c := "make bench"
	if only != "" || each != 8*time.Second {
		c = fmt.Sprintf("go run ./services/e2e/bench -seconds %g", each.Seconds())
		if only != "" {
			c += " -only " + only
		}
	}
	return c
}

// progress tells who waits.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}
