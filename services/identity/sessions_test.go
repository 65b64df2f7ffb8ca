// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/dbtest"
)

func TestSession(t *testing.T) {
	db := dbtest.New(t, "identity", identity.Migrate)
	s, ctx, ref := openAt(t, db), context.Background(), newTenant()
	u := register(t, s, ref)
	made, token, err := s.CreateSession(ctx, ref, at(noon), identity.NewSession{User: u.ID, AuthTime: noon.Add(-time.Minute), AMR: []string{"pwd"}, ACR: "1", Life: 8 * time.Hour})
	ok(t, err)
	got, who, err := s.Session(ctx, ref, token, noon.Add(time.Second), identity.SessionLimits{Idle: time.Hour, Absolute: 8 * time.Hour})
	ok(t, err)
	if d := cmp.Diff(made, got); d != "" {
		t.Fatalf("(-made +got):\n%s", d)
	}
	if who.ID != u.ID || !slices.Equal(who.Roles, u.Roles) || made.ExpireTime != noon.Add(8*time.Hour-time.Minute) || made.IP != "192.0.2.7" {
		t.Fatalf("%+v %+v", made, who)
	}
	// The token itself is nowhere.
	for _, form := range []string{fmt.Sprintf("%x", token[:])} {
		if found := mentions(t, admin(t, db), form); len(found) != 0 {
			t.Fatalf("the token is stored: %v", found)
		}
	}
	if text := fmt.Sprint(token) + slog.AnyValue(token).Resolve().String(); strings.Contains(text, fmt.Sprint(token[0], token[1])) {
		t.Fatalf("the token prints as %s", text)
	}
}

// TestRenewedSession: the login goes on under its id and with what was granted in it, and the token that somebody may have planted or
// seen is dead.
func TestRenewedSession(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u, other := register(t, s, ref), register(t, s, ref)
	before, old := login(t, s, ref, u)
	f := family(t, s, ref, u, before.ID, false)
	later := noon.Add(time.Hour)
	after, token, err := s.RenewSession(ctx, ref, at(later), before.ID, identity.NewSession{User: u.ID, AMR: []string{"otp"}, ACR: "2", Life: 8 * time.Hour})
	ok(t, err)
	if after.ID != before.ID || after.AuthTime != later || after.CreateTime != before.CreateTime || after.ExpireTime != later.Add(8*time.Hour) || after.ACR != "2" {
		t.Fatalf("%+v", after)
	}
	_, _, err = s.Session(ctx, ref, old, later, identity.SessionLimits{})
	want(t, err, identity.ErrNotFound)
	got, _, err := s.Session(ctx, ref, token, later, identity.SessionLimits{})
	ok(t, err)
	if d := cmp.Diff(after, got); d != "" {
		t.Fatalf("(-renewed +got):\n%s", d)
	}
	_, err = s.Rotate(ctx, ref, at(later), rotation(f, 1))
	ok(t, err)
	// Of nobody else, and not after its end.
	_, _, err = s.RenewSession(ctx, ref, at(later), before.ID, identity.NewSession{User: other.ID})
	want(t, err, identity.ErrNotFound)
	_, _, err = s.RenewSession(ctx, ref, at(later.Add(9*time.Hour)), before.ID, identity.NewSession{User: u.ID})
	want(t, err, identity.ErrNotFound)
	_, err = s.EndSession(ctx, ref, at(later), before.ID)
	ok(t, err)
	_, _, err = s.RenewSession(ctx, ref, at(later), before.ID, identity.NewSession{User: u.ID})
	want(t, err, identity.ErrNotFound)
	_, err = s.Rotate(ctx, ref, at(later), rotation(f, 2))
	want(t, err, identity.ErrNotFound)
}

func TestSessionLimits(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	for _, tc := range []struct {
		name   string
		uses   []time.Duration // since noon
		limits identity.SessionLimits
		at     time.Duration
		want   error
	}{
		{"fresh", nil, identity.SessionLimits{Idle: time.Hour}, 59 * time.Minute, nil},
		{"idle", nil, identity.SessionLimits{Idle: time.Hour}, 61 * time.Minute, identity.ErrNotFound},
		{"kept alive by use", []time.Duration{40 * time.Minute, 80 * time.Minute}, identity.SessionLimits{Idle: time.Hour}, 2 * time.Hour, nil},
		{"a short idle limit is kept alive too", []time.Duration{40 * time.Second, 80 * time.Second}, identity.SessionLimits{Idle: time.Minute}, 2 * time.Minute, nil},
		{"absolute, whatever the use", []time.Duration{40 * time.Minute, 80 * time.Minute}, identity.SessionLimits{Idle: time.Hour, Absolute: 2 * time.Hour}, 2 * time.Hour, identity.ErrNotFound},
		{"a policy that became stricter", nil, identity.SessionLimits{Absolute: time.Minute}, time.Minute, identity.ErrNotFound},
		{"its own end", nil, identity.SessionLimits{}, 30 * 24 * time.Hour, identity.ErrNotFound},
		{"just before its own end", nil, identity.SessionLimits{}, 30*24*time.Hour - time.Second, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, token := login(t, s, ref, u)
			for _, use := range tc.uses {
				_, _, err := s.Session(ctx, ref, token, noon.Add(use), tc.limits)
				ok(t, err)
			}
			if _, _, err := s.Session(ctx, ref, token, noon.Add(tc.at), tc.limits); !errors.Is(err, tc.want) {
				t.Fatalf("%v, want %v", err, tc.want)
			}
		})
	}
}

func TestConsent(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u, client := register(t, s, ref), id.NewClient()
	_, err := s.Consent(ctx, ref, u.ID, client)
	want(t, err, identity.ErrNotFound)
	_, err = s.GrantConsent(ctx, ref, at(noon), u.ID, client, []string{"openid", "profile"})
	ok(t, err)
	_, err = s.GrantConsent(ctx, ref, at(noon.Add(time.Hour)), u.ID, client, []string{"email", "openid"})
	ok(t, err)
	got, err := s.Consent(ctx, ref, u.ID, client)
	ok(t, err)
	wanted := identity.Consent{User: u.ID, Client: client, Scopes: []string{"email", "openid", "profile"}, GrantTime: noon.Add(time.Hour)}
	if d := cmp.Diff(wanted, got); d != "" {
		t.Fatal(d)
	}
	_, err = s.Consent(ctx, ref, u.ID, id.NewClient())
	want(t, err, identity.ErrNotFound)
	if a := actions(t, s, ref); !slices.Equal(a, []string{identity.ActionUserCreated, identity.ActionConsentGranted, identity.ActionConsentGranted}) {
		t.Fatal(a)
	}
}

func TestRevocationsReloadAcrossTenants(t *testing.T) {
	s, ctx := open(t), context.Background()
	a, b := newTenant(), newTenant()
	for i := range 2500 { // more than a page
		ref := a
		if i%2 == 0 {
			ref = b
		}
		// Many share one moment: the page breaks inside it.
		ok(t, s.Revoke(ctx, ref, at(noon.Add(time.Duration(i/900)*time.Second)), identity.RevokedToken, fmt.Sprintf("jti-%04d", i), noon.Add(time.Hour)))
	}
	ok(t, s.Revoke(ctx, a, at(noon), identity.RevokedToken, "expired", noon.Add(time.Second)))
	ok(t, s.Revoke(ctx, a, at(noon), identity.RevokedToken, "jti-0001", noon.Add(time.Hour))) // a second time
	seen := map[string]int{}
	for _, r := range revocations(t, s, noon.Add(2*time.Second)) {
		seen[r.Tenant.String()+r.Subject]++
	}
	for subject, n := range seen {
		if n != 1 {
			t.Fatalf("%s came %d times", subject, n)
		}
	}
	if len(seen) != 2500 {
		t.Fatalf("%d revocations", len(seen))
	}
	since := 0
	ok(t, s.LoadRevocations(ctx, noon.Add(2*time.Second), noon.Add(2*time.Second), func(page []identity.Revocation) error {
		since += len(page)
		return nil
	}))
	if since != 700 {
		t.Fatalf("%d since", since)
	}
	boom := errors.New("redis is away")
	want(t, s.LoadRevocations(ctx, time.Time{}, noon, func([]identity.Revocation) error { return boom }), boom)
	own, err := s.Revocations(ctx, a, noon.Add(2*time.Second))
	ok(t, err)
	if len(own) != 1250 {
		t.Fatalf("%d of one tenant", len(own))
	}
}

// The sweep goes by the database's own clock, so here now is now.
func TestSweepRemovesOnlyWhatHasExpired(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	now := time.Now()
	var keep []identity.SessionToken
	for _, age := range []time.Duration{0, 48 * time.Hour} {
		session, token, err := s.CreateSession(ctx, ref, at(now.Add(-age)), identity.NewSession{User: u.ID, Life: 24 * time.Hour})
		ok(t, err)
		_, err = s.CreateFamily(ctx, ref, at(now.Add(-age)), identity.NewFamily{Grant: id.NewGrant(), User: u.ID, Client: id.NewClient(), Session: session.ID, Life: 24 * time.Hour})
		ok(t, err)
		ok(t, s.Revoke(ctx, ref, at(now), identity.RevokedToken, age.String(), now.Add(time.Hour-age)))
		keep = append(keep, token)
	}
	for round, wanted := range []int64{3, 0} {
		n, err := s.Sweep(ctx, 100)
		ok(t, err)
		if n != wanted {
			t.Fatalf("sweep %d removed %d rows, want %d", round, n, wanted)
		}
	}
	_, _, err := s.Session(ctx, ref, keep[0], now, identity.SessionLimits{})
	ok(t, err)
	if left := revocations(t, s, now.Add(-72*time.Hour)); len(left) != 1 {
		t.Fatalf("%d revocations left", len(left))
	}
}
