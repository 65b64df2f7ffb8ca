// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

var tenantFields = []tenancy.FilterField{
	{Name: "slug", Has: true},
	{Name: "state", Check: choices("ACTIVE", "SUSPENDED", "DELETED")},
	{Name: "type", Check: choices("DEVELOPMENT", "PRODUCTION")},
	{Name: "plan"},
	{Name: "primary_domain"},
	{Name: "labels.*"},
}

// seen takes out of a tenant what the caller may not see: the org's own data, for keys that are locked to tenants.
func seen(caller tenancy.Principal, t tenancy.Tenant) tenancy.Tenant {
	if caller.Rights.Scope == tenancy.ScopeTenants {
		t.InternalMetadata = nil
	}
	return t
}

// GetTenant reads a tenant with its roles.
func (s *Service) GetTenant(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant) (tenancy.Tenant, error) {
	t, err := s.store.Tenant(ctx, org, tenant)
	return seen(caller, t), err
}

// ListTenants lists the tenants of an org that are within the caller's reach.
func (s *Service) ListTenants(ctx context.Context, caller tenancy.Principal, org id.Org, page tenancy.Page, showDeleted bool) (List[tenancy.Tenant], error) {
	binding := []string{"tenants", org.String()}
	if showDeleted {
		binding[0] = "tenants and deleted ones"
	}
	q, binding, err := s.query(caller, page, tenantFields, byIDOrSlug, binding...)
	if err != nil {
		return List[tenancy.Tenant]{}, err
	}
	var only []id.Tenant
	if caller.Rights.Scope == tenancy.ScopeTenants {
		only = append([]id.Tenant{}, caller.Rights.Tenants...)
	}
	showDeleted = showDeleted || slices.ContainsFunc(q.Filter, func(r tenancy.Restriction) bool { return r.Field == "state" && r.Value == "DELETED" })
	items, err := s.store.Tenants(ctx, org, q, showDeleted, only)
	if err != nil {
		return List[tenancy.Tenant]{}, err
	}
	for i := range items {
		items[i] = seen(caller, items[i])
	}
	return paged(s, items, q, binding, func(t tenancy.Tenant) []byte { return cursorOf(q, t.ID, t.Slug) }), nil
}

// orgOnly are the fields of a tenant that a key locked to tenants may not change.
var orgOnly = []string{"plan", "entitlements", "internal_metadata", "labels"}

// UpdateTenant changes a tenant. Policy is checked against the locks of its blueprint, and the result compiled before it commits.
func (s *Service) UpdateTenant(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, in TenantInput) (tenancy.Tenant, error) {
	for _, f := range in.Mask {
		if slices.Contains(orgOnly, f) && caller.Rights.Scope == tenancy.ScopeTenants {
			return tenancy.Tenant{}, &tenancy.Error{Reason: tenancy.ReasonPermissionDenied, Field: "tenant." + f, Text: "only a key of the org changes " + f}
		}
	}
	for name, raw := range map[string][]byte{"tenant.app_metadata": in.Tenant.AppMetadata, "tenant.internal_metadata": in.Tenant.InternalMetadata} {
		if text := checkMetadata(raw); text != "" {
			return tenancy.Tenant{}, tenancy.RefuseField(tenancy.ReasonInvalidArgument, name, text)
		}
	}
	v, _, err := change(ctx, s, caller, org, "UpdateTenant", in.Call, func(tx *store.Tx, now time.Time) (tenancy.Tenant, error) {
		t, err := lockServed(tx, tenant)
		if err != nil {
			return t, err
		}
		if err := tenancy.CheckEtag(in.Etag, t.ID, t.Version); err != nil {
			return t, err
		}
		policy := false
		for _, f := range in.Mask {
			if err := apply(&t, &in.Tenant, f); err != nil {
				return t, err
			}
			policy = policy || f == "overrides" || strings.HasPrefix(f, "overrides.")
		}
		if t.DisplayName == "" {
			t.DisplayName = t.Slug
		}
		t.UpdateTime = now
		if err := tx.UpdateTenant(&t); err != nil {
			return t, err
		}
		parts, err := tx.TenantParts(&t)
		if err != nil {
			return t, err
		}
		if policy {
			if err := s.checkPolicy(ctx, tx, &t, &parts, in.ValidateOnly, now); err != nil {
				return t, err
			}
		}
		view, err := s.putAndView(ctx, tx, &t, &parts, false)
		if err != nil {
			return t, err
		}
		if policy {
			if t.Warnings, err = s.policyWarnings(tx, &t, parts.Clients, view.Policy); err != nil {
				return t, err
			}
		}
		e := event(caller, now, tenancy.ActionTenantUpdated, tenantName(org, tenant))
		e.Tenant, e.ConfigVersion, e.ChangedFields = tenant, t.ConfigVersion, in.Mask
		return t, tx.Audit(e)
	})
	return seen(caller, v), err
}

func apply(t, in *tenancy.Tenant, field string) error {
	switch head, path, _ := strings.Cut(field, "."); head {
	case "display_name":
		t.DisplayName = in.DisplayName
	case "labels":
		t.Labels = in.Labels
	case "annotations":
		t.Annotations = in.Annotations
	case "plan":
		t.Plan = in.Plan
	case "entitlements":
		t.Entitlements = in.Entitlements
	case "app_metadata":
		t.AppMetadata = in.AppMetadata
	case "internal_metadata":
		t.InternalMetadata = in.InternalMetadata
	case "overrides":
		old, fresh := &snapshotv1.Policy{}, &snapshotv1.Policy{}
		if t.Overrides != nil {
			old = t.Overrides.Policy
		}
		if in.Overrides != nil {
			fresh = in.Overrides.Policy
		}
		m, ok := setPath(old, fresh, path)
		if !ok {
			return unknownField("tenant", field)
		}
		t.Overrides = nil
		if proto.Size(m) > 0 {
			t.Overrides = &tenancy.Policy{Policy: m.(*snapshotv1.Policy)} //nolint:forcetypeassert // setPath keeps the type
		}
	case "theme":
		old, fresh := &snapshotv1.Theme{}, &snapshotv1.Theme{}
		if t.Theme != nil {
			old = t.Theme.Theme
		}
		if in.Theme != nil {
			fresh = in.Theme.Theme
		}
		m, ok := setPath(old, fresh, path)
		if !ok {
			return unknownField("tenant", field)
		}
		t.Theme = nil
		if proto.Size(m) > 0 {
			t.Theme = &tenancy.Theme{Theme: m.(*snapshotv1.Theme)} //nolint:forcetypeassert // setPath keeps the type
		}
	case "slug", "type", "region", "blueprint", "hosts", "issuer":
		return tenancy.RefuseField(tenancy.ReasonFieldImmutable, "tenant."+field, "")
	default:
		return unknownField("tenant", field)
	}
	return nil
}

// setPath copies the field at path from src into a copy of dst, clearing it where src does not have it; an empty path replaces all.
func setPath(dst, src proto.Message, path string) (proto.Message, bool) {
	if path == "" {
		return proto.Clone(src), true
	}
	out := proto.Clone(dst)
	d, s := out.ProtoReflect(), src.ProtoReflect()
	segments := strings.Split(path, ".")
	for i, name := range segments {
		f := d.Descriptor().Fields().ByName(protoreflect.Name(name))
		if f == nil {
			return nil, false
		}
		if i == len(segments)-1 {
			if s.Has(f) {
				d.Set(f, s.Get(f))
			} else {
				d.Clear(f)
			}
			break
		}
		if f.Message() == nil || f.IsList() {
			return nil, false
		}
		d, s = d.Mutable(f).Message(), s.Get(f).Message()
	}
	prune(out.ProtoReflect())
	return out, true
}

// prune removes sections that nothing is set in, so that an emptied override reads as never made.
func prune(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() != nil && !f.IsList() && proto.Size(v.Message().Interface()) == 0 && f.Message().FullName() != "google.protobuf.Duration" &&
			f.Message().FullName() != "tenantry.snapshot.v1.StringList" {
			m.Clear(f)
		}
		return true
	})
}

// checkPolicy checks a tenant's overrides under its layer, and gives it a key for each algorithm that they name, unless the call only
// validates: policy and keys come with one document, so no request finds an algorithm without its key.
func (s *Service) checkPolicy(ctx context.Context, tx *store.Tx, t *tenancy.Tenant, parts *store.TenantParts, dry bool, now time.Time) error {
	digest, err := s.layerOf(ctx, tx, t)
	if err != nil {
		return err
	}
	layer, err := s.docs.layer(ctx, t.Org, digest)
	if err != nil {
		return err
	}
	if t.Overrides != nil {
		var vs []tenancy.Violation
		reason := tenancy.ReasonInvalidArgument
		for _, x := range snapshot.CheckOverrides(layer.GetLocked(), layer.GetPolicy(), t.Overrides.Policy) {
			vs = append(vs, tenancy.Violation{Field: "tenant.overrides." + x.Path, Text: x.Reason})
			if slices.Contains(layer.GetLocked(), x.Path) {
				reason = tenancy.ReasonPolicyLocked
			}
		}
		if err := tenancy.Violated(reason, vs); err != nil {
			return err
		}
	}
	if dry {
		return nil
	}
	for _, a := range lacking(algorithmsOf(layer, t.Overrides), parts.SigningKeys) {
		private, _, err := s.successorOf(string(a))
		if err != nil {
			return err
		}
		if err := s.addKey(tx, t, parts, private, now); err != nil {
			return err
		}
	}
	return nil
}

// move changes a tenant's state. What is so already is answered as it is.
func (s *Service) move(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, call Call, method, action string, from []tenancy.State, to tenancy.State) (tenancy.Tenant, error) {
	v, _, err := change(ctx, s, caller, org, method, call, func(tx *store.Tx, now time.Time) (tenancy.Tenant, error) {
		t, err := tx.LockTenant(tenant)
		if err != nil {
			return t, err
		}
		if err := tenancy.CheckEtag(call.Etag, t.ID, t.Version); err != nil {
			return t, err
		}
		undelete := action == tenancy.ActionTenantUndeleted
		if !slices.Contains(from, t.State) {
			if t.State == to || undelete {
				return t, errDryAnswer
			}
			return t, &tenancy.Error{Reason: tenancy.ReasonTenantState, Text: "the tenant is " + t.State.String(), Meta: map[string]string{"state": t.State.String()}}
		}
		if undelete && !now.Before(t.PurgeTime) {
			return t, tenancy.Refuse(tenancy.ReasonNotFound)
		}
		switch {
		case to == tenancy.StateDeleted:
			t.StateBefore, t.DeleteTime, t.PurgeTime = t.State, now, now.Add(tenancy.PurgeAfter)
			t.State = to
		case undelete:
			t.State, t.StateBefore, t.DeleteTime, t.PurgeTime = t.StateBefore, 0, time.Time{}, time.Time{}
		default:
			t.State = to
		}
		t.UpdateTime = now
		if err := tx.UpdateTenant(&t); err != nil {
			return t, err
		}
		if err := s.recompile(ctx, tx, &t, t.State != tenancy.StateActive); err != nil {
			return t, err
		}
		e := event(caller, now, action, tenantName(org, tenant))
		e.Tenant, e.ConfigVersion, e.Reason = tenant, t.ConfigVersion, call.Reason
		return t, tx.Audit(e)
	})
	return seen(caller, v), err
}

// SuspendTenant closes a tenant until it is resumed.
func (s *Service) SuspendTenant(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, call Call) (tenancy.Tenant, error) {
	return s.move(ctx, caller, org, tenant, call, "SuspendTenant", tenancy.ActionTenantSuspended, []tenancy.State{tenancy.StateActive}, tenancy.StateSuspended)
}

// ResumeTenant opens a suspended tenant.
func (s *Service) ResumeTenant(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, call Call) (tenancy.Tenant, error) {
	return s.move(ctx, caller, org, tenant, call, "ResumeTenant", tenancy.ActionTenantResumed, []tenancy.State{tenancy.StateSuspended}, tenancy.StateActive)
}

// DeleteTenant closes a tenant; it can be undeleted until it is purged. Its hostnames stay claimed.
func (s *Service) DeleteTenant(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, call Call) (tenancy.Tenant, error) {
	return s.move(ctx, caller, org, tenant, call, "DeleteTenant", tenancy.ActionTenantDeleted, []tenancy.State{tenancy.StateActive, tenancy.StateSuspended}, tenancy.StateDeleted)
}

// UndeleteTenant brings a deleted tenant back in the state that it had.
func (s *Service) UndeleteTenant(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, call Call) (tenancy.Tenant, error) {
	return s.move(ctx, caller, org, tenant, call, "UndeleteTenant", tenancy.ActionTenantUndeleted, []tenancy.State{tenancy.StateDeleted}, tenancy.StateActive)
}

// ReleaseHostname takes a hostname that is not in the issuer from a tenant. Nobody may claim it for the time of the hold.
func (s *Service) ReleaseHostname(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, hostname string, call Call) (tenancy.Tenant, error) {
	v, _, err := change(ctx, s, caller, org, "ReleaseHostname", call, func(tx *store.Tx, now time.Time) (tenancy.Tenant, error) {
		t, err := tx.LockTenant(tenant)
		if err != nil {
			return t, err
		}
		i := slices.IndexFunc(t.Hosts, func(h tenancy.Host) bool { return h.Name == hostname })
		if i < 0 {
			return t, tenancy.Refuse(tenancy.ReasonNotFound)
		}
		if i == 0 && t.State != tenancy.StateDeleted {
			return t, tenancy.RefuseField(tenancy.ReasonFieldImmutable, "hostname", "the issuer is made of this hostname; delete the tenant first")
		}
		t.Hosts, t.UpdateTime = slices.Delete(t.Hosts, i, i+1), now
		if err := tx.UpdateTenant(&t); err != nil {
			return t, err
		}
		released, err := tx.ReleaseHostname(tenant, hostname, now, now.Add(tenancy.HoldTime))
		if err != nil {
			return t, err
		}
		parts, err := tx.TenantParts(&t)
		if err != nil {
			return t, err
		}
		parts.Hosts = append(parts.Hosts, released)
		if err := s.putTenant(ctx, tx, &t, &parts, true); err != nil {
			return t, err
		}
		e := event(caller, now, tenancy.ActionHostnameReleased, tenantName(org, tenant)+"/domains/"+hostname)
		e.Tenant, e.ConfigVersion = tenant, t.ConfigVersion
		return t, tx.Audit(e)
	})
	return seen(caller, v), err
}

// CheckHostname says whether an org's tenant could have a hostname now. Why not is never said: taken, held, reserved and impossible
// names have the same answer.
func (s *Service) CheckHostname(ctx context.Context, _ tenancy.Principal, org id.Org, host HostSpec) (Availability, error) {
	o, err := s.store.Org(ctx, org)
	if err != nil {
		return Availability{}, err
	}
	if o.BaseDomain == "" {
		return Availability{}, tenancy.Refuse(tenancy.ReasonBaseDomainMissing)
	}
	label, ok := tenancy.NormalizeLabel(host.Label)
	name := label + "." + o.BaseDomain
	if host.Domain != "" {
		if name, ok = tenancy.NormalizeDomain(host.Domain); ok {
			label, ok = strings.CutSuffix(name, "."+o.BaseDomain)
			if ok = ok && !strings.Contains(label, "."); !ok {
				return Availability{Host: name}, nil
			}
		}
	}
	if !ok || len(name) > 253 {
		return Availability{}, nil
	}
	free, err := s.store.HostnameFree(ctx, org, name, s.time())
	if err != nil {
		return Availability{}, err
	}
	return Availability{Available: free && !s.labelReserved(label) && !slices.Contains(o.ReservedLabels, label), Host: name}, nil
}
