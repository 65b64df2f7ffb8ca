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

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/localserver"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/dbtest"
)

// installation is what a service finds at its start: files, a published tenant, servers.
type installation struct {
	dir, config string
	redis       *localserver.Redis // of the configuration
	client      app
	host        string
}

func newInstallation(t *testing.T) installation {
	t.Helper()
	world := dptest.New(t)
	yaml, dir, signer := files(t, world)
	in := installation{dir: dir, config: filepath.Join(dir, "token.yaml"), redis: localserver.TestRedis(t), host: "hooli.example.com"}
	runtime := localserver.TestRedis(t)
	db := dbtest.New(t, "identity", identity.Migrate)
	for name, text := range map[string]string{
		"token.yaml": yaml, "config-redis": in.redis.URL(), "runtime-redis": runtime.URL(), "identity": db.URL(identity.Role),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	org := world.Org("piedpiper")
	client, text := world.Client(func(c *snapshotv1.Client) { c.Scopes = []string{"chat:read"} })
	in.client = app{dptest.ClientID(client), text}
	core := world.Document(t, org, "hooli", func(c *snapshotv1.TenantSnapshot) { c.Clients = append(c.Clients, client) })
	rdb, err := snapshot.ConnectWriter(in.redis.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	writer := snapshot.NewWriter(rdb)
	item := func(kind snapshot.Kind, subject [16]byte, doc proto.Message, hosts ...snapshot.HostPointer) snapshot.Item {
		body, err := proto.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		record, err := signer.Sign(kind, subject, 1, time.Now(), body)
		if err != nil {
			t.Fatal(err)
		}
		return snapshot.Item{Record: record, Kind: kind, Subject: subject, Version: 1, Hosts: hosts}
	}
	tenant := id.Tenant(core.GetTenantId())
	items := []snapshot.Item{
		item(snapshot.KindOrg, [16]byte(org.GetOrgId()), org),
		item(snapshot.KindTenant, tenant, core, snapshot.HostPointer{Host: in.host, ClaimVersion: 1, Flags: snapshot.HostLive, Tenant: tenant}),
	}
	epoch := snapshot.NewEpoch()
	if _, err := writer.BeginEpoch(t.Context(), "", epoch); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Publish(t.Context(), items, snapshot.PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.SetComplete(t.Context(), epoch); err != nil {
		t.Fatal(err)
	}
	return in
}

func (in installation) tokenRequest() *http.Request {
	req := httptest.NewRequest(http.MethodPost, "/oauth2/token", strings.NewReader("grant_type=client_credentials"))
	req.Host = in.host
	req.Header.Set("Content-Type", web.MediaTypeForm)
	req.SetBasicAuth(in.client.id, in.client.secret)
	return req
}

// The service as its program builds it, on a tenant that came through Redis, signed.
func TestServiceFromItsConfiguration(t *testing.T) {
	in := newInstallation(t)
	var cfg Config
	if err := daemon.LoadConfig(in.config, &cfg); err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), cfg, Deps{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.Stop()
	issue := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, in.tokenRequest())
		return w
	}
	if w := issue(); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var unknown *httptest.ResponseRecorder
	req := in.tokenRequest()
	req.Host = "nobody.example.com"
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		// 503 until the cache has found its place in the streams, and never an "unknown" before it can know.
		unknown = httptest.NewRecorder()
		s.Handler().ServeHTTP(unknown, req)
		if unknown.Code == http.StatusNotFound || time.Now().After(end) {
			break
		}
	}
	if unknown.Code != http.StatusNotFound {
		t.Errorf("unknown host: %d", unknown.Code)
	}
	// The configuration's Redis is gone; a tenant that was served is served.
	in.redis.Stop()
	if w := issue(); w.Code != http.StatusOK {
		t.Errorf("without the configuration's Redis: %d %s", w.Code, w.Body)
	}
}
