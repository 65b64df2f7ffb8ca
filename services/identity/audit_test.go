// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/dbtest"
)

// Whoever can write the tables directly cannot change history unseen.
func TestTamperedAuditChainIsFound(t *testing.T) {
	db := dbtest.New(t, "identity", identity.Migrate)
	s, ctx := openAt(t, db), context.Background()
	c := admin(t, db)
	for _, attack := range []string{
		`UPDATE audit_events SET actor = 'somebody' WHERE tenant_id = $1 AND seq = 3`,
		`UPDATE audit_events SET time = time + interval '1 microsecond' WHERE tenant_id = $1 AND seq = 2`,
		`UPDATE audit_events SET details = '{}' WHERE tenant_id = $1 AND seq = 4`,
		`UPDATE audit_events SET ip = user_agent, user_agent = ip WHERE tenant_id = $1 AND seq = 1`,
		`UPDATE audit_events SET actor = 'syste', action = 'm' || action WHERE tenant_id = $1 AND seq = 1`,
		`UPDATE audit_events SET hash = sha256(hash) WHERE tenant_id = $1 AND seq = 5`,
		`DELETE FROM audit_events WHERE tenant_id = $1 AND seq = 1`,
		`DELETE FROM audit_events WHERE tenant_id = $1 AND seq = 3`,
		`DELETE FROM audit_events WHERE tenant_id = $1 AND seq = 5`,
		`DELETE FROM audit_events WHERE tenant_id = $1`,
		`DELETE FROM audit_heads WHERE tenant_id = $1`,
		`UPDATE audit_events SET seq = CASE seq WHEN 2 THEN 103 ELSE 102 END WHERE tenant_id = $1 AND seq IN (2, 3)`,
		`WITH d AS (DELETE FROM audit_events WHERE tenant_id = $1 AND seq = 5) UPDATE audit_heads SET seq = 4 WHERE tenant_id = $1`,
		`INSERT INTO audit_events SELECT tenant_id, 6, id, time, actor, action, resource, outcome, request_id, ip, user_agent, details, digest, hash
			FROM audit_events WHERE tenant_id = $1 AND seq = 5`,
		`UPDATE audit_events e SET digest = o.digest, hash = o.hash, id = o.id, actor = o.actor FROM audit_events o
			WHERE e.tenant_id = $1 AND o.tenant_id = $1 AND e.seq = 2 AND o.seq = 3`,
	} {
		ref := newTenant()
		for range 5 {
			register(t, s, ref)
		}
		n, err := s.VerifyAudit(ctx, ref)
		ok(t, err)
		if n != 5 {
			t.Fatalf("%d events", n)
		}
		tag, err := c.Exec(ctx, attack, ref.Tenant.UUID())
		ok(t, err)
		if tag.RowsAffected() == 0 {
			t.Fatalf("%s changed nothing", attack)
		}
		if _, err := s.VerifyAudit(ctx, ref); !errors.Is(err, identity.ErrChainBroken) {
			t.Errorf("%s: %v", attack, err)
		}
	}
	// A whole chain copied to another tenant is not that tenant's.
	a, b := newTenant(), newTenant()
	register(t, s, a)
	_, err := c.Exec(ctx, `INSERT INTO audit_events SELECT $2, seq, id, time, actor, action, resource, outcome, request_id, ip, user_agent, details, digest, hash
		FROM audit_events WHERE tenant_id = $1`, a.Tenant.UUID(), b.Tenant.UUID())
	ok(t, err)
	_, err = c.Exec(ctx, `INSERT INTO audit_heads SELECT $2, seq, hash FROM audit_heads WHERE tenant_id = $1`, a.Tenant.UUID(), b.Tenant.UUID())
	ok(t, err)
	_, err = s.VerifyAudit(ctx, b)
	want(t, err, identity.ErrChainBroken)
}

func TestAuditUnderLoadIsOneChain(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 10 {
				if _, err := s.GrantConsent(ctx, ref, at(noon), u.ID, id.NewClient(), []string{"openid"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(actions(t, s, ref)); n != 161 {
		t.Fatalf("%d events for 161 changes", n)
	}
}

// A tenant whose head is locked holds up nobody else.
func TestAuditChainsAreIndependent(t *testing.T) {
	db := dbtest.New(t, "identity", identity.Migrate)
	s, ctx := openAt(t, db), context.Background()
	stuck, other := newTenant(), newTenant()
	u, v := register(t, s, stuck), register(t, s, other)
	tx, err := admin(t, db).Begin(ctx)
	ok(t, err)
	_, err = tx.Exec(ctx, `SELECT FROM audit_heads WHERE tenant_id = $1 FOR UPDATE`, stuck.Tenant.UUID())
	ok(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := s.GrantConsent(ctx, stuck, at(noon), u.ID, id.NewClient(), nil)
		done <- err
	}()
	_, err = s.GrantConsent(ctx, other, at(noon), v.ID, id.NewClient(), nil)
	ok(t, err)
	select {
	case err := <-done:
		t.Fatalf("the lock did not hold: %v", err)
	default:
	}
	ok(t, tx.Rollback(ctx))
	ok(t, <-done)
}

func TestListAuditEvents(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	op := identity.Op{Now: noon.Add(123456789 * time.Nanosecond), Actor: "key_a", RequestID: "r\x00\xff", IP: "192.0.2.1", UserAgent: strings.Repeat("é", 400)}
	u, err := s.CreateUser(ctx, ref, op, identity.NewUser{Email: "a@x.example", Roles: []string{"admin"}}, policy)
	ok(t, err)
	for range 4 {
		_, err := s.GrantConsent(ctx, ref, at(noon), u.ID, id.NewClient(), []string{"openid"})
		ok(t, err)
	}
	var seqs []int64
	for page := (identity.AuditPage{Limit: 2}); ; {
		got, err := s.ListAuditEvents(ctx, ref, page)
		ok(t, err)
		for _, e := range got {
			seqs = append(seqs, e.Seq)
		}
		if len(got) < 2 {
			break
		}
		page.Before = got[len(got)-1].Seq
	}
	if !slices.Equal(seqs, []int64{5, 4, 3, 2, 1}) {
		t.Fatal(seqs)
	}
	got, err := s.ListAuditEvents(ctx, ref, identity.AuditPage{Actor: "key_a", Action: identity.ActionUserCreated, Resource: u.ID.String()})
	ok(t, err)
	if len(got) != 1 {
		t.Fatal(got)
	}
	wanted := identity.AuditEvent{
		Seq: 1, ID: got[0].ID, Time: noon.Add(123456 * time.Microsecond), Actor: "key_a", Action: identity.ActionUserCreated, Resource: u.ID.String(), Outcome: "success",
		RequestID: "r\ufffd\ufffd", IP: "192.0.2.1", UserAgent: strings.Repeat("é", 256), Hash: got[0].Hash,
		Details: `{"membership":"` + u.Membership.String() + `","roles":["admin"],"source":"API"}`,
	}
	if d := cmp.Diff(wanted, got[0]); d != "" {
		t.Fatal(d)
	}
	_, err = s.VerifyAudit(ctx, ref)
	ok(t, err)
}
