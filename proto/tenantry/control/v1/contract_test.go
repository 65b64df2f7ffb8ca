// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package control_test holds the rules that every method and field of the control plane API keeps, checked over the
// descriptors, so that a method without rights or a request without bounds fails the build. What the methods do is tested
// with the services.
package control_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	validatepb "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
)

var permissionName = regexp.MustCompile(`^[a-z][A-Za-z]*\.[a-z][A-Za-z]*$`)

// services lists the services of the package, from the linked descriptors.
func services(t *testing.T) []protoreflect.ServiceDescriptor {
	t.Helper()
	var all []protoreflect.ServiceDescriptor
	protoregistry.GlobalFiles.RangeFilesByPackage("tenantry.control.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			all = append(all, f.Services().Get(i))
		}
		return true
	})
	if len(all) < 10 {
		t.Fatalf("%d services are linked, want at least 10", len(all))
	}
	return all
}

func methods(t *testing.T) []protoreflect.MethodDescriptor {
	t.Helper()
	var all []protoreflect.MethodDescriptor
	for _, s := range services(t) {
		for i := range s.Methods().Len() {
			all = append(all, s.Methods().Get(i))
		}
	}
	return all
}

// checkAuthz says what is wrong with the rights check of a method, nil when nothing is.
func checkAuthz(m protoreflect.MethodDescriptor) error {
	if !proto.HasExtension(m.Options(), controlv1.E_Authz) {
		return fmt.Errorf("no (tenantry.control.v1.authz)")
	}
	a := proto.GetExtension(m.Options(), controlv1.E_Authz).(*controlv1.Authz)
	if !permissionName.MatchString(a.GetPermission()) {
		return fmt.Errorf("permission %q is not <collection>.<verb>", a.GetPermission())
	}
	switch a.GetScope() {
	case controlv1.Authz_PLATFORM, controlv1.Authz_CALLER:
		if a.GetResource() != "" {
			return fmt.Errorf("scope %v has resource %q", a.GetScope(), a.GetResource())
		}
	case controlv1.Authz_RESOURCE:
		f, err := fieldAt(m.Input(), a.GetResource())
		if err != nil {
			return err
		}
		if f.Kind() != protoreflect.StringKind || f.IsList() || (f.Name() != "name" && f.Name() != "parent") {
			return fmt.Errorf("resource %q is no name or parent", a.GetResource())
		}
	default:
		return fmt.Errorf("scope %v", a.GetScope())
	}
	if a.GetAttached() && !readsOnly(m) {
		return fmt.Errorf("attached, but not a reading method")
	}
	return nil
}

// fieldAt follows a dotted path of field names.
func fieldAt(m protoreflect.MessageDescriptor, path string) (protoreflect.FieldDescriptor, error) {
	var f protoreflect.FieldDescriptor
	for _, part := range strings.Split(path, ".") {
		if m == nil {
			return nil, fmt.Errorf("path %q goes through a scalar", path)
		}
		if f = m.Fields().ByName(protoreflect.Name(part)); f == nil {
			return nil, fmt.Errorf("path %q: %s has no field %q", path, m.FullName(), part)
		}
		m = f.Message()
	}
	return f, nil
}

func readsOnly(m protoreflect.MethodDescriptor) bool {
	return m.Options().(*descriptorpb.MethodOptions).GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
}

func TestEveryMethodDeclaresItsPermission(t *testing.T) {
	owner := map[string]protoreflect.FullName{}
	for _, m := range methods(t) {
		if err := checkAuthz(m); err != nil {
			t.Errorf("%s: %v", m.FullName(), err)
			continue
		}
		p := proto.GetExtension(m.Options(), controlv1.E_Authz).(*controlv1.Authz).GetPermission()
		if other, taken := owner[p]; taken {
			t.Errorf("%s: permission %q is already that of %s", m.FullName(), p, other)
		}
		owner[p] = m.FullName()
	}
}

// The check above must see a method that lacks the option: these have options, but not ours.
func TestMethodWithoutPermissionIsFound(t *testing.T) {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName("google.longrunning.Operations")
	if err != nil {
		t.Fatal(err)
	}
	m := d.(protoreflect.ServiceDescriptor).Methods().Get(0)
	if checkAuthz(m) == nil {
		t.Errorf("%s has no permission and was not found", m.FullName())
	}
}

// What rights are checked on must be what REST takes from the path: were it in the query or the body, a path of one org
// could carry the name of another.
func TestRightsAreCheckedOnTheResourceOfThePath(t *testing.T) {
	for _, m := range methods(t) {
		if m.IsStreamingClient() || m.IsStreamingServer() {
			t.Errorf("%s: streams", m.FullName())
		}
		rule, _ := proto.GetExtension(m.Options(), annotations.E_Http).(*annotations.HttpRule)
		if rule == nil {
			t.Errorf("%s: no google.api.http", m.FullName())
			continue
		}
		a := proto.GetExtension(m.Options(), controlv1.E_Authz).(*controlv1.Authz)
		for _, r := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
			path := r.GetGet() + r.GetPost() + r.GetPatch() + r.GetDelete()
			if !strings.HasPrefix(path, "/v1/") {
				t.Errorf("%s: path %q", m.FullName(), path)
			}
			if a.GetScope() == controlv1.Authz_RESOURCE && !strings.Contains(path, "{"+a.GetResource()+"=") {
				t.Errorf("%s: %q is not in the path %q", m.FullName(), a.GetResource(), path)
			}
			if (r.GetGet() != "") && !readsOnly(m) {
				t.Errorf("%s: GET, but not marked as free of side effects", m.FullName())
			}
		}
	}
}

// Standard fields have one meaning, so one name, type and bound.
func TestStandardFields(t *testing.T) {
	for _, m := range methods(t) {
		in := m.Input().Fields()
		want := map[protoreflect.Name]protoreflect.Kind{}
		switch name := string(m.Name()); {
		case !readsOnly(m):
			want["validate_only"] = protoreflect.BoolKind
			// Users live in another database, where no answers are kept; their e-mail address keeps a repeated call from
			// making a second one.
			if m.Parent().Name() != "UserService" {
				want["request_id"] = protoreflect.StringKind
			}
			if strings.HasPrefix(name, "Update") {
				want["update_mask"], want["etag"] = protoreflect.MessageKind, protoreflect.StringKind
			}
			if in.ByName("name") != nil {
				want["etag"] = protoreflect.StringKind
			}
		case strings.HasPrefix(name, "List") || strings.HasPrefix(name, "Search"):
			want["page_size"], want["page_token"] = protoreflect.Int32Kind, protoreflect.StringKind
			if m.Output().Fields().ByName("next_page_token") == nil {
				t.Errorf("%s has no next_page_token", m.Output().FullName())
			}
		}
		for n, kind := range want {
			if f := in.ByName(n); f == nil || f.Kind() != kind {
				t.Errorf("%s lacks %s", m.Input().FullName(), n)
			}
		}
		if f := in.ByName("request_id"); f != nil && !rules(f).GetString().GetUuid() {
			t.Errorf("%s is not checked to be a UUID", f.FullName())
		}
		if f := in.ByName("page_size"); f != nil {
			if r := rules(f).GetInt32(); r.GetLte() != 1000 || !r.HasGte() || r.GetGte() != 0 {
				t.Errorf("%s is not within 0 and 1,000", f.FullName())
			}
		}
	}
}

func rules(f protoreflect.FieldDescriptor) *validatepb.FieldRules {
	r, _ := proto.GetExtension(f.Options(), validatepb.E_Field).(*validatepb.FieldRules)
	return r
}

func behaves(f protoreflect.FieldDescriptor, b annotations.FieldBehavior) bool {
	for _, have := range proto.GetExtension(f.Options(), annotations.E_FieldBehavior).([]annotations.FieldBehavior) {
		if have == b {
			return true
		}
	}
	return false
}

// Every field that a caller can set is bounded: an unbounded one is stored, indexed or parsed by somebody.
func TestRequestFieldsAreBounded(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	var walk func(m protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] || m.ParentFile().Package() != "tenantry.control.v1" {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if behaves(f, annotations.FieldBehavior_OUTPUT_ONLY) {
				continue
			}
			if err := bounded(f, rules(f)); err != nil {
				t.Errorf("%s: %v", f.FullName(), err)
			}
			if f.Message() != nil && !f.IsMap() {
				walk(f.Message())
			}
		}
	}
	for _, m := range methods(t) {
		walk(m.Input())
	}
	if len(seen) < 40 {
		t.Errorf("only %d messages were looked at", len(seen))
	}
}

func bounded(f protoreflect.FieldDescriptor, r *validatepb.FieldRules) error {
	switch {
	case f.IsMap():
		if !r.GetMap().HasMaxPairs() {
			return fmt.Errorf("a map without max_pairs")
		}
		if !boundedString(r.GetMap().GetKeys().GetString()) {
			return fmt.Errorf("a map whose keys have no bound")
		}
		if f.MapValue().Kind() == protoreflect.StringKind && !boundedString(r.GetMap().GetValues().GetString()) {
			return fmt.Errorf("a map whose values have no bound")
		}
		return nil
	case f.IsList():
		if !r.GetRepeated().HasMaxItems() {
			return fmt.Errorf("a list without max_items")
		}
		r = r.GetRepeated().GetItems()
	}
	switch f.Kind() {
	case protoreflect.StringKind:
		if !boundedString(r.GetString()) {
			return fmt.Errorf("a text without a bound")
		}
	case protoreflect.BytesKind:
		if !r.GetBytes().HasMaxLen() {
			return fmt.Errorf("bytes without max_len")
		}
	case protoreflect.EnumKind:
		if !r.GetEnum().GetDefinedOnly() {
			return fmt.Errorf("an enum that takes undefined numbers")
		}
	case protoreflect.MessageKind:
		switch f.Message().FullName() {
		case "google.protobuf.Duration":
			if !r.GetDuration().HasGte() || !r.GetDuration().HasLte() {
				return fmt.Errorf("a duration without bounds")
			}
		case "google.protobuf.FieldMask", "google.protobuf.Struct":
			if len(r.GetCel()) == 0 {
				return fmt.Errorf("a %s without a bound", f.Message().FullName())
			}
		}
	}
	return nil
}

// patternsWithoutBound are the shared rules whose pattern leaves the length open; with them max_len is needed.
var patternsWithoutBound = map[protoreflect.Name]bool{"text": true, "no_nul": true}

func boundedString(r *validatepb.StringRules) bool {
	if r.HasMaxLen() || len(r.GetIn()) > 0 || r.GetUuid() {
		return true
	}
	ok := false
	if r != nil {
		r.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			if f.IsExtension() && f.ParentFile().Package() == "tenantry.control.v1" {
				ok = ok || (v.Bool() && !patternsWithoutBound[f.Name()])
			}
			return true
		})
	}
	return ok
}

// Secrets are set and never read, or shown once in a message of credentials.
func TestSecretsAppearOnlyInCredentials(t *testing.T) {
	protoregistry.GlobalFiles.RangeFilesByPackage("tenantry.control.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Messages().Len() {
			m := file.Messages().Get(i)
			for j := range m.Fields().Len() {
				f := m.Fields().Get(j)
				if f.Name() != "secret" && f.Name() != "password" {
					continue
				}
				if !strings.HasSuffix(string(m.Name()), "Credentials") && !behaves(f, annotations.FieldBehavior_INPUT_ONLY) {
					t.Errorf("%s can be read", f.FullName())
				}
			}
		}
		return true
	})
}

// inheritedWhole are lists of a policy whose absence is their emptiness, and messages that are inherited as a whole: there the presence
// of the message counts.
var inheritedWhole = map[protoreflect.Name]bool{
	"id_token_algs": true, "response_types": true, "authorization_details_types": true, "Cors": true, "Logo": true, "AuthorizationDetailsType": true,
}

// A policy field must know absence from zero, or a layer would override with every zero.
func TestPolicyFieldsHavePresence(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	var walk func(m protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] || m.ParentFile().Package() != "tenantry.control.v1" || inheritedWhole[m.Name()] {
			return
		}
		seen[m.FullName()] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if !f.HasPresence() && !inheritedWhole[f.Name()] {
				t.Errorf("%s cannot be absent", f.FullName())
			}
			if f.Message() != nil {
				walk(f.Message())
			}
		}
	}
	walk((&controlv1.TenantConfig{}).ProtoReflect().Descriptor())
	walk((&controlv1.Theme{}).ProtoReflect().Descriptor())
}
