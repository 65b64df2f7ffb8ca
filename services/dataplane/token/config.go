// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/clientdoc"
	"github.com/tenantry/tenantry/services/dataplane/internal/clientkeys"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

// Config is the token service's part of its configuration file.
type Config struct {
	// Listen is where tenants' apps reach the service.
	Listen daemon.HTTPConfig `yaml:"listen"`
	// Internal is where the login service has signed what its flows need: a unix socket, or an address with client certificates.
	Internal InternalConfig `yaml:"internal"`
	// TrustedProxies are the networks (CIDR) whose X-Forwarded-Host, -Proto and -For headers are believed. Empty believes nobody: the
	// Host header, the connection and its address are then what counts.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// ConfigRedis is the file with the address of the Redis that the control plane publishes snapshots to: redis://, rediss://,
	// unix:// or cluster+redis://, with user and password where it has them.
	ConfigRedis daemon.Secret `yaml:"config_redis"`
	// RuntimeRedis is the file with the address of the Redis for codes and revocation marks. Another server than ConfigRedis.
	RuntimeRedis daemon.Secret `yaml:"runtime_redis"`
	// IdentityDatabase is the file with the URL of the identity database, for the unprivileged service role.
	IdentityDatabase daemon.Secret `yaml:"identity_database"`
	// IdentityConnections bounds the connections to the identity database. Default 16.
	IdentityConnections int `yaml:"identity_connections"`
	// SnapshotPins is the file of public keys that snapshots must be signed with.
	SnapshotPins daemon.Path `yaml:"snapshot_pins"`
	// SnapshotCache bounds the memory for tenants' configuration. Default 256 MiB.
	SnapshotCache daemon.Bytes `yaml:"snapshot_cache"`
	// SigningKeys are the files of the region's private keys that tenants' signing keys are wrapped for: one, or two while they are
	// being replaced. Mode 0600.
	SigningKeys []daemon.Path `yaml:"signing_keys"`
	// Keyring is the file of the runtime keyring, shared with login. Mode 0600.
	Keyring daemon.Path `yaml:"keyring"`
	// Timeout bounds one call of the identity database. Default 1 s.
	Timeout daemon.Duration `yaml:"timeout"`
	// Outbound is how addresses are reached that clients wrote: jwks_uri and request_uri.
	Outbound outbound.Config `yaml:"outbound"`
	// ClientCertificates is about clients that authenticate, or bind tokens, by certificates.
	ClientCertificates ClientCertificates `yaml:"client_certificates"`
	// DPoPNonces is `required` when every DPoP proof must have a nonce of ours (RFC 9449 section 8), which costs clients a request in four
	// minutes and takes proofs made in advance from who steals some; `optional`, the default, when only a nonce that is sent is checked.
	DPoPNonces string `yaml:"dpop_nonces"`
	// PushedRequests is how many bytes of pushed authorization requests a tenant may have pending. Default 64 MiB.
	PushedRequests daemon.Bytes `yaml:"pushed_requests"`
}

// Validate implements daemon.Validator.
func (c *Config) Validate(k *daemon.Check) {
	for i, p := range c.TrustedProxies {
		if _, err := netip.ParsePrefix(p); err != nil {
			k.Fail(fmt.Sprintf("trusted_proxies[%d]", i), "must be a network such as 10.0.0.0/8")
		}
	}
	if c.DPoPNonces != "" && c.DPoPNonces != NoncesOptional && c.DPoPNonces != NoncesRequired {
		k.Fail("dpop_nonces", "must be optional or required")
	}
	if c.PushedRequests < 0 || c.PushedRequests > 0 && c.PushedRequests < 1<<20 {
		k.Fail("pushed_requests", "must be 0 (the default) or at least 1MiB")
	}
	if c.ClientCertificates.Header != "" && len(c.TrustedProxies) == 0 {
		k.Fail("client_certificates.header", "is believed of trusted_proxies alone, and there are none")
	}
	for _, f := range []struct {
		field string
		value daemon.Secret
	}{{"config_redis", c.ConfigRedis}, {"runtime_redis", c.RuntimeRedis}, {"identity_database", c.IdentityDatabase}} {
		if f.value.IsZero() {
			k.Fail(f.field, "must be set")
		}
	}
	if v := c.ConfigRedis.Value(); v != "" && v == c.RuntimeRedis.Value() {
		k.Fail("runtime_redis", "must be another server than config_redis: that one never evicts, this one's keys expire")
	}
	k.Require("snapshot_pins", string(c.SnapshotPins))
	k.Require("keyring", string(c.Keyring))
	if len(c.SigningKeys) == 0 {
		k.Fail("signing_keys", "must name at least one file")
	}
	if c.IdentityConnections < 0 || c.IdentityConnections > 1000 {
		k.Fail("identity_connections", "must be between 0 (the default) and 1000")
	}
	if c.Timeout < 0 || c.Timeout > daemon.Duration(10*time.Second) {
		k.Fail("timeout", "must be between 0s (the default) and 10s")
	}
}

// Deps are things that a process may share between services. New makes what is nil from the configuration, and then ends it with
// the service; what is given it leaves alone.
type Deps struct {
	// Logger receives request events. Required.
	Logger *slog.Logger
	// Metrics counts requests; nil makes a private set.
	Metrics *web.Metrics
	// Tenants is the snapshot cache, started by its owner.
	Tenants Tenants
	// Identity is the user store.
	Identity Identity
	// Keyring is the runtime keyring.
	Keyring *secret.Keyring
	// Opener opens tenants' signing keys.
	Opener *secret.Opener
	// Keys are the keys of clients, and Outbound is what reads addresses that clients wrote; they go together.
	Keys     *clientkeys.Cache
	Outbound *outbound.Client
	// Build is the program's version, reported to the fleet.
	Build string
}

// New makes the service. It reads key files and connects to nothing: what it depends on may be down. Start begins to follow the
// configuration's changes.
func New(ctx context.Context, cfg Config, deps Deps) (_ *Service, err error) {
	if deps.Logger == nil {
		return nil, errors.New("token: a logger is required")
	}
	var life life
	defer func() {
		if err != nil {
			life.close()
		}
	}()
	p := parts{
		identity: deps.Identity, keyring: deps.Keyring, opener: deps.Opener, timeout: time.Duration(cfg.Timeout),
		tenants:  deps.Tenants,
		web:      web.Config{Logger: deps.Logger, Metrics: deps.Metrics, ClientCertHeader: cfg.ClientCertificates.Header},
		outbound: deps.Outbound, keys: deps.Keys, nonces: cfg.DPoPNonces == NoncesRequired,
	}
	if p.clientCAs, err = cfg.ClientCertificates.authorities(); err != nil {
		return nil, err
	}
	if p.outbound == nil {
		if p.outbound, err = outbound.New(cfg.Outbound, outbound.Options{}); err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
		life.ends(p.outbound.Close)
	}
	for _, text := range cfg.TrustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("token: trusted_proxies: %w", err)
		}
		p.web.TrustedProxies = append(p.web.TrustedProxies, prefix)
	}
	if p.keyring == nil {
		if p.keyring, err = secret.LoadKeyring(string(cfg.Keyring)); err != nil {
			return nil, fmt.Errorf("token: keyring: %w", err)
		}
	}
	var verifier *snapshot.Verifier
	if p.tenants == nil || p.opener == nil {
		if verifier, err = snapshot.LoadVerifier(string(cfg.SnapshotPins)); err != nil {
			return nil, fmt.Errorf("token: snapshot_pins: %w", err)
		}
	}
	if p.opener == nil {
		if p.opener, err = openSigningKeys(verifier.Region(), cfg.SigningKeys); err != nil {
			return nil, err
		}
	}
	if p.tenants == nil {
		if p.tenants, err = life.openCache(cfg, verifier, deps); err != nil {
			return nil, err
		}
	}
	if cache, ok := p.tenants.(*snapshot.Cache); ok {
		cache.UseDocuments(clientdoc.New(p.outbound, deps.Logger, nil))
	}
	if p.identity == nil {
		// No hasher: this service checks no password.
		store, err := identity.Open(ctx, identity.Config{DatabaseURL: cfg.IdentityDatabase.Value(), MaxConns: cfg.IdentityConnections}, nil)
		if err != nil {
			return nil, fmt.Errorf("token: identity_database: %w", err)
		}
		life.ends(store.Close)
		p.identity = store
	}
	p.grants, err = grant.Open(grant.Config{
		RedisURL: cfg.RuntimeRedis.Value(), Keyring: p.keyring, Logger: deps.Logger, Revocations: revocations{p.identity},
		RequestQuota: int64(cfg.PushedRequests),
	})
	if err != nil {
		return nil, fmt.Errorf("token: runtime_redis: %w", err)
	}
	life.ends(func() { p.grants.Close() })
	life.start = append(life.start, func() { go remember(p.grants, deps.Logger) })
	s, err := build(p)
	if err != nil {
		return nil, err
	}
	s.life = life
	return s, nil
}

// remember tells the runtime Redis, when that is new, from when on it knows what was presented before. Without it the first client that
// presents a proof would do so, and be refused.
func remember(grants *grant.Store, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := grants.Remember(ctx, time.Now()); err != nil {
		log.Warn("the runtime Redis is away at the start", slog.String("cause", err.Error()))
	}
}

func openSigningKeys(region string, files []daemon.Path) (*secret.Opener, error) {
	keys := make([]secret.PrivateKey, 0, len(files))
	for _, f := range files {
		k, err := secret.LoadPrivateKey(string(f))
		if err != nil {
			return nil, fmt.Errorf("token: signing_keys: %w", err)
		}
		if k.Region != region || k.Purpose != secret.PurposeSigning {
			return nil, fmt.Errorf("token: signing_keys: %s is for %s in region %s, not for signing in %s", f, k.Purpose, k.Region, region)
		}
		keys = append(keys, k)
	}
	return secret.NewOpener(region, keys...), nil
}

// life is what a service started or opened itself.
type life struct {
	start []func()
	end   []func() // in the order of opening
}

func (l *life) ends(f func()) { l.end = append(l.end, f) }

func (l *life) close() {
	for i := len(l.end) - 1; i >= 0; i-- {
		l.end[i]()
	}
	l.end = nil
}

func (l *life) openCache(cfg Config, verifier *snapshot.Verifier, deps Deps) (*snapshot.Cache, error) {
	rdb, err := snapshot.Connect(cfg.ConfigRedis.Value())
	if err != nil {
		return nil, fmt.Errorf("token: config_redis: %w", err)
	}
	l.ends(func() { rdb.Close() })
	cache, err := snapshot.Open(snapshot.Config{
		Redis: rdb, Verifier: verifier, MaxBytes: int64(cfg.SnapshotCache), Logger: deps.Logger, Build: deps.Build,
	})
	if err != nil {
		return nil, fmt.Errorf("token: snapshots: %w", err)
	}
	l.start = append(l.start, func() { cache.Start(context.Background()) }) // until Stop, not until some request's context ends
	l.ends(cache.Stop)
	return cache, nil
}

// Start begins background work. It returns at once.
func (s *Service) Start() {
	for _, f := range s.life.start {
		f()
	}
	s.life.start = nil
}

// Stop ends background work and closes what New opened. Requests must have ended.
func (s *Service) Stop() { s.life.close() }
