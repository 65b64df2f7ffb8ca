// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"sync"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// A client that was created a moment ago is known at once, also by a replica that has heard of no change yet: this one does not follow the
// change streams at all.
func TestNewClientIsKnownBeforeItsAnnouncement(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, err := Open(Config{Redis: w.connect(), Verifier: testVerifier(t)})
	if err != nil {
		t.Fatal(err)
	}
	org := w.org()
	doc := w.tenant(org, "hooli")
	old := mustLookup(t, c, "hooli.example.com")

	fresh, aged := testClient("fresh"), testClient("aged")
	made, before := id.NewClient(), id.NewClient()
	stamp := time.Now().Add(-time.Hour).UnixMilli()
	for i := range 6 {
		before[i] = byte(stamp >> (40 - 8*i))
	}
	fresh.ClientId, aged.ClientId = made[:], before[:]
	doc = next(doc)
	doc.Clients = append(doc.Clients, fresh, aged)
	w.publish(w.item(doc))

	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if found, ok := old.Client(made.String()); !ok || found.UID != made {
				t.Error("the new client is not known")
			}
		})
	}
	wg.Wait()
	if _, ok := old.Client(id.NewClient().String()); ok {
		t.Error("an id that was made up is a client")
	}
	if _, ok := mustLookup(t, c, "hooli.example.com").Client(before.String()); !ok {
		t.Error("the newer view has no other clients")
	}
	// Strangers' ids cost Redis little: one question in fifty milliseconds.
	asked, began := c.Stats().Loads, time.Now()
	for time.Since(began) < 300*time.Millisecond {
		old.Client(id.NewClient().String())
	}
	if n := c.Stats().Loads - asked; n > 20 {
		t.Errorf("%d loads", n)
	}
}
