// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import "strings"

// PageError is shown to the person in front of the browser and to nobody else: the client or its redirect URI is not proven, so a
// redirect would make us an open redirector (RFC 6749 section 4.1.2.1, RFC 9700 section 4.11).
type PageError struct {
	// Code is the OAuth error code, for the developer who looks at the page.
	Code string
	// Description says what is wrong, for developers; it holds no unchecked input.
	Description string
	// Client is the client when it was found and only its redirect URI is wrong, so that the page can name it.
	Client *Client

	cause error
}

// NewPageError makes a page error.
func NewPageError(code, description string, client *Client, cause error) *PageError {
	return &PageError{Code: code, Description: cleanDescription(description), Client: client, cause: cause}
}

// Error is for logs.
func (e *PageError) Error() string {
	s := e.Code + ": " + e.Description
	if e.cause != nil {
		s += " (" + e.cause.Error() + ")"
	}
	return s
}

// Unwrap gives the cause, for the log only.
func (e *PageError) Unwrap() error { return e.cause }

// RedirectError is sent to the client through the browser (RFC 6749 section 4.1.2.1): client and redirect URI are proven.
type RedirectError struct {
	// Err is what is sent.
	Err *Error
	// ClientID is who it is sent to, for the signature of a response that is a JWT.
	ClientID string
	// RedirectURI is where it goes.
	RedirectURI string
	// ResponseMode is how.
	ResponseMode string
	// State is the client's state, sent back as it came.
	State string
	// Issuer is sent as `iss` (RFC 9207), so that the client can tell whose error it is (mix-up, RFC 9700 section 4.4).
	Issuer string
}

// Error is for logs.
func (e *RedirectError) Error() string { return e.Err.Error() }

// Unwrap gives Err.
func (e *RedirectError) Unwrap() error { return e.Err }

// Response is the authorization response that carries the error.
func (e *RedirectError) Response() AuthorizationResponse {
	return newResponse(e.RedirectURI, e.ResponseMode, e.Err.params(), e.State, e.Issuer)
}

// AuthorizationResponse is what the browser takes back to the client.
type AuthorizationResponse struct {
	// RedirectURI is the client's proven redirect URI.
	RedirectURI string
	// Mode is the response mode; empty is query.
	Mode string
	// Params are the parameters in their order.
	Params [][2]string
}

// CodeResponse is a successful authorization response (RFC 6749 section 4.1.2) with `iss` (RFC 9207 section 2).
func CodeResponse(redirectURI, mode, code, state, issuer string) AuthorizationResponse {
	return newResponse(redirectURI, mode, [][2]string{{ParamCode, code}}, state, issuer)
}

// SuccessResponse is a successful authorization response with the given parameters in front of state and iss (OpenID Connect Core
// sections 3.2.2.5 and 3.3.2.5).
func SuccessResponse(redirectURI, mode string, params [][2]string, state, issuer string) AuthorizationResponse {
	return newResponse(redirectURI, mode, params, state, issuer)
}

func newResponse(redirectURI, mode string, params [][2]string, state, issuer string) AuthorizationResponse {
	if state != "" {
		params = append(params, [2]string{ParamState, state})
	}
	if issuer != "" {
		params = append(params, [2]string{ParamIssuer, issuer})
	}
	return AuthorizationResponse{RedirectURI: redirectURI, Mode: mode, Params: params}
}

// Location is the redirect target for the modes query and fragment, to be sent with 303 so that a POST is not repeated at the
// client (RFC 9700 section 4.12). A query that the redirect URI already has stays as it is. For form_post it is the form's action,
// without the parameters.
func (r AuthorizationResponse) Location() string {
	if r.Mode == ResponseModeFormPost {
		return r.RedirectURI
	}
	b := make([]byte, 0, 512)
	b = append(b, r.RedirectURI...)
	for i, p := range r.Params {
		switch {
		case i > 0:
			b = append(b, '&')
		case r.Mode == ResponseModeFragment:
			b = append(b, '#')
		case !strings.Contains(r.RedirectURI, "?"):
			b = append(b, '?')
		case !strings.HasSuffix(r.RedirectURI, "?") && !strings.HasSuffix(r.RedirectURI, "&"):
			b = append(b, '&')
		}
		b = appendEscaped(b, p[0])
		b = append(b, '=')
		b = appendEscaped(b, p[1])
	}
	return string(b)
}
