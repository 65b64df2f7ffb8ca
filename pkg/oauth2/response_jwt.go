// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/internal/jsonw"
)

// ResponseJWTLife is how long the JWT of an authorization response is valid. It is read the moment it arrives; the standard has ten
// minutes at most (JWT Secured Authorization Response Mode section 2.1).
const ResponseJWTLife = 5 * time.Minute

// ErrResponseJWT: parameters that no authorization response has, or has once only.
var ErrResponseJWT = errors.New("oauth2: not the parameters of an authorization response")

// signedParams are all parameters that an authorization response may have. Nothing else is ever signed as one, so that who may ask for
// a signature cannot make the response pass for another kind of token.
var signedParams = []string{
	ParamCode, ParamState, ParamError, ParamErrorDescription, ParamErrorURI, ParamIDToken, ParamAccessToken, ParamTokenType, ParamExpiresIn,
	ParamScope, ParamSessionState,
}

// ParamSessionState is the End-User's login state at the provider (OpenID Connect Session Management section 2).
const ParamSessionState = "session_state"

// BuildResponseJWT writes the payload of an authorization response as a JWT (JWT Secured Authorization Response Mode section 2.1): iss, aud
// (the client), exp and the response's parameters. An `iss` among the parameters is left out, as the claim says it (section 2.4). The
// error is ErrResponseJWT.
func BuildResponseJWT(issuer, clientID string, expire time.Time, params [][2]string) ([]byte, error) {
	if issuer == "" || clientID == "" || expire.IsZero() || len(params) == 0 {
		return nil, ErrResponseJWT
	}
	b := make([]byte, 0, 512)
	b = jsonw.Member(append(b, '{'), "iss", issuer)
	b = jsonw.Member(b, "aud", clientID)
	b = jsonw.Int(b, "exp", expire.Unix())
	for i, p := range params {
		if p[0] == ParamIssuer {
			continue
		}
		if !slices.Contains(signedParams, p[0]) || slices.ContainsFunc(params[:i], func(q [2]string) bool { return q[0] == p[0] }) {
			return nil, ErrResponseJWT
		}
		b = jsonw.Member(b, p[0], p[1])
	}
	return append(b, '}'), nil
}

// SignedMode says whether a response mode carries its parameters in a JWT.
func SignedMode(mode string) bool { return mode == ResponseModeJWT || strings.HasSuffix(mode, ".jwt") }

// WithJWT is the response whose only parameter is the given JWT of the parameters that it had (sections 2.3.1 to 2.3.3), in the plain form
// of its mode. A response in another mode is returned as it is.
func (r AuthorizationResponse) WithJWT(token string) AuthorizationResponse {
	if plain, ok := strings.CutSuffix(r.Mode, ".jwt"); ok {
		return AuthorizationResponse{RedirectURI: r.RedirectURI, Mode: plain, Params: [][2]string{{ParamResponse, token}}}
	}
	return r
}
