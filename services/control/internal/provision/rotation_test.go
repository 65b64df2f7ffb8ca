// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/secret"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// keyLife is a tenant whose clock and data plane a test drives.
type keyLife struct {
	*harness
	tenant id.Tenant
	fleet  *fleet
}

// fleet is the data plane as the key worker sees it.
type fleet struct{ down bool }

func (f *fleet) Published(context.Context, id.Tenant, int64) error { return nil }
func (f *fleet) Seeded(context.Context, id.Org, id.Tenant) error   { return nil }
func (f *fleet) Everywhere(ctx context.Context, _ id.Tenant, _ int64) error {
	if f.down {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func newKeyLife(t *testing.T) *keyLife {
	h := newHarness(t)
	l := &keyLife{harness: h, fleet: &fleet{}}
	h.cfg.Waiter = l.fleet
	l.tenant = h.provision("hooli").Tenant.ID
	return l
}

func (l *keyLife) keys() map[id.SigningKey]tenancy.SigningKey {
	l.t.Helper()
	list, err := l.ListSigningKeys(l.ctx, l.owner, l.org.ID, l.tenant, tenancy.Page{})
	if err != nil {
		l.t.Fatal(err)
	}
	m := map[id.SigningKey]tenancy.SigningKey{}
	for _, k := range list.Items {
		m[k.ID] = k
	}
	return m
}

func (l *keyLife) in(state tenancy.SigningKeyState) (ids []id.SigningKey) {
	for _, k := range l.keys() {
		if k.State == state {
			ids = append(ids, k.ID)
		}
	}
	return ids
}

// work is one round of the key worker: it begins anew from the database each time, as after a crash.
func (l *keyLife) work() {
	l.t.Helper()
	for _, k := range l.keys() {
		if !k.DueTime.IsZero() && !l.time().Before(k.DueTime) {
			if err := l.AdvanceSigningKey(l.ctx, l.org.ID, l.tenant, k.ID); err != nil {
				l.t.Fatal(err)
			}
		}
	}
}

func (l *keyLife) pass(d time.Duration) { l.clock.Add(int64(d)) }

func (l *keyLife) signer() string {
	l.t.Helper()
	s, err := l.served(l.tenant).Keys.Signer("ES256", secret.NewOpener("local", l.region))
	if err != nil {
		l.t.Fatal(err)
	}
	return s.KeyID()
}

// A relying party that fetches the JWK Set only when its copy is as old as the data plane allows, and never because of a kid that it
// does not know, verifies every token of its whole life, through a rotation from the first to the last step.
func TestACachingRelyingPartyNeverSeesAFailureInAPlannedRotation(t *testing.T) {
	l := newKeyLife(t)
	old := l.in(tenancy.SigningActive)[0]
	type token struct {
		kid     string
		expires time.Time
	}
	var tokens []token
	cached, fetched := splitQuotes(string(l.served(l.tenant).JWKS())), l.time() // a moment before the rotation begins: the worst
	var seen []string
	c, err := l.RotateSigningKey(l.ctx, l.owner, l.org.ID, l.tenant, old, Call{})
	if err != nil || c.Successor == nil || c.Successor.State != tenancy.SigningStaged {
		t.Fatalf("%+v %v", c, err)
	}
	if slices.Contains(splitQuotes(string(l.served(l.tenant).JWKS())), c.Successor.ID.String()) {
		t.Error("a staged key is in the JWK Set")
	}
	// The longest-lived token that a policy can allow, one each three minutes for three hours, then the clock goes faster.
	end := l.time().Add(30 * time.Hour)
	for l.time().Before(end) {
		l.work()
		l.work() // what is due at once
		state := l.keys()[c.Successor.ID].State.String() + " after " + l.keys()[old].State.String()
		if len(seen) == 0 || seen[len(seen)-1] != state {
			seen = append(seen, state)
		}
		now := l.time()
		if now.Sub(fetched) >= jwksMaxAge {
			cached, fetched = splitQuotes(string(l.served(l.tenant).JWKS())), now
		}
		tokens = append(tokens, token{l.signer(), now.Add(longestToken)})
		tokens = slices.DeleteFunc(tokens, func(x token) bool { return now.After(x.expires) })
		for _, x := range tokens {
			if !slices.Contains(cached, x.kid) {
				t.Fatalf("at %v the JWK Set of %v does not have %s; states %v", now, fetched, x.kid, seen)
			}
		}
		step := time.Hour
		if len(seen) < 3 || seen[len(seen)-1] != "ACTIVE after RETIRING" {
			step = 100 * time.Second
		}
		l.pass(step)
	}
	want := []string{"PUBLISHED after ACTIVE", "ACTIVE after RETIRING", "ACTIVE after REMOVED"}
	if !slices.Equal(seen, want) {
		t.Errorf("states %v, want %v", seen, want)
	}
	if slices.Contains(splitQuotes(string(l.served(l.tenant).JWKS())), old.String()) {
		t.Error("the old key is still in the JWK Set")
	}
	k := l.keys()
	if got := k[c.Successor.ID].ActivateTime.Sub(k[c.Successor.ID].PublishTime); got < 2*jwksMaxAge {
		t.Errorf("published %v before its first use", got)
	}
	if got := k[old].RemoveTime.Sub(k[old].RetireTime); got < longestToken+5*time.Minute {
		t.Errorf("removed %v after its last use", got)
	}
}

// The data plane is cut off between two steps: the wait does not run meanwhile.
func TestTheWaitsOfARotationBeginWhenEveryReplicaHasTheStep(t *testing.T) {
	l := newKeyLife(t)
	old := l.in(tenancy.SigningActive)[0]
	c, err := l.RotateSigningKey(l.ctx, l.owner, l.org.ID, l.tenant, old, Call{})
	if err != nil {
		t.Fatal(err)
	}
	next := c.Successor.ID
	l.work()
	l.fleet.down = true
	for range 3 {
		l.work()
		l.pass(time.Hour)
	}
	if k := l.keys()[next]; k.State != tenancy.SigningPublished || !k.ActivateTime.IsZero() {
		t.Fatalf("hours after a step that no replica has: %v, to sign at %v", k.State, k.ActivateTime)
	}
	l.fleet.down = false
	l.work()
	if k := l.keys()[next]; k.ActivateTime.Sub(l.time()) < publishWait-time.Minute {
		t.Fatalf("it signs %v after the replicas learned of it", k.ActivateTime.Sub(l.time()))
	}
	l.pass(publishWait - time.Minute)
	l.work()
	if l.signer() != old.String() {
		t.Fatal("a step was taken before its time")
	}
	l.pass(2 * time.Minute)
	l.work()
	if l.signer() != next.String() {
		t.Fatal("the successor does not sign after the wait")
	}
	// Replicas that are cut off now go on signing with the old key.
	l.fleet.down = true
	l.work()
	l.pass(48 * time.Hour)
	l.work()
	if k := l.keys()[old]; k.State != tenancy.SigningRetiring {
		t.Fatalf("a key that replicas still sign with is %v", k.State)
	}
	l.fleet.down = false
	l.pass(time.Minute)
	l.work()
	l.pass(retireWait)
	l.work()
	if k := l.keys()[old]; k.State != tenancy.SigningRemoved {
		t.Errorf("in the end the old key is %v", k.State)
	}
}

func TestARotationUnderWayIsAnsweredAgain(t *testing.T) {
	l := newKeyLife(t)
	old := l.in(tenancy.SigningActive)[0]
	first, err := l.RotateSigningKey(l.ctx, l.owner, l.org.ID, l.tenant, old, Call{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // staged, then published
		again, err := l.RotateSigningKey(l.ctx, l.owner, l.org.ID, l.tenant, old, Call{})
		if err != nil || again.Successor.ID != first.Successor.ID {
			t.Errorf("a rotation that is under way began again: %v", err)
		}
		l.work()
	}
	if len(l.keys()) != 2 {
		t.Errorf("%d keys", len(l.keys()))
	}
	if _, err := l.RotateSigningKey(l.ctx, l.owner, l.org.ID, l.tenant, first.Successor.ID, Call{}); !errors.Is(err, tenancy.ReasonKeyState) {
		t.Errorf("a key that does not sign was rotated: %v", err)
	}
}

// Compromise: the key is gone at once, and another one signs at once; a successor that verifiers know already is preferred.
func TestARevokedKeyIsGoneAtOnceAndAnotherSigns(t *testing.T) {
	for name, rounds := range map[string]int{"no rotation": -1, "staged successor": 0, "published successor": 2} {
		t.Run(name, func(t *testing.T) {
			l := newKeyLife(t)
			old := l.in(tenancy.SigningActive)[0]
			var known id.SigningKey
			if rounds >= 0 {
				c, err := l.RotateSigningKey(l.ctx, l.owner, l.org.ID, l.tenant, old, Call{})
				if err != nil {
					t.Fatal(err)
				}
				known = c.Successor.ID
				for range rounds {
					l.work()
				}
			}
			r, err := l.RevokeSigningKeyNow(l.ctx, l.owner, l.org.ID, l.tenant, old, Call{Reason: "leaked"})
			if err != nil || r.Successor == nil || r.Key.State != tenancy.SigningRevoked || rounds >= 0 && r.Successor.ID != known {
				t.Fatalf("%+v %v", r, err)
			}
			if l.signer() != r.Successor.ID.String() {
				t.Error("the successor does not sign")
			}
			set := splitQuotes(string(l.served(l.tenant).JWKS()))
			if slices.Contains(set, old.String()) || !slices.Contains(set, r.Successor.ID.String()) {
				t.Errorf("the JWK Set is %v", set)
			}
			if _, err := l.RevokeSigningKeyNow(l.ctx, l.owner, l.org.ID, l.tenant, old, Call{}); !errors.Is(err, tenancy.ReasonKeyState) {
				t.Errorf("revoked twice: %v", err)
			}
			// No scheduled step is left behind that would bring anything back.
			l.pass(72 * time.Hour)
			l.work()
			if l.signer() != r.Successor.ID.String() || l.keys()[old].State != tenancy.SigningRevoked {
				t.Error("a step was taken after the revocation")
			}
		})
	}
}

// The policy names five algorithms: the tenant signs with each, by keys of its own.
func TestATenantGetsAKeyForEachAlgorithmOfItsPolicy(t *testing.T) {
	l := newKeyLife(t)
	algs := []string{"ES256", "RS256", "PS256", "EdDSA", "ES384"}
	_, err := l.UpdateTenant(l.ctx, l.owner, l.org.ID, l.tenant, TenantInput{
		Mask: []string{"overrides"}, Tenant: tenancy.Tenant{Overrides: &tenancy.Policy{Policy: &snapshotv1.Policy{
			Token: &snapshotv1.TokenPolicy{AccessAlg: proto.String("PS256"), IdTokenAlgs: &snapshotv1.StringList{Values: algs}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	view, opener := l.served(l.tenant), secret.NewOpener("local", l.region)
	for _, alg := range algs {
		if _, err := view.Keys.Signer(alg, opener); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
	// The worker finds nothing left to do, also when it is asked twice.
	for range 2 {
		if err := l.AddMissingKeys(l.ctx, l.org.ID, l.tenant, jose.GenerateKey); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.keys()) != len(algs) {
		t.Errorf("%d keys", len(l.keys()))
	}
}

// Keys grow old in two tenants; the walk finds them in small portions, and what is under way is not begun again.
func TestAgedKeysAreFoundAndRotatedOnce(t *testing.T) {
	l := newKeyLife(t)
	w, err := store.OpenWorker(l.ctx, store.Config{URL: l.db.URL("tenantry_publisher"), MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	l.provision("raviga")
	if found, err := w.AgedKeys(l.ctx, l.time().Add(-time.Hour), store.Place{}, 10); err != nil || len(found) != 0 {
		t.Fatalf("young keys: %v %v", found, err)
	}
	l.pass(90 * 24 * time.Hour)
	var walked []id.SigningKey
	at := store.Place{}
	for {
		found, err := w.AgedKeys(l.ctx, l.time().Add(-89*24*time.Hour), at, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			break
		}
		at = found[0]
		walked = append(walked, at.Key)
		for range 2 {
			if err := l.RotateAgedKey(l.ctx, at.Org, at.Tenant, at.Key); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(walked) != 2 || walked[0] == walked[1] {
		t.Errorf("walked over %v", walked)
	}
	if got := len(l.in(tenancy.SigningStaged)); got != 1 {
		t.Errorf("%d successors", got)
	}
	// A tenant that was deleted meanwhile is passed over.
	if _, err := l.DeleteTenant(l.ctx, l.owner, l.org.ID, at.Tenant, Call{}); err != nil {
		t.Fatal(err)
	}
	if err := l.RotateAgedKey(l.ctx, at.Org, at.Tenant, at.Key); err != nil {
		t.Errorf("a key of a deleted tenant: %v", err)
	}
}
