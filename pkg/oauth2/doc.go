// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package oauth2 holds the rules of OAuth 2.0 (RFC 6749) as RFC 9700 has them today: what parameters, clients, secrets, scopes,
// redirect URIs, PKCE values and responses must look like, and which error each violation is.
//
// It is pure: no I/O, no clock, no logger. A caller hands in bytes of a stranger, a client from a snapshot and the time, and gets
// a value or an error. Codes, refresh tokens and sessions (state) belong to the data plane; OpenID Connect, tokens' claims and
// the authorization request as a whole belong to package oidc; signatures belong to package jose.
//
// Errors come in three forms, because they have three receivers: Error is the JSON answer of the token endpoint and its like,
// RedirectError goes to the client through the browser, and PageError is for the person in front of the browser only, since the
// client or its redirect URI could not be proven. Each carries what may be sent apart from the cause, which may only be logged.
package oauth2
