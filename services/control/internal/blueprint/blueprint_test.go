// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package blueprint

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

var update = flag.Bool("update", false, "write the golden files")

func standard() Spec {
	return Spec{
		Config: &tenancy.Policy{Policy: &snapshotv1.Policy{
			Password: &snapshotv1.PasswordPolicy{MinLength: proto.Uint32(12)},
			Email:    &snapshotv1.EmailConfig{From: proto.String("no-reply@ppvc.example"), FromName: proto.String("{{companyName}}")},
			Cors:     &snapshotv1.CorsPolicy{Origins: &snapshotv1.StringList{Values: []string{"https://{{host.label}}.app.ppvc.example", "https://admin.ppvc.example"}}},
		}},
		Theme: &tenancy.Theme{Theme: &snapshotv1.Theme{Background: proto.String("{{backgroundColor}}"), Brand: proto.String("#335577")}},
		Parameters: map[string]Parameter{
			"backgroundColor": {Default: "#ffffff", Pattern: "#[0-9a-f]{6}"},
			"companyName":     {Type: TypeString, MaxLength: 20},
			"seats":           {Type: TypeNumber, Default: 10.0},
		},
		Roles:        []tenancy.RoleSpec{{ID: "admin"}, {ID: "member", Default: true}},
		InitialUsers: []tenancy.UserSpec{{Email: "{{owner.email}}", Roles: []string{"admin"}, Invite: true}},
		Clients: []tenancy.ClientSpec{{ID: "spa", ClientSettings: tenancy.ClientSettings{
			Kind: tenancy.KindSPA, DisplayName: "{{companyName}} chat", RedirectURIs: []string{"https://{{host.label}}.app.ppvc.example/callback?seats={{ seats }}"},
		}}},
		APIKeys: []tenancy.APIKeySpec{{ID: "reader", Permissions: []string{"users.get"}}},
		Locked:  []string{"password.min_length"},
	}
}

// Golden files: what a blueprint gives a tenant, and what all its tenants inherit.
func TestRendering(t *testing.T) {
	r, err := standard().Render(Facts{TenantSlug: "hooli", HostLabel: "hooli-eu", OwnerEmail: "gavin@hooli.example", Parameters: map[string]any{"companyName": "Hooli"}})
	if err != nil {
		t.Fatal(err)
	}
	layer := standard().Layer(nil, nil, snapshot.MergePolicies, snapshot.MergeThemes, 3)
	golden(t, "rendered.json", struct {
		Overrides *tenancy.Policy
		Theme     *tenancy.Theme
		Rendered
	}{&tenancy.Policy{Policy: r.Overrides}, &tenancy.Theme{Theme: r.Theme}, r})
	golden(t, "layer.json", struct {
		Policy *tenancy.Policy
		Theme  *tenancy.Theme
		Locked []string
	}{&tenancy.Policy{Policy: layer.GetPolicy()}, &tenancy.Theme{Theme: layer.GetTheme()}, layer.GetLocked()})
}

func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	// protojson's spacing differs between builds, so both sides are compared in one form.
	var buf bytes.Buffer
	var plain any
	if err := json.Unmarshal(got, &plain); err != nil {
		t.Fatal(err)
	}
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(plain); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, buf.Bytes()) {
		t.Errorf("%s differs; got:\n%s", path, buf.String())
	}
}

func TestParametersAreCheckedAllAtOnce(t *testing.T) {
	_, err := standard().Render(Facts{TenantSlug: "a", HostLabel: "a", Parameters: map[string]any{
		"backgroundColor": "red", "companyName": strings.Repeat("x", 21), "seats": "ten", "unknown": 1,
	}})
	var e *tenancy.Error
	if !errors.As(err, &e) || e.Reason != tenancy.ReasonParameterInvalid || len(e.Violations) != 4 {
		t.Errorf("%v", err)
	}
	for name, v := range map[string]any{"templates": "{{owner.email}}", "control": "a\nb", "type": 7, "missing": nil} {
		if _, err := standard().Render(Facts{TenantSlug: "a", HostLabel: "a", Parameters: map[string]any{"companyName": v}}); !errors.Is(err, tenancy.ReasonParameterInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A tenant without an owner has no user for the owner's address.
	r, err := standard().Render(Facts{TenantSlug: "a", HostLabel: "a", Parameters: map[string]any{"companyName": "A"}})
	if err != nil || len(r.InitialUsers) != 0 {
		t.Errorf("%+v %v", r.InitialUsers, err)
	}
}

// A value cannot smuggle a template in: what was filled in is not read again.
func TestAValueIsNotExpandedAgain(t *testing.T) {
	got, err := expand("{{a}}", map[string]string{"a": "{{b}}", "b": "secret"})
	if err != nil || got != "{{b}}" {
		t.Errorf("%q %v", got, err)
	}
	for _, broken := range []string{"{{a", "{{}}", "{{a}", "{{ a b }}"} {
		if _, err := expand(broken, map[string]string{"a": "x"}); err == nil {
			t.Errorf("%q was expanded", broken)
		}
	}
}

func TestSpecsThatCannotBe(t *testing.T) {
	if err := standard().Validate("draft."); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Spec)
		field  string
	}{
		"unknown role of a user":   {func(s *Spec) { s.InitialUsers[0].Roles = []string{"king"} }, "draft.initial_users[0].roles"},
		"the same client twice":    {func(s *Spec) { s.Clients = append(s.Clients, s.Clients[0]) }, "draft.clients[1].id"},
		"no redirect URI":          {func(s *Spec) { s.Clients[0].RedirectURIs = nil }, "draft.clients[0].redirect_uris"},
		"a fragment":               {func(s *Spec) { s.Clients[0].RedirectURIs = []string{"https://a.example/#x"} }, "draft.clients[0].redirect_uris[0]"},
		"an unknown parameter":     {func(s *Spec) { s.Clients[0].DisplayName = "{{nobody}}" }, "draft.clients[0].display_name"},
		"a slug template":          {func(s *Spec) { s.Clients[0].RedirectURITemplates = []string{"https://{tenant.slug}.a.example/cb"} }, "draft.clients[0].redirect_uri_templates"},
		"no such policy field":     {func(s *Spec) { s.Locked = []string{"password.colour"} }, "draft.password.colour"},
		"a lock on what is filled": {func(s *Spec) { s.Locked = []string{"cors.origins"} }, "draft.locked"},
		"out of bounds":            {func(s *Spec) { s.Config.Password.MinLength = proto.Uint32(2) }, "draft.password.min_length"},
		"a key without rights":     {func(s *Spec) { s.APIKeys[0].Permissions = nil }, "draft.api_keys[0].role"},
		"a default off its type":   {func(s *Spec) { s.Parameters["seats"] = Parameter{Type: TypeNumber, Default: "x"} }, "draft.parameters.seats.default"},
		"a bad pattern":            {func(s *Spec) { s.Parameters["x"] = Parameter{Pattern: "("} }, "draft.parameters.x.pattern"},
		"a colour that is none":    {func(s *Spec) { s.Theme.Brand = proto.String("blue") }, "draft.theme"},
	} {
		s := standard()
		c.change(&s)
		err := s.Validate("draft.")
		var e *tenancy.Error
		if !errors.As(err, &e) || e.Violations[0].Field != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEqualSpecsHaveEqualDigests(t *testing.T) {
	a, da, err := standard().Encode()
	if err != nil {
		t.Fatal(err)
	}
	_, db, err := standard().Encode()
	if err != nil || da != db {
		t.Errorf("%x %x %v", da, db, err)
	}
	back, err := Decode(a)
	if err != nil {
		t.Fatal(err)
	}
	if _, dc, err := back.Encode(); err != nil || dc != da {
		t.Errorf("a decoded spec has another digest: %v", err)
	}
}
