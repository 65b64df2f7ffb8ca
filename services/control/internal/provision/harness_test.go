// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
	"github.com/tenantry/tenantry/services/internal/dbtest"
)

// harness is a Service over a database of its own, with an org, a published blueprint, and the keys of an operator and of the org.
type harness struct {
	*Service
	t         testing.TB
	ctx       context.Context
	db        dbtest.DB
	clock     *atomic.Int64 // offset from the real clock
	platform  tenancy.Principal
	owner     tenancy.Principal
	org       tenancy.Org
	blueprint blueprint.Blueprint
	region    secret.PrivateKey
}

func newHarness(t testing.TB) *harness {
	t.Helper()
	db := dbtest.New(t, "control", store.Migrate)
	return newHarnessOn(t, db, store.Config{URL: db.URL("tenantry_control"), MaxConns: 20})
}

func newHarnessOn(t testing.TB, db dbtest.DB, cfg store.Config) *harness {
	t.Helper()
	ctx := context.Background()
	st, err := store.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	h := &harness{t: t, ctx: ctx, db: db, clock: new(atomic.Int64)}
	h.region, err = secret.GeneratePrivateKey("local", secret.PurposeSigning, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	recovery, err := secret.GeneratePrivateKey("local", secret.PurposeRecovery, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	page := sha256.Sum256([]byte("page"))
	h.Service, err = New(Config{
		Store: st, Recipients: []secret.PublicKey{h.region.Public(), recovery.Public()}, PublicURL: "https://{host}", APIDomain: "api.example",
		Development: true, PageKey: page[:], ReservedLabels: []string{"installation"},
		Now:    func() time.Time { return time.Now().Add(time.Duration(h.clock.Load())) },
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatal(err)
	}
	h.platform = tenancy.Principal{
		Key: id.NewAPIKey(), DisplayName: "operator", Mint: &tenancy.MintGrant{MayMintManagers: true},
		Rights: tenancy.Rights{Scope: tenancy.ScopePlatform, Permissions: tenancy.NewPermissionSet("*")},
	}
	h.org, h.owner, h.blueprint = h.newOrg("piedpiper", "ppvc.example")
	return h
}

// newOrg makes an org with a published blueprint, and a caller with all rights in it.
func (h *harness) newOrg(slug, domain string) (tenancy.Org, tenancy.Principal, blueprint.Blueprint) {
	h.t.Helper()
	o, err := h.CreateOrg(h.ctx, h.platform, OrgInput{Slug: slug, Org: tenancy.Org{BaseDomain: domain, ReservedLabels: []string{"chat"}}})
	if err != nil {
		h.t.Fatal(err)
	}
	owner := tenancy.Principal{
		Key: id.NewAPIKey(), DisplayName: slug + " owner", OrgSlug: slug, Mint: &tenancy.MintGrant{MayMintManagers: true},
		Rights: tenancy.Rights{Scope: tenancy.ScopeOrg, Org: o.ID, Permissions: tenancy.NewPermissionSet("*")},
	}
	b, err := h.CreateBlueprint(h.ctx, owner, o.ID, BlueprintInput{Slug: "standard", Blueprint: blueprint.Blueprint{Draft: sampleSpec()}})
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.PublishBlueprint(h.ctx, owner, o.ID, "standard", "first", Call{}); err != nil {
		h.t.Fatal(err)
	}
	return o, owner, b
}

func sampleSpec() blueprint.Spec {
	return blueprint.Spec{
		Config: &tenancy.Policy{Policy: &snapshotv1.Policy{
			Token:    &snapshotv1.TokenPolicy{AccessAlg: proto.String("ES256"), IdTokenAlgs: &snapshotv1.StringList{Values: []string{"ES256"}}},
			Password: &snapshotv1.PasswordPolicy{MinLength: proto.Uint32(12)},
			Cors:     &snapshotv1.CorsPolicy{Origins: &snapshotv1.StringList{Values: []string{"https://{{host.label}}.app.ppvc.example"}}},
		}},
		Theme:        &tenancy.Theme{Theme: &snapshotv1.Theme{Background: proto.String("{{backgroundColor}}"), Brand: proto.String("#335577")}},
		Parameters:   map[string]blueprint.Parameter{"backgroundColor": {Type: blueprint.TypeString, Default: "#ffffff", Pattern: "#[0-9a-f]{6}"}},
		Roles:        []tenancy.RoleSpec{{ID: "admin"}, {ID: "moderator"}, {ID: "member", Default: true}},
		InitialUsers: []tenancy.UserSpec{{Email: "{{owner.email}}", Roles: []string{"admin"}, Invite: true}},
		Clients: []tenancy.ClientSpec{
			{ID: "spa", ClientSettings: tenancy.ClientSettings{Kind: tenancy.KindSPA, RedirectURIs: []string{"https://{{host.label}}.app.ppvc.example/callback"}}},
			{ID: "api", ClientSettings: tenancy.ClientSettings{Kind: tenancy.KindService}},
		},
		APIKeys: []tenancy.APIKeySpec{{ID: "tenant-admin", Role: "tenantAdmin"}, {ID: "user-reader", Permissions: []string{"users.get", "users.list"}}},
		Locked:  []string{"password.min_length"},
	}
}

func (h *harness) provision(slug string) ProvisionResult {
	h.t.Helper()
	res, err := h.ProvisionTenant(h.ctx, h.owner, h.org.ID, ProvisionInput{TenantID: slug, Blueprint: "standard", Owner: &OwnerSpec{Email: "gavin@" + slug + ".example"}, WaitFor: DepthCommitted})
	if err != nil {
		h.t.Fatalf("provision %s: %v", slug, err)
	}
	return res
}

func percentile(took []time.Duration, p float64) time.Duration {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[min(len(took)-1, int(p*float64(len(took))))]
}
