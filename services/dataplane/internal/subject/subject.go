// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package subject decides by which `sub` a client knows a user (OpenID Connect Core section 8), and finds the user again. Login and
// token both ask it, for ID tokens, access tokens, UserInfo, introspection and logout tokens alike, so that a client never sees a user
// under two names.
package subject

import (
	"errors"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
)

// ErrUnknown: a text is no subject that the client could have been given.
var ErrUnknown = errors.New("subject: not a subject of this client")

// For is the `sub` of a user in all that the client is given: the text of the user's id, or for a pairwise client a text that only
// clients of its sector know. It is empty for a pairwise client of a tenant without a salt, and a token without `sub` is never made.
func For(t *snapshot.Tenant, c *oauth2.Client, user id.User) string {
	if c.Pairwise {
		return oidc.PairwiseSubject(t.PairwiseSalt, c.Sector, user)
	}
	return user.String()
}

// User finds the user of a `sub` that the client was given. A pairwise client's must be a pairwise one, or it could tell the plain id
// of a user from a wrong one. That the user exists, and is one of the tenant's, is for the user store to say. The only error is
// ErrUnknown.
func User(t *snapshot.Tenant, c *oauth2.Client, sub string) (id.User, error) {
	var user id.User
	var err error
	if c.Pairwise {
		user, err = oidc.OpenPairwise(t.PairwiseSalt, c.Sector, sub)
	} else {
		user, err = id.ParseUser(sub)
	}
	if err != nil {
		return id.User{}, ErrUnknown
	}
	return user, nil
}
