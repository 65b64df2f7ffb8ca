// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package e2e_test holds what is promised of the whole of Tenantry against the running system, through its public ports alone: the
// REST API, the tenants' hosts, the mails, and a real browser.
//
// Tests share one system and run side by side in it, each in an org of its own. Those that stop programs or compare everything that
// is stored have a system to themselves.
package e2e_test

import (
	"testing"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

var system e2etest.Shared

func TestMain(m *testing.M) { e2etest.Main(m, &system) }
