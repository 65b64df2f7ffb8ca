// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"context"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/identity"
)

const (
	keyA = "jkt:0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	keyB = "jkt:A4bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-c"
)

func boundFamily(t *testing.T, s *identity.Store, ref identity.TenantRef, binding string) identity.Family {
	t.Helper()
	f, err := s.CreateFamily(context.Background(), ref, at(noon), identity.NewFamily{
		Grant: id.NewGrant(), User: register(t, s, ref).ID, Client: id.NewClient(), Scopes: []string{"openid"}, Offline: true, AuthTime: noon,
		AMR: []string{"pwd"}, ACR: "a", Binding: binding, AuthorizationDetails: `[{"type":"payment"}]`,
	})
	ok(t, err)
	if f.Binding != binding || f.AuthorizationDetails != `[{"type":"payment"}]` {
		t.Fatalf("stored %+v", f)
	}
	return f
}

// A thief of a bound refresh token, newest or old, has nothing: it does not rotate, and it does not end the family either.
func TestBoundFamilyIgnoresWhoHasNotTheKey(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	f := boundFamily(t, s, ref, keyA)
	mine := rotation(f, 1)
	mine.Binding = keyA
	first, err := s.Rotate(ctx, ref, at(noon), mine)
	ok(t, err)
	if first.Binding != keyA || first.AuthorizationDetails != f.AuthorizationDetails {
		t.Fatalf("rotated %+v", first.Family)
	}
	for _, binding := range []string{"", keyB, "x5t:" + keyA[4:]} {
		for _, generation := range []int{1, 2, 3} {
			theirs := rotation(f, generation)
			theirs.Binding = binding
			_, err := s.Rotate(ctx, ref, at(noon.Add(time.Hour)), theirs)
			want(t, err, identity.ErrNotFound)
		}
	}
	mine.Generation = 2
	r, err := s.Rotate(ctx, ref, at(noon.Add(time.Hour)), mine)
	ok(t, err)
	if r.Generation != 3 {
		t.Fatalf("generation %d", r.Generation)
	}
	mine.Generation = 1
	_, err = s.Rotate(ctx, ref, at(noon.Add(time.Hour)), mine)
	want(t, err, identity.ErrReused) // with the key, an old token is an old token
}

// An unbound family takes whatever key its client shows: its access tokens are bound to it, its refresh tokens to the client.
func TestUnboundFamilyTakesAnyKey(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	f := boundFamily(t, s, ref, "")
	for n, binding := range []string{keyA, keyB, ""} {
		r := rotation(f, n+1)
		r.Binding = binding
		_, err := s.Rotate(ctx, ref, at(noon), r)
		ok(t, err)
	}
}

// A repeated exchange finds its family, one with another key does not.
func TestFamilyIsNotMadeAgainForAnotherKey(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	f := boundFamily(t, s, ref, keyA)
	n := identity.NewFamily{
		Grant: f.Grant, User: f.User, Client: f.Client, Scopes: []string{"openid"}, Offline: true, AuthTime: noon, AMR: []string{"pwd"}, ACR: "a", Binding: keyB,
	}
	_, err := s.CreateFamily(ctx, ref, at(noon), n)
	want(t, err, identity.ErrNotFound)
	n.Binding = keyA
	_, err = s.CreateFamily(ctx, ref, at(noon), n)
	ok(t, err)
}

// FAPI 2.0: the same refresh token works again and again, and its family stays as young as its last use.
func TestHeldFamilyDoesNotRotate(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	f := boundFamily(t, s, ref, "")
	r := rotation(f, 1)
	r.Keep = true
	now := noon
	for range 4 {
		now = now.Add(r.Idle - time.Hour)
		got, err := s.Rotate(ctx, ref, at(now), r)
		ok(t, err)
		if got.Generation != 1 || got.Again || !got.RotateTime.Equal(now) {
			t.Fatalf("held: %+v", got)
		}
	}
	// A client that rotates again goes on from there, and its old token is old.
	r.Keep = false
	got, err := s.Rotate(ctx, ref, at(now), r)
	ok(t, err)
	if got.Generation != 2 {
		t.Fatalf("generation %d", got.Generation)
	}
	r.Generation, r.Keep = 2, true
	_, err = s.Rotate(ctx, ref, at(now), r)
	ok(t, err)
	r.Generation = 1
	_, err = s.Rotate(ctx, ref, at(now.Add(time.Minute)), r)
	want(t, err, identity.ErrReused)
}
