// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tenantry/tenantry/pkg/id"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// revision makes a layer and its blob.
func revision(t testing.TB, n uint32, access time.Duration, locked ...string) (*snapshotv1.Layer, []byte) {
	t.Helper()
	layer := &snapshotv1.Layer{
		Policy: &snapshotv1.Policy{Token: &snapshotv1.TokenPolicy{AccessTtl: durationpb.New(access)}},
		Theme:  &snapshotv1.Theme{Brand: proto.String("#ffdd00")}, Locked: locked, Revision: n,
	}
	body, err := proto.Marshal(layer)
	if err != nil {
		t.Fatal(err)
	}
	return layer, body
}

func ringDoc(subject [16]byte, version uint64, rings []byte, digests ...[32]byte) *snapshotv1.RingTable {
	doc := &snapshotv1.RingTable{BlueprintId: subject[:], ConfigVersion: version, Rings: rings}
	for _, d := range digests {
		doc.LayerDigests = append(doc.LayerDigests, d[:])
	}
	return doc
}

func (w *world) ringItem(doc *snapshotv1.RingTable, blobs ...[]byte) Item {
	w.t.Helper()
	subject := [16]byte(doc.GetBlueprintId())
	it := Item{
		Record: sign(w.t, testKeys().signing, KindRingTable, subject, doc.GetConfigVersion(), doc), Kind: KindRingTable, Subject: subject,
		Version: doc.GetConfigVersion(),
	}
	for _, b := range blobs {
		it.Blobs = append(it.Blobs, Blob{Data: b})
	}
	return it
}

func TestBlueprintRevisionReachesItsRings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	org := w.org()
	blueprint := [16]byte(id.NewBlueprint())
	_, one := revision(t, 1, 5*time.Minute)
	_, two := revision(t, 2, 3*time.Minute)
	rings := make([]byte, 256)
	w.publish(w.ringItem(ringDoc(blueprint, 1, rings, Digest(one)), one))

	docs := map[string]*snapshotv1.TenantSnapshot{}
	for slug, ring := range map[string]uint32{"canary": 0, "early": 7, "late": 200} {
		doc := testTenant(t, id.Org(org.GetOrgId()), slug)
		doc.BlueprintId, doc.Ring, doc.Theme = blueprint[:], ring, nil
		docs[slug] = doc
		w.publish(w.item(doc))
	}
	ttl := func(slug string) time.Duration { return mustLookup(t, c, slug+".example.com").Policy.AccessTTL }
	for slug := range docs {
		if got := mustLookup(t, c, slug+".example.com"); got.Policy.AccessTTL != 5*time.Minute || got.Theme.Light.Brand.String() != "#ffdd00" || got.LayerDigest != Digest(one) {
			t.Errorf("%s: %+v", slug, got.Policy)
		}
	}
	if a, b := mustLookup(t, c, "canary.example.com"), mustLookup(t, c, "late.example.com"); a.Policy != b.Policy || a.Theme != b.Theme {
		t.Error("tenants of one layer do not share it")
	}
	// Wave by wave.
	late := mustLookup(t, c, "late.example.com")
	rings[0] = 1
	w.publish(w.ringItem(ringDoc(blueprint, 2, rings, Digest(one), Digest(two)), two))
	w.eventually("the canary has revision 2", func() bool { return ttl("canary") == 3*time.Minute })
	for i := range 100 {
		rings[i] = 1
	}
	w.publish(w.ringItem(ringDoc(blueprint, 3, rings, Digest(one), Digest(two))))
	w.eventually("the early tenant has revision 2", func() bool { return ttl("early") == 3*time.Minute })
	if got := mustLookup(t, c, "late.example.com"); got != late {
		t.Error("a tenant whose layer did not change was compiled again")
	}
	// A pin, and a rollback: one write each.
	doc := ringDoc(blueprint, 4, make([]byte, 256), Digest(one), Digest(two))
	doc.Pins = []*snapshotv1.Pin{{TenantId: docs["late"].GetTenantId(), Layer: 1}}
	w.publish(w.ringItem(doc))
	w.eventually("the pinned tenant has revision 2", func() bool { return ttl("late") == 3*time.Minute })
	w.eventually("the others are back", func() bool { return ttl("canary") == 5*time.Minute && ttl("early") == 5*time.Minute })
}

// A layer that is not there, not what its name says, or not usable leaves what was in force.
func TestBrokenLayerLeavesTheLastOneInForce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	org := w.org()
	blueprint := [16]byte(id.NewBlueprint())
	_, one := revision(t, 1, 5*time.Minute)
	w.publish(w.ringItem(ringDoc(blueprint, 1, make([]byte, 256), Digest(one)), one))
	doc := testTenant(t, id.Org(org.GetOrgId()), "hooli")
	doc.BlueprintId = blueprint[:]
	w.publish(w.item(doc))
	mustLookup(t, c, "hooli.example.com")

	missing := Digest([]byte("nowhere"))
	_, swapped := revision(t, 2, 4*time.Minute)
	w.rdb.Set(t.Context(), blobKey(id.Tenant{}, Digest(swapped)), one, 0)
	bad, err := proto.Marshal(&snapshotv1.Layer{Theme: &snapshotv1.Theme{Brand: proto.String("red")}})
	if err != nil {
		t.Fatal(err)
	}
	newer, err := proto.Marshal(&snapshotv1.Layer{MinReader: ReaderLevel + 1})
	if err != nil {
		t.Fatal(err)
	}
	w.publish(Item{Blobs: []Blob{{Data: bad}, {Data: newer}}})
	for n, digest := range [][32]byte{missing, Digest(swapped), Digest(bad), Digest(newer)} {
		before := c.Stats().Changes
		w.publish(w.ringItem(ringDoc(blueprint, uint64(n)+2, make([]byte, 256), digest)))
		w.eventually("the entry is applied", func() bool { return c.Stats().Changes > before })
		if got := mustLookup(t, c, "hooli.example.com"); got.Policy.AccessTTL != 5*time.Minute {
			t.Errorf("layer %d: served with %s", n, got.Policy.AccessTTL)
		}
	}
	// An org that is closed meanwhile closes the tenant all the same.
	org = next(org)
	org.Active = false
	w.publish(w.orgItem(org))
	w.eventually("the host is closed", func() bool {
		_, err := c.Lookup(t.Context(), "hooli.example.com")
		return errors.Is(err, ErrUnknownHost)
	})
}

func TestRingTableIsChecked(t *testing.T) {
	subject := [16]byte(id.NewBlueprint())
	d := Digest([]byte("x"))
	over := make([]byte, 256)
	over[9] = 1
	for name, doc := range map[string]*snapshotv1.RingTable{
		"no layer":         ringDoc(subject, 1, make([]byte, 256)),
		"255 rings":        ringDoc(subject, 1, make([]byte, 255), d),
		"ring beyond":      ringDoc(subject, 1, over, d),
		"short digest":     {BlueprintId: subject[:], ConfigVersion: 1, Rings: make([]byte, 256), LayerDigests: [][]byte{{1}}},
		"short id":         {BlueprintId: []byte("x"), ConfigVersion: 1, Rings: make([]byte, 256), LayerDigests: [][]byte{d[:]}},
		"pin beyond":       {BlueprintId: subject[:], Rings: make([]byte, 256), LayerDigests: [][]byte{d[:]}, Pins: []*snapshotv1.Pin{{TenantId: subject[:], Layer: 1}}},
		"pin of nobody":    {BlueprintId: subject[:], Rings: make([]byte, 256), LayerDigests: [][]byte{d[:]}, Pins: []*snapshotv1.Pin{{}}},
		"for newer reader": {BlueprintId: subject[:], Rings: make([]byte, 256), LayerDigests: [][]byte{d[:]}, MinReader: ReaderLevel + 1},
	} {
		if err := CompileRingTable(doc); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if err := CompileRingTable(ringDoc(subject, 1, make([]byte, 256), d)); err != nil {
		t.Error(err)
	}
}

func TestRingsAndLanesAreEven(t *testing.T) {
	const n = 100_000
	var rings [256]int
	var lanes [Lanes]int
	for range n {
		tenant := id.NewTenant()
		rings[RingOf(tenant)]++
		lanes[laneOf(tenant)]++
	}
	if rings[0] != 0 {
		t.Errorf("%d tenants in the canaries' ring", rings[0])
	}
	for r, got := range rings[1:] {
		if want := n / 255; got < want/2 || got > want*2 {
			t.Errorf("ring %d has %d of about %d", r+1, got, want)
		}
	}
	for l, got := range lanes {
		if want := n / Lanes; got < want*9/10 || got > want*11/10 {
			t.Errorf("lane %d has %d of about %d", l, got, want)
		}
	}
	// The same in every release: rings and lanes are stored.
	fixed := id.Tenant{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	if r, l := RingOf(fixed), laneOf(fixed); r != wantRing || l != wantLane {
		t.Errorf("ring %d lane %d, were %d %d", r, l, wantRing, wantLane)
	}
}

const (
	wantRing = 145
	wantLane = 6
)
