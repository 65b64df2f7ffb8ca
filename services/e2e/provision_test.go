// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// TestARepeatedProvisionIsOneTenantAndOneSecret sends the same call many times at once (PROMISES.md ).
func TestARepeatedProvisionIsOneTenantAndOneSecret(t *testing.T) {
	t.Parallel()
	rig := system.Rig(t)
	org := rig.NewOrg(t, "repeat")
	path := "/v1/" + org.Name + "/tenants:provision"
	for range 5 {
		request := org.ProvisionRequest(e2etest.Unique("r"))
		answers := make([]*e2etest.Answer, 12)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				answers[i] = rig.Do(t, e2etest.Call{Method: http.MethodPost, Path: path, Key: org.Key, Body: request})
			})
		}
		wg.Wait()
		names, secrets := map[string]bool{}, 0
		for _, a := range answers {
			if a.Status != http.StatusOK {
				t.Errorf("%d %.300s", a.Status, a.Body)
				continue
			}
			names[e2etest.Str(a.JSON, "response", "tenant", "name")] = true
			shown := strings.Contains(string(a.Body), "tns_") || strings.Contains(string(a.Body), "tnk_")
			if again, _ := e2etest.At(a.JSON, "response", "secretAlreadyReturned").(bool); again == shown {
				t.Errorf("secretAlreadyReturned is %v, and secrets are shown: %v", again, shown)
			}
			if shown {
				secrets++
			}
		}
		if len(names) != 1 || secrets != 1 {
			t.Errorf("%d tenants, secrets shown %d times", len(names), secrets)
		}
		other := maps.Clone(request)
		other["tenant"] = map[string]any{"displayName": "Another name"}
		if a := rig.Do(t, e2etest.Call{Method: http.MethodPost, Path: path, Key: org.Key, Body: other}); a.Status != http.StatusConflict || a.Reason() != "REQUEST_ID_REUSED" {
			t.Errorf("another body under the same id: %d %.300s", a.Status, a.Body)
		}
	}
}

// TestAWrongConfigurationIsNamed starts each program with files that cannot be: it ends at once and says where and why.
func TestAWrongConfigurationIsNamed(t *testing.T) {
	t.Parallel()
	rig := system.Rig(t)
	bin := e2etest.Binaries(t)
	for _, tc := range []struct{ program, change, to, says string }{
		{e2etest.Token, "keyring:", "keyrings:", "keyrings"},
		{e2etest.Token, "  address: ", "  address: nonsense # ", "address"},
		{e2etest.Login, "  port: ", "  port: 99999999 # ", "port"},
		{e2etest.Login, "runtime_redis: ", "runtime_redis: /nowhere/at/all # ", "runtime_redis"},
		{e2etest.Control, "api_domain: ", "api_domain: \"no domain\" # ", "api_domain"},
		{e2etest.Control, "public_url: ", "public_url: \"http://example\" # ", "public_url"},
	} {
		t.Run(tc.program+" "+tc.says, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(rig.Dir, tc.program+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			broken := strings.Replace(string(text), tc.change, tc.to, 1)
			if broken == string(text) {
				t.Fatalf("%q is not in the file", tc.change)
			}
			file := filepath.Join(t.TempDir(), "broken.yaml")
			if err := os.WriteFile(file, []byte(broken), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "tenantry-"+tc.program), "--config", file)
			out, err := cmd.CombinedOutput()
			if err == nil || cmd.ProcessState.ExitCode() != 1 {
				t.Fatalf("it ended with %v:\n%s", err, out)
			}
			if !strings.Contains(string(out), tc.says) || !strings.Contains(string(out), "broken.yaml:") {
				t.Errorf("neither field nor line is named:\n%s", out)
			}
		})
	}
}
