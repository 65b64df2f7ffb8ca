// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"strconv"
)

// Header values that never change. They are shared between responses, so that setting one costs no allocation; nobody may write
// into them, which http.Header's own methods never do.
var (
	typeJSON   = []string{"application/json"}
	typeHTML   = []string{"text/html; charset=utf-8"}
	noStore    = []string{"no-store"}
	noCache    = []string{"no-cache"}
	noSniff    = []string{"nosniff"}
	noReferrer = []string{"no-referrer"}
	deny       = []string{"DENY"}
	lockedDown = []string{"default-src 'none'; frame-ancestors 'none'"}
	transport  = []string{"max-age=31536000"}
	oneSecond  = []string{"1"}
	varyOrigin = []string{"Origin"}
)

// setSecurityHeaders sets what every answer of a tenant's host carries. A service that sends pages replaces the policy by its own.
// JSON that may not be sniffed is never a page, so it needs no policy for pages.
func setSecurityHeaders(h http.Header, secure, machines bool) {
	h["X-Content-Type-Options"] = noSniff
	if !machines {
		h["Content-Security-Policy"] = lockedDown
		h["Referrer-Policy"] = noReferrer
		h["X-Frame-Options"] = deny
	}
	if secure {
		// Without includeSubDomains: names below a tenant's host are not ours to decide about (RFC 6797 section 6.1.2).
		h["Strict-Transport-Security"] = transport
	}
}

// WriteJSON answers with a JSON body that nobody may store (RFC 6749 section 5.1).
func WriteJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h["Content-Type"] = typeJSON
	h["Cache-Control"] = noStore
	h["Pragma"] = noCache
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	w.Write(body) //nolint:errcheck,gosec // the caller is gone, there is nobody to tell; JSON that may not be sniffed is no page
}
