// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"errors"
	"time"

	"github.com/tenantry/tenantry/pkg/internal/jsonw"
)

// HTTP status codes of Error, spelt out so that a pure package need not import net/http.
const (
	statusBadRequest         = 400
	statusUnauthorized       = 401
	statusForbidden          = 403
	statusInternal           = 500
	statusServiceUnavailable = 503
)

// Error is an error response in the words of the standards (RFC 6749 sections 4.1.2.1 and 5.2, RFC 6750 section 3.1). Everything
// exported may be sent to the client; the cause, which Unwrap gives, may only be logged.
type Error struct {
	// Code is the `error` parameter.
	Code string
	// Description is the `error_description`: for developers, in the character set of RFC 6749 section 5.2, never holding
	// unchecked input.
	Description string
	// URI is the `error_uri`, usually empty.
	URI string
	// Status is the HTTP status code where the error is sent as a body.
	Status int
	// Challenge is the value of the WWW-Authenticate header, empty for none.
	Challenge string
	// RetryAfter is the value of the Retry-After header, 0 for none; rounded up to seconds by who writes it.
	RetryAfter time.Duration

	cause error
}

// NewError makes an error of any code; packages with codes of their own build their constructors on it. Characters that RFC 6749
// section 5.2 does not allow in a description become spaces.
func NewError(code string, status int, description string) *Error {
	return &Error{Code: code, Status: status, Description: cleanDescription(description)}
}

// Error is for logs: code, description and the cause.
func (e *Error) Error() string {
	s := e.Code
	if e.Description != "" {
		s += ": " + e.Description
	}
	if e.cause != nil {
		s += " (" + e.cause.Error() + ")"
	}
	return s
}

// Unwrap gives the cause, which is logged and never sent.
func (e *Error) Unwrap() error { return e.cause }

// WithCause returns a copy of e that carries an inner error for the log.
func (e *Error) WithCause(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// AppendJSON appends the body of RFC 6749 section 5.2.
func (e *Error) AppendJSON(dst []byte) []byte {
	dst = jsonw.Member(append(dst, '{'), ParamError, e.Code)
	dst = jsonw.OptionalMember(dst, ParamErrorDescription, e.Description)
	dst = jsonw.OptionalMember(dst, ParamErrorURI, e.URI)
	return append(dst, '}')
}

// MarshalJSON is AppendJSON.
func (e *Error) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil), nil }

// params are the error's members as authorization response parameters (RFC 6749 section 4.1.2.1).
func (e *Error) params() [][2]string {
	p := [][2]string{{ParamError, e.Code}}
	if e.Description != "" {
		p = append(p, [2]string{ParamErrorDescription, e.Description})
	}
	if e.URI != "" {
		p = append(p, [2]string{ParamErrorURI, e.URI})
	}
	return p
}

// AsError finds the Error to send for err: the one in its chain, or server_error around it. It gives nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return ServerError(err)
}

// CodeOf is the error code in err's chain, or the empty string.
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// InvalidRequest: a parameter is missing, repeated, malformed or out of bounds (RFC 6749 sections 4.1.2.1 and 5.2).
func InvalidRequest(description string) *Error {
	return NewError(CodeInvalidRequest, statusBadRequest, description)
}

// InvalidClient: the client is unknown or did not prove who it is (RFC 6749 section 5.2).
func InvalidClient(description string) *Error {
	return NewError(CodeInvalidClient, statusUnauthorized, description)
}

// InvalidGrant: the code or refresh token is not valid, expired, revoked or was issued to another client (RFC 6749 section 5.2).
func InvalidGrant(description string) *Error {
	return NewError(CodeInvalidGrant, statusBadRequest, description)
}

// UnauthorizedClient: the client may not use this grant or response type (RFC 6749 sections 4.1.2.1 and 5.2).
func UnauthorizedClient(description string) *Error {
	return NewError(CodeUnauthorizedClient, statusBadRequest, description)
}

// UnsupportedGrantType: nobody may use this grant type (RFC 6749 section 5.2).
func UnsupportedGrantType() *Error {
	return NewError(CodeUnsupportedGrantType, statusBadRequest, "this grant_type is not supported")
}

// UnsupportedResponseType: nobody may use this response type (RFC 6749 section 4.1.2.1).
func UnsupportedResponseType() *Error {
	return NewError(CodeUnsupportedResponseType, statusBadRequest, "this response_type is not supported")
}

// InvalidScope: nothing of what was asked may be given, or the scope is malformed (RFC 6749 sections 4.1.2.1 and 5.2).
func InvalidScope(description string) *Error {
	return NewError(CodeInvalidScope, statusBadRequest, description)
}

// AccessDenied: the user or the server said no (RFC 6749 section 4.1.2.1).
func AccessDenied(description string) *Error {
	return NewError(CodeAccessDenied, statusBadRequest, description)
}

// ServerError: something of ours failed; cause goes to the log only (RFC 6749 section 4.1.2.1).
func ServerError(cause error) *Error {
	return NewError(CodeServerError, statusInternal, "").WithCause(cause)
}

// TemporarilyUnavailable: overloaded or a dependency is away; the same request may succeed after retryAfter (RFC 6749 section
// 4.1.2.1).
func TemporarilyUnavailable(retryAfter time.Duration, cause error) *Error {
	e := NewError(CodeTemporarilyUnavailable, statusServiceUnavailable, "try again in a moment").WithCause(cause)
	e.RetryAfter = retryAfter
	return e
}

// InvalidTarget: the resource is unknown, malformed or not allowed for this client (RFC 8707 section 2).
func InvalidTarget(description string) *Error {
	return NewError(CodeInvalidTarget, statusBadRequest, description)
}

// UnsupportedTokenType: tokens of this type cannot be revoked here (RFC 7009 section 2.2.1).
func UnsupportedTokenType() *Error {
	return NewError(CodeUnsupportedTokenType, statusBadRequest, "this token type is not supported")
}

// cleanDescription keeps the characters that RFC 6749 section 5.2 allows in error_description: %x20-21 / %x23-5B / %x5D-7E.
func cleanDescription(s string) string {
	for i := range len(s) {
		if !descriptionChar(s[i]) {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				if !descriptionChar(b[j]) {
					b[j] = ' '
				}
			}
			return string(b)
		}
	}
	return s
}

func descriptionChar(c byte) bool { return c >= 0x20 && c <= 0x7e && c != '"' && c != '\\' }
