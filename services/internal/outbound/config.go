// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/tenantry/tenantry/pkg/daemon"
)

// Config is the outbound part of a service's configuration file. The zero value is the strictest and right for the Internet.
type Config struct {
	// AllowNetworks are networks (CIDR) that may be reached although they are not public, for test rigs and intranets. Whoever may register
	// a client can then have requests sent there.
	AllowNetworks []string `yaml:"allow_networks"`
	// AllowHTTP permits http, without TLS, for hosts whose every address is in AllowNetworks.
	AllowHTTP bool `yaml:"allow_http"`
	// CAFile is a PEM file of certification authorities that are trusted beside those of the system.
	CAFile daemon.Path `yaml:"ca_file"`
	// Timeout bounds one call with all that belongs to it. Default 3 s.
	Timeout daemon.Duration `yaml:"timeout"`
	// Proxy is the URL (http://host:port) of a forward proxy for public hosts; hosts in AllowNetworks are reached directly. Empty uses
	// none, whatever the environment says.
	Proxy string `yaml:"proxy"`
}

const (
	defaultTimeout = 3 * time.Second
	maxTimeout     = 30 * time.Second
	maxNetworks    = 64
)

// Validate implements daemon.Validator.
func (c *Config) Validate(k *daemon.Check) {
	if len(c.AllowNetworks) > maxNetworks {
		k.Fail("allow_networks", "must be at most %d networks", maxNetworks)
	}
	for i, text := range c.AllowNetworks {
		if _, err := parseNetwork(text); err != nil {
			k.Fail(fmt.Sprintf("allow_networks[%d]", i), "%s", err)
		}
	}
	if c.AllowHTTP && len(c.AllowNetworks) == 0 {
		k.Fail("allow_http", "has no effect without allow_networks: http is for named networks only")
	}
	if c.Timeout < 0 || time.Duration(c.Timeout) > maxTimeout {
		k.Fail("timeout", "must be between 0s (the default) and %s", maxTimeout)
	}
	if _, err := parseProxy(c.Proxy); err != nil {
		k.Fail("proxy", "%s", err)
	}
}

func parseNetwork(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("must be a network such as 10.0.0.0/8")
	case p.Bits() == 0:
		return netip.Prefix{}, fmt.Errorf("must not be the whole Internet: name the networks that are meant")
	case p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf("must be written as an IPv4 network")
	}
	return p.Masked(), nil
}

// parseProxy is the host and port of the proxy, "" for none.
func parseProxy(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || u.Port() == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return "", fmt.Errorf("must be a URL such as http://proxy.example:3128, without credentials")
	}
	return u.Host, nil
}
