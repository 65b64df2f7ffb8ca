// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Command tenantry-token serves the machine endpoints of every tenant's host: discovery, keys, tokens, user info.
package main

import (
	"github.com/tenantry/tenantry/services/internal/serve"
	"github.com/tenantry/tenantry/services/internal/serve/tokenserver"
)

func main() { serve.Main(tokenserver.Program) }
