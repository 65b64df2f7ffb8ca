// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package localserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Superuser is the role that initdb makes in every cluster of this package.
const Superuser = "postgres"

// PostgresConfig says where and how a private PostgreSQL runs. The zero value is a throw-away cluster.
type PostgresConfig struct {
	// Dir keeps the cluster. It is made when absent. Empty: a temporary directory, removed by Stop.
	Dir string
	// Durable makes commits survive a crash of the machine. Without it fsync is off, which is for tests alone: data
	// survives a kill of the server, but not a power failure.
	Durable bool
	// Port is also listened on, on 127.0.0.1, where any user of this machine gets in. 0: the unix socket only.
	Port int
	// Settings are added as postgres -c name=value, and win over those of this package.
	Settings map[string]string
	// Log receives the server's output. Nil: nowhere; the end of it is in the errors either way.
	Log io.Writer
}

// Postgres is a running PostgreSQL server. Its methods may be called by several goroutines.
type Postgres struct {
	cfg     PostgresConfig
	version string
	spec    spec
	home    *home

	mu      sync.Mutex // held while the process starts or ends
	proc    *process
	stopped bool
}

// StartPostgres makes a cluster in cfg.Dir if there is none, and returns when the server takes connections: 0.5 s for a new
// cluster, 0.1 s for an existing one. The server runs until Stop, not until ctx ends, which bounds only the start.
// Errors: [ErrMissing], [ErrInUse], or what the server said.
func StartPostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	return startPostgres(ctx, cfg, false)
}

func startPostgres(ctx context.Context, cfg PostgresConfig, removeAfterDeath bool) (_ *Postgres, err error) {
	owner, err := unprivileged()
	if err != nil {
		return nil, err
	}
	h, err := openHome(cfg.Dir, owner)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	data := filepath.Join(h.base, "data")
	major, err := clusterMajor(data)
	if err != nil {
		return nil, err
	}
	bin, err := findPostgres(major)
	if err != nil {
		return nil, err
	}
	if major == 0 {
		if err := initdb(ctx, bin, h.base, data, owner, cfg.Durable); err != nil {
			return nil, err
		}
	}

	p := &Postgres{cfg: cfg, version: bin.version, home: h}
	p.spec = spec{
		name: "postgres", path: bin.server, dir: data, owner: owner, log: cfg.Log, stop: syscall.SIGINT,
		args:  append([]string{"-D", data, "-k", h.sock}, postgresSettings(cfg)...),
		ready: func(pid int) bool { return postmasterReady(data, pid) },
	}
	if removeAfterDeath {
		p.spec.remove = h.dir
	}
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// start starts the process on a cluster that this program has locked. The caller holds mu, or is the only one.
func (p *Postgres) start(ctx context.Context) error {
	data := p.spec.dir
	pidFile := filepath.Join(data, "postmaster.pid")
	if err := stopOrphan(pidFile, data, syscall.SIGINT); err != nil {
		return err
	}
	if err := disown(pidFile); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(p.home.sock, ".s.PGSQL."+strconv.Itoa(p.port())+".lock")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	proc, err := startProcess(ctx, p.spec)
	if err != nil {
		return err // the ended process stays, so that Stop and Wait have one
	}
	p.proc = proc
	return nil
}

// port is part of the socket's name, even when no TCP port is listened on.
func (p *Postgres) port() int {
	if p.cfg.Port != 0 {
		return p.cfg.Port
	}
	return 5432
}

// postgresSettings are the -c arguments.
func postgresSettings(cfg PostgresConfig) []string {
	settings := map[string]string{
		"listen_addresses":        "",
		"unix_socket_permissions": "0700",
		"max_connections":         "300", // several services and test binaries share one server
		"timezone":                "UTC",
		"log_timezone":            "UTC",
		"jit":                     "off", // compiling costs more than any query of ours takes
	}
	if cfg.Port != 0 {
		settings["listen_addresses"] = "127.0.0.1"
		settings["port"] = strconv.Itoa(cfg.Port)
	}
	if !cfg.Durable {
		settings["fsync"] = "off"
		settings["synchronous_commit"] = "off"
		settings["full_page_writes"] = "off"
	}
	maps.Copy(settings, cfg.Settings)
	var args []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}

// Version is the server's version, as in "15.13".
func (p *Postgres) Version() string { return p.version }

// URL is the connection URL of a role to a database, through the unix socket. It has no password: the server trusts who
// reaches its socket. It stays the same after a restart.
func (p *Postgres) URL(database, role string) string {
	query := url.Values{"host": {p.home.sock}, "port": {strconv.Itoa(p.port())}, "sslmode": {"disable"}}.Encode()
	query = strings.ReplaceAll(query, "+", "%20") // libpq and pgx take a plus sign for itself
	return (&url.URL{Scheme: "postgres", User: url.User(role), Path: "/" + database, RawQuery: query}).String()
}

// Stop ends all connections and the server, and gives the directory up. Further calls do nothing.
func (p *Postgres) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	p.stopped = true
	p.proc.stop()
	p.home.close()
}

// Kill ends the server as kill -9 does. Committed data is there after a Restart.
func (p *Postgres) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proc.kill()
}

// Restart stops the server if it runs and starts it again, with the same URLs.
func (p *Postgres) Restart(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return errors.New("postgres was stopped for good")
	}
	p.proc.stop()
	return p.start(ctx)
}

// Wait returns when the server has ended: nil after Stop, else why. A Restart counts as an end.
func (p *Postgres) Wait() error {
	p.mu.Lock()
	proc := p.proc
	p.mu.Unlock()
	return proc.wait()
}

// clusterMajor is the major version of the cluster in a data directory, 0 when there is none.
func clusterMajor(data string) (int, error) {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s: PG_VERSION says %q", data, text)
	}
	return major, nil
}

// initdb makes a cluster beside its place and moves it there, so that a kill half-way leaves none.
func initdb(ctx context.Context, bin installation, base, data string, owner account, durable bool) error {
	// A run that was killed here may have left an initdb that still works: it keeps its directory for itself, and fails when that is
	// gone. What it manages to write meanwhile, the next call removes.
	const unfinished = ".new-"
	left, err := filepath.Glob(data + unfinished + "*")
	if err != nil {
		return err
	}
	for _, dir := range left {
		_ = os.RemoveAll(dir)
	}
	if err := os.RemoveAll(data); err != nil {
		return err
	}
	next, err := os.MkdirTemp(filepath.Dir(data), filepath.Base(data)+unfinished)
	if err != nil {
		return err
	}
	if err := owner.own(next); err != nil {
		return err
	}
	args := []string{"-D", next, "-U", Superuser, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"}
	if !durable {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, bin.initdb, args...)
	cmd.Dir = base
	cmd.Env = owner.environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: owner.credential()}
	if out, err := cmd.CombinedOutput(); err != nil {
		_ = os.RemoveAll(next)
		return fmt.Errorf("initdb: %w; it said:\n%s", err, bytes.TrimSpace(out))
	}
	return os.Rename(next, data)
}

// postmasterReady reads what pg_ctl reads: the first line of postmaster.pid is the process, the eighth its state.
func postmasterReady(data string, pid int) bool {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(text), "\n")
	return len(lines) >= 8 && strings.TrimSpace(lines[0]) == strconv.Itoa(pid) && strings.TrimSpace(lines[7]) == "ready"
}

// disown puts this program's id in place of a dead postmaster's in its lock file. PostgreSQL takes the id of its own parent
// for a stale one. It would refuse to start if another process had got the dead one's id, or if nobody had reaped it, both
// usual in containers. The rest of the file stays, with which PostgreSQL makes sure that no child of the dead server is left.
func disown(pidFile string) error {
	text, err := os.ReadFile(pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	_, rest, found := bytes.Cut(text, []byte("\n"))
	if !found {
		return os.Remove(pidFile) // torn: PostgreSQL would refuse it, and it says nothing
	}
	f, err := os.OpenFile(pidFile, os.O_WRONLY|os.O_TRUNC, 0) // keeps owner and mode
	if err != nil {
		return err
	}
	_, errWrite := fmt.Fprintf(f, "%d\n%s", os.Getpid(), rest)
	return errors.Join(errWrite, f.Close())
}
