// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package id

// The kinds, in the order of the domain model. A new kind is one type, one Prefix, one alias and two functions; the test over
// prefixes keeps them apart.
type (
	orgKind            struct{}
	tenantKind         struct{}
	clientKind         struct{}
	clientSecretKind   struct{}
	userKind           struct{}
	membershipKind     struct{}
	invitationKind     struct{}
	roleKind           struct{}
	groupKind          struct{}
	apiKeyKind         struct{}
	blueprintKind      struct{}
	revisionKind       struct{}
	connectionKind     struct{}
	domainKind         struct{}
	signingKeyKind     struct{}
	sessionKind        struct{}
	grantKind          struct{}
	eventKind          struct{}
	operationKind      struct{}
	userPoolKind       struct{}
	rolloutKind        struct{}
	serviceAccountKind struct{}
)

func (orgKind) Prefix() string            { return "org" }
func (tenantKind) Prefix() string         { return "tnt" }
func (clientKind) Prefix() string         { return "cli" }
func (clientSecretKind) Prefix() string   { return "csc" }
func (userKind) Prefix() string           { return "uid" }
func (membershipKind) Prefix() string     { return "mbr" }
func (invitationKind) Prefix() string     { return "inv" }
func (roleKind) Prefix() string           { return "rol" }
func (groupKind) Prefix() string          { return "grp" }
func (apiKeyKind) Prefix() string         { return "key" }
func (blueprintKind) Prefix() string      { return "bpt" }
func (revisionKind) Prefix() string       { return "bpr" }
func (connectionKind) Prefix() string     { return "con" }
func (domainKind) Prefix() string         { return "dom" }
func (signingKeyKind) Prefix() string     { return "sgk" }
func (sessionKind) Prefix() string        { return "ses" }
func (grantKind) Prefix() string          { return "gnt" }
func (eventKind) Prefix() string          { return "evt" }
func (operationKind) Prefix() string      { return "op" }
func (userPoolKind) Prefix() string       { return "pol" }
func (rolloutKind) Prefix() string        { return "rlt" }
func (serviceAccountKind) Prefix() string { return "sva" }

// Org identifies an org: org_….
type Org = ID[orgKind]

// Tenant identifies a tenant: tnt_….
type Tenant = ID[tenantKind]

// Client identifies a client: cli_….
type Client = ID[clientKind]

// ClientSecret identifies one of a confidential client's secrets: csc_….
type ClientSecret = ID[clientSecretKind]

// User identifies a user of one user pool: uid_….
type User = ID[userKind]

// Membership identifies a user's membership of a tenant: mbr_….
type Membership = ID[membershipKind]

// Invitation identifies an invitation: inv_….
type Invitation = ID[invitationKind]

// Role identifies a role: rol_….
type Role = ID[roleKind]

// Group identifies a group: grp_….
type Group = ID[groupKind]

// APIKey identifies an API key: key_….
type APIKey = ID[apiKeyKind]

// Blueprint identifies a blueprint: bpt_….
type Blueprint = ID[blueprintKind]

// Revision identifies a revision of a blueprint: bpr_….
type Revision = ID[revisionKind]

// Connection identifies a connection: con_….
type Connection = ID[connectionKind]

// Domain identifies a domain of a tenant: dom_….
type Domain = ID[domainKind]

// SigningKey identifies a signing key; it is the kid of the tokens that the key signs: sgk_….
type SigningKey = ID[signingKeyKind]

// Session identifies a browser's login at one tenant: ses_….
type Session = ID[sessionKind]

// Grant identifies a grant, the family of its refresh tokens included: gnt_….
type Grant = ID[grantKind]

// Event identifies an audit event: evt_….
type Event = ID[eventKind]

// Operation identifies an operation: op_….
type Operation = ID[operationKind]

// UserPool identifies a user pool: pol_….
type UserPool = ID[userPoolKind]

// Rollout identifies a rollout: rlt_….
type Rollout = ID[rolloutKind]

// ServiceAccount identifies a service account: sva_….
type ServiceAccount = ID[serviceAccountKind]

// NewOrg makes an Org.
func NewOrg() Org { return New[orgKind]() }

// ParseOrg reads an Org from its text form; errors wrap ErrMalformed.
func ParseOrg(s string) (Org, error) { return Parse[orgKind](s) }

// NewTenant makes a Tenant.
func NewTenant() Tenant { return New[tenantKind]() }

// ParseTenant reads a Tenant from its text form; errors wrap ErrMalformed.
func ParseTenant(s string) (Tenant, error) { return Parse[tenantKind](s) }

// NewClient makes a Client.
func NewClient() Client { return New[clientKind]() }

// ParseClient reads a Client from its text form; errors wrap ErrMalformed.
func ParseClient(s string) (Client, error) { return Parse[clientKind](s) }

// NewClientSecret makes a ClientSecret.
func NewClientSecret() ClientSecret { return New[clientSecretKind]() }

// ParseClientSecret reads a ClientSecret from its text form; errors wrap ErrMalformed.
func ParseClientSecret(s string) (ClientSecret, error) { return Parse[clientSecretKind](s) }

// NewUser makes a User.
func NewUser() User { return New[userKind]() }

// ParseUser reads a User from its text form; errors wrap ErrMalformed.
func ParseUser(s string) (User, error) { return Parse[userKind](s) }

// NewMembership makes a Membership.
func NewMembership() Membership { return New[membershipKind]() }

// ParseMembership reads a Membership from its text form; errors wrap ErrMalformed.
func ParseMembership(s string) (Membership, error) { return Parse[membershipKind](s) }

// NewInvitation makes an Invitation.
func NewInvitation() Invitation { return New[invitationKind]() }

// ParseInvitation reads an Invitation from its text form; errors wrap ErrMalformed.
func ParseInvitation(s string) (Invitation, error) { return Parse[invitationKind](s) }

// NewRole makes a Role.
func NewRole() Role { return New[roleKind]() }

// ParseRole reads a Role from its text form; errors wrap ErrMalformed.
func ParseRole(s string) (Role, error) { return Parse[roleKind](s) }

// NewGroup makes a Group.
func NewGroup() Group { return New[groupKind]() }

// ParseGroup reads a Group from its text form; errors wrap ErrMalformed.
func ParseGroup(s string) (Group, error) { return Parse[groupKind](s) }

// NewAPIKey makes an APIKey.
func NewAPIKey() APIKey { return New[apiKeyKind]() }

// ParseAPIKey reads an APIKey from its text form; errors wrap ErrMalformed.
func ParseAPIKey(s string) (APIKey, error) { return Parse[apiKeyKind](s) }

// NewBlueprint makes a Blueprint.
func NewBlueprint() Blueprint { return New[blueprintKind]() }

// ParseBlueprint reads a Blueprint from its text form; errors wrap ErrMalformed.
func ParseBlueprint(s string) (Blueprint, error) { return Parse[blueprintKind](s) }

// NewRevision makes a Revision.
func NewRevision() Revision { return New[revisionKind]() }

// ParseRevision reads a Revision from its text form; errors wrap ErrMalformed.
func ParseRevision(s string) (Revision, error) { return Parse[revisionKind](s) }

// NewConnection makes a Connection.
func NewConnection() Connection { return New[connectionKind]() }

// ParseConnection reads a Connection from its text form; errors wrap ErrMalformed.
func ParseConnection(s string) (Connection, error) { return Parse[connectionKind](s) }

// NewDomain makes a Domain.
func NewDomain() Domain { return New[domainKind]() }

// ParseDomain reads a Domain from its text form; errors wrap ErrMalformed.
func ParseDomain(s string) (Domain, error) { return Parse[domainKind](s) }

// NewSigningKey makes a SigningKey.
func NewSigningKey() SigningKey { return New[signingKeyKind]() }

// ParseSigningKey reads a SigningKey from its text form; errors wrap ErrMalformed.
func ParseSigningKey(s string) (SigningKey, error) { return Parse[signingKeyKind](s) }

// NewSession makes a Session.
func NewSession() Session { return New[sessionKind]() }

// ParseSession reads a Session from its text form; errors wrap ErrMalformed.
func ParseSession(s string) (Session, error) { return Parse[sessionKind](s) }

// NewGrant makes a Grant.
func NewGrant() Grant { return New[grantKind]() }

// ParseGrant reads a Grant from its text form; errors wrap ErrMalformed.
func ParseGrant(s string) (Grant, error) { return Parse[grantKind](s) }

// NewEvent makes an Event.
func NewEvent() Event { return New[eventKind]() }

// ParseEvent reads an Event from its text form; errors wrap ErrMalformed.
func ParseEvent(s string) (Event, error) { return Parse[eventKind](s) }

// NewOperation makes an Operation.
func NewOperation() Operation { return New[operationKind]() }

// ParseOperation reads an Operation from its text form; errors wrap ErrMalformed.
func ParseOperation(s string) (Operation, error) { return Parse[operationKind](s) }

// NewUserPool makes a UserPool.
func NewUserPool() UserPool { return New[userPoolKind]() }

// ParseUserPool reads a UserPool from its text form; errors wrap ErrMalformed.
func ParseUserPool(s string) (UserPool, error) { return Parse[userPoolKind](s) }

// NewRollout makes a Rollout.
func NewRollout() Rollout { return New[rolloutKind]() }

// ParseRollout reads a Rollout from its text form; errors wrap ErrMalformed.
func ParseRollout(s string) (Rollout, error) { return Parse[rolloutKind](s) }

// NewServiceAccount makes a ServiceAccount.
func NewServiceAccount() ServiceAccount { return New[serviceAccountKind]() }

// ParseServiceAccount reads a ServiceAccount from its text form; errors wrap ErrMalformed.
func ParseServiceAccount(s string) (ServiceAccount, error) { return Parse[serviceAccountKind](s) }
