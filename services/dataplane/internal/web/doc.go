// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package web owns what every request to the data plane has in common: finding the tenant by its hostname, the handler type, the
// one wrapper that bounds, routes, renders errors, logs and counts, and the rules for forwarded headers. The token and login
// services mount their endpoints on a Server; what an endpoint answers is theirs.
//
//	request ─> scheme, client address ─> host ─> tenant ─> path ─> method ─> CORS ─> handler ─> (error table) ─> event
//	                                      │                  │        │                             │
//	                                      └ unknown: fixed   └ 404    └ 405 with Allow              └ 4xx, 503 + Retry-After, 500
//	                                        answer
//
// The tenant is found by the Host header alone. X-Forwarded-Host, -Proto and -For count only when the peer's address lies in one
// of the configured proxy networks; from anybody else they are as if they were not there (DESIGN.md section 4). A host that is
// unknown, suspended or deleted gets one fixed answer before path and method are looked at, so the three cannot be told apart.
//
// Handlers return an error instead of writing one. The wrapper's table turns it into a status code and either the body of
// RFC 6749 section 5.2 or the service's own page; what is sent and what is logged are two things, and a cause is only ever
// logged. One structured event is written per request, with constant message and facts as fields: never a query string, a form,
// a header value or an expanded path, because those carry codes, tokens and invitation links.
package web
