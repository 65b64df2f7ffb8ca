// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/subject"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
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
// exchange there. A token of a client that is gone counts as revoked, and so does one that came of a tenant that is. An error means that
// nobody can tell.
func (s *Service) revoked(ctx context.Context, q *web.Request, c *oidc.AccessTokenClaims) (bool, error) {
	if clientGone(q.Tenant, c.ClientID) {
		return true, nil
	}
	revoked, err := s.grants.Revoked(ctx, q.Tenant.ID, q.Start, c.ID, c.SessionID, c.GrantID)
	if err != nil || revoked || c.Origin == "" {
		return revoked, grantsError(err)
	}
	origin, err := id.ParseTenant(c.Origin)
	if err != nil {
		return true, nil //nolint:nilerr // not a token that we would make
	}
	if _, err := s.tenants.Tenant(ctx, origin); errors.Is(err, snapshot.ErrUnknownTenant) {
		return true, nil
	} else if err != nil {
		return false, web.Unavailable(err)
	}
	revoked, err = s.grants.Revoked(ctx, origin, q.Start, c.SessionID, c.GrantID)
	return revoked, grantsError(err)
}

// clientGone says whether the client of a token was disabled or deleted. A client that is its own metadata document is there for as long as
// the tenant wants such clients, also while the document's host is away.
func clientGone(t *snapshot.Tenant, clientID string) bool {
	if oauth2.ClientIDURL(clientID) {
		return !t.Policy.ClientIDMetadataDocuments
	}
	c, ok := t.Client(clientID)
	return !ok || !c.Enabled
}

// userGone says whether the user of a token may not log in here any more, for tokens with neither a session nor a grant of this tenant whose
// end would tell: an assertion of another issuer gives such ones, and an exchange for another tenant.
func (s *Service) userGone(ctx context.Context, t *snapshot.Tenant, c *oidc.AccessTokenClaims) (bool, error) {
	if c.TokenUse != oidc.TokenUseUser || c.Origin == "" && (c.SessionID != "" || c.GrantID != "") {
		return false, nil
	}
	client, ok := t.Client(c.ClientID)
	if !ok {
		return true, nil
	}
	user, err := subject.User(t, client, c.Subject)
	if err != nil {
		return true, nil //nolint:nilerr // the client was given another kind of subjects since
	}
	_, err = s.member(ctx, t, user)
	if errors.Is(err, identity.ErrNotFound) {
		return true, nil
	}
	return false, storeError(err, nil)
}
