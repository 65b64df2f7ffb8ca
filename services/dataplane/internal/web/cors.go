// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"

	"github.com/tenantry/tenantry/pkg/snapshot"
)

// OriginPolicy says whether pages of an origin may read an endpoint's answers (Fetch Standard, CORS protocol). "*" as first result
// allows everybody, without credentials, which no endpoint here takes from a browser anyway.
type OriginPolicy func(t *snapshot.Tenant, origin string) (allow string)

// AnyOrigin is for documents that are public: discovery and the JWK Set.
func AnyOrigin(*snapshot.Tenant, string) string { return "*" }

// TenantOrigins allows the origins of the tenant's policy and of its clients. A preflight names no client, so this is all that can
// be known then; an endpoint that has authenticated a client calls DenyOrigin when the origin belongs to another one.
func TenantOrigins(t *snapshot.Tenant, origin string) string {
	if t.AllowsOrigin(origin) {
		return origin
	}
	return ""
}

// DenyOrigin takes back the permission that TenantOrigins gave.
func DenyOrigin(h http.Header) {
	delete(h, "Access-Control-Allow-Origin")
	delete(h, "Access-Control-Expose-Headers")
}

var (
	anyOrigin      = []string{"*"}
	corsHeaders    = []string{"Authorization, Content-Type, DPoP, Tenantry-Config-Version"}
	corsExpose     = []string{"WWW-Authenticate, Retry-After, X-Request-Id"}
	corsMaxAge     = []string{"600"}
	maxOriginBytes = 512
)

// cors sets the CORS headers of an answer. done means that the request was a preflight and is answered by them.
func (m *route) cors(h http.Header, r *http.Request, q *Request) (done bool) {
	origins := r.Header["Origin"]
	preflight := r.Method == http.MethodOptions && len(r.Header["Access-Control-Request-Method"]) > 0
	h["Vary"] = varyOrigin
	if len(origins) != 1 || len(origins[0]) > maxOriginBytes {
		return preflight
	}
	switch allow := m.CORS(q.Tenant, origins[0]); allow {
	case "":
		return preflight // a browser reads the missing header as a no
	case "*":
		h["Access-Control-Allow-Origin"] = anyOrigin
	default:
		h["Access-Control-Allow-Origin"] = origins
	}
	h["Access-Control-Expose-Headers"] = corsExpose
	if preflight {
		h["Access-Control-Allow-Methods"] = m.preAllo
		h["Access-Control-Allow-Headers"] = corsHeaders
		h["Access-Control-Max-Age"] = corsMaxAge
	}
	return preflight
}
