// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// served reads what the data plane would serve of a tenant.
func (h *harness) served(tenant id.Tenant) *snapshot.Tenant {
	h.t.Helper()
	body, _, err := h.store.RecordBody(h.ctx, h.org.ID, tenant)
	if err != nil {
		h.t.Fatal(err)
	}
	c := &snapshotv1.TenantSnapshot{}
	if err := proto.Unmarshal(body, c); err != nil {
		h.t.Fatal(err)
	}
	t, err := h.GetTenant(h.ctx, h.owner, h.org.ID, tenant)
	if err != nil {
		h.t.Fatal(err)
	}
	number := t.BlueprintPin
	if number == 0 {
		b, err := h.GetBlueprint(h.ctx, h.owner, h.org.ID, "standard")
		if err != nil {
			h.t.Fatal(err)
		}
		number = b.Revision
	}
	_, digest, err := h.store.Revision(h.ctx, h.org.ID, t.Blueprint, number, id.Revision{})
	if err != nil {
		h.t.Fatal(err)
	}
	layer, err := h.docs.layer(h.ctx, h.org.ID, digest)
	if err != nil {
		h.t.Fatal(err)
	}
	o, err := h.GetOrg(h.ctx, h.owner, h.org.ID)
	if err != nil {
		h.t.Fatal(err)
	}
	org, err := h.docs.org(h.ctx, h.org.ID, o.ConfigVersion)
	if err != nil {
		h.t.Fatal(err)
	}
	v, err := snapshot.Compile(c, layer, org)
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

func TestATenantsOwnPolicyIsCheckedAgainstTheLocksAndServed(t *testing.T) {
	h := newHarness(t)
	res := h.provision("hooli")
	tenant := res.Tenant.ID
	update := func(mask string, p *snapshotv1.Policy) (tenancy.Tenant, error) {
		return h.UpdateTenant(h.ctx, h.owner, h.org.ID, tenant, TenantInput{Mask: []string{mask}, Tenant: tenancy.Tenant{Overrides: &tenancy.Policy{Policy: p}}})
	}
	if _, err := update("overrides.password.min_length", &snapshotv1.Policy{Password: &snapshotv1.PasswordPolicy{MinLength: proto.Uint32(8)}}); !errors.Is(err, tenancy.ReasonPolicyLocked) {
		t.Errorf("a locked field was loosened: %v", err)
	}
	if _, err := update("overrides.token.access_ttl", &snapshotv1.Policy{Token: &snapshotv1.TokenPolicy{AccessTtl: durationpb.New(time.Hour * 48)}}); !errors.Is(err, tenancy.ReasonInvalidArgument) {
		t.Errorf("out of bounds: %v", err)
	}
	if _, err := update("overrides.password.min_length", &snapshotv1.Policy{Password: &snapshotv1.PasswordPolicy{MinLength: proto.Uint32(20)}}); err != nil {
		t.Fatal(err)
	}
	after, err := update("overrides.token.access_ttl", &snapshotv1.Policy{Token: &snapshotv1.TokenPolicy{AccessTtl: durationpb.New(time.Minute)}})
	if err != nil || after.ConfigVersion != 3 {
		t.Fatalf("version %d, %v", after.ConfigVersion, err)
	}
	if p := h.served(tenant).Policy; p.PasswordMinLength != 20 || p.AccessTTL != time.Minute || p.CORSOrigins[0] != "https://hooli.app.ppvc.example" {
		t.Errorf("served %+v", p)
	}
	if _, err := update("overrides.password.min_length", &snapshotv1.Policy{}); err != nil {
		t.Fatal(err)
	}
	if p := h.served(tenant).Policy; p.PasswordMinLength != 12 {
		t.Errorf("a cleared override is not inherited again: %d", p.PasswordMinLength)
	}
	for _, mask := range []string{"slug", "type", "region", "nothing", "overrides.nothing", "overrides.token.nothing", "overrides.token.access_ttl.seconds.x"} {
		if _, err := update(mask, &snapshotv1.Policy{}); tenancy.ReasonOf(err).Info().Class != tenancy.ClassArgument {
			t.Errorf("mask %s: %v", mask, err)
		}
	}
}

func TestEtagsKeepTwoWritersApart(t *testing.T) {
	h := newHarness(t)
	res := h.provision("hooli")
	var wg sync.WaitGroup
	outcomes := make([]error, 8)
	for i := range outcomes {
		wg.Go(func() {
			_, outcomes[i] = h.UpdateTenant(h.ctx, h.owner, h.org.ID, res.Tenant.ID, TenantInput{
				Call: Call{Etag: tenancy.Etag(res.Tenant.ID, 1)}, Mask: []string{"plan"}, Tenant: tenancy.Tenant{Plan: fmt.Sprint(i)},
			})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range outcomes {
		if err == nil {
			won++
		} else if !errors.Is(err, tenancy.ReasonEtagMismatch) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d writers won with one etag", won)
	}
}

func TestConfigVersionsGrowByOneUnderConcurrentChanges(t *testing.T) {
	h := newHarness(t)
	res := h.provision("hooli")
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[int64]bool{}
	for i := range 24 {
		wg.Go(func() {
			var v int64
			var err error
			if i%2 == 0 {
				var got tenancy.Tenant
				got, err = h.UpdateTenant(h.ctx, h.owner, h.org.ID, res.Tenant.ID, TenantInput{Mask: []string{"plan"}, Tenant: tenancy.Tenant{Plan: fmt.Sprint(i)}})
				v = got.ConfigVersion
			} else {
				var got tenancy.Client
				got, err = h.CreateClient(h.ctx, h.owner, h.org.ID, res.Tenant.ID, ClientInput{Slug: fmt.Sprintf("c%d", i), Client: tenancy.Client{ClientSettings: tenancy.ClientSettings{Kind: tenancy.KindService}}})
				v = got.ConfigVersion
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[v] {
				t.Errorf("version %d came twice, or %v", v, err)
			}
			seen[v] = true
		})
	}
	wg.Wait()
	if len(seen) != 24 || !seen[25] {
		t.Errorf("%d versions", len(seen))
	}
	v := h.served(res.Tenant.ID)
	if v.ConfigVersion != 25 {
		t.Errorf("the snapshot is at version %d", v.ConfigVersion)
	}
	l, err := h.ListClients(h.ctx, h.owner, h.org.ID, res.Tenant.ID, tenancy.Page{})
	if err != nil || len(l.Items) != 14 {
		t.Errorf("%d clients, %v", len(l.Items), err)
	}
	for _, c := range l.Items {
		if _, ok := v.Client(c.ID.String()); !ok {
			t.Errorf("the last snapshot lacks the client %s", c.Slug)
		}
	}
	events, err := h.ListAuditEvents(h.ctx, h.owner, h.org.ID, res.Tenant.ID, tenancy.Page{Size: 100})
	if err != nil || len(events.Items) != 25 {
		t.Fatalf("%d events of 25 changes, %v", len(events.Items), err)
	}
	slices.Reverse(events.Items)
	if err := tenancy.VerifyChain(nil, events.Items); err != nil {
		t.Error(err)
	}
}

func TestASharedClientIsServedAtEveryTenantWithItsTemplatesFilledIn(t *testing.T) {
	h := newHarness(t)
	hooli := h.provision("hooli")
	before := h.count(`SELECT count(*) FROM outbox`)
	c, err := h.CreateClient(h.ctx, h.owner, h.org.ID, id.Tenant{}, ClientInput{Slug: "chat", Client: tenancy.Client{ClientSettings: tenancy.ClientSettings{
		Kind: tenancy.KindWeb, RedirectURITemplates: []string{"https://{tenant.slug}.chat.example/cb"}, FirstParty: true,
	}}})
	if err != nil || c.ConfigVersion != 2 {
		t.Fatalf("%+v %v", c, err)
	}
	if n := h.count(`SELECT count(*) FROM outbox`) - before; n != 1 {
		t.Errorf("%d records are to be published for a change of the org, want 1", n)
	}
	if _, err := h.CreateClient(h.ctx, h.owner, h.org.ID, id.Tenant{}, ClientInput{Slug: "chat", Client: c}); !errors.Is(err, tenancy.ReasonSlugTaken) {
		t.Errorf("the same slug again: %v", err)
	}
	if _, err := h.CreateClient(h.ctx, h.owner, h.org.ID, hooli.Tenant.ID, ClientInput{Client: c}); !errors.Is(err, tenancy.ReasonInvalidArgument) {
		t.Errorf("a template at one tenant: %v", err)
	}
	s1, err := h.AddClientSecret(h.ctx, h.owner, h.org.ID, id.Tenant{}, "chat", Call{})
	if err != nil {
		t.Fatal(err)
	}
	s2, err := h.AddClientSecret(h.ctx, h.owner, h.org.ID, id.Tenant{}, "chat", Call{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.AddClientSecret(h.ctx, h.owner, h.org.ID, id.Tenant{}, "chat", Call{}); !errors.Is(err, tenancy.ReasonSecretLimit) {
		t.Errorf("a third secret: %v", err)
	}
	if _, err := h.RetireClientSecret(h.ctx, h.owner, h.org.ID, id.Tenant{}, "chat", s1.SecretID, 0, Call{}); err != nil {
		t.Fatal(err)
	}
	got, ok := h.served(hooli.Tenant.ID).Client(c.ID.String())
	if !ok {
		t.Fatal("the tenant does not know the org's client")
	}
	if _, ok := got.RedirectURI("https://hooli.chat.example/cb"); !ok {
		t.Error("the template was not filled in")
	}
	if got.AuthenticateSecret(s1.Secret, time.Now()) == nil || got.AuthenticateSecret(s2.Secret, time.Now()) != nil {
		t.Error("the retired secret works, or the other one does not")
	}
	if _, err := h.DeleteClient(h.ctx, h.owner, h.org.ID, id.Tenant{}, "chat", Call{}); err != nil {
		t.Fatal(err)
	}
	if _, ok := h.served(hooli.Tenant.ID).Client(c.ID.String()); ok {
		t.Error("a deleted client is served")
	}
}

func TestARevisionReachesTenantsThatFollowAndNotThoseThatArePinned(t *testing.T) {
	h := newHarness(t)
	follows := h.provision("follows")
	pinned, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, ProvisionInput{TenantID: "pinned", Blueprint: "standard", Revision: "1", WaitFor: DepthCommitted})
	if err != nil {
		t.Fatal(err)
	}
	spec := sampleSpec()
	spec.Config.Password.MinLength = proto.Uint32(16)
	if _, err := h.UpdateBlueprint(h.ctx, h.owner, h.org.ID, "standard", BlueprintInput{Mask: []string{"draft.config"}, Blueprint: blueprint.Blueprint{Draft: spec}}); err != nil {
		t.Fatal(err)
	}
	if p := h.served(follows.Tenant.ID).Policy; p.PasswordMinLength != 12 {
		t.Error("a draft reached a tenant before it was published")
	}
	r, err := h.PublishBlueprint(h.ctx, h.owner, h.org.ID, "standard", "longer passwords", Call{})
	if err != nil || r.Number != 2 {
		t.Fatalf("%+v %v", r, err)
	}
	if again, err := h.PublishBlueprint(h.ctx, h.owner, h.org.ID, "standard", "", Call{}); err != nil || again.ID != r.ID {
		t.Errorf("an unchanged draft made the revision %d, %v", again.Number, err)
	}
	if a, b := h.served(follows.Tenant.ID).Policy.PasswordMinLength, h.served(pinned.Tenant.ID).Policy.PasswordMinLength; a != 16 || b != 12 {
		t.Errorf("follows: %d, pinned: %d", a, b)
	}
	body, _, err := h.store.RecordBody(h.ctx, h.org.ID, h.blueprint.ID)
	if err != nil {
		t.Fatal(err)
	}
	table := &snapshotv1.RingTable{}
	if err := proto.Unmarshal(body, table); err != nil {
		t.Fatal(err)
	}
	if len(table.GetRings()) != 256 || len(table.GetPins()) != 1 || len(table.GetLayerDigests()) != 2 || table.GetPins()[0].GetLayer() != 1 {
		t.Errorf("ring table %v", table)
	}
	// The org's own policy is below the blueprint's and reaches every layer.
	if _, err := h.UpdateOrg(h.ctx, h.owner, h.org.ID, OrgInput{Mask: []string{"config"}, Org: tenancy.Org{Config: &tenancy.Policy{Policy: &snapshotv1.Policy{
		Password: &snapshotv1.PasswordPolicy{MinLength: proto.Uint32(30)}, Session: &snapshotv1.SessionPolicy{IdleTtl: durationpb.New(time.Hour)},
	}}}}); err != nil {
		t.Fatal(err)
	}
	for _, tenant := range []id.Tenant{follows.Tenant.ID, pinned.Tenant.ID} {
		if p := h.served(tenant).Policy; p.SessionIdleTTL != time.Hour || p.PasswordMinLength == 30 {
			t.Errorf("%+v", p)
		}
	}
}

func TestABlueprintMakesNoKeyStrongerThanItsPublisher(t *testing.T) {
	h := newHarness(t)
	weak := h.owner
	weak.Key, weak.Rights.Permissions = id.NewAPIKey(), tenancy.NewPermissionSet("blueprints.*")
	if _, err := h.UpdateBlueprint(h.ctx, h.owner, h.org.ID, "standard", BlueprintInput{Mask: []string{"description", "draft.locked"}, Blueprint: blueprint.Blueprint{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.PublishBlueprint(h.ctx, weak, h.org.ID, "standard", "", Call{}); !errors.Is(err, tenancy.ReasonMintExceedsMinter) {
		t.Errorf("got %v", err)
	}
}

func TestAKeyIsRotatedRevokedAndCutByItsMinters(t *testing.T) {
	h := newHarness(t)
	hooli := h.provision("hooli")
	manager, err := h.MintAPIKey(h.ctx, h.owner, h.org.ID, id.Tenant{}, MintInput{Key: tenancy.APIKey{Permissions: []string{"apiKeys.*", "users.*", "tenants.get"}, Mint: &tenancy.MintGrant{MaxScope: tenancy.ScopeTenants}}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := h.Authenticate(h.ctx, manager.Text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.MintAPIKey(h.ctx, m, h.org.ID, hooli.Tenant.ID, MintInput{Key: tenancy.APIKey{Permissions: []string{"clients.get"}}}); !errors.Is(err, tenancy.ReasonMintExceedsMinter) {
		t.Errorf("a stronger key was minted: %v", err)
	}
	if _, err := h.MintAPIKey(h.ctx, m, h.org.ID, id.Tenant{}, MintInput{Key: tenancy.APIKey{Permissions: []string{"users.get"}}}); !errors.Is(err, tenancy.ReasonMintExceedsMinter) {
		t.Errorf("a wider key was minted: %v", err)
	}
	child, err := h.MintAPIKey(h.ctx, m, h.org.ID, hooli.Tenant.ID, MintInput{Key: tenancy.APIKey{Permissions: []string{"users.list"}}})
	if err != nil {
		t.Fatal(err)
	}
	// Who may not mint a key may not come by its secret either.
	reader, err := h.Authenticate(h.ctx, child.Text)
	if err != nil || !reader.Rights.Permissions.Allows("users.list") || reader.Rights.Permissions.Allows("users.get") {
		t.Fatalf("%+v %v", reader.Rights, err)
	}
	strong, err := h.MintAPIKey(h.ctx, h.owner, h.org.ID, id.Tenant{}, MintInput{Key: tenancy.APIKey{Role: "orgOwner"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.RotateAPIKey(h.ctx, m, h.org.ID, id.Tenant{}, RotateKeyInput{Key: strong.Key.ID}); !errors.Is(err, tenancy.ReasonMintExceedsMinter) {
		t.Errorf("a manager rotated a stronger key: %v", err)
	}
	rotated, err := h.RotateAPIKey(h.ctx, h.owner, h.org.ID, hooli.Tenant.ID, RotateKeyInput{Key: child.Key.ID, Grace: time.Hour})
	if err != nil || rotated.Key.ID != child.Key.ID {
		t.Fatal(err)
	}
	for _, text := range []string{child.Text, rotated.Text} {
		if _, err := h.Authenticate(h.ctx, text); err != nil {
			t.Errorf("during the grace: %v", err)
		}
	}
	h.clock.Store(int64(2 * time.Hour))
	if _, err := h.Authenticate(h.ctx, child.Text); !errors.Is(err, tenancy.ReasonKeyInvalid) {
		t.Errorf("the old secret after the grace: %v", err)
	}
	if _, err := h.RevokeAPIKey(h.ctx, h.owner, h.org.ID, id.Tenant{}, RevokeKeyInput{Key: manager.Key.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Authenticate(h.ctx, manager.Text); !errors.Is(err, tenancy.ReasonKeyInvalid) {
		t.Errorf("a revoked key: %v", err)
	}
	if p, err := h.Authenticate(h.ctx, rotated.Text); err != nil || !p.Rights.Permissions.Allows("users.list") {
		t.Errorf("the child of a revoked key lives on: %v", err)
	}
	if _, err := h.RevokeAPIKey(h.ctx, h.owner, h.org.ID, id.Tenant{}, RevokeKeyInput{Key: manager.Key.ID, RevokeChildren: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Authenticate(h.ctx, rotated.Text); !errors.Is(err, tenancy.ReasonKeyInvalid) {
		t.Errorf("a child that was to be revoked: %v", err)
	}
	for _, text := range []string{"", "tnk_", rotated.Text[:len(rotated.Text)-1] + "0", "tns_" + rotated.Text[4:]} {
		if _, err := h.Authenticate(h.ctx, text); !errors.Is(err, tenancy.ReasonKeyInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
	short, err := h.MintAPIKey(h.ctx, h.owner, h.org.ID, hooli.Tenant.ID, MintInput{Key: tenancy.APIKey{Permissions: []string{"users.list"}, ExpireTime: h.Service.time().Add(time.Minute)}})
	if err != nil {
		t.Fatal(err)
	}
	h.clock.Add(int64(2 * time.Minute))
	if _, err := h.Authenticate(h.ctx, short.Text); !errors.Is(err, tenancy.ReasonKeyExpired) {
		t.Errorf("an expired key: %v", err)
	}
}

func TestThePlatformKeyOfTheOperatorsMachine(t *testing.T) {
	h := newHarness(t)
	k, err := MintPlatformKey(h.ctx, h.db.OwnerURL, "first", 0, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, err := h.Authenticate(h.ctx, k.Text)
	if err != nil || p.Rights.Scope != tenancy.ScopePlatform {
		t.Fatalf("%+v %v", p, err)
	}
	if _, err := h.Authorize(h.ctx, p, "users.list", Scope{Org: "piedpiper", Tenant: id.NewTenant().String()}); !errors.Is(err, tenancy.ReasonSupportAccessRequired) {
		t.Errorf("a platform key reads users: %v", err)
	}
	child, err := h.MintAPIKey(h.ctx, p, h.org.ID, id.Tenant{}, MintInput{Key: tenancy.APIKey{Role: "orgOwner"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.RevokeAPIKey(h.ctx, p, id.Org{}, id.Tenant{}, RevokeKeyInput{Key: k.Key.ID, RevokeChildren: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Authenticate(h.ctx, child.Text); !errors.Is(err, tenancy.ReasonKeyInvalid) {
		t.Errorf("an org's key that a revoked platform key had minted: %v", err)
	}
}

func splitQuotes(s string) (words []string) {
	word := ""
	for _, r := range s {
		if r == '"' {
			words, word = append(words, word), ""
			continue
		}
		word += string(r)
	}
	return words
}

func TestListsAreCutIntoPagesThatMissAndRepeatNothing(t *testing.T) {
	h := newHarness(t)
	want := map[string]bool{}
	for i := range 7 {
		slug := fmt.Sprintf("t%d", 6-i)
		if _, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, ProvisionInput{TenantID: slug, Blueprint: "standard", Plan: []string{"free", "premium"}[i%2], Labels: map[string]string{"n": fmt.Sprint(i % 3)}, WaitFor: DepthCommitted}); err != nil {
			t.Fatal(err)
		}
		want[slug] = true
	}
	for _, order := range []string{"", "create_time desc", "slug", "slug desc"} {
		got := map[string]bool{}
		var slugs []string
		page := tenancy.Page{Size: 3, OrderBy: order}
		for {
			l, err := h.ListTenants(h.ctx, h.owner, h.org.ID, page, false)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range l.Items {
				if got[x.Slug] {
					t.Errorf("%s comes twice", x.Slug)
				}
				got[x.Slug] = true
				slugs = append(slugs, x.Slug)
			}
			if page.Token = l.NextPageToken; page.Token == "" {
				break
			}
		}
		if len(got) != len(want) || order == "slug" && !slices.IsSorted(slugs) {
			t.Errorf("order %q: %v", order, slugs)
		}
	}
	for filter, n := range map[string]int{`plan="premium"`: 3, `slug:t`: 7, `slug="t3"`: 1, `labels.n="1" AND plan=free`: 1, `state=SUSPENDED`: 0, `type=PRODUCTION`: 7, `primary_domain="t1.ppvc.example"`: 1, `primary_domain="ppvc.example"`: 0} {
		l, err := h.ListTenants(h.ctx, h.owner, h.org.ID, tenancy.Page{Filter: filter}, false)
		if err != nil || len(l.Items) != n {
			t.Errorf("%s: %d items, %v; want %d", filter, len(l.Items), err, n)
		}
	}
	first, err := h.ListTenants(h.ctx, h.owner, h.org.ID, tenancy.Page{Size: 2}, false)
	if err != nil {
		t.Fatal(err)
	}
	somebody := h.owner
	somebody.Key = id.NewAPIKey()
	for name, call := range map[string]func() error{
		"another caller": func() error {
			_, err := h.ListTenants(h.ctx, somebody, h.org.ID, tenancy.Page{Token: first.NextPageToken}, false)
			return err
		},
		"another filter": func() error {
			_, err := h.ListTenants(h.ctx, h.owner, h.org.ID, tenancy.Page{Token: first.NextPageToken, Filter: "plan=free"}, false)
			return err
		},
		"another list": func() error {
			_, err := h.ListOrgs(h.ctx, h.owner, tenancy.Page{Token: first.NextPageToken})
			return err
		},
	} {
		if err := call(); !errors.Is(err, tenancy.ReasonPageTokenInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, size := range []int{-1, 1001, 1 << 30} {
		if _, err := h.ListTenants(h.ctx, h.owner, h.org.ID, tenancy.Page{Size: size}, false); !errors.Is(err, tenancy.ReasonInvalidArgument) {
			t.Errorf("page size %d: %v", size, err)
		}
	}
}

func TestAKeyLockedToATenantNeitherSeesNorChangesWhatIsTheOrgs(t *testing.T) {
	h := newHarness(t)
	res, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, ProvisionInput{TenantID: "hooli", Blueprint: "standard", InternalMetadata: []byte(`{"crm":"42"}`), WaitFor: DepthCommitted})
	if err != nil {
		t.Fatal(err)
	}
	h.provision("raviga")
	admin, err := h.Authenticate(h.ctx, res.APIKeys[0].Text)
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.GetTenant(h.ctx, admin, h.org.ID, res.Tenant.ID)
	if err != nil || got.InternalMetadata != nil {
		t.Errorf("internal metadata is seen: %s, %v", got.InternalMetadata, err)
	}
	for _, f := range []string{"plan", "entitlements", "internal_metadata", "labels"} {
		if _, err := h.UpdateTenant(h.ctx, admin, h.org.ID, res.Tenant.ID, TenantInput{Mask: []string{f}, Tenant: tenancy.Tenant{Plan: "premium"}}); !errors.Is(err, tenancy.ReasonPermissionDenied) {
			t.Errorf("%s was changed: %v", f, err)
		}
	}
	l, err := h.ListTenants(h.ctx, admin, h.org.ID, tenancy.Page{}, false)
	if err != nil || len(l.Items) != 1 || l.Items[0].InternalMetadata != nil {
		t.Errorf("%d tenants are seen, %v", len(l.Items), err)
	}
	op, err := h.GetOperation(h.ctx, admin, res.Operation)
	if err != nil || op.Result.Tenant.InternalMetadata != nil {
		t.Errorf("the operation of its own tenant: %v", err)
	}
	if _, err := h.GetOperation(h.ctx, admin, h.provision("third").Operation); !errors.Is(err, tenancy.ReasonNotFound) {
		t.Errorf("the operation of another tenant: %v", err)
	}
}

func TestAChosenIDNamesOneLiveKeyOfItsParent(t *testing.T) {
	h := newHarness(t)
	hooli := h.provision("hooli")
	mint := func(tenant id.Tenant) (tenancy.APIKeyCredentials, error) {
		return h.MintAPIKey(h.ctx, h.owner, h.org.ID, tenant, MintInput{Key: tenancy.APIKey{Slug: "exporter", Permissions: []string{"users.list"}}})
	}
	first, err := mint(hooli.Tenant.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mint(hooli.Tenant.ID); !errors.Is(err, tenancy.ReasonSlugTaken) {
		t.Errorf("a second key of that id: %v", err)
	}
	if _, err := mint(id.Tenant{}); err != nil {
		t.Errorf("the org's own key of that id: %v", err)
	}
	if _, err := h.RevokeAPIKey(h.ctx, h.owner, h.org.ID, hooli.Tenant.ID, RevokeKeyInput{Key: first.Key.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := mint(hooli.Tenant.ID); err != nil {
		t.Errorf("the id of a revoked key is not free: %v", err)
	}
}
