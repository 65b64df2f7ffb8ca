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
	DisplayName string
	Labels      map[string]string
	Annotations map[string]string
	Version     int64 // counts the writes of the row; the etag is made of it
	CreateTime  time.Time
	UpdateTime  time.Time
}

// Org is the billing and administrative boundary.
type Org struct {
	Standard
	ID              id.Org
	Slug            string
	State           State
	BaseDomain      string // A-label form; empty until a platform key sets it
	DefaultAudience string // `aud` of access tokens when a request names no resource
	BillingAccount  string // reference into the billing system of the operator
	BillingPlan     string
	AllowedRegions  []string // empty means every region of the installation
	ReservedLabels  []string // labels under the base domain that no tenant may take
	Config          *Policy  // inherited by the tenants of all blueprints
	Theme           *Theme   // likewise
	ConfigVersion   int64    // of the org's record in the data plane
}

// Tenant is one isolated identity space.
type Tenant struct {
	Standard
	Org               id.Org
	ID                id.Tenant
	Slug              string
	Type              TenantType
	Region            string
	State             State
	Blueprint         id.Blueprint // zero when the tenant was made without one
	BlueprintRevision int          // the revision that the tenant's own things were made from
	BlueprintPin      int          // the revision that the tenant is held at; 0: it follows the blueprint
	Pool              id.UserPool
	Issuer            string
	Hosts             []Host // the first one is primary
	Plan              string
	Entitlements      []string
	OwnerEmail        string
	Owner             id.User         // the owner's user, zero without an owner
	AppMetadata       json.RawMessage // a JSON object; the tenant's admins may write it
	InternalMetadata  json.RawMessage // a JSON object; only the org may
	Overrides         *Policy         // what this tenant sets itself
	Theme             *Theme          // what this tenant's appearance sets itself
	Parameters        map[string]any  // the values that filled in the blueprint, defaults included
	ConfigVersion     int64           // names the snapshot
	DeleteTime        time.Time       // zero unless DELETED
	PurgeTime         time.Time       // when a deleted tenant is gone for good
	StateBefore       State           // the state that Undelete restores
	Roles             []Role          // filled by GetTenant
}

// Host is a hostname of a tenant.
type Host struct {
	Name         string // A-label
	ClaimVersion int64  // grows along the name's history
	Released     bool   // kept so that the pointer's tombstone is published again after a loss
}

// Role is a name that memberships of a tenant may carry.
type Role struct {
	ID          id.Role
	Name        string // value in the `roles` claim
	DisplayName string
	Default     bool // given to people who register themselves
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
}

// Client is a registered application, of one tenant or shared by all tenants of the org.
type Client struct {
	ClientSettings
	Org         id.Org
	Tenant      id.Tenant // zero: bound to ALL tenants of the org
	ID          id.Client
	Slug        string // unique inside its parent
	Labels      map[string]string
	Annotations map[string]string
	Secrets     []ClientSecret
	Version     int64
	CreateTime  time.Time
	UpdateTime  time.Time
	// ConfigVersion is the version of the tenant, or of the org for a shared client, that has the last change in it.
	ConfigVersion int64
}

// ClientSecret is what is kept of a client secret.
type ClientSecret struct {
	ID         id.ClientSecret `json:"id"`
	Hash       secret.Hash     `json:"-"`
	CreateTime time.Time       `json:"createTime"`
	ExpireTime time.Time       `json:"expireTime,omitzero"` // zero: until retired
}

// ClientCredentials is a client with the plaintext of one of its secrets, as answered once.
type ClientCredentials struct {
	Client          Client
	SecretID        id.ClientSecret
	Secret          string `json:"-"` // empty for public clients and in replays
	AlreadyReturned bool   `json:"-"` // this is a replay: the secret was in the first answer
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
	ID           id.APIKey
	Slug         string // the id in the blueprint or request that made it; may be empty
	Scope        KeyScope
	Org          id.Org      // zero for PLATFORM
	Tenants      []id.Tenant // of TENANTS; the first one is the parent in its name
	DisplayName  string
	Permissions  []string
	Role         string
	Mint         *MintGrant
	State        KeyState
	MintedBy     id.APIKey // zero when made by a blueprint or on the operator's machine
	CreatedBy    string    // the actor
	Labels       map[string]string
	Annotations  map[string]string
	Description  string
	Hash         secret.Hash `json:"-"`
	OldHash      secret.Hash `json:"-"` // the secret before the last rotation, while OldUntil has not come
	OldUntil     time.Time   `json:"-"`
	Version      int64
	CreateTime   time.Time
	UpdateTime   time.Time
	NotBefore    time.Time
	ExpireTime   time.Time // zero: never
	LastUsedTime time.Time // at most a minute old
	RevokeTime   time.Time
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
	Key             APIKey
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
	Org        id.Org
	Tenant     id.Tenant
	ID         id.SigningKey
	Algorithm  string
	State      SigningKeyState
	PublicJWK  []byte
	Sealed     secret.Sealed `json:"-"`
	Version    int64
	CreateTime time.Time
	UpdateTime time.Time
	// When it came, comes, left or leaves; zero for what has not been decided.
	PublishTime, ActivateTime, RetireTime, RemoveTime time.Time
	DueTime                                           time.Time // when the scheduled next step is due, zero for none
	ConfigVersion                                     int64
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
