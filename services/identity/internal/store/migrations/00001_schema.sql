-- +goose Up

-- The identity database: users of a pool, and what they have and do in a tenant.
--
-- Every table has the tenant or the pool first in its primary key, and every statement carries it, so that rows can be split by
-- partitions, clusters or a distributed PostgreSQL without a change of any query. No foreign key crosses from a tenant to a pool.

-- The service connects as a role that owns nothing and bypasses nothing. It has no password here: who may log in as it is decided
-- by pg_hba.conf or by ALTER ROLE of the operator.
-- +goose StatementBegin
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'tenantry_identity') THEN
        CREATE ROLE tenantry_identity LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION;
    END IF;
EXCEPTION
    -- Roles belong to the cluster: another database's migration may have come first.
    WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;
-- +goose StatementEnd

CREATE TABLE users (
    pool_id        uuid        NOT NULL,
    id             uuid        NOT NULL,
    email          text        NOT NULL,
    -- What is unique in the pool: the folded spelling of the address.
    email_key      text COLLATE "C" NOT NULL,
    email_verified boolean     NOT NULL,
    name           text        NOT NULL DEFAULT '',
    -- The folded spelling of the name, for search.
    name_key       text COLLATE "C" NOT NULL DEFAULT '',
    -- The other standard claims, by their names in OpenID Connect Core 5.1. Most people have none, so they cost one column, not eight.
    profile        jsonb       NOT NULL DEFAULT '{}',
    state          text        NOT NULL CHECK (state IN ('ACTIVE', 'INVITED', 'SUSPENDED')),
    app_metadata   jsonb       NOT NULL DEFAULT '{}',
    user_metadata  jsonb       NOT NULL DEFAULT '{}',
    version        bigint      NOT NULL DEFAULT 1,
    create_time    timestamptz NOT NULL,
    update_time    timestamptz NOT NULL,
    PRIMARY KEY (pool_id, id)
);
CREATE UNIQUE INDEX users_email_key ON users (pool_id, email_key);
CREATE INDEX users_name_key ON users (pool_id, name_key);

CREATE TABLE credentials (
    pool_id           uuid        NOT NULL,
    user_id           uuid        NOT NULL,
    kind              text        NOT NULL CHECK (kind IN ('PASSWORD')),
    -- argon2id in PHC form, never anything reversible.
    phc               text        NOT NULL,
    -- Wrong passwords since the last right one, and until when the credential answers nobody.
    failures          integer     NOT NULL DEFAULT 0,
    last_failure_time timestamptz,
    locked_until      timestamptz,
    create_time       timestamptz NOT NULL,
    update_time       timestamptz NOT NULL,
    PRIMARY KEY (pool_id, user_id, kind),
    FOREIGN KEY (pool_id, user_id) REFERENCES users (pool_id, id) ON DELETE CASCADE
) WITH (fillfactor = 80);

-- A wrong password of a known user costs one durable write (the counter above). So that its time does not tell who is known, an
-- attempt on an unknown user writes here: at most 256 rows a pool, whatever a stranger sends.
CREATE TABLE unknown_logins (
    pool_id  uuid     NOT NULL,
    slot     smallint NOT NULL CHECK (slot BETWEEN 0 AND 255),
    failures bigint   NOT NULL,
    PRIMARY KEY (pool_id, slot)
) WITH (fillfactor = 50);

CREATE TABLE memberships (
    tenant_id   uuid        NOT NULL,
    user_id     uuid        NOT NULL,
    id          uuid        NOT NULL,
    pool_id     uuid        NOT NULL,
    roles       text[]      NOT NULL DEFAULT '{}',
    groups      text[]      NOT NULL DEFAULT '{}',
    source      text        NOT NULL CHECK (source IN ('INVITE', 'DOMAIN', 'OPEN', 'JIT', 'SCIM', 'API')),
    state       text        NOT NULL CHECK (state IN ('ACTIVE', 'SUSPENDED')),
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id)
);

CREATE TABLE invitations (
    tenant_id    uuid        NOT NULL,
    id           uuid        NOT NULL,
    pool_id      uuid        NOT NULL,
    user_id      uuid        NOT NULL,
    email        text        NOT NULL,
    roles        text[]      NOT NULL DEFAULT '{}',
    groups       text[]      NOT NULL DEFAULT '{}',
    client_id    uuid,
    state        text        NOT NULL CHECK (state IN ('PENDING', 'ACCEPTED', 'REVOKED')),
    -- SHA-256 of the secrets of the last mails, newest first: a mail that is sent twice after a crash leaves both links good.
    token_hashes bytea[]     NOT NULL DEFAULT '{}',
    create_time  timestamptz NOT NULL,
    expire_time  timestamptz NOT NULL,
    send_time    timestamptz,
    accept_time  timestamptz,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX invitations_user ON invitations (tenant_id, user_id);

CREATE TABLE sessions (
    tenant_id     uuid        NOT NULL,
    id            uuid        NOT NULL,
    pool_id       uuid        NOT NULL,
    user_id       uuid        NOT NULL,
    -- SHA-256 of the 256-bit token in the browser's sealed cookie.
    token_hash    bytea       NOT NULL CHECK (length(token_hash) = 32),
    auth_time     timestamptz NOT NULL,
    amr           text        NOT NULL, -- separated by spaces
    acr           text        NOT NULL,
    ip            text        NOT NULL,
    user_agent    text        NOT NULL,
    create_time   timestamptz NOT NULL,
    last_use_time timestamptz NOT NULL,
    expire_time   timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, id)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX sessions_token ON sessions (tenant_id, token_hash);
CREATE INDEX sessions_user ON sessions (tenant_id, user_id);
CREATE INDEX sessions_expire ON sessions (expire_time);

-- What a refresh token refers to. The token is <grant>.<generation>.<MAC>: no copy of it is here.
CREATE TABLE refresh_families (
    tenant_id     uuid        NOT NULL,
    grant_id      uuid        NOT NULL,
    pool_id       uuid        NOT NULL,
    user_id       uuid        NOT NULL,
    client_id     uuid        NOT NULL,
    -- The session it ends with; of an offline family only a memory.
    session_id    uuid,
    offline       boolean     NOT NULL,
    scopes        text        NOT NULL, -- separated by spaces (RFC 6749 section 3.3)
    resource      text        NOT NULL,
    auth_time     timestamptz NOT NULL,
    amr           text        NOT NULL, -- separated by spaces
    acr           text        NOT NULL,
    -- The `claims` parameter of the authorization request (OpenID Connect Core 5.5), as it came.
    claims        text        NOT NULL,
    -- The newest generation that was given out, and when.
    generation    integer     NOT NULL,
    rotate_time   timestamptz NOT NULL,
    -- Drawn by each attempt to rotate: whose is here has won.
    rotate_mark   bigint      NOT NULL DEFAULT 0,
    create_time   timestamptz NOT NULL,
    expire_time   timestamptz NOT NULL,
    revoke_time   timestamptz,
    revoke_reason text,
    PRIMARY KEY (tenant_id, grant_id)
) WITH (fillfactor = 70);
CREATE INDEX refresh_families_user ON refresh_families (tenant_id, user_id);
CREATE INDEX refresh_families_expire ON refresh_families (expire_time);

CREATE TABLE consents (
    tenant_id   uuid        NOT NULL,
    user_id     uuid        NOT NULL,
    client_id   uuid        NOT NULL,
    scopes      text[]      NOT NULL,
    grant_time  timestamptz NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id, client_id)
);

-- Seeds that were applied, so that one that comes twice cannot bring back a user who was deleted in between.
CREATE TABLE applied_seeds (
    tenant_id  uuid        NOT NULL,
    digest     bytea       NOT NULL,
    -- The call that applied it.
    batch      uuid        NOT NULL,
    apply_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, digest)
);

-- What must not be believed any more although its signature is good. The runtime Redis has a mark for each; these rows are what
-- the marks are rebuilt from.
CREATE TABLE revocations (
    tenant_id   uuid        NOT NULL,
    kind        text COLLATE "C" NOT NULL CHECK (kind IN ('jti', 'sid', 'gnt')),
    subject     text COLLATE "C" NOT NULL,
    until       timestamptz NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, kind, subject)
);
CREATE INDEX revocations_create ON revocations (create_time, tenant_id, kind, subject);
CREATE INDEX revocations_until ON revocations (until);

-- The head of each tenant's audit chain, and the chain. hash(n) = SHA-256(hash(n-1) || n as 8 bytes || digest(n)), hash(0) = 32
-- zero bytes; digest covers every other column, so an edited, deleted or reordered row breaks the chain.
CREATE TABLE audit_heads (
    tenant_id uuid   NOT NULL,
    seq       bigint NOT NULL,
    hash      bytea  NOT NULL,
    PRIMARY KEY (tenant_id)
) WITH (fillfactor = 50);

CREATE TABLE audit_events (
    tenant_id  uuid        NOT NULL,
    seq        bigint      NOT NULL,
    id         uuid        NOT NULL,
    time       timestamptz NOT NULL,
    actor      text        NOT NULL,
    action     text        NOT NULL,
    resource   text        NOT NULL,
    outcome    text        NOT NULL,
    request_id text        NOT NULL,
    ip         text        NOT NULL,
    user_agent text        NOT NULL,
    details    text        NOT NULL,
    digest     bytea       NOT NULL,
    hash       bytea       NOT NULL,
    PRIMARY KEY (tenant_id, seq)
);

-- append_audit takes the next place in the tenant's chain. The head's row lock is held from here to the commit, so this is the
-- last thing a transaction does, and tenants never wait for each other.
-- +goose StatementBegin
CREATE FUNCTION append_audit(
    p_tenant uuid, p_id uuid, p_time timestamptz, p_actor text, p_action text, p_resource text, p_outcome text,
    p_request_id text, p_ip text, p_user_agent text, p_details text, p_digest bytea
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    h audit_heads%ROWTYPE;
BEGIN
    INSERT INTO audit_heads AS a (tenant_id, seq, hash)
    VALUES (p_tenant, 1, sha256(decode(repeat('00', 32), 'hex') || int8send(1) || p_digest))
    ON CONFLICT (tenant_id) DO UPDATE
        SET seq = a.seq + 1, hash = sha256(a.hash || int8send(a.seq + 1) || p_digest)
    RETURNING a.* INTO h;
    INSERT INTO audit_events (tenant_id, seq, id, time, actor, action, resource, outcome, request_id, ip, user_agent, details, digest, hash)
    VALUES (p_tenant, h.seq, p_id, p_time, p_actor, p_action, p_resource, p_outcome, p_request_id, p_ip, p_user_agent, p_details, p_digest, h.hash);
    RETURN h.seq;
END
$$;
-- +goose StatementEnd

-- Row-level security backs up the WHERE clauses: what a statement forgets, the database still refuses. NULLIF, because after a
-- transaction with a local setting the value on the connection is an empty string, not NULL.
-- +goose StatementBegin
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['users', 'credentials', 'unknown_logins'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_pool ON %I USING (pool_id = NULLIF(current_setting(''tenantry.pool_id'', true), '''')::uuid)', t);
    END LOOP;
    FOREACH t IN ARRAY ARRAY['memberships', 'invitations', 'sessions', 'refresh_families', 'consents', 'revocations', 'applied_seeds',
                             'audit_heads', 'audit_events'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY of_tenant ON %I USING (tenant_id = NULLIF(current_setting(''tenantry.tenant_id'', true), '''')::uuid)', t);
    END LOOP;
END
$$;
-- +goose StatementEnd

-- The two deliberate looks across tenants are functions of the owner, each with its own word for policies that hold for the owner
-- alone: the service cannot stray into them, and its own statements do not pay for them.
-- +goose StatementBegin
DO $$
DECLARE
    t text;
    e text;
BEGIN
    FOR t, e IN VALUES ('sessions', 'expire_time'), ('refresh_families', 'expire_time'), ('revocations', 'until') LOOP
        EXECUTE format('CREATE POLICY expired ON %I TO CURRENT_USER
            USING (current_setting(''tenantry.sweep'', true) = ''expired'' AND %I < now())', t, e);
    END LOOP;
END
$$;
-- +goose StatementEnd
CREATE POLICY reload ON revocations FOR SELECT TO CURRENT_USER
    USING (current_setting('tenantry.sweep', true) = 'reload');

-- sweep_expired removes what has expired by the database's own clock. SKIP LOCKED keeps several sweepers apart.
-- +goose StatementBegin
CREATE FUNCTION sweep_expired(p_limit integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    n     bigint;
    total bigint := 0;
BEGIN
    PERFORM set_config('tenantry.sweep', 'expired', true);
    DELETE FROM sessions WHERE (tenant_id, id) IN (
        SELECT tenant_id, id FROM sessions WHERE expire_time < now() ORDER BY expire_time LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;
    DELETE FROM refresh_families WHERE (tenant_id, grant_id) IN (
        SELECT tenant_id, grant_id FROM refresh_families WHERE expire_time < now() ORDER BY expire_time LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;
    DELETE FROM revocations WHERE (tenant_id, kind, subject) IN (
        SELECT tenant_id, kind, subject FROM revocations WHERE until < now() ORDER BY until LIMIT p_limit FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS n = ROW_COUNT;
    PERFORM set_config('tenantry.sweep', '', true);
    RETURN total + n;
END
$$;
-- +goose StatementEnd

-- reload_revocations answers ids and times of all tenants, from which the marks of an empty Redis are rebuilt; a keyset page.
-- +goose StatementBegin
CREATE FUNCTION reload_revocations(p_since timestamptz, p_first boolean, p_tenant uuid, p_kind text, p_subject text, p_now timestamptz, p_limit integer)
RETURNS TABLE (tenant_id uuid, kind text, subject text, until timestamptz, create_time timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM set_config('tenantry.sweep', 'reload', true);
    RETURN QUERY
        SELECT r.tenant_id, r.kind, r.subject, r.until, r.create_time FROM revocations r
        WHERE r.create_time >= p_since AND r.until > p_now
            AND (p_first OR (r.create_time, r.tenant_id, r.kind, r.subject) > (p_since, p_tenant, p_kind, p_subject))
        ORDER BY r.create_time, r.tenant_id, r.kind, r.subject LIMIT p_limit;
    PERFORM set_config('tenantry.sweep', '', true);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION sweep_expired, reload_revocations FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sweep_expired, reload_revocations TO tenantry_identity;

GRANT USAGE ON SCHEMA public TO tenantry_identity;
GRANT SELECT, INSERT, UPDATE, DELETE ON
    users, credentials, unknown_logins, memberships, invitations, sessions, refresh_families, consents, revocations,
    applied_seeds
    TO tenantry_identity;
-- The chain is append-only for the service; only its head moves.
GRANT SELECT, INSERT, UPDATE ON audit_heads TO tenantry_identity;
GRANT SELECT, INSERT ON audit_events TO tenantry_identity;

-- +goose Down
DROP FUNCTION append_audit, sweep_expired, reload_revocations;
DROP TABLE audit_events, audit_heads, revocations, applied_seeds, consents, refresh_families, sessions, invitations, memberships, unknown_logins,
    credentials, users;
