// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// SessionToken is what the browser's sealed cookie holds: 256 random bits. Only its SHA-256 is stored.
type SessionToken [32]byte

// LogValue keeps the token out of logs.
func (SessionToken) LogValue() slog.Value { return slog.StringValue("[session token]") }

// String keeps the token out of error texts.
func (SessionToken) String() string { return "[session token]" }

// NewSession is a login to be remembered.
type NewSession struct {
	// User who logged in.
	User id.User
	// AuthTime is when they proved who they are; zero means now.
	AuthTime time.Time
	// AMR are the methods (RFC 8176).
	AMR []string
	// ACR is the class that was reached.
	ACR string
	// Life is how long the session may live since AuthTime; the tenant's absolute limit. Zero means 30 days.
	Life time.Duration
	// Idle is for how long it may go unused; the tenant's limit. Zero means no limit. Rotating a refresh token of an online grant is use.
	Idle time.Duration
}

const (
	defaultSessionLife = 30 * 24 * time.Hour
	// touchEvery is how exact LastUseTime is: a browser that loads ten pages a second costs one write a minute.
	touchEvery = time.Minute
)

// CreateSession remembers a login; IP and User-Agent come from op. ErrNotFound when the user may not log in (any more).
func (s *Store) CreateSession(ctx context.Context, ref TenantRef, op Op, n NewSession) (Session, SessionToken, error) {
	if err := wordLists(nil, n.AMR); err != nil {
		return Session{}, SessionToken{}, err
	}
	if n.AuthTime.IsZero() {
		n.AuthTime = op.Now
	}
	if n.Life <= 0 {
		n.Life = defaultSessionLife
	}
	raw, hash := newSecret()
	out := Session{
		ID: id.NewSession(), User: n.User, AuthTime: stored(n.AuthTime), AMR: n.AMR, ACR: n.ACR, IP: op.IP, UserAgent: op.UserAgent,
		CreateTime: stored(op.Now), LastUseTime: stored(op.Now), ExpireTime: stored(n.AuthTime.Add(n.Life)),
		Idle: n.Idle,
	}
	if err := s.db.CreateSession(ctx, ref, out, hash); err != nil {
		return Session{}, SessionToken{}, err
	}
	return out, raw, nil
}

// RenewSession is CreateSession for a browser whose session is of the same user: they proved again who they are, so the session keeps
// its id, which is how applications know the login and what ends with it, and gets a new token, times and methods. The old token is
// dead. ErrNotFound when there is no such live session of this user, or when the user may not log in (any more).
func (s *Store) RenewSession(ctx context.Context, ref TenantRef, op Op, session id.Session, n NewSession) (Session, SessionToken, error) {
	if err := wordLists(nil, n.AMR); err != nil {
		return Session{}, SessionToken{}, err
	}
	if n.AuthTime.IsZero() {
		n.AuthTime = op.Now
	}
	if n.Life <= 0 {
		n.Life = defaultSessionLife
	}
	raw, hash := newSecret()
	out, err := s.db.RenewSession(ctx, ref, Session{
		ID: session, User: n.User, AuthTime: n.AuthTime, AMR: n.AMR, ACR: n.ACR, IP: op.IP, UserAgent: op.UserAgent, LastUseTime: op.Now,
		ExpireTime: n.AuthTime.Add(n.Life), Idle: n.Idle,
	}, hash)
	if err != nil {
		return Session{}, SessionToken{}, err
	}
	return out, raw, nil
}

// Session answers the live session of a token with its user: not ended, within the limits, the user active. ErrNotFound otherwise.
// It notes the use about once a minute.
func (s *Store) Session(ctx context.Context, ref TenantRef, token SessionToken, now time.Time, l SessionLimits) (Session, User, error) {
	touch := touchEvery
	if l.Idle > 0 {
		touch = min(touch, l.Idle/10)
	}
	return s.db.FindSession(ctx, ref, sha256.Sum256(token[:]), now, l, touch)
}

// ListSessions answers the user's live sessions, newest first.
func (s *Store) ListSessions(ctx context.Context, ref TenantRef, user id.User, now time.Time) ([]Session, error) {
	return s.db.ListSessions(ctx, ref, user, now)
}

// NoteClient remembers that a client is about to get a code in the session, so that it is told when the session ends: every way in which
// one ends enqueues a BackchannelLogout for each client noted, in the same transaction. ErrNotFound when the session has ended. To be
// called before the code exists, for clients that want to be told.
func (s *Store) NoteClient(ctx context.Context, ref TenantRef, session id.Session, client id.Client, now time.Time) error {
	return s.db.NoteClient(ctx, ref, session, client, now)
}

// EndSession logs the browser out: the session is gone and the online families granted in it are revoked. Offline families live on.
// ErrNotFound when there is no such session, which a logout takes for success.
func (s *Store) EndSession(ctx context.Context, ref TenantRef, op Op, session id.Session) (Ended, error) {
	return s.db.EndSession(ctx, ref, op, session)
}

// stored is a time as PostgreSQL gives it back.
func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
