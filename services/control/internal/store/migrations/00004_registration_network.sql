-- Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

-- Where a client that registered itself came from, so that one network cannot take the room of all others.

-- +goose Up

-- The network, not the address: nobody needs to know more. Empty for clients of before.
ALTER TABLE client_registrations ADD COLUMN network text NOT NULL DEFAULT '';

-- +goose Down

ALTER TABLE client_registrations DROP COLUMN network;
