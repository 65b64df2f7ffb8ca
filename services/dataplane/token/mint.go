// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// Minter makes and signs tokens with the keys of the tenant that it is given. It takes typed requests, never raw bytes, so that who
// may call it still cannot have anything else signed. It is safe for concurrent use. It does no I/O but to
// read the key of a client that wants to be encrypted to.
type Minter struct {
	opener *secret.Opener
	// keyring seals opaque access tokens; without it their clients get none.
	keyring *secret.Keyring
	// keys finds what to encrypt to; without it clients that want encryption get nothing.
	keys encryptionKeys
}

// NewMinter makes a Minter that opens tenants' signing keys with the region's private keys.
func NewMinter(opener *secret.Opener) *Minter { return &Minter{opener: opener} }

// payloads are buffers for token payloads and answers. Sign copies what it is given.
var payloads = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// AccessToken signs an access token (RFC 9068) for a client of the tenant: the issuer, org, tenant, environment, config_version,
// identifier and times are the Minter's own, the rest is the caller's; in.ExpireTime, when set, is when the token ends at the latest.
// It answers the token and how long it lives.
func (m *Minter) AccessToken(t *snapshot.Tenant, c *oauth2.Client, in *oidc.AccessTokenInput, now time.Time) (string, time.Duration, error) {
	in.Issuer, in.Org, in.Tenant, in.Development, in.ConfigVersion = t.Issuer, t.Org, t.ID, t.Development, t.ConfigVersion
	in.ClientID, in.Entitlements = c.ID, t.Entitlements
	ttl := c.AccessTTL
	if bound := in.ExpireTime; !bound.IsZero() && bound.Sub(now) < ttl {
		ttl = bound.Sub(now)
	}
	in.IssuedAt, in.ExpireTime = now, now.Add(ttl)
	rand.Read(in.ID[:]) // crypto/rand.Read never fails since Go 1.24: it ends the process instead

	buf := payloads.Get().(*[]byte)
	defer payloads.Put(buf)
	payload, err := oidc.AppendAccessToken((*buf)[:0], in)
	if err != nil {
		return "", 0, err
	}
	*buf = payload[:0]
	if c.OpaqueAccessTokens {
		token, err := m.sealAccess(t, payload)
		return token, ttl, err
	}
	signer, err := m.signer(t, c.AccessAlg)
	if err != nil {
		return "", 0, err
	}
	token, err := signer.Sign(oidc.TypeAccessToken, payload)
	return token, ttl, err
}

// IDToken signs an ID token (OpenID Connect Core section 2) for a client of the tenant. Issuer, org, tenant, audience, algorithm and
// times are the Minter's own; in.AccessToken, when set, is hashed into at_hash.
func (m *Minter) IDToken(t *snapshot.Tenant, c *oauth2.Client, in oidc.IDTokenInput, now time.Time) (string, error) {
	in.Issuer, in.Org, in.Tenant, in.ClientID = t.Issuer, t.Org, t.ID, c.ID
	in.IssuedAt, in.ExpireTime, in.Algorithm = now, now.Add(c.IDTokenTTL), c.IDTokenAlg
	signer, err := m.signer(t, c.IDTokenAlg)
	if err != nil {
		return "", err
	}
	payload, err := oidc.BuildIDToken(in)
	if err != nil {
		return "", err
	}
	return signer.Sign("JWT", payload)
}

// signer is the tenant's prepared signer. A tenant may lack a key of an algorithm for a moment: RSA keys join from a pool shortly
// after the tenant was made. So that is "try again", like a key that is wrapped for another region, which an operator must cure.
func (m *Minter) signer(t *snapshot.Tenant, alg string) (*jose.Signer, error) {
	signer, err := t.Keys.Signer(alg, m.opener)
	if err != nil {
		return nil, web.Unavailable(fmt.Errorf("token: signing key of %s: %w", t.ID, err))
	}
	return signer, nil
}
