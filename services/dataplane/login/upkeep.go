// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/identity"
)

const (
	// followEvery bounds how long introspection believes in a user or session that the control plane ended (PROMISES.md R-30).
	followEvery = time.Second
	// followOverlap is looked at again each time: transactions commit later than the time in their rows, and clocks differ.
	followOverlap = 15 * time.Second
	// sweepEvery is the mean pause between removals of expired rows; replicas draw theirs, so that they do not sweep together.
	sweepEvery = 5 * time.Minute
	sweepRows  = 5_000
)

// revoker writes marks; *grant.Store is the one that services use.
type revoker interface {
	Revoke(ctx context.Context, tenant id.Tenant, now time.Time, marks ...grant.Mark) error
}

// upkeep is what the identity database needs somebody to do beside requests. The control plane ends users and sessions without
// reaching the runtime Redis: upkeep carries its revocations there. And it removes rows that have expired. Every login replica
// does both; doing either twice changes nothing.
type upkeep struct {
	identity Identity
	grants   revoker
	log      *slog.Logger
	now      func() time.Time
	timeout  time.Duration

	since time.Time // only used by run
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// start begins the work; it returns at once.
func (u *upkeep) start() {
	if u.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	u.stop, u.since = cancel, u.now()
	u.done.Go(func() { u.run(ctx) })
}

// end waits until the work has stopped. It may be called twice, and before start.
func (u *upkeep) end() {
	if u.stop != nil {
		u.stop()
		u.done.Wait()
	}
}

func (u *upkeep) run(ctx context.Context) {
	follow := time.NewTicker(followEvery)
	defer follow.Stop()
	sweep := time.NewTimer(rand.N(sweepEvery)) //nolint:gosec // spreads load
	defer sweep.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-follow.C:
			err := u.follow(ctx)
			if err != nil && !failing && ctx.Err() == nil {
				u.log.WarnContext(ctx, "revocations are not followed", slog.String("cause", err.Error()))
			} else if err == nil && failing {
				u.log.InfoContext(ctx, "revocations are followed again")
			}
			failing = err != nil
		case <-sweep.C:
			sweep.Reset(sweepEvery/2 + rand.N(sweepEvery)) //nolint:gosec // spreads load
			call, cancel := context.WithTimeout(ctx, time.Minute)
			if removed, err := u.identity.Sweep(call, sweepRows); err != nil && ctx.Err() == nil {
				u.log.WarnContext(ctx, "expired rows not removed", slog.String("cause", err.Error()))
			} else if removed > 0 {
				u.log.InfoContext(ctx, "expired rows removed", slog.Int64("rows", removed))
			}
			cancel()
		}
	}
}

// follow marks what was revoked since the last time that it worked, and the overlap before.
func (u *upkeep) follow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, u.timeout)
	defer cancel()
	now := u.now()
	err := u.identity.LoadRevocations(ctx, u.since.Add(-followOverlap), now, func(page []identity.Revocation) error {
		marks := make(map[id.Tenant][]grant.Mark)
		for _, r := range page {
			marks[r.Tenant] = append(marks[r.Tenant], grant.Mark{ID: r.Subject, Until: r.Until})
		}
		for tenant, m := range marks {
			if err := u.grants.Revoke(ctx, tenant, now, m...); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		u.since = now
	}
	return err
}
