// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package devenv

import (
	"context"
	"net"
	"net/http"
	"strconv"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/services/control"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

// controlConfig is the control plane's configuration here: as an operator would write it, with http and localhost.
func (e *environment) controlConfig(s *services) control.Config {
	keys := e.keys()
	c := control.Config{
		RESTURL:          "http://localhost:" + strconv.Itoa(e.ports.REST),
		Reflection:       true,
		Database:         daemon.SecretOf(s.databases.Control),
		WorkerDatabase:   daemon.SecretOf(e.postgres.URL(controlDatabase, "tenantry_publisher")),
		IdentityDatabase: daemon.SecretOf(s.databases.Identity),
		ConfigRedis:      daemon.SecretOf(e.config.URL()),
		SnapshotKey:      daemon.Path(keys.SnapshotSigning()),
		Recipients:       []daemon.Path{daemon.Path(keys.RegionSigningPublic()), daemon.Path(keys.RecoveryPublic())},
		PageTokenKey:     daemon.SecretOf(e.pageTokenKey),
		Region:           region,
		PublicURL:        "http://{host}:" + strconv.Itoa(e.ports.DataPlane),
		APIDomain:        "api." + baseDomain,
		Development:      true,
		// As for the data plane: apps in development are on this machine, and so are their sector documents.
		Outbound: outbound.Config{AllowNetworks: []string{"127.0.0.0/8", "::1/128"}, AllowHTTP: true},
	}
	c.GRPC.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(e.ports.GRPC))
	c.REST.Address = net.JoinHostPort("127.0.0.1", strconv.Itoa(e.ports.REST))
	return c
}

// newControl makes the control plane with the user store that the data plane has here.
// registrations is what it answers on tenants' hosts.
func newControl(ctx context.Context, cfg control.Config, deps control.Deps) (_ []daemon.Component, registrations http.Handler, err error) {
	service, err := control.New(ctx, cfg, deps)
	if err != nil {
		return nil, nil, err
	}
	return service.Components(), service.TenantHandler(), nil
}
