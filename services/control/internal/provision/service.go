// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package provision owns the use cases of the control plane: one method of Service for each method of the API, domain types in and
// out. It decides, compiles what the data plane would serve, and hands the store one write that holds everything or nothing:
// rows, snapshot, outbox, audit event and the answer kept for a repeated request.
//
// Who may call what is decided before: Authenticate gives the caller, Authorize the resources that the request names. The methods
// take resolved ids, and check only what depends on the content of the call (the laws of minting, etags, states).
package provision

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/blueprint"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// Call is what every changing request may carry beside its content.
type Call struct {
	RequestID    string   // UUID, or empty: the answer is then not kept
	BodyHash     [32]byte // SHA-256 over deterministic bytes of the request; what "the same request" means
	ValidateOnly bool     // check and answer as the call would, but change nothing
	Etag         string   // fail when the resource has changed since it had this etag
	Reason       string   // why, for the audit log
}

// Depth is how far a change must have come before a call answers.
type Depth int

// The depths; the zero value is LOGIN_READY.
const (
	DepthLoginReady Depth = iota
	DepthCommitted
	DepthEverything
)

// HostSpec is a hostname to claim: a label under the org's base domain, or a whole name.
type HostSpec struct {
	Label   string
	Domain  string
	Primary bool
}

// OwnerSpec is who owns a new tenant.
type OwnerSpec struct {
	Email       string
	DisplayName string
	Locale      string
}

// ProvisionInput is what to make a tenant from.
type ProvisionInput struct {
	Call
	TenantID         string // slug
	Blueprint        string // uid or slug
	Revision         string // number or uid; not empty pins the tenant to it
	Parameters       map[string]any
	DisplayName      string
	Type             tenancy.TenantType
	Region           string
	Plan             string
	Entitlements     []string
	Labels           map[string]string
	Annotations      map[string]string
	AppMetadata      []byte // JSON object
	InternalMetadata []byte // JSON object
	Theme            *tenancy.Theme
	Overrides        *tenancy.Policy
	Hosts            []HostSpec
	Owner            *OwnerSpec
	Clients          []tenancy.ClientSpec
	APIKeys          []tenancy.APIKeySpec
	InitialUsers     []tenancy.UserSpec
	WaitFor          Depth
}

// ProvisionResult is a tenant that was made (or, with validate_only, that would be made; its ids are then zero).
type ProvisionResult struct {
	Operation        id.Operation
	Tenant           tenancy.Tenant
	Clients          []tenancy.ClientCredentials
	APIKeys          []tenancy.APIKeyCredentials
	URLs             map[string]string
	ConfigVersion    int64
	Reached          bool   `json:"-"` // the depth was reached in time
	ConsistencyToken string `json:"-"`
	AlreadyReturned  bool   `json:"-"` // this is a replay: secrets are empty
	CreateTime       time.Time
}

// List is a page of a list call.
type List[T any] struct {
	Items         []T
	NextPageToken string
}

// Scope is what a resource name names, as segments: uid, slug or `-`.
type Scope struct {
	Org      string
	Tenant   string
	Platform bool // the name is below `platform`
	Attached bool // the method may read what is attached to a tenant of the caller
}

// Resolved is what a Scope names.
type Resolved struct {
	Org    id.Org
	Tenant id.Tenant
}

// OrgInput is an org to make, or new values with the mask of what to change: display_name, labels, annotations, default_audience,
// allowed_regions, reserved_labels, state, billing_account, billing_plan, config, theme.
type OrgInput struct {
	Call
	Slug string
	Mask []string
	Org  tenancy.Org
}

// BlueprintInput is a blueprint to make, or new values with the mask of what to change: display_name, description, labels,
// annotations, draft (or a member of it, such as draft.clients).
type BlueprintInput struct {
	Call
	Slug      string
	Mask      []string
	Blueprint blueprint.Blueprint
}

// TenantInput is new values with the mask of what to change: display_name, labels, annotations, plan, entitlements, app_metadata,
// internal_metadata, overrides (or a field of it, as in pkg/snapshot's table: overrides.token.access_ttl), theme (or
// theme.background, theme.brand, theme.radius, theme.logo, theme.title).
type TenantInput struct {
	Call
	Mask   []string
	Tenant tenancy.Tenant
}

// ClientInput is a client to make, or new values with the mask of what to change: the JSON names of tenancy.ClientSettings in
// snake_case, labels, annotations.
type ClientInput struct {
	Call
	Slug   string
	Mask   []string
	Client tenancy.Client
}

// MintInput is a key to make. Scope and Org follow from the parent; Tenants of a tenant's key is that tenant.
type MintInput struct {
	Call
	Key tenancy.APIKey
}

// RotateKeyInput names a key that gets a new secret.
type RotateKeyInput struct {
	Call
	Key   id.APIKey
	Grace time.Duration // how long the old secret still works
}

// RevokeKeyInput names a key to end.
type RevokeKeyInput struct {
	Call
	Key            id.APIKey
	RevokeChildren bool
}

// SigningKeyChange is a signing key that was rotated or revoked, and its successor.
type SigningKeyChange struct {
	Key           tenancy.SigningKey
	Successor     *tenancy.SigningKey // nil when a revoked key did not sign
	ConfigVersion int64
}

// OperationState is an operation and how far it has come.
type OperationState struct {
	Operation id.Operation
	Org       id.Org
	Tenant    id.Tenant
	Method    string
	Result    ProvisionResult // of a provision; without secrets
	Published bool            // the snapshot is in the home region's Redis
	Seeded    bool            // owner and first users are in the identity database
	Done      bool            // both
}

// Availability is the answer of CheckHostname.
type Availability struct {
	Available bool
	Host      string // normal form; empty when it has none
}

// API is the list of what Service does, in the order of the API; it exists so that the whole surface is on one page.
type API interface {
	// Authenticate finds the caller of a key's text. Errors: API_KEY_INVALID, API_KEY_EXPIRED.
	Authenticate(ctx context.Context, keyText string) (tenancy.Principal, error)
	// Authorize resolves what a request names and decides whether the caller has the permission there.
	Authorize(ctx context.Context, caller tenancy.Principal, permission string, s Scope) (Resolved, error)

	CreateOrg(ctx context.Context, caller tenancy.Principal, in OrgInput) (tenancy.Org, error)
	GetOrg(ctx context.Context, caller tenancy.Principal, org id.Org) (tenancy.Org, error)
	ListOrgs(ctx context.Context, caller tenancy.Principal, page tenancy.Page) (List[tenancy.Org], error)
	UpdateOrg(ctx context.Context, caller tenancy.Principal, org id.Org, in OrgInput) (tenancy.Org, error)

	CreateBlueprint(ctx context.Context, caller tenancy.Principal, org id.Org, in BlueprintInput) (blueprint.Blueprint, error)
	// GetBlueprint takes a uid or slug, as the other methods for blueprints do.
	GetBlueprint(ctx context.Context, caller tenancy.Principal, org id.Org, ref string) (blueprint.Blueprint, error)
	ListBlueprints(ctx context.Context, caller tenancy.Principal, org id.Org, page tenancy.Page) (List[blueprint.Blueprint], error)
	UpdateBlueprint(ctx context.Context, caller tenancy.Principal, org id.Org, ref string, in BlueprintInput) (blueprint.Blueprint, error)
	PublishBlueprint(ctx context.Context, caller tenancy.Principal, org id.Org, ref, message string, call Call) (blueprint.Revision, error)
	// GetBlueprintRevision takes a number or uid.
	GetBlueprintRevision(ctx context.Context, caller tenancy.Principal, org id.Org, ref, revision string) (blueprint.Revision, error)
	ListBlueprintRevisions(ctx context.Context, caller tenancy.Principal, org id.Org, ref string, page tenancy.Page) (List[blueprint.Revision], error)

	ProvisionTenant(ctx context.Context, caller tenancy.Principal, org id.Org, in ProvisionInput) (ProvisionResult, error)
	GetTenant(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant) (tenancy.Tenant, error)
	ListTenants(ctx context.Context, caller tenancy.Principal, org id.Org, page tenancy.Page, showDeleted bool) (List[tenancy.Tenant], error)
	UpdateTenant(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, in TenantInput) (tenancy.Tenant, error)
	SuspendTenant(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, call Call) (tenancy.Tenant, error)
	ResumeTenant(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, call Call) (tenancy.Tenant, error)
	DeleteTenant(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, call Call) (tenancy.Tenant, error)
	UndeleteTenant(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, call Call) (tenancy.Tenant, error)
	CheckHostname(ctx context.Context, caller tenancy.Principal, org id.Org, host HostSpec) (Availability, error)

	// The methods for clients take a zero tenant for the org's shared clients, and a client's uid or slug.
	CreateClient(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, in ClientInput) (tenancy.Client, error)
	GetClient(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, ref string) (tenancy.Client, error)
	ListClients(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, page tenancy.Page) (List[tenancy.Client], error)
	UpdateClient(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, ref string, in ClientInput) (tenancy.Client, error)
	DeleteClient(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, ref string, call Call) (tenancy.Client, error)
	AddClientSecret(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, ref string, call Call) (tenancy.ClientCredentials, error)
	RetireClientSecret(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, ref string, secret id.ClientSecret, grace time.Duration, call Call) (tenancy.Client, error)

	// The methods for keys take a zero org and tenant for platform keys, a zero tenant for the org's keys.
	MintAPIKey(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, in MintInput) (tenancy.APIKeyCredentials, error)
	GetAPIKey(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, key id.APIKey) (tenancy.APIKey, error)
	ListAPIKeys(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, page tenancy.Page) (List[tenancy.APIKey], error)
	RotateAPIKey(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, in RotateKeyInput) (tenancy.APIKeyCredentials, error)
	RevokeAPIKey(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, in RevokeKeyInput) (tenancy.APIKey, error)

	ListSigningKeys(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, page tenancy.Page) (List[tenancy.SigningKey], error)
	RotateSigningKey(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, key id.SigningKey, call Call) (SigningKeyChange, error)
	RevokeSigningKeyNow(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, key id.SigningKey, call Call) (SigningKeyChange, error)

	ListAuditEvents(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, page tenancy.Page) (List[tenancy.AuditEvent], error)

	// GetOperation answers the key that started the operation and callers with the permission on its org; else NOT_FOUND.
	GetOperation(ctx context.Context, caller tenancy.Principal, op id.Operation) (OperationState, error)
	// WaitOperation answers when the operation is done or the timeout is over.
	WaitOperation(ctx context.Context, caller tenancy.Principal, op id.Operation, timeout time.Duration) (OperationState, error)
}
