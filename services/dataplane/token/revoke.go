// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

// revoke ends a token (RFC 7009): an access token alone, or with a refresh token the whole grant. The row in the identity database
// comes first and is what the answer promises. token_type_hint is not needed, since the two kinds look different, and a wrong one is
// to be ignored anyway (section 2.1).
func (s *Service) revoke(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	params, client, err := s.clientForm(w, r, q)
	if err != nil {
		return err
	}
	text := params.Get(oauth2.ParamToken)
	if text == "" {
		return oauth2.InvalidRequest("token is missing")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.timeout) // a revocation is finished also for who hangs up
	defer cancel()
	if grantID, _, ok := parseRefresh(s.keyring.Tenant(q.Tenant.ID), text, client.UID); ok {
		err = s.revokeGrant(ctx, r, q, client, grantID)
	} else {
		err = s.revokeAccess(ctx, r, q, client, text)
	}
	if err != nil {
		return err
	}
	h := w.Header()
	h["Cache-Control"] = noStore
	h["Content-Length"] = []string{strconv.Itoa(0)}
	w.WriteHeader(http.StatusOK)
	return nil
}

var noStore = []string{"no-store"}

// revokeGrant: any generation of the family will do, an old one too, since whoever has it wants the family dead.
func (s *Service) revokeGrant(ctx context.Context, r *http.Request, q *web.Request, c *oauth2.Client, grantID id.Grant) error {
	ended, err := s.identity.RevokeGrant(ctx, ref(q.Tenant), op(r, q, c.ID), grantID, c.UID, "revoked by the client")
	if errors.Is(err, identity.ErrNotFound) {
		return nil // section 2.2: an invalid token is as good as a revoked one
	}
	if err != nil {
		return web.Unavailable(err)
	}
	s.mark(ctx, q, ended.Revocations)
	return nil
}

func (s *Service) revokeAccess(ctx context.Context, r *http.Request, q *web.Request, c *oauth2.Client, text string) error {
	token, err := s.access(q.Tenant, text, q.Start)
	if err != nil {
		return nil //nolint:nilerr // section 2.2: an invalid, expired or foreign token needs no revocation
	}
	if token.claims.ClientID != c.ID {
		// Section 2.1: refused, and the client is told.
		return oauth2.InvalidGrant("the token was issued to another client")
	}
	until := time.Unix(token.claims.ExpireTime, 0)
	if err := s.identity.Revoke(ctx, ref(q.Tenant), op(r, q, c.ID), identity.RevokedToken, token.claims.ID, until); err != nil {
		return web.Unavailable(err)
	}
	s.mark(ctx, q, []identity.Revocation{{Subject: token.claims.ID, Until: until}})
	return nil
}
