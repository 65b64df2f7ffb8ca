-- Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

-- Clients that registered themselves (RFC 7591).

-- +goose Up

-- What a client that registered itself has beyond a client of the API. It goes with the client.
CREATE TABLE client_registrations (
    org_id      uuid        NOT NULL,
    tenant_id   uuid        NOT NULL,
    client_id   uuid        NOT NULL,
    -- SHA-256 of the registration access token's secret (RFC 7592 section 1.1).
    token_hash  bytea       NOT NULL CHECK (length(token_hash) = 32),
    -- The API key that it registered with; NULL where everybody may register.
    api_key     uuid,
    -- Metadata that means nothing to us and is given back as it came, a JSON object.
    extras      jsonb       NOT NULL DEFAULT '{}',
    create_time timestamptz NOT NULL,
    PRIMARY KEY (org_id, tenant_id, client_id),
    FOREIGN KEY (org_id, tenant_id, client_id) REFERENCES clients (org_id, tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX client_registrations_key ON client_registrations (org_id, api_key) WHERE api_key IS NOT NULL;
ALTER TABLE client_registrations ENABLE ROW LEVEL SECURITY;
ALTER TABLE client_registrations FORCE ROW LEVEL SECURITY;
CREATE POLICY of_org ON client_registrations USING (org_id = tenantry_org()) WITH CHECK (org_id = tenantry_org());
GRANT SELECT, INSERT, UPDATE, DELETE ON client_registrations TO tenantry_control;

-- +goose Down

DROP TABLE client_registrations;
