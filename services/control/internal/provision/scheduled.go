// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// system is who does what nobody asks for at the moment: scheduled steps of rotations, keys that grew old or were still to be made.
var system = tenancy.Principal{DisplayName: "system"}

// AddMissingKeys gives a tenant an active key for each algorithm that its policy names and that it has none for. supply makes the
// private keys, before the transaction begins. Doing it twice, or in two processes, adds no second key.
func (s *Service) AddMissingKeys(ctx context.Context, org id.Org, tenant id.Tenant, supply func(jose.Algorithm) (*jose.PrivateKey, error)) error {
	missing := func(tx *store.Tx, t *tenancy.Tenant) ([]jose.Algorithm, *store.TenantParts, error) {
		parts, err := tx.TenantParts(t)
		if err != nil {
			return nil, nil, err
		}
		digest, err := s.layerOf(ctx, tx, t)
		if err != nil {
			return nil, nil, err
		}
		layer, err := s.docs.layer(ctx, org, digest)
		if err != nil {
			return nil, nil, err
		}
		return lacking(algorithmsOf(layer, t.Overrides), parts.SigningKeys), &parts, nil
	}
	var want []jose.Algorithm
	err := s.store.Write(ctx, org, func(tx *store.Tx) (err error) {
		t, err := tx.LockTenant(tenant)
		if err != nil {
			return err
		}
		if t.State != tenancy.StateDeleted {
			want, _, err = missing(tx, &t)
		}
		if err != nil || len(want) > 0 {
			return err
		}
		return tx.RSAGiven(tenant)
	})
	if errors.Is(err, tenancy.ReasonNotFound) {
		return nil
	}
	if err != nil || len(want) == 0 {
		return err
	}
	made := map[jose.Algorithm]*jose.PrivateKey{}
	for _, a := range want {
		if made[a], err = supply(a); err != nil {
			return err
		}
	}
	_, _, err = change(ctx, s, system, org, "", Call{}, func(tx *store.Tx, now time.Time) (struct{}, error) {
		t, err := tx.LockTenant(tenant)
		if err != nil || t.State == tenancy.StateDeleted {
			return struct{}{}, errors.Join(err, errDryAnswer)
		}
		want, parts, err := missing(tx, &t)
		if err != nil {
			return struct{}{}, err
		}
		if err := tx.RSAGiven(tenant); err != nil {
			return struct{}{}, err
		}
		want = slices.DeleteFunc(want, func(a jose.Algorithm) bool { return made[a] == nil })
		if len(want) == 0 {
			return struct{}{}, nil
		}
		t.UpdateTime = now
		if err := tx.UpdateTenant(&t); err != nil {
			return struct{}{}, err
		}
		for _, a := range want {
			if err := s.addKey(tx, &t, parts, made[a], now); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, s.putTenant(ctx, tx, &t, parts, false)
	})
	return err
}

// lacking are the algorithms that a tenant has no key for that signs or is about to.
func lacking(algs []jose.Algorithm, keys []tenancy.SigningKey) []jose.Algorithm {
	return slices.DeleteFunc(slices.Clone(algs), func(a jose.Algorithm) bool {
		return slices.ContainsFunc(keys, func(k tenancy.SigningKey) bool { return k.Algorithm == string(a) && k.State <= tenancy.SigningActive })
	})
}

// addKey gives a locked tenant, already at its new version, an active key.
func (s *Service) addKey(tx *store.Tx, t *tenancy.Tenant, parts *store.TenantParts, private *jose.PrivateKey, now time.Time) error {
	k, err := s.sealKey(t, private, tenancy.SigningActive, now)
	if err != nil {
		return err
	}
	if err := tx.InsertSigningKey(k); err != nil {
		return err
	}
	parts.SigningKeys = append(parts.SigningKeys, k)
	e := event(system, now, tenancy.ActionSigningKeyAdded, tenantName(t.Org, t.ID)+"/signingKeys/"+k.ID.String())
	e.Tenant, e.ConfigVersion = t.ID, t.ConfigVersion
	return tx.Audit(e)
}
