// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// recipients are who can open what is sealed for the token service of a region, empty for all regions, and recovery.
func (s *Service) recipients(region string) (list []secret.PublicKey) {
	for _, r := range s.cfg.Recipients {
		if r.Purpose == secret.PurposeRecovery || r.Purpose == secret.PurposeSigning && (region == "" || r.Region == region) {
			list = append(list, r)
		}
	}
	return list
}

// newClientSecret makes a secret of a client, whose text is shown once. Only for client_secret_jwt is the text kept, sealed for the token
// service of the region, empty for a client that all tenants share.
func (s *Service) newClientSecret(c *tenancy.Client, region string, now time.Time) (x tenancy.ClientSecret, text string, err error) {
	x = tenancy.ClientSecret{ID: id.NewClientSecret(), CreateTime: now}
	text, x.Hash = secret.NewToken(secret.ClientSecret, x.ID)
	if !c.SealsSecrets() {
		return x, text, nil
	}
	sealed, err := s.sealer.Seal(s.now(), s.recipients(region), snapshot.ClientSecretAAD(c.ID, x.ID), []byte(text))
	x.Sealed = &sealed
	return x, text, err
}

// settleSecrets drops what the client's method does not use: all secrets, or their sealed texts.
func settleSecrets(c *tenancy.Client) {
	if !c.UsesSecret() {
		c.Secrets = nil
	}
	if c.SealsSecrets() {
		return
	}
	c.Secrets = slices.Clone(c.Secrets)
	for i := range c.Secrets {
		c.Secrets[i].Sealed = nil
	}
}

// fits says how a client is looser than the policy, nil for a shared client's own profile alone. A client without anything special under
// the baseline always fits.
func fits(s *tenancy.ClientSettings, shared, development bool, policy *snapshot.Policy, field string) ([]tenancy.Violation, error) {
	if s.Protocol == nil && s.IDTokenSignedResponseAlg == "" && (policy == nil || policy.Profile == 0) {
		return nil, nil
	}
	c, err := s.Build(shared, development, policy)
	if err != nil {
		return nil, rejected(fmt.Errorf("%w: %w", snapshot.ErrCompile, err))
	}
	return tenancy.FitClient(s, c, policy, field), nil
}

// judge refuses a client that became looser than its tenant's policy by this change. What it was before it may stay, so that it can be
// disabled, or mended in steps; then it is warned of, because the data plane refuses it.
func (p *parent) judge(before *tenancy.ClientSettings, c *tenancy.Client) error {
	place := p.place()
	vs, err := fits(&c.ClientSettings, p.shared, place.Development, p.policy, place.Field)
	if err != nil {
		return err
	}
	if before != nil {
		old, err := fits(before, p.shared, place.Development, p.policy, place.Field)
		if err != nil {
			old = nil // a release that allowed more wrote it
		}
		if !slices.ContainsFunc(vs, func(v tenancy.Violation) bool { return !slices.Contains(old, v) }) {
			c.Warnings = tenancy.ClientWarnings(c)
			for _, v := range vs {
				c.Warnings = append(c.Warnings, tenancy.Warning{Reason: tenancy.WarnClientRefused, Field: v.Field, Text: v.Text})
			}
			return nil
		}
	}
	if err := looser(vs, p.policy); err != nil {
		return err
	}
	c.Warnings = tenancy.ClientWarnings(c)
	return nil
}

// looser is CLIENT_POLICY with the violations, nil without any.
func looser(vs []tenancy.Violation, policy *snapshot.Policy) error {
	if len(vs) == 0 {
		return nil
	}
	e := &tenancy.Error{Reason: tenancy.ReasonClientPolicy, Field: vs[0].Field, Violations: vs, Text: vs[0].Text}
	if policy != nil {
		e.Meta = map[string]string{"profile": policy.Profile.String()}
	}
	return e
}

// refusedClients warns of each client that the policy of a tenant refuses.
func refusedClients(t *tenancy.Tenant, clients []tenancy.Client, policy *snapshot.Policy) (ws []tenancy.Warning) {
	for i := range clients {
		c := &clients[i]
		shared := c.Tenant.IsZero()
		vs, err := fits(&c.ClientSettings, shared, shared || t.Type == tenancy.TypeDevelopment, policy, "")
		if err != nil {
			continue // the document was compiled, so it can be built
		}
		for _, v := range vs {
			if len(ws) == tenancy.MaxWarnings {
				return ws
			}
			ws = append(ws, clientRefused(c, v))
		}
	}
	return ws
}

func clientRefused(c *tenancy.Client, v tenancy.Violation) tenancy.Warning {
	return tenancy.Warning{
		Reason: tenancy.WarnClientRefused, Field: v.Field, Text: "this client will be refused: " + v.Text,
		Resource: tenantName(c.Org, c.Tenant) + "/clients/" + c.ID.String(),
	}
}

// policyWarnings are about a change of a tenant's policy: what it allows, and whom it refuses.
func (s *Service) policyWarnings(tx *store.Tx, t *tenancy.Tenant, clients []tenancy.Client, policy *snapshot.Policy) ([]tenancy.Warning, error) {
	shared, err := tx.SharedClients()
	if err != nil {
		return nil, err
	}
	ws := tenancy.PolicyWarnings(t.Overrides, "overrides.")
	return append(ws, refusedClients(t, append(slices.Clone(clients), shared...), policy)...), nil
}

// publishedScan bounds how many clients of a blueprint's tenants are looked at when a revision is published.
const publishedScan = 2000

// publishWarnings names clients of a blueprint's tenants that a new revision's policy refuses and the last one did not. What tenants set
// themselves is left aside: it is only ever stricter where it is locked.
func (s *Service) publishWarnings(tx *store.Tx, o *tenancy.Org, bp id.Blueprint, last, next *blueprint.Spec) (ws []tenancy.Warning, err error) {
	var policies [2]*snapshot.Policy
	for i, spec := range []*blueprint.Spec{last, next} {
		if policies[i], err = snapshot.LayerPolicy(layerOf(o, spec, 1)); err != nil {
			return nil, rejected(err)
		}
	}
	old, fresh := policies[0], policies[1]
	if !tightens(old, fresh) {
		return nil, nil
	}
	clients, err := tx.ClientsUnder(bp, publishedScan)
	if err != nil {
		return nil, err
	}
	for i := range clients {
		c := &clients[i]
		before, err := fits(&c.ClientSettings, false, true, old, "")
		if err != nil {
			continue // it was compiled for its tenant, under other rules
		}
		after, err := fits(&c.ClientSettings, false, true, fresh, "")
		if err != nil {
			continue
		}
		for _, v := range after {
			if slices.Contains(before, v) {
				continue
			}
			if len(ws) == tenancy.MaxWarnings {
				return ws, nil
			}
			ws = append(ws, clientRefused(c, v))
		}
	}
	return ws, nil
}

// tightens says whether clients that an old policy took may be refused by a new one.
func tightens(old, fresh *snapshot.Policy) bool {
	types := func(p *snapshot.Policy) (names []string) {
		for _, t := range p.DetailTypes {
			names = append(names, t.Type)
		}
		return names
	}
	return fresh.Profile > old.Profile || !within(old.ResponseTypes, fresh.ResponseTypes) || !within(old.IDTokenAlgs, fresh.IDTokenAlgs) ||
		fresh.AccessAlg != old.AccessAlg || !within(types(old), types(fresh))
}

// sector is what was verified of a client's sector before its transaction began: the document's address, and the redirect URIs that
// stand in it.
type sector struct {
	uri       string
	redirects []string
}

// covers says whether the client's sector was verified, or the same was when it was registered.
func (v sector) covers(c, before *tenancy.ClientSettings) bool {
	uri := c.SectorURI()
	if uri == "" {
		return true
	}
	if before != nil && before.SectorURI() == uri && within(c.RedirectURIs, before.RedirectURIs) {
		return true
	}
	return v.uri == uri && within(c.RedirectURIs, v.redirects)
}

func within(some, all []string) bool {
	return !slices.ContainsFunc(some, func(u string) bool { return !slices.Contains(all, u) })
}

// verifySector fetches the sector document of a client and demands each redirect URI in it (OpenID Connect Core section 8.1). It is done
// before a transaction begins, because it may take seconds.
func (s *Service) verifySector(ctx context.Context, c, before *tenancy.ClientSettings, field string) (sector, error) {
	uri := c.SectorURI()
	if (sector{}).covers(c, before) {
		return sector{}, nil
	}
	at := field + "protocol.sector_identifier_uri"
	if s.cfg.Sector == nil {
		return sector{}, tenancy.RefuseField(tenancy.ReasonInvalidArgument, at, "this installation fetches no sector documents")
	}
	listed, err := s.cfg.Sector(ctx, uri)
	if err != nil {
		if ctx.Err() != nil {
			return sector{}, ctx.Err()
		}
		e := tenancy.RefuseField(tenancy.ReasonInvalidArgument, at, "the document could not be read: it must be a JSON array of redirect URIs, without redirects and within a few seconds")
		return sector{}, e.Because(err)
	}
	var vs []tenancy.Violation
	for i, u := range c.RedirectURIs {
		if !slices.Contains(listed, u) {
			vs = append(vs, tenancy.Violation{Field: fmt.Sprintf("%sredirect_uris[%d]", field, i), Text: "the document at sector_identifier_uri does not list it"})
		}
	}
	return sector{uri, listed}, tenancy.Violated(tenancy.ReasonInvalidArgument, vs)
}

var errSectorMoved = errors.New("provision: the client's sector or redirect URIs changed while its sector was verified")

// settle is the last look at a client before it is written: in a transaction, after Normalize.
func (v sector) settle(c, before *tenancy.ClientSettings) error {
	if !v.covers(c, before) {
		return tenancy.Refuse(tenancy.ReasonConcurrentChange).Because(errSectorMoved)
	}
	return nil
}
