// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// OnceApproval is the kind of a person's yes to authorization_details: its nonce (RFC 9396 section 11.2).
const OnceApproval = "approval"

// HoldRequest keeps a pushed request for completion for at least ttl from now: it was opened while it was valid, and the person who is
// logging in may take longer than the client had for opening it (RFC 9126 section 4). Opening it anew still ends at its own time. A
// request that is gone stays gone. What it asks is not kept: the caller has read it.
func (s *Store) HoldRequest(ctx context.Context, tenant id.Tenant, requestURI string, ttl time.Duration) error {
	if !isRequestURI(requestURI) {
		return ErrRequestUnknown
	}
	if err := s.ready(); err != nil {
		return err
	}
	return s.done(s.rdb.ExpireGT(ctx, requestKeys(tenant, requestURI)[1], ttl).Err())
}
