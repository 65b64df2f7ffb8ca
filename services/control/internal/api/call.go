// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// requestKind makes the ids of requests, which are in answers, logs and audit events.
type requestKind struct{}

// Prefix is req.
func (requestKind) Prefix() string { return "req" }

// Metadata of a call. The names with an x-tenantry-rest- in front come from our own gateway alone: they are read only from its
// connection, which nobody outside this process can make.
const (
	mdAuthorization  = "authorization"
	mdUserAgent      = "user-agent"
	mdTenant         = "x-tenantry-tenant"
	mdRESTSource     = "x-tenantry-rest-source"
	mdRESTAgent      = "x-tenantry-rest-user-agent"
	mdRESTIdempotent = "x-tenantry-rest-idempotency-key"
	mdRESTIfMatch    = "x-tenantry-rest-if-match"
	// Of an answer:
	mdRequestID     = "x-request-id"
	mdConfigVersion = "tenantry-config-version"
)

// gatewayNetwork is the network of the connection from the gateway: an address of it has no port that one could connect to.
const gatewayNetwork = "bufconn"

// call is what the interceptors learn about one call, filled in as it travels and logged once.
type call struct {
	id       string
	method   string
	policy   *policy
	start    time.Time
	fromREST bool
	source   string // network address of the caller
	agent    string
	caller   tenancy.Principal
	resolved provision.Resolved
	body     [32]byte // identity of the request for idempotency
	headers  metadata.MD
}

type callKey struct{}

// callOf is the call of a context; handlers run inside one.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// newCall reads who is at the other end.
func newCall(ctx context.Context, method string, now time.Time) *call {
	c := &call{id: id.New[requestKind]().String(), method: method, start: now}
	c.headers, _ = metadata.FromIncomingContext(ctx)
	c.agent = first(c.headers, mdUserAgent)
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		if c.fromREST = p.Addr.Network() == gatewayNetwork; c.fromREST {
			c.source, c.agent = first(c.headers, mdRESTSource), first(c.headers, mdRESTAgent)
		} else if host, _, err := net.SplitHostPort(p.Addr.String()); err == nil {
			c.source = host
		}
	}
	c.agent = strings.ToValidUTF8(c.agent[:min(len(c.agent), 256)], "")
	return c
}

func first(md metadata.MD, name string) string {
	if v := md.Get(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// event is the one log line of the call.
func (c *call) event(took time.Duration, code, reason string) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("request_id", c.id), slog.String("method", c.method), slog.String("code", code),
		slog.Duration("took", took), slog.String("source", c.source), slog.Bool("rest", c.fromREST),
	}
	if reason != "" {
		attrs = append(attrs, slog.String("reason", reason))
	}
	if !c.caller.Key.IsZero() {
		attrs = append(attrs, slog.String("key", c.caller.Key.String()))
	}
	if !c.resolved.Org.IsZero() {
		attrs = append(attrs, slog.String("org", c.resolved.Org.String()))
	}
	if !c.resolved.Tenant.IsZero() {
		attrs = append(attrs, slog.String("tenant", c.resolved.Tenant.String()))
	}
	return attrs
}

// setVersion tells the caller the version of the configuration that has the change.
func setVersion(ctx context.Context, version int64) {
	if version > 0 {
		setHeader(ctx, mdConfigVersion, itoa(version))
	}
}

// setHeader adds metadata to the answer. It cannot fail before the answer is sent, and a caller who has gone does not miss it.
func setHeader(ctx context.Context, name, value string) {
	_ = grpc.SetHeader(ctx, metadata.Pairs(name, value))
}
