// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/clientkeys"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/requestobject"
	"github.com/tenantry/tenantry/services/dataplane/internal/signer"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

// Identity is what the service needs of the user store; *identity.Store is the one that services use.
type Identity interface {
	CreateFamily(ctx context.Context, ref identity.TenantRef, op identity.Op, n identity.NewFamily) (identity.Family, error)
	Rotate(ctx context.Context, ref identity.TenantRef, op identity.Op, r identity.Rotation) (identity.Rotated, error)
	Family(ctx context.Context, ref identity.TenantRef, grant id.Grant) (identity.Family, error)
	RevokeGrant(ctx context.Context, ref identity.TenantRef, op identity.Op, grant id.Grant, client id.Client, reason string) (identity.Ended, error)
	Revoke(ctx context.Context, ref identity.TenantRef, op identity.Op, kind identity.RevocationKind, subject string, until time.Time) error
	GetUser(ctx context.Context, ref identity.TenantRef, user id.User) (identity.User, error)
	ListUsers(ctx context.Context, ref identity.TenantRef, p identity.UserPage) ([]identity.User, error)
	Consent(ctx context.Context, ref identity.TenantRef, user id.User, client id.Client) (identity.Consent, error)
	AskByMail(ctx context.Context, ref identity.TenantRef, user id.User, request string) error
	Revocations(ctx context.Context, ref identity.TenantRef, now time.Time) ([]identity.Revocation, error)
}

// Tenants finds tenants by host for requests, and by id for what names one; *snapshot.Cache is the one that services use.
type Tenants interface {
	web.Tenants
	signer.Tenants
}

// Service answers the machine endpoints of every tenant.
type Service struct {
	web      *web.Server
	tenants  Tenants
	identity Identity
	grants   *grant.Store
	keyring  *secret.Keyring
	mint     *Minter
	log      *slog.Logger
	timeout  time.Duration
	life     life

	keys      *clientkeys.Cache
	requests  *requestobject.Resolver
	opener    *secret.Opener
	secrets   *openedSecrets
	clientCAs *x509.CertPool // who issues the certificates of tls_client_auth; nil for nobody
	nonces    bool           // DPoP proofs need a nonce
}

// parts are what a Service is made from, once configuration has become things.
type parts struct {
	web      web.Config // its tenants are those below
	tenants  Tenants
	identity Identity
	grants   *grant.Store
	keyring  *secret.Keyring
	opener   *secret.Opener
	timeout  time.Duration

	outbound  *outbound.Client // nil reads no addresses
	keys      *clientkeys.Cache
	clientCAs *x509.CertPool
	nonces    bool
}

func build(p parts) (*Service, error) {
	if p.tenants == nil || p.identity == nil || p.grants == nil || p.keyring == nil || p.opener == nil {
		return nil, errors.New("token: tenants, identity, grants, keyring and opener are required")
	}
	p.web.Service, p.web.Machines, p.web.Tenants = "token", true, p.tenants
	server, err := web.NewServer(p.web)
	if err != nil {
		return nil, err
	}
	s := &Service{
		web: server, tenants: p.tenants, identity: p.identity, grants: p.grants, keyring: p.keyring, mint: NewMinter(p.opener), log: p.web.Logger, timeout: p.timeout,
	}
	if s.timeout <= 0 {
		s.timeout = time.Second
	}
	s.mint.keyring = p.keyring
	s.keys, s.opener, s.secrets, s.clientCAs, s.nonces = p.keys, p.opener, new(openedSecrets), p.clientCAs, p.nonces
	if s.keys == nil {
		s.keys = clientkeys.New(p.outbound, p.web.Logger)
	}
	s.mint.keys = s.keys
	s.requests = &requestobject.Resolver{Keys: s.keys, Outbound: p.outbound, Grants: p.grants}
	server.Mount(
		web.Route{Path: "/.well-known/openid-configuration", Get: s.metadata, CORS: web.AnyOrigin},
		web.Route{Path: "/.well-known/oauth-authorization-server", Get: s.metadata, CORS: web.AnyOrigin},
		web.Route{Path: "/.well-known/jwks.json", Get: s.jwks, CORS: web.AnyOrigin},
		web.Route{Path: "/oauth2/token", Post: s.token, CORS: web.TenantOrigins},
		web.Route{Path: oidc.PathPushedRequest, Post: s.par, CORS: web.TenantOrigins},
		web.Route{Path: oidc.PathBackchannel, Post: s.backchannelAuthorize},
		web.Route{Path: oidc.PathDeviceAuthorization, Post: s.deviceAuthorization, CORS: web.TenantOrigins},
		web.Route{Path: "/oauth2/introspect", Post: s.introspect, CORS: web.TenantOrigins},
		web.Route{Path: "/oauth2/revoke", Post: s.revoke, CORS: web.TenantOrigins},
		web.Route{Path: "/oauth2/userinfo", Get: s.userinfo, Post: s.userinfo, CORS: web.TenantOrigins},
	)
	return s, nil
}

// Handler answers requests for all tenants; it finds the tenant by the Host header.
func (s *Service) Handler() http.Handler { return s.web }

// Metrics writes the service's counters in Prometheus's text format.
func (s *Service) Metrics() io.WriterTo { return s.web.Metrics() }

// Minter signs on behalf of login's flows.
func (s *Service) Minter() *Minter { return s.mint }

// Endpoint is one method of one path.
type Endpoint struct{ Method, Path string }

// Routes lists every endpoint, for the routing table's test and for tests that run over all of them.
func (s *Service) Routes() []Endpoint {
	var all []Endpoint
	for _, r := range s.web.Routes() {
		for _, m := range r.Methods() {
			all = append(all, Endpoint{Method: m, Path: r.Path})
		}
	}
	return all
}

// oneHeader reads a header that may stand once: of two, a proxy and we might believe different ones.
func oneHeader(r *http.Request, name string) (string, error) {
	switch values := r.Header[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", oauth2.InvalidRequest("the " + name + " header is given more than once")
}

// denyForeignOrigin takes the CORS permission back when the page's origin belongs to another client of the tenant: a preflight,
// which names no client, had to allow the origins of all.
func denyForeignOrigin(w http.ResponseWriter, r *http.Request, t *snapshot.Tenant, c *oauth2.Client) {
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		return
	}
	for _, o := range c.CORSOrigins {
		if o == origins[0] {
			return
		}
	}
	for _, o := range t.Policy.CORSOrigins {
		if o == origins[0] {
			return
		}
	}
	web.DenyOrigin(w.Header())
}

// ref is where a tenant's users are.
func ref(t *snapshot.Tenant) identity.TenantRef {
	return identity.TenantRef{Tenant: t.ID, Pool: t.Pool}
}

// op describes a request to the user store's audit trail.
func op(r *http.Request, q *web.Request, actor string) identity.Op {
	o := identity.Op{Now: q.Start, Actor: actor, RequestID: q.ID, UserAgent: r.UserAgent()}
	if q.ClientIP.IsValid() {
		o.IP = q.ClientIP.String()
	}
	return o
}

// storeError tells what the user store refused from what it could not do. Everything unknown is "the database is away": the caller
// keeps what it holds and tries again.
func storeError(err error, refused error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, identity.ErrNotFound), errors.Is(err, identity.ErrReused):
		return refused
	case errors.Is(err, context.Canceled):
		return err
	}
	return web.Unavailable(err)
}

// grantsError is the same for the runtime Redis.
func grantsError(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return web.Unavailable(err)
}

// mark writes the revocation marks behind rows that are already in the database. Redis being away does not undo a revocation: the
// grant store keeps the marks, and nobody answers from marks meanwhile.
func (s *Service) mark(ctx context.Context, q *web.Request, ended []identity.Revocation) {
	marks := make([]grant.Mark, 0, len(ended))
	for _, r := range ended {
		marks = append(marks, grant.Mark{ID: r.Subject, Until: r.Until})
	}
	if err := s.grants.Revoke(ctx, q.Tenant.ID, q.Start, marks...); err != nil {
		s.log.WarnContext(ctx, "revocation marks wait for Redis",
			slog.String("tenant", q.Tenant.ID.String()), slog.String("request_id", q.ID), slog.Int("marks", len(marks)), slog.String("cause", err.Error()))
	}
}
