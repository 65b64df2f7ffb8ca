// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
)

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", "redis://a")
	for _, c := range []struct{ text, field string }{
		{"", "config_redis"},
		{"config_redis: a\nruntime_redis: a\nidentity_database: a\nsnapshot_pins: p\nkeyring: k\n", "runtime_redis"},
		{"trusted_proxies: [10.0.0.1]\n", "trusted_proxies[0]"},
		{"mail: {host: mail.example}\n", "mail.from"},
		{"mail: {host: mail.example, from: no-reply@ppvc.example, tls: maybe}\n", "mail.tls"},
		{"mail: {host: mail.example, from: no-reply@ppvc.example, tls: none, user: u, password: a}\n", "mail.user"},
		{"mail: {host: mail.example, from: no-reply@ppvc.example, user: u}\n", "mail.password"},
		{"mail: {host: mail.example, from: no-reply@ppvc.example, port: 70000}\n", "mail.port"},
		{"passwords: {queue: -1}\n", "passwords.queue"},
		{"timeout: 1h\n", "timeout"},
		{"unknown: 1\n", "unknown"},
	} {
		var cfg Config
		err := daemon.ParseConfig(filepath.Join(dir, "login.yaml"), []byte(c.text), &cfg)
		if err == nil || !strings.Contains(err.Error(), c.field+": ") {
			t.Errorf("%q: %v lacks %s", c.text, err, c.field)
		}
	}
}

// TestServiceStartsWhileEverythingIsAway: New and Start connect to nothing that must be there.
func TestServiceStartsWhileEverythingIsAway(t *testing.T) {
	dir := t.TempDir()
	ring, err := secret.NewKeyring(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Save(filepath.Join(dir, "keyring.json")); err != nil {
		t.Fatal(err)
	}
	key, err := snapshot.GenerateSigningKey("local", 1)
	if err != nil {
		t.Fatal(err)
	}
	pins, err := snapshot.NewVerifier("local", key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := pins.Save(filepath.Join(dir, "pins.json")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "config", "redis://127.0.0.1:1")
	write(t, dir, "runtime", "redis://127.0.0.1:2")
	write(t, dir, "database", "postgres://tenantry_identity@127.0.0.1:3/identity")
	var cfg Config
	err = daemon.ParseConfig(filepath.Join(dir, "login.yaml"), []byte(`
listen: { address: ":8443" }
config_redis: config
runtime_redis: runtime
identity_database: database
snapshot_pins: pins.json
keyring: keyring.json
signer: { address: "unix:signer" }
mail: { host: 127.0.0.1, port: 4, tls: none, from: no-reply@ppvc.example }
`), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), cfg, Deps{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s.Stop(ctx)
	s.Stop(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Error("it does not stop")
	}
	if len(s.Routes()) < 15 {
		t.Errorf("routes %v", s.Routes())
	}
}
