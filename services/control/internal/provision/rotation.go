// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"errors"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// The life of a signing key in a planned rotation. Each step is one transaction that the key worker takes when the key's due time has
// come, so a process that dies in between loses nothing: the next one finds the same step due.
//
//	           at once              live everywhere,          its successor            live everywhere,
//	(rotate) ─► STAGED ─► PUBLISHED ── then 2 × max-age ─► ACTIVE ── is ACTIVE ─► RETIRING ── then the longest ─► REMOVED
//	                                                                                          token + 5 min
//
// The waits begin when every live replica has the step, not when it was committed: a data plane that is cut off goes on with what it
// has, so otherwise a long outage between two steps would leave relying parties without the key that signs, or tokens without the key
// that signed them.
const (
	// jwksMaxAge is what the data plane tells verifiers: how long they may keep a JWK Set.
	jwksMaxAge = 300 * time.Second
	// publishWait is how long a key is published before it signs, so that no verifier meets a key that it could not know.
	publishWait = 2 * jwksMaxAge
	// longestToken is the longest life that a policy, or a client's overrides, can give an access or ID token. The policy of the moment
	// does not tell: it may have been shortened since, and tokens from before live on.
	longestToken = 24 * time.Hour
	// retireWait is how long a key stays published after it stopped signing.
	retireWait = longestToken + 5*time.Minute

	// seenPatience bounds the look whether a step is live everywhere, and seenAgain is when to look again.
	seenPatience = 500 * time.Millisecond
	seenAgain    = 5 * time.Second
)

// waitsToBeSeen says whether a key's step was taken and is not known to be live everywhere.
func waitsToBeSeen(k *tenancy.SigningKey) bool {
	return k.State == tenancy.SigningPublished && k.ActivateTime.IsZero() || k.State == tenancy.SigningRetiring && k.RemoveTime.IsZero()
}

// AdvanceSigningKey takes the scheduled step of a key that is due. A step that somebody else has taken is no error.
func (s *Service) AdvanceSigningKey(ctx context.Context, org id.Org, tenant id.Tenant, key id.SigningKey) error {
	at, err := s.signingKeyOf(ctx, org, tenant, key)
	if err != nil {
		return err
	}
	seen := false
	if waitsToBeSeen(&at) {
		seen = s.everywhere(ctx, tenant, at.ConfigVersion)
	}
	_, _, err = change(ctx, s, system, org, "", Call{}, func(tx *store.Tx, now time.Time) (struct{}, error) {
		none := struct{}{}
		t, err := tx.LockTenant(tenant)
		if err != nil {
			return none, err
		}
		k, err := tx.SigningKey(tenant, key)
		if err != nil {
			return none, err
		}
		if k.Version != at.Version || k.DueTime.IsZero() || now.Before(k.DueTime) {
			return none, errDryAnswer
		}
		if waitsToBeSeen(&k) {
			scheduleKey(&k, seen, now)
			return none, tx.UpdateSigningKey(&k)
		}
		return none, s.stepKey(ctx, tx, &t, &k, now)
	})
	return err
}

// everywhere says whether a version of a tenant is live in every replica.
func (s *Service) everywhere(ctx context.Context, tenant id.Tenant, version int64) bool {
	if s.cfg.Waiter == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, seenPatience)
	defer cancel()
	return s.cfg.Waiter.Everywhere(ctx, tenant, version) == nil
}

// scheduleKey begins the wait for the next step once the last one was seen everywhere; nothing that is served changes.
func scheduleKey(k *tenancy.SigningKey, seen bool, now time.Time) {
	k.UpdateTime = now
	switch {
	case !seen:
		k.DueTime = now.Add(seenAgain)
	case k.State == tenancy.SigningPublished:
		k.DueTime = now.Add(publishWait)
		k.ActivateTime = k.DueTime // planned
	default:
		k.DueTime = now.Add(retireWait)
		k.RemoveTime = k.DueTime // planned
	}
}

// stepKey brings a key of a locked tenant into its next state.
func (s *Service) stepKey(ctx context.Context, tx *store.Tx, t *tenancy.Tenant, k *tenancy.SigningKey, now time.Time) error {
	parts, err := tx.TenantParts(t)
	if err != nil {
		return err
	}
	t.UpdateTime = now
	if err := tx.UpdateTenant(t); err != nil {
		return err
	}
	var action string
	k.UpdateTime, k.ConfigVersion = now, t.ConfigVersion
	switch k.State {
	case tenancy.SigningStaged:
		action = tenancy.ActionSigningKeyPublished
		k.State, k.PublishTime, k.DueTime = tenancy.SigningPublished, now, now
	case tenancy.SigningPublished:
		action = tenancy.ActionSigningKeyActivated
		k.State, k.ActivateTime, k.DueTime = tenancy.SigningActive, now, time.Time{}
		if err := retireOthers(tx, t, k, parts.SigningKeys, now); err != nil {
			return err
		}
	case tenancy.SigningRetiring:
		action = tenancy.ActionSigningKeyRemoved
		k.State, k.RemoveTime, k.DueTime = tenancy.SigningRemoved, now, time.Time{}
	default:
		return errDryAnswer // a key that signs, or is gone, has no scheduled step
	}
	if err := tx.UpdateSigningKey(k); err != nil {
		return err
	}
	if err := s.recompile(ctx, tx, t, false); err != nil {
		return err
	}
	e := event(system, now, action, tenantName(t.Org, t.ID)+"/signingKeys/"+k.ID.String())
	e.Tenant, e.ConfigVersion = t.ID, t.ConfigVersion
	return tx.Audit(e)
}

// retireOthers ends the signing of the keys whose place k has taken.
func retireOthers(tx *store.Tx, t *tenancy.Tenant, k *tenancy.SigningKey, keys []tenancy.SigningKey, now time.Time) error {
	for i := range keys {
		old := &keys[i]
		if old.ID == k.ID || old.Algorithm != k.Algorithm || old.State != tenancy.SigningActive {
			continue
		}
		old.State, old.RetireTime, old.DueTime, old.UpdateTime, old.ConfigVersion = tenancy.SigningRetiring, now, now, now, t.ConfigVersion
		if err := tx.UpdateSigningKey(old); err != nil {
			return err
		}
	}
	return nil
}

// RotateAgedKey begins the planned rotation of a key that has signed for long enough. What cannot be rotated any more is no error.
func (s *Service) RotateAgedKey(ctx context.Context, org id.Org, tenant id.Tenant, key id.SigningKey) error {
	_, err := s.RotateSigningKey(ctx, system, org, tenant, key, Call{Reason: "it has signed for long enough"})
	for _, r := range []tenancy.Reason{tenancy.ReasonKeyState, tenancy.ReasonTenantState, tenancy.ReasonNotFound} {
		if errors.Is(err, r) {
			return nil
		}
	}
	return err
}
