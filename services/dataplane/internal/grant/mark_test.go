// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package grant

import (
	"errors"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

func (r *rig) revoked(t *testing.T, s *Store, ids ...string) bool {
	t.Helper()
	hit, err := s.Revoked(t.Context(), r.tenant, time.Now(), ids...)
	if err != nil {
		t.Fatal(err)
	}
	return hit
}

func TestMarkIsSeenByAnotherReplicaAndNotByAnotherTenant(t *testing.T) {
	r := newRig(t)
	other := r.open(t)
	ids := []string{"jti-1", "ses_1", "gnt_1"}
	if r.revoked(t, other, ids...) {
		t.Fatal("revoked before it was")
	}
	for _, one := range ids {
		r2 := id.NewTenant()
		if err := r.store.Revoke(t.Context(), r2, time.Now(), Mark{ID: one, Until: time.Now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	if r.revoked(t, other, ids...) {
		t.Fatal("another tenant's marks count here")
	}
	for _, one := range ids {
		if err := r.store.Revoke(t.Context(), r.tenant, time.Now(), Mark{ID: one, Until: time.Now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		if !r.revoked(t, other, "x", one, "") {
			t.Errorf("%s not seen", one)
		}
	}
}

func TestMarkEndsWithTheToken(t *testing.T) {
	r := newRig(t)
	if err := r.store.Revoke(t.Context(), r.tenant, time.Now(), Mark{ID: "gone", Until: time.Now().Add(-time.Second)},
		Mark{ID: "soon", Until: time.Now().Add(50 * time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
	if !r.revoked(t, r.store, "soon") {
		t.Error("not marked")
	}
	eventually(t, "mark expires", func() bool { return !r.revoked(t, r.store, "soon", "gone") })
}

func TestDatabaseIsReadOncePerTenant(t *testing.T) {
	r := newRig(t)
	for range 5 {
		r.revoked(t, r.store, "a")
	}
	if n := r.source.count(); n != 1 {
		t.Fatalf("%d reads of the database", n)
	}
}

// PROMISES.md section 3, "Redis flushed": the marks are read from the database before anybody believes in their absence.
func TestFlushedRedisDoesNotResurrectRevokedTokens(t *testing.T) {
	r := newRig(t)
	m := Mark{ID: "stolen", Until: time.Now().Add(time.Minute)}
	r.source.set(r.tenant, nil, m)
	if err := r.store.Revoke(t.Context(), r.tenant, time.Now(), m); err != nil {
		t.Fatal(err)
	}
	if err := r.raw.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if !r.revoked(t, r.store, "stolen") {
		t.Fatal("a flush resurrected a revoked token")
	}
	if err := r.raw.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	r.source.set(r.tenant, errors.New("database away"))
	if _, err := r.store.Revoked(t.Context(), r.tenant, time.Now(), "stolen"); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("with neither marks nor database: %v", err)
	}
}

// A revocation that was acknowledged while Redis was unreachable is in force as soon as anybody can ask again.
func TestOutageLosesNoRevocation(t *testing.T) {
	r := newRig(t)
	witness := r.open(t)
	r.revoked(t, r.store, "warm")
	r.revoked(t, witness, "warm")

	r.link.set(true)
	m := Mark{ID: "while-away", Until: time.Now().Add(time.Minute)}
	r.source.set(r.tenant, nil, m)
	if err := r.store.Revoke(t.Context(), r.tenant, time.Now(), m); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("revoke: %v", err)
	}
	if _, err := witness.Revoked(t.Context(), r.tenant, time.Now(), "while-away"); !errors.Is(err, ErrUnavailable) {
		t.Fatalf("a guess while Redis is away: %v", err)
	}
	r.link.set(false)

	// Whoever saw the outage reads the database before the first answer: there is no moment of "not revoked".
	eventually(t, "witness answers", func() bool {
		hit, err := witness.Revoked(t.Context(), r.tenant, time.Now(), "while-away")
		if err == nil && !hit {
			t.Fatal("a revoked token was active after the outage")
		}
		return err == nil
	})
}

func TestPendingMarksAreWrittenWhenRedisIsBack(t *testing.T) {
	r := newRig(t)
	r.link.set(true)
	if err := r.store.Revoke(t.Context(), r.tenant, time.Now(), Mark{ID: "kept", Until: time.Now().Add(time.Minute)}); err == nil {
		t.Fatal("no error")
	}
	r.link.set(false)
	eventually(t, "mark written", func() bool {
		return r.raw.Exists(t.Context(), markKey(r.tenant, "kept")).Val() == 1
	})
}

func TestRestartedReplicaTrustsMarksWhileTheDatabaseIsAway(t *testing.T) {
	r := newRig(t)
	r.revoked(t, r.store, "warm")
	r.source.set(r.tenant, errors.New("database away"))
	time.Sleep(2 * time.Millisecond) // the replica starts after the marks were read, at millisecond precision
	if r.revoked(t, r.open(t), "x") {
		t.Fatal("revoked")
	}
}

func TestWithoutASourceMissingMarksAreNotBelieved(t *testing.T) {
	r := newRig(t)
	s, err := Open(Config{RedisURL: r.link.url(), Keyring: r.ring})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Revoked(t.Context(), r.tenant, time.Now(), "x"); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
}

func TestUserInfoClaimsAreOfOneGrant(t *testing.T) {
	r := newRig(t)
	mine, other := id.NewGrant(), id.NewGrant()
	if err := r.store.PutUserInfoClaims(t.Context(), r.tenant, mine, []string{"name", "nickname"}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := r.store.UserInfoClaims(t.Context(), r.tenant, mine); len(got) != 2 || got[1] != "nickname" {
		t.Errorf("got %q", got)
	}
	// Somebody who can write to Redis moves the list to a grant that never asked.
	sealed := r.raw.Get(t.Context(), claimsKey(r.tenant, mine)).Val()
	r.raw.Set(t.Context(), claimsKey(r.tenant, other), sealed, 0)
	if got := r.store.UserInfoClaims(t.Context(), r.tenant, other); got != nil {
		t.Errorf("moved list counts: %q", got)
	}
	r.link.set(true)
	if got := r.store.UserInfoClaims(t.Context(), r.tenant, mine); got != nil {
		t.Errorf("got %q from nowhere", got)
	}
}
