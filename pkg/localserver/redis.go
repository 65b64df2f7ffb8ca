// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package localserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// RedisConfig says where and how a private Redis or Valkey runs. The zero value is a throw-away server without persistence.
type RedisConfig struct {
	// Dir keeps the data and the socket. It is made when absent. Empty: a temporary directory, removed by Stop.
	Dir string
	// Persist keeps an append-only file, synced every second.
	Persist bool
	// NoEviction makes writes fail when MaxMemory is reached, as the configuration store wants it. Without it, keys with a
	// time to live go first, the nearest to its end before others.
	NoEviction bool
	// MaxMemory bounds the data, as in "64mb". Empty: no bound.
	MaxMemory string
	// Log receives the server's output. Nil: nowhere; the end of it is in the errors either way.
	Log io.Writer
}

// Redis is a running Redis or Valkey server. Its methods may be called by several goroutines.
type Redis struct {
	version string
	socket  string
	spec    spec
	home    *home

	mu      sync.Mutex // held while the process starts or ends
	proc    *process
	stopped bool
}

// StartRedis starts a server on a unix socket and returns when it answers, usually after 20 ms. The server runs until Stop,
// not until ctx ends, which bounds only the start. Errors: [ErrMissing], [ErrInUse], or what the server said.
func StartRedis(ctx context.Context, cfg RedisConfig) (*Redis, error) {
	return startRedis(ctx, cfg, false)
}

func startRedis(ctx context.Context, cfg RedisConfig, removeAfterDeath bool) (_ *Redis, err error) {
	bin, err := findRedis()
	if err != nil {
		return nil, err
	}
	h, err := openHome(cfg.Dir, account{}) // Redis does not mind root
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	r := &Redis{version: bin.version, home: h, socket: filepath.Join(h.sock, "redis.sock")}
	args := []string{
		"--port", "0", "--unixsocket", r.socket, "--unixsocketperm", "700", "--dir", h.base,
		"--pidfile", r.pidFile(), "--daemonize", "no", "--save", "",
	}
	if cfg.Persist {
		args = append(args, "--appendonly", "yes", "--appendfsync", "everysec")
	} else {
		args = append(args, "--appendonly", "no")
	}
	policy := "volatile-ttl"
	if cfg.NoEviction {
		policy = "noeviction"
	}
	args = append(args, "--maxmemory-policy", policy)
	if cfg.MaxMemory != "" {
		args = append(args, "--maxmemory", cfg.MaxMemory)
	}
	r.spec = spec{
		name: "redis", path: bin.server, args: args, dir: h.base, log: cfg.Log, stop: syscall.SIGTERM,
		ready: func(int) bool { return redisReady(r.socket) },
	}
	if removeAfterDeath {
		r.spec.remove = h.dir
	}
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Redis) pidFile() string { return filepath.Join(r.home.base, "redis.pid") }

// start starts the process in a directory that this program has locked. The caller holds mu, or is the only one.
func (r *Redis) start(ctx context.Context) error {
	if err := stopOrphan(r.pidFile(), r.socket, syscall.SIGTERM); err != nil {
		return err
	}
	proc, err := startProcess(ctx, r.spec)
	if err != nil {
		return err // the ended process stays, so that Stop and Wait have one
	}
	r.proc = proc
	return nil
}

// Version is the server's version, as in "7.0.15".
func (r *Redis) Version() string { return r.version }

// URL is the server's address in the form that go-redis parses: unix://PATH. It stays the same after a restart.
func (r *Redis) URL() string { return "unix://" + r.socket }

// Stop ends the server and gives the directory up. Further calls do nothing.
func (r *Redis) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return
	}
	r.stopped = true
	r.proc.stop()
	r.home.close()
}

// Kill ends the server as kill -9 does.
func (r *Redis) Kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.proc.kill()
}

// Restart stops the server if it runs and starts it again at the same URL. Without Persist it comes back empty.
func (r *Redis) Restart(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return errors.New("redis was stopped for good")
	}
	r.proc.stop()
	return r.start(ctx)
}

// Pause keeps the server from answering while its connections stay open, until Resume: what a hung machine looks like.
func (r *Redis) Pause() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.proc.signal(syscall.SIGSTOP)
}

// Resume ends a Pause.
func (r *Redis) Resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.proc.signal(syscall.SIGCONT)
}

// Wait returns when the server has ended: nil after Stop, else why. A Restart counts as an end.
func (r *Redis) Wait() error {
	r.mu.Lock()
	proc := r.proc
	r.mu.Unlock()
	return proc.wait()
}

// redisReady reports whether a server answers a PING. While it loads its data it answers with an error instead.
func redisReady(socket string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := fmt.Fprint(conn, "PING\r\n"); err != nil {
		return false
	}
	answer := make([]byte, len("+PONG"))
	_, err = io.ReadFull(conn, answer)
	return err == nil && string(answer) == "+PONG"
}
