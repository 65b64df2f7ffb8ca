// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"time"

	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
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

// verifyAccess checks an access token at a tenant. Errors mean that it is not one of its live tokens.
func verifyAccess(t *snapshot.Tenant, token string, now time.Time) (accessToken, error) {
	payload, _, err := t.Keys.Set().Verify(token, accessOptions)
	if err != nil {
		return accessToken{}, err
	}
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
