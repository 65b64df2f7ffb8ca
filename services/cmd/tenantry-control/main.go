// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Command tenantry-control is the control plane: the API for orgs and tenants, and the publisher of their configuration.
package main

import (
	"github.com/tenantry/tenantry/services/internal/serve"
	"github.com/tenantry/tenantry/services/internal/serve/controlserver"
)

func main() { serve.Main(controlserver.Program) }
