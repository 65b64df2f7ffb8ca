// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tenantry/tenantry/pkg/snapshot"
	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// Whatever the server answers to has a policy: what is registered without one would be refused, which is better noticed here.
func TestEveryMethodOfTheServerHasAPolicy(t *testing.T) {
	table, err := policies()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range append(openMethods, reflectionMethods...) {
		table[m] = &policy{open: true}
	}
	s := &Server{policies: table, cfg: Config{Reflection: true}}
	g := grpc.NewServer()
	s.Register(g)
	healthpb.RegisterHealthServer(g, health.NewServer())
	n := 0
	for service, info := range g.GetServiceInfo() {
		for _, m := range info.Methods {
			n++
			if p := table["/"+service+"/"+m.Name]; p == nil || !p.open && p.permission == "" {
				t.Errorf("/%s/%s has no policy", service, m.Name)
			}
		}
	}
	if n < 45 {
		t.Errorf("%d methods", n)
	}
}

// A reason that tells nobody what to do next is none.
func TestReasonsTellWhatToDo(t *testing.T) {
	seen := map[tenancy.Reason]bool{}
	for _, r := range reasons {
		if seen[r.Reason] {
			t.Errorf("%s stands in the table twice", r.Reason)
		}
		seen[r.Reason] = true
		if r.Text == "" || r.Cause == "" || r.Cure == "" {
			t.Errorf("%s lacks a text", r.Reason)
		}
		if r.Code == codes.OK || r.Code == codes.Unknown {
			t.Errorf("%s has the code %v", r.Reason, r.Code)
		}
		all := strings.ToLower(r.Text + " " + r.Cause + " " + r.Cure)
		for _, word := range []string{"please", "sorry", "oops", "invalid", "forbidden", "an error occurred", "required field"} {
			if strings.Contains(all, word) {
				t.Errorf("%s says %q", r.Reason, word)
			}
		}
	}
}

// The two spellings of the policy hold each other's fields.
func TestPolicyPaths(t *testing.T) {
	var leaves []string
	var collect func(string, protoreflect.MessageDescriptor)
	collect = func(path string, d protoreflect.MessageDescriptor) {
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			at := strings.TrimPrefix(path+"."+string(f.Name()), ".")
			if f.Message() != nil && !f.IsList() && strings.HasPrefix(string(f.Message().FullName()), "tenantry.") {
				collect(at, f.Message())
				continue
			}
			leaves = append(leaves, at)
		}
	}
	collect("", (&controlv1.TenantConfig{}).ProtoReflect().Descriptor())
	for _, leaf := range leaves {
		if !slices.ContainsFunc(policyPaths, func(p [2]string) bool { return p[0] == leaf }) {
			t.Errorf("%s is not in the table", leaf)
		}
	}
	for _, p := range policyPaths {
		if !slices.Contains(leaves, p[0]) || !slices.Contains(snapshot.Fields(), p[1]) {
			t.Errorf("%v names no field", p)
		}
		if got := lockedPath("config." + p[0]); got != p[1] || lockedName(got) != "config."+p[0] {
			t.Errorf("%v: %s", p, got)
		}
	}
	if got := lockedPath("config.tokenPolicy.idTokenAlgs"); got != "token.id_token_algs" {
		t.Errorf("camel case: %s", got)
	}
}

// Enumerations that are converted by number have the same names on both sides.
func TestEnumNumbers(t *testing.T) {
	for n, name := range controlv1.Client_Kind_name {
		if tenancy.ClientKind(n).String() != name {
			t.Errorf("kind %d: %s", n, name)
		}
	}
	for n, name := range controlv1.Client_ClientType_name {
		if tenancy.ClientType(n).String() != name {
			t.Errorf("client type %d: %s", n, name)
		}
	}
	for n, name := range controlv1.Tenant_Type_name {
		if tenancy.TenantType(n).String() != name {
			t.Errorf("tenant type %d: %s", n, name)
		}
	}
	for n, name := range controlv1.Tenant_State_name {
		if tenancy.State(n).String() != name || controlv1.Org_State_name[n] != name {
			t.Errorf("state %d: %s", n, name)
		}
	}
	for k, s := range signingStates {
		if k.String() != s.String() {
			t.Errorf("signing key state %v: %v", k, s)
		}
	}
	for k, s := range keyStates {
		if k.String() != s.String() {
			t.Errorf("key state %v: %v", k, s)
		}
	}
}

// What is not known stays inside: the caller learns the request id and nothing else.
func TestUnknownErrorsStayInside(t *testing.T) {
	secret := errors.New("password=hunter2 host=10.0.0.7")
	st := statusOf(refusal(t.Context(), secret), "req_x", "", 0)
	if st.Code() != codes.Internal || strings.Contains(st.String(), "hunter2") || strings.Contains(st.Message(), "10.0.0.7") {
		t.Errorf("%v", st)
	}
	if e := refusal(t.Context(), secret); !errors.Is(e, secret) {
		t.Error("the log does not get the cause")
	}
	done, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if e := refusal(done, errors.New("query was cancelled")); e.Reason != reasonDeadline {
		t.Errorf("after the deadline: %s", e.Reason)
	}
}

// noControl panics at the first call, as a bug would.
type (
	noControl struct{ Control }
	noUsers   struct{ Users }
)

func TestPanicIsTheErrorOfOneCall(t *testing.T) {
	s, err := New(Config{Control: noControl{}, Users: noUsers{}, PageKey: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer tnk_x"))
	_, err = s.unary(ctx, &controlv1.GetOrgRequest{Name: "orgs/x"}, &grpc.UnaryServerInfo{FullMethod: "/tenantry.control.v1.OrgService/GetOrg"},
		func(context.Context, any) (any, error) { return &controlv1.Org{}, nil })
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "nil pointer") {
		t.Errorf("panic: %v", err)
	}
	_, err = s.unary(ctx, &controlv1.GetOrgRequest{}, &grpc.UnaryServerInfo{FullMethod: "/tenantry.control.v1.OrgService/Shred"},
		func(context.Context, any) (any, error) {
			t.Error("a method without a policy was called")
			return nil, nil
		})
	if reasonOf(status.Convert(err)) != reasonRouteUnknown {
		t.Errorf("a method without a policy: %v", err)
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"orgs/x", "orgs/-/tenants/-/users/uid_x", "platform/apiKeys/key_x", "orgs//tenants", "platform", "operations/x", "orgs/a/tenants"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parseName(s)
		if !ok {
			return
		}
		parts := []string{}
		if n.platform {
			parts = append(parts, "platform")
		} else {
			parts = append(parts, "orgs", n.org)
		}
		if n.tenant != "" {
			parts = append(parts, "tenants", n.tenant)
		}
		if got := strings.Join(append(parts, n.rest...), "/"); got != s {
			t.Errorf("%q reads as %q", s, got)
		}
	})
}
