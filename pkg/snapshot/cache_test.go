// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"testing"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

func TestLookupServesWhatIsPublished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	org := w.org()
	doc := w.tenant(org, "hooli", "hooli.example.com", "login.hooli.example")

	tenant := mustLookup(t, c, "hooli.example.com")
	if tenant.ID != tenantOf(doc) || tenant.Issuer != "https://hooli.example.com" || tenant.ConfigVersion != 1 || tenant.OrgSlug != "piedpiper" {
		t.Errorf("served %+v", tenant)
	}
	for _, spelling := range []string{"HOOLI.example.com", "hooli.example.com:8443", "hooli.example.com.", "login.hooli.example"} {
		got, err := c.Lookup(t.Context(), spelling)
		if err != nil || got != tenant {
			t.Errorf("lookup of %q: %v, %v", spelling, got, err)
		}
	}
	byID, err := c.Tenant(t.Context(), tenant.ID)
	if err != nil || byID != tenant {
		t.Errorf("lookup by id: %v, %v", byID, err)
	}
	if _, err := c.Tenant(t.Context(), id.NewTenant()); !errors.Is(err, ErrUnknownTenant) {
		t.Errorf("lookup of a made-up id: %v", err)
	}
	for _, host := range []string{"nobody.example.com", "127.0.0.1", "[::1]", "a..b", "", "hooli.example.com:x", "hooli_example.com"} {
		wantLookup(t, c, host, ErrUnknownHost)
	}

	signer, err := tenant.Keys.Signer("ES256", secret.NewOpener(testRegion, testKeys().recipient))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := tenant.Keys.Signer("ES256", nil); err != nil || again != signer {
		t.Errorf("the second signer is another: %v", err)
	}
	if _, err := tenant.Keys.Signer("RS256", secret.NewOpener(testRegion)); !errors.Is(err, ErrNoKey) {
		t.Errorf("signer of an algorithm without a key: %v", err)
	}
}

func TestChangeReachesTheCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	org := w.org()
	doc := w.tenant(org, "hooli")
	mustLookup(t, c, "hooli.example.com")

	doc = next(doc)
	doc.DisplayName = "Hooli XYZ"
	w.publish(w.item(doc))
	w.eventually("the new name is served", func() bool { return mustLookup(t, c, "hooli.example.com").DisplayName == "Hooli XYZ" })
}

func TestSuspensionClosesEveryHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	org := w.org()
	doc := w.tenant(org, "hooli", "hooli.example.com", "login.hooli.example")
	mustLookup(t, c, "hooli.example.com")

	doc = next(doc)
	doc.State = snapshotv1.TenantState_TENANT_STATE_SUSPENDED
	w.publish(w.item(doc))
	w.eventually("the host is closed", func() bool {
		_, err := c.Lookup(t.Context(), "hooli.example.com")
		return errors.Is(err, ErrUnknownHost)
	})
	wantLookup(t, c, "login.hooli.example", ErrUnknownHost)
	if _, err := c.Tenant(t.Context(), tenantOf(doc)); !errors.Is(err, ErrUnknownTenant) {
		t.Errorf("by id: %v", err)
	}

	doc = next(doc)
	doc.State = snapshotv1.TenantState_TENANT_STATE_ACTIVE
	w.publish(w.item(doc))
	w.eventually("the host is open again", func() bool { _, err := c.Lookup(t.Context(), "hooli.example.com"); return err == nil })
}

func TestInactiveOrgClosesAllItsHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	org, other := w.org(), w.org()
	w.tenant(org, "hooli")
	w.tenant(org, "raviga")
	w.tenant(org, "cold")
	w.tenant(other, "elsewhere")
	for _, h := range []string{"hooli", "raviga", "elsewhere"} {
		mustLookup(t, c, h+".example.com")
	}
	org = next(org)
	org.Active = false
	w.publish(w.orgItem(org))
	for _, h := range []string{"hooli", "raviga", "cold"} {
		w.eventually(h+" is closed", func() bool { _, err := c.Lookup(t.Context(), h+".example.com"); return errors.Is(err, ErrUnknownHost) })
	}
	mustLookup(t, c, "elsewhere.example.com")

	org = next(org)
	org.Active = true
	w.publish(w.orgItem(org))
	for _, h := range []string{"hooli", "raviga", "cold"} {
		w.eventually(h+" is open", func() bool { _, err := c.Lookup(t.Context(), h+".example.com"); return err == nil })
	}
}

func TestDeletedTenantIsUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	doc := w.tenant(w.org(), "hooli")
	mustLookup(t, c, "hooli.example.com")
	tenant := tenantOf(doc)
	w.publish(Item{Record: sign(t, testKeys().signing, KindTombstone, tenant, 2, nil), Kind: KindTombstone, Subject: tenant, Version: 2, Restrictive: true})
	w.eventually("the host is closed", func() bool {
		_, err := c.Lookup(t.Context(), "hooli.example.com")
		return errors.Is(err, ErrUnknownHost)
	})

	if err := w.writer.Purge(t.Context(), tenant, 1); err != nil {
		t.Fatal(err)
	}
	if v, err := w.writer.Versions(t.Context(), KindTenant, [][16]byte{tenant}); err != nil || v[0] != 2 {
		t.Errorf("a purge of another version took the tombstone: %v, %v", v, err)
	}
	if err := w.writer.Purge(t.Context(), tenant, 2); err != nil {
		t.Fatal(err)
	}
	if v, err := w.writer.Versions(t.Context(), KindTenant, [][16]byte{tenant}); err != nil || v[0] != 0 {
		t.Errorf("after the purge: %v, %v", v, err)
	}
	// Its version is remembered: the old record, copied back, is not served.
	w.rdb.Set(t.Context(), tenantKey(tenant), w.item(doc).Record, 0)
	if _, err := c.Tenant(t.Context(), tenant); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a deleted tenant was brought back: %v", err)
	}
}

func TestSharedClientIsFilledInForEachTenant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	org := w.org()
	w.tenant(org, "hooli")
	dev := testTenant(t, id.Org(org.GetOrgId()), "raviga", "raviga.localhost")
	dev.Type, dev.Issuer = snapshotv1.TenantType_TENANT_TYPE_DEVELOPMENT, "http://raviga.localhost:8080"
	w.publish(w.item(dev))

	shared := id.Client(org.GetClients()[0].GetClientId()).String()
	client, ok := mustLookup(t, c, "hooli.example.com").Client(shared)
	if !ok {
		t.Fatal("no shared client")
	}
	if _, ok := client.RedirectURI("https://hooli.chat.example/callback"); !ok {
		t.Error("the template is not filled in")
	}
	for _, uri := range []string{"https://raviga.chat.example/callback", "http://hooli.chat.localhost:8090/callback", "https://{tenant.slug}.chat.example/callback"} {
		if _, ok := client.RedirectURI(uri); ok {
			t.Errorf("a production tenant's client may be sent to %s", uri)
		}
	}
	tenant := mustLookup(t, c, "raviga.localhost")
	client, _ = tenant.Client(shared)
	if _, ok := client.RedirectURI("http://raviga.chat.localhost:8090/callback"); !ok {
		t.Error("a development tenant lacks its http redirect URI")
	}
	if again, _ := tenant.Client(shared); again != client {
		t.Error("the second answer is another pointer")
	}
	if !tenant.AllowsOrigin("https://raviga.chat.example") || tenant.AllowsOrigin("https://hooli.chat.example") || tenant.AllowsOrigin("null") {
		t.Error("wrong CORS origins")
	}
	if _, ok := tenant.Client(id.NewClient().String()); ok {
		t.Error("a made-up client was found")
	}
}
