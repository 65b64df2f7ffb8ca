// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
)

// HTTPConfig is a listener with the bounds that keep slow and greedy clients from holding a server. Zero values mean the
// defaults.
type HTTPConfig struct {
	ListenConfig `yaml:",inline"`
	// MaxHeaderBytes bounds the request line and headers. Default 16 KiB.
	MaxHeaderBytes Bytes `yaml:"max_header_bytes"`
	// ReadHeaderTimeout is how long the headers of a request may take. Default 5 s.
	ReadHeaderTimeout Duration `yaml:"read_header_timeout"`
	// ReadTimeout is how long a request with its body may take to arrive. Default 30 s.
	ReadTimeout Duration `yaml:"read_timeout"`
	// WriteTimeout is how long the answer may take, from the end of the request's headers. Default 60 s.
	WriteTimeout Duration `yaml:"write_timeout"`
	// IdleTimeout is how long a connection may wait for its next request. Default 2 min, more than load balancers keep theirs.
	IdleTimeout Duration `yaml:"idle_timeout"`
}

// Validate implements [Validator].
func (c *HTTPConfig) Validate(k *Check) {
	if c.MaxHeaderBytes != 0 && (c.MaxHeaderBytes < 4<<10 || c.MaxHeaderBytes > 1<<20) {
		k.Fail("max_header_bytes", "must be between 4KiB and 1MiB")
	}
	for field, d := range map[string]Duration{
		"read_header_timeout": c.ReadHeaderTimeout, "read_timeout": c.ReadTimeout,
		"write_timeout": c.WriteTimeout, "idle_timeout": c.IdleTimeout,
	} {
		if d < 0 || d > Duration(time.Hour) {
			k.Fail(field, "must be between 0s (the default) and 1h")
		}
	}
}

// HTTPServer is an HTTP/1.1 and, with TLS, HTTP/2 listener with its handler.
type HTTPServer struct {
	name   string
	cfg    HTTPConfig
	server *http.Server
	addr   atomic.Pointer[string]
	failed chan error
}

// NewHTTPServer makes a listener that starts with its component. Requests are traced when traces are exported.
func (p *Process) NewHTTPServer(name string, cfg HTTPConfig, handler http.Handler) *HTTPServer {
	if p.Telemetry.Tracing && name != "admin" {
		handler = otelhttp.NewHandler(handler, name, otelhttp.WithTracerProvider(p.Telemetry.Tracer), otelhttp.WithMeterProvider(p.Telemetry.Meter))
	}
	return &HTTPServer{
		name: name, cfg: cfg, failed: make(chan error, 1),
		server: &http.Server{
			Handler:           handler,
			MaxHeaderBytes:    int(or(cfg.MaxHeaderBytes, 16<<10)),
			ReadHeaderTimeout: time.Duration(or(cfg.ReadHeaderTimeout, Duration(5*time.Second))),
			ReadTimeout:       time.Duration(or(cfg.ReadTimeout, Duration(30*time.Second))),
			WriteTimeout:      time.Duration(or(cfg.WriteTimeout, Duration(time.Minute))),
			IdleTimeout:       time.Duration(or(cfg.IdleTimeout, Duration(2*time.Minute))),
			// What clients do wrong on the wire is no event of ours.
			ErrorLog: slog.NewLogLogger(p.Log.With(slog.String("listener", name)).Handler(), slog.LevelDebug),
		},
	}
}

// Addr is where the server listens, as host:port or the path of a unix socket; "" before it has started.
func (s *HTTPServer) Addr() string { return loadAddr(&s.addr) }

// Component is the server's place in [Process.Run].
func (s *HTTPServer) Component() Component {
	return Component{Name: "listener " + s.name, Start: s.start, Stop: s.stop, Failed: s.failed}
}

func (s *HTTPServer) start(ctx context.Context) error {
	tlsConfig, err := s.cfg.TLS.serverConfig("h2", "http/1.1")
	if err != nil {
		return err
	}
	l, err := s.cfg.listen(ctx)
	if err != nil {
		return err
	}
	storeAddr(&s.addr, l)
	if tlsConfig != nil {
		l = tls.NewListener(l, tlsConfig)
	}
	s.server.BaseContext = func(net.Listener) context.Context { return context.WithoutCancel(ctx) }
	go func() {
		if err := s.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- err
		}
	}()
	return nil
}

// stop closes idle connections and waits for requests in flight.
func (s *HTTPServer) stop(ctx context.Context) error {
	if err := s.server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("requests broken off: %w", err), s.server.Close())
	}
	return nil
}

// or is the configured value, or the default for none.
func or[T comparable](configured, otherwise T) T {
	var zero T
	if configured == zero {
		return otherwise
	}
	return configured
}

func storeAddr(to *atomic.Pointer[string], l net.Listener) {
	addr := l.Addr().String()
	to.Store(&addr)
}

func loadAddr(from *atomic.Pointer[string]) string {
	if addr := from.Load(); addr != nil {
		return *addr
	}
	return ""
}
