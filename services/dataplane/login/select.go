// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"errors"
	"log/slog"
	"net/http"

	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// selectForm is GET /select-account: the person who is signed in chooses to go on, or comes in as somebody else (OpenID Connect Core
// section 3.1.2.1, prompt=select_account).
func (s *Service) selectForm(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	at, who, err := s.consentVisit(r, q)
	switch {
	case err != nil:
		return s.fault(w, r, q, err)
	case at.handle == "":
		return redirect(w, pathAccount)
	case at.stale(q):
		return s.restart(w, q, at.pending, at.client, "")
	case !who.present:
		return redirect(w, at.next())
	}
	v := s.view(w, r, q, at.request, at.client)
	v.Step, v.Where, v.LoginURL = v.T("select.step"), "footer.signing_in", at.to(pathLogin)
	v.person(who.user)
	v.offerLanguages(at.handle)
	s.withForm(w, r, q, v, true, selectBound(at, who)...)
	return s.render(w, v, "select_account")
}

// selectBound ties the form to the request and to who was offered: a choice must not be sent for another person who came in meanwhile.
func selectBound(at visit, who login) [][]byte {
	return [][]byte{[]byte("select-account"), []byte(at.handle), who.user.ID[:]}
}

// selectSubmit is POST /select-account.
func (s *Service) selectSubmit(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	at, who, err := s.consentVisit(r, q)
	if err != nil {
		return s.fault(w, r, q, err)
	}
	form, err := web.ReadForm(w, r)
	switch {
	case err != nil:
		return err
	case at.handle == "":
		return redirect(w, pathAccount)
	case !who.present:
		return redirect(w, at.next())
	}
	switch err := s.ownForm(r, q, form, selectBound(at, who)...); {
	case errors.Is(err, errForeign):
		return s.foreignForm(w, r, q)
	case err != nil:
		q.Note(slog.String("answered", "form_token"))
		return redirect(w, at.to(pathSelect)) // nothing is chosen: who is there now is offered
	}
	p := at.pending
	p.selected = who.user.ID
	return redirect(w, s.step(oidc.PathAuthorize, q, p))
}
