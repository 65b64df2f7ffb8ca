// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// algorithmsOf lists the algorithms for which a tenant needs a key: ES256 always, and those that its policy names.
func algorithmsOf(layer *snapshotv1.Layer, overrides *tenancy.Policy) []jose.Algorithm {
	var own *snapshotv1.Policy
	if overrides != nil {
		own = overrides.Policy
	}
	algs := []jose.Algorithm{jose.ES256}
	policy, _, err := snapshot.ResolveTenant(layer, own)
	if err != nil {
		return algs // compiling the tenant will say why
	}
	for _, a := range append(slices.Clone(policy.GetToken().GetIdTokenAlgs().GetValues()), policy.GetToken().GetAccessAlg()) {
		if alg := jose.Algorithm(a); alg.Valid() && !slices.Contains(algs, alg) {
			algs = append(algs, alg)
		}
	}
	return algs
}

// slow reports whether making a key of an algorithm takes too long for a caller to wait: RSA.
func slow(a jose.Algorithm) bool { return a == jose.RS256 || a == jose.PS256 }

// firstKeys makes the active keys of a new tenant. An RSA key is taken from those made ahead; when there is none, want is true and the
// worker adds it a moment later.
func (s *Service) firstKeys(t *tenancy.Tenant, algs []jose.Algorithm) (keys []tenancy.SigningKey, want bool, err error) {
	for _, a := range algs {
		if slow(a) {
			want = true
			if a == jose.RS256 && s.cfg.RSA != nil {
				if private, ok := s.cfg.RSA.Take(); ok {
					k, err := s.sealKey(t, private, tenancy.SigningActive, t.CreateTime)
					if err != nil {
						return nil, false, err
					}
					keys, want = append(keys, k), false
				}
			}
			continue
		}
		private, err := jose.GenerateKey(a)
		if err != nil {
			return nil, false, err
		}
		k, err := s.sealKey(t, private, tenancy.SigningActive, t.CreateTime)
		if err != nil {
			return nil, false, err
		}
		keys = append(keys, k)
	}
	return keys, want, nil
}

// sealKey makes a tenant's key of a private key: sealed for the token service of the tenant's region and for recovery.
func (s *Service) sealKey(t *tenancy.Tenant, private *jose.PrivateKey, state tenancy.SigningKeyState, now time.Time) (tenancy.SigningKey, error) {
	k := tenancy.SigningKey{
		Org: t.Org, Tenant: t.ID, ID: id.NewSigningKey(), Algorithm: string(private.Algorithm()), State: state, Version: 1,
		CreateTime: now, UpdateTime: now, ConfigVersion: t.ConfigVersion,
	}
	if state == tenancy.SigningActive {
		k.PublishTime, k.ActivateTime = now, now
	}
	k.PublicJWK = private.Public(k.ID.String()).JWK()
	der := private.PKCS8()
	defer clear(der)
	var err error
	k.Sealed, err = s.sealer.Seal(s.now(), s.recipients(t.Region), snapshot.SigningKeyAAD(t.ID, k.ID, k.Algorithm), der)
	return k, err
}

var signingKeyFields = []tenancy.FilterField{
	{Name: "state", Check: choices("STAGED", "PUBLISHED", "ACTIVE", "RETIRING", "REMOVED", "REVOKED")}, {Name: "alg"},
}

// ListSigningKeys lists a tenant's keys, the newest first.
func (s *Service) ListSigningKeys(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, page tenancy.Page) (List[tenancy.SigningKey], error) {
	q, binding, err := s.query(caller, page, signingKeyFields, []string{"create_time"}, "signingKeys", org.String(), tenant.String())
	if err != nil {
		return List[tenancy.SigningKey]{}, err
	}
	if err := s.store.TenantExists(ctx, org, tenant); err != nil {
		return List[tenancy.SigningKey]{}, err
	}
	items, err := s.store.SigningKeys(ctx, org, tenant, q)
	if err != nil {
		return List[tenancy.SigningKey]{}, err
	}
	return paged(s, items, q, binding, func(k tenancy.SigningKey) []byte { return k.ID[:] }), nil
}

// successorOf makes the key that will take another's place. RSA takes a second when none was made ahead, so it is made before the
// transaction begins.
func (s *Service) successorOf(alg string) (*jose.PrivateKey, func(), error) {
	if a := jose.Algorithm(alg); a == jose.RS256 && s.cfg.RSA != nil {
		if k, ok := s.cfg.RSA.Take(); ok {
			return k, func() { s.cfg.RSA.GiveBack(k) }, nil
		}
	}
	k, err := jose.GenerateKey(jose.Algorithm(alg))
	return k, func() {}, err
}

// signingKeyOf reads a key before a transaction.
func (s *Service) signingKeyOf(ctx context.Context, org id.Org, tenant id.Tenant, key id.SigningKey) (k tenancy.SigningKey, err error) {
	err = s.store.Write(ctx, org, func(tx *store.Tx) (err error) {
		k, err = tx.SigningKey(tenant, key)
		return err
	})
	return k, err
}

// RotateSigningKey makes a successor, which the worker brings through its life (see rotation.go): it begins to sign once every verifier
// can know it. A rotation that is under way is answered again.
func (s *Service) RotateSigningKey(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, key id.SigningKey, call Call) (SigningKeyChange, error) {
	return s.replaceKey(ctx, caller, org, tenant, key, call, "RotateSigningKey", tenancy.ActionSigningKeyRotated,
		func(tx *store.Tx, t *tenancy.Tenant, k *tenancy.SigningKey, parts []tenancy.SigningKey, next *jose.PrivateKey, now time.Time) (*tenancy.SigningKey, keyEffect, error) {
			if k.State != tenancy.SigningActive {
				return nil, asBefore, tenancy.RefuseField(tenancy.ReasonKeyState, "name", "only an ACTIVE key is rotated; this one is "+k.State.String())
			}
			if n := successorAmong(parts, k); n != nil {
				return n, asBefore, errUnderWay
			}
			n, err := s.sealKey(t, next, tenancy.SigningStaged, now)
			if err != nil {
				return nil, asBefore, err
			}
			n.DueTime = now
			return &n, addsKey, nil
		})
}

// successorAmong is the key that is about to take another's place: the one that came furthest, nil for none.
func successorAmong(parts []tenancy.SigningKey, k *tenancy.SigningKey) (next *tenancy.SigningKey) {
	for i := range parts {
		n := &parts[i]
		if n.Algorithm == k.Algorithm && n.ID != k.ID && n.State < tenancy.SigningActive && (next == nil || n.State > next.State) {
			next = n
		}
	}
	return next
}

// RevokeSigningKeyNow takes a key out of the JWK Set at once. When it signed, a successor signs from the same moment: verifiers that
// have not fetched it yet ask again, which is the price of not trusting the old one a second longer.
func (s *Service) RevokeSigningKeyNow(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, key id.SigningKey, call Call) (SigningKeyChange, error) {
	return s.replaceKey(ctx, caller, org, tenant, key, call, "RevokeSigningKeyNow", tenancy.ActionSigningKeyRevoked,
		func(tx *store.Tx, t *tenancy.Tenant, k *tenancy.SigningKey, parts []tenancy.SigningKey, next *jose.PrivateKey, now time.Time) (*tenancy.SigningKey, keyEffect, error) {
			if k.State >= tenancy.SigningRemoved {
				return nil, asBefore, tenancy.RefuseField(tenancy.ReasonKeyState, "name", "this key is out of use already: it is "+k.State.String())
			}
			signed := k.State == tenancy.SigningActive
			k.State, k.RemoveTime, k.DueTime, k.UpdateTime = tenancy.SigningRevoked, now, time.Time{}, now
			if err := tx.UpdateSigningKey(k); err != nil {
				return nil, asBefore, err
			}
			if !signed {
				return nil, restricts, nil
			}
			if n := successorAmong(parts, k); n != nil {
				// A published successor has been known for a while: better than a fresh one.
				if n.State == tenancy.SigningStaged {
					n.PublishTime = now
				}
				n.State, n.ActivateTime, n.DueTime, n.UpdateTime, n.ConfigVersion = tenancy.SigningActive, now, time.Time{}, now, t.ConfigVersion
				return n, restricts, tx.UpdateSigningKey(n)
			}
			n, err := s.sealKey(t, next, tenancy.SigningActive, now)
			return &n, addsKey | restricts, err
		})
}

var errUnderWay = errors.New("provision: a rotation is under way")

// keyEffect is what a replacement does beside changing the key itself.
type keyEffect uint8

const (
	addsKey   keyEffect = 1 << iota // the successor is new and is to be written
	restricts                       // requests wait for the change
	asBefore  keyEffect = 0
)

type replacement func(tx *store.Tx, t *tenancy.Tenant, k *tenancy.SigningKey, parts []tenancy.SigningKey, next *jose.PrivateKey, now time.Time) (successor *tenancy.SigningKey, effect keyEffect, err error)

func (s *Service) replaceKey(ctx context.Context, caller tenancy.Principal, org id.Org, tenant id.Tenant, key id.SigningKey, call Call, method, action string, replace replacement) (SigningKeyChange, error) {
	at, err := s.signingKeyOf(ctx, org, tenant, key)
	if err != nil {
		return SigningKeyChange{}, err
	}
	next, unused, err := s.successorOf(at.Algorithm)
	if err != nil {
		return SigningKeyChange{}, err
	}
	spent := false
	defer func() {
		if !spent {
			unused()
		}
	}()
	v, _, err := change(ctx, s, caller, org, method, call, func(tx *store.Tx, now time.Time) (SigningKeyChange, error) {
		var out SigningKeyChange
		t, err := lockServed(tx, tenant)
		if err != nil {
			return out, err
		}
		k, err := tx.SigningKey(tenant, key)
		if err != nil {
			return out, err
		}
		if err := tenancy.CheckEtag(call.Etag, k.ID, k.Version); err != nil {
			return out, err
		}
		parts, err := tx.TenantParts(&t)
		if err != nil {
			return out, err
		}
		t.UpdateTime = now
		if err := tx.UpdateTenant(&t); err != nil {
			return out, err
		}
		k.ConfigVersion = t.ConfigVersion
		n, effect, err := replace(tx, &t, &k, parts.SigningKeys, next, now)
		if errors.Is(err, errUnderWay) {
			// Nothing changes: roll back by answering what there is.
			return SigningKeyChange{Key: k, Successor: n, ConfigVersion: t.ConfigVersion - 1}, errDryAnswer
		}
		if err != nil {
			return out, err
		}
		if effect&addsKey != 0 {
			if err := tx.InsertSigningKey(*n); err != nil {
				return out, err
			}
			spent = !call.ValidateOnly
		}
		if err := s.recompile(ctx, tx, &t, effect&restricts != 0); err != nil {
			return out, err
		}
		e := event(caller, now, action, tenantName(org, tenant)+"/signingKeys/"+key.String())
		e.Tenant, e.ConfigVersion, e.Reason = tenant, t.ConfigVersion, call.Reason
		return SigningKeyChange{Key: k, Successor: n, ConfigVersion: t.ConfigVersion}, tx.Audit(e)
	})
	return v, err
}

// lockServed locks a tenant that is not deleted.
func lockServed(tx *store.Tx, tenant id.Tenant) (tenancy.Tenant, error) {
	t, err := tx.LockTenant(tenant)
	if err == nil && t.State == tenancy.StateDeleted {
		err = &tenancy.Error{Reason: tenancy.ReasonTenantState, Text: "the tenant is deleted; undelete it first", Meta: map[string]string{"state": t.State.String()}}
	}
	return t, err
}
