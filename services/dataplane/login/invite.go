// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

// inviteForm is GET /invite/{token}. It changes nothing, so that a mail scanner that follows links uses none up.
func (s *Service) inviteForm(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	invitation, err := s.invitation(r, q)
	if errors.Is(err, identity.ErrInvitation) {
		return s.inviteUsed(w, r, q)
	}
	if err != nil {
		return unavailable(err)
	}
	v := s.inviteView(w, r, q, invitation)
	v.Name = invitation.Name
	return s.showInvite(w, v)
}

func (s *Service) invitation(r *http.Request, q *web.Request) (identity.Invitation, error) {
	ctx, cancel := s.deadline(r.Context())
	defer cancel()
	return s.identity.Invitation(ctx, ref(q.Tenant), q.Rest, q.Start)
}

func (s *Service) inviteView(w http.ResponseWriter, r *http.Request, q *web.Request, i identity.Invitation) *view {
	v := s.view(w, r, q, nil, nil)
	v.Step, v.Email = v.T("invite.step"), i.Email
	v.offerLanguages("")
	s.withForm(w, r, q, v, true)
	return v
}

func (s *Service) showInvite(w http.ResponseWriter, v *view) error {
	v.focus = "password"
	return s.render(w, v, "invite")
}

// inviteUsed is one page for every link that does not work, so that nothing is learnt by trying.
func (s *Service) inviteUsed(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	q.Note(slog.String("answered", "invitation"))
	v := s.view(w, r, q, nil, nil)
	v.status = http.StatusNotFound
	v.Step, v.Heading = v.T("invite.step"), v.T("invite.used")
	v.Paragraphs = []string{v.T("invite.used.2")}
	v.Links = []link{{URL: pathLogin, Text: v.T("invite.sign_in", "tenant", v.Tenant), Class: "primary"}}
	return s.render(w, v, "message")
}

// inviteSubmit is POST /invite/{token}: the person chooses a password and is signed in.
func (s *Service) inviteSubmit(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	form, err := web.ReadForm(w, r)
	if err != nil {
		return err
	}
	invitation, err := s.invitation(r, q)
	if errors.Is(err, identity.ErrInvitation) {
		return s.inviteUsed(w, r, q)
	}
	if err != nil {
		return unavailable(err)
	}
	name, password := strings.TrimSpace(form.Get("name")), form.Get("password")
	again := func(status int) *view {
		v := s.inviteView(w, r, q, invitation)
		v.Name, v.status = name, status
		return v
	}
	switch err := s.ownForm(r, q, form); {
	case errors.Is(err, errForeign):
		return s.foreignForm(w, r, q)
	case err != nil:
		v := again(http.StatusForbidden)
		v.Notice = v.T("notice.cookies", "host", v.Host)
		return s.showInvite(w, v)
	}
	if password == "" {
		v := again(http.StatusUnprocessableEntity)
		v.problem("password", "password.new.empty")
		return s.showInvite(w, v)
	}
	ctx, cancel := s.passwordDeadline(r.Context())
	defer cancel()
	user, ended, err := s.identity.AcceptInvitation(ctx, ref(q.Tenant), op(r, q, invitation.User.String()), q.Rest, password, name,
		passwordPolicy(q.Tenant))
	switch {
	case errors.Is(err, identity.ErrInvitation):
		return s.inviteUsed(w, r, q)
	case errors.Is(err, identity.ErrInvalid):
		v := again(http.StatusUnprocessableEntity)
		v.refused(err)
		return s.showInvite(w, v)
	case err != nil:
		return s.later(w, q, err, again, s.showInvite)
	}
	s.mark(r.Context(), q, ended)
	if err := s.logIn(w, r, q, user); err != nil {
		return err
	}
	if !invitation.Client.IsZero() {
		if c, ok := q.Tenant.Client(invitation.Client.String()); ok && c.Enabled && c.InitiateLoginURI != "" {
			return redirect(w, startAt(c.InitiateLoginURI, q.Tenant.Issuer, user.Email))
		}
	}
	return redirect(w, pathAccount)
}
