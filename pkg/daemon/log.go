// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// LogConfig says what is logged and how.
type LogConfig struct {
	// Format is "json" (default) or "text".
	Format string `yaml:"format"`
	// Level is "debug", "info" (default), "warn" or "error".
	Level string `yaml:"level"`
}

var levels = map[string]slog.Level{
	"": slog.LevelInfo, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

// Validate implements [Validator].
func (c *LogConfig) Validate(k *Check) {
	switch c.Format {
	case "", "json", "text":
	default:
		k.Fail("format", "must be json or text")
	}
	if _, ok := levels[c.Level]; !ok {
		k.Fail("level", "must be debug, info, warn or error")
	}
}

// NewLogger makes a logger that writes one line for each record to w. Records logged with the context of a traced request
// carry its trace_id and span_id.
func NewLogger(w io.Writer, cfg LogConfig) *slog.Logger {
	if cfg.Format == "text" {
		return slog.New(traceHandler{slog.NewTextHandler(w, &slog.HandlerOptions{Level: levels[cfg.Level]})})
	}
	return slog.New(traceHandler{newLineHandler(w, levels[cfg.Level])})
}

// traceHandler adds the ids of the trace in the context.
type traceHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h traceHandler) Handle(ctx context.Context, r slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h traceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return traceHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h traceHandler) WithGroup(name string) slog.Handler {
	return traceHandler{h.Handler.WithGroup(name)}
}
