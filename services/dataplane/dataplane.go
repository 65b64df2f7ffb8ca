// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package dataplane names what a program shares between the services of the data plane when it runs several of them. Everything
// else that they have in common is internal to them.
package dataplane

import "github.com/tenantry/tenantry/services/dataplane/internal/web"

// Metrics counts the requests of the services that it is given to, and writes the counts in the Prometheus text format. A process
// that runs two services gives both the same one: two would each declare the same metrics.
type Metrics = web.Metrics

// NewMetrics makes an empty set.
func NewMetrics() *Metrics { return web.NewMetrics() }
