// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/snapshot"
)

// Tenants finds the tenant of a request. *snapshot.Cache is the one that services use.
type Tenants interface {
	// Lookup finds the active tenant of a raw Host header. snapshot.ErrUnknownHost and snapshot.ErrUnavailable are told apart.
	Lookup(ctx context.Context, host string) (*snapshot.Tenant, error)
	// Fresh is Lookup at no older a config_version than the consistency token names; a token that does not verify is ignored.
	Fresh(ctx context.Context, host, consistencyToken string) (*snapshot.Tenant, error)
}

// Config says how a Server treats requests.
type Config struct {
	// Service names the service in events and metrics: "token" or "login".
	Service string
	// TrustedProxies are the networks whose X-Forwarded-* headers are believed; empty believes nobody.
	TrustedProxies []netip.Prefix
	// ClientCertHeader is the field in which trusted proxies pass on the client certificate of their caller: Client-Cert (RFC 9440) or one
	// of the proxy's own. Empty: they pass on none. The proxy must remove the field from what its callers send.
	ClientCertHeader string
	// Tenants finds tenants. Required.
	Tenants Tenants
	// Logger receives one event per request and the chain of every unexpected error. Required.
	Logger *slog.Logger
	// Metrics counts; nil makes a private set.
	Metrics *Metrics
	// Machines says that only programs read the answers: headers that mean something to pages alone are left out.
	Machines bool
	// Render writes errors; nil writes the JSON body of RFC 6749 section 5.2.
	Render ErrorWriter
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Route is one mounted endpoint.
type Route struct {
	// Path is matched exactly, or as a prefix when it ends in "/…": "/invite/…" gives the rest in Request.Rest.
	Path string
	// Get answers GET and HEAD, Post answers POST; nil refuses the method with 405.
	Get, Post Handler
	// CORS says which origins may read the answer; the zero value allows none.
	CORS Origins
	// Render overrides Config.Render.
	Render ErrorWriter
}

// Methods lists what the route answers, for the Allow header and for tests over all endpoints.
func (r Route) Methods() []string {
	var m []string
	if r.Get != nil {
		m = append(m, http.MethodGet, http.MethodHead)
	}
	if r.Post != nil {
		m = append(m, http.MethodPost)
	}
	return m
}

// prefixMark ends the path of a prefix route.
const prefixMark = "/…"

// route is a Route with what can be prepared.
type route struct {
	Route
	allow     []string // the Allow header
	preflight []string // the Access-Control-Allow-Methods header
	render    ErrorWriter
	counts    *routeCounts
	log       slog.Handler // with component and route, which are formatted once
}

// Server is the wrapper around the endpoints of one service. Mount everything first, then serve.
type Server struct {
	cfg      Config
	proxies  proxies
	exact    map[string]*route
	prefixes []*route
	missing  *route
	unknown  *route
	now      func() time.Time

	certHeader string // in canonical form
}

// NewServer makes a Server with no endpoints.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Tenants == nil || cfg.Logger == nil || cfg.Service == "" {
		return nil, errors.New("web: Service, Tenants and Logger are required")
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	if cfg.Render == nil {
		cfg.Render = WriteError
	}
	s := &Server{cfg: cfg, proxies: slices.Clone(cfg.TrustedProxies), exact: make(map[string]*route), now: cfg.Now}
	if s.now == nil {
		s.now = time.Now
	}
	s.certHeader = http.CanonicalHeaderKey(cfg.ClientCertHeader)
	s.missing, s.unknown = s.route(Route{Path: "(none)"}), s.route(Route{Path: "(unknown host)"})
	return s, nil
}

// route prepares a route under the path that it is logged and counted as.
func (s *Server) route(r Route) *route {
	m := &route{Route: r, render: r.Render, counts: s.cfg.Metrics.route(s.cfg.Service, r.Path)}
	if m.render == nil {
		m.render = s.cfg.Render
	}
	m.log = s.cfg.Logger.Handler().WithAttrs([]slog.Attr{slog.String("component", s.cfg.Service), slog.String("route", r.Path)})
	return m
}

// Mount adds endpoints. It panics on a path that is mounted twice or answers nothing: both are errors of the program, seen at start.
func (s *Server) Mount(routes ...Route) {
	for _, r := range routes {
		methods := r.Methods()
		if len(methods) == 0 || !strings.HasPrefix(r.Path, "/") {
			panic(fmt.Sprintf("web: route %q answers nothing", r.Path))
		}
		m := s.route(r)
		if r.CORS != NoOrigin {
			m.preflight = []string{strings.Join(methods, ", ")}
			methods = append(methods, http.MethodOptions)
		}
		m.allow = []string{strings.Join(methods, ", ")}
		if prefix, ok := strings.CutSuffix(r.Path, prefixMark); ok {
			m.Route.Path = prefix + "/"
			s.prefixes = append(s.prefixes, m)
			slices.SortFunc(s.prefixes, func(a, b *route) int { return len(b.Path) - len(a.Path) })
			continue
		}
		if s.exact[r.Path] != nil {
			panic(fmt.Sprintf("web: route %q is mounted twice", r.Path))
		}
		s.exact[r.Path] = m
	}
}

// Routes lists what is mounted, sorted by path, prefix routes with their mark.
func (s *Server) Routes() []Route {
	var all []Route
	for _, m := range s.exact {
		all = append(all, m.Route)
	}
	for _, m := range s.prefixes {
		r := m.Route
		r.Path = strings.TrimSuffix(r.Path, "/") + prefixMark
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Route) int { return strings.Compare(a.Path, b.Path) })
	return all
}

func (s *Server) find(path string) *route {
	if m := s.exact[path]; m != nil {
		return m
	}
	for _, m := range s.prefixes {
		if len(path) > len(m.Path) && strings.HasPrefix(path, m.Path) {
			return m
		}
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from := s.proxies.seen(r)
	q := &Request{Start: s.now(), ClientIP: from.addr, Scheme: from.scheme, Host: from.host, route: s.missing}
	s.certificate(q, r, from.trusted)
	q.out.ResponseWriter = w
	if from.trusted {
		if v := last(r.Header["X-Request-Id"]); inboundRequestID(v) {
			q.ID = v
		}
	}
	if q.ID == "" {
		q.ID = newRequestID()
	}
	q.render = s.missing.render

	var err error
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // a sentinel value of panic, never wrapped
				s.finish(r, q, from, errAborted)
				panic(p)
			}
			err = &panicked{value: p, stack: stack()}
			s.render(&q.out, r, q, err)
		}
		s.finish(r, q, from, err)
	}()

	err = s.serve(&q.out, r, q, from)
	if err != nil {
		s.render(&q.out, r, q, err)
	}
}

// serve finds tenant and endpoint and calls it.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, q *Request, from origin) error {
	var err error
	if token := consistencyToken(r); token == "" {
		q.Tenant, err = s.cfg.Tenants.Lookup(r.Context(), from.host)
	} else {
		q.Tenant, err = s.cfg.Tenants.Fresh(r.Context(), from.host, token)
	}
	if err != nil {
		if errors.Is(err, snapshot.ErrUnknownHost) {
			q.route = s.unknown
			writeUnknownHost(w)
			return nil
		}
		// Before the tenant is known every answer is as fixed as that for an unknown host, but says that trying again may help.
		q.route = s.unknown
		return errNoTenant{err}
	}

	h := w.Header()
	q.id[0] = q.ID
	h["X-Request-Id"] = q.id[:]
	setSecurityHeaders(h, q.Secure(), s.cfg.Machines)

	m := s.find(r.URL.Path)
	if m == nil {
		return errNotFound
	}
	q.route, q.render = m, m.render
	if len(r.URL.Path) > len(m.Path) {
		q.Rest = r.URL.Path[len(m.Path):]
	}
	if m.cors(h, r, q) {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	var handler Handler
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		handler = m.Get
	case http.MethodPost:
		handler = m.Post
	}
	if handler == nil {
		h["Allow"] = m.allow
		return errMethod
	}
	return handler(w, r, q)
}

// consistencyToken is the tcv of a URL that the control plane returned, or the header form that programs send.
func consistencyToken(r *http.Request) string {
	if v := r.Header["Tenantry-Config-Version"]; len(v) == 1 {
		return v[0]
	}
	if !strings.Contains(r.URL.RawQuery, "tcv=") {
		return ""
	}
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if v, ok := strings.CutPrefix(pair, "tcv="); ok {
			return v
		}
	}
	return ""
}

// render answers with err, if the handler has not begun to answer.
func (s *Server) render(w http.ResponseWriter, r *http.Request, q *Request, err error) {
	if q.Written() {
		return
	}
	if no, ok := errors.AsType[errNoTenant](err); ok {
		writeNoTenant(w, no.error)
		return
	}
	q.render(w, r, q, wireError(err))
}

// finish counts the request and writes its event.
func (s *Server) finish(r *http.Request, q *Request, from origin, err error) {
	now := s.now()
	took := now.Sub(q.Start)
	status := q.out.status
	if status == 0 {
		status = http.StatusOK // net/http writes it when a handler writes nothing
	}
	q.route.counts.add(status, took)

	level := slog.LevelInfo
	switch {
	case status >= 500 && status != http.StatusServiceUnavailable:
		level = slog.LevelError
	case status == http.StatusServiceUnavailable:
		level = slog.LevelWarn
	}
	ctx := r.Context()
	if !q.route.log.Enabled(ctx, level) {
		return
	}
	var buf [12 + maxNotes]slog.Attr
	a := append(buf[:0],
		slog.String("method", knownMethod(r.Method)),
		slog.Int("status", status),
		slog.Duration("took", took),
		slog.Int64("bytes", q.out.bytes),
		slog.String("request_id", q.ID),
	)
	if q.ClientIP.IsValid() {
		a = append(a, slog.String("client_ip", q.ClientIP.String()))
	}
	if q.Tenant != nil {
		a = append(a, slog.String("tenant", q.Tenant.ID.String()))
	} else {
		a = append(a, slog.String("host", bounded(from.host, 255)))
	}
	a = append(a, q.notes[:q.noted]...)
	if err != nil {
		a = append(a, slog.String("error", oauth2.CodeOf(wireError(err))), slog.String("cause", bounded(err.Error(), 1024)))
		if p, ok := errors.AsType[*panicked](err); ok {
			a = append(a, slog.String("stack", p.stack))
		}
	}
	// Without the caller's program counter, which would always be this line and costs a tenth of the event.
	event := slog.NewRecord(now, level, "request", 0)
	event.AddAttrs(a...)
	q.route.log.Handle(ctx, event) //nolint:errcheck // a log that cannot be written has nobody to be told to
}

// knownMethod keeps a stranger's invention out of the log.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodOptions, http.MethodPut, http.MethodPatch, http.MethodDelete:
		return m
	}
	return "other"
}

func bounded(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}

// Metrics is the set that the server counts in.
func (s *Server) Metrics() *Metrics { return s.cfg.Metrics }
