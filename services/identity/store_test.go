// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/dbtest"
)

// noon is when every test begins; the store never reads a clock.
var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// hasher is cheap, so that a test of lockouts does not take a minute.
var hasher = secret.NewHasher(secret.Argon2Params{MemoryKiB: 64, Time: 1, Threads: 1}, 2, 1000)

const goodPassword = "correct horse 47 battery"

var policy = identity.PasswordPolicy{MinLength: 12, CommonCheck: true, TenantName: "Hooli"}

func open(t testing.TB) *identity.Store {
	t.Helper()
	return openAt(t, dbtest.New(t, "identity", identity.Migrate))
}

func openAt(t testing.TB, db dbtest.DB) *identity.Store {
	t.Helper()
	s, err := identity.Open(context.Background(), identity.Config{DatabaseURL: db.URL(identity.Role), MaxConns: 24}, hasher)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func newTenant() identity.TenantRef {
	return identity.TenantRef{Tenant: id.NewTenant(), Pool: id.NewUserPool()}
}

func at(now time.Time) identity.Op {
	return identity.Op{Now: now, Actor: "system", RequestID: "req-1", IP: "192.0.2.7", UserAgent: "test"}
}

var emails atomic.Int64

func register(t testing.TB, s *identity.Store, ref identity.TenantRef) identity.User {
	t.Helper()
	u, err := s.Register(context.Background(), ref, at(noon), identity.Registration{
		Email: fmt.Sprintf("gavin%d@hooli.example", emails.Add(1)), Password: goodPassword,
		Profile: identity.Profile{Name: "Gavin Belson"}, Roles: []string{"member"},
	}, policy)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func login(t testing.TB, s *identity.Store, ref identity.TenantRef, u identity.User) (identity.Session, identity.SessionToken) {
	t.Helper()
	session, token, err := s.CreateSession(context.Background(), ref, at(noon), identity.NewSession{User: u.ID, AMR: []string{"pwd"}, ACR: "urn:tenantry:acr:pwd"})
	if err != nil {
		t.Fatal(err)
	}
	return session, token
}

func family(t testing.TB, s *identity.Store, ref identity.TenantRef, u identity.User, session id.Session, offline bool) identity.Family {
	t.Helper()
	f, err := s.CreateFamily(context.Background(), ref, at(noon), identity.NewFamily{
		Grant: id.NewGrant(), User: u.ID, Client: id.NewClient(), Scopes: []string{"openid", "chat:write"}, Session: session,
		Offline: offline, AuthTime: noon, AMR: []string{"pwd"}, ACR: "urn:tenantry:acr:pwd", Resource: "https://api.example", Claims: `{"userinfo":{}}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func rotation(f identity.Family, generation int) identity.Rotation {
	return identity.Rotation{
		Grant: f.Grant, Client: f.Client, Generation: generation, Grace: 30 * time.Second, Idle: 24 * time.Hour, Absolute: 30 * 24 * time.Hour,
	}
}

func want(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Helper()
		t.Fatalf("got error %v, want %v", err, target)
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// actions lists the tenant's audit actions, oldest first, after its chain was verified.
func actions(t testing.TB, s *identity.Store, ref identity.TenantRef) []string {
	t.Helper()
	n, err := s.VerifyAudit(context.Background(), ref)
	ok(t, err)
	events, err := s.ListAuditEvents(context.Background(), ref, identity.AuditPage{Limit: 1000})
	ok(t, err)
	if int(n) != len(events) {
		t.Fatalf("the chain has %d events, the list %d", n, len(events))
	}
	out := make([]string, len(events))
	for i, e := range events {
		out[len(events)-1-i] = e.Action
	}
	return out
}
