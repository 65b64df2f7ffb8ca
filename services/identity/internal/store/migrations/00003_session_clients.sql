-- +goose Up

-- Which clients a session is known to, of those that want to hear when it ends: written before such a client gets a code, read by
-- whatever ends the session. A row is never without its session: both go in one transaction, the session first.
CREATE TABLE session_clients (
    tenant_id   uuid        NOT NULL,
    session_id  uuid        NOT NULL,
    client_id   uuid        NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, session_id, client_id)
);
ALTER TABLE session_clients ENABLE ROW LEVEL SECURITY;
ALTER TABLE session_clients FORCE ROW LEVEL SECURITY;
CREATE POLICY of_tenant ON session_clients USING (tenant_id = NULLIF(current_setting('tenantry.tenant_id', true), '')::uuid);
CREATE POLICY expired ON session_clients FOR SELECT TO CURRENT_USER USING (current_setting('tenantry.sweep', true) = 'expired');
GRANT SELECT, INSERT, UPDATE, DELETE ON session_clients TO tenantry_identity;

ALTER TABLE sessions
    -- How long the session may go unused, as the policy was when it was used last; 0 for ever.
    ADD COLUMN idle_seconds integer NOT NULL DEFAULT 0,
    -- When somebody should look whether it has ended by itself. It is not moved with every use, which would cost an index entry each
    -- time: who looks too early moves it.
    ADD COLUMN check_time timestamptz NOT NULL DEFAULT 'infinity';
UPDATE sessions SET check_time = expire_time;
CREATE INDEX sessions_check ON sessions (check_time);

CREATE POLICY due ON sessions FOR SELECT TO CURRENT_USER
    USING (current_setting('tenantry.sweep', true) = 'due' AND check_time < now());

-- due_sessions answers the ids of sessions to be looked at. They are ended one by one in their tenant's context, because that writes
-- audit events, revocations and messages to clients.
-- +goose StatementBegin
CREATE FUNCTION due_sessions(p_limit integer) RETURNS TABLE (tenant_id uuid, pool_id uuid, id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM set_config('tenantry.sweep', 'due', true);
    RETURN QUERY SELECT s.tenant_id, s.pool_id, s.id FROM sessions s WHERE s.check_time < now() ORDER BY s.check_time LIMIT p_limit;
    PERFORM set_config('tenantry.sweep', '', true);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION due_sessions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION due_sessions TO tenantry_identity;

-- As before, but for sessions that some client wants to hear of: those are ended one by one.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION sweep_expired(p_limit integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    n     bigint;
    total bigint := 0;
BEGIN
    PERFORM set_config('tenantry.sweep', 'expired', true);
    DELETE FROM sessions WHERE (tenant_id, id) IN (
        SELECT s.tenant_id, s.id FROM sessions s
        WHERE s.expire_time < now()
            AND NOT EXISTS (SELECT FROM session_clients c WHERE c.tenant_id = s.tenant_id AND c.session_id = s.id)
        ORDER BY s.expire_time LIMIT p_limit FOR UPDATE SKIP LOCKED);
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

-- +goose Down
DROP FUNCTION due_sessions;
DROP POLICY due ON sessions;
ALTER TABLE sessions DROP COLUMN idle_seconds, DROP COLUMN check_time;
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION sweep_expired(p_limit integer) RETURNS bigint
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
DROP TABLE session_clients;
