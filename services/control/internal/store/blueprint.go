// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

const blueprintColumns = `org_id, id, slug, display_name, description, draft, revision, labels, annotations, version, create_time, update_time`

func scanBlueprint(r pgx.Rows, b *blueprint.Blueprint, more ...any) error {
	return r.Scan(append([]any{
		&b.Org, &b.ID, &b.Slug, &b.DisplayName, &b.Description, &b.Draft, &b.Revision, &b.Labels, &b.Annotations,
		&b.Version, &b.CreateTime, &b.UpdateTime,
	}, more...)...)
}

// Blueprint reads a blueprint by id or slug.
func (s *Store) Blueprint(ctx context.Context, org id.Org, bp id.Blueprint, slug string) (b blueprint.Blueprint, err error) {
	err = s.one(ctx, org, false, func(r pgx.Rows) error { return scanBlueprint(r, &b) }, `SELECT `+blueprintColumns+` FROM blueprints
		WHERE org_id = $1 AND (id = $2 OR slug = $3)`, org, bp, slug)
	return b, err
}

// Blueprints lists an org's blueprints.
func (s *Store) Blueprints(ctx context.Context, org id.Org, q Query) (items []blueprint.Blueprint, err error) {
	c := &conditions{}
	c.add("org_id = $?", org)
	for _, r := range q.Filter {
		switch {
		case label(c, r):
		case r.Field == "slug":
			text(c, "slug", r)
		case r.Field == "state" && r.Value == "PUBLISHED":
			c.parts = append(c.parts, "revision > 0")
		case r.Field == "state":
			c.parts = append(c.parts, "revision = 0")
		}
	}
	tail := c.keyset(q, "id", "slug")
	err = s.read(ctx, org, false, func(r pgx.Rows) error {
		var b blueprint.Blueprint
		if err := scanBlueprint(r, &b); err != nil {
			return err
		}
		items = append(items, b)
		return nil
	}, `SELECT `+blueprintColumns+` FROM blueprints WHERE `+c.where()+tail, c.args...)
	return items, err
}

// InsertBlueprint writes a blueprint of the transaction's org.
func (t *Tx) InsertBlueprint(b blueprint.Blueprint) error {
	return t.must(`INSERT INTO blueprints (org_id, id, slug, display_name, description, draft, labels, annotations, create_time, update_time)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)`, t.org, b.ID, b.Slug, b.DisplayName, b.Description, b.Draft, notNil(b.Labels), notNil(b.Annotations), b.CreateTime)
}

// RingState is where a blueprint's ring table stands.
type RingState struct {
	Version     int64
	LayerDigest []byte // of the revision that every ring is at
}

// LockBlueprint reads a blueprint by id or slug and keeps others from changing it.
func (t *Tx) LockBlueprint(bp id.Blueprint, slug string) (b blueprint.Blueprint, ring RingState, err error) {
	err = t.row(func(r pgx.Rows) error { return scanBlueprint(r, &b, &ring.Version, &ring.LayerDigest) }, `SELECT `+blueprintColumns+`, ring_version, layer_digest
		FROM blueprints WHERE org_id = $1 AND (id = $2 OR slug = $3) FOR NO KEY UPDATE`, t.org, bp, slug)
	return b, ring, err
}

// LockBlueprints locks all published blueprints of the org, in one order.
func (t *Tx) LockBlueprints() (bs []blueprint.Blueprint, rings []RingState, err error) {
	err = t.rows(func(r pgx.Rows) error {
		var b blueprint.Blueprint
		var ring RingState
		if err := scanBlueprint(r, &b, &ring.Version, &ring.LayerDigest); err != nil {
			return err
		}
		bs, rings = append(bs, b), append(rings, ring)
		return nil
	}, `SELECT `+blueprintColumns+`, ring_version, layer_digest FROM blueprints WHERE org_id = $1 AND revision > 0 ORDER BY id FOR NO KEY UPDATE`, t.org)
	return bs, rings, err
}

// UpdateBlueprint writes what may change of a locked blueprint and counts its version up.
func (t *Tx) UpdateBlueprint(b *blueprint.Blueprint, ring RingState) error {
	return t.row(func(r pgx.Rows) error { return r.Scan(&b.Version) }, `UPDATE blueprints SET display_name = $3, description = $4, draft = $5,
			revision = $6, labels = $7, annotations = $8, ring_version = $9, layer_digest = $10, update_time = $11, version = version + 1
		WHERE org_id = $1 AND id = $2 RETURNING version`, t.org, b.ID, b.DisplayName, b.Description, b.Draft, b.Revision, notNil(b.Labels),
		notNil(b.Annotations), ring.Version, ring.LayerDigest, b.UpdateTime)
}

const revisionColumns = `org_id, blueprint_id, number, id, spec, digest, author, message, cap, create_time`

func scanRevision(r pgx.Rows, v *blueprint.Revision, more ...any) error {
	var spec, digest []byte
	err := r.Scan(append([]any{&v.Org, &v.Blueprint, &v.Number, &v.ID, &spec, &digest, &v.Author, &v.Message, &v.Cap, &v.CreateTime}, more...)...)
	if err != nil {
		return err
	}
	copy(v.Digest[:], digest)
	v.Spec, err = blueprint.Decode(spec)
	return err
}

// Revision reads a revision by number or id.
func (s *Store) Revision(ctx context.Context, org id.Org, bp id.Blueprint, number int, rev id.Revision) (v blueprint.Revision, layer []byte, err error) {
	err = s.one(ctx, org, false, func(r pgx.Rows) error { return scanRevision(r, &v, &layer) }, `SELECT `+revisionColumns+`, layer_digest FROM blueprint_revisions
		WHERE org_id = $1 AND blueprint_id = $2 AND (number = $3 OR id = $4)`, org, bp, number, rev)
	return v, layer, err
}

// Revision reads a revision of a locked blueprint.
func (t *Tx) Revision(bp id.Blueprint, number int) (v blueprint.Revision, layer []byte, err error) {
	err = t.row(func(r pgx.Rows) error { return scanRevision(r, &v, &layer) }, `SELECT `+revisionColumns+`, layer_digest FROM blueprint_revisions
		WHERE org_id = $1 AND blueprint_id = $2 AND number = $3`, t.org, bp, number)
	return v, layer, err
}

// Revisions lists a blueprint's revisions, the newest first. Its cursor is a number in decimal.
func (s *Store) Revisions(ctx context.Context, org id.Org, bp id.Blueprint, q Query) (items []blueprint.Revision, err error) {
	before := 1 << 30
	if q.After != nil {
		if before, err = strconv.Atoi(string(q.After)); err != nil {
			return nil, tenancy.Refuse(tenancy.ReasonPageTokenInvalid)
		}
	}
	err = s.read(ctx, org, false, func(r pgx.Rows) error {
		var v blueprint.Revision
		if err := scanRevision(r, &v); err != nil {
			return err
		}
		items = append(items, v)
		return nil
	}, `SELECT `+revisionColumns+` FROM blueprint_revisions WHERE org_id = $1 AND blueprint_id = $2 AND number < $3 ORDER BY number DESC LIMIT $4`, org, bp, before, q.Limit)
	return items, err
}

// InsertRevision writes a revision of a locked blueprint.
func (t *Tx) InsertRevision(v blueprint.Revision, spec []byte, layer [32]byte) error {
	return t.must(`INSERT INTO blueprint_revisions (org_id, blueprint_id, number, id, spec, digest, layer_digest, author, message, cap, create_time)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`, t.org, v.Blueprint, v.Number, v.ID, spec, v.Digest[:], layer[:], v.Author, v.Message, list(v.Cap), v.CreateTime)
}

// SetLayer changes the layer that a revision of a locked blueprint resolves to, after a change of the org's own policy.
func (t *Tx) SetLayer(bp id.Blueprint, number int, layer [32]byte) error {
	return t.must(`UPDATE blueprint_revisions SET layer_digest = $4 WHERE org_id = $1 AND blueprint_id = $2 AND number = $3`, t.org, bp, number, layer[:])
}

// Pin is a tenant that is held at a revision.
type Pin struct {
	Tenant   id.Tenant
	Revision int
}

// Pins lists the pinned tenants of a locked blueprint.
func (t *Tx) Pins(bp id.Blueprint) (pins []Pin, err error) {
	err = t.rows(func(r pgx.Rows) error {
		var p Pin
		defer func() { pins = append(pins, p) }()
		return r.Scan(&p.Tenant, &p.Revision)
	}, `SELECT tenant_id, revision FROM blueprint_pins WHERE org_id = $1 AND blueprint_id = $2 ORDER BY tenant_id`, t.org, bp)
	return pins, err
}

// InsertPin holds a tenant at a revision of a locked blueprint.
func (t *Tx) InsertPin(bp id.Blueprint, p Pin) error {
	return t.must(`INSERT INTO blueprint_pins (org_id, blueprint_id, tenant_id, revision) VALUES ($1, $2, $3, $4)`, t.org, bp, p.Tenant, p.Revision)
}

// LayerDigest is the digest of the layer of a blueprint's published revision.
func (t *Tx) LayerDigest(bp id.Blueprint) (digest []byte, err error) {
	err = t.row(func(r pgx.Rows) error { return r.Scan(&digest) }, `SELECT layer_digest FROM blueprints WHERE org_id = $1 AND id = $2`, t.org, bp)
	return digest, err
}
