// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2etest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

// RedisDo sends one command to a Redis server and returns its answer: a string, an int64, nil, or a list of them. It speaks RESP2
// itself, because these tests stand where an operator with a terminal stands.
func RedisDo(t testing.TB, address string, args ...string) any {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	network, target := "tcp", u.Host
	if u.Scheme == "unix" {
		network, target = "unix", u.Path
	}
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), network, target)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(conn, b.String()); err != nil {
		t.Fatal(err)
	}
	v, err := readRESP(bufio.NewReader(conn))
	if err != nil {
		t.Fatalf("redis %s: %v", args[0], err)
	}
	return v
}

func readRESP(r *bufio.Reader) (any, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return nil, io.ErrUnexpectedEOF
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, fmt.Errorf("server says %s", rest)
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	if err != nil || kind == ':' {
		return n, err
	}
	if n < 0 {
		return nil, nil //nolint:nilnil // RESP has a nil
	}
	switch kind {
	case '$':
		raw := make([]byte, n+2)
		if _, err := io.ReadFull(r, raw); err != nil {
			return nil, err
		}
		return string(raw[:n]), nil
	case '*':
		list := make([]any, n)
		for i := range list {
			if list[i], err = readRESP(r); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("answer begins with %q", kind)
}

// RedisDump is everything that a Redis server holds, key by key, as DUMP serialises it; streams are left out, because they name
// moments.
func RedisDump(t testing.TB, address string) map[string]string {
	t.Helper()
	keys, _ := RedisDo(t, address, "KEYS", "*").([]any)
	all := make(map[string]string, len(keys))
	for _, k := range keys {
		key, _ := k.(string)
		if kind, _ := RedisDo(t, address, "TYPE", key).(string); kind != "string" {
			continue
		}
		if v, ok := RedisDo(t, address, "GET", key).(string); ok {
			all[key] = v
		}
	}
	return all
}
