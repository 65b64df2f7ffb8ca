// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// HostOwner finds whose a hostname in normal form is. It is work for the platform: nothing is known yet but the name. NOT_FOUND for a name
// that is nobody's, or an org's base domain.
func (s *Store) HostOwner(ctx context.Context, hostname string) (org id.Org, tenant id.Tenant, err error) {
	err = s.one(ctx, id.Org{}, true, func(r pgx.Rows) error { return r.Scan(&org, &tenant) }, `SELECT org_id, tenant_id FROM hostnames
		WHERE hostname = $1 AND kind = 1 AND org_id <> '00000000-0000-0000-0000-000000000000'`, hostname)
	return org, tenant, err
}

const registrationColumns = `g.token_hash, g.api_key, g.extras, g.network, g.create_time`

func registrationDest(g *tenancy.Registration, hash *[]byte, key **id.APIKey) []any {
	return []any{hash, key, &g.Extras, &g.Network, &g.CreateTime}
}

// settle takes over what registrationDest scanned.
func settleRegistration(g *tenancy.Registration, hash []byte, key *id.APIKey) error {
	var ok bool
	if g.TokenHash, ok = secret.HashFromBytes(hash); !ok {
		return fmt.Errorf("registration of %s has no hash", g.Client)
	}
	if key != nil {
		g.Key = *key
	}
	return nil
}

// Registration reads the registration of a tenant's client; NOT_FOUND for one that did not register itself.
func (s *Store) Registration(ctx context.Context, org id.Org, tenant id.Tenant, client id.Client) (tenancy.Registration, error) {
	g := tenancy.Registration{Client: client}
	var hash []byte
	var key *id.APIKey
	err := s.one(ctx, org, false, func(r pgx.Rows) error { return r.Scan(registrationDest(&g, &hash, &key)...) }, `SELECT `+registrationColumns+`
		FROM client_registrations g WHERE g.org_id = $1 AND g.tenant_id = $2 AND g.client_id = $3`, org, tenant, client)
	if err == nil {
		err = settleRegistration(&g, hash, key)
	}
	return g, err
}

// InsertRegistration writes the registration of a client whose row was written before.
func (t *Tx) InsertRegistration(tenant id.Tenant, g tenancy.Registration) error {
	var key *id.APIKey
	if !g.Key.IsZero() {
		key = &g.Key
	}
	return t.must(`INSERT INTO client_registrations (org_id, tenant_id, client_id, token_hash, api_key, extras, network, create_time)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, t.org, tenant, g.Client, g.TokenHash[:], key, notNil(g.Extras), g.Network, g.CreateTime)
}

// UpdateRegistration writes the extras of a registration whose tenant is locked.
func (t *Tx) UpdateRegistration(tenant id.Tenant, g tenancy.Registration) error {
	return t.must(`UPDATE client_registrations SET extras = $4 WHERE org_id = $1 AND tenant_id = $2 AND client_id = $3`,
		t.org, tenant, g.Client, notNil(g.Extras))
}

// CountRegistrations counts the clients that have registered themselves at a locked tenant, and those of them that used the key, at
// whatever tenant that was.
func (t *Tx) CountRegistrations(tenant id.Tenant, key id.APIKey) (all, byKey int, err error) {
	err = t.row(func(r pgx.Rows) error { return r.Scan(&all, &byKey) }, `SELECT
			(SELECT count(*) FROM client_registrations WHERE org_id = $1 AND tenant_id = $2),
			(SELECT count(*) FROM client_registrations WHERE org_id = $1 AND api_key = $3)`, t.org, tenant, key)
	return all, byKey, err
}

// RegistrationsFrom lists the clients of a locked tenant that registered themselves from a network without an API key, with the times of
// their registrations.
func (t *Tx) RegistrationsFrom(tenant id.Tenant, network string) (all []tenancy.Registration, err error) {
	err = t.rows(func(r pgx.Rows) error {
		g := tenancy.Registration{Network: network}
		defer func() { all = append(all, g) }()
		return r.Scan(&g.Client, &g.CreateTime)
	}, `SELECT client_id, create_time FROM client_registrations
		WHERE org_id = $1 AND tenant_id = $2 AND network = $3 AND api_key IS NULL`, t.org, tenant, network)
	return all, err
}
