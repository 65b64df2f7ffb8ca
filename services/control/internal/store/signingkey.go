// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

const signingKeyColumns = `org_id, tenant_id, id, algorithm, state, doc, version, config_version, create_time, update_time, publish_time,
	activate_time, retire_time, remove_time, due_time`

func scanSigningKey(r pgx.Rows, k *tenancy.SigningKey) error {
	var doc []byte
	var publish, activate, retire, remove, due *time.Time
	if err := r.Scan(&k.Org, &k.Tenant, &k.ID, &k.Algorithm, &k.State, &doc, &k.Version, &k.ConfigVersion, &k.CreateTime, &k.UpdateTime,
		&publish, &activate, &retire, &remove, &due); err != nil {
		return err
	}
	k.PublishTime, k.ActivateTime, k.RetireTime = fromNil(publish), fromNil(activate), fromNil(retire)
	k.RemoveTime, k.DueTime = fromNil(remove), fromNil(due)
	var m snapshotv1.SigningKey
	if err := proto.Unmarshal(doc, &m); err != nil {
		return fmt.Errorf("signing key %s: %w", k.ID, err)
	}
	k.PublicJWK, k.Sealed = m.GetPublicJwk(), secret.Sealed{Ciphertext: m.GetSealedPrivateKey()}
	for _, w := range m.GetWraps() {
		k.Sealed.Wraps = append(k.Sealed.Wraps, secret.Wrap{
			Region: w.GetRegion(), Purpose: w.GetPurpose(), KeyID: w.GetKeyId(), Encapsulated: w.GetEncapsulatedKey(), Ciphertext: w.GetCiphertext(),
		})
	}
	return nil
}

// SigningKeyMessage is a signing key as the snapshot carries it.
func SigningKeyMessage(k tenancy.SigningKey) *snapshotv1.SigningKey {
	m := &snapshotv1.SigningKey{
		KeyId: k.ID[:], Algorithm: k.Algorithm, State: snapshotv1.SigningKeyState(k.State), PublicJwk: k.PublicJWK,
		SealedPrivateKey: k.Sealed.Ciphertext, Wraps: tenancy.WrapMessages(k.Sealed.Wraps),
	}
	return m
}

var insertSigningKeys = newInsert("signing_keys", `org_id, tenant_id, id, algorithm, state, doc, config_version, create_time, update_time, publish_time,
		activate_time, retire_time, remove_time, due_time`,
	`$1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10, $11, $12, $13`)

func signingKeyRow(org id.Org, tenant id.Tenant, k tenancy.SigningKey) ([]any, error) {
	m := SigningKeyMessage(k)
	m.State = 0
	doc, err := proto.Marshal(m)
	return []any{
		org, tenant, k.ID, k.Algorithm, k.State, doc, k.ConfigVersion, k.CreateTime, orNil(k.PublishTime), orNil(k.ActivateTime),
		orNil(k.RetireTime), orNil(k.RemoveTime), orNil(k.DueTime),
	}, err
}

// SigningKeys lists a tenant's signing keys, the newest first.
func (s *Store) SigningKeys(ctx context.Context, org id.Org, tenant id.Tenant, q Query) (items []tenancy.SigningKey, err error) {
	c := &conditions{}
	c.add("org_id = $?", org)
	c.add("tenant_id = $?", tenant)
	for _, r := range q.Filter {
		switch r.Field {
		case "state":
			for st := tenancy.SigningStaged; st <= tenancy.SigningRevoked; st++ {
				if st.String() == r.Value {
					c.add("state = $?", st)
				}
			}
		case "alg":
			c.add("algorithm = $?", r.Value)
		}
	}
	q.Desc = true
	tail := c.keyset(q, "id", "id")
	err = s.read(ctx, org, false, func(r pgx.Rows) error {
		var k tenancy.SigningKey
		if err := scanSigningKey(r, &k); err != nil {
			return err
		}
		items = append(items, k)
		return nil
	}, `SELECT `+signingKeyColumns+` FROM signing_keys WHERE `+c.where()+tail, c.args...)
	return items, err
}

// SigningKey reads a signing key whose tenant is locked.
func (t *Tx) SigningKey(tenant id.Tenant, key id.SigningKey) (k tenancy.SigningKey, err error) {
	err = t.row(func(r pgx.Rows) error { return scanSigningKey(r, &k) },
		`SELECT `+signingKeyColumns+` FROM signing_keys WHERE org_id = $1 AND tenant_id = $2 AND id = $3`, t.org, tenant, key)
	return k, err
}

// InsertSigningKey writes a signing key whose tenant is locked.
func (t *Tx) InsertSigningKey(k tenancy.SigningKey) error {
	b := &pgx.Batch{}
	row, err := signingKeyRow(t.org, k.Tenant, k)
	if err != nil {
		return err
	}
	insertSigningKeys.queue(b, row)
	return refusal(t.tx.SendBatch(t.ctx, b).Close())
}

// UpdateSigningKey writes the state and times of a signing key whose tenant is locked, and counts its version up.
func (t *Tx) UpdateSigningKey(k *tenancy.SigningKey) error {
	return t.row(func(r pgx.Rows) error { return r.Scan(&k.Version) }, `UPDATE signing_keys SET state = $4, publish_time = $5, activate_time = $6,
			retire_time = $7, remove_time = $8, due_time = $9, update_time = $10, config_version = $11, version = version + 1
		WHERE org_id = $1 AND tenant_id = $2 AND id = $3 RETURNING version`, t.org, k.Tenant, k.ID, k.State, orNil(k.PublishTime),
		orNil(k.ActivateTime), orNil(k.RetireTime), orNil(k.RemoveTime), orNil(k.DueTime), k.UpdateTime, k.ConfigVersion)
}

// WantRSA notes that a tenant waits for its RSA key; RSAGiven that it has it.
func (t *Tx) WantRSA(tenant id.Tenant, now time.Time) error {
	_, err := t.exec(`INSERT INTO rsa_wanted (org_id, tenant_id, create_time) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, t.org, tenant, now)
	return err
}

// WantKeys notes it for every tenant of a blueprint.
func (t *Tx) WantKeys(bp id.Blueprint, now time.Time) error {
	_, err := t.exec(`INSERT INTO rsa_wanted (org_id, tenant_id, create_time) SELECT org_id, id, $3 FROM tenants
		WHERE org_id = $1 AND blueprint_id = $2 AND state <> 3 ON CONFLICT DO NOTHING`, t.org, bp, now)
	return err
}

// RSAGiven removes what WantRSA noted.
func (t *Tx) RSAGiven(tenant id.Tenant) error {
	_, err := t.exec(`DELETE FROM rsa_wanted WHERE org_id = $1 AND tenant_id = $2`, t.org, tenant)
	return err
}
