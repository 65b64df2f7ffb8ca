// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/localserver"
)

// clients is the number of connections and of goroutines that use them in the figures.
const clients = 16

var benchNow = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// durable is a migrated database whose commits reach the disk, unlike those of the other tests.
func durable(b *testing.B) (*Store, *pgxpool.Pool) {
	b.Helper()
	ctx := context.Background()
	p, err := localserver.StartPostgres(ctx, localserver.PostgresConfig{Durable: true})
	if err != nil {
		b.Skipf("no PostgreSQL: %v", err)
	}
	b.Cleanup(p.Stop)
	admin, err := pgxpool.New(ctx, p.URL("postgres", localserver.Superuser)+"&pool_max_conns="+fmt.Sprint(clients))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(admin.Close)
	if err := Migrate(ctx, p.URL("postgres", localserver.Superuser)); err != nil {
		b.Fatal(err)
	}
	s, err := Open(ctx, Config{DatabaseURL: p.URL("postgres", Role), MaxConns: clients})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	return s, admin
}

// spread runs n calls on clients goroutines and answers calls per second.
func spread(b *testing.B, n int, call func(client, i int) error) float64 {
	b.Helper()
	var wg sync.WaitGroup
	begin := time.Now()
	for c := range clients {
		wg.Go(func() {
			for i := range n / clients {
				if err := call(c, i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(n/clients*clients) / time.Since(begin).Seconds()
}

func benchUser(b *testing.B, s *Store, ref TenantRef) id.User {
	b.Helper()
	u := NewUser{
		ID: id.NewUser(), Membership: id.NewMembership(), Email: "u@x.example", EmailKey: id.NewUser().String() + "@x.example",
		State: UserActive, Source: "API", Roles: []string{"member"}, PHC: "x",
	}
	if err := s.CreateUser(context.Background(), ref, Op{Now: benchNow, Actor: "system"}, u); err != nil {
		b.Fatal(err)
	}
	return u.ID
}

// BenchmarkRotate measures rotations against what PostgreSQL can do at all: the same number of connections, each updating one
// row of its own by primary key and committing. The goal is at least half of that.
func BenchmarkRotate(b *testing.B) {
	s, admin := durable(b)
	ctx := context.Background()
	if _, err := admin.Exec(ctx, `CREATE TABLE bare (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 70)`); err != nil {
		b.Fatal(err)
	}
	if _, err := admin.Exec(ctx, `INSERT INTO bare SELECT i, 0 FROM generate_series(0, $1) AS t (i)`, clients); err != nil {
		b.Fatal(err)
	}
	type head struct {
		ref TenantRef
		r   Rotation
	}
	heads := make([]head, clients)
	for i := range heads {
		ref := TenantRef{Tenant: id.NewTenant(), Pool: id.NewUserPool()}
		f, err := s.CreateFamily(ctx, ref, Family{
			Grant: id.NewGrant(), User: benchUser(b, s, ref), Client: id.NewClient(), Scopes: []string{"openid", "offline_access"},
			Offline: true, AuthTime: benchNow, AMR: []string{"pwd"}, CreateTime: benchNow, ExpireTime: benchNow.Add(time.Hour),
		})
		if err != nil {
			b.Fatal(err)
		}
		heads[i] = head{ref, Rotation{Grant: f.Grant, Client: f.Client, Generation: 1, Grace: 30 * time.Second, Idle: time.Hour}}
	}
	bare := func(c, _ int) error {
		_, err := admin.Exec(ctx, `UPDATE bare SET n = n + 1 WHERE id = $1`, c)
		return err
	}
	rotate := func(c, _ int) error {
		h := &heads[c]
		r, err := s.Rotate(ctx, h.ref, Op{Now: benchNow, Actor: "cli_x", RequestID: "r", IP: "192.0.2.1"}, h.r)
		if err == nil && r.Generation != h.r.Generation+1 {
			err = fmt.Errorf("generation %d after %d", r.Generation, h.r.Generation)
		}
		h.r.Generation = r.Generation
		return err
	}
	// A slice of each in turn, so that both see the same machine.
	spread(b, 20*clients, bare)
	spread(b, 20*clients, rotate)
	const slice = 200 * clients
	var bareRate, rotateRate float64
	rounds := 0
	for b.Loop() {
		rounds++
		bareRate += spread(b, slice, bare)
		rotateRate += spread(b, slice, rotate)
	}
	b.ReportMetric(bareRate/float64(rounds), "bare/s")
	b.ReportMetric(rotateRate/float64(rounds), "rotate/s")
	b.ReportMetric(rotateRate/bareRate*100, "%ofbare")
}

// BenchmarkApplySeeds applies batches of new tenants' seeds: owner, invitation, mail job, two audit events each.
func BenchmarkApplySeeds(b *testing.B) {
	s, _ := durable(b)
	ctx := context.Background()
	const batch = 100
	seeds := 0
	begin := time.Now()
	for b.Loop() {
		list := make([]DigestedSeed, batch)
		for i := range list {
			u := id.NewUser()
			list[i] = DigestedSeed{Seed: Seed{
				TenantRef: TenantRef{Tenant: id.NewTenant(), Pool: id.NewUserPool()}, Time: benchNow, Actor: "key_x",
				Users: []SeedUser{{
					ID: u, Membership: id.NewMembership(), Email: "owner@x.example", EmailKey: "owner@x.example", Roles: []string{"admin"},
					Invitation: &NewInvitation{ID: id.NewInvitation(), ExpireTime: benchNow.Add(time.Hour)},
				}},
			}, Digest: [32]byte(append(u[:], u[:]...))}
		}
		if err := s.ApplySeeds(ctx, list); err != nil {
			b.Fatal(err)
		}
		seeds += batch
	}
	b.ReportMetric(float64(seeds)/time.Since(begin).Seconds(), "seeds/s")
}

// BenchmarkSession measures what an SSO login and its lookups cost.
func BenchmarkSession(b *testing.B) {
	s, _ := durable(b)
	ctx := context.Background()
	ref := TenantRef{Tenant: id.NewTenant(), Pool: id.NewUserPool()}
	user := benchUser(b, s, ref)
	var hash [32]byte
	session := Session{ID: id.NewSession(), User: user, AuthTime: benchNow, CreateTime: benchNow, ExpireTime: benchNow.Add(time.Hour)}
	if err := s.CreateSession(ctx, ref, session, hash); err != nil {
		b.Fatal(err)
	}
	b.Run("find", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := s.FindSession(ctx, ref, hash, benchNow, SessionLimits{}, time.Minute); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("create", func(b *testing.B) {
		for b.Loop() {
			session.ID = id.NewSession()
			if err := s.CreateSession(ctx, ref, session, [32]byte(append(session.ID[:], session.ID[:]...))); err != nil {
				b.Fatal(err)
			}
		}
	})
}
