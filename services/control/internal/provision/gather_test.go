// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// lockHostnames keeps every provision waiting in the middle of its transaction until the returned function is called.
func (h *harness) lockHostnames() (unlock func()) {
	h.t.Helper()
	conn, err := pgx.Connect(h.ctx, h.db.AdminURL)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close(h.ctx) })
	tx, err := conn.Begin(h.ctx)
	if err == nil {
		_, err = tx.Exec(h.ctx, `LOCK TABLE hostnames IN ACCESS EXCLUSIVE MODE`)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(h.ctx); err != nil {
			h.t.Error(err)
		}
	}
}

// waiting waits until n transactions wait for a lock.
func (h *harness) waiting(n int) {
	h.t.Helper()
	for range 500 {
		if h.count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	h.t.Fatalf("there are not %d transactions that wait", n)
}

func TestTenantsThatAreWrittenTogetherDoNotSufferFromEachOther(t *testing.T) {
	h := newHarness(t)
	h.provision("taken")
	unlock := h.lockHostnames()
	const n = 24
	var all sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		all.Go(func() {
			in := ProvisionInput{TenantID: fmt.Sprintf("t%d", i), Blueprint: "standard", WaitFor: DepthCommitted}
			switch i % 4 {
			case 1: // an id that somebody has
				in.TenantID, in.Hosts = "taken", []HostSpec{{Label: in.TenantID}}
			case 2: // one id for six tenants
				in.TenantID, in.Hosts = "wanted", []HostSpec{{Label: in.TenantID}}
			}
			_, errs[i] = h.ProvisionTenant(h.ctx, h.owner, h.org.ID, in)
		})
	}
	h.waiting(2)
	unlock()
	all.Wait()
	won := 0
	for i, err := range errs {
		switch {
		case i%4 == 1 && !errors.Is(err, tenancy.ReasonSlugTaken):
			t.Errorf("t%d got an id that is taken: %v", i, err)
		case i%4 == 2 && err == nil:
			won++
		case i%4 == 2 && !errors.Is(err, tenancy.ReasonSlugTaken), (i%4 == 0 || i%4 == 3) && err != nil:
			t.Errorf("t%d: %v", i, err)
		}
	}
	if won != 1 {
		t.Errorf("%d tenants got one id", won)
	}
	want := 1 + n/2 + 1
	for _, table := range []string{"tenants", "snapshots WHERE kind = 1", "hostnames WHERE kind = 1", "audit_events WHERE action = 'tenant.provisioned'", "signing_keys"} {
		if got := h.count(`SELECT count(*) FROM ` + table); got != want {
			t.Errorf("%d rows of %s, want %d", got, table, want)
		}
	}
}

func TestAWaveOfSignUpsSharesTransactions(t *testing.T) {
	h := newHarness(t)
	h.provision("first") // the reading of org and blueprint is remembered, so that nobody waits for it
	unlock := h.lockHostnames()
	const n = 12
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { h.provision(fmt.Sprintf("t%d", i)) })
	}
	h.waiting(2)
	time.Sleep(200 * time.Millisecond) // the others have planned by now
	unlock()
	all.Wait()
	if got := h.count(`SELECT count(DISTINCT xmin::text) FROM tenants WHERE slug LIKE 't%'`); got > n/2 {
		t.Errorf("%d transactions for %d tenants", got, n)
	}
	if got := h.count(`SELECT count(*) FROM tenants`); got != 1+n {
		t.Errorf("%d tenants", got)
	}
}

func TestACallerThatGivesUpInTheQueueIsNotWritten(t *testing.T) {
	h := newHarness(t)
	h.provision("first")
	unlock := h.lockHostnames()
	var all sync.WaitGroup
	for i := range 2 {
		all.Go(func() { h.provision(fmt.Sprintf("t%d", i)) })
		h.waiting(i + 1) // each in a transaction of its own
	}
	ctx, cancel := context.WithTimeout(h.ctx, 200*time.Millisecond)
	defer cancel()
	_, err := h.ProvisionTenant(ctx, h.owner, h.org.ID, ProvisionInput{TenantID: "late", Blueprint: "standard", WaitFor: DepthCommitted})
	if !errors.Is(err, tenancy.ReasonUnavailable) {
		t.Errorf("a caller that gave up: %v", err)
	}
	unlock()
	all.Wait()
	h.provision("next") // behind everything that was queued
	if got := h.count(`SELECT count(*) FROM tenants WHERE slug = 'late'`); got != 0 {
		t.Error("who gave up before its transaction began was written")
	}
	if got := h.count(`SELECT count(*) FROM tenants`); got != 4 {
		t.Errorf("%d tenants, want 4", got)
	}
}
