// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

// registerForm is GET /oauth2/register: a step of ours, a client's request with prompt=create, or a page opened by itself.
func (s *Service) registerForm(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	p, sealed, err := s.incoming(r, q)
	if err != nil {
		return s.fault(w, r, q, err)
	}
	if !sealed && p.params.Has(oauth2.ParamClientID) {
		return s.registerStart(w, r, q, p)
	}
	at, err := s.visit(r, q)
	if err != nil {
		return s.fault(w, r, q, err)
	}
	if !q.Tenant.Policy.RegistrationEnabled {
		return s.registrationClosed(w, r, q, at)
	}
	if at.stale(q) {
		return s.restart(w, q, at.pending, at.client, "")
	}
	v := s.registerView(w, r, q, at)
	if at.request != nil {
		v.Email = at.request.LoginHint
		if at.pending.restarted {
			v.Notice = v.T("notice.restarted")
		}
	}
	return s.showRegister(w, v)
}

func (s *Service) registerView(w http.ResponseWriter, r *http.Request, q *web.Request, at visit) *view {
	v := s.view(w, r, q, at.request, at.client)
	v.Step, v.LoginURL = v.T("register.step"), at.to(pathLogin)
	v.offerLanguages(at.handle)
	v.keepOnward(at.onward)
	s.withForm(w, r, q, v, true)
	return v
}

func (s *Service) showRegister(w http.ResponseWriter, v *view) error {
	v.focus = "name"
	if v.Name != "" {
		v.focus = "email"
	}
	return s.render(w, v, "register")
}

func (s *Service) registrationClosed(w http.ResponseWriter, r *http.Request, q *web.Request, at visit) error {
	v := s.view(w, r, q, at.request, at.client)
	v.status = http.StatusForbidden
	v.Step, v.Heading = v.T("register.step"), v.T("register.closed", "tenant", v.Tenant)
	v.Paragraphs = []string{v.T("register.closed.2", "tenant", v.Tenant)}
	v.Links = []link{{URL: at.to(pathLogin), Text: v.T("invite.sign_in", "tenant", v.Tenant), Class: "primary"}}
	return s.render(w, v, "message")
}

// registerSubmit is POST /oauth2/register. The address is unverified until a mail proves it.
func (s *Service) registerSubmit(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	at, err := s.visit(r, q)
	if err != nil {
		return s.fault(w, r, q, err)
	}
	form, err := web.ReadForm(w, r)
	if err != nil {
		return err
	}
	if !q.Tenant.Policy.RegistrationEnabled {
		return s.registrationClosed(w, r, q, at)
	}
	email, name, password := strings.TrimSpace(form.Get("email")), strings.TrimSpace(form.Get("name")), form.Get("password")
	again := func(status int) *view {
		v := s.registerView(w, r, q, at)
		v.Email, v.Name, v.status = email, name, status
		return v
	}
	switch err := s.ownForm(r, q, form); {
	case errors.Is(err, errForeign):
		return s.foreignForm(w, r, q)
	case err != nil:
		v := again(http.StatusForbidden)
		v.Notice = v.T("notice.cookies", "host", v.Host)
		return s.showRegister(w, v)
	}
	if email == "" || password == "" {
		v := again(http.StatusUnprocessableEntity)
		if email == "" {
			v.problem("email", "email.empty")
		}
		if password == "" {
			v.problem("password", "password.new.empty")
		}
		return s.showRegister(w, v)
	}

	ctx, cancel := s.passwordDeadline(r.Context())
	defer cancel()
	registration := identity.Registration{
		Email: email, Password: password, Profile: identity.Profile{Name: name, Locale: language(r, q, at.locales())}, Roles: defaultRoles(q.Tenant),
	}
	user, err := s.identity.Register(ctx, ref(q.Tenant), op(r, q, ""), registration, passwordPolicy(q.Tenant))
	switch {
	case errors.Is(err, identity.ErrEmailTaken):
		v := again(http.StatusUnprocessableEntity)
		v.problem("email", "register.taken", "tenant", v.Tenant)
		return s.showRegister(w, v)
	case errors.Is(err, identity.ErrInvalid):
		v := again(http.StatusUnprocessableEntity)
		v.refused(err)
		return s.showRegister(w, v)
	case err != nil:
		return s.later(w, q, err, again, s.showRegister)
	}
	q.Note(slog.Bool("registered", true))
	if err := s.logIn(w, r, q, user); err != nil {
		return err
	}
	return redirect(w, at.next())
}

// refused turns what the user store refuses into problems beside the fields.
func (v *view) refused(err error) {
	if e, ok := errors.AsType[*identity.PasswordError](err); ok {
		for _, violation := range e.Violations {
			v.problem("password", "password."+string(violation), "min", strconv.Itoa(e.MinLength), "tenant", v.Tenant)
		}
		return
	}
	if e, ok := errors.AsType[*identity.InvalidError](err); ok && e.Field == "email" {
		v.problem("email", "email.format")
		return
	}
	v.problem("name", "name.format")
}

// passwordPolicy is what a new password must be at this tenant.
func passwordPolicy(t *snapshot.Tenant) identity.PasswordPolicy {
	return identity.PasswordPolicy{
		MinLength: t.Policy.PasswordMinLength, CommonCheck: t.Policy.PasswordCommonCheck, TenantName: t.Title(),
	}
}

// defaultRoles are the roles of people who register by themselves.
func defaultRoles(t *snapshot.Tenant) []string {
	var names []string
	for _, r := range t.Roles {
		if r.Default {
			names = append(names, r.Name)
		}
	}
	return names
}
