// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// Why CheckServer refuses a Redis.
var (
	ErrEvicts = errors.New("snapshot: config Redis may evict keys; set maxmemory-policy noeviction")
	ErrMemory = errors.New("snapshot: config Redis is at 85 percent of maxmemory; publishing stops before it is full")
)

// Meta is what a config Redis says of itself.
type Meta struct {
	Epoch    string // random, new for each rebuilt Redis; empty: never filled, or flushed
	Complete bool   // every tenant has been published under this epoch
	Layout   int    // version of the keys
}

// NewEpoch draws the name of an epoch.
func NewEpoch() string {
	var b [16]byte
	rand.Read(b[:]) // crypto/rand.Read never fails since Go 1.24
	return hex.EncodeToString(b[:])
}

// Meta reads the server's state.
func (w *Writer) Meta(ctx context.Context) (Meta, error) { return readMeta(ctx, w.rdb) }

func readMeta(ctx context.Context, rdb redis.Cmdable) (Meta, error) {
	v, err := rdb.HMGet(ctx, metaKey, metaEpoch, metaComplete, metaLayout).Result()
	if err != nil {
		return Meta{}, fmt.Errorf("snapshot: read meta: %w", err)
	}
	return parseMeta(v), nil
}

func parseMeta(v []any) Meta {
	text := func(i int) string { s, _ := v[i].(string); return s }
	m := Meta{Epoch: text(0), Complete: text(1) == "1"}
	m.Layout, _ = strconv.Atoi(text(2)) // absent is 0
	m.Complete = m.Complete && m.Epoch != ""
	return m
}

// BeginEpoch starts an epoch that is not complete, if the server's epoch is still old. False: someone else was faster.
func (w *Writer) BeginEpoch(ctx context.Context, old, fresh string) (bool, error) {
	n, err := beginEpoch.Run(ctx, w.rdb, []string{metaKey}, old, fresh, layoutVersion).Int64()
	if err != nil {
		return false, fmt.Errorf("snapshot: begin epoch: %w", err)
	}
	return n == 1, nil
}

// SetComplete says that everything has been published under epoch, if that is still the server's.
func (w *Writer) SetComplete(ctx context.Context, epoch string) (bool, error) {
	n, err := setComplete.Run(ctx, w.rdb, []string{metaKey}, epoch).Int64()
	if err != nil {
		return false, fmt.Errorf("snapshot: set complete: %w", err)
	}
	return n == 1, nil
}

var (
	beginEpoch = redis.NewScript(`
if (redis.call('HGET', KEYS[1], 'epoch') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'complete', '0', 'layout', ARGV[3])
return 1`)
	setComplete = redis.NewScript(`
if (redis.call('HGET', KEYS[1], 'epoch') or '') ~= ARGV[1] or ARGV[1] == '' then return 0 end
redis.call('HSET', KEYS[1], 'complete', '1')
return 1`)
)

// CheckServer refuses a server that could lose tenants (ErrEvicts), or that is nearly full (ErrMemory). Publishers ask it at start
// and then from time to time.
func (w *Writer) CheckServer(ctx context.Context) error {
	check := func(ctx context.Context, c redis.Cmdable) error {
		info, err := c.Info(ctx, "memory").Result()
		if err != nil {
			return fmt.Errorf("snapshot: INFO memory: %w", err)
		}
		return checkMemory(info)
	}
	if cluster, ok := w.rdb.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return check(ctx, c) })
	}
	info, err := w.rdb.Info(ctx, "replication").Result()
	if err != nil {
		return fmt.Errorf("snapshot: INFO replication: %w", err)
	}
	n, _ := strconv.ParseInt(infoFields(info)["connected_slaves"], 10, 64) // absent is none
	w.replicas.Store(n)
	return check(ctx, w.rdb)
}

func checkMemory(info string) error {
	fields := infoFields(info)
	limit, err := strconv.ParseUint(fields["maxmemory"], 10, 64)
	if err != nil {
		return errors.New("snapshot: INFO memory does not say maxmemory")
	}
	if p := fields["maxmemory_policy"]; p != "noeviction" {
		return fmt.Errorf("%w (it is %q)", ErrEvicts, p)
	}
	used, err := strconv.ParseUint(fields["used_memory"], 10, 64)
	if err != nil {
		return errors.New("snapshot: INFO memory does not say used_memory")
	}
	if limit > 0 && used > limit/100*85 {
		return fmt.Errorf("%w (%d of %d bytes)", ErrMemory, used, limit)
	}
	return nil
}

func infoFields(info string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(info) {
		if k, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			fields[k] = v
		}
	}
	return fields
}

func heartbeatSubject(lane int) (s [16]byte) {
	s[15] = byte(lane) //nolint:gosec // below Lanes
	return s
}

func encodeHeartbeat(now time.Time, backlogAge time.Duration, epoch string) ([]byte, error) {
	body, err := proto.Marshal(&snapshotv1.Heartbeat{Time: timestamppb.New(now), BacklogAge: durationpb.New(backlogAge), Epoch: epoch})
	if err != nil {
		return nil, fmt.Errorf("snapshot: encode heartbeat: %w", err)
	}
	return body, nil
}

// heartbeat is a verified heartbeat.
type heartbeat struct {
	time    time.Time
	backlog time.Duration
}

func (v *Verifier) verifyHeartbeat(lane int, raw []byte) (heartbeat, error) {
	r, err := v.Verify(KindHeartbeat, heartbeatSubject(lane), raw)
	if err != nil {
		return heartbeat{}, err
	}
	var doc snapshotv1.Heartbeat
	if err := proto.Unmarshal(r.Body, &doc); err != nil {
		return heartbeat{}, fmt.Errorf("%w: heartbeat", ErrCompile)
	}
	return heartbeat{time: doc.GetTime().AsTime(), backlog: max(0, doc.GetBacklogAge().AsDuration())}, nil
}

// storedVersions reads versions without the documents, 0 where there is none.
func storedVersions(ctx context.Context, rdb redis.UniversalClient, kind Kind, subjects [][16]byte) ([]uint64, error) {
	if len(subjects) == 0 {
		return nil, nil
	}
	pipe := rdb.Pipeline()
	cmds := make([]*redis.StringCmd, len(subjects))
	for i, s := range subjects {
		cmds[i] = pipe.GetRange(ctx, recordKey(kind, s), 0, 7)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("snapshot: read versions: %w", err)
	}
	out := make([]uint64, len(subjects))
	for i, c := range cmds {
		if b, err := c.Bytes(); err == nil && len(b) == 8 {
			out[i] = binary.BigEndian.Uint64(b)
		}
	}
	return out, nil
}
