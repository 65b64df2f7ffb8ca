// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// ringTable says which layer a tenant of a blueprint gets.
type ringTable struct {
	version uint64
	digests [][32]byte
	rings   [256]uint8
	pins    map[id.Tenant]uint8
}

func (r *ringTable) pick(tenant id.Tenant, ring uint32) [32]byte {
	if i, pinned := r.pins[tenant]; pinned {
		return r.digests[i]
	}
	return r.digests[r.rings[ring&255]]
}

// maxLayers bounds how many layers of one blueprint are in force at once: revisions in a rollout, and pins.
const maxLayers = 64

// CompileRingTable checks a ring table: what the control plane asks before it commits one.
func CompileRingTable(doc *snapshotv1.RingTable) error {
	if n := proto.Size(doc); n > MaxBody {
		return refused("ring table", "%d bytes, %d allowed", n, MaxBody)
	}
	_, err := compileRingTable(doc)
	return err
}

func compileRingTable(doc *snapshotv1.RingTable) (*ringTable, error) {
	if doc.GetMinReader() > ReaderLevel {
		return nil, fmt.Errorf("%w: ring table needs level %d", ErrReaderLevel, doc.GetMinReader())
	}
	if len(doc.GetBlueprintId()) != 16 {
		return nil, refused("blueprint_id", "want 16 bytes")
	}
	n := len(doc.GetLayerDigests())
	if n == 0 || n > maxLayers {
		return nil, refused("layer_digests", "%d, 1 to %d allowed", n, maxLayers)
	}
	r := &ringTable{version: doc.GetConfigVersion(), pins: make(map[id.Tenant]uint8, len(doc.GetPins()))}
	for _, d := range doc.GetLayerDigests() {
		if len(d) != 32 {
			return nil, refused("layer_digests", "want 32 bytes each")
		}
		r.digests = append(r.digests, [32]byte(d))
	}
	if len(doc.GetRings()) != len(r.rings) {
		return nil, refused("rings", "%d, want %d", len(doc.GetRings()), len(r.rings))
	}
	for i, layer := range doc.GetRings() {
		if int(layer) >= n {
			return nil, refused("rings", "ring %d names layer %d of %d", i, layer, n)
		}
		r.rings[i] = layer
	}
	for _, p := range doc.GetPins() {
		t, ok := rawID[id.Tenant](p.GetTenantId())
		if !ok || p.GetLayer() >= uint32(n) {
			return nil, refused("pins", "want a tenant's 16 bytes and a layer below %d", n)
		}
		r.pins[t] = uint8(p.GetLayer()) //nolint:gosec // below maxLayers
	}
	return r, nil
}

// org gives an org's record in force, from the cache or loaded.
func (c *Cache) org(ctx context.Context, org id.Org) (*dependency[compiledOrg], *compiledOrg, error) {
	return depend(ctx, c, c.orgs, org, KindOrg, func(r Record) (*compiledOrg, error) {
		var doc snapshotv1.OrgSnapshot
		if err := proto.Unmarshal(r.Body, &doc); err != nil {
			return nil, invalid("org", err)
		}
		if !bytes.Equal(doc.GetOrgId(), r.Subject[:]) || doc.GetConfigVersion() != r.Version {
			return nil, refused("org", "its id or config_version is not that of its record")
		}
		return compileOrg(&doc)
	})
}

// ring gives a ring table in force.
func (c *Cache) ring(ctx context.Context, subject [16]byte) (*dependency[ringTable], *ringTable, error) {
	return depend(ctx, c, c.rings, subject, KindRingTable, func(r Record) (*ringTable, error) {
		var doc snapshotv1.RingTable
		if err := proto.Unmarshal(r.Body, &doc); err != nil {
			return nil, invalid("ring table", err)
		}
		if !bytes.Equal(doc.GetBlueprintId(), r.Subject[:]) || doc.GetConfigVersion() != r.Version {
			return nil, refused("ring table", "its id or config_version is not that of its record")
		}
		return compileRingTable(&doc)
	})
}

// depend gives the value in force of a signed record that tenants share. A refused record leaves the last accepted one in force;
// a record that cannot be read does too, unless a restrictive change was announced.
func depend[K ~[16]byte, T any](
	ctx context.Context, c *Cache, all map[K]*dependency[T], key K, kind Kind, parse func(Record) (*T, error),
) (*dependency[T], *T, error) {
	subject := [16]byte(key)
	stripe := c.stripes.ofSubject(kind, subject)
	for range raceRetries {
		c.mu.Lock()
		d, since := all[key], c.stripes.note(stripe)
		if d != nil && !d.stale {
			if v := d.cur.Load(); v != nil {
				c.mu.Unlock()
				return d, v, nil
			}
		}
		floor := c.floors.get(kind, subject)
		if d != nil {
			floor = d.version
		}
		c.mu.Unlock()

		generation := c.generation.Load()
		raw, err := c.get(ctx, recordKey(kind, subject))
		if err == nil && raw == nil {
			err = unavailable(fmt.Errorf("%w: %s", errMissing, kind))
		}
		if err != nil {
			if d != nil {
				if v := d.cur.Load(); v != nil {
					return d, v, nil
				}
			}
			return nil, nil, err
		}
		r, err := c.verifier.Verify(kind, subject, raw)
		if err == nil && r.Version < floor {
			err = fmt.Errorf("%w: %d, seen %d", errRollback, r.Version, floor)
		}
		if err == nil && c.expired(r) {
			err = errExpired
		}
		var v *T
		if err == nil {
			v, err = parse(r)
		}
		if err != nil {
			c.nack(kind, subject, headerVersion(raw), err)
		}

		c.mu.Lock()
		if !c.stripes.unchanged(since) {
			c.mu.Unlock()
			c.stats.races.Add(1)
			continue
		}
		d = all[key]
		if err != nil {
			if d == nil || d.last == nil {
				c.mu.Unlock()
				return nil, nil, unavailable(err)
			}
			v = d.last
			d.stale = false
			d.cur.Store(v)
			c.mu.Unlock()
			return d, v, nil
		}
		if d == nil {
			d = &dependency[T]{subject: subject}
			all[key] = d
		}
		if d.last != nil && d.version == r.Version {
			v = d.last // signed again: nobody has to be compiled again
		}
		size := int64(200 + 3*len(raw)) // the decoded message takes about this
		c.bytes.Add(size - d.bytes)
		d.last, d.version, d.stale, d.bytes, d.loaded = v, r.Version, false, size, time.Now()
		d.confirmed.Store(generation)
		d.cur.Store(v)
		c.mu.Unlock()
		return d, v, nil
	}
	return nil, nil, ErrUnavailable
}

// layerEntry is a cached layer. Layers never change: their name is their digest.
type layerEntry struct {
	layer  *compiledLayer
	refs   int
	bytes  int64
	loaded time.Time
}

// layer gives a layer by its digest, from the cache or loaded.
func (c *Cache) layer(ctx context.Context, digest [32]byte) (*compiledLayer, error) {
	c.mu.Lock()
	l := c.layers[digest]
	if l != nil {
		l.loaded = time.Now()
	}
	c.mu.Unlock()
	if l != nil {
		return l.layer, nil
	}
	raw, err := c.get(ctx, blobKey(id.Tenant{}, digest))
	if err != nil {
		return nil, err
	}
	switch {
	case raw == nil:
		return nil, unavailable(fmt.Errorf("%w: layer", errMissing))
	case len(raw) > MaxBlob:
		return nil, unavailable(ErrTooLarge)
	case Digest(raw) != digest:
		return nil, unavailable(errors.New("snapshot: a layer's bytes are not those of its digest"))
	}
	var doc snapshotv1.Layer
	if err := proto.Unmarshal(raw, &doc); err != nil {
		return nil, invalid("layer", err)
	}
	compiled, err := compileLayer(&doc, digest)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.layers[digest]; l != nil {
		return l.layer, nil
	}
	l = &layerEntry{layer: compiled, bytes: int64(300 + 4*len(raw)), loaded: time.Now()}
	c.layers[digest] = l
	c.bytes.Add(l.bytes)
	return compiled, nil
}

// dropUnused removes dependencies that no compiled tenant uses and that no load has just fetched. The caller holds mu.
func (c *Cache) dropUnused(now time.Time) {
	const grace = 10 * time.Second
	dropDependencies(c, c.orgs, KindOrg, now.Add(-grace))
	dropDependencies(c, c.rings, KindRingTable, now.Add(-grace))
	for digest, l := range c.layers {
		if l.refs == 0 && l.loaded.Before(now.Add(-grace)) {
			c.bytes.Add(-l.bytes)
			delete(c.layers, digest)
		}
	}
}

func dropDependencies[K ~[16]byte, T any](c *Cache, all map[K]*dependency[T], kind Kind, before time.Time) {
	for key, d := range all {
		if d.refs == 0 && d.loaded.Before(before) {
			c.floors.raise(kind, d.subject, d.version)
			c.bytes.Add(-d.bytes)
			delete(all, key)
		}
	}
}
