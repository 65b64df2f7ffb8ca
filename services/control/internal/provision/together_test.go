// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTogetherIsNeverOlderThanTheQuestion(t *testing.T) {
	var version atomic.Int64
	reads := 0
	synctest.Test(t, func(t *testing.T) {
		r := newTogether(func(context.Context, string) (int64, error) {
			reads++
			v := version.Load()
			time.Sleep(time.Second)
			return v, nil
		})
		var all sync.WaitGroup
		ask := func(atLeast int64) {
			all.Go(func() {
				if got, err := r.get(t.Context(), "k"); err != nil || got < atLeast {
					t.Errorf("read %d, want at least %d (%v)", got, atLeast, err)
				}
			})
		}
		ask(0)
		time.Sleep(500 * time.Millisecond)
		version.Store(1) // while the first reading is under way
		for range 50 {
			ask(1)
		}
		time.Sleep(time.Second) // the second one is
		version.Store(2)
		for range 50 {
			ask(2)
		}
		all.Wait()
		synctest.Wait()
		if reads != 3 {
			t.Errorf("%d readings for 101 questions, want 3", reads)
		}
		if len(r.at) != 0 {
			t.Errorf("%d keys are left", len(r.at))
		}
	})
}

func TestTogetherSurvivesCallersThatGiveUpAndReadingsThatPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := errors.New("no database")
		var n int
		r := newTogether(func(ctx context.Context, _ string) (int, error) {
			n++
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return 0, ctx.Err()
			}
			if n == 2 {
				panic("a bug")
			}
			return n, fail
		})
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := r.get(short, "k"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the first: %v", err)
			}
		})
		synctest.Wait()
		all.Go(func() {
			if _, err := r.get(t.Context(), "k"); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the second suffers from the first: %v", err)
			}
		})
		all.Wait()
		synctest.Wait()
		if _, err := r.get(t.Context(), "k"); !errors.Is(err, fail) || len(r.at) != 0 {
			t.Errorf("after a panic: %v, %d keys are left", err, len(r.at))
		}
	})
}
