// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"hash/crc32"
	"net/http"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// Shared header values: setting them costs no allocation.
var (
	typeJSON   = []string{"application/json"}
	typeJWKSet = []string{"application/jwk-set+json"} // RFC 7517 section 8.5.2
	// maxAge fits the rotation of keys: a new one is published for longer than this before it signs (PROMISES.md ).
	maxAge = []string{"public, max-age=300"}
)

// metadata answers discovery (OpenID Connect Discovery section 4, RFC 8414 section 3) with bytes that the snapshot prepared.
func (s *Service) metadata(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	document(w, r, typeJSON, q.Tenant.Metadata())
	return nil
}

// jwks answers with the tenant's public keys (RFC 7517 section 5).
func (s *Service) jwks(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	document(w, r, typeJWKSet, q.Tenant.JWKS())
	return nil
}

// document writes a public document with its validator (RFC 9110 section 8.8.3). The tag is made from the bytes, so that every
// replica has the same one and a restored configuration cannot give an old tag to new bytes.
func document(w http.ResponseWriter, r *http.Request, mediaType []string, body []byte) {
	h := w.Header()
	var buf [32]byte
	tag := append(buf[:0], '"')
	tag = strconv.AppendUint(tag, uint64(crc32.ChecksumIEEE(body)), 36)
	tag = append(tag, '-')
	tag = strconv.AppendInt(tag, int64(len(body)), 36)
	values := [2]string{string(append(tag, '"')), strconv.Itoa(len(body))}
	h["Etag"] = values[0:1:1]
	h["Cache-Control"] = maxAge
	if match := r.Header["If-None-Match"]; len(match) > 0 && matches(match, values[0]) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h["Content-Type"] = mediaType
	h["Content-Length"] = values[1:2:2]
	w.WriteHeader(http.StatusOK)
	w.Write(body) //nolint:errcheck // the caller is gone; there is nobody to tell
}

// matches is the weak comparison of RFC 9110 section 13.1.2.
func matches(fields []string, tag string) bool {
	for _, field := range fields {
		for one := range strings.SplitSeq(field, ",") {
			one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
			if one == tag || one == "*" {
				return true
			}
		}
	}
	return false
}
