// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/dbtest"
)

func TestDeletedUserLeavesNoResidue(t *testing.T) {
	db := dbtest.New(t, "identity", identity.Migrate)
	s, ctx := openAt(t, db), context.Background()
	w := newWorld(t, s)
	c := admin(t, db)
	uuid := w.user.ID.UUID()
	if found := mentions(t, c, uuid); len(found) < 6 {
		t.Fatalf("the user is in few tables: %v", found)
	}
	_, err := s.DeleteUser(ctx, w.ref, at(noon), w.user.ID, "")
	ok(t, err)
	for _, needle := range []string{uuid, w.user.Email, strings.ToLower(w.user.Name)} {
		if found := mentions(t, c, needle); len(found) != 0 {
			t.Errorf("%s is still in %v", needle, found)
		}
	}
	_, err = s.Authenticate(ctx, w.ref, at(noon), w.user.Email, goodPassword)
	want(t, err, identity.ErrBadCredentials)
	if a := actions(t, s, w.ref); a[len(a)-1] != identity.ActionUserDeleted {
		t.Error(a)
	}
	// The address is free for another person with another sub.
	again, err := s.Register(ctx, w.ref, at(noon), identity.Registration{Email: w.user.Email, Password: goodPassword}, policy)
	ok(t, err)
	if again.ID == w.user.ID {
		t.Error("a sub was issued again")
	}
}

func TestErasedTenantLeavesOnlyItsAuditChain(t *testing.T) {
	db := dbtest.New(t, "identity", identity.Migrate)
	s, ctx := openAt(t, db), context.Background()
	w, bystander := newWorld(t, s), newWorld(t, s)
	seed := newSeed()
	seed.TenantRef = w.ref
	seed.Users[0].Email = "other-owner@hooli.example"
	ok(t, s.ApplySeeds(ctx, []identity.Seed{seed}))
	ok(t, s.Revoke(ctx, w.ref, at(noon), identity.RevokedToken, "jti", noon.Add(time.Hour)))
	_, err := s.Authenticate(ctx, w.ref, at(noon), "nobody@x.example", goodPassword)
	want(t, err, identity.ErrBadCredentials)
	before := snapshot(t, s, bystander)
	for range 2 {
		ok(t, s.EraseTenant(ctx, w.ref, at(noon), true))
	}
	c := admin(t, db)
	for _, needle := range []string{w.ref.Tenant.UUID(), w.ref.Pool.UUID(), w.ref.Tenant.String()} {
		if found := mentions(t, c, needle); len(found) != 0 {
			t.Errorf("%s is still in %v", needle, found)
		}
	}
	if a := actions(t, s, w.ref); a[len(a)-1] != identity.ActionTenantErased {
		t.Error(a)
	}
	if after := snapshot(t, s, bystander); before != after {
		t.Errorf("the bystander changed:\n%s\n%s", before, after)
	}
}
