// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/subject"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// paramSealed is the query parameter that carries a sealed request from step to step.
const paramSealed = "r"

// Purposes keep sealed values apart: a logout request can never be opened as an authorization request.
const (
	purposeRequest = "authorization-request"
	purposeLogout  = "logout-request"
	purposeCookie  = "session-cookie"
	purposeForm    = "form-token"
)

// errSealed: the handle was cut, changed, made for another tenant, or by a key that is gone. Nothing can be said about it.
var errSealed = errors.New("login: sealed request cannot be opened")

// pending is an authorization request on its way through the pages.
type pending struct {
	// created is when it first came in, or was last restarted.
	created time.Time
	// params are its parameters, without those that mean nothing and without the id_token_hint.
	params oauth2.Params
	// hint is the user of the id_token_hint, verified when the request came in, so that the token itself need not travel on.
	hint id.User
	// pushed is the request_uri of a pushed request (RFC 9126), ended when it is answered; signed says that the parameters came in a
	// signed request object; jkt is the key that the code will be bound to (RFC 9449 section 10).
	pushed string
	signed bool
	jkt    string
	// selected is who was chosen on the page for prompt=select_account, approved who said yes on the consent page. Both were seen by us and
	// are sealed with the request, so that they are about no other one.
	selected, approved id.User
	// approval is a nonce of the yes, which counts once: a tab that is loaded again makes no second payment.
	approval string
	// restarted says that the person waited longer than the request lives.
	restarted bool
}

// sealedPending is pending as it is sealed.
type sealedPending struct {
	Created   int64   `json:"c"` // microseconds
	Params    string  `json:"p"`
	Hint      id.User `json:"h,omitzero"`
	Pushed    string  `json:"u,omitempty"`
	Signed    bool    `json:"g,omitempty"`
	JKT       string  `json:"j,omitempty"`
	Selected  id.User `json:"l,omitzero"`
	Approved  id.User `json:"a,omitzero"`
	Approval  string  `json:"o,omitempty"`
	Restarted bool    `json:"n,omitempty"`
}

// carried are the parameters that a request keeps on its way; all others are ignored anyway (OpenID Connect Core section 3.1.2.1)
// and would only make URLs long.
var carried = map[string]bool{
	oauth2.ParamResponseType: true, oauth2.ParamClientID: true, oauth2.ParamRedirectURI: true, oauth2.ParamScope: true,
	oauth2.ParamState: true, oauth2.ParamResponseMode: true, oauth2.ParamCodeChallenge: true, oauth2.ParamCodeChallengeMethod: true,
	oauth2.ParamResource: true, oauth2.ParamAuthorizationDetails: true,
	oidc.ParamNonce: true, oidc.ParamDisplay: true, oidc.ParamPrompt: true, oidc.ParamMaxAge: true, oidc.ParamUILocales: true,
	oidc.ParamLoginHint: true, oidc.ParamACRValues: true, oidc.ParamClaimsLocales: true, oidc.ParamClaims: true,
	oidc.ParamRegistration: true,
}

// seal makes the handle of a request.
func (s *Service) seal(t *snapshot.Tenant, p pending) string {
	plain, err := json.Marshal(sealedPending{
		Created: p.created.UnixMicro(), Params: p.params.Encode(), Hint: p.hint, Pushed: p.pushed, Signed: p.signed, JKT: p.jkt,
		Selected: p.selected, Approved: p.approved, Approval: p.approval, Restarted: p.restarted,
	})
	if err != nil {
		return "" // numbers and strings always marshal; an empty handle opens as errSealed
	}
	return base64.RawURLEncoding.EncodeToString(s.keyring.Tenant(t.ID).Seal(purposeRequest, plain, nil))
}

// unseal opens a handle. The only error is errSealed.
func (s *Service) unseal(t *snapshot.Tenant, handle string) (pending, error) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(handle)
	if err != nil {
		return pending{}, errSealed
	}
	plain, err := s.keyring.Tenant(t.ID).Open(purposeRequest, sealed, nil)
	if err != nil {
		return pending{}, errSealed
	}
	var v sealedPending
	if err := json.Unmarshal(plain, &v); err != nil {
		return pending{}, errSealed
	}
	params, err := oauth2.ParseParams(v.Params)
	if err != nil {
		return pending{}, errSealed
	}
	return pending{
		created: time.UnixMicro(v.Created).UTC(), params: params, hint: v.Hint, pushed: v.Pushed, signed: v.Signed, jkt: v.JKT,
		selected: v.Selected, approved: v.Approved, approval: v.Approval, restarted: v.Restarted,
	}, nil
}

// unresolved are parameters that a request has only until it is admitted.
var unresolved = map[string]bool{
	oidc.ParamIDTokenHint: true, oauth2.ParamRequest: true, oauth2.ParamRequestURI: true, oauth2.ParamDPoPKeyThumbprint: true,
}

// arrived makes a pending request of what a client sent.
func arrived(q *web.Request, params oauth2.Params) pending {
	return pending{created: q.Start, params: params.Only(func(name string) bool {
		return carried[name] || unresolved[name]
	})}
}

// parse checks the request against the tenant as it is now. Errors are *oauth2.PageError and *oauth2.RedirectError; the client is
// also returned with the latter.
func (p pending) parse(t *snapshot.Tenant) (*oidc.AuthorizationRequest, *oauth2.Client, error) {
	req, client, err := oidc.ParseAuthorizationRequest(p.params, t.Client, p.options(t))
	if err != nil {
		return nil, client, err
	}
	// When the request came in this was seen to; the client's rules may have become stricter since.
	if client.NeedsPAR() && p.pushed == "" || client.NeedsSignedRequest() && !p.signed {
		return nil, client, req.Fail(oauth2.InvalidRequest("this client must push or sign its authorization requests"))
	}
	if !p.hint.IsZero() {
		req.HintSubject = subject.For(t, client, p.hint)
	}
	return req, client, nil
}

func (p pending) options(t *snapshot.Tenant) oidc.RequestOptions {
	return oidc.RequestOptions{
		Issuer: t.Issuer, CreatedAt: p.created, Development: t.Development, DefaultAudience: t.DefaultAudience,
		ResponseTypes: t.Policy.ResponseTypes, DetailTypes: t.Policy.DetailTypes,
	}
}

// expired says whether the request is older than the tenant allows.
func (p pending) expired(q *web.Request) bool {
	return q.Start.Sub(p.created) > q.Tenant.Policy.AuthorizationRequestTTL
}

// hintTypes and hintAlgorithms are what ID tokens of ours have had; an access token has another typ.
var (
	hintTypes      = []string{"", "JWT"}
	hintAlgorithms = []jose.Algorithm{jose.ES256, jose.ES384, jose.RS256, jose.PS256, jose.EdDSA}
)

// verifyHint checks an id_token_hint with the tenant's own keys. It may have expired; another tenant's is refused by key and issuer.
func verifyHint(t *snapshot.Tenant, token string) (*oidc.IDTokenHint, error) {
	payload, _, err := t.Keys.Set().Verify(token, jose.VerifyOptions{Typ: hintTypes, Algorithms: hintAlgorithms})
	if err != nil {
		return nil, err
	}
	hint, err := oidc.ParseIDTokenHint(payload, t.Issuer)
	if err != nil {
		return nil, err
	}
	return &hint, nil
}

// incoming is the request of a GET: sealed, or as the client sent it. A malformed query is a *oauth2.PageError.
func (s *Service) incoming(r *http.Request, q *web.Request) (p pending, sealed bool, err error) {
	params, err := oauth2.ParseParams(r.URL.RawQuery)
	if err != nil {
		return pending{}, false, pageFault(err)
	}
	if handle := params.Get(paramSealed); handle != "" {
		p, err := s.unseal(q.Tenant, handle)
		return p, true, err
	}
	return arrived(q, params), false, nil
}

// pageFault turns an error about the form of a request into one that is shown: whose request it is cannot be known.
func pageFault(err error) error {
	e := oauth2.AsError(err)
	return oauth2.NewPageError(e.Code, e.Description, nil, err)
}

// restart begins an expired request again. Where the application says how to begin at its own side, the browser goes there, since
// the application may have forgotten the state that it sent along (OpenID Connect Core section 4). Otherwise the request gets a new
// time, as if the application's link had been followed again: a login that the old one asked for is asked for anew.
func (s *Service) restart(w http.ResponseWriter, q *web.Request, p pending, client *oauth2.Client, email string) error {
	q.Note(slog.Bool("restarted", true))
	if email == "" {
		email = p.params.Get(oidc.ParamLoginHint)
	}
	if client != nil && client.InitiateLoginURI != "" {
		return redirect(w, startAt(client.InitiateLoginURI, q.Tenant.Issuer, email))
	}
	p.created, p.restarted, p.selected, p.approved = q.Start, true, id.User{}, id.User{}
	p.params = p.params.With(oidc.ParamLoginHint, email)
	return redirect(w, oidc.PathAuthorize+"?"+paramSealed+"="+s.seal(q.Tenant, p))
}

// startAt is the address where an application begins a login by itself (OpenID Connect Core section 4).
func startAt(uri, issuer, email string) string {
	query := url.Values{"iss": {issuer}}
	if email != "" {
		query.Set(oidc.ParamLoginHint, email)
	}
	if strings.Contains(uri, "?") {
		return uri + "&" + query.Encode()
	}
	return uri + "?" + query.Encode()
}

// step is the address of one of our pages for a pending request.
func (s *Service) step(path string, q *web.Request, p pending) string {
	return path + "?" + paramSealed + "=" + s.seal(q.Tenant, p)
}

// redirect answers with 303, so that a POST, which may hold a password, is never repeated at the target (RFC 9700 section 4.12).
func redirect(w http.ResponseWriter, location string) error {
	h := w.Header()
	h["Location"] = []string{location}
	h["Cache-Control"] = []string{"no-store"}
	w.WriteHeader(http.StatusSeeOther)
	return nil
}
