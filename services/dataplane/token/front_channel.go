// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"fmt"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/signer"
	"github.com/tenantry/tenantry/services/dataplane/internal/subject"
)

// frontChannelLife bounds the life of an access token that came through a browser's address bar, and of the ID token beside it stays
// what it is: the token cannot be bound to a key and there is no refresh token to keep it short otherwise (RFC 9700 section 2.1.2).
const frontChannelLife = 5 * time.Minute

// Minter signs what the login service asks for, in the same process or through the internal listener.
var _ signer.Signer = (*Minter)(nil)

// AuthorizationResponse implements signer.Signer.
func (m *Minter) AuthorizationResponse(_ context.Context, t *snapshot.Tenant, c *oauth2.Client, params [][2]string, now time.Time) (string, error) {
	payload, err := oauth2.BuildResponseJWT(t.Issuer, c.ID, now.Add(oauth2.ResponseJWTLife), params)
	if err != nil {
		return "", fmt.Errorf("%w: %w", signer.ErrRefused, err)
	}
	key, err := m.signer(t, c.AuthorizationAlg)
	if err != nil {
		return "", err
	}
	return key.Sign("JWT", payload)
}

// FrontChannel implements signer.Signer. Whether the client may have tokens from the authorization endpoint at all is judged here again,
// by the configuration that the token service has.
func (m *Minter) FrontChannel(ctx context.Context, t *snapshot.Tenant, c *oauth2.Client, r signer.FrontChannelRequest) (signer.FrontChannelTokens, error) {
	var out signer.FrontChannelTokens
	parts, err := oidc.CheckResponseType(r.ResponseType, c, t.Policy.ResponseTypes)
	if err != nil || !parts.Tokens() || parts.Code != (r.Code != "") {
		return out, fmt.Errorf("%w: response type %q: %w", signer.ErrRefused, r.ResponseType, err)
	}
	audience, err := c.ResolveAudience(r.Resource, t.DefaultAudience)
	if err != nil {
		return out, fmt.Errorf("%w: %w", signer.ErrRefused, err)
	}
	sub := subject.For(t, c, r.User)
	if parts.AccessToken {
		in := oidc.AccessTokenInput{
			Subject: sub, Audience: audience, TokenUse: oidc.TokenUseUser, Scopes: r.Scopes.Without(oidc.ScopeOfflineAccess), Session: r.Session,
			Grant: r.Grant, AuthTime: r.AuthTime, ACR: r.ACR, AMR: r.AMR, Roles: r.Roles, Groups: r.Groups, AuthorizationDetails: r.Details,
			ExpireTime: r.Now.Add(frontChannelLife),
		}
		if out.AccessToken, out.ExpiresIn, err = m.AccessToken(t, c, &in, r.Now); err != nil {
			return signer.FrontChannelTokens{}, err
		}
	}
	if !parts.IDToken {
		return out, nil
	}
	in := oidc.IDTokenInput{
		Subject: sub, Session: r.Session, AuthTime: r.AuthTime, Nonce: r.Nonce, ACR: r.ACR, AMR: r.AMR, AccessToken: out.AccessToken,
		Code: r.Code, State: r.State, Claims: r.Claims,
	}
	if r.UserClaims != nil {
		in.User = *r.UserClaims
	}
	if !parts.Code && !parts.AccessToken {
		in.Scopes = r.Scopes
	}
	if out.IDToken, err = m.IDToken(t, c, in, r.Now); err == nil {
		out.IDToken, err = m.forClient(ctx, c, out.IDToken)
	}
	if err != nil {
		return signer.FrontChannelTokens{}, err
	}
	return out, nil
}

// LogoutToken implements signer.Signer.
func (m *Minter) LogoutToken(_ context.Context, t *snapshot.Tenant, c *oauth2.Client, r signer.LogoutTokenRequest) (string, error) {
	payload, err := oidc.BuildLogoutToken(oidc.LogoutTokenInput{
		Issuer: t.Issuer, ClientID: c.ID, Subject: r.Subject, Session: r.Session, Tenant: t.ID, ID: r.ID, IssuedAt: r.Now,
		ExpireTime: r.Now.Add(oidc.LogoutTokenLife),
	})
	if err != nil {
		return "", fmt.Errorf("%w: %w", signer.ErrRefused, err)
	}
	key, err := m.signer(t, c.IDTokenAlg)
	if err != nil {
		return "", err
	}
	return key.Sign(oidc.TypeLogoutToken, payload)
}
