// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package daemon is the life of a Tenantry process around its services: reading the configuration, logging, telemetry,
// listeners with bounds, health, and an orderly start and end.
//
// It owns nothing that a service does. A main loads a configuration ([LoadConfig]), makes a [Process], builds its services
// with the process's logger and listeners, and hands them to [Process.Run] as components:
//
//	start, in order ──► all started: ready ──► signal, or a component failed
//	      │                                              │
//	      └─ one fails ─► stop what was started          ▼
//	                                        draining: not ready, still serving (Drain.Delay, for load balancers)
//	                                                     │
//	                                                     ▼
//	                                        stop, in reverse order, within Drain.Timeout ──► end
//
// A second signal ends the process at once. The admin listener (health, readiness, metrics) starts before the components
// and stops after them, so that a start that hangs and a drain can be watched. It is for operators' networks, never for
// tenant hosts.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.opentelemetry.io/otel"
)

// Config is the part of each service's configuration file that this package reads. It is embedded with `yaml:",inline"`.
type Config struct {
	// Log says what is logged and how.
	Log LogConfig `yaml:"log"`
	// Telemetry says where traces go.
	Telemetry TelemetryConfig `yaml:"telemetry"`
	// Admin is the listener of /healthz, /readyz and /metrics. An empty address means none.
	Admin HTTPConfig `yaml:"admin"`
	// Drain says how the process ends.
	Drain DrainConfig `yaml:"drain"`
}

// DrainConfig bounds the end of a process.
type DrainConfig struct {
	// Delay is how long the process still serves while it says that it is not ready, so that load balancers stop sending
	// first. 0 where nothing balances.
	Delay Duration `yaml:"delay"`
	// Timeout is how long components may take to finish what they have begun. Default 30 s.
	Timeout Duration `yaml:"timeout"`
}

// Validate implements [Validator].
func (c *DrainConfig) Validate(k *Check) {
	if c.Delay < 0 || c.Delay > Duration(5*time.Minute) {
		k.Fail("delay", "must be between 0s and 5m")
	}
	if c.Timeout < 0 || c.Timeout > Duration(time.Hour) {
		k.Fail("timeout", "must be between 0s (the default) and 1h")
	}
}

const defaultDrainTimeout = 30 * time.Second

// Process is what the services of one process share.
type Process struct {
	// Log is the process's logger.
	Log *slog.Logger
	// Health holds the named checks that readiness depends on.
	Health *Health
	// Telemetry holds the providers of traces and metrics.
	Telemetry *Telemetry

	cfg   Config
	admin *HTTPServer
}

// NewProcess sets up logging to w, telemetry and the admin listener's handlers. The service's name and version appear in
// logs and traces. Nothing listens before Run. The telemetry providers also become OpenTelemetry's global ones, where
// libraries look for them; so a process makes one Process.
func NewProcess(ctx context.Context, service, version string, cfg Config, w io.Writer) (*Process, error) {
	log := NewLogger(w, cfg.Log).With(slog.String("service", service), slog.String("version", version))
	telemetry, err := newTelemetry(ctx, cfg.Telemetry, service, version)
	if err != nil {
		return nil, err
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("telemetry", slog.Any("error", err)) }))
	p := &Process{Log: log, Health: new(Health), Telemetry: telemetry, cfg: cfg}
	if cfg.Admin.Address != "" {
		p.admin = p.NewHTTPServer("admin", cfg.Admin, p.adminHandler())
	}
	return p, nil
}

// AdminAddr is where the admin listener listens, "" when there is none or before Run has started it.
func (p *Process) AdminAddr() string {
	if p.admin == nil {
		return ""
	}
	return p.admin.Addr()
}

// Component is a part of a process with a life of its own. The zero value does nothing.
type Component struct {
	// Name is for logs and errors.
	Name string
	// Start returns when the component works, or why it cannot. Its context bounds the start, not the life.
	Start func(ctx context.Context) error
	// Stop finishes what was begun, until the context ends; then it breaks off and returns the context's error. It is called
	// once for each Start that succeeded.
	Stop func(ctx context.Context) error
	// Failed gives the error with which a started component has ended by itself. Nil for one that cannot.
	Failed <-chan error
}

// Group starts components in order and stops them in reverse.
type Group struct {
	log     *slog.Logger
	started []Component
	failed  chan error
}

// Start starts each component after the one before it. When one fails, those before it are stopped again.
func (g *Group) Start(ctx context.Context, log *slog.Logger, components ...Component) error {
	g.log, g.failed = log, make(chan error, 1)
	for _, c := range components {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, g.Stop(context.WithoutCancel(ctx)))
		}
		if c.Start != nil {
			begin := time.Now()
			if err := c.Start(ctx); err != nil {
				return errors.Join(fmt.Errorf("start %s: %w", c.Name, err), g.Stop(context.WithoutCancel(ctx)))
			}
			log.DebugContext(ctx, "component started", slog.String("component", c.Name), slog.Duration("took", time.Since(begin)))
		}
		g.started = append(g.started, c)
		if c.Failed != nil {
			go func() {
				if err, ok := <-c.Failed; ok && err != nil {
					select {
					case g.failed <- fmt.Errorf("%s: %w", c.Name, err):
					default: // the first failure is the one that counts
					}
				}
			}()
		}
	}
	return nil
}

// Failed gives the first error with which a started component has ended by itself.
func (g *Group) Failed() <-chan error { return g.failed }

// Stop stops what was started, the last first, each with what is left of the context's time, and joins the errors. A second
// call does nothing.
func (g *Group) Stop(ctx context.Context) error {
	var errs []error
	for n := len(g.started); n > 0; n-- {
		c := g.started[n-1]
		g.started = g.started[:n-1]
		if c.Stop == nil {
			continue
		}
		begin := time.Now()
		if err := c.Stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", c.Name, err))
		}
		g.log.DebugContext(ctx, "component stopped", slog.String("component", c.Name), slog.Duration("took", time.Since(begin)))
	}
	return errors.Join(errs...)
}

// exit ends the process at a second signal. Tests replace it.
var exit = os.Exit

// Run starts the components, serves until SIGTERM, SIGINT, the end of ctx or the failure of a component, then drains and
// stops them. It returns nil after an orderly end that was asked for.
func (p *Process) Run(ctx context.Context, components ...Component) error {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	return p.run(ctx, signals, components)
}

func (p *Process) run(ctx context.Context, signals <-chan os.Signal, components []Component) error {
	// A signal during the start breaks it off.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watching := make(chan struct{})
	defer close(watching)
	go func() {
		select {
		case s := <-signals:
			cancel(signalError{s})
		case <-watching:
			return
		}
		select {
		case s := <-signals:
			p.Log.Warn("second signal, ending at once", slog.String("signal", s.String()))
			exit(128 + int(s.(syscall.Signal))) // os/signal gives no other on unix
		case <-watching:
		}
	}()

	begin := time.Now()
	all := components
	if p.admin != nil {
		all = append([]Component{p.admin.Component()}, components...)
	}
	var group Group
	if err := group.Start(ctx, p.Log, all...); err != nil {
		p.endTelemetry(context.WithoutCancel(ctx))
		if stopped := asked(ctx); stopped != nil && errors.Is(err, context.Canceled) {
			p.Log.Info("stopped during start", slog.String("reason", stopped.Error()))
			return nil
		}
		return err
	}
	p.Health.setStarted()
	p.Log.Info("ready", slog.Duration("took", time.Since(begin)))

	var failure error
	select {
	case <-ctx.Done():
		p.Log.Info("draining", slog.String("reason", context.Cause(ctx).Error()))
		p.Health.setDraining()
		select {
		case <-time.After(time.Duration(p.cfg.Drain.Delay)):
		case failure = <-group.Failed():
		}
	case failure = <-group.Failed():
		p.Health.setDraining()
		p.Log.Error("component failed, stopping", slog.Any("error", failure))
	}

	timeout := time.Duration(p.cfg.Drain.Timeout)
	if timeout == 0 {
		timeout = defaultDrainTimeout
	}
	stopping, done := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer done()
	begin = time.Now()
	err := errors.Join(failure, group.Stop(stopping))
	p.endTelemetry(stopping)
	p.Log.Info("stopped", slog.Duration("took", time.Since(begin)))
	return err
}

// endTelemetry exports what is left, for a few seconds at most: a collector that is gone does not make the end a failed one.
func (p *Process) endTelemetry(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := p.Telemetry.shutdown(ctx); err != nil {
		p.Log.Warn("traces lost at the end", slog.Any("error", err))
	}
}

// signalError is the cause of an end that a signal asked for.
type signalError struct{ os.Signal }

// Error implements error.
func (e signalError) Error() string { return "signal: " + e.String() }

// asked is the signal that ended ctx, or nil.
func asked(ctx context.Context) error {
	var s signalError
	if errors.As(context.Cause(ctx), &s) {
		return s
	}
	return nil
}
