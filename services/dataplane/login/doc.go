// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package login is the service that browsers talk to: the authorization endpoint, the hosted pages (sign in, register, consent,
// log out, invitation, account, devices, requests that wait), their cookies, and the mails that invite people or tell them that
// something waits for their answer. No script is needed for any of it.
//
// Signing in is a state machine over the authorization request. Before the person has proven who they are nothing is stored: the
// request travels in the URL of every step, sealed with the tenant's runtime key together with the time it first came in. Every
// step returns to /oauth2/authorize, which alone picks the next one (oidc.Next), by looking at what is true (session, consent,
// times) and never by believing that a page was passed:
//
//	client ─> /oauth2/authorize ──> /login?r=… ───────────┐
//	               ▲   │   │  └───> /oauth2/register?r=… ─┤
//	               │   │   ├──────> /select-account?r=… ──┤
//	               │   │   └──────> /consent?r=… ─────────┤
//	               └───┼──────────────────────────────────┘ 303 /oauth2/authorize?r=…
//	                   └─> code, tokens or error to the client: 303, or a page that posts it (form_post)
//
// What a request object says (RFC 9101), or what was pushed before (RFC 9126), is looked up once, when the request comes in; what travels
// is plain. A pushed request may be opened often and ends with its answer. Two things cannot be seen in session or consent, and travel
// sealed with the request as well: which account was chosen for it, and the yes to its authorization_details (RFC 9396).
//
// A sealed request that has outlived the tenant's limit starts again by itself: at the application, where it says how (OpenID
// Connect Core section 4), else here with the same parameters and a new time, which is what the application's own link would do.
//
// Requests from other sites are expected at /oauth2/authorize and /oauth2/logout alone. A POST there comes without our cookies
// (SameSite=Lax), so it only becomes a GET with a sealed handle. Every form of our own needs a same-origin request and a token
// bound to a cookie of this browser.
//
// Two pages belong to no authorization request: at /oauth2/device a person answers a device whose code they typed (RFC 8628), at
// /oauth2/backchannel what applications ask them from elsewhere (CIBA). Both want a session first, so that nobody without an account
// can try codes, and bind each answer to one request and one person. A login on their way carries their address sealed (c=…).
//
// A logout ends the session in the database, with its online refresh families and with a job for each client that the session is known
// to and that wants to be told (back-channel logout); so does every other end of a session, whoever brings it about. What only this
// browser can do, the logout page does: it loads the front-channel logout pages of those clients. A client is noted before it gets its
// code, so none misses an end. For tenants with session management clients may watch the login from their own pages, by the one cookie
// of ours that is made to be read in other sites' frames (check_session.go).
//
// It leaves the rules of the standards to pkg/oauth2 and pkg/oidc, users and sessions to services/identity, codes and revocation
// marks to dataplane/internal/grant, the tenant by hostname and error rendering to dataplane/internal/web, and signing to the token
// service, which it asks through dataplane/internal/signer for ID tokens and access tokens of the authorization endpoint, for responses
// that are JWTs and for logout tokens: login holds public keys only, to check an id_token_hint.
package login
