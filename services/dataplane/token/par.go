// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/requestobject"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// notPushed are the parameters that authenticate the client and are no part of its request.
func notPushed(name string) bool {
	switch name {
	case oauth2.ParamClientSecret, oauth2.ParamClientAssertion, oauth2.ParamClientAssertionType:
		return false
	}
	return true
}

// par is the pushed authorization request endpoint (RFC 9126). The request is judged as the authorization endpoint will judge it, so
// that a client learns what is wrong before it sends anybody's browser anywhere.
func (s *Service) par(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	params, client, err := s.clientForm(w, r, q)
	if err != nil {
		return err
	}
	params = params.Only(notPushed).With(oauth2.ParamClientID, client.ID) // the client may have named itself by its credentials alone
	request, err := s.requests.Pushed(r.Context(), q.Tenant, client, params, q.Start)
	if err != nil {
		return err
	}
	if request.DPoPJKT, err = s.pushedProof(w, r, q, client, request.DPoPJKT); err != nil {
		return err
	}
	if err := checkPushed(q, request); err != nil {
		return err
	}
	ttl := q.Tenant.Policy.PushedRequestTTL
	if ttl <= 0 || ttl > grant.MaxRequestLifetime {
		ttl = defaultRequestTTL
	}
	pushed := grant.PushedRequest{Client: client.ID, Params: request.Params, DPoPJKT: request.DPoPJKT, Signed: request.Signed, Public: client.Public}
	if q.ClientIP.IsValid() {
		pushed.Source = q.ClientIP.String()
	}
	uri, err := s.grants.PutRequest(r.Context(), q.Tenant.ID, pushed, q.Start, ttl)
	switch {
	case errors.Is(err, grant.ErrRequestTooLarge):
		return oauth2.NewError(oauth2.CodeInvalidRequest, http.StatusRequestEntityTooLarge, "the request is too large")
	case errors.Is(err, grant.ErrRequestQuota):
		e := oauth2.NewError(oauth2.CodeTemporarilyUnavailable, http.StatusTooManyRequests, "too many pushed requests are pending").WithCause(err)
		e.RetryAfter = ttl
		return e
	case err != nil:
		return grantsError(err)
	}
	q.Note(slog.Bool("signed", request.Signed))
	made := oauth2.PushedResponse{RequestURI: uri, ExpiresIn: ttl}
	web.WriteJSON(w, http.StatusCreated, made.AppendJSON(make([]byte, 0, 160)))
	return nil
}

// defaultRequestTTL is the life of a pushed request where the tenant's policy does not say: long enough for a redirect.
const defaultRequestTTL = time.Minute

// checkPushed judges a request by the rules of the authorization endpoint. What would be shown on a page there, and what would be sent
// to the client through the browser, are both answers here (RFC 9126 section 2.3).
func checkPushed(q *web.Request, request requestobject.Resolved) error {
	t := q.Tenant
	_, _, err := oidc.ParseAuthorizationRequest(request.Params, t.Client, oidc.RequestOptions{
		Issuer: t.Issuer, CreatedAt: q.Start, Development: t.Development, DefaultAudience: t.DefaultAudience,
		ResponseTypes: t.Policy.ResponseTypes, DetailTypes: t.Policy.DetailTypes,
	})
	if page, ok := errors.AsType[*oauth2.PageError](err); ok {
		return oauth2.NewError(page.Code, http.StatusBadRequest, page.Description).WithCause(err)
	}
	if back, ok := errors.AsType[*oauth2.RedirectError](err); ok {
		return back.Err
	}
	return err
}
