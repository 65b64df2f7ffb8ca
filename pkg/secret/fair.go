// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package secret

import (
	"context"
	"errors"
	"sync"

	"github.com/tenantry/tenantry/pkg/id"
)

// ErrBusy is returned when the queue of password work is full. Callers answer 503 with Retry-After (or 429): the work was not
// started and may be tried again.
var ErrBusy = errors.New("secret: too many passwords wait to be checked")

// fairSlots hands out a fixed number of slots. Who waits stands in the line of its tenant; a freed slot goes to the head of the
// next tenant's line, round robin, so a tenant waits for at most one turn of each other tenant, however long their lines are.
//
// When the queue is full, the tenant with the longest line pays: its newest waiter is turned away to let in a tenant whose line is
// shorter by two or more. So one tenant's flood can fill what is free, and cannot shut the door on another.
//
// It has no goroutine of its own: who releases a slot passes it on.
type fairSlots struct {
	mu    sync.Mutex
	free  int
	room  int // how many more may wait
	lines map[id.Tenant]*line
	next  *line // ring of tenants that have waiters, in turn order; nil when nobody waits
}

// line is one tenant's waiters, oldest first, in the ring of lines.
type line struct {
	tenant     id.Tenant
	prev, next *line
	head, tail *waiter
	length     int
}

type waiter struct {
	line       *line // nil once it left the line
	prev, next *waiter
	// turn is closed when the wait is over; granted says how.
	turn    chan struct{}
	granted bool
}

func newFairSlots(slots, queue int) *fairSlots {
	return &fairSlots{free: slots, room: queue, lines: make(map[id.Tenant]*line)}
}

// acquire waits for a slot: nil, ErrBusy, or the context's error. After nil the caller owes one release.
func (f *fairSlots) acquire(ctx context.Context, tenant id.Tenant) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	if f.free > 0 {
		f.free--
		f.mu.Unlock()
		return nil
	}
	if f.room == 0 && !f.makeRoom(tenant) {
		f.mu.Unlock()
		return ErrBusy
	}
	w := f.enqueue(tenant)
	f.mu.Unlock()

	select {
	case <-w.turn:
	case <-ctx.Done():
		f.mu.Lock()
		if w.line != nil {
			f.remove(w)
			f.mu.Unlock()
			return ctx.Err()
		}
		f.mu.Unlock()
		// The turn came at the same moment. Taking it and giving it back keeps one path for passing slots on.
		<-w.turn
		if w.granted {
			f.release()
		}
		return ctx.Err()
	}
	if !w.granted {
		return ErrBusy
	}
	return nil
}

// release passes the caller's slot to the next tenant's oldest waiter, or frees it.
func (f *fairSlots) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.next
	if l == nil {
		f.free++
		return
	}
	f.next = l.next // the turn moves on before the line may vanish
	f.finish(l.head, true)
}

// waiting is the number of waiters.
func (f *fairSlots) waiting() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.lines {
		n += l.length
	}
	return n
}

// makeRoom turns away the newest waiter of the longest line if that leaves the lines more even. Finding it is a walk over the
// tenants that wait, at most as many as the queue is long, and only when the queue is full: nothing beside one argon2id.
func (f *fairSlots) makeRoom(tenant id.Tenant) bool {
	var longest *line
	for _, l := range f.lines {
		if longest == nil || l.length > longest.length {
			longest = l
		}
	}
	own := 0
	if l := f.lines[tenant]; l != nil {
		own = l.length
	}
	if longest == nil || longest.length < own+2 {
		return false
	}
	f.finish(longest.tail, false)
	return true
}

func (f *fairSlots) finish(w *waiter, granted bool) {
	f.remove(w)
	w.granted = granted
	close(w.turn)
}

// enqueue puts a new waiter at the end of its tenant's line, and a new line at the end of the ring: just before the next turn.
func (f *fairSlots) enqueue(tenant id.Tenant) *waiter {
	l := f.lines[tenant]
	if l == nil {
		l = &line{tenant: tenant}
		f.lines[tenant] = l
		if f.next == nil {
			l.prev, l.next = l, l
			f.next = l
		} else {
			l.prev, l.next = f.next.prev, f.next
			l.prev.next, l.next.prev = l, l
		}
	}
	w := &waiter{line: l, prev: l.tail, turn: make(chan struct{})}
	if l.tail == nil {
		l.head = w
	} else {
		l.tail.next = w
	}
	l.tail = w
	l.length++
	f.room--
	return w
}

// remove takes a waiter out of its line, and an empty line out of the ring.
func (f *fairSlots) remove(w *waiter) {
	l := w.line
	if w.prev == nil {
		l.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.line, w.prev, w.next = nil, nil, nil
	l.length--
	f.room++
	if l.length > 0 {
		return
	}
	delete(f.lines, l.tenant)
	if l.next == l {
		f.next = nil
		return
	}
	l.prev.next, l.next.prev = l.next, l.prev
	if f.next == l {
		f.next = l.next
	}
}
