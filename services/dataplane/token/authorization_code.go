// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/subject"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

// errCode is one answer for everything that is wrong with a code, so that a thief learns nothing from it.
var errCode = oauth2.InvalidGrant("the authorization code is not valid")

// redeemCode exchanges an authorization code (RFC 6749 section 4.1.3). A failure after the code was taken leaves it in out.taken,
// and the pipeline releases it: a wrong verifier or another client's attempt must not burn the rightful client's code either.
func (s *Service) redeemCode(ctx context.Context, x *exchange, out *redeemed) error {
	code := x.params.Get(oauth2.ParamCode)
	if code == "" {
		return oauth2.InvalidRequest("code is missing")
	}
	taken, err := s.grants.TakeCode(ctx, x.q.Tenant.ID, code, x.now)
	if err != nil {
		if used, ok := errors.AsType[*grant.CodeUsedError](err); ok {
			return s.codeReused(ctx, x, used)
		}
		if errors.Is(err, grant.ErrCodeUnknown) {
			return errCode
		}
		return grantsError(err)
	}
	out.taken = taken
	rec := &taken.Record
	if err := x.checkCode(rec); err != nil {
		return err
	}
	return s.grantTokens(ctx, x, rec, out)
}

// grantTokens makes what a user's grant gives: a code's, or what the user allowed on a page of ours for a device code or a
// backchannel request. The caller has checked that the record is this client's.
func (s *Service) grantTokens(ctx context.Context, x *exchange, rec *grant.CodeRecord, out *redeemed) error {
	claims, err := oidc.ParseClaimsRequest(rec.Claims)
	if err != nil {
		return fmt.Errorf("token: claims of a code: %w", errors.Unwrap(err)) // it was checked when the code was issued
	}
	audience := rec.Audience
	if audience == "" {
		audience = x.q.Tenant.DefaultAudience
	}

	scopes := oauth2.Scopes(rec.Scopes)
	out.until = x.now.Add(x.client.AccessTTL)
	if x.client.GrantTypes.Has(oauth2.GrantRefreshToken) {
		if err := s.startFamily(ctx, x, rec, out); err != nil {
			return err
		}
	}
	details, err := x.details(rec.AuthorizationDetails)
	if err != nil {
		return err
	}
	sub := subject.For(x.q.Tenant, x.client, rec.User)
	out.access = oidc.AccessTokenInput{
		Subject: sub, AuthorizationDetails: details, Audience: audience, TokenUse: oidc.TokenUseUser, Scopes: scopes, Session: rec.Session, Grant: rec.Grant,
		AuthTime: rec.AuthTime, ACR: rec.ACR, AMR: rec.AMR, Roles: rec.Roles, Groups: rec.Groups,
	}
	if scopes.Contains(oidc.ScopeOfflineAccess) {
		out.access.Session = id.Session{} // an offline grant outlives the session, so its tokens must outlive the session's revocation
	}
	if scopes.Contains(oidc.ScopeOpenID) {
		out.idToken = &oidc.IDTokenInput{
			Subject: sub, Session: rec.Session, AuthTime: rec.AuthTime, Nonce: rec.Nonce, ACR: rec.ACR, AMR: rec.AMR,
			Claims: claims.IDTokenClaims(),
		}
		if rec.UserClaims != nil {
			out.idToken.User = *rec.UserClaims
		}
	}
	if names := claims.UserInfoClaims(); len(names) > 0 {
		if err := s.grants.PutUserInfoClaims(ctx, x.q.Tenant.ID, rec.Grant, names, x.client.AccessTTL); err != nil {
			return grantsError(err)
		}
	}
	return nil
}

// checkCode holds the exchange against the authorization request.
func (x *exchange) checkCode(rec *grant.CodeRecord) error {
	if rec.Client != x.client.ID {
		return errCode // RFC 6749 section 10.5: a code of another client
	}
	// Section 4.1.3. Every authorization request here has a redirect_uri, so the exchange must repeat it, byte for byte: a code that
	// was injected through another redirect URI of the client is refused.
	if x.params.Get(oauth2.ParamRedirectURI) != rec.RedirectURI {
		return oauth2.InvalidGrant("redirect_uri is not the one of the authorization request")
	}
	verifier := x.params.Get(oauth2.ParamCodeVerifier)
	switch {
	case rec.CodeChallenge == "" && verifier != "":
		// RFC 9700 section 2.1.1, PKCE downgrade: the attacker removed the challenge from the authorization request.
		return oauth2.InvalidGrant("code_verifier without a code_challenge")
	case rec.CodeChallenge == "" && x.client.NeedsPKCE():
		return errCode
	case rec.CodeChallenge != "":
		if err := oauth2.VerifyCodeVerifier(rec.CodeChallenge, verifier); err != nil {
			return err
		}
	}
	// RFC 9449 section 10: the code was asked for with this key, and whoever stole it has not got that.
	if rec.DPoPJKT != "" && !sameText(rec.DPoPJKT, x.binding.JKT) {
		if x.binding.JKT == "" {
			return oauth2.InvalidProof("the code is bound to a DPoP key, and there is no proof of it")
		}
		return oauth2.InvalidGrant("the code is bound to another DPoP key")
	}
	// RFC 8707 section 2.2: the token request may name the resource again, not another one.
	resource, err := oauth2.OneResource(x.params)
	if err != nil {
		return err
	}
	if resource != "" && resource != rec.Audience && (rec.Audience != "" || resource != x.q.Tenant.DefaultAudience) {
		return oauth2.InvalidTarget("resource is not the one of the authorization request")
	}
	return nil
}

// startFamily stores the refresh family of the grant. The grant's id was drawn with the code, so an exchange that fails later and
// is tried again finds the same family and gives the same first refresh token.
func (s *Service) startFamily(ctx context.Context, x *exchange, rec *grant.CodeRecord, out *redeemed) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	family, err := s.identity.CreateFamily(ctx, ref(x.q.Tenant), op(x.r, x.q, x.client.ID), identity.NewFamily{
		Grant: rec.Grant, User: rec.User, Client: x.client.UID, Scopes: rec.Scopes, Session: rec.Session,
		Offline: oauth2.Scopes(rec.Scopes).Contains(oidc.ScopeOfflineAccess), AuthTime: rec.AuthTime, AMR: rec.AMR, ACR: rec.ACR,
		Resource: rec.Audience, Claims: rec.Claims, Life: x.client.RefreshAbsoluteTTL,
		Binding: ofFamily(x.client, x.binding), AuthorizationDetails: string(rec.AuthorizationDetails),
	})
	if err != nil {
		return storeError(err, errCode) // the user or the session has ended since the code was issued
	}
	out.refresh, err = refreshText(s.keyring.Tenant(x.q.Tenant.ID), family.Grant, family.Generation, x.client.UID)
	if err != nil {
		return err
	}
	if family.ExpireTime.After(out.until) {
		out.until = family.ExpireTime
	}
	return nil
}

// useCode makes the code used. After ErrCodeLost another exchange has, or will have, delivered: this one must not. After ErrCodeUnknown the
// user has logged out or was suspended since the code was issued.
func (s *Service) useCode(ctx context.Context, out *redeemed) error {
	err := out.taken.Use(ctx, out.until)
	if errors.Is(err, grant.ErrCodeLost) || errors.Is(err, grant.ErrCodeUnknown) {
		return errCode.WithCause(err)
	}
	return grantsError(err)
}

// codeReused revokes what the first use of a code gave: one of the two uses was by a thief, and nobody can say which (RFC 6749
// section 4.1.2, RFC 9700 section 4.2.4). The answer waits for the revocation: when it cannot be stored the client is asked to come
// again, so that a replay is never answered and forgotten.
func (s *Service) codeReused(ctx context.Context, x *exchange, used *grant.CodeUsedError) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout) // a thief who hangs up is a thief still
	defer cancel()
	ended, err := s.identity.RevokeGrant(ctx, ref(x.q.Tenant), op(x.r, x.q, x.client.ID), used.Grant, id.Client{}, "authorization code used twice")
	if err != nil && !errors.Is(err, identity.ErrNotFound) {
		return web.Unavailable(err)
	}
	marks := ended.Revocations
	if len(marks) == 0 {
		marks = []identity.Revocation{{Subject: used.Grant.String(), Until: x.now.Add(maxAccessLife)}}
	}
	s.mark(ctx, x.q, marks)
	return errCode.WithCause(used)
}

// maxAccessLife is the longest life of an access token (PROMISES.md R-33): after it no mark is needed.
const maxAccessLife = time.Hour
