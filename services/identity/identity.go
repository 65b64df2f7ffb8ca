// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package identity is the user store: users, passwords, memberships, invitations, sessions, consents, grants with their refresh
// families, revocations and the audit of all that. Login, token and the control plane's user API work on it; nobody else has SQL for it.
//
// It owns what is true about a person in a tenant and the rules for it: how an address is folded, what a good password is, when a
// credential is locked, which refresh token is the newest. It leaves to others: pages, mails and cookies (login), tokens and the
// marks in the runtime Redis (token), policies (the tenant's snapshot; they come in as arguments) and rights (the control plane).
//
// Every method takes the tenant first, then, when it changes something, an Op: the time, and on whose behalf. A change and its
// audit event are one transaction, and a method that has returned nil has committed.
//
// A refresh family:
//
//	CreateFamily → live, generation 1 ──Rotate(newest)──► live, generation n+1
//	                │  ▲────────────────Rotate(newest−1, within grace): newest again, as long as it is unused
//	                ├─ Rotate(anything older) ──► revoked: the token was stolen, and nobody can tell by whom
//	                ├─ EndSession (unless offline), DeleteUser, suspension, new password, RevokeGrant ──► revoked
//	                └─ idle or absolute life over ──► not found, swept later
//
// What ends something answers an Ended: the revocations whose marks the caller puts into the runtime Redis before it answers.
// Their rows are committed already, so a process that dies in between loses nothing: LoadRevocations finds them.
package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"

	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/services/identity/internal/store"
)

// The types of the package. They are declared beside the SQL that fills them.
type (
	// Config is what Open needs.
	Config = store.Config
	// TenantRef says whose data a method works on: the tenant, and the pool that the tenant's users live in.
	TenantRef = store.TenantRef
	// Op says when an operation happens and on whose behalf.
	Op = store.Op
	// User is a person in one pool, with the roles and groups of the tenant that was asked.
	User = store.User
	// UserState is where a user stands.
	UserState = store.UserState
	// Profile is what people say about themselves (OpenID Connect Core 5.1).
	Profile = store.Profile
	// UserChange is a partial update: nil fields stay as they are.
	UserChange = store.UserChange
	// UserFilter narrows a list of users; zero fields do not narrow.
	UserFilter = store.UserFilter
	// UserPage asks for one page of users in the order of their ids.
	UserPage = store.UserPage
	// Session is a browser's login at one tenant.
	Session = store.Session
	// SessionLimits are the tenant's limits now.
	SessionLimits = store.SessionLimits
	// Family is a chain of refresh tokens that belongs to one grant.
	Family = store.Family
	// Rotation asks for the next refresh token of a family.
	Rotation = store.Rotation
	// Rotated is the outcome of a rotation.
	Rotated = store.Rotated
	// Revocation says that tokens must not be believed although their signature is good.
	Revocation = store.Revocation
	// RevocationKind says what a revocation's subject is.
	RevocationKind = store.RevocationKind
	// Ended lists what an operation ended, for the marks in the runtime Redis.
	Ended = store.Ended
	// Consent is the user's yes to a client's scopes.
	Consent = store.Consent
	// Invitation asks a person to join a tenant.
	Invitation = store.Invitation
	// InvitationState is where an invitation stands.
	InvitationState = store.InvitationState
	// NewInvitation is an invitation to be made together with its user and its mail.
	NewInvitation = store.NewInvitation
	// InvitationMail is the job that asks for an invitation's mail; login has the worker for it.
	InvitationMail = store.InvitationMail
	// Seed is what a provision leaves for the identity database.
	Seed = store.Seed
	// SeedUser is one user of a Seed.
	SeedUser = store.SeedUser
	// AuditEvent is one link of a tenant's audit chain.
	AuditEvent = store.AuditEvent
	// AuditPage asks for one page of a tenant's audit events, newest first.
	AuditPage = store.AuditPage
	// JobsConfig is how jobs are worked.
	JobsConfig = store.JobsConfig
	// BackchannelLogout is the job that tells a client of a session's end; login has the worker for it.
	BackchannelLogout = store.BackchannelLogout
	// SessionClient is a client that a session is known to.
	SessionClient = store.SessionClient
	// Jobs works the jobs of the identity database.
	Jobs = store.Jobs
)

// States of a user and of an invitation, and kinds of revocations.
const (
	UserActive         = store.UserActive
	UserInvited        = store.UserInvited
	UserSuspended      = store.UserSuspended
	InvitationPending  = store.InvitationPending
	InvitationAccepted = store.InvitationAccepted
	InvitationRevoked  = store.InvitationRevoked
	RevokedToken       = store.RevokedToken
	RevokedSession     = store.RevokedSession
	RevokedGrant       = store.RevokedGrant
)

// Actions of the audit events of this database.
const (
	ActionUserCreated        = store.ActionUserCreated
	ActionUserUpdated        = store.ActionUserUpdated
	ActionUserDeleted        = store.ActionUserDeleted
	ActionPasswordChanged    = store.ActionPasswordChanged
	ActionSessionEnded       = store.ActionSessionEnded
	ActionGrantRevoked       = store.ActionGrantRevoked
	ActionTokenRevoked       = store.ActionTokenRevoked
	ActionInvitationCreated  = store.ActionInvitationCreated
	ActionInvitationAccepted = store.ActionInvitationAccepted
	ActionConsentGranted     = store.ActionConsentGranted
	ActionTenantErased       = store.ActionTenantErased
)

// MailQueue is the River queue of everything that ends in a mail.
const MailQueue = store.MailQueue

// LogoutQueue is the River queue of the messages that tell clients of a session's end.
const LogoutQueue = store.LogoutQueue

// Role is the database role that the services connect as.
const Role = store.Role

// Errors. Everything else means that the database could not answer: callers say 503, and nothing was used up.
var (
	// ErrNotFound: there is no such thing in this tenant. What another tenant has is not found either.
	ErrNotFound = store.ErrNotFound
	// ErrEmailTaken: another user of the pool has this e-mail address.
	ErrEmailTaken = store.ErrEmailTaken
	// ErrEtag: the user has changed since the etag was read.
	ErrEtag = store.ErrEtag
	// ErrReused: an old refresh token came back, so the family was revoked.
	ErrReused = store.ErrReused
	// ErrPrivileged: the database role could pass by row-level security, so the service refuses to work with it.
	ErrPrivileged = store.ErrPrivileged
	// ErrChainBroken: a tenant's audit chain does not fit together.
	ErrChainBroken = store.ErrChainBroken
	// ErrBadCredentials: unknown user, wrong password, locked or suspended; on purpose no more than that.
	ErrBadCredentials = errors.New("identity: the e-mail address and password do not match")
	// ErrInvitation: the link is unknown, used, expired or withdrawn; on purpose no more than that.
	ErrInvitation = errors.New("identity: the invitation cannot be used")
	// ErrInvalid is wrapped by the errors about arguments that can never be right, see InvalidError.
	ErrInvalid = errors.New("identity: invalid argument")
)

// Store is the user store. Make one per process.
type Store struct {
	db     *store.Store
	hasher *secret.Hasher
}

// Migrate brings the schema, the job tables and the service role's rights up to date. It connects as the owner.
func Migrate(ctx context.Context, ownerURL string) error { return store.Migrate(ctx, ownerURL) }

// Open prepares the user store without connecting, so that a data plane starts while this database is down. Whatever runs first
// answers ErrPrivileged if the role could pass by row-level security; a service that wants to know at its start calls Ping.
func Open(ctx context.Context, c Config, hasher *secret.Hasher) (*Store, error) {
	db, err := store.Open(ctx, c)
	if err != nil {
		return nil, err
	}
	return &Store{db: db, hasher: hasher}, nil
}

// Close waits for the connections in use and closes all.
func (s *Store) Close() { s.db.Close() }

// Ping answers nil when the database can be reached with an unprivileged role, ErrPrivileged when the role is the wrong one.
func (s *Store) Ping(ctx context.Context) error { return s.db.Ping(ctx) }

// Stat is the number of connections in use, idle, and allowed at most, for metrics.
func (s *Store) Stat() (used, idle, limit int) { return s.db.Stat() }

// NewJobs prepares working the jobs; login has the workers.
func (s *Store) NewJobs(c JobsConfig) (*Jobs, error) { return s.db.NewJobs(c) }

// EraseTenant removes everything of a deleted tenant but its audit chain, and its pool's users when pool says that the pool is the
// tenant's own. It may run again.
func (s *Store) EraseTenant(ctx context.Context, ref TenantRef, op Op, pool bool) error {
	return s.db.EraseTenant(ctx, ref, op, pool)
}

// Sweep removes up to limit expired rows of each of the tables that only grow, and answers how many went. Sessions that nobody has
// used for too long end with all that EndSession ends. Call it every few minutes; several processes may.
func (s *Store) Sweep(ctx context.Context, limit int) (removed int64, err error) {
	return s.db.Sweep(ctx, "system", limit)
}

// ListAuditEvents answers a page of the tenant's events, newest first.
func (s *Store) ListAuditEvents(ctx context.Context, ref TenantRef, p AuditPage) ([]AuditEvent, error) {
	p.Limit = pageSize(p.Limit)
	return s.db.ListAuditEvents(ctx, ref, p)
}

// VerifyAudit walks the tenant's whole chain and answers how many events fit together; ErrChainBroken says where they do not.
func (s *Store) VerifyAudit(ctx context.Context, ref TenantRef) (events int64, err error) {
	return s.db.VerifyAudit(ctx, ref)
}

// pageSize keeps a page between 1 and 1,001: one more than callers may ask for, so that they can see whether there is a next page.
func pageSize(n int) int {
	if n <= 0 {
		return 50
	}
	return min(n, 1001)
}

// newSecret draws 256 random bits and their SHA-256. Their entropy makes one fast hash the right one.
func newSecret() (raw, hash [32]byte) {
	rand.Read(raw[:]) // never fails since Go 1.24: it ends the process instead
	return raw, sha256.Sum256(raw[:])
}
