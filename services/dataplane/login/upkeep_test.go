// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/identity"
)

// marked records marks, and can be away.
type marked struct {
	mu   sync.Mutex
	away error
	ids  []string
	any  chan struct{}
}

func (m *marked) Revoke(_ context.Context, tenant id.Tenant, _ time.Time, marks ...grant.Mark) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away != nil {
		return m.away
	}
	for _, mark := range marks {
		m.ids = append(m.ids, tenant.String()+" "+mark.ID)
	}
	select {
	case m.any <- struct{}{}:
	default:
	}
	return nil
}

// endElsewhere ends a new session as the control plane does: in the database alone.
func endElsewhere(t *testing.T, r *rig, s *site) (mark string) {
	t.Helper()
	at := identity.TenantRef{Tenant: s.ID, Pool: s.Pool}
	op := identity.Op{Now: r.clock(), Actor: "test"}
	session, _, err := r.identity.CreateSession(t.Context(), at, op, identity.NewSession{
		User: s.gavin.ID, AuthTime: r.clock(), AMR: []string{"pwd"}, Life: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.identity.EndSession(t.Context(), at, op, session.ID); err != nil {
		t.Fatal(err)
	}
	return s.ID.String() + " " + session.ID.String()
}

func TestRevocationsOfTheControlPlaneReachTheMarks(t *testing.T) {
	r := newRig(t)
	marks := &marked{any: make(chan struct{}, 1)}
	u := &upkeep{identity: r.identity, grants: marks, log: slog.New(slog.DiscardHandler), now: r.clock, timeout: 5 * time.Second, since: r.clock()}
	hooli, raviga := endElsewhere(t, r, r.hooli), endElsewhere(t, r, r.raviga)

	marks.away = errors.New("redis is away")
	since := u.since
	r.pass(time.Minute)
	if err := u.follow(t.Context()); err == nil || !u.since.Equal(since) {
		t.Fatalf("moved on to %v although nothing was marked: %v", u.since, err)
	}
	marks.away = nil
	if err := u.follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{hooli, raviga} {
		if !slices.Contains(marks.ids, want) {
			t.Errorf("%q is not marked; marked are %q", want, marks.ids)
		}
	}
	marks.ids = nil
	r.pass(time.Minute)
	if err := u.follow(t.Context()); err != nil || len(marks.ids) > 2 {
		t.Errorf("marked again: %q, %v", marks.ids, err)
	}
}

func TestUpkeepRunsUntilItIsEnded(t *testing.T) {
	r := newRig(t)
	marks := &marked{any: make(chan struct{}, 1)}
	u := &upkeep{identity: r.identity, grants: marks, log: slog.New(slog.DiscardHandler), now: r.clock, timeout: 5 * time.Second}
	u.end() // before start: nothing to wait for
	u.start()
	want := endElsewhere(t, r, r.hooli)
	select {
	case <-marks.any:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was marked")
	}
	u.end()
	u.end()
	if !slices.Contains(marks.ids, want) {
		t.Errorf("marked %q", marks.ids)
	}
}
