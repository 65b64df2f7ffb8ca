// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
)

// Actions that are recorded.
const (
	ActionUserCreated        = "user.created"
	ActionUserUpdated        = "user.updated"
	ActionUserDeleted        = "user.deleted"
	ActionPasswordChanged    = "password.changed"
	ActionSessionEnded       = "session.ended"
	ActionGrantRevoked       = "grant.revoked"
	ActionTokenRevoked       = "token.revoked"
	ActionInvitationCreated  = "invitation.created"
	ActionInvitationAccepted = "invitation.accepted"
	ActionConsentGranted     = "consent.granted"
	ActionTenantErased       = "tenant.erased"
)

const (
	outcomeSuccess = "success"
	maxUserAgent   = 512
)

// ErrChainBroken: a tenant's audit chain does not fit together; the text says at which event.
var ErrChainBroken = errors.New("identity: the audit chain is broken")

// auditParams is how many parameters an event is, in the order of append_audit.
const auditParams = 12

// event makes an audit event's parameters, to be appended to a statement's own. details must marshal.
func event(ref TenantRef, op Op, action, resource string, details map[string]any) []any {
	text := "{}"
	if len(details) > 0 {
		// Marshalling a map of strings, numbers and lists sorts its keys and cannot fail.
		b, _ := json.Marshal(details) //nolint:errchkjson // see above
		text = string(b)
	}
	e := AuditEvent{
		ID: id.NewEvent(), Time: micro(op.Now), Actor: clean(op.Actor), Action: action, Resource: resource, Outcome: outcomeSuccess,
		RequestID: clean(op.RequestID), IP: clean(op.IP), UserAgent: clean(op.UserAgent), Details: text,
	}
	digest := e.digest(ref.Tenant)
	return []any{
		uuid(ref.Tenant), uuid(e.ID), e.Time, e.Actor, e.Action, e.Resource, e.Outcome, e.RequestID, e.IP, e.UserAgent, e.Details, digest[:],
	}
}

// appendAudit is the call of append_audit whose first parameter is $n.
func appendAudit(n int) string {
	var b strings.Builder
	b.WriteString("append_audit(")
	for i := range auditParams {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "$%d", n+i)
	}
	b.WriteByte(')')
	return b.String()
}

var auditStatement = "SELECT " + appendAudit(1)

// record appends one event at the end of a transaction.
func record(ctx context.Context, tx pgx.Tx, ref TenantRef, op Op, action, resource string, details map[string]any) error {
	_, err := tx.Exec(ctx, auditStatement, event(ref, op, action, resource, details)...)
	return err
}

// clean makes a stranger's text storable: valid UTF-8 without NUL, of bounded length.
func clean(s string) string {
	if len(s) > maxUserAgent {
		s = s[:maxUserAgent]
	}
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	}
	return s
}

// digest covers everything of the event but its place: length-prefixed, so that no two events have the same bytes.
func (e *AuditEvent) digest(tenant id.Tenant) [32]byte {
	h := sha256.New()
	h.Write([]byte("tenantry audit v1\x00"))
	h.Write(tenant[:])
	h.Write(e.ID[:])
	var t [8]byte
	binary.BigEndian.PutUint64(t[:], uint64(e.Time.UnixMicro()))
	h.Write(t[:])
	for _, s := range []string{e.Actor, e.Action, e.Resource, e.Outcome, e.RequestID, e.IP, e.UserAgent, e.Details} {
		field(h, s)
	}
	return [32]byte(h.Sum(nil))
}

func field(h hash.Hash, s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	h.Write([]byte(s))
}

// link is the chain's hash after an event with this digest took place seq.
func link(before []byte, seq int64, digest [32]byte) []byte {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(seq)) //nolint:gosec // from 1 upwards
	h := sha256.New()
	h.Write(before)
	h.Write(n[:])
	h.Write(digest[:])
	return h.Sum(nil)
}

const auditColumns = `seq, id, time, actor, action, resource, outcome, request_id, ip, user_agent, details, hash`

func scanEvent(row pgx.CollectableRow) (AuditEvent, error) {
	var e AuditEvent
	err := row.Scan(&e.Seq, (*[16]byte)(&e.ID), when{&e.Time}, &e.Actor, &e.Action, &e.Resource, &e.Outcome, &e.RequestID, &e.IP,
		&e.UserAgent, &e.Details, &e.Hash)
	return e, err
}

// ListAuditEvents answers a page of the tenant's events, newest first.
func (s *Store) ListAuditEvents(ctx context.Context, ref TenantRef, p AuditPage) ([]AuditEvent, error) {
	return many(ctx, s, ref, `
		SELECT `+auditColumns+` FROM audit_events
		WHERE tenant_id = $1 AND ($2 = 0 OR seq < $2) AND ($4 = '' OR action = $4) AND ($5 = '' OR actor = $5) AND ($6 = '' OR resource = $6)
		ORDER BY seq DESC LIMIT $3`,
		[]any{uuid(ref.Tenant), p.Before, p.Limit, p.Action, p.Actor, p.Resource}, scanEvent)
}

// VerifyAudit walks the tenant's whole chain and answers how many events fit together. Any edited, deleted, inserted or reordered
// row is ErrChainBroken.
func (s *Store) VerifyAudit(ctx context.Context, ref TenantRef) (events int64, err error) {
	err = s.tx(ctx, ref, func(tx pgx.Tx) error {
		// The head and the rows must be of one moment.
		if _, err := tx.Exec(ctx, `SELECT FROM audit_heads WHERE tenant_id = $1 FOR SHARE`, uuid(ref.Tenant)); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT `+auditColumns+` FROM audit_events WHERE tenant_id = $1 ORDER BY seq`, uuid(ref.Tenant))
		if err != nil {
			return err
		}
		defer rows.Close()
		last := make([]byte, sha256.Size)
		for rows.Next() {
			e, err := scanEvent(rows)
			if err != nil {
				return err
			}
			events++
			want := link(last, events, e.digest(ref.Tenant))
			if e.Seq != events || !bytes.Equal(want, e.Hash) {
				return fmt.Errorf("%w at event %d", ErrChainBroken, events)
			}
			last = want
		}
		if err := rows.Err(); err != nil {
			return err
		}
		var (
			seq  int64
			head []byte
		)
		err = tx.QueryRow(ctx, `SELECT seq, hash FROM audit_heads WHERE tenant_id = $1`, uuid(ref.Tenant)).Scan(&seq, &head)
		switch {
		case errors.Is(err, pgx.ErrNoRows) && events == 0:
			return nil
		case errors.Is(err, pgx.ErrNoRows):
			return fmt.Errorf("%w: its head is missing", ErrChainBroken)
		case err != nil:
			return err
		case seq != events || !bytes.Equal(head, last):
			return fmt.Errorf("%w: its last %d events are missing", ErrChainBroken, max(seq-events, 0))
		}
		return nil
	})
	return events, err
}

// maxAccessLife is the longest life an access token can have and the tolerated skew: marks and rows are kept that long.
const maxAccessLife = time.Hour + time.Minute
