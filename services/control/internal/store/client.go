// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

const clientColumns = `org_id, tenant_id, id, slug, settings, secrets, labels, annotations, version, config_version, create_time, update_time`

// secretRow is a client secret as it lies in the clients table.
type secretRow struct {
	ID         id.ClientSecret `json:"id"`
	Hash       string          `json:"hash"` // base64url
	CreateTime time.Time       `json:"createTime"`
	ExpireTime time.Time       `json:"expireTime,omitzero"`
	Sealed     *secret.Sealed  `json:"sealed,omitempty"` // the text, of clients that use it as an HMAC key
}

func secretRows(secrets []tenancy.ClientSecret) []secretRow {
	rows := make([]secretRow, len(secrets))
	for i, s := range secrets {
		rows[i] = secretRow{s.ID, base64.RawURLEncoding.EncodeToString(s.Hash[:]), s.CreateTime, s.ExpireTime, s.Sealed}
	}
	return rows
}

func scanClient(r pgx.Rows, c *tenancy.Client) error {
	var secrets []secretRow
	if err := r.Scan(&c.Org, &c.Tenant, &c.ID, &c.Slug, &c.ClientSettings, &secrets, &c.Labels, &c.Annotations, &c.Version, &c.ConfigVersion,
		&c.CreateTime, &c.UpdateTime); err != nil {
		return err
	}
	for _, s := range secrets {
		raw, err := base64.RawURLEncoding.DecodeString(s.Hash)
		h, ok := secret.HashFromBytes(raw)
		if err != nil || !ok {
			return fmt.Errorf("client %s: secret %s has no hash", c.ID, s.ID)
		}
		c.Secrets = append(c.Secrets, tenancy.ClientSecret{ID: s.ID, Hash: h, CreateTime: s.CreateTime, ExpireTime: s.ExpireTime, Sealed: s.Sealed})
	}
	return nil
}

// Client reads a client of a tenant, or of the org for the zero tenant, by id or by slug.
func (s *Store) Client(ctx context.Context, org id.Org, tenant id.Tenant, client id.Client, slug string) (c tenancy.Client, err error) {
	err = s.one(ctx, org, false, func(r pgx.Rows) error { return scanClient(r, &c) }, `SELECT `+clientColumns+` FROM clients
		WHERE org_id = $1 AND tenant_id = $2 AND (id = $3 OR slug = $4 AND slug <> '')`, org, tenant, client, slug)
	return c, err
}

// Clients lists the clients of a tenant, or the shared ones of the org for the zero tenant.
func (s *Store) Clients(ctx context.Context, org id.Org, tenant id.Tenant, q Query) (items []tenancy.Client, err error) {
	c := &conditions{}
	c.add("org_id = $?", org)
	c.add("tenant_id = $?", tenant)
	for _, r := range q.Filter {
		switch r.Field {
		case "slug":
			text(c, "slug", r)
		case "kind":
			kind, _ := tenancy.ParseClientKind(r.Value)
			c.add("(settings->>'kind')::int = $?", kind)
		case "client_type":
			kind, _ := tenancy.ParseClientType(r.Value)
			c.add("(settings->>'type')::int = $?", kind)
		}
	}
	tail := c.keyset(q, "id", "slug")
	err = s.read(ctx, org, false, func(r pgx.Rows) error {
		var v tenancy.Client
		if err := scanClient(r, &v); err != nil {
			return err
		}
		items = append(items, v)
		return nil
	}, `SELECT `+clientColumns+` FROM clients WHERE `+c.where()+tail, c.args...)
	return items, err
}

// SharedClients reads all shared clients of the transaction's locked org.
func (t *Tx) SharedClients() (items []tenancy.Client, err error) {
	err = t.rows(func(r pgx.Rows) error {
		var c tenancy.Client
		if err := scanClient(r, &c); err != nil {
			return err
		}
		items = append(items, c)
		return nil
	}, `SELECT `+clientColumns+` FROM clients WHERE org_id = $1 AND tenant_id = '00000000-0000-0000-0000-000000000000' ORDER BY id`, t.org)
	return items, err
}

// Client reads a client whose parent is locked.
func (t *Tx) Client(tenant id.Tenant, client id.Client, slug string) (c tenancy.Client, err error) {
	err = t.row(func(r pgx.Rows) error { return scanClient(r, &c) }, `SELECT `+clientColumns+` FROM clients
		WHERE org_id = $1 AND tenant_id = $2 AND (id = $3 OR slug = $4 AND slug <> '')`, t.org, tenant, client, slug)
	return c, err
}

// InsertClient writes a client whose parent is locked; SLUG_TAKEN when the parent has one of that slug.
func (t *Tx) InsertClient(c tenancy.Client) error {
	n, err := t.exec(`INSERT INTO clients (org_id, tenant_id, id, slug, settings, secrets, labels, annotations, config_version, create_time, update_time)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 WHERE NOT EXISTS (
			SELECT FROM clients WHERE org_id = $1 AND tenant_id = $2 AND slug = $4 AND slug <> '')`,
		t.org, c.Tenant, c.ID, c.Slug, c.ClientSettings, secretRows(c.Secrets), notNil(c.Labels), notNil(c.Annotations), c.ConfigVersion, c.CreateTime, c.UpdateTime)
	if err == nil && n == 0 {
		return tenancy.RefuseField(tenancy.ReasonSlugTaken, "client_id", "")
	}
	return err
}

// UpdateClient writes what may change of a client whose parent is locked, and counts its version up.
func (t *Tx) UpdateClient(c *tenancy.Client) error {
	return t.row(func(r pgx.Rows) error { return r.Scan(&c.Version) }, `UPDATE clients SET settings = $4, secrets = $5, labels = $6, annotations = $7,
			config_version = $8, update_time = $9, version = version + 1
		WHERE org_id = $1 AND tenant_id = $2 AND id = $3 RETURNING version`,
		t.org, c.Tenant, c.ID, c.ClientSettings, secretRows(c.Secrets), notNil(c.Labels), notNil(c.Annotations), c.ConfigVersion, c.UpdateTime)
}

// DeleteClient removes a client whose parent is locked.
func (t *Tx) DeleteClient(tenant id.Tenant, client id.Client) error {
	return t.must(`DELETE FROM clients WHERE org_id = $1 AND tenant_id = $2 AND id = $3`, t.org, tenant, client)
}

// CountClients counts the clients of a locked parent.
func (t *Tx) CountClients(tenant id.Tenant) (n int, err error) {
	err = t.row(func(r pgx.Rows) error { return r.Scan(&n) }, `SELECT count(*) FROM clients WHERE org_id = $1 AND tenant_id = $2`, t.org, tenant)
	return n, err
}

// ClientsUnder lists clients of the tenants that follow a blueprint, at most limit.
func (t *Tx) ClientsUnder(bp id.Blueprint, limit int) (items []tenancy.Client, err error) {
	err = t.rows(func(r pgx.Rows) error {
		var c tenancy.Client
		if err := scanClient(r, &c); err != nil {
			return err
		}
		items = append(items, c)
		return nil
	}, `SELECT `+clientColumns+` FROM clients WHERE org_id = $1 AND tenant_id IN (
			SELECT id FROM tenants WHERE org_id = $1 AND blueprint_id = $2 AND blueprint_pin = 0 AND state <> 3)
		ORDER BY tenant_id, id LIMIT $3`, t.org, bp, limit)
	return items, err
}
