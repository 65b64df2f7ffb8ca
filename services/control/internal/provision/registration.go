// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// RegistrationTenant is a tenant as somebody finds it who wants to register a client: by its hostname.
type RegistrationTenant struct {
	Org         id.Org
	Tenant      id.Tenant
	Issuer      string
	Development bool
	// Mode is snapshot.RegistrationOff, RegistrationInitialToken or RegistrationOpen.
	Mode string
	// IDTokenAlgs are those that the tenant has keys for.
	IDTokenAlgs []string
}

// RegistrationTenant finds the tenant of a hostname. Whatever the data plane does not serve is NOT_FOUND: unknown names, and tenants and
// orgs that are not active.
func (s *Service) RegistrationTenant(ctx context.Context, host string) (RegistrationTenant, error) {
	name, err := snapshot.NormalizeHost(host)
	if err != nil {
		return RegistrationTenant{}, tenancy.Refuse(tenancy.ReasonNotFound)
	}
	org, tenant, err := s.store.HostOwner(ctx, name)
	if err != nil {
		return RegistrationTenant{}, err
	}
	owner, err := s.store.Org(ctx, org)
	if err != nil {
		return RegistrationTenant{}, err
	}
	t, policy, err := s.TenantView(ctx, org, tenant)
	if err != nil {
		return RegistrationTenant{}, err
	}
	served := false
	for _, h := range t.Hosts {
		served = served || h.Name == name && !h.Released
	}
	if !served || t.State != tenancy.StateActive || owner.State != tenancy.StateActive {
		return RegistrationTenant{}, tenancy.Refuse(tenancy.ReasonNotFound)
	}
	at := RegistrationTenant{Org: org, Tenant: tenant, Issuer: t.Issuer, Development: t.Type == tenancy.TypeDevelopment, Mode: registrationMode(policy)}
	at.IDTokenAlgs = policy.GetToken().GetIdTokenAlgs().GetValues()
	return at, nil
}

func registrationMode(p *snapshotv1.Policy) string {
	if mode := p.GetOauth().GetDynamicRegistration(); mode != "" {
		return mode
	}
	return snapshot.RegistrationOff
}

// RegisterClient registers a client for itself (RFC 7591 section 3): the client, its secret where it has one, and the token by which it
// may be changed, in one transaction. It answers when the home region serves the client, or after the limit of waiting. The caller is the
// holder of an initial access token, or nobody.
func (s *Service) RegisterClient(ctx context.Context, caller tenancy.Principal, at RegistrationTenant, settings tenancy.ClientSettings, extras map[string]string) (tenancy.Registered, error) {
	verified, err := s.verifySector(ctx, &settings, nil, "")
	if err != nil {
		return tenancy.Registered{}, err
	}
	limit, limited, err := s.registrationLimit(ctx, caller, at)
	if err != nil {
		return tenancy.Registered{}, err
	}
	out, _, err := change(ctx, s, caller, at.Org, "RegisterClient", Call{}, func(tx *store.Tx, now time.Time) (out tenancy.Registered, err error) {
		c := tenancy.Client{ClientSettings: settings}
		p, err := s.lockParent(tx, at.Tenant)
		if err != nil {
			return out, err
		}
		place := p.place()
		place.Field = ""
		if err := tenancy.Violated(tenancy.ReasonInvalidArgument, c.Normalize(place)); err != nil {
			return out, err
		}
		if err := verified.settle(&c.ClientSettings, nil); err != nil {
			return out, err
		}
		registered, used, err := tx.CountRegistrations(at.Tenant, caller.Key)
		if err != nil {
			return out, err
		}
		clients, err := tx.CountClients(at.Tenant)
		if err != nil {
			return out, err
		}
		switch {
		case limited && used >= limit:
			return out, tenancy.Refuse(tenancy.ReasonKeyInvalid)
		case registered >= tenancy.MaxRegistered || clients >= tenancy.MaxClients:
			return out, &tenancy.Error{Reason: tenancy.ReasonConfigRejected, Text: "the tenant has as many registered clients as it can", Meta: map[string]string{"quota": "registered_clients"}}
		}
		c.Org, c.Tenant, c.ID, c.Version, c.CreateTime, c.UpdateTime = at.Org, at.Tenant, id.NewClient(), 1, now, now
		if c.UsesSecret() {
			x, text, err := s.newClientSecret(&c, p.tenant.Region, now)
			if err != nil {
				return out, err
			}
			c.Secrets, out.Secret = []tenancy.ClientSecret{x}, text
		}
		if c.ConfigVersion, err = p.bump(now); err != nil {
			return out, err
		}
		if err := tx.InsertClient(c); err != nil {
			return out, err
		}
		g := tenancy.Registration{Client: c.ID, Key: caller.Key, Extras: extras, CreateTime: now}
		if g.Key.IsZero() {
			g.Network = tenancy.SourceNetwork(caller.Source)
		}
		out.Token, g.TokenHash = secret.NewToken(secret.RegistrationToken, c.ID)
		if err := tx.InsertRegistration(at.Tenant, g); err != nil {
			return out, err
		}
		if err := p.put(ctx, false); err != nil {
			return out, err
		}
		if err := p.roomForStrangers(&g, now); err != nil {
			return out, err
		}
		// The policy that was read before the transaction may have changed since.
		if p.policy == nil || p.policy.DynamicRegistration != at.Mode {
			return out, tenancy.Refuse(tenancy.ReasonConcurrentChange)
		}
		if err := p.judge(nil, &c); err != nil {
			return out, err
		}
		out.Client, out.Registration = c, g
		e := p.event(caller, now, tenancy.ActionClientCreated, &c)
		e.Reason = "dynamic registration"
		return out, tx.Audit(e)
	})
	if err != nil {
		return tenancy.Registered{}, err
	}
	s.wait(ctx, at.Org, at.Tenant, out.Client.ConfigVersion, DepthLoginReady)
	return out, nil
}

// strangersShare is how large a tenant's record may be after a client has registered itself or made itself larger. All that the tenant has
// is in one record of bounded size: without a rest that is out of their reach, strangers could fill it, and the tenant's admins could not
// change anything any more.
const strangersShare = snapshot.MaxBody / 4 * 3

// What one network may take of a tenant's room within a day without an API key: a tenth of the clients, and a quarter of the bytes. A
// Config with more Registrations than one a second has as many times more.
const (
	networkClients = tenancy.MaxRegistered / 10
	networkBytes   = strangersShare / 4
	networkDay     = 24 * time.Hour
)

// roomForStrangers refuses what the client of g asks for itself when the tenant's record has become larger than strangersShare, or when
// g's network has taken its share of the day. What is counted is there: it is exact in all replicas, and lives through their ends.
func (p *parent) roomForStrangers(g *tenancy.Registration, now time.Time) error {
	full := func(text string) error {
		return &tenancy.Error{Reason: tenancy.ReasonConfigRejected, Text: text, Meta: map[string]string{"quota": "registered_clients"}}
	}
	parts, err := p.tx.TenantParts(&p.tenant)
	if err != nil {
		return err
	}
	if proto.Size(core(&p.tenant, &parts)) > strangersShare {
		return full("the tenant has as much of registered clients as it can")
	}
	if !g.Key.IsZero() {
		return nil // vouched for
	}
	from, err := p.tx.RegistrationsFrom(p.tenant.ID, g.Network)
	if err != nil {
		return err
	}
	since, clients, bytes, theirs := now.Add(-networkDay), 0, 0, make(map[id.Client]bool, len(from))
	for i := range from {
		theirs[from[i].Client] = true
		if from[i].CreateTime.After(since) {
			clients++
		}
	}
	for i := range parts.Clients {
		// By the time of its last change, so that clients of another day do not grow beside the share.
		if c := &parts.Clients[i]; theirs[c.ID] && c.UpdateTime.After(since) {
			bytes += proto.Size(c.Message())
		}
	}
	times := max(1, p.s.cfg.Registrations)
	if float64(bytes) > times*networkBytes || g.CreateTime.Equal(now) && float64(clients) > times*networkClients {
		return full("your network has registered as much at this tenant as it may in a day")
	}
	return nil
}

// registrationLimit is how many clients may register with the caller's key.
func (s *Service) registrationLimit(ctx context.Context, caller tenancy.Principal, at RegistrationTenant) (limit int, limited bool, err error) {
	if caller.Key.IsZero() {
		return 0, false, nil
	}
	var labels map[string]string
	for _, parent := range []id.Tenant{at.Tenant, {}} {
		k, err := s.store.APIKey(ctx, at.Org, parent, caller.Key)
		if errors.Is(err, tenancy.ReasonNotFound) {
			continue
		}
		if err != nil {
			return 0, false, err
		}
		labels = k.Labels
		break
	}
	limit, limited = tenancy.MayRegister(caller.Rights.Permissions, labels)
	return limit, limited, nil
}

// Registration finds a client by its registration access token. Whatever does not fit is API_KEY_INVALID: another tenant's client, one that
// did not register itself, one that is gone, a wrong token.
func (s *Service) Registration(ctx context.Context, at RegistrationTenant, client id.Client, token string) (tenancy.Registered, error) {
	none := func(err error) (tenancy.Registered, error) {
		if err == nil || errors.Is(err, tenancy.ReasonNotFound) {
			return tenancy.Registered{}, tenancy.Refuse(tenancy.ReasonKeyInvalid)
		}
		return tenancy.Registered{}, err
	}
	named, presented, err := secret.ParseToken(secret.RegistrationToken, token)
	if err != nil || id.Client(named) != client {
		return none(nil)
	}
	g, err := s.store.Registration(ctx, at.Org, at.Tenant, client)
	if err != nil {
		return none(err)
	}
	if !g.TokenHash.Equal(presented) {
		return none(nil)
	}
	c, err := s.store.Client(ctx, at.Org, at.Tenant, client, "")
	if err != nil {
		return none(err)
	}
	return tenancy.Registered{Client: c, Registration: g}, nil
}

// UpdateRegistration replaces the metadata of a client that registered itself (RFC 7592 section 2.2). r is what Registration has answered;
// a client that was changed since is CONCURRENT_CHANGE. What only the tenant's admins decide stays as it is.
func (s *Service) UpdateRegistration(ctx context.Context, caller tenancy.Principal, at RegistrationTenant, r tenancy.Registered, settings tenancy.ClientSettings, extras map[string]string) (tenancy.Registered, error) {
	settings.Disabled, settings.FirstParty, settings.Overrides = r.Client.Disabled, r.Client.FirstParty, r.Client.Overrides
	if settings.Protocol != nil && r.Client.Protocol != nil {
		settings.Protocol.SecurityProfile = r.Client.Protocol.GetSecurityProfile()
	}
	verified, err := s.verifySector(ctx, &settings, &r.Client.ClientSettings, "")
	if err != nil {
		return tenancy.Registered{}, err
	}
	out, _, err := change(ctx, s, caller, at.Org, "UpdateRegistration", Call{}, func(tx *store.Tx, now time.Time) (out tenancy.Registered, err error) {
		out.Registration = r.Registration
		out.Registration.Extras = extras
		etag := tenancy.Etag(r.Client.ID, r.Client.Version)
		var of *parent
		out.Client, err = s.changeClient(ctx, tx, caller, at.Org, at.Tenant, r.Client.ID.String(), etag, tenancy.ActionClientUpdated, []string{"registration"}, now, false, func(p *parent, c *tenancy.Client) error {
			of = p
			before := c.ClientSettings
			if settings.Kind != before.Kind && settings.Kind != tenancy.KindUnspecified || settings.Type != before.Type {
				// Who may keep a secret, and how an app runs, is what its users consented to.
				return tenancy.RefuseField(tenancy.ReasonInvalidArgument, "token_endpoint_auth_method", "a client stays public or confidential, and of its application type: register another one")
			}
			c.ClientSettings = settings
			place := p.place()
			place.Field = ""
			if err := tenancy.Violated(tenancy.ReasonInvalidArgument, c.Normalize(place)); err != nil {
				return err
			}
			settleSecrets(c)
			if c.UsesSecret() && (len(c.Secrets) == 0 || c.SealsSecrets() && c.Secrets[0].Sealed == nil) {
				x, text, err := s.newClientSecret(c, p.tenant.Region, now)
				if err != nil {
					return err
				}
				c.Secrets, out.Secret = []tenancy.ClientSecret{x}, text
			}
			return verified.settle(&c.ClientSettings, &before)
		})
		if err != nil {
			return out, err
		}
		if proto.Size(out.Client.Message()) > proto.Size(r.Client.Message()) {
			if err := of.roomForStrangers(&out.Registration, now); err != nil {
				return out, err
			}
		}
		return out, tx.UpdateRegistration(at.Tenant, out.Registration)
	})
	if err != nil {
		return tenancy.Registered{}, err
	}
	s.wait(ctx, at.Org, at.Tenant, out.Client.ConfigVersion, DepthLoginReady)
	return out, nil
}

// DeleteRegistration removes a client that registered itself (RFC 7592 section 2.3).
func (s *Service) DeleteRegistration(ctx context.Context, caller tenancy.Principal, at RegistrationTenant, r tenancy.Registered) error {
	c, err := s.DeleteClient(ctx, caller, at.Org, at.Tenant, r.Client.ID.String(), Call{Reason: "dynamic registration"})
	if err == nil {
		s.wait(ctx, at.Org, at.Tenant, c.ConfigVersion, DepthLoginReady)
	}
	return err
}
