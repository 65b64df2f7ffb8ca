// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tenantry/tenantry/pkg/id"
)

// leanUser is what tokens and pages need of users u and memberships m; fullUser is all of it.
const (
	leanUser = `u.id, u.email, u.email_verified, u.name, u.profile, u.state, u.version, u.create_time, u.update_time,
		m.id, m.state = 'SUSPENDED', m.roles, m.groups`
	fullUser = leanUser + `, u.app_metadata, u.user_metadata,
		EXISTS (SELECT FROM credentials k WHERE k.pool_id = u.pool_id AND k.user_id = u.id AND k.kind = 'PASSWORD')`
	ofTenant = ` FROM users u JOIN memberships m ON m.tenant_id = $1 AND m.user_id = u.id WHERE u.pool_id = $2`
)

// versioned turns the scanned version into the etag.
type versioned struct{ u *User }

// ScanInt64 implements pgtype.Int64Scanner.
func (v versioned) ScanInt64(n pgtype.Int8) error {
	v.u.Etag = etag(n.Int64)
	return nil
}

// claims scans the profile column. It has all of the profile but the name, whose column was scanned before.
type claims struct{ p *Profile }

// ScanBytes implements pgtype.BytesScanner.
func (c claims) ScanBytes(raw []byte) error {
	if string(raw) == "{}" {
		return nil
	}
	return json.Unmarshal(raw, c.p)
}

// profileColumn is the profile without the name.
func profileColumn(p Profile) string {
	p.Name = ""
	raw, _ := json.Marshal(p) // a struct of strings
	return string(raw)
}

func leanDest(u *User) []any {
	return []any{
		(*[16]byte)(&u.ID), &u.Email, &u.EmailVerified, &u.Name,
		claims{&u.Profile},
		&u.State,
		versioned{u},
		when{&u.CreateTime},
		when{&u.UpdateTime},
		(*[16]byte)(&u.Membership), &u.MembershipSuspended, &u.Roles, &u.Groups,
	}
}

func fullDest(u *User) []any {
	return append(leanDest(u), (*[]byte)(&u.AppMetadata), (*[]byte)(&u.UserMetadata), &u.HasPassword)
}

func scanUser(row pgx.CollectableRow) (User, error) {
	var u User
	err := row.Scan(fullDest(&u)...)
	return u, err
}

// GetUser answers a member of the tenant.
func (s *Store) GetUser(ctx context.Context, ref TenantRef, user id.User) (User, error) {
	var u User
	err := s.one(ctx, ref, `SELECT `+fullUser+ofTenant+` AND u.id = $3`, []any{uuid(ref.Tenant), uuid(ref.Pool), uuid(user)}, fullDest(&u)...)
	return u, err
}

// ListUsers answers a page of the tenant's members. The filter's Email is the folded key here.
func (s *Store) ListUsers(ctx context.Context, ref TenantRef, p UserPage) ([]User, error) {
	after, order := `m.user_id > $3`, `ASC`
	if p.Descending {
		after, order = `($3 = '00000000-0000-0000-0000-000000000000'::uuid OR m.user_id < $3)`, `DESC`
	}
	return many(ctx, s, ref, `
		SELECT `+fullUser+ofTenant+` AND `+after+`
			AND ($5 = '' OR u.email_key = $5) AND ($6 = '' OR u.state = $6) AND ($7 = '' OR $7 = ANY (m.roles))
		ORDER BY m.user_id `+order+` LIMIT $4`,
		[]any{uuid(ref.Tenant), uuid(ref.Pool), uuid(p.After), p.Limit, p.Filter.Email, string(p.Filter.State), p.Filter.Role}, scanUser)
}

// SearchUsers answers members whose folded e-mail address or name begins so, at most limit, in the order of their ids.
func (s *Store) SearchUsers(ctx context.Context, ref TenantRef, emailPrefix, namePrefix string, after id.User, limit int) ([]User, error) {
	// U+10FFFF sorts behind every character in the C collation, so the prefix is a range of the index.
	const last = "\U0010FFFF"
	return many(ctx, s, ref, `
		SELECT `+fullUser+ofTenant+` AND m.user_id > $3
			AND (u.email_key >= $5 AND u.email_key < $6 OR u.name_key >= $7 AND u.name_key < $8)
		ORDER BY m.user_id LIMIT $4`,
		[]any{uuid(ref.Tenant), uuid(ref.Pool), uuid(after), limit, emailPrefix, emailPrefix + last, namePrefix, namePrefix + last}, scanUser)
}

// insertUser makes a user with everything that begins with them, in one statement: credential, membership, invitation, audit.
// guard is a condition on the whole; conflict is what to do when the user or the address exists.
func insertUser(guard, conflict string) string {
	return `
	WITH u AS (
		INSERT INTO users (pool_id, id, email, email_key, email_verified, name, name_key, profile, state, app_metadata, user_metadata,
			create_time, update_time)
		SELECT $2::uuid, $3::uuid, $4::text, $5::text, $6::bool, $7::text, $8::text, $9::jsonb, $10::text, $11::jsonb, $12::jsonb,
			$13::timestamptz, $13::timestamptz
		` + guard + ` ` + conflict + `
		RETURNING id, ` + appendAudit(auditUser) + `
	), c AS (
		INSERT INTO credentials (pool_id, user_id, kind, phc, create_time, update_time)
		SELECT $2::uuid, u.id, 'PASSWORD', $14::text, $13::timestamptz, $13::timestamptz FROM u WHERE $14::text <> ''
	), m AS (
		INSERT INTO memberships (tenant_id, user_id, id, pool_id, roles, groups, source, state, create_time, update_time)
		SELECT $1::uuid, u.id, $15::uuid, $2::uuid, $16::text[], $17::text[], $18::text, 'ACTIVE', $13::timestamptz, $13::timestamptz FROM u
	), i AS (
		INSERT INTO invitations (tenant_id, id, pool_id, user_id, email, roles, groups, client_id, state, create_time, expire_time)
		SELECT $1::uuid, $19::uuid, $2::uuid,
			COALESCE((SELECT id FROM u), (SELECT id FROM users WHERE pool_id = $2::uuid AND id = $3::uuid),
				(SELECT id FROM users WHERE pool_id = $2::uuid AND email_key = $5::text)),
			$4::text, $16::text[], $17::text[], $20::uuid, 'PENDING', $13::timestamptz, $21::timestamptz
		WHERE $19::uuid IS NOT NULL ` + andGuard(guard) + `
		ON CONFLICT (tenant_id, id) DO NOTHING
		RETURNING id, ` + appendAudit(auditInvitation) + `
	)
	SELECT (SELECT count(*) FROM u), (SELECT count(*) FROM i)`
}

// Where the parameters of the two events begin, and how many parameters insertUser has.
const (
	auditUser       = 22
	auditInvitation = auditUser + auditParams
	afterInsertUser = auditInvitation + auditParams
)

func andGuard(guard string) string {
	if guard == "" {
		return ""
	}
	return "AND" + guard[len("WHERE"):]
}

var insertUserOnce = insertUser("", "")

// insertUserArgs are the parameters of insertUser before those of its guard.
func insertUserArgs(ref TenantRef, op Op, u *NewUser) []any {
	now := micro(op.Now)
	var (
		invitation, client any
		expire             *time.Time
	)
	inviteDetails := map[string]any{"user": u.ID.String()}
	resource := ""
	if u.Invitation != nil {
		invitation, client = uuid(u.Invitation.ID), orNull(u.Invitation.Client)
		t := micro(u.Invitation.ExpireTime)
		expire, resource = &t, u.Invitation.ID.String()
	}
	args := []any{
		uuid(ref.Tenant), uuid(ref.Pool), uuid(u.ID), u.Email, u.EmailKey, u.EmailVerified, u.Name, u.NameKey, profileColumn(u.Profile),
		string(u.State), object(u.AppMetadata), object(u.UserMetadata), now, u.PHC, uuid(u.Membership), list(u.Roles), list(u.Groups),
		u.Source, invitation, client, expire,
	}
	details := map[string]any{"membership": u.Membership.String(), "source": u.Source}
	if len(u.Roles) > 0 {
		details["roles"] = u.Roles
	}
	args = append(args, event(ref, op, ActionUserCreated, u.ID.String(), details)...)
	return append(args, event(ref, op, ActionInvitationCreated, resource, inviteDetails)...)
}

// object is the JSON object of a metadata column.
func object(raw json.RawMessage) string {
	if len(raw) == 0 {
		return "{}"
	}
	return string(raw)
}

// CreateUser makes a user with membership, and credential and invitation when given, in one transaction. ErrEmailTaken when the
// pool has the address.
func (s *Store) CreateUser(ctx context.Context, ref TenantRef, op Op, u NewUser) error {
	var users, invitations int
	args := insertUserArgs(ref, op, &u)
	if u.Invitation == nil {
		return s.one(ctx, ref, insertUserOnce, args, &users, &invitations)
	}
	return s.tx(ctx, ref, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, insertUserOnce, args...).Scan(&users, &invitations); err != nil {
			return err
		}
		return s.enqueue(ctx, tx, []InvitationMail{{TenantRef: ref, Invitation: u.Invitation.ID}})
	})
}

// lock takes the user's row for a change, if the user is a member of the tenant, and compares the etag when one is given. It is
// the first lock of every transaction that changes a user.
func lock(ctx context.Context, tx pgx.Tx, ref TenantRef, user id.User, wantEtag string) (version int64, err error) {
	err = tx.QueryRow(ctx, `SELECT u.version`+ofTenant+` AND u.id = $3 FOR NO KEY UPDATE OF u`,
		uuid(ref.Tenant), uuid(ref.Pool), uuid(user)).Scan(&version)
	if err != nil {
		return 0, err
	}
	if wantEtag != "" && wantEtag != etag(version) {
		return 0, ErrEtag
	}
	return version, nil
}

// UpdateUser changes what c names. Suspending ends the user's sessions and families in the same transaction.
func (s *Store) UpdateUser(ctx context.Context, ref TenantRef, op Op, user id.User, c UserChange, wantEtag string) (User, Ended, error) {
	var (
		u     User
		ended Ended
	)
	err := s.tx(ctx, ref, func(tx pgx.Tx) error {
		if _, err := lock(ctx, tx, ref, user, wantEtag); err != nil {
			return err
		}
		now := micro(op.Now)
		_, err := tx.Exec(ctx, `
			UPDATE users SET
				email = COALESCE($3, email), email_key = COALESCE($4, email_key),
				email_verified = COALESCE($5, email_verified AND ($4::text IS NULL OR $4 = email_key)),
				name = COALESCE($6, name), name_key = COALESCE($7, name_key), profile = profile || $8::jsonb,
				-- Who has an open invitation and no credential goes back to INVITED when resumed.
				state = CASE WHEN $9::text = 'ACTIVE' AND NOT EXISTS (
						SELECT FROM credentials c WHERE c.pool_id = $1 AND c.user_id = $2)
					AND EXISTS (SELECT FROM invitations i WHERE i.tenant_id = $12 AND i.user_id = $2 AND i.state = 'PENDING')
					THEN 'INVITED' ELSE COALESCE($9, state) END,
				app_metadata = COALESCE($10, app_metadata), user_metadata = COALESCE($11, user_metadata),
				version = version + 1, update_time = $13
			WHERE pool_id = $1 AND id = $2`,
			uuid(ref.Pool), uuid(user), c.Email, c.EmailKey, c.EmailVerified, c.Name, c.NameKey, c.profilePatch(), (*string)(c.State),
			jsonOrNull(c.AppMetadata), jsonOrNull(c.UserMetadata), uuid(ref.Tenant), now)
		if err != nil {
			return err
		}
		if c.Roles != nil || c.Groups != nil {
			_, err := tx.Exec(ctx, `
				UPDATE memberships SET roles = COALESCE($3, roles), groups = COALESCE($4, groups), update_time = $5
				WHERE tenant_id = $1 AND user_id = $2`,
				uuid(ref.Tenant), uuid(user), listOrNull(c.Roles), listOrNull(c.Groups), now)
			if err != nil {
				return err
			}
		}
		if c.State != nil && *c.State == UserSuspended {
			if ended, err = s.endAll(ctx, tx, ref, now, user, id.Session{}, "user_suspended"); err != nil {
				return err
			}
		}
		err = tx.QueryRow(ctx, `SELECT `+fullUser+ofTenant+` AND u.id = $3`, uuid(ref.Tenant), uuid(ref.Pool), uuid(user)).Scan(fullDest(&u)...)
		if err != nil {
			return err
		}
		return record(ctx, tx, ref, op, ActionUserUpdated, user.String(), c.details())
	})
	return u, ended, err
}

// profilePatch is the members of the profile column that change.
func (c *UserChange) profilePatch() string {
	patch := map[string]string{}
	for name, v := range map[string]*string{
		"given_name": c.GivenName, "family_name": c.FamilyName, "nickname": c.Nickname, "preferred_username": c.PreferredUsername,
		"picture": c.Picture, "website": c.Website, "locale": c.Locale, "zoneinfo": c.Zoneinfo,
	} {
		if v != nil {
			patch[name] = *v
		}
	}
	raw, _ := json.Marshal(patch) // a map of strings
	return string(raw)
}

// details names what changed: the fields, never their values, except those that carry rights.
func (c *UserChange) details() map[string]any {
	var fields []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"email", c.Email != nil},
		{"email_verified", c.EmailVerified != nil},
		{"name", c.Name != nil},
		{"given_name", c.GivenName != nil},
		{"family_name", c.FamilyName != nil},
		{"nickname", c.Nickname != nil},
		{"preferred_username", c.PreferredUsername != nil},
		{"picture", c.Picture != nil},
		{"website", c.Website != nil},
		{"locale", c.Locale != nil},
		{"zoneinfo", c.Zoneinfo != nil},
		{"state", c.State != nil},
		{"roles", c.Roles != nil},
		{"groups", c.Groups != nil},
		{"app_metadata", c.AppMetadata != nil},
		{"user_metadata", c.UserMetadata != nil},
	} {
		if f.set {
			fields = append(fields, f.name)
		}
	}
	d := map[string]any{"fields": fields}
	if c.State != nil {
		d["state"] = string(*c.State)
	}
	if c.Roles != nil {
		d["roles"] = *c.Roles
	}
	if c.Groups != nil {
		d["groups"] = *c.Groups
	}
	return d
}

func jsonOrNull(raw *json.RawMessage) *string {
	if raw == nil {
		return nil
	}
	t := object(*raw)
	return &t
}

func listOrNull(v *[]string) any {
	if v == nil {
		return nil
	}
	return list(*v)
}

// DeleteUser removes the user and all they have: credentials, membership, invitations, sessions, families, consents. Only the
// audit chain still names the id, which is never drawn again.
func (s *Store) DeleteUser(ctx context.Context, ref TenantRef, op Op, user id.User, wantEtag string) (Ended, error) {
	var ended Ended
	err := s.tx(ctx, ref, func(tx pgx.Tx) error {
		if _, err := lock(ctx, tx, ref, user, wantEtag); err != nil {
			return err
		}
		var err error
		if ended, err = s.endAll(ctx, tx, ref, micro(op.Now), user, id.Session{}, "user_deleted"); err != nil {
			return err
		}
		var b pgx.Batch
		for _, table := range []string{"invitations", "refresh_families", "consents", "memberships"} {
			b.Queue(`DELETE FROM `+table+` WHERE tenant_id = $1 AND user_id = $2`, uuid(ref.Tenant), uuid(user))
		}
		b.Queue(`DELETE FROM users WHERE pool_id = $1 AND id = $2`, uuid(ref.Pool), uuid(user))
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		return record(ctx, tx, ref, op, ActionUserDeleted, user.String(), nil)
	})
	return ended, err
}

// EraseTenant removes everything of the tenant but its audit chain, and everything of its pool when the pool is the tenant's own.
// It may run again.
func (s *Store) EraseTenant(ctx context.Context, ref TenantRef, op Op, pool bool) error {
	return s.tx(ctx, ref, func(tx pgx.Tx) error {
		var b pgx.Batch
		if pool {
			for _, table := range []string{"credentials", "unknown_logins", "users"} {
				b.Queue(`DELETE FROM `+table+` WHERE pool_id = $1`, uuid(ref.Pool))
			}
		}
		for _, table := range []string{
			"invitations", "sessions", "session_clients", "refresh_families", "consents", "memberships", "revocations", "applied_seeds",
		} {
			b.Queue(`DELETE FROM `+table+` WHERE tenant_id = $1`, uuid(ref.Tenant))
		}
		if err := tx.SendBatch(ctx, &b).Close(); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM river_job WHERE kind = ANY($1) AND state NOT IN ('running') AND args->>'tenant' = $2`,
			jobKinds, ref.Tenant.String())
		if err != nil {
			return err
		}
		return record(ctx, tx, ref, op, ActionTenantErased, ref.Tenant.String(), nil)
	})
}
