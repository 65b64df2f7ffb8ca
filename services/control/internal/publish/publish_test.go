// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/localserver"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/dbtest"
)

// plant is a control plane with its own database, Redis and publisher, as far as it is started.
type plant struct {
	t         testing.TB
	ctx       context.Context
	db        dbtest.DB
	worker    *store.Worker
	store     *store.Store
	redis     redis.UniversalClient
	writer    *snapshot.Writer
	key       snapshot.SigningKey
	verifier  *snapshot.Verifier
	publisher *Publisher
	seeds     *Seeds
	keys      *Keys
	watcher   *snapshot.Watcher
	service   *provision.Service
	identity  *fakeIdentity
	owner     tenancy.Principal
	org       tenancy.Org
}

// fakeIdentity remembers what was applied, and fails when told to.
type fakeIdentity struct {
	mu      sync.Mutex
	applied map[id.Tenant]int
	fail    func([]identity.Seed) error
}

func (f *fakeIdentity) ApplySeeds(_ context.Context, seeds []identity.Seed) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		if err := f.fail(seeds); err != nil {
			return err
		}
	}
	for _, s := range seeds {
		f.applied[s.Tenant]++
	}
	return nil
}

func newPlant(t testing.TB) *plant {
	t.Helper()
	p := &plant{t: t, ctx: context.Background(), identity: &fakeIdentity{applied: map[id.Tenant]int{}}}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	p.db = dbtest.New(t, "control", store.Migrate)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	p.worker, err = store.OpenWorker(p.ctx, store.Config{URL: p.db.URL("tenantry_publisher")})
	must(err)
	t.Cleanup(p.worker.Close)
	p.store, err = store.Open(p.ctx, store.Config{URL: p.db.URL("tenantry_control"), MaxConns: 20})
	must(err)
	t.Cleanup(p.store.Close)
	server := localserver.TestRedis(t)
	p.redis, err = snapshot.ConnectWriter(server.URL())
	must(err)
	t.Cleanup(func() { p.redis.Close() })
	p.writer = snapshot.NewWriter(p.redis)
	p.key, err = snapshot.GenerateSigningKey("local", 1)
	must(err)
	p.verifier, err = snapshot.NewVerifier("local", p.key.Public())
	must(err)
	p.publisher, err = New(Config{Worker: p.worker, Writer: p.writer, Key: p.key, Region: "local", Logger: log})
	must(err)
	t.Cleanup(p.publisher.Stop)
	p.seeds = NewSeeds(p.worker, p.identity, log)
	t.Cleanup(p.seeds.Stop)
	pool := sha256.Sum256([]byte("pool"))
	p.keys, err = NewKeys(KeysConfig{Worker: p.worker, Secret: pool[:], Target: 2, Share: 100, Logger: log})
	must(err)
	t.Cleanup(p.keys.Stop)
	p.watcher = snapshot.NewWatcher(p.redis, log)
	region, err := secret.GeneratePrivateKey("local", secret.PurposeSigning, time.Now())
	must(err)
	p.service, err = provision.New(provision.Config{
		Store: p.store, Recipients: []secret.PublicKey{region.Public()}, PublicURL: "https://{host}", APIDomain: "api.example", PageKey: pool[:],
		RSA: p.keys, Published: p.publisher.Poke, Seeded: p.seeds.Poke, Waiter: &Waiter{Watcher: p.watcher, Seeds: p.seeds, Store: p.store},
		Token: func(tenant id.Tenant, version int64) string { return p.key.ConsistencyToken(tenant, uint64(version)) }, Logger: log,
	})
	must(err)
	operator := tenancy.Principal{Key: id.NewAPIKey(), Rights: tenancy.Rights{Scope: tenancy.ScopePlatform, Permissions: tenancy.NewPermissionSet("*")}}
	p.org, err = p.service.CreateOrg(p.ctx, operator, provision.OrgInput{Slug: "piedpiper", Org: tenancy.Org{BaseDomain: "ppvc.example"}})
	must(err)
	p.owner = tenancy.Principal{Key: id.NewAPIKey(), Rights: tenancy.Rights{Scope: tenancy.ScopeOrg, Org: p.org.ID, Permissions: tenancy.NewPermissionSet("*")}}
	_, err = p.service.CreateBlueprint(p.ctx, p.owner, p.org.ID, provision.BlueprintInput{Slug: "standard", Blueprint: blueprint.Blueprint{Draft: blueprint.Spec{
		Roles: []tenancy.RoleSpec{{ID: "admin"}},
		Clients: []tenancy.ClientSpec{{ID: "spa", ClientSettings: tenancy.ClientSettings{
			Kind: tenancy.KindSPA, RedirectURIs: []string{"https://{{host.label}}.app.example/callback"},
		}}},
	}}})
	must(err)
	_, err = p.service.PublishBlueprint(p.ctx, p.owner, p.org.ID, "standard", "", provision.Call{})
	must(err)
	return p
}

func (p *plant) start() {
	p.t.Helper()
	p.watcher.Start(p.ctx)
	p.t.Cleanup(p.watcher.Stop)
	if err := p.publisher.Start(p.ctx); err != nil {
		p.t.Fatal(err)
	}
	p.seeds.Start(p.ctx)
}

func (p *plant) provision(slug string, depth provision.Depth) provision.ProvisionResult {
	p.t.Helper()
	res, err := p.service.ProvisionTenant(p.ctx, p.owner, p.org.ID, provision.ProvisionInput{
		TenantID: slug, Blueprint: "standard", Owner: &provision.OwnerSpec{Email: "owner@" + slug + ".example"}, WaitFor: depth,
	})
	if err != nil {
		p.t.Fatalf("provision %s: %v", slug, err)
	}
	return res
}

// complete waits until the publisher has filled the server.
func (p *plant) complete() {
	p.t.Helper()
	eventually(p.t, "the server to be complete", func() bool {
		m, err := p.writer.Meta(p.ctx)
		return err == nil && m.Complete && p.publisher.Stats().Epoch == m.Epoch
	})
}

// cache is a data plane's view of the Redis.
func (p *plant) cache() *snapshot.Cache {
	p.t.Helper()
	c, err := snapshot.Open(snapshot.Config{Redis: p.redis, Verifier: p.verifier, Replica: id.NewSession().String()})
	if err != nil {
		p.t.Fatal(err)
	}
	c.Start(p.ctx)
	p.t.Cleanup(c.Stop)
	return c
}

// eventually waits for a condition, for as long as a slow machine may need.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("in vain waited for: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAProvisionedTenantIsServedAndSeeded(t *testing.T) {
	p := newPlant(t)
	p.start()
	p.complete()
	cache := p.cache()
	res := p.provision("hooli", provision.DepthLoginReady)
	if !res.Reached {
		t.Fatal("LOGIN_READY was not reached within the limit")
	}
	if p.identity.applied[res.Tenant.ID] != 1 {
		t.Error("the answer came before the seed was applied")
	}
	eventually(t, "the host to be served", func() bool {
		got, err := cache.Lookup(p.ctx, "hooli.ppvc.example")
		return err == nil && got.ID == res.Tenant.ID
	})
	suspended, err := p.service.SuspendTenant(p.ctx, p.owner, p.org.ID, res.Tenant.ID, provision.Call{})
	if err != nil || suspended.ConfigVersion != 2 {
		t.Fatalf("suspend: version %d, %v", suspended.ConfigVersion, err)
	}
	eventually(t, "the suspended host to be unknown", func() bool {
		_, err := cache.Lookup(p.ctx, "hooli.ppvc.example")
		return errors.Is(err, snapshot.ErrUnknownHost)
	})
}

// records reads every record of the Redis with its body, by key.
func (p *plant) records() map[string]string {
	p.t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"t:*", "o:*", "r:*", "h:*", "b:*"} {
		keys, err := p.redis.Keys(p.ctx, pattern).Result()
		if err != nil {
			p.t.Fatal(err)
		}
		for _, k := range keys {
			v, err := p.redis.Get(p.ctx, k).Result()
			if err != nil {
				p.t.Fatal(err)
			}
			if k[0] == 't' || k[0] == 'o' || k[0] == 'r' {
				v = v[:8] + v[snapshot.HeaderBytes:] // version and body: the time of signing differs
			}
			out[k] = v
		}
	}
	return out
}

func TestAFlushedRedisIsRestoredWithTheSameBytes(t *testing.T) {
	p := newPlant(t)
	p.start()
	p.complete()
	for i := range 30 {
		p.provision(fmt.Sprintf("t%d", i), provision.DepthCommitted)
	}
	last := p.provision("last", provision.DepthLoginReady)
	if !last.Reached {
		t.Fatal("not published in time")
	}
	eventually(t, "the outbox to be empty", func() bool {
		age, err := p.worker.Backlog(p.ctx, "local", time.Now().Add(time.Hour))
		return err == nil && age == 0
	})
	before, epoch := p.records(), p.publisher.Stats().Epoch
	if err := p.redis.FlushAll(p.ctx).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server to be complete under a new epoch", func() bool {
		m, err := p.writer.Meta(p.ctx)
		return err == nil && m.Complete && m.Epoch != epoch
	})
	after := p.records()
	if len(before) < 31*2 || len(after) != len(before) {
		t.Fatalf("%d keys before, %d after", len(before), len(after))
	}
	for k, v := range before {
		if after[k] != v {
			t.Errorf("%s differs after the restore", k)
		}
	}
}

func TestAPublisherKilledBetweenRedisAndCommitLosesNothing(t *testing.T) {
	p := newPlant(t)
	res := p.provision("hooli", provision.DepthCommitted)
	if _, err := p.worker.Claim(p.ctx, "local", store.Interactive, 200, func(r []store.Record) error {
		_, err := p.publisher.publish(p.ctx, r, snapshot.PublishOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return errors.New("the process dies here: Redis has it, the claim is not committed")
	}); err == nil {
		t.Fatal("the claim committed")
	}
	if age, err := p.worker.Backlog(p.ctx, "local", time.Now().Add(time.Hour)); err != nil || age == 0 {
		t.Errorf("the rows of the dead publisher are gone from the outbox: %v, %v", age, err)
	}
	// A newer version is published by another process, then the first one's rows come again.
	if _, err := p.service.UpdateTenant(p.ctx, p.owner, p.org.ID, res.Tenant.ID, provision.TenantInput{Mask: []string{"display_name"}, Tenant: tenancy.Tenant{Standard: tenancy.Standard{DisplayName: "Hooli"}}}); err != nil {
		t.Fatal(err)
	}
	for p.publisher.batch(p.ctx, store.Interactive, 1) > 0 {
		v, err := p.writer.Versions(p.ctx, snapshot.KindTenant, [][16]byte{res.Tenant.ID})
		if err != nil || v[0] < 1 {
			t.Fatalf("version %v, %v", v, err)
		}
	}
	v, err := p.writer.Versions(p.ctx, snapshot.KindTenant, [][16]byte{res.Tenant.ID})
	if err != nil || v[0] != 2 {
		t.Errorf("version %v in Redis, want 2 (%v)", v, err)
	}
	if age, err := p.worker.Backlog(p.ctx, "local", time.Now().Add(time.Hour)); err != nil || age != 0 {
		t.Errorf("the outbox is not empty: %v, %v", age, err)
	}
}

func TestAnOldRecordNeverReplacesANewOne(t *testing.T) {
	p := newPlant(t)
	res := p.provision("hooli", provision.DepthCommitted)
	var old []store.Record
	if _, err := p.worker.Claim(p.ctx, "local", store.Interactive, 200, func(r []store.Record) error { old = r; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := p.service.SuspendTenant(p.ctx, p.owner, p.org.ID, res.Tenant.ID, provision.Call{}); err != nil {
		t.Fatal(err)
	}
	p.publisher.batch(p.ctx, store.Interactive, 200)
	r, err := p.publisher.publish(p.ctx, old, snapshot.PublishOptions{})
	if err != nil || r.Older == 0 {
		t.Fatalf("a slow publisher's old record was taken: %+v, %v", r, err)
	}
	if v, err := p.writer.Versions(p.ctx, snapshot.KindTenant, [][16]byte{res.Tenant.ID}); err != nil || v[0] != 2 {
		t.Errorf("version %v, %v", v, err)
	}
}

func TestAPoisonSeedIsSetAsideAndTheOthersAreApplied(t *testing.T) {
	p := newPlant(t)
	bad := p.provision("bad", provision.DepthCommitted)
	good := p.provision("good", provision.DepthCommitted)
	p.identity.fail = func(seeds []identity.Seed) error {
		for i, s := range seeds {
			if s.Tenant == bad.Tenant.ID {
				return &identity.SeedError{Index: i, Err: errors.New("cannot be")}
			}
		}
		return nil
	}
	p.seeds.Start(p.ctx)
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	if err := p.seeds.Wait(ctx, good.Tenant.ID); err != nil {
		t.Fatal(err)
	}
	if waits, err := p.store.Seeding(p.ctx, p.org.ID, bad.Tenant.ID); err != nil || !waits {
		t.Errorf("the poison seed is gone: %v", err)
	}
}

func TestSeedsOfADeadProcessAreFound(t *testing.T) {
	p := newPlant(t)
	res := p.provision("hooli", provision.DepthCommitted)
	// Nobody pokes: the process that committed is dead.
	other := NewSeeds(p.worker, p.identity, nil)
	other.Start(p.ctx)
	defer other.Stop()
	eventually(t, "the seed to be applied", func() bool {
		waits, err := p.store.Seeding(p.ctx, p.org.ID, res.Tenant.ID)
		return err == nil && !waits
	})
}

func TestATenantGetsItsRSAKeyAMomentLater(t *testing.T) {
	p := newPlant(t)
	res := p.provision("hooli", provision.DepthCommitted) // the pool is empty: the worker has not started
	algs := func(tenant id.Tenant) map[string]int {
		l, err := p.service.ListSigningKeys(p.ctx, p.owner, p.org.ID, tenant, tenancy.Page{})
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]int{}
		for _, k := range l.Items {
			m[k.Algorithm]++
		}
		return m
	}
	if got := algs(res.Tenant.ID); got["ES256"] != 1 || got["RS256"] != 0 {
		t.Fatalf("keys at first: %v", got)
	}
	p.keys.Start(p.ctx, p.service)
	eventually(t, "the RSA key", func() bool { return algs(res.Tenant.ID)["RS256"] == 1 })
	after, err := p.service.GetTenant(p.ctx, p.owner, p.org.ID, res.Tenant.ID)
	if err != nil || after.ConfigVersion != 2 {
		t.Errorf("version %d, %v: the key is a new config_version", after.ConfigVersion, err)
	}
	eventually(t, "keys in stock", func() bool { return len(p.keys.stock) > 0 })
	at := p.provision("raviga", provision.DepthCommitted)
	if got := algs(at.Tenant.ID); got["RS256"] != 1 {
		t.Errorf("with keys in stock a tenant has its RSA key at once; got %v", got)
	}
	// Two workers at once give one key.
	var wg sync.WaitGroup
	third := p.provision("third", provision.DepthCommitted)
	for range 4 {
		wg.Go(func() {
			if err := p.service.AddMissingKeys(p.ctx, p.org.ID, third.Tenant.ID, jose.GenerateKey); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	eventually(t, "one RSA key", func() bool { return algs(third.Tenant.ID)["RS256"] == 1 })
}

// The worker finds keys that have signed for long enough and brings their successors into the JWK Set; the wait begins when the replicas
// have it, which the real Redis says here.
func TestTheWorkerRotatesKeysThatHaveSignedForLongEnough(t *testing.T) {
	p := newPlant(t)
	p.start()
	tenant := p.provision("hooli", provision.DepthLoginReady).Tenant.ID
	secret := sha256.Sum256([]byte("pool"))
	keys, err := NewKeys(KeysConfig{Worker: p.worker, Secret: secret[:], Target: -1, Share: 100, Rotation: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	keys.Start(p.ctx, p.service)
	defer keys.Stop()
	eventually(t, "a published successor of the ES256 key", func() bool {
		l, err := p.service.ListSigningKeys(p.ctx, p.owner, p.org.ID, tenant, tenancy.Page{Filter: "alg=ES256"})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range l.Items {
			if k.State == tenancy.SigningPublished && !k.ActivateTime.IsZero() {
				if wait := k.ActivateTime.Sub(k.PublishTime); wait < 10*time.Minute {
					t.Errorf("it signs %v after it was published", wait)
				}
				return len(l.Items) == 2
			}
		}
		return false
	})
}
