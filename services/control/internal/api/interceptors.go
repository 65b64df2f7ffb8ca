// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// Options are the interceptors, for the server that the services are registered on.
func (s *Server) Options() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(s.unary), grpc.ChainStreamInterceptor(s.stream)}
}

// unary is the way of every call with one request and one answer.
func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	p, ok := s.policies[info.FullMethod]
	if ok && p.open {
		return handler(ctx, req)
	}
	c := newCall(ctx, info.FullMethod, s.now())
	c.policy = p
	setHeader(ctx, mdRequestID, c.id)
	if ok {
		var cancel context.CancelFunc
		ctx, cancel = withDeadline(ctx, p.timeout)
		defer cancel()
	}
	ctx = context.WithValue(ctx, callKey{}, c)
	answer, err := s.recovered(ctx, func() (any, error) {
		if !ok {
			return nil, refuse(reasonRouteUnknown, "there is no policy for this method")
		}
		m, isMessage := req.(proto.Message)
		if !isMessage {
			return nil, fmt.Errorf("request is a %T", req)
		}
		if err := s.admit(ctx, c, m); err != nil {
			return nil, err
		}
		return handler(ctx, req)
	})
	return answer, s.finish(ctx, c, err)
}

// stream is the way of streams. No method of the API streams; what does is open (health, reflection) or refused.
func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if p, ok := s.policies[info.FullMethod]; ok && p.open {
		return handler(srv, ss)
	}
	c := newCall(ss.Context(), info.FullMethod, s.now())
	setHeader(ss.Context(), mdRequestID, c.id)
	return s.finish(ss.Context(), c, refuse(reasonRouteUnknown, "there is no policy for this method"))
}

// withDeadline bounds a call, and leaves the caller a little of its own deadline, so that the error that it gets is ours.
func withDeadline(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if at, ok := ctx.Deadline(); ok {
		left := time.Until(at)
		limit = min(limit, left-min(50*time.Millisecond, left/10))
	}
	return context.WithTimeout(ctx, limit)
}

// recovered turns a panic, which is a bug, into the error of the call that has it.
func (s *Server) recovered(ctx context.Context, f func() (any, error)) (_ any, err error) {
	defer func() {
		if r := recover(); r != nil {
			s.log.ErrorContext(ctx, "panic in a call", slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
			err = tenancy.Refuse(tenancy.ReasonInternal).Because(fmt.Errorf("panic: %v", r))
		}
	}()
	return f()
}

// admit lets a request pass to its handler: who calls, with which right, and whether the request is whole.
func (s *Server) admit(ctx context.Context, c *call, req proto.Message) error {
	if err := s.authenticate(ctx, c); err != nil {
		return err
	}
	invalid, err := s.authorize(ctx, c, req)
	if err != nil {
		return err
	}
	if err := s.takeHeaders(c, req); err != nil {
		return err
	}
	if err := s.validate(req); err != nil {
		return err
	}
	if invalid {
		// The name is none, and yet every rule accepts it: there is nothing of this name.
		return tenancy.Refuse(tenancy.ReasonNotFound)
	}
	if c.policy.permission == "hostnameClaims.check" {
		if wait := s.checks.Take(c.caller.Key, s.now()); wait > 0 {
			return &retryAfter{refuse(reasonRateLimited, ""), wait}
		}
	}
	if c.policy.requestID != nil {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
		if err != nil {
			return fmt.Errorf("request of %s: %w", c.method, err)
		}
		c.body = sha256.Sum256(b)
	}
	return nil
}

// takeHeaders moves what REST callers send as headers into the fields that they stand for. A header and a field that differ are
// refused: one of them is a mistake.
func (s *Server) takeHeaders(c *call, req proto.Message) error {
	if !c.fromREST {
		return nil
	}
	set := func(f protoreflect.FieldDescriptor, name, header, value string) error {
		if value == "" {
			return nil
		}
		if f == nil {
			if c.policy.reads {
				return nil
			}
			return tenancy.RefuseField(tenancy.ReasonInvalidArgument, name, "this method does not take the header "+header)
		}
		m := req.ProtoReflect()
		if have := m.Get(f).String(); have != "" && have != value {
			return tenancy.RefuseField(tenancy.ReasonInvalidArgument, name, "the field and the header "+header+" differ")
		}
		m.Set(f, protoreflect.ValueOfString(value))
		return nil
	}
	if err := set(c.policy.requestID, "request_id", "Idempotency-Key", first(c.headers, mdRESTIdempotent)); err != nil {
		return err
	}
	return set(c.policy.etag, "etag", "If-Match", first(c.headers, mdRESTIfMatch))
}

// finish maps the error, and writes the one event and the one metric of the call.
func (s *Server) finish(ctx context.Context, c *call, err error) error {
	took := s.now().Sub(c.start)
	code, reason := codes.OK, tenancy.Reason("")
	var out error
	level := slog.LevelInfo
	attrs := []slog.Attr(nil)
	switch {
	case err == nil:
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		code = codes.Canceled // the caller has gone
		out = status.Error(code, "the caller ended the call")
	default:
		e := refusal(ctx, err)
		var later *retryAfter
		var wait time.Duration
		if errors.As(err, &later) {
			wait = later.wait
		}
		st := statusOf(e, c.id, s.docsURL, wait)
		code, reason, out = st.Code(), e.Reason, st.Err()
		if class := infoOf(e.Reason).Class; class == tenancy.ClassInternal || class == tenancy.ClassUnavailable {
			if level = slog.LevelWarn; class == tenancy.ClassInternal {
				level = slog.LevelError
			}
			attrs = append(attrs, slog.String("error", err.Error()))
		}
	}
	s.log.LogAttrs(ctx, level, "call", append(c.event(took, code.String(), string(reason)), attrs...)...)
	method := "unknown"
	if c.policy != nil {
		method = c.policy.name
	}
	s.calls.Record(ctx, took.Seconds(), metric.WithAttributeSet(attribute.NewSet(
		attribute.String("method", method), attribute.String("code", code.String()), attribute.String("reason", string(reason)),
	)))
	return out
}
