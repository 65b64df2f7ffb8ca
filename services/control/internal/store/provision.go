// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// Ground is what a provision must know before it can decide anything, read in one round trip.
type Ground struct {
	Org               tenancy.Org // slug, state, base domain, default audience, regions, reserved labels and versions
	Blueprint         id.Blueprint
	BlueprintVersion  int64
	BlueprintRevision int    // the published one; 0 for none
	LayerDigest       []byte // of that revision

	// What holds for one request only.
	SlugTaken bool
	Answer    *Answer // what was answered to the request id before
}

// Ground reads it for a slug, a blueprint by id or slug, and a caller's request id (empty for none).
func (s *Store) Ground(ctx context.Context, org id.Org, slug string, bp id.Blueprint, bpSlug string, caller id.APIKey, method, requestID string) (g Ground, err error) {
	// One statement for each kind of reference, and none of the kept answers where there can be none: each is planned once and does
	// nothing in vain.
	args := []any{org, slug}
	which := `b.slug = $3`
	if bpSlug == "" {
		which, args = `b.id = $3`, append(args, bp)
	} else {
		args = append(args, bpSlug)
	}
	answer, join := `NULL::uuid, '00000000-0000-0000-0000-000000000000'::uuid, NULL::bytea, NULL::bytea, NULL::timestamptz`, ``
	if requestID != "" {
		answer = `p.id, COALESCE(p.tenant_id, '00000000-0000-0000-0000-000000000000'), p.body_hash, p.answer, p.create_time`
		join = ` LEFT JOIN operations p ON p.caller = $4 AND p.method = $5 AND p.request_id = $6::text::uuid`
		args = append(args, caller, method, requestID)
	}
	err = s.one(ctx, org, false, func(r pgx.Rows) error {
		var a Answer
		var hash []byte
		var blueprint *id.Blueprint
		var revision *int
		var version *int64
		var op *id.Operation
		var answered *time.Time
		o := &g.Org
		if err := r.Scan(&o.ID, &o.Slug, &o.DisplayName, &o.State, &o.BaseDomain, &o.DefaultAudience, &o.AllowedRegions, &o.ReservedLabels,
			&o.Version, &o.ConfigVersion, &g.SlugTaken, &blueprint, &version, &revision, &g.LayerDigest, &op, &a.Tenant, &hash, &a.Operation.Answer, &answered); err != nil {
			return err
		}
		if blueprint != nil {
			g.Blueprint, g.BlueprintVersion, g.BlueprintRevision = *blueprint, *version, *revision
		}
		if op != nil {
			a.ID, a.Org, a.Caller, a.Method, a.RequestID, a.CreateTime = *op, org, caller, method, requestID, *answered
			copy(a.BodyHash[:], hash)
			g.Answer = &a
		}
		return nil
	}, `SELECT o.id, o.slug, o.display_name, o.state, o.base_domain, o.default_audience, o.allowed_regions, o.reserved_labels,
			o.version, o.config_version, EXISTS (SELECT FROM tenants WHERE org_id = $1 AND slug = $2), b.id, b.version, b.revision, b.layer_digest, `+answer+`
		FROM orgs o LEFT JOIN blueprints b ON b.org_id = $1 AND `+which+join+` WHERE o.id = $1`, args...)
	return g, err
}

// NewTenant is everything that a provision writes.
type NewTenant struct {
	Tenant      tenancy.Tenant // config_version 1
	Clients     []tenancy.Client
	APIKeys     []tenancy.APIKey
	SigningKeys []tenancy.SigningKey
	WantRSA     bool
	Record      Record // its hosts have claim version 0: they are claimed in the same transaction
	Regions     []string
	Seed        []byte // for the identity database; nil for none
	Event       tenancy.AuditEvent
	Answer      Answer
	// What it was planned from, which must still be so: the versions of the org and of its blueprint.
	OrgVersion, BlueprintVersion int64
	Reclaim                      bool // one of the hostnames was somebody's before and is free again
}

// Provision writes a new tenant, completely or not at all, in one round trip: a batch is one implicit transaction. Inside it org
// and blueprint must be at the versions that the tenant was planned from (CONCURRENT_CHANGE otherwise; a suspension is a version too), and
// every hostname free; else everything is rolled back and the reason answered. Neither row is locked: a suspension that commits at the
// same moment comes after the tenant, and closes it with the org's record.
func (s *Store) Provision(ctx context.Context, org id.Org, n *NewTenant) error {
	b := &pgx.Batch{}
	// The setting is evaluated first, so the checks behind it see the org's rows; if they did not, nothing could ever be provisioned.
	b.Queue(`SELECT set_config('tenantry.org_id', $1, true), CASE
		WHEN NOT EXISTS (SELECT FROM orgs o JOIN blueprints b ON b.org_id = $2 AND b.id = $4 WHERE o.id = $2 AND o.version = $3 AND b.version = $5)
		THEN tenantry_refuse('CONCURRENT_CHANGE')
		END`, org.UUID(), org, n.OrgVersion, n.Tenant.Blueprint, n.BlueprintVersion)
	if err := n.queue(b, org); err != nil {
		return err
	}
	return refusal(s.pool.SendBatch(ctx, b).Close())
}

// Provision is the same as a part of a longer transaction, which has the org and the blueprint locked.
func (t *Tx) Provision(n *NewTenant) error {
	b := &pgx.Batch{}
	if err := n.queue(b, t.org); err != nil {
		return err
	}
	return refusal(t.tx.SendBatch(t.ctx, b).Close())
}

func (n *NewTenant) queue(b *pgx.Batch, org id.Org) error {
	t := &n.Tenant
	// First, so that the slower of two calls with one request id learns of the other before anything else can be in its way.
	queueAnswer(b, org, n.Answer)
	names := hostNames(t.Hosts)
	if n.Reclaim {
		b.Queue(`WITH claim AS (
				INSERT INTO hostnames AS h (hostname, org_id, tenant_id, kind, claimed_at) SELECT n, $2, $3, 1, $4::timestamptz FROM unnest($1::text[]) n
				ON CONFLICT (hostname) DO UPDATE SET org_id = excluded.org_id, tenant_id = excluded.tenant_id, kind = 1, claim_version = h.claim_version + 1,
					claimed_at = excluded.claimed_at, released_at = NULL, hold_until = NULL
				WHERE h.org_id = '00000000-0000-0000-0000-000000000000' AND (h.hold_until IS NULL OR h.hold_until <= $4::timestamptz)
				RETURNING 1
			) SELECT CASE WHEN (SELECT count(*) FROM claim) <> cardinality($1::text[]) THEN tenantry_refuse('HOSTNAME_UNAVAILABLE') END`,
			names, org, t.ID, t.CreateTime)
	} else {
		// A name that somebody has breaks the primary key, which is HOSTNAME_UNAVAILABLE.
		b.Queue(`INSERT INTO hostnames (hostname, org_id, tenant_id, kind, claimed_at) SELECT n, $2, $3, 1, $4 FROM unnest($1::text[]) n`,
			names, org, t.ID, t.CreateTime)
	}
	b.Queue(`INSERT INTO tenants (org_id, id, slug, display_name, type, region, state, blueprint_id, blueprint_revision, blueprint_pin, pool_id,
			issuer, hosts, plan, entitlements, owner_email, owner_id, app_metadata, internal_metadata, overrides, theme, parameters, labels,
			annotations, audit_seq, audit_hash, create_time, update_time)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $27)`,
		org, t.ID, t.Slug, t.DisplayName, t.Type, t.Region, t.State, t.Blueprint, t.BlueprintRevision, t.BlueprintPin, t.Pool, t.Issuer, names,
		t.Plan, list(t.Entitlements), t.OwnerEmail, t.Owner, object(t.AppMetadata), object(t.InternalMetadata), t.Overrides, t.Theme,
		t.Parameters, notNil(t.Labels), notNil(t.Annotations), n.Event.Sequence, n.Event.Hash, t.CreateTime)
	for _, c := range n.Clients {
		b.Queue(`INSERT INTO clients (org_id, tenant_id, id, slug, settings, secrets, config_version, create_time, update_time)
			VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $7)`, org, t.ID, c.ID, c.Slug, c.ClientSettings, secretRows(c.Secrets), t.CreateTime)
	}
	queueKeys(b, org, t.ID, n.APIKeys)
	if err := queueSigningKeys(b, org, t.ID, n.SigningKeys); err != nil {
		return err
	}
	if len(t.Roles) > 0 {
		ids, roles, titles, defaults := make([]id.Role, len(t.Roles)), make([]string, len(t.Roles)), make([]string, len(t.Roles)), make([]bool, len(t.Roles))
		for i, r := range t.Roles {
			ids[i], roles[i], titles[i], defaults[i] = r.ID, r.Name, r.DisplayName, r.Default
		}
		b.Queue(`INSERT INTO tenant_roles (org_id, tenant_id, id, name, display_name, is_default)
			SELECT $1, $2, r.* FROM unnest($3::uuid[], $4::text[], $5::text[], $6::boolean[]) r`, org, t.ID, ids, roles, titles, defaults)
	}
	if n.WantRSA {
		b.Queue(`INSERT INTO rsa_wanted (org_id, tenant_id, create_time) VALUES ($1, $2, $3)`, org, t.ID, t.CreateTime)
	}
	// The claim versions were drawn a moment ago, in this transaction.
	versions := `array_agg(h.claim_version ORDER BY array_position($5::text[], h.hostname)), array_agg(true), $6 FROM hostnames h WHERE h.hostname = ANY($5::text[])`
	if len(names) == 1 {
		versions = `ARRAY[h.claim_version], ARRAY[true], $6 FROM hostnames h WHERE h.hostname = ($5::text[])[1]`
	}
	b.Queue(`INSERT INTO snapshots (subject, org_id, kind, config_version, body, hosts, host_claims, host_live, update_time)
		SELECT $1, $2, $3, 1, $4, $5, `+versions, t.ID, org, KindTenant, n.Record.Body, names, t.CreateTime)
	queueOutbox(b, org, t.ID, n.Regions, Interactive, t.CreateTime)
	if n.Seed != nil {
		b.Queue(`INSERT INTO identity_seeds (tenant_id, org_id, payload, create_time) VALUES ($1, $2, $3, $4)`, t.ID, org, n.Seed, t.CreateTime)
	}
	queueEvent(b, n.Event)
	return nil
}
