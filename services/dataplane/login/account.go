// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"net/http"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/snapshot"
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
	v.Step = v.T("account.title")
	v.person(who.user)
	if s.asksAnything(r, q, who) {
		v.Links = append(v.Links, link{URL: pathBackchannel, Text: v.T("backchannel.title")})
	}
	for _, c := range apps(q.Tenant) {
		v.Links = append(v.Links, link{URL: homeFor(c, q.Tenant.Issuer, who.user.Email), Text: v.T("account.continue", "app", c.Name)})
	}
	v.offerLanguages("")
	s.withForm(w, r, q, v, true, logoutBound(who)...)
	return s.render(w, v, "account")
}

// Bounds of the list of applications: what is looked at, and what is shown.
const (
	maxLooked = 32
	maxShown  = 6
)

// apps are the company's own applications that a person can open in a browser. Other parties' ones are not offered by us.
func apps(t *snapshot.Tenant) []*oauth2.Client {
	var list []*oauth2.Client
	for _, uid := range t.ClientIDs(maxLooked) {
		c, ok := t.Client(uid.String())
		if !ok || !c.Enabled || !c.FirstParty || c.Kind == oauth2.KindService || !c.GrantTypes.Has(oauth2.GrantAuthorizationCode) || clientHome(c) == "" {
			continue
		}
		if list = append(list, c); len(list) == maxShown {
			break
		}
	}
	return list
}

// homeFor is where an application's button leads a person who is signed in.
func homeFor(c *oauth2.Client, issuer, email string) string {
	if c.InitiateLoginURI != "" {
		return startAt(c.InitiateLoginURI, issuer, email)
	}
	return clientHome(c)
}

// home is GET /: a person who typed the bare address finds the account page, or the login.
func (s *Service) home(w http.ResponseWriter, _ *http.Request, _ *web.Request) error {
	return redirect(w, pathAccount)
}
