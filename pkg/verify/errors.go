// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"errors"
	"net/http"
)

// The "error" values of challenges.
const (
	CodeInvalidRequest             = "invalid_request"                  // RFC 6750 section 3.1
	CodeInvalidToken               = "invalid_token"                    // RFC 6750 section 3.1, RFC 9449 section 7.1
	CodeInsufficientScope          = "insufficient_scope"               // RFC 6750 section 3.1
	CodeInsufficientAuthentication = "insufficient_user_authentication" // RFC 9470 section 3
	CodeInvalidDPoPProof           = "invalid_dpop_proof"               // RFC 9449 section 7.1
	CodeUseDPoPNonce               = "use_dpop_nonce"                   // RFC 9449 section 9
)

var (
	// ErrNoToken: the request has no token at all, so its challenge has no error code (RFC 6750 section 3.1).
	ErrNoToken = errors.New("verify: no access token")
	// ErrUnavailable: whether the token counts cannot be told at the moment, since its issuer or the replay cache cannot be asked. It is answered
	// with 503: the client keeps its token.
	ErrUnavailable = errors.New("verify: the token cannot be checked at the moment")
)

// Error is a token or proof that does not count. Its text is for the client's developer; Cause is for logs.
type Error struct {
	// Code is one of the Code constants.
	Code string
	// Description is why, in the characters that a challenge can hold.
	Description string
	// Require is what was missing, for insufficient scope and authentication.
	Require Requirement
	// Nonce is the one to use next, for CodeUseDPoPNonce.
	Nonce string
	// Cause may be nil.
	Cause error
	// dpop says that the challenge is one of the DPoP scheme.
	dpop bool
}

// Error implements error.
func (e *Error) Error() string { return "verify: " + e.Code + ": " + e.Description }

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Status is the HTTP status that goes with the code.
func (e *Error) Status() int {
	switch e.Code {
	case CodeInvalidRequest:
		return http.StatusBadRequest
	case CodeInsufficientScope:
		return http.StatusForbidden
	}
	return http.StatusUnauthorized
}

func invalidToken(description string, cause error) *Error {
	return &Error{Code: CodeInvalidToken, Description: description, Cause: cause}
}

func invalidProof(description string, cause error) *Error {
	return &Error{Code: CodeInvalidDPoPProof, Description: description, Cause: cause, dpop: true}
}
