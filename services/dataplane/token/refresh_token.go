// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/services/dataplane/internal/subject"
	"github.com/tenantry/tenantry/services/identity"
)

// redeemRefreshToken rotates a refresh token (RFC 6749 section 6, RFC 9700 section 4.14). Nothing is taken here: when the answer is
// lost the old token gives the same new one again, within the grace and until the new one is used.
func (s *Service) redeemRefreshToken(ctx context.Context, x *exchange, out *redeemed) error {
	text := x.params.Get(oauth2.ParamRefreshToken)
	if text == "" {
		return oauth2.InvalidRequest("refresh_token is missing")
	}
	keys := s.keyring.Tenant(x.q.Tenant.ID)
	grantID, generation, ok := parseRefresh(keys, text, x.client.UID)
	if !ok {
		return errRefreshToken
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	t := ref(x.q.Tenant)
	if err := s.checkNarrowing(ctx, x, t, grantID); err != nil {
		return err
	}
	rotated, err := s.identity.Rotate(ctx, t, op(x.r, x.q, x.client.ID), identity.Rotation{
		Grant: grantID, Client: x.client.UID, Generation: generation,
		Grace: x.client.RefreshGrace, Idle: x.client.RefreshTTL, Absolute: x.client.RefreshAbsoluteTTL,
		Binding: ofFamily(x.client, x.binding), Keep: !x.client.Profile.RotatesRefreshTokens(),
	})
	if errors.Is(err, identity.ErrReused) {
		// An old token came back: the family is already revoked, in the same statement that saw it. Its access tokens follow.
		x.q.Note(slog.Bool("refresh_token_reused", true))
		s.mark(context.WithoutCancel(ctx), x.q, []identity.Revocation{{Subject: grantID.String(), Until: x.now.Add(maxAccessLife)}})
	}
	if err != nil {
		return storeError(err, errRefreshToken.WithCause(err))
	}
	if rotated.Again {
		x.q.Note(slog.Bool("refresh_token_again", true))
	}
	if out.refresh, err = refreshText(keys, grantID, rotated.Generation, x.client.UID); err != nil {
		return err
	}
	return s.refreshed(ctx, x, &rotated, out)
}

// checkNarrowing refuses a scope that the grant does not have (RFC 6749 section 6) before the token is rotated: the client still
// holds the old one and has no use for an error that costs it.
func (s *Service) checkNarrowing(ctx context.Context, x *exchange, t identity.TenantRef, grantID id.Grant) error {
	resource, err := oauth2.OneResource(x.params)
	if err != nil {
		return err
	}
	if len(x.scopes) == 0 && resource == "" && !x.params.Has(oauth2.ParamAuthorizationDetails) {
		return nil
	}
	family, err := s.identity.Family(ctx, t, grantID)
	if err != nil {
		return storeError(err, errRefreshToken)
	}
	if !x.scopes.Subset(family.Scopes) {
		return oauth2.InvalidScope("the grant has not all of these scopes")
	}
	if resource != "" && resource != family.Resource && (family.Resource != "" || resource != x.q.Tenant.DefaultAudience) {
		return oauth2.InvalidTarget("resource is not the one of the authorization request")
	}
	_, err = x.details(json.RawMessage(family.AuthorizationDetails))
	return err
}

// refreshed fills in the tokens from the family and its user as they are now.
func (s *Service) refreshed(ctx context.Context, x *exchange, rotated *identity.Rotated, out *redeemed) error {
	scopes := oauth2.Scopes(rotated.Scopes)
	if len(x.scopes) > 0 {
		scopes = scopes.Intersect(x.scopes) // the new refresh token keeps all of the grant's
	}
	// What the client has lost since then it does not get by a refresh.
	scopes, err := x.client.ResolveScopes(scopes, oidc.StandardScopes)
	if err != nil {
		return errRefreshToken.WithCause(err)
	}
	audience := rotated.Resource
	if audience == "" {
		audience = x.q.Tenant.DefaultAudience
	}
	details, err := x.details(json.RawMessage(rotated.AuthorizationDetails))
	if err != nil {
		return err // checkNarrowing has seen it before the rotation
	}
	user, sub := &rotated.Owner, subject.For(x.q.Tenant, x.client, rotated.User)
	out.access = oidc.AccessTokenInput{
		Subject: sub, AuthorizationDetails: details, Audience: audience, TokenUse: oidc.TokenUseUser, Scopes: scopes, Session: rotated.Session,
		Grant: rotated.Grant, AuthTime: rotated.AuthTime, ACR: rotated.ACR, AMR: rotated.AMR, Roles: user.Roles, Groups: user.Groups,
	}
	claims, err := oidc.ParseClaimsRequest(rotated.Claims)
	if err != nil {
		return err // it was checked when the code was issued
	}
	if scopes.Contains(oidc.ScopeOpenID) {
		// OpenID Connect Core section 12.2: same iss, sub, aud and auth_time; no nonce.
		out.idToken = &oidc.IDTokenInput{
			Subject: sub, Session: rotated.Session, AuthTime: rotated.AuthTime, ACR: rotated.ACR, AMR: rotated.AMR,
			Claims: claims.IDTokenClaims(), User: userClaims(user),
		}
	}
	if names := claims.UserInfoClaims(); len(names) > 0 {
		// Voluntary claims: a refresh does not fail for them.
		if err := s.grants.PutUserInfoClaims(ctx, x.q.Tenant.ID, rotated.Grant, names, x.client.AccessTTL); err != nil {
			s.log.WarnContext(ctx, "userinfo claims not remembered", slog.String("request_id", x.q.ID), slog.String("cause", err.Error()))
		}
	}
	return nil
}

// userClaims are the standard claims of a user.
func userClaims(u *identity.User) oidc.UserClaims {
	return oidc.UserClaims{
		Name: u.Name, GivenName: u.GivenName, FamilyName: u.FamilyName, Nickname: u.Nickname, PreferredUsername: u.PreferredUsername,
		Picture: u.Picture, Website: u.Website, Email: u.Email, EmailVerified: u.EmailVerified, Zoneinfo: u.Zoneinfo, Locale: u.Locale,
		UpdatedAt: u.UpdateTime, Roles: u.Roles, Groups: u.Groups,
	}
}
