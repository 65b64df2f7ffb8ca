// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

const (
	kindClaims    = "uc"
	purposeClaims = "userinfo-claims"
)

// PutUserInfoClaims remembers which claims the `claims` parameter asked UserInfo for (OpenID Connect Core section 5.5), for as long
// as the access tokens of the grant live. Access tokens do not carry the list: a resource server has no use for it.
func (s *Store) PutUserInfoClaims(ctx context.Context, tenant id.Tenant, grant id.Grant, names []string, ttl time.Duration) error {
	if len(names) == 0 || ttl <= 0 {
		return nil
	}
	if err := s.ready(); err != nil {
		return err
	}
	sealed := s.keyring.Tenant(tenant).Seal(purposeClaims, []byte(strings.Join(names, " ")), aad(kindClaims, tenant, hashOf(grant.String())))
	return s.done(s.rdb.Set(ctx, claimsKey(tenant, grant), sealed, ttl).Err())
}

// UserInfoClaims gives the list back; nil when none was asked for, when it has gone, or when Redis does not answer: those claims are
// voluntary, and UserInfo answers without them.
func (s *Store) UserInfoClaims(ctx context.Context, tenant id.Tenant, grant id.Grant) []string {
	if s.ready() != nil {
		return nil
	}
	sealed, err := s.rdb.Get(ctx, claimsKey(tenant, grant)).Bytes()
	if s.done(err) != nil {
		return nil
	}
	plain, err := s.keyring.Tenant(tenant).Open(purposeClaims, sealed, aad(kindClaims, tenant, hashOf(grant.String())))
	if err != nil {
		return nil
	}
	return strings.Split(string(plain), " ")
}

func claimsKey(tenant id.Tenant, grant id.Grant) string { return key(kindClaims, tenant, grant[:]) }
