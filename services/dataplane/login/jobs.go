// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"github.com/tenantry/tenantry/services/identity"
)

// jobs works jobs of the identity database: mails, where this process sends any, and logouts that clients are told of.
type jobs struct {
	identity Identity
	workers  *river.Workers
	queues   map[string]int // how many jobs of each run at a time
	timeout  time.Duration  // of one attempt
	log      *slog.Logger

	mu     sync.Mutex
	cancel context.CancelFunc
	done   chan struct{}
}

func newJobs(users Identity, log *slog.Logger) *jobs {
	return &jobs{identity: users, workers: river.NewWorkers(), queues: map[string]int{}, log: log}
}

// queue says that this process works n jobs of a queue at a time, each attempt of which takes timeout at most.
func (j *jobs) queue(name string, n int, timeout time.Duration) {
	j.queues[name], j.timeout = n, max(j.timeout, timeout)
}

// start begins to work the jobs, as soon as their database answers.
func (j *jobs) start() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cancel != nil {
		return
	}
	var ctx context.Context
	ctx, j.cancel = context.WithCancel(context.Background())
	j.done = make(chan struct{})
	go j.run(ctx, j.done)
}

// retryJobs is the pause between attempts to reach the database.
const retryJobs = 2 * time.Second

func (j *jobs) run(ctx context.Context, done chan struct{}) {
	defer close(done)
	for {
		running, err := j.begin(ctx)
		if err == nil {
			<-ctx.Done()
			// What is under way is ended by its own timeout at the latest.
			stop, cancel := context.WithTimeout(context.Background(), j.timeout+time.Second)
			defer cancel()
			if err := running.Stop(stop); err != nil {
				j.log.WarnContext(stop, "jobs did not end in time", slog.String("cause", err.Error()))
			}
			return
		}
		j.log.WarnContext(ctx, "jobs wait for the identity database", slog.String("cause", err.Error()))
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryJobs):
		}
	}
}

func (j *jobs) begin(ctx context.Context) (*identity.Jobs, error) {
	running, err := j.identity.NewJobs(identity.JobsConfig{
		Workers: j.workers, Queues: j.queues, Timeout: j.timeout + 10*time.Second, Logger: j.log,
	})
	if err != nil {
		return nil, err
	}
	return running, running.Start(ctx)
}

// stop ends the work. It may be called twice, and without start.
func (j *jobs) stop(ctx context.Context) {
	j.mu.Lock()
	cancel, done := j.cancel, j.done
	j.mu.Unlock()
	if cancel == nil {
		return
	}
	cancel()
	select {
	case <-done:
	case <-ctx.Done():
	}
}
