// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/localserver"
)

// report is deploy/BENCHMARKS.md.
func report(rows []row, command string, busy float64, took time.Duration) string {
	var t strings.Builder
	t.WriteString("# Benchmarks\n\nMade by `" + command + "`; do not edit.\n\n")
	fmt.Fprintf(&t, "%s, measured in %s. %s\n\n", machine(), took.Round(time.Second), quiet(busy))
	t.WriteString("| figure | reach | measured | reached | best open peer |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		ok := "yes"
		if !r.ok {
			ok = "**no**"
		}
		fmt.Fprintf(&t, "| %s | %s | %s | %s | %s |\n", r.figure, r.reach, r.measured, ok, r.peer)
	}
	t.WriteString(`
How it is measured:

- Everything is on one machine: the programs as processes of their own with their logs in files, PostgreSQL with fsync, two Redis
  servers, and the load generator, which writes requests and reads answers over keep-alive connections with next to no work of its own.
  It is the same for both sides of a ratio, and its cost is in the figures of both.
- The two sides take turns (A B B A A B …) and medians are taken, of the slices for a figure and of the pairs for a ratio.
- ` + "`hello`" + ` is a net/http handler that writes the same headers and body. ` + "`bare sign`" + ` parses the form, takes one SHA-256 and
  signs one ES256 JWT with crypto/ecdsa; ` + "`bare proof`" + ` verifies a client assertion and a DPoP proof as well, which were signed before the
  clock ran. The bare introspection verifies one ES256 signature and asks Redis once. Each runs in a process
  of its own with the same GOMAXPROCS, and knows nothing of tenants, clients, errors, logs or attacks.
- CPU is user and system time of the serving processes, from /proc. A login's CPU beside the hash is measured on the login service with
  a password hash of 8 KiB.
- A change is committed when PostgreSQL stamped it (track_commit_timestamp) and served when another process's snapshot cache answers
  with it.
`)
	return t.String()
}

// quiet says how quiet the machine was.
func quiet(busy float64) string {
	return fmt.Sprintf("Programs that have nothing to do with it used %.0f %% of the machine meanwhile.", busy*100)
}

// machine describes the machine without naming it.
func machine() string {
	model := runtime.GOARCH
	raw, _ := os.ReadFile("/proc/cpuinfo") // what is missing there is not said
	for line := range strings.Lines(string(raw)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			model = strings.TrimSpace(v)
			break
		}
	}
	text := fmt.Sprintf("%d cores (%s), %s, %s", runtime.NumCPU(), model, runtime.GOOS, runtime.Version())
	if found, err := localserver.Find(); err == nil {
		text += ", PostgreSQL " + found.PostgresVersion + ", Redis " + found.RedisVersion
	}
	return text
}

// others watches the machine and answers which share of it went to processes that this program did not start.
func others() func() float64 {
	total0, idle0 := machineTime()
	own0 := ownTime()
	return func() float64 {
		total, idle := machineTime()
		all := float64(total - total0)
		if all == 0 {
			return 0
		}
		return max(0, (all-float64(idle-idle0)-float64(ownTime()-own0))/all)
	}
}

// machineTime is the time of all cores and what of it was idle, in hundredths of a second.
func machineTime() (total, idle int64) {
	raw, _ := os.ReadFile("/proc/stat")
	first, _, _ := strings.Cut(string(raw), "\n")
	for i, f := range strings.Fields(first)[1:] {
		n, _ := strconv.ParseInt(f, 10, 64)
		if i < 8 { // guests are in user already
			total += n
		}
		if i == 3 || i == 4 { // idle, waiting for a disk
			idle += n
		}
	}
	return total, idle
}

// ownTime is the time of this process and of everything that it started, in hundredths of a second.
func ownTime() (sum int64) {
	for _, p := range processes() {
		if descends(p.pid) {
			sum += int64((p.own + p.children) / (10 * time.Millisecond))
		}
	}
	return sum
}

// process is what /proc says of one.
type process struct {
	pid, parent   int
	name          string
	own, children time.Duration // processor time, and that of children that have ended and were waited for
}

func processes() (all []process) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if p, ok := readProcess(pid); ok {
				all = append(all, p)
			}
		}
	}
	return all
}

// readProcess reads /proc/PID/stat (proc(5)): after the name, which may have spaces, the parent is the 4th field, and the times are the
// 14th to 17th in hundredths of a second.
func readProcess(pid int) (p process, ok bool) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return p, false
	}
	text := string(raw)
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	f := strings.Fields(text[end+1:])
	number := func(i int) int { n, _ := strconv.Atoi(f[i]); return n }
	p = process{pid: pid, name: text[open+1 : end], parent: number(1)}
	p.own = time.Duration(number(11)+number(12)) * 10 * time.Millisecond
	p.children = time.Duration(number(13)+number(14)) * 10 * time.Millisecond
	return p, true
}

// descends says whether a process was started by this one, or by what it started.
func descends(pid int) bool {
	self := os.Getpid()
	for pid > 1 {
		if pid == self {
			return true
		}
		p, ok := readProcess(pid)
		if !ok {
			return false
		}
		pid = p.parent
	}
	return false
}

// dial connects as a client would.
func dial(addr string) (net.Conn, error) {
	return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", addr)
}
