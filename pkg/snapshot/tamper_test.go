// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// mutation makes, from a published record, what somebody with write access to Redis could put in its place.
type mutation struct {
	name   string
	reason string // of the NACK; empty: any
	make   func(m *mutator) []byte
}

type mutator struct {
	t     testing.TB
	rnd   *rand.Rand
	doc   *snapshotv1.TenantSnapshot // at version 3, which is published and cached
	raw   []byte                     // its record
	older []byte                     // the record of version 2, signed and once published
	other []byte                     // the record of another tenant
	org   []byte                     // the record of the org
}

func (m *mutator) tenant() [16]byte { return [16]byte(m.doc.GetTenantId()) }

func (m *mutator) flip(from, to int) []byte {
	b := bytes.Clone(m.raw)
	b[from+m.rnd.IntN(to-from)] ^= 1 << m.rnd.IntN(8)
	return b
}

func (m *mutator) edit(at int, with ...byte) []byte {
	b := bytes.Clone(m.raw)
	copy(b[at:], with)
	return b
}

// forged signs a document with a key, as if that key were the publisher's.
func (m *mutator) forged(k SigningKey, kind Kind, subject [16]byte, doc *snapshotv1.TenantSnapshot) []byte {
	return sign(m.t, k, kind, subject, doc.GetConfigVersion(), doc)
}

// poisoned is signed by the publisher's own key: what a bug of the control plane, or a newer one, might publish.
func (m *mutator) poisoned(change func(*snapshotv1.TenantSnapshot)) []byte {
	doc := next(m.doc)
	change(doc)
	return sign(m.t, testKeys().signing, KindTenant, m.tenant(), m.doc.GetConfigVersion()+1, doc)
}

func mutations() []mutation {
	k := testKeys()
	versionUp := func(b []byte) []byte { binary.BigEndian.PutUint64(b, 9); return b }
	return []mutation{
		{"flipped bit in version", "", func(m *mutator) []byte { return m.flip(0, 8) }},
		{"flipped bit in signing time", "SIGNATURE", func(m *mutator) []byte { return m.flip(8, 12) }},
		{"flipped bit in format", "FORMAT", func(m *mutator) []byte { return m.flip(12, 13) }},
		{"flipped bit in codec", "CODEC", func(m *mutator) []byte { return m.flip(13, 14) }},
		{"flipped bit in signer", "UNKNOWN_SIGNER", func(m *mutator) []byte { return m.flip(14, 15) }},
		{"flipped bit in dictionary", "CODEC", func(m *mutator) []byte { return m.flip(15, 16) }},
		{"flipped bit in signature", "SIGNATURE", func(m *mutator) []byte { return m.flip(16, 80) }},
		{"flipped bit in body", "SIGNATURE", func(m *mutator) []byte { return m.flip(80, len(m.raw)) }},
		{"higher version on the old body", "SIGNATURE", func(m *mutator) []byte { return versionUp(bytes.Clone(m.raw)) }},
		{"version zero", "VERSION", func(m *mutator) []byte { return m.edit(0, make([]byte, 8)...) }},
		{"version above 2^53", "VERSION", func(m *mutator) []byte { return m.edit(0, 0, 0x20, 0, 0, 0, 0, 0, 1) }},
		{"truncated to nothing", "TRUNCATED", func(m *mutator) []byte { return []byte{} }},
		{"truncated in the header", "TRUNCATED", func(m *mutator) []byte { return m.raw[:1+m.rnd.IntN(79)] }},
		{"truncated to the header", "SIGNATURE", func(m *mutator) []byte { return m.raw[:80] }},
		{"truncated in the body", "SIGNATURE", func(m *mutator) []byte { return m.raw[:81+m.rnd.IntN(len(m.raw)-82)] }},
		{"a byte appended", "SIGNATURE", func(m *mutator) []byte { return append(bytes.Clone(m.raw), byte(m.rnd.Uint32())) }},
		{"body repeated", "SIGNATURE", func(m *mutator) []byte { return append(bytes.Clone(m.raw), m.raw[80:]...) }},
		{"oversized", "TOO_LARGE", func(m *mutator) []byte { return append(bytes.Clone(m.raw), make([]byte, MaxBody)...) }},
		{"random bytes", "", func(m *mutator) []byte {
			b := make([]byte, 80+m.rnd.IntN(400))
			for i := range b {
				b[i] = byte(m.rnd.Uint32())
			}
			return b
		}},
		{"zeros", "", func(m *mutator) []byte { return make([]byte, len(m.raw)) }},
		{"unsigned", "SIGNATURE", func(m *mutator) []byte { return m.edit(16, make([]byte, 64)...) }},
		{"signature of another record", "SIGNATURE", func(m *mutator) []byte { return m.edit(16, m.other[16:80]...) }},
		{"signature of the older record", "SIGNATURE", func(m *mutator) []byte { return m.edit(16, m.older[16:80]...) }},
		{"another tenant's record", "", func(m *mutator) []byte { return m.other }},
		{"another tenant's body under our header", "SIGNATURE", func(m *mutator) []byte {
			return append(bytes.Clone(m.raw[:80]), m.other[80:]...)
		}},
		{"the org's record", "", func(m *mutator) []byte { return m.org }},
		{"the older record", "ROLLBACK", func(m *mutator) []byte { return m.older }},
		{"the older record signed again", "ROLLBACK", func(m *mutator) []byte {
			doc := proto.CloneOf(m.doc)
			doc.ConfigVersion = 2
			return m.forged(k.signing, KindTenant, m.tenant(), doc)
		}},
		{"an old tombstone", "ROLLBACK", func(m *mutator) []byte { return sign(m.t, k.signing, KindTombstone, m.tenant(), 2, nil) }},
		{"a tombstone by a stranger", "SIGNATURE", func(m *mutator) []byte { return sign(m.t, k.stranger, KindTombstone, m.tenant(), 9, nil) }},
		{"another tenant's tombstone", "SIGNATURE", func(m *mutator) []byte { return sign(m.t, k.signing, KindTombstone, id.NewTenant(), 9, nil) }},
		{"a stranger's key under our signer", "SIGNATURE", func(m *mutator) []byte { return m.forged(k.stranger, KindTenant, m.tenant(), next(m.doc)) }},
		{"a stranger's key under its own signer", "UNKNOWN_SIGNER", func(m *mutator) []byte {
			stranger := k.stranger
			stranger.signer = 77
			return m.forged(stranger, KindTenant, m.tenant(), next(m.doc))
		}},
		{"signed for another region", "SIGNATURE", func(m *mutator) []byte { return m.forged(k.elsewhere, KindTenant, m.tenant(), next(m.doc)) }},
		{"signed as an org", "SIGNATURE", func(m *mutator) []byte { return m.forged(k.signing, KindOrg, m.tenant(), next(m.doc)) }},
		{"signed as a ring table", "SIGNATURE", func(m *mutator) []byte { return m.forged(k.signing, KindRingTable, m.tenant(), next(m.doc)) }},
		{"a body about another tenant", "COMPILE", func(m *mutator) []byte {
			other := id.NewTenant()
			return m.poisoned(func(d *snapshotv1.TenantSnapshot) { d.TenantId = other[:] })
		}},
		{"a body at another version", "COMPILE", func(m *mutator) []byte {
			return m.poisoned(func(d *snapshotv1.TenantSnapshot) { d.ConfigVersion = 77 })
		}},
		{"a document for newer readers", "READER_LEVEL", func(m *mutator) []byte {
			return m.poisoned(func(d *snapshotv1.TenantSnapshot) { d.MinReader = ReaderLevel + 1 })
		}},
		{"a document without keys", "COMPILE", func(m *mutator) []byte {
			return m.poisoned(func(d *snapshotv1.TenantSnapshot) { d.SigningKeys = nil })
		}},
		{"an issuer that is not ours", "COMPILE", func(m *mutator) []byte {
			return m.poisoned(func(d *snapshotv1.TenantSnapshot) { d.Issuer = "https://login.evil.example" })
		}},
		{"a body that is no protobuf", "COMPILE", func(m *mutator) []byte {
			raw, err := k.signing.Sign(KindTenant, m.tenant(), 9, time.Now(), []byte{0xff, 0xff, 0xff})
			if err != nil {
				m.t.Fatal(err)
			}
			return raw
		}},
	}
}

// whatever is written straight into Redis, the last good document is served throughout, the refusal is reported with its
// reason, and other tenants notice nothing.
func TestForgedRecordIsNeverServed(t *testing.T) {
	t.Parallel()
	rounds := 25
	if testing.Short() {
		rounds = 3
	}
	w := newWorld(t)
	warm, cold := w.cache(), w.cache()
	org := w.org()
	bystander := w.tenant(org, "bystander")
	other := testTenant(t, id.Org(org.GetOrgId()), "other")
	other.ConfigVersion = 9
	w.publish(w.item(other))
	rnd := rand.New(rand.NewPCG(1, 2))

	for n, mut := range mutations() {
		t.Run(mut.name, func(t *testing.T) {
			doc := testTenant(t, id.Org(org.GetOrgId()), fmt.Sprintf("victim-%d", n))
			host := doc.GetHosts()[0]
			doc.ConfigVersion = 2
			older := w.item(doc)
			w.publish(older)
			doc = next(doc)
			doc.DisplayName = "the good one"
			good := w.item(doc)
			w.publish(good)
			m := &mutator{t: t, rnd: rnd, doc: doc, raw: good.Record, older: older.Record, other: w.item(other).Record, org: w.orgItem(org).Record}
			if got := mustLookup(t, warm, host); got.ConfigVersion != 3 {
				t.Fatalf("version %d before the forgery", got.ConfigVersion)
			}
			reason := map[string]bool{}
			for range rounds {
				forged := mut.make(m)
				before := warm.Stats().Nacks
				w.rdb.Set(t.Context(), tenantKey(tenantOf(doc)), forged, 0)
				// A forged announcement makes the replica look, at once and before the next request.
				w.writer.announce(t.Context(), []Item{{Kind: KindTenant, Subject: tenantOf(doc), Version: 99, Restrictive: rnd.IntN(2) == 0}}, []int{0})
				eventually(t, "the forgery is refused", func() bool {
					if got := mustLookup(t, warm, host); got.ConfigVersion != 3 || got.DisplayName != "the good one" {
						t.Fatalf("served version %d %q", got.ConfigVersion, got.DisplayName)
					}
					return warm.Stats().Nacks > before
				})
				mustLookup(t, warm, host)
				_, err := warm.verifier.verifyTenant(tenantOf(doc), forged)
				if err == nil {
					err = errRollback // verifies; whether it may be served is for the cache
					if mut.reason != "ROLLBACK" {
						err = fmt.Errorf("%w", ErrCompile)
					}
				}
				reason[nackReason(err)] = true
			}
			if mut.reason != "" && mut.reason != "READER_LEVEL" && !reason[mut.reason] {
				t.Errorf("refused as %v, want %s", reason, mut.reason)
			}
			if mut.reason != "" {
				eventually(t, "the NACK is reported as "+mut.reason, func() bool {
					warm.nacks.send(t.Context(), warm.rdb) // not to wait for the second to be over
					return reported(t, w, tenantOf(doc), mut.reason)
				})
			}
			// A replica that has never seen the good one has nothing to serve: except for old versions, which it cannot know.
			if mut.reason != "ROLLBACK" {
				if got, err := cold.Lookup(t.Context(), host); !errors.Is(err, ErrUnavailable) {
					t.Errorf("a cold replica answered %v, %v", got, err)
				}
			}
			mustLookup(t, warm, bystander.GetHosts()[0])
			mustLookup(t, cold, bystander.GetHosts()[0])
			// Damage is repaired by publishing a newer version.
			w.rdb.Del(t.Context(), tenantKey(tenantOf(doc)))
			doc = next(doc)
			w.publish(w.item(doc))
			eventually(t, "the repair is served", func() bool { return mustLookup(t, warm, host).ConfigVersion == 4 })
		})
	}
}

func reported(t testing.TB, w *world, tenant id.Tenant, reason string) bool {
	t.Helper()
	all, err := w.rdb.XRange(t.Context(), nackKey, "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.Values["subject"] == string(tenant[:]) && m.Values["reason"] == reason {
			return true
		}
	}
	return false
}

// A forged or stale host pointer never leads to a tenant whose signed document lacks the host, and never makes a host unknown.
func TestForgedPointerLeadsNowhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	org := w.org()
	hooli, raviga := w.tenant(org, "hooli"), w.tenant(org, "raviga")
	host := hooli.GetHosts()[0]
	for name, pointer := range map[string][]byte{
		"another tenant":   HostPointer{ClaimVersion: 99, Flags: HostLive, Tenant: tenantOf(raviga)}.encode(),
		"a made-up tenant": HostPointer{ClaimVersion: 99, Flags: HostLive, Tenant: id.NewTenant()}.encode(),
		"nobody":           HostPointer{ClaimVersion: 99, Flags: HostLive}.encode(),
		"too short":        []byte("x"),
		"too long":         bytes.Repeat([]byte("x"), 100),
		"empty":            {},
	} {
		w.rdb.Set(t.Context(), hostKey(host), pointer, 0)
		if got, err := c.Lookup(t.Context(), host); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownHost) {
			t.Errorf("pointer to %s: %v, %v", name, got, err)
		}
	}
	// The publisher's next write repairs it, and no refusal lingers.
	w.rdb.Del(t.Context(), hostKey(host))
	hooli = next(hooli)
	w.publish(w.item(hooli))
	w.eventually("the repaired pointer leads to its tenant", func() bool { got, err := c.Lookup(t.Context(), host); return err == nil && got.ID == tenantOf(hooli) })
	// And once the document is cached, the pointer is not asked at all.
	w.rdb.Set(t.Context(), hostKey(host), HostPointer{ClaimVersion: 99, Flags: HostLive, Tenant: tenantOf(raviga)}.encode(), 0)
	if got := mustLookup(t, c, host); got.ID != tenantOf(hooli) {
		t.Errorf("served by %s", got.ID)
	}
}

// What is appended to a change stream by a stranger may cost a reload, and nothing else.
func TestForgedStreamEntries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.cache()
	doc := w.tenant(w.org(), "hooli")
	mustLookup(t, c, "hooli.example.com")
	w.heartbeat(0, 0)
	w.eventually("the publisher is heard", c.heard)
	batch := func(changes ...*snapshotv1.Change) []byte {
		b, err := proto.Marshal(&snapshotv1.ChangeBatch{Changes: changes})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	many := make([]*snapshotv1.Change, maxBatch+1)
	for i := range many {
		many[i] = &snapshotv1.Change{Kind: 1, Subject: doc.GetTenantId(), Version: 9, Restrictive: true}
	}
	old := sign(t, testKeys().signing, KindHeartbeat, heartbeatSubject(3), 1, &snapshotv1.Heartbeat{Epoch: "old"})
	for _, values := range [][]any{
		{"b", "\xff\xff"},
		{"x", "y"},
		{"b", batch(&snapshotv1.Change{Kind: 1, Subject: []byte("short"), Version: 9})},
		{"b", batch(many...)},
		{"b", batch(&snapshotv1.Change{Kind: 200, Subject: doc.GetTenantId(), Version: 9})},
		{"b", batch(&snapshotv1.Change{Kind: 1, Subject: doc.GetTenantId(), Version: 1 << 63, Restrictive: true})},
		{"h", "not a record"},
		{"h", string(old)},
	} {
		if _, err := w.rdb.Do(t.Context(), append([]any{"XADD", laneKey(laneOf(tenantOf(doc))), "*"}, values...)...).Result(); err != nil {
			t.Fatal(err)
		}
		mustLookup(t, c, "hooli.example.com")
	}
	doc = next(doc)
	w.publish(w.item(doc))
	w.eventually("a true change is applied after all that", func() bool { return mustLookup(t, c, "hooli.example.com").ConfigVersion == 2 })
	if s := c.Stats(); s.BadEntries == 0 || s.ConfigAge > time.Minute {
		t.Errorf("no bad entry counted, or an old heartbeat believed: %+v", s)
	}
}
