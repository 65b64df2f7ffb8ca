// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/services/dataplane/internal/subject"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

// authorize is GET /oauth2/authorize (RFC 6749 section 3.1): a client's request, or one of ours that comes back from a page.
func (s *Service) authorize(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	p, sealed, err := s.incoming(r, q)
	if err != nil {
		return s.fault(w, r, q, err)
	}
	if !sealed {
		if p, err = s.admit(r.Context(), q, p); err != nil {
			return s.fault(w, r, q, err)
		}
	}
	return s.advance(w, r, q, p)
}

// authorizePost is POST /oauth2/authorize (OpenID Connect Core section 3.1.2.1). It comes from another site, so without our cookies:
// the browser is sent to the same request by GET, where they come along.
func (s *Service) authorizePost(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	params, err := web.ReadForm(w, r)
	if err != nil {
		return s.fault(w, r, q, pageFault(err))
	}
	p, err := s.admit(r.Context(), q, arrived(q, params.With(paramSealed, "")))
	if err != nil {
		return s.fault(w, r, q, err)
	}
	if _, _, err := p.parse(q.Tenant); err != nil {
		return s.fault(w, r, q, err)
	}
	return redirect(w, s.step(oidc.PathAuthorize, q, p))
}

// advance does the next step of a request.
func (s *Service) advance(w http.ResponseWriter, r *http.Request, q *web.Request, p pending) error {
	req, client, err := p.parse(q.Tenant)
	if err != nil {
		return s.fault(w, r, q, err)
	}
	q.Note(slog.String("client_id", client.ID))
	if p.expired(q) {
		return s.restart(w, q, p, client, "")
	}
	who, consent, err := s.standing(r, q, req, client)
	if err != nil {
		return s.fault(w, r, q, s.away(req, err))
	}
	s.setBrowserState(w, r, q, who)
	state := who.state()
	if who.present {
		state.Subject, state.Selected = subject.For(q.Tenant, client, who.user.ID), p.selected == who.user.ID
		consent.Answered = p.approved == who.user.ID
	}
	step, err := oidc.Next(req, client, state, consent, q.Start)
	q.Note(slog.String("step", step.String()))
	switch step {
	case oidc.StepLogin:
		return redirect(w, s.step(pathLogin, q, p))
	case oidc.StepRegister:
		if !q.Tenant.Policy.RegistrationEnabled {
			// Discovery does not offer create then (Initiating User Registration section 4.1).
			return s.fault(w, r, q, req.Fail(oauth2.InvalidRequest("prompt create is not supported here")))
		}
		return redirect(w, s.step(oidc.PathRegister, q, p))
	case oidc.StepSelect:
		return redirect(w, s.step(pathSelect, q, p))
	case oidc.StepConsent:
		return redirect(w, s.step(pathConsent, q, p))
	case oidc.StepIssue:
		if err := s.noteClient(r.Context(), q, client, who.session.ID); errors.Is(err, identity.ErrNotFound) {
			return redirect(w, s.step(oidc.PathAuthorize, q, p)) // the session has just ended: decide again
		} else if err != nil {
			return s.fault(w, r, q, s.away(req, err))
		}
		return s.issue(w, r, q, p, req, client, who)
	default:
		return s.fault(w, r, q, err)
	}
}

// standing is what is known of the browser: its session, and for a client that needs it the user's consent. A browser without
// cookie costs no database.
func (s *Service) standing(r *http.Request, q *web.Request, req *oidc.AuthorizationRequest, client *oauth2.Client) (login, oidc.ConsentState, error) {
	who, err := s.session(r, q)
	if err != nil || !who.present || client.FirstParty && !req.Prompt.Has(oidc.PromptConsent) {
		return who, oidc.ConsentState{}, err
	}
	ctx, cancel := s.deadline(r.Context())
	defer cancel()
	given, err := s.identity.Consent(ctx, ref(q.Tenant), who.user.ID, client.UID)
	if err != nil && !errors.Is(err, identity.ErrNotFound) {
		return login{}, oidc.ConsentState{}, err
	}
	return who, oidc.ConsentState{Scopes: given.Scopes, GrantedAt: given.GrantTime}, nil
}

// userClaims are a user's standard claims for an ID token that was asked to carry some.
func userClaims(u *identity.User) *oidc.UserClaims {
	return &oidc.UserClaims{
		Name: u.Name, GivenName: u.GivenName, FamilyName: u.FamilyName, Nickname: u.Nickname, PreferredUsername: u.PreferredUsername,
		Picture: u.Picture, Website: u.Website, Email: u.Email, EmailVerified: u.EmailVerified, Zoneinfo: u.Zoneinfo, Locale: u.Locale,
		UpdatedAt: u.UpdateTime, Roles: u.Roles, Groups: u.Groups,
	}
}

// away says that a dependency did not answer. A client that asked for no page is told so by redirect (RFC 6749 section 4.1.2.1,
// temporarily_unavailable); a person gets a page with 503.
func (s *Service) away(req *oidc.AuthorizationRequest, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	if req.Prompt.Has(oidc.PromptNone) {
		return req.Fail(oauth2.TemporarilyUnavailable(0, err))
	}
	return web.Unavailable(err)
}

// fault answers with an error in the place where it belongs: at the client, or on a page.
func (s *Service) fault(w http.ResponseWriter, r *http.Request, q *web.Request, err error) error {
	if e, ok := errors.AsType[*oauth2.RedirectError](err); ok {
		q.Note(slog.String("answered", e.Err.Code))
		if cause := errors.Unwrap(e.Err); cause != nil {
			q.Note(slog.String("reason", cause.Error()))
		}
		client, ok := q.Tenant.Client(e.ClientID)
		if !ok && oauth2.SignedMode(e.ResponseMode) {
			return e.Err // the client has just been deleted, and nobody signs for it any more
		}
		return s.respond(w, r, q, client, e.Response())
	}
	if e, ok := errors.AsType[*oauth2.PageError](err); ok {
		q.Note(slog.String("answered", e.Code))
		q.Note(slog.String("reason", e.Error()))
		return s.brokenLink(w, r, q, e)
	}
	if errors.Is(err, errSealed) {
		q.Note(slog.String("answered", "sealed"))
		return s.startAgain(w, r, q)
	}
	return err
}

// registerStart is GET /oauth2/register as clients use it: an authorization request with prompt=create, for people who follow a
// "create an account" link (OpenID Connect Initiating User Registration).
func (s *Service) registerStart(w http.ResponseWriter, r *http.Request, q *web.Request, p pending) error {
	p.params = p.params.With(oidc.ParamPrompt, oidc.PromptCreate.String())
	p, err := s.admit(r.Context(), q, p)
	if err != nil {
		return s.fault(w, r, q, err)
	}
	return s.advance(w, r, q, p)
}
