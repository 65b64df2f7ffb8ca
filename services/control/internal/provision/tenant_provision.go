// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

const methodProvision = "ProvisionTenant"

// ProvisionTenant makes a tenant with everything that belongs to it in one write of one round trip. What it builds on, the org and the
// blueprint, is read before it, or taken from the last call's reading: the write itself refuses when it is out of date, and the call
// begins again with a fresh one. In between the tenant is rendered from the blueprint, its keys are made and sealed, and its snapshot is
// compiled as the data plane will. After the commit the call waits for the depth that was asked for; running out of time is no error.
func (s *Service) ProvisionTenant(ctx context.Context, caller tenancy.Principal, org id.Org, in ProvisionInput) (ProvisionResult, error) {
	p := &provisioning{s: s, caller: caller, org: org, in: &in, now: s.time()}
	if err := p.checkRequest(); err != nil {
		return ProvisionResult{}, err
	}
	for attempt := 0; ; attempt++ {
		res, remembered, err := p.attempt(ctx, attempt == 0)
		switch {
		case err == nil:
			return p.finish(ctx, res), nil
		case attempt < 3 && (remembered && !p.wrote || errors.Is(err, tenancy.ReasonConcurrentChange)):
			// Org or blueprint changed since they were read, or a refusal rests on a remembered reading.
			s.docs.forget(org)
			continue
		case in.RequestID != "" && !in.ValidateOnly && repeatable(err):
			// A conflict may be with the very same request: its answer is then there.
			if a, found, rerr := replay[ProvisionResult](ctx, s, caller, org, methodProvision, in.Call); rerr != nil {
				return ProvisionResult{}, rerr
			} else if found {
				a.AlreadyReturned = true
				return p.finish(ctx, a), nil
			}
		}
		return ProvisionResult{}, err
	}
}

// provisioning is one call of ProvisionTenant.
type provisioning struct {
	s      *Service
	caller tenancy.Principal
	org    id.Org
	in     *ProvisionInput
	now    time.Time

	wrote  bool     // the last attempt came as far as the write
	labels []string // in front of the base domain, the primary one first
	fields []string // where each label came from
}

// checkRequest is what can be refused without looking at the database.
func (p *provisioning) checkRequest() error {
	in := p.in
	var vs []tenancy.Violation
	bad := func(field, text string) { vs = append(vs, tenancy.Violation{Field: field, Text: text}) }
	if !tenancy.ValidSlug(in.TenantID) {
		bad("tenant_id", "write lower-case letters, digits and inner hyphens, at most 63 characters")
	}
	if in.Type != tenancy.TypeUnspecified && in.Type != tenancy.TypeDevelopment && in.Type != tenancy.TypeProduction {
		bad("tenant.type", "choose DEVELOPMENT or PRODUCTION")
	}
	for name, raw := range map[string][]byte{"tenant.app_metadata": in.AppMetadata, "tenant.internal_metadata": in.InternalMetadata} {
		if text := checkMetadata(raw); text != "" {
			bad(name, text)
		}
	}
	if in.Owner != nil && !blueprint.ValidEmail(in.Owner.Email) {
		bad("owner.email", "write an e-mail address")
	}
	primary := 0
	for i, h := range in.Hosts {
		if h.Primary {
			if in.Hosts[primary].Primary && primary != i {
				bad(fmt.Sprintf("hosts[%d].primary", i), "another host is primary already")
			}
			primary = i
		}
	}
	for i, h := range in.Hosts {
		field := fmt.Sprintf("hosts[%d].label", i)
		label, ok := tenancy.NormalizeLabel(h.Label)
		if h.Domain != "" {
			// Whether the domain lies under the base domain is known once the org is; what is in front is its label.
			field = fmt.Sprintf("hosts[%d].domain", i)
			var domain string
			if domain, ok = tenancy.NormalizeDomain(h.Domain); ok {
				label, _, _ = strings.Cut(domain, ".")
			}
		}
		switch {
		case !ok:
			bad(field, "write a DNS label: letters, digits and inner hyphens")
		case slices.Contains(p.labels, label):
			bad(field, "the same address stands before it")
		case i == primary:
			p.labels, p.fields = append([]string{label}, p.labels...), append([]string{field}, p.fields...)
		default:
			p.labels, p.fields = append(p.labels, label), append(p.fields, field)
		}
	}
	if len(in.Hosts) == 0 && tenancy.ValidSlug(in.TenantID) {
		label, ok := tenancy.NormalizeLabel(in.TenantID)
		if !ok {
			bad("tenant_id", "this is no DNS label, so it cannot be the tenant's address")
		}
		p.labels, p.fields = []string{label}, []string{"tenant_id"}
	}
	ids := make([]string, 0, len(in.APIKeys))
	for i, k := range in.APIKeys {
		vs = append(vs, blueprint.CheckAPIKey(k, fmt.Sprintf("api_keys[%d].", i))...)
		if !tenancy.ValidItemID(k.ID) || slices.Contains(ids, k.ID) {
			bad(fmt.Sprintf("api_keys[%d].id", i), "choose an id that no other key of the request has: a letter, then letters, digits, hyphens and underscores")
		}
		ids = append(ids, k.ID)
	}
	ids = ids[:0]
	for i, c := range in.Clients {
		if !tenancy.ValidItemID(c.ID) || slices.Contains(ids, c.ID) {
			bad(fmt.Sprintf("clients[%d].id", i), "choose an id that no other client of the request has: a letter, then letters, digits, hyphens and underscores")
		}
		ids = append(ids, c.ID)
	}
	for i, u := range in.InitialUsers {
		if !blueprint.ValidEmail(u.Email) {
			bad(fmt.Sprintf("initial_users[%d].email", i), "write an e-mail address")
		}
	}
	return tenancy.Violated(tenancy.ReasonInvalidArgument, vs)
}

// checkMetadata says what is wrong with a JSON object, or nothing.
func checkMetadata(raw []byte) string {
	if len(raw) == 0 {
		return ""
	}
	if len(raw) > 16<<10 {
		return "at most 16 KiB"
	}
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return "write a JSON object"
	}
	return ""
}

// attempt is the making of everything and one write, on a remembered reading of org and blueprint if there is a fresh one.
func (p *provisioning) attempt(ctx context.Context, mayRemember bool) (res ProvisionResult, remembered bool, err error) {
	s, in := p.s, p.in
	p.wrote = false
	k := groundKey{p.org, in.Blueprint}
	var g store.Ground
	if mayRemember && !in.ValidateOnly {
		g, remembered = s.docs.remembered(k, p.now)
	}
	if !remembered {
		bp, bpSlug := blueprintRef(in.Blueprint)
		request := in.RequestID
		if in.ValidateOnly {
			request = ""
		}
		if g, err = s.store.Ground(ctx, p.org, in.TenantID, bp, bpSlug, p.caller.Key, methodProvision, request); err != nil {
			return res, false, err
		}
		s.docs.remember(k, g, p.now)
	}
	if g.Answer != nil {
		// The call was answered before; read it as any repeated request, with its checks.
		a, _, err := replay[ProvisionResult](ctx, s, p.caller, p.org, methodProvision, in.Call)
		a.AlreadyReturned = true
		return a, false, err
	}
	res, err = p.make(ctx, &g)
	return res, remembered, err
}

// make plans, and writes unless the call only validates.
func (p *provisioning) make(ctx context.Context, g *store.Ground) (ProvisionResult, error) {
	s, in := p.s, p.in
	hosts, err := p.hosts(g)
	if err != nil {
		return ProvisionResult{}, err
	}
	n, res, err := p.plan(ctx, g, hosts)
	if err != nil {
		return ProvisionResult{}, err
	}
	if in.ValidateOnly {
		for i, h := range hosts {
			free, err := s.store.HostnameFree(ctx, p.org, h, p.now)
			if err != nil {
				return ProvisionResult{}, err
			}
			if !free {
				return ProvisionResult{}, p.unavailable(i)
			}
		}
		return planned(res), nil
	}
	if n.Answer.Operation.Answer, err = json.Marshal(res); err != nil {
		return ProvisionResult{}, err
	}
	p.wrote = true
	if err := p.write(ctx, n); err != nil {
		if !errors.Is(err, tenancy.ReasonHostnameUnavailable) {
			return ProvisionResult{}, err
		}
		if err := p.reclaim(ctx, n, hosts); err != nil {
			return ProvisionResult{}, err
		}
	}
	s.published()
	if n.Seed != nil && s.cfg.Seeded != nil {
		s.cfg.Seeded()
	}
	return res, nil
}

// reclaim writes again after a name was found taken, if every name is free: somebody had it before, and its hold is over. Names with a
// history are rare, so the first attempt does not look for one.
func (p *provisioning) reclaim(ctx context.Context, n *store.NewTenant, hosts []string) error {
	for i, h := range hosts {
		free, err := p.s.store.HostnameFree(ctx, p.org, h, p.now)
		if err != nil {
			return err
		}
		if !free {
			return p.unavailable(i)
		}
	}
	n.Reclaim = true
	err := p.write(ctx, n)
	if errors.Is(err, tenancy.ReasonHostnameUnavailable) {
		return p.unavailable(0)
	}
	return err
}

// write commits everything. A pinned tenant also changes its blueprint's ring table, which takes a longer transaction.
func (p *provisioning) write(ctx context.Context, n *store.NewTenant) error {
	s, t := p.s, &n.Tenant
	if t.BlueprintPin == 0 {
		return s.store.Provision(ctx, p.org, n)
	}
	return s.store.Write(ctx, p.org, func(tx *store.Tx) error {
		o, err := tx.LockOrg()
		if err != nil {
			return err
		}
		b, ring, err := tx.LockBlueprint(t.Blueprint, "")
		if err != nil {
			return err
		}
		if err := tx.InsertPin(b.ID, store.Pin{Tenant: t.ID, Revision: t.BlueprintPin}); err != nil {
			return err
		}
		if o.Version != n.OrgVersion || b.Version != n.BlueprintVersion {
			return tenancy.Refuse(tenancy.ReasonConcurrentChange)
		}
		if err := s.putRing(tx, &o, &b, &ring, p.now); err != nil {
			return err
		}
		if err := tx.UpdateBlueprint(&b, ring); err != nil {
			return err
		}
		return tx.Provision(n)
	})
}

// unavailable is the one answer for a name that cannot be had, whatever the cause; the field is the only one when there is one host.
func (p *provisioning) unavailable(i int) error {
	field := p.fields[i]
	if len(p.fields) > 1 {
		field = "hosts"
	}
	return &tenancy.Error{Reason: tenancy.ReasonHostnameUnavailable, Field: field, Meta: map[string]string{"field": field}}
}

// hosts are the hostnames to claim, under the org's base domain.
func (p *provisioning) hosts(g *store.Ground) ([]string, error) {
	o := &g.Org
	if o.State != tenancy.StateActive {
		return nil, tenancy.Refuse(tenancy.ReasonOrgSuspended)
	}
	if o.BaseDomain == "" {
		return nil, tenancy.Refuse(tenancy.ReasonBaseDomainMissing)
	}
	if g.SlugTaken {
		if len(p.in.Hosts) == 0 {
			return nil, p.unavailable(0)
		}
		return nil, tenancy.RefuseField(tenancy.ReasonSlugTaken, "tenant_id", "")
	}
	hosts := make([]string, len(p.labels))
	for i, l := range p.labels {
		hosts[i] = l + "." + o.BaseDomain
		if len(hosts[i]) > 253 {
			return nil, tenancy.RefuseField(tenancy.ReasonInvalidArgument, p.fields[i], "the whole hostname has more than 253 characters")
		}
		if p.s.labelReserved(l) || slices.Contains(o.ReservedLabels, l) {
			return nil, p.unavailable(i)
		}
	}
	for i, h := range p.in.Hosts {
		if h.Domain == "" {
			continue
		}
		domain, _ := tenancy.NormalizeDomain(h.Domain)
		if !slices.Contains(hosts, domain) {
			return nil, tenancy.RefuseField(tenancy.ReasonHostOutsideBaseDomain, fmt.Sprintf("hosts[%d].domain", i), "write one label in front of "+o.BaseDomain)
		}
	}
	return hosts, nil
}

func (s *Service) labelReserved(label string) bool {
	return tenancy.SystemLabels[label] || s.reserved[label]
}

// planned takes out of a plan what does not exist: ids and secrets.
func planned(res ProvisionResult) ProvisionResult {
	res.Operation = id.Operation{}
	res.Tenant.ID, res.Tenant.Pool, res.Tenant.Owner = id.Tenant{}, id.UserPool{}, id.User{}
	for i := range res.Tenant.Roles {
		res.Tenant.Roles[i].ID = id.Role{}
	}
	for i := range res.Clients {
		c := &res.Clients[i]
		c.Client.ID, c.Client.Tenant, c.Client.Secrets, c.SecretID, c.Secret = id.Client{}, id.Tenant{}, nil, id.ClientSecret{}, ""
	}
	for i := range res.APIKeys {
		k := &res.APIKeys[i]
		k.Key.ID, k.Key.Tenants, k.Text = id.APIKey{}, nil, ""
	}
	return res
}

// finish waits for the depth, and adds what is made anew for each answer: addresses and the consistency token.
func (p *provisioning) finish(ctx context.Context, res ProvisionResult) ProvisionResult {
	s := p.s
	if !p.in.ValidateOnly {
		if s.cfg.Token != nil {
			res.ConsistencyToken = s.cfg.Token(res.Tenant.ID, res.ConfigVersion)
		}
		res.Reached = s.wait(ctx, p.org, res.Tenant.ID, res.ConfigVersion, p.in.WaitFor)
	}
	if res.AlreadyReturned {
		for i := range res.Clients {
			res.Clients[i].AlreadyReturned = true
		}
		for i := range res.APIKeys {
			res.APIKeys[i].AlreadyReturned = true
		}
	}
	res.URLs = addresses(res.Tenant.Issuer, res.ConsistencyToken)
	return res
}

// addresses are the pages and documents of a tenant. The token makes a replica that has not heard of the tenant look again.
func addresses(issuer, token string) map[string]string {
	m := map[string]string{
		"login": issuer + "/login", "register": issuer + "/oauth2/register", "logout": issuer + "/oauth2/logout", "account": issuer + "/account",
		"discovery": issuer + "/.well-known/openid-configuration",
	}
	if token != "" {
		for k, v := range m {
			m[k] = v + "?tcv=" + url.QueryEscape(token)
		}
	}
	return m
}

// wait reports whether a version came as far as depth within the limit.
func (s *Service) wait(ctx context.Context, org id.Org, tenant id.Tenant, version int64, depth Depth) bool {
	if depth == DepthCommitted {
		return true
	}
	if s.cfg.Waiter == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.WaitLimit)
	defer cancel()
	w := s.cfg.Waiter
	if depth == DepthEverything {
		if w.Everywhere(ctx, tenant, version) != nil {
			return false
		}
	} else if w.Published(ctx, tenant, version) != nil {
		return false
	}
	return w.Seeded(ctx, org, tenant) == nil
}
