// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package grant owns the data plane's short-lived state in the runtime Redis: authorization codes, which are single use, pushed
// authorization requests, what waits for a person at another device, marks of what may be presented once, and revocation marks,
// which introspection and userinfo ask. Sessions, refresh families and users are in the identity database
// (services/identity); nothing here is the system of record for longer than a code lives.
//
// An authorization code moves through three states, by scripts that Redis runs one at a time:
//
//	IssueCode ──> FRESH ──TakeCode──> TAKEN(nonce, until now+5 s) ──Taken.Use──> USED(grant)
//	                ^                       │         │
//	                └──────Taken.Release────┘         └── the lease ends: FRESH again
//
// Only the holder of the nonce may release or use what it took, so a request that was overtaken cannot free another's code. A
// failed exchange releases: an answer of 5xx never burns a code (PROMISES.md R-06). USED outlives the code by as long as the
// tokens that it gave, so that a second use is recognised and revokes the first one's grant (RFC 6749 section 4.1.2).
//
// Keys carry the tenant first, as hash tag, and the SHA-256 of the code, so the code itself is nowhere at rest. Values are sealed
// with the tenant's runtime key over kind, tenant and hash: who can only write to Redis can delete, but not forge, swap between
// tenants or extend.
//
// A pushed request is read as often as a browser opens it and ends when it is answered: with a code in the same step that stores the
// code. Assertions, proofs and other JWTs that count once leave 16 bytes of a hash until they expire. A Redis that was flushed does
// not know what was presented before, so it says since when it remembers, and what is older does not count (Store.Once).
//
// Device codes and backchannel requests wait for a person's answer in the same way, see device_waiting.go. They are made before
// anybody has logged in, so how many may wait is bounded by tenant, client, address and person.
//
// Codes and marks never fall back to the memory of one replica, because single use would then hold per replica only. A Redis that
// does not answer is ErrUnavailable, which callers turn into 503 with Retry-After.
package grant
