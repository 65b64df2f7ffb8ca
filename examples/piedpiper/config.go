// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/tenantry/tenantry/pkg/verify"
)

// config is what the two apps need to know; every field is one variable of the
// environment.
type config struct {
	// Listen is where both apps are served (PIEDPIPER_LISTEN).
	Listen string
	// REST is the base URL of Tenantry's control plane (TENANTRY_REST).
	REST string
	// APIKey may provision tenants in Org (TENANTRY_API_KEY).
	APIKey string
	// Org is the resource name of Pied Piper's org (PIEDPIPER_ORG).
	Org string
	// Blueprint is what new tenants are made from (PIEDPIPER_BLUEPRINT).
	Blueprint string
	// ChatClientID is the client_id that all tenants share (PIEDPIPER_CHAT_CLIENT_ID).
	ChatClientID string
	// Audience is the identifier of Pied Piper's API: what must be in aud of an
	// access token (PIEDPIPER_AUDIENCE). Tenantry makes it of the org's slug
	// unless the org has one of its own.
	Audience string
	// DataPlane is a tenant's address, with {host} for its hostname (TENANTRY_DATA_PLANE).
	DataPlane string
	// BaseDomain is the domain that tenants' hostnames end in (PIEDPIPER_BASE_DOMAIN).
	BaseDomain string
}

// configFromEnv reads the configuration and names everything that is missing.
func configFromEnv(get func(string) string) (config, error) {
	var problems []error
	read := func(name, fallback string) string {
		if v := strings.TrimSpace(get(name)); v != "" {
			return v
		}
		if fallback == "" {
			problems = append(problems, fmt.Errorf("set %s", name))
		}
		return fallback
	}
	cfg := config{
		Listen:       read("PIEDPIPER_LISTEN", "127.0.0.1:8090"),
		REST:         strings.TrimSuffix(read("TENANTRY_REST", "http://localhost:9080"), "/"),
		APIKey:       read("TENANTRY_API_KEY", ""),
		Org:          read("PIEDPIPER_ORG", "orgs/piedpiper"),
		Blueprint:    read("PIEDPIPER_BLUEPRINT", "orgs/piedpiper/blueprints/ppvc-standard"),
		ChatClientID: read("PIEDPIPER_CHAT_CLIENT_ID", ""),
		Audience:     read("PIEDPIPER_AUDIENCE", "https://piedpiper.api.localhost"),
		DataPlane:    read("TENANTRY_DATA_PLANE", "http://{host}:8080"),
		BaseDomain:   read("PIEDPIPER_BASE_DOMAIN", "localhost"),
	}
	if _, _, err := net.SplitHostPort(cfg.Listen); err != nil {
		problems = append(problems, fmt.Errorf("PIEDPIPER_LISTEN: %w", err))
	}
	if u, err := url.Parse(cfg.REST); err != nil || u.Host == "" {
		problems = append(problems, fmt.Errorf("TENANTRY_REST: %q is no base URL", cfg.REST))
	}
	if !strings.Contains(cfg.DataPlane, "{host}") {
		problems = append(problems, fmt.Errorf("TENANTRY_DATA_PLANE: %q has no {host}", cfg.DataPlane))
	}
	return cfg, errors.Join(problems...)
}

// portalHost is the host of the portal; chat hosts are one label below it.
func (c config) portalHost() string { return "piedpiper." + c.BaseDomain }

// port is ":8090", or empty where it is the scheme's own.
func (c config) port() string {
	_, port, _ := net.SplitHostPort(c.Listen)
	if port == "80" {
		return ""
	}
	return ":" + port
}

// portalURL is where people sign up.
func (c config) portalURL() string { return "http://" + c.portalHost() + c.port() + "/" }

// chatHost is the host of one tenant's chat app.
func (c config) chatHost(label string) string { return label + "." + c.portalHost() }

// chatURL is the chat app of one tenant.
func (c config) chatURL(label string) string { return "http://" + c.chatHost(label) + c.port() + "/" }

// issuer is the tenant's issuer: the convention of the hostname is the only
// tenant table there is.
func (c config) issuer(label string) string {
	return strings.ReplaceAll(c.DataPlane, "{host}", label+"."+c.BaseDomain)
}

// verifier checks access tokens by the same convention, at each chat host those
// of that host's issuer. In Pied Piper every issuer is one tenant.
func (c config) verifier(client *http.Client) (*verify.Verifier, error) {
	issuerFor, err := verify.HostPattern(c.chatHost("{label}"), c.issuer("{label}"))
	if err != nil {
		return nil, err
	}
	return verify.New(verify.Config{
		IssuerFor: issuerFor, Audience: c.Audience, Tenant: verify.TenantOfIssuer, TokenUse: verify.UserTokens,
		AllowDevelopment: strings.HasPrefix(c.DataPlane, "http://"), // only development tenants are on http
		HTTPClient:       client,
	})
}
