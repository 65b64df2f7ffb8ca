// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package devenv

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ready prints where to go: a screen of 24 × 80, with what runs and nothing else.
func (e *environment) ready() {
	var b strings.Builder
	fmt.Fprintf(&b, "Tenantry is ready after %s.\n", seconds(time.Since(e.begin)))
	n := 0
	line := func(what, where string) {
		n++
		fmt.Fprintf(&b, "  %d  %-*s%s\n", n, labelWidth-3, what, where)
	}
	if e.sample != nil {
		line("Sign up a company", e.info.Portal)
	}
	line("Read its invitation mail", e.info.Mail)
	self := "tenantry"
	if path, err := os.Executable(); err == nil {
		if self = short(path); !strings.Contains(self, string(filepath.Separator)) {
			self = "./" + self
		}
	}
	line("See it from the outside", self+" "+e.contextFlag+"tenant list")
	fmt.Fprintf(&b, "\n  Sign-in http://<tenant>.%s:%s   API %s/docs\n", baseDomain, strconv.Itoa(e.ports.DataPlane), e.info.REST)
	fmt.Fprintf(&b, "  Keys and addresses for scripts: %s   Logs: %s/\n", short(e.devJSON()), short(e.path("logs")))
	if elsewhere, err := os.Readlink(filepath.Join(e.layout.postgres(), "elsewhere")); err == nil {
		fmt.Fprintf(&b, "  The database is in %s, which PostgreSQL's user may enter\n", elsewhere)
	}
	b.WriteString("Ctrl-C stops all of it and keeps the data; `make reset` deletes the data.\n")
	_, _ = e.Out.Write([]byte(b.String()))
}
