// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/services/dataplane/internal/subject"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

// errToken is one answer for every token that does not count here.
var errToken = oauth2.InvalidToken("the access token is not valid")

// userinfo is the UserInfo endpoint (OpenID Connect Core section 5.3), by GET and by POST, with the token in the header or, by POST,
// in the form.
func (s *Service) userinfo(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	var body oauth2.Params
	if r.Method == http.MethodPost && strings.HasPrefix(r.Header.Get("Content-Type"), web.MediaTypeForm) {
		var err error
		if body, err = web.ReadForm(w, r); err != nil {
			return err
		}
	}
	authorization, err := oneHeader(r, "Authorization")
	if err != nil {
		return err
	}
	if id := r.Header["X-Fapi-Interaction-Id"]; len(id) == 1 && interactionID(id[0]) {
		w.Header()["X-Fapi-Interaction-Id"] = id // FAPI resource servers send it back
	}
	text, scheme, err := oauth2.ParseBearer(authorization, body)
	if err != nil {
		return err
	}
	token, err := s.access(q.Tenant, text, q.Start)
	if err != nil {
		return oauth2.ResourceError(errToken.WithCause(err), scheme == oauth2.TokenTypeDPoP)
	}
	c := &token.claims
	q.Note(slog.String("client_id", c.ClientID))
	if err := s.checkBinding(w, r, q, scheme, text, c); err != nil {
		return err
	}
	client, ok := q.Tenant.Client(c.ClientID)
	if !ok {
		client = &oauth2.Client{ID: c.ClientID} // deleted since, or one that is its own metadata document
	}
	user, err := subject.User(q.Tenant, client, c.Subject)
	if err != nil || c.TokenUse != oidc.TokenUseUser {
		return errToken // a client's own token is about no user
	}
	scopes := c.Scopes()
	if !scopes.Contains(oidc.ScopeOpenID) {
		return oauth2.InsufficientScope(oidc.ScopeOpenID)
	}
	revoked, err := s.revoked(r.Context(), q, c)
	if err != nil {
		return err
	}
	if revoked {
		return errToken
	}
	in := oidc.UserInfoInput{Subject: c.Subject, Scopes: scopes}
	if in.User, err = s.user(r.Context(), q, user, c); err != nil {
		return err
	}
	if g, err := id.ParseGrant(c.GrantID); err == nil {
		in.Claims = s.grants.UserInfoClaims(r.Context(), q.Tenant.ID, g)
	}
	if client.UserInfoAlg != "" {
		in.Issuer, in.ClientID = q.Tenant.Issuer, client.ID
	}
	return s.writeUserInfo(w, r, q, client, oidc.BuildUserInfo(in))
}

// user reads the user's claims. With the database away the answer is what the token itself says: `sub` and roles (PROMISES.md
// section 3), which is never wrong, only less.
func (s *Service) user(ctx context.Context, q *web.Request, user id.User, c *oidc.AccessTokenClaims) (oidc.UserClaims, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	u, err := s.identity.GetUser(ctx, ref(q.Tenant), user)
	switch {
	case errors.Is(err, identity.ErrNotFound):
		return oidc.UserClaims{}, errToken
	case errors.Is(err, context.Canceled):
		return oidc.UserClaims{}, err
	case err != nil:
		q.Note(slog.String("degraded", "user store is away"))
		s.log.WarnContext(ctx, "userinfo from the token alone", slog.String("request_id", q.ID), slog.String("cause", err.Error()))
		return oidc.UserClaims{Roles: c.Roles, Groups: c.Groups}, nil
	case !u.CanLogIn():
		return oidc.UserClaims{}, errToken
	}
	return userClaims(&u), nil
}

// interactionID says whether an identifier of the caller's may be sent back: short, and nothing that could disturb a log.
func interactionID(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return true
}
