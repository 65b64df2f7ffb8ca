// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/internal/jsonw"
	"github.com/tenantry/tenantry/pkg/oauth2"
)

// TypeAccessToken is the `typ` header of access tokens (RFC 9068 section 2.1).
const TypeAccessToken = "at+jwt"

// maxNames bounds the bytes of roles, groups and entitlements together: a token travels in a header, and servers commonly take
// 8 KiB for all headers.
const maxNames = 4 << 10

// AccessTokenInput is what an access token is made from (RFC 9068 section 2.2 and the claims of Tenantry).
type AccessTokenInput struct {
	// Issuer, Subject, Audience and ClientID become iss, sub, aud and client_id. A client's own token has its client_id as subject.
	Issuer, Subject, Audience, ClientID string
	// Org is always there; Tenant must be for a user's token.
	Org    id.Org
	Tenant id.Tenant
	// TokenUse is TokenUseUser or TokenUseClient.
	TokenUse string
	// Development sets env to dev, else prod.
	Development bool
	// Scopes become scope.
	Scopes oauth2.Scopes
	// IssuedAt becomes iat and nbf, ExpireTime exp.
	IssuedAt, ExpireTime time.Time
	// ID is 128 random bits, printed as `jti` in 26 base32 characters.
	ID [16]byte
	// ConfigVersion is the tenant's config_version, `cfg`.
	ConfigVersion uint64

	// Session is the session, zero for none; Grant the grant (`gnt`), so that revoking it reaches its access tokens.
	Session id.Session
	Grant   id.Grant
	// AuthTime, ACR and AMR say how the user logged in; not in a client's own token.
	AuthTime time.Time
	ACR      string
	AMR      []string
	// Roles, Groups and Entitlements are those of the active tenant. What is beyond 4 KiB in all is left out and said so with
	// claims_truncated.
	Roles, Groups, Entitlements []string

	// Binding is the key that the token is bound to, `cnf`; zero for a bearer token.
	Binding oauth2.Binding
	// Actor and MayAct are the JSON objects `act` and `may_act` (RFC 8693 sections 4.1 and 4.4), AuthorizationDetails is the JSON array
	// of that name (RFC 9396 section 9.1); nil for none.
	Actor, MayAct, AuthorizationDetails json.RawMessage
	// Origin is the tenant whose session and grant the token hangs on, when it came of an exchange at another tenant (`origin_tnt`);
	// zero otherwise. What is revoked there must be looked up there.
	Origin id.Tenant
}

// BuildAccessToken writes the payload of an access token. The error wraps ErrIncomplete.
func BuildAccessToken(in AccessTokenInput) ([]byte, error) {
	return AppendAccessToken(make([]byte, 0, 1024), &in)
}

// AppendAccessToken is BuildAccessToken into a caller's buffer; it allocates nothing when that is large enough.
func AppendAccessToken(b []byte, in *AccessTokenInput) ([]byte, error) {
	if err := in.complete(); err != nil {
		return nil, err
	}
	b = jsonw.Member(append(b, '{'), "iss", in.Issuer)
	b = jsonw.Member(b, "sub", in.Subject)
	b = jsonw.Member(b, "aud", in.Audience)
	b = jsonw.Member(b, "client_id", in.ClientID)
	b = idMember(b, "org", in.Org)
	b = idMember(b, "tnt", in.Tenant)
	b = jsonw.Member(b, "token_use", in.TokenUse)
	env := EnvProduction
	if in.Development {
		env = EnvDevelopment
	}
	b = jsonw.Member(b, "env", env)
	b = idMember(b, "sid", in.Session)
	b = idMember(b, "gnt", in.Grant)
	if !in.AuthTime.IsZero() {
		b = jsonw.Int(b, "auth_time", in.AuthTime.Unix())
	}
	b = jsonw.OptionalMember(b, "acr", in.ACR)
	b = list(b, "amr", in.AMR)
	b = append(jsonw.Name(b, "scope"), '"')
	for i, s := range in.Scopes {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, s...) // complete has seen that none of them needs escaping
	}
	b = append(b, '"')
	if !in.Binding.IsZero() {
		b = in.Binding.AppendJSON(jsonw.Name(b, "cnf"))
	}
	b = rawMember(b, "act", in.Actor)
	b = rawMember(b, "may_act", in.MayAct)
	b = rawMember(b, "authorization_details", in.AuthorizationDetails)
	b = idMember(b, "origin_tnt", in.Origin)
	b = in.appendNames(b)
	b = jsonw.Uint(b, "cfg", in.ConfigVersion)
	iat := in.IssuedAt.Unix()
	b = jsonw.Int(b, "iat", iat)
	b = jsonw.Int(b, "nbf", iat)
	b = jsonw.Int(b, "exp", in.ExpireTime.Unix())
	b = append(jsonw.Name(b, "jti"), '"')
	b = id.AppendBase32(b, in.ID)
	return append(b, '"', '}'), nil
}

// rawMember appends a member whose value is JSON already.
func rawMember(b []byte, name string, value json.RawMessage) []byte {
	if len(value) == 0 {
		return b
	}
	return append(jsonw.Name(b, name), value...)
}

// complete refuses to make a token that a verifier could misread: the five facts org, client_id, tnt, sub and iss, and the rest of
// what RFC 9068 section 2.2 requires.
func (in *AccessTokenInput) complete() error {
	switch {
	case in.Issuer == "" || in.Subject == "" || in.Audience == "" || in.ClientID == "" || in.Org.IsZero():
		return fmt.Errorf("%w: iss, sub, aud, client_id or org", ErrIncomplete)
	case in.IssuedAt.IsZero() || !in.ExpireTime.After(in.IssuedAt):
		return fmt.Errorf("%w: iat or exp", ErrIncomplete)
	case in.ID == [16]byte{}:
		return fmt.Errorf("%w: jti", ErrIncomplete)
	}
	switch in.TokenUse {
	case TokenUseUser:
		if in.Tenant.IsZero() || in.AuthTime.IsZero() || in.ACR == "" || len(in.AMR) == 0 {
			return fmt.Errorf("%w: tnt, auth_time, acr or amr of a user's token", ErrIncomplete)
		}
		if in.Subject == in.ClientID {
			return fmt.Errorf("%w: a user's token about a client", ErrIncomplete)
		}
	case TokenUseClient:
		if in.Subject != in.ClientID || !in.Session.IsZero() || !in.AuthTime.IsZero() {
			return fmt.Errorf("%w: a client's token about a user", ErrIncomplete)
		}
	default:
		return fmt.Errorf("%w: token_use", ErrIncomplete)
	}
	for _, s := range in.Scopes {
		if !oauth2.ValidScope(s) {
			return fmt.Errorf("%w: scope", ErrIncomplete)
		}
	}
	if !isJSON(in.Actor, '{') || !isJSON(in.MayAct, '{') || !isJSON(in.AuthorizationDetails, '[') {
		return fmt.Errorf("%w: act, may_act or authorization_details", ErrIncomplete)
	}
	return nil
}

// isJSON says whether an optional value is JSON that begins so.
func isJSON(value json.RawMessage, first byte) bool {
	return len(value) == 0 || value[0] == first && json.Valid(value)
}

func (in *AccessTokenInput) appendNames(b []byte) []byte {
	room := maxNames
	truncated := false
	for _, c := range [...]struct {
		name   string
		values []string
	}{{"roles", in.Roles}, {"groups", in.Groups}, {"entitlements", in.Entitlements}} {
		n := 0
		for n < len(c.values) && len(c.values[n]) <= room {
			room -= len(c.values[n])
			n++
		}
		if n < len(c.values) {
			truncated = true
			room = 0 // a later list must not look complete beside an earlier one that is not
		}
		b = list(b, c.name, c.values[:n])
	}
	if truncated {
		b = jsonw.Bool(b, "claims_truncated", true)
	}
	return b
}

// ErrAccessToken is wrapped by the errors of ParseAccessToken. It is answered with invalid_token or `"active": false`.
var ErrAccessToken = errors.New("oidc: not an access token of ours")

// AccessTokenClaims are the claims of an access token.
type AccessTokenClaims struct {
	Issuer        string   `json:"iss"`
	Subject       string   `json:"sub"`
	Audience      string   `json:"aud"`
	ClientID      string   `json:"client_id"`
	Org           string   `json:"org"`
	Tenant        string   `json:"tnt"`
	TokenUse      string   `json:"token_use"`
	Env           string   `json:"env"`
	SessionID     string   `json:"sid"`
	GrantID       string   `json:"gnt"`
	AuthTime      int64    `json:"auth_time"`
	ACR           string   `json:"acr"`
	AMR           []string `json:"amr"`
	Scope         string   `json:"scope"`
	Roles         []string `json:"roles"`
	Groups        []string `json:"groups"`
	Entitlements  []string `json:"entitlements"`
	Truncated     bool     `json:"claims_truncated"`
	ConfigVersion uint64   `json:"cfg"`
	IssuedAt      int64    `json:"iat"`
	NotBefore     int64    `json:"nbf"`
	ExpireTime    int64    `json:"exp"`
	ID            string   `json:"jti"`

	// Binding is zero for a bearer token; the three others are nil when they are absent.
	Binding              oauth2.Binding  `json:"cnf"`
	Actor                json.RawMessage `json:"act"`
	MayAct               json.RawMessage `json:"may_act"`
	AuthorizationDetails json.RawMessage `json:"authorization_details"`
	// Origin is the tenant of another one's session and grant, empty for the token's own.
	Origin string `json:"origin_tnt"`
}

// ParseAccessToken reads the payload of an access token whose signature and `typ` the caller has verified. A payload that
// BuildAccessToken would not have made is refused. Errors wrap ErrAccessToken.
func ParseAccessToken(payload []byte) (AccessTokenClaims, error) {
	var c AccessTokenClaims
	if err := json.Unmarshal(payload, &c); err != nil {
		return AccessTokenClaims{}, fmt.Errorf("%w: payload", ErrAccessToken)
	}
	if c.Issuer == "" || c.Subject == "" || c.Audience == "" || c.ClientID == "" || c.Org == "" || c.ID == "" ||
		c.IssuedAt <= 0 || c.ExpireTime <= c.IssuedAt {
		return AccessTokenClaims{}, fmt.Errorf("%w: a claim is missing", ErrAccessToken)
	}
	switch c.TokenUse {
	case TokenUseUser:
		if c.Tenant == "" || c.Subject == c.ClientID {
			return AccessTokenClaims{}, fmt.Errorf("%w: not a user's token", ErrAccessToken)
		}
	case TokenUseClient:
		if c.Subject != c.ClientID {
			return AccessTokenClaims{}, fmt.Errorf("%w: not a client's token", ErrAccessToken)
		}
	default:
		return AccessTokenClaims{}, fmt.Errorf("%w: token_use", ErrAccessToken)
	}
	return c, nil
}

// Check tells whether the token counts at now at this issuer, and for a user's token at this tenant (a token of another tenant
// host is refused even when a key would verify it). It is true from nbf on and until exp, which is when it is dead (RFC 7519
// section 4.1.4); we issue and check with the same clocks, so there is no leeway on exp, and a minute on nbf for a replica that
// runs behind. Errors wrap ErrAccessToken.
func (c *AccessTokenClaims) Check(issuer string, tenant id.Tenant, now time.Time) error {
	t := now.Unix()
	switch {
	case issuer == "" || c.Issuer != issuer:
		return fmt.Errorf("%w: iss", ErrAccessToken)
	case c.Tenant != "" && c.Tenant != tenant.String():
		return fmt.Errorf("%w: tnt", ErrAccessToken)
	case t >= c.ExpireTime:
		return fmt.Errorf("%w: expired", ErrAccessToken)
	case t+60 < c.NotBefore:
		return fmt.Errorf("%w: not valid yet", ErrAccessToken)
	}
	return nil
}

// Scopes is the scope claim as a list; nil when it is malformed.
func (c *AccessTokenClaims) Scopes() oauth2.Scopes {
	s, err := oauth2.ParseScopes(c.Scope)
	if err != nil {
		return nil
	}
	return s
}

// Inactive is the introspection answer for everything that is not a live token of this tenant (RFC 7662 section 2.2): it says
// nothing else, so that a stranger's token looks like no token.
const Inactive = `{"active":false}`

// AppendIntrospection appends the introspection answer for a live access token with the given verified payload: its claims, which
// have the names of RFC 7662 section 2.2 (cnf: RFC 8705 section 3.2 and RFC 9449 section 6.2), with active and token_type in front.
// The payload must be the one that ParseAccessToken read c from.
func AppendIntrospection(dst, payload []byte, c *AccessTokenClaims) []byte {
	dst = append(dst, `{"active":true,"token_type":"`...)
	dst = append(dst, c.Binding.TokenType()...)
	dst = append(dst, '"', ',')
	return append(dst, bytes.TrimPrefix(bytes.TrimSpace(payload), []byte{'{'})...)
}
