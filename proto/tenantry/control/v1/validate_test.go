// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
)

func validator(t testing.TB) protovalidate.Validator {
	t.Helper()
	v, err := protovalidate.New()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A rule that does not compile would answer INTERNAL at the first request; here it fails the build instead.
func TestEveryRuleCompiles(t *testing.T) {
	v := validator(t)
	for _, m := range methods(t) {
		err := v.Validate(dynamicpb.NewMessage(m.Input()))
		var violation *protovalidate.ValidationError
		if err != nil && !errors.As(err, &violation) {
			t.Errorf("%s: %v", m.Input().FullName(), err)
		}
	}
}

const provisionHooli = `{
  "parent": "orgs/piedpiper", "tenantId": "hooli", "blueprint": "orgs/piedpiper/blueprints/ppvc-standard",
  "requestId": "0192f6a0-0000-7000-8000-000000000001",
  "parameters": {"backgroundColor": "#aabbcc"},
  "tenant": {"displayName": "Hooli", "type": "DEVELOPMENT", "labels": {"team": "x"}, "appMetadata": {"a": 1}},
  "hosts": [{"label": "Hooli"}],
  "owner": {"email": "gavin@hooli.example"},
  "clients": [{"id": "spa", "kind": "SPA", "redirectUris": ["https://{{host.label}}.example.com/cb"]}],
  "apiKeys": [{"id": "reader", "permissions": ["users.get", "users.*"]}],
  "initialUsers": [{"email": "{{owner.email}}", "roles": ["admin"], "invite": true}],
  "overrides": {"passwordPolicy": {"minLength": 12}, "tokenPolicy": {"accessTtl": "600s", "idTokenAlgs": ["ES256", "RS256"]}},
  "waitFor": "LOGIN_READY"
}`

func TestProvisionRequestIsAccepted(t *testing.T) {
	var r controlv1.ProvisionTenantRequest
	if err := protojson.Unmarshal([]byte(provisionHooli), &r); err != nil {
		t.Fatal(err)
	}
	if err := validator(t).Validate(&r); err != nil {
		t.Error(err)
	}
}

// Names by uid, by slug, and with the wildcard of keys that have one tenant.
func TestResourceNamesAreAccepted(t *testing.T) {
	v := validator(t)
	for _, name := range []string{
		"orgs/piedpiper/tenants/hooli",
		"orgs/org_01j9zpw0aa0000000000000000/tenants/tnt_01j9zq1c7h0000000000000000",
		"orgs/-/tenants/-",
	} {
		if err := v.Validate(&controlv1.GetTenantRequest{Name: name}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, parent := range []string{"platform", "orgs/piedpiper", "orgs/piedpiper/tenants/hooli"} {
		if err := v.Validate(&controlv1.ListApiKeysRequest{Parent: parent}); err != nil {
			t.Errorf("%q: %v", parent, err)
		}
	}
}

// Each row is the good provision request with one thing changed, and the field that the answer must name.
func TestBadProvisionRequestsNameTheField(t *testing.T) {
	v := validator(t)
	long := strings.Repeat("x", 5000)
	for name, row := range map[string]struct{ change, field string }{
		"no parent":             {`{"parent": ""}`, "parent"},
		"parent climbs":         {`{"parent": "orgs/../x"}`, "parent"},
		"parent with newline":   {`{"parent": "orgs/piedpiper\n"}`, "parent"},
		"upper-case slug":       {`{"tenantId": "Hooli"}`, "tenant_id"},
		"slug with dot":         {`{"tenantId": "a.b"}`, "tenant_id"},
		"slug like a uid":       {`{"tenantId": "tnt_01j9"}`, "tenant_id"},
		"slug ends in hyphen":   {`{"tenantId": "hooli-"}`, "tenant_id"},
		"request id":            {`{"requestId": "1"}`, "request_id"},
		"blueprint of nothing":  {`{"blueprint": "ppvc-standard"}`, "blueprint"},
		"long display name":     {`{"tenant": {"displayName": "` + long + `"}}`, "tenant.display_name"},
		"control character":     {`{"tenant": {"displayName": "a\u0000b"}}`, "tenant.display_name"},
		"undefined enum":        {`{"waitFor": 77}`, "wait_for"},
		"host without address":  {`{"hosts": [{"primary": true}]}`, "hosts[0].address"},
		"owner is no address":   {`{"owner": {"email": "gavin"}}`, "owner.email"},
		"key without rights":    {`{"apiKeys": [{"id": "k"}]}`, "api_keys[0]"},
		"key with a wild right": {`{"apiKeys": [{"id": "k", "permissions": ["users.get; drop"]}]}`, "api_keys[0].permissions[0]"},
		"client without kind":   {`{"clients": [{"id": "c"}]}`, "clients[0].kind"},
		"weak password policy":  {`{"overrides": {"passwordPolicy": {"minLength": 0}}}`, "overrides.password_policy.min_length"},
		"endless access token":  {`{"overrides": {"tokenPolicy": {"accessTtl": "864000s"}}}`, "overrides.token_policy.access_ttl"},
		"alg none":              {`{"overrides": {"tokenPolicy": {"accessAlg": "none"}}}`, "overrides.token_policy.access_alg"},
		"colour breaks out":     {`{"tenant": {"theme": {"brand": "#fff;}</style>"}}}`, "tenant.theme.brand"},
		"script as a logo":      {`{"tenant": {"theme": {"logo": {"data": "AA==", "mediaType": "text/html"}}}}`, "tenant.theme.logo.media_type"},
		"label key":             {`{"tenant": {"labels": {"A B": ""}}}`, `tenant.labels["A B"]`},
	} {
		t.Run(name, func(t *testing.T) {
			var r, change controlv1.ProvisionTenantRequest
			if err := protojson.Unmarshal([]byte(provisionHooli), &r); err != nil {
				t.Fatal(err)
			}
			if err := protojson.Unmarshal([]byte(row.change), &change); err != nil {
				t.Fatal(err)
			}
			change.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
				r.ProtoReflect().Clear(f)
				return true
			})
			if row.field == "parent" {
				r.Parent = ""
			}
			proto.Merge(&r, &change)
			var violation *protovalidate.ValidationError
			if err := v.Validate(&r); !errors.As(err, &violation) {
				t.Fatalf("accepted: %v", err)
			}
			if len(violation.Violations) != 1 {
				t.Errorf("%d violations: %v", len(violation.Violations), violation)
			}
			if got := protovalidate.FieldPathString(violation.Violations[0].Proto.GetField()); got != row.field {
				t.Errorf("field %q, want %q", got, row.field)
			}
		})
	}
}

func TestUpdateMustNameItsResource(t *testing.T) {
	v := validator(t)
	for _, r := range []proto.Message{
		&controlv1.UpdateTenantRequest{Tenant: &controlv1.Tenant{}},
		&controlv1.UpdateTenantRequest{},
		&controlv1.UpdateClientRequest{Client: &controlv1.Client{}},
		&controlv1.UpdateOrgRequest{Org: &controlv1.Org{}},
		&controlv1.UpdateUserRequest{User: &controlv1.User{}},
		&controlv1.UpdateBlueprintRequest{Blueprint: &controlv1.Blueprint{}},
	} {
		if v.Validate(r) == nil {
			t.Errorf("%T without a name was accepted", r)
		}
	}
	ok := &controlv1.UpdateTenantRequest{Tenant: &controlv1.Tenant{Name: "orgs/a/tenants/b"}}
	if err := v.Validate(ok); err != nil {
		t.Error(err)
	}
}

// An update cannot be made to carry an unbounded document or mask.
func TestOversizedUpdatesAreRefused(t *testing.T) {
	v := validator(t)
	members := map[string]any{}
	var paths []string
	for i := range 65 {
		members[fmt.Sprint("m", i)] = i
		paths = append(paths, fmt.Sprint("labels.l", i))
	}
	doc, err := structpb.NewStruct(members)
	if err != nil {
		t.Fatal(err)
	}
	tenant := &controlv1.Tenant{Name: "orgs/a/tenants/b"}
	for field, r := range map[string]*controlv1.UpdateTenantRequest{
		"tenant.app_metadata": {Tenant: &controlv1.Tenant{Name: tenant.GetName(), AppMetadata: doc}},
		"update_mask":         {Tenant: tenant, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}},
	} {
		var violation *protovalidate.ValidationError
		if err := v.Validate(r); !errors.As(err, &violation) {
			t.Errorf("%s: accepted: %v", field, err)
		} else if got := protovalidate.FieldPathString(violation.Violations[0].Proto.GetField()); got != field {
			t.Errorf("field %q, want %q", got, field)
		}
	}
}

// Validation runs before every handler; see that it stays small beside the work of a provision.
func BenchmarkValidateProvision(b *testing.B) {
	var r controlv1.ProvisionTenantRequest
	if err := protojson.Unmarshal([]byte(provisionHooli), &r); err != nil {
		b.Fatal(err)
	}
	v := validator(b)
	for b.Loop() {
		if err := v.Validate(&r); err != nil {
			b.Fatal(err)
		}
	}
}
