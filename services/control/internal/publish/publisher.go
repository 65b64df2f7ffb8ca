// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package publish owns the background work of the control plane: it signs committed records and copies them to the config Redis, sees
// when that Redis was lost and fills it again, hands seeds to the identity database, makes RSA keys ahead, and takes the scheduled steps
// of key rotations. It also wakes and waits: the poke after a commit, and the wait for what follows it.
//
//	outbox rows ──claim (SKIP LOCKED)──> records ──sign──> Writer: blobs, hosts → records → stream entries ──> COMMIT of the claim
//
// The publisher is state based and at least once: it publishes what is current, so ten changes in a burst are one write, and a process
// that dies between Redis and the commit leaves rows that are published again, which the compare-and-set makes harmless. What a record
// says is decided by provision, how it lies in Redis by pkg/snapshot, the SQL is the store's.
package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/control/internal/store"
)

// Config is what a Publisher needs. Worker, Writer, Key and Region must be set.
type Config struct {
	Worker *store.Worker
	Writer *snapshot.Writer
	Key    snapshot.SigningKey
	Region string
	// Batch is how many changes one claim takes; 0 means 200.
	Batch int
	// BulkRate is how many changes of bulk priority are published in a second; 0 means 2,000.
	BulkRate int
	// RepublishRate is how many records a republish publishes in a second; 0 means 20,000.
	RepublishRate int
	// Poll is how long a missed notification can delay a change; 0 means 250 ms.
	Poll time.Duration

	Now    func() time.Time // nil means time.Now
	Logger *slog.Logger     // nil discards
}

const (
	claimWorkers = 2 // so that the next batch is claimed while one waits for Redis
	// resignAfter keeps every record younger than the 30 days after which replicas refuse it.
	resignAfter = 14 * 24 * time.Hour
	// tombstones are purged when no publisher can hold an older record any more.
	tombstoneAge = 10 * time.Minute
)

// Publisher copies what is committed to one region's Redis. Any number may run.
type Publisher struct {
	cfg   Config
	now   func() time.Time
	log   *slog.Logger
	woken chan struct{}
	epoch atomic.Pointer[string] // of the server, when it is known to be ours

	refilling atomic.Bool // a republish runs in this process
	halted    atomic.Bool // the server is nearly full or would evict
	published atomic.Int64
	failures  atomic.Int64

	life   sync.Mutex
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// New makes a Publisher.
func New(cfg Config) (*Publisher, error) {
	if cfg.Worker == nil || cfg.Writer == nil || cfg.Region == "" {
		return nil, errors.New("publish: worker, writer and region must be set")
	}
	if cfg.Key.Region() != cfg.Region {
		return nil, fmt.Errorf("publish: the snapshot signing key is for region %q, the publisher for %q", cfg.Key.Region(), cfg.Region)
	}
	p := &Publisher{cfg: cfg, now: cfg.Now, log: cfg.Logger, woken: make(chan struct{}, claimWorkers)}
	setDefault(&p.cfg.Batch, 200)
	setDefault(&p.cfg.BulkRate, 2000)
	setDefault(&p.cfg.RepublishRate, 20_000)
	if p.cfg.Poll <= 0 {
		p.cfg.Poll = 250 * time.Millisecond
	}
	if p.now == nil {
		p.now = time.Now
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	return p, nil
}

func setDefault(v *int, d int) {
	if *v <= 0 {
		*v = d
	}
}

// Stats are figures to export.
type Stats struct {
	Published int64 // records written since the start
	Failures  int64 // batches that failed and stay in the outbox
	Halted    bool  // the server is nearly full or may evict: nothing is published
	Epoch     string
}

// Stats reads them.
func (p *Publisher) Stats() Stats {
	s := Stats{Published: p.published.Load(), Failures: p.failures.Load(), Halted: p.halted.Load()}
	if e := p.epoch.Load(); e != nil {
		s.Epoch = *e
	}
	return s
}

// Start begins to publish; Stop ends it. The server is checked first: one that may evict keys is refused.
func (p *Publisher) Start(ctx context.Context) error {
	p.life.Lock()
	defer p.life.Unlock()
	if p.cancel != nil {
		return errors.New("publish: started already")
	}
	if err := p.cfg.Writer.CheckServer(ctx); errors.Is(err, snapshot.ErrEvicts) {
		return err
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	for _, f := range []func(context.Context){p.listen, p.watch, p.bulk, p.purge} {
		p.done.Go(func() { f(run) })
	}
	for range claimWorkers {
		p.done.Go(func() { p.interactive(run) })
	}
	return nil
}

// Stop ends all work and waits for it. It may be called twice.
func (p *Publisher) Stop() {
	p.life.Lock()
	defer p.life.Unlock()
	if p.cancel != nil {
		p.cancel()
		p.done.Wait()
		p.cancel = nil
	}
}

// Poke says that something was committed. It never blocks; many pokes are one.
func (p *Publisher) Poke() {
	for range claimWorkers {
		select {
		case p.woken <- struct{}{}:
		default:
			return
		}
	}
}

func (p *Publisher) interactive(ctx context.Context) {
	tick := time.NewTicker(p.cfg.Poll)
	defer tick.Stop()
	for {
		n := p.batch(ctx, store.Interactive, p.cfg.Batch)
		if n >= p.cfg.Batch && ctx.Err() == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-p.woken:
		case <-tick.C:
		}
	}
}

// bulk publishes what nobody waits for, at a bounded rate, so that a rollout or an import delays no sign-up. While there is nothing it
// looks once a second: asking ten times as often, day and night, would be the largest part of an idle installation's work.
func (p *Publisher) bulk(ctx context.Context) {
	const steps = 10 // in a second
	for {
		begin, rest := time.Now(), time.Second/steps
		if p.batch(ctx, store.Bulk, max(1, p.cfg.BulkRate/steps)) == 0 {
			rest = time.Second
		}
		if !pause(ctx, max(0, rest-time.Since(begin))) {
			return
		}
	}
}

// batch publishes one claim and answers how many rows it took. A failure is logged and counted; the rows stay.
func (p *Publisher) batch(ctx context.Context, priority int16, limit int) int {
	if p.halted.Load() {
		return 0
	}
	n, err := p.cfg.Worker.Claim(ctx, p.cfg.Region, priority, limit, func(records []store.Record) error {
		_, err := p.publish(ctx, records, snapshot.PublishOptions{})
		return err
	})
	if err != nil && ctx.Err() == nil {
		p.failures.Add(1)
		p.log.Error("could not publish changes; they stay in the outbox", "error", err)
		pause(ctx, 200*time.Millisecond)
	}
	return n
}

// publish signs records and writes them in the three steps.
func (p *Publisher) publish(ctx context.Context, records []store.Record, opt snapshot.PublishOptions) (snapshot.Result, error) {
	now := p.now()
	items := make([]snapshot.Item, 0, len(records))
	for i := range records {
		item, err := p.item(ctx, &records[i], now)
		if err != nil {
			return snapshot.Result{}, err
		}
		items = append(items, item)
	}
	res, err := p.cfg.Writer.Publish(ctx, items, opt)
	if err == nil {
		p.published.Add(int64(len(items)))
	}
	return res, err
}

func (p *Publisher) item(ctx context.Context, r *store.Record, now time.Time) (snapshot.Item, error) {
	item := snapshot.Item{
		Kind: snapshot.Kind(r.Kind), Subject: r.Subject, Version: uint64(r.ConfigVersion), Restrictive: r.Restrictive, //nolint:gosec // kinds and versions are small and positive
	}
	var err error
	if item.Record, err = p.cfg.Key.Sign(item.Kind, r.Subject, item.Version, now, r.Body); err != nil {
		return item, fmt.Errorf("publish: sign record of %x: %w", r.Subject, err)
	}
	for _, h := range r.Hosts {
		pointer := snapshot.HostPointer{Host: h.Name, ClaimVersion: uint64(h.ClaimVersion), Flags: snapshot.HostLive, Tenant: id.Tenant(r.Subject)} //nolint:gosec // positive
		if h.Released {
			pointer.Flags, pointer.Tenant = snapshot.HostReleased, id.Tenant{}
		}
		item.Hosts = append(item.Hosts, pointer)
	}
	if len(r.Blobs) > 0 {
		blobs, err := p.cfg.Worker.Blobs(ctx, r.Org, r.Blobs)
		if err != nil {
			return item, err
		}
		for _, b := range blobs {
			item.Blobs = append(item.Blobs, snapshot.Blob{Data: b})
		}
	}
	return item, nil
}

// listen wakes the workers when another process has committed; without it they poll.
func (p *Publisher) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if err := p.cfg.Worker.Listen(ctx, p.Poke); err != nil && ctx.Err() == nil {
			p.log.Warn("not listening for changes; polling meanwhile", "error", err)
		}
		pause(ctx, time.Second)
	}
}

// purge removes tombstones that have served their time.
func (p *Publisher) purge(ctx context.Context) {
	for {
		now := p.now()
		tenants, versions, err := p.cfg.Worker.Tombstones(ctx, now.Add(-24*time.Hour), now.Add(-tombstoneAge), 1000)
		for i := range tenants {
			if err == nil {
				err = p.cfg.Writer.Purge(ctx, tenants[i], uint64(versions[i])) //nolint:gosec // positive
			}
		}
		if err != nil && ctx.Err() == nil {
			p.log.Warn("could not purge tombstones", "error", err)
		}
		if !pause(ctx, time.Minute) {
			return
		}
	}
}

// pause waits, and reports whether the context is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
