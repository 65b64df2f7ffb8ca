// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// Actions of audit events.
const (
	ActionOrgCreated          = "org.created"
	ActionOrgUpdated          = "org.updated"
	ActionBlueprintCreated    = "blueprint.created"
	ActionBlueprintUpdated    = "blueprint.updated"
	ActionBlueprintPublished  = "blueprint.published"
	ActionTenantProvisioned   = "tenant.provisioned"
	ActionTenantUpdated       = "tenant.updated"
	ActionTenantSuspended     = "tenant.suspended"
	ActionTenantResumed       = "tenant.resumed"
	ActionTenantDeleted       = "tenant.deleted"
	ActionTenantUndeleted     = "tenant.undeleted"
	ActionClientCreated       = "client.created"
	ActionClientUpdated       = "client.updated"
	ActionClientDeleted       = "client.deleted"
	ActionClientSecretAdded   = "client.secret.added"
	ActionClientSecretRetired = "client.secret.retired"
	ActionKeyMinted           = "apikey.minted"
	ActionKeyRotated          = "apikey.rotated"
	ActionKeyRevoked          = "apikey.revoked"
	ActionSigningKeyAdded     = "signingkey.added"
	ActionSigningKeyRotated   = "signingkey.rotated"
	ActionSigningKeyPublished = "signingkey.published"
	ActionSigningKeyActivated = "signingkey.activated"
	ActionSigningKeyRemoved   = "signingkey.removed"
	ActionSigningKeyRevoked   = "signingkey.revoked"
	ActionHostnameReleased    = "hostname.released"
)

// AuditEvent is one change, in the hash chain of its tenant, of its org, or of the platform.
type AuditEvent struct {
	ID            id.Event
	Org           id.Org    // zero for changes of the platform itself
	Tenant        id.Tenant // zero for changes of the org
	Sequence      int64     // from 1, without gaps
	Time          time.Time // at microsecond precision, which is what the database keeps
	Actor         string    // id of the API key, or system
	Action        string
	Resource      string // name such as orgs/org_…/tenants/tnt_…
	ChangedFields []string
	Reason        string // that the caller gave
	RequestID     string
	Source        string
	UserAgent     string
	ConfigVersion int64
	PrevHash      []byte // empty for the first
	Hash          []byte
}

// Seal puts the event behind prev, the hash of event sequence-1 (empty for the first): it cuts the time to what is stored and fills
// in the sequence and both hashes.
func (e *AuditEvent) Seal(sequence int64, prev []byte) {
	e.Sequence, e.PrevHash = sequence, bytes.Clone(prev)
	if e.PrevHash == nil {
		e.PrevHash = []byte{}
	}
	e.Time = e.Time.UTC().Truncate(time.Microsecond)
	e.Hash = e.sum()
}

// sum is SHA-256 over every field, each with its length in front, so that no two events have the same bytes.
func (e *AuditEvent) sum() []byte {
	b := make([]byte, 0, 512)
	number := func(n int64) { b = binary.BigEndian.AppendUint64(b, uint64(n)) } //nolint:gosec // a bit pattern, not a count
	text := func(s string) {
		number(int64(len(s)))
		b = append(b, s...)
	}
	text("tenantry-audit-v1")
	b = append(b, e.ID[:]...)
	b = append(b, e.Org[:]...)
	b = append(b, e.Tenant[:]...)
	number(e.Sequence)
	number(e.Time.UnixMicro())
	for _, s := range []string{e.Actor, e.Action, e.Resource, e.Reason, e.RequestID, e.Source, e.UserAgent} {
		text(s)
	}
	number(int64(len(e.ChangedFields)))
	for _, s := range e.ChangedFields {
		text(s)
	}
	number(e.ConfigVersion)
	text(string(e.PrevHash))
	h := sha256.Sum256(b)
	return h[:]
}

// VerifyChain checks consecutive events of one chain, the first of which follows the event with hash prev at sequence-1. It finds
// events that were changed, removed, inserted or reordered.
func VerifyChain(prev []byte, events []AuditEvent) error {
	for i := range events {
		e := &events[i]
		if i > 0 && e.Sequence != events[i-1].Sequence+1 {
			return fmt.Errorf("audit chain: event %d follows event %d", e.Sequence, events[i-1].Sequence)
		}
		if !bytes.Equal(e.PrevHash, prev) {
			return fmt.Errorf("audit chain: event %d does not hang on the event before it", e.Sequence)
		}
		if !bytes.Equal(e.sum(), e.Hash) {
			return fmt.Errorf("audit chain: event %d is not what was written", e.Sequence)
		}
		prev = e.Hash
	}
	return nil
}
