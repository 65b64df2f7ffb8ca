// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import "time"

// Protocol is the metadata of a client that most clients do without, by the names of RFC 7591 and of the standards that extend it.
type Protocol struct {
	// ResponseTypes are those it may use; empty means `code` alone.
	ResponseTypes []string
	// JWKS are the client's public keys as JSON, JWKSURI is where they are read instead; at most one of them is set.
	JWKS    []byte
	JWKSURI string
	// AssertionAlg is the one algorithm of its client assertions; empty: any that the profile allows.
	AssertionAlg string
	// TLSSubjectDN, TLSSANDNS, TLSSANURI, TLSSANIP and TLSSANEmail are what its certificate must have: exactly one is set for
	// tls_client_auth (RFC 8705 section 2.1.2).
	TLSSubjectDN, TLSSANDNS, TLSSANURI, TLSSANIP, TLSSANEmail string
	// TLSBoundTokens binds its access tokens to its certificate (RFC 8705 section 3.4).
	TLSBoundTokens bool
	// DPoPBoundTokens makes DPoP mandatory (RFC 9449 section 5.2).
	DPoPBoundTokens bool
	// RequirePAR makes pushed authorization requests mandatory (RFC 9126 section 6).
	RequirePAR bool
	// RequireSignedRequest makes request objects mandatory (RFC 9101 section 10.5); RequestObjectAlg is their one algorithm, empty:
	// any that the profile allows.
	RequireSignedRequest bool
	RequestObjectAlg     string
	// RequestURIs are where request objects by reference may lie, compared without fragment (OpenID Connect Registration section 2).
	RequestURIs []string
	// Pairwise gives the client subjects of its own (OpenID Connect Core section 8), calculated for Sector, a host name.
	Pairwise            bool
	Sector              string
	SectorIdentifierURI string
	// UserInfoAlg signs UserInfo answers; empty: plain JSON. The others encrypt (OpenID Connect Registration section 2).
	UserInfoAlg                                  string
	UserInfoEncryptionAlg, UserInfoEncryptionEnc string
	IDTokenEncryptionAlg, IDTokenEncryptionEnc   string
	// AuthorizationAlg signs authorization responses (JARM section 3); never empty.
	AuthorizationAlg string
	// IntrospectionAlg signs introspection answers (RFC 9701 section 6); empty: by the Accept header with ES256.
	IntrospectionAlg string
	// BackchannelLogoutURI and FrontchannelLogoutURI are told of logouts.
	BackchannelLogoutURI                                string
	BackchannelLogoutSession, FrontchannelLogoutSession bool
	FrontchannelLogoutURI                               string
	// DefaultMaxAge stands for max_age in requests without one; nil: none. RequireAuthTime puts auth_time in every ID token.
	DefaultMaxAge   *time.Duration
	RequireAuthTime bool
	// DefaultACRValues stand for acr_values in requests without any.
	DefaultACRValues []string
	// AuthorizationDetailsTypes are the types it may use (RFC 9396 section 10).
	AuthorizationDetailsTypes []string
	// DeliveryMode is `poll` or `ping` (CIBA Core section 4), empty for none; NotificationEndpoint is where a ping goes;
	// BackchannelRequestAlg is the one algorithm of its signed requests, empty: they are not signed.
	DeliveryMode          string
	NotificationEndpoint  string
	BackchannelRequestAlg string
	// ClientURI is the application's home page (RFC 7591 section 2).
	ClientURI string
	// OpaqueAccessTokens says that access tokens are references for the introspection endpoint.
	OpaqueAccessTokens bool
	// Impersonation allows token exchange without an actor (RFC 8693 section 1.1).
	Impersonation bool
	// TrustedIssuers are whose JWTs the client may present as authorization grants (RFC 7523 section 2.1).
	TrustedIssuers []TrustedIssuer
}

// TrustedIssuer is somebody whose JWTs count as authorization grants.
type TrustedIssuer struct {
	// Issuer is the value of `iss`.
	Issuer string
	// JWKS are its public keys as JSON, JWKSURI is where they are read instead.
	JWKS    []byte
	JWKSURI string
	// Algorithms it may use; never empty.
	Algorithms []string
}

// SenderConstraint says which binding the client's access tokens must have: with both registered either will do, and a profile that
// demands one takes either.
func (c *Client) SenderConstraint() (dpop, tls, required bool) {
	return c.DPoPBoundTokens, c.TLSBoundTokens, c.DPoPBoundTokens || c.TLSBoundTokens || c.Profile.RequiresSenderConstraint()
}

// NeedsPAR says whether every authorization request of the client must have been pushed.
func (c *Client) NeedsPAR() bool { return c.RequirePAR || c.Profile.RequiresPAR() }

// NeedsSignedRequest says whether every authorization request must be a signed request object.
func (c *Client) NeedsSignedRequest() bool {
	return c.RequireSignedRequest || c.Profile.RequiresSignedRequest()
}
