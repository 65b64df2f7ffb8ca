// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Command gen renders deploy/routes.yaml (first argument) into the Caddyfile
// (second argument). It is run by "make generate".
package main

import (
	"fmt"
	"os"

	"github.com/tenantry/tenantry/services/internal/edge"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: gen ROUTES CADDYFILE")
	}
	raw, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	table, err := edge.Parse(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return os.WriteFile(args[1], table.Caddyfile(), 0o644) // a public file of the repository
}
