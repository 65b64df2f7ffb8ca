// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
)

// redeemClientCredentials is the client's own grant (RFC 6749 section 4.4). It needs nothing but the snapshot. There is no refresh
// token (section 4.4.3): the client can always ask again.
func (s *Service) redeemClientCredentials(x *exchange, out *redeemed) error {
	if x.client.Public {
		// Section 4.4: confidential clients only. A public client's identifier is no secret.
		return oauth2.UnauthorizedClient("a public client has no grant of its own")
	}
	scopes, err := oidc.MachineScopes(x.client, x.scopes)
	if err != nil {
		return err
	}
	audience, err := x.audience()
	if err != nil {
		return err
	}
	out.access = oidc.AccessTokenInput{Subject: x.client.ID, Audience: audience, TokenUse: oidc.TokenUseClient, Scopes: scopes}
	return nil
}

// audience is what the request's `resource` gives for this client (RFC 8707 section 2).
func (x *exchange) audience() (string, error) {
	resource, err := oauth2.OneResource(x.params)
	if err != nil {
		return "", err
	}
	return x.client.ResolveAudience(resource, x.q.Tenant.DefaultAudience)
}
