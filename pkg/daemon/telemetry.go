// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/credentials"
)

// TelemetryConfig says where traces go. Metrics are always offered at /metrics of the admin listener.
type TelemetryConfig struct {
	// OTLPEndpoint is the host:port of a collector that takes traces by OTLP over gRPC. Empty: no tracing at all.
	OTLPEndpoint string `yaml:"otlp_endpoint"`
	// OTLPInsecure sends without TLS, for a collector on the same machine.
	OTLPInsecure bool `yaml:"otlp_insecure"`
	// OTLPCAFile holds the certificates that the collector's is checked against. Empty: those of the system.
	OTLPCAFile Path `yaml:"otlp_ca_file"`
	// SampleRatio is the share of requests, 0 to 1, that are traced when their caller has not decided. Nil: 0.01.
	SampleRatio *float64 `yaml:"sample_ratio"`
}

const defaultSampleRatio = 0.01

// Validate implements [Validator].
func (c *TelemetryConfig) Validate(k *Check) {
	if c.SampleRatio != nil && (*c.SampleRatio < 0 || *c.SampleRatio > 1) {
		k.Fail("sample_ratio", "must be between 0 and 1")
	}
	if c.OTLPInsecure && c.OTLPCAFile != "" {
		k.Fail("otlp_ca_file", "has no use with otlp_insecure")
	}
}

// Telemetry holds the providers of a process.
type Telemetry struct {
	// Tracer makes tracers. It does nothing when no collector is configured.
	Tracer trace.TracerProvider
	// Meter makes meters whose values appear at /metrics.
	Meter metric.MeterProvider
	// Registry takes Prometheus collectors of libraries that bring their own.
	Registry *prometheus.Registry
	// Tracing reports whether traces are exported, so that hot paths can do without the instrumentation.
	Tracing bool

	close []func(context.Context) error

	mu    sync.Mutex
	extra []io.WriterTo
}

func newTelemetry(ctx context.Context, cfg TelemetryConfig, service, version string) (*Telemetry, error) {
	about := resource.NewSchemaless(attribute.String("service.name", service), attribute.String("service.version", version))
	t := &Telemetry{Tracer: noop.NewTracerProvider(), Registry: prometheus.NewRegistry()}
	t.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	exporter, err := otelprom.New(otelprom.WithRegisterer(t.Registry), otelprom.WithoutScopeInfo(), otelprom.WithoutTargetInfo())
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter), sdkmetric.WithResource(about))
	t.Meter = meter
	t.close = append(t.close, meter.Shutdown)

	if cfg.OTLPEndpoint != "" {
		options := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(cfg.OTLPEndpoint)}
		if cfg.OTLPInsecure {
			options = append(options, otlptracegrpc.WithInsecure())
		} else {
			roots, err := certPool(cfg.OTLPCAFile)
			if err != nil {
				return nil, fmt.Errorf("telemetry.otlp_ca_file: %w", err)
			}
			options = append(options, otlptracegrpc.WithTLSCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})))
		}
		export, err := otlptracegrpc.New(ctx, options...) // connects in the background
		if err != nil {
			return nil, fmt.Errorf("traces: %w", err)
		}
		ratio := defaultSampleRatio
		if cfg.SampleRatio != nil {
			ratio = *cfg.SampleRatio
		}
		tracer := sdktrace.NewTracerProvider(
			sdktrace.WithBatcher(export), sdktrace.WithResource(about),
			sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio))),
		)
		t.Tracer, t.Tracing = tracer, true
		t.close = append(t.close, tracer.Shutdown)
	}
	otel.SetTracerProvider(t.Tracer)
	otel.SetMeterProvider(t.Meter)
	otel.SetTextMapPropagator(propagation.TraceContext{}) // no baggage: it would carry strangers' words through every call
	return t, nil
}

// AddMetrics appends what w writes, in Prometheus's text format, to each answer of /metrics. It is for counters on paths
// that are too hot for a library.
func (t *Telemetry) AddMetrics(w io.WriterTo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.extra = append(t.extra, w)
}

// ServeHTTP is the /metrics page.
func (t *Telemetry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The text format alone, uncompressed: what is appended must be of the same kind.
	r = r.Clone(r.Context())
	r.Header.Del("Accept")
	promhttp.HandlerFor(t.Registry, promhttp.HandlerOpts{DisableCompression: true}).ServeHTTP(w, r)
	t.mu.Lock()
	extra := t.extra
	t.mu.Unlock()
	for _, e := range extra {
		if _, err := e.WriteTo(w); err != nil {
			return // the reader has gone
		}
	}
}

// shutdown exports what is left.
func (t *Telemetry) shutdown(ctx context.Context) error {
	var errs []error
	for _, f := range t.close {
		errs = append(errs, f(ctx))
	}
	t.close = nil
	return errors.Join(errs...)
}

// certPool reads PEM certificates; no file means the system's.
func certPool(file Path) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil // crypto/tls takes nil for the system's roots
	}
	text, err := os.ReadFile(string(file))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("no certificate in %s", file)
	}
	return pool, nil
}
