// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"encoding/json"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
)

// State is where an org or a tenant stands.
type State int16

// The states; DELETED is for tenants only.
const (
	StateUnspecified State = 0
	StateActive      State = 1
	StateSuspended   State = 2
	StateDeleted     State = 3
)

// String is the name on the wire.
func (s State) String() string {
	switch s {
	case StateActive:
		return "ACTIVE"
	case StateSuspended:
		return "SUSPENDED"
	case StateDeleted:
		return "DELETED"
	case StateUnspecified:
	}
	return "STATE_UNSPECIFIED"
}

// ParseState is the inverse of String.
func ParseState(s string) (State, bool) {
	for _, v := range []State{StateActive, StateSuspended, StateDeleted} {
		if v.String() == s {
			return v, true
		}
	}
	return StateUnspecified, false
}

// TenantType says whether real people depend on a tenant.
type TenantType int16

// The types, fixed at creation.
const (
	TypeUnspecified TenantType = 0
	TypeDevelopment TenantType = 1
	TypeProduction  TenantType = 2
)

// String is the name on the wire.
func (t TenantType) String() string {
	switch t {
	case TypeDevelopment:
		return "DEVELOPMENT"
	case TypeProduction:
		return "PRODUCTION"
	case TypeUnspecified:
	}
	return "TYPE_UNSPECIFIED"
}

// Standard are the fields that every resource has.
type Standard struct {
	DisplayName string            `json:",omitzero"`
	Labels      map[string]string `json:",omitzero"`
	Annotations map[string]string `json:",omitzero"`
	Version     int64             `json:",omitzero"` // counts the writes of the row; the etag is made of it
	CreateTime  time.Time         `json:",omitzero"`
	UpdateTime  time.Time         `json:",omitzero"`
}

// Org is the billing and administrative boundary.
type Org struct {
	Standard
	ID              id.Org   `json:",omitzero"`
	Slug            string   `json:",omitzero"`
	State           State    `json:",omitzero"`
	BaseDomain      string   `json:",omitzero"` // A-label form; empty until a platform key sets it
	DefaultAudience string   // `aud` of access tokens when a request names no resource
	BillingAccount  string   `json:",omitzero"` // reference into the billing system of the operator
	BillingPlan     string   `json:",omitzero"`
	AllowedRegions  []string `json:",omitzero"` // empty means every region of the installation
	ReservedLabels  []string `json:",omitzero"` // labels under the base domain that no tenant may take
	Config          *Policy  `json:",omitzero"` // inherited by the tenants of all blueprints
	Theme           *Theme   `json:",omitzero"` // likewise
	ConfigVersion   int64    `json:",omitzero"` // of the org's record in the data plane
}

// Tenant is one isolated identity space.
type Tenant struct {
	Standard
	Org               id.Org          `json:",omitzero"`
	ID                id.Tenant       `json:",omitzero"`
	Slug              string          `json:",omitzero"`
	Type              TenantType      `json:",omitzero"`
	Region            string          `json:",omitzero"`
	State             State           `json:",omitzero"`
	Blueprint         id.Blueprint    `json:",omitzero"` // zero when the tenant was made without one
	BlueprintRevision int             `json:",omitzero"` // the revision that the tenant's own things were made from
	BlueprintPin      int             `json:",omitzero"` // the revision that the tenant is held at; 0: it follows the blueprint
	Pool              id.UserPool     `json:",omitzero"`
	Issuer            string          `json:",omitzero"`
	Hosts             []Host          `json:",omitzero"` // the first one is primary
	Plan              string          `json:",omitzero"`
	Entitlements      []string        `json:",omitzero"`
	OwnerEmail        string          `json:",omitzero"`
	Owner             id.User         `json:",omitzero"` // the owner's user, zero without an owner
	AppMetadata       json.RawMessage `json:",omitzero"` // a JSON object; the tenant's admins may write it
	InternalMetadata  json.RawMessage `json:",omitzero"` // a JSON object; only the org may
	Overrides         *Policy         `json:",omitzero"` // what this tenant sets itself
	Theme             *Theme          `json:",omitzero"` // what this tenant's appearance sets itself
	Parameters        map[string]any  `json:",omitzero"` // the values that filled in the blueprint, defaults included
	ConfigVersion     int64           `json:",omitzero"` // names the snapshot
	DeleteTime        time.Time       `json:",omitzero"` // zero unless DELETED
	PurgeTime         time.Time       `json:",omitzero"` // when a deleted tenant is gone for good
	StateBefore       State           `json:",omitzero"` // the state that Undelete restores
	Roles             []Role          `json:",omitzero"` // filled by GetTenant
	PairwiseSalt      []byte          `json:"-"`         // 32 random bytes that never change; none in a tenant of an older release, until its next change
	Warnings          []Warning       `json:",omitzero"` // about the change that this is the answer to
}

// Host is a hostname of a tenant.
type Host struct {
	Name         string `json:",omitzero"` // A-label
	ClaimVersion int64  `json:",omitzero"` // grows along the name's history
	Released     bool   `json:",omitzero"` // kept so that the pointer's tombstone is published again after a loss
}

// Role is a name that memberships of a tenant may carry.
type Role struct {
	ID          id.Role `json:",omitzero"`
	Name        string  // value in the `roles` claim
	DisplayName string  `json:",omitzero"`
	Default     bool    `json:",omitzero"` // given to people who register themselves
}

// ClientType is RFC 6749 section 2.1.
type ClientType int16

// The client types.
const (
	ClientTypeUnspecified ClientType = 0
	ClientPublic          ClientType = 1
	ClientConfidential    ClientType = 2
)

// String is the name on the wire and in files.
func (t ClientType) String() string {
	switch t {
	case ClientPublic:
		return "PUBLIC"
	case ClientConfidential:
		return "CONFIDENTIAL"
	case ClientTypeUnspecified:
	}
	return "CLIENT_TYPE_UNSPECIFIED"
}

// ClientKind is the kind of application.
type ClientKind int16

// The kinds; their numbers are those of the snapshot.
const (
	KindUnspecified ClientKind = 0
	KindWeb         ClientKind = 1
	KindSPA         ClientKind = 2
	KindNative      ClientKind = 3
	KindService     ClientKind = 4
)

// String is the name on the wire and in files.
func (k ClientKind) String() string {
	switch k {
	case KindWeb:
		return "WEB"
	case KindSPA:
		return "SPA"
	case KindNative:
		return "NATIVE"
	case KindService:
		return "SERVICE"
	case KindUnspecified:
	}
	return "KIND_UNSPECIFIED"
}

// ClientSettings is everything about a client that its owner chooses.
type ClientSettings struct {
	DisplayName                    string     `json:"displayName,omitempty"`
	Type                           ClientType `json:"type,omitempty"`
	Kind                           ClientKind `json:"kind,omitempty"`
	RedirectURIs                   []string   `json:"redirectUris,omitempty"`
	RedirectURITemplates           []string   `json:"redirectUriTemplates,omitempty"` // shared clients only
	PostLogoutRedirectURIs         []string   `json:"postLogoutRedirectUris,omitempty"`
	PostLogoutRedirectURITemplates []string   `json:"postLogoutRedirectUriTemplates,omitempty"` // shared clients only
	GrantTypes                     []string   `json:"grantTypes,omitempty"`
	TokenEndpointAuthMethod        string     `json:"tokenEndpointAuthMethod,omitempty"`
	Scopes                         []string   `json:"scopes,omitempty"`
	Audiences                      []string   `json:"audiences,omitempty"`
	CORSOrigins                    []string   `json:"corsOrigins,omitempty"`
	CORSOriginTemplates            []string   `json:"corsOriginTemplates,omitempty"` // shared clients only
	IDTokenSignedResponseAlg       string     `json:"idTokenSignedResponseAlg,omitempty"`
	FirstParty                     bool       `json:"firstParty,omitempty"`
	Disabled                       bool       `json:"disabled,omitempty"`
	PKCEOptional                   bool       `json:"pkceOptional,omitempty"` // confidential clients only; public ones always need PKCE
	LogoURI                        string     `json:"logoUri,omitempty"`
	PolicyURI                      string     `json:"policyUri,omitempty"`
	TOSURI                         string     `json:"tosUri,omitempty"`
	InitiateLoginURI               string     `json:"initiateLoginUri,omitempty"`
	Overrides                      *Policy    `json:"overrides,omitempty"` // token lifetimes that differ from the policy
	Protocol                       *Protocol  `json:"protocol,omitempty"`  // nil: nothing beyond the basics
}

// Client is a registered application, of one tenant or shared by all tenants of the org.
type Client struct {
	ClientSettings
	Org         id.Org            `json:",omitzero"`
	Tenant      id.Tenant         `json:",omitzero"` // zero: bound to ALL tenants of the org
	ID          id.Client         `json:",omitzero"`
	Slug        string            `json:",omitzero"` // unique inside its parent
	Labels      map[string]string `json:",omitzero"`
	Annotations map[string]string `json:",omitzero"`
	Secrets     []ClientSecret    `json:",omitzero"`
	Version     int64             `json:",omitzero"`
	CreateTime  time.Time         `json:",omitzero"`
	UpdateTime  time.Time         `json:",omitzero"`
	// ConfigVersion is the version of the tenant, or of the org for a shared client, that has the last change in it.
	ConfigVersion int64 `json:",omitzero"`
	// Warnings are about the change that this is the answer to.
	Warnings []Warning `json:",omitzero"`
}

// ClientSecret is what is kept of a client secret.
type ClientSecret struct {
	ID         id.ClientSecret `json:"id"`
	Hash       secret.Hash     `json:"-"`
	Sealed     *secret.Sealed  `json:"-"` // its text, for the token service; of clients whose method is client_secret_jwt alone
	CreateTime time.Time       `json:"createTime"`
	ExpireTime time.Time       `json:"expireTime,omitzero"` // zero: until retired
}

// ClientCredentials is a client with the plaintext of one of its secrets, as answered once.
type ClientCredentials struct {
	Client          Client          `json:",omitzero"`
	SecretID        id.ClientSecret `json:",omitzero"`
	Secret          string          `json:"-"` // empty for public clients and in replays
	AlreadyReturned bool            `json:"-"` // this is a replay: the secret was in the first answer
}

// KeyState is where an API key stands.
type KeyState int16

// The states of API keys; EXPIRED is derived from the time.
const (
	KeyActive   KeyState = 1
	KeyDisabled KeyState = 2
	KeyRevoked  KeyState = 3
	KeyExpired  KeyState = 4
)

// String is the name on the wire.
func (s KeyState) String() string {
	switch s {
	case KeyActive:
		return "ACTIVE"
	case KeyDisabled:
		return "DISABLED"
	case KeyRevoked:
		return "REVOKED"
	case KeyExpired:
		return "EXPIRED"
	}
	return "STATE_UNSPECIFIED"
}

// APIKey is a credential for the control plane, without its secret.
type APIKey struct {
	ID           id.APIKey         `json:",omitzero"`
	Slug         string            `json:",omitzero"` // the id in the blueprint or request that made it; may be empty
	Scope        KeyScope          `json:",omitzero"`
	Org          id.Org            `json:",omitzero"` // zero for PLATFORM
	Tenants      []id.Tenant       `json:",omitzero"` // of TENANTS; the first one is the parent in its name
	DisplayName  string            `json:",omitzero"`
	Permissions  []string          `json:",omitzero"`
	Role         string            `json:",omitzero"`
	Mint         *MintGrant        `json:",omitzero"`
	State        KeyState          `json:",omitzero"`
	MintedBy     id.APIKey         `json:",omitzero"` // zero when made by a blueprint or on the operator's machine
	CreatedBy    string            `json:",omitzero"` // the actor
	Labels       map[string]string `json:",omitzero"`
	Annotations  map[string]string `json:",omitzero"`
	Description  string            `json:",omitzero"`
	Hash         secret.Hash       `json:"-"`
	OldHash      secret.Hash       `json:"-"` // the secret before the last rotation, while OldUntil has not come
	OldUntil     time.Time         `json:"-"`
	Version      int64             `json:",omitzero"`
	CreateTime   time.Time         `json:",omitzero"`
	UpdateTime   time.Time         `json:",omitzero"`
	NotBefore    time.Time         `json:",omitzero"`
	ExpireTime   time.Time         `json:",omitzero"` // zero: never
	LastUsedTime time.Time         `json:",omitzero"` // at most a minute old
	RevokeTime   time.Time         `json:",omitzero"`
}

// Rights is what the key says of itself, before its minters are looked at.
func (k APIKey) Rights() Rights {
	return Rights{Scope: k.Scope, Org: k.Org, Tenants: k.Tenants, Permissions: Expand(k.Permissions, k.Role)}
}

// StateAt is the key's state at a moment, EXPIRED included.
func (k APIKey) StateAt(now time.Time) KeyState {
	if k.State == KeyActive && !k.ExpireTime.IsZero() && !now.Before(k.ExpireTime) {
		return KeyExpired
	}
	return k.State
}

// APIKeyCredentials is a key with its text, as answered once.
type APIKeyCredentials struct {
	Key             APIKey `json:",omitzero"`
	Text            string `json:"-"` // empty in replays
	AlreadyReturned bool   `json:"-"` // this is a replay: the text was in the first answer
}

// SigningKeyState is where a tenant's signing key stands. The numbers of the first four are those of the snapshot.
type SigningKeyState int16

// The states.
const (
	SigningStaged    SigningKeyState = 1
	SigningPublished SigningKeyState = 2
	SigningActive    SigningKeyState = 3
	SigningRetiring  SigningKeyState = 4
	SigningRemoved   SigningKeyState = 5
	SigningRevoked   SigningKeyState = 6
)

// String is the name on the wire.
func (s SigningKeyState) String() string {
	switch s {
	case SigningStaged:
		return "STAGED"
	case SigningPublished:
		return "PUBLISHED"
	case SigningActive:
		return "ACTIVE"
	case SigningRetiring:
		return "RETIRING"
	case SigningRemoved:
		return "REMOVED"
	case SigningRevoked:
		return "REVOKED"
	}
	return "STATE_UNSPECIFIED"
}

// SigningKey is a tenant's key: public half, sealed private half, and where it stands.
type SigningKey struct {
	Org        id.Org          `json:",omitzero"`
	Tenant     id.Tenant       `json:",omitzero"`
	ID         id.SigningKey   `json:",omitzero"`
	Algorithm  string          `json:",omitzero"`
	State      SigningKeyState `json:",omitzero"`
	PublicJWK  []byte          `json:",omitzero"`
	Sealed     secret.Sealed   `json:"-"`
	Version    int64           `json:",omitzero"`
	CreateTime time.Time       `json:",omitzero"`
	UpdateTime time.Time       `json:",omitzero"`
	// When it came, comes, left or leaves; zero for what has not been decided.
	PublishTime, ActivateTime, RetireTime, RemoveTime time.Time `json:",omitzero"`
	DueTime                                           time.Time `json:",omitzero"` // when the scheduled next step is due, zero for none
	ConfigVersion                                     int64     `json:",omitzero"`
}

// Operation is a call whose answer is kept: for a request id, for a long-running operation, or both.
type Operation struct {
	ID         id.Operation
	Org        id.Org
	Tenant     id.Tenant
	Caller     id.APIKey
	Method     string
	Answer     []byte // JSON of the use case's result, without secrets
	CreateTime time.Time
}

// ClientSpec is a client to make.
type ClientSpec struct {
	ID string `json:"id"` // becomes the slug
	ClientSettings
}

// APIKeySpec is a tenant-locked key to make together with a tenant.
type APIKeySpec struct {
	ID          string        `json:"id"` // becomes the slug
	DisplayName string        `json:"displayName,omitempty"`
	Description string        `json:"description,omitempty"`
	Role        string        `json:"role,omitempty"`
	Permissions []string      `json:"permissions,omitempty"`
	TTL         time.Duration `json:"ttl,omitempty"`
}

// UserSpec is a user to make together with a tenant.
type UserSpec struct {
	Email       string   `json:"email"`
	DisplayName string   `json:"displayName,omitempty"`
	Locale      string   `json:"locale,omitempty"`
	Roles       []string `json:"roles,omitempty"`
	Invite      bool     `json:"invite,omitempty"`
}

// RoleSpec is a role that tenants get.
type RoleSpec struct {
	ID          string `json:"id"` // the name in tokens
	DisplayName string `json:"displayName,omitempty"`
	Description string `json:"description,omitempty"`
	Default     bool   `json:"default,omitempty"`
}

// ParseTenantType is the inverse of String.
func ParseTenantType(s string) (TenantType, bool) {
	for _, v := range []TenantType{TypeDevelopment, TypeProduction} {
		if v.String() == s {
			return v, true
		}
	}
	return TypeUnspecified, false
}

// ParseClientType is the inverse of String.
func ParseClientType(s string) (ClientType, bool) {
	for _, v := range []ClientType{ClientPublic, ClientConfidential} {
		if v.String() == s {
			return v, true
		}
	}
	return ClientTypeUnspecified, false
}

// ParseClientKind is the inverse of String.
func ParseClientKind(s string) (ClientKind, bool) {
	for _, v := range []ClientKind{KindWeb, KindSPA, KindNative, KindService} {
		if v.String() == s {
			return v, true
		}
	}
	return KindUnspecified, false
}
