// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package snapshot carries a tenant's configuration from the control plane's committed bytes to the requests of the data plane.
//
// It owns the signed record ([SigningKey], [Verifier]), the rules by which layers of policy and appearance are merged
// ([ResolveTenant], [CompileTheme]), the compiled view that requests read ([Compile], [Tenant]), the writing of Redis in awaited
// steps ([Writer]), and the bounded cache that loads lazily and follows the change stream ([Cache], [Watcher]). It leaves to others
// which rows make a snapshot (the control plane), when to publish (its publisher), and every protocol decision (pkg/oauth2,
// pkg/oidc). It is the only importer of go-redis beside the runtime state of the data plane.
//
// Three rules hold everything together:
//
//   - Redis is not trusted. Documents are signed for one region, kind and subject; a host pointer is a hint, and the signed
//     document decides whether a host belongs to a tenant; blobs are named by their digest. Versions never decrease.
//   - State is in keys, the stream only says what changed. A lost, repeated or reordered entry costs a reload, never a wrong answer.
//   - No answer, positive or negative, outlives an applied entry for it. "Unknown" is concluded only from a Redis that says it is
//     complete, under an epoch that this replica knows.
//
// Life of a host in the cache:
//
//	(absent) ──load──► served ──entry──► served, refreshing ──► served (new version)
//	    │                 │ restrictive entry ──► next request waits for the refresh
//	    │                 │ epoch changed, stream trimmed ──► unverified: next request checks the version
//	    │                 │ org or ring table changed ──► recompiled at next use
//	    │                 └ evicted ──► raw record only ──► (absent)
//	    └──not found──► negative, 2 s at most, cleared by an entry that names the host
package snapshot
