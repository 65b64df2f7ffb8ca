// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"time"

	"github.com/tenantry/tenantry/pkg/internal/jsonw"
)

// A signed introspection answer (RFC 9701 section 5).
const (
	// TypeIntrospection is the `typ` header.
	TypeIntrospection = "token-introspection+jwt"
	// MediaTypeIntrospection is the content type, and what a resource server asks for in Accept.
	MediaTypeIntrospection = "application/" + TypeIntrospection
)

// AppendIntrospectionJWT appends the payload of a signed introspection answer for the resource server audience, around the plain
// answer. It has neither `sub` nor `exp`, so that it is never taken for an access token (RFC 9701 section 5 and 8.1).
func AppendIntrospectionJWT(dst []byte, issuer, audience string, now time.Time, answer []byte) []byte {
	dst = jsonw.Member(append(dst, '{'), "iss", issuer)
	dst = jsonw.Member(dst, "aud", audience)
	dst = jsonw.Int(dst, "iat", now.Unix())
	dst = append(jsonw.Name(dst, "token_introspection"), answer...)
	return append(dst, '}')
}
