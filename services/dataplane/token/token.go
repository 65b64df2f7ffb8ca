// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// exchange is one request to the token endpoint after the shared checks.
type exchange struct {
	r      *http.Request
	q      *web.Request
	params oauth2.Params
	client *oauth2.Client
	scopes oauth2.Scopes // as asked, well-formed; nil when not asked
	now    time.Time

	binding oauth2.Binding // the key that the tokens will be bound to; zero for bearer tokens
}

// redeemed is what a grant gives: what the tokens say, and what has to be made final.
type redeemed struct {
	access  oidc.AccessTokenInput
	idToken *oidc.IDTokenInput // nil for none
	refresh string             // empty for none

	// at and as are the tenant and the client, as that tenant knows it, that the access token is made for; nil: those of the request.
	at *snapshot.Tenant
	as *oauth2.Client
	// issuedTokenType goes into the answer to a token exchange.
	issuedTokenType string

	// taken is the authorization code, or other thing that counts once, that the exchange holds; nil for other grants. It is made used
	// by the commit and released by any failure before. until is when the last token that came of it expires.
	taken held
	until time.Time
}

// held is something that counts once, while an exchange holds it; *grant.Taken is one.
type held interface {
	// Use makes it used: the last step before tokens are delivered.
	Use(ctx context.Context, until time.Time) error
	// Release gives it back.
	Release(ctx context.Context) error
}

// token is the token endpoint (RFC 6749 section 3.2).
func (s *Service) token(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	params, client, err := s.clientForm(w, r, q)
	if err != nil {
		return err
	}
	grantType := params.Get(oauth2.ParamGrantType)
	if grantType == "" {
		return oauth2.InvalidRequest("grant_type is missing")
	}
	g, ok := oauth2.ParseGrant(grantType)
	if !ok {
		return oauth2.UnsupportedGrantType()
	}
	q.Note(slog.String("grant_type", grantType))
	if err := client.CheckGrant(g); err != nil {
		return err
	}
	scopes, err := oauth2.ParseScopes(params.Get(oauth2.ParamScope))
	if err != nil {
		return err
	}
	binding, err := s.bind(w, r, q, client)
	if err != nil {
		return err
	}
	x := &exchange{r: r, q: q, params: params, client: client, scopes: scopes, now: q.Start, binding: binding}

	var out redeemed
	switch g {
	case oauth2.GrantClientCredentials:
		err = s.redeemClientCredentials(x, &out)
	case oauth2.GrantAuthorizationCode:
		err = s.redeemCode(r.Context(), x, &out)
	case oauth2.GrantRefreshToken:
		err = s.redeemRefreshToken(r.Context(), x, &out)
	case oauth2.GrantTokenExchange:
		err = s.redeemTokenExchange(r.Context(), x, &out)
	case oauth2.GrantJWTBearer:
		err = s.redeemJWTBearer(r.Context(), x, &out)
	case oauth2.GrantCIBA:
		err = s.redeemBackchannel(r.Context(), x, &out)
	case oauth2.GrantDeviceCode:
		err = s.redeemDeviceCode(r.Context(), x, &out)
	default:
		err = oauth2.UnsupportedGrantType()
	}
	if err == nil {
		err = s.deliver(w, x, &out)
	}
	if err != nil && out.taken != nil {
		if err := out.taken.Release(r.Context()); err != nil {
			s.log.WarnContext(r.Context(), "what an exchange held waits for the end of its lease",
				slog.String("request_id", q.ID), slog.String("cause", err.Error()))
		}
	}
	return err
}

// deliver mints, commits and writes.
func (s *Service) deliver(w http.ResponseWriter, x *exchange, out *redeemed) error {
	out.access.Binding = x.binding
	at, as := x.q.Tenant, x.client
	if out.at != nil {
		at, as = out.at, out.as
	}
	access, ttl, err := s.mint.AccessToken(at, as, &out.access, x.now)
	if err != nil {
		return err
	}
	answer := oauth2.TokenResponse{AccessToken: access, TokenType: x.binding.TokenType(), ExpiresIn: ttl, RefreshToken: out.refresh, Scope: out.access.Scopes.String(), IssuedTokenType: out.issuedTokenType}
	answer.AuthorizationDetails = out.access.AuthorizationDetails
	if out.at != nil {
		answer.Issuer = at.Issuer
	}
	if out.idToken != nil {
		out.idToken.AccessToken = access
		if answer.IDToken, err = s.mint.IDToken(x.q.Tenant, x.client, *out.idToken, x.now); err != nil {
			return err
		}
		if answer.IDToken, err = s.mint.forClient(x.r.Context(), x.client, answer.IDToken); err != nil {
			return err
		}
	}
	if err := s.commit(x.r.Context(), x, out); err != nil {
		return err
	}
	buf := payloads.Get().(*[]byte)
	defer payloads.Put(buf)
	body := answer.AppendJSON((*buf)[:0])
	*buf = body[:0]
	web.WriteJSON(w, http.StatusOK, body)
	return nil
}

// commit is the last step before the answer.
func (s *Service) commit(ctx context.Context, x *exchange, out *redeemed) error {
	if out.taken == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.useCode(ctx, out)
}
