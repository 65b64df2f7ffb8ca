// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

// Cookies. On https they have the __Host- prefix: a browser then takes them only from this very host, over TLS, for all paths, so
// that a neighbour on the same domain cannot plant one. On http, which exists for development under .localhost alone, the prefix
// would make browsers refuse them.
const (
	hostPrefix     = "__Host-"
	cookieSession  = "tnt_sid"
	cookieForm     = "tnt_form"
	cookieLanguage = "tnt_lang"
	// maxCandidates bounds the work on a Cookie header that repeats a name.
	maxCandidates = 4
)

// methodPassword is the authentication method of a password (RFC 8176 section 2).
const methodPassword = "pwd"

// login is a browser's session with its user. The zero value is a browser without one.
type login struct {
	present bool
	session identity.Session
	user    identity.User
}

// state is login in the words of the decision.
func (l login) state() oidc.SessionState {
	if !l.present {
		return oidc.SessionState{}
	}
	return oidc.SessionState{
		Present: true, UserID: l.user.ID, SessionID: l.session.ID, AuthTime: l.session.AuthTime, ACR: l.session.ACR,
	}
}

// secureTenant says whether browsers reach the tenant by https. It goes by the issuer, which no request can change.
func secureTenant(t *snapshot.Tenant) bool { return strings.HasPrefix(t.Issuer, "https://") }

func cookieName(t *snapshot.Tenant, name string) string {
	if secureTenant(t) {
		return hostPrefix + name
	}
	return name
}

// setCookie sets a host-only cookie that scripts cannot read and that other sites' POSTs do not carry. A zero life lasts until the
// browser is closed, a negative one removes the cookie.
func setCookie(w http.ResponseWriter, t *snapshot.Tenant, name, value string, life time.Duration) {
	c := http.Cookie{ //nolint:gosec // G124: Secure is off for http under .localhost alone, where browsers would drop the cookie
		Name: cookieName(t, name), Value: value, Path: "/", HttpOnly: true, Secure: secureTenant(t), SameSite: http.SameSiteLaxMode,
		MaxAge: int(life / time.Second),
	}
	if life < 0 {
		c.MaxAge = -1
	}
	http.SetCookie(w, &c)
}

// session finds the browser's login. A cookie that does not open, of another tenant or of an ended session is no login; an error
// means that nobody could tell.
func (s *Service) session(r *http.Request, q *web.Request) (login, error) {
	token, ok := s.sessionToken(r, q.Tenant)
	if !ok {
		return login{}, nil
	}
	ctx, cancel := s.deadline(r.Context())
	defer cancel()
	policy := q.Tenant.Policy
	session, user, err := s.identity.Session(ctx, ref(q.Tenant), token, q.Start, identity.SessionLimits{
		Idle: policy.SessionIdleTTL, Absolute: policy.SessionAbsoluteTTL,
	})
	switch {
	case errors.Is(err, identity.ErrNotFound):
		return login{}, nil
	case err != nil:
		return login{}, err
	}
	q.Note(slog.String("sid", session.ID.String()))
	return login{present: true, session: session, user: user}, nil
}

func (s *Service) sessionToken(r *http.Request, t *snapshot.Tenant) (identity.SessionToken, bool) {
	keys := s.keyring.Tenant(t.ID)
	for i, c := range r.CookiesNamed(cookieName(t, cookieSession)) {
		if i == maxCandidates {
			break
		}
		sealed, err := base64.RawURLEncoding.Strict().DecodeString(c.Value)
		if err != nil {
			continue
		}
		plain, err := keys.Open(purposeCookie, sealed, nil)
		if err == nil && len(plain) == len(identity.SessionToken{}) {
			return identity.SessionToken(plain), true
		}
	}
	return identity.SessionToken{}, false
}

// logIn remembers that the user has just proven who they are, under a session token drawn now: one that an attacker planted before
// the login is worth nothing after it (session fixation). When the browser's session was the same person's it goes on under its id,
// so that one logout later ends everything that was granted in it; somebody else's ends.
func (s *Service) logIn(w http.ResponseWriter, r *http.Request, q *web.Request, user identity.User) error {
	before, err := s.session(r, q)
	if err != nil {
		return unavailable(err)
	}
	n := identity.NewSession{
		User: user.ID, AuthTime: q.Start, AMR: []string{methodPassword}, ACR: oidc.ACRForAMR([]string{methodPassword}),
		Life: q.Tenant.Policy.SessionAbsoluteTTL, Idle: q.Tenant.Policy.SessionIdleTTL,
	}
	session, token, err := s.newSession(r, q, before, n)
	if err != nil {
		return unavailable(err)
	}
	if before.present && before.user.ID != user.ID {
		if _, err := s.end(r, q, before); err != nil {
			return err
		}
	}
	sealed := s.keyring.Tenant(q.Tenant.ID).Seal(purposeCookie, token[:], nil)
	setCookie(w, q.Tenant, cookieSession, base64.RawURLEncoding.EncodeToString(sealed), session.ExpireTime.Sub(q.Start))
	q.Note(slog.String("sid", session.ID.String()))
	q.Note(slog.String("user", user.ID.String()))
	return nil
}

func (s *Service) newSession(r *http.Request, q *web.Request, before login, n identity.NewSession) (identity.Session, identity.SessionToken, error) {
	ctx, cancel := s.deadline(r.Context())
	defer cancel()
	by := op(r, q, n.User.String())
	if before.present && before.user.ID == n.User {
		session, token, err := s.identity.RenewSession(ctx, ref(q.Tenant), by, before.session.ID, n)
		if !errors.Is(err, identity.ErrNotFound) { // it may have ended between two statements
			return session, token, err
		}
	}
	return s.identity.CreateSession(ctx, ref(q.Tenant), by, n)
}

// end ends a session in the database and marks what ended with it; it answers the clients that knew the session. That there is none any
// more is as good.
func (s *Service) end(r *http.Request, q *web.Request, l login) ([]identity.SessionClient, error) {
	ctx, cancel := s.deadline(r.Context())
	defer cancel()
	ended, err := s.identity.EndSession(ctx, ref(q.Tenant), op(r, q, l.user.ID.String()), l.session.ID)
	if err != nil && !errors.Is(err, identity.ErrNotFound) {
		return nil, unavailable(err)
	}
	s.mark(ctx, q, ended)
	return ended.Clients, nil
}

// mark writes the marks behind revocations that are already in the database. Redis being away undoes nothing: the grant store keeps
// them, and nobody answers from marks meanwhile.
func (s *Service) mark(ctx context.Context, q *web.Request, ended identity.Ended) {
	if len(ended.Revocations) == 0 {
		return
	}
	marks := make([]grant.Mark, len(ended.Revocations))
	for i, r := range ended.Revocations {
		marks[i] = grant.Mark{ID: r.Subject, Until: r.Until}
	}
	if err := s.grants.Revoke(ctx, q.Tenant.ID, q.Start, marks...); err != nil {
		s.log.WarnContext(ctx, "revocation marks wait for Redis", slog.String("tenant", q.Tenant.ID.String()),
			slog.String("request_id", q.ID), slog.Int("marks", len(marks)), slog.String("cause", err.Error()))
	}
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

// unavailable is for errors of the user store that say nothing about what was asked: the person keeps what they typed and tries again.
func unavailable(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return web.Unavailable(err)
}
