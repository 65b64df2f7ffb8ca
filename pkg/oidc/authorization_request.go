// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
)

// Bounds of single parameters. What is longer and only a hint is dropped; what is to come back as it came is refused.
const (
	maxEchoBytes = 2048             // state, nonce
	maxHintBytes = 320              // login_hint: the longest e-mail address
	maxListItems = 16               // ui_locales, claims_locales, acr_values
	maxMaxAge    = 10 * 365 * 86400 // seconds; more means nothing, and a Duration would overflow
)

// RequestOptions are what an authorization request is judged by beside its client.
type RequestOptions struct {
	// Issuer is the tenant's issuer, sent as `iss` in every response (RFC 9207).
	Issuer string
	// CreatedAt is when the request first came in. It is sealed with it and handed in again on every hop, so that a login or a
	// consent that is younger counts as made for this request.
	CreatedAt time.Time
	// Development is true for tenants of type DEVELOPMENT. No rule here is looser for them: the one thing that differs, plain http
	// under `.localhost`, was decided when the client's redirect URIs were parsed.
	Development bool
	// RegistrationClosed is true when people may not register themselves; prompt=create is then refused.
	RegistrationClosed bool
	// Scopes are the scopes that every client of the tenant may ask for; nil means StandardScopes.
	Scopes oauth2.Scopes
	// DefaultAudience is the `resource` that every client may name.
	DefaultAudience string
	// ResponseTypes are those that the tenant allows beside code.
	ResponseTypes []string
	// DetailTypes are the types of authorization_details that the tenant knows (RFC 9396).
	DetailTypes []oauth2.DetailType
}

// AuthorizationRequest is a valid authorization request of a proven client (OpenID Connect Core section 3.1.2.1).
type AuthorizationRequest struct {
	// Issuer and CreatedAt are those of the options.
	Issuer    string
	CreatedAt time.Time
	// ClientID and RedirectURI are proven: the client exists and the URI is one of its own.
	ClientID, RedirectURI string
	// WebRedirect is true when the redirect URI is https, so that no other program can receive the answer.
	WebRedirect bool
	// ResponseType is in the order of words in which it is registered; Parts are what it stands for. ResponseMode is query, fragment,
	// form_post or one of them with .jwt, never empty.
	ResponseType, ResponseMode string
	Parts                      ResponseParts
	// State and Nonce are echoed; empty when absent.
	State, Nonce string
	// Scopes are what may be granted of what was asked.
	Scopes oauth2.Scopes
	// CodeChallenge is the S256 challenge, empty for none.
	CodeChallenge string
	// Prompt is the set of prompt values.
	Prompt PromptSet
	// MaxAge is how old a login may be; nil when the client did not say.
	MaxAge *time.Duration
	// LoginHint fills the login field. It is a stranger's text.
	LoginHint string
	// IDTokenHint is an ID token that nobody has verified yet.
	IDTokenHint string
	// HintSubject is `sub` of the verified IDTokenHint. The caller verifies signature and issuer (an expired hint is fine) and sets
	// it before Next.
	HintSubject string
	// Display is page, popup, touch or wap; empty for anything else.
	Display string
	// UILocales, ClaimsLocales and ACRValues are in order of preference.
	UILocales, ClaimsLocales, ACRValues []string
	// Claims is the claims parameter.
	Claims ClaimsRequest
	// Resource is the audience asked for (RFC 8707); empty means the default.
	Resource string
	// Details are the authorization_details asked for (RFC 9396).
	Details oauth2.Details
	// Raw is the whole request as it came, for sealing: parsed again it gives this one again.
	Raw oauth2.Params
}

// ParseAuthorizationRequest checks an authorization request.
//
// It first proves the client and its redirect URI; until then every error is a *oauth2.PageError, because nothing may be sent to
// an address that a stranger chose (RFC 6749 section 4.1.2.1). From then on every error is a *oauth2.RedirectError. The client is
// also returned with a RedirectError. Unknown parameters are ignored (section 3.1). Request objects have been resolved by the caller; one
// that is still there is refused by name, since to ignore it would be to serve a request that the client did not make (OpenID Connect
// Core sections 3.1.2.6 and 6).
func ParseAuthorizationRequest(p oauth2.Params, client func(clientID string) (*oauth2.Client, bool), o RequestOptions) (*AuthorizationRequest, *oauth2.Client, error) {
	c, redirect, err := proveClient(p, client)
	if err != nil {
		return nil, nil, err
	}
	r := &AuthorizationRequest{
		Issuer:      o.Issuer,
		CreatedAt:   o.CreatedAt,
		ClientID:    c.ID,
		RedirectURI: p.Get(oauth2.ParamRedirectURI),
		WebRedirect: redirect.Web(),
		Raw:         p,
	}
	if err := r.fill(p, c, o); err != nil {
		return nil, c, r.Fail(oauth2.AsError(err))
	}
	return r, c, nil
}

// proveClient finds the client and its redirect URI. redirect_uri is always needed (OpenID Connect Core section 3.1.2.1), also
// where RFC 6749 section 3.1.2.3 could guess it.
func proveClient(p oauth2.Params, client func(string) (*oauth2.Client, bool)) (*oauth2.Client, oauth2.RedirectURI, error) {
	clientID, uri := p.Get(oauth2.ParamClientID), p.Get(oauth2.ParamRedirectURI)
	if clientID == "" {
		return nil, oauth2.RedirectURI{}, oauth2.NewPageError(oauth2.CodeInvalidRequest, "client_id is missing", nil, nil)
	}
	c, ok := client(clientID)
	if !ok || !c.Enabled {
		return nil, oauth2.RedirectURI{}, oauth2.NewPageError(oauth2.CodeInvalidRequest, "the client is not known here", nil, nil)
	}
	if uri == "" {
		return nil, oauth2.RedirectURI{}, oauth2.NewPageError(oauth2.CodeInvalidRequest, "redirect_uri is missing", c, nil)
	}
	redirect, ok := c.RedirectURI(uri)
	if !ok {
		return nil, oauth2.RedirectURI{}, oauth2.NewPageError(oauth2.CodeInvalidRequest, "redirect_uri is not registered for this client", c, nil)
	}
	if c.Profile.RequiresPAR() && !redirect.Web() {
		// FAPI 2.0 Security Profile section 5.3.2.2: an answer goes by https alone.
		return nil, oauth2.RedirectURI{}, oauth2.NewPageError(oauth2.CodeInvalidRequest, "redirect_uri is not https, which the client's security profile wants", c, nil)
	}
	return c, redirect, nil
}

// Fail is the redirected form of an error about this request.
func (r *AuthorizationRequest) Fail(e *oauth2.Error) *oauth2.RedirectError {
	return &oauth2.RedirectError{Err: e, ClientID: r.ClientID, RedirectURI: r.RedirectURI, ResponseMode: r.ResponseMode, State: r.State, Issuer: r.Issuer}
}

// Respond is the successful response with a code.
func (r *AuthorizationRequest) Respond(code string) oauth2.AuthorizationResponse {
	return oauth2.CodeResponse(r.RedirectURI, r.ResponseMode, code, r.State, r.Issuer)
}

// RespondWith is the successful response with the given parameters, for response types with tokens.
func (r *AuthorizationRequest) RespondWith(params [][2]string) oauth2.AuthorizationResponse {
	return oauth2.SuccessResponse(r.RedirectURI, r.ResponseMode, params, r.State, r.Issuer)
}

// OpenID says whether this is an OpenID Connect request at all; without the scope it is a plain OAuth 2.0 one, which gets no ID
// token (OpenID Connect Core section 3.1.2.1).
func (r *AuthorizationRequest) OpenID() bool { return r.Scopes.Contains(ScopeOpenID) }

// fill checks all that is answered by redirect. State and response mode come first, as every error needs them.
func (r *AuthorizationRequest) fill(p oauth2.Params, c *oauth2.Client, o RequestOptions) error {
	r.ResponseType = CanonicalResponseType(p.Get(oauth2.ParamResponseType))
	modeErr := r.parseMode(p.Get(oauth2.ParamResponseMode), c)
	state := p.Get(oauth2.ParamState)
	if len(state) > maxEchoBytes {
		return oauth2.InvalidRequest("state is too long")
	}
	r.State = state
	if modeErr != nil {
		return modeErr
	}
	if misfits := c.Misfits(); len(misfits) > 0 {
		// The tenant's policy has become stricter since the client was registered.
		return oauth2.UnauthorizedClient("the client does not meet its security profile: " + misfits[0].Rule)
	}
	var err error
	if r.Parts, err = CheckResponseType(r.ResponseType, c, o.ResponseTypes); err != nil {
		return err
	}
	switch {
	case p.Has(oauth2.ParamRequest):
		return protocolError(CodeRequestNotSupported, "request objects are not supported")
	case p.Has(oauth2.ParamRequestURI):
		return protocolError(CodeRequestURINotSupported, "request objects by reference are not supported")
	case p.Has(ParamRegistration):
		return protocolError(CodeRegistrationNotSupported, "registration in a request is not supported")
	}
	if r.CodeChallenge, err = oauth2.ParseCodeChallenge(p, r.Parts.Code && c.NeedsPKCE()); err != nil {
		return err
	}
	if r.Scopes, err = resolveScopes(p.Get(oauth2.ParamScope), c, o.Scopes); err != nil {
		return err
	}
	if r.Resource, err = oauth2.OneResource(p); err != nil {
		return err
	}
	if r.Resource != "" {
		if _, err = c.ResolveAudience(r.Resource, o.DefaultAudience); err != nil {
			return err
		}
	}
	if r.Details, err = oauth2.ParseDetails(p.Get(oauth2.ParamAuthorizationDetails), o.DetailTypes, c.AuthorizationDetailsTypes); err != nil {
		return err
	}
	return r.parseOpenID(p, c, o)
}

// parseMode finds the response mode, in a form in which the error about it can be sent as well.
func (r *AuthorizationRequest) parseMode(asked string, c *oauth2.Client) error {
	def := defaultMode(r.ResponseType)
	signed := c.Profile.RequiresSignedResponse()
	r.ResponseMode = def
	if signed {
		r.ResponseMode += ".jwt"
	}
	switch asked {
	case "":
	case oauth2.ResponseModeJWT:
		r.ResponseMode = def + ".jwt" // JWT Secured Authorization Response Mode section 2.3.4
	case oauth2.ResponseModeQuery, oauth2.ResponseModeQueryJWT:
		// Tokens must never get into a query, where logs and referrers keep them (Multiple Response Types section 3.0, JWT Secured
		// Authorization Response Mode section 2.3.1).
		if def == oauth2.ResponseModeFragment {
			return oauth2.InvalidRequest("response_mode query is not for this response_type")
		}
		fallthrough
	case oauth2.ResponseModeFragment, oauth2.ResponseModeFormPost, oauth2.ResponseModeFragmentJWT, oauth2.ResponseModeFormPostJWT:
		if signed && !oauth2.SignedMode(asked) {
			return oauth2.InvalidRequest("the security profile wants signed responses: response_mode jwt")
		}
		r.ResponseMode = asked
	default:
		return oauth2.InvalidRequest("this response_mode is not supported")
	}
	return nil
}

// defaultMode: a response type with tokens in it goes by fragment, also its errors (OAuth 2.0 Multiple Response Type Encoding
// Practices section 5).
func defaultMode(responseType string) string {
	for word := range strings.FieldsSeq(responseType) {
		if word == "token" || word == "id_token" {
			return oauth2.ResponseModeFragment
		}
	}
	return oauth2.ResponseModeQuery
}

// resolveScopes applies the client's scopes, and drops offline_access where no refresh token could follow (OpenID Connect Core
// section 11).
func resolveScopes(raw string, c *oauth2.Client, tenant oauth2.Scopes) (oauth2.Scopes, error) {
	asked, err := oauth2.ParseScopes(raw)
	if err != nil {
		return nil, err
	}
	if tenant == nil {
		tenant = StandardScopes
	}
	kept, err := c.ResolveScopes(asked, tenant)
	if err != nil {
		return nil, err
	}
	if !c.GrantTypes.Has(oauth2.GrantRefreshToken) {
		kept = kept.Without(ScopeOfflineAccess)
	}
	if len(kept) == 0 && len(asked) > 0 {
		return nil, oauth2.InvalidScope("the client may have none of the scopes that it asked for")
	}
	return kept, nil
}

// parseOpenID reads the parameters of OpenID Connect Core section 3.1.2.1. They mean the same in a plain OAuth request.
func (r *AuthorizationRequest) parseOpenID(p oauth2.Params, c *oauth2.Client, o RequestOptions) error {
	r.Nonce = p.Get(ParamNonce)
	switch {
	case len(r.Nonce) > maxEchoBytes:
		return oauth2.InvalidRequest("nonce is too long")
	case r.Parts.IDToken && !r.OpenID():
		return oauth2.InvalidRequest("a response_type with id_token wants the scope openid")
	case r.Parts.IDToken && r.Nonce == "":
		// Section 3.2.2.1: without it a stolen ID token could be played to the client.
		return oauth2.InvalidRequest("nonce is missing: an ID token from the authorization endpoint needs one")
	}
	var err error
	if r.Prompt, err = ParsePrompt(p.Get(ParamPrompt)); err != nil {
		return err
	}
	if o.RegistrationClosed && r.Prompt.Has(PromptCreate) {
		// As for any value that prompt_values_supported does not list (Initiating User Registration section 4.1).
		return oauth2.InvalidRequest("prompt create is not supported: nobody may register here")
	}
	if r.MaxAge, err = parseMaxAge(p.Get(ParamMaxAge)); err != nil {
		return err
	}
	if r.Claims, err = ParseClaimsRequest(p.Get(ParamClaims)); err != nil {
		return err
	}
	if hint := p.Get(ParamLoginHint); len(hint) <= maxHintBytes {
		r.LoginHint = hint
	}
	r.IDTokenHint = p.Get(ParamIDTokenHint)
	if d := p.Get(ParamDisplay); slices.Contains([]string{"page", "popup", "touch", "wap"}, d) {
		r.Display = d
	}
	r.UILocales = localeList(p.Get(ParamUILocales))
	r.ClaimsLocales = localeList(p.Get(ParamClaimsLocales))
	r.ACRValues = wordList(p.Get(ParamACRValues), oauth2.ValidScope)
	// What the client has registered stands for what the request does not say (OpenID Connect Registration section 2).
	if r.MaxAge == nil {
		r.MaxAge = c.DefaultMaxAge
	}
	if r.ACRValues == nil {
		r.ACRValues = c.DefaultACRValues
	}
	return nil
}

// parseMaxAge: whole seconds, digits only. 0 asks for a login now, like prompt=login.
func parseMaxAge(s string) (*time.Duration, error) {
	if s == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || s[0] == '+' {
		return nil, oauth2.InvalidRequest("max_age is not a number of seconds")
	}
	d := time.Duration(min(n, maxMaxAge)) * time.Second
	return &d, nil
}

// localeList keeps what looks like language tags (RFC 5646 section 2.1); an unknown one is never an error (OpenID Connect Core
// section 3.1.2.1).
func localeList(s string) []string {
	return wordList(s, func(tag string) bool {
		if len(tag) > 35 {
			return false
		}
		for i := range len(tag) {
			c := tag[i]
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
		return true
	})
}

func wordList(s string, valid func(string) bool) []string {
	var list []string
	for word := range strings.FieldsSeq(s) {
		if len(list) == maxListItems {
			break
		}
		if valid(word) && !slices.Contains(list, word) {
			list = append(list, word)
		}
	}
	return list
}
