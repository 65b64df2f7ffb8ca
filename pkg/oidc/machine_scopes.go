// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import "github.com/tenantry/tenantry/pkg/oauth2"

// userScopes are about a user, so that they mean nothing in a client's own token.
var userScopes = []string{ScopeOpenID, ScopeProfile, ScopeEmail, ScopeAddress, ScopePhone, ScopeOfflineAccess, ScopeRoles}

// MachineScopes gives the scopes of a client's own token (RFC 6749 section 4.4.2): those of its list that it asks for, or all of
// its list when it asks for none (section 3.3, default value). Scopes about users are dropped. When something was asked and nothing
// is left: invalid_scope.
func MachineScopes(c *oauth2.Client, requested oauth2.Scopes) (oauth2.Scopes, error) {
	allowed := c.Scopes.Without(userScopes...)
	if len(requested) == 0 {
		return allowed, nil
	}
	kept := requested.Intersect(allowed)
	if len(kept) == 0 {
		return nil, oauth2.InvalidScope("the client may have none of the scopes that it asked for")
	}
	return kept, nil
}
