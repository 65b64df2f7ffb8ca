// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
)

// Tenant is the compiled, immutable view of one tenant at one config_version, one version of its org's record and one layer. All
// strings and slices may be shared: nobody changes them. What few requests need (clients, metadata, keys) is built at first use.
type Tenant struct {
	cached // first: a hot lookup then reads one line of the processor's cache

	ID             id.Tenant
	Org            id.Org
	Pool           id.UserPool // whose users may log in
	ConfigVersion  uint64
	OrgVersion     uint64   // config_version of the org's record
	LayerDigest    [32]byte // SHA-256 of the layer's bytes; zero: platform defaults alone
	PlacementEpoch uint64

	Slug            string
	DisplayName     string
	Issuer          string // byte for byte as in `iss`
	Region          string
	Hosts           []string // normal form; the tenant is served at these and no others
	Development     bool     // TENANT_TYPE_DEVELOPMENT: dev banner, env=dev, http under .localhost
	OrgSlug         string
	OrgName         string
	DefaultAudience string // `aud` of access tokens when the request names no resource

	Policy       *Policy
	Theme        *Theme
	Roles        []Role
	Entitlements []string
	MaxConfigAge time.Duration // how stale a replica may be while it still serves this tenant
	PairwiseSalt []byte        // 32 bytes, or none: then the tenant has no pairwise clients

	Keys *KeyRing

	core       []byte      // the encoded TenantSnapshot, from which lazy parts are built
	inline     []id.Client // ids of the clients in core
	layer      *compiledLayer
	ringNumber uint32

	lazyState
}

// Policy is a tenant's effective policy, every field resolved.
type Policy struct {
	AccessTTL, IDTokenTTL          time.Duration
	RefreshTTL, RefreshAbsoluteTTL time.Duration // since the last rotation, since the login
	RefreshGrace                   time.Duration // for how long the previous refresh token is answered again
	AccessAlg                      string
	IDTokenAlgs                    []string

	SessionIdleTTL, SessionAbsoluteTTL time.Duration

	PasswordMinLength   int // in characters
	PasswordCommonCheck bool

	CodeTTL, InvitationTTL, AuthorizationRequestTTL time.Duration

	RegistrationEnabled      bool
	EmailFrom, EmailFromName string   // empty: the installation's sender, the tenant's display name
	CORSOrigins              []string // for every client of the tenant

	PushedRequestTTL, DeviceCodeTTL, BackchannelRequestTTL time.Duration

	Profile                   oauth2.Profile
	ResponseTypes             []string            // beside `code`
	DynamicRegistration       string              // RegistrationOff, RegistrationInitialToken or RegistrationOpen
	ClientIDMetadataDocuments bool                // an https URL may be a client_id
	LegacyAssertionAudience   bool                // client assertions may name the token endpoint or several audiences
	DetailTypes               []oauth2.DetailType // of authorization_details (RFC 9396)
	SessionManagement         bool
}

// Role is a name that memberships carry into the `roles` claim.
type Role struct {
	ID      id.Role
	Name    string
	Default bool // given to people who register themselves
}

// Title is the name on the tenant's pages.
func (t *Tenant) Title() string {
	if t.Theme.Title != "" {
		return t.Theme.Title
	}
	return t.DisplayName
}

// lazyState is what is built at first use, under mu, and read without it.
type lazyState struct {
	mu       sync.Mutex
	clients  atomic.Pointer[map[string]*oauth2.Client]
	origins  atomic.Pointer[map[string]struct{}]
	metadata atomic.Pointer[[]byte]

	cache *Cache       // that it is in, set before anybody sees the tenant; nil outside a cache
	asked atomic.Int64 // milliseconds since 1970: when it was last asked for a client that it does not have

	extra int64         // bytes of the lazy parts, under mu
	meter *atomic.Int64 // the cache's sum while the tenant is in it, under mu
}

// grow accounts for lazy parts. The caller holds mu.
func (s *lazyState) grow(bytes int) {
	s.extra += int64(bytes)
	if s.meter != nil {
		s.meter.Add(int64(bytes))
	}
}

// attach makes the tenant count in a cache's sum; detach takes it out again. Both may be called twice.
func (t *Tenant) attach(meter *atomic.Int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.meter == nil {
		t.meter = meter
		meter.Add(t.fixedBytes() + t.extra)
	}
}

func (t *Tenant) detach() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.meter != nil {
		t.meter.Add(-t.fixedBytes() - t.extra)
		t.meter = nil
	}
}

// fixedBytes estimates what the tenant holds beside its record and its lazy parts: the structs, the strings, the hosts in the table.
func (t *Tenant) fixedBytes() int64 {
	n := 900 + len(t.Slug) + len(t.DisplayName) + len(t.Issuer) + len(t.Region) + 40*len(t.Roles) + 16*len(t.inline)
	for _, h := range t.Hosts {
		n += 2*len(h) + 80
	}
	for _, r := range t.Roles {
		n += len(r.Name)
	}
	for _, e := range t.Entitlements {
		n += len(e) + 16
	}
	if t.layer == nil || t.Policy != t.layer.policy {
		n += 320
	}
	if t.layer == nil || t.Theme != t.layer.theme {
		n += 180
		if t.Theme != nil && t.Theme.Logo != nil {
			n += len(t.Theme.Logo.Data)
		}
	}
	return int64(n)
}

// intern puts strings that live and die together into one allocation.
func intern(strs ...*string) {
	n := 0
	for _, s := range strs {
		n += len(*s)
	}
	if n == 0 {
		return
	}
	b := make([]byte, 0, n)
	for _, s := range strs {
		b = append(b, *s...)
	}
	all := string(b)
	for _, s := range strs {
		*s, all = all[:len(*s)], all[len(*s):]
	}
}

// hasHost reports whether the signed document lists host.
func (t *Tenant) hasHost(host string) bool { return slices.Contains(t.Hosts, host) }
