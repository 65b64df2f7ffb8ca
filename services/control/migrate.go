// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/store"
)

// Migrate brings the control database to this release's schema and makes the roles tenantry_control and tenantry_publisher, as the
// database's owner. Old and new releases run on it. Concurrent calls wait for each other.
func Migrate(ctx context.Context, ownerURL string) error { return store.Migrate(ctx, ownerURL) }

// PlatformKey is a key for the whole installation, as shown once.
type PlatformKey struct {
	Name string // resource name, platform/apiKeys/key_…
	Text string // to be sent as Authorization: Bearer
}

// MintPlatformKey makes a platform key with the database's owner at hand: the first one, which nobody could mint, and the way back in
// when all are lost. A life of 0 means until it is revoked.
func MintPlatformKey(ctx context.Context, ownerURL, displayName string, life time.Duration) (PlatformKey, error) {
	k, err := provision.MintPlatformKey(ctx, ownerURL, displayName, life, time.Now())
	if err != nil {
		return PlatformKey{}, err
	}
	return PlatformKey{Name: "platform/apiKeys/" + k.Key.ID.String(), Text: k.Text}, nil
}
