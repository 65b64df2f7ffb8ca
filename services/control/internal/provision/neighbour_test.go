// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// target is what the methods below are asked for: everything of Hooli, by an org that it does not belong to.
type target struct {
	tenant tenancy.Tenant
	client tenancy.Client
	shared tenancy.Client
	key    tenancy.APIKey
	orgKey tenancy.APIKey
	sgk    tenancy.SigningKey
	bp     blueprint.Blueprint
	layer  []byte

	registration tenancy.Registration
}

func (h *harness) target() target {
	h.t.Helper()
	spec := sampleSpec() // one that no other org has, for equal layers have one digest
	spec.Config.Password.MinLength = proto.Uint32(17)
	if _, err := h.UpdateBlueprint(h.ctx, h.owner, h.org.ID, "standard", BlueprintInput{Mask: []string{"draft"}, Blueprint: blueprint.Blueprint{Draft: spec}}); err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.PublishBlueprint(h.ctx, h.owner, h.org.ID, "standard", "", Call{}); err != nil {
		h.t.Fatal(err)
	}
	res := h.provision("hooli")
	shared, err := h.CreateClient(h.ctx, h.owner, h.org.ID, id.Tenant{}, ClientInput{Slug: "chat", Client: tenancy.Client{ClientSettings: tenancy.ClientSettings{
		Kind: tenancy.KindSPA, RedirectURITemplates: []string{"https://{tenant.slug}.chat.example/cb"}, FirstParty: true,
	}}})
	if err != nil {
		h.t.Fatal(err)
	}
	orgKey, err := h.MintAPIKey(h.ctx, h.owner, h.org.ID, id.Tenant{}, MintInput{Key: tenancy.APIKey{Role: "orgAdmin"}})
	if err != nil {
		h.t.Fatal(err)
	}
	keys, err := h.ListSigningKeys(h.ctx, h.owner, h.org.ID, res.Tenant.ID, tenancy.Page{})
	if err != nil || len(keys.Items) == 0 {
		h.t.Fatal(err)
	}
	_, layer, err := h.store.Revision(h.ctx, h.org.ID, h.blueprint.ID, 2, id.Revision{})
	if err != nil {
		h.t.Fatal(err)
	}
	g := tenancy.Registration{Client: res.Clients[0].Client.ID, TokenHash: [32]byte{1}, CreateTime: time.Now()}
	if err := h.store.Write(h.ctx, h.org.ID, func(tx *store.Tx) error { return tx.InsertRegistration(res.Tenant.ID, g) }); err != nil {
		h.t.Fatal(err)
	}
	return target{res.Tenant, res.Clients[0].Client, shared, res.APIKeys[0].Key, orgKey.Key, keys.Items[0], h.blueprint, layer, g}
}

// found turns a list into NOT_FOUND when it is empty, so that lists and single reads are judged alike.
func found[T any](items []T, err error) error {
	if err == nil && len(items) == 0 {
		return tenancy.Refuse(tenancy.ReasonNotFound)
	}
	return err
}

var all = store.Query{Limit: 100}

// reads asks every reading method of the store for the target under an org. A test demands an entry for each method.
var reads = map[string]func(ctx context.Context, s *store.Store, org id.Org, v target) error{
	"Org": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		o, err := s.Org(ctx, org)
		if err == nil && o.ID != v.tenant.Org {
			return tenancy.Refuse(tenancy.ReasonNotFound) // its own org, not the target's
		}
		return err
	},
	"Tenant": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		_, err := s.Tenant(ctx, org, v.tenant.ID)
		return err
	},
	"TenantBySlug": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		_, err := s.TenantBySlug(ctx, org, v.tenant.Slug)
		return err
	},
	"TenantExists": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		return s.TenantExists(ctx, org, v.tenant.ID)
	},
	"Tenants": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		return found(s.Tenants(ctx, org, all, true, []id.Tenant{v.tenant.ID}))
	},
	"Client": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		_, err := s.Client(ctx, org, v.tenant.ID, v.client.ID, "")
		return err
	},
	"Registration": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		_, err := s.Registration(ctx, org, v.tenant.ID, v.registration.Client)
		return err
	},
	"Clients": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		return found(s.Clients(ctx, org, v.tenant.ID, all))
	},
	"APIKey": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		_, err := s.APIKey(ctx, org, v.tenant.ID, v.key.ID)
		return err
	},
	"APIKeys": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		return found(s.APIKeys(ctx, org, v.tenant.ID, all, time.Now()))
	},
	"SigningKeys": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		return found(s.SigningKeys(ctx, org, v.tenant.ID, all))
	},
	"Blueprint": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		_, err := s.Blueprint(ctx, org, v.bp.ID, "")
		return err
	},
	"Blueprints": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		items, err := s.Blueprints(ctx, org, all)
		items = slices.DeleteFunc(items, func(b blueprint.Blueprint) bool { return b.ID != v.bp.ID })
		return found(items, err)
	},
	"Revision": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		_, _, err := s.Revision(ctx, org, v.bp.ID, 1, id.Revision{})
		return err
	},
	"Revisions": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		return found(s.Revisions(ctx, org, v.bp.ID, all))
	},
	"RecordBody": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		_, _, err := s.RecordBody(ctx, org, v.tenant.ID)
		return err
	},
	"Blob": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		_, err := s.Blob(ctx, org, v.layer)
		return err
	},
	"AuditEvents": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		return found(s.AuditEvents(ctx, org, v.tenant.ID, all))
	},
	"Ground": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		g, err := s.Ground(ctx, org, v.tenant.Slug, v.bp.ID, "", id.APIKey{}, "", "")
		if err == nil && !g.SlugTaken && g.Blueprint.IsZero() && g.Org.ID != v.tenant.Org {
			return tenancy.Refuse(tenancy.ReasonNotFound)
		}
		return err
	},
	"Seeding": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		waits, err := s.Seeding(ctx, org, v.tenant.ID)
		if err == nil && !waits {
			return tenancy.Refuse(tenancy.ReasonNotFound)
		}
		return err
	},
	"TouchKey": func(ctx context.Context, s *store.Store, org id.Org, v target) error {
		if err := s.TouchKey(ctx, org, v.key.ID, time.Now()); err != nil {
			return err
		}
		k, err := s.APIKey(ctx, v.tenant.Org, v.tenant.ID, v.key.ID)
		if err == nil && k.LastUsedTime.IsZero() {
			return tenancy.Refuse(tenancy.ReasonNotFound)
		}
		return err
	},
}

// acrossOrgs are the methods that look across orgs on purpose, each with its reason.
var acrossOrgs = map[string]string{
	"OrgBySlug":    "finds an org before the caller's reach is decided",
	"Orgs":         "lists the orgs of the installation for a platform key",
	"KeyChain":     "finds a caller of whom nothing is known yet",
	"HostOwner":    "finds the tenant of a hostname, of which nothing else is known yet",
	"HostnameFree": "says whether a name is free, which is all that leaves",
	"Replay":       "is keyed by the caller; its org is compared by the use case",
	"Operation":    "is judged by its caller and org in the use case",
	"Provision":    "writes a new tenant of the org",
	"Write":        "runs a transaction of the org; its methods are in the table of writes",
	"Notify":       "wakes publishers", "Ping": "asks nothing", "Close": "asks nothing",
}

// writes tries every method of a transaction on the target under an org. A test demands an entry for each method.
var writes = map[string]func(tx *store.Tx, v target) error{
	"LockTenant":   func(tx *store.Tx, v target) error { _, err := tx.LockTenant(v.tenant.ID); return err },
	"UpdateTenant": func(tx *store.Tx, v target) error { return tx.UpdateTenant(&v.tenant) },
	"TenantParts": func(tx *store.Tx, v target) error {
		p, err := tx.TenantParts(&v.tenant)
		if err == nil && len(p.Clients)+len(p.SigningKeys)+len(p.Hosts)+len(v.tenant.Roles) == 0 {
			return tenancy.Refuse(tenancy.ReasonNotFound)
		}
		return err
	},
	"ReleaseHostname": func(tx *store.Tx, v target) error {
		_, err := tx.ReleaseHostname(v.tenant.ID, v.tenant.Hosts[0].Name, time.Now(), time.Now())
		return err
	},
	"Client":       func(tx *store.Tx, v target) error { _, err := tx.Client(v.tenant.ID, v.client.ID, ""); return err },
	"UpdateClient": func(tx *store.Tx, v target) error { return tx.UpdateClient(&v.client) },
	"CountRegistrations": func(tx *store.Tx, v target) error {
		all, _, err := tx.CountRegistrations(v.tenant.ID, id.APIKey{})
		return found(make([]int, all), err)
	},
	"RegistrationsFrom": func(tx *store.Tx, v target) error {
		return found(tx.RegistrationsFrom(v.tenant.ID, v.registration.Network))
	},
	"UpdateRegistration": func(tx *store.Tx, v target) error { return tx.UpdateRegistration(v.tenant.ID, v.registration) },
	"DeleteClient":       func(tx *store.Tx, v target) error { return tx.DeleteClient(v.tenant.ID, v.client.ID) },
	"CountClients": func(tx *store.Tx, v target) error {
		n, err := tx.CountClients(v.tenant.ID)
		return found(make([]int, n), err)
	},
	"ClientsUnder":     func(tx *store.Tx, v target) error { return found(tx.ClientsUnder(v.bp.ID, 10)) },
	"SharedClients":    func(tx *store.Tx, _ target) error { return found(tx.SharedClients()) },
	"LockAPIKey":       func(tx *store.Tx, v target) error { _, err := tx.LockAPIKey(v.tenant.ID, v.key.ID); return err },
	"UpdateAPIKey":     func(tx *store.Tx, v target) error { return tx.UpdateAPIKey(&v.key) },
	"SigningKey":       func(tx *store.Tx, v target) error { _, err := tx.SigningKey(v.tenant.ID, v.sgk.ID); return err },
	"UpdateSigningKey": func(tx *store.Tx, v target) error { return tx.UpdateSigningKey(&v.sgk) },
	"LockBlueprint":    func(tx *store.Tx, v target) error { _, _, err := tx.LockBlueprint(v.bp.ID, ""); return err },
	"LockBlueprints": func(tx *store.Tx, v target) error {
		bs, _, err := tx.LockBlueprints()
		return found(slices.DeleteFunc(bs, func(b blueprint.Blueprint) bool { return b.ID != v.bp.ID }), err)
	},
	"UpdateBlueprint": func(tx *store.Tx, v target) error { return tx.UpdateBlueprint(&v.bp, store.RingState{}) },
	"Revision":        func(tx *store.Tx, v target) error { _, _, err := tx.Revision(v.bp.ID, 1); return err },
	"SetLayer":        func(tx *store.Tx, v target) error { return tx.SetLayer(v.bp.ID, 1, [32]byte{}) },
	"LayerDigest":     func(tx *store.Tx, v target) error { _, err := tx.LayerDigest(v.bp.ID); return err },
	"Audit": func(tx *store.Tx, v target) error {
		return tx.Audit(tenancy.AuditEvent{ID: id.NewEvent(), Tenant: v.tenant.ID, Time: time.Now()})
	},
}

// ownOnly are the methods of a transaction that name nothing but its own org, or write new rows that carry its org.
var ownOnly = []string{
	"Org", "LockOrg", "UpdateOrg", "OrgVersion", "InsertOrg", "ClaimBaseDomain", "InsertClient", "InsertRegistration", "InsertAPIKey", "InsertSigningKey", "InsertBlueprint",
	"InsertRevision", "InsertPin", "Pins", "PutRecord", "PutBlob", "PutAnswer", "Announce", "WantRSA", "WantKeys", "RSAGiven", "Provision", "RevokeChildren",
}

func TestEveryMethodOfTheStoreAnswersTheNeighbourNotFound(t *testing.T) {
	h := newHarness(t)
	neighbour, _, _ := h.newOrg("globex", "globex.example")
	v := h.target()
	for _, m := range methods(reflect.TypeFor[*store.Store]()) {
		if _, ok := acrossOrgs[m]; ok {
			continue
		}
		ask := reads[m]
		if ask == nil {
			t.Errorf("the method %s is in no table: add it to reads, or to acrossOrgs with its reason", m)
			continue
		}
		if err := ask(h.ctx, h.store, neighbour.ID, v); !errors.Is(err, tenancy.ReasonNotFound) {
			t.Errorf("%s answers the neighbour %v", m, err)
		}
		if err := ask(h.ctx, h.store, h.org.ID, v); err != nil {
			t.Errorf("%s answers the owner %v, so its refusal proves nothing", m, err)
		}
	}
	rollback := errors.New("rollback")
	for _, m := range methods(reflect.TypeFor[*store.Tx]()) {
		if slices.Contains(ownOnly, m) {
			continue
		}
		try := writes[m]
		if try == nil {
			t.Errorf("the method %s of a transaction is in no table", m)
			continue
		}
		for org, want := range map[id.Org]error{neighbour.ID: tenancy.ReasonNotFound, h.org.ID: nil} {
			var got error
			err := h.store.Write(h.ctx, org, func(tx *store.Tx) error { got = try(tx, v); return rollback })
			if !errors.Is(got, want) {
				t.Errorf("%s: %v (%v), want %v", m, got, err, want)
			}
		}
	}
}

func methods(of reflect.Type) (names []string) {
	for i := range of.NumMethod() {
		names = append(names, of.Method(i).Name)
	}
	return names
}

// the policies hold also when a WHERE is forgotten and when nobody says for whom the transaction works.
func TestWithoutItsOrgATransactionSeesAndWritesNothing(t *testing.T) {
	h := newHarness(t)
	v := h.target()
	neighbour, _, _ := h.newOrg("globex", "globex.example")
	conn, err := pgx.Connect(h.ctx, h.db.URL("tenantry_control"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(h.ctx)
	rows, err := conn.Query(h.ctx, `SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'public' AND c.relkind = 'r' AND has_table_privilege(c.oid, 'SELECT')`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(tables) < 15 {
		t.Fatalf("%v %v", tables, err)
	}
	for _, table := range tables {
		var n int
		if err := conn.QueryRow(h.ctx, `SELECT count(*) FROM `+table).Scan(&n); err != nil || n != 0 {
			t.Errorf("%s: %d rows without an org, %v", table, n, err)
		}
		var forced bool
		if err := conn.QueryRow(h.ctx, `SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE relname = $1`, table).Scan(&forced); err != nil || !forced {
			t.Errorf("%s: row-level security is not forced, %v", table, err)
		}
		// After a transaction the pooled connection's setting is the empty string, which must mean nobody too.
		err := pgx.BeginFunc(h.ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(h.ctx, `SELECT set_config('tenantry.org_id', $1, true)`, neighbour.ID.UUID()); err != nil {
				return err
			}
			column := "org_id"
			if table == "orgs" {
				column = "id"
			}
			return tx.QueryRow(h.ctx, `SELECT count(*) FROM `+table+` WHERE `+column+` = $1`, [16]byte(v.tenant.Org)).Scan(&n)
		})
		if err != nil || n != 0 {
			t.Errorf("%s: the neighbour sees %d rows of the org, %v", table, n, err)
		}
	}
	err = pgx.BeginFunc(h.ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(h.ctx, `SELECT set_config('tenantry.org_id', $1, true), set_config('tenantry.platform', 'on', true)`, neighbour.ID.UUID()); err != nil {
			return err
		}
		_, err := tx.Exec(h.ctx, `INSERT INTO clients (org_id, tenant_id, id, settings, config_version, create_time, update_time) VALUES ($1, $2, $3, '{}', 1, now(), now())`,
			[16]byte(v.tenant.Org), [16]byte(v.tenant.ID), [16]byte(id.NewClient()))
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "row-level security") {
		t.Errorf("a row was written into another org: %v", err)
	}
}

func TestTheServiceRefusesARoleThatPoliciesDoNotBind(t *testing.T) {
	h := newHarness(t)
	for _, url := range []string{h.db.OwnerURL, h.db.AdminURL} {
		if _, err := store.Open(h.ctx, store.Config{URL: url}); !errors.Is(err, store.ErrPrivilegedRole) {
			t.Errorf("opened as a privileged role: %v", err)
		}
	}
}

// The refusal of a method's whole path has the same bytes for what does not exist and for what belongs to somebody else.
func TestSomebodyElsesResourceLooksLikeNone(t *testing.T) {
	h := newHarness(t)
	_, stranger, _ := h.newOrg("globex", "globex.example")
	v := h.target()
	text := func(err error) string {
		var e *tenancy.Error
		if !errors.As(err, &e) {
			return "no refusal"
		}
		return string(e.Reason) + e.Message() + e.Field
	}
	want := text(tenancy.Refuse(tenancy.ReasonNotFound))
	for name, s := range map[string]Scope{
		"org by id": {Org: h.org.ID.String()}, "org by slug": {Org: "piedpiper"}, "tenant": {Org: h.org.ID.String(), Tenant: v.tenant.ID.String()},
		"tenant by slug": {Org: "piedpiper", Tenant: "hooli"}, "no org": {Org: id.NewOrg().String()}, "no slug": {Org: "nobody"}, "platform": {Platform: true},
		"no tenant": {Org: "globex", Tenant: "nobody"}, "rubbish": {Org: "globex", Tenant: "../../x"}, "dash": {Org: "globex", Tenant: "-"},
	} {
		if _, err := h.Authorize(h.ctx, stranger, "tenants.get", s); text(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A tenant's id under the stranger's own org is resolved without a look; the method itself finds nothing.
	at, err := h.Authorize(h.ctx, stranger, "tenants.get", Scope{Org: "globex", Tenant: v.tenant.ID.String()})
	if err == nil {
		_, err = h.GetTenant(h.ctx, stranger, at.Org, at.Tenant)
	}
	if text(err) != want {
		t.Errorf("the tenant under another org: %v", err)
	}
}
