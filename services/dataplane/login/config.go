// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"net/netip"
	"time"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/clientdoc"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/signer"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

// Config is the login service's part of its configuration file.
type Config struct {
	// Listen is where browsers reach the service.
	Listen daemon.HTTPConfig `yaml:"listen"`
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
	// Keyring is the file of the runtime keyring, shared with token. Mode 0600.
	Keyring daemon.Path `yaml:"keyring"`
	// Passwords bounds the work that passwords cost.
	Passwords PasswordConfig `yaml:"passwords"`
	// Signer is the token service's internal listener: this service holds no signing key.
	Signer signer.Config `yaml:"signer"`
	// Outbound is how addresses that others have written are reached: clients that are told of logouts, and what else they register.
	Outbound outbound.Config `yaml:"outbound"`
	// Mail says how mails are sent.
	Mail MailConfig `yaml:"mail"`
	// Timeout bounds one call of a dependency. Default 2 s.
	Timeout daemon.Duration `yaml:"timeout"`
}

// PasswordConfig bounds the work that passwords cost: each check takes about 20 ms of a processor and 19 MiB.
type PasswordConfig struct {
	// Workers is how many are checked at a time. Default: one for each processor.
	Workers int `yaml:"workers"`
	// Queue is how many more may wait, in turn between tenants; the next ones are answered 503 with Retry-After. Default 256.
	Queue int `yaml:"queue"`
	// Timeout is how long one may wait and be checked in all. Default 8 s.
	Timeout daemon.Duration `yaml:"timeout"`
}

const defaultQueue = 256

// MailConfig says how mails are sent. Without Host this process sends none, and leaves the jobs to others.
type MailConfig struct {
	// Host is the mail server's name or address.
	Host string `yaml:"host"`
	// Port is its port. Default 587, with TLS "always" 465.
	Port int `yaml:"port"`
	// TLS is "starttls" (the default: the connection must be encrypted before anything is said), "always" (TLS from the first byte) or
	// "none", for a development inbox on this machine.
	TLS string `yaml:"tls"`
	// User logs in at the server; empty does not.
	User string `yaml:"user"`
	// Password is the file with the user's password.
	Password daemon.Secret `yaml:"password"`
	// From is the sender's address for tenants whose policy names none.
	From string `yaml:"from"`
	// Timeout bounds sending one mail. Default 15 s.
	Timeout daemon.Duration `yaml:"timeout"`
	// Workers is how many mails are sent at a time. Default 4.
	Workers int `yaml:"workers"`
}

// Ways to encrypt the connection to the mail server.
const (
	TLSStart  = "starttls"
	TLSAlways = "always"
	TLSNone   = "none"
)

// Validate implements daemon.Validator.
func (c *Config) Validate(k *daemon.Check) {
	for i, p := range c.TrustedProxies {
		if _, err := netip.ParsePrefix(p); err != nil {
			k.Fail(fmt.Sprintf("trusted_proxies[%d]", i), "must be a network such as 10.0.0.0/8")
		}
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
	if c.IdentityConnections < 0 || c.IdentityConnections > 1000 {
		k.Fail("identity_connections", "must be between 0 (the default) and 1000")
	}
	if c.Timeout < 0 || c.Timeout > daemon.Duration(10*time.Second) {
		k.Fail("timeout", "must be between 0s (the default) and 10s")
	}
}

// Validate implements daemon.Validator.
func (c *PasswordConfig) Validate(k *daemon.Check) {
	if c.Workers < 0 || c.Workers > 1024 {
		k.Fail("workers", "must be between 0 (the default) and 1024")
	}
	if c.Queue < 0 || c.Queue > 100_000 {
		k.Fail("queue", "must be between 0 (the default) and 100000")
	}
	if c.Timeout < 0 || c.Timeout > daemon.Duration(time.Minute) {
		k.Fail("timeout", "must be between 0s (the default) and 1m")
	}
}

// Validate implements daemon.Validator.
func (c *MailConfig) Validate(k *daemon.Check) {
	if c.Host == "" {
		return
	}
	if a, err := mail.ParseAddress(c.From); err != nil || a.Name != "" {
		k.Fail("from", "must be an address such as no-reply@example.com")
	}
	switch c.TLS {
	case "", TLSStart, TLSAlways:
	case TLSNone:
		if c.User != "" {
			k.Fail("user", "must be empty when tls is none: the password would travel in the clear")
		}
	default:
		k.Fail("tls", "must be starttls, always or none")
	}
	if c.Port < 0 || c.Port > 65535 {
		k.Fail("port", "must be between 0 (the default) and 65535")
	}
	if c.User != "" && c.Password.IsZero() {
		k.Fail("password", "must be set when user is")
	}
	if c.Timeout < 0 || c.Timeout > daemon.Duration(50*time.Second) {
		k.Fail("timeout", "must be between 0s (the default) and 50s")
	}
	if c.Workers < 0 || c.Workers > 100 {
		k.Fail("workers", "must be between 0 (the default) and 100")
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
	// Identity is the user store, with a hasher.
	Identity Identity
	// Keyring is the runtime keyring.
	Keyring *secret.Keyring
	// Signer signs what the flows need; in a process that has both services it is the token service's Minter.
	Signer signer.Signer
	// Build is the program's version, reported to the fleet.
	Build string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// New makes the service. It reads key files and connects to nothing: what it depends on may be down. Start begins to follow the
// configuration's changes and to send mails.
func New(ctx context.Context, cfg Config, deps Deps) (_ *Service, err error) {
	if deps.Logger == nil {
		return nil, errors.New("login: a logger is required")
	}
	var life life
	defer func() {
		if err != nil {
			life.close()
		}
	}()
	p := parts{
		tenants: deps.Tenants, identity: deps.Identity, keyring: deps.Keyring, signer: deps.Signer, mail: cfg.Mail,
		timeout: time.Duration(cfg.Timeout), passwordTimeout: time.Duration(cfg.Passwords.Timeout),
		web: web.Config{Logger: deps.Logger, Metrics: deps.Metrics, Now: deps.Now},
	}
	if p.outbound, err = outbound.New(cfg.Outbound, outbound.Options{Now: deps.Now}); err != nil {
		return nil, fmt.Errorf("login: outbound: %w", err)
	}
	life.ends(p.outbound.Close)
	for _, text := range cfg.TrustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("login: trusted_proxies: %w", err)
		}
		p.web.TrustedProxies = append(p.web.TrustedProxies, prefix)
	}
	if p.keyring == nil {
		if p.keyring, err = secret.LoadKeyring(string(cfg.Keyring)); err != nil {
			return nil, fmt.Errorf("login: keyring: %w", err)
		}
	}
	if p.signer == nil {
		client, err := signer.NewClient(cfg.Signer)
		if err != nil {
			return nil, fmt.Errorf("login: %w", err)
		}
		life.ends(client.Close)
		p.signer = client
	}
	if p.tenants == nil {
		if p.tenants, err = life.openCache(cfg, deps); err != nil {
			return nil, err
		}
	}
	if cache, ok := p.tenants.(*snapshot.Cache); ok {
		cache.UseDocuments(clientdoc.New(p.outbound, deps.Logger, deps.Now))
	}
	if p.identity == nil {
		queue := cfg.Passwords.Queue
		if queue == 0 {
			queue = defaultQueue
		}
		hasher := secret.NewHasher(secret.Argon2Params{}, cfg.Passwords.Workers, queue)
		store, err := identity.Open(ctx, identity.Config{
			DatabaseURL: cfg.IdentityDatabase.Value(), MaxConns: cfg.IdentityConnections,
		}, hasher)
		if err != nil {
			return nil, fmt.Errorf("login: identity_database: %w", err)
		}
		life.ends(store.Close)
		p.identity = store
	}
	p.grants, err = grant.Open(grant.Config{RedisURL: cfg.RuntimeRedis.Value(), Keyring: p.keyring, Logger: deps.Logger})
	if err != nil {
		return nil, fmt.Errorf("login: runtime_redis: %w", err)
	}
	life.ends(func() { p.grants.Close() })
	s, err := build(p)
	if err != nil {
		return nil, err
	}
	s.life = life
	return s, nil
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

func (l *life) openCache(cfg Config, deps Deps) (*snapshot.Cache, error) {
	verifier, err := snapshot.LoadVerifier(string(cfg.SnapshotPins))
	if err != nil {
		return nil, fmt.Errorf("login: snapshot_pins: %w", err)
	}
	rdb, err := snapshot.Connect(cfg.ConfigRedis.Value())
	if err != nil {
		return nil, fmt.Errorf("login: config_redis: %w", err)
	}
	l.ends(func() { rdb.Close() })
	cache, err := snapshot.Open(snapshot.Config{
		Redis: rdb, Verifier: verifier, MaxBytes: int64(cfg.SnapshotCache), Logger: deps.Logger, Build: deps.Build,
	})
	if err != nil {
		return nil, fmt.Errorf("login: snapshots: %w", err)
	}
	l.start = append(l.start, func() { cache.Start(context.Background()) }) // until Stop, not until some request's context ends
	l.ends(cache.Stop)
	return cache, nil
}
