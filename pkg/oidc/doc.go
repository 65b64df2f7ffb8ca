// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package oidc holds the rules of OpenID Connect on top of package oauth2: the authorization request and the decision what
// happens to it next, claims and scopes, the contents of ID tokens, access tokens (RFC 9068), UserInfo and introspection answers,
// the discovery document, and RP-initiated logout.
//
// Like oauth2 it is pure: no I/O, no clock, no logger. It writes and reads payloads; package jose signs and verifies them, and
// what it calls verified here was verified there. Sessions, consents and codes are kept by the data plane, which asks Next on every
// hop:
//
//	/authorize ─ ParseAuthorizationRequest ─┬─ PageError ──────> error page
//	                                        ├─ RedirectError ──> client
//	                                        └─ Next ─┬─ StepLogin ────> /login ──────┐
//	     ^                                           ├─ StepRegister ─> /login ──────┤
//	     │                                           ├─ StepSelect ───> /select-… ───┤
//	     │                                           ├─ StepConsent ──> /consent ────┤
//	     │                                           ├─ StepError ────> client       │
//	     │                                           └─ StepIssue ────> client: code │
//	     └───────────────────────────────────────────────────────────────────────────┘
//
// No page decides by itself that its step is done: it changes session or consent, and Next compares their times with the time of
// the request. Which account was chosen for a request, and a yes to its authorization_details, leave no such trace: the caller keeps them
// with the request itself.
package oidc
