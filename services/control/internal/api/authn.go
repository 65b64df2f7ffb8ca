// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// refusalTime is how long the refusal of a key takes at least. It is longer than finding a key does, so that the time of an answer
// does not tell a key that exists from one that does not.
const refusalTime = 10 * time.Millisecond

// authenticate finds the caller by the API key in the Authorization header; no other place is looked at.
func (s *Server) authenticate(ctx context.Context, c *call) error {
	begin := time.Now()
	key, err := bearer(c.headers.Get(mdAuthorization))
	if err == nil {
		c.caller, err = s.control.Authenticate(ctx, key)
	}
	if err != nil {
		if infoOf(refusal(ctx, err).Reason).Class == tenancy.ClassUnauthenticated {
			s.pause(ctx, refusalTime-time.Since(begin))
		}
		c.caller = tenancy.Principal{}
		return err
	}
	c.caller.RequestID, c.caller.Source, c.caller.UserAgent = c.id, c.source, c.agent
	return nil
}

func (s *Server) pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// bearer takes the key out of the one Authorization header (RFC 6750 section 2.1). The gateway repeats the header under a name of its
// own, which is not read.
func bearer(values []string) (string, error) {
	if len(values) != 1 {
		return "", refuse(reasonKeyMissing, "")
	}
	scheme, key, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || key == "" {
		return "", refuse(reasonKeyMissing, "")
	}
	return key, nil
}

// authorize checks the one permission of the method on what the request names. invalid says that the request names nothing that
// could be checked: the rules of the request, which are looked at next, say why.
func (s *Server) authorize(ctx context.Context, c *call, req proto.Message) (invalid bool, err error) {
	p := c.policy
	switch p.scope {
	case controlv1.Authz_PLATFORM:
		// That there is a platform is no secret, so who may not change it is told so.
		if c.caller.Rights.Scope != tenancy.ScopePlatform || !c.caller.Rights.Permissions.Allows(p.permission) {
			return false, denied(p.permission)
		}
		return false, s.checkTenantHeader(ctx, c, "")
	case controlv1.Authz_CALLER:
		if !c.caller.Rights.Permissions.Allows(p.permission) {
			return false, denied(p.permission)
		}
		return false, nil
	case controlv1.Authz_RESOURCE, controlv1.Authz_SCOPE_UNSPECIFIED:
	}
	name, ok := parseName(p.resourceName(req))
	if !ok {
		return true, nil
	}
	if c.resolved, err = s.control.Authorize(ctx, c.caller, p.permission, name.scope(p.attached)); err != nil {
		return false, err
	}
	return false, s.checkTenantHeader(ctx, c, name.tenant)
}

func denied(permission string) error {
	return &tenancy.Error{Reason: tenancy.ReasonPermissionDenied, Meta: map[string]string{"permission": permission}}
}

// checkTenantHeader compares the optional X-Tenantry-Tenant with the tenant of the resource name: whoever sends it wants to be sure.
func (s *Server) checkTenantHeader(ctx context.Context, c *call, segment string) error {
	values := c.headers.Get(mdTenant)
	if len(values) == 0 {
		return nil
	}
	mismatch := tenancy.RefuseField(tenancy.ReasonTenantMismatch, "X-Tenantry-Tenant", "it must equal the tenant in the resource name")
	if len(values) != 1 || c.resolved.Tenant.IsZero() {
		return mismatch
	}
	want := values[0]
	if _, after, ok := strings.Cut(want, "/tenants/"); ok && strings.HasPrefix(want, "orgs/") {
		want = after
	}
	if want == segment && want != "-" {
		return nil
	}
	if tenant, err := id.ParseTenant(want); err == nil {
		if tenant != c.resolved.Tenant {
			return mismatch
		}
		return nil
	}
	if !tenancy.ValidSlug(want) {
		return mismatch
	}
	t, err := s.control.GetTenant(ctx, c.caller, c.resolved.Org, c.resolved.Tenant)
	if err != nil {
		return err
	}
	if t.Slug != want {
		return mismatch
	}
	return nil
}
