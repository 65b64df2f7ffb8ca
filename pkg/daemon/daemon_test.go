// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// local is a listener on a free port.
var local = ListenConfig{Address: "127.0.0.1:0"}

func newProcess(t *testing.T, cfg Config) (*Process, *syncBuffer) {
	t.Helper()
	log := new(syncBuffer)
	p, err := NewProcess(t.Context(), "test", "v0", cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	return p, log
}

// running runs a process until the returned function sends it a signal and gives what Run returned.
func running(t *testing.T, p *Process, components ...Component) (signals chan os.Signal, wait func() error) {
	t.Helper()
	started := make(chan struct{})
	components = append(components, Component{Name: "last", Start: func(context.Context) error { close(started); return nil }})
	signals = make(chan os.Signal, 2)
	result := make(chan error, 1)
	go func() { result <- p.run(context.Background(), signals, components) }()
	select {
	case <-started:
	case err := <-result:
		t.Fatalf("did not start: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("did not start")
	}
	return signals, func() error {
		select {
		case err := <-result:
			return err
		case <-time.After(10 * time.Second):
			t.Fatal("did not end")
			return nil
		}
	}
}

// journal records the order of events.
type journal struct {
	mu     sync.Mutex
	events []string
}

func (j *journal) add(event string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, event)
}

func (j *journal) component(name string, startErr error) Component {
	return Component{
		Name:  name,
		Start: func(context.Context) error { j.add("start " + name); return startErr },
		Stop:  func(context.Context) error { j.add("stop " + name); return nil },
	}
}

func TestComponentsStartInOrderAndStopInReverse(t *testing.T) {
	p, log := newProcess(t, Config{})
	var j journal
	signals, wait := running(t, p, j.component("a", nil), j.component("b", nil))
	signals <- syscall.SIGTERM
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(j.events, ", "), "start a, start b, stop b, stop a"; got != want {
		t.Errorf("order = %s, want %s", got, want)
	}
	for _, want := range []string{`"msg":"ready"`, `"msg":"draining","service":"test","version":"v0","reason":"signal: terminated"`, `"msg":"stopped"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log has no %s:\n%s", want, log)
		}
	}
}

func TestFailedStartStopsWhatRan(t *testing.T) {
	p, _ := newProcess(t, Config{})
	var j journal
	broken := errors.New("no database")
	err := p.run(t.Context(), nil, []Component{j.component("a", nil), j.component("b", broken), j.component("c", nil)})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "start b: no database") {
		t.Errorf("err = %v", err)
	}
	if got, want := strings.Join(j.events, ", "), "start a, start b, stop a"; got != want {
		t.Errorf("order = %s, want %s", got, want)
	}
}

func TestFailedComponentEndsTheProcess(t *testing.T) {
	p, _ := newProcess(t, Config{})
	var j journal
	failed := make(chan error, 1)
	_, wait := running(t, p, j.component("a", nil), Component{Name: "b", Failed: failed})
	failed <- errors.New("socket gone")
	if err := wait(); err == nil || err.Error() != "b: socket gone" {
		t.Errorf("err = %v", err)
	}
	if !slices.Contains(j.events, "stop a") {
		t.Error("the others were not stopped")
	}
}

func TestSignalDuringStartBreaksItOff(t *testing.T) {
	p, _ := newProcess(t, Config{})
	signals := make(chan os.Signal, 2)
	hangs := Component{Name: "hangs", Start: func(ctx context.Context) error {
		signals <- syscall.SIGINT
		<-ctx.Done()
		return ctx.Err()
	}}
	if err := p.run(t.Context(), signals, []Component{hangs}); err != nil {
		t.Errorf("err = %v", err)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	code := make(chan int, 1)
	exit = func(c int) { code <- c }
	defer func() { exit = os.Exit }()
	p, _ := newProcess(t, Config{})
	release := make(chan struct{})
	signals, wait := running(t, p, Component{Name: "slow", Stop: func(context.Context) error { <-release; return nil }})
	signals <- syscall.SIGINT
	signals <- syscall.SIGINT
	select {
	case got := <-code:
		if got != 130 {
			t.Errorf("exit code %d", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("the second signal did nothing")
	}
	close(release)
	_ = wait()
}

func TestRunHearsRealSignals(t *testing.T) {
	p, _ := newProcess(t, Config{})
	kill := Component{Start: func(context.Context) error { return syscall.Kill(os.Getpid(), syscall.SIGTERM) }}
	if err := p.Run(t.Context(), kill); err != nil {
		t.Error(err)
	}
}

func TestDrainTimeoutIsReported(t *testing.T) {
	p, _ := newProcess(t, Config{Drain: DrainConfig{Timeout: Duration(20 * time.Millisecond)}})
	signals, wait := running(t, p, Component{Name: "stuck", Stop: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
	signals <- syscall.SIGTERM
	if err := wait(); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "stop stuck") {
		t.Errorf("err = %v", err)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// One request is in flight while the process drains: it is answered, new ones are not, and readiness says so meanwhile.
func TestDrainFinishesRequestsInFlight(t *testing.T) {
	p, _ := newProcess(t, Config{Admin: HTTPConfig{ListenConfig: local}, Drain: DrainConfig{Delay: Duration(200 * time.Millisecond)}})
	arrived, release := make(chan struct{}), make(chan struct{})
	s := p.NewHTTPServer("web", HTTPConfig{ListenConfig: local}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		fmt.Fprint(w, "done")
	}))
	signals, wait := running(t, p, s.Component())
	ready := "http://" + p.AdminAddr() + "/readyz"
	if code, body := get(t, ready); code != http.StatusOK {
		t.Errorf("before: %d %s", code, body)
	}
	answer := make(chan string, 1)
	go func() {
		_, body := get(t, "http://"+s.Addr())
		answer <- body
	}()
	<-arrived
	signals <- syscall.SIGTERM
	for range 100 {
		if code, body := get(t, ready); code == http.StatusServiceUnavailable {
			if !strings.Contains(body, `"draining"`) {
				t.Errorf("while draining: %s", body)
			}
			break
		}
		time.Sleep(time.Millisecond)
	}
	if code, _ := get(t, ready); code != http.StatusServiceUnavailable {
		t.Error("never said that it drains")
	}
	time.AfterFunc(300*time.Millisecond, func() { close(release) })
	if err := wait(); err != nil {
		t.Error(err)
	}
	if got := <-answer; got != "done" {
		t.Errorf("the request in flight got %q", got)
	}
	if _, err := net.Dial("tcp", s.Addr()); err == nil {
		t.Error("still listening")
	}
}

func TestReadiness(t *testing.T) {
	h := new(Health)
	var mu sync.Mutex
	calls, failing := 0, errors.New("no route")
	h.Check("database", func(context.Context) error { mu.Lock(); defer mu.Unlock(); calls++; return failing })
	h.Check("cache", func(context.Context) error { return nil })
	if got := h.Ready(t.Context()); got.Status != "starting" {
		t.Errorf("before the start: %+v", got)
	}
	h.setStarted()
	got := h.Ready(t.Context())
	if got.Status != "failing" || got.Checks["database"] != "no route" || got.Checks["cache"] != "ok" {
		t.Errorf("with a failing check: %+v", got)
	}
	for range 50 {
		h.Ready(t.Context())
	}
	if calls != 1 {
		t.Errorf("a second of probes called the dependency %d times", calls)
	}
	h.checks[0].at, failing = time.Time{}, nil
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if got := h.Ready(cancelled); got.Status != "ready" {
		t.Errorf("with nothing failing: %+v", got)
	}
	h.Check("hangs", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	if got := h.Ready(t.Context()); got.Status != "failing" || !strings.Contains(got.Checks["hangs"], "deadline") {
		t.Errorf("with a check that hangs: %+v", got)
	}
}

func TestAdminListener(t *testing.T) {
	p, _ := newProcess(t, Config{Admin: HTTPConfig{ListenConfig: local}})
	p.Telemetry.AddMetrics(strings.NewReader("tenantry_hot_total 5\n"))
	counter, err := p.Telemetry.Meter.Meter("test").Int64Counter("tenants_made")
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(t.Context(), 3)
	signals, wait := running(t, p)
	base := "http://" + p.AdminAddr()
	if code, body := get(t, base+"/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	if code, body := get(t, base+"/readyz"); code != http.StatusOK || !json.Valid([]byte(body)) {
		t.Errorf("/readyz: %d %q", code, body)
	}
	_, metrics := get(t, base+"/metrics")
	for _, want := range []string{"tenants_made_total 3", "go_goroutines ", "tenantry_hot_total 5"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics has no %q", want)
		}
	}
	if code, _ := get(t, base+"/"); code != http.StatusNotFound {
		t.Errorf("/: %d", code)
	}
	signals <- syscall.SIGTERM
	if err := wait(); err != nil {
		t.Error(err)
	}
}

func TestListenerTakenSaysWhich(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	p, _ := newProcess(t, Config{})
	s := p.NewHTTPServer("data plane", HTTPConfig{ListenConfig: ListenConfig{Address: taken.Addr().String()}}, nil)
	err = p.run(t.Context(), nil, []Component{s.Component()})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "start listener data plane: listen tcp "+taken.Addr().String()) {
		t.Errorf("err = %v", err)
	}
}

// exchange sends bytes and returns the status line, or the error, that comes back.
func exchange(t *testing.T, addr, text string) (string, error) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	return bufio.NewReader(conn).ReadString('\n')
}

func TestGreedyAndSlowClientsAreBounded(t *testing.T) {
	p, _ := newProcess(t, Config{})
	s := p.NewHTTPServer("web", HTTPConfig{
		ListenConfig: ListenConfig{Address: "127.0.0.1:0", MaxConnections: 2}, ReadHeaderTimeout: Duration(100 * time.Millisecond),
	}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	signals, wait := running(t, p, s.Component())

	line, err := exchange(t, s.Addr(), "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("a", 64<<10)+"\r\n\r\n")
	if err == nil && !strings.Contains(line, "431") { // the server may hang up before all is sent
		t.Errorf("64 KiB of headers: %q", line)
	}
	begin := time.Now()
	if line, err := exchange(t, s.Addr(), "GET / HTTP/1.1\r\nHost:"); err == nil && !strings.Contains(line, "408") {
		t.Errorf("half a header: %q", line)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("half a header held a connection for %v", took)
	}

	var held []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	third, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	fmt.Fprint(third, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	_ = third.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := bufio.NewReader(third).ReadString('\n'); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a third connection was served: %v", err)
	}
	for _, c := range held {
		c.Close()
	}
	_ = third.SetReadDeadline(time.Now().Add(10 * time.Second))
	if line, err := bufio.NewReader(third).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Errorf("after the others left: %q, %v", line, err)
	}
	signals <- syscall.SIGTERM
	if err := wait(); err != nil {
		t.Error(err)
	}
}

func TestStaleSocketIsReplacedAndALivingOneIsNot(t *testing.T) {
	dir, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := dir + "/s"
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	cfg := ListenConfig{Address: "unix:" + path}
	if _, err := cfg.listen(t.Context()); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a living socket: %v", err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	fresh, err := cfg.listen(t.Context())
	if err != nil {
		t.Fatalf("a stale socket: %v", err)
	}
	fresh.Close()
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.listen(t.Context()); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file: %v", err)
	}
}

// panicky is a service whose only method panics.
var panicky = grpc.ServiceDesc{
	ServiceName: "test.Panicky", HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Call",
		Handler: func(srv any, ctx context.Context, decode func(any) error, next grpc.UnaryServerInterceptor) (any, error) {
			return next(ctx, new(healthpb.HealthCheckRequest), &grpc.UnaryServerInfo{FullMethod: "/test.Panicky/Call"},
				func(context.Context, any) (any, error) { panic("secret detail") })
		},
	}},
}

func TestGRPCServer(t *testing.T) {
	p, log := newProcess(t, Config{})
	s, err := p.NewGRPCServer("api", GRPCConfig{ListenConfig: local})
	if err != nil {
		t.Fatal(err)
	}
	s.RegisterService(&panicky, nil)
	signals, wait := running(t, p, s.Component())
	conn, err := grpc.NewClient(s.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	health := healthpb.NewHealthClient(conn)
	got, err := health.Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health = %v, %v", got, err)
	}
	err = conn.Invoke(t.Context(), "/test.Panicky/Call", &healthpb.HealthCheckRequest{}, &healthpb.HealthCheckResponse{})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("a panic answers %v", err)
	}
	if !strings.Contains(log.String(), "secret detail") || !strings.Contains(log.String(), "/test.Panicky/Call") {
		t.Errorf("the log does not tell of the panic: %s", log)
	}
	watch, err := health.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := watch.Recv(); err != nil || first.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("watch = %v, %v", first, err)
	}
	signals <- syscall.SIGTERM
	if next, err := watch.Recv(); err != nil || next.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("while draining: %v, %v", next, err)
	}
	conn.Close() // the watch is a call in flight
	if err := wait(); err != nil {
		t.Error(err)
	}
}

func TestGRPCDrainBreaksOffAtTheTimeout(t *testing.T) {
	p, _ := newProcess(t, Config{Drain: DrainConfig{Timeout: Duration(50 * time.Millisecond)}})
	s, err := p.NewGRPCServer("api", GRPCConfig{ListenConfig: local})
	if err != nil {
		t.Fatal(err)
	}
	signals, wait := running(t, p, s.Component())
	conn, err := grpc.NewClient(s.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	signals <- syscall.SIGTERM
	if err := wait(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
}

func TestLogsCarryTheTrace(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(&out, LogConfig{}).With("k", "v").WithGroup("g")
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	log.InfoContext(trace.ContextWithSpanContext(t.Context(), span), "hello")
	if !strings.Contains(out.String(), `"trace_id":"01000000000000000000000000000000","span_id":"0200000000000000"`) {
		t.Errorf("log = %s", out.String())
	}
	out.Reset()
	log.DebugContext(t.Context(), "hidden")
	log.InfoContext(t.Context(), "plain")
	if got := out.String(); strings.Contains(got, "trace_id") || strings.Contains(got, "hidden") {
		t.Errorf("log = %s", got)
	}
}
