// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// Errors of the store. Everything else is PostgreSQL's own error, wrapped.
var (
	// ErrNotFound: there is no such thing in this tenant. What another tenant has is not found either.
	ErrNotFound = errors.New("identity: not found")
	// ErrEmailTaken: another user of the pool has this e-mail address.
	ErrEmailTaken = errors.New("identity: the e-mail address is taken")
	// ErrEtag: the user has changed since the etag was read.
	ErrEtag = errors.New("identity: the etag does not match")
	// ErrReused: an old refresh token came back, so the family was revoked (RFC 9700 section 4.14.2).
	ErrReused = errors.New("identity: the refresh token was used before; its family is revoked")
	// ErrPrivileged: the database role could pass by row-level security, so the service refuses to work with it.
	ErrPrivileged = errors.New("identity: the database role is a superuser, bypasses row-level security or owns tables")
)

// TenantRef says whose data a method works on: the tenant, and the pool that the tenant's users live in.
type TenantRef struct {
	// Tenant is the isolated identity space.
	Tenant id.Tenant `json:"tenant"`
	// Pool is where the tenant's users live.
	Pool id.UserPool `json:"pool"`
}

// Op says when an operation happens and on whose behalf. It is what the operation's audit event records.
type Op struct {
	// Now is the operation's time; the store never reads a clock.
	Now time.Time
	// Actor is the text of an id (uid_, key_, cli_, tnt_), or "system".
	Actor string
	// RequestID is the request's id in logs.
	RequestID string
	// IP is the caller's address as the edge knows it; empty when there is none.
	IP string
	// UserAgent is the caller's User-Agent; at most 512 bytes of it are kept.
	UserAgent string
}

// UserState is where a user stands.
type UserState string

// States of a user.
const (
	// UserActive may log in.
	UserActive UserState = "ACTIVE"
	// UserInvited has no credential yet: the invitation is still open.
	UserInvited UserState = "INVITED"
	// UserSuspended may not log in; sessions and refresh families have ended.
	UserSuspended UserState = "SUSPENDED"
)

// Profile is what people say about themselves: the OpenID Connect standard claims that are kept (OpenID Connect Core 5.1).
type Profile struct {
	// Name is the full name as shown.
	Name string `json:"name,omitempty"`
	// GivenName is the first name or names.
	GivenName string `json:"given_name,omitempty"`
	// FamilyName is the last name or names.
	FamilyName string `json:"family_name,omitempty"`
	// Nickname is a casual name.
	Nickname string `json:"nickname,omitempty"`
	// PreferredUsername is a short name; not unique, never an identifier.
	PreferredUsername string `json:"preferred_username,omitempty"`
	// Picture is the URL of a picture.
	Picture string `json:"picture,omitempty"`
	// Website is the URL of a home page.
	Website string `json:"website,omitempty"`
	// Locale is a BCP 47 language tag.
	Locale string `json:"locale,omitempty"`
	// Zoneinfo is a time zone name, such as Europe/Paris.
	Zoneinfo string `json:"zoneinfo,omitempty"`
}

// User is a person in one pool, with the roles and groups of the tenant that was asked.
type User struct {
	// ID is the user's id; its text is `sub`.
	ID id.User
	// Email is the address as the person wrote it, with the domain in lower case.
	Email string
	// EmailVerified is true when somebody proved to read that mailbox.
	EmailVerified bool
	Profile
	// State is where the user stands.
	State UserState
	// Membership is the user's place in the tenant.
	Membership id.Membership
	// MembershipSuspended is true when the user may not use this tenant.
	MembershipSuspended bool
	// Roles of the membership.
	Roles []string
	// Groups of the membership.
	Groups []string
	// HasPassword is true when the user can log in with a password.
	HasPassword bool
	// AppMetadata is a JSON object that the tenant's admins write.
	AppMetadata json.RawMessage
	// UserMetadata is a JSON object that the user may write.
	UserMetadata json.RawMessage
	// CreateTime is when the user was made.
	CreateTime time.Time
	// UpdateTime is when the user last changed.
	UpdateTime time.Time
	// Etag changes with every change of the user.
	Etag string
}

// CanLogIn reports whether the user is active and so is the membership.
func (u *User) CanLogIn() bool { return u.State == UserActive && !u.MembershipSuspended }

// NewUser is a user to be made.
type NewUser struct {
	ID            id.User
	Membership    id.Membership
	Email         string
	EmailKey      string
	EmailVerified bool
	Profile
	NameKey      string
	State        UserState
	Roles        []string
	Groups       []string
	Source       string
	PHC          string // empty: no password
	AppMetadata  json.RawMessage
	UserMetadata json.RawMessage
	Invitation   *NewInvitation
}

// UserChange is a partial update: nil fields stay as they are.
type UserChange struct {
	// Email replaces the address; unless EmailVerified says otherwise it is then unverified.
	Email *string
	// EmailVerified says that the address was proven.
	EmailVerified *bool
	// Name and the following replace single members of the profile.
	Name, GivenName, FamilyName, Nickname, PreferredUsername, Picture, Website, Locale, Zoneinfo *string
	// State may be UserActive or UserSuspended; suspending ends the user's sessions and refresh families.
	State *UserState
	// Roles replaces the roles of the membership.
	Roles *[]string
	// Groups replaces the groups of the membership.
	Groups *[]string
	// AppMetadata replaces the tenant's JSON object.
	AppMetadata *json.RawMessage
	// UserMetadata replaces the user's JSON object.
	UserMetadata *json.RawMessage
	// EmailKey and NameKey are the folded forms, filled in by the identity package.
	EmailKey, NameKey *string
}

// UserFilter narrows a list of users; zero fields do not narrow.
type UserFilter struct {
	// Email is the exact address, in any spelling that means the same.
	Email string
	// State of the user.
	State UserState
	// Role that the membership must carry.
	Role string
}

// UserPage asks for one page of users in the order of their ids, which is the order of their creation.
type UserPage struct {
	// Filter narrows the list.
	Filter UserFilter
	// After is the last id of the page before; zero starts.
	After id.User
	// Limit is the greatest number of users to return.
	Limit int
	// Descending lists the newest first.
	Descending bool
}

// Login is what checking a password needs.
type Login struct {
	User
	PHC         string // empty: the user has no password
	LockedUntil time.Time
}

// Session is a browser's login at one tenant.
type Session struct {
	// ID is `sid`.
	ID id.Session
	// User who logged in.
	User id.User
	// AuthTime is when the user last proved who they are.
	AuthTime time.Time
	// AMR are the methods (RFC 8176).
	AMR []string
	// ACR is the class that was reached.
	ACR string
	// IP the login came from.
	IP string
	// UserAgent the login came from.
	UserAgent string
	// CreateTime is when the session began.
	CreateTime time.Time
	// LastUseTime is when it was last seen, to about a minute.
	LastUseTime time.Time
	// ExpireTime is when it ends whatever happens.
	ExpireTime time.Time
	// Idle is how long it may go unused; zero means for ever. It is for writing alone: a read goes by SessionLimits.
	Idle time.Duration
}

// SessionLimits are the tenant's limits now; zero means no limit beside the session's own ExpireTime.
type SessionLimits struct {
	// Idle is for how long a session may go unused.
	Idle time.Duration
	// Absolute is for how long it may live since AuthTime.
	Absolute time.Duration
}

// Family is a chain of refresh tokens that belongs to one grant. A token names the family and a generation; only the newest
// generation may be rotated.
type Family struct {
	// Grant is the family's id.
	Grant id.Grant
	// User who gave the grant.
	User id.User
	// Client it was given to.
	Client id.Client
	// Scopes that were granted.
	Scopes []string
	// Session the grant was made in.
	Session id.Session
	// Offline families outlive their session (offline_access).
	Offline bool
	// AuthTime is when the user last proved who they are.
	AuthTime time.Time
	// AMR are the methods (RFC 8176).
	AMR []string
	// ACR is the class that was reached.
	ACR string
	// Resource is the audience that was asked for (RFC 8707).
	Resource string
	// Claims is the claims parameter of the authorization request, as it came.
	Claims string
	// Binding is the key that the refresh tokens are bound to, as oauth2.Binding prints it; empty for none.
	Binding string
	// AuthorizationDetails are those granted (RFC 9396), a JSON array; empty for none.
	AuthorizationDetails string
	// Generation is the newest one given out; the first is 1.
	Generation int
	// RotateTime is when it was given out.
	RotateTime time.Time
	// CreateTime is when the family began.
	CreateTime time.Time
	// ExpireTime is when it ends whatever happens. Of an online family it is not later than its session's.
	ExpireTime time.Time
	// RevokeTime is when it was revoked; zero for a live one.
	RevokeTime time.Time
}

// Rotation asks for the next refresh token of a family.
type Rotation struct {
	// Grant is the family, from the token.
	Grant id.Grant
	// Client is the one that authenticated; a token of another client is not found (RFC 6749 section 6).
	Client id.Client
	// Generation is the presented one, from the token, after its MAC was verified.
	Generation int
	// Grace is for how long the previous generation is answered again while the newest is unused.
	Grace time.Duration
	// Idle is for how long a family may go unrotated; zero means no limit.
	Idle time.Duration
	// Absolute is for how long it may live since its beginning; zero means no limit beside its ExpireTime.
	Absolute time.Duration
	// Binding is the key that the request has proven; a family that is bound to another is not found, and nothing happens to it.
	Binding string
	// Keep leaves the generation as it is, for clients whose tokens are safe without rotation; the family counts as used all the same.
	Keep bool
}

// Rotated is the outcome of a rotation: the family with its newest generation, and its user as they are now.
type Rotated struct {
	Family
	// Owner is the user with the roles and groups of the membership.
	Owner User
	// Again is true when the previous generation was answered a second time.
	Again bool
}

// RevocationKind says what a revocation's subject is.
type RevocationKind string

// Kinds of revocations, as claims name them.
const (
	// RevokedToken is one access token by its `jti`.
	RevokedToken RevocationKind = "jti"
	// RevokedSession is every access token with this `sid`.
	RevokedSession RevocationKind = "sid"
	// RevokedGrant is every access token with this `gnt`.
	RevokedGrant RevocationKind = "gnt"
)

// Revocation says that tokens must not be believed although their signature is good.
type Revocation struct {
	// Tenant whose token it is.
	Tenant id.Tenant
	// Kind of Subject.
	Kind RevocationKind
	// Subject is the claim's value.
	Subject string
	// Until is when the last such token has expired.
	Until time.Time
	// CreateTime is when it was revoked.
	CreateTime time.Time
}

// Ended lists what an operation ended, for the marks in the runtime Redis. The rows behind the marks are already there.
type Ended struct {
	// Revocations to be marked.
	Revocations []Revocation
	// Clients are those that knew a session that ended, of those that were noted. Their back-channel logouts are on their way; what
	// only a browser can do is the caller's.
	Clients []SessionClient
}

// SessionClient is a client that a session is known to.
type SessionClient struct {
	// Session that the client knows.
	Session id.Session
	// Client that got a code in it.
	Client id.Client
}

// Consent is the user's yes to a client's scopes.
type Consent struct {
	// User who said it.
	User id.User
	// Client it was said to.
	Client id.Client
	// Scopes are all that were ever granted and not withdrawn.
	Scopes []string
	// GrantTime is when it was said last.
	GrantTime time.Time
}

// InvitationState is where an invitation stands.
type InvitationState string

// States of an invitation. One that has expired stays PENDING and is refused.
const (
	// InvitationPending waits for the person.
	InvitationPending InvitationState = "PENDING"
	// InvitationAccepted was used.
	InvitationAccepted InvitationState = "ACCEPTED"
	// InvitationRevoked was withdrawn.
	InvitationRevoked InvitationState = "REVOKED"
)

// Invitation asks a person to join a tenant.
type Invitation struct {
	// ID of the invitation.
	ID id.Invitation
	// User who joins by it.
	User id.User
	// Email it goes to.
	Email string
	// Name of the user, when known.
	Name string
	// Locale of the user, when known.
	Locale string
	// Roles that accepting gives.
	Roles []string
	// Groups that accepting gives.
	Groups []string
	// Client to land on afterwards; zero means the tenant's own page.
	Client id.Client
	// State of the invitation.
	State InvitationState
	// CreateTime is when it was made.
	CreateTime time.Time
	// ExpireTime is when its links stop working.
	ExpireTime time.Time
	// AcceptTime is when it was used; zero before.
	AcceptTime time.Time
}

// NewInvitation is an invitation to be made together with its user and its mail.
type NewInvitation struct {
	// ID of the invitation.
	ID id.Invitation `json:"id"`
	// ExpireTime is when its links stop working.
	ExpireTime time.Time `json:"expire_time"`
	// Client to land on afterwards.
	Client id.Client `json:"client,omitzero"`
}

// SeedUser is one user of a Seed.
type SeedUser struct {
	// ID, drawn when the tenant was provisioned.
	ID id.User `json:"id"`
	// Membership, drawn likewise.
	Membership id.Membership `json:"membership"`
	// Email of the user.
	Email string `json:"email"`
	// EmailVerified says that the org vouches for the address.
	EmailVerified bool `json:"email_verified,omitempty"`
	// Profile of the user.
	Profile Profile `json:"profile,omitzero"`
	// Roles in the tenant.
	Roles []string `json:"roles,omitempty"`
	// Groups in the tenant.
	Groups []string `json:"groups,omitempty"`
	// Invitation to be mailed; nil for none.
	Invitation *NewInvitation `json:"invitation,omitempty"`
	// EmailKey and NameKey are the folded forms, filled in by the identity package.
	EmailKey string `json:"-"`
	NameKey  string `json:"-"`
}

// Seed is what a provision leaves for the identity database: the tenant's owner and first users. It is stored as JSON beside the
// tenant and applied as often as it takes.
type Seed struct {
	// TenantRef is the new tenant.
	TenantRef
	// Time of the provision.
	Time time.Time `json:"time"`
	// Actor who provisioned, for the audit events.
	Actor string `json:"actor"`
	// RequestID of the provision.
	RequestID string `json:"request_id,omitempty"`
	// Users to make.
	Users []SeedUser `json:"users"`
}

// AuditEvent is one link of a tenant's audit chain.
type AuditEvent struct {
	// Seq is the event's place in the tenant's chain, from 1.
	Seq int64
	// ID of the event.
	ID id.Event
	// Time of the operation.
	Time time.Time
	// Actor, as in Op.
	Actor string
	// Action, such as user.created.
	Action string
	// Resource is the text of the id of what was changed.
	Resource string
	// Outcome is "success" or why not.
	Outcome string
	// RequestID, IP and UserAgent, as in Op.
	RequestID, IP, UserAgent string
	// Details is a JSON object; never a secret.
	Details string
	// Hash links the event to all before it.
	Hash []byte
}

// AuditPage asks for one page of a tenant's audit events, newest first.
type AuditPage struct {
	// Before is the Seq of the last event of the page before; zero starts.
	Before int64
	// Limit is the greatest number of events to return.
	Limit int
	// Action narrows to one action; empty does not.
	Action string
	// Actor narrows to one actor; empty does not.
	Actor string
	// Resource narrows to one resource; empty does not.
	Resource string
}
