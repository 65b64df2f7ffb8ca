// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// documents caches what never changes once it is written: layers by digest, revisions by number, and the org's record by version.
type documents struct {
	store     *store.Store
	mu        sync.Mutex
	layers    map[layerKey]*snapshotv1.Layer
	revisions map[revisionKey]*revision
	orgs      map[id.Org]orgDocument
	bases     map[baseKey]*base
	grounds   map[groundKey]rememberedGround
}

// groundKey is an org and a reference to one of its blueprints.
type groundKey struct {
	org       id.Org
	blueprint string
}

type rememberedGround struct {
	store.Ground
	at time.Time
}

// groundLife bounds how long a reading is used before it is refreshed; that it is out of date is found by the write itself.
const groundLife = 10 * time.Second

type baseKey struct {
	layerKey
	version int64 // of the org's record
}

// base is what all tenants of an org with one layer share.
type base struct {
	*snapshot.Base
	layer      *snapshotv1.Layer
	algorithms []jose.Algorithm // that a tenant without token policy of its own needs keys for
}

type layerKey struct {
	org    id.Org
	digest [32]byte
}

type revisionKey struct {
	org       id.Org
	blueprint id.Blueprint
	number    int
}

type revision struct {
	blueprint.Revision
	layer []byte // digest; of the newest layer when it was read, so only for pinned tenants
}

type orgDocument struct {
	version int64
	doc     *snapshotv1.OrgSnapshot
}

// cacheLimit bounds each of the maps; a full one is emptied, which costs one read for each entry that is still in use.
const cacheLimit = 4096

func newDocuments(s *store.Store) *documents {
	return &documents{
		store: s, layers: map[layerKey]*snapshotv1.Layer{}, revisions: map[revisionKey]*revision{}, orgs: map[id.Org]orgDocument{},
		bases: map[baseKey]*base{}, grounds: map[groundKey]rememberedGround{},
	}
}

func keep[K comparable, V any](d *documents, m map[K]V, k K, v V) V {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(m) >= cacheLimit {
		clear(m)
	}
	m[k] = v
	return v
}

func kept[K comparable, V any](d *documents, m map[K]V, k K) (V, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := m[k]
	return v, ok
}

// layer reads a layer of an org by its digest; nil for none.
func (d *documents) layer(ctx context.Context, org id.Org, digest []byte) (*snapshotv1.Layer, error) {
	if len(digest) == 0 {
		return nil, nil //nolint:nilnil // no layer means the platform's defaults, and is no error
	}
	k := layerKey{org: org}
	copy(k.digest[:], digest)
	if l, ok := kept(d, d.layers, k); ok {
		return l, nil
	}
	body, err := d.store.Blob(ctx, org, digest)
	if err != nil {
		return nil, err
	}
	l := &snapshotv1.Layer{}
	if err := proto.Unmarshal(body, l); err != nil {
		return nil, fmt.Errorf("layer of %s: %w", org, err)
	}
	return keep(d, d.layers, k, l), nil
}

// revision reads a revision by number.
func (d *documents) revision(ctx context.Context, org id.Org, bp id.Blueprint, number int) (*revision, error) {
	k := revisionKey{org, bp, number}
	if r, ok := kept(d, d.revisions, k); ok {
		return r, nil
	}
	r, layer, err := d.store.Revision(ctx, org, bp, number, id.Revision{})
	if err != nil {
		return nil, err
	}
	return keep(d, d.revisions, k, &revision{r, layer}), nil
}

// org reads an org's record at least at a version.
func (d *documents) org(ctx context.Context, org id.Org, version int64) (*snapshotv1.OrgSnapshot, error) {
	if o, ok := kept(d, d.orgs, org); ok && o.version >= version {
		return o.doc, nil
	}
	body, at, err := d.store.RecordBody(ctx, org, org)
	if err != nil {
		return nil, err
	}
	o := &snapshotv1.OrgSnapshot{}
	if err := proto.Unmarshal(body, o); err != nil {
		return nil, fmt.Errorf("record of %s: %w", org, err)
	}
	return keep(d, d.orgs, org, orgDocument{at, o}).doc, nil
}

// remember keeps what a provision read of an org and a blueprint, without what holds for that request only.
func (d *documents) remember(k groundKey, g store.Ground, now time.Time) {
	if g.Blueprint.IsZero() || g.BlueprintRevision == 0 || g.Org.State != tenancy.StateActive {
		return // a refusal is never remembered
	}
	g.SlugTaken, g.Answer = false, nil
	keep(d, d.grounds, k, rememberedGround{g, now})
}

// remembered finds it again while it is fresh.
func (d *documents) remembered(k groundKey, now time.Time) (store.Ground, bool) {
	g, ok := kept(d, d.grounds, k)
	return g.Ground, ok && now.Sub(g.at) < groundLife && !now.Before(g.at)
}

// forget drops what is remembered of an org.
func (d *documents) forget(org id.Org) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.grounds, func(k groundKey, _ rememberedGround) bool { return k.org == org })
}

// base compiles a layer (by its digest, nil for none) and an org's record (at least at a version) for tenants to be compiled on.
func (d *documents) base(ctx context.Context, org id.Org, digest []byte, version int64) (*base, error) {
	k := baseKey{layerKey{org: org}, version}
	copy(k.digest[:], digest)
	if b, ok := kept(d, d.bases, k); ok {
		return b, nil
	}
	layer, err := d.layer(ctx, org, digest)
	if err != nil {
		return nil, err
	}
	doc, err := d.org(ctx, org, version)
	if err != nil {
		return nil, err
	}
	compiled, err := snapshot.NewBase(layer, doc)
	if err != nil {
		return nil, rejected(err)
	}
	return keep(d, d.bases, k, &base{compiled, layer, algorithmsOf(layer, nil)}), nil
}

// core makes a tenant's document.
func core(t *tenancy.Tenant, p *store.TenantParts) *snapshotv1.TenantSnapshot {
	c := &snapshotv1.TenantSnapshot{
		TenantId: t.ID[:], OrgId: t.Org[:], ConfigVersion: uint64(t.ConfigVersion), //nolint:gosec // versions are positive
		State: snapshotv1.TenantState(t.State), Slug: t.Slug, DisplayName: t.DisplayName, Type: snapshotv1.TenantType(t.Type), Region: t.Region,
		PlacementEpoch: 1, Issuer: t.Issuer, UserPoolId: t.Pool[:], Entitlements: t.Entitlements, PairwiseSalt: t.PairwiseSalt,
	}
	if !t.Blueprint.IsZero() {
		c.BlueprintId, c.Ring = t.Blueprint[:], snapshot.RingOf(t.ID)
	}
	for _, h := range t.Hosts {
		if !h.Released {
			c.Hosts = append(c.Hosts, h.Name)
		}
	}
	if t.Overrides != nil {
		c.Overrides = t.Overrides.Policy
	}
	if t.Theme != nil {
		c.Theme = t.Theme.Theme
	}
	for i := range t.Roles {
		r := &t.Roles[i]
		c.Roles = append(c.Roles, &snapshotv1.Role{RoleId: r.ID[:], Name: r.Name, Default: r.Default})
	}
	for i := range p.Clients {
		c.Clients = append(c.Clients, p.Clients[i].Message())
	}
	for i := range p.SigningKeys {
		if k := &p.SigningKeys[i]; k.State <= tenancy.SigningRetiring {
			c.SigningKeys = append(c.SigningKeys, store.SigningKeyMessage(*k))
		}
	}
	c.MinReader = readerLevel(c.GetOverrides(), c.GetClients())
	return c
}

// readerLevel is the lowest reader level that understands what a document restricts.
func readerLevel(policy *snapshotv1.Policy, clients []*snapshotv1.Client) uint32 {
	if policy.GetOauth() != nil || slices.ContainsFunc(clients, func(c *snapshotv1.Client) bool { return c.GetProtocol() != nil }) {
		return 2
	}
	return 1
}

// orgMessage makes an org's document.
func (s *Service) orgMessage(o *tenancy.Org, clients []tenancy.Client) *snapshotv1.OrgSnapshot {
	m := &snapshotv1.OrgSnapshot{
		OrgId: o.ID[:], ConfigVersion: uint64(o.ConfigVersion), Active: o.State == tenancy.StateActive, Slug: o.Slug, //nolint:gosec // positive
		DisplayName: o.DisplayName, DefaultAudience: s.audience(o),
	}
	for i := range clients {
		m.Clients = append(m.Clients, clients[i].Message())
	}
	m.MinReader = readerLevel(nil, m.GetClients())
	return m
}

func (s *Service) audience(o *tenancy.Org) string {
	if o.DefaultAudience != "" {
		return o.DefaultAudience
	}
	return "https://" + o.Slug + "." + s.cfg.APIDomain
}

// compile checks a tenant's document as the data plane would and makes its bytes. What cannot be served is CONFIG_REJECTED.
func (b *base) compile(c *snapshotv1.TenantSnapshot) (body []byte, view *snapshot.Tenant, err error) {
	if view, body, err = b.Base.Compile(c); err != nil {
		return nil, nil, rejected(err)
	}
	return body, view, nil
}

// needs lists the algorithms that a tenant needs keys for.
func (b *base) needs(overrides *tenancy.Policy) []jose.Algorithm {
	if overrides == nil || overrides.GetToken() == nil {
		return b.algorithms
	}
	return algorithmsOf(b.layer, overrides)
}

func rejected(err error) error {
	if errors.Is(err, snapshot.ErrCompile) {
		return (&tenancy.Error{Reason: tenancy.ReasonConfigRejected, Text: "this configuration cannot be served: " + trim(err)}).Because(err)
	}
	return err
}

// trim drops the package's own prefix from a text that goes to the caller.
func trim(err error) string {
	const prefix = "snapshot: document cannot be compiled: "
	text := err.Error()
	if len(text) > len(prefix) && text[:len(prefix)] == prefix {
		return text[len(prefix):]
	}
	return text
}

// recompile makes the record of a tenant whose row is locked and already at its new version, from what the transaction sees.
func (s *Service) recompile(ctx context.Context, tx *store.Tx, t *tenancy.Tenant, restrictive bool) error {
	parts, err := tx.TenantParts(t)
	if err != nil {
		return err
	}
	return s.putTenant(ctx, tx, t, &parts, restrictive)
}

func (s *Service) putTenant(ctx context.Context, tx *store.Tx, t *tenancy.Tenant, parts *store.TenantParts, restrictive bool) error {
	_, err := s.putAndView(ctx, tx, t, parts, restrictive)
	return err
}

// putAndView is putTenant for who looks at what the data plane will serve; the view of a deleted tenant is nil.
func (s *Service) putAndView(ctx context.Context, tx *store.Tx, t *tenancy.Tenant, parts *store.TenantParts, restrictive bool) (view *snapshot.Tenant, err error) {
	r := store.Record{
		Subject: t.ID, Kind: store.KindTenant, ConfigVersion: t.ConfigVersion, Restrictive: restrictive, Hosts: parts.Hosts, Time: t.UpdateTime,
		Body: []byte{},
	}
	if t.State == tenancy.StateDeleted {
		// A tombstone has no body; its hosts stay claimed, for undelete needs them.
		r.Kind = store.KindTombstone
		return nil, tx.PutRecord(r, s.regionsOf(t), store.Interactive)
	}
	digest, err := s.layerOf(ctx, tx, t)
	if err != nil {
		return nil, err
	}
	version, err := tx.OrgVersion()
	if err != nil {
		return nil, err
	}
	b, err := s.docs.base(ctx, t.Org, digest, version)
	if err != nil {
		return nil, err
	}
	if r.Body, view, err = b.compile(core(t, parts)); err != nil {
		return nil, err
	}
	return view, tx.PutRecord(r, s.regionsOf(t), store.Interactive)
}

// layerOf is the digest of the layer that a tenant gets: that of its pin, else of its blueprint's published revision.
func (s *Service) layerOf(_ context.Context, tx *store.Tx, t *tenancy.Tenant) ([]byte, error) {
	if t.Blueprint.IsZero() {
		return nil, nil
	}
	if t.BlueprintPin > 0 {
		_, digest, err := tx.Revision(t.Blueprint, t.BlueprintPin)
		return digest, err
	}
	return tx.LayerDigest(t.Blueprint)
}

// regionsOf lists the regions that get a tenant's record: its own. Others would get a stub once there are others.
func (s *Service) regionsOf(t *tenancy.Tenant) []string { return []string{t.Region} }

// putOrg makes the record of an org whose row is locked and already at its new version.
func (s *Service) putOrg(tx *store.Tx, o *tenancy.Org, restrictive bool) error {
	clients, err := tx.SharedClients()
	if err != nil {
		return err
	}
	doc := s.orgMessage(o, clients)
	if err := snapshot.CompileOrg(doc); err != nil {
		return rejected(err)
	}
	body, err := proto.Marshal(doc)
	if err != nil {
		return err
	}
	return tx.PutRecord(store.Record{
		Subject: o.ID, Kind: store.KindOrg, ConfigVersion: o.ConfigVersion, Restrictive: restrictive, Body: body, Time: o.UpdateTime,
	}, s.cfg.Regions, store.Interactive)
}
