// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import "sync/atomic"

// cached is what a cache keeps in each Tenant so that a hot lookup reads one object.
type cached struct {
	flags atomic.Uint32
	// generation under which the version was last confirmed; see Cache.generation.
	confirmed atomic.Uint64

	maxAge int64 // MaxConfigAge in milliseconds
}
