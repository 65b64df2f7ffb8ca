// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// accessToken is an access token of the tenant whose signature, type, issuer, tenant and time are right. Whether it was revoked is
// another question.
type accessToken struct {
	claims  oidc.AccessTokenClaims
	payload []byte
}

// accessOptions is what an access token of ours looks like. The algorithms are those that a policy may choose; each key works with
// its own alone.
var accessOptions = jose.VerifyOptions{
	Typ:        []string{oidc.TypeAccessToken},
	Algorithms: []jose.Algorithm{jose.ES256, jose.ES384, jose.RS256, jose.PS256, jose.EdDSA},
	MaxBytes:   maxAccessToken,
}

// maxAccessToken is larger than any access token of ours: 4 KiB of names, the rest, base64.
const maxAccessToken = 8 << 10

// verifyAccess checks an access token that is a JWT at a tenant; Service.access also takes opaque ones. Errors mean that it is not one
// of its live tokens.
func verifyAccess(t *snapshot.Tenant, token string, now time.Time) (accessToken, error) {
	payload, _, err := t.Keys.Set().Verify(token, accessOptions)
	if err != nil {
		return accessToken{}, err
	}
	return checkAccess(t, payload, now)
}

// checkAccess judges the payload of an access token that is authentic.
func checkAccess(t *snapshot.Tenant, payload []byte, now time.Time) (accessToken, error) {
	claims, err := oidc.ParseAccessToken(payload)
	if err != nil {
		return accessToken{}, err
	}
	// The keys of a tenant sign for nobody else; issuer and tenant are checked all the same, so that one mistake is not enough.
	if err := claims.Check(t.Issuer, t.ID, now); err != nil {
		return accessToken{}, err
	}
	return accessToken{claims: claims, payload: payload}, nil
}

// revoked says whether a token was revoked, or the session or grant behind it: those are another tenant's when the token came of an
// exchange there. An error means that nobody can tell.
func (s *Service) revoked(ctx context.Context, q *web.Request, c *oidc.AccessTokenClaims) (bool, error) {
	revoked, err := s.grants.Revoked(ctx, q.Tenant.ID, q.Start, c.ID, c.SessionID, c.GrantID)
	if err != nil || revoked || c.Origin == "" {
		return revoked, grantsError(err)
	}
	origin, err := id.ParseTenant(c.Origin)
	if err != nil {
		return true, nil //nolint:nilerr // not a token that we would make
	}
	revoked, err = s.grants.Revoked(ctx, origin, q.Start, c.SessionID, c.GrantID)
	return revoked, grantsError(err)
}
