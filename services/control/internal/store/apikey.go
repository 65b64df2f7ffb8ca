// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

const keyColumns = `k.id, k.org_id, k.tenants, k.scope, k.slug, k.display_name, k.description, k.permissions, k.role, k.mint, k.state, k.minted_by,
	k.created_by, k.hash, k.old_hash, k.old_until, k.labels, k.annotations, k.version, k.create_time, k.update_time, k.not_before, k.expire_time,
	k.last_used_time, k.revoke_time`

func scanKey(r pgx.Rows, k *tenancy.APIKey, more ...any) error {
	var minter *id.APIKey
	var hash, old []byte
	var oldUntil, notBefore, expire, used, revoked *time.Time
	if err := r.Scan(append([]any{
		&k.ID, &k.Org, &k.Tenants, &k.Scope, &k.Slug, &k.DisplayName, &k.Description, &k.Permissions, &k.Role, &k.Mint,
		&k.State, &minter, &k.CreatedBy, &hash, &old, &oldUntil, &k.Labels, &k.Annotations, &k.Version, &k.CreateTime, &k.UpdateTime,
		&notBefore, &expire, &used, &revoked,
	}, more...)...); err != nil {
		return err
	}
	if minter != nil {
		k.MintedBy = *minter
	}
	var ok bool
	if k.Hash, ok = secret.HashFromBytes(hash); !ok {
		return errors.New("api key " + k.ID.String() + " has no hash")
	}
	k.OldHash, _ = secret.HashFromBytes(old)
	k.OldUntil, k.NotBefore, k.ExpireTime = fromNil(oldUntil), fromNil(notBefore), fromNil(expire)
	k.LastUsedTime, k.RevokeTime = fromNil(used), fromNil(revoked)
	return nil
}

// MaxChain is how many minters above a key are looked at; deeper chains are refused when they are made.
const MaxChain = 8

// KeyChain reads a key by its id, then the key that minted it, and so on. It is work for the platform: nothing is known yet of who
// asks. The slug of the key's org comes along. OFFSET 0 keeps PostgreSQL from a join that reads all keys: it expects ten minters of each
// key, and the plan of a connection's first call, when the table was small, stays.
func (s *Store) KeyChain(ctx context.Context, key id.APIKey) (chain []tenancy.APIKey, orgSlug string, orgState tenancy.State, err error) {
	err = s.read(ctx, id.Org{}, true, func(r pgx.Rows) error {
		var k tenancy.APIKey
		if err := scanKey(r, &k, &orgSlug, &orgState); err != nil {
			return err
		}
		chain = append(chain, k)
		return nil
	}, `WITH RECURSIVE up AS (
			SELECT `+keyColumns+`, 0 AS depth FROM api_keys k WHERE k.id = $1
			UNION ALL
			SELECT next.*, up.depth + 1 FROM up CROSS JOIN LATERAL (
				SELECT `+keyColumns+` FROM api_keys k WHERE k.id = up.minted_by OFFSET 0
			) next WHERE up.depth < $2
		) SELECT `+keyColumns+`, o.slug, o.state FROM up k JOIN orgs o ON o.id = (SELECT org_id FROM up WHERE depth = 0) ORDER BY k.depth`, key, MaxChain)
	if err == nil && len(chain) == 0 {
		err = tenancy.Refuse(tenancy.ReasonNotFound)
	}
	return chain, orgSlug, orgState, err
}

// TouchKey notes that a key was used, at most once a minute for each key.
func (s *Store) TouchKey(ctx context.Context, org id.Org, key id.APIKey, now time.Time) error {
	return s.read(ctx, org, false, func(pgx.Rows) error { return nil }, `UPDATE api_keys SET last_used_time = $3
		WHERE org_id = $1 AND id = $2 AND (last_used_time IS NULL OR last_used_time < $3::timestamptz - interval '1 minute')`, org, key, now)
}

// APIKey reads a key of a tenant, of the org for the zero tenant, or of the platform for the zero org.
func (s *Store) APIKey(ctx context.Context, org id.Org, tenant id.Tenant, key id.APIKey) (k tenancy.APIKey, err error) {
	err = s.one(ctx, org, false, func(r pgx.Rows) error { return scanKey(r, &k) }, `SELECT `+keyColumns+` FROM api_keys k
		WHERE k.id = $3 AND k.org_id = $1 AND k.tenant_id = $2`, org, tenant, key)
	return k, err
}

// APIKeys lists the keys of a tenant, of the org for the zero tenant, or of the platform for the zero org.
func (s *Store) APIKeys(ctx context.Context, org id.Org, tenant id.Tenant, q Query, now time.Time) (items []tenancy.APIKey, err error) {
	c := &conditions{}
	c.add("k.org_id = $?", org)
	c.add("k.tenant_id = $?", tenant)
	for _, r := range q.Filter {
		switch r.Field {
		case "slug":
			text(c, "k.slug", r)
		case "role":
			c.add("k.role = $?", r.Value)
		case "minted_by":
			minter, _ := id.ParseAPIKey(r.Value)
			c.add("k.minted_by = $?", minter)
		case "state":
			switch r.Value {
			case tenancy.KeyExpired.String():
				c.add("k.state = 1 AND k.expire_time <= $?", now)
			case tenancy.KeyActive.String():
				c.add("k.state = 1 AND (k.expire_time IS NULL OR k.expire_time > $?)", now)
			case tenancy.KeyRevoked.String():
				c.parts = append(c.parts, "k.state = 3")
			default:
				c.parts = append(c.parts, "k.state = 2")
			}
		}
	}
	tail := c.keyset(q, "k.id", "k.slug")
	err = s.read(ctx, org, false, func(r pgx.Rows) error {
		var k tenancy.APIKey
		if err := scanKey(r, &k); err != nil {
			return err
		}
		items = append(items, k)
		return nil
	}, `SELECT `+keyColumns+` FROM api_keys k WHERE `+c.where()+tail, c.args...)
	return items, err
}

// LockAPIKey reads a key for a change.
func (t *Tx) LockAPIKey(tenant id.Tenant, key id.APIKey) (k tenancy.APIKey, err error) {
	err = t.row(func(r pgx.Rows) error { return scanKey(r, &k) }, `SELECT `+keyColumns+` FROM api_keys k
		WHERE k.id = $3 AND k.org_id = $1 AND k.tenant_id = $2 FOR NO KEY UPDATE`, t.org, tenant, key)
	return k, err
}

// InsertAPIKey writes a key of the transaction's org.
func (t *Tx) InsertAPIKey(k tenancy.APIKey) error {
	b := &pgx.Batch{}
	insertKeys.queue(b, keyRow(t.org, parentOf(k), &k))
	return refusal(t.tx.SendBatch(t.ctx, b).Close())
}

func parentOf(k tenancy.APIKey) id.Tenant {
	if k.Scope == tenancy.ScopeTenants && len(k.Tenants) > 0 {
		return k.Tenants[0]
	}
	return id.Tenant{}
}

var insertKeys = newInsert("api_keys", `id, org_id, tenant_id, tenants, scope, slug, display_name, description, permissions, role, mint, state,
		minted_by, created_by, hash, labels, annotations, create_time, update_time, not_before, expire_time`,
	`$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $18, $19, $20`)

func keyRow(org id.Org, tenant id.Tenant, k *tenancy.APIKey) []any {
	var minter *id.APIKey
	if !k.MintedBy.IsZero() {
		minter = &k.MintedBy
	}
	return []any{
		k.ID, org, tenant, list(k.Tenants), k.Scope, k.Slug, k.DisplayName, k.Description, list(k.Permissions), k.Role, k.Mint, k.State,
		minter, k.CreatedBy, k.Hash[:], notNil(k.Labels), notNil(k.Annotations), k.CreateTime, orNil(k.NotBefore), orNil(k.ExpireTime),
	}
}

// UpdateAPIKey writes a locked key's secrets and state, and counts its version up.
func (t *Tx) UpdateAPIKey(k *tenancy.APIKey) error {
	var old []byte
	if !k.OldUntil.IsZero() {
		old = k.OldHash[:]
	}
	return t.row(func(r pgx.Rows) error { return r.Scan(&k.Version) }, `UPDATE api_keys SET hash = $3, old_hash = $4, old_until = $5, state = $6,
			revoke_time = $7, update_time = $8, version = version + 1
		WHERE org_id = $1 AND id = $2 RETURNING version`, t.org, k.ID, k.Hash[:], old, orNil(k.OldUntil), k.State, orNil(k.RevokeTime), k.UpdateTime)
}

// RevokeChildren revokes every key that the key minted, and those that they minted, whatever org they belong to.
func (t *Tx) RevokeChildren(key id.APIKey, now time.Time) error {
	if _, err := t.exec(`SELECT set_config('tenantry.platform', 'on', true)`); err != nil {
		return err
	}
	children := map[id.Org][]id.APIKey{}
	err := t.rows(func(r pgx.Rows) error {
		var org id.Org
		var child id.APIKey
		if err := r.Scan(&org, &child); err != nil {
			return err
		}
		children[org] = append(children[org], child)
		return nil
	}, `WITH RECURSIVE down AS (
			SELECT org_id, id FROM api_keys WHERE minted_by = $1
			UNION
			SELECT k.org_id, k.id FROM down JOIN api_keys k ON k.minted_by = down.id
		) SELECT org_id, id FROM down`, key)
	if err != nil {
		return err
	}
	for org, keys := range children {
		// Each org's keys under that org's setting; what follows is the transaction's own again.
		if _, err := t.exec(setOrg, org.UUID()); err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE api_keys SET state = 3, revoke_time = $3, update_time = $3, version = version + 1
			WHERE org_id = $1 AND id = ANY($2) AND state <> 3`, org, keys, now); err != nil {
			return err
		}
	}
	_, err = t.exec(`SELECT set_config('tenantry.org_id', $1, true), set_config('tenantry.platform', '', true)`, t.org.UUID())
	return err
}
