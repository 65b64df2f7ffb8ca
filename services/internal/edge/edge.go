// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package edge reads deploy/routes.yaml, the one table that says which service
// owns which path of a tenant's host, and renders it for the edge proxy.
//
// The table is data so that three readers cannot disagree: the Caddyfile of the
// compose file, the listener of the all-in-one binary, and the test that holds
// it against the routes the services really mount.
package edge

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Route gives one path of a tenant's host to a service.
type Route struct {
	// Path is exact, or a prefix when it ends in "/*".
	Path string `yaml:"path"`
	// Service is "login", "token" or "control".
	Service string `yaml:"service"`
}

// Prefix reports whether the route covers everything below its path, and that
// path without the star.
func (r Route) Prefix() (string, bool) {
	return strings.CutSuffix(r.Path, "*")
}

// Table is the parsed routing table, in the order of the file.
type Table []Route

// upstreams are the services of the compose file with the ports that they
// listen on.
var upstreams = map[string]string{"login": "login:8080", "token": "token:8080", "control": "control:9080"}

// ErrTable is wrapped by every error of Parse.
var ErrTable = errors.New("routing table")

// Parse reads a routing table strictly: unknown keys, unknown services, repeated
// paths and a missing catch-all are errors that name the entry.
func Parse(raw []byte) (Table, error) {
	var doc struct {
		Routes Table `yaml:"routes"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTable, err)
	}
	seen := make(map[string]bool, len(doc.Routes))
	for i, r := range doc.Routes {
		switch {
		case !strings.HasPrefix(r.Path, "/"):
			return nil, fmt.Errorf("%w: routes[%d]: path %q does not begin with /", ErrTable, i, r.Path)
		case strings.Contains(strings.TrimSuffix(r.Path, "/*"), "*"):
			return nil, fmt.Errorf("%w: routes[%d]: path %q: a star stands only at the end, after /", ErrTable, i, r.Path)
		case upstreams[r.Service] == "":
			return nil, fmt.Errorf("%w: routes[%d]: service %q is neither login, token nor control", ErrTable, i, r.Service)
		case seen[r.Path]:
			return nil, fmt.Errorf("%w: routes[%d]: path %q stands twice", ErrTable, i, r.Path)
		}
		seen[r.Path] = true
	}
	if !seen["/*"] {
		return nil, fmt.Errorf("%w: no route for /*: an unknown path would get the proxy's own answer", ErrTable)
	}
	return doc.Routes, nil
}

// Service returns which service owns a request path: the exact route, else the
// longest prefix.
func (t Table) Service(path string) string {
	best, service := -1, ""
	for _, r := range t {
		if prefix, ok := r.Prefix(); ok {
			if strings.HasPrefix(path, prefix) && len(prefix) > best {
				best, service = len(prefix), r.Service
			}
		} else if r.Path == path {
			return r.Service
		}
	}
	return service
}

// Handler sends each request to its service: the edge of the all-in-one binary.
func (t Table) Handler(login, token, control http.Handler) http.Handler {
	exact := make(map[string]http.Handler, len(t))
	owner := func(service string) http.Handler {
		switch service {
		case "token":
			return token
		case "control":
			return control
		}
		return login
	}
	for _, r := range t {
		if _, prefix := r.Prefix(); !prefix {
			exact[r.Path] = owner(r.Service)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, ok := exact[r.URL.Path]
		if !ok {
			h = owner(t.Service(r.URL.Path))
		}
		h.ServeHTTP(w, r)
	})
}

// Caddyfile renders the table for Caddy 2. Upstreams are the compose services
// by their names; the Host header passes unchanged, because it names the tenant.
func (t Table) Caddyfile() []byte {
	var b bytes.Buffer
	b.WriteString(`# Generated from deploy/routes.yaml by "make generate". Do not edit.
{
	admin off
	servers {
		# No HTTP/3: it would be offered on a UDP port that the compose file does not publish.
		protocols h1 h2
		max_header_size 16KB
		timeouts {
			read_header 5s
			read_body 10s
			idle 2m
		}
	}
}

{$TENANTRY_EDGE_ADDRESS:http://} {
	# deploy/caddy/tls-off, or tls-files: certificate and key as mounted files.
	import /etc/caddy/{$TENANTRY_EDGE_TLS:tls-off}
	request_body {
		max_size 64KB
	}

`)
	for _, service := range []string{"token", "control", "login"} {
		matcher := ""
		if service != "login" {
			var paths []string
			for _, r := range t {
				if r.Service == service {
					paths = append(paths, r.Path)
				}
			}
			if len(paths) == 0 {
				continue
			}
			fmt.Fprintf(&b, "\t@%s path %s\n", service, strings.Join(paths, " "))
			matcher = " @" + service
		}
		fmt.Fprintf(&b, `	handle%s {
		reverse_proxy %s {
			# Caddy itself replaces a stranger's X-Forwarded headers, and lets this one pass.
			header_up -Forwarded
			# Whoever could send these could be any client that authenticates by a certificate.
			header_up -Client-Cert
			header_up -Client-Cert-Chain
			lb_try_duration 2s
		}
	}
`, matcher, upstreams[service])
	}
	b.WriteString("}\n")
	return b.Bytes()
}
