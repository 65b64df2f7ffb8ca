// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package outbound is the one HTTP client for addresses that somebody else wrote: a client's jwks_uri, request_uri, sector_identifier_uri,
// metadata document, back-channel logout and notification endpoints. Whoever may register a client may have us send requests, so the
// client's question is never "can it be reached" but "may a stranger make us reach it" (server-side request forgery, RFC 9700 section 4.15 and
// RFC 9101 section 10.4).
//
// # The outbound policy
//
//   - https only. http is for hosts whose every address is in allow_networks, and only with allow_http.
//   - The name is resolved here, every address of the answer is checked, and one of those checked is dialled: there is no second
//     resolution that could say something else (DNS rebinding). One bad address refuses the name.
//   - Refused are all addresses that are not public unicast: private, shared (CGNAT), loopback, link-local, multicast, unspecified,
//     reserved, documentation and benchmark networks, unique local IPv6, the metadata services of the clouds, and the IPv6 forms that
//     carry an IPv4 address when that one is refused (mapped, NAT64) or always (compatible, 6to4, Teredo, local-use NAT64). See
//     forbidden.
//   - allow_networks lifts this for the networks it names, for test rigs and intranets.
//   - Redirects are errors. A call may allow a few, for GET; each target goes through all of the above, and https does not become http.
//   - A call takes at most the timeout (3 s), with name, redirects and body. An answer has at most 16 KiB of header and 64 KiB of body, or
//     what the call says. Nothing is decompressed, and a compressed answer is an error: a bomb stays a small file.
//   - At most 8 calls at a time go to one host and 256 in all; the next one waits for its turn within its timeout.
//   - No cookies, no credentials in URLs, no proxy from the environment, HTTP/1.1 only, TLS 1.2 at least, and our User-Agent, so that the
//     other side can tell who called.
//   - With proxy set, public hosts are reached through it, by CONNECT to the address that was checked here.
//
// Errors are for the developer who registered the address: they say which rule it was and never which address a name had, since that
// would be a map of the network for the asking. What happened in detail is for our logs (see Detail).
package outbound
