// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"net/http"

	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// account is GET /account: who is signed in, and the way out. It is also where a login ends that no application asked for.
func (s *Service) account(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	who, err := s.session(r, q)
	if err != nil {
		return unavailable(err)
	}
	if !who.present {
		return redirect(w, pathLogin)
	}
	v := s.view(w, r, q, nil, nil)
	v.Step, v.Email, v.Name = v.T("account.title"), who.user.Email, who.user.Name
	v.offerLanguages("")
	s.withForm(w, r, q, v, true, logoutBound(who)...)
	return s.render(w, v, "account")
}

// home is GET /: a person who typed the bare address finds the account page, or the login.
func (s *Service) home(w http.ResponseWriter, _ *http.Request, _ *web.Request) error {
	return redirect(w, pathAccount)
}
