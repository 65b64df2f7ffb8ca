// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package dptest makes tenants for tests and benchmarks of the data plane: documents as the control plane writes them, with real
// sealed keys, compiled by pkg/snapshot. It leaves Redis, the publisher and the cache out: a test that is about how configuration
// travels uses those themselves.
package dptest

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// Region is where everything is.
const Region = "local"

// World is an installation's secrets and its hosts. It implements the lookup that package web wants.
type World struct {
	// Opener opens the tenants' signing keys.
	Opener *secret.Opener
	// Private is the region key that Opener holds.
	Private secret.PrivateKey
	// Keyring is the runtime keyring.
	Keyring *secret.Keyring

	recipient secret.PublicKey
	mu        sync.Mutex // of writers
	hosts     atomic.Pointer[map[string]*snapshot.Tenant]
	fail      atomic.Pointer[error]
}

// New makes an empty world.
func New(t testing.TB) *World {
	t.Helper()
	private, err := secret.GeneratePrivateKey(Region, secret.PurposeSigning, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := secret.NewKeyring(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w := &World{Opener: secret.NewOpener(Region, private), Private: private, Keyring: ring, recipient: private.Public()}
	w.hosts.Store(&map[string]*snapshot.Tenant{})
	return w
}

// Org makes an org without shared clients.
func (w *World) Org(slug string) *snapshotv1.OrgSnapshot {
	org := id.NewOrg()
	return &snapshotv1.OrgSnapshot{
		OrgId: org[:], ConfigVersion: 1, Active: true, Slug: slug, DisplayName: slug, DefaultAudience: "https://" + slug + ".api.example",
	}
}

// Client makes an enabled confidential client with all grants and one secret, which is answered, too.
func (w *World) Client(edit func(*snapshotv1.Client)) (doc *snapshotv1.Client, secretText string) {
	uid, csc := id.NewClient(), id.NewClientSecret()
	text, hash := secret.NewToken(secret.ClientSecret, csc)
	doc = &snapshotv1.Client{
		ClientId: uid[:], DisplayName: "app", FirstParty: true, Enabled: true, TokenEndpointAuthMethod: "client_secret_basic",
		Secrets:      []*snapshotv1.ClientSecret{{SecretId: csc[:], Hash: hash[:]}},
		GrantTypes:   []string{"authorization_code", "refresh_token", "client_credentials"},
		RedirectUris: []string{"https://app.example/cb"},
	}
	if edit != nil {
		edit(doc)
	}
	return doc, text
}

// Public makes an enabled public client with the code and refresh grants.
func (w *World) Public(edit func(*snapshotv1.Client)) *snapshotv1.Client {
	doc, _ := w.Client(func(c *snapshotv1.Client) {
		c.Public, c.Secrets, c.TokenEndpointAuthMethod = true, nil, "none"
		c.GrantTypes = []string{"authorization_code", "refresh_token"}
	})
	if edit != nil {
		edit(doc)
	}
	return doc
}

// ClientID is the client_id of a client's document.
func ClientID(doc *snapshotv1.Client) string { return id.Client(doc.GetClientId()).String() }

// oneRSAKey is the RSA key of all tenants of a process: making one takes longer than most tests.
var oneRSAKey = sync.OnceValues(func() (*jose.PrivateKey, error) { return jose.GenerateKey(jose.RS256) })

// SigningKey makes an active key. RSA tenants of one process share a key under different ids.
func (w *World) SigningKey(t testing.TB, tenant id.Tenant, alg jose.Algorithm) *snapshotv1.SigningKey {
	t.Helper()
	keyID := id.NewSigningKey()
	generate := jose.GenerateKey
	if alg == jose.RS256 {
		generate = func(jose.Algorithm) (*jose.PrivateKey, error) { return oneRSAKey() }
	}
	private, err := generate(alg)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := secret.Seal([]secret.PublicKey{w.recipient}, snapshot.SigningKeyAAD(tenant, keyID, string(alg)), private.PKCS8())
	if err != nil {
		t.Fatal(err)
	}
	doc := &snapshotv1.SigningKey{
		KeyId: keyID[:], Algorithm: string(alg), State: snapshotv1.SigningKeyState_SIGNING_KEY_STATE_ACTIVE,
		PublicJwk: private.Public(keyID.String()).JWK(), SealedPrivateKey: sealed.Ciphertext,
	}
	for _, wrap := range sealed.Wraps {
		doc.Wraps = append(doc.Wraps, &snapshotv1.KeyWrap{
			Region: wrap.Region, Purpose: wrap.Purpose, KeyId: wrap.KeyID, EncapsulatedKey: wrap.Encapsulated, Ciphertext: wrap.Ciphertext,
		})
	}
	return doc
}

// Tenant makes an active production tenant at https://<slug>.example.com with one ES256 key, lets edit change its document, and
// serves it at its hosts.
func (w *World) Tenant(t testing.TB, org *snapshotv1.OrgSnapshot, slug string, edit func(*snapshotv1.TenantSnapshot)) *snapshot.Tenant {
	t.Helper()
	return w.Serve(t, w.Document(t, org, slug, edit), org)
}

// Document is what Tenant compiles, for tests that publish it.
func (w *World) Document(t testing.TB, org *snapshotv1.OrgSnapshot, slug string, edit func(*snapshotv1.TenantSnapshot)) *snapshotv1.TenantSnapshot {
	t.Helper()
	tenant, pool := id.NewTenant(), id.NewUserPool()
	host := slug + ".example.com"
	core := &snapshotv1.TenantSnapshot{
		TenantId: tenant[:], OrgId: org.GetOrgId(), ConfigVersion: 1, State: snapshotv1.TenantState_TENANT_STATE_ACTIVE, Slug: slug,
		DisplayName: slug, Type: snapshotv1.TenantType_TENANT_TYPE_PRODUCTION, Region: Region, Issuer: "https://" + host,
		Hosts: []string{host}, UserPoolId: pool[:], SigningKeys: []*snapshotv1.SigningKey{w.SigningKey(t, tenant, jose.ES256)},
	}
	if edit != nil {
		edit(core)
	}
	return core
}

// Serve compiles a document and serves it at its hosts, in place of what was there.
func (w *World) Serve(t testing.TB, core *snapshotv1.TenantSnapshot, org *snapshotv1.OrgSnapshot) *snapshot.Tenant {
	t.Helper()
	compiled, err := snapshot.Compile(core, nil, org)
	if err != nil {
		t.Fatal(err)
	}
	w.change(func(hosts map[string]*snapshot.Tenant) {
		for _, h := range compiled.Hosts {
			hosts[h] = compiled
		}
	})
	return compiled
}

// Drop makes a host unknown.
func (w *World) Drop(host string) {
	w.change(func(hosts map[string]*snapshot.Tenant) { delete(hosts, host) })
}

func (w *World) change(f func(hosts map[string]*snapshot.Tenant)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := maps.Clone(*w.hosts.Load())
	f(next)
	w.hosts.Store(&next)
}

// Fail makes every lookup fail; nil makes them work again.
func (w *World) Fail(err error) {
	if err == nil {
		w.fail.Store(nil)
		return
	}
	w.fail.Store(&err)
}

// Lookup implements web.Tenants. It is as cheap as a map, so that benchmarks measure what is theirs.
func (w *World) Lookup(_ context.Context, host string) (*snapshot.Tenant, error) {
	if err := w.fail.Load(); err != nil {
		return nil, *err
	}
	if t := (*w.hosts.Load())[host]; t != nil {
		return t, nil
	}
	return nil, snapshot.ErrUnknownHost
}

// Fresh implements web.Tenants; a world has no older configuration.
func (w *World) Fresh(ctx context.Context, host, _ string) (*snapshot.Tenant, error) {
	return w.Lookup(ctx, host)
}

// Tenants are the tenants of a World, found by id too, as the cache finds them.
type Tenants struct{ *World }

// Tenant finds a tenant that is served.
func (t Tenants) Tenant(_ context.Context, tenant id.Tenant) (*snapshot.Tenant, error) {
	if err := t.fail.Load(); err != nil {
		return nil, *err
	}
	for _, served := range *t.hosts.Load() {
		if served.ID == tenant {
			return served, nil
		}
	}
	return nil, snapshot.ErrUnknownTenant
}
