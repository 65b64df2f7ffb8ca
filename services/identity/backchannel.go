// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/identity/internal/store"
)

// BackchannelMail is the job that asks for the mail about a request that waits for a person; login has the worker for it.
type BackchannelMail = store.BackchannelMail

// AskByMail enqueues the mail that tells a user of a request that waits for their answer. ErrNotFound when the user may not log in.
func (s *Store) AskByMail(ctx context.Context, ref TenantRef, user id.User, request string) error {
	return s.db.AskByMail(ctx, BackchannelMail{TenantRef: ref, User: user, Request: request})
}
