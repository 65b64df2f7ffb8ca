// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Command tenantry is the command line of Tenantry, and all of its services in one program.
package main

import "github.com/tenantry/tenantry/services/internal/cli"

func main() { cli.Main() }
