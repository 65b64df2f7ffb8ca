// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/services/dataplane/internal/subject"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

var inactive = []byte(oidc.Inactive)

// introspect says whether a token is alive (RFC 7662). The company's own confidential clients of the tenant, and services, may ask about
// any of its access tokens, since resource servers are such clients; everybody about their own tokens. Everything else, another tenant's
// token above all, is inactive and nothing more.
func (s *Service) introspect(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	params, client, err := s.clientForm(w, r, q)
	if err != nil {
		return err
	}
	if client.Public {
		// Section 2.1: the endpoint must be protected, or it would tell a thief which tokens are worth having.
		return oauth2.UnauthorizedClient("a public client may not introspect")
	}
	text := params.Get(oauth2.ParamToken)
	if text == "" {
		return oauth2.InvalidRequest("token is missing")
	}
	if grantID, generation, ok := parseRefresh(s.keyring.Tenant(q.Tenant.ID), text, client.UID); ok {
		return s.introspectRefresh(w, r, q, client, grantID, generation)
	}
	token, err := s.access(q.Tenant, text, q.Start)
	if err != nil || !mayAsk(client, &token.claims) {
		return s.writeIntrospection(w, r, q, client, inactive) // section 2.2: an answer, not an error
	}
	revoked, err := s.revoked(r.Context(), q, &token.claims)
	if err == nil && !revoked {
		revoked, err = s.userGone(r.Context(), q.Tenant, &token.claims)
	}
	if err != nil {
		return err
	}
	if revoked {
		return s.writeIntrospection(w, r, q, client, inactive)
	}
	buf := payloads.Get().(*[]byte)
	defer payloads.Put(buf)
	body := oidc.AppendIntrospection((*buf)[:0], token.payload, &token.claims)
	*buf = body[:0]
	return s.writeIntrospection(w, r, q, client, body)
}

// mayAsk says whether a client may learn about an access token. An application of somebody else that people log in to, which may have
// registered itself, may not ask about tokens that are neither its own nor for its own API: it would learn which of those that it has come
// by are worth having, and what is inside opaque ones (RFC 7662 section 4).
func mayAsk(c *oauth2.Client, t *oidc.AccessTokenClaims) bool {
	return c.FirstParty || c.Kind == oauth2.KindService || t.ClientID == c.ID || slices.Contains(c.Audiences, t.Audience)
}

// refreshInfo is the answer for a live refresh token (section 2.2).
type refreshInfo struct {
	Active   bool   `json:"active"`
	ClientID string `json:"client_id"`
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Scope    string `json:"scope"`
	Issued   int64  `json:"iat"`
	Expire   int64  `json:"exp"`
	Org      string `json:"org"`
	Tenant   string `json:"tnt"`
	TokenUse string `json:"token_use"`

	Confirmation oauth2.Binding  `json:"cnf,omitzero"`
	Details      json.RawMessage `json:"authorization_details,omitempty"`
}

func (s *Service) introspectRefresh(w http.ResponseWriter, r *http.Request, q *web.Request, c *oauth2.Client, grantID id.Grant, generation int) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	defer cancel()
	f, err := s.identity.Family(ctx, ref(q.Tenant), grantID)
	if err != nil && !errors.Is(err, identity.ErrNotFound) {
		return storeError(err, nil)
	}
	expire := familyEnd(&f, c)
	if err != nil || f.Client != c.UID || !f.RevokeTime.IsZero() || f.Generation != generation || !q.Start.Before(expire) {
		return s.writeIntrospection(w, r, q, c, inactive)
	}
	binding, _ := oauth2.ParseBinding(f.Binding)
	body, err := json.Marshal(refreshInfo{
		Active: true, ClientID: c.ID, Issuer: q.Tenant.Issuer, Subject: subject.For(q.Tenant, c, f.User), Scope: oauth2.Scopes(f.Scopes).String(),
		Issued: f.RotateTime.Unix(), Expire: expire.Unix(), Org: q.Tenant.Org.String(), Tenant: q.Tenant.ID.String(), TokenUse: "refresh",
		Confirmation: binding, Details: json.RawMessage(f.AuthorizationDetails),
	})
	if err != nil {
		return err
	}
	return s.writeIntrospection(w, r, q, c, body)
}

// familyEnd is when a family's newest token stops working if nothing happens.
func familyEnd(f *identity.Family, c *oauth2.Client) time.Time {
	end := f.ExpireTime
	if c.RefreshTTL > 0 {
		if idle := f.RotateTime.Add(c.RefreshTTL); idle.Before(end) {
			end = idle
		}
	}
	if c.RefreshAbsoluteTTL > 0 {
		if absolute := f.CreateTime.Add(c.RefreshAbsoluteTTL); absolute.Before(end) {
			end = absolute
		}
	}
	return end
}
