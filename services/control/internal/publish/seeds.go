// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/store"
	"github.com/tenantry/tenantry/services/identity"
)

// Identity is what seeds are applied to.
type Identity interface {
	// ApplySeeds applies all seeds or none, and may be repeated. A *identity.SeedError names one that can never be applied.
	ApplySeeds(ctx context.Context, seeds []identity.Seed) error
}

// Seeds carries the seeds of provisions into the identity database: at once those of its own process, within a second those that a dead
// process left.
type Seeds struct {
	worker   *store.Worker
	identity Identity
	log      *slog.Logger
	woken    chan struct{}

	mu      sync.Mutex
	applied map[id.Tenant]struct{} // the last ones, so that who asks late does not wait
	order   []id.Tenant
	next    int
	waiters map[id.Tenant][]chan struct{}

	life   sync.Mutex
	cancel context.CancelFunc
	done   sync.WaitGroup
}

const (
	seedBatch   = 100
	seedWorkers = 2
	rememberN   = 8192
)

// NewSeeds makes the worker; a nil logger discards.
func NewSeeds(w *store.Worker, i Identity, log *slog.Logger) *Seeds {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Seeds{
		worker: w, identity: i, log: log, woken: make(chan struct{}, seedWorkers), applied: map[id.Tenant]struct{}{},
		order: make([]id.Tenant, rememberN), waiters: map[id.Tenant][]chan struct{}{},
	}
}

// Start begins to apply seeds; Stop ends it.
func (s *Seeds) Start(ctx context.Context) {
	s.life.Lock()
	defer s.life.Unlock()
	if s.cancel != nil {
		return
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	for range seedWorkers {
		s.done.Go(func() { s.run(run) })
	}
}

// Stop ends the work and waits for it. It may be called twice.
func (s *Seeds) Stop() {
	s.life.Lock()
	defer s.life.Unlock()
	if s.cancel != nil {
		s.cancel()
		s.done.Wait()
		s.cancel = nil
	}
}

// Poke says that a seed was committed. It never blocks.
func (s *Seeds) Poke() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

func (s *Seeds) run(ctx context.Context) {
	sweep := time.NewTicker(time.Second)
	defer sweep.Stop()
	for {
		n, err := s.batch(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Error("could not apply seeds to the identity database; they are tried again", "error", err)
			pause(ctx, 250*time.Millisecond)
			continue
		}
		if n == seedBatch && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-s.woken:
		case <-sweep.C:
		}
	}
}

func (s *Seeds) batch(ctx context.Context) (int, error) {
	var tenants []id.Tenant
	n, err := s.worker.ClaimSeeds(ctx, seedBatch, func(rows []store.Seed) (map[id.Tenant]string, error) {
		seeds := make([]identity.Seed, 0, len(rows))
		for _, r := range rows {
			var seed identity.Seed
			if err := json.Unmarshal(r.Payload, &seed); err != nil {
				return map[id.Tenant]string{r.Tenant: err.Error()}, err
			}
			seeds, tenants = append(seeds, seed), append(tenants, r.Tenant)
		}
		err := s.identity.ApplySeeds(ctx, seeds)
		var poison *identity.SeedError
		if errors.As(err, &poison) && poison.Index < len(tenants) {
			return map[id.Tenant]string{tenants[poison.Index]: poison.Err.Error()}, err
		}
		return nil, err
	})
	if err == nil {
		s.tell(tenants)
	}
	return n, err
}

func (s *Seeds) tell(tenants []id.Tenant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range tenants {
		delete(s.applied, s.order[s.next])
		s.order[s.next] = t
		s.applied[t] = struct{}{}
		s.next = (s.next + 1) % len(s.order)
		for _, ch := range s.waiters[t] {
			close(ch)
		}
		delete(s.waiters, t)
	}
}

// Wait returns when a tenant's seed was applied by this process, or the context ends.
func (s *Seeds) Wait(ctx context.Context, tenant id.Tenant) error {
	s.mu.Lock()
	if _, ok := s.applied[tenant]; ok {
		s.mu.Unlock()
		return nil
	}
	ch := make(chan struct{})
	s.waiters[tenant] = append(s.waiters[tenant], ch)
	s.mu.Unlock()
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		rest := s.waiters[tenant][:0]
		for _, w := range s.waiters[tenant] {
			if w != ch {
				rest = append(rest, w)
			}
		}
		if len(rest) == 0 {
			delete(s.waiters, tenant)
		} else {
			s.waiters[tenant] = rest
		}
		return ctx.Err()
	}
}
