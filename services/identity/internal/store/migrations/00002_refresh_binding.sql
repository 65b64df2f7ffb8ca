-- +goose Up
ALTER TABLE refresh_families
    -- The key that a public client's refresh tokens are bound to (RFC 9449 section 5, RFC 8705 section 4), in the form `jkt:…` or
    -- `x5t:…`; empty for tokens that their client's authentication binds.
    ADD COLUMN binding text NOT NULL DEFAULT '',
    -- The authorization_details that were granted (RFC 9396), a JSON array; empty for none.
    ADD COLUMN authorization_details text NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE refresh_families DROP COLUMN binding, DROP COLUMN authorization_details;
