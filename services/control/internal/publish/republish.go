// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/control/internal/store"
)

// watch looks at the server each second: does it keep what it is given, is it still the one that was filled, and how old is the oldest
// change. A missing or unknown epoch means that the server was flushed or restored: everything is published again, by one process.
func (p *Publisher) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		p.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *Publisher) look(ctx context.Context) {
	if err := p.cfg.Writer.CheckServer(ctx); err != nil {
		full := errors.Is(err, snapshot.ErrEvicts) || errors.Is(err, snapshot.ErrMemory)
		if full != p.halted.Swap(full) || !full {
			p.log.Error("the config Redis cannot be written", "error", err)
		}
		return
	}
	if p.halted.Swap(false) {
		p.log.Info("the config Redis can be written again")
		p.Poke()
	}
	epoch, err := p.ensureEpoch(ctx)
	if err != nil && ctx.Err() == nil {
		p.log.Error("could not bring the config Redis up to date", "error", err)
	}
	if epoch == "" {
		return
	}
	p.epoch.Store(&epoch)
	now := p.now()
	age, err := p.cfg.Worker.Backlog(ctx, p.cfg.Region, now)
	if err == nil {
		err = p.cfg.Writer.Heartbeat(ctx, p.cfg.Key, now, age, epoch)
	}
	if err != nil && ctx.Err() == nil {
		p.log.Warn("no heartbeat", "error", err)
	}
}

// ensureEpoch sees that the server is complete under an epoch that we know, and answers that epoch; empty when it is not known yet. The
// republish that this may take runs beside, so that heartbeats go on.
func (p *Publisher) ensureEpoch(ctx context.Context) (string, error) {
	meta, err := p.cfg.Writer.Meta(ctx)
	if err != nil {
		return "", err
	}
	state, err := p.cfg.Worker.Republish(ctx, p.cfg.Region)
	if err != nil {
		return "", err
	}
	known := meta.Epoch != "" && meta.Epoch == state.Epoch
	if known && meta.Complete && !state.Finished.IsZero() && p.now().Sub(state.Finished) < resignAfter {
		return meta.Epoch, nil
	}
	if p.refilling.CompareAndSwap(false, true) {
		p.done.Go(func() {
			defer p.refilling.Store(false)
			if _, err := p.cfg.Worker.Alone(ctx, "tenantry republish "+p.cfg.Region, p.refill); err != nil && ctx.Err() == nil {
				p.log.Error("republish stopped; it goes on where it was", "error", err)
			}
		})
	}
	if known {
		return meta.Epoch, nil
	}
	return "", nil
}

// refill publishes everything under the server's epoch, going on where an earlier refill was stopped, and then declares the server
// complete. It runs in one process at a time.
func (p *Publisher) refill(ctx context.Context) error {
	w := p.cfg.Worker
	meta, err := p.cfg.Writer.Meta(ctx)
	if err != nil {
		return err
	}
	state, err := w.Republish(ctx, p.cfg.Region)
	if err != nil {
		return err
	}
	now := p.now()
	switch {
	case meta.Epoch == "" || meta.Epoch != state.Epoch:
		fresh := snapshot.NewEpoch()
		state = store.Republish{Epoch: fresh, Started: now}
		// First in our books, then in the server: the other order could leave an epoch that nobody knows, which only repeats the work.
		if err := w.SaveRepublish(ctx, p.cfg.Region, state); err != nil {
			return err
		}
		if ok, err := p.cfg.Writer.BeginEpoch(ctx, meta.Epoch, fresh); err != nil || !ok {
			return err
		}
		p.log.Warn("the config Redis is new, was flushed or restored; publishing everything", "epoch", fresh)
	case meta.Complete && !state.Finished.IsZero() && now.Sub(state.Finished) < resignAfter:
		return nil // somebody else has done it
	case !state.Finished.IsZero():
		// Time to sign everything anew, or a server that never heard that it is complete.
		state = store.Republish{Epoch: state.Epoch, Started: now}
	}
	if state.Published, err = p.walk(ctx, id.Org{}, time.Time{}, &state); err != nil {
		return err
	}
	if _, err := p.cfg.Writer.SetComplete(ctx, state.Epoch); err != nil {
		return err
	}
	state.Finished = p.now()
	p.log.Info("the config Redis is complete", "epoch", state.Epoch, "records", state.Published, "took", state.Finished.Sub(state.Started).String())
	return w.SaveRepublish(ctx, p.cfg.Region, state)
}

// Republish publishes the records of an org (zero: of all) that changed since a time (zero: ever), by the same path as everything else:
// what Redis has already is neither replaced nor announced. It answers how many records were looked at.
func (p *Publisher) Republish(ctx context.Context, org id.Org, since time.Time) (int64, error) {
	return p.walk(ctx, org, since, nil)
}

// walk publishes records in the order of their subjects, at the bounded rate. state, when there is one, is where it goes on and where it
// notes how far it came.
func (p *Publisher) walk(ctx context.Context, org id.Org, since time.Time, state *store.Republish) (n int64, err error) {
	const batch = 500
	var after [16]byte
	if state != nil {
		after, n = state.Cursor, state.Published
	}
	pace := time.Duration(batch) * time.Second / time.Duration(p.cfg.RepublishRate)
	for saved := 0; ; saved++ {
		start := time.Now()
		records, err := p.cfg.Worker.Scan(ctx, org, since, after, batch)
		if err != nil {
			return n, err
		}
		if len(records) == 0 {
			return n, nil
		}
		if _, err := p.publish(ctx, records, snapshot.PublishOptions{OnlyReplaced: true}); err != nil {
			return n, err
		}
		after = records[len(records)-1].Subject
		n += int64(len(records))
		if state != nil && saved%10 == 9 {
			state.Cursor, state.Published = after, n
			if err := p.cfg.Worker.SaveRepublish(ctx, p.cfg.Region, *state); err != nil {
				return n, err
			}
		}
		if len(records) < batch {
			return n, nil
		}
		if !pause(ctx, pace-time.Since(start)) {
			return n, ctx.Err()
		}
	}
}
