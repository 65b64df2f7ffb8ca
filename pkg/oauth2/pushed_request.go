// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"time"

	"github.com/tenantry/tenantry/pkg/internal/jsonw"
)

// PushedResponse is a successful answer of the pushed authorization request endpoint (RFC 9126 section 2.2), sent with status 201.
type PushedResponse struct {
	// RequestURI stands for the request at the authorization endpoint.
	RequestURI string
	// ExpiresIn is its life; fractions of a second are cut off.
	ExpiresIn time.Duration
}

// AppendJSON appends the response's body.
func (r *PushedResponse) AppendJSON(dst []byte) []byte {
	dst = jsonw.Member(append(dst, '{'), ParamRequestURI, r.RequestURI)
	dst = jsonw.Int(dst, ParamExpiresIn, int64(r.ExpiresIn/time.Second))
	return append(dst, '}')
}
