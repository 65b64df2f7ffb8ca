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

// system is who does what nobody asks for at the moment: scheduled steps of rotations, keys that were still to be made.
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
		algs := slices.DeleteFunc(algorithmsOf(layer, t.Overrides), func(a jose.Algorithm) bool {
			return slices.ContainsFunc(parts.SigningKeys, func(k tenancy.SigningKey) bool {
				return k.Algorithm == string(a) && k.State <= tenancy.SigningActive
			})
		})
		return algs, &parts, nil
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
			k, err := s.sealKey(&t, made[a], tenancy.SigningActive, now)
			if err != nil {
				return struct{}{}, err
			}
			if err := tx.InsertSigningKey(k); err != nil {
				return struct{}{}, err
			}
			parts.SigningKeys = append(parts.SigningKeys, k)
			e := event(system, now, tenancy.ActionSigningKeyAdded, tenantName(org, tenant)+"/signingKeys/"+k.ID.String())
			e.Tenant, e.ConfigVersion = tenant, t.ConfigVersion
			if err := tx.Audit(e); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, s.putTenant(ctx, tx, &t, parts, false)
	})
	return err
}

// AdvanceSigningKey takes the scheduled step of a key that is due: a published one begins to sign and the one before it begins to
// retire; a retiring one leaves the JWK Set. A step that somebody else has taken is no error.
func (s *Service) AdvanceSigningKey(ctx context.Context, org id.Org, tenant id.Tenant, key id.SigningKey) error {
	_, _, err := change(ctx, s, system, org, "", Call{}, func(tx *store.Tx, now time.Time) (struct{}, error) {
		none := struct{}{}
		t, err := tx.LockTenant(tenant)
		if err != nil {
			return none, err
		}
		k, err := tx.SigningKey(tenant, key)
		if err != nil {
			return none, err
		}
		if k.DueTime.IsZero() || now.Before(k.DueTime) {
			return none, errDryAnswer
		}
		parts, err := tx.TenantParts(&t)
		if err != nil {
			return none, err
		}
		t.UpdateTime = now
		if err := tx.UpdateTenant(&t); err != nil {
			return none, err
		}
		action := tenancy.ActionSigningKeyRemoved
		k.UpdateTime, k.DueTime, k.ConfigVersion = now, time.Time{}, t.ConfigVersion
		if k.State == tenancy.SigningPublished {
			action = tenancy.ActionSigningKeyActivated
			k.State, k.ActivateTime = tenancy.SigningActive, now
			end := now.Add(s.longestTokenLife(ctx, tx, &t, &parts) + retireMargin)
			for i := range parts.SigningKeys {
				old := &parts.SigningKeys[i]
				if old.ID == k.ID || old.Algorithm != k.Algorithm || old.State != tenancy.SigningActive {
					continue
				}
				old.State, old.RetireTime, old.RemoveTime, old.DueTime, old.UpdateTime = tenancy.SigningRetiring, now, end, end, now
				old.ConfigVersion = t.ConfigVersion
				if err := tx.UpdateSigningKey(old); err != nil {
					return none, err
				}
			}
		} else {
			k.State, k.RemoveTime = tenancy.SigningRemoved, now
		}
		if err := tx.UpdateSigningKey(&k); err != nil {
			return none, err
		}
		if err := s.recompile(ctx, tx, &t, false); err != nil {
			return none, err
		}
		e := event(system, now, action, tenantName(org, tenant)+"/signingKeys/"+key.String())
		e.Tenant, e.ConfigVersion = tenant, t.ConfigVersion
		return none, tx.Audit(e)
	})
	return err
}

// longestTokenLife is how long the longest-lived token lives that a tenant's key may have signed a moment ago.
func (s *Service) longestTokenLife(ctx context.Context, tx *store.Tx, t *tenancy.Tenant, parts *store.TenantParts) time.Duration {
	longest := 24 * time.Hour // the bound of the policy, if the policy cannot be read
	digest, err := s.layerOf(ctx, tx, t)
	if err != nil {
		return longest
	}
	layer, err := s.docs.layer(ctx, t.Org, digest)
	if err != nil {
		return longest
	}
	shared, err := tx.SharedClients()
	if err != nil {
		return longest
	}
	if life, err := tokenLife(layer, t.Overrides); err == nil {
		longest = life
	}
	for _, c := range append(shared, parts.Clients...) {
		if c.Overrides == nil {
			continue
		}
		token := c.Overrides.GetToken()
		longest = max(longest, token.GetAccessTtl().AsDuration(), token.GetIdTokenTtl().AsDuration())
	}
	return longest
}
