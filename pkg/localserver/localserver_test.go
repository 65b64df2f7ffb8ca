// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package localserver

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// query runs one simple query as the superuser and returns the first column of its rows. It speaks just enough of the
// protocol (PostgreSQL documentation, 55.2) for this package to have no driver.
func query(t *testing.T, p *Postgres, sql string) []string {
	t.Helper()
	u, err := url.Parse(p.URL("postgres", Superuser))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", filepath.Join(u.Query().Get("host"), ".s.PGSQL."+u.Query().Get("port")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	send := func(kind string, body string) {
		msg := append([]byte(kind), binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))...)
		if _, err := conn.Write(append(msg, body...)); err != nil {
			t.Fatal(err)
		}
	}
	send("", "\x00\x03\x00\x00user\x00"+u.User.Username()+"\x00database\x00postgres\x00\x00")
	in, asked := bufio.NewReader(conn), false
	var rows []string
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(in, head); err != nil {
			t.Fatal(err)
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(in, body); err != nil {
			t.Fatal(err)
		}
		switch head[0] {
		case 'E':
			t.Fatalf("%s: %q", sql, body)
		case 'D':
			rows = append(rows, string(body[6:6+binary.BigEndian.Uint32(body[2:])]))
		case 'Z':
			if asked {
				return rows
			}
			asked = true
			send("Q", sql+"\x00")
		}
	}
}

// redisCommand sends one inline command and returns the first line of the answer.
func redisCommand(t *testing.T, r *Redis, command string) string {
	t.Helper()
	conn, err := net.Dial("unix", strings.TrimPrefix(r.URL(), "unix://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "%s\r\n", command)
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// need skips, or in CI fails, where no servers are installed.
func need(t *testing.T) {
	t.Helper()
	if _, err := Find(); err != nil {
		failOrSkip(t, err)
	}
}

func startPG(t *testing.T, cfg PostgresConfig) *Postgres {
	t.Helper()
	p, err := StartPostgres(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// reachable is a directory that a dropped root may enter, which t.TempDir is not always.
func reachable(t *testing.T) string {
	t.Helper()
	owner, err := unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := tempDir(owner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "pg")
}

func TestPostgresKeepsDataOverStopKillAndRestart(t *testing.T) {
	need(t)
	dir := reachable(t)
	p := startPG(t, PostgresConfig{Dir: dir, Durable: true})
	if got := query(t, p, "SHOW fsync"); got[0] != "on" {
		t.Errorf("fsync = %v in a durable server", got)
	}
	before := p.URL("db", "role")
	query(t, p, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")
	p.Kill()
	if err := p.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("Wait after Kill = %v", err)
	}
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	query(t, p, "INSERT INTO kept VALUES (2)")
	p.Stop()
	p.Stop()
	if err := p.Wait(); err != nil {
		t.Errorf("Wait after Stop = %v", err)
	}
	if err := p.Restart(t.Context()); err == nil {
		t.Error("a stopped server restarted")
	}
	if broken := startPG(t, PostgresConfig{}); true { // a failed restart leaves something to stop
		broken.spec.args = append(broken.spec.args, "--nonsense")
		if err := broken.Restart(t.Context()); err == nil {
			t.Error("restarted with --nonsense")
		}
		broken.Stop()
	}

	p = startPG(t, PostgresConfig{Dir: dir})
	if got := query(t, p, "SELECT n::text FROM kept ORDER BY n"); strings.Join(got, ",") != "1,2" {
		t.Errorf("rows = %v", got)
	}
	if got := query(t, p, "SHOW fsync"); got[0] != "off" {
		t.Errorf("fsync = %v in a server for tests", got)
	}
	if after := p.URL("db", "role"); after != before {
		t.Errorf("URL changed from %s to %s", before, after)
	}
}

func TestPostgresListensOnItsPortAlone(t *testing.T) {
	need(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	p := startPG(t, PostgresConfig{Port: port, Settings: map[string]string{"max_connections": "17"}})
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if got := query(t, p, "SHOW listen_addresses"); got[0] != "127.0.0.1" {
		t.Errorf("listen_addresses = %v", got)
	}
	if got := query(t, p, "SHOW max_connections"); got[0] != "17" {
		t.Errorf("max_connections = %v: Settings are not applied", got)
	}
	if got := query(t, startPG(t, PostgresConfig{}), "SHOW listen_addresses"); got[0] != "" {
		t.Errorf("without a port listen_addresses = %v", got)
	}
}

func TestTemporaryDirectoryIsRemoved(t *testing.T) {
	need(t)
	p := startPG(t, PostgresConfig{})
	p.Stop()
	if _, err := os.Stat(p.home.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", p.home.dir, err)
	}
}

func TestOneProgramADirectory(t *testing.T) {
	need(t)
	dir := reachable(t)
	p := startPG(t, PostgresConfig{Dir: dir})
	if _, err := StartPostgres(t.Context(), PostgresConfig{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("second start: %v", err)
	}
	if err := Remove(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("Remove of a running one: %v", err)
	}
	if got := query(t, p, "SELECT '1'"); got[0] != "1" {
		t.Errorf("the first one was disturbed: %v", got)
	}
	p.Stop()
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Remove: %v", err)
	}
	if err := Remove(dir); err != nil {
		t.Errorf("Remove of nothing: %v", err)
	}
}

func TestAwkwardDirectories(t *testing.T) {
	need(t)
	for name, parent := range map[string]string{
		"longer than a socket path": strings.Repeat("long/", 30),
		"closed to other users":     "closed",
		"with a space":              "a name",
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(filepath.Dir(reachable(t)), parent, "pg")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if parent == "closed" {
				if err := os.Chmod(filepath.Dir(dir), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			p := startPG(t, PostgresConfig{Dir: dir})
			if strings.Contains(p.URL("db", "role"), "+") {
				t.Errorf("a driver would take the plus sign in %s for itself", p.URL("db", "role"))
			}
			query(t, p, "CREATE TABLE kept (n int)")
			p.Stop()
			p = startPG(t, PostgresConfig{Dir: dir})
			query(t, p, "SELECT * FROM kept")
			p.Stop()
			elsewhere := p.home.base
			if err := Remove(dir); err != nil {
				t.Fatal(err)
			}
			for _, d := range []string{dir, elsewhere, p.home.sock} {
				if _, err := os.Stat(d); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("Remove left %s: %v", d, err)
				}
			}
			// A directory removed by other means takes its data with it.
			p = startPG(t, PostgresConfig{Dir: dir})
			query(t, p, "CREATE TABLE kept (n int)")
			p.Stop()
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			p = startPG(t, PostgresConfig{Dir: dir})
			if got := query(t, p, "SELECT count(*)::text FROM pg_tables WHERE tablename = 'kept'"); got[0] != "0" {
				t.Error("data of a removed directory came back")
			}
			p.Stop()
			if err := Remove(dir); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// In a container process ids start again from 1, so that of a dead postmaster often belongs to something else by the next
// start. PostgreSQL alone refuses to start then.
func TestStalePidOfALivingProcess(t *testing.T) {
	need(t)
	p := startPG(t, PostgresConfig{})
	p.Kill()
	other := exec.Command("sleep", "60")
	other.SysProcAttr = &syscall.SysProcAttr{Credential: p.spec.owner.credential()} // PostgreSQL minds its own user's alone
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	pidFile := filepath.Join(p.spec.dir, "postmaster.pid")
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n")
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(other.Process.Pid)+"\n"+rest), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the other process was hurt: %v", err)
	}
}

func TestServersErrorsSayWhatTheServerSaid(t *testing.T) {
	need(t)
	_, err := StartPostgres(t.Context(), PostgresConfig{Settings: map[string]string{"shared_buffers": "lots"}})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers"`) {
		t.Errorf("postgres: %v", err)
	}
	_, err = StartRedis(t.Context(), RedisConfig{MaxMemory: "lots"})
	if err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("redis: %v", err)
	}
}

func TestRedisPersistence(t *testing.T) {
	need(t)
	for _, persist := range []bool{true, false} {
		t.Run(fmt.Sprint(persist), func(t *testing.T) {
			r, err := StartRedis(t.Context(), RedisConfig{Dir: t.TempDir(), Persist: persist, NoEviction: persist, MaxMemory: "64mb"})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Stop()
			if got := redisCommand(t, r, "SET k v"); got != "+OK" {
				t.Fatal(got)
			}
			if err := r.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := map[bool]string{true: ":1", false: ":0"}[persist]
			if got := redisCommand(t, r, "EXISTS k"); got != want {
				t.Errorf("EXISTS after restart = %s, want %s", got, want)
			}
			r.Kill()
			if err := r.Wait(); err == nil {
				t.Error("Wait after Kill = nil")
			}
			if err := r.Restart(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPausedRedisHangsAndStops(t *testing.T) {
	r := TestRedis(t)
	r.Pause()
	if redisReady(r.socket) {
		t.Error("a paused server answers")
	}
	r.Resume()
	if got := redisCommand(t, r, "PING"); got != "+PONG" {
		t.Errorf("PING after Resume = %s", got)
	}
	r.Pause()
	begin := time.Now()
	r.Stop()
	if took := time.Since(begin); took > stopTimeout/2 {
		t.Errorf("Stop of a paused server took %v", took)
	}
}

func TestConcurrentStops(t *testing.T) {
	need(t)
	p := startPG(t, PostgresConfig{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(p.Stop)
		wg.Go(func() { _ = p.Wait() })
	}
	wg.Wait()
}

func TestStartIsBoundedByItsContext(t *testing.T) {
	need(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := StartPostgres(ctx, PostgresConfig{}); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

// children is what the program that is killed in the tests below says of its servers.
type children struct {
	Postgres, Redis       int
	PostgresDir, RedisDir string
}

const programEnv = "LOCALSERVER_TEST_PROGRAM"

// TestProgram is not a test of its own: it is the program that the tests below kill.
func TestProgram(t *testing.T) {
	dir, ok := os.LookupEnv(programEnv)
	if !ok {
		t.Skip("run by the tests of sudden death")
	}
	var p *Postgres
	var r *Redis
	var err error
	if dir == "" {
		p, err = processPostgres()
		if err == nil {
			r, err = startRedis(t.Context(), RedisConfig{}, true)
		}
	} else {
		p, err = StartPostgres(t.Context(), PostgresConfig{Dir: filepath.Join(dir, "pg")})
		if err == nil {
			r, err = StartRedis(t.Context(), RedisConfig{Dir: filepath.Join(dir, "redis")})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = json.NewEncoder(os.Stdout).Encode(children{p.proc.cmd.Process.Pid, r.proc.cmd.Process.Pid, p.home.dir, r.home.dir})
	time.Sleep(time.Minute)
}

// program runs TestProgram and returns what it said.
func program(t *testing.T, dir string) (*exec.Cmd, children) {
	t.Helper()
	need(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestProgram$")
	cmd.Env = append(os.Environ(), programEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var c children
	if err := json.NewDecoder(out).Decode(&c); err != nil {
		t.Fatalf("program said nothing: %v", err)
	}
	return cmd, c
}

// eventually waits for something that another process does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15 s: %s", what)
		}
	}
}

func TestServersDieWithTheirProgram(t *testing.T) {
	cmd, c := program(t, "")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for name, of := range map[string]struct {
		pid int
		dir string
	}{"postgres": {c.Postgres, c.PostgresDir}, "redis": {c.Redis, c.RedisDir}} {
		eventually(t, name+" ends", func() bool { return !commandContains(of.pid, of.dir) })
		eventually(t, name+"'s directory is removed", func() bool {
			_, err := os.Stat(of.dir)
			return errors.Is(err, os.ErrNotExist)
		})
	}
}

// Not even the guard is left: the next run finds the servers running without a master.
func TestNextRunStopsOrphans(t *testing.T) {
	dir := filepath.Dir(reachable(t))
	cmd, c := program(t, dir)
	guards, err := exec.Command("pgrep", "-P", strconv.Itoa(cmd.Process.Pid), "sh").Output()
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("pgrep: %v", err)
		}
		t.Skipf("pgrep: %v", err)
	}
	for _, pid := range strings.Fields(string(guards)) {
		n, _ := strconv.Atoi(pid)
		_ = syscall.Kill(n, syscall.SIGKILL)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if !commandContains(c.Postgres, c.PostgresDir) || !commandContains(c.Redis, c.RedisDir) {
		t.Fatalf("the servers ended although nobody told them: %+v", c)
	}
	p := startPG(t, PostgresConfig{Dir: c.PostgresDir})
	query(t, p, "SELECT '1'")
	r, err := StartRedis(t.Context(), RedisConfig{Dir: c.RedisDir})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	for name, old := range map[string]int{"postgres": c.Postgres, "redis": c.Redis} {
		if commandContains(old, dir) {
			t.Errorf("%s of the dead run still runs", name)
		}
	}
}

func TestCtrlCIsNotForTheServers(t *testing.T) {
	r := TestRedis(t)
	group, err := syscall.Getpgid(r.proc.cmd.Process.Pid)
	if err != nil || group == syscall.Getpgrp() {
		t.Errorf("server is in the process group of its program: %d, %v", group, err)
	}
}

func TestSharedServerOfTheEnvironment(t *testing.T) {
	t.Setenv(TestDatabaseEnv, "postgres://me:pw@db.example:5433/postgres?sslmode=disable")
	if got, want := TestPostgres(t)("other"), "postgres://me:pw@db.example:5433/other?sslmode=disable"; got != want {
		t.Errorf("URL = %s, want %s", got, want)
	}
}
