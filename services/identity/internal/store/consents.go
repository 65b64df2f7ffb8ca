// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"

	"github.com/tenantry/tenantry/pkg/id"
)

// Consent answers what the user has said yes to.
func (s *Store) Consent(ctx context.Context, ref TenantRef, user id.User, client id.Client) (Consent, error) {
	c := Consent{User: user, Client: client}
	err := s.one(ctx, ref, `SELECT scopes, grant_time FROM consents WHERE tenant_id = $1 AND user_id = $2 AND client_id = $3`,
		[]any{uuid(ref.Tenant), uuid(user), uuid(client)}, &c.Scopes, when{&c.GrantTime})
	return c, err
}

// GrantConsent adds scopes to what the user has said yes to. ErrNotFound when the user may not log in.
func (s *Store) GrantConsent(ctx context.Context, ref TenantRef, op Op, user id.User, client id.Client, scopes []string) (Consent, error) {
	c := Consent{User: user, Client: client}
	var seq int64
	args := append([]any{uuid(ref.Tenant), uuid(ref.Pool), uuid(user), uuid(client), list(scopes), micro(op.Now)},
		event(ref, op, ActionConsentGranted, user.String(), map[string]any{"client": client.String(), "scopes": list(scopes)})...)
	err := s.one(ctx, ref, `
		WITH who AS (
			SELECT u.id`+ofTenant+` AND u.id = $3 AND u.state = 'ACTIVE' AND m.state = 'ACTIVE' FOR SHARE OF u
		)
		INSERT INTO consents AS c (tenant_id, user_id, client_id, scopes, grant_time, create_time)
		SELECT $1, who.id, $4, $5, $6, $6 FROM who
		ON CONFLICT (tenant_id, user_id, client_id) DO UPDATE SET grant_time = excluded.grant_time,
			scopes = ARRAY (SELECT DISTINCT v FROM unnest(c.scopes || excluded.scopes) AS t (v) ORDER BY v)
		RETURNING c.scopes, c.grant_time, `+appendAudit(7), args, &c.Scopes, when{&c.GrantTime}, &seq)
	return c, err
}
