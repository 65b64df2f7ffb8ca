// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"fmt"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/internal/jsonw"
)

// TypeLogoutToken is the `typ` header of logout tokens (OpenID Connect Back-Channel Logout section 2.4).
const TypeLogoutToken = "logout+jwt" //nolint:gosec // G101: a media type

// LogoutTokenLife is how long a logout token is valid: two minutes at most (section 2.4).
const LogoutTokenLife = 2 * time.Minute

// LogoutTokenInput is what a logout token is made from.
type LogoutTokenInput struct {
	// Issuer and ClientID become iss and aud.
	Issuer, ClientID string
	// Subject and Session become sub and sid; one of them is there.
	Subject string
	Session id.Session
	// Tenant is the tenant.
	Tenant id.Tenant
	// ID becomes jti.
	ID [16]byte
	// IssuedAt and ExpireTime become iat and exp.
	IssuedAt, ExpireTime time.Time
}

// BuildLogoutToken writes the payload of a logout token. The error wraps ErrIncomplete.
func BuildLogoutToken(in LogoutTokenInput) ([]byte, error) {
	switch {
	case in.Issuer == "" || in.ClientID == "" || in.Tenant.IsZero() || in.ID == [16]byte{}:
		return nil, fmt.Errorf("%w: iss, aud, tnt or jti", ErrIncomplete)
	case in.Subject == "" && in.Session.IsZero():
		return nil, fmt.Errorf("%w: sub or sid", ErrIncomplete)
	case in.IssuedAt.IsZero() || !in.ExpireTime.After(in.IssuedAt):
		return nil, fmt.Errorf("%w: iat or exp", ErrIncomplete)
	}
	b := make([]byte, 0, 384)
	b = jsonw.Member(append(b, '{'), "iss", in.Issuer)
	b = jsonw.OptionalMember(b, "sub", in.Subject)
	b = jsonw.Member(b, "aud", in.ClientID)
	b = jsonw.Int(b, "iat", in.IssuedAt.Unix())
	b = jsonw.Int(b, "exp", in.ExpireTime.Unix())
	b = append(jsonw.Name(b, "jti"), '"')
	b = append(id.AppendBase32(b, in.ID), '"')
	// There is no nonce: with one the token could pass for an ID token (section 2.4).
	b = append(jsonw.Name(b, "events"), `{"http://schemas.openid.net/event/backchannel-logout":{}}`...)
	b = idMember(b, "sid", in.Session)
	b = idMember(b, "tnt", in.Tenant)
	return append(b, '}'), nil
}
