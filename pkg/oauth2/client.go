// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"fmt"
	"slices"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
)

// ClientKind is the kind of application that a client is.
type ClientKind uint8

// The kinds of clients. The zero value is KindWeb.
const (
	KindWeb     ClientKind = iota // runs on a server
	KindSPA                       // runs in a browser
	KindNative                    // installed on a device (RFC 8252)
	KindService                   // acts for itself, has no users
)

// Grant is one grant type as a bit of a GrantSet.
type Grant uint16

// The grants that exist.
const (
	GrantAuthorizationCode Grant = 1 << iota
	GrantRefreshToken
	GrantClientCredentials
	GrantImplicit // response types with tokens; the token endpoint does not know it
	GrantJWTBearer
	GrantDeviceCode
	GrantTokenExchange
	GrantCIBA
)

// grantTypes names the grants in the order in which they are printed.
var grantTypes = []struct {
	name string
	bit  Grant
}{
	{GrantTypeAuthorizationCode, GrantAuthorizationCode},
	{GrantTypeRefreshToken, GrantRefreshToken},
	{GrantTypeClientCredentials, GrantClientCredentials},
	{GrantTypeImplicit, GrantImplicit},
	{GrantTypeJWTBearer, GrantJWTBearer},
	{GrantTypeDeviceCode, GrantDeviceCode},
	{GrantTypeTokenExchange, GrantTokenExchange},
	{GrantTypeCIBA, GrantCIBA},
}

// ParseGrant gives the grant for a grant_type of the token endpoint, which implicit is not; ok is false when it does not exist (RFC 6749 section 5.2, unsupported_grant_type).
func ParseGrant(grantType string) (g Grant, ok bool) {
	for _, t := range grantTypes {
		if t.name == grantType && t.bit != GrantImplicit {
			return t.bit, true
		}
	}
	return 0, false
}

// GrantTypes lists every grant type that exists, for metadata.
func GrantTypes() []string { return (^GrantSet(0)).Strings() }

// GrantSet is the set of grants that a client may use.
type GrantSet uint16

// ParseGrantTypes makes a set of grant type names; the error names one that does not exist.
func ParseGrantTypes(names []string) (GrantSet, error) {
	var s GrantSet
	for _, name := range names {
		g, ok := ParseGrant(name)
		if name == GrantTypeImplicit {
			g, ok = GrantImplicit, true
		}
		if !ok {
			return 0, fmt.Errorf("unknown grant type %q", name)
		}
		s |= GrantSet(g)
	}
	return s, nil
}

// Has says whether g is in the set.
func (s GrantSet) Has(g Grant) bool { return g != 0 && s&GrantSet(g) == GrantSet(g) }

// Strings lists the grant types of the set.
func (s GrantSet) Strings() []string {
	var names []string
	for _, t := range grantTypes {
		if s.Has(t.bit) {
			names = append(names, t.name)
		}
	}
	return names
}

// ClientSecret is what is known of one secret of a confidential client.
type ClientSecret struct {
	// ID names the secret.
	ID id.ClientSecret
	// Hash is the SHA-256 of its 32 random bytes.
	Hash secret.Hash
	// ExpireTime is when it stops working; zero means never.
	ExpireTime time.Time
	// Sealed is its text for who can open it, where it is an HMAC key (client_secret_jwt); nil otherwise.
	Sealed *secret.Sealed
}

// Client is what the engine knows of a registered client (RFC 6749 section 2), with everything resolved that is inherited. It is
// compiled from a snapshot, shared by all requests and never changed.
type Client struct {
	// ID is the client_id on the wire, the text form of UID.
	ID string
	// UID is the client's id.
	UID id.Client
	// Name is shown on consent and error pages.
	Name string
	// Public clients cannot keep a secret (RFC 6749 section 2.1).
	Public bool
	// FirstParty clients belong to the tenant's org; their users are not asked for consent.
	FirstParty bool
	// Enabled is false for clients that are refused everywhere.
	Enabled bool
	// RequirePKCE demands a code_challenge also from a confidential client; public ones always need it.
	RequirePKCE bool
	// Kind is the kind of application.
	Kind ClientKind
	// AuthMethod is the one client authentication method it may use; empty is client_secret_basic, as in RFC 7591 section 2, or
	// none for a public client.
	AuthMethod string
	// Secrets are the secrets of a confidential client: two during a rotation.
	Secrets []ClientSecret
	// GrantTypes are the grants it may use.
	GrantTypes GrantSet
	// RedirectURIs are where authorization responses may go.
	RedirectURIs []RedirectURI
	// PostLogoutRedirectURIs are where a logout may end, compared byte for byte.
	PostLogoutRedirectURIs []string
	// Scopes are the scopes it may have; empty means those that every client of the tenant may.
	Scopes Scopes
	// Audiences are the resources it may ask for beside the org's default.
	Audiences []string
	// CORSOrigins may call the token service from a browser.
	CORSOrigins []string
	// IDTokenAlg signs its ID tokens.
	IDTokenAlg string
	// AccessAlg signs its access tokens.
	AccessAlg string

	// LogoURI, PolicyURI, TOSURI and InitiateLoginURI are pages of the application (RFC 7591 section 2, OpenID Connect Core
	// section 4).
	LogoURI, PolicyURI, TOSURI, InitiateLoginURI string

	// AccessTTL and IDTokenTTL are how long tokens live.
	AccessTTL, IDTokenTTL time.Duration
	// RefreshTTL is how long a refresh family lives after its last rotation, RefreshAbsoluteTTL after the login.
	RefreshTTL, RefreshAbsoluteTTL time.Duration
	// RefreshGrace is for how long the previous refresh token is answered once more.
	RefreshGrace time.Duration

	// Profile is the stricter one of the tenant's and the client's own.
	Profile Profile
	// Protocol is what the client is registered for beyond the basics.
	Protocol
}

// NeedsPKCE says whether an authorization request of this client must have a code_challenge (RFC 9700 section 2.1.1).
func (c *Client) NeedsPKCE() bool { return c.Public || c.RequirePKCE || c.Profile.RequiresPKCE() }

// RedirectURI finds the registered redirect URI that requested matches.
func (c *Client) RedirectURI(requested string) (RedirectURI, bool) {
	for _, r := range c.RedirectURIs {
		if r.Matches(requested) {
			return r, true
		}
	}
	return RedirectURI{}, false
}

// CheckGrant refuses a grant that the client may not use: unauthorized_client (RFC 6749 section 5.2).
func (c *Client) CheckGrant(g Grant) error {
	if !c.GrantTypes.Has(g) {
		return UnauthorizedClient("the client may not use this grant type")
	}
	return nil
}

// ResolveScopes drops what the client may not have: the scopes outside its own list or, when that is empty, outside those that
// every client of the tenant may have. Dropping rather than refusing is what OpenID Connect Core section 3.1.2.1 asks for; the
// answer's `scope` tells the client (RFC 6749 section 3.3). When something was asked and nothing is left: invalid_scope.
func (c *Client) ResolveScopes(requested, tenant Scopes) (Scopes, error) {
	allowed := c.Scopes
	if len(allowed) == 0 {
		allowed = tenant
	}
	kept := requested.Intersect(allowed)
	if len(kept) == 0 && len(requested) > 0 {
		return nil, InvalidScope("the client may have none of the scopes that it asked for")
	}
	return kept, nil
}

// ResolveAudience gives the `aud` of access tokens for a requested `resource` (RFC 8707 section 2): def when none is asked. A
// resource that is neither def nor registered for the client is invalid_target.
func (c *Client) ResolveAudience(resource, def string) (string, error) {
	if resource == "" || resource == def {
		return def, nil
	}
	if !slices.Contains(c.Audiences, resource) {
		return "", InvalidTarget("the client may not ask for this resource")
	}
	return resource, nil
}

// OneResource reads the `resource` parameter. RFC 8707 lets a client name several, but a token for several audiences could be
// replayed by one of them at another: invalid_target.
func OneResource(p Params) (string, error) {
	all := p.Values(ParamResource)
	switch len(all) {
	case 0:
		return "", nil
	case 1:
		return all[0], nil
	}
	return "", InvalidTarget("only one resource at a time")
}
