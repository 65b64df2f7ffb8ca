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

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
	"github.com/tenantry/tenantry/services/identity"
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

// region chooses and checks where the tenant lives.
func (p *provisioning) region(o *tenancy.Org) (string, error) {
	allowed := o.AllowedRegions
	if len(allowed) == 0 {
		allowed = p.s.cfg.Regions
	}
	region := p.in.Region
	if region == "" {
		region = allowed[0]
	}
	if !slices.Contains(allowed, region) || !slices.Contains(p.s.cfg.Regions, region) {
		return "", tenancy.RefuseField(tenancy.ReasonRegionNotAllowed, "tenant.region", "choose of "+strings.Join(allowed, ", "))
	}
	return region, nil
}

// plan makes everything that will be written, and the answer.
func (p *provisioning) plan(ctx context.Context, g *store.Ground, hosts []string) (*store.NewTenant, ProvisionResult, error) {
	s, in := p.s, p.in
	var res ProvisionResult
	rev, layerDigest, pin, err := p.revision(ctx, g)
	if err != nil {
		return nil, res, err
	}
	region, err := p.region(&g.Org)
	if err != nil {
		return nil, res, err
	}
	facts := blueprint.Facts{TenantSlug: in.TenantID, HostLabel: p.labels[0], Parameters: in.Parameters}
	if in.Owner != nil {
		facts.OwnerEmail = in.Owner.Email
	}
	r, err := rev.Spec.Render(facts)
	if err != nil {
		return nil, res, err
	}
	b, err := s.docs.base(ctx, p.org, layerDigest, g.Org.ConfigVersion)
	if err != nil {
		return nil, res, err
	}
	layer := b.layer
	if in.Overrides != nil {
		var vs []tenancy.Violation
		reason := tenancy.ReasonInvalidArgument
		for _, x := range snapshot.CheckOverrides(layer.GetLocked(), layer.GetPolicy(), in.Overrides.Policy) {
			vs = append(vs, tenancy.Violation{Field: "overrides." + x.Path, Text: x.Reason})
			if slices.Contains(layer.GetLocked(), x.Path) {
				reason = tenancy.ReasonPolicyLocked
			}
		}
		if err := tenancy.Violated(reason, vs); err != nil {
			return nil, res, err
		}
	}
	t := tenancy.Tenant{
		Standard: tenancy.Standard{
			DisplayName: in.DisplayName, Labels: in.Labels, Annotations: in.Annotations, Version: 1, CreateTime: p.now, UpdateTime: p.now,
		},
		Org: p.org, ID: id.NewTenant(), Slug: in.TenantID, Type: in.Type, Region: region, State: tenancy.StateActive,
		Blueprint: g.Blueprint, BlueprintRevision: rev.Number, BlueprintPin: pin, Pool: id.NewUserPool(), Plan: in.Plan, Entitlements: in.Entitlements,
		AppMetadata: in.AppMetadata, InternalMetadata: in.InternalMetadata, Parameters: r.Parameters, ConfigVersion: 1,
	}
	if t.DisplayName == "" {
		t.DisplayName = t.Slug
	}
	for _, h := range hosts {
		t.Hosts = append(t.Hosts, tenancy.Host{Name: h, ClaimVersion: 1})
	}
	if t.Type == tenancy.TypeUnspecified {
		t.Type = tenancy.TypeProduction
		if strings.HasSuffix(hosts[0], ".localhost") {
			t.Type = tenancy.TypeDevelopment
		}
	}
	t.Issuer = strings.Replace(s.cfg.PublicURL, "{host}", hosts[0], 1)
	if o := snapshot.MergePolicies(r.Overrides, in.policy()); proto.Size(o) > 0 {
		t.Overrides = &tenancy.Policy{Policy: o}
	}
	if th := snapshot.MergeThemes(r.Theme, in.theme()); proto.Size(th) > 0 {
		t.Theme = &tenancy.Theme{Theme: th}
	}
	for _, x := range r.Roles {
		t.Roles = append(t.Roles, tenancy.Role{ID: id.NewRole(), Name: x.ID, DisplayName: x.DisplayName, Default: x.Default})
	}

	n := &store.NewTenant{Regions: []string{region}, OrgVersion: g.Org.Version, BlueprintVersion: g.BlueprintVersion}
	if n.Clients, res.Clients, err = p.clients(&t, r.Clients); err != nil {
		return nil, res, err
	}
	if n.APIKeys, res.APIKeys, err = p.apiKeys(&t, rev, r.APIKeys); err != nil {
		return nil, res, err
	}
	if n.SigningKeys, n.WantRSA, err = s.firstKeys(&t, b.needs(t.Overrides)); err != nil {
		return nil, res, err
	}
	body, view, err := b.compile(core(&t, &store.TenantParts{Clients: n.Clients, SigningKeys: n.SigningKeys}))
	if err != nil {
		return nil, res, err
	}
	if n.Seed, err = p.seed(&t, r.InitialUsers, view.Policy.InvitationTTL); err != nil {
		return nil, res, err
	}
	n.Record.Body = body

	n.Event = event(p.caller, p.now, tenancy.ActionTenantProvisioned, tenantName(p.org, t.ID))
	n.Event.Org, n.Event.Tenant, n.Event.ConfigVersion = p.org, t.ID, 1
	n.Event.Seal(1, nil)
	n.Tenant = t
	res.Operation, res.Tenant, res.ConfigVersion, res.CreateTime = id.NewOperation(), t, 1, p.now
	n.Answer = store.Answer{
		Operation: tenancy.Operation{ID: res.Operation, Org: p.org, Tenant: t.ID, Caller: p.caller.Key, Method: methodProvision, CreateTime: p.now},
		RequestID: in.RequestID, BodyHash: in.BodyHash,
	}
	return n, res, nil
}

func (in *ProvisionInput) policy() *snapshotv1.Policy {
	if in.Overrides == nil {
		return nil
	}
	return in.Overrides.Policy
}

func (in *ProvisionInput) theme() *snapshotv1.Theme {
	if in.Theme == nil {
		return nil
	}
	return in.Theme.Theme
}

// revision finds what the tenant is made from: the revision named in the request, which pins the tenant, else the published one.
func (p *provisioning) revision(ctx context.Context, g *store.Ground) (r *revision, layer []byte, pin int, err error) {
	if g.Blueprint.IsZero() {
		return nil, nil, 0, &tenancy.Error{Reason: tenancy.ReasonNotFound, Field: "blueprint", Text: "there is no such blueprint"}
	}
	if g.BlueprintRevision == 0 {
		return nil, nil, 0, tenancy.RefuseField(tenancy.ReasonBlueprintUnpublished, "blueprint", "")
	}
	if p.in.Revision == "" {
		r, err = p.s.docs.revision(ctx, p.org, g.Blueprint, g.BlueprintRevision)
		return r, g.LayerDigest, 0, err
	}
	number, uid, ok := revisionRef(p.in.Revision)
	if !ok {
		return nil, nil, 0, &tenancy.Error{Reason: tenancy.ReasonNotFound, Field: "blueprint", Text: "there is no such revision"}
	}
	v, digest, err := p.s.store.Revision(ctx, p.org, g.Blueprint, number, uid)
	if err != nil {
		return nil, nil, 0, err
	}
	return &revision{v, digest}, digest, v.Number, nil
}

// clients makes the clients: those of the blueprint, each replaced by one of the request with its id, then the rest of the request.
func (p *provisioning) clients(t *tenancy.Tenant, specs []tenancy.ClientSpec) (rows []tenancy.Client, answers []tenancy.ClientCredentials, err error) {
	given := map[string]int{}
	for i, c := range p.in.Clients {
		given[c.ID] = i
	}
	var vs []tenancy.Violation
	add := func(c tenancy.ClientSpec, field string) {
		vs = append(vs, c.Normalize(tenancy.ClientPlace{Development: t.Type == tenancy.TypeDevelopment, Field: field})...)
		if c.DisplayName == "" {
			c.DisplayName = c.ID
		}
		row := tenancy.Client{
			ClientSettings: c.ClientSettings, Org: t.Org, Tenant: t.ID, ID: id.NewClient(), Slug: c.ID, Version: 1, CreateTime: p.now, UpdateTime: p.now, ConfigVersion: 1,
		}
		answer := tenancy.ClientCredentials{}
		if c.Type == tenancy.ClientConfidential {
			x, text := newClientSecret(p.now)
			row.Secrets = []tenancy.ClientSecret{x}
			answer.SecretID, answer.Secret = x.ID, text
		}
		answer.Client = row
		rows, answers = append(rows, row), append(answers, answer)
	}
	for i, c := range specs {
		if j, ok := given[c.ID]; ok {
			delete(given, c.ID)
			add(p.in.Clients[j], fmt.Sprintf("clients[%d].", j))
			continue
		}
		add(c, fmt.Sprintf("blueprint.clients[%d].", i))
	}
	for j, c := range p.in.Clients {
		if _, ok := given[c.ID]; ok {
			add(c, fmt.Sprintf("clients[%d].", j))
		}
	}
	return rows, answers, tenancy.Violated(tenancy.ReasonInvalidArgument, vs)
}

func newClientSecret(now time.Time) (tenancy.ClientSecret, string) {
	x := tenancy.ClientSecret{ID: id.NewClientSecret(), CreateTime: now}
	var text string
	text, x.Hash = secret.NewToken(secret.ClientSecret, x.ID)
	return x, text
}

// apiKeys makes the tenant-locked keys: those of the blueprint have no minter and were capped when the revision was published; those
// of the request are minted by the caller, under the laws of minting.
func (p *provisioning) apiKeys(t *tenancy.Tenant, rev *revision, specs []tenancy.APIKeySpec) (rows []tenancy.APIKey, answers []tenancy.APIKeyCredentials, err error) {
	add := func(spec tenancy.APIKeySpec, creator string, minter id.APIKey) tenancy.APIKey {
		k := tenancy.APIKey{
			ID: id.NewAPIKey(), Slug: spec.ID, Scope: tenancy.ScopeTenants, Org: t.Org, Tenants: []id.Tenant{t.ID}, DisplayName: spec.DisplayName,
			Description: spec.Description, Permissions: spec.Permissions, Role: spec.Role, State: tenancy.KeyActive, MintedBy: minter, CreatedBy: creator,
			Version: 1, CreateTime: p.now, UpdateTime: p.now,
		}
		if k.DisplayName == "" {
			k.DisplayName = spec.ID
		}
		if spec.TTL > 0 {
			k.ExpireTime = p.now.Add(spec.TTL)
		}
		var text string
		text, k.Hash = secret.NewToken(secret.APIKey, k.ID)
		rows, answers = append(rows, k), append(answers, tenancy.APIKeyCredentials{Key: k, Text: text})
		return k
	}
	for _, spec := range specs {
		add(spec, rev.ID.String(), id.APIKey{})
	}
	for i, spec := range p.in.APIKeys {
		k := add(spec, p.caller.Actor(), p.caller.Key)
		if err := checkMint(p.caller, k.Rights(), nil, k.ExpireTime, p.now); err != nil {
			var e *tenancy.Error
			if errors.As(err, &e) {
				e.Field = fmt.Sprintf("api_keys[%d]", i)
			}
			return nil, nil, err
		}
	}
	return rows, answers, nil
}

// seed is what the identity database is to hold: the owner and the first users, one for each address. Nil when there is nobody.
func (p *provisioning) seed(t *tenancy.Tenant, fromBlueprint []tenancy.UserSpec, invitation time.Duration) ([]byte, error) {
	var users []tenancy.UserSpec
	if o := p.in.Owner; o != nil {
		users = append(users, tenancy.UserSpec{Email: o.Email, DisplayName: o.DisplayName, Locale: o.Locale, Invite: true})
	}
	users = append(append(users, fromBlueprint...), p.in.InitialUsers...)
	if len(users) == 0 {
		return nil, nil
	}
	seed := identity.Seed{
		TenantRef: identity.TenantRef{Tenant: t.ID, Pool: t.Pool}, Time: p.now, Actor: p.caller.Actor(), RequestID: p.caller.RequestID,
	}
	at := map[string]int{}
	for _, u := range users {
		for _, r := range u.Roles {
			if !slices.ContainsFunc(t.Roles, func(have tenancy.Role) bool { return have.Name == r }) {
				return nil, tenancy.RefuseField(tenancy.ReasonInvalidArgument, "initial_users", "there is no role "+r)
			}
		}
		key := strings.ToLower(u.Email)
		i, ok := at[key]
		if !ok {
			i = len(seed.Users)
			at[key] = i
			seed.Users = append(seed.Users, identity.SeedUser{ID: id.NewUser(), Membership: id.NewMembership(), Email: u.Email})
		}
		x := &seed.Users[i]
		if x.Profile.Name == "" {
			x.Profile.Name = u.DisplayName
		}
		if x.Profile.Locale == "" {
			x.Profile.Locale = u.Locale
		}
		for _, r := range u.Roles {
			if !slices.Contains(x.Roles, r) {
				x.Roles = append(x.Roles, r)
			}
		}
		if u.Invite && x.Invitation == nil {
			x.Invitation = &identity.NewInvitation{ID: id.NewInvitation(), ExpireTime: p.now.Add(invitation)}
		}
	}
	if p.in.Owner != nil {
		t.OwnerEmail, t.Owner = p.in.Owner.Email, seed.Users[0].ID
	}
	return json.Marshal(seed)
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
