// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package grant

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/pkg/id"
)

// Mark says that something is revoked: an access token by its `jti`, everything of a session by its `sid`, or everything of a grant
// by its `gnt`. The three kinds of identifier cannot collide, so a mark needs no kind.
type Mark struct {
	// ID is the claim's value.
	ID string
	// Until is when the last token concerned expires; the mark goes then.
	Until time.Time
}

// Source is the system of record for revocations: the identity database.
type Source interface {
	// Revocations lists the marks of a tenant that have not expired.
	Revocations(ctx context.Context, tenant id.Tenant, now time.Time) ([]Mark, error)
}

const (
	kindMark = "rv"
	// readyName is a key beside a tenant's marks that says when they were last read from the database. It vanishes with them when
	// Redis is flushed, so nobody believes in their absence before they are back.
	readyName = "ready"
	// readyTTL bounds the memory for tenants that nobody uses.
	readyTTL = 24 * time.Hour
	// reloadTimeout bounds a read of the database, which many requests may wait for.
	reloadTimeout = time.Second
	// reloadBatch is how many marks go to Redis in one pipeline.
	reloadBatch = 512
)

func markKey(tenant id.Tenant, name string) string {
	b := make([]byte, 0, 80)
	b = append(b, kindMark...)
	b = append(b, ":{"...)
	b, _ = tenant.AppendText(b)
	b = append(b, "}:"...)
	return string(append(b, name...))
}

// Revoke writes marks. The database has them already: a mark that cannot be written now is kept and written as soon as Redis
// answers again, so an error means "not yet seen by introspection", not "lost". Meanwhile introspection itself answers 503.
func (s *Store) Revoke(ctx context.Context, tenant id.Tenant, now time.Time, marks ...Mark) error {
	err := s.writeMarks(ctx, tenant, now, marks)
	if err != nil {
		s.pending.add(s, tenant, marks)
	}
	return err
}

func (s *Store) writeMarks(ctx context.Context, tenant id.Tenant, now time.Time, marks []Mark) error {
	if err := s.ready(); err != nil {
		return err
	}
	_, err := s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, m := range marks {
			if ttl := m.Until.Sub(now); ttl > 0 {
				p.Set(ctx, markKey(tenant, m.ID), "1", ttl)
			}
		}
		return nil
	})
	return s.done(err)
}

// Revoked reports whether any of the identifiers is marked, in one round trip. Empty identifiers are skipped. When the tenant's
// marks are not there, or may have gaps because Redis failed meanwhile, they are first read from the database again. Any error
// means that nobody can tell: the caller answers 503, never a guess.
func (s *Store) Revoked(ctx context.Context, tenant id.Tenant, now time.Time, ids ...string) (bool, error) {
	keys := make([]string, 1, 1+len(ids))
	keys[0] = markKey(tenant, readyName)
	for _, v := range ids {
		if v != "" {
			keys = append(keys, markKey(tenant, v))
		}
	}
	hit, readAt, err := s.look(ctx, keys)
	if err != nil || hit {
		return hit, err
	}
	if readAt >= s.distrust.Load() && readAt > 0 {
		return false, nil
	}
	if err := s.reload(ctx, tenant, now); err != nil {
		// The marks are there and no failure of Redis was seen by this process: it merely started after they were read.
		if readAt > 0 && !s.outage.Load() {
			return false, nil
		}
		return false, err
	}
	hit, _, err = s.look(ctx, keys)
	return hit, err
}

func (s *Store) look(ctx context.Context, keys []string) (hit bool, readAt int64, err error) {
	if err := s.ready(); err != nil {
		return false, 0, err
	}
	values, err := s.rdb.MGet(ctx, keys...).Result()
	if err := s.done(err); err != nil {
		return false, 0, err
	}
	if len(values) != len(keys) {
		return false, 0, fmt.Errorf("%w: %d values for %d keys", ErrUnavailable, len(values), len(keys))
	}
	for _, v := range values[1:] {
		if v != nil {
			hit = true
		}
	}
	if text, ok := values[0].(string); ok {
		readAt, _ = strconv.ParseInt(text, 10, 64) // anything else counts as never read
	}
	return hit, readAt, nil
}

// reload reads a tenant's revocations from the database into Redis, once for all who wait for it.
func (s *Store) reload(ctx context.Context, tenant id.Tenant, now time.Time) error {
	if s.source == nil {
		return fmt.Errorf("%w: revocation marks are missing and there is no database to read them from", ErrUnavailable)
	}
	done := s.loads.DoChan(string(tenant[:]), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reloadTimeout)
		defer cancel()
		readAt := time.Now()
		marks, err := s.source.Revocations(ctx, tenant, now)
		if err != nil {
			return nil, fmt.Errorf("%w: revocations: %w", ErrUnavailable, err)
		}
		for len(marks) > 0 {
			n := min(len(marks), reloadBatch)
			if err := s.writeMarks(ctx, tenant, now, marks[:n]); err != nil {
				return nil, err
			}
			marks = marks[n:]
		}
		// Last, and only after every mark was acknowledged.
		err = s.rdb.Set(ctx, markKey(tenant, readyName), strconv.FormatInt(readAt.UnixMilli(), 10), readyTTL).Err()
		return nil, s.done(err)
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// suspect notes that Redis failed: marks that others wrote meanwhile may not be there when it is back.
func (s *Store) suspect() {
	s.outage.Store(true)
	s.distrust.Store(time.Now().UnixMilli())
}

// pendingMarks are marks that could not be written, retried until they are or have expired. They are bounded: beyond the bound the
// database and the re-reading after an outage are what is left, which is enough for correctness and slower.
type pendingMarks struct {
	mu      sync.Mutex
	byOwner map[id.Tenant][]Mark
	count   int
	running bool
	cancel  context.CancelFunc
	closed  bool
}

const (
	maxPending   = 100_000
	pendingPause = 250 * time.Millisecond
)

func (p *pendingMarks) add(s *Store, tenant id.Tenant, marks []Mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.count+len(marks) > maxPending {
		s.log.Error("revocation marks not kept for a retry", "tenant", tenant.String(), "marks", len(marks))
		return
	}
	if p.byOwner == nil {
		p.byOwner = make(map[id.Tenant][]Mark)
	}
	p.byOwner[tenant] = append(p.byOwner[tenant], marks...)
	p.count += len(marks)
	if !p.running {
		var ctx context.Context
		ctx, p.cancel = context.WithCancel(context.Background())
		p.running = true
		go p.run(ctx, s)
	}
}

func (p *pendingMarks) run(ctx context.Context, s *Store) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pendingPause):
		}
		tenant, marks, more := p.next()
		if !more {
			return
		}
		try, cancel := context.WithTimeout(ctx, time.Second)
		err := s.writeMarks(try, tenant, time.Now(), marks)
		cancel()
		if errors.Is(err, context.Canceled) {
			return
		}
		if err == nil {
			p.written(tenant, len(marks))
		}
	}
}

// next gives one tenant's marks; more is false, and the runner ends, when there are none.
func (p *pendingMarks) next() (tenant id.Tenant, marks []Mark, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for tenant, marks := range p.byOwner {
		return tenant, marks[:len(marks):len(marks)], true
	}
	p.running = false
	return tenant, nil, false
}

func (p *pendingMarks) written(tenant id.Tenant, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count -= n
	if rest := p.byOwner[tenant][n:]; len(rest) > 0 {
		p.byOwner[tenant] = rest
	} else {
		delete(p.byOwner, tenant)
	}
}

func (p *pendingMarks) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.cancel != nil {
		p.cancel()
	}
}
