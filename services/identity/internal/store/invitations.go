// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
)

// keptTokens is how many links of one invitation work at a time: that of the last mail, and of those before it in case a mail
// went out although its job failed.
const keptTokens = 3

const invitationColumns = `i.id, i.user_id, i.email, u.name, COALESCE(u.profile->>'locale', ''), i.roles, i.groups, i.client_id, i.state, i.create_time, i.expire_time, i.accept_time`

func invitationDest(i *Invitation) []any {
	return []any{
		(*[16]byte)(&i.ID), (*[16]byte)(&i.User), &i.Email, &i.Name, &i.Locale, &i.Roles, &i.Groups, scanID(&i.Client), &i.State,
		when{&i.CreateTime},
		when{&i.ExpireTime},
		when{&i.AcceptTime},
	}
}

// FindInvitation answers an open invitation by its link.
func (s *Store) FindInvitation(ctx context.Context, ref TenantRef, invitation id.Invitation, tokenHash [32]byte, now time.Time) (Invitation, error) {
	var i Invitation
	err := s.one(ctx, ref, `
		SELECT `+invitationColumns+` FROM invitations i JOIN users u ON u.pool_id = $2 AND u.id = i.user_id AND u.state <> 'SUSPENDED'
		WHERE i.tenant_id = $1 AND i.id = $3 AND $4 = ANY (i.token_hashes) AND i.state = 'PENDING' AND i.expire_time > $5`,
		[]any{uuid(ref.Tenant), uuid(ref.Pool), uuid(invitation), tokenHash[:], micro(now)}, invitationDest(&i)...)
	return i, err
}

// AddInvitationToken stores the hash of one more link of an open invitation.
func (s *Store) AddInvitationToken(ctx context.Context, ref TenantRef, invitation id.Invitation, tokenHash [32]byte, now time.Time) (Invitation, error) {
	var i Invitation
	err := s.one(ctx, ref, `
		WITH i AS (
			UPDATE invitations SET token_hashes = (ARRAY[$4::bytea] || token_hashes)[1:$6], send_time = $5
			WHERE tenant_id = $1 AND id = $3 AND state = 'PENDING' AND expire_time > $5
			RETURNING *
		)
		SELECT `+invitationColumns+` FROM i JOIN users u ON u.pool_id = $2 AND u.id = i.user_id`,
		[]any{uuid(ref.Tenant), uuid(ref.Pool), uuid(invitation), tokenHash[:], micro(now), keptTokens}, invitationDest(&i)...)
	return i, err
}

// AcceptInvitation uses an invitation up: exactly one caller wins, the others get ErrNotFound. The user gets the password, a proven
// address and the invitation's roles. Whoever registered that address before, without proof, is out: their password is replaced
// and their sessions and families end.
func (s *Store) AcceptInvitation(ctx context.Context, ref TenantRef, op Op, invitation id.Invitation, tokenHash [32]byte, phc, name, nameKey string) (User, Ended, error) {
	var (
		u     User
		ended Ended
	)
	now := micro(op.Now)
	err := s.tx(ctx, ref, func(tx pgx.Tx) error {
		var (
			user id.User
			i    Invitation
		)
		err := tx.QueryRow(ctx, `SELECT user_id FROM invitations WHERE tenant_id = $1 AND id = $2`,
			uuid(ref.Tenant), uuid(invitation)).Scan((*[16]byte)(&user))
		if err != nil {
			return err
		}
		// The user's row first, as everywhere; it may have no membership here yet, so lock() does not fit.
		var addressKey string
		err = tx.QueryRow(ctx, `SELECT email_key FROM users WHERE pool_id = $1 AND id = $2 AND state <> 'SUSPENDED' FOR NO KEY UPDATE`,
			uuid(ref.Pool), uuid(user)).Scan(&addressKey)
		if err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `
			UPDATE invitations SET state = 'ACCEPTED', accept_time = $4, token_hashes = '{}'
			WHERE tenant_id = $1 AND id = $2 AND state = 'PENDING' AND $3 = ANY (token_hashes) AND expire_time > $4
			RETURNING email, roles, groups`, uuid(ref.Tenant), uuid(invitation), tokenHash[:], now).Scan(&i.Email, &i.Roles, &i.Groups)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			UPDATE users SET state = 'ACTIVE', email_verified = email_verified OR email = $3,
				name = CASE WHEN $4 <> '' THEN $4 ELSE name END, name_key = CASE WHEN $4 <> '' THEN $5 ELSE name_key END,
				version = version + 1, update_time = $6
			WHERE pool_id = $1 AND id = $2`, uuid(ref.Pool), uuid(user), i.Email, name, nameKey, now)
		if err != nil {
			return err
		}
		if err := putPassword(ctx, tx, ref, user, phc, now); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			INSERT INTO memberships AS m (tenant_id, user_id, id, pool_id, roles, groups, source, state, create_time, update_time)
			VALUES ($1, $3, $4, $2, $5, $6, 'INVITE', 'ACTIVE', $7, $7)
			ON CONFLICT (tenant_id, user_id) DO UPDATE SET update_time = $7,
				roles = ARRAY (SELECT DISTINCT v FROM unnest(m.roles || excluded.roles) AS t (v) ORDER BY v),
				groups = ARRAY (SELECT DISTINCT v FROM unnest(m.groups || excluded.groups) AS t (v) ORDER BY v)`,
			uuid(ref.Tenant), uuid(ref.Pool), uuid(user), uuid(id.NewMembership()), i.Roles, i.Groups, now)
		if err != nil {
			return err
		}
		if ended, err = s.endAll(ctx, tx, ref, now, user, id.Session{}, "invitation_accepted"); err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `SELECT `+fullUser+ofTenant+` AND u.id = $3`, uuid(ref.Tenant), uuid(ref.Pool), uuid(user)).Scan(fullDest(&u)...)
		if err != nil {
			return err
		}
		return record(ctx, tx, ref, op, ActionInvitationAccepted, invitation.String(), map[string]any{"user": user.String()})
	})
	return u, ended, err
}
