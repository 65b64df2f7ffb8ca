// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Command tenantry-login serves the pages of every tenant's host, and sends the mails.
package main

import (
	"github.com/tenantry/tenantry/services/internal/serve"
	"github.com/tenantry/tenantry/services/internal/serve/loginserver"
)

func main() { serve.Main(loginserver.Program) }
