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

// Provision is Store.Provision as a part of a longer transaction, which has the org and the blueprint locked.
func (t *Tx) Provision(n *NewTenant) error {
	r, err := n.rows(t.org)
	if err != nil {
		return err
	}
	b := &pgx.Batch{}
	queueTenants(b, t.org, r)
	return refusal(t.tx.SendBatch(t.ctx, b).Close())
}

var (
	insertHostnames = newInsert("hostnames", `hostname, org_id, tenant_id, kind, claimed_at`, `$1, $2, $3, 1, $4`)
	insertTenants   = newInsert("tenants", `org_id, id, slug, display_name, type, region, state, blueprint_id, blueprint_revision, blueprint_pin,
			pool_id, issuer, hosts, plan, entitlements, owner_email, owner_id, app_metadata, internal_metadata, overrides, theme, parameters,
			labels, annotations, audit_seq, audit_hash, create_time, update_time, pairwise_salt`,
		`$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $27, $28`)
	insertClients = newInsert("clients", `org_id, tenant_id, id, slug, settings, secrets, config_version, create_time, update_time`,
		`$1, $2, $3, $4, $5, $6, 1, $7, $7`)
	insertRoles     = newInsert("tenant_roles", `org_id, tenant_id, id, name, display_name, is_default`, `$1, $2, $3, $4, $5, $6`)
	insertRSAWanted = newInsert("rsa_wanted", `org_id, tenant_id, create_time`, `$1, $2, $3`)
	// A claim version of 1 is what a new row of hostnames has.
	insertSnapshots = newInsert("snapshots", `subject, org_id, kind, config_version, body, hosts, host_claims, host_live, update_time`,
		`$1, $2, $3, 1, $4, $5, $6, $7, $8`)
	insertSeeds = newInsert("identity_seeds", `tenant_id, org_id, payload, create_time`, `$1, $2, $3, $4`)
)

// tenantRows are the rows of a new tenant.
type tenantRows struct {
	*NewTenant
	names                                                                             []string
	answer, tenant, event                                                             []any
	hostnames, clients, keys, signingKeys, roles, rsaWanted, snapshots, outbox, seeds [][]any
}

func (n *NewTenant) rows(org id.Org) (*tenantRows, error) {
	t := &n.Tenant
	r := &tenantRows{NewTenant: n, names: hostNames(t.Hosts), answer: answerRow(org, &n.Answer), event: eventRow(&n.Event)}
	claims, live := make([]int64, len(r.names)), make([]bool, len(r.names))
	for i, name := range r.names {
		r.hostnames = append(r.hostnames, []any{name, org, t.ID, t.CreateTime})
		claims[i], live[i] = 1, true
	}
	r.tenant = []any{
		org, t.ID, t.Slug, t.DisplayName, t.Type, t.Region, t.State, t.Blueprint, t.BlueprintRevision, t.BlueprintPin, t.Pool, t.Issuer, r.names,
		t.Plan, list(t.Entitlements), t.OwnerEmail, t.Owner, object(t.AppMetadata), object(t.InternalMetadata), t.Overrides, t.Theme,
		t.Parameters, notNil(t.Labels), notNil(t.Annotations), n.Event.Sequence, n.Event.Hash, t.CreateTime, t.PairwiseSalt,
	}
	for i := range n.Clients {
		c := &n.Clients[i]
		r.clients = append(r.clients, []any{org, t.ID, c.ID, c.Slug, c.ClientSettings, secretRows(c.Secrets), t.CreateTime})
	}
	for i := range n.APIKeys {
		r.keys = append(r.keys, keyRow(org, t.ID, &n.APIKeys[i]))
	}
	for _, k := range n.SigningKeys {
		row, err := signingKeyRow(org, t.ID, k)
		if err != nil {
			return nil, err
		}
		r.signingKeys = append(r.signingKeys, row)
	}
	for _, x := range t.Roles {
		r.roles = append(r.roles, []any{org, t.ID, x.ID, x.Name, x.DisplayName, x.Default})
	}
	if n.WantRSA {
		r.rsaWanted = [][]any{{org, t.ID, t.CreateTime}}
	}
	if !n.Reclaim {
		r.snapshots = [][]any{{t.ID, org, KindTenant, n.Record.Body, r.names, claims, live, t.CreateTime}}
	}
	r.outbox = outboxRows(org, t.ID, n.Regions, Interactive, t.CreateTime)
	if n.Seed != nil {
		r.seeds = [][]any{{t.ID, org, n.Seed, t.CreateTime}}
	}
	return r, nil
}

// queueTenants queues what writes new tenants. Those whose names have a history come alone.
func queueTenants(b *pgx.Batch, org id.Org, all ...*tenantRows) {
	var answers, hostnames, tenants, clients, keys, signingKeys, roles, rsaWanted, snapshots, outbox, seeds, events [][]any
	for _, r := range all {
		answers, tenants, events = append(answers, r.answer), append(tenants, r.tenant), append(events, r.event)
		hostnames, clients, keys, signingKeys = append(hostnames, r.hostnames...), append(clients, r.clients...), append(keys, r.keys...), append(signingKeys, r.signingKeys...)
		roles, rsaWanted, snapshots = append(roles, r.roles...), append(rsaWanted, r.rsaWanted...), append(snapshots, r.snapshots...)
		outbox, seeds = append(outbox, r.outbox...), append(seeds, r.seeds...)
	}
	// First, so that the slower of two calls with one request id learns of the other before anything else can be in its way.
	insertAnswers.queue(b, answers...)
	if len(all) == 1 && all[0].Reclaim {
		queueReclaim(b, org, all[0])
	} else {
		// A name that somebody has breaks the primary key, which is HOSTNAME_UNAVAILABLE.
		insertHostnames.queue(b, hostnames...)
	}
	insertTenants.queue(b, tenants...)
	insertClients.queue(b, clients...)
	insertKeys.queue(b, keys...)
	insertSigningKeys.queue(b, signingKeys...)
	insertRoles.queue(b, roles...)
	insertRSAWanted.queue(b, rsaWanted...)
	insertSnapshots.queue(b, snapshots...)
	insertOutbox.queue(b, outbox...)
	insertSeeds.queue(b, seeds...)
	insertEvents.queue(b, events...)
}

// queueReclaim claims names that may have a history, and writes the record with the claim versions that were drawn for them.
func queueReclaim(b *pgx.Batch, org id.Org, r *tenantRows) {
	t := &r.Tenant
	b.Queue(`WITH claim AS (
			INSERT INTO hostnames AS h (hostname, org_id, tenant_id, kind, claimed_at) SELECT n, $2, $3, 1, $4::timestamptz FROM unnest($1::text[]) n
			ON CONFLICT (hostname) DO UPDATE SET org_id = excluded.org_id, tenant_id = excluded.tenant_id, kind = 1, claim_version = h.claim_version + 1,
				claimed_at = excluded.claimed_at, released_at = NULL, hold_until = NULL
			WHERE h.org_id = '00000000-0000-0000-0000-000000000000' AND (h.hold_until IS NULL OR h.hold_until <= $4::timestamptz)
			RETURNING 1
		) SELECT CASE WHEN (SELECT count(*) FROM claim) <> cardinality($1::text[]) THEN tenantry_refuse('HOSTNAME_UNAVAILABLE') END`,
		r.names, org, t.ID, t.CreateTime)
	b.Queue(`INSERT INTO snapshots (subject, org_id, kind, config_version, body, hosts, host_claims, host_live, update_time)
		SELECT $1, $2, $3, 1, $4, $5, array_agg(h.claim_version ORDER BY array_position($5::text[], h.hostname)), array_agg(true), $6
		FROM hostnames h WHERE h.hostname = ANY($5::text[])`, t.ID, org, KindTenant, r.Record.Body, r.names, t.CreateTime)
}
