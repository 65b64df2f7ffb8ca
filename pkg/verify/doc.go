// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package verify is what an application imports to check Tenantry's access tokens (RFC 9068) at its own API: as one call, Verifier.Verify, or as
// HTTP middleware that answers what the standards want answered.
//
// It owns the rules of a resource server; it leaves to the application what a scope or a role may do. A token counts when
//
//  1. its issuer is the one that the configuration, or the request's host, says; the token is never asked where its keys are;
//  2. it is signed with an algorithm of the list, by a key of that issuer, and its typ is at+jwt;
//  3. aud is this API, and exp, nbf and iat are right within the leeway;
//  4. tnt is the tenant of the request. There is no default: an API that forgets it serves one customer the data of another;
//  5. token_use is the wanted kind, and env is prod unless the configuration says otherwise;
//  6. whoever presents a bound token (cnf) proves the key: by DPoP (RFC 9449) or by a client certificate (RFC 8705);
//  7. its scopes, acr and auth_time meet what the route asks for (RFC 6750, RFC 9470).
//
// # Many tenants
//
// Each tenant is an issuer with keys of its own, under one base domain. IssuerFor gives the issuer of a request's host, and HostPattern makes such a
// function from two patterns. The tenant of the request comes from the application's own table (TenantFor), from the session that it has
// (TenantPerRequest), or, where every issuer is one tenant, from that issuer (TenantOfIssuer).
//
// # Keys
//
// Discovery and keys are fetched when an issuer is first met, kept as long as its Cache-Control says (1 minute to 1 hour), renewed in the
// background, and kept for a day when the issuer is away. A key id that is not among them makes one fetch, at most one a minute for each issuer.
// The number of issuers is bounded, and hosts that lead to no issuer are remembered apart, so that strangers push no tenant out.
//
// # What it does not see
//
// A token that is revoked within its life (ten minutes) still has a good signature. Introspection asks the issuer each time (RFC 7662), which is
// also how opaque tokens are checked.
package verify
