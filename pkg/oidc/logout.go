// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"slices"

	"github.com/tenantry/tenantry/pkg/oauth2"
)

// LogoutRequest is a request to the end session endpoint (OpenID Connect RP-Initiated Logout section 2).
type LogoutRequest struct {
	// IDTokenHint is an ID token that nobody has verified yet.
	IDTokenHint string
	// ClientID, PostLogoutRedirectURI and State are as they came, unproven.
	ClientID, PostLogoutRedirectURI, State string
	// LogoutHint is a stranger's text.
	LogoutHint string
	// UILocales are in order of preference.
	UILocales []string
}

// ParseLogoutRequest reads a logout request. All its parameters are optional. The error is a *oauth2.PageError.
func ParseLogoutRequest(p oauth2.Params) (LogoutRequest, error) {
	r := LogoutRequest{
		IDTokenHint:           p.Get(ParamIDTokenHint),
		ClientID:              p.Get(oauth2.ParamClientID),
		PostLogoutRedirectURI: p.Get(ParamPostLogoutRedirectURI),
		State:                 p.Get(oauth2.ParamState),
		LogoutHint:            p.Get(ParamLogoutHint),
		UILocales:             localeList(p.Get(ParamUILocales)),
	}
	if len(r.State) > maxEchoBytes {
		return LogoutRequest{}, oauth2.NewPageError(oauth2.CodeInvalidRequest, "state is too long", nil, nil)
	}
	return r, nil
}

// Logout is what a valid logout request comes to.
type Logout struct {
	// Client is who asked, nil when nobody is named.
	Client *oauth2.Client
	// RedirectURI is where the browser goes afterwards, state included; empty shows the logged-out page.
	RedirectURI string
	// Confirm is true when the user must be asked first: nothing proves that the request comes from a client that this session is
	// known to, and a foreign page must not be able to log people out (RP-Initiated Logout section 2, cross-site request forgery).
	Confirm bool
}

// Resolve decides on a logout request. hint is the verified id_token_hint (ParseIDTokenHint), nil when the request had none; a hint
// that did not verify must be passed as hintErr, and is refused. session is the browser's login.
//
// A redirect needs a client, named by the hint or by client_id, and a URI that is registered for it byte for byte (section 3). Any
// doubt is a *oauth2.PageError: the browser stays here, still logged in.
func (r LogoutRequest) Resolve(hint *IDTokenHint, hintErr error, client func(clientID string) (*oauth2.Client, bool), session SessionState) (Logout, error) {
	if hintErr != nil || r.IDTokenHint != "" && hint == nil {
		return Logout{}, oauth2.NewPageError(oauth2.CodeInvalidRequest, "id_token_hint is not one of this issuer", nil, hintErr)
	}
	l := Logout{Confirm: true}
	clientID := r.ClientID
	if hint != nil {
		switch {
		case clientID == "":
			clientID = hint.Client()
		case !slices.Contains(hint.Audience, clientID):
			return Logout{}, oauth2.NewPageError(oauth2.CodeInvalidRequest, "id_token_hint was issued to another client than client_id", nil, nil)
		}
		l.Confirm = !sameLogin(*hint, session)
	}
	if clientID != "" {
		c, ok := client(clientID)
		switch {
		case ok && c.Enabled:
			l.Client = c
		case hint == nil:
			return Logout{}, oauth2.NewPageError(oauth2.CodeInvalidRequest, "the client is not known here", nil, nil)
		}
	}
	if r.PostLogoutRedirectURI == "" {
		return l, nil
	}
	if l.Client == nil {
		return Logout{}, oauth2.NewPageError(oauth2.CodeInvalidRequest,
			"post_logout_redirect_uri needs an id_token_hint or a client_id of a client that exists", nil, nil)
	}
	if !slices.Contains(l.Client.PostLogoutRedirectURIs, r.PostLogoutRedirectURI) {
		return Logout{}, oauth2.NewPageError(oauth2.CodeInvalidRequest,
			"post_logout_redirect_uri is not registered for this client", l.Client, nil)
	}
	resp := oauth2.AuthorizationResponse{RedirectURI: r.PostLogoutRedirectURI}
	if r.State != "" {
		resp.Params = [][2]string{{oauth2.ParamState, r.State}}
	}
	l.RedirectURI = resp.Location()
	return l, nil
}

// sameLogin: the hint proves that its bearer has seen an ID token of this very login. Without any session there is nothing to
// protect.
func sameLogin(h IDTokenHint, s SessionState) bool {
	if !s.Present {
		return true
	}
	if h.SessionID != "" {
		return h.SessionID == s.SessionID.String()
	}
	return h.Subject == s.subject()
}
