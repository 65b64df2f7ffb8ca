// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

const tenantColumns = `org_id, id, slug, display_name, type, region, state, state_before, blueprint_id, blueprint_revision, blueprint_pin,
	pool_id, issuer, hosts, plan, entitlements, owner_email, owner_id, app_metadata, internal_metadata, overrides, theme, parameters,
	labels, annotations, version, config_version, create_time, update_time, delete_time, purge_time, pairwise_salt`

func scanTenant(r pgx.Rows, t *tenancy.Tenant) error {
	var hosts []string
	var deleted, purged *time.Time
	err := r.Scan(&t.Org, &t.ID, &t.Slug, &t.DisplayName, &t.Type, &t.Region, &t.State, &t.StateBefore, &t.Blueprint, &t.BlueprintRevision,
		&t.BlueprintPin, &t.Pool, &t.Issuer, &hosts, &t.Plan, &t.Entitlements, &t.OwnerEmail, &t.Owner, (*[]byte)(&t.AppMetadata),
		(*[]byte)(&t.InternalMetadata), &t.Overrides, &t.Theme, &t.Parameters, &t.Labels, &t.Annotations, &t.Version, &t.ConfigVersion,
		&t.CreateTime, &t.UpdateTime, &deleted, &purged, &t.PairwiseSalt)
	t.DeleteTime, t.PurgeTime = fromNil(deleted), fromNil(purged)
	t.Hosts = make([]tenancy.Host, len(hosts))
	for i, h := range hosts {
		t.Hosts[i].Name = h
	}
	return err
}

// Tenant reads a tenant with its roles.
func (s *Store) Tenant(ctx context.Context, org id.Org, tenant id.Tenant) (t tenancy.Tenant, err error) {
	err = s.one(ctx, org, false, func(r pgx.Rows) error { return scanTenant(r, &t) },
		`SELECT `+tenantColumns+` FROM tenants WHERE org_id = $1 AND id = $2`, org, tenant)
	if err != nil {
		return t, err
	}
	err = s.read(ctx, org, false, func(r pgx.Rows) error { return scanRole(r, &t) },
		`SELECT id, name, display_name, is_default FROM tenant_roles WHERE org_id = $1 AND tenant_id = $2 ORDER BY id`, org, tenant)
	return t, err
}

func scanRole(r pgx.Rows, t *tenancy.Tenant) error {
	var role tenancy.Role
	err := r.Scan(&role.ID, &role.Name, &role.DisplayName, &role.Default)
	t.Roles = append(t.Roles, role)
	return err
}

// TenantBySlug finds a tenant's id.
func (s *Store) TenantBySlug(ctx context.Context, org id.Org, slug string) (tenant id.Tenant, err error) {
	err = s.one(ctx, org, false, func(r pgx.Rows) error { return r.Scan(&tenant) }, `SELECT id FROM tenants WHERE org_id = $1 AND slug = $2`, org, slug)
	return tenant, err
}

// TenantExists says whether the org has the tenant.
func (s *Store) TenantExists(ctx context.Context, org id.Org, tenant id.Tenant) error {
	return s.one(ctx, org, false, func(pgx.Rows) error { return nil }, `SELECT FROM tenants WHERE org_id = $1 AND id = $2`, org, tenant)
}

// Tenants lists an org's tenants.
func (s *Store) Tenants(ctx context.Context, org id.Org, q Query, showDeleted bool, only []id.Tenant) (items []tenancy.Tenant, err error) {
	c := &conditions{}
	c.add("org_id = $?", org)
	if !showDeleted {
		c.parts = append(c.parts, "state <> 3")
	}
	if only != nil {
		c.add("id = ANY($?)", only)
	}
	for _, r := range q.Filter {
		switch {
		case label(c, r):
		case r.Field == "slug":
			text(c, "slug", r)
		case r.Field == "plan":
			c.add("plan = $?", r.Value)
		case r.Field == "state":
			state, _ := tenancy.ParseState(r.Value)
			c.add("state = $?", state)
		case r.Field == "type":
			if r.Value == tenancy.TypeDevelopment.String() {
				c.parts = append(c.parts, "type = 1")
			} else {
				c.parts = append(c.parts, "type = 2")
			}
		case r.Field == "primary_domain":
			c.add("id = (SELECT tenant_id FROM hostnames WHERE hostname = $?)", r.Value)
			c.add("hosts[1] = $?", r.Value)
		}
	}
	tail := c.keyset(q, "id", "slug")
	err = s.read(ctx, org, false, func(r pgx.Rows) error {
		var t tenancy.Tenant
		if err := scanTenant(r, &t); err != nil {
			return err
		}
		items = append(items, t)
		return nil
	}, `SELECT `+tenantColumns+` FROM tenants WHERE `+c.where()+tail, c.args...)
	return items, err
}

// LockTenant reads a tenant and keeps others from changing it or its parts, until the transaction ends.
func (t *Tx) LockTenant(tenant id.Tenant) (v tenancy.Tenant, err error) {
	err = t.row(func(r pgx.Rows) error { return scanTenant(r, &v) },
		`SELECT `+tenantColumns+` FROM tenants WHERE org_id = $1 AND id = $2 FOR NO KEY UPDATE`, t.org, tenant)
	return v, err
}

// UpdateTenant writes what may change of a tenant that LockTenant gave. The config_version is counted up in the database. A tenant of an
// older release gets its pairwise salt.
func (t *Tx) UpdateTenant(v *tenancy.Tenant) error {
	if len(v.PairwiseSalt) == 0 {
		v.PairwiseSalt = tenancy.NewPairwiseSalt()
	}
	return t.row(func(r pgx.Rows) error { return r.Scan(&v.Version, &v.ConfigVersion) }, `UPDATE tenants SET display_name = $3, state = $4,
			state_before = $5, plan = $6, entitlements = $7, app_metadata = $8, internal_metadata = $9, overrides = $10, theme = $11,
			labels = $12, annotations = $13, update_time = $14, delete_time = $15, purge_time = $16, hosts = $17, pairwise_salt = $18,
			version = version + 1, config_version = config_version + 1
		WHERE org_id = $1 AND id = $2 RETURNING version, config_version`,
		t.org, v.ID, v.DisplayName, v.State, v.StateBefore, v.Plan, list(v.Entitlements), object(v.AppMetadata), object(v.InternalMetadata),
		v.Overrides, v.Theme, notNil(v.Labels), notNil(v.Annotations), v.UpdateTime, orNil(v.DeleteTime), orNil(v.PurgeTime), hostNames(v.Hosts), v.PairwiseSalt)
}

func hostNames(hosts []tenancy.Host) []string {
	names := make([]string, 0, len(hosts))
	for _, h := range hosts {
		if !h.Released {
			names = append(names, h.Name)
		}
	}
	return names
}

// object hands a JSON object on as it is, NULL for none.
func object(raw json.RawMessage) any {
	if len(raw) == 0 {
		return nil
	}
	return []byte(raw)
}

// TenantParts are the rows that a tenant's snapshot is compiled from, beside the tenant itself.
type TenantParts struct {
	Clients     []tenancy.Client
	SigningKeys []tenancy.SigningKey
	Hosts       []tenancy.Host // live ones in the order of the tenant, then the released ones of its last snapshot
}

// TenantParts reads the parts of a locked tenant, and its roles into v.
func (t *Tx) TenantParts(v *tenancy.Tenant) (p TenantParts, err error) {
	v.Roles = nil
	b := &pgx.Batch{}
	b.Queue(`SELECT id, name, display_name, is_default FROM tenant_roles WHERE org_id = $1 AND tenant_id = $2 ORDER BY id`, t.org, v.ID).
		Query(func(rows pgx.Rows) error { return each(rows, func() error { return scanRole(rows, v) }) })
	b.Queue(`SELECT `+clientColumns+` FROM clients WHERE org_id = $1 AND tenant_id = $2 ORDER BY id`, t.org, v.ID).
		Query(func(rows pgx.Rows) error {
			return each(rows, func() error {
				var c tenancy.Client
				defer func() { p.Clients = append(p.Clients, c) }()
				return scanClient(rows, &c)
			})
		})
	b.Queue(`SELECT `+signingKeyColumns+` FROM signing_keys WHERE org_id = $1 AND tenant_id = $2 AND state < 5 ORDER BY id`, t.org, v.ID).
		Query(func(rows pgx.Rows) error {
			return each(rows, func() error {
				var k tenancy.SigningKey
				if err := scanSigningKey(rows, &k); err != nil {
					return err
				}
				p.SigningKeys = append(p.SigningKeys, k)
				return nil
			})
		})
	b.Queue(`SELECT hostname, claim_version FROM hostnames WHERE hostname = ANY($1) AND tenant_id = $2 ORDER BY array_position($1, hostname)`,
		hostNames(v.Hosts), v.ID).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			var h tenancy.Host
			defer func() { p.Hosts = append(p.Hosts, h) }()
			return rows.Scan(&h.Name, &h.ClaimVersion)
		})
	})
	b.Queue(`SELECT h, c FROM snapshots, unnest(hosts, host_claims, host_live) u(h, c, live) WHERE subject = $1 AND NOT live`, v.ID).
		Query(func(rows pgx.Rows) error {
			return each(rows, func() error {
				h := tenancy.Host{Released: true}
				defer func() { p.Hosts = append(p.Hosts, h) }()
				return rows.Scan(&h.Name, &h.ClaimVersion)
			})
		})
	return p, refusal(t.tx.SendBatch(t.ctx, b).Close())
}

func each(rows pgx.Rows, f func() error) error {
	for rows.Next() {
		if err := f(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// HostnameFree says whether a hostname could be claimed by the org now. It looks across orgs, and its answer is all that leaves.
func (s *Store) HostnameFree(ctx context.Context, org id.Org, hostname string, now time.Time) (free bool, err error) {
	err = s.one(ctx, org, true, func(r pgx.Rows) error { return r.Scan(&free) }, `SELECT NOT EXISTS (SELECT FROM hostnames WHERE hostname = $1
		AND (org_id <> '00000000-0000-0000-0000-000000000000' OR hold_until > $2))`, hostname, now)
	return free, err
}

// ReleaseHostname takes a hostname from a locked tenant. Nobody may claim it until hold. It answers the released pointer.
func (t *Tx) ReleaseHostname(tenant id.Tenant, hostname string, now, hold time.Time) (h tenancy.Host, err error) {
	h = tenancy.Host{Name: hostname, Released: true}
	err = t.row(func(r pgx.Rows) error { return r.Scan(&h.ClaimVersion) }, `UPDATE hostnames SET org_id = '00000000-0000-0000-0000-000000000000',
			tenant_id = '00000000-0000-0000-0000-000000000000', claim_version = claim_version + 1, released_at = $3, hold_until = $4
		WHERE hostname = $1 AND tenant_id = $2 AND org_id = $5 RETURNING claim_version`, hostname, tenant, now, hold, t.org)
	return h, err
}
