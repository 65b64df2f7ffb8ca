// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package token is the service that machines talk to: discovery, the JWK Set, and the token, pushed request, userinfo, introspection
// and revocation endpoints of every tenant. Form in, JSON out, no cookies, no pages. It is the only service that opens tenants'
// signing keys; login asks it for what its own flows must have signed (Minter).
//
// The token endpoint is one pipeline for every grant (RFC 6749 section 3.2), and a grant fills in only what is its own, so that it
// cannot forget a shared check:
//
//	parse ─> authenticate client ─> grant allowed ─> scopes ─> bind ─> redeem ─> mint ─> commit ─> write
//	                                                                     │         │        │
//	                                                                     └─────────┴────────┴─ any failure: release what was taken
//
// A client authenticates by the one method that it is registered for: a secret, an assertion by its secret or its key, a certificate.
// Bind finds the key that the tokens will be bound to, by DPoP (RFC 9449) or the certificate (RFC 8705), and refuses a request that
// lacks one where the client or its profile wants it. Both come before anything is taken, so that a wrong proof uses up nothing, and
// both remember what may be presented once.
//
// The grants beyond code, refresh and the client's own: a device's code (RFC 8628) and a backchannel request (CIBA) become a code's
// record when the person says yes on a page of login's, and are redeemed by polling; a JWT of a trusted issuer (RFC 7523) counts
// once; a token exchange (RFC 8693) takes an access token and gives one that is never more, at the same or at a sister tenant.
//
// Redeem takes what can be used once: an authorization code, or a person's yes, by a short lease, a refresh token by one statement of the identity
// database with a grace for retries. Commit, the last step before the answer, makes a code used. So an answer of 5xx never burns
// what the client holds (PROMISES.md R-06), and a second use of a code revokes what the first one gave.
//
// What an endpoint depends on decides what it survives: discovery, keys and client_credentials need nothing but the tenant's
// snapshot in memory; codes, pushed requests, assertions and proofs need the runtime Redis; refresh tokens the identity database; introspection and userinfo the revocation
// marks in Redis. A dependency that is away is 503 with Retry-After, never a guess.
//
// It leaves the rules of the standards to pkg/oauth2 and pkg/oidc, the state of codes and marks to dataplane/internal/grant, and
// users, refresh families and their SQL to services/identity. The keys of clients are found by dataplane/internal/clientkeys, what an
// authorization request really asks by dataplane/internal/requestobject.
package token
