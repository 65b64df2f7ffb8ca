// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

// logoutParams are the parameters of a logout request (RP-Initiated Logout section 2).
var logoutParams = map[string]bool{
	oidc.ParamIDTokenHint: true, oidc.ParamLogoutHint: true, oauth2.ParamClientID: true, oidc.ParamPostLogoutRedirectURI: true,
	oauth2.ParamState: true, oidc.ParamUILocales: true,
}

// sealedLogout is a logout request on its way over a page. Its hint stays in it, because only the session that the browser shows
// later can be held against it.
type sealedLogout struct {
	Created int64  `json:"c"`
	Params  string `json:"p"`
}

func (s *Service) sealLogout(q *web.Request, params oauth2.Params) string {
	plain, err := json.Marshal(sealedLogout{
		Created: q.Start.UnixMicro(),
		Params:  params.Only(func(name string) bool { return logoutParams[name] }).Encode(),
	})
	if err != nil {
		return "" // as in seal
	}
	return base64.RawURLEncoding.EncodeToString(s.keyring.Tenant(q.Tenant.ID).Seal(purposeLogout, plain, nil))
}

func (s *Service) unsealLogout(q *web.Request, handle string) (oauth2.Params, error) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(handle)
	if err != nil {
		return oauth2.Params{}, errSealed
	}
	plain, err := s.keyring.Tenant(q.Tenant.ID).Open(purposeLogout, sealed, nil)
	if err != nil {
		return oauth2.Params{}, errSealed
	}
	var v sealedLogout
	if err := json.Unmarshal(plain, &v); err != nil {
		return oauth2.Params{}, errSealed
	}
	if q.Start.Sub(time.UnixMicro(v.Created)) > q.Tenant.Policy.AuthorizationRequestTTL {
		// Logging out is still what the person wants; where to go afterwards is forgotten.
		return oauth2.Params{}, nil
	}
	params, err := oauth2.ParseParams(v.Params)
	if err != nil {
		return oauth2.Params{}, errSealed
	}
	return params, nil
}

// logout is GET /oauth2/logout (OpenID Connect RP-Initiated Logout section 2). Without a proof that the request comes from a client
// that this login is known to, the person is asked first.
func (s *Service) logout(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	params, err := oauth2.ParseParams(r.URL.RawQuery)
	if err != nil {
		return s.fault(w, r, q, pageFault(err))
	}
	if handle := params.Get(paramSealed); handle != "" {
		if params, err = s.unsealLogout(q, handle); err != nil {
			return s.fault(w, r, q, err)
		}
	}
	outcome, who, req, err := s.resolveLogout(r, q, params)
	switch {
	case err != nil:
		return s.fault(w, r, q, err)
	case who.present && outcome.Confirm:
		return s.askLogout(w, r, q, who, params, outcome, req)
	}
	return s.finishLogout(w, r, q, who, outcome, req)
}

func (s *Service) resolveLogout(r *http.Request, q *web.Request, params oauth2.Params) (oidc.Logout, login, oidc.LogoutRequest, error) {
	req, err := oidc.ParseLogoutRequest(params)
	if err != nil {
		return oidc.Logout{}, login{}, req, err
	}
	var (
		hint    *oidc.IDTokenHint
		hintErr error
	)
	if req.IDTokenHint != "" {
		hint, hintErr = verifyHint(q.Tenant, req.IDTokenHint)
	}
	who, err := s.session(r, q)
	if err != nil {
		return oidc.Logout{}, login{}, req, unavailable(err)
	}
	outcome, err := req.Resolve(hint, hintErr, q.Tenant.Client, who.state())
	if outcome.Client != nil {
		q.Note(slog.String("client_id", outcome.Client.ID))
	}
	return outcome, who, req, err
}

// logoutBound ties the confirmation to the login that it is about.
func logoutBound(who login) [][]byte { return [][]byte{[]byte("logout"), who.session.ID[:]} }

func (s *Service) askLogout(w http.ResponseWriter, r *http.Request, q *web.Request, who login, params oauth2.Params, outcome oidc.Logout, req oidc.LogoutRequest) error {
	v := s.view(w, r, q, &oidc.AuthorizationRequest{UILocales: req.UILocales}, outcome.Client)
	v.Step, v.Handle, v.BackURL = v.T("logout.step"), s.sealLogout(q, params), pathAccount
	v.person(who.user)
	if outcome.Client != nil {
		if home := clientHome(outcome.Client); home != "" {
			v.BackURL = home
		}
	}
	v.offerLanguages(v.Handle)
	s.withForm(w, r, q, v, true, logoutBound(who)...)
	return s.render(w, v, "logout")
}

// logoutPost is POST /oauth2/logout: a client's request, which may come from any site and without our cookies, or the answer to our
// own question, which has a form token.
func (s *Service) logoutPost(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	form, err := web.ReadForm(w, r)
	if err != nil {
		return err
	}
	if !form.Has(paramToken) {
		return redirect(w, oidc.PathLogout+"?"+paramSealed+"="+s.sealLogout(q, form))
	}
	params := oauth2.Params{}
	if handle := form.Get(paramSealed); handle != "" {
		if params, err = s.unsealLogout(q, handle); err != nil {
			return s.fault(w, r, q, err)
		}
	}
	outcome, who, req, err := s.resolveLogout(r, q, params)
	if err != nil {
		return s.fault(w, r, q, err)
	}
	if who.present {
		switch err := s.ownForm(r, q, form, logoutBound(who)...); {
		case errors.Is(err, errForeign):
			return s.foreignForm(w, r, q)
		case err != nil:
			return s.askLogout(w, r, q, who, params, outcome, req) // another login by now, or no cookie: ask again
		}
	}
	return s.finishLogout(w, r, q, who, outcome, req)
}

// finishLogout ends the session and goes where the client asked, or says that it is done.
func (s *Service) finishLogout(w http.ResponseWriter, r *http.Request, q *web.Request, who login, outcome oidc.Logout, req oidc.LogoutRequest) error {
	var known []identity.SessionClient
	if who.present {
		var err error
		if known, err = s.end(r, q, who); err != nil {
			return err
		}
		q.Note(slog.Bool("logged_out", true))
	}
	setCookie(w, q.Tenant, cookieSession, "", -1)
	s.setBrowserState(w, r, q, login{})
	if list, origins := frames(q, known); len(list) > 0 {
		return s.showFrames(w, r, q, list, origins, outcome, req)
	}
	if outcome.RedirectURI != "" {
		return redirect(w, outcome.RedirectURI)
	}
	if r.Method == http.MethodPost {
		// The page is shown by a GET, so that Reload does not send the form again.
		return redirect(w, loggedOutPage(outcome))
	}
	v := s.view(w, r, q, &oidc.AuthorizationRequest{UILocales: req.UILocales}, outcome.Client)
	v.Step, v.Heading = v.T("logout.step"), v.T("logout.done")
	v.Paragraphs = []string{v.T("logout.done.2", "tenant", v.Tenant)}
	if outcome.Client != nil {
		if home := clientHome(outcome.Client); home != "" {
			v.Links = append(v.Links, link{URL: home, Text: v.T("logout.back_to", "app", outcome.Client.Name), Class: "primary"})
		}
	}
	v.Links = append(v.Links, link{URL: pathLogin, Text: v.T("logout.again"), Class: "quiet"})
	return s.render(w, v, "message")
}
