// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

var orgFields = []tenancy.FilterField{
	{Name: "slug", Has: true}, {Name: "state", Check: choices("ACTIVE", "SUSPENDED")}, {Name: "base_domain"}, {Name: "labels.*"},
}

// CreateOrg makes an org, claims its base domain and writes its record for the data plane.
func (s *Service) CreateOrg(ctx context.Context, caller tenancy.Principal, in OrgInput) (tenancy.Org, error) {
	o := in.Org
	var vs []tenancy.Violation
	if !tenancy.ValidSlug(in.Slug) || in.Slug == "platform" {
		vs = append(vs, tenancy.Violation{Field: "org_id", Text: "write lower-case letters, digits and inner hyphens; platform is reserved"})
	}
	vs = append(vs, s.checkOrg(&o)...)
	if err := tenancy.Violated(tenancy.ReasonInvalidArgument, vs); err != nil {
		return tenancy.Org{}, err
	}
	if o.BaseDomain != "" {
		var err error
		if o.BaseDomain, err = tenancy.CheckBaseDomain(o.BaseDomain, s.cfg.Development); err != nil {
			return tenancy.Org{}, err
		}
	}
	// A repeated request finds its first answer whatever id is drawn here, so the answer is kept with the platform.
	o.ID, o.Slug, o.State, o.Version, o.ConfigVersion = id.NewOrg(), in.Slug, tenancy.StateActive, 1, 1
	if o.DisplayName == "" {
		o.DisplayName = o.Slug
	}
	v, _, err := changeAs(ctx, s, caller, id.Org{}, o.ID, "CreateOrg", in.Call, func(tx *store.Tx, now time.Time) (tenancy.Org, error) {
		o.CreateTime, o.UpdateTime = now, now
		if err := tx.InsertOrg(o); err != nil {
			return o, err
		}
		if o.BaseDomain != "" {
			if err := tx.ClaimBaseDomain(o.BaseDomain, o); err != nil {
				return o, err
			}
		}
		if err := s.putOrg(tx, &o, false); err != nil {
			return o, err
		}
		e := event(caller, now, tenancy.ActionOrgCreated, orgName(o.ID))
		e.ConfigVersion = 1
		return o, tx.Audit(e)
	})
	if in.ValidateOnly {
		v.ID = id.Org{}
	}
	return v, err
}

// checkOrg checks and normalises what an owner writes into an org.
func (s *Service) checkOrg(o *tenancy.Org) (vs []tenancy.Violation) {
	if a := o.DefaultAudience; a != "" {
		if u, err := url.Parse(a); err != nil || !u.IsAbs() || u.Fragment != "" {
			vs = append(vs, tenancy.Violation{Field: "org.default_audience", Text: "write an absolute URI without a fragment"})
		}
	}
	for i, r := range o.AllowedRegions {
		if !slices.Contains(s.cfg.Regions, r) {
			vs = append(vs, tenancy.Violation{Field: fmt.Sprintf("org.allowed_regions[%d]", i), Text: "choose of " + strings.Join(s.cfg.Regions, ", ")})
		}
	}
	labels := make([]string, 0, len(o.ReservedLabels))
	for i, l := range o.ReservedLabels {
		n, ok := tenancy.NormalizeLabel(l)
		if !ok {
			vs = append(vs, tenancy.Violation{Field: fmt.Sprintf("org.reserved_labels[%d]", i), Text: "write one DNS label"})
			continue
		}
		labels = append(labels, n)
	}
	slices.Sort(labels)
	o.ReservedLabels = slices.Compact(labels)
	if o.Config != nil {
		for _, x := range snapshot.CheckOverrides(nil, nil, o.Config.Policy) {
			vs = append(vs, tenancy.Violation{Field: "org.config." + x.Path, Text: x.Reason})
		}
	}
	if o.Theme != nil {
		if _, err := snapshot.CompileTheme(o.Theme.Theme); err != nil {
			vs = append(vs, tenancy.Violation{Field: "org.theme", Text: err.Error()})
		}
	}
	return vs
}

// GetOrg reads an org.
func (s *Service) GetOrg(ctx context.Context, _ tenancy.Principal, org id.Org) (tenancy.Org, error) {
	return s.store.Org(ctx, org)
}

// ListOrgs lists the orgs within the caller's reach: all for a platform key, else its own.
func (s *Service) ListOrgs(ctx context.Context, caller tenancy.Principal, page tenancy.Page) (List[tenancy.Org], error) {
	if caller.Rights.Scope != tenancy.ScopePlatform {
		if _, _, err := s.query(caller, page, orgFields, byIDOrSlug, "orgs"); err != nil {
			return List[tenancy.Org]{}, err
		}
		if caller.Rights.Scope != tenancy.ScopeOrg {
			return List[tenancy.Org]{}, nil
		}
		o, err := s.store.Org(ctx, caller.Rights.Org)
		return List[tenancy.Org]{Items: []tenancy.Org{o}}, err
	}
	q, binding, err := s.query(caller, page, orgFields, byIDOrSlug, "orgs")
	if err != nil {
		return List[tenancy.Org]{}, err
	}
	items, err := s.store.Orgs(ctx, q)
	if err != nil {
		return List[tenancy.Org]{}, err
	}
	return paged(s, items, q, binding, func(o tenancy.Org) []byte { return cursorOf(q, o.ID, o.Slug) }), nil
}

// platformOnly are the fields of an org that only a platform key may change.
var platformOnly = []string{"state", "allowed_regions", "billing_account", "billing_plan"}

// UpdateOrg changes an org. What the data plane serves follows: the org's record, and the layers of its blueprints when its own policy or
// appearance changed.
func (s *Service) UpdateOrg(ctx context.Context, caller tenancy.Principal, org id.Org, in OrgInput) (tenancy.Org, error) {
	for _, f := range in.Mask {
		switch {
		case f == "base_domain" || f == "slug":
			return tenancy.Org{}, tenancy.RefuseField(tenancy.ReasonFieldImmutable, "org."+f, "")
		case slices.Contains(platformOnly, f) && caller.Rights.Scope != tenancy.ScopePlatform:
			return tenancy.Org{}, &tenancy.Error{Reason: tenancy.ReasonPermissionDenied, Field: "org." + f, Text: "only a platform key changes " + f}
		}
	}
	if err := tenancy.Violated(tenancy.ReasonInvalidArgument, s.checkOrg(&in.Org)); err != nil {
		return tenancy.Org{}, err
	}
	v, _, err := change(ctx, s, caller, org, "UpdateOrg", in.Call, func(tx *store.Tx, now time.Time) (tenancy.Org, error) {
		o, err := tx.LockOrg()
		if err != nil {
			return o, err
		}
		if err := tenancy.CheckEtag(in.Etag, o.ID, o.Version); err != nil {
			return o, err
		}
		wasActive, layers, record := o.State == tenancy.StateActive, false, false
		for _, f := range in.Mask {
			switch f {
			case "display_name":
				o.DisplayName, record = in.Org.DisplayName, true
			case "labels":
				o.Labels = in.Org.Labels
			case "annotations":
				o.Annotations = in.Org.Annotations
			case "default_audience":
				o.DefaultAudience, record = in.Org.DefaultAudience, true
			case "allowed_regions":
				o.AllowedRegions = in.Org.AllowedRegions
			case "reserved_labels":
				o.ReservedLabels = in.Org.ReservedLabels
			case "billing_account":
				o.BillingAccount = in.Org.BillingAccount
			case "billing_plan":
				o.BillingPlan = in.Org.BillingPlan
			case "state":
				if in.Org.State != tenancy.StateActive && in.Org.State != tenancy.StateSuspended {
					return o, tenancy.RefuseField(tenancy.ReasonInvalidArgument, "org.state", "choose ACTIVE or SUSPENDED")
				}
				o.State, record = in.Org.State, true
			case "config":
				o.Config, layers = in.Org.Config, true
			case "theme":
				o.Theme, layers = in.Org.Theme, true
			default:
				return o, unknownField("org", f)
			}
		}
		o.Version, o.UpdateTime = o.Version+1, now
		if record {
			o.ConfigVersion++
		}
		if err := tx.UpdateOrg(o); err != nil {
			return o, err
		}
		if record {
			if err := s.putOrg(tx, &o, wasActive && o.State != tenancy.StateActive); err != nil {
				return o, err
			}
		}
		if layers {
			if err := s.relayer(tx, &o); err != nil {
				return o, err
			}
		}
		e := event(caller, now, tenancy.ActionOrgUpdated, orgName(org))
		e.ChangedFields, e.ConfigVersion = in.Mask, o.ConfigVersion
		return o, tx.Audit(e)
	})
	s.docs.forget(org)
	return v, err
}

func unknownField(resource, field string) error {
	return tenancy.RefuseField(tenancy.ReasonInvalidArgument, "update_mask", resource+" has no field "+field+" that can be changed")
}

// relayer merges an org's changed policy into the layer of each of its blueprints' revisions in use.
func (s *Service) relayer(tx *store.Tx, o *tenancy.Org) error {
	bs, rings, err := tx.LockBlueprints()
	if err != nil {
		return err
	}
	for i := range bs {
		if err := s.putRing(tx, o, &bs[i], &rings[i], o.UpdateTime); err != nil {
			return err
		}
		if err := tx.UpdateBlueprint(&bs[i], rings[i]); err != nil {
			return err
		}
	}
	return nil
}

// layer builds and checks the layer of a spec under an org, and stores it by its digest.
func (s *Service) layer(tx *store.Tx, o *tenancy.Org, spec *blueprint.Spec, number int, now time.Time) (digest [32]byte, err error) {
	l := layerOf(o, spec, number)
	if err := snapshot.CompileLayer(l); err != nil {
		return digest, rejected(err)
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(l)
	if err != nil {
		return digest, err
	}
	digest = snapshot.Digest(body)
	return digest, tx.PutBlob(digest, body, now)
}

// layerOf is what tenants inherit from a spec and the org above it.
func layerOf(o *tenancy.Org, spec *blueprint.Spec, number int) *snapshotv1.Layer {
	var policy *snapshotv1.Policy
	var theme *snapshotv1.Theme
	if o.Config != nil {
		policy = o.Config.Policy
	}
	if o.Theme != nil {
		theme = o.Theme.Theme
	}
	return spec.Layer(policy, theme, snapshot.MergePolicies, snapshot.MergeThemes, number)
}

// putRing writes the ring table of a locked blueprint: all 256 rings at its published revision, and the pinned tenants at theirs. It
// counts the table's version up and notes the layer in ring, which the caller writes.
func (s *Service) putRing(tx *store.Tx, o *tenancy.Org, b *blueprint.Blueprint, ring *store.RingState, now time.Time) error {
	pins, err := tx.Pins(b.ID)
	if err != nil {
		return err
	}
	digests := map[int]uint32{} // revision → index of its layer
	table := &snapshotv1.RingTable{BlueprintId: b.ID[:], Rings: make([]byte, 256)}
	var blobs [][]byte
	use := func(number int) (uint32, error) {
		if i, ok := digests[number]; ok {
			return i, nil
		}
		r, _, err := tx.Revision(b.ID, number)
		if err != nil {
			return 0, err
		}
		d, err := s.layer(tx, o, &r.Spec, number, now)
		if err != nil {
			return 0, err
		}
		if err := tx.SetLayer(b.ID, number, d); err != nil {
			return 0, err
		}
		i := uint32(len(blobs)) //nolint:gosec // few
		digests[number], blobs = i, append(blobs, d[:])
		return i, nil
	}
	if _, err := use(b.Revision); err != nil {
		return err
	}
	for _, p := range pins {
		i, err := use(p.Revision)
		if err != nil {
			return err
		}
		table.Pins = append(table.Pins, &snapshotv1.Pin{TenantId: p.Tenant[:], Layer: i})
	}
	ring.Version++
	ring.LayerDigest = blobs[0]
	table.ConfigVersion, table.LayerDigests = uint64(ring.Version), blobs //nolint:gosec // positive
	body, err := proto.Marshal(table)
	if err != nil {
		return err
	}
	return tx.PutRecord(store.Record{
		Subject: b.ID, Kind: store.KindRingTable, ConfigVersion: ring.Version, Body: body, Blobs: blobs, Time: now,
	}, s.cfg.Regions, store.Interactive)
}
