// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/pkg/id"
)

// Watcher tells a control plane when a change has reached Redis, and when all live replicas have applied it. It follows the same
// streams as the replicas, without pace: control planes are few. It is safe for concurrent use.
type Watcher struct {
	rdb      redis.UniversalClient
	log      *slog.Logger
	follower *follower

	mu      sync.Mutex
	recent  map[id.Tenant]seenChange
	order   []id.Tenant // ring of recent's keys
	oldest  int
	waiters map[id.Tenant][]*changeWaiter
	fleet   map[string]*observed

	start sync.Once
	stop  context.CancelFunc
	life  sync.Mutex
	done  sync.WaitGroup
}

// seenChange is where in the streams a version of a tenant was announced.
type seenChange struct {
	version uint64
	lane    int
	at      streamID
}

type changeWaiter struct {
	version uint64
	ch      chan seenChange // buffered
}

type observed struct {
	report  fleetReport
	changed time.Time // by our own clock, when the report was last seen to differ
}

const (
	maxRecent = 65_536
	// liveFor is how long a replica counts as live after its last report.
	liveFor = 5 * time.Second
	// storedAfter and storedEvery say when Wait asks Redis itself, for changes announced before it was called or while the streams
	// could not be read.
	storedAfter = 50 * time.Millisecond
	storedEvery = 500 * time.Millisecond
	fleetEvery  = 100 * time.Millisecond
)

// NewWatcher makes a Watcher; a nil logger discards.
func NewWatcher(rdb redis.UniversalClient, log *slog.Logger) *Watcher {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Watcher{
		rdb: rdb, log: log, recent: map[id.Tenant]seenChange{}, waiters: map[id.Tenant][]*changeWaiter{}, fleet: map[string]*observed{},
	}
}

// Start begins to follow Redis and returns at once; Redis may be down. It may be called once.
func (w *Watcher) Start(ctx context.Context) {
	w.start.Do(func() {
		ctx, cancel := context.WithCancel(ctx)
		w.life.Lock()
		w.stop = cancel
		w.life.Unlock()
		w.follower = &follower{
			rdb: w.rdb, log: w.log, begin: func(Meta) {}, apply: w.apply, pace: func() time.Duration { return 0 },
		}
		w.follower.run(ctx, &w.done)
		w.done.Go(func() {
			for ctx.Err() == nil {
				w.readFleet(ctx) //nolint:errcheck // replicas that are not seen for five seconds do not count
				sleep(ctx, reportEvery)
			}
		})
	})
}

// Stop ends following. Further calls do nothing.
func (w *Watcher) Stop() {
	w.life.Lock()
	stop := w.stop
	w.stop = nil
	w.life.Unlock()
	if stop != nil {
		stop()
		w.done.Wait()
	}
}

func (w *Watcher) apply(_ context.Context, lane int, entries []streamEntry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range entries {
		at, ok := parseStreamID(e.id)
		if !ok {
			continue
		}
		for _, c := range e.changes {
			if k := Kind(c.GetKind()); k == KindTenant || k == KindTombstone { //nolint:gosec // at most 255, see decodeEntry
				w.saw(id.Tenant(c.GetSubject()), seenChange{version: c.GetVersion(), lane: lane, at: at})
			}
		}
	}
}

// saw remembers a change and wakes who waits for it. The caller holds mu.
func (w *Watcher) saw(tenant id.Tenant, s seenChange) {
	old, known := w.recent[tenant]
	if known && old.version > s.version {
		return
	}
	if !known {
		if len(w.order) < maxRecent {
			w.order = append(w.order, tenant)
		} else {
			delete(w.recent, w.order[w.oldest])
			w.order[w.oldest] = tenant
			w.oldest = (w.oldest + 1) % maxRecent
		}
	}
	w.recent[tenant] = s
	rest := slices.DeleteFunc(w.waiters[tenant], func(x *changeWaiter) bool {
		if x.version > s.version {
			return false
		}
		select {
		case x.ch <- s:
		default: // told already
		}
		return true
	})
	if len(rest) == 0 {
		delete(w.waiters, tenant)
	} else {
		w.waiters[tenant] = rest
	}
}

// Wait returns when the tenant's record of at least version is in Redis with its hosts: from then on any replica that has not just
// found the host missing serves it. The error is that of ctx.
func (w *Watcher) Wait(ctx context.Context, tenant id.Tenant, version uint64) error {
	_, err := w.wait(ctx, tenant, version)
	return err
}

// wait also says where the change was announced; a zero position is unknown.
func (w *Watcher) wait(ctx context.Context, tenant id.Tenant, version uint64) (seenChange, error) {
	x := &changeWaiter{version: version, ch: make(chan seenChange, 1)}
	w.mu.Lock()
	if s, ok := w.recent[tenant]; ok && s.version >= version {
		w.mu.Unlock()
		return s, nil
	}
	w.waiters[tenant] = append(w.waiters[tenant], x)
	w.mu.Unlock()
	defer w.unwait(tenant, x)

	ask := time.NewTimer(storedAfter)
	defer ask.Stop()
	for {
		select {
		case s := <-x.ch:
			return s, nil
		case <-ctx.Done():
			return seenChange{}, ctx.Err()
		case <-ask.C:
			stored, err := storedVersions(ctx, w.rdb, KindTenant, [][16]byte{tenant})
			if err == nil && stored[0] >= version {
				return seenChange{version: stored[0], lane: laneOf(tenant)}, nil
			}
			ask.Reset(storedEvery)
		}
	}
}

func (w *Watcher) unwait(tenant id.Tenant, x *changeWaiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	rest := slices.DeleteFunc(w.waiters[tenant], func(o *changeWaiter) bool { return o == x })
	if len(rest) == 0 {
		delete(w.waiters, tenant)
	} else {
		w.waiters[tenant] = rest
	}
}

// WaitEverywhere returns when all live replicas have applied the version: none serves an older one any more. A replica is live when
// its report changed in the last five seconds. The error is that of ctx.
func (w *Watcher) WaitEverywhere(ctx context.Context, tenant id.Tenant, version uint64) error {
	s, err := w.wait(ctx, tenant, version)
	if err != nil {
		return err
	}
	if s.at == (streamID{}) {
		if s, err = w.locate(ctx, tenant, s); err != nil {
			return err
		}
	}
	for {
		if err := w.readFleet(ctx); err == nil && w.applied(s) {
			return nil
		}
		sleep(ctx, fleetEvery)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// locate finds a position that is not before the announcement of a change which was found in Redis itself: the announcement if it
// is about to come, else, when it came before this Watcher followed, the end of its lane.
func (w *Watcher) locate(ctx context.Context, tenant id.Tenant, s seenChange) (seenChange, error) {
	const patience = 500 * time.Millisecond
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	x := &changeWaiter{version: s.version, ch: make(chan seenChange, 1)}
	w.mu.Lock()
	w.waiters[tenant] = append(w.waiters[tenant], x)
	if seen, ok := w.recent[tenant]; ok && seen.version >= s.version {
		x.ch <- seen
	}
	w.mu.Unlock()
	defer w.unwait(tenant, x)
	select {
	case seen := <-x.ch:
		return seen, nil
	case <-soon.Done():
	}
	for {
		end, err := w.rdb.XRevRangeN(ctx, laneKey(s.lane), "+", "-", 1).Result()
		if err == nil {
			if len(end) == 1 {
				s.at, _ = parseStreamID(end[0].ID) // Redis prints ids that parse
			}
			return s, nil
		}
		sleep(ctx, fleetEvery)
		if ctx.Err() != nil {
			return s, ctx.Err()
		}
	}
}

func (w *Watcher) readFleet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	all, err := w.rdb.HGetAll(ctx, fleetKey).Result()
	if err != nil {
		return err
	}
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, body := range all {
		var r fleetReport
		if json.Unmarshal([]byte(body), &r) != nil {
			continue
		}
		o := w.fleet[name]
		if o == nil {
			// Seen for the first time: live, unless its own clock says that it was silent for long.
			o = &observed{changed: now}
			if now.Sub(time.UnixMilli(r.SeenMS)) > time.Minute {
				o.changed = now.Add(-2 * liveFor)
			}
			w.fleet[name] = o
		} else if o.report.Count != r.Count || o.report.SeenMS != r.SeenMS {
			o.changed = now
		}
		o.report = r
	}
	for name := range w.fleet {
		if _, there := all[name]; !there {
			delete(w.fleet, name)
		}
	}
	return nil
}

// applied reports whether all live replicas have come as far as a change.
func (w *Watcher) applied(s seenChange) bool {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.fleet {
		if now.Sub(o.changed) > liveFor {
			continue
		}
		if at, ok := parseStreamID(o.report.Lanes[s.lane]); !ok || at.less(s.at) {
			return false
		}
	}
	return true
}

// Replica is what a data-plane process reports of itself.
type Replica struct {
	Name        string
	Live        bool
	ReaderLevel int
	Build       string
	Nacks       uint64
	ConfigAge   time.Duration
	Epoch       string
}

// Fleet lists the replicas as last read, by name: what an operator is shown, and what a publisher asks for the lowest reader level.
func (w *Watcher) Fleet() []Replica {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]Replica, 0, len(w.fleet))
	for name, o := range w.fleet {
		out = append(out, Replica{
			Name: name, Live: now.Sub(o.changed) <= liveFor, ReaderLevel: o.report.Reader, Build: o.report.Build, Nacks: o.report.Nacks,
			ConfigAge: time.Duration(o.report.AgeMS) * time.Millisecond, Epoch: o.report.Epoch,
		})
	}
	slices.SortFunc(out, func(a, b Replica) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
