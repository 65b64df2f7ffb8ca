// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/pkg/id"
)

const (
	// raceRetries bounds how often a load reads again because entries arrived meanwhile. A stripe moves a few times a second at
	// 10,000 changes/s, a load takes a tenth of a millisecond.
	raceRetries = 8
	// pointerRetries and pointerPause bound how long a pointer whose tenant does not list the host is given to become true: a
	// publisher may be between two of its steps.
	pointerRetries = 2
	pointerPause   = 40 * time.Millisecond
)

// Why a record that verifies is not accepted, or one that is needed is not there.
var (
	errRollback = errors.New("snapshot: version below one that was seen before")
	errExpired  = errors.New("snapshot: signature older than 30 days under a living publisher")
	errMissing  = errors.New("snapshot: record or blob missing")
	errPointer  = errors.New("snapshot: host pointer and signed document disagree")
)

// unavailable keeps the cause for the log and answers like ErrUnavailable.
func unavailable(cause error) error { return fmt.Errorf("%w: %w", ErrUnavailable, cause) }

// get reads one key; nil when it is absent. Failures count for the breaker, which refuses at once while it is open.
func (c *Cache) get(ctx context.Context, key string) ([]byte, error) {
	var b []byte
	err := c.ask(ctx, func(ctx context.Context) (err error) {
		b, err = c.rdb.Get(ctx, key).Bytes()
		return err
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// ask runs a question to Redis under the breaker. "No such key" is an answer.
func (c *Cache) ask(ctx context.Context, f func(context.Context) error) error {
	if !c.breaker.allow(time.Now()) {
		c.stats.refused.Add(1)
		return ErrUnavailable
	}
	err := f(ctx)
	if err == nil || errors.Is(err, redis.Nil) {
		c.breaker.success()
		return nil
	}
	if c.breaker.failure(time.Now()) {
		c.log.Warn("config redis does not answer; cached tenants are served, others are refused", "error", err)
	}
	c.stats.redisErrors.Add(1)
	return unavailable(err)
}

// note remembers the counter of a subject or host before it is read.
func (c *Cache) note(stripe uint16) noted {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stripes.note(stripe)
}

// loadHost finds a host's tenant through its pointer. It runs in a flight.
func (c *Cache) loadHost(ctx context.Context, host string) (*Tenant, error) {
	c.stats.loads.Add(1)
	stripe := c.stripes.ofHost(host)
	wrong := 0
	refusal := negative{err: ErrUnknownHost}
	for range raceRetries {
		since := c.note(stripe)
		raw, err := c.get(ctx, hostKey(host))
		if err != nil {
			return nil, err
		}
		p, whole := decodePointer(host, raw)
		if raw == nil || whole && p.Flags&HostLive == 0 {
			if raw == nil && !c.absenceKnown(ctx) {
				return nil, ErrUnavailable
			}
			refusal.since = since
			if again := c.remember(host, negativeTTL, refusal); again {
				continue
			}
			c.mu.Lock()
			c.budget.spend()
			c.mu.Unlock()
			return nil, ErrUnknownHost
		}
		err = errPointer
		if whole {
			var t *Tenant
			tenantSince := c.note(c.stripes.ofSubject(KindTenant, p.Tenant))
			t, err = c.loadTenant(ctx, p.Tenant, host, since)
			switch {
			case err == nil && t.hasHost(host):
				return t, nil
			case err == nil:
				err = errPointer
			case errors.Is(err, errRace):
				continue
			case errors.Is(err, ErrUnknownHost):
				if again := c.remember(host, negativeTTL, negative{err: ErrUnknownHost, since: since, also: tenantSince}); again {
					continue
				}
				return nil, ErrUnknownHost
			case isRefusal(err):
				// Not read again for every request, or one poison tenant would cost what a thousand good ones do.
				c.remember(host, badTTL, negative{err: ErrUnavailable, since: since, also: tenantSince})
				return nil, err
			case !errors.Is(err, errMissing):
				return nil, err
			}
		}
		// The pointer is a hint that may be stale, forged or ahead of its document. It never makes a host unknown.
		if wrong++; wrong > pointerRetries {
			c.stats.pointerMismatches.Add(1)
			return nil, unavailable(err)
		}
		select {
		case <-time.After(pointerPause):
		case <-ctx.Done():
			return nil, unavailable(ctx.Err())
		}
	}
	return nil, ErrUnavailable
}

// errRace: entries arrived while a load was reading; it has to read again.
var errRace = errors.New("snapshot: changed while it was read")

// remember puts a refusal in, unless an entry that concerns it has been applied since; then it answers true.
func (c *Cache) remember(host string, ttl time.Duration, refusal negative) (again bool) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stripes.unchanged(refusal.since) || !c.stripes.unchanged(refusal.also) {
		c.stats.races.Add(1)
		return true
	}
	if e := c.hosts.get(host); e != nil && e.cur.Load() != nil && errors.Is(refusal.err, ErrUnknownHost) {
		return true // loaded meanwhile by id
	}
	refusal.until = now.Add(ttl)
	c.negatives.put(host, refusal)
	c.newest = now
	return false
}

// reload reads a tenant from Redis whatever is cached. It runs in a flight.
func (c *Cache) reload(ctx context.Context, tenant id.Tenant) (*Tenant, error) {
	c.stats.loads.Add(1)
	for range raceRetries {
		t, err := c.loadTenant(ctx, tenant, "", noted{})
		if errors.Is(err, errRace) {
			continue
		}
		if errors.Is(err, errMissing) {
			if !c.absenceKnown(ctx) {
				return c.keep(tenant, unavailable(errMissing))
			}
			c.forget(tenant)
			return nil, ErrUnknownHost
		}
		return t, err
	}
	return c.keep(tenant, ErrUnavailable)
}

// loadTenant reads, verifies and installs one tenant once. host is the name whose pointer led here, since what that name's counter
// was before the pointer was read. The errors are errRace, errMissing, ErrUnknownHost (tombstone) and ErrUnavailable.
func (c *Cache) loadTenant(ctx context.Context, tenant id.Tenant, host string, since noted) (*Tenant, error) {
	a := arrival{generation: c.generation.Load(), host: host, hostSince: since, since: c.note(c.stripes.ofSubject(KindTenant, tenant))}
	raw, err := c.get(ctx, tenantKey(tenant))
	if err != nil {
		return nil, err
	}
	if raw == nil {
		return nil, errMissing
	}
	return c.accept(ctx, tenant, raw, a)
}

// arrival is what was noted before a record was read.
type arrival struct {
	generation uint64
	since      noted // of the tenant
	host       string
	hostSince  noted
	pending    uint32 // flags that the compiled tenant begins with
}

// accept verifies a tenant's record, compiles it and puts it in. A record that is refused leaves the last accepted one in force.
func (c *Cache) accept(ctx context.Context, tenant id.Tenant, raw []byte, a arrival) (*Tenant, error) {
	c.mu.Lock()
	known := c.floors.get(KindTenant, tenant)
	var same *slot
	if s := c.slots[tenant]; s != nil {
		known = s.version
		if bytes.Equal(s.record, raw) {
			same = s
		}
	}
	c.mu.Unlock()

	if same == nil {
		r, err := c.verifier.verifyTenant(tenant, raw)
		if err == nil && r.Version < known {
			err = fmt.Errorf("%w: %d, seen %d", errRollback, r.Version, known)
		}
		if err == nil && c.expired(r) {
			err = errExpired
		}
		if err != nil {
			return c.refuse(tenant, raw, err)
		}
		if r.Kind == KindTombstone {
			return nil, c.bury(tenant, r.Version, a)
		}
	}
	t, err := c.compile(ctx, tenant, raw)
	if err != nil {
		if errors.Is(err, ErrUnavailable) {
			return c.keep(tenant, err)
		}
		return c.refuse(tenant, raw, err)
	}
	return c.install(t, raw, a)
}

// expired refuses a signature that a living publisher would have renewed: an old record, kept to be shown again. Without heartbeats
// nothing expires, since a dead control plane must not take its tenants with it.
func (c *Cache) expired(r Record) bool {
	return time.Since(r.SignedAt) > MaxRecordAge && c.staleMS.Load() < time.Minute.Milliseconds() && c.heard()
}

// compile builds the view of a verified record with its org and layer as they are now.
func (c *Cache) compile(ctx context.Context, tenant id.Tenant, raw []byte) (*Tenant, error) {
	core, err := unmarshalTenant(Record{Kind: KindTenant, Subject: tenant, Version: headerVersion(raw), Body: raw[HeaderBytes:]})
	if err != nil {
		return nil, err
	}
	orgID, ok := rawID[id.Org](core.GetOrgId())
	if !ok {
		return nil, refused("org_id", "want 16 bytes")
	}
	orgDep, org, err := c.org(ctx, orgID)
	if err != nil {
		return nil, err
	}
	layer := platformLayer()
	var (
		ringDep *dependency[ringTable]
		table   *ringTable
	)
	if len(core.GetBlueprintId()) == 16 {
		if ringDep, table, err = c.ring(ctx, [16]byte(core.GetBlueprintId())); err != nil {
			return nil, err
		}
		if layer, err = c.layer(ctx, table.pick(tenant, core.GetRing())); err != nil {
			return nil, err
		}
	}
	t, err := compileTenant(raw[HeaderBytes:], core, layer, org)
	if err != nil {
		return nil, err
	}
	t.orgDep, t.ringDep, t.cache = orgDep, ringDep, c
	t.ring.Store(table)
	t.maxAge = t.MaxConfigAge.Milliseconds()
	c.stats.compiles.Add(1)
	return t, nil
}

func headerVersion(raw []byte) uint64 {
	h, err := parseHeader(raw)
	if err != nil {
		return 0
	}
	return h.version
}

// refuse reports a record that cannot be used and leaves the last accepted one in force.
func (c *Cache) refuse(tenant id.Tenant, raw []byte, cause error) (*Tenant, error) {
	c.nack(KindTenant, tenant, headerVersion(raw), cause)
	return c.keep(tenant, unavailable(cause))
}

// keep ends a refresh without a new version: what is cached goes on to be served, otherwise err is the answer. A restrictive
// announcement stays in force when Redis could not be asked, and ends when what Redis has was refused: a forged record must not be
// able to close a tenant.
func (c *Cache) keep(tenant id.Tenant, err error) (*Tenant, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slots[tenant]
	if s == nil || s.tenant == nil {
		return nil, err
	}
	t := s.tenant
	asked := isRefusal(err)
	if asked {
		t.clearFlag(flagRefresh | flagRestrictive)
		t.confirmed.Store(c.generation.Load())
		return t, nil
	}
	if t.flags.Load()&flagRestrictive != 0 {
		return nil, err
	}
	return t, nil
}

// isRefusal tells a record that was read and refused from one that could not be read.
func isRefusal(err error) bool {
	for _, r := range nackReasons {
		if errors.Is(err, r.err) {
			return true
		}
	}
	return false
}

// absenceKnown asks whether a missing key means that there is nothing: the server says that it is complete, under the epoch that
// this replica follows. It is asked after the key was found missing, so a flush in between is seen.
func (c *Cache) absenceKnown(ctx context.Context) bool {
	var m Meta
	err := c.ask(ctx, func(ctx context.Context) (err error) {
		m, err = readMeta(ctx, c.rdb)
		return err
	})
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return m.Complete && m.Epoch == c.epoch
}
