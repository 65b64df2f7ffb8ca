// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package registration answers OAuth clients that register themselves: Dynamic Client Registration (RFC 7591, OpenID Connect Registration
// 1.0) and its management (RFC 7592), on tenants' own hostnames. The edge sends it /oauth2/clients and what is below; everything else of a
// tenant's host is the data plane's, which never writes configuration.
//
//	POST   /oauth2/clients        → 201, client_id, secret, registration_access_token    as the policy says: OFF, INITIAL_TOKEN, OPEN
//	GET    /oauth2/clients/{id}   → what is registered                                    by its registration access token
//	PUT    /oauth2/clients/{id}   → replaced                                              likewise
//	DELETE /oauth2/clients/{id}   → 204                                                   likewise
//
// An initial access token is an API key of the tenant with the permission clients.register alone. It owns the wire: parsing, tokens,
// limits, errors. The rules about metadata are pkg/oauth2's, those about clients tenancy's, and what is written provision's. A client
// that registered itself is never first-party, gets no scope but those about its users, and no impersonation.
//
// A tenant has room for a bounded number of such clients. Where everybody may register (OPEN), a network takes a bounded share of that room
// within a day, so that one stranger cannot keep all others out before somebody looks. Nothing is deleted for having been idle: whether a
// client is in use, and whose sign-ins hang on it, the data plane alone knows, and its answer would come too late or not at all. So a
// stranger with many networks and many days still fills the room; the tenant's admins always can delete, and choose INITIAL_TOKEN.
package registration

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/ratelimit"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// Path is the registration endpoint; a client's own is below it.
const Path = "/oauth2/clients"

// Control is what the handler needs of the use cases; *provision.Service is the one that the control plane uses.
type Control interface {
	Authenticate(ctx context.Context, keyText string) (tenancy.Principal, error)
	RegistrationTenant(ctx context.Context, host string) (provision.RegistrationTenant, error)
	RegisterClient(ctx context.Context, caller tenancy.Principal, at provision.RegistrationTenant, s tenancy.ClientSettings, extras map[string]string) (tenancy.Registered, error)
	Registration(ctx context.Context, at provision.RegistrationTenant, client id.Client, token string) (tenancy.Registered, error)
	UpdateRegistration(ctx context.Context, caller tenancy.Principal, at provision.RegistrationTenant, r tenancy.Registered, s tenancy.ClientSettings, extras map[string]string) (tenancy.Registered, error)
	DeleteRegistration(ctx context.Context, caller tenancy.Principal, at provision.RegistrationTenant, r tenancy.Registered) error
}

// Config is what a Handler needs. Control and Logger must be set.
type Config struct {
	Control Control
	// Source gives the address of a caller behind trusted proxies; nil takes the connection's.
	Source func(*http.Request) string
	// Statements are the issuers of software statements that are believed.
	Statements []StatementIssuer
	Logger     *slog.Logger
	// Rate is how many clients an address may register a second; everything else that is limited follows from it. 0 means DefaultRate.
	Rate float64
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// DefaultRate is the rate of a Config without one.
const DefaultRate = 1

// Limits of requests, in each process and in units of Config.Rate. The first is for everything, so that hostnames and tokens cannot be tried
// out; the others are for registrations, each of which is a transaction that the tenant's admins would wait behind.
const (
	addressRate, addressBurst = 5, 100
	newRate, newBurst         = 1, 30
	tenantRate, tenantBurst   = 5, 100
	limitedKeys               = 20_000 // addresses, or tenants, that are remembered
)

// Handler answers the requests. It is safe for concurrent use.
type Handler struct {
	cfg       Config
	addresses *ratelimit.Limiter[string]    // all requests of an address
	newcomers *ratelimit.Limiter[string]    // registrations of an address
	tenants   *ratelimit.Limiter[id.Tenant] // registrations at a tenant
}

// New makes a Handler.
func New(cfg Config) (*Handler, error) {
	if cfg.Control == nil || cfg.Logger == nil {
		return nil, errors.New("registration: Control and Logger are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Source == nil {
		cfg.Source = func(r *http.Request) string {
			a, _ := netip.ParseAddrPort(r.RemoteAddr)
			return a.Addr().Unmap().String()
		}
	}
	rate := cfg.Rate
	if rate <= 0 {
		rate = DefaultRate
	}
	return &Handler{
		cfg: cfg, addresses: ratelimit.New[string](rate*addressRate, rate*addressBurst, limitedKeys), newcomers: ratelimit.New[string](rate*newRate, rate*newBurst, limitedKeys),
		tenants: ratelimit.New[id.Tenant](rate*tenantRate, rate*tenantBurst, limitedKeys),
	}, nil
}

// Owns says whether a request path is one of the handler's.
func Owns(path string) bool { return path == Path || strings.HasPrefix(path, Path+"/") }

// request is one request on its way.
type request struct {
	*http.Request
	at     provision.RegistrationTenant
	caller tenancy.Principal // facts of the call; its key is set when an initial access token came
	now    time.Time
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := &request{Request: r, now: h.cfg.Now()}
	q.caller = tenancy.Principal{RequestID: "req_" + strings.TrimPrefix(id.NewEvent().String(), "evt_"), Source: h.cfg.Source(r), UserAgent: clean(r.UserAgent())}
	status, err := h.serve(w, q)
	if err != nil {
		status = h.refuse(w, q, err)
	}
	attrs := []slog.Attr{
		slog.String("method", method(r.Method)), slog.Int("status", status), slog.Duration("took", h.cfg.Now().Sub(q.now)),
		slog.String("request_id", q.caller.RequestID), slog.String("client_ip", q.caller.Source),
	}
	if !q.at.Tenant.IsZero() {
		attrs = append(attrs, slog.String("tenant", q.at.Tenant.String()))
	}
	level := slog.LevelInfo
	if err != nil {
		attrs = append(attrs, slog.String("cause", err.Error()))
		if status >= http.StatusInternalServerError {
			level = slog.LevelError
		}
	}
	h.cfg.Logger.LogAttrs(r.Context(), level, "client registration", attrs...)
}

func method(m string) string {
	if slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodOptions, http.MethodPatch}, m) {
		return m
	}
	return "other"
}

// clean keeps a stranger's header out of what is logged and stored, but for its printable beginning.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), 512)]
}

var (
	errNothingHere = oauth2.NewError("not_found", http.StatusNotFound, "there is nothing at this path")
	errMethod      = oauth2.NewError(oauth2.CodeInvalidRequest, http.StatusMethodNotAllowed, "this path does not answer this method")
	errToken       = oauth2.NewError(oauth2.CodeInvalidToken, http.StatusUnauthorized, "the access token is not one for this")
)

// serve answers a request, or says why not.
func (h *Handler) serve(w http.ResponseWriter, q *request) (status int, err error) {
	if wait := h.addresses.Take(q.caller.Source, q.now); wait > 0 {
		return 0, tooMany(wait)
	}
	at, err := h.cfg.Control.RegistrationTenant(q.Context(), q.Host)
	if err != nil {
		if errors.Is(err, tenancy.ReasonNotFound) {
			return unknownHost(w), nil
		}
		return 0, err
	}
	q.at = at
	head := w.Header()
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("X-Request-Id", q.caller.RequestID)
	if strings.HasPrefix(at.Issuer, "https://") {
		head.Set("Strict-Transport-Security", "max-age=31536000")
	}
	if at.Mode == snapshot.RegistrationOff {
		return 0, errNothingHere
	}
	// Applications in browsers register, too. What they read is for whoever has the token, and no cookie plays a part.
	head.Set("Access-Control-Allow-Origin", "*")
	rest, below := strings.CutPrefix(q.URL.Path, Path+"/")
	methods := "POST, OPTIONS"
	if below {
		methods = "GET, HEAD, PUT, DELETE, OPTIONS"
	}
	if q.Method == http.MethodOptions {
		head.Set("Access-Control-Allow-Methods", methods)
		head.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		head.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
		return http.StatusNoContent, nil
	}
	switch {
	case !below && q.Method == http.MethodPost:
		return h.register(w, q)
	case below && (q.Method == http.MethodGet || q.Method == http.MethodHead):
		return h.read(w, q, rest)
	case below && q.Method == http.MethodPut:
		return h.replace(w, q, rest)
	case below && q.Method == http.MethodDelete:
		return h.remove(w, q, rest)
	}
	head.Set("Allow", methods)
	return 0, errMethod
}

// register is RFC 7591 section 3.1.
func (h *Handler) register(w http.ResponseWriter, q *request) (int, error) {
	if wait := max(h.newcomers.Take(q.caller.Source, q.now), h.tenants.Take(q.at.Tenant, q.now)); wait > 0 {
		return 0, tooMany(wait)
	}
	token, sent, err := bearer(q.Request)
	if err != nil {
		return 0, err
	}
	if sent {
		who, err := h.cfg.Control.Authenticate(q.Context(), token)
		if err == nil {
			err = who.Authorize(tenancy.PermissionRegister, q.at.Org, q.at.Tenant, false)
		}
		if err != nil {
			return 0, credential(err)
		}
		who.RequestID, who.Source, who.UserAgent = q.caller.RequestID, q.caller.Source, q.caller.UserAgent
		q.caller = who
	} else if q.at.Mode != snapshot.RegistrationOpen {
		return 0, errToken
	}
	m, err := h.metadata(w, q)
	if err != nil {
		return 0, err
	}
	if m.ClientID != "" || m.ClientSecret != "" {
		m.ClientID, m.ClientSecret = "", "" // they are ours to make
	}
	s, err := settings(m, sent)
	if err != nil {
		return 0, err
	}
	r, err := h.cfg.Control.RegisterClient(q.Context(), q.caller, q.at, s, extras(m))
	if err != nil {
		return 0, credential(err)
	}
	return h.answer(w, q, http.StatusCreated, &r, r.Token), nil
}

// metadata reads the body, with a software statement applied and the defaults filled in.
func (h *Handler) metadata(w http.ResponseWriter, q *request) (*oauth2.ClientMetadata, error) {
	kind, _, err := mime.ParseMediaType(q.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || q.Header.Get("Content-Encoding") != "" {
		return nil, oauth2.InvalidClientMetadata("send the metadata as application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, q.Body, oauth2.MaxClientMetadataBytes))
	if err != nil {
		return nil, oauth2.InvalidClientMetadata("the document is too large, or was cut off")
	}
	m, err := oauth2.ParseClientMetadata(body)
	if err != nil {
		return nil, err
	}
	if m.SoftwareStatement != "" {
		said, err := statementOf(m.SoftwareStatement, h.cfg.Statements, q.now)
		if err != nil {
			return nil, err
		}
		m.Overlay(said)
	}
	alg := "RS256" // the standard's default; a tenant may have no such key
	if !slices.Contains(q.at.IDTokenAlgs, alg) {
		alg = "ES256"
	}
	return m, m.Complete(alg)
}

// own finds the client that a request is about, by its token.
func (h *Handler) own(q *request, rest string) (r tenancy.Registered, token string, err error) {
	token, sent, err := bearer(q.Request)
	client, perr := id.ParseClient(rest)
	if err != nil || !sent || perr != nil {
		return r, "", errToken
	}
	r, err = h.cfg.Control.Registration(q.Context(), q.at, client, token)
	return r, token, credential(err)
}

// read is RFC 7592 section 2.1.
func (h *Handler) read(w http.ResponseWriter, q *request, rest string) (int, error) {
	r, token, err := h.own(q, rest)
	if err != nil {
		return 0, err
	}
	return h.answer(w, q, http.StatusOK, &r, token), nil
}

// replace is RFC 7592 section 2.2: the new metadata is all that there is, and what is left out goes back to its default.
func (h *Handler) replace(w http.ResponseWriter, q *request, rest string) (int, error) {
	r, token, err := h.own(q, rest)
	if err != nil {
		return 0, err
	}
	m, err := h.metadata(w, q)
	if err != nil {
		return 0, err
	}
	if m.ClientID != rest {
		return 0, oauth2.InvalidClientMetadata("client_id must be the client's own")
	}
	if m.ClientSecret != "" && !hasSecret(&r.Client, m.ClientSecret, q.now) {
		return 0, oauth2.InvalidClientMetadata("client_secret must be the client's current one")
	}
	s, err := settings(m, !r.Registration.Key.IsZero())
	if err != nil {
		return 0, err
	}
	changed, err := h.cfg.Control.UpdateRegistration(q.Context(), q.caller, q.at, r, s, extras(m))
	if err != nil {
		return 0, err
	}
	return h.answer(w, q, http.StatusOK, &changed, token), nil
}

// remove is RFC 7592 section 2.3.
func (h *Handler) remove(w http.ResponseWriter, q *request, rest string) (int, error) {
	r, _, err := h.own(q, rest)
	if err != nil {
		return 0, err
	}
	if err := h.cfg.Control.DeleteRegistration(q.Context(), q.caller, q.at, r); err != nil && !errors.Is(err, tenancy.ReasonNotFound) {
		return 0, err
	}
	w.WriteHeader(http.StatusNoContent)
	return http.StatusNoContent, nil
}

// bearer reads the token of a request (RFC 6750 section 2.1), and whether there is any.
func bearer(r *http.Request) (token string, sent bool, err error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", false, nil
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if len(values) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > 256 {
		return "", true, errToken
	}
	return token, true, nil
}

// credential makes one answer of everything that is wrong with a token.
func credential(err error) error {
	if err == nil {
		return nil
	}
	var told *tenancy.Error
	about := []tenancy.Class{tenancy.ClassUnauthenticated, tenancy.ClassDenied, tenancy.ClassNotFound}
	if errors.As(err, &told) && slices.Contains(about, told.Reason.Info().Class) {
		return errToken.WithCause(err)
	}
	return err
}

// answer is the client information response (RFC 7591 section 3.2.1).
func (h *Handler) answer(w http.ResponseWriter, q *request, status int, r *tenancy.Registered, token string) int {
	c := &r.Client
	b := append([]byte(`{"client_id":"`), c.ID.String()...)
	b = append(b, `","client_id_issued_at":`...)
	b = strconv.AppendInt(b, r.Registration.CreateTime.Unix(), 10)
	if r.Secret != "" {
		b = append(append(append(b, `,"client_secret":"`...), r.Secret...), `","client_secret_expires_at":0`...)
	}
	b = append(append(b, `,"registration_access_token":"`...), token...) // it was parsed or made here: no quotes in it
	b = append(append(append(b, `","registration_client_uri":"`...), q.at.Issuer+Path+"/"+c.ID.String()...), '"')
	b = append(metadata(c, r.Registration.Extras).AppendJSON(b, false), '}')
	head := w.Header()
	head.Set("Content-Type", "application/json")
	head.Set("Cache-Control", "no-store")
	head.Set("Pragma", "no-cache")
	head.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	if q.Method != http.MethodHead {
		w.Write(b) //nolint:errcheck // the caller is gone, there is nobody to tell
	}
	return status
}

func tooMany(wait time.Duration) error {
	e := oauth2.TemporarilyUnavailable(wait, errors.New("registration: rate limit"))
	e.Status = http.StatusTooManyRequests
	return e
}

// refuse answers with an error: the one table from reasons to what RFC 7591 section 3.2.2 and RFC 6750 section 3.1 know.
func (h *Handler) refuse(w http.ResponseWriter, q *request, err error) int {
	if q.at.Tenant.IsZero() {
		if e, ok := errors.AsType[*oauth2.Error](err); ok && e.Status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", seconds(e.RetryAfter))
			return fixed(w, http.StatusTooManyRequests, unavailablePage)
		}
		// Before the tenant is known every answer is as fixed as that for an unknown host.
		w.Header().Set("Retry-After", "1")
		return fixed(w, http.StatusServiceUnavailable, unavailablePage)
	}
	e := wireError(err)
	head := w.Header()
	if e.Status == http.StatusUnauthorized {
		head.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	}
	if e.RetryAfter > 0 {
		head.Set("Retry-After", seconds(e.RetryAfter))
	}
	head.Set("Content-Type", "application/json")
	head.Set("Cache-Control", "no-store")
	head.Set("Pragma", "no-cache")
	w.WriteHeader(e.Status)
	w.Write(e.AppendJSON(nil)) //nolint:errcheck // as in answer
	return e.Status
}

func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }

func wireError(err error) *oauth2.Error {
	if e, ok := errors.AsType[*oauth2.Error](err); ok {
		return e
	}
	var told *tenancy.Error
	if !errors.As(err, &told) {
		return oauth2.ServerError(err)
	}
	if told.Meta["quota"] != "" {
		return oauth2.NewError(oauth2.CodeAccessDenied, http.StatusForbidden, told.Message()).WithCause(err)
	}
	switch told.Reason.Info().Class { //nolint:exhaustive // the others are nothing that a client can do something about
	case tenancy.ClassArgument, tenancy.ClassPrecondition, tenancy.ClassExhausted:
		field, text := told.Field, told.Message()
		if len(told.Violations) > 0 {
			field, text = told.Violations[0].Field, told.Violations[0].Text
		}
		return metadataFault(field, text).WithCause(err)
	case tenancy.ClassConflict, tenancy.ClassUnavailable:
		return oauth2.TemporarilyUnavailable(time.Second, err)
	}
	return oauth2.ServerError(err)
}

// metadataFault names a fault by the member of the metadata that it is in.
func metadataFault(field, text string) *oauth2.Error {
	name := strings.TrimPrefix(field, "protocol.")
	member, _, _ := strings.Cut(name, "[")
	switch member {
	case "id_token_alg":
		name = "id_token_signed_response_alg"
	case "pairwise", "sector":
		name = "subject_type"
	}
	if name != "" {
		text = name + ": " + text
	}
	if member == "redirect_uris" {
		return oauth2.NewError(oauth2.CodeInvalidRedirectURI, http.StatusBadRequest, text)
	}
	return oauth2.InvalidClientMetadata(text)
}

// The pages of the data plane for hosts that nobody has: an unknown host reads the same bytes on every path, whoever answers there. The
// planes share no code, so a test of the whole system holds them against each other.
const (
	unknownHostPage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>No sign-in page here</title></head>
<body><h1>No sign-in page lives at this address.</h1><p>Check it, or ask who sent you.</p></body></html>
`
	unavailablePage = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Try again in a moment</title></head>
<body><h1>This address cannot answer right now.</h1><p>Try again in a moment.</p></body></html>
`
)

func unknownHost(w http.ResponseWriter) int { return fixed(w, http.StatusNotFound, unknownHostPage) }

func fixed(w http.ResponseWriter, status int, page string) int {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	w.Write([]byte(page)) //nolint:errcheck // as in answer
	return status
}
