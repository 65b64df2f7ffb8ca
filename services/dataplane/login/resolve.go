// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/subject"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// admit takes in a request that has just arrived. What it asks may be in a request object or have been pushed before: that is looked up
// here, once, and what travels on is plain. An id_token_hint is replaced by the user that it proves. A hint that is not one of ours is
// told to the client; to go on without it could log in somebody else than the client asked for.
func (s *Service) admit(ctx context.Context, q *web.Request, p pending) (pending, error) {
	p, err := s.resolve(ctx, q, p)
	if err != nil {
		return p, err
	}
	token := p.params.Get(oidc.ParamIDTokenHint)
	if token == "" {
		return p, nil
	}
	p.params = p.params.With(oidc.ParamIDTokenHint, "")
	req, client, err := p.parse(q.Tenant)
	if err != nil {
		return p, err
	}
	hint, err := verifyHint(q.Tenant, token)
	if err == nil {
		p.hint, err = hintedUser(q.Tenant, client, hint)
	}
	if err != nil {
		return p, req.Fail(oauth2.InvalidRequest("id_token_hint is not an ID token of this issuer").WithCause(err))
	}
	return p, nil
}

// hintedUser finds the user of an ID token. It may have been issued to another client of the tenant, which knows the user by another
// subject.
func hintedUser(t *snapshot.Tenant, client *oauth2.Client, hint *oidc.IDTokenHint) (id.User, error) {
	if c, ok := t.Client(hint.Client()); ok {
		client = c
	}
	return subject.User(t, client, hint.Subject)
}

// resolve finds out what a request asks. An error goes to the client when what stands outside proves it and its redirect URI.
func (s *Service) resolve(ctx context.Context, q *web.Request, p pending) (pending, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	resolved, err := s.requests.Resolve(ctx, q.Tenant, p.params, q.Start)
	if err != nil {
		return p, s.unresolved(q, p, err)
	}
	p.params = resolved.Params.Only(func(name string) bool { return carried[name] || name == oidc.ParamIDTokenHint })
	p.pushed, p.signed, p.jkt = resolved.PAR, resolved.Signed, resolved.DPoPJKT
	if p.pushed == "" {
		return p, nil
	}
	q.Note(slog.Bool("pushed", true))
	if err := s.grants.HoldRequest(ctx, q.Tenant.ID, p.pushed, q.Tenant.Policy.AuthorizationRequestTTL); err != nil {
		return p, unavailable(err)
	}
	return p, nil
}

func (s *Service) unresolved(q *web.Request, p pending, err error) error {
	e, ok := errors.AsType[*oauth2.Error](err)
	if !ok {
		return unavailable(err)
	}
	if e.Status >= http.StatusInternalServerError {
		return err
	}
	outside := p
	outside.params = p.params.With(oauth2.ParamRequest, "").With(oauth2.ParamRequestURI, "")
	req, _, outer := oidc.ParseAuthorizationRequest(outside.params, q.Tenant.Client, outside.options(q.Tenant))
	if page, ok := errors.AsType[*oauth2.PageError](outer); ok {
		return oauth2.NewPageError(e.Code, e.Description, page.Client, err)
	}
	if redirect, ok := errors.AsType[*oauth2.RedirectError](outer); ok {
		// What stands outside need not be a whole request: only where an error goes is taken of it.
		again := *redirect
		again.Err = e
		return &again
	}
	return req.Fail(e)
}
