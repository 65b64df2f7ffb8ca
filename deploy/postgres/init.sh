#!/bin/sh
# Run once by the postgres image, on an empty data directory: the owner that migrates, the roles that the services connect as, and the
# two databases. No role here but the image's own superuser may do more than its tables' grants and policies say.
set -eu
export TENANTRY_SECRETS="${TENANTRY_SECRETS:-/run/secrets}"

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\set owner `cat "$TENANTRY_SECRETS/postgres-owner.password"`
\set control `cat "$TENANTRY_SECRETS/postgres-control.password"`
\set publisher `cat "$TENANTRY_SECRETS/postgres-publisher.password"`
\set identity `cat "$TENANTRY_SECRETS/postgres-identity.password"`
-- Passwords are not to be in the server's log, whatever it is set to log.
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
SET log_min_duration_statement = -1;
CREATE ROLE tenantry_owner LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'owner';
CREATE ROLE tenantry_control LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'control';
CREATE ROLE tenantry_publisher LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'publisher';
CREATE ROLE tenantry_identity LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'identity';
CREATE DATABASE tenantry_control OWNER tenantry_owner TEMPLATE template0 ENCODING 'UTF8';
CREATE DATABASE tenantry_identity OWNER tenantry_owner TEMPLATE template0 ENCODING 'UTF8';
REVOKE CONNECT, TEMPORARY ON DATABASE tenantry_control, tenantry_identity FROM PUBLIC;
GRANT CONNECT ON DATABASE tenantry_control TO tenantry_control, tenantry_publisher;
GRANT CONNECT ON DATABASE tenantry_identity TO tenantry_identity;
SQL
