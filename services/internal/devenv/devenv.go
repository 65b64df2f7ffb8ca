// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package devenv is `tenantry dev`: a whole Tenantry on one machine, behind `make run`.
//
// It owns what an operator does in production: servers, databases and roles, key files, migrations, the first platform key,
// the bootstrap file. The services are made by the same constructors as in their own programs, and are not told that they run
// here. What is special about this environment (a private PostgreSQL and Redis, an inbox instead of mail) is around them.
//
//	lock, ports ─► servers ─► databases, keys, migrations ─► services ─► platform key, bootstrap, sample apps ─► ready
//	     each step is repeated safely by the next start, whatever a kill -9 left behind      Ctrl-C ─► stop in reverse
package devenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/tenantry/tenantry/pkg/localserver"
	"github.com/tenantry/tenantry/services/control"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/keyfiles"
)

// Options of Run.
type Options struct {
	// Root is the checkout, with deploy/ in it; Dir the directory for everything that is made (.run below Root).
	Root, Dir string
	// PortOffset moves all ports.
	PortOffset int
	// Apply brings the running control plane to the bootstrap file.
	Apply ApplyFunc
	// Context is told of the environment when it is ready: the command line keeps it under the name dev. It answers how a
	// command names that context, "" when it is the current one.
	Context func(Info) (flag string, err error)
	// Version of the program.
	Version string
	// Out is for people. Terminal says that it is one.
	Out      io.Writer
	Terminal bool
}

// ApplyFunc applies the bootstrap file's text. It keeps the texts of API keys in the file keys, and answers them by their
// names, with the client_id of each shared client.
type ApplyFunc func(ctx context.Context, server, platformKey, file string, text []byte, keys string) (Applied, error)

// Applied is what the bootstrap file made.
type Applied struct {
	Org       string // resource name
	OrgSlug   string
	Blueprint string            // resource name of the first one
	Keys      map[string]string // texts of API keys by slug
	Clients   map[string]string // client_ids of shared clients by slug
}

// ErrInterrupted says that Ctrl-C ended the start.
var ErrInterrupted = errors.New("interrupted")

// environment is a running one.
type environment struct {
	Options
	layout
	ports    Ports
	progress *progress
	begin    time.Time
	log      *slog.Logger
	logFile  *os.File

	postgres      *localserver.Postgres
	config, state *localserver.Redis // of snapshots, and of codes and marks
	services      *services
	sample        *sample
	info          Info
	pageTokenKey  string
	contextFlag   string
	applied       Applied
}

// Run starts the environment, prints where to go, and returns after Ctrl-C, SIGTERM or the end of something that it cannot
// do without.
func Run(ctx context.Context, opt Options) (err error) {
	dir, err := filepath.Abs(opt.Dir)
	if err != nil {
		return err
	}
	e := &environment{
		Options: opt, layout: layout(dir), ports: DefaultPorts(opt.PortOffset), begin: time.Now(),
		progress: &progress{out: opt.Out, terminal: opt.Terminal, begin: time.Now()},
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stopping := e.handleSignals(cancel)
	defer stopping()

	if err := e.make(); err != nil {
		return err
	}
	lock, err := e.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	e.endOrphan(sampleName)
	if err := e.keepPorts(); err != nil {
		return err
	}
	if err := checkPorts(ctx, e.ports); err != nil {
		return err
	}
	if e.logFile, err = os.OpenFile(e.layout.log("tenantry"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	defer e.logFile.Close()
	e.log = slog.New(slog.NewJSONHandler(e.logFile, nil))

	defer func() {
		begin := time.Now()
		e.stop()
		if err == nil {
			fmt.Fprintf(e.Out, "Stopped after %s; the data is kept in %s.\n", seconds(time.Since(begin)), e.shortDir())
		}
	}()
	if err := e.start(ctx); err != nil {
		if errors.Is(context.Cause(ctx), ErrInterrupted) {
			return ErrInterrupted
		}
		return err
	}
	e.ready()
	return e.wait(ctx)
}

// handleSignals makes the first signal an orderly end and the second one an immediate one.
func (e *environment) handleSignals(cancel context.CancelCauseFunc) (stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
		case <-done:
			return
		}
		fmt.Fprintln(e.Out, "\nStopping. Once more skips the clean-up.")
		cancel(ErrInterrupted)
		select {
		case <-signals:
			// The servers' guards stop them, and the next start repairs what was left.
			fmt.Fprintln(e.Out, "Not waiting: the next start cleans up.")
			os.Exit(130)
		case <-done:
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
	}
}

// keepPorts refuses other ports than those that the data was made with: issuers have the port in them.
func (e *environment) keepPorts() error {
	file := e.file("ports")
	text, err := os.ReadFile(file)
	now := fmt.Sprintf("%+v\n", e.ports)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return os.WriteFile(file, []byte(now), 0o600)
	case err != nil:
		return err
	case string(text) != now:
		return fmt.Errorf("the data in %s was made with other ports (--port-offset), which are in the addresses of its tenants; use those, another --dir, or make reset", e.shortDir())
	}
	return nil
}

func (e *environment) start(ctx context.Context) error {
	binaries, err := localserver.Find()
	if err != nil {
		return err
	}
	p := e.progress
	if err := p.step(fmt.Sprintf("PostgreSQL %s, Redis %s", binaries.PostgresVersion, binaries.RedisVersion), nil, func() (string, error) { return "found", nil }); err != nil {
		return err
	}
	var at stage
	if err := p.step("databases and migrations", at.get, func() (string, error) { return "", e.startDatabases(ctx, &at) }); err != nil {
		return err
	}
	if err := p.step("control, login, token", at.get, func() (string, error) { return "", e.startServices(ctx, &at) }); err != nil {
		return err
	}
	return p.step("org piedpiper, sample apps", at.get, func() (string, error) { return "", e.bootstrap(ctx, &at) })
}

// stage is what a step is at, for a step that takes long.
type stage struct {
	mu   sync.Mutex
	text string
}

func (s *stage) set(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = text
}

func (s *stage) get() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

// startDatabases starts the three servers at once, makes what is missing, and migrates.
func (e *environment) startDatabases(ctx context.Context, at *stage) error {
	at.set("PostgreSQL and Redis to start")
	serverLog := func(name string) io.Writer {
		f, err := os.OpenFile(e.layout.log(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return io.Discard
		}
		return f // for as long as the server runs
	}
	var wait sync.WaitGroup
	var errs [4]error
	wait.Go(func() {
		e.postgres, errs[0] = localserver.StartPostgres(ctx, localserver.PostgresConfig{
			Dir: e.layout.postgres(), Durable: true, Log: serverLog("postgres"),
		})
	})
	wait.Go(func() {
		e.config, errs[1] = localserver.StartRedis(ctx, localserver.RedisConfig{
			Dir: e.redisConfig(), Persist: true, NoEviction: true, MaxMemory: "256mb", Log: serverLog("redis-config"),
		})
	})
	wait.Go(func() {
		e.state, errs[2] = localserver.StartRedis(ctx, localserver.RedisConfig{
			Dir: e.redisRuntime(), Persist: true, NoEviction: true, MaxMemory: "256mb", Log: serverLog("redis-runtime"),
		})
	})
	wait.Go(func() { _, errs[3] = keyfiles.Init(e.keys(), region, time.Now()) })
	wait.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	at.set("the databases to be made")
	if err := makeDatabases(ctx, e.postgres); err != nil {
		return err
	}
	at.set("the migrations")
	if err := control.Migrate(ctx, e.postgres.URL(controlDatabase, owner)); err != nil {
		return err
	}
	return identity.Migrate(ctx, e.postgres.URL(identityDatabase, owner))
}

// wait returns when the environment is to end: nil when that was asked for.
func (e *environment) wait(ctx context.Context) error {
	failed := make(chan error, 4)
	watch := func(name string, wait func() error) {
		go func() {
			if err := wait(); err != nil {
				failed <- fmt.Errorf("%s has ended by itself: %w (see %s)", name, err, filepath.Dir(e.layout.log("x")))
			}
		}()
	}
	watch("PostgreSQL", e.postgres.Wait)
	watch("the Redis server for configuration", e.config.Wait)
	watch("the Redis server for codes", e.state.Wait)
	var sampleDone <-chan struct{}
	if e.sample != nil {
		sampleDone = e.sample.done
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case err := <-e.services.ended:
			e.services = nil
			return err
		case <-sampleDone: // the rest is worth more than they are
			sampleDone = nil
			fmt.Fprintf(e.Out, "The sample apps have ended (%v): see %s\n", e.sample.err, e.layout.log(sampleName))
		}
	}
}

// stop stops what runs, in reverse.
func (e *environment) stop() {
	if e.sample != nil {
		e.sample.stop()
	}
	if e.services != nil {
		if err := e.services.stop(); err != nil {
			fmt.Fprintln(e.Out, "Stopping the services:", err)
		}
	}
	var wait sync.WaitGroup
	if e.postgres != nil {
		wait.Go(e.postgres.Stop)
	}
	for _, r := range []*localserver.Redis{e.config, e.state} {
		if r != nil {
			wait.Go(r.Stop)
		}
	}
	wait.Wait()
}

// shortDir names the directory as people would.
func (e *environment) shortDir() string { return short(string(e.layout)) }

func short(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	rel, err := filepath.Rel(wd, path)
	if err != nil || len(rel) > len(path) {
		return path
	}
	return rel
}
