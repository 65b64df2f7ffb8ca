// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/control/internal/store"
)

// Waiter waits for what follows a commit: it follows the change streams of the home region, and knows the seeds of its own process.
type Waiter struct {
	Watcher *snapshot.Watcher
	Seeds   *Seeds // nil in a process that applies none
	Store   *store.Store
}

// Published waits until the record is in the home region's Redis.
func (w *Waiter) Published(ctx context.Context, tenant id.Tenant, version int64) error {
	return w.Watcher.Wait(ctx, tenant, uint64(version)) //nolint:gosec // versions are positive
}

// Everywhere waits until every live replica has applied it.
func (w *Waiter) Everywhere(ctx context.Context, tenant id.Tenant, version int64) error {
	return w.Watcher.WaitEverywhere(ctx, tenant, uint64(version)) //nolint:gosec // versions are positive
}

// Seeded waits until the tenant's seed is in the identity database. Its own process tells at once; what another process applies is asked
// of the database, ever more rarely.
func (w *Waiter) Seeded(ctx context.Context, org id.Org, tenant id.Tenant) error {
	for every := 20 * time.Millisecond; ; every = min(2*every, 500*time.Millisecond) {
		step, cancel := context.WithTimeout(ctx, every)
		var err error
		if w.Seeds != nil {
			err = w.Seeds.Wait(step, tenant)
		} else {
			<-step.Done()
			err = step.Err()
		}
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if waits, err := w.Store.Seeding(ctx, org, tenant); err == nil && !waits {
			return nil
		}
	}
}

// Notifier wakes the publishers of other processes after commits, with at most one notification under way: any number of commits
// meanwhile are one more.
type Notifier struct {
	store *store.Store
	log   *slog.Logger
	woken chan struct{}

	life   sync.Mutex
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// NewNotifier makes a Notifier; a nil logger discards.
func NewNotifier(s *store.Store, log *slog.Logger) *Notifier {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Notifier{store: s, log: log, woken: make(chan struct{}, 1)}
}

// Poke says that something was committed. It never blocks.
func (n *Notifier) Poke() {
	select {
	case n.woken <- struct{}{}:
	default:
	}
}

// Start begins to notify; Stop ends it.
func (n *Notifier) Start(ctx context.Context) {
	n.life.Lock()
	defer n.life.Unlock()
	if n.cancel != nil {
		return
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.cancel = cancel
	n.done.Go(func() {
		for {
			select {
			case <-run.Done():
				return
			case <-n.woken:
			}
			if err := n.store.Notify(run); err != nil && run.Err() == nil {
				n.log.Warn("could not wake the publishers; they poll", "error", err)
				pause(run, 250*time.Millisecond)
			}
		}
	})
}

// Stop ends it. It may be called twice.
func (n *Notifier) Stop() {
	n.life.Lock()
	defer n.life.Unlock()
	if n.cancel != nil {
		n.cancel()
		n.done.Wait()
		n.cancel = nil
	}
}
