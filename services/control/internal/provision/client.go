// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

var clientFields = []tenancy.FilterField{
	{Name: "slug", Has: true}, {Name: "kind", Check: choices("WEB", "SPA", "NATIVE", "SERVICE")}, {Name: "client_type", Check: choices("PUBLIC", "CONFIDENTIAL")},
}

// clientRef takes a uid or slug apart.
func clientRef(ref string) (client id.Client, slug string) {
	if c, err := id.ParseClient(ref); err == nil {
		return c, ""
	}
	return id.Client{}, ref
}

// parent is what a client belongs to, locked: a tenant, or the org for clients that all its tenants share.
type parent struct {
	s      *Service
	tx     *store.Tx
	org    tenancy.Org
	tenant tenancy.Tenant
	shared bool
	policy *snapshot.Policy // of the tenant, once its record is put; nil for the org
}

func (s *Service) lockParent(tx *store.Tx, tenant id.Tenant) (p parent, err error) {
	p = parent{s: s, tx: tx, shared: tenant.IsZero()}
	if p.shared {
		p.org, err = tx.LockOrg()
	} else {
		p.tenant, err = lockServed(tx, tenant)
	}
	return p, err
}

// bump gives the parent its next version, before its parts are written, and answers it.
func (p *parent) bump(now time.Time) (int64, error) {
	if p.shared {
		p.org.Version, p.org.ConfigVersion, p.org.UpdateTime = p.org.Version+1, p.org.ConfigVersion+1, now
		return p.org.ConfigVersion, p.tx.UpdateOrg(p.org)
	}
	p.tenant.UpdateTime = now
	err := p.tx.UpdateTenant(&p.tenant)
	return p.tenant.ConfigVersion, err
}

// put writes the parent's record, from what the transaction sees now.
func (p *parent) put(ctx context.Context, restrictive bool) error {
	if p.shared {
		return p.s.putOrg(p.tx, &p.org, restrictive)
	}
	parts, err := p.tx.TenantParts(&p.tenant)
	if err != nil {
		return err
	}
	view, err := p.s.putAndView(ctx, p.tx, &p.tenant, &parts, restrictive)
	if err == nil {
		p.policy = view.Policy // the tenant is not deleted: lockParent refuses that
	}
	return err
}

func (p *parent) place() tenancy.ClientPlace {
	// A shared client is for development tenants too; what a production tenant may not have of it is left out when it is compiled.
	return tenancy.ClientPlace{Shared: p.shared, Development: p.shared || p.tenant.Type == tenancy.TypeDevelopment, Field: "client."}
}

func (p *parent) event(caller tenancy.Principal, now time.Time, action string, c *tenancy.Client) tenancy.AuditEvent {
	e := event(caller, now, action, tenantName(c.Org, c.Tenant)+"/clients/"+c.ID.String())
	e.Tenant, e.ConfigVersion = c.Tenant, c.ConfigVersion
	return e
}

// CreateClient registers a client of a tenant, or one that all tenants of the org share.
func (s *Service) CreateClient(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, in ClientInput) (tenancy.Client, error) {
	if in.Slug != "" && !tenancy.ValidItemID(in.Slug) {
		return tenancy.Client{}, tenancy.RefuseField(tenancy.ReasonInvalidArgument, "client_id", "start with a lower-case letter, then letters, digits, hyphens and underscores")
	}
	verified, err := s.verifySector(ctx, &in.Client.ClientSettings, nil, "client.")
	if err != nil {
		return tenancy.Client{}, err
	}
	v, _, err := change(ctx, s, caller, org, "CreateClient", in.Call, func(tx *store.Tx, now time.Time) (tenancy.Client, error) {
		c := in.Client
		p, err := s.lockParent(tx, tenant)
		if err != nil {
			return c, err
		}
		if err := tenancy.Violated(tenancy.ReasonInvalidArgument, c.Normalize(p.place())); err != nil {
			return c, err
		}
		if err := verified.settle(&c.ClientSettings, nil); err != nil {
			return c, err
		}
		if n, err := tx.CountClients(tenant); err != nil || n >= tenancy.MaxClients {
			return c, errors.Join(err, tenancy.RefuseField(tenancy.ReasonConfigRejected, "client", "the parent has as many clients as it can"))
		}
		c.Org, c.Tenant, c.ID, c.Slug, c.Secrets, c.Version, c.CreateTime, c.UpdateTime = org, tenant, id.NewClient(), in.Slug, nil, 1, now, now
		if c.ConfigVersion, err = p.bump(now); err != nil {
			return c, err
		}
		if err := tx.InsertClient(c); err != nil {
			return c, err
		}
		if err := p.put(ctx, false); err != nil {
			return c, err
		}
		if err := p.judge(nil, &c); err != nil {
			return c, err
		}
		return c, tx.Audit(p.event(caller, now, tenancy.ActionClientCreated, &c))
	})
	if in.ValidateOnly {
		v.ID = id.Client{}
	}
	return v, err
}

// GetClient reads a client by uid or slug. A key that is locked to tenants may read the org's shared clients, which its tenants use.
func (s *Service) GetClient(ctx context.Context, _ tenancy.Principal, org id.Org, tenant id.Tenant, ref string) (tenancy.Client, error) {
	client, slug := clientRef(ref)
	return s.store.Client(ctx, org, tenant, client, slug)
}

// ListClients lists the clients of a tenant, or the shared ones of the org.
func (s *Service) ListClients(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, page tenancy.Page) (List[tenancy.Client], error) {
	q, binding, err := s.query(caller, page, clientFields, []string{"create_time"}, "clients", org.String(), tenant.String())
	if err != nil {
		return List[tenancy.Client]{}, err
	}
	if !tenant.IsZero() {
		if err := s.store.TenantExists(ctx, org, tenant); err != nil {
			return List[tenancy.Client]{}, err
		}
	}
	items, err := s.store.Clients(ctx, org, tenant, q)
	if err != nil {
		return List[tenancy.Client]{}, err
	}
	return paged(s, items, q, binding, func(c tenancy.Client) []byte { return c.ID[:] }), nil
}

// changeClient is the frame of every change of one client: lock, check the etag, change, write, compile, audit.
func (s *Service) changeClient(ctx context.Context, tx *store.Tx, caller tenancy.Principal, org id.Org, tenant id.Tenant, ref, etag, action string, fields []string, now time.Time,
	restrictive bool, f func(p *parent, c *tenancy.Client) error,
) (tenancy.Client, error) {
	p, err := s.lockParent(tx, tenant)
	if err != nil {
		return tenancy.Client{}, err
	}
	client, slug := clientRef(ref)
	c, err := tx.Client(tenant, client, slug)
	if err != nil {
		return c, err
	}
	if err := tenancy.CheckEtag(etag, c.ID, c.Version); err != nil {
		return c, err
	}
	before := c.ClientSettings
	if err := f(&p, &c); err != nil {
		return c, err
	}
	if c.ConfigVersion, err = p.bump(now); err != nil {
		return c, err
	}
	c.UpdateTime = now
	if action == tenancy.ActionClientDeleted {
		err = tx.DeleteClient(tenant, c.ID)
	} else {
		err = tx.UpdateClient(&c)
	}
	if err != nil {
		return c, err
	}
	if err := p.put(ctx, restrictive); err != nil {
		return c, err
	}
	if action != tenancy.ActionClientDeleted {
		if err := p.judge(&before, &c); err != nil {
			return c, err
		}
	}
	e := p.event(caller, now, action, &c)
	e.ChangedFields = fields
	return c, tx.Audit(e)
}

// UpdateClient changes a client.
func (s *Service) UpdateClient(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, ref string, in ClientInput) (tenancy.Client, error) {
	verified, err := s.verifyUpdate(ctx, org, tenant, ref, &in)
	if err != nil {
		return tenancy.Client{}, err
	}
	v, _, err := change(ctx, s, caller, org, "UpdateClient", in.Call, func(tx *store.Tx, now time.Time) (tenancy.Client, error) {
		return s.changeClient(ctx, tx, caller, org, tenant, ref, in.Etag, tenancy.ActionClientUpdated, in.Mask, now, in.Client.Disabled, func(p *parent, c *tenancy.Client) error {
			before := c.ClientSettings
			for _, f := range in.Mask {
				if err := applyClient(c, &in.Client, f); err != nil {
					return err
				}
			}
			if err := tenancy.Violated(tenancy.ReasonInvalidArgument, c.Normalize(p.place())); err != nil {
				return err
			}
			settleSecrets(c)
			return verified.settle(&c.ClientSettings, &before)
		})
	})
	return v, err
}

// verifyUpdate verifies the sector that a client would have after an update, before its transaction begins.
func (s *Service) verifyUpdate(ctx context.Context, org id.Org, tenant id.Tenant, ref string, in *ClientInput) (sector, error) {
	if !slices.Contains(in.Mask, "protocol") && !slices.Contains(in.Mask, "redirect_uris") {
		return sector{}, nil
	}
	client, slug := clientRef(ref)
	c, err := s.store.Client(ctx, org, tenant, client, slug)
	if err != nil {
		return sector{}, err
	}
	before := c.ClientSettings
	for _, f := range in.Mask {
		if err := applyClient(&c, &in.Client, f); err != nil {
			return sector{}, err
		}
	}
	return s.verifySector(ctx, &c.ClientSettings, &before, "client.")
}

func applyClient(c, in *tenancy.Client, field string) error {
	switch field {
	case "display_name":
		c.DisplayName = in.DisplayName
	case "labels":
		c.Labels = in.Labels
	case "annotations":
		c.Annotations = in.Annotations
	case "redirect_uris":
		c.RedirectURIs = in.RedirectURIs
	case "redirect_uri_templates":
		c.RedirectURITemplates = in.RedirectURITemplates
	case "post_logout_redirect_uris":
		c.PostLogoutRedirectURIs = in.PostLogoutRedirectURIs
	case "post_logout_redirect_uri_templates":
		c.PostLogoutRedirectURITemplates = in.PostLogoutRedirectURITemplates
	case "grant_types":
		c.GrantTypes = in.GrantTypes
	case "token_endpoint_auth_method":
		c.TokenEndpointAuthMethod = in.TokenEndpointAuthMethod
	case "scopes":
		c.Scopes = in.Scopes
	case "audiences":
		c.Audiences = in.Audiences
	case "cors_origins":
		c.CORSOrigins = in.CORSOrigins
	case "cors_origin_templates":
		c.CORSOriginTemplates = in.CORSOriginTemplates
	case "id_token_signed_response_alg":
		c.IDTokenSignedResponseAlg = in.IDTokenSignedResponseAlg
	case "first_party":
		c.FirstParty = in.FirstParty
	case "disabled":
		c.Disabled = in.Disabled
	case "pkce_optional":
		c.PKCEOptional = in.PKCEOptional
	case "logo_uri":
		c.LogoURI = in.LogoURI
	case "policy_uri":
		c.PolicyURI = in.PolicyURI
	case "tos_uri":
		c.TOSURI = in.TOSURI
	case "initiate_login_uri":
		c.InitiateLoginURI = in.InitiateLoginURI
	case "overrides":
		c.Overrides = in.Overrides
	case "protocol":
		c.Protocol = in.Protocol
	case "kind", "type":
		// Who may keep a secret, and how an app runs, is what its users consented to.
		return tenancy.RefuseField(tenancy.ReasonFieldImmutable, "client."+field, "")
	default:
		return unknownField("client", field)
	}
	return nil
}

// DeleteClient removes a client; it is refused everywhere from then on.
func (s *Service) DeleteClient(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, ref string, call Call) (tenancy.Client, error) {
	v, _, err := change(ctx, s, caller, org, "DeleteClient", call, func(tx *store.Tx, now time.Time) (tenancy.Client, error) {
		return s.changeClient(ctx, tx, caller, org, tenant, ref, call.Etag, tenancy.ActionClientDeleted, nil, now, true, func(*parent, *tenancy.Client) error { return nil })
	})
	return v, err
}

// AddClientSecret makes a secret and shows it this once. Two are valid at a time.
func (s *Service) AddClientSecret(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, ref string, call Call) (tenancy.ClientCredentials, error) {
	v, replayed, err := change(ctx, s, caller, org, "AddClientSecret", call, func(tx *store.Tx, now time.Time) (out tenancy.ClientCredentials, err error) {
		out.Client, err = s.changeClient(ctx, tx, caller, org, tenant, ref, call.Etag, tenancy.ActionClientSecretAdded, nil, now, false, func(p *parent, c *tenancy.Client) (err error) {
			if c.Type != tenancy.ClientConfidential {
				return tenancy.RefuseField(tenancy.ReasonInvalidArgument, "name", "a public client keeps no secret")
			}
			if !c.UsesSecret() {
				return tenancy.RefuseField(tenancy.ReasonInvalidArgument, "name", "a client that authenticates by "+c.TokenEndpointAuthMethod+" has no secret")
			}
			c.Secrets = slices.DeleteFunc(c.Secrets, func(x tenancy.ClientSecret) bool { return !x.ExpireTime.IsZero() && !now.Before(x.ExpireTime) })
			if len(c.Secrets) >= tenancy.MaxClientSecrets {
				return tenancy.Refuse(tenancy.ReasonSecretLimit)
			}
			var x tenancy.ClientSecret
			x, out.Secret, err = s.newClientSecret(c, p.tenant.Region, now)
			out.SecretID = x.ID
			c.Secrets = append(c.Secrets, x)
			return err
		})
		return out, err
	})
	if call.ValidateOnly {
		v.Secret, v.SecretID = "", id.ClientSecret{}
	}
	v.AlreadyReturned = replayed
	return v, err
}

// RetireClientSecret ends a secret, at once or after a time of grace.
func (s *Service) RetireClientSecret(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, ref string, secret id.ClientSecret, grace time.Duration, call Call) (tenancy.Client, error) {
	if grace < 0 || grace > 30*24*time.Hour {
		return tenancy.Client{}, tenancy.RefuseField(tenancy.ReasonInvalidArgument, "grace", "at most 30 days")
	}
	v, _, err := change(ctx, s, caller, org, "RetireClientSecret", call, func(tx *store.Tx, now time.Time) (tenancy.Client, error) {
		return s.changeClient(ctx, tx, caller, org, tenant, ref, call.Etag, tenancy.ActionClientSecretRetired, nil, now, grace == 0, func(_ *parent, c *tenancy.Client) error {
			i := slices.IndexFunc(c.Secrets, func(x tenancy.ClientSecret) bool { return x.ID == secret })
			if i < 0 {
				return tenancy.Refuse(tenancy.ReasonNotFound)
			}
			if grace == 0 {
				c.Secrets = slices.Delete(c.Secrets, i, i+1)
				return nil
			}
			end := now.Add(grace)
			if old := c.Secrets[i].ExpireTime; old.IsZero() || end.Before(old) {
				c.Secrets[i].ExpireTime = end
			}
			return nil
		})
	})
	return v, err
}
