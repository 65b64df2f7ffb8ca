// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// Health tells orchestrators and operators how a process is. It is ready when its components have started, it is not
// draining, and each named check succeeds. Its zero value has no checks and has not started.
type Health struct {
	mu       sync.Mutex
	checks   []*check
	started  bool
	draining bool
	onDrain  []func()
}

// check is one named condition of readiness, with its last result.
type check struct {
	name string
	f    func(context.Context) error

	mu   sync.Mutex // held while it runs, so that many probes make one call
	at   time.Time
	last error
}

const (
	checkTimeout = time.Second
	checkKeeps   = time.Second // how long a result is good for
)

// Check adds a condition of readiness. It should fail only where this process must get no requests, not for a dependency
// whose loss the service is built to survive. It is called at most once a second and has one second.
func (h *Health) Check(name string, f func(ctx context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, &check{name: name, f: f})
}

func (h *Health) setStarted() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.started = true
}

func (h *Health) setDraining() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining {
		return
	}
	h.draining = true
	for _, f := range h.onDrain {
		f()
	}
}

// whenDraining calls f at the begin of the drain.
func (h *Health) whenDraining(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onDrain = append(h.onDrain, f)
}

// Readiness is the answer of /readyz.
type Readiness struct {
	// Status is "ready", "starting", "draining" or "failing".
	Status string `json:"status"`
	// Checks has "ok" or what failed, by name.
	Checks map[string]string `json:"checks,omitempty"`
}

// Ready runs the checks at once and side by side.
func (h *Health) Ready(ctx context.Context) Readiness {
	h.mu.Lock()
	checks, started, draining := h.checks, h.started, h.draining
	h.mu.Unlock()

	results := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() { results[i] = c.run(ctx) })
	}
	wg.Wait()
	r := Readiness{Status: "ready", Checks: make(map[string]string, len(checks))}
	for i, c := range checks {
		r.Checks[c.name] = "ok"
		if results[i] != nil {
			r.Status, r.Checks[c.name] = "failing", results[i].Error()
		}
	}
	switch {
	case draining:
		r.Status = "draining"
	case !started:
		r.Status = "starting"
	}
	return r
}

func (c *check) run(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && time.Since(c.at) < checkKeeps {
		return c.last
	}
	// Of the caller only the values: a probe that hangs up must not become the next one's result.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
	defer cancel()
	c.last, c.at = c.f(ctx), time.Now()
	return c.last
}

// adminHandler answers /healthz (the process runs), /readyz (it wants requests) and /metrics.
func (p *Process) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ready := p.Health.Ready(r.Context())
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if ready.Status != "ready" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(ready)
	})
	mux.Handle("GET /metrics", p.Telemetry)
	return mux
}
