// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/tenantry/tenantry/proto"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// Handler is everything on the REST listener: the API, its description, the pages about it, and a sign of life.
func (g *Gateway) Handler() (http.Handler, error) {
	docs, err := newDocs(proto.OpenAPI())
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/", g)
	get := func(path string, h http.HandlerFunc) {
		mux.HandleFunc("GET "+path, h)
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", "GET, HEAD")
			g.refuse(w, r, statusOf(refuse(reasonMethodNotHere, ""), newRequestID(), g.api.docsURL, 0))
		})
	}
	get("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte("ok\n")) //nolint:errcheck // the reader has gone
	})
	get("/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "max-age=300")
		w.Write(proto.OpenAPI()) //nolint:errcheck // the reader has gone
	})
	get("/docs", docs.reference)
	get("/docs/errors", docs.errors)
	get("/{$}", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/docs", http.StatusFound) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		g.refuse(w, r, statusOf(refuse(reasonRouteUnknown, ""), newRequestID(), g.api.docsURL, 0))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		// A path that would be cleaned is none of ours: a redirect would repeat a request with its key elsewhere. Nor is one with a
		// slash in disguise, which programs in front of this one may have read otherwise.
		if strings.Contains(r.URL.Path, "//") || strings.Contains(r.URL.Path, "/.") || strings.Contains(strings.ToLower(r.URL.EscapedPath()), "%2f") {
			g.refuse(w, r, statusOf(refuse(reasonRouteUnknown, ""), newRequestID(), g.api.docsURL, 0))
			return
		}
		mux.ServeHTTP(w, r)
	}), nil
}

// badBody says why a body cannot be one of the API; the reason is empty when it can.
func badBody(r *http.Request, text []byte) (reason tenancy.Reason, why string) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodDelete {
		return reasonMalformed, "a " + r.Method + " request has no body: send its parameters in the query"
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return reasonMediaType, ""
	}
	if c := params["charset"]; c != "" && !strings.EqualFold(c, "utf-8") {
		return reasonMediaType, "the body must be UTF-8"
	}
	if r.Header.Get("Content-Encoding") != "" {
		return reasonMediaType, "the body must not be compressed"
	}
	if !utf8.Valid(text) {
		return reasonMalformed, "the body is not UTF-8"
	}
	return "", ""
}
