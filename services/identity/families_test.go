// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/identity"
)

func TestRotateAdvancesAndAnswersTheUser(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	session, _ := login(t, s, ref, u)
	f := family(t, s, ref, u, session.ID, false)
	if f.Generation != 1 || f.ExpireTime.After(session.ExpireTime) {
		t.Fatalf("a new online family: %+v", f)
	}
	for n := 1; n <= 5; n++ {
		now := noon.Add(time.Duration(n) * time.Minute)
		r, err := s.Rotate(ctx, ref, at(now), rotation(f, n))
		ok(t, err)
		wantFamily := f
		wantFamily.Generation, wantFamily.RotateTime = n+1, now
		if d := cmp.Diff(wantFamily, r.Family); d != "" {
			t.Fatalf("rotation %d (-want +got):\n%s", n, d)
		}
		if r.Again || r.Owner.ID != u.ID || r.Owner.Email != u.Email || r.Owner.Name != "Gavin Belson" || !slices.Equal(r.Owner.Roles, []string{"member"}) {
			t.Fatalf("rotation %d: %+v", n, r)
		}
	}
	stored, err := s.Family(ctx, ref, f.Grant)
	ok(t, err)
	if stored.Generation != 6 {
		t.Fatalf("stored generation %d, want 6", stored.Generation)
	}
	// A changed role is in the next token, without a new login.
	_, _, err = s.UpdateUser(ctx, ref, at(noon), u.ID, identity.UserChange{Roles: &[]string{"admin"}}, "")
	ok(t, err)
	r, err := s.Rotate(ctx, ref, at(noon.Add(time.Hour)), rotation(f, 6))
	ok(t, err)
	if !slices.Equal(r.Owner.Roles, []string{"admin"}) {
		t.Fatalf("roles after the change: %v", r.Owner.Roles)
	}
}

func TestRotateGrace(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	for _, tc := range []struct {
		name  string
		steps []int // presented generations, one second apart
		late  time.Duration
		last  int // presented last, late after the last step
		want  error
		again bool
		gen   int
	}{
		{name: "the answer was lost", steps: []int{1}, last: 1, again: true, gen: 2},
		{name: "it was lost twice", steps: []int{1, 1, 1}, last: 1, again: true, gen: 2},
		{name: "at the end of the grace", steps: []int{1}, last: 1, late: 30 * time.Second, again: true, gen: 2},
		{name: "after the grace", steps: []int{1}, last: 1, late: 31 * time.Second, want: identity.ErrReused},
		{name: "the newest was used already", steps: []int{1, 2}, last: 1, want: identity.ErrReused},
		{name: "much older", steps: []int{1, 2, 3, 4}, last: 1, want: identity.ErrReused},
		{name: "a generation that this database has forgotten", steps: []int{1}, last: 9, want: identity.ErrReused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, now := family(t, s, ref, u, id.Session{}, true), noon
			for _, g := range tc.steps {
				now = now.Add(time.Second)
				_, err := s.Rotate(ctx, ref, at(now), rotation(f, g))
				ok(t, err)
			}
			newest, err := s.Family(ctx, ref, f.Grant)
			ok(t, err)
			r, err := s.Rotate(ctx, ref, at(newest.RotateTime.Add(tc.late)), rotation(f, tc.last))
			if tc.want == nil {
				ok(t, err)
				if r.Generation != tc.gen || r.Again != tc.again {
					t.Fatalf("generation %d again %v", r.Generation, r.Again)
				}
				// The newest still works.
				_, err = s.Rotate(ctx, ref, at(now.Add(time.Minute)), rotation(f, tc.gen))
				ok(t, err)
				return
			}
			want(t, err, tc.want)
			// The newest is dead too, whoever holds it.
			_, err = s.Rotate(ctx, ref, at(now), rotation(f, newest.Generation))
			want(t, err, identity.ErrNotFound)
			if !slices.ContainsFunc(revocations(t, s, noon), func(v identity.Revocation) bool {
				return v.Kind == identity.RevokedGrant && v.Subject == f.Grant.String() && v.Tenant == ref.Tenant
			}) {
				t.Fatal("no revocation of the grant is stored")
			}
			if a := actions(t, s, ref); a[len(a)-1] != identity.ActionGrantRevoked {
				t.Fatalf("the last event is %s", a[len(a)-1])
			}
		})
	}
}

func revocations(t testing.TB, s *identity.Store, now time.Time) (all []identity.Revocation) {
	t.Helper()
	ok(t, s.LoadRevocations(context.Background(), time.Time{}, now, func(page []identity.Revocation) error {
		all = append(all, page...)
		return nil
	}))
	return all
}

func TestRotateRefusals(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	for _, tc := range []struct {
		name string
		edit func(*identity.Rotation)
		late time.Duration
	}{
		{"another client's token", func(r *identity.Rotation) { r.Client = id.NewClient() }, 0},
		{"an unknown grant", func(r *identity.Rotation) { r.Grant = id.NewGrant() }, 0},
		{"idle for too long", func(*identity.Rotation) {}, 25 * time.Hour},
		{"the policy's absolute life is over", func(r *identity.Rotation) { r.Idle = 0 }, 31 * 24 * time.Hour},
		{"the family's own life is over", func(r *identity.Rotation) { r.Idle, r.Absolute = 0, 0 }, 366 * 24 * time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := family(t, s, ref, u, id.Session{}, true)
			r := rotation(f, 1)
			tc.edit(&r)
			_, err := s.Rotate(ctx, ref, at(noon.Add(tc.late)), r)
			want(t, err, identity.ErrNotFound)
			// The refusal used nothing up.
			_, err = s.Rotate(ctx, ref, at(noon), rotation(f, 1))
			ok(t, err)
		})
	}
}

// Many replicas get the same token at once: a retrying client, or a thief beside the owner.
func TestRotateRaceOnOneFamily(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	f := family(t, s, ref, u, id.Session{}, true)
	for round := 1; round <= 20; round++ {
		var (
			wg      sync.WaitGroup
			mu      sync.Mutex
			winners int
			start   = make(chan struct{})
		)
		for i := range 16 {
			wg.Go(func() {
				<-start
				r, err := s.Rotate(ctx, ref, at(noon.Add(time.Duration(i)*time.Millisecond)), rotation(f, round))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					t.Errorf("round %d: %v", round, err)
				case r.Generation != round+1:
					t.Errorf("round %d: generation %d", round, r.Generation)
				case !r.Again:
					winners++
				}
			})
		}
		close(start)
		wg.Wait()
		if winners != 1 {
			t.Fatalf("round %d: %d winners", round, winners)
		}
	}
}

func TestRotateManyFamiliesWithoutErrors(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	var wg sync.WaitGroup
	for range 16 {
		f := family(t, s, ref, u, id.Session{}, true)
		wg.Go(func() {
			for n := 1; n <= 50; n++ {
				if r, err := s.Rotate(ctx, ref, at(noon), rotation(f, n)); err != nil || r.Generation != n+1 || r.Again {
					t.Errorf("rotation %d: %+v %v", n, r, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// A client that lost the answer because the replica died repeats the request: the rotation is whole or has not happened.
func TestRotateCancelledInFlightLosesNothing(t *testing.T) {
	s, ref := open(t), newTenant()
	u := register(t, s, ref)
	f := family(t, s, ref, u, id.Session{}, true)
	gen, cut := 1, 0
	for i := range 200 {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			time.Sleep(time.Duration(i*7) * time.Microsecond)
			cancel()
		}()
		r, err := s.Rotate(ctx, ref, at(noon), rotation(f, gen))
		cancel()
		if err != nil {
			if errors.Is(err, identity.ErrReused) || errors.Is(err, identity.ErrNotFound) {
				t.Fatalf("round %d: %v", i, err)
			}
			cut++
			if r, err = s.Rotate(context.Background(), ref, at(noon), rotation(f, gen)); err != nil {
				t.Fatalf("round %d, repeated: %v", i, err)
			}
		}
		if r.Generation != gen+1 {
			t.Fatalf("round %d: generation %d after %d", i, r.Generation, gen)
		}
		gen = r.Generation
	}
	if cut == 0 {
		t.Fatal("no call was cut: the test shows nothing")
	}
}

func TestLogoutEndsOnlineFamiliesOnly(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	session, token := login(t, s, ref, u)
	other, _ := login(t, s, ref, u)
	online, offline := family(t, s, ref, u, session.ID, false), family(t, s, ref, u, session.ID, true)
	elsewhere := family(t, s, ref, u, other.ID, false)

	ended, err := s.EndSession(ctx, ref, at(noon), session.ID)
	ok(t, err)
	if d := cmp.Diff([]string{"gnt " + online.Grant.String(), "sid " + session.ID.String()}, subjects(ended)); d != "" {
		t.Fatalf("ended (-want +got):\n%s", d)
	}
	_, _, err = s.Session(ctx, ref, token, noon, identity.SessionLimits{})
	want(t, err, identity.ErrNotFound)
	_, err = s.Rotate(ctx, ref, at(noon), rotation(online, 1))
	want(t, err, identity.ErrNotFound)
	_, err = s.Rotate(ctx, ref, at(noon), rotation(elsewhere, 1))
	ok(t, err)
	r, err := s.Rotate(ctx, ref, at(noon), rotation(offline, 1))
	ok(t, err)
	if !r.Session.IsZero() {
		t.Fatal("an offline family's tokens would carry the sid that was just revoked")
	}
	_, err = s.EndSession(ctx, ref, at(noon), session.ID)
	want(t, err, identity.ErrNotFound)
	// A code that is exchanged after the logout gets nothing.
	_, err = s.CreateFamily(ctx, ref, at(noon), identity.NewFamily{Grant: id.NewGrant(), User: u.ID, Client: id.NewClient(), Session: session.ID})
	want(t, err, identity.ErrNotFound)
}

func subjects(e identity.Ended) []string {
	out := make([]string, len(e.Revocations))
	for i, r := range e.Revocations {
		out[i] = string(r.Kind) + " " + r.Subject
	}
	slices.Sort(out)
	return out
}

// A logout and a code exchange at the same moment: no online family outlives its session.
func TestLogoutRacesWithCodeExchange(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	for range 40 {
		session, _ := login(t, s, ref, u)
		grants := make([]identity.NewFamily, 6)
		var wg sync.WaitGroup
		for i := range grants {
			grants[i] = identity.NewFamily{Grant: id.NewGrant(), User: u.ID, Client: id.NewClient(), Session: session.ID, AuthTime: noon}
			wg.Go(func() {
				if _, err := s.CreateFamily(ctx, ref, at(noon), grants[i]); err != nil && !errors.Is(err, identity.ErrNotFound) {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			_, err := s.EndSession(ctx, ref, at(noon), session.ID)
			if err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		for _, g := range grants {
			f, err := s.Family(ctx, ref, g.Grant)
			if err == nil && f.RevokeTime.IsZero() {
				t.Fatal("a family lives without its session")
			}
		}
	}
}

func TestCreateFamilyAgainAfterAFailedExchange(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	n := identity.NewFamily{Grant: id.NewGrant(), User: u.ID, Client: id.NewClient(), AuthTime: noon, Offline: true}
	first, err := s.CreateFamily(ctx, ref, at(noon), n)
	ok(t, err)
	again, err := s.CreateFamily(ctx, ref, at(noon.Add(time.Second)), n)
	ok(t, err)
	if d := cmp.Diff(first, again); d != "" {
		t.Fatal(d)
	}
	other := n
	other.Client = id.NewClient()
	_, err = s.CreateFamily(ctx, ref, at(noon), other)
	want(t, err, identity.ErrNotFound)
	_, err = s.Rotate(ctx, ref, at(noon), rotation(first, 1))
	ok(t, err)
	_, err = s.CreateFamily(ctx, ref, at(noon), n)
	want(t, err, identity.ErrNotFound)
}

// One scope with a space in it would come back as two.
func TestScopeInjectionByASpace(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	for _, bad := range []string{"openid admin", "openid\tadmin", "openid\u00a0admin", "", "a\x00", "\xff"} {
		n := identity.NewFamily{Grant: id.NewGrant(), User: u.ID, Client: id.NewClient(), Scopes: []string{bad}, Offline: true}
		_, err := s.CreateFamily(ctx, ref, at(noon), n)
		want(t, err, identity.ErrInvalid)
		_, _, err = s.CreateSession(ctx, ref, at(noon), identity.NewSession{User: u.ID, AMR: []string{"pwd", bad}})
		want(t, err, identity.ErrInvalid)
	}
}

func TestRevokeGrant(t *testing.T) {
	s, ctx, ref := open(t), context.Background(), newTenant()
	u := register(t, s, ref)
	f := family(t, s, ref, u, id.Session{}, true)
	before := len(actions(t, s, ref))
	_, err := s.RevokeGrant(ctx, ref, at(noon), f.Grant, id.NewClient(), "revocation")
	want(t, err, identity.ErrNotFound)
	if n := len(actions(t, s, ref)); n != before {
		t.Fatal("a refused revocation left an event")
	}
	for range 2 { // the second is the same revocation
		ended, err := s.RevokeGrant(ctx, ref, at(noon), f.Grant, f.Client, "revocation")
		ok(t, err)
		if d := cmp.Diff([]string{"gnt " + f.Grant.String()}, subjects(ended)); d != "" {
			t.Fatal(d)
		}
	}
	if n := len(actions(t, s, ref)); n != before+1 {
		t.Fatalf("%d events for one revocation", n-before)
	}
	_, err = s.Rotate(ctx, ref, at(noon), rotation(f, 1))
	want(t, err, identity.ErrNotFound)

	// A replayed code whose grant has no family yet: none may begin any more.
	grant := id.NewGrant()
	_, err = s.RevokeGrant(ctx, ref, at(noon), grant, id.Client{}, "code_replay")
	ok(t, err)
	_, err = s.CreateFamily(ctx, ref, at(noon), identity.NewFamily{Grant: grant, User: u.ID, Client: f.Client, Offline: true})
	want(t, err, identity.ErrNotFound)
}
