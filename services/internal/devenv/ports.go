// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package devenv

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Ports are where an environment listens, all on the loopback interface.
type Ports struct {
	DataPlane, REST, GRPC, Admin, Sample, Mail int
}

// DefaultPorts are those of the documentation, all moved by an offset.
func DefaultPorts(offset int) Ports {
	return Ports{
		DataPlane: 8080 + offset, REST: 9080 + offset, GRPC: 9090 + offset, Admin: 9190 + offset, Sample: 8090 + offset, Mail: 8025 + offset,
	}
}

func (p Ports) list() []port {
	return []port{
		{p.DataPlane, "sign-in pages of tenants"},
		{p.REST, "control plane, REST"},
		{p.GRPC, "control plane, gRPC"},
		{p.Admin, "health and metrics"},
		{p.Sample, "sample apps"},
		{p.Mail, "mail inbox"},
	}
}

type port struct {
	number  int
	purpose string
}

// PortError: something else listens where the environment would.
type PortError struct{ Taken []TakenPort }

// TakenPort is a port with who has it.
type TakenPort struct {
	Port    int
	Purpose string
	Holder  string // "nginx (process 123)"; empty when it cannot be found out
}

// Error names every taken port.
func (e *PortError) Error() string {
	lines := make([]string, len(e.Taken))
	for i, t := range e.Taken {
		by := "another program, perhaps of another user"
		if t.Holder != "" {
			by = t.Holder
		}
		lines[i] = fmt.Sprintf("port %d (%s) is taken by %s", t.Port, t.Purpose, by)
	}
	return strings.Join(lines, "\n")
}

// checkPorts looks at all ports before anything starts.
func checkPorts(ctx context.Context, p Ports) error {
	var taken []TakenPort
	for _, port := range p.list() {
		if free(ctx, port.number) {
			continue
		}
		taken = append(taken, TakenPort{Port: port.number, Purpose: port.purpose, Holder: holder(ctx, port.number)})
	}
	if taken != nil {
		return &PortError{Taken: taken}
	}
	return nil
}

// free reports whether nobody listens on a port of the loopback interface. IPv6 counts: browsers try it first.
func free(ctx context.Context, port int) bool {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	_ = l.Close()
	d := net.Dialer{Timeout: 200 * time.Millisecond}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort("::1", strconv.Itoa(port)))
	if err != nil {
		return true
	}
	_ = conn.Close()
	return false
}

// holder names the program that listens on a port, as far as this user may know.
func holder(ctx context.Context, port int) string {
	if runtime.GOOS == "linux" {
		if pid := holderPID(port); pid != "" {
			return process(pid)
		}
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "lsof", "-nP", "-t", "-sTCP:LISTEN", "-iTCP:"+strconv.Itoa(port)).Output()
	if err != nil {
		return ""
	}
	pid, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	name, err := exec.CommandContext(ctx, "ps", "-o", "comm=", "-p", pid).Output()
	if err != nil {
		return "process " + pid
	}
	return fmt.Sprintf("%s (process %s)", filepath.Base(strings.TrimSpace(string(name))), pid)
}

func process(pid string) string {
	name, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		return "process " + pid
	}
	return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), pid)
}

// holderPID finds the listening socket in the kernel's tables, and then the process that has it open.
func holderPID(port int) string {
	inode := ""
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if inode = listeningInode(table, port); inode != "" {
			break
		}
	}
	if inode == "" {
		return ""
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == "socket:["+inode+"]" {
			return strings.Split(link, "/")[2]
		}
	}
	return ""
}

func listeningInode(table string, port int) string {
	f, err := os.Open(table)
	if err != nil {
		return ""
	}
	defer f.Close()
	const listening = "0A"
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != listening {
			continue
		}
		_, text, _ := strings.Cut(fields[1], ":")
		raw, err := hex.DecodeString(text)
		if err == nil && len(raw) == 2 && int(raw[0])<<8|int(raw[1]) == port {
			return fields[9]
		}
	}
	return ""
}
