// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
)

func TestConfigSaysWhichFieldAndWhy(t *testing.T) {
	var cfg Config
	err := daemon.ParseConfig("token.yaml", []byte("trusted_proxies: [10.0.0.0/8, nonsense]\ntimeout: 1h\nidentity_connections: -1\n"), &cfg)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"trusted_proxies[1]", "config_redis: must be set", "runtime_redis: must be set", "identity_database: must be set",
		"snapshot_pins: must be set", "keyring: must be set", "signing_keys", "timeout", "identity_connections",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "trusted_proxies[0]") {
		t.Errorf("a good network is named:\n%v", err)
	}
}

// files are the key files of a region, and addresses where nobody listens.
func files(t *testing.T, world *dptest.World) (yaml, dir string, signer snapshot.SigningKey) {
	t.Helper()
	dir = t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	signer, err = snapshot.GenerateSigningKey(dptest.Region, 1)
	check(err)
	verifier, err := snapshot.NewVerifier(dptest.Region, signer.Public())
	check(err)
	check(verifier.Save(in("pins.json")))
	check(world.Private.Save(in("signing.json")))
	wrong, err := secret.GeneratePrivateKey(dptest.Region, secret.PurposeConnection, time.Now())
	check(err)
	check(wrong.Save(in("connection.json")))
	check(world.Keyring.Save(in("keyring.json")))
	check(os.WriteFile(in("config-redis"), []byte("redis://127.0.0.1:1/0\n"), 0o600))
	check(os.WriteFile(in("runtime-redis"), []byte("redis://127.0.0.1:2/0\n"), 0o600))
	check(os.WriteFile(in("identity"), []byte("postgres://tenantry_identity@127.0.0.1:3/identity\n"), 0o600))
	return `listen: { address: "127.0.0.1:0" }
trusted_proxies: [10.0.0.0/8]
config_redis: config-redis
runtime_redis: runtime-redis
identity_database: identity
snapshot_pins: pins.json
signing_keys: [signing.json]
keyring: keyring.json
`, dir, signer
}

// A service starts while everything that it depends on is down, and says so to callers instead of dying.
func TestStartsWithEverythingDown(t *testing.T) {
	yaml, dir, _ := files(t, dptest.New(t))
	var cfg Config
	if err := daemon.ParseConfig(filepath.Join(dir, "token.yaml"), []byte(yaml), &cfg); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	s, err := New(t.Context(), cfg, Deps{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.Stop()
	if took := time.Since(begin); took > time.Second {
		t.Errorf("started after %v: something was connected to", took)
	}
	req := httptest.NewRequest(http.MethodGet, "/.well-known/jwks.json", nil)
	req.Host = "hooli.example.com"
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, req)
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

func TestNewNamesTheBadFile(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"no keyring":             {"keyring.json", "nothing.json", "keyring"},
		"no pins":                {"pins.json", "nothing.json", "snapshot_pins"},
		"key of another purpose": {"signing.json", "connection.json", "signing_keys"},
	} {
		t.Run(name, func(t *testing.T) {
			yaml, dir, _ := files(t, dptest.New(t))
			var cfg Config
			if err := daemon.ParseConfig(filepath.Join(dir, "token.yaml"), []byte(strings.ReplaceAll(yaml, c.from, c.to)), &cfg); err != nil {
				t.Fatal(err)
			}
			s, err := New(t.Context(), cfg, Deps{Logger: slog.New(slog.DiscardHandler)})
			if err == nil {
				s.Stop()
				t.Fatal("started")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not name %s", err, c.want)
			}
		})
	}
}

func TestOneRedisForBothIsRefused(t *testing.T) {
	yaml, dir, _ := files(t, dptest.New(t))
	var cfg Config
	err := daemon.ParseConfig(filepath.Join(dir, "token.yaml"), []byte(strings.Replace(yaml, "runtime_redis: runtime-redis", "runtime_redis: config-redis", 1)), &cfg)
	if err == nil || !strings.Contains(err.Error(), "runtime_redis") {
		t.Fatal(err)
	}
}
