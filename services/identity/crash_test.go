// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/dbtest"
)

// The database throws the connections away in the middle of rotations and reuses, over and over. A client that repeats its request
// is never logged out by that, and a thief's old token revokes the family with its event and its row, or not at all.
func TestConnectionsKilledDuringRotations(t *testing.T) {
	db := dbtest.New(t, "identity", identity.Migrate)
	s, ctx, ref := openAt(t, db), context.Background(), newTenant()
	u := register(t, s, ref)
	c := admin(t, db)
	stop := make(chan struct{})
	var killer, clients sync.WaitGroup
	killer.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			// Only who is at work: an idle connection that was killed shows nothing but the pool's patience.
			if _, err := c.Exec(ctx, `
				SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND usename = $1 AND state = 'active' ORDER BY random() LIMIT 1`, identity.Role); err != nil {
				t.Error(err)
				return
			}
		}
	})
	var (
		mu  sync.Mutex
		cut int
	)
	// again repeats a call until the database has answered it.
	again := func(call func() error) error {
		for {
			err := call()
			if err == nil || errors.Is(err, identity.ErrReused) || errors.Is(err, identity.ErrNotFound) {
				return err
			}
			mu.Lock()
			cut++
			mu.Unlock()
		}
	}
	for range 6 {
		clients.Go(func() {
			var f identity.Family
			grant, client := id.NewGrant(), id.NewClient()
			if err := again(func() (err error) {
				f, err = s.CreateFamily(ctx, ref, at(noon), identity.NewFamily{Grant: grant, User: u.ID, Client: client, Offline: true})
				return err
			}); err != nil {
				t.Error(err)
				return
			}
			for gen := 1; gen <= 40; gen++ {
				if err := again(func() error {
					r, err := s.Rotate(ctx, ref, at(noon), rotation(f, gen))
					if err == nil && r.Generation != gen+1 {
						t.Errorf("generation %d after %d", r.Generation, gen)
					}
					return err
				}); err != nil {
					t.Errorf("generation %d: %v", gen, err)
					return
				}
			}
			if err := again(func() error {
				_, err := s.Rotate(ctx, ref, at(noon), rotation(f, 3))
				return err
			}); err == nil {
				t.Error("an old token was answered")
			}
		})
	}
	clients.Wait()
	close(stop)
	killer.Wait()
	if cut == 0 {
		t.Fatal("no call was cut: the test shows nothing")
	}
	t.Logf("%d calls were cut", cut)
	s = openAt(t, db) // the last kills may have left dead connections in the pool
	events := 0
	for _, a := range actions(t, s, ref) {
		if a == identity.ActionGrantRevoked {
			events++
		}
	}
	if marks := len(revocations(t, s, noon)); events != 6 || marks != 6 {
		t.Fatalf("%d events and %d revocations for 6 thefts", events, marks)
	}
}
