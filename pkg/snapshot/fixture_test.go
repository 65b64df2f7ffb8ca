// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/localserver"
	"github.com/tenantry/tenantry/pkg/secret"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

const testRegion = "local"

// testKeys are made once: RSA would be slow, and no test needs two.
var testKeys = sync.OnceValue(func() (k struct {
	signing   SigningKey
	stranger  SigningKey // not pinned
	elsewhere SigningKey // pinned nowhere, of another region
	recipient secret.PrivateKey
	private   *jose.PrivateKey
	keyID     id.SigningKey
},
) {
	var errs [5]error
	k.signing, errs[0] = GenerateSigningKey(testRegion, 1)
	k.stranger, errs[1] = GenerateSigningKey(testRegion, 1)
	k.elsewhere = k.signing
	k.elsewhere.region = "elsewhere"
	k.recipient, errs[2] = secret.GeneratePrivateKey(testRegion, secret.PurposeSigning, time.Now())
	k.private, errs[3] = jose.GenerateKey(jose.ES256)
	k.keyID = id.NewSigningKey()
	if err := errors.Join(errs[:]...); err != nil {
		panic(err)
	}
	return k
})

func testVerifier(t testing.TB) *Verifier {
	t.Helper()
	v, err := NewVerifier(testRegion, testKeys().signing.Public())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// testClient is a confidential web client, as a blueprint would make it.
func testClient(slug string) *snapshotv1.Client {
	uid, sid := id.NewClient(), id.NewClientSecret()
	_, hash := secret.NewToken(secret.ClientSecret, sid)
	return &snapshotv1.Client{
		ClientId: uid[:], DisplayName: "Web app", Kind: snapshotv1.ClientKind_CLIENT_KIND_WEB, FirstParty: true, Enabled: true,
		TokenEndpointAuthMethod: "client_secret_basic", Secrets: []*snapshotv1.ClientSecret{{SecretId: sid[:], Hash: hash[:]}},
		GrantTypes:   []string{"authorization_code", "refresh_token", "client_credentials"},
		RedirectUris: []string{"https://" + slug + ".app.example/callback"}, PostLogoutRedirectUris: []string{"https://" + slug + ".app.example/"},
		CorsOrigins: []string{"https://" + slug + ".app.example"},
	}
}

func testSigningKey(t testing.TB, tenant id.Tenant) *snapshotv1.SigningKey {
	t.Helper()
	k := testKeys()
	sealed, err := secret.Seal([]secret.PublicKey{k.recipient.Public()}, SigningKeyAAD(tenant, k.keyID, "ES256"), k.private.PKCS8())
	if err != nil {
		t.Fatal(err)
	}
	out := &snapshotv1.SigningKey{
		KeyId: k.keyID[:], Algorithm: "ES256", State: snapshotv1.SigningKeyState_SIGNING_KEY_STATE_ACTIVE,
		PublicJwk: k.private.Public(k.keyID.String()).JWK(), SealedPrivateKey: sealed.Ciphertext,
	}
	for _, w := range sealed.Wraps {
		out.Wraps = append(out.Wraps, &snapshotv1.KeyWrap{
			Region: w.Region, Purpose: w.Purpose, KeyId: w.KeyID, EncapsulatedKey: w.Encapsulated, Ciphertext: w.Ciphertext,
		})
	}
	return out
}

// testTenant is a tenant with one host and three clients, at version 1.
func testTenant(t testing.TB, org id.Org, slug string, hosts ...string) *snapshotv1.TenantSnapshot {
	t.Helper()
	tenant, pool, role := id.NewTenant(), id.NewUserPool(), id.NewRole()
	if hosts == nil {
		hosts = []string{slug + ".example.com"}
	}
	return &snapshotv1.TenantSnapshot{
		TenantId: tenant[:], OrgId: org[:], ConfigVersion: 1, State: snapshotv1.TenantState_TENANT_STATE_ACTIVE, Slug: slug,
		DisplayName: "Tenant " + slug, Type: snapshotv1.TenantType_TENANT_TYPE_PRODUCTION, Region: testRegion, PlacementEpoch: 1,
		Issuer: "https://" + hosts[0], Hosts: hosts, UserPoolId: pool[:], MinReader: 1,
		Theme:       &snapshotv1.Theme{Background: proto.String("#336699")},
		Clients:     []*snapshotv1.Client{testClient(slug), testClient(slug), testClient(slug)},
		SigningKeys: []*snapshotv1.SigningKey{testSigningKey(t, tenant)},
		Roles:       []*snapshotv1.Role{{RoleId: role[:], Name: "member", Default: true}}, Entitlements: []string{"plan:basic"},
	}
}

func testOrg() *snapshotv1.OrgSnapshot {
	org := id.NewOrg()
	shared := testClient("x")
	shared.RedirectUris, shared.PostLogoutRedirectUris, shared.CorsOrigins = nil, nil, nil
	shared.RedirectUriTemplates = []string{"https://{tenant.slug}.chat.example/callback", "http://{tenant.slug}.chat.localhost:8090/callback"}
	shared.CorsOriginTemplates = []string{"https://{tenant.slug}.chat.example"}
	return &snapshotv1.OrgSnapshot{
		OrgId: org[:], ConfigVersion: 1, Active: true, Slug: "piedpiper", DisplayName: "Pied Piper", DefaultAudience: "https://piedpiper.api.example",
		Clients: []*snapshotv1.Client{shared}, MinReader: 1,
	}
}

// world is a Redis with a publisher.
type world struct {
	t      testing.TB
	server *localserver.Redis
	rdb    redis.UniversalClient
	writer *Writer
	epoch  string
	claim  uint64
}

func newWorld(t testing.TB) *world {
	t.Helper()
	server := localserver.TestRedis(t)
	rdb, err := ConnectWriter(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rdb.Close() }) // the server goes too
	w := &world{t: t, server: server, rdb: rdb, writer: NewWriter(rdb)}
	w.begin()
	return w
}

// begin starts a complete epoch.
func (w *world) begin() {
	w.t.Helper()
	w.open()
	if ok, err := w.writer.SetComplete(w.t.Context(), w.epoch); err != nil || !ok {
		w.t.Fatalf("set complete: %v %v", ok, err)
	}
}

// open starts an epoch that is not complete.
func (w *world) open() {
	w.t.Helper()
	m, err := w.writer.Meta(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	w.epoch = NewEpoch()
	if ok, err := w.writer.BeginEpoch(w.t.Context(), m.Epoch, w.epoch); err != nil || !ok {
		w.t.Fatalf("begin epoch: %v %v", ok, err)
	}
}

// connect makes a data plane's client.
func (w *world) connect() redis.UniversalClient {
	w.t.Helper()
	rdb, err := Connect(w.server.URL())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { rdb.Close() }) // as above
	return rdb
}

// cache starts a replica and waits until it follows.
func (w *world) cache(change ...func(*Config)) *Cache {
	w.t.Helper()
	cfg := Config{Verifier: testVerifier(w.t), Replica: fmt.Sprintf("replica-%d", time.Now().UnixNano())}
	if w.server != nil {
		cfg.Redis = w.connect()
	}
	for _, f := range change {
		f(&cfg)
	}
	c, err := Open(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	c.Start(context.WithoutCancel(w.t.Context()))
	w.t.Cleanup(c.Stop)
	w.eventually("the replica follows", func() bool { return c.Stats().Gaps > 0 })
	return c
}

func sign(t testing.TB, k SigningKey, kind Kind, subject [16]byte, version uint64, m proto.Message) []byte {
	t.Helper()
	var body []byte
	if m != nil {
		var err error
		if body, err = proto.Marshal(m); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := k.Sign(kind, subject, version, time.Now(), body)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func tenantOf(doc *snapshotv1.TenantSnapshot) id.Tenant { return id.Tenant(doc.GetTenantId()) }

// item makes the publisher's item of a tenant, with live pointers for its hosts and released ones for hosts that it gave up.
func (w *world) item(doc *snapshotv1.TenantSnapshot, gaveUp ...string) Item {
	w.t.Helper()
	tenant := tenantOf(doc)
	it := Item{
		Record: sign(w.t, testKeys().signing, KindTenant, tenant, doc.GetConfigVersion(), doc), Kind: KindTenant, Subject: tenant,
		Version: doc.GetConfigVersion(), Restrictive: doc.GetState() != snapshotv1.TenantState_TENANT_STATE_ACTIVE,
	}
	w.claim++
	for _, h := range doc.GetHosts() {
		it.Hosts = append(it.Hosts, HostPointer{Host: h, ClaimVersion: w.claim, Flags: HostLive, Tenant: tenant})
	}
	for _, h := range gaveUp {
		it.Hosts = append(it.Hosts, HostPointer{Host: h, ClaimVersion: w.claim, Flags: HostReleased})
	}
	return it
}

func (w *world) orgItem(doc *snapshotv1.OrgSnapshot) Item {
	w.t.Helper()
	org := [16]byte(doc.GetOrgId())
	return Item{
		Record: sign(w.t, testKeys().signing, KindOrg, org, doc.GetConfigVersion(), doc), Kind: KindOrg, Subject: org,
		Version: doc.GetConfigVersion(), Restrictive: !doc.GetActive(),
	}
}

func (w *world) publish(items ...Item) Result {
	w.t.Helper()
	res, err := w.writer.Publish(w.t.Context(), items, PublishOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// tenant publishes a tenant of an org.
func (w *world) tenant(org *snapshotv1.OrgSnapshot, slug string, hosts ...string) *snapshotv1.TenantSnapshot {
	w.t.Helper()
	doc := testTenant(w.t, id.Org(org.GetOrgId()), slug, hosts...)
	w.publish(w.item(doc))
	return doc
}

// next is a copy of a document at the next version.
func next[M proto.Message](doc M) M {
	c := proto.CloneOf(doc)
	m := c.ProtoReflect()
	f := m.Descriptor().Fields().ByName("config_version")
	m.Set(f, protoreflect.ValueOfUint64(m.Get(f).Uint()+1))
	return c
}

func (w *world) org() *snapshotv1.OrgSnapshot {
	w.t.Helper()
	org := testOrg()
	w.publish(w.orgItem(org))
	return org
}

func (w *world) heartbeat(age, backlog time.Duration) {
	w.t.Helper()
	if err := w.writer.Heartbeat(w.t.Context(), testKeys().signing, time.Now().Add(-age), backlog, w.epoch); err != nil {
		w.t.Fatal(err)
	}
}

// eventually waits for a condition; it is for the effects of goroutines that announce nothing.
func (w *world) eventually(what string, ok func() bool) { eventually(w.t, what, ok) }

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func mustLookup(t testing.TB, c *Cache, host string) *Tenant {
	t.Helper()
	tenant, err := c.Lookup(t.Context(), host)
	if err != nil {
		t.Fatalf("lookup of %s: %v", host, err)
	}
	if !slices.Contains(tenant.Hosts, host) {
		t.Fatalf("%s is served by %s, whose document does not list it", host, tenant.ID)
	}
	return tenant
}

func wantLookup(t testing.TB, c *Cache, host string, want error) {
	t.Helper()
	if tenant, err := c.Lookup(t.Context(), host); !errors.Is(err, want) {
		t.Fatalf("lookup of %s: %v, %v, want %v", host, tenant, err, want)
	}
}

func durationOfMinutes(n int) *durationpb.Duration {
	return durationpb.New(time.Duration(n) * time.Minute)
}
