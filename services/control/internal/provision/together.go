// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// together lets callers that want the same reading share one, without a cache: what a caller gets was read after it asked. Who comes
// while a reading is under way waits for the next one, together with all others who came meanwhile.
type together[K comparable, V any] struct {
	read func(ctx context.Context, k K) (V, error)

	mu sync.Mutex
	at map[K][]chan outcome[V] // for each key that is being read: who waits for the next reading
}

type outcome[V any] struct {
	v   V
	err error
}

// togetherTime bounds a reading that several callers wait for, because it is cut off by none of them.
const togetherTime = 5 * time.Second

func newTogether[K comparable, V any](read func(context.Context, K) (V, error)) *together[K, V] {
	return &together[K, V]{read: read, at: map[K][]chan outcome[V]{}}
}

// get reads. The value is shared, so it must not be changed.
func (t *together[K, V]) get(ctx context.Context, k K) (V, error) {
	t.mu.Lock()
	if waiting, busy := t.at[k]; busy {
		ch := make(chan outcome[V], 1)
		t.at[k] = append(waiting, ch)
		t.mu.Unlock()
		select {
		case o := <-ch:
			return o.v, o.err
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
	}
	t.at[k] = nil
	t.mu.Unlock()
	defer t.next(ctx, k)
	return t.read(ctx, k)
}

// next reads for those who wait, if there are any.
func (t *together[K, V]) next(ctx context.Context, k K) {
	t.mu.Lock()
	waiting := t.at[k]
	if len(waiting) == 0 {
		delete(t.at, k)
		t.mu.Unlock()
		return
	}
	t.at[k] = nil
	t.mu.Unlock()
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), togetherTime)
		defer cancel()
		o := t.guarded(ctx, k)
		for _, ch := range waiting {
			ch <- o
		}
		t.next(ctx, k)
	}()
}

// guarded is read outside of any call that would recover.
func (t *together[K, V]) guarded(ctx context.Context, k K) (o outcome[V]) {
	defer func() {
		if p := recover(); p != nil {
			o.err = fmt.Errorf("provision: %v\n%s", p, debug.Stack())
		}
	}()
	o.v, o.err = t.read(ctx, k)
	return o
}
