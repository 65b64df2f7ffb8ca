-- Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

-- The control database. Who owns a row is the first column of its key; "none" in a key column is the nil UUID, and the nil org is
-- the platform itself. There are no foreign keys: rows are written whole by one statement group, and the triggers behind a
-- foreign key would cost the provision transaction more than its indexes do.

-- +goose Up

-- +goose StatementBegin
DO $$
BEGIN
    -- The service (tenantry_control) sees one org at a time; the worker (tenantry_publisher) sees what is to be distributed, of all
    -- orgs. Neither owns anything. Roles belong to the whole server, so another migration may be making them right now.
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tenantry_control') THEN
        BEGIN
            CREATE ROLE tenantry_control LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tenantry_publisher') THEN
        BEGIN
            CREATE ROLE tenantry_publisher LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END;
    END IF;
END $$;
-- +goose StatementEnd

GRANT USAGE ON SCHEMA public TO tenantry_control, tenantry_publisher;

-- +goose StatementBegin
-- The org that the transaction works for. NULLIF, because after set_config(…, true) a pooled connection holds '' and not NULL.
CREATE FUNCTION tenantry_org() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN NULLIF(current_setting('tenantry.org_id', true), '')::uuid;
-- +goose StatementEnd

-- +goose StatementBegin
-- Aborts the whole transaction with a reason, so that a group of statements sent in one round trip happens completely or not at all.
CREATE FUNCTION tenantry_refuse(reason text) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', reason USING ERRCODE = 'TN001';
END $$;
-- +goose StatementEnd

CREATE TABLE orgs (
    id               uuid PRIMARY KEY,
    slug             text NOT NULL UNIQUE,
    display_name     text NOT NULL,
    state            smallint NOT NULL,
    base_domain      text NOT NULL DEFAULT '',
    default_audience text NOT NULL DEFAULT '',
    billing_account  text NOT NULL DEFAULT '',
    billing_plan     text NOT NULL DEFAULT '',
    allowed_regions  text[] NOT NULL DEFAULT '{}',
    reserved_labels  text[] NOT NULL DEFAULT '{}',
    config           jsonb,
    theme            jsonb,
    labels           jsonb NOT NULL DEFAULT '{}',
    annotations      jsonb NOT NULL DEFAULT '{}',
    version          bigint NOT NULL DEFAULT 1,
    config_version   bigint NOT NULL DEFAULT 1,
    audit_seq        bigint NOT NULL DEFAULT 0,
    audit_hash       bytea NOT NULL DEFAULT '',
    create_time      timestamptz NOT NULL,
    update_time      timestamptz NOT NULL
);
CREATE INDEX orgs_labels ON orgs USING gin (labels jsonb_path_ops) WHERE labels <> '{}';
-- The platform itself: owner of platform keys and of the chain of their events.
INSERT INTO orgs (id, slug, display_name, state, create_time, update_time)
    VALUES ('00000000-0000-0000-0000-000000000000', 'platform', 'Platform', 1, now(), now());

CREATE TABLE blueprints (
    org_id       uuid NOT NULL,
    id           uuid NOT NULL,
    slug         text NOT NULL,
    display_name text NOT NULL,
    description  text NOT NULL DEFAULT '',
    draft        jsonb NOT NULL,
    revision     integer NOT NULL DEFAULT 0,
    layer_digest bytea,
    ring_version bigint NOT NULL DEFAULT 0,
    labels       jsonb NOT NULL DEFAULT '{}',
    annotations  jsonb NOT NULL DEFAULT '{}',
    version      bigint NOT NULL DEFAULT 1,
    create_time  timestamptz NOT NULL,
    update_time  timestamptz NOT NULL,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, slug)
);

CREATE TABLE blueprint_revisions (
    org_id       uuid NOT NULL,
    blueprint_id uuid NOT NULL,
    number       integer NOT NULL,
    id           uuid NOT NULL,
    spec         bytea NOT NULL,
    digest       bytea NOT NULL,
    layer_digest bytea NOT NULL,
    author       uuid NOT NULL,
    message      text NOT NULL DEFAULT '',
    cap          text[] NOT NULL DEFAULT '{}',
    create_time  timestamptz NOT NULL,
    PRIMARY KEY (org_id, blueprint_id, number)
);

-- Tenants held at a revision; members of their blueprint's ring table.
CREATE TABLE blueprint_pins (
    org_id       uuid NOT NULL,
    blueprint_id uuid NOT NULL,
    tenant_id    uuid NOT NULL,
    revision     integer NOT NULL,
    PRIMARY KEY (org_id, blueprint_id, tenant_id)
);

CREATE TABLE tenants (
    org_id             uuid NOT NULL,
    id                 uuid NOT NULL,
    slug               text NOT NULL,
    display_name       text NOT NULL,
    type               smallint NOT NULL,
    region             text NOT NULL,
    state              smallint NOT NULL,
    state_before       smallint NOT NULL DEFAULT 0,
    blueprint_id       uuid NOT NULL,
    blueprint_revision integer NOT NULL,
    blueprint_pin      integer NOT NULL DEFAULT 0,
    pool_id            uuid NOT NULL,
    issuer             text NOT NULL,
    hosts              text[] NOT NULL,
    plan               text NOT NULL DEFAULT '',
    entitlements       text[] NOT NULL DEFAULT '{}',
    owner_email        text NOT NULL DEFAULT '',
    owner_id           uuid NOT NULL,
    app_metadata       jsonb,
    internal_metadata  jsonb,
    overrides          jsonb,
    theme              jsonb,
    parameters         jsonb,
    labels             jsonb NOT NULL DEFAULT '{}',
    annotations        jsonb NOT NULL DEFAULT '{}',
    version            bigint NOT NULL DEFAULT 1,
    config_version     bigint NOT NULL DEFAULT 1,
    audit_seq          bigint NOT NULL,
    audit_hash         bytea NOT NULL,
    create_time        timestamptz NOT NULL,
    update_time        timestamptz NOT NULL,
    delete_time        timestamptz,
    purge_time         timestamptz,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, slug)
) WITH (fillfactor = 85);
-- Partial, so that the common tenant costs its provision no entry.
CREATE INDEX tenants_state ON tenants (org_id, state, id) WHERE state <> 1;
CREATE INDEX tenants_development ON tenants (org_id, id) WHERE type = 1;
CREATE INDEX tenants_plan ON tenants (org_id, plan, id) WHERE plan <> '';
CREATE INDEX tenants_labels ON tenants USING gin (labels jsonb_path_ops) WHERE labels <> '{}';

CREATE TABLE tenant_roles (
    org_id       uuid NOT NULL,
    tenant_id    uuid NOT NULL,
    id           uuid NOT NULL,
    name         text NOT NULL,
    display_name text NOT NULL DEFAULT '',
    is_default   boolean NOT NULL,
    PRIMARY KEY (org_id, tenant_id, id)
);

-- Rows are never deleted: claim_version grows along a name's history. A free name has the nil org and tenant.
CREATE TABLE hostnames (
    hostname      text PRIMARY KEY,
    org_id        uuid NOT NULL,
    tenant_id     uuid NOT NULL,
    kind          smallint NOT NULL, -- 1 hostname of a tenant, 2 base domain of an org
    claim_version bigint NOT NULL DEFAULT 1,
    claimed_at    timestamptz NOT NULL,
    released_at   timestamptz,
    hold_until    timestamptz
);
CREATE INDEX hostnames_base_domains ON hostnames (hostname) WHERE kind = 2;

-- A client of the nil tenant is shared by all tenants of the org. Slugs are unique in their parent: writers hold the parent's row.
CREATE TABLE clients (
    org_id         uuid NOT NULL,
    tenant_id      uuid NOT NULL,
    id             uuid NOT NULL,
    slug           text NOT NULL DEFAULT '',
    settings       jsonb NOT NULL,
    secrets        jsonb NOT NULL DEFAULT '[]',
    labels         jsonb NOT NULL DEFAULT '{}',
    annotations    jsonb NOT NULL DEFAULT '{}',
    version        bigint NOT NULL DEFAULT 1,
    config_version bigint NOT NULL,
    create_time    timestamptz NOT NULL,
    update_time    timestamptz NOT NULL,
    PRIMARY KEY (org_id, tenant_id, id)
);

CREATE TABLE api_keys (
    id             uuid PRIMARY KEY,
    org_id         uuid NOT NULL,
    tenant_id      uuid NOT NULL, -- the parent in its name; nil for keys of the org and the platform
    tenants        uuid[] NOT NULL DEFAULT '{}',
    scope          smallint NOT NULL,
    slug           text NOT NULL DEFAULT '',
    display_name   text NOT NULL DEFAULT '',
    description    text NOT NULL DEFAULT '',
    permissions    text[] NOT NULL DEFAULT '{}',
    role           text NOT NULL DEFAULT '',
    mint           jsonb,
    state          smallint NOT NULL,
    minted_by      uuid,
    created_by     text NOT NULL,
    hash           bytea NOT NULL,
    old_hash       bytea,
    old_until      timestamptz,
    labels         jsonb NOT NULL DEFAULT '{}',
    annotations    jsonb NOT NULL DEFAULT '{}',
    version        bigint NOT NULL DEFAULT 1,
    create_time    timestamptz NOT NULL,
    update_time    timestamptz NOT NULL,
    not_before     timestamptz,
    expire_time    timestamptz,
    last_used_time timestamptz,
    revoke_time    timestamptz
) WITH (fillfactor = 90);
CREATE INDEX api_keys_parent ON api_keys (org_id, tenant_id, id);
-- A chosen id names one live key of its parent, so that a file applied twice at once makes one.
CREATE UNIQUE INDEX api_keys_slug ON api_keys (org_id, tenant_id, slug) WHERE slug <> '' AND revoke_time IS NULL;
CREATE INDEX api_keys_children ON api_keys (minted_by) WHERE minted_by IS NOT NULL;

CREATE TABLE signing_keys (
    org_id         uuid NOT NULL,
    tenant_id      uuid NOT NULL,
    id             uuid NOT NULL,
    algorithm      text NOT NULL,
    state          smallint NOT NULL,
    doc            bytea NOT NULL, -- tenantry.snapshot.v1.SigningKey, without its state
    version        bigint NOT NULL DEFAULT 1,
    config_version bigint NOT NULL,
    create_time    timestamptz NOT NULL,
    update_time    timestamptz NOT NULL,
    publish_time   timestamptz,
    activate_time  timestamptz,
    retire_time    timestamptz,
    remove_time    timestamptz,
    due_time       timestamptz, -- of the next scheduled step
    PRIMARY KEY (org_id, tenant_id, id)
);
ALTER TABLE signing_keys ALTER COLUMN doc SET STORAGE EXTERNAL;
CREATE INDEX signing_keys_due ON signing_keys (due_time) WHERE due_time IS NOT NULL;

-- Keys made ahead, sealed with the control plane's own secret; they belong to nobody yet.
CREATE TABLE rsa_key_pool (
    id          uuid PRIMARY KEY,
    algorithm   text NOT NULL,
    sealed      bytea NOT NULL,
    create_time timestamptz NOT NULL
);
-- Tenants whose policy lists RS256 and that still wait for their RSA key.
CREATE TABLE rsa_wanted (
    org_id      uuid NOT NULL,
    tenant_id   uuid NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (org_id, tenant_id)
);

-- The compiled record of each tenant, org and ring table: what the publisher copies. body is produced once and never changed.
CREATE TABLE snapshots (
    subject        uuid PRIMARY KEY, -- tenant, org or blueprint
    org_id         uuid NOT NULL,
    kind           smallint NOT NULL, -- of the record: 1 tenant, 2 tombstone, 3 ring table, 5 org
    config_version bigint NOT NULL,
    restrictive    boolean NOT NULL DEFAULT false,
    body           bytea NOT NULL,
    hosts          text[] NOT NULL DEFAULT '{}',
    host_claims    bigint[] NOT NULL DEFAULT '{}',
    host_live      boolean[] NOT NULL DEFAULT '{}',
    blobs          bytea[] NOT NULL DEFAULT '{}', -- digests of the blobs that the body names
    update_time    timestamptz NOT NULL
) WITH (fillfactor = 80, toast_tuple_target = 8160);
-- Sealed keys do not compress; trying would cost more than the rest of the row.
ALTER TABLE snapshots ALTER COLUMN body SET STORAGE EXTERNAL;

CREATE INDEX snapshots_tombstones ON snapshots (update_time) WHERE kind = 2;

CREATE TABLE snapshot_blobs (
    org_id      uuid NOT NULL,
    digest      bytea NOT NULL,
    body        bytea NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (org_id, digest)
);

-- A queue: a row says that a subject's record is to be published in a region. Claimed by DELETE … SKIP LOCKED.
CREATE TABLE outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    region      text NOT NULL,
    priority    smallint NOT NULL, -- 0 interactive, 1 bulk
    subject     uuid NOT NULL,
    org_id      uuid NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (region, priority, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_scale_factor = 0.2);

-- What is to be upserted into the identity database: owner, first users, invitation.
CREATE TABLE identity_seeds (
    tenant_id   uuid PRIMARY KEY,
    org_id      uuid NOT NULL,
    payload     bytea NOT NULL,
    failed      text NOT NULL DEFAULT '', -- why it can never be applied; set aside for people
    create_time timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- One row for each call whose answer is kept: for a repeated request id, as an operation, or both. Never with a secret in it.
CREATE TABLE operations (
    id          uuid PRIMARY KEY,
    org_id      uuid NOT NULL,
    tenant_id   uuid NOT NULL,
    caller      uuid NOT NULL,
    method      text NOT NULL,
    request_id  uuid,
    body_hash   bytea,
    answer      bytea NOT NULL, -- JSON; nobody searches in it
    create_time timestamptz NOT NULL
) WITH (toast_tuple_target = 8160);
ALTER TABLE operations ALTER COLUMN answer SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX operations_request ON operations (caller, method, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX operations_age ON operations USING brin (create_time);

CREATE TABLE audit_events (
    org_id         uuid NOT NULL,
    tenant_id      uuid NOT NULL,
    seq            bigint NOT NULL,
    id             uuid NOT NULL,
    create_time    timestamptz NOT NULL,
    actor          text NOT NULL,
    action         text NOT NULL,
    resource       text NOT NULL,
    changed_fields text[] NOT NULL DEFAULT '{}',
    reason         text NOT NULL DEFAULT '',
    request_id     text NOT NULL DEFAULT '',
    source         text NOT NULL DEFAULT '',
    user_agent     text NOT NULL DEFAULT '',
    config_version bigint NOT NULL,
    prev_hash      bytea NOT NULL,
    hash           bytea NOT NULL,
    PRIMARY KEY (org_id, tenant_id, seq)
);

-- Where a republish stands, so that it survives the process that runs it.
CREATE TABLE republish (
    region     text PRIMARY KEY,
    epoch      text NOT NULL,
    cursor     uuid NOT NULL,
    started    timestamptz NOT NULL,
    finished   timestamptz,
    published  bigint NOT NULL DEFAULT 0
);

-- Rights. Nobody but the owner may change the schema or the past: audit events are only ever inserted.
GRANT SELECT, INSERT, UPDATE ON orgs, blueprints, tenants, hostnames, api_keys, signing_keys, snapshots TO tenantry_control;
GRANT SELECT, INSERT, UPDATE, DELETE ON clients, blueprint_pins, rsa_wanted, tenant_roles TO tenantry_control;
GRANT SELECT, INSERT, UPDATE ON blueprint_revisions TO tenantry_control;
GRANT SELECT, INSERT ON snapshot_blobs, operations, audit_events, identity_seeds TO tenantry_control;
GRANT INSERT ON outbox TO tenantry_control;
-- FOR UPDATE SKIP LOCKED asks for UPDATE on some column.
GRANT SELECT, INSERT, DELETE, UPDATE (priority) ON outbox TO tenantry_publisher;
GRANT SELECT, DELETE ON identity_seeds, rsa_wanted, operations TO tenantry_publisher;
GRANT UPDATE (failed) ON identity_seeds TO tenantry_publisher;
GRANT SELECT, INSERT, DELETE, UPDATE (algorithm) ON rsa_key_pool TO tenantry_publisher;
GRANT SELECT ON snapshots, snapshot_blobs TO tenantry_publisher;
GRANT SELECT (org_id, tenant_id, id, due_time) ON signing_keys TO tenantry_publisher;
GRANT SELECT, INSERT, UPDATE, DELETE ON republish TO tenantry_publisher;

-- +goose StatementBegin
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['orgs', 'blueprints', 'blueprint_revisions', 'blueprint_pins', 'tenants', 'tenant_roles', 'hostnames',
        'clients', 'api_keys', 'signing_keys', 'rsa_wanted', 'snapshots', 'snapshot_blobs', 'outbox', 'identity_seeds', 'operations',
        'audit_events'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        IF t = 'orgs' THEN
            EXECUTE 'CREATE POLICY of_org ON orgs USING (id = tenantry_org()) WITH CHECK (id = tenantry_org())';
        ELSIF t = 'hostnames' THEN
            -- A free name may be claimed by any org.
            EXECUTE 'CREATE POLICY of_org ON hostnames USING (org_id = tenantry_org() OR org_id = ''00000000-0000-0000-0000-000000000000'')
                WITH CHECK (org_id = tenantry_org() OR org_id = ''00000000-0000-0000-0000-000000000000'')';
        ELSE
            EXECUTE format('CREATE POLICY of_org ON %I USING (org_id = tenantry_org()) WITH CHECK (org_id = tenantry_org())', t);
        END IF;
    END LOOP;
    -- What work for the whole platform reads: authentication (which does not know the org yet), lists of orgs, conflicts of names.
    FOREACH t IN ARRAY ARRAY['orgs', 'api_keys', 'hostnames', 'operations'] LOOP
        EXECUTE format('CREATE POLICY of_platform ON %I FOR SELECT TO tenantry_control USING (current_setting(''tenantry.platform'', true) = ''on'')', t);
    END LOOP;
    -- The worker sees what is to be distributed.
    FOREACH t IN ARRAY ARRAY['snapshots', 'snapshot_blobs', 'outbox', 'identity_seeds', 'rsa_wanted', 'signing_keys', 'operations'] LOOP
        EXECUTE format('CREATE POLICY of_publisher ON %I TO tenantry_publisher USING (true) WITH CHECK (true)', t);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
DROP TABLE republish, audit_events, operations, identity_seeds, outbox, snapshot_blobs, snapshots, rsa_wanted, rsa_key_pool,
    signing_keys, api_keys, clients, hostnames, tenant_roles, tenants, blueprint_pins, blueprint_revisions, blueprints, orgs;
DROP FUNCTION tenantry_refuse(text), tenantry_org();
