// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// RequestIDLife is how long the answer to a request id is kept.
const RequestIDLife = 24 * time.Hour

// Answer is a call whose answer is kept.
type Answer struct {
	tenancy.Operation
	RequestID string   // UUID, empty for none
	BodyHash  [32]byte // of the request that it answers
}

var insertAnswers = newInsert("operations", `id, org_id, tenant_id, caller, method, request_id, body_hash, answer, create_time`,
	`$1, $2, $3, $4, $5, $6::text::uuid, $7, $8, $9`)

func answerRow(org id.Org, a *Answer) []any {
	var request *string
	var hash []byte
	if a.RequestID != "" {
		request, hash = &a.RequestID, a.BodyHash[:]
	}
	return []any{a.ID, org, a.Tenant, a.Caller, a.Method, request, hash, a.Operation.Answer, a.CreateTime}
}

// PutAnswer keeps the answer of a call; ErrRepeated when another call with the request id was faster.
func (t *Tx) PutAnswer(a Answer) error {
	b := &pgx.Batch{}
	insertAnswers.queue(b, answerRow(t.org, &a))
	return refusal(t.tx.SendBatch(t.ctx, b).Close())
}

// Replay finds the answer that was given to a caller's request id; NOT_FOUND when it is new. It is read as work of the platform,
// because the same caller may have used the id for another org, which is then another request.
func (s *Store) Replay(ctx context.Context, org id.Org, caller id.APIKey, method, requestID string) (a Answer, err error) {
	var hash []byte
	err = s.one(ctx, org, true, func(r pgx.Rows) error {
		return r.Scan(&a.ID, &a.Org, &a.Tenant, &hash, &a.Operation.Answer, &a.CreateTime)
	},
		`SELECT id, org_id, tenant_id, body_hash, answer, create_time FROM operations WHERE caller = $1 AND method = $2 AND request_id = $3::text::uuid`,
		caller, method, requestID)
	copy(a.BodyHash[:], hash)
	a.Caller, a.Method, a.RequestID = caller, method, requestID
	return a, err
}

// Operation reads an operation. Who may see it is decided by its caller and org, which come along.
func (s *Store) Operation(ctx context.Context, op id.Operation) (o tenancy.Operation, seeding bool, err error) {
	err = s.one(ctx, id.Org{}, true, func(r pgx.Rows) error {
		return r.Scan(&o.ID, &o.Org, &o.Tenant, &o.Caller, &o.Method, &o.Answer, &o.CreateTime)
	}, `SELECT id, org_id, tenant_id, caller, method, answer, create_time FROM operations WHERE id = $1`, op)
	if err != nil || o.Tenant.IsZero() {
		return o, false, err
	}
	seeding, err = s.Seeding(ctx, o.Org, o.Tenant)
	return o, seeding, err
}

// Seeding says whether a tenant's seed still waits to be applied to the identity database.
func (s *Store) Seeding(ctx context.Context, org id.Org, tenant id.Tenant) (waits bool, err error) {
	err = s.one(ctx, org, false, func(r pgx.Rows) error { return r.Scan(&waits) },
		`SELECT EXISTS (SELECT FROM identity_seeds WHERE org_id = $1 AND tenant_id = $2)`, org, tenant)
	return waits, err
}
