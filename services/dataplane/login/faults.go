// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"log/slog"
	"net/http"
	"net/url"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// brokenLink is the page for an authorization or logout request whose sender is not proven: the person cannot cure it, so it says
// whom to tell and what (UX: who to tell, the request number, a way back). Never a redirect (RFC 6749 section 4.1.2.1).
func (s *Service) brokenLink(w http.ResponseWriter, r *http.Request, q *web.Request, e *oauth2.PageError) error {
	v := s.view(w, r, q, nil, e.Client)
	v.status, v.Step, v.Heading = http.StatusBadRequest, v.T("fault.title"), v.T("fault.title")
	v.Paragraphs = []string{v.T("fault.text.nobody")}
	if e.Client != nil {
		v.Paragraphs = []string{v.T("fault.text", "app", e.Client.Name)}
		if home := clientHome(e.Client); home != "" {
			v.Links = append(v.Links, link{URL: home, Text: v.T("fault.back", "app", e.Client.Name), Class: "quiet"})
		}
	}
	v.Code, v.RequestID = e.Code+": "+e.Description, q.ID
	return s.render(w, v, "message")
}

// startAgain is the page for a handle that cannot be opened: cut off, or of a time that no key remembers.
func (s *Service) startAgain(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	v := s.view(w, r, q, nil, nil)
	v.status, v.Step, v.Heading = http.StatusBadRequest, v.T("fault.again"), v.T("fault.again")
	v.Paragraphs, v.RequestID = []string{v.T("fault.again.text")}, q.ID
	v.Links = []link{{URL: pathLogin, Text: v.T("fault.sign_in"), Class: "quiet"}}
	return s.render(w, v, "message")
}

// foreignForm is the page for a form that another site sent.
func (s *Service) foreignForm(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	q.Note(slog.String("answered", "cross_site"))
	v := s.view(w, r, q, nil, nil)
	v.status, v.Step, v.Heading = http.StatusForbidden, v.T("fault.foreign"), v.T("fault.foreign")
	v.Paragraphs, v.RequestID = []string{v.T("fault.foreign.2", "tenant", v.Tenant)}, q.ID
	v.Links = []link{{URL: pathLogin, Text: v.T("fault.sign_in"), Class: "quiet"}}
	return s.render(w, v, "message")
}

// renderError is web's ErrorWriter for people: every error of the wrapper and every one that a handler did not turn into a page.
func (s *Service) renderError(w http.ResponseWriter, r *http.Request, q *web.Request, e *oauth2.Error) {
	v := s.view(w, r, q, nil, nil)
	v.status = e.Status
	key := "fault.request"
	switch {
	case e.Status == http.StatusNotFound:
		key = "fault.missing"
	case e.Status == http.StatusMethodNotAllowed:
		key = "fault.method"
	case e.Status == http.StatusServiceUnavailable:
		key = "fault.away"
	case e.Status >= http.StatusInternalServerError:
		key = "fault.server"
	}
	v.Heading = v.T(key, "tenant", v.Tenant)
	v.Step = v.Heading
	v.Paragraphs = []string{v.T(key+".2", "tenant", v.Tenant)}
	if e.Status == http.StatusNotFound {
		v.Links = []link{{URL: pathLogin, Text: v.T("fault.sign_in"), Class: "quiet"}}
	} else {
		v.RequestID = q.ID
	}
	web.SetErrorHeaders(w.Header(), e)
	if err := s.render(w, v, "message"); err != nil {
		s.log.ErrorContext(r.Context(), "error page failed", slog.String("request_id", q.ID), slog.String("cause", err.Error()))
		w.WriteHeader(e.Status)
	}
}

// clientHome is where a person finds the application: the address that it names for beginning a login, else the root of the site that
// its redirect URIs are on. Empty for applications that are not on the web.
func clientHome(c *oauth2.Client) string {
	if c.InitiateLoginURI != "" {
		return c.InitiateLoginURI
	}
	for _, registered := range c.RedirectURIs {
		if home := siteOf(registered.String()); home != "" {
			return home
		}
	}
	return ""
}

// siteOf is the root of the site of a web address, empty for other addresses.
func siteOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host + "/"
}
