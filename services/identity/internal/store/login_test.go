// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// A right guess whose hash was computed while wrong ones locked the credential does not count.
func TestRightGuessAfterTheLockDoesNotCount(t *testing.T) {
	s, _ := testStore(t)
	ctx, ref := context.Background(), TenantRef{Tenant: id.NewTenant(), Pool: id.NewUserPool()}
	u := NewUser{ID: id.NewUser(), Membership: id.NewMembership(), Email: "a@b.example", EmailKey: "a@b.example", State: UserActive, Source: "API", PHC: "right"}
	must(t, s.CreateUser(ctx, ref, Op{Now: testNow, Actor: "system"}, u))
	l, err := s.FindLogin(ctx, ref, u.EmailKey)
	must(t, err)
	for i := range lockAfter {
		if ok, err := s.LoginSucceeded(ctx, ref, u.ID, "other", "", testNow); err != nil || ok {
			t.Fatalf("another password than the stored one: %v %v", ok, err)
		}
		must(t, s.LoginFailed(ctx, ref, u.ID, testNow))
		if l2, err := s.FindLogin(ctx, ref, u.EmailKey); err != nil || l2.LockedUntil.IsZero() != (i < lockAfter-1) {
			t.Fatalf("failure %d: locked until %s, %v", i+1, l2.LockedUntil, err)
		}
	}
	for _, tc := range []struct {
		at   time.Time
		want bool
	}{{testNow, false}, {testNow.Add(59 * time.Second), false}, {testNow.Add(time.Minute), true}} {
		if ok, err := s.LoginSucceeded(ctx, ref, u.ID, l.PHC, "", tc.at); err != nil || ok != tc.want {
			t.Errorf("at %s: %v %v", tc.at, ok, err)
		}
	}
}

// What strangers try fills no table.
func TestUnknownLoginsAreBounded(t *testing.T) {
	s, db := testStore(t)
	ctx, ref := context.Background(), TenantRef{Tenant: id.NewTenant(), Pool: id.NewUserPool()}
	const attempts = 3 * UnknownSlots
	for i := range attempts {
		must(t, s.LoginUnknown(ctx, ref, i%UnknownSlots))
	}
	var rows, sum int
	must(t, connect(t, db.AdminURL).QueryRow(ctx, `SELECT count(*), sum(failures) FROM unknown_logins`).Scan(&rows, &sum))
	if rows != UnknownSlots || sum != attempts {
		t.Fatalf("%d rows, %d failures", rows, sum)
	}
	if err := s.LoginUnknown(ctx, ref, UnknownSlots); err == nil {
		t.Fatal("a slot too many")
	}
}
