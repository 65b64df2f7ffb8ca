// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// MintPlatformKey makes a key for the whole installation with the database's owner at hand: the first one, which nobody could mint, and
// the way back in when all are lost. A zero life means until it is revoked.
func MintPlatformKey(ctx context.Context, ownerURL, displayName string, life time.Duration, now time.Time) (tenancy.APIKeyCredentials, error) {
	now = now.UTC().Truncate(time.Microsecond)
	k := tenancy.APIKey{
		ID: id.NewAPIKey(), Scope: tenancy.ScopePlatform, DisplayName: displayName, Role: "platformOperator", State: tenancy.KeyActive,
		Mint: &tenancy.MintGrant{MaxScope: tenancy.ScopePlatform, MayMintManagers: true}, CreatedBy: system.Actor(), Version: 1, CreateTime: now, UpdateTime: now,
	}
	if life > 0 {
		k.ExpireTime = now.Add(life)
	}
	out := tenancy.APIKeyCredentials{}
	out.Text, k.Hash = secret.NewToken(secret.APIKey, k.ID)
	out.Key = k
	err := store.WriteAsOwner(ctx, ownerURL, func(tx *store.Tx) error {
		if err := tx.InsertAPIKey(k); err != nil {
			return err
		}
		return tx.Audit(keyEvent(system, now, tenancy.ActionKeyMinted, &k))
	})
	return out, err
}
