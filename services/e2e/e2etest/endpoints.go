// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2etest

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/services/control"
	"github.com/tenantry/tenantry/services/dataplane/login"
	"github.com/tenantry/tenantry/services/dataplane/token"
	"github.com/tenantry/tenantry/services/internal/serve/loginserver"
	"github.com/tenantry/tenantry/services/internal/serve/tokenserver"
)

// Endpoint is one method of one path of a tenant's host. A path that ends in "/…" stands for everything below it.
type Endpoint struct{ Method, Path string }

// Endpoints are all endpoints that login, token and control really mount on tenants' hosts, so that a test which runs over them misses none that is added.
func (r *Rig) Endpoints(t testing.TB) (all []Endpoint) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	tokenConfig, err := tokenserver.Load(r.configFile(Token))
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := token.New(t.Context(), tokenConfig.Service, token.Deps{Logger: log}) // never started, and connects to nothing
	if err != nil {
		t.Fatal(err)
	}
	defer tokens.Stop()
	loginConfig, err := loginserver.Load(r.configFile(Login))
	if err != nil {
		t.Fatal(err)
	}
	logins, err := login.New(t.Context(), loginConfig.Service, login.Deps{Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer logins.Stop(t.Context())
	for _, e := range tokens.Routes() {
		all = append(all, Endpoint(e))
	}
	for _, e := range logins.Routes() {
		all = append(all, Endpoint(e))
	}
	for _, path := range control.TenantPaths() { // a client's own path is the one that ends in "/…" (RFC 7592 section 2)
		methods := []string{http.MethodPost}
		if strings.HasSuffix(path, "…") {
			methods = []string{http.MethodGet, http.MethodPut, http.MethodDelete}
		}
		for _, m := range methods {
			all = append(all, Endpoint{m, path})
		}
	}
	return slices.Clip(all)
}
