// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/riverqueue/river"

	"github.com/tenantry/tenantry/pkg/id"
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
	Authenticate(ctx context.Context, ref identity.TenantRef, op identity.Op, email, password string) (identity.User, error)
	Register(ctx context.Context, ref identity.TenantRef, op identity.Op, r identity.Registration, policy identity.PasswordPolicy) (identity.User, error)
	CreateSession(ctx context.Context, ref identity.TenantRef, op identity.Op, n identity.NewSession) (identity.Session, identity.SessionToken, error)
	RenewSession(ctx context.Context, ref identity.TenantRef, op identity.Op, session id.Session, n identity.NewSession) (identity.Session, identity.SessionToken, error)
	Session(ctx context.Context, ref identity.TenantRef, token identity.SessionToken, now time.Time, l identity.SessionLimits) (identity.Session, identity.User, error)
	EndSession(ctx context.Context, ref identity.TenantRef, op identity.Op, session id.Session) (identity.Ended, error)
	Consent(ctx context.Context, ref identity.TenantRef, user id.User, client id.Client) (identity.Consent, error)
	GrantConsent(ctx context.Context, ref identity.TenantRef, op identity.Op, user id.User, client id.Client, scopes []string) (identity.Consent, error)
	NoteClient(ctx context.Context, ref identity.TenantRef, session id.Session, client id.Client, now time.Time) error
	Invitation(ctx context.Context, ref identity.TenantRef, token string, now time.Time) (identity.Invitation, error)
	AcceptInvitation(ctx context.Context, ref identity.TenantRef, op identity.Op, token, password, name string, policy identity.PasswordPolicy) (identity.User, identity.Ended, error)
	IssueInvitationToken(ctx context.Context, ref identity.TenantRef, invitation id.Invitation, now time.Time) (identity.Invitation, string, error)
	GetUser(ctx context.Context, ref identity.TenantRef, user id.User) (identity.User, error)
	NewJobs(c identity.JobsConfig) (*identity.Jobs, error)
	LoadRevocations(ctx context.Context, since, now time.Time, fn func([]identity.Revocation) error) error
	Sweep(ctx context.Context, limit int) (removed int64, err error)
}

// Tenants finds tenants by host for requests and by id for mails; *snapshot.Cache is the one that services use.
type Tenants interface {
	web.Tenants
	// Tenant finds an active tenant; snapshot.ErrUnknownTenant and snapshot.ErrUnavailable are told apart.
	Tenant(ctx context.Context, tenant id.Tenant) (*snapshot.Tenant, error)
}

// Service answers browsers on every tenant's host.
type Service struct {
	web             *web.Server
	tenants         Tenants
	identity        Identity
	grants          *grant.Store
	keyring         *secret.Keyring
	signer          signer.Signer
	requests        *requestobject.Resolver
	crossOrigin     *http.CrossOriginProtection
	pages           map[string]*template.Template
	assets          assets
	jobs            *jobs
	pings           *pings
	upkeep          *upkeep
	log             *slog.Logger
	timeout         time.Duration // of one call of a dependency
	passwordTimeout time.Duration // of a call that checks or hashes a password
	life            life
}

// parts are what a Service is made from, once configuration has become things.
type parts struct {
	web                      web.Config
	tenants                  Tenants
	identity                 Identity
	grants                   *grant.Store
	keyring                  *secret.Keyring
	signer                   signer.Signer
	outbound                 *outbound.Client
	mail                     MailConfig
	timeout, passwordTimeout time.Duration
}

const (
	defaultTimeout         = 2 * time.Second
	resolveTimeout         = 6 * time.Second // of request objects and keys that are read from a client's host
	defaultPasswordTimeout = 8 * time.Second // people wait that long in a burst, and then get 503 (PROMISES.md R-53)
)

func build(p parts) (*Service, error) {
	if p.tenants == nil || p.identity == nil || p.grants == nil || p.keyring == nil || p.signer == nil {
		return nil, errors.New("login: tenants, identity, grants, keyring and signer are required")
	}
	if p.outbound == nil {
		var err error
		if p.outbound, err = outbound.New(outbound.Config{}, outbound.Options{Now: p.web.Now}); err != nil {
			return nil, fmt.Errorf("login: %w", err)
		}
	}
	pages, err := parsePages()
	if err != nil {
		return nil, err
	}
	s := &Service{
		tenants: p.tenants, identity: p.identity, grants: p.grants, keyring: p.keyring, signer: p.signer, crossOrigin: http.NewCrossOriginProtection(),
		pages: pages, assets: newAssets(), log: p.web.Logger, timeout: p.timeout, passwordTimeout: p.passwordTimeout,
	}
	s.requests = &requestobject.Resolver{Keys: clientkeys.New(p.outbound, s.log), Outbound: p.outbound, Grants: p.grants}
	if s.timeout <= 0 {
		s.timeout = defaultTimeout
	}
	if s.passwordTimeout <= 0 {
		s.passwordTimeout = defaultPasswordTimeout
	}
	s.upkeep = &upkeep{identity: p.identity, grants: p.grants, log: s.log, now: p.web.Now, timeout: s.timeout}
	if s.upkeep.now == nil {
		s.upkeep.now = time.Now
	}
	s.jobs = newJobs(p.identity, s.log)
	s.pings = newPings(p.outbound, s.log)
	if p.mail.Host != "" { // else mails are sent by other processes
		mails, err := newMailer(p.mail, p.tenants, p.identity, p.web.Logger, p.web.Now)
		if err != nil {
			return nil, err
		}
		mails.join(s.jobs)
		asks, err := newAskings(mails, p.grants)
		if err != nil {
			return nil, err
		}
		river.AddWorker(s.jobs.workers, asks)
	}
	river.AddWorker(s.jobs.workers, &backchannel{
		tenants: p.tenants, signer: p.signer, outbound: p.outbound, log: s.log, now: s.upkeep.now,
	})
	s.jobs.queue(identity.LogoutQueue, logoutWorkers, logoutTimeout)
	p.web.Service, p.web.Tenants, p.web.Render = "login", p.tenants, s.renderError
	if s.web, err = web.NewServer(p.web); err != nil {
		return nil, err
	}
	s.web.Mount(
		web.Route{Path: "/", Get: s.home},
		web.Route{Path: pathAssets + "…", Get: s.asset},
		web.Route{Path: oidc.PathAuthorize, Get: readOnly(s.authorize), Post: s.authorizePost},
		web.Route{Path: oidc.PathRegister, Get: s.registerForm, Post: s.registerSubmit},
		web.Route{Path: oidc.PathCheckSession, Get: s.checkSession},
		web.Route{Path: oidc.PathLogout, Get: readOnly(s.logout), Post: s.logoutPost},
		web.Route{Path: pathLogin, Get: s.loginForm, Post: s.loginSubmit},
		web.Route{Path: pathSelect, Get: s.selectForm, Post: s.selectSubmit},
		web.Route{Path: pathConsent, Get: s.consentForm, Post: s.consentSubmit},
		web.Route{Path: pathInvite + "…", Get: s.inviteForm, Post: s.inviteSubmit},
		web.Route{Path: pathAccount, Get: s.account},
		web.Route{Path: oidc.PathDevice, Get: s.deviceForm, Post: s.deviceSubmit},
		web.Route{Path: pathBackchannel, Get: s.backchannelForm, Post: s.backchannelSubmit},
	)
	return s, nil
}

// readOnly answers HEAD with nothing: it must change nothing (RFC 9110 section 9.2.1), and these endpoints issue codes and end sessions.
func readOnly(h web.Handler) web.Handler {
	return func(w http.ResponseWriter, r *http.Request, q *web.Request) error {
		if r.Method == http.MethodHead {
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
		return h(w, r, q)
	}
}

// Handler answers requests for all tenants; it finds the tenant by the Host header.
func (s *Service) Handler() http.Handler { return s.web }

// Metrics writes the service's counters in Prometheus's text format.
func (s *Service) Metrics() io.WriterTo { return s.web.Metrics() }

// Endpoint is one method of one path. A path that ends in "/…" stands for everything below it.
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

// Start begins background work: following the configuration and revocations, sending mails, and telling clients of logouts. It returns at once, also while databases are away.
func (s *Service) Start() {
	for _, f := range s.life.start {
		f()
	}
	s.life.start = nil
	s.upkeep.start()
	s.jobs.start()
}

// Stop ends background work, jobs under way within ctx, and closes what New opened. Requests must have ended. It may be called twice.
func (s *Service) Stop(ctx context.Context) {
	s.jobs.stop(ctx)
	s.pings.stop()
	s.upkeep.end()
	s.life.close()
}
