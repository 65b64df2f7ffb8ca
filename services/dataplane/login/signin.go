// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

// Paths of our own pages. Those of the standards are in package oidc.
const (
	pathLogin   = "/login"
	pathSelect  = "/select-account"
	pathConsent = "/consent"
	pathAccount = "/account"
	pathInvite  = "/invite/"
	// pathBackchannel is where people answer backchannel requests.
	pathBackchannel = "/oauth2/backchannel"
)

// leastPassword is the length that holds whatever a tenant's policy says.
const leastPassword = 8

// laterAfter is what people are asked to wait when a password could not be checked, in seconds.
const laterAfter = "3"

// visit is a request to one of our pages, with the authorization request that it belongs to, if any.
type visit struct {
	pending pending
	request *oidc.AuthorizationRequest // nil for a page that was opened by itself
	client  *oauth2.Client
	handle  string // the sealed request as it came, empty without
	onward  onward // where a login without a request goes on to
}

// visit reads the sealed request of a page. The errors are those of fault.
func (s *Service) visit(r *http.Request, q *web.Request) (visit, error) {
	params, err := oauth2.ParseParams(r.URL.RawQuery)
	if err != nil {
		return visit{}, pageFault(err)
	}
	handle := params.Get(paramSealed)
	if handle == "" {
		return visit{onward: s.onward(q, params.Get(paramOnward))}, nil
	}
	p, err := s.unseal(q.Tenant, handle)
	if err != nil {
		return visit{}, err
	}
	req, client, err := p.parse(q.Tenant)
	if err != nil {
		return visit{}, err
	}
	q.Note(slog.String("client_id", client.ID))
	return visit{pending: p, request: req, client: client, handle: handle}, nil
}

// locales are the languages that the application asked for.
func (v visit) locales() []string {
	if v.request == nil {
		return nil
	}
	return v.request.UILocales
}

// stale says whether the page's request has to begin again before the page is shown.
func (v visit) stale(q *web.Request) bool { return v.handle != "" && v.pending.expired(q) }

// to is another page of ours for the same request.
func (v visit) to(path string) string {
	switch {
	case v.handle != "":
		return path + "?" + paramSealed + "=" + v.handle
	case v.onward.sealed != "":
		return path + "?" + paramOnward + "=" + v.onward.sealed
	}
	return path
}

// next is where a page goes when it has done its part: back to the authorization endpoint, which decides, or, without a request,
// to the page of ours that wanted the login, or the account page.
func (v visit) next() string {
	switch {
	case v.handle != "":
		return v.to(oidc.PathAuthorize)
	case v.onward.path != "":
		return v.onward.path
	}
	return pathAccount
}

// loginForm is GET /login. It asks no database, so that it shows also while that is away.
func (s *Service) loginForm(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	at, err := s.visit(r, q)
	if err != nil {
		return s.fault(w, r, q, err)
	}
	if at.stale(q) {
		return s.restart(w, q, at.pending, at.client, "")
	}
	v := s.loginView(w, r, q, at)
	if at.request != nil {
		v.Email = at.request.LoginHint
		if at.pending.restarted {
			v.Notice = v.T("notice.restarted")
		}
	}
	return s.showLogin(w, v)
}

func (s *Service) loginView(w http.ResponseWriter, r *http.Request, q *web.Request, at visit) *view {
	v := s.view(w, r, q, at.request, at.client)
	v.Step, v.Where = v.T("login.step"), "footer.signing_in"
	v.EmailComplete = "username webauthn"
	if q.Tenant.Policy.RegistrationEnabled {
		v.RegisterURL = at.to(oidc.PathRegister)
	}
	v.offerLanguages(at.handle)
	v.keepOnward(at.onward)
	s.withForm(w, r, q, v, true)
	return v
}

func (s *Service) showLogin(w http.ResponseWriter, v *view) error {
	v.focus = "email"
	if v.Email != "" {
		v.focus = "password"
	}
	return s.render(w, v, "login")
}

// loginSubmit is POST /login.
func (s *Service) loginSubmit(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	at, err := s.visit(r, q)
	if err != nil {
		return s.fault(w, r, q, err)
	}
	form, err := web.ReadForm(w, r)
	if err != nil {
		return err
	}
	email, password := strings.TrimSpace(form.Get("email")), form.Get("password")
	again := func(status int) *view {
		v := s.loginView(w, r, q, at)
		v.Email, v.status = email, status
		return v
	}
	switch err := s.ownForm(r, q, form); {
	case errors.Is(err, errForeign):
		return s.foreignForm(w, r, q)
	case err != nil:
		v := again(http.StatusForbidden)
		v.Notice = v.T("notice.cookies", "host", v.Host)
		return s.showLogin(w, v)
	}
	if email == "" || password == "" {
		v := again(http.StatusUnprocessableEntity)
		if email == "" {
			v.problem("email", "email.empty")
		}
		if password == "" {
			v.problem("password", "password.empty")
		}
		return s.showLogin(w, v)
	}

	ctx, cancel := s.passwordDeadline(r.Context())
	defer cancel()
	user, err := s.identity.Authenticate(ctx, ref(q.Tenant), op(r, q, ""), email, password)
	switch {
	case errors.Is(err, identity.ErrBadCredentials):
		// One answer for an unknown address, a wrong password and a locked one (PROMISES: nobody learns who has an account).
		q.Note(slog.String("answered", "credentials"))
		v := again(http.StatusUnprocessableEntity)
		v.problem("email", "credentials.mismatch", "tenant", v.Tenant)
		return s.showLogin(w, v)
	case err != nil:
		return s.later(w, q, err, again, s.showLogin)
	}
	if err := s.logIn(w, r, q, user); err != nil {
		return err
	}
	return redirect(w, at.next())
}

// later shows a form again because the user store could not answer in time: too many passwords are being checked, or the database is
// away. What was typed is kept, and nothing was used up.
func (s *Service) later(w http.ResponseWriter, q *web.Request, err error, again func(status int) *view, show func(http.ResponseWriter, *view) error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	answered := "unavailable"
	if errors.Is(err, secret.ErrBusy) {
		answered = "busy"
	}
	q.Note(slog.String("answered", answered))
	q.Note(slog.String("reason", err.Error()))
	w.Header().Set("Retry-After", laterAfter)
	v := again(http.StatusServiceUnavailable)
	v.Notice = v.T("notice.later")
	return show(w, v)
}

// deadline bounds the work of one step beside password hashing.
func (s *Service) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.timeout)
}

// passwordDeadline leaves room for the queue of password checks.
func (s *Service) passwordDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.passwordTimeout)
}
