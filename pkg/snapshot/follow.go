// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// follower reads the change streams of one Redis: on a single server all lanes with one blocking read, on a cluster each lane with
// its own, since lanes may lie on different nodes.
//
//	position ──► read ──► apply ──► read …
//	    ▲          │ error, or more than could be read: was anything trimmed, did the server go back?
//	    └──────────┘ yes, or restart: from the end again, after telling begin that entries may have been missed
type follower struct {
	rdb redis.UniversalClient
	log *slog.Logger
	// begin is told what the server says of itself after a position was taken: entries before it may have been missed.
	begin func(Meta)
	// apply is given the entries of a lane in their order. Different lanes may be applied at the same time.
	apply func(ctx context.Context, lane int, entries []streamEntry)
	// pace is how long to wait after a read that brought something.
	pace func() time.Duration

	last    [Lanes]atomic.Pointer[string] // id of the last entry that was read
	restart atomic.Uint64                 // grows when all lanes are to take a new position
}

// streamEntry is one decoded entry.
type streamEntry struct {
	id        string
	changes   []*snapshotv1.Change
	heartbeat []byte // the signed record; nil in an entry of changes
	bad       bool   // not readable
}

const (
	readBlock = 500 * time.Millisecond
	readCount = 512 // entries a lane and read
)

// run reads until ctx ends.
func (f *follower) run(ctx context.Context, wg *sync.WaitGroup) {
	groups := [][]int{{0, 1, 2, 3, 4, 5, 6, 7}}
	if _, cluster := f.rdb.(*redis.ClusterClient); cluster {
		groups = nil
		for lane := range Lanes {
			groups = append(groups, []int{lane})
		}
	}
	for _, lanes := range groups {
		wg.Go(func() { f.follow(ctx, lanes) })
	}
}

func (f *follower) follow(ctx context.Context, lanes []int) {
	const least, most = 50 * time.Millisecond, 2 * time.Second
	var (
		backoff    = least
		positioned bool
		doubt      []string // positions that may have been trimmed past; nil: none
		seen       uint64
	)
	for ctx.Err() == nil {
		var err error
		if now := f.restart.Load(); !positioned || now != seen {
			if err = f.position(ctx, lanes); err == nil {
				positioned, doubt, seen = true, nil, now
			}
		} else if doubt != nil {
			var lost bool
			if lost, err = f.lost(ctx, lanes, doubt); err == nil {
				positioned, doubt = !lost, nil
			}
		} else {
			var n int
			if n, doubt, err = f.read(ctx, lanes); err == nil && n > 0 {
				sleep(ctx, f.pace())
			}
		}
		if err == nil {
			backoff = least
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if doubt == nil {
			doubt = f.positions(lanes)
		}
		f.log.Warn("change streams cannot be read", "error", err, "retry_in", backoff)
		// Jitter, or all replicas come back in the same moment.
		sleep(ctx, backoff/2+rand.N(backoff)) //nolint:gosec // jitter
		backoff = min(2*backoff, most)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// position takes the end of each lane as the place to read on from. What came before is for begin; the newest heartbeat among it
// is applied, so that a replica knows at once how old the configuration is.
func (f *follower) position(ctx context.Context, lanes []int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	pipe := f.rdb.Pipeline()
	ends := make([]*redis.XMessageSliceCmd, len(lanes))
	for i, lane := range lanes {
		ends[i] = pipe.XRevRangeN(ctx, laneKey(lane), "+", "-", 8)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("snapshot: read the ends of the change streams: %w", err)
	}
	meta, err := readMeta(ctx, f.rdb)
	if err != nil {
		return err
	}
	for i, lane := range lanes {
		id := "0-0"
		messages := ends[i].Val()
		if len(messages) > 0 {
			id = messages[0].ID
		}
		f.last[lane].Store(&id)
		for _, m := range messages {
			if e := decodeEntry(m); e.heartbeat != nil {
				e.id = id // all that came before the position counts as applied: nothing read earlier is believed unconfirmed
				f.apply(ctx, lane, []streamEntry{e})
				break
			}
		}
	}
	f.begin(meta)
	return nil
}

// positions are the ids of the last entries that were read; empty before the first position was taken.
func (f *follower) positions(lanes []int) []string {
	at := make([]string, len(lanes))
	for i, lane := range lanes {
		if p := f.last[lane].Load(); p != nil {
			at[i] = *p
		}
	}
	return at
}

// lost reports whether entries behind positions have been trimmed, or the server has gone back behind them.
func (f *follower) lost(ctx context.Context, lanes []int, positions []string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	pipe := f.rdb.Pipeline()
	first := make([]*redis.XMessageSliceCmd, len(lanes))
	end := make([]*redis.XMessageSliceCmd, len(lanes))
	for i, lane := range lanes {
		first[i] = pipe.XRangeN(ctx, laneKey(lane), "-", "+", 1)
		end[i] = pipe.XRevRangeN(ctx, laneKey(lane), "+", "-", 1)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return false, fmt.Errorf("snapshot: check the change streams: %w", err)
	}
	for i := range lanes {
		at, _ := parseStreamID(positions[i]) // ours, or the zero of a lane that was empty
		if at == (streamID{}) {
			continue // the lane was empty, and what it has now is read from its beginning
		}
		if len(first[i].Val()) == 0 {
			return true, nil
		}
		oldest, ok := parseStreamID(first[i].Val()[0].ID)
		newest, ok2 := parseStreamID(end[i].Val()[0].ID)
		if !ok || !ok2 || at.less(oldest) || newest.less(at) {
			return true, nil
		}
	}
	return false, nil
}

// read waits for entries and applies them. When a lane had more than fits, the reader is behind, and Redis passes over what was
// trimmed without a word: behind is then the positions from which it was read, to be looked at.
func (f *follower) read(ctx context.Context, lanes []int) (n int, behind []string, err error) {
	from := f.positions(lanes)
	streams := make([]string, 0, 2*len(lanes))
	for _, lane := range lanes {
		streams = append(streams, laneKey(lane))
	}
	streams = append(streams, from...)
	rctx, cancel := context.WithTimeout(ctx, readBlock+time.Second)
	defer cancel()
	res, err := f.rdb.XRead(rctx, &redis.XReadArgs{Streams: streams, Count: readCount, Block: readBlock}).Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, from, fmt.Errorf("snapshot: read change streams: %w", err)
	}
	for _, stream := range res {
		for _, lane := range lanes {
			if laneKey(lane) != stream.Stream || len(stream.Messages) == 0 {
				continue
			}
			entries := make([]streamEntry, len(stream.Messages))
			for i, m := range stream.Messages {
				entries[i] = decodeEntry(m)
			}
			f.apply(ctx, lane, entries)
			id := entries[len(entries)-1].id
			f.last[lane].Store(&id)
			n += len(entries)
			if len(entries) == readCount {
				behind = from
			}
		}
	}
	return n, behind, nil
}

// decodeEntry reads what anybody with write access to Redis may have appended: it is a hint, bounded, and never trusted.
func decodeEntry(m redis.XMessage) streamEntry {
	e := streamEntry{id: m.ID}
	if h, ok := m.Values[fieldHeartbeat].(string); ok {
		e.heartbeat = []byte(h)
		return e
	}
	b, ok := m.Values[fieldBatch].(string)
	var batch snapshotv1.ChangeBatch
	if !ok || len(b) > MaxBlob || proto.Unmarshal([]byte(b), &batch) != nil || len(batch.GetChanges()) > maxBatch {
		e.bad = true
		return e
	}
	for _, c := range batch.GetChanges() {
		if len(c.GetSubject()) != 16 || len(c.GetHosts()) > MaxHosts || c.GetKind() > 255 {
			e.bad = true
			continue
		}
		e.changes = append(e.changes, c)
	}
	return e
}
