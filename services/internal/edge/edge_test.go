// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package edge_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/services/internal/edge"
)

const (
	routesFile = "../../../deploy/routes.yaml"
	caddyFile  = "../../../deploy/Caddyfile"
)

func table(t *testing.T) edge.Table {
	t.Helper()
	raw, err := os.ReadFile(routesFile)
	if err != nil {
		t.Fatal(err)
	}
	table, err := edge.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestCaddyfileIsGenerated(t *testing.T) {
	want, err := os.ReadFile(caddyFile)
	if err != nil {
		t.Fatal(err)
	}
	if got := table(t).Caddyfile(); !bytes.Equal(got, want) {
		t.Fatalf("deploy/Caddyfile differs from what deploy/routes.yaml gives; run make generate\n%s", got)
	}
}

func TestServicePrefersTheExactThenTheLongest(t *testing.T) {
	routes := edge.Table{
		{Path: "/*", Service: "login"},
		{Path: "/oauth2/token", Service: "token"},
		{Path: "/oauth2/clients/*", Service: "token"},
	}
	for path, want := range map[string]string{
		"/":                   "login",
		"/oauth2/token":       "token",
		"/oauth2/token/":      "login",
		"/oauth2/clients":     "login",
		"/oauth2/clients/abc": "token",
		"/oauth2/authorize":   "login",
	} {
		if got := routes.Service(path); got != want {
			t.Errorf("Service(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestHandlerSendsEachPathToItsOwner(t *testing.T) {
	answer := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(name)) })
	}
	h := table(t).Handler(answer("login"), answer("token"), answer("control"))
	for path, want := range map[string]string{
		"/oauth2/token": "token", "/login": "login", "/nothing/here": "login",
		"/oauth2/clients": "control", "/oauth2/clients/cli_x": "control", "/oauth2/clientsx": "login",
	} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Body.String() != want {
			t.Errorf("%s went to %q, want %q", path, rec.Body.String(), want)
		}
	}
}

func TestParseNamesTheWrongEntry(t *testing.T) {
	for name, tc := range map[string]struct{ doc, says string }{
		"unknown key":     {"routes:\n - {path: /*, service: login, port: 1}", "port"},
		"unknown service": {"routes:\n - {path: /*, service: mail}", `routes[0]: service "mail"`},
		"relative path":   {"routes:\n - {path: login, service: login}", `routes[0]: path "login"`},
		"star inside":     {"routes:\n - {path: /a/*/b, service: login}", "routes[0]"},
		"twice":           {"routes:\n - {path: /*, service: login}\n - {path: /*, service: token}", "routes[1]"},
		"no catch-all":    {"routes:\n - {path: /login, service: login}", "no route for /*"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := edge.Parse([]byte(tc.doc))
			if !errors.Is(err, edge.ErrTable) || !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("got %v, want it to say %q", err, tc.says)
			}
		})
	}
}
