// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/pkg/localserver"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/dbtest"
	"github.com/tenantry/tenantry/services/internal/keyfiles"
)

// plane is a control plane with real databases and Redis, and a platform key.
type plane struct {
	rest, grpc, key string
	cfg             control.Config
}

func start(t *testing.T, edit ...func(*control.Config)) *plane {
	t.Helper()
	ctx := t.Context()
	controlDB, identityDB := dbtest.New(t, "control", control.Migrate), dbtest.New(t, "identity", identity.Migrate)
	dir := t.TempDir()
	if _, err := keyfiles.Init(keyfiles.Dir(dir), "local", time.Now()); err != nil {
		t.Fatal(err)
	}
	keys := keyfiles.Dir(dir)
	pageKey, err := os.ReadFile(keys.PageTokens())
	if err != nil {
		t.Fatal(err)
	}
	p := &plane{cfg: control.Config{
		GRPC: daemon.GRPCConfig{ListenConfig: daemon.ListenConfig{Address: "127.0.0.1:0"}},
		REST: daemon.HTTPConfig{ListenConfig: daemon.ListenConfig{Address: "127.0.0.1:0"}}, RESTURL: "http://localhost:9080",
		Database: daemon.SecretOf(controlDB.URL("tenantry_control")), WorkerDatabase: daemon.SecretOf(controlDB.URL("tenantry_publisher")),
		IdentityDatabase: daemon.SecretOf(identityDB.URL(identity.Role)), ConfigRedis: daemon.SecretOf(localserver.TestRedis(t).URL()),
		SnapshotKey: daemon.Path(keys.SnapshotSigning()), PageTokenKey: daemon.SecretOf(strings.TrimSpace(string(pageKey))),
		Recipients: []daemon.Path{daemon.Path(keys.RegionSigningPublic()), daemon.Path(keys.RecoveryPublic())},
		PublicURL:  "http://{host}:8080", APIDomain: "api.localhost", Development: true,
	}}
	for _, f := range edit {
		f(&p.cfg)
	}
	process, err := daemon.NewProcess(ctx, "tenantry-control", "test", daemon.Config{Log: daemon.LogConfig{Level: "error"}}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	service, err := control.New(ctx, p.cfg, control.Deps{Process: process, Build: "test"})
	if err != nil {
		t.Fatal(err)
	}
	var group daemon.Group
	if err := group.Start(ctx, process.Log, service.Components()...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := group.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	key, err := control.MintPlatformKey(ctx, controlDB.OwnerURL, "test", 0)
	if err != nil {
		t.Fatal(err)
	}
	p.rest, p.grpc, p.key = "http://"+service.RESTAddr(), service.GRPCAddr(), key.Text
	return p
}

func (p *plane) call(t *testing.T, key, method, path, body string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.rest+path, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s %s: %d %q", method, path, resp.StatusCode, text)
	}
	return resp.StatusCode, v
}

func (p *plane) must(t *testing.T, key, method, path, body string) map[string]any {
	t.Helper()
	code, v := p.call(t, key, method, path, body)
	if code != http.StatusOK {
		t.Fatalf("%s %s: %d %v", method, path, code, v)
	}
	return v
}

func field(v any, path ...string) any {
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

// The main job: an org, its blueprint, a tenant that can be logged in to at once, and the tenant's own key.
func TestFromPlatformKeyToServedTenant(t *testing.T) {
	p := start(t)
	p.must(t, p.key, "POST", "/v1/orgs?orgId=piedpiper", `{"displayName":"Pied Piper","baseDomain":"localhost"}`)
	minted := p.must(t, p.key, "POST", "/v1/orgs/piedpiper/apiKeys:mint", `{"apiKeyId":"owner","apiKey":{"displayName":"owner","role":"orgOwner"}}`)
	owner, _ := minted["secret"].(string)
	p.must(t, owner, "POST", "/v1/orgs/-/blueprints?blueprintId=standard", `{"draft":{
		"config":{"passwordPolicy":{"minLength":12}},"theme":{"brand":"{{brandColor}}"},"parameters":{"brandColor":{"type":"STRING","default":"#0b6e4f"}},
		"roles":[{"id":"admin"},{"id":"member","default":true}],"apiKeys":[{"id":"tenant-admin","role":"tenantAdmin"}],
		"initialUsers":[{"email":"{{owner.email}}","roles":["admin"],"invite":true}],"locked":["config.passwordPolicy.minLength"]}}`)
	p.must(t, owner, "POST", "/v1/orgs/-/blueprints/standard:publish", `{"message":"first"}`)
	op := p.must(t, owner, "POST", "/v1/orgs/-/tenants:provision",
		`{"tenantId":"hooli","blueprint":"orgs/-/blueprints/standard","owner":{"email":"gavin@hooli.example"},"waitFor":"LOGIN_READY"}`)
	answer := field(op, "response")
	if op["done"] != true || field(answer, "propagation") != "REACHED" || field(answer, "issuer") != "http://hooli.localhost:8080" {
		t.Fatalf("operation: %v", op)
	}
	if field(answer, "consistencyToken") == nil {
		t.Error("the answer has no consistency token")
	}
	keys, _ := field(answer, "apiKeys").([]any)
	tenantKey, _ := field(keys[0], "secret").(string)
	users := p.must(t, tenantKey, "GET", "/v1/orgs/-/tenants/-/users", "")
	list, _ := users["users"].([]any)
	if len(list) != 1 || field(list[0], "state") != "INVITED" {
		t.Fatalf("users: %v", users)
	}
	again := p.must(t, owner, "GET", "/v1/"+op["name"].(string), "")
	if ks, _ := field(again, "response", "apiKeys").([]any); len(ks) != 1 || field(ks[0], "secret") != nil {
		t.Errorf("the operation shows a secret: %v", again)
	}
	if code, v := p.call(t, owner, "DELETE", "/v1/orgs/-/tenants/hooli", ""); code != http.StatusBadRequest {
		t.Errorf("delete of a tenant with users without force: %d %v", code, v)
	}
	p.must(t, owner, "DELETE", "/v1/orgs/-/tenants/hooli?force=true", "")

	// The same over gRPC, on the port that everybody may use.
	conn, err := grpc.NewClient(p.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+owner)
	o, err := controlv1.NewOrgServiceClient(conn).GetOrg(ctx, &controlv1.GetOrgRequest{Name: "orgs/-"})
	if err != nil || o.GetSlug() != "piedpiper" {
		t.Fatalf("GetOrg: %v %v", o, err)
	}
}

// Every problem of a configuration is told at once, with its field.
func TestConfigurationIsCheckedAsAWhole(t *testing.T) {
	file := filepath.Join(t.TempDir(), "control.yaml")
	if err := os.WriteFile(file, []byte("roles: [api, janitor]\npublic_url: https://login.example\nrest_url: nowhere\nrsa_keys: 4\nlisten: :80\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var cfg control.Config
	err := daemon.LoadConfig(file, &cfg)
	var list *daemon.ConfigError
	if !errors.As(err, &list) || !strings.Contains(err.Error(), "listen") {
		t.Fatalf("unknown field: %v", err)
	}
	if err := os.WriteFile(file, []byte("roles: [api, janitor]\npublic_url: https://login.example\nrest_url: nowhere\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg = control.Config{}
	err = daemon.LoadConfig(file, &cfg)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"roles[1]: must be api", ":2: public_url", ":3: rest_url", "database: must be set", "config_redis: must be set", "api_domain: must be set", "recipients: must",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in\n%v", want, err)
		}
	}
}
