// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"encoding/json"
	"time"

	"github.com/tenantry/tenantry/pkg/internal/jsonw"
)

// TokenResponse is a successful answer of the token endpoint (RFC 6749 section 5.1).
type TokenResponse struct {
	// AccessToken is always there.
	AccessToken string
	// TokenType is how it is used; empty is Bearer.
	TokenType string
	// ExpiresIn is the rest of its life; fractions of a second are cut off, so that a client never thinks it longer.
	ExpiresIn time.Duration
	// RefreshToken is empty for none.
	RefreshToken string
	// IDToken is empty for none (OpenID Connect Core section 3.1.3.3).
	IDToken string
	// Scope is what was granted; sent always, since the client need not compare.
	Scope string
	// AuthorizationDetails are those granted, a JSON array; nil for none (RFC 9396 section 7).
	AuthorizationDetails json.RawMessage
	// IssuedTokenType is the kind of the access token in an answer to a token exchange (RFC 8693 section 2.2.1), else empty.
	IssuedTokenType string
	// Issuer is the issuer of the access token when that is not the one that was asked: a token exchange that switched the tenant.
	Issuer string
}

// AppendJSON appends the response's body. It must be sent with `Cache-Control: no-store` (RFC 6749 section 5.1).
func (r *TokenResponse) AppendJSON(dst []byte) []byte {
	dst = jsonw.Member(append(dst, '{'), ParamAccessToken, r.AccessToken)
	tokenType := r.TokenType
	if tokenType == "" {
		tokenType = TokenTypeBearer
	}
	dst = jsonw.Member(dst, ParamTokenType, tokenType)
	dst = jsonw.Int(dst, ParamExpiresIn, int64(r.ExpiresIn/time.Second))
	dst = jsonw.OptionalMember(dst, ParamRefreshToken, r.RefreshToken)
	dst = jsonw.OptionalMember(dst, "id_token", r.IDToken)
	dst = jsonw.OptionalMember(dst, ParamScope, r.Scope)
	if len(r.AuthorizationDetails) > 0 {
		dst = append(jsonw.Name(dst, ParamAuthorizationDetails), r.AuthorizationDetails...)
	}
	dst = jsonw.OptionalMember(dst, ParamIssuedTokenType, r.IssuedTokenType)
	dst = jsonw.OptionalMember(dst, "issuer", r.Issuer)
	return append(dst, '}')
}
