// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// GRPCConfig is a gRPC listener with its bounds. Zero values mean the defaults.
type GRPCConfig struct {
	ListenConfig `yaml:",inline"`
	// MaxMessageBytes bounds one request message. Default 4 MiB.
	MaxMessageBytes Bytes `yaml:"max_message_bytes"`
	// MaxHeaderBytes bounds the metadata of a call. Default 16 KiB.
	MaxHeaderBytes Bytes `yaml:"max_header_bytes"`
	// MaxStreams bounds the calls that one connection has open. Default 250.
	MaxStreams uint32 `yaml:"max_streams"`
	// MaxConnectionAge is after how long a client is asked to connect anew, so that load spreads to new replicas. Default 30 min.
	MaxConnectionAge Duration `yaml:"max_connection_age"`
}

// Validate implements [Validator].
func (c *GRPCConfig) Validate(k *Check) {
	if c.MaxMessageBytes != 0 && (c.MaxMessageBytes < 64<<10 || c.MaxMessageBytes > 256<<20) {
		k.Fail("max_message_bytes", "must be between 64KiB and 256MiB")
	}
	if c.MaxHeaderBytes != 0 && (c.MaxHeaderBytes < 4<<10 || c.MaxHeaderBytes > 1<<20) {
		k.Fail("max_header_bytes", "must be between 4KiB and 1MiB")
	}
	if c.MaxConnectionAge < 0 {
		k.Fail("max_connection_age", "must not be negative")
	}
}

// GRPCServer is a gRPC listener. Register services on Server before it starts. It also serves grpc.health.v1, which follows
// the process's drain.
type GRPCServer struct {
	*grpc.Server

	name   string
	cfg    GRPCConfig
	addr   atomic.Pointer[string]
	failed chan error
	health *health.Server
}

// NewGRPCServer makes a listener that starts with its component. The options are the service's own interceptors and the
// like; around them every call is traced and counted, and a panic in one becomes an INTERNAL error of that call alone.
func (p *Process) NewGRPCServer(name string, cfg GRPCConfig, options ...grpc.ServerOption) (*GRPCServer, error) {
	tlsConfig, err := cfg.TLS.serverConfig("h2")
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", name, err)
	}
	s := &GRPCServer{name: name, cfg: cfg, failed: make(chan error, 1), health: health.NewServer()}
	all := []grpc.ServerOption{
		grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithTracerProvider(p.Telemetry.Tracer), otelgrpc.WithMeterProvider(p.Telemetry.Meter))),
		grpc.ChainUnaryInterceptor(p.recoverUnary),
		grpc.ChainStreamInterceptor(p.recoverStream),
		grpc.MaxRecvMsgSize(int(min(or(cfg.MaxMessageBytes, 4<<20), math.MaxInt32))),
		grpc.MaxHeaderListSize(uint32(min(or(cfg.MaxHeaderBytes, 16<<10), math.MaxInt32))), //nolint:gosec // bounded
		grpc.MaxConcurrentStreams(or(cfg.MaxStreams, 250)),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge:      time.Duration(or(cfg.MaxConnectionAge, Duration(30*time.Minute))),
			MaxConnectionAgeGrace: time.Minute,
			Time:                  time.Minute,
			Timeout:               20 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 20 * time.Second, PermitWithoutStream: true}),
	}
	if tlsConfig != nil {
		all = append(all, grpc.Creds(credentials.NewTLS(tlsConfig)))
	}
	s.Server = grpc.NewServer(append(all, options...)...)
	healthpb.RegisterHealthServer(s.Server, s.health)
	p.Health.whenDraining(s.health.Shutdown)
	return s, nil
}

// Addr is where the server listens, as host:port or the path of a unix socket; "" before it has started.
func (s *GRPCServer) Addr() string { return loadAddr(&s.addr) }

// Component is the server's place in [Process.Run].
func (s *GRPCServer) Component() Component {
	return Component{Name: "listener " + s.name, Start: s.start, Stop: s.stop, Failed: s.failed}
}

func (s *GRPCServer) start(ctx context.Context) error {
	l, err := s.cfg.listen(ctx)
	if err != nil {
		return err
	}
	storeAddr(&s.addr, l)
	go func() {
		if err := s.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.failed <- err
		}
	}()
	return nil
}

// stop refuses new calls and waits for those in flight.
func (s *GRPCServer) stop(ctx context.Context) error {
	s.health.Shutdown()
	done := make(chan struct{})
	go func() {
		s.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.Stop() // also ends GracefulStop
		<-done
		return fmt.Errorf("calls broken off: %w", ctx.Err())
	}
}

func (p *Process) recoverUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (_ any, err error) {
	defer p.recovered(ctx, info.FullMethod, &err)
	return next(ctx, req)
}

func (p *Process) recoverStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer p.recovered(stream.Context(), info.FullMethod, &err)
	return next(srv, stream)
}

// recovered turns a panic, which is a bug, into the error of the call that has it.
func (p *Process) recovered(ctx context.Context, method string, err *error) {
	if r := recover(); r != nil {
		p.Log.ErrorContext(ctx, "panic in a call", slog.String("method", method), slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
		*err = status.Error(codes.Internal, "internal error")
	}
}
