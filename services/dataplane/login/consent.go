// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

// consentForm is GET /consent: what a client of somebody else than the tenant's own company asks for (OpenID Connect Core section
// 3.1.2.4).
func (s *Service) consentForm(w http.ResponseWriter, r *http.Request, q *web.Request) error {
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
	v.Step, v.LoginURL = v.T("consent.step"), at.to(pathLogin)
	v.person(who.user)
	v.Target = target(at.request.RedirectURI)
	v.Items = v.scopes(at.request.Scopes)
	v.details(at.request.Details)
	v.offerLanguages(at.handle)
	s.withForm(w, r, q, v, true, consentBound(at, who)...)
	return s.render(w, v, "consent")
}

// consentBound ties the form to the request and to who is asked: the yes of one person must not be sent for another who logged in
// meanwhile in another tab, nor for another client.
func consentBound(at visit, who login) [][]byte {
	return [][]byte{[]byte("consent"), []byte(at.handle), who.user.ID[:]}
}

func (s *Service) consentVisit(r *http.Request, q *web.Request) (visit, login, error) {
	at, err := s.visit(r, q)
	if err != nil || at.handle == "" {
		return at, login{}, err
	}
	who, err := s.session(r, q)
	return at, who, unavailable(err)
}

// consentSubmit is POST /consent.
func (s *Service) consentSubmit(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	at, who, err := s.consentVisit(r, q)
	if err != nil {
		return s.fault(w, r, q, err)
	}
	form, err := web.ReadForm(w, r)
	if err != nil {
		return err
	}
	if at.handle == "" {
		return redirect(w, pathAccount)
	}
	if !who.present {
		return redirect(w, at.next())
	}
	switch err := s.ownForm(r, q, form, consentBound(at, who)...); {
	case errors.Is(err, errForeign):
		return s.foreignForm(w, r, q)
	case err != nil:
		// No cookie, or another person by now: nothing is granted, and the authorization endpoint asks whoever it has to.
		q.Note(slog.String("answered", "form_token"))
		return redirect(w, at.next())
	}
	if form.Get("answer") != "allow" {
		q.Note(slog.String("answered", oauth2.CodeAccessDenied))
		return s.fault(w, r, q, at.request.Fail(oauth2.AccessDenied("the user did not allow it")))
	}
	ctx, cancel := s.deadline(r.Context())
	defer cancel()
	_, err = s.identity.GrantConsent(ctx, ref(q.Tenant), op(r, q, who.user.ID.String()), who.user.ID, at.client.UID, at.request.Scopes)
	if err != nil && !errors.Is(err, identity.ErrNotFound) { // a user who may not log in any more is sent to the login
		return unavailable(err)
	}
	if len(at.request.Details) > 0 {
		// What is granted once for a client is no answer to these: the yes travels with the request itself.
		p := at.pending
		p.approved, p.approval = who.user.ID, pageNonce()
		return redirect(w, s.step(oidc.PathAuthorize, q, p))
	}
	return redirect(w, at.next())
}

// detail is an object of authorization_details on the page (RFC 9396): what the tenant calls it, and values that the client sent.
type detail struct {
	Title string
	Lines []detailLine
}

type detailLine struct{ Label, Value string }

// details shows what a request asks beyond scopes.
func (v *view) details(asked oauth2.Details) { v.Details = v.describe(asked) }

func (v *view) describe(asked oauth2.Details) []detail {
	var list []detail
	for _, d := range asked {
		shown := detail{Title: d.Title()}
		for _, l := range d.Lines() {
			value := l.Value
			if l.Boolean && l.True {
				value = v.T("consent.yes")
			} else if l.Boolean {
				value = v.T("consent.no")
			}
			shown.Lines = append(shown.Lines, detailLine{Label: l.Label, Value: value})
		}
		list = append(list, shown)
	}
	return list
}

// scopes describes what is asked for, in words.
func (v *view) scopes(asked oauth2.Scopes) []string {
	var items []string
	for _, scope := range asked {
		switch scope {
		case oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail, oidc.ScopeOfflineAccess, oidc.ScopeRoles:
			items = append(items, v.T("scope."+scope, "tenant", v.Tenant))
		default:
			items = append(items, v.T("scope.other", "scope", scope))
		}
	}
	if len(items) == 0 {
		items = []string{v.T("consent.scope.nothing")}
	}
	return items
}

// target names where an answer goes: a host, or for an application on the device its scheme.
func target(redirectURI string) string {
	u, err := url.Parse(redirectURI)
	if err != nil {
		return redirectURI
	}
	if u.Host != "" && strings.HasPrefix(u.Scheme, "http") {
		return u.Host
	}
	return u.Scheme
}
