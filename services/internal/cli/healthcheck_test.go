// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package cli

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHealthcheckFailsUnlessReady(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"status":"draining"}`))
	}))
	defer server.Close()
	if code, _, errOut := (run{}).do(t, "healthcheck", server.URL+"/readyz"); code != 0 {
		t.Errorf("ready: exit %d, %s", code, errOut)
	}
	status = http.StatusServiceUnavailable
	if code, _, errOut := (run{}).do(t, "healthcheck", server.URL+"/readyz"); code == 0 || !strings.Contains(errOut, "draining") {
		t.Errorf("draining: exit %d, %s", code, errOut)
	}
	server.Close()
	if code, _, _ := (run{}).do(t, "healthcheck", server.URL+"/readyz"); code == 0 {
		t.Error("nobody there: exit 0")
	}
}
