// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

const orgColumns = `id, slug, display_name, state, base_domain, default_audience, billing_account, billing_plan, allowed_regions,
	reserved_labels, config, theme, labels, annotations, version, config_version, create_time, update_time`

func scanOrg(r pgx.Rows, o *tenancy.Org) error {
	return r.Scan(&o.ID, &o.Slug, &o.DisplayName, &o.State, &o.BaseDomain, &o.DefaultAudience, &o.BillingAccount, &o.BillingPlan,
		&o.AllowedRegions, &o.ReservedLabels, &o.Config, &o.Theme, &o.Labels, &o.Annotations, &o.Version, &o.ConfigVersion,
		&o.CreateTime, &o.UpdateTime)
}

// Org reads an org.
func (s *Store) Org(ctx context.Context, org id.Org) (o tenancy.Org, err error) {
	if org.IsZero() {
		return o, tenancy.Refuse(tenancy.ReasonNotFound)
	}
	err = s.one(ctx, org, false, func(r pgx.Rows) error { return scanOrg(r, &o) }, `SELECT `+orgColumns+` FROM orgs WHERE id = $1`, org)
	return o, err
}

// OrgBySlug finds an org's id. It is work for the platform: the caller's reach is decided afterwards.
func (s *Store) OrgBySlug(ctx context.Context, slug string) (org id.Org, err error) {
	err = s.one(ctx, id.Org{}, true, func(r pgx.Rows) error { return r.Scan(&org) },
		`SELECT id FROM orgs WHERE slug = $1 AND id <> '00000000-0000-0000-0000-000000000000'`, slug)
	return org, err
}

// Query is a parsed list request.
type Query struct {
	Filter tenancy.Filter
	Order  string // a field that the list allows
	Desc   bool
	After  []byte // cursor of the last item of the page before, nil for the first page
	Limit  int
}

// conditions collects the parts of a WHERE with their arguments.
type conditions struct {
	parts []string
	args  []any
}

func (c *conditions) add(sql string, arg any) {
	c.args = append(c.args, arg)
	c.parts = append(c.parts, strings.ReplaceAll(sql, "$?", "$"+strconv.Itoa(len(c.args))))
}

func (c *conditions) where() string { return strings.Join(c.parts, " AND ") }

// keyset adds the condition that continues after the cursor and returns ORDER BY and LIMIT. Text columns are unique in the list.
func (c *conditions) keyset(q Query, byID, byText string) string {
	column, cast := byID, "::uuid"
	if q.Order == "slug" {
		column, cast = byText, "::text"
	}
	compare, direction := " > ", ""
	if q.Desc {
		compare, direction = " < ", " DESC"
	}
	if q.After != nil {
		var cursor any = string(q.After)
		if cast == "::uuid" {
			var raw [16]byte
			copy(raw[:], q.After)
			cursor = raw
		}
		c.add(column+compare+"$?"+cast, cursor)
	}
	c.args = append(c.args, q.Limit)
	return " ORDER BY " + column + direction + " LIMIT $" + strconv.Itoa(len(c.args))
}

func label(c *conditions, r tenancy.Restriction) bool {
	key, ok := strings.CutPrefix(r.Field, "labels.")
	if ok {
		c.add("labels @> $?", map[string]string{key: r.Value})
		c.parts = append(c.parts, "labels <> '{}'")
	}
	return ok
}

// prefix turns `:` into a range of the index, `=` into equality.
func text(c *conditions, column string, r tenancy.Restriction) {
	if !r.Has {
		c.add(column+" = $?", r.Value)
		return
	}
	c.add(column+" >= $?", r.Value)
	c.add(column+" < $?", r.Value+"\U0010ffff")
}

// Orgs lists the orgs of the installation. It is work for the platform.
func (s *Store) Orgs(ctx context.Context, q Query) (items []tenancy.Org, err error) {
	c := &conditions{parts: []string{"id <> '00000000-0000-0000-0000-000000000000'"}}
	for _, r := range q.Filter {
		switch {
		case label(c, r):
		case r.Field == "slug":
			text(c, "slug", r)
		case r.Field == "state":
			state, _ := tenancy.ParseState(r.Value)
			c.add("state = $?", state)
		case r.Field == "base_domain":
			c.add("base_domain = $?", r.Value)
		}
	}
	tail := c.keyset(q, "id", "slug")
	err = s.read(ctx, id.Org{}, true, func(r pgx.Rows) error {
		var o tenancy.Org
		items = append(items, o)
		return scanOrg(r, &items[len(items)-1])
	}, `SELECT `+orgColumns+` FROM orgs WHERE `+c.where()+tail, c.args...)
	return items, err
}

// InsertOrg writes the transaction's org.
func (t *Tx) InsertOrg(o tenancy.Org) error {
	return t.must(`INSERT INTO orgs (id, slug, display_name, state, base_domain, default_audience, billing_account, billing_plan,
			allowed_regions, reserved_labels, config, theme, labels, annotations, version, config_version, create_time, update_time)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`,
		t.org, o.Slug, o.DisplayName, o.State, o.BaseDomain, o.DefaultAudience, o.BillingAccount, o.BillingPlan, list(o.AllowedRegions),
		list(o.ReservedLabels), o.Config, o.Theme, notNil(o.Labels), notNil(o.Annotations), o.Version, o.ConfigVersion, o.CreateTime, o.UpdateTime)
}

// LockOrg reads the transaction's org and keeps others from changing it.
func (t *Tx) LockOrg() (o tenancy.Org, err error) {
	err = t.row(func(r pgx.Rows) error { return scanOrg(r, &o) }, `SELECT `+orgColumns+` FROM orgs WHERE id = $1 FOR NO KEY UPDATE`, t.org)
	return o, err
}

// OrgVersion reads the config_version of the transaction's org.
func (t *Tx) OrgVersion() (v int64, err error) {
	err = t.row(func(r pgx.Rows) error { return r.Scan(&v) }, `SELECT config_version FROM orgs WHERE id = $1`, t.org)
	return v, err
}

// UpdateOrg writes what may change of an org that LockOrg gave, with its version and config_version.
func (t *Tx) UpdateOrg(o tenancy.Org) error {
	return t.must(`UPDATE orgs SET display_name = $2, state = $3, default_audience = $4, billing_account = $5, billing_plan = $6,
			allowed_regions = $7, reserved_labels = $8, config = $9, theme = $10, labels = $11, annotations = $12, version = $13,
			config_version = $14, update_time = $15
		WHERE id = $1`, t.org, o.DisplayName, o.State, o.DefaultAudience, o.BillingAccount, o.BillingPlan, list(o.AllowedRegions),
		list(o.ReservedLabels), o.Config, o.Theme, notNil(o.Labels), notNil(o.Annotations), o.Version, o.ConfigVersion, o.UpdateTime)
}

// ClaimBaseDomain claims a domain for the transaction's org. No base domain may equal, contain or lie under another's; whether one
// does is looked up while nobody else can claim one.
func (t *Tx) ClaimBaseDomain(domain string, o tenancy.Org) error {
	if _, err := t.exec(`SELECT pg_advisory_xact_lock(hashtextextended('tenantry base domains', 0)), set_config('tenantry.platform', 'on', true)`); err != nil {
		return err
	}
	var taken bool
	err := t.row(func(r pgx.Rows) error { return r.Scan(&taken) }, `SELECT EXISTS (SELECT FROM hostnames WHERE kind = 2
			AND (hostname = ANY($2) OR hostname LIKE '%.' || $1))
		OR EXISTS (SELECT FROM hostnames WHERE hostname = $1 AND (org_id <> '00000000-0000-0000-0000-000000000000' OR hold_until > $3))`,
		domain, append(tenancy.Parents(domain), domain), o.CreateTime)
	if err != nil {
		return err
	}
	if taken {
		return tenancy.RefuseField(tenancy.ReasonBaseDomainConflict, "org.base_domain", "")
	}
	return t.must(`INSERT INTO hostnames (hostname, org_id, tenant_id, kind, claimed_at) VALUES ($1, $2, '00000000-0000-0000-0000-000000000000', 2, $3)
		ON CONFLICT (hostname) DO UPDATE SET org_id = excluded.org_id, kind = 2, claim_version = hostnames.claim_version + 1,
			claimed_at = excluded.claimed_at, released_at = NULL, hold_until = NULL`, domain, t.org, o.CreateTime)
}
