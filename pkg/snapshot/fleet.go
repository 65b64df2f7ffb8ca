// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// laneState is what a replica knows of one lane.
type laneState struct {
	applied atomic.Pointer[string] // id of the last applied entry
	heard   atomic.Int64           // publisher's clock in the newest heartbeat, milliseconds
	backlog atomic.Int64           // backlog age in it, milliseconds
	beaten  atomic.Bool            // a heartbeat was heard since the start
}

// fleetReport is what a replica says of itself once a second. Reports are never trusted for routing.
type fleetReport struct {
	SeenMS int64         `json:"seen"`    // replica's clock
	Lanes  [Lanes]string `json:"lanes"`   // applied positions; empty: none yet
	Reader int           `json:"reader"`  // ReaderLevel
	Build  string        `json:"build"`   //
	Nacks  uint64        `json:"nacks"`   // since its start
	AgeMS  int64         `json:"age_ms"`  // of its configuration
	Epoch  string        `json:"epoch"`   //
	Count  uint64        `json:"reports"` // grows with each report: liveness without a common clock
}

const (
	reportEvery = time.Second
	// fleetPrune is how old a report is when any replica may remove it: its process was killed.
	fleetPrune = 5 * time.Minute
)

// Start begins to follow Redis and returns at once. It may be called once; the cache works until Stop or until ctx ends.
func (c *Cache) Start(ctx context.Context) {
	c.start.Do(func() {
		ctx, cancel := context.WithCancel(ctx)
		c.life.Lock()
		c.stop = cancel
		c.life.Unlock()
		c.follower = &follower{rdb: c.rdb, log: c.log, begin: c.begin, apply: c.apply, pace: func() time.Duration { return time.Duration(c.pace.Load()) }}
		c.follower.run(ctx, &c.done)
		c.done.Go(func() { c.housekeeping(ctx) })
		c.done.Go(func() { c.reporting(ctx) })
		c.done.Go(func() {
			for {
				select {
				case <-c.sweepNow:
					c.sweep(ctx)
				case <-ctx.Done():
					return
				}
			}
		})
	})
}

// Stop ends following and takes the replica out of the fleet. It returns when all goroutines have ended, half a second at most.
// Lookups go on to be answered from what is cached. Further calls do nothing.
func (c *Cache) Stop() {
	c.life.Lock()
	stop := c.stop
	c.stop = nil
	c.life.Unlock()
	if stop == nil {
		return
	}
	stop()
	c.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), ioTimeout)
	defer cancel()
	c.rdb.HDel(ctx, fleetKey, c.replica) // it ages out otherwise
}

// hear takes a heartbeat in, if it is signed and newer than what was heard.
func (c *Cache) hear(lane int, raw []byte) {
	h, err := c.verifier.verifyHeartbeat(lane, raw)
	if err != nil {
		c.nack(KindHeartbeat, heartbeatSubject(lane), headerVersion(raw), err)
		return
	}
	l := &c.lanes[lane]
	at := h.time.UnixMilli()
	if l.beaten.Load() && at <= l.heard.Load() {
		return // an old one shown again must not make the configuration look fresh
	}
	l.heard.Store(at)
	l.backlog.Store(h.backlog.Milliseconds())
	l.beaten.Store(true)
	c.updateAge(time.Now())
}

// heard reports whether every lane has had a heartbeat.
func (c *Cache) heard() bool {
	for i := range c.lanes {
		if !c.lanes[i].beaten.Load() {
			return false
		}
	}
	return true
}

// updateAge computes how old the configuration may be: that of the slowest lane.
func (c *Cache) updateAge(now time.Time) {
	worst := int64(0)
	for i := range c.lanes {
		l := &c.lanes[i]
		worst = max(worst, now.UnixMilli()-l.heard.Load()+l.backlog.Load())
	}
	c.staleMS.Store(worst)
}

// housekeeping does what is due from time to time.
func (c *Cache) housekeeping(ctx context.Context) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			c.updateAge(now)
			if n%4 != 0 {
				continue
			}
			c.lookAtMeta(ctx)
			c.mu.Lock()
			c.negatives.expire(now, c.newest)
			c.dropUnused(now)
			c.evict()
			c.mu.Unlock()
			c.retryStale(ctx)
		}
	}
}

// lookAtMeta notices another epoch, and that a republish is complete.
func (c *Cache) lookAtMeta(ctx context.Context) {
	var m Meta
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	if c.ask(ctx, func(ctx context.Context) (err error) { m, err = readMeta(ctx, c.rdb); return err }) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.Epoch == "":
		c.complete = false // flushed; nothing is believed absent until a publisher has begun a new epoch
	case m.Epoch != c.epoch:
		c.follower.restart.Add(1) // begin adopts it
	case m.Complete != c.complete:
		c.complete = m.Complete
		if m.Complete {
			c.doubt()
		}
	}
}

// retryStale loads announced orgs and ring tables that could not be loaded when they were announced.
func (c *Cache) retryStale(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	var work refreshWork
	c.mu.Lock()
	for key, d := range c.orgs {
		if d.stale {
			work.orgs = append(work.orgs, key)
		}
	}
	for key, d := range c.rings {
		if d.stale {
			work.rings = append(work.rings, key)
		}
	}
	c.mu.Unlock()
	for _, key := range work.orgs {
		c.org(ctx, key) //nolint:errcheck // tried again in a second
	}
	for _, key := range work.rings {
		c.ring(ctx, key) //nolint:errcheck // as above
	}
}

// reporting tells the fleet once a second how far this replica is, and reads from it how many there are.
func (c *Cache) reporting(ctx context.Context) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for n := rand.IntN(60); ; n++ { //nolint:gosec // jitter
		c.report(ctx)
		c.nacks.send(ctx, c.rdb)
		if n%60 == 0 {
			c.pruneFleet(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (c *Cache) report(ctx context.Context) {
	c.reports++
	r := fleetReport{
		SeenMS: time.Now().UnixMilli(), Reader: ReaderLevel, Build: c.build, Nacks: c.stats.nacks.Load(), AgeMS: c.staleMS.Load(), Count: c.reports,
	}
	c.mu.Lock()
	r.Epoch = c.epoch
	c.mu.Unlock()
	for i := range c.lanes {
		if at := c.lanes[i].applied.Load(); at != nil {
			r.Lanes[i] = *at
		} else if at := c.follower.last[i].Load(); at != nil && c.generation.Load() > 1 {
			r.Lanes[i] = *at // nothing came since the position was taken
		}
	}
	body, err := json.Marshal(r)
	if err != nil {
		return // strings and numbers always marshal
	}
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	pipe := c.rdb.Pipeline()
	pipe.HSet(ctx, fleetKey, c.replica, body)
	size := pipe.HLen(ctx, fleetKey)
	if _, err := pipe.Exec(ctx); err == nil {
		c.pace.Store(int64(paceFor(size.Val())))
	}
}

// paceFor is how long a replica waits after a read that brought something: alone it reads at once, in a large fleet changes are
// collected, since each read costs Redis a wake-up.
func paceFor(replicas int64) time.Duration {
	switch {
	case replicas < 10:
		return 0
	case replicas < 100:
		return 20 * time.Millisecond
	default:
		return 50 * time.Millisecond
	}
}

// pruneFleet removes the reports of processes that were killed.
func (c *Cache) pruneFleet(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	all, err := c.rdb.HGetAll(ctx, fleetKey).Result()
	if err != nil {
		return
	}
	var dead []string
	for name, body := range all {
		var r fleetReport
		if json.Unmarshal([]byte(body), &r) != nil || time.Since(time.UnixMilli(r.SeenMS)) > fleetPrune {
			dead = append(dead, name)
		}
	}
	if len(dead) > 0 {
		c.rdb.HDel(ctx, fleetKey, dead...) // tried again in a minute
	}
}

// nackReporter tells the control plane which records were refused, each once a minute and not too many.
type nackReporter struct {
	mu    sync.Mutex
	told  map[nackKeyOf]time.Time
	queue []map[string]any
}

type nackKeyOf struct {
	kind    Kind
	subject [16]byte
	version uint64
	reason  string
}

const (
	maxNackQueue = 64
	maxNackTold  = 1024
	nackLength   = 10_000
)

func (n *nackReporter) init() { n.told = map[nackKeyOf]time.Time{} }

// nack counts, logs and reports a refused record.
func (c *Cache) nack(kind Kind, subject [16]byte, version uint64, cause error) {
	c.stats.nacks.Add(1)
	key := nackKeyOf{kind, subject, version, nackReason(cause)}
	now := time.Now()
	n := &c.nacks
	n.mu.Lock()
	last, told := n.told[key]
	again := told && now.Sub(last) < time.Minute
	if !again {
		if len(n.told) >= maxNackTold {
			clear(n.told)
		}
		n.told[key] = now
		if len(n.queue) < maxNackQueue {
			n.queue = append(n.queue, map[string]any{
				"replica": c.replica, "kind": uint8(kind), "subject": subject[:], "version": version, "reason": key.reason,
			})
		}
	}
	n.mu.Unlock()
	if !again {
		c.log.Error("record refused; the last accepted one stays in force", "kind", kind.String(), "key", recordKey(kind, subject),
			"version", version, "error", cause)
	}
}

func (n *nackReporter) send(ctx context.Context, rdb redis.UniversalClient) {
	n.mu.Lock()
	queue := n.queue
	n.queue = nil
	n.mu.Unlock()
	if len(queue) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	pipe := rdb.Pipeline()
	for _, values := range queue {
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: nackKey, MaxLen: nackLength, Approx: true, Values: values})
	}
	pipe.Exec(ctx) //nolint:errcheck // they are in the log and the count too
}

// nackReason is a stable word for programs.
func nackReason(err error) string {
	for _, r := range nackReasons {
		if errors.Is(err, r.err) {
			return r.word
		}
	}
	return "OTHER"
}

var nackReasons = []struct {
	err  error
	word string
}{
	{ErrTruncated, "TRUNCATED"},
	{ErrTooLarge, "TOO_LARGE"},
	{ErrFormat, "FORMAT"},
	{ErrCodec, "CODEC"},
	{ErrSigner, "UNKNOWN_SIGNER"},
	{ErrSignature, "SIGNATURE"},
	{ErrKind, "KIND"},
	{ErrVersion, "VERSION"},
	{ErrReaderLevel, "READER_LEVEL"},
	{errRollback, "ROLLBACK"},
	{errExpired, "EXPIRED"},
	{ErrCompile, "COMPILE"},
}
