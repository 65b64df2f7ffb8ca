-- Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

-- What the protocol engine needs beyond the basics.

-- +goose Up

-- 32 random bytes that pairwise subjects are made with. A tenant of an older release gets its own at its next change.
ALTER TABLE tenants ADD COLUMN pairwise_salt bytea NOT NULL DEFAULT '';

-- The worker also finds keys that have signed for long enough.
GRANT SELECT (state, activate_time) ON signing_keys TO tenantry_publisher;

-- +goose Down

REVOKE SELECT (state, activate_time) ON signing_keys FROM tenantry_publisher;
ALTER TABLE tenants DROP COLUMN pairwise_salt;
