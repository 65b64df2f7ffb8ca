// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

const requestID = "0190a7c2-6f2e-7cc4-9a51-3d1d0c9f1b11"

// count asks the database as a superuser, who sees every row.
func (h *harness) count(sql string, args ...any) (n int) {
	h.t.Helper()
	conn, err := pgx.Connect(h.ctx, h.db.AdminURL)
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close(h.ctx)
	if err := conn.QueryRow(h.ctx, sql, args...).Scan(&n); err != nil {
		h.t.Fatal(err)
	}
	return n
}

func TestTwentyParallelIdenticalCallsMakeOneTenant(t *testing.T) {
	h := newHarness(t)
	for round := range 10 {
		in := ProvisionInput{
			Call: Call{RequestID: id.NewEvent().UUID(), BodyHash: [32]byte{byte(round)}}, TenantID: "hooli" + string(rune('a'+round)), Blueprint: "standard",
			WaitFor: DepthCommitted,
		}
		results := make([]ProvisionResult, 20)
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() {
				var err error
				if results[i], err = h.ProvisionTenant(h.ctx, h.owner, h.org.ID, in); err != nil {
					t.Errorf("call %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		first := 0
		for i, r := range results {
			if r.Tenant.ID != results[0].Tenant.ID || r.Tenant.ID.IsZero() {
				t.Fatalf("answer %d names %s, answer 0 %s", i, r.Tenant.ID, results[0].Tenant.ID)
			}
			secrets := 0
			for _, c := range r.Clients {
				if c.Secret != "" {
					secrets++
				}
			}
			for _, k := range r.APIKeys {
				if k.Text != "" {
					secrets++
				}
			}
			if r.AlreadyReturned != (secrets == 0) {
				t.Errorf("answer %d: already returned is %v with %d secrets", i, r.AlreadyReturned, secrets)
			}
			if !r.AlreadyReturned {
				first++
			}
		}
		if first != 1 {
			t.Errorf("%d answers showed the secrets", first)
		}
	}
	if n := h.count(`SELECT count(*) FROM tenants`); n != 10 {
		t.Errorf("%d tenants of 10 requests", n)
	}
}

func TestARepeatedRequestGetsItsAnswerWithoutSecrets(t *testing.T) {
	h := newHarness(t)
	in := ProvisionInput{Call: Call{RequestID: requestID, BodyHash: [32]byte{1}}, TenantID: "hooli", Blueprint: "standard", WaitFor: DepthCommitted}
	first, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, in)
	if err != nil {
		t.Fatal(err)
	}
	again, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, in)
	if err != nil {
		t.Fatal(err)
	}
	if !again.AlreadyReturned || again.Operation != first.Operation || again.Tenant.Issuer != first.Tenant.Issuer || len(again.Clients) != 2 ||
		again.Clients[1].SecretID != first.Clients[1].SecretID || again.URLs["login"] != first.URLs["login"] {
		t.Errorf("the replay differs: %+v", again)
	}
	other := in
	other.BodyHash = [32]byte{2}
	if _, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, other); !errors.Is(err, tenancy.ReasonRequestIDReused) {
		t.Errorf("another body: %v", err)
	}
	somebody := h.owner
	somebody.Key = id.NewAPIKey()
	if _, err := h.ProvisionTenant(h.ctx, somebody, h.org.ID, in); !errors.Is(err, tenancy.ReasonHostnameUnavailable) {
		t.Errorf("another caller with the same id: %v", err)
	}
	// Other methods keep their answers too, each under its own name.
	mint := MintInput{Call: Call{RequestID: requestID, BodyHash: [32]byte{3}}, Key: tenancy.APIKey{Permissions: []string{"users.list"}}}
	k1, err := h.MintAPIKey(h.ctx, h.owner, h.org.ID, first.Tenant.ID, mint)
	if err != nil || k1.Text == "" || k1.AlreadyReturned {
		t.Fatalf("mint: %+v %v", k1, err)
	}
	k2, err := h.MintAPIKey(h.ctx, h.owner, h.org.ID, first.Tenant.ID, mint)
	if err != nil || k2.Text != "" || !k2.AlreadyReturned || k2.Key.ID != k1.Key.ID {
		t.Errorf("mint again: %+v %v", k2, err)
	}
	create := OrgInput{Call: Call{RequestID: requestID, BodyHash: [32]byte{4}}, Slug: "globex"}
	o1, err := h.CreateOrg(h.ctx, h.platform, create)
	if err != nil {
		t.Fatal(err)
	}
	if o2, err := h.CreateOrg(h.ctx, h.platform, create); err != nil || o2.ID != o1.ID {
		t.Errorf("create org again: %v %v", o2.ID, err)
	}
}

// what is kept of an answer, and everything else in the database, holds no secret.
func TestNoSecretIsStored(t *testing.T) {
	h := newHarness(t)
	in := ProvisionInput{Call: Call{RequestID: requestID}, TenantID: "hooli", Blueprint: "standard", WaitFor: DepthCommitted}
	res, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, in)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{res.Clients[1].Secret, res.APIKeys[0].Text} {
		middle := []byte(text[len("tnk_")+27 : len(text)-7])
		conn, err := pgx.Connect(h.ctx, h.db.AdminURL)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := conn.Query(h.ctx, `SELECT answer FROM operations UNION ALL SELECT body FROM snapshots UNION ALL SELECT settings::text::bytea FROM clients
			UNION ALL SELECT secrets::text::bytea FROM clients UNION ALL SELECT api_keys::text::bytea FROM api_keys UNION ALL SELECT audit_events::text::bytea FROM audit_events`)
		if err != nil {
			t.Fatal(err)
		}
		all, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
		if err != nil || len(all) < 8 {
			t.Fatalf("%d rows, %v", len(all), err)
		}
		for _, row := range all {
			if bytes.Contains(row, middle) {
				t.Errorf("a secret lies in the database: %.80s", row)
			}
		}
		conn.Close(h.ctx)
	}
}

func TestValidateOnlyPlansEverythingAndWritesNothing(t *testing.T) {
	h := newHarness(t)
	tables := []string{"tenants", "clients", "api_keys", "signing_keys", "hostnames", "snapshots", "outbox", "operations", "audit_events", "identity_seeds", "tenant_roles", "orgs"}
	before := map[string]int{}
	for _, table := range tables {
		before[table] = h.count(`SELECT count(*) FROM ` + table)
	}
	call := Call{RequestID: requestID, ValidateOnly: true}
	plan, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, ProvisionInput{Call: call, TenantID: "hooli", Blueprint: "standard", Owner: &OwnerSpec{Email: "a@b.example"}})
	if err != nil {
		t.Fatal(err)
	}
	if plan.Tenant.Issuer != "https://hooli.ppvc.example" || len(plan.Clients) != 2 || len(plan.APIKeys) != 2 || len(plan.Tenant.Roles) != 3 {
		t.Errorf("the plan is not whole: %+v", plan)
	}
	if !plan.Tenant.ID.IsZero() || !plan.Clients[0].Client.ID.IsZero() || plan.Clients[1].Secret != "" || plan.APIKeys[0].Text != "" {
		t.Error("the plan has ids or secrets of things that do not exist")
	}
	if _, err := h.CreateOrg(h.ctx, h.platform, OrgInput{Call: call, Slug: "globex", Org: tenancy.Org{BaseDomain: "globex.example"}}); err != nil {
		t.Error(err)
	}
	if _, err := h.CreateClient(h.ctx, h.owner, h.org.ID, id.Tenant{}, ClientInput{Call: call, Slug: "chat", Client: tenancy.Client{ClientSettings: tenancy.ClientSettings{Kind: tenancy.KindSPA, RedirectURIs: []string{"https://a.example/cb"}}}}); err != nil {
		t.Error(err)
	}
	if _, err := h.MintAPIKey(h.ctx, h.owner, h.org.ID, id.Tenant{}, MintInput{Call: call, Key: tenancy.APIKey{Role: "orgAdmin"}}); err != nil {
		t.Error(err)
	}
	for _, table := range tables {
		if n := h.count(`SELECT count(*) FROM ` + table); n != before[table] {
			t.Errorf("%s: %d rows before, %d after", table, before[table], n)
		}
	}
	// What would be refused is refused.
	if _, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, ProvisionInput{Call: call, TenantID: "chat", Blueprint: "standard"}); !errors.Is(err, tenancy.ReasonHostnameUnavailable) {
		t.Errorf("a reserved name: %v", err)
	}
}

func TestAnOrgSuspendedOrABlueprintChangedMeanwhileStopsTheWrite(t *testing.T) {
	h := newHarness(t)
	n := h.plan("hooli")
	if _, err := h.UpdateOrg(h.ctx, h.platform, h.org.ID, OrgInput{Mask: []string{"state"}, Org: tenancy.Org{State: tenancy.StateSuspended}}); err != nil {
		t.Fatal(err)
	}
	if err := h.store.Provision(h.ctx, h.org.ID, n); !errors.Is(err, tenancy.ReasonConcurrentChange) {
		t.Errorf("suspended meanwhile: %v", err)
	}
	if _, err := h.UpdateOrg(h.ctx, h.platform, h.org.ID, OrgInput{Mask: []string{"state"}, Org: tenancy.Org{State: tenancy.StateActive}}); err != nil {
		t.Fatal(err)
	}
	if err := h.store.Provision(h.ctx, h.org.ID, n); !errors.Is(err, tenancy.ReasonConcurrentChange) {
		t.Errorf("the org changed and changed back meanwhile: %v", err)
	}
	n = h.plan("hooli")
	n.BlueprintVersion++
	if err := h.store.Provision(h.ctx, h.org.ID, n); !errors.Is(err, tenancy.ReasonConcurrentChange) {
		t.Errorf("another version of the blueprint: %v", err)
	}
	for _, table := range []string{"tenants", "clients", "signing_keys", "operations", "tenant_roles"} {
		if got := h.count(`SELECT count(*) FROM ` + table); got != 0 {
			t.Errorf("%d rows of %s of a tenant that does not exist", got, table)
		}
	}
}

// plan makes everything of a provision but does not write it.
func (h *harness) plan(slug string) *store.NewTenant {
	h.t.Helper()
	p := &provisioning{s: h.Service, caller: h.owner, org: h.org.ID, in: &ProvisionInput{TenantID: slug, Blueprint: "standard"}, now: h.Service.time()}
	if err := p.checkRequest(); err != nil {
		h.t.Fatal(err)
	}
	g, err := h.store.Ground(h.ctx, h.org.ID, slug, id.Blueprint{}, "standard", h.owner.Key, methodProvision, "")
	if err != nil {
		h.t.Fatal(err)
	}
	hosts, err := p.hosts(&g)
	if err != nil {
		h.t.Fatal(err)
	}
	n, _, err := p.plan(context.Background(), &g, hosts)
	if err != nil {
		h.t.Fatal(err)
	}
	n.Answer.Operation.Answer = []byte("{}")
	return n
}

func TestAnswersAreForgottenAfterADay(t *testing.T) {
	h := newHarness(t)
	in := ProvisionInput{Call: Call{RequestID: requestID}, TenantID: "hooli", Blueprint: "standard", WaitFor: DepthCommitted}
	if _, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, in); err != nil {
		t.Fatal(err)
	}
	w, err := store.OpenWorker(h.ctx, store.Config{URL: h.db.URL("tenantry_publisher"), MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	now := time.Now()
	if n, err := w.ForgetAnswers(h.ctx, now.Add(-store.RequestIDLife), 100); err != nil || n != 0 {
		t.Errorf("forgot %d answers that were fresh, %v", n, err)
	}
	if n, err := w.ForgetAnswers(h.ctx, now.Add(time.Second), 100); err != nil || n != 1 {
		t.Errorf("forgot %d answers, %v", n, err)
	}
}

// The reading that one call remembers for the next is never the last word: what changed in another process is found by the write, and a
// refusal is looked at again.
func TestARememberedReadingIsNeverTheLastWord(t *testing.T) {
	h := newHarness(t)
	other := newServiceOn(h)
	h.provision("warm") // this process remembers org and blueprint now
	spec := sampleSpec()
	spec.Roles = append(spec.Roles, tenancy.RoleSpec{ID: "fresh"})
	if _, err := other.UpdateBlueprint(h.ctx, h.owner, h.org.ID, "standard", BlueprintInput{Mask: []string{"draft"}, Blueprint: blueprint.Blueprint{Draft: spec}}); err != nil {
		t.Fatal(err)
	}
	if _, err := other.PublishBlueprint(h.ctx, h.owner, h.org.ID, "standard", "", Call{}); err != nil {
		t.Fatal(err)
	}
	if res := h.provision("after"); len(res.Tenant.Roles) != 4 || res.Tenant.BlueprintRevision != 2 {
		t.Errorf("made from revision %d with %d roles", res.Tenant.BlueprintRevision, len(res.Tenant.Roles))
	}
	if _, err := other.UpdateOrg(h.ctx, h.owner, h.org.ID, OrgInput{Mask: []string{"reserved_labels"}, Org: tenancy.Org{ReservedLabels: []string{"taken"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, ProvisionInput{TenantID: "taken", Blueprint: "standard", WaitFor: DepthCommitted}); !errors.Is(err, tenancy.ReasonHostnameUnavailable) {
		t.Errorf("a label that was reserved a moment ago: %v", err)
	}
	if _, err := other.UpdateOrg(h.ctx, h.owner, h.org.ID, OrgInput{Mask: []string{"reserved_labels"}}); err != nil {
		t.Fatal(err)
	}
	h.provision("taken")
	if _, err := other.UpdateOrg(h.ctx, h.platform, h.org.ID, OrgInput{Mask: []string{"state"}, Org: tenancy.Org{State: tenancy.StateSuspended}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, ProvisionInput{TenantID: "late", Blueprint: "standard"}); !errors.Is(err, tenancy.ReasonOrgSuspended) {
		t.Errorf("an org that was suspended a moment ago: %v", err)
	}
}
