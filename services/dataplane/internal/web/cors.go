// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package web

import "net/http"

// Origins says whether pages of other origins may read an endpoint's answers (Fetch Standard, CORS protocol). Never with
// credentials: no endpoint that is readable takes any from a browser.
type Origins uint8

// Which origins may read.
const (
	// NoOrigin allows none.
	NoOrigin Origins = iota
	// AnyOrigin is for documents that are public: discovery and the JWK Set. Their answers do not depend on the origin, so that a
	// shared cache may keep one for all.
	AnyOrigin
	// TenantOrigins allows the origins of the tenant's policy and of its clients. A preflight names no client, so this is all that
	// can be known then; an endpoint that has authenticated a client calls DenyOrigin when the origin belongs to another one.
	TenantOrigins
)

// DenyOrigin takes back the permission that TenantOrigins gave.
func DenyOrigin(h http.Header) {
	delete(h, "Access-Control-Allow-Origin")
	delete(h, "Access-Control-Expose-Headers")
}

var (
	anyOrigin   = []string{"*"}
	corsHeaders = []string{"Authorization, Content-Type, DPoP, Tenantry-Config-Version"}
	corsExpose  = []string{"WWW-Authenticate, Retry-After, X-Request-Id, DPoP-Nonce"}
	corsMaxAge  = []string{"600"}
)

// maxOriginBytes is longer than any origin: scheme, 253 bytes of host, port.
const maxOriginBytes = 300

// cors sets the CORS headers of an answer. done means that the request was a preflight and is answered by them.
func (m *route) cors(h http.Header, r *http.Request, q *Request) (done bool) {
	origins := r.Header["Origin"]
	preflight := r.Method == http.MethodOptions && len(r.Header["Access-Control-Request-Method"]) > 0
	switch m.CORS {
	case NoOrigin:
		return false
	case AnyOrigin:
		h["Access-Control-Allow-Origin"] = anyOrigin
		if len(origins) == 0 {
			return false
		}
	case TenantOrigins:
		h["Vary"] = varyOrigin // also when the answer is no: a cache must not give it to another origin
		if len(origins) != 1 || len(origins[0]) > maxOriginBytes || !q.Tenant.AllowsOrigin(origins[0]) {
			return preflight // a browser reads the missing header as a no
		}
		h["Access-Control-Allow-Origin"] = origins
	}
	h["Access-Control-Expose-Headers"] = corsExpose
	if preflight {
		h["Access-Control-Allow-Methods"] = m.preflight
		h["Access-Control-Allow-Headers"] = corsHeaders
		h["Access-Control-Max-Age"] = corsMaxAge
	}
	return preflight
}
