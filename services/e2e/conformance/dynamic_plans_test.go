// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"testing"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// dynamicPlans are the plans of clients that register themselves.
func dynamicPlans() (all []*plan) {
	for _, responseType := range []string{"", "code id_token"} {
		o := oidcOptions{dynamic: true, responseType: responseType}
		variant := responseType
		if variant == "" {
			variant = "code"
		}
		all = append(all, &plan{name: "oidcc-dynamic-certification-test-plan", variant: variant, modules: inDynamic, tests: joined(oidc, dynamic), setup: o.provider})
	}
	return append(all, &plan{
		name: "oidcc-3rdparty-init-login-certification-test-plan", variant: "code,dynamic_client", modules: inThirdPartyInit, tests: dynamic,
		setup: oidcOptions{dynamic: true}.provider,
	})
}

// openPolicy is that of a tenant where anybody may register a client; the response types are those that a dynamic provider must have
// (Discovery section 3).
func openPolicy(more ...string) map[string]any {
	types := []string{"id_token", "id_token token"}
	for _, t := range more {
		if t != "" && t != types[0] && t != types[1] {
			types = append(types, t)
		}
	}
	return map[string]any{"oauthPolicy": map[string]any{"dynamicRegistration": "OPEN", "responseTypes": types}}
}

// metadata is what a client registers unless a module wants something else.
func (o oidcOptions) metadata(more map[string]any) map[string]any {
	m := map[string]any{
		"client_name": "Self-registered " + e2etest.Unique(""), "redirect_uris": []string{e2etest.RedirectURI, e2etest.SecondRedirectURI},
		"post_logout_redirect_uris": []string{e2etest.PostLogoutURI},
		"grant_types":               []string{"authorization_code", "refresh_token"},
	}
	if o.responseType != "" {
		m["response_types"] = []string{"code", o.responseType}
		m["grant_types"] = []string{"authorization_code", "refresh_token", "implicit"}
	}
	maps.Copy(m, more)
	return m
}

// register sends client metadata to the registration endpoint (RFC 7591 section 3.1).
func register(t *testing.T, tn *e2etest.Tenant, metadata map[string]any) *e2etest.Answer {
	t.Helper()
	endpoint := e2etest.Str(get(t, tn.Issuer+"/.well-known/openid-configuration", nil).JSON, "registration_endpoint")
	if endpoint == "" {
		t.Fatal("no registration_endpoint")
	}
	raw, err := json.Marshal(metadata)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	return e2etest.Send(t, req)
}

// registered makes a client of itself.
func (o oidcOptions) registered(t *testing.T, tn *e2etest.Tenant, more map[string]any) (*e2etest.Party, map[string]any) {
	t.Helper()
	a := register(t, tn, o.metadata(more))
	if a.Status != http.StatusCreated || a.Header.Get("Cache-Control") == "" {
		t.Fatalf("registration: %d %s", a.Status, a.Body)
	}
	auth := e2etest.Str(a.JSON, "token_endpoint_auth_method")
	c := e2etest.NewParty(t, tn.Issuer, e2etest.Client{ID: e2etest.Str(a.JSON, "client_id"), Secret: e2etest.Str(a.JSON, "client_secret")}, auth)
	c.ResponseMode, c.ResponseType, c.IDTokenAlg = o.mode, o.responseType, "RS256"
	return c, a.JSON
}

// registers makes a client for one module.
func (r *run) registers(more map[string]any) (*e2etest.Party, map[string]any) {
	r.Helper()
	return r.options.registered(r.T, r.tenant, more)
}
