// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantry/tenantry/pkg/jose"
)

// The times of the key cache.
const (
	defaultFresh = 5 * time.Minute // when the answer has no Cache-Control
	minFresh     = time.Minute
	maxFresh     = time.Hour
	// maxStale is how long keys are kept when the issuer is away. Then nothing counts: for as long, nobody could revoke a key.
	maxStale = 24 * time.Hour
	// unknownKeyPause is between two looks for a key id that is not there; what strangers write into a kid must not make us call.
	unknownKeyPause = time.Minute
	// failurePause is between two tries of an issuer that does not answer.
	failurePause = 5 * time.Second
	// missingLife is how long a host without an issuer is remembered as such.
	missingLife = 30 * time.Second
	// fetchTimeout bounds discovery and keys together.
	fetchTimeout = 8 * time.Second
	// maxFetches bounds the fetches under way; more of them wait.
	maxFetches = 16
)

// errNoIssuer says that nobody is the issuer at its address, or somebody else.
var errNoIssuer = errors.New("verify: no such issuer")

// issuer is one issuer's endpoints and keys. The state is replaced whole; what is fetched is used by whoever comes next.
type issuer struct {
	name  string
	state atomic.Pointer[issuerState]

	mu     sync.Mutex
	flight *flight   // the fetch under way
	tried  time.Time // when the last fetch began
	failed bool      // what it ended with
}

// issuerState is what a fetch found.
type issuerState struct {
	set           *jose.KeySet
	introspection string
	fetched       time.Time
	fresh         time.Time // until when
}

// flight is a fetch that others wait for.
type flight struct {
	done chan struct{}
	err  error
}

// issuers is a bounded cache: the least recently used issuer makes room. Issuers enter it with their first keys, so a stranger who makes up
// hostnames pushes nobody out; those are remembered apart.
type issuers struct {
	client *http.Client
	now    func() time.Time
	max    int
	slots  chan struct{}

	mu      sync.Mutex
	byName  map[string]*list.Element // of *issuer
	recent  *list.List
	pending map[string]*issuer // met, not yet fetched
	missing map[string]missing
}

type missing struct {
	err   error
	until time.Time
}

func newIssuers(client *http.Client, limit int, now func() time.Time) *issuers {
	return &issuers{
		client: client, now: now, max: limit, slots: make(chan struct{}, maxFetches),
		byName: map[string]*list.Element{}, recent: list.New(), pending: map[string]*issuer{}, missing: map[string]missing{},
	}
}

// get is the issuer with keys that may be used. The first call for an issuer waits for them; later ones have them at once, renewed in the
// background when they are no longer fresh.
func (s *issuers) get(ctx context.Context, name string) (*issuer, error) {
	now := s.now()
	s.mu.Lock()
	if e := s.byName[name]; e != nil {
		s.recent.MoveToFront(e)
		i := e.Value.(*issuer)
		s.mu.Unlock()
		return i, s.renew(ctx, i, now)
	}
	if m, ok := s.missing[name]; ok && now.Before(m.until) {
		s.mu.Unlock()
		return nil, m.err
	}
	i := s.pending[name]
	if i == nil {
		if len(s.pending) >= s.max {
			s.mu.Unlock()
			return nil, fmt.Errorf("%w: too many new issuers at a time", ErrUnavailable)
		}
		i = &issuer{name: name}
		s.pending[name] = i
	}
	f := s.fetch(i, now) // under the lock, so that it is the fetch that ends the issuer's being pending
	s.mu.Unlock()
	if err := s.wait(ctx, f); err != nil {
		return nil, err
	}
	return i, nil
}

// renew looks after keys that were used before.
func (s *issuers) renew(ctx context.Context, i *issuer, now time.Time) error {
	state := i.state.Load()
	if now.Before(state.fresh) {
		return nil
	}
	i.mu.Lock()
	pause := i.failed && now.Before(i.tried.Add(failurePause)) && i.flight == nil
	i.mu.Unlock()
	stale := now.After(state.fetched.Add(maxStale))
	if pause {
		if stale {
			return fmt.Errorf("%w: the issuer has been away for too long", ErrUnavailable)
		}
		return nil
	}
	f := s.fetch(i, now)
	if stale {
		return s.wait(ctx, f)
	}
	return nil
}

// lookAgain is for a token whose key is not in the state that the caller has: it fetches the keys, at most once a minute, and answers the
// state to look into then, or nil when there is no other. That the issuer is away is no error: with the keys that we have, the token does not
// count.
func (s *issuers) lookAgain(ctx context.Context, i *issuer, had *issuerState) (*issuerState, error) {
	now := s.now()
	i.mu.Lock()
	pause := i.flight == nil && now.Before(i.tried.Add(unknownKeyPause))
	i.mu.Unlock()
	if i.state.Load() == had && !pause {
		if err := s.wait(ctx, s.fetch(i, now)); err != nil && ctx.Err() != nil {
			return nil, err
		}
	}
	if state := i.state.Load(); state != had {
		return state, nil
	}
	return nil, nil
}

// wait is for the end of a fetch, or of the caller's patience.
func (s *issuers) wait(ctx context.Context, f *flight) error {
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fetch starts a fetch, or joins the one under way. It belongs to nobody's request, since many may wait for it.
func (s *issuers) fetch(i *issuer, now time.Time) *flight {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.flight != nil {
		return i.flight
	}
	f := &flight{done: make(chan struct{})}
	i.flight, i.tried = f, now
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
		defer cancel()
		var state *issuerState
		var err error
		select {
		case s.slots <- struct{}{}:
			state, err = s.load(ctx, i.name)
			<-s.slots
		case <-ctx.Done():
			err = fmt.Errorf("%w: too many issuers to ask", ErrUnavailable)
		}
		s.settle(i, f, state, err)
	}()
	return f
}

// settle ends a fetch: the state is there before the waiting are woken, and the issuer is where get looks before another fetch can begin.
func (s *issuers) settle(i *issuer, f *flight, state *issuerState, err error) {
	if err == nil {
		i.state.Store(state)
	} else if errors.Is(err, errNoIssuer) {
		err = invalidToken("No issuer answers for this host", err)
	}
	s.mu.Lock()
	if s.pending[i.name] == i {
		delete(s.pending, i.name)
		if err == nil {
			s.enter(i)
		} else {
			s.remember(i.name, err)
		}
	}
	s.mu.Unlock()

	i.mu.Lock()
	i.flight, i.failed = nil, err != nil
	i.mu.Unlock()
	f.err = err
	close(f.done)
}

// enter adds an issuer that has keys; the oldest makes room.
func (s *issuers) enter(i *issuer) {
	delete(s.missing, i.name)
	s.byName[i.name] = s.recent.PushFront(i)
	for s.recent.Len() > s.max {
		last := s.recent.Back()
		s.recent.Remove(last)
		delete(s.byName, last.Value.(*issuer).name)
	}
}

// remember notes that an issuer could not be had: for half a minute when there is none, for seconds when it is away.
func (s *issuers) remember(name string, err error) {
	now := s.now()
	if len(s.missing) >= s.max {
		for n, m := range s.missing {
			if !now.Before(m.until) {
				delete(s.missing, n)
			}
		}
	}
	if len(s.missing) >= s.max {
		clear(s.missing) // all of them made up within half a minute: the fetches are bounded, and that has to do
	}
	life := failurePause
	if errors.Is(err, errNoIssuer) {
		life = missingLife
	}
	s.missing[name] = missing{err: err, until: now.Add(life)}
}
