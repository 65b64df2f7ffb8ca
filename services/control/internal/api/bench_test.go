// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"testing"

	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"

	longrunning "cloud.google.com/go/longrunning/autogen/longrunningpb"
)

// What a call costs on its way through the interceptors, by gRPC and through the gateway, with 16 callers.
func BenchmarkGetTenant(b *testing.B) {
	w := newWorld(b)
	b.Run("grpc", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				if err := w.call(w.owner, &controlv1.GetTenantRequest{Name: w.tenant}, &controlv1.Tenant{}); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("rest", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				if r := w.http(w.owner, "GET", "/v1/"+w.tenant, nil); r.code != 200 {
					b.Errorf("%d %s", r.code, r.body)
				}
			}
		})
	})
}

// A whole provision with two algorithms' worth of keys left to the worker, committed, by gRPC with 16 callers.
func BenchmarkProvisionTenant(b *testing.B) {
	w := newWorld(b)
	b.SetParallelism(8)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			req := &controlv1.ProvisionTenantRequest{
				Parent: w.org, TenantId: w.slug(), Blueprint: w.blueprint, WaitFor: controlv1.ProvisionTenantRequest_COMMITTED,
				Owner: &controlv1.OwnerSpec{Email: "owner@hooli.example"},
			}
			if err := w.call(w.owner, req, &longrunning.Operation{}); err != nil {
				b.Error(err)
			}
		}
	})
}
