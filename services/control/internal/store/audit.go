// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/binary"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

var insertEvents = newInsert("audit_events", `org_id, tenant_id, seq, id, create_time, actor, action, resource, changed_fields, reason, request_id,
		source, user_agent, config_version, prev_hash, hash`,
	`$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16`)

func eventRow(e *tenancy.AuditEvent) []any {
	return []any{
		e.Org, e.Tenant, e.Sequence, e.ID, e.Time, e.Actor, e.Action, e.Resource, list(e.ChangedFields), e.Reason, e.RequestID, e.Source,
		e.UserAgent, e.ConfigVersion, e.PrevHash, e.Hash,
	}
}

// Audit appends an event to the chain of its tenant, or of the transaction's org when it has none. The head of a chain is in the row of
// its tenant or org, so chains of different tenants never wait for each other.
func (t *Tx) Audit(e tenancy.AuditEvent) error {
	e.Org = t.org
	var seq int64
	var prev []byte
	table, args := `orgs WHERE id = $1`, []any{t.org}
	if !e.Tenant.IsZero() {
		table, args = `tenants WHERE org_id = $1 AND id = $2`, []any{t.org, e.Tenant}
	}
	if err := t.row(func(r pgx.Rows) error { return r.Scan(&seq, &prev) }, `SELECT audit_seq, audit_hash FROM `+table+` FOR NO KEY UPDATE`, args...); err != nil {
		return err
	}
	e.Seal(seq+1, prev)
	b := &pgx.Batch{}
	insertEvents.queue(b, eventRow(&e))
	if e.Tenant.IsZero() {
		b.Queue(`UPDATE orgs SET audit_seq = $2, audit_hash = $3 WHERE id = $1`, t.org, e.Sequence, e.Hash)
	} else {
		b.Queue(`UPDATE tenants SET audit_seq = $3, audit_hash = $4 WHERE org_id = $1 AND id = $2`, t.org, e.Tenant, e.Sequence, e.Hash)
	}
	return refusal(t.tx.SendBatch(t.ctx, b).Close())
}

// AuditEvents lists the chain of a tenant, or of the org for the zero tenant, the newest event first. Its cursor is a sequence.
func (s *Store) AuditEvents(ctx context.Context, org id.Org, tenant id.Tenant, q Query) (items []tenancy.AuditEvent, err error) {
	c := &conditions{}
	c.add("org_id = $?", org)
	c.add("tenant_id = $?", tenant)
	if len(q.After) == 8 {
		c.add("seq < $?", int64(binary.BigEndian.Uint64(q.After))) //nolint:gosec // written by EventCursor
	}
	for _, r := range q.Filter {
		switch r.Field {
		case "action":
			text(c, "action", r)
		case "actor":
			c.add("actor = $?", r.Value)
		case "request_id":
			c.add("request_id = $?", r.Value)
		case "resource":
			text(c, "resource", r)
		}
	}
	c.args = append(c.args, q.Limit)
	err = s.read(ctx, org, false, func(r pgx.Rows) error {
		var e tenancy.AuditEvent
		if err := r.Scan(&e.Org, &e.Tenant, &e.Sequence, &e.ID, &e.Time, &e.Actor, &e.Action, &e.Resource, &e.ChangedFields, &e.Reason,
			&e.RequestID, &e.Source, &e.UserAgent, &e.ConfigVersion, &e.PrevHash, &e.Hash); err != nil {
			return err
		}
		items = append(items, e)
		return nil
	}, `SELECT org_id, tenant_id, seq, id, create_time, actor, action, resource, changed_fields, reason, request_id, source, user_agent,
		config_version, prev_hash, hash FROM audit_events WHERE `+c.where()+` ORDER BY seq DESC LIMIT $`+strconv.Itoa(len(c.args)), c.args...)
	return items, err
}

// EventCursor is the cursor of a page of events that ended at a sequence.
func EventCursor(sequence int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(sequence)) //nolint:gosec // sequences are positive
}
