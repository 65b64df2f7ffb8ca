// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/singleflight"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
)

// ErrUnavailable is wrapped by every error that says Redis did not answer, or answered what it should not.
var ErrUnavailable = errors.New("grant: runtime Redis is unavailable")

// Config says how to reach the runtime Redis.
type Config struct {
	// RedisURL is the address as snapshot.Connect reads it: redis://, rediss://, unix:// or cluster+redis://.
	RedisURL string
	// Keyring seals what is stored. Required.
	Keyring *secret.Keyring
	// Revocations reads revocations from the system of record when Redis lost its marks. A Store that never calls Revoked needs none.
	Revocations Source
	// RequestQuota is how many bytes of pushed authorization requests a tenant may have pending; 0 is DefaultRequestQuota.
	RequestQuota int64
	// Logger receives what happens in the background; nil discards it.
	Logger *slog.Logger
}

// Store is the runtime Redis. It connects at the first use, so that opening costs nothing and a Redis that is away stops nobody
// from starting.
type Store struct {
	rdb     redis.UniversalClient
	keyring *secret.Keyring
	source  Source
	log     *slog.Logger
	// requestQuota is Config.RequestQuota.
	requestQuota int64

	brk   breaker
	loads singleflight.Group

	// distrust is a time in Unix milliseconds: marks of tenants that were read from the database before it may have gaps.
	distrust atomic.Int64
	// outage is set once Redis failed under this process; until then a database that is away does not stop Revoked.
	outage  atomic.Bool
	pending pendingMarks
}

// Open makes a Store. It returns an error for a bad Config only.
func Open(cfg Config) (*Store, error) {
	if cfg.Keyring == nil {
		return nil, errors.New("grant: a keyring is required")
	}
	rdb, err := snapshot.Connect(cfg.RedisURL)
	if err != nil {
		return nil, fmt.Errorf("grant: runtime Redis: %w", err)
	}
	s := &Store{rdb: rdb, keyring: cfg.Keyring, source: cfg.Revocations, log: cfg.Logger, requestQuota: cfg.RequestQuota}
	if s.requestQuota <= 0 {
		s.requestQuota = DefaultRequestQuota
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	// Marks written by a process that died with some of them unsent are found again by reading the database once per tenant.
	s.distrust.Store(time.Now().UnixMilli())
	return s, nil
}

// Close ends the connections. Marks that could not be written yet are in the database and are read again by others.
func (s *Store) Close() error {
	s.pending.stop()
	return s.rdb.Close()
}

// Ping reports whether Redis answers, for the readiness page.
func (s *Store) Ping(ctx context.Context) error { return s.done(s.rdb.Ping(ctx).Err()) }

// done feeds the breaker and wraps what went wrong. redis.Nil is an answer.
func (s *Store) done(err error) error {
	if err == nil || errors.Is(err, redis.Nil) {
		s.brk.success()
		return err
	}
	if errors.Is(err, context.Canceled) {
		return err // the caller went away, which says nothing about Redis
	}
	if _, refused := errors.AsType[redis.Error](err); !refused || isNetwork(err) {
		s.brk.failure(time.Now())
	}
	s.suspect()
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func isNetwork(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok
}

// ready fails at once while the breaker is open, so that a Redis that hangs costs one caller in a while its timeout, not all.
func (s *Store) ready() error {
	if !s.brk.allow(time.Now()) {
		return fmt.Errorf("%w: not asked again so soon after %d failures", ErrUnavailable, breakerThreshold)
	}
	return nil
}

// breaker opens after breakerThreshold failures in a row and lets one caller through each breakerPause.
type breaker struct {
	failures atomic.Int32
	next     atomic.Int64 // Unix nanoseconds when the next try is allowed
}

const (
	breakerThreshold = 5
	breakerPause     = 500 * time.Millisecond
)

func (b *breaker) allow(now time.Time) bool {
	if b.failures.Load() < breakerThreshold {
		return true
	}
	next := b.next.Load()
	return now.UnixNano() >= next && b.next.CompareAndSwap(next, now.Add(breakerPause).UnixNano())
}

func (b *breaker) success() {
	if b.failures.Load() != 0 {
		b.failures.Store(0)
	}
}

func (b *breaker) failure(now time.Time) {
	if b.failures.Add(1) == breakerThreshold {
		b.next.Store(now.Add(breakerPause).UnixNano())
	}
}

// hashOf names a secret at rest: base64url of its SHA-256.
func hashOf(text string) [32]byte { return sha256.Sum256([]byte(text)) }

// key is kind:{tenant}:name; the braces make all keys of a tenant one slot of a cluster.
func key(kind string, tenant id.Tenant, name []byte) string {
	b := make([]byte, 0, 96)
	b = append(b, kind...)
	b = append(b, ":{"...)
	b, _ = tenant.AppendText(b)
	b = append(b, "}:"...)
	return string(base64.RawURLEncoding.AppendEncode(b, name))
}

// aad binds a sealed value to where it lies.
func aad(kind string, tenant id.Tenant, hash [32]byte) []byte {
	b := make([]byte, 0, len(kind)+1+16+32)
	b = append(b, kind...)
	b = append(b, 0)
	b = append(b, tenant[:]...)
	return append(b, hash[:]...)
}
