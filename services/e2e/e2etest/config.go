// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2etest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/services/control"
	"github.com/tenantry/tenantry/services/identity"
)

// edgeAddress is where the edge calls from. Its own callers may have other loopback addresses.
const edgeAddress = "127.0.0.1/32"

func (r *Rig) configFile(name string) string { return filepath.Join(r.Dir, name+".yaml") }

func (r *Rig) admin(name string) string { return "http://" + r.adminAddress[name] }

// writeConfig writes the three configuration files, and one file for each secret in them.
func (r *Rig) writeConfig(t testing.TB) {
	t.Helper()
	admins := freePorts(t, 3)
	r.adminAddress = map[string]string{}
	for i, name := range []string{Control, Login, Token} {
		r.adminAddress[name] = fmt.Sprintf("127.0.0.1:%d", admins[i])
	}
	smtp := r.serveMail(t)
	configRedis := r.writeFile(t, "config-redis.url", r.ConfigRedis.URL())
	runtimeRedis := r.writeFile(t, "runtime-redis.url", r.RuntimeRedis.URL())
	identityDB := r.writeFile(t, "identity.url", r.Identity.URL(identity.Role))
	process := func(name string) map[string]any {
		return map[string]any{
			"log":   map[string]any{"level": "info", "format": "json"},
			"admin": map[string]any{"address": r.adminAddress[name]},
			"drain": map[string]any{"timeout": "10s"},
		}
	}
	with := func(base map[string]any, more map[string]any) string {
		for k, v := range more {
			base[k] = v
		}
		return yaml("", base)
	}
	address := func(base string) map[string]any {
		return map[string]any{"address": strings.TrimPrefix(base, "http://")}
	}
	dataPlane := map[string]any{
		"config_redis": configRedis, "runtime_redis": runtimeRedis, "identity_database": identityDB,
		"snapshot_pins": r.Keys.SnapshotPins(), "keyring": r.Keys.Keyring(),
		"timeout": "5s", // of a machine that runs a whole test suite; the defaults are for one that serves
	}
	if r.tls {
		dataPlane["trusted_proxies"] = []string{edgeAddress}
	}
	signerSocket := filepath.Join(shortDir(t), "signer")
	r.writeFile(t, "token.yaml", with(process(Token), dataPlane)+r.outbound(t)+r.clientCertificates(t)+yaml("", map[string]any{
		"listen": address(r.Token), "internal": map[string]any{"address": "unix:" + signerSocket}, "signing_keys": []string{r.Keys.RegionSigning()},
	}))
	r.writeFile(t, "login.yaml", with(process(Login), dataPlane)+r.outbound(t)+yaml("", map[string]any{
		"listen": address(r.Login), "signer": map[string]any{"address": "unix:" + signerSocket},
		"mail": map[string]any{"host": "127.0.0.1", "port": smtp, "tls": "none", "from": "no-reply@piedpiper.example"},
	}))
	controlPlane := r.controlConfig(t, configRedis, identityDB)
	if r.tls {
		controlPlane["trusted_proxies"] = []string{edgeAddress}
	}
	r.writeFile(t, "control.yaml", with(process(Control), controlPlane)+r.outbound(t))
}

// outbound lets a service reach the tests' own servers on loopback addresses, when they speak TLS.
func (r *Rig) outbound(t testing.TB) string {
	t.Helper()
	if !r.tls {
		return ""
	}
	return yaml("", map[string]any{"outbound": map[string]any{
		"allow_networks": []string{"127.0.0.0/8"}, "ca_file": r.writeFile(t, "suite-ca.pem", certificates().pem()),
	}})
}

// clientCertificates says where the edge puts its callers' certificates, and whose count.
func (r *Rig) clientCertificates(t testing.TB) string {
	t.Helper()
	if !r.tls {
		return ""
	}
	return yaml("", map[string]any{"client_certificates": map[string]any{
		"header": "Client-Cert", "ca_file": r.writeFile(t, "client-ca.pem", certificates().pem()),
	}})
}

// shortDir is a directory whose path leaves room for a socket's name: Linux takes 107 bytes in all.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tnt") //nolint:usetesting // t.TempDir has the test's name in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// mintPlatformKey makes the first key as an operator does, with the owner's access to the database.
func (r *Rig) mintPlatformKey(t testing.TB) string {
	t.Helper()
	key, err := control.MintPlatformKey(t.Context(), r.Control.OwnerURL, "e2e", 0)
	if err != nil {
		t.Fatal(err)
	}
	return key.Text
}

// apiDomain makes the default audience of orgs.
const apiDomain = "api.e2e.example"

func (r *Rig) controlConfig(t testing.TB, configRedis, identityDB string) map[string]any {
	t.Helper()
	return map[string]any{
		"grpc": map[string]any{"address": r.GRPC}, "rest": map[string]any{"address": strings.TrimPrefix(r.REST, "http://")}, "rest_url": r.REST,
		"database":          r.writeFile(t, "control.url", r.Control.URL("tenantry_control")),
		"worker_database":   r.writeFile(t, "control-worker.url", r.Control.URL("tenantry_publisher")),
		"identity_database": identityDB, "config_redis": configRedis,
		"snapshot_key": r.Keys.SnapshotSigning(), "recipients": []string{r.Keys.RegionSigningPublic(), r.Keys.RecoveryPublic()}, "page_token_key": r.Keys.PageTokens(),
		"public_url": fmt.Sprintf("%s://{host}:%d", r.scheme(), r.Port), "api_domain": apiDomain, "development": true, "hostname_checks": 1000, "registrations": 1000,
	}
}
