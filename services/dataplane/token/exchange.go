// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/subject"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

// Refusals of a token exchange. One answer for everything that is wrong with a token, so that it tells nobody whether a stolen or
// foreign one is real; RFC 8693 section 2.2.2 wants invalid_request for it.
var (
	errSubjectToken = oauth2.InvalidRequest("the subject_token is not one that this client may exchange")
	errActorToken   = oauth2.InvalidRequest("the actor_token is not one that may act for the subject")
	errProofMissing = oauth2.InvalidRequest("the subject_token or actor_token is bound to a key: prove that you hold it")
	// errSwitch is the one answer for a tenant that does not exist, is another org's, is suspended, has another user pool, does not
	// know the client, or where the user has no place: nothing about the other tenant can be learnt from it.
	errSwitch = oauth2.InvalidTarget("the token cannot be exchanged for that tenant")
)

// minExchanged is the shortest life of a token that is worth making, since the claims count in seconds.
const minExchanged = time.Second

// presented is a token that came as a parameter: live, and not revoked.
type presented struct {
	*oidc.AccessTokenClaims
	client *oauth2.Client // that it was issued to
	user   id.User        // zero for a client's own token
}

// redeemTokenExchange gives a client a token in exchange for another one (RFC 8693). What comes out is never more than what went in:
// not more scopes, not another user, not a longer life, not another key, and it ends with the session and grant that it comes from.
//
//	own token (same client)        narrower scopes, another registered audience, or another tenant (API part 6.5)
//	another client's, no actor     impersonation: for clients that are registered for it; `act` names the client
//	another client's, with actor   delegation: the actor's token must be this client's own; `act` names who acts, with earlier actors inside
func (s *Service) redeemTokenExchange(ctx context.Context, x *exchange, out *redeemed) error {
	in, err := oauth2.ParseTokenExchange(x.params)
	if err != nil {
		return err
	}
	about, err := s.presented(ctx, x, in.SubjectToken, errSubjectToken)
	if err != nil {
		return err
	}
	if about.user.IsZero() {
		return errSubjectToken // a client's own token is about no user: whoever has it asks for another one itself
	}
	actor, err := s.actor(ctx, x, in, about)
	if err != nil {
		return err
	}
	scopes, err := x.exchangedScopes(about)
	if err != nil {
		return err
	}
	t, c := x.q.Tenant, x.client
	if in.Tenant != "" && in.Tenant != t.ID.String() {
		if t, c, err = s.switchTenant(ctx, x, in, about); err != nil {
			return err
		}
		if scopes, err = c.ResolveScopes(scopes, oidc.StandardScopes); err != nil {
			return errSwitch
		}
	}
	audience, err := exchangedAudience(t, c, in, about, t == x.q.Tenant && about.ClientID == c.ID)
	if err != nil {
		return err
	}
	member, err := s.member(ctx, t, about.user)
	if err != nil {
		if errors.Is(err, identity.ErrNotFound) {
			if t != x.q.Tenant {
				return errSwitch
			}
			return errSubjectToken
		}
		return storeError(err, errSubjectToken)
	}
	if t != x.q.Tenant {
		// Only now, when the user is known to have a place there, the answer may speak of that tenant's demands.
		if want := c.DefaultACRValues; len(want) > 0 && !slices.Contains(want, about.ACR) {
			return oauth2.InvalidGrant("that tenant asks for a login with acr " + want[0])
		}
		if !c.FirstParty { // what the user allowed it at one tenant is no word about another
			if err := s.consented(ctx, t, c, about.user, scopes); err != nil {
				return err
			}
		}
		out.at, out.as = t, c
	}
	out.issuedTokenType = oauth2.TokenTypeURNAccessToken
	out.access = oidc.AccessTokenInput{
		Subject: subject.For(t, c, about.user), Audience: audience, TokenUse: oidc.TokenUseUser, Scopes: scopes,
		AuthTime: time.Unix(about.AuthTime, 0), ACR: about.ACR, AMR: about.AMR, Roles: member.Roles, Groups: member.Groups,
		Actor: actor, ExpireTime: time.Unix(about.ExpireTime, 0),
	}
	// Revoking the session or the grant behind the subject's token reaches this one, too.
	if about.SessionID != "" {
		if out.access.Session, err = id.ParseSession(about.SessionID); err != nil {
			return errSubjectToken.WithCause(err)
		}
	}
	if about.GrantID != "" {
		if out.access.Grant, err = id.ParseGrant(about.GrantID); err != nil {
			return errSubjectToken.WithCause(err)
		}
	}
	if about.ClientID == x.client.ID && in.ActorToken == "" {
		out.access.MayAct = about.MayAct
		if t == x.q.Tenant { // at another tenant the same type may mean something else, and nobody was asked for that
			out.access.AuthorizationDetails = about.AuthorizationDetails
		}
	}
	out.access.Origin = about.origin(x.q.Tenant, t)
	return nil
}

// presented checks a token that came as a parameter, with refused as the one answer for what is wrong with it.
func (s *Service) presented(ctx context.Context, x *exchange, text string, refused *oauth2.Error) (*presented, error) {
	token, err := s.access(x.q.Tenant, text, x.now)
	if err != nil {
		return nil, refused.WithCause(err)
	}
	p := &presented{AccessTokenClaims: &token.claims}
	if time.Unix(p.ExpireTime, 0).Sub(x.now) < minExchanged {
		return nil, refused
	}
	var ok bool
	if p.client, ok = x.q.Tenant.Client(p.ClientID); !ok || !p.client.Enabled {
		return nil, refused // the client that it was issued to is gone, and what it could do went with it
	}
	if p.TokenUse == oidc.TokenUseUser {
		if p.user, err = subject.User(x.q.Tenant, p.client, p.Subject); err != nil {
			return nil, refused.WithCause(err)
		}
	}
	revoked, err := s.revoked(ctx, x.q, p.AccessTokenClaims)
	if err != nil {
		return nil, err
	}
	if revoked {
		return nil, refused
	}
	// A bound token is worth nothing without its key, also here: else a thief would exchange it for one that is not bound.
	if !p.Binding.IsZero() && p.Binding != x.binding {
		return nil, errProofMissing
	}
	return p, nil
}

// actor decides whether the client may have a token about the subject, and makes its `act` claim.
func (s *Service) actor(ctx context.Context, x *exchange, in oauth2.TokenExchange, about *presented) (json.RawMessage, error) {
	if in.ActorToken == "" && about.ClientID == x.client.ID {
		return about.Actor, nil // nobody new acts
	}
	if x.client.Public {
		return nil, oauth2.UnauthorizedClient("a public client may exchange its own tokens alone")
	}
	if in.Tenant != "" && in.Tenant != x.q.Tenant.ID.String() {
		return nil, oauth2.InvalidRequest("only a client's own token can be exchanged for another tenant")
	}
	who, refused := presented{AccessTokenClaims: &oidc.AccessTokenClaims{Subject: x.client.ID, ClientID: x.client.ID}}, errSubjectToken
	if in.ActorToken != "" {
		acting, err := s.presented(ctx, x, in.ActorToken, errActorToken)
		if err != nil {
			return nil, err
		}
		if acting.ClientID != x.client.ID {
			return nil, errActorToken // somebody else's: having seen a token is no right to act as its owner
		}
		who, refused = *acting, errActorToken
	} else if !x.client.Impersonation {
		return nil, oauth2.UnauthorizedClient("the client may not exchange other clients' tokens without an actor_token")
	}
	if !oauth2.MayAct(about.MayAct, who.Subject, x.client.ID) {
		return nil, refused
	}
	act, err := oauth2.AppendActor(about.Actor, who.Subject, who.ClientID)
	if err != nil {
		return nil, oauth2.InvalidRequest("the chain of actors is too long").WithCause(err)
	}
	x.q.Note(slog.Bool("acting", true))
	return act, nil
}

// exchangedScopes are those asked for, or all: never one that the subject's token has not, nor one that the client may not have.
func (x *exchange) exchangedScopes(about *presented) (oauth2.Scopes, error) {
	has := about.Scopes()
	if !x.scopes.Subset(has) {
		return nil, oauth2.InvalidScope("the subject_token has not all of these scopes")
	}
	if len(x.scopes) > 0 {
		has = x.scopes
	}
	kept, err := x.client.ResolveScopes(has, oidc.StandardScopes)
	if err != nil {
		return nil, err
	}
	return kept.Without(oidc.ScopeOfflineAccess), nil // no refresh token comes of it
}

// exchangedAudience: a target must be registered for the client. Without one its own token keeps its audience, and anything else goes to
// the tenant's default.
func exchangedAudience(t *snapshot.Tenant, c *oauth2.Client, in oauth2.TokenExchange, about *presented, own bool) (string, error) {
	if in.Target == "" && own {
		return about.Audience, nil
	}
	return c.ResolveAudience(in.Target, t.DefaultAudience)
}

// member is the user at a tenant, who may log in there. ErrNotFound for everybody else.
func (s *Service) member(ctx context.Context, t *snapshot.Tenant, user id.User) (identity.User, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	u, err := s.identity.GetUser(ctx, ref(t), user)
	if err != nil {
		return identity.User{}, err
	}
	if !u.CanLogIn() {
		return identity.User{}, identity.ErrNotFound
	}
	return u, nil
}

// switchTenant finds the tenant that a client's own token is to be exchanged for (API part 6.5), and the client as that tenant knows it.
// It must be of the same org and share the pool of users: in any other the same `sub` would be somebody else, or nobody.
func (s *Service) switchTenant(ctx context.Context, x *exchange, in oauth2.TokenExchange, about *presented) (*snapshot.Tenant, *oauth2.Client, error) {
	from := x.q.Tenant
	tenant, err := id.ParseTenant(in.Tenant)
	if err != nil {
		return nil, nil, errSwitch
	}
	to, err := s.tenants.Tenant(ctx, tenant)
	if err != nil {
		if errors.Is(err, snapshot.ErrUnknownTenant) {
			return nil, nil, errSwitch
		}
		return nil, nil, web.Unavailable(err)
	}
	if to.Org != from.Org || to.Pool != from.Pool || to.Pool.IsZero() {
		return nil, nil, errSwitch
	}
	if from.Development && !to.Development {
		return nil, nil, errSwitch // a login that was made for testing, maybe over plain http, opens nothing real
	}
	c, ok := to.Client(x.client.ID)
	if !ok || !c.Enabled || c.UID != x.client.UID || c.Public != x.client.Public || c.AuthMethod != x.client.AuthMethod || !c.GrantTypes.Has(oauth2.GrantTokenExchange) {
		return nil, nil, errSwitch
	}
	if _, _, bound := c.SenderConstraint(); bound && x.binding.IsZero() || c.Profile > x.client.Profile && c.CheckProfile() != nil {
		return nil, nil, errSwitch // the stricter tenant decides about its own tokens
	}
	x.q.Note(slog.String("switched_to", to.ID.String()))
	return to, c, nil
}

// origin is the tenant whose session and grant a token hangs on, when that is another one than its own.
func (p *presented) origin(from, to *snapshot.Tenant) id.Tenant {
	if p.Origin != "" {
		if t, err := id.ParseTenant(p.Origin); err == nil && t != to.ID {
			return t
		}
		return id.Tenant{}
	}
	if from != to {
		return from.ID
	}
	return id.Tenant{}
}
