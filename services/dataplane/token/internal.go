// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"net/http"
	"strings"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/services/dataplane/internal/signer"
)

// InternalConfig is the listener for the login service, which has signed there what its own flows need. Without an address there is none.
type InternalConfig struct {
	daemon.HTTPConfig `yaml:",inline"`
}

// Validate implements daemon.Validator. Whoever reaches the listener may have tokens signed, so on a network it must know who comes.
func (c *InternalConfig) Validate(k *daemon.Check) {
	if c.Address == "" || strings.HasPrefix(c.Address, "unix:") {
		return
	}
	if c.TLS.ClientCAFile == "" {
		k.Fail("tls", "must name cert_file, key_file and client_ca_file, unless address is a unix socket")
	}
}

// InternalHandler answers the login service: mount it on the internal listener and nowhere else.
func (s *Service) InternalHandler() (http.Handler, error) {
	return signer.NewHandler(signer.HandlerConfig{Tenants: s.tenants, Signer: s.mint, Logger: s.log}), nil
}
