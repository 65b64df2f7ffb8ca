// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import "strings"

// MaxTokenBytes is the largest bearer token that is looked at.
const MaxTokenBytes = 8 << 10

// bearerChallenge is the WWW-Authenticate value for a request without a token: no error code, since none was made (RFC 6750
// section 3.1).
const bearerChallenge = `Bearer realm="userinfo"` //nolint:gosec // G101: a challenge holds no credential

// anyChallenge is the same, telling that the other scheme is taken as well (RFC 9449 section 7.1).
var anyChallenge = bearerChallenge + `, DPoP algs="` + strings.Join(ProofAlgs(ProfileBaseline), " ") + `"`

// ParseBearer finds the access token of a request to a protected resource: in the Authorization header with the scheme Bearer (RFC 6750
// section 2.1) or DPoP (RFC 9449 section 7.1), in any case (RFC 9110 section 11.1), or as a field of a form body (RFC 6750 section
// 2.2), never both and never in the URL (RFC 9700 section 4.3.2), which is why only body parameters may be passed. scheme is
// TokenTypeBearer or TokenTypeDPoP. Without a token the error has status 401 and a challenge without a code.
func ParseBearer(authorizationHeader string, body Params) (token, scheme string, err error) {
	inBody := body.Get(ParamAccessToken)
	if authorizationHeader == "" {
		if inBody == "" {
			e := InvalidToken("an access token is needed")
			e.Challenge = anyChallenge
			return "", "", e
		}
		token, err = checkBearer(inBody)
		return token, TokenTypeBearer, err
	}
	if inBody != "" {
		e := InvalidRequest("the access token is given twice")
		e.Challenge = bearerError(e)
		return "", "", e
	}
	scheme, token, _ = strings.Cut(authorizationHeader, " ")
	switch {
	case strings.EqualFold(scheme, TokenTypeBearer):
		scheme = TokenTypeBearer
	case strings.EqualFold(scheme, TokenTypeDPoP):
		scheme = TokenTypeDPoP
	default:
		e := InvalidToken("an access token is needed")
		e.Challenge = anyChallenge
		return "", "", e
	}
	token, err = checkBearer(strings.TrimLeft(token, " "))
	if err != nil && scheme == TokenTypeDPoP {
		err = ResourceError(AsError(err), true)
	}
	return token, scheme, err
}

// ResourceError is e as a protected resource answers it: with status 401 and the challenge of the scheme that the token has (RFC 6750
// section 3, RFC 9449 section 7.1).
func ResourceError(e *Error, dpop bool) *Error {
	c := *e
	c.Status = statusUnauthorized
	if !dpop {
		c.Challenge = bearerError(&c)
		return &c
	}
	c.Challenge = `DPoP error="` + c.Code + `", error_description="` + c.Description + `", algs="` + strings.Join(ProofAlgs(ProfileBaseline), " ") + `"`
	return &c
}

// checkBearer is b64token of RFC 6750 section 2.1.
func checkBearer(token string) (string, error) {
	if token == "" || len(token) > MaxTokenBytes {
		return "", InvalidToken("the access token is malformed")
	}
	body := strings.TrimRight(token, "=")
	for i := range len(body) {
		if c := body[i]; !isAlnum(c) && strings.IndexByte("-._~+/", c) < 0 {
			return "", InvalidToken("the access token is malformed")
		}
	}
	return token, nil
}

// InvalidToken: the access token is malformed, expired, revoked, of another tenant or of another kind (RFC 6750 section 3.1). It
// carries its challenge.
func InvalidToken(description string) *Error {
	e := NewError(CodeInvalidToken, statusUnauthorized, description)
	e.Challenge = bearerError(e)
	return e
}

// InsufficientScope: the access token lacks the named scope (RFC 6750 section 3.1). It carries its challenge.
func InsufficientScope(scope string) *Error {
	e := NewError(CodeInsufficientScope, statusForbidden, "the access token lacks a scope")
	e.Challenge = bearerError(e)
	if ValidScope(scope) {
		e.Challenge += `, scope="` + scope + `"`
	}
	return e
}

// bearerError prints an error as a challenge. A description has no quotes and no backslashes, so it needs no escaping.
func bearerError(e *Error) string {
	return bearerChallenge + `, error="` + e.Code + `", error_description="` + e.Description + `"`
}
