// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package control is the control plane: it owns the configuration of orgs and tenants, answers the API, and publishes what the data
// plane serves. This file is its wiring and nothing else; what it is made of is in the packages under internal:
//
//	api ──► provision ──► store ──► PostgreSQL
//	              │                     │ outbox
//	              ▼                     ▼
//	         blueprint, tenancy     publish ──► Redis (config)
//
// It leaves to others: the life of the process and its listeners (pkg/daemon), users (services/identity), the format of what it
// publishes (pkg/snapshot). A process has the role api, publisher or both; it does not ask which others there are.
package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/control/internal/api"
	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/publish"
	"github.com/tenantry/tenantry/services/control/internal/registration"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

// Deps are what the process gives, and what it may share between services. New makes what is nil from the configuration, and then
// ends it with the service; what is given it leaves alone.
type Deps struct {
	// Process has the logger, the health checks and the listeners. Required.
	Process *daemon.Process
	// Identity is the user store.
	Identity *identity.Store
	// Hasher hashes the passwords that administrators set. Nil makes one of two workers.
	Hasher *secret.Hasher
	// Build is the program's version.
	Build string
}

// Service is a control plane process.
type Service struct {
	components []daemon.Component
	end        []func() // in the order of opening
	grpc       *daemon.GRPCServer
	rest       *daemon.HTTPServer
	tenants    http.Handler // of paths on tenants' hosts
}

// New makes the service. It connects to the control database, to refuse a role that could pass by row-level security; Redis and the
// identity database may be down.
func New(ctx context.Context, cfg Config, deps Deps) (_ *Service, err error) {
	if deps.Process == nil {
		return nil, errors.New("control: a process is required")
	}
	if err := daemon.Validate(&cfg); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Service{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	b := &builder{Service: s, cfg: cfg, deps: deps}
	if err := b.open(ctx); err != nil {
		return nil, err
	}
	if err := b.publisher(); err != nil {
		return nil, err
	}
	if cfg.has(RoleAPI) {
		if err := b.api(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Components are the parts of the service in the order in which they start: what listens comes last.
func (s *Service) Components() []daemon.Component {
	closing := daemon.Component{Name: "control plane connections", Stop: func(context.Context) error { s.close(); return nil }}
	return append([]daemon.Component{closing}, s.components...)
}

// GRPCAddr and RESTAddr are where the API listens, empty before it has started and without the role api.
func (s *Service) GRPCAddr() string {
	if s.grpc == nil {
		return ""
	}
	return s.grpc.Addr()
}

// RESTAddr is where the API listens for HTTP.
func (s *Service) RESTAddr() string {
	if s.rest == nil {
		return ""
	}
	return s.rest.Addr()
}

// TenantPaths are the paths of tenants' hosts that the control plane answers, on its REST listener; the edge sends them there. A path that ends
// in "/…" stands for everything below it.
func TenantPaths() []string { return []string{registration.Path, registration.Path + "/…"} }

// TenantHandler answers TenantPaths; nil without the role api.
func (s *Service) TenantHandler() http.Handler { return s.tenants }

// Run serves until the process is told to end.
func Run(ctx context.Context, cfg Config, deps Deps) error {
	s, err := New(ctx, cfg, deps)
	if err != nil {
		return err
	}
	return deps.Process.Run(ctx, s.Components()...)
}

func (s *Service) close() {
	for _, f := range slices.Backward(s.end) {
		f()
	}
	s.end = nil
}

func (s *Service) ends(f func()) { s.end = append(s.end, f) }

func (s *Service) adds(c ...daemon.Component) { s.components = append(s.components, c...) }

// background is a component that starts at once and cannot fail.
func background(name string, start func(context.Context), stop func()) daemon.Component {
	return daemon.Component{
		Name:  name,
		Start: func(ctx context.Context) error { start(context.WithoutCancel(ctx)); return nil },
		Stop:  func(context.Context) error { stop(); return nil },
	}
}

// builder is a Service under construction.
type builder struct {
	*Service

	cfg    Config
	deps   Deps
	store  *store.Store
	worker *store.Worker
	users  *identity.Store
	watch  *snapshot.Watcher
	writer *snapshot.Writer
	key    *snapshot.SigningKey
	keys   *publish.Keys
	seeds  *publish.Seeds
	poke   func()
}

// open opens databases, Redis and key files.
func (b *builder) open(ctx context.Context) (err error) {
	log := b.deps.Process.Log
	//nolint:gosec // bounded by Validate
	if b.store, err = store.Open(ctx, store.Config{URL: b.cfg.Database.Value(), MaxConns: int32(b.cfg.DatabaseConnections)}); err != nil {
		return fmt.Errorf("control: database: %w", err)
	}
	b.ends(b.store.Close)
	if b.worker, err = store.OpenWorker(ctx, store.Config{URL: b.cfg.WorkerDatabase.Value(), MaxConns: 8}); err != nil {
		return fmt.Errorf("control: worker_database: %w", err)
	}
	b.ends(b.worker.Close)
	b.deps.Process.Health.Check("control database", b.store.Ping)
	if b.users = b.deps.Identity; b.users == nil {
		hasher := b.deps.Hasher
		if hasher == nil {
			hasher = secret.NewHasher(secret.Argon2Params{}, 2, 64)
		}
		b.users, err = identity.Open(ctx, identity.Config{DatabaseURL: b.cfg.IdentityDatabase.Value(), MaxConns: b.cfg.IdentityConnections}, hasher)
		if err != nil {
			return fmt.Errorf("control: identity_database: %w", err)
		}
		b.ends(b.users.Close)
	}
	rdb, err := snapshot.Connect(b.cfg.ConfigRedis.Value())
	if err != nil {
		return fmt.Errorf("control: config_redis: %w", err)
	}
	b.ends(func() { rdb.Close() })
	b.watch, b.writer = snapshot.NewWatcher(rdb, log), snapshot.NewWriter(rdb)
	if b.cfg.SnapshotKey != "" {
		key, err := snapshot.LoadSigningKey(string(b.cfg.SnapshotKey))
		if err != nil {
			return fmt.Errorf("control: snapshot_key: %w", err)
		}
		if key.Region() != b.cfg.Region {
			return fmt.Errorf("control: snapshot_key: %s is for region %s, not %s", b.cfg.SnapshotKey, key.Region(), b.cfg.Region)
		}
		b.key = &key
	}
	return nil
}

// publisher adds what carries committed changes on: snapshots into Redis, seeds into the identity database, keys into the pool. A
// process without the role wakes those that have it, and applies its own seeds, so that nobody waits for another process.
func (b *builder) publisher() error {
	log := b.deps.Process.Log
	b.seeds = publish.NewSeeds(b.worker, b.users, log)
	keys := publish.KeysConfig{Worker: b.worker, Secret: secretBytes(b.cfg.PageTokenKey), Target: b.cfg.RSAKeys, Rotation: time.Duration(*b.cfg.KeyRotation), Logger: log}
	var err error
	if b.keys, err = publish.NewKeys(keys); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if !b.cfg.has(RolePublisher) {
		n := publish.NewNotifier(b.store, log)
		b.adds(background("notifier", n.Start, n.Stop))
		b.poke = n.Poke
		return nil
	}
	p, err := publish.New(publish.Config{Worker: b.worker, Writer: b.writer, Key: *b.key, Region: b.cfg.Region, Logger: log})
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if err := measure(b.deps.Process.Telemetry.Meter, p); err != nil {
		return fmt.Errorf("control: metrics: %w", err)
	}
	b.adds(daemon.Component{
		Name:  "publisher",
		Start: func(ctx context.Context) error { return p.Start(context.WithoutCancel(ctx)) },
		Stop:  func(context.Context) error { p.Stop(); return nil },
	})
	b.poke = p.Poke
	return nil
}

// api adds the use cases and their two listeners.
func (b *builder) api(ctx context.Context) error {
	p := b.deps.Process
	service, err := b.service()
	if err != nil {
		return err
	}
	ac := api.Config{
		Control: service, Users: b.users, PageKey: secretBytes(b.cfg.PageTokenKey), DocsURL: b.cfg.RESTURL, HostnameChecks: b.cfg.HostnameChecks,
		Reflection: b.cfg.Reflection, Meter: p.Telemetry.Meter, Logger: p.Log,
	}
	for _, text := range b.cfg.TrustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("control: trusted_proxies: %w", err)
		}
		ac.TrustedProxies = append(ac.TrustedProxies, prefix)
	}
	server, err := api.New(ac)
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if b.cfg.GRPC.MaxMessageBytes == 0 || b.cfg.GRPC.MaxMessageBytes > api.MaxMessageBytes {
		b.cfg.GRPC.MaxMessageBytes = api.MaxMessageBytes
	}
	if b.grpc, err = p.NewGRPCServer("grpc", b.cfg.GRPC, server.Options()...); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	server.Register(b.grpc.Server)

	// REST has a gRPC server of its own inside the process, with the same interceptors: the public one may demand TLS.
	inner := grpc.NewServer(append(server.Options(), grpc.MaxRecvMsgSize(api.MaxMessageBytes+64<<10), grpc.MaxHeaderListSize(64<<10))...)
	server.Register(inner)
	gateway, err := server.NewGateway(context.WithoutCancel(ctx))
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	b.ends(gateway.Close)
	handler, err := gateway.Handler()
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	if b.tenants, err = b.registrations(service, server); err != nil {
		return err
	}
	if b.cfg.REST.WriteTimeout == 0 {
		b.cfg.REST.WriteTimeout = daemon.Duration(75 * time.Second) // WaitOperation may take its minute
	}
	b.rest = p.NewHTTPServer("rest", b.cfg.REST, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if registration.Owns(r.URL.Path) {
			b.tenants.ServeHTTP(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	failed := make(chan error, 1)
	b.adds(
		background("operation watcher", b.watch.Start, b.watch.Stop),
		background("seeds", b.seeds.Start, b.seeds.Stop),
		background("signing keys", func(ctx context.Context) { b.keys.Start(ctx, service) }, b.keys.Stop),
		daemon.Component{
			Name:   "gateway",
			Failed: failed,
			Start: func(context.Context) error {
				go func() {
					if err := inner.Serve(gateway.Listener()); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
						failed <- err
					}
				}()
				return nil
			},
			Stop: func(context.Context) error { inner.Stop(); return nil }, // REST has ended before
		},
		b.grpc.Component(), b.rest.Component(),
	)
	return nil
}

// registrations makes what answers clients that register themselves.
func (b *builder) registrations(service *provision.Service, server *api.Server) (http.Handler, error) {
	rc := registration.Config{Control: service, Source: server.Source, Rate: b.cfg.Registrations, Logger: b.deps.Process.Log}
	for _, s := range b.cfg.SoftwareStatements {
		issuer, err := registration.LoadStatementIssuer(s.Issuer, string(s.JWKS))
		if err != nil {
			return nil, fmt.Errorf("control: software_statements: %w", err)
		}
		rc.Statements = append(rc.Statements, issuer)
	}
	h, err := registration.New(rc)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return h, nil
}

// service makes the use cases.
func (b *builder) service() (*provision.Service, error) {
	pc := provision.Config{
		Store: b.store, Regions: []string{b.cfg.Region}, PublicURL: b.cfg.PublicURL, APIDomain: b.cfg.APIDomain, Development: b.cfg.Development,
		ReservedLabels: b.cfg.ReservedLabels, PageKey: secretBytes(b.cfg.PageTokenKey), RSA: b.keys, Published: b.poke, Seeded: b.seeds.Poke,
		Waiter: &publish.Waiter{Watcher: b.watch, Seeds: b.seeds, Store: b.store}, Logger: b.deps.Process.Log,
		Registrations: b.cfg.Registrations,
	}
	out, err := outbound.New(b.cfg.Outbound, outbound.Options{})
	if err != nil {
		return nil, fmt.Errorf("control: outbound: %w", err)
	}
	b.ends(out.Close)
	pc.Sector = sectors(out, b.deps.Process.Log)
	for _, path := range b.cfg.Recipients {
		k, err := secret.LoadPublicKey(string(path))
		if err != nil {
			return nil, fmt.Errorf("control: recipients: %w", err)
		}
		pc.Recipients = append(pc.Recipients, k)
	}
	if key := b.key; key != nil {
		pc.Token = func(tenant id.Tenant, version int64) string {
			return key.ConsistencyToken(tenant, uint64(version)) //nolint:gosec // versions are positive
		}
	}
	s, err := provision.New(pc)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	return s, nil
}

// measure shows how the publisher does.
func measure(provider metric.MeterProvider, p *publish.Publisher) error {
	m := provider.Meter("tenantry/control/publish")
	published, err := m.Int64ObservableCounter("tenantry_publisher_records", metric.WithDescription("Records written to Redis"))
	if err != nil {
		return err
	}
	failures, err := m.Int64ObservableCounter("tenantry_publisher_failures", metric.WithDescription("Batches that failed and stayed in the outbox"))
	if err != nil {
		return err
	}
	halted, err := m.Int64ObservableGauge("tenantry_publisher_halted", metric.WithDescription("1 while Redis is nearly full or may evict"))
	if err != nil {
		return err
	}
	_, err = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := p.Stats()
		o.ObserveInt64(published, s.Published)
		o.ObserveInt64(failures, s.Failures)
		var stopped int64
		if s.Halted {
			stopped = 1
		}
		o.ObserveInt64(halted, stopped)
		return nil
	}, published, failures, halted)
	return err
}
