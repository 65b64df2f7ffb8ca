// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// RecordKind is the kind of a record in the data plane; the numbers are those of DISTRIBUTION.md section 2.
type RecordKind int16

// The kinds that are stored.
const (
	KindTenant    RecordKind = 1
	KindTombstone RecordKind = 2
	KindRingTable RecordKind = 3
	KindOrg       RecordKind = 5
)

// Record is a compiled document, ready to be signed and copied.
type Record struct {
	Subject       [16]byte // tenant, org or blueprint
	Org           id.Org
	Kind          RecordKind
	ConfigVersion int64
	Restrictive   bool // the next request waits for it: suspension, revocation
	Body          []byte
	Hosts         []tenancy.Host
	Blobs         [][]byte // digests of the blobs that the body names
	Time          time.Time
}

// Bulk is the priority of changes that nobody waits for.
const (
	Interactive int16 = 0
	Bulk        int16 = 1
)

func queueRecord(b *pgx.Batch, r Record, regions []string, priority int16) {
	names, claims, live := make([]string, len(r.Hosts)), make([]int64, len(r.Hosts)), make([]bool, len(r.Hosts))
	for i, h := range r.Hosts {
		names[i], claims[i], live[i] = h.Name, h.ClaimVersion, !h.Released
	}
	b.Queue(`INSERT INTO snapshots AS s (subject, org_id, kind, config_version, restrictive, body, hosts, host_claims, host_live, blobs, update_time)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (subject) DO UPDATE SET kind = excluded.kind, config_version = excluded.config_version, restrictive = excluded.restrictive,
			body = excluded.body, hosts = excluded.hosts, host_claims = excluded.host_claims, host_live = excluded.host_live,
			blobs = excluded.blobs, update_time = excluded.update_time
		WHERE s.config_version < excluded.config_version`,
		r.Subject, r.Org, r.Kind, r.ConfigVersion, r.Restrictive, r.Body, names, claims, live, list(r.Blobs), r.Time)
	queueOutbox(b, r.Org, r.Subject, regions, priority, r.Time)
}

var insertOutbox = newInsert("outbox", `region, priority, subject, org_id, create_time`, `$1, $2, $3, $4, $5`)

func outboxRows(org id.Org, subject [16]byte, regions []string, priority int16, now time.Time) [][]any {
	rows := make([][]any, len(regions))
	for i, r := range regions {
		rows[i] = []any{r, priority, subject, org, now}
	}
	return rows
}

func queueOutbox(b *pgx.Batch, org id.Org, subject [16]byte, regions []string, priority int16, now time.Time) {
	insertOutbox.queue(b, outboxRows(org, subject, regions, priority, now)...)
}

// PutRecord writes a record of the transaction's org and what makes the publisher copy it to the regions.
func (t *Tx) PutRecord(r Record, regions []string, priority int16) error {
	b := &pgx.Batch{}
	r.Org = t.org
	queueRecord(b, r, regions, priority)
	return refusal(t.tx.SendBatch(t.ctx, b).Close())
}

// Announce makes the publisher copy a subject's record again.
func (t *Tx) Announce(subject [16]byte, regions []string, now time.Time) error {
	b := &pgx.Batch{}
	queueOutbox(b, t.org, subject, regions, Interactive, now)
	return refusal(t.tx.SendBatch(t.ctx, b).Close())
}

// PutBlob writes a content-addressed blob of the transaction's org.
func (t *Tx) PutBlob(digest [32]byte, body []byte, now time.Time) error {
	_, err := t.exec(`INSERT INTO snapshot_blobs (org_id, digest, body, create_time) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`, t.org, digest[:], body, now)
	return err
}

// RecordBody reads the body of an org's record, or that of one of its tenants or blueprints.
func (s *Store) RecordBody(ctx context.Context, org id.Org, subject [16]byte) (body []byte, version int64, err error) {
	err = s.one(ctx, org, false, func(r pgx.Rows) error { return r.Scan(&body, &version) },
		`SELECT body, config_version FROM snapshots WHERE subject = $2 AND org_id = $1`, org, subject)
	return body, version, err
}

// Blob reads a blob of an org.
func (s *Store) Blob(ctx context.Context, org id.Org, digest []byte) (body []byte, err error) {
	err = s.one(ctx, org, false, func(r pgx.Rows) error { return r.Scan(&body) },
		`SELECT body FROM snapshot_blobs WHERE org_id = $1 AND digest = $2`, org, digest)
	return body, err
}
