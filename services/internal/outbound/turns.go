// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"errors"
	"sync"
)

const (
	defaultPerHost = 8
	defaultTotal   = 256
)

// turns bounds the calls at a time, per host and in all: a slow host holds its own turns and not everybody's. Hosts without calls take no
// memory.
type turns struct {
	perHost int
	total   chan struct{}

	mu    sync.Mutex
	hosts map[string]*hostTurns
}

type hostTurns struct {
	slots chan struct{}
	users int // holding or waiting; under turns.mu
}

func newTurns(perHost, total int) *turns {
	if perHost <= 0 {
		perHost = defaultPerHost
	}
	if total <= 0 {
		total = defaultTotal
	}
	return &turns{perHost: perHost, total: make(chan struct{}, total), hosts: map[string]*hostTurns{}}
}

// take waits for a turn with the host and returns what gives it back. ErrBusy when the context ends first.
func (t *turns) take(ctx context.Context, host string) (done func(), err error) {
	t.mu.Lock()
	h := t.hosts[host]
	if h == nil {
		h = &hostTurns{slots: make(chan struct{}, t.perHost)}
		t.hosts[host] = h
	}
	h.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(t.hosts, host)
		}
	}
	// The host's turn first: who waits for a slow host must not hold one of all.
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		leave()
		return nil, fail(ErrBusy, errors.New("per host"))
	}
	select {
	case t.total <- struct{}{}:
	case <-ctx.Done():
		<-h.slots
		leave()
		return nil, fail(ErrBusy, errors.New("in all"))
	}
	return func() {
		<-t.total
		<-h.slots
		leave()
	}, nil
}
