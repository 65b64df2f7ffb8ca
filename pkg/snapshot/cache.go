// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/singleflight"

	"github.com/tenantry/tenantry/pkg/id"
)

// What a lookup may answer beside a tenant. The first two are returned as they are, so that a refusal costs no allocation.
var (
	// ErrUnknownHost: nobody is served at this host. Unknown, suspended and deleted tenants and tenants of inactive orgs are the same.
	ErrUnknownHost = errors.New("snapshot: unknown host")
	// ErrUnavailable: it cannot be said now. Callers answer 503 with Retry-After: 1.
	ErrUnavailable = errors.New("snapshot: configuration unavailable")
	// ErrUnknownTenant: no tenant of this id is served.
	ErrUnknownTenant = errors.New("snapshot: unknown tenant")
)

// Config is what a Cache needs. Redis and Verifier are required.
type Config struct {
	Redis    redis.UniversalClient
	Verifier *Verifier
	// MaxBytes bounds what is cached, by estimate; 0 means 256 MiB.
	MaxBytes int64
	// Logger takes what an operator should see; nil discards it.
	Logger *slog.Logger
	// Replica names this process in the fleet, uniquely; empty means host name and process id.
	Replica string
	// Build is the version of the program, reported to the fleet.
	Build string
	// NotFoundPerSecond bounds how many unknown hosts a second may be asked of Redis; 0 means 500.
	NotFoundPerSecond int
}

// Cache answers which tenant a hostname belongs to. It loads lazily, follows the change streams, and never trusts what is not signed.
// It is safe for concurrent use.
type Cache struct {
	rdb      redis.UniversalClient
	verifier *Verifier
	log      *slog.Logger
	replica  string
	build    string
	maxBytes int64

	documents documentSource

	hosts      hostTable
	generation atomic.Uint64 // grows when entries may have been missed
	staleMS    atomic.Int64  // age of the configuration in milliseconds
	bytes      atomic.Int64  // estimate of what is cached

	mu        sync.Mutex
	slots     map[id.Tenant]*slot
	head      *slot // of the eviction order: newest
	tail      *slot
	hand      *slot
	orgs      map[id.Org]*dependency[compiledOrg]
	rings     map[[16]byte]*dependency[ringTable]
	layers    map[[32]byte]*layerEntry
	stripes   stripes
	floors    floors
	negatives negatives
	newest    time.Time // when the last negative was put in
	epoch     string    // adopted; empty: none yet
	complete  bool

	flights singleflight.Group
	budget  budget
	breaker breaker
	nacks   nackReporter
	lanes   [Lanes]laneState
	stats   counters
	pace    atomic.Int64
	reports uint64 // by the reporting goroutine alone

	follower *follower
	sweepNow chan struct{}

	start sync.Once
	stop  context.CancelFunc
	done  sync.WaitGroup
	life  sync.Mutex
}

// Open makes a cache. It does not ask Redis, which may be down: until Start has found its place in the change streams, lookups load
// but believe nothing absent.
func Open(cfg Config) (*Cache, error) {
	if cfg.Redis == nil || cfg.Verifier == nil {
		return nil, errors.New("snapshot: Config needs Redis and Verifier")
	}
	c := &Cache{
		rdb: cfg.Redis, verifier: cfg.Verifier, log: cfg.Logger, replica: cfg.Replica, build: cfg.Build, maxBytes: cfg.MaxBytes,
		slots: map[id.Tenant]*slot{}, orgs: map[id.Org]*dependency[compiledOrg]{}, rings: map[[16]byte]*dependency[ringTable]{},
		layers: map[[32]byte]*layerEntry{}, sweepNow: make(chan struct{}, 1),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.maxBytes <= 0 {
		c.maxBytes = 256 << 20
	}
	if c.replica == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "replica"
		}
		c.replica = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	rate := cfg.NotFoundPerSecond
	if rate <= 0 {
		rate = 500
	}
	c.budget = budget{rate: float64(rate), tokens: float64(rate)}
	c.hosts.init()
	c.stripes.seed = maphash.MakeSeed()
	c.floors = floors{seed: maphash.MakeSeed(), cells: make([]floor, floorCells)}
	c.negatives.reset()
	c.nacks.init()
	c.generation.Store(1)
	now := time.Now()
	for i := range c.lanes {
		c.lanes[i].heard.Store(now.UnixMilli())
	}
	return c, nil
}

// Lookup finds the tenant that serves a host; host is the raw Host header of a request. A hit takes no lock, allocates nothing and
// never waits for Redis. The errors are ErrUnknownHost and ErrUnavailable (both may be wrapped), and those of ctx.
func (c *Cache) Lookup(ctx context.Context, host string) (*Tenant, error) {
	if h, ok := hostShape(host); ok {
		if e := c.hosts.get(h); e != nil {
			if t := e.cur.Load(); t != nil {
				switch c.judge(t) {
				case served:
					return t, nil
				case closed:
					return nil, ErrUnknownHost
				case attention:
				}
			}
		}
	}
	return c.lookupSlow(ctx, host)
}

// verdict is what a cached tenant is good for right now.
type verdict uint8

const (
	attention verdict = iota // something about it has to be done first
	served
	closed
)

// judge decides about a cached tenant from a few loads.
func (c *Cache) judge(t *Tenant) verdict {
	if f := t.flags.Load(); f != flagVisited {
		if f != 0 {
			return attention
		}
		t.setFlag(flagVisited)
	}
	if t.confirmed.Load() != c.generation.Load() || c.staleMS.Load() > t.maxAge {
		return attention
	}
	if !t.inForce() {
		if t.outdated() {
			return attention
		}
		if org := t.orgDep.cur.Load(); org == nil || !org.active {
			return attention
		}
	}
	if !t.serving {
		return closed
	}
	return served
}

// lookupSlow is Lookup for whatever is not simply there.
func (c *Cache) lookupSlow(ctx context.Context, raw string) (*Tenant, error) {
	host, err := NormalizeHost(raw)
	if err != nil {
		return nil, ErrUnknownHost
	}
	if e := c.hosts.get(host); e != nil {
		t, err := c.attend(ctx, e.slot)
		if err != nil {
			return nil, err
		}
		// The tenant may have lost this host meanwhile; then the pointer decides.
		if t != nil && t.hasHost(host) {
			return c.admit(t)
		}
	}
	now := time.Now()
	c.mu.Lock()
	negative := c.negatives.get(host, now, &c.stripes)
	if negative == nil && !c.budget.has(now) {
		negative = ErrUnavailable
		c.stats.throttled.Add(1)
	}
	c.mu.Unlock()
	if negative != nil {
		c.stats.negativeHits.Add(1)
		return nil, negative
	}
	t, err := c.fly(ctx, "h"+host, func(ctx context.Context) (*Tenant, error) { return c.loadHost(ctx, strings.Clone(host)) })
	if err != nil {
		return nil, err
	}
	return c.admit(t)
}

// admit is the last check of what was not simply there.
func (c *Cache) admit(t *Tenant) (*Tenant, error) {
	switch {
	case !t.serving:
		return nil, ErrUnknownHost
	case c.staleMS.Load() > t.maxAge:
		return nil, unavailable(errStale)
	}
	return t, nil
}

// fly runs one load per key at a time, detached from the caller's own patience: a caller that gives up does not fail the others.
func (c *Cache) fly(ctx context.Context, key string, load func(context.Context) (*Tenant, error)) (*Tenant, error) {
	ch := c.flights.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loadTimeout)
		defer cancel()
		return load(ctx)
	})
	select {
	case r := <-ch:
		if r.Err != nil {
			return nil, r.Err
		}
		t, _ := r.Val.(*Tenant)
		return t, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Tenant finds a tenant by its id, for work that has no request: mail, jobs. The errors are ErrUnknownTenant, ErrUnavailable, and
// those of ctx.
func (c *Cache) Tenant(ctx context.Context, tenant id.Tenant) (*Tenant, error) {
	t, err := c.byID(ctx, tenant)
	if err == nil {
		t, err = c.admit(t)
	}
	if errors.Is(err, ErrUnknownHost) {
		err = ErrUnknownTenant
	}
	return t, err
}

func (c *Cache) byID(ctx context.Context, tenant id.Tenant) (*Tenant, error) {
	if tenant.IsZero() {
		return nil, ErrUnknownHost
	}
	c.mu.Lock()
	s := c.slots[tenant]
	c.mu.Unlock()
	if s != nil {
		if t, err := c.attend(ctx, s); t != nil || err != nil {
			return t, err
		}
	}
	return c.fly(ctx, tenantFlight(tenant), func(ctx context.Context) (*Tenant, error) { return c.reload(ctx, tenant) })
}

func tenantFlight(t id.Tenant) string { return "t" + string(t[:]) }

// Fresh is Lookup, at least as fresh as a consistency token that the control plane gave out. A token that is malformed, not signed
// by a pinned key, or about nothing newer than what is cached changes nothing. When Redis is still behind the token the answer is
// ErrUnavailable: the caller's own change is not here yet.
func (c *Cache) Fresh(ctx context.Context, host, token string) (*Tenant, error) {
	tok, ok := parseConsistencyToken(token)
	if !ok || tok.version == 0 || tok.version > MaxVersion {
		return c.Lookup(ctx, host)
	}
	if c.knownVersion(tok.tenant) < tok.version && c.verifier.verifyToken(&tok) {
		// Not through negatives: they may be what the token is to skip. The load puts the tenant's hosts in, which ends them.
		_, err := c.fly(ctx, tenantFlight(tok.tenant), func(ctx context.Context) (*Tenant, error) { return c.reload(ctx, tok.tenant) })
		if err != nil && !errors.Is(err, ErrUnknownHost) {
			return nil, err
		}
		if c.knownVersion(tok.tenant) < tok.version {
			return nil, ErrUnavailable
		}
	}
	return c.Lookup(ctx, host)
}

// knownVersion is the highest version of a tenant that this replica has verified and remembers.
func (c *Cache) knownVersion(tenant id.Tenant) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.slots[tenant]; s != nil {
		return s.version
	}
	return c.floors.get(KindTenant, tenant)
}
