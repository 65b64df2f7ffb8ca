// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/tenantry/tenantry/pkg/localserver"
	"github.com/tenantry/tenantry/pkg/snapshot"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// tenants is a client of the control plane with a key.
func (b *bed) tenants(key string) (context.Context, controlv1.TenantServiceClient) {
	conn := try(grpc.NewClient(b.rig.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials())))
	b.Cleanup(func() { _ = conn.Close() })
	return metadata.AppendToOutgoingContext(b.Context(), "authorization", "Bearer "+key), controlv1.NewTenantServiceClient(conn)
}

// smallOrg has a blueprint of one client and one API key, as DISTRIBUTION.md counts.
func (b *bed) smallOrg() *e2etest.Org {
	return b.rig.NewOrgWith(b, "small", blueprint(map[string]any{
		"id": "api", "displayName": "Machine", "kind": "SERVICE", "clientType": "CONFIDENTIAL", "grantTypes": []string{"client_credentials"},
		"tokenEndpointAuthMethod": "client_secret_basic",
	}))
}

var tenantNumber atomic.Int64

func provisionRequest(org *e2etest.Org, wait controlv1.ProvisionTenantRequest_ProvisionDepth) *controlv1.ProvisionTenantRequest {
	slug := fmt.Sprintf("t%d", tenantNumber.Add(1))
	return &controlv1.ProvisionTenantRequest{
		Parent: org.Name, TenantId: slug, RequestId: e2etest.RequestID(), Blueprint: org.Blueprint,
		Tenant: &controlv1.Tenant{DisplayName: "Tenant " + slug}, Owner: &controlv1.OwnerSpec{Email: "owner@" + slug + ".example"}, WaitFor: wait,
	}
}

var (
	perSecond = regexp.MustCompile(`([0-9.]+) tenants/s`)
	tail99    = regexp.MustCompile(`([0-9.]+) p99-ms`)
)

// provision measures the transaction where it is made, and the whole call through gRPC.
func provision(b *bed) []row {
	// The use case is internal to the control plane: its own benchmark measures it, on this server.
	bin := b.dir + "/provision.test"
	build := exec.CommandContext(b.Context(), "go", "test", "-c", "-o", bin, "./services/control/internal/provision")
	build.Dir = e2etest.Root()
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	n := strconv.Itoa(max(2000, int(b.seconds.Seconds()*2500)))
	var rates, p99 []float64
	base := b.commits(16)
	var commits []float64
	for range 3 {
		commits = append(commits, base.run(b.seconds/4).rate())
		cmd := exec.CommandContext(b.Context(), bin, "-test.run=^$", "-test.bench=BenchmarkProvision/c=16", "-test.benchtime="+n+"x")
		cmd.Env = append(os.Environ(), localserver.TestDatabaseEnv+"="+b.pg.URL("postgres", localserver.Superuser))
		cmd.Dir = b.dir
		out, err := cmd.CombinedOutput()
		m, l := perSecond.FindSubmatch(out), tail99.FindSubmatch(out)
		if err != nil || m == nil || l == nil {
			b.Fatalf("%v: %s", err, out)
		}
		rates, p99 = append(rates, try(strconv.ParseFloat(string(m[1]), 64))), append(p99, try(strconv.ParseFloat(string(l[1]), 64)))
		b.Logf("  provision transaction: %.0f/s, p99 %.1f ms; single-row commits %.0f/s", rates[len(rates)-1], p99[len(p99)-1], commits[len(commits)-1])
	}
	base.cleanup()

	org := b.smallOrg()
	ctx, client := b.tenants(org.Key)
	login := &side{name: "provision through gRPC, LOGIN_READY", workers: 32, cpu: cpu(b.control), step: func(int) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		op, err := client.ProvisionTenant(ctx, provisionRequest(org, controlv1.ProvisionTenantRequest_LOGIN_READY))
		if err != nil {
			return err
		}
		var answer controlv1.ProvisionTenantResponse
		if err := op.GetResponse().UnmarshalTo(&answer); err != nil {
			return err
		}
		if p := answer.GetPropagation().String(); strings.Contains(p, "PENDING") {
			return fmt.Errorf("propagation %s", p)
		}
		return nil
	}}
	r := interleave(b.seconds, login)[0]
	rate := median(rates)
	return []row{
		{
			"provision transaction, c=16", "≥ 2,500/s", fmt.Sprintf("%.0f/s, p99 %.0f ms (single-row commits: %.0f/s)", rate, median(p99), median(commits)), rate >= 2500,
			"3 remote calls without rollback",
		},
		{
			"same through gRPC with `wait_for=LOGIN_READY`, c=32", "≥ 1,000/s, p99 ≤ 60 ms", fmt.Sprintf("%.0f/s, p50 %.1f ms, p99 %.1f ms, %d failed", r.rate, r.p50, r.p99, r.failed),
			r.rate >= 1000 && r.p99 <= 60 && r.failed == 0, "",
		},
	}
}

// visible measures from the commit of a change to the moment in which another process serves it, at a steady 100 changes a second.
func visible(b *bed) []row {
	org := b.smallOrg()
	ctx, client := b.tenants(org.Key)
	const tenants = 50
	cache := b.cache()
	hosts := make([]string, tenants)
	for i := range hosts {
		t := org.Provision(b, fmt.Sprintf("v%d", tenantNumber.Add(1)))
		hosts[i] = t.Host
		_ = try(cache.Lookup(ctx, t.Host))
	}
	pool := make(chan *pgx.Conn, 8)
	for range cap(pool) {
		pool <- try(pgx.Connect(ctx, b.rig.Control.AdminURL))
	}
	var mu sync.Mutex
	var took []time.Duration
	missing := 0
	var wg sync.WaitGroup
	every := time.NewTicker(10 * time.Millisecond)
	for i := range int(b.seconds.Seconds() * 100) {
		<-every.C
		wg.Go(func() {
			host := hosts[i%tenants]
			label, _, _ := strings.Cut(host, ".")
			want := fmt.Sprintf("Name %d", i)
			if _, err := client.UpdateTenant(ctx, &controlv1.UpdateTenantRequest{
				Tenant:     &controlv1.Tenant{Name: org.Name + "/tenants/" + label, DisplayName: want},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name"}},
			}); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if missing++; missing == 1 {
					b.Logf("  %v", err)
				}
				return
			}
			served, ok := served(cache, host, want)
			conn := <-pool
			var committed time.Time
			err := conn.QueryRow(ctx, "SELECT pg_xact_commit_timestamp(xmin) FROM tenants WHERE slug = $1", label).Scan(&committed)
			pool <- conn
			mu.Lock()
			defer mu.Unlock()
			if err != nil || !ok {
				if missing++; missing == 1 {
					b.Logf("  %v %v", err, ok)
				}
				return
			}
			took = append(took, served.Sub(committed))
		})
	}
	wg.Wait()
	every.Stop()
	for range cap(pool) {
		_ = (<-pool).Close(ctx)
	}
	slices.Sort(took)
	s := slice{latency: took}
	p50, p99 := ms(s.at(0.5)), ms(s.at(0.99))
	return []row{{
		"commit → served by another process, 100/s", "p50 ≤ 5 ms, p99 ≤ 25 ms", fmt.Sprintf("p50 %.1f ms, p99 %.1f ms, %d of %d missing", p50, p99, missing, missing+len(took)),
		p50 <= 5 && p99 <= 25 && missing == 0, "",
	}}
}

// served waits until the cache answers with the new name.
func served(cache *snapshot.Cache, host, name string) (time.Time, bool) {
	for begin := time.Now(); time.Since(begin) < 5*time.Second; time.Sleep(100 * time.Microsecond) {
		if t, err := cache.Lookup(context.Background(), host); err == nil && t.DisplayName == name {
			return time.Now(), true
		}
	}
	return time.Time{}, false
}
