// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

// The roles of a control plane process.
const (
	RoleAPI       = "api"
	RolePublisher = "publisher"
)

// Config is the control plane's part of its configuration file.
type Config struct {
	// Roles say what the process does: `api` answers gRPC and REST, makes keys ahead and carries the users of new tenants into the
	// identity database; `publisher` signs snapshots into Redis. Default: both. Any number of processes may have either.
	Roles []string `yaml:"roles"`
	// GRPC is where the API listens for gRPC. Default address :9090; messages are bounded to 1 MiB whatever is set here.
	GRPC daemon.GRPCConfig `yaml:"grpc"`
	// REST is where the API listens for HTTP: /v1, /docs, /openapi.json, /healthz. Default address :9080.
	REST daemon.HTTPConfig `yaml:"rest"`
	// TrustedProxies are the networks (CIDR) whose X-Forwarded-For is believed on REST. Empty believes nobody.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// RESTURL is the base URL of the REST listener as callers know it, such as https://api.example.com. Links in errors begin with it;
	// empty leaves them relative.
	RESTURL string `yaml:"rest_url"`
	// Reflection offers gRPC reflection to everybody. For development.
	Reflection bool `yaml:"reflection"`

	// Database is the file with the URL of the control database for the role tenantry_control.
	Database daemon.Secret `yaml:"database"`
	// DatabaseConnections bounds the connections to it. Default 16.
	DatabaseConnections int `yaml:"database_connections"`
	// WorkerDatabase is the file with the URL of the control database for the role tenantry_publisher.
	WorkerDatabase daemon.Secret `yaml:"worker_database"`
	// IdentityDatabase is the file with the URL of the identity database for the role tenantry_identity.
	IdentityDatabase daemon.Secret `yaml:"identity_database"`
	// IdentityConnections bounds the connections to it. Default 8.
	IdentityConnections int `yaml:"identity_connections"`
	// ConfigRedis is the file with the address of the Redis that snapshots are published to: redis://, rediss://, unix:// or
	// cluster+redis://. It must not evict.
	ConfigRedis daemon.Secret `yaml:"config_redis"`

	// SnapshotKey is the file of the private key that snapshots are signed with (snapshot-signing.key). A process without the publisher
	// role may have it too: its answers then carry consistency tokens.
	SnapshotKey daemon.Path `yaml:"snapshot_key"`
	// Recipients are the files of the public keys that tenants' signing keys are sealed for: of the region (region-signing.pub), and for
	// recovery (recovery.pub).
	Recipients []daemon.Path `yaml:"recipients"`
	// PageTokenKey is the file with this plane's own secret (page-tokens.key): 32 random bytes or more, as hexadecimal digits. It
	// authenticates page tokens and seals the pool of RSA keys; the same in all replicas.
	PageTokenKey daemon.Secret `yaml:"page_token_key"`

	// Region is the home region. Default local.
	Region string `yaml:"region"`
	// PublicURL makes the issuer of a tenant from its hostname; {host} stands for that. Default https://{host}.
	PublicURL string `yaml:"public_url"`
	// APIDomain makes the default audience of an org: https://<slug>.<api_domain>. Required.
	APIDomain string `yaml:"api_domain"`
	// Development allows base domains under localhost.
	Development bool `yaml:"development"`
	// ReservedLabels may be taken by no tenant, beside the built-in system words.
	ReservedLabels []string `yaml:"reserved_labels"`
	// HostnameChecks is how many checks of hostnames an API key may make a second, after a burst of five seconds' worth. Default 5.
	HostnameChecks float64 `yaml:"hostname_checks"`
	// RSAKeys is how many RSA keys are made ahead; below 0 none. Default 4.
	RSAKeys int `yaml:"rsa_keys"`
	// KeyRotation is how long a tenant's signing key signs before it is replaced by itself, in the steps of a planned rotation. Default
	// 90d; with 0s keys are rotated by request alone.
	KeyRotation *daemon.Duration `yaml:"key_rotation"`
	// Outbound is how addresses that callers name are reached: sector documents of clients with pairwise subjects.
	Outbound outbound.Config `yaml:"outbound"`
	// Registrations is how many clients an address may register a second (RFC 7591), after a burst of thirty seconds' worth; a tenant takes
	// five times that from all addresses. Where everybody may register, a network (/24, /48) takes at most a tenth of a tenant's room for
	// clients and a quarter of that for their bytes within a day, and with a number above 1 as many times more. Default 1.
	Registrations float64 `yaml:"registrations"`
	// SoftwareStatements are the issuers whose software statements are believed when a client registers itself (RFC 7591 section 2.3).
	SoftwareStatements []SoftwareStatementIssuer `yaml:"software_statements"`
}

// SoftwareStatementIssuer is somebody whose software statements are believed.
type SoftwareStatementIssuer struct {
	// Issuer is the value of `iss`.
	Issuer string `yaml:"issuer"`
	// JWKS is the file with their public keys, a JWK Set.
	JWKS daemon.Path `yaml:"jwks"`
}

// Validate implements daemon.Validator.
func (c *SoftwareStatementIssuer) Validate(k *daemon.Check) {
	k.Require("issuer", c.Issuer)
	k.Require("jwks", string(c.JWKS))
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	if len(c.Roles) == 0 {
		c.Roles = []string{RoleAPI, RolePublisher}
	}
	set := func(v *string, otherwise string) {
		if *v == "" {
			*v = otherwise
		}
	}
	set(&c.GRPC.Address, ":9090")
	set(&c.REST.Address, ":9080")
	set(&c.Region, "local")
	set(&c.PublicURL, "https://{host}")
	if c.IdentityConnections == 0 {
		c.IdentityConnections = 8
	}
	if c.KeyRotation == nil {
		age := daemon.Duration(90 * 24 * time.Hour)
		c.KeyRotation = &age
	}
	return c
}

func (c *Config) has(role string) bool { return slices.Contains(c.Roles, role) }

// Validate implements daemon.Validator.
func (c *Config) Validate(k *daemon.Check) {
	d := c.withDefaults()
	for i, r := range c.Roles {
		if r != RoleAPI && r != RolePublisher {
			k.Fail(fmt.Sprintf("roles[%d]", i), "must be api or publisher")
		} else if slices.Index(c.Roles, r) < i {
			k.Fail(fmt.Sprintf("roles[%d]", i), "stands in it twice")
		}
	}
	for i, p := range c.TrustedProxies {
		if _, err := netip.ParsePrefix(p); err != nil {
			k.Fail(fmt.Sprintf("trusted_proxies[%d]", i), "must be a network such as 10.0.0.0/8")
		}
	}
	if c.RESTURL != "" && !baseURL(c.RESTURL) {
		k.Fail("rest_url", "must be a URL without a path, such as https://api.example.com")
	}
	for _, f := range []struct {
		field string
		value daemon.Secret
	}{
		{"database", c.Database},
		{"worker_database", c.WorkerDatabase},
		{"identity_database", c.IdentityDatabase},
		{"config_redis", c.ConfigRedis},
		{"page_token_key", c.PageTokenKey},
	} {
		if f.value.IsZero() {
			k.Fail(f.field, "must be set")
		}
	}
	if !c.PageTokenKey.IsZero() && len(secretBytes(c.PageTokenKey)) < 32 {
		k.Fail("page_token_key", "must hold 32 bytes or more, as 64 hexadecimal digits")
	}
	if d.has(RolePublisher) {
		k.Require("snapshot_key", string(c.SnapshotKey))
	}
	if d.has(RoleAPI) && len(c.Recipients) == 0 {
		k.Fail("recipients", "must name at least the region's public signing key")
	}
	if strings.Count(d.PublicURL, "{host}") != 1 || !baseURL(strings.Replace(d.PublicURL, "{host}", "host.invalid", 1)) {
		k.Fail("public_url", "must be a URL with {host} in it once and without a path, such as https://{host}")
	}
	k.Require("api_domain", c.APIDomain)
	if c.APIDomain != "" && !baseURL("https://"+c.APIDomain) {
		k.Fail("api_domain", "must be a domain such as api.example.com")
	}
	if c.DatabaseConnections < 0 || c.DatabaseConnections > 1000 {
		k.Fail("database_connections", "must be between 0 (the default) and 1000")
	}
	if c.IdentityConnections < 0 || c.IdentityConnections > 1000 {
		k.Fail("identity_connections", "must be between 0 (the default) and 1000")
	}
	if c.HostnameChecks < 0 || c.HostnameChecks > 10000 {
		k.Fail("hostname_checks", "must be between 0 (the default) and 10000")
	}
	if c.Registrations < 0 || c.Registrations > 10000 {
		k.Fail("registrations", "must be between 0 (the default) and 10000")
	}
	if len(c.SoftwareStatements) > 100 {
		k.Fail("software_statements", "must be at most 100 issuers")
	}
	if age := time.Duration(*d.KeyRotation); age != 0 && age < 24*time.Hour {
		k.Fail("key_rotation", "must be at least 1d, or 0s for none")
	}
	if c.RSAKeys > 1000 {
		k.Fail("rsa_keys", "must be at most 1000")
	}
}

func baseURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil &&
		(u.Path == "" || u.Path == "/") && u.RawQuery == "" && u.Fragment == ""
}

// secretBytes reads hexadecimal digits; other text is taken as it is.
func secretBytes(s daemon.Secret) []byte {
	if b, err := hex.DecodeString(s.Value()); err == nil {
		return b
	}
	return []byte(s.Value())
}
