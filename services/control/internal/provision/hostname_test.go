// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

var hostRounds = flag.Int("hostname.rounds", 60, "rounds of the race for one hostname; T-07 wants 500")

// T-07: 2 to 16 sign-ups for one name at once, in every spelling, from two orgs' callers and two control planes: one wins, the others
// learn that the name is not free, and nothing else.
func TestManySignUpsForOneHostnameHaveOneWinner(t *testing.T) {
	h := newHarness(t)
	second := newServiceOn(h)
	for round := range *hostRounds {
		name := fmt.Sprintf("bücher-%d", round)
		spellings := []HostSpec{
			{Label: name},
			{Label: strings.ToUpper(name)},
			{Label: fmt.Sprintf("xn--bcher-%d-65a", round)},
			{Domain: name + ".ppvc.example."},
			{Domain: strings.ToUpper(name + ".PPVC.example")},
		}
		if n, ok := tenancy.NormalizeLabel(name); ok {
			spellings[2] = HostSpec{Label: n}
		}
		n := 2 + rand.IntN(15)
		var winners atomic.Int32
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				s := h.Service
				if i%2 == 1 {
					s = second
				}
				_, err := s.ProvisionTenant(h.ctx, h.owner, h.org.ID, ProvisionInput{
					TenantID: fmt.Sprintf("t-%d-%d", round, i), Blueprint: "standard", Hosts: []HostSpec{spellings[rand.IntN(len(spellings))]}, WaitFor: DepthCommitted,
				})
				switch {
				case err == nil:
					winners.Add(1)
				case !errors.Is(err, tenancy.ReasonHostnameUnavailable):
					t.Errorf("round %d: a loser got %v", round, err)
				default:
					var e *tenancy.Error
					if errors.As(err, &e) && (strings.Contains(fmt.Sprint(e.Message(), e.Meta), "tnt_") || e.Message() != tenancy.ReasonHostnameUnavailable.Info().Text) {
						t.Errorf("round %d: a loser learns of the winner: %v", round, err)
					}
				}
			})
		}
		wg.Wait()
		if winners.Load() != 1 {
			t.Fatalf("round %d: %d winners of %d", round, winners.Load(), n)
		}
	}
	if n := h.count(`SELECT count(*) FROM hostnames WHERE kind = 1`); n != *hostRounds {
		t.Errorf("%d hostnames after %d rounds", n, *hostRounds)
	}
	if a, b := h.count(`SELECT count(*) FROM tenants`), h.count(`SELECT count(*) FROM snapshots WHERE kind = 1`); a != *hostRounds || b != *hostRounds {
		t.Errorf("%d tenants and %d snapshots: a loser left something behind", a, b)
	}
}

// newServiceOn is a second control plane on the same database.
func newServiceOn(h *harness) *Service {
	h.t.Helper()
	st, err := store.Open(h.ctx, store.Config{URL: h.db.URL("tenantry_control"), MaxConns: 10})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(st.Close)
	cfg := h.cfg
	cfg.Store = st
	s, err := New(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func TestNamesThatNobodyMayHave(t *testing.T) {
	h := newHarness(t)
	h.provision("hooli")
	for label, want := range map[string]bool{
		"free": true, "FREE": true, "hooli": false, "HOOLI": false, "chat": false, "CHAT": false, "www": false, "admin": false, "login": false,
		"installation": false, "a.b": false, "": false, "a_b": false, "xn--": false, "localhost": false,
	} {
		got, err := h.CheckHostname(h.ctx, h.owner, h.org.ID, HostSpec{Label: label})
		if err != nil || got.Available != want {
			t.Errorf("%q: available %v, %v; want %v", label, got.Available, err, want)
		}
		if want || label == "" {
			continue
		}
		if _, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, ProvisionInput{TenantID: "x", Blueprint: "standard", Hosts: []HostSpec{{Label: label}}, WaitFor: DepthCommitted}); err == nil {
			t.Errorf("%q was claimed", label)
		}
	}
	for domain, want := range map[string]bool{"free.ppvc.example": true, "hooli.ppvc.example.": false, "a.b.ppvc.example": false, "ppvc.example": false, "evil.example": false, "10.0.0.1": false} {
		if got, err := h.CheckHostname(h.ctx, h.owner, h.org.ID, HostSpec{Domain: domain}); err != nil || got.Available != want {
			t.Errorf("%q: available %v, %v; want %v", domain, got.Available, err, want)
		}
	}
	if _, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, ProvisionInput{TenantID: "x", Blueprint: "standard", Hosts: []HostSpec{{Domain: "evil.example"}}}); !errors.Is(err, tenancy.ReasonHostOutsideBaseDomain) {
		t.Errorf("a domain of somebody else: %v", err)
	}
}

func TestNoBaseDomainEqualsContainsOrLiesUnderAnother(t *testing.T) {
	h := newHarness(t)
	for i, domain := range []string{"ppvc.example", "PPVC.example.", "eu.ppvc.example", "a.b.ppvc.example"} {
		if _, err := h.CreateOrg(h.ctx, h.platform, OrgInput{Slug: fmt.Sprintf("o%d", i), Org: tenancy.Org{BaseDomain: domain}}); !errors.Is(err, tenancy.ReasonBaseDomainConflict) {
			t.Errorf("%s: %v", domain, err)
		}
	}
	if _, err := h.CreateOrg(h.ctx, h.platform, OrgInput{Slug: "deep", Org: tenancy.Org{BaseDomain: "x.globex.example"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.CreateOrg(h.ctx, h.platform, OrgInput{Slug: "above", Org: tenancy.Org{BaseDomain: "globex.example"}}); !errors.Is(err, tenancy.ReasonBaseDomainConflict) {
		t.Errorf("a domain that contains another's: %v", err)
	}
	var winners atomic.Int32
	var wg sync.WaitGroup
	for i, domain := range []string{"race.example", "a.race.example", "b.a.race.example", "race.example", "a.race.example"} {
		wg.Go(func() {
			if _, err := h.CreateOrg(h.ctx, h.platform, OrgInput{Slug: fmt.Sprintf("race%d", i), Org: tenancy.Org{BaseDomain: domain}}); err == nil {
				winners.Add(1)
			} else if !errors.Is(err, tenancy.ReasonBaseDomainConflict) {
				t.Errorf("%s: %v", domain, err)
			}
		})
	}
	wg.Wait()
	if winners.Load() != 1 {
		t.Errorf("%d orgs have base domains that contain one another", winners.Load())
	}
	if n := h.count(`SELECT count(*) FROM orgs WHERE slug LIKE 'o_' OR slug = 'above'`); n != 0 {
		t.Errorf("%d orgs were left behind without their domain", n)
	}
}

// a name is held after its release, then claimed anew with a higher claim version; its old tenant cannot have it back meanwhile.
func TestAReleasedHostnameIsHeldAndThenClaimedAnew(t *testing.T) {
	h := newHarness(t)
	res, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, ProvisionInput{TenantID: "hooli", Blueprint: "standard", Hosts: []HostSpec{{Label: "hooli"}, {Label: "hooli2"}}, WaitFor: DepthCommitted})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.ReleaseHostname(h.ctx, h.owner, h.org.ID, res.Tenant.ID, "hooli.ppvc.example", Call{}); !errors.Is(err, tenancy.ReasonFieldImmutable) {
		t.Errorf("the host of the issuer was released: %v", err)
	}
	after, err := h.ReleaseHostname(h.ctx, h.owner, h.org.ID, res.Tenant.ID, "hooli2.ppvc.example", Call{})
	if err != nil || len(after.Hosts) != 1 || after.ConfigVersion != 2 {
		t.Fatalf("%+v, %v", after.Hosts, err)
	}
	claim := func() error {
		_, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, ProvisionInput{TenantID: "raviga", Blueprint: "standard", Hosts: []HostSpec{{Label: "HOOLI2"}}, WaitFor: DepthCommitted})
		return err
	}
	h.clock.Store(int64(89 * 24 * time.Hour))
	if err := claim(); !errors.Is(err, tenancy.ReasonHostnameUnavailable) {
		t.Errorf("a held name was claimed: %v", err)
	}
	h.clock.Store(int64(91 * 24 * time.Hour))
	if err := claim(); err != nil {
		t.Fatal(err)
	}
	if n := h.count(`SELECT claim_version FROM hostnames WHERE hostname = 'hooli2.ppvc.example'`); n != 3 {
		t.Errorf("claim version %d, want 3: claimed, released, claimed", n)
	}
	if n := h.count(`SELECT host_claims[1] FROM snapshots s JOIN tenants t ON t.id = s.subject WHERE t.slug = 'raviga'`); n != 3 {
		t.Errorf("the snapshot of the new owner has claim version %d", n)
	}
	// The old owner still publishes the tombstone of the pointer, at a lower claim version.
	if n := h.count(`SELECT u.c FROM snapshots s, unnest(hosts, host_claims, host_live) u(n, c, l) WHERE s.subject = $1 AND n = 'hooli2.ppvc.example' AND NOT l`, [16]byte(res.Tenant.ID)); n != 2 {
		t.Errorf("the released pointer has claim version %d", n)
	}
}

func TestDeletingATenantKeepsItsNameAndUndeleteBringsItBack(t *testing.T) {
	h := newHarness(t)
	res := h.provision("hooli")
	del, err := h.DeleteTenant(h.ctx, h.owner, h.org.ID, res.Tenant.ID, Call{})
	if err != nil || del.State != tenancy.StateDeleted || del.PurgeTime.IsZero() {
		t.Fatalf("%+v %v", del, err)
	}
	if got, err := h.CheckHostname(h.ctx, h.owner, h.org.ID, HostSpec{Label: "hooli"}); err != nil || got.Available {
		t.Errorf("the name of a deleted tenant is free: %v", err)
	}
	if n := h.count(`SELECT count(*) FROM snapshots WHERE subject = $1 AND kind = 2 AND length(body) = 0 AND config_version = 2`, [16]byte(res.Tenant.ID)); n != 1 {
		t.Error("there is no tombstone")
	}
	if _, err := h.UpdateTenant(h.ctx, h.owner, h.org.ID, res.Tenant.ID, TenantInput{Mask: []string{"plan"}}); !errors.Is(err, tenancy.ReasonTenantState) {
		t.Errorf("a deleted tenant was changed: %v", err)
	}
	back, err := h.UndeleteTenant(h.ctx, h.owner, h.org.ID, res.Tenant.ID, Call{})
	if err != nil || back.State != tenancy.StateActive || back.ConfigVersion != 3 {
		t.Fatalf("%+v %v", back, err)
	}
	if _, err := h.DeleteTenant(h.ctx, h.owner, h.org.ID, res.Tenant.ID, Call{}); err != nil {
		t.Fatal(err)
	}
	h.clock.Store(int64(31 * 24 * time.Hour))
	if _, err := h.UndeleteTenant(h.ctx, h.owner, h.org.ID, res.Tenant.ID, Call{}); !errors.Is(err, tenancy.ReasonNotFound) {
		t.Errorf("undeleted after its purge time: %v", err)
	}
	if _, err := h.GetTenant(h.ctx, h.owner, h.org.ID, id.NewTenant()); !errors.Is(err, tenancy.ReasonNotFound) {
		t.Errorf("a tenant that never was: %v", err)
	}
}
