// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
)

// Claims are those of a verified access token.
type Claims struct {
	// Issuer, Subject, ClientID, Org and Tenant are the five facts: who says so, about whom, through which client, in which org and
	// tenant. Tenant is empty only with NoTenant.
	Issuer, Subject, ClientID, Org, Tenant string
	// Audience is aud; this API is one of them.
	Audience []string
	// TokenUse is UserTokens or ClientTokens, Env is "prod" or "dev".
	TokenUse, Env string
	// SessionID and GrantID are empty in a client's token.
	SessionID, GrantID string
	// AuthTime, ACR and AMR say when and how the person logged in; zero in a client's token.
	AuthTime time.Time
	ACR      string
	AMR      []string
	// Scopes are those of scope.
	Scopes []string
	// Roles, Groups, Entitlements and Permissions are those of the tenant. Truncated says that there are more than the token could hold.
	Roles, Groups, Entitlements, Permissions []string
	Truncated                                bool
	// ConfigVersion is the tenant's config_version that made the token.
	ConfigVersion uint64
	// IssuedAt, NotBefore and ExpireTime are the token's times, ID is its jti.
	IssuedAt, NotBefore, ExpireTime time.Time
	ID                              string
	// KeyThumbprint and CertificateThumbprint are what the token is bound to (cnf: jkt, x5t#S256), empty for a bearer token. The binding has been
	// proved.
	KeyThumbprint, CertificateThumbprint string
	// Actor is the act claim (RFC 8693 section 4.1) and AuthorizationDetails that of RFC 9396, as JSON; nil when absent.
	Actor, AuthorizationDetails json.RawMessage

	raw json.RawMessage
}

// HasScope reports whether the token has a scope.
func (c *Claims) HasScope(scope string) bool { return slices.Contains(c.Scopes, scope) }

// HasRole reports whether the token has a role. With Truncated set, false means "not in the token".
func (c *Claims) HasRole(role string) bool { return slices.Contains(c.Roles, role) }

// Decode reads all claims, custom ones too, into what v points to.
func (c *Claims) Decode(v any) error { return json.Unmarshal(c.raw, v) }

// audience is a string or a list of strings (RFC 7519 section 4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// wireClaims are the claims as they come.
type wireClaims struct {
	Issuer        string   `json:"iss"`
	Subject       string   `json:"sub"`
	Audience      audience `json:"aud"`
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
	Permissions   []string `json:"permissions"`
	Truncated     bool     `json:"claims_truncated"`
	ConfigVersion uint64   `json:"cfg"`
	IssuedAt      int64    `json:"iat"`
	NotBefore     int64    `json:"nbf"`
	ExpireTime    int64    `json:"exp"`
	ID            string   `json:"jti"`
	Confirmation  *struct {
		KeyThumbprint         string `json:"jkt"`
		CertificateThumbprint string `json:"x5t#S256"`
	} `json:"cnf"`
	Actor                json.RawMessage `json:"act"`
	AuthorizationDetails json.RawMessage `json:"authorization_details"`
}

var errIncomplete = errors.New("a claim that every access token has is missing or of the wrong kind")

// parseClaims reads a payload. A token without one of the five facts, or without a life, is none.
func parseClaims(payload []byte) (*Claims, error) {
	var w wireClaims
	if err := json.Unmarshal(payload, &w); err != nil {
		return nil, errIncomplete
	}
	if w.Issuer == "" || w.Subject == "" || w.ClientID == "" || w.Org == "" || len(w.Audience) == 0 || w.ID == "" ||
		w.IssuedAt <= 0 || w.ExpireTime <= w.IssuedAt || w.NotBefore < 0 || w.AuthTime < 0 {
		return nil, errIncomplete
	}
	switch w.TokenUse {
	case UserTokens:
		if w.Tenant == "" || w.AuthTime == 0 || w.Subject == w.ClientID {
			return nil, errIncomplete
		}
	case ClientTokens:
		if w.Subject != w.ClientID && !strings.HasPrefix(w.Subject, "sva_") { // sva_: a service account, never a person
			return nil, errIncomplete
		}
	default:
		return nil, errIncomplete
	}
	c := &Claims{
		Issuer: w.Issuer, Subject: w.Subject, ClientID: w.ClientID, Org: w.Org, Tenant: w.Tenant, Audience: w.Audience,
		TokenUse: w.TokenUse, Env: w.Env, SessionID: w.SessionID, GrantID: w.GrantID, ACR: w.ACR, AMR: w.AMR,
		Scopes: strings.Fields(w.Scope), Roles: w.Roles, Groups: w.Groups, Entitlements: w.Entitlements, Permissions: w.Permissions,
		Truncated: w.Truncated, ConfigVersion: w.ConfigVersion, ID: w.ID,
		IssuedAt: time.Unix(w.IssuedAt, 0), NotBefore: time.Unix(w.NotBefore, 0), ExpireTime: time.Unix(w.ExpireTime, 0),
		Actor: w.Actor, AuthorizationDetails: w.AuthorizationDetails, raw: payload,
	}
	if w.AuthTime > 0 {
		c.AuthTime = time.Unix(w.AuthTime, 0)
	}
	if w.Confirmation != nil {
		c.KeyThumbprint, c.CertificateThumbprint = w.Confirmation.KeyThumbprint, w.Confirmation.CertificateThumbprint
		if c.KeyThumbprint == "" && c.CertificateThumbprint == "" {
			return nil, errors.New("the token is bound in a way that is not known here") // and so must not pass for a bearer token
		}
	}
	return c, nil
}

// check applies the rules that need no key: issuer, audience, times, tenant, kind and environment.
func (v *Verifier) check(c *Claims, issuer, tenant string) *Error {
	now, cfg := v.cfg.Now(), &v.cfg
	switch {
	case c.Issuer != issuer:
		return invalidToken("The token is of another issuer", nil)
	case !slices.Contains(c.Audience, cfg.Audience):
		return invalidToken("The token is for another audience", nil)
	case !now.Before(c.ExpireTime.Add(cfg.Leeway)):
		return invalidToken("The token has expired", nil)
	case now.Add(cfg.Leeway).Before(c.NotBefore) || now.Add(cfg.Leeway).Before(c.IssuedAt):
		return invalidToken("The token is not valid yet", nil)
	case cfg.Org != "" && c.Org != cfg.Org:
		return invalidToken("The token is of another org", nil)
	case cfg.TokenUse != AnyTokens && c.TokenUse != cfg.TokenUse:
		return invalidToken("The token is of the wrong use", nil)
	case c.Env != "prod" && (c.Env != "dev" || !cfg.AllowDevelopment):
		return invalidToken("The token is of a development tenant", nil)
	}
	ok := c.Tenant == tenant && tenant != ""
	switch tenant {
	case TenantOfIssuer:
		ok = c.Tenant != ""
	case NoTenant:
		ok = c.Tenant == ""
	}
	if !ok {
		return invalidToken("The token is of another tenant", nil)
	}
	return nil
}

// meets says what of a requirement the token does not meet (RFC 6750 section 3.1, RFC 9470 section 3).
func (v *Verifier) meets(c *Claims, need Requirement) *Error {
	// Authentication first: a new log-in may bring the scope as well, but never the other way round.
	tooOld := need.MaxAge > 0 && (c.AuthTime.IsZero() || v.cfg.Now().After(c.AuthTime.Add(need.MaxAge).Add(v.cfg.Leeway)))
	weak := len(need.ACR) > 0 && (c.ACR == "" || !slices.Contains(need.ACR, c.ACR))
	switch {
	case weak:
		return &Error{Code: CodeInsufficientAuthentication, Description: "A different authentication level is required", Require: need}
	case tooOld:
		return &Error{Code: CodeInsufficientAuthentication, Description: "More recent authentication is required", Require: need}
	}
	for _, s := range need.Scopes {
		if !c.HasScope(s) {
			return &Error{Code: CodeInsufficientScope, Description: "The token lacks a scope that this needs", Require: need}
		}
	}
	return nil
}
