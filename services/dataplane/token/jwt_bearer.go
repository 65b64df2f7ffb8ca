// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/clientkeys"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/subject"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

// How a user of an assertion logged in: somebody else says that they did, and we saw nothing of it. So the class is none of those that
// our own logins reach, and no tenant that asks for one of them takes such a token for it.
const (
	acrAssertion = "urn:tenantry:acr:assertion"
	amrAssertion = "urn:tenantry:amr:assertion"
)

// errAssertion is one answer for everything that is wrong with an assertion (RFC 7523 section 3.1, RFC 6749 section 5.2).
var errAssertion = oauth2.InvalidGrant("the assertion is not valid")

// redeemJWTBearer gives a token for a JWT of an issuer that the client is registered to trust (RFC 7523 section 2.1).
//
// `sub` is the id of a user of the tenant, as this client knows users, or the client's own id for a token of its own. Never an e-mail
// address: an address can pass to another person, and who may write it at the issuer would choose whose account is opened here.
// There is no refresh token: the client can have another assertion made (RFC 7521 section 4.1).
func (s *Service) redeemJWTBearer(ctx context.Context, x *exchange, out *redeemed) error {
	text := x.params.Get(oauth2.ParamAssertion)
	if text == "" {
		return oauth2.InvalidRequest("assertion is missing")
	}
	a, err := s.assertion(ctx, x.q, x.client, text)
	if err != nil {
		return err
	}
	audience, err := x.audience()
	if err != nil {
		return err
	}
	if a.Subject == x.client.ID {
		err = x.assertedClient(audience, out)
	} else {
		err = s.assertedUser(ctx, x, a, audience, out)
	}
	if err != nil {
		return err
	}
	// Last: an assertion whose user could not be looked up has not been used.
	return s.assertionOnce(ctx, x.q, a)
}

// assertion checks a JWT of an issuer that the client trusts, up to its being used. Errors are errAssertion, one that is
// oauth2.ErrAssertionExpired too when it was good once, and those that say nothing about it.
func (s *Service) assertion(ctx context.Context, q *web.Request, c *oauth2.Client, text string) (oauth2.GrantAssertion, error) {
	// The issuer is read before anything is verified, to choose among those that the client is registered with; nobody else's keys
	// are ever fetched.
	issuer := oauth2.AssertionIssuer(text)
	i := slices.IndexFunc(c.TrustedIssuers, func(t oauth2.TrustedIssuer) bool { return issuer != "" && t.Issuer == issuer })
	if i < 0 {
		return oauth2.GrantAssertion{}, errAssertion
	}
	trusted := c.TrustedIssuers[i]
	var algs []jose.Algorithm
	for _, a := range trusted.Algorithms {
		if c.Profile.AllowsAlg(a) {
			algs = append(algs, jose.Algorithm(a))
		}
	}
	if len(algs) == 0 {
		return oauth2.GrantAssertion{}, errAssertion
	}
	payload, _, err := s.keys.VerifyIssuer(ctx, trusted, text, jose.VerifyOptions{
		Typ: assertionTypes, Algorithms: algs, MaxBytes: oauth2.MaxGrantAssertionBytes,
	})
	switch {
	case errors.Is(err, clientkeys.ErrUnavailable):
		return oauth2.GrantAssertion{}, web.Unavailable(err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return oauth2.GrantAssertion{}, err
	case err != nil:
		return oauth2.GrantAssertion{}, errAssertion.WithCause(err)
	}
	a, err := oauth2.ParseGrantAssertion(payload)
	if err != nil {
		return oauth2.GrantAssertion{}, errAssertion.WithCause(err)
	}
	audiences := []string{q.Tenant.Issuer}
	if q.Tenant.Policy.LegacyAssertionAudience && !c.Profile.StrictAssertionAudience() {
		audiences = append(audiences, q.Tenant.Issuer+oidc.PathToken)
	}
	if err := a.Check(issuer, audiences, q.Start); err != nil {
		return oauth2.GrantAssertion{}, errAssertion.WithCause(err)
	}
	return a, nil
}

// assertionTypes are the `typ` values of an assertion: none and the general one. An explicit type of something else, an access token
// or a proof, is refused (RFC 8725 section 3.11).
var assertionTypes = []string{"", "JWT"}

// assertionOnce lets an assertion count once.
func (s *Service) assertionOnce(ctx context.Context, q *web.Request, a oauth2.GrantAssertion) error {
	err := s.grants.Once(ctx, q.Tenant.ID, q.Start, grant.Single{
		Kind: grant.OnceGrant, Parts: [2]string{a.Issuer, a.ID}, Issued: a.IssuedAt, Until: a.ExpireTime.Add(replaySkew),
	})
	if errors.Is(err, grant.ErrReplayed) {
		return errAssertion.WithCause(err)
	}
	return grantsError(err)
}

// assertedClient is the client itself, as in its own grant.
func (x *exchange) assertedClient(audience string, out *redeemed) error {
	if x.client.Public {
		return oauth2.UnauthorizedClient("a public client has no grant of its own")
	}
	scopes, err := oidc.MachineScopes(x.client, x.scopes)
	if err != nil {
		return err
	}
	out.access = oidc.AccessTokenInput{Subject: x.client.ID, Audience: audience, TokenUse: oidc.TokenUseClient, Scopes: scopes}
	return nil
}

// assertedUser is a member of the tenant. A client that is not the company's own gets what the user has allowed it before.
func (s *Service) assertedUser(ctx context.Context, x *exchange, a oauth2.GrantAssertion, audience string, out *redeemed) error {
	user, err := subject.User(x.q.Tenant, x.client, a.Subject)
	if err != nil {
		return errAssertion.WithCause(err)
	}
	member, err := s.member(ctx, x.q.Tenant, user)
	if err != nil {
		return storeError(err, errAssertion)
	}
	scopes, err := x.client.ResolveScopes(x.scopes, oidc.StandardScopes)
	if err != nil {
		return err
	}
	scopes = scopes.Without(oidc.ScopeOfflineAccess)
	if !x.client.FirstParty {
		if err := s.consented(ctx, x.q.Tenant, x.client, user, scopes); err != nil {
			return err
		}
	}
	at := a.AuthTime
	if at.IsZero() {
		at = a.IssuedAt
	}
	if at.After(x.now) {
		at = x.now
	}
	out.access = oidc.AccessTokenInput{
		Subject: subject.For(x.q.Tenant, x.client, user), Audience: audience, TokenUse: oidc.TokenUseUser, Scopes: scopes, AuthTime: at.Truncate(time.Second),
		ACR: acrAssertion, AMR: []string{amrAssertion}, Roles: member.Roles, Groups: member.Groups,
	}
	return nil
}

// consented refuses scopes that the user has not allowed the client at a tenant.
func (s *Service) consented(ctx context.Context, t *snapshot.Tenant, c *oauth2.Client, user id.User, scopes oauth2.Scopes) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	given, err := s.identity.Consent(ctx, ref(t), user, c.UID)
	if err != nil && !errors.Is(err, identity.ErrNotFound) {
		return storeError(err, errAssertion)
	}
	if err != nil || !scopes.Subset(given.Scopes) {
		return oauth2.InvalidGrant("the user has not allowed the client all of this")
	}
	return nil
}
