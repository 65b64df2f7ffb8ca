// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"time"
)

// Revocations answers what of one tenant is revoked and still matters at now. It is what a data plane reads before it believes in
// the absence of a mark: when the runtime Redis has been flushed, or was away while others revoked.
func (s *Store) Revocations(ctx context.Context, ref TenantRef, now time.Time) ([]Revocation, error) {
	return s.db.Revocations(ctx, ref, now)
}
