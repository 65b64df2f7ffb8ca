// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
		PairwiseSalt: tenancy.NewPairwiseSalt(),
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
	if n.Clients, res.Clients, err = p.clients(ctx, &t, r.Clients); err != nil {
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
	if err := p.judge(&t, n.Clients, view.Policy); err != nil {
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
func (p *provisioning) clients(ctx context.Context, t *tenancy.Tenant, specs []tenancy.ClientSpec) (rows []tenancy.Client, answers []tenancy.ClientCredentials, err error) {
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
		if c.Type == tenancy.ClientConfidential && c.UsesSecret() {
			x, text, serr := p.s.newClientSecret(&row, t.Region, p.now)
			err = errors.Join(err, serr)
			row.Secrets = []tenancy.ClientSecret{x}
			answer.SecretID, answer.Secret = x.ID, text
		}
		if c.SectorURI() != "" && len(vs) == 0 && err == nil {
			_, err = p.s.verifySector(ctx, &c.ClientSettings, nil, field)
		}
		answer.Client = row
		answer.Client.Warnings = tenancy.ClientWarnings(&row)
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
	if len(vs) > 0 {
		err = tenancy.Violated(tenancy.ReasonInvalidArgument, vs)
	}
	return rows, answers, err
}

// judge refuses clients of the request that are looser than the tenant's policy, and warns of those of the blueprint, which is older than
// a policy that comes with the request.
func (p *provisioning) judge(t *tenancy.Tenant, rows []tenancy.Client, policy *snapshot.Policy) error {
	var own []tenancy.Client
	var vs []tenancy.Violation
	for i := range rows {
		c := &rows[i]
		j := slices.IndexFunc(p.in.Clients, func(g tenancy.ClientSpec) bool { return g.ID == c.Slug })
		if j < 0 {
			own = append(own, *c)
			continue
		}
		found, err := fits(&c.ClientSettings, false, t.Type == tenancy.TypeDevelopment, policy, fmt.Sprintf("clients[%d].", j))
		if err != nil {
			return err
		}
		vs = append(vs, found...)
	}
	t.Warnings = append(tenancy.PolicyWarnings(t.Overrides, "overrides."), refusedClients(t, own, policy)...)
	return looser(vs, policy)
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
