// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package tenancy owns the words of the control plane and the rules that hold whatever stores or transports them: orgs, tenants,
// clients, API keys, signing keys, hostnames, the rights of a caller and the laws of minting, etags, filters, and the one table of
// reasons for which a call is refused.
//
// Everything here is pure: no I/O, no clock (time is an argument), no logger. The SQL is the store's, the use cases are provision's,
// the wire is api's; policies and appearance are the messages of the snapshot contract, because the snapshot is what they are for
// and pkg/snapshot has the one table of their fields.
//
// A tenant's life:
//
//	ACTIVE ──suspend──> SUSPENDED ──resume──> ACTIVE
//	   └────delete────────┴──> DELETED ──undelete──> the state before
//
// A signing key's life (STYLE: no verifier is ever surprised):
//
//	PUBLISHED ──2 × JWKS max-age──> ACTIVE ──next key active──> RETIRING ──longest token life──> REMOVED
//	   any state ──revoke now──> REVOKED
package tenancy
