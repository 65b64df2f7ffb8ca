// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// Writer is the publisher's side of the config Redis. Every write is a compare-and-set on the version, so any number of writers may
// run, in any order, and repeat themselves. It is safe for concurrent use.
type Writer struct {
	rdb      redis.UniversalClient
	replicas atomic.Int64 // connected to the server, as CheckServer saw last
}

// NewWriter makes a Writer.
func NewWriter(rdb redis.UniversalClient) *Writer { return &Writer{rdb: rdb} }

// Item is one record to publish with what belongs to it.
type Item struct {
	Record      []byte // as made by SigningKey.Sign; nil publishes only hosts and blobs
	Kind        Kind
	Subject     [16]byte
	Version     uint64
	Hosts       []HostPointer // all pointers that the change may have touched
	Blobs       []Blob        // all blobs that the record names
	Restrictive bool          // requests wait for the refresh: suspension, revocation, key compromise
}

// Blob is content-addressed data that a record names by its digest.
type Blob struct {
	Tenant id.Tenant // zero: shared by tenants, such as a layer
	Data   []byte
}

// PublishOptions changes what Publish announces.
type PublishOptions struct {
	// OnlyReplaced appends stream entries only for records that are newer than what Redis had, or whose hosts moved. A republish
	// sets it; an ordinary publish announces equal versions too, since an earlier attempt may have died before its entry.
	OnlyReplaced bool
}

// Result counts what Publish did with the records.
type Result struct {
	Replaced int // a newer version was stored
	Resigned int // the same version with a newer signature was stored
	Same     int // Redis had it
	Older    int // Redis has a newer one; not an error, someone else was faster
	// Replicated is how many replicas of a single server (not a cluster) had everything within 100 ms. It is a figure to export,
	// not a condition: the outbox repairs what a failover loses.
	Replicated int
}

// Outcomes of the scripts.
const (
	casOlder    = -1
	casSame     = 0
	casResigned = 1
	casReplaced = 2
)

// casRecord stores a record if (version, signed_at) grows. Versions stay below 2^53, so Lua's doubles compare them exactly; they
// are never compared as strings, whose order depends on the locale.
var casRecord = redis.NewScript(`
local cur = redis.call('GETRANGE', KEYS[1], 0, 11)
local nv, ns = struct.unpack('>I8I4', ARGV[1])
local out = 2
if #cur == 12 then
  local v, s = struct.unpack('>I8I4', cur)
  if nv < v then return -1 end
  if nv == v then
    if ns <= s then return 0 end
    out = 1
  end
end
redis.call('SET', KEYS[1], ARGV[1])
return out`)

// casPointer stores a host pointer if claim_version grows. An equal version with other bytes is damage, and repaired.
var casPointer = redis.NewScript(`
local cur = redis.call('GET', KEYS[1])
if cur == ARGV[1] then return 0 end
if cur and #cur >= 8 then
  local v = struct.unpack('>I8', cur)
  local nv = struct.unpack('>I8', ARGV[1])
  if nv < v then return -1 end
end
redis.call('SET', KEYS[1], ARGV[1])
return 2`)

// Publish writes items in three steps, each awaited on all nodes before the next begins: blobs and host pointers, records, stream
// entries. So whoever sees an entry finds the record, and whoever sees the record finds its blobs and hosts. An error means that any
// prefix of this may have happened; publishing again is always right.
func (w *Writer) Publish(ctx context.Context, items []Item, opt PublishOptions) (Result, error) {
	var res Result
	if len(items) == 0 {
		return res, nil
	}
	moved, err := w.writeBlobsAndHosts(ctx, items)
	if err != nil {
		return res, err
	}
	outcome, err := w.writeRecords(ctx, items)
	if err != nil {
		return res, err
	}
	var announce []int
	for i, item := range items {
		tell := outcome[i] != casOlder
		switch outcome[i] {
		case casOlder:
			res.Older++
		case casSame:
			res.Same++
			tell = !opt.OnlyReplaced
		case casResigned:
			res.Resigned++
			tell = !opt.OnlyReplaced
		case casReplaced:
			if item.Record != nil {
				res.Replaced++
			}
		}
		if tell || moved[i] {
			announce = append(announce, i)
		}
	}
	res.Replicated, err = w.announce(ctx, items, announce)
	return res, err
}

func (w *Writer) writeBlobsAndHosts(ctx context.Context, items []Item) (moved []bool, err error) {
	moved = make([]bool, len(items))
	var (
		scripts []scriptCall
		owner   []int
	)
	pipe := w.rdb.Pipeline()
	for i, item := range items {
		for _, b := range item.Blobs {
			if len(b.Data) > MaxBlob {
				return nil, fmt.Errorf("%w: blob of %d bytes, %d allowed", ErrTooLarge, len(b.Data), MaxBlob)
			}
			pipe.SetNX(ctx, blobKey(b.Tenant, Digest(b.Data)), b.Data, 0)
		}
		for _, h := range item.Hosts {
			scripts, owner = append(scripts, scriptCall{casPointer, hostKey(h.Host), h.encode()}), append(owner, i)
		}
	}
	if pipe.Len() > 0 {
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, fmt.Errorf("snapshot: write blobs: %w", err)
		}
	}
	out, err := w.run(ctx, scripts)
	if err != nil {
		return nil, fmt.Errorf("snapshot: write host pointers: %w", err)
	}
	for n, o := range out {
		if o == casReplaced {
			moved[owner[n]] = true
		}
	}
	return moved, nil
}

// writeRecords answers casReplaced for items without a record, whose hosts are to be announced.
func (w *Writer) writeRecords(ctx context.Context, items []Item) ([]int64, error) {
	outcome := make([]int64, len(items))
	var (
		scripts []scriptCall
		owner   []int
	)
	for i, item := range items {
		if item.Record == nil {
			outcome[i] = casReplaced
			continue
		}
		if h, err := parseHeader(item.Record); err != nil || h.version != item.Version || len(item.Record) > HeaderBytes+MaxBody {
			return nil, fmt.Errorf("%w: %s: the record's header is not that of the item", ErrFormat, item.Kind)
		}
		scripts, owner = append(scripts, scriptCall{casRecord, recordKey(item.Kind, item.Subject), item.Record}), append(owner, i)
	}
	out, err := w.run(ctx, scripts)
	if err != nil {
		return nil, fmt.Errorf("snapshot: write records: %w", err)
	}
	for n, o := range out {
		outcome[owner[n]] = o
	}
	return outcome, nil
}

type scriptCall struct {
	script *redis.Script
	key    string
	value  []byte
}

// run sends scripts by their hash in one pipeline. A node that does not know a script (it restarted, or is new) gets its text.
func (w *Writer) run(ctx context.Context, calls []scriptCall) ([]int64, error) {
	out := make([]int64, len(calls))
	todo := make([]int, len(calls))
	for i := range todo {
		todo[i] = i
	}
	for round := 0; len(todo) > 0; round++ {
		pipe := w.rdb.Pipeline()
		cmds := make([]*redis.Cmd, len(todo))
		for n, i := range todo {
			c := calls[i]
			if round == 0 {
				cmds[n] = c.script.EvalSha(ctx, pipe, []string{c.key}, c.value)
			} else {
				cmds[n] = c.script.Eval(ctx, pipe, []string{c.key}, c.value)
			}
		}
		_, execErr := pipe.Exec(ctx)
		var again []int
		for n, i := range todo {
			v, err := cmds[n].Int64()
			switch {
			case err == nil:
				out[i] = v
			case round == 0 && strings.HasPrefix(err.Error(), "NOSCRIPT"):
				again = append(again, i)
			default:
				return nil, errors.Join(err, ctx.Err())
			}
		}
		if execErr != nil && again == nil {
			return nil, execErr
		}
		todo = again
	}
	return out, nil
}

func (w *Writer) announce(ctx context.Context, items []Item, which []int) (replicated int, err error) {
	const maxEntry = 64 << 10
	var lanes [Lanes][]*snapshotv1.ChangeBatch
	var sizes [Lanes]int
	for _, i := range which {
		item := items[i]
		c := &snapshotv1.Change{Kind: uint32(item.Kind), Subject: item.Subject[:], Version: item.Version, Restrictive: item.Restrictive}
		for _, h := range item.Hosts {
			c.Hosts = append(c.Hosts, h.Host)
		}
		lane, size := laneOf(item.Subject), proto.Size(c)
		batches := lanes[lane]
		if n := len(batches); n == 0 || len(batches[n-1].Changes) == maxBatch || sizes[lane]+size > maxEntry {
			lanes[lane], sizes[lane] = append(batches, &snapshotv1.ChangeBatch{}), 0
		}
		last := lanes[lane][len(lanes[lane])-1]
		last.Changes = append(last.Changes, c)
		sizes[lane] += size
	}
	pipe := w.rdb.Pipeline()
	for lane, batches := range lanes {
		for _, b := range batches {
			data, err := proto.Marshal(b)
			if err != nil {
				return 0, fmt.Errorf("snapshot: encode change batch: %w", err)
			}
			w.append(ctx, pipe, lane, fieldBatch, data)
		}
	}
	if pipe.Len() == 0 {
		return 0, nil
	}
	var wait *redis.Cmd
	if w.replicas.Load() > 0 {
		wait = pipe.Do(ctx, "WAIT", 1, 100) // on the connection that has just written
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("snapshot: append to change streams: %w", err)
	}
	if wait != nil {
		replicated, err = wait.Int()
	}
	return replicated, err
}

func (w *Writer) append(ctx context.Context, pipe redis.Pipeliner, lane int, field string, data []byte) {
	pipe.XAdd(ctx, &redis.XAddArgs{Stream: laneKey(lane), MaxLen: laneLength, Approx: true, Values: []any{field, data}})
}

// Heartbeat appends one signed entry to each lane: replicas tell from it how stale they are. backlogAge is the age of the oldest
// change that is committed and not published.
func (w *Writer) Heartbeat(ctx context.Context, key SigningKey, now time.Time, backlogAge time.Duration, epoch string) error {
	body, err := encodeHeartbeat(now, backlogAge, epoch)
	if err != nil {
		return err
	}
	pipe := w.rdb.Pipeline()
	for lane := range Lanes {
		record, err := key.Sign(KindHeartbeat, heartbeatSubject(lane), uint64(now.UnixMilli()), now, body)
		if err != nil {
			return err
		}
		w.append(ctx, pipe, lane, fieldHeartbeat, record)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("snapshot: heartbeat: %w", err)
	}
	return nil
}

// Versions reads the stored version of each subject, 0 where there is none: what a drift detector or a waiting caller compares.
func (w *Writer) Versions(ctx context.Context, kind Kind, subjects [][16]byte) ([]uint64, error) {
	return storedVersions(ctx, w.rdb, kind, subjects)
}

// Purge removes the tombstone of a tenant, if it still is one and has this version.
func (w *Writer) Purge(ctx context.Context, tenant id.Tenant, version uint64) error {
	if err := purgeScript.Run(ctx, w.rdb, []string{tenantKey(tenant)}, HeaderBytes, version).Err(); err != nil {
		return fmt.Errorf("snapshot: purge tombstone: %w", err)
	}
	return nil
}

var purgeScript = redis.NewScript(`
local cur = redis.call('GET', KEYS[1])
if cur and #cur == tonumber(ARGV[1]) and struct.unpack('>I8', cur) == tonumber(ARGV[2]) then return redis.call('DEL', KEYS[1]) end
return 0`)
