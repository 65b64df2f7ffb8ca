// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"

	"github.com/tenantry/tenantry/pkg/id"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/provision"
	"github.com/tenantry/tenantry/services/control/internal/ratelimit"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
	"github.com/tenantry/tenantry/services/identity"
)

// Control is the use cases that the handlers call.
type Control interface {
	provision.API
	// TenantView reads a tenant with its roles, and the policy that holds for it.
	TenantView(ctx context.Context, org id.Org, tenant id.Tenant) (tenancy.Tenant, *snapshotv1.Policy, error)
}

// Users is the part of the user store that the user methods and the audit log call.
type Users interface {
	CreateUser(ctx context.Context, ref identity.TenantRef, op identity.Op, n identity.NewUser, policy identity.PasswordPolicy) (identity.User, error)
	GetUser(ctx context.Context, ref identity.TenantRef, user id.User) (identity.User, error)
	ListUsers(ctx context.Context, ref identity.TenantRef, p identity.UserPage) ([]identity.User, error)
	SearchUsers(ctx context.Context, ref identity.TenantRef, prefix string, after id.User, limit int) ([]identity.User, error)
	UpdateUser(ctx context.Context, ref identity.TenantRef, op identity.Op, user id.User, c identity.UserChange, etag string) (identity.User, identity.Ended, error)
	DeleteUser(ctx context.Context, ref identity.TenantRef, op identity.Op, user id.User, etag string) (identity.Ended, error)
	SetPassword(ctx context.Context, ref identity.TenantRef, op identity.Op, user id.User, password string, policy identity.PasswordPolicy, keep id.Session) (identity.Ended, error)
	ListAuditEvents(ctx context.Context, ref identity.TenantRef, p identity.AuditPage) ([]identity.AuditEvent, error)
}

// Config is what a Server needs. Control, Users and PageKey must be set.
type Config struct {
	Control Control
	Users   Users
	// PageKey authenticates the page tokens of user lists: 32 bytes or more, the same in all replicas.
	PageKey []byte
	// DocsURL is the base URL of this service's REST interface, which links in errors begin with.
	DocsURL string
	// TrustedProxies are the networks whose X-Forwarded-For is believed on REST.
	TrustedProxies []netip.Prefix
	// HostnameChecks is how many hostname checks a key may make a second, after a burst of five seconds' worth; 0 means 5.
	HostnameChecks float64
	// Reflection offers the gRPC reflection service, without a key. For development.
	Reflection bool

	Meter  metric.MeterProvider // nil counts nothing
	Now    func() time.Time     // nil means time.Now
	Logger *slog.Logger         // nil discards
}

// Server is the services of the API and their interceptors. It is safe for concurrent use.
type Server struct {
	cfg      Config
	control  Control
	users    Users
	policies map[string]*policy
	rules    protovalidate.Validator
	pages    *tenancy.PageTokens
	checks   *ratelimit.Limiter[id.APIKey]
	calls    metric.Float64Histogram
	docsURL  string
	now      func() time.Time
	log      *slog.Logger

	controlv1.UnimplementedOrgServiceServer
	controlv1.UnimplementedBlueprintServiceServer
	controlv1.UnimplementedTenantServiceServer
	controlv1.UnimplementedClientServiceServer
	controlv1.UnimplementedApiKeyServiceServer
	controlv1.UnimplementedSigningKeyServiceServer
	controlv1.UnimplementedUserServiceServer
	controlv1.UnimplementedHostnameServiceServer
	controlv1.UnimplementedAuditServiceServer
	controlv1.UnimplementedOperationServiceServer
}

// openMethods need no caller: what load balancers ask.
var openMethods = []string{"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", "/grpc.health.v1.Health/List"}

// reflectionMethods need none either, where they are offered.
var reflectionMethods = []string{
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}

// New makes a Server.
func New(cfg Config) (*Server, error) {
	if cfg.Control == nil || cfg.Users == nil {
		return nil, errors.New("api: the use cases and the user store are needed")
	}
	if len(cfg.PageKey) < 32 {
		return nil, errors.New("api: the secret of page tokens has less than 32 bytes")
	}
	table, err := policies()
	if err != nil {
		return nil, err
	}
	open := openMethods
	if cfg.Reflection {
		open = append(open[:len(open):len(open)], reflectionMethods...)
	}
	for _, m := range open {
		table[m] = &policy{open: true, name: m}
	}
	s := &Server{
		cfg: cfg, control: cfg.Control, users: cfg.Users, policies: table, pages: tenancy.NewPageTokens(cfg.PageKey),
		docsURL: strings.TrimSuffix(cfg.DocsURL, "/"), now: cfg.Now, log: cfg.Logger,
	}
	if s.rules, err = protovalidate.New(); err != nil {
		return nil, fmt.Errorf("api: rules: %w", err)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if cfg.HostnameChecks <= 0 {
		cfg.HostnameChecks = 5
	}
	s.checks = ratelimit.New[id.APIKey](cfg.HostnameChecks, 5*cfg.HostnameChecks, 10_000)
	if cfg.Meter == nil {
		cfg.Meter = noop.NewMeterProvider()
	}
	s.calls, err = cfg.Meter.Meter("tenantry/control/api").Float64Histogram(
		"tenantry_control_call_duration_seconds", metric.WithUnit("s"), metric.WithDescription("Time of a call of the control plane API"),
		metric.WithExplicitBucketBoundaries(.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 15, 65),
	)
	if err != nil {
		return nil, fmt.Errorf("api: metrics: %w", err)
	}
	return s, nil
}

// Register adds the services to a gRPC server, which must have been made with Options.
func (s *Server) Register(to *grpc.Server) {
	controlv1.RegisterOrgServiceServer(to, s)
	controlv1.RegisterBlueprintServiceServer(to, s)
	controlv1.RegisterTenantServiceServer(to, s)
	controlv1.RegisterClientServiceServer(to, s)
	controlv1.RegisterApiKeyServiceServer(to, s)
	controlv1.RegisterSigningKeyServiceServer(to, s)
	controlv1.RegisterUserServiceServer(to, s)
	controlv1.RegisterHostnameServiceServer(to, s)
	controlv1.RegisterAuditServiceServer(to, s)
	controlv1.RegisterOperationServiceServer(to, s)
	if s.cfg.Reflection {
		reflection.Register(to)
	}
}
