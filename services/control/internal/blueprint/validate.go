// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package blueprint

import (
	"errors"
	"fmt"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// Limits of a blueprint.
const (
	maxRoles      = 100
	maxClients    = 50
	maxAPIKeys    = 20
	maxUsers      = 100
	maxParameters = 64
	maxKeyTTL     = 10 * 365 * 24 * time.Hour
)

// Validate checks a spec: names, references, bounds, and everything that can be known before a tenant exists, by rendering it with
// sample values. The error is INVALID_ARGUMENT with every violation; field is the path in front of them, with its dot.
func (s Spec) Validate(field string) error {
	v := &validator{field: field}
	v.parameters(s)
	v.roles(s)
	v.apiKeys(s)
	v.policy(s)
	v.rendered(s)
	return tenancy.Violated(tenancy.ReasonInvalidArgument, v.found)
}

type validator struct {
	field string
	found []tenancy.Violation
}

func (v *validator) bad(path, format string, args ...any) {
	v.found = append(v.found, tenancy.Violation{Field: v.field + path, Text: fmt.Sprintf(format, args...)})
}

func (v *validator) parameters(s Spec) {
	if len(s.Parameters) > maxParameters {
		v.bad("parameters", "at most %d", maxParameters)
	}
	for name, p := range s.Parameters {
		at := "parameters." + name
		if !tenancy.ValidItemID(name) {
			v.bad(at, "start with a lower-case letter, then letters, digits, hyphens and underscores")
		}
		switch p.Type {
		case TypeString, TypeNumber, TypeBoolean, "":
		default:
			v.bad(at+".type", "choose STRING, NUMBER or BOOLEAN")
			continue
		}
		if len(p.Pattern) > 512 {
			v.bad(at+".pattern", "at most 512 characters")
		} else if _, err := regexp.Compile(p.Pattern); err != nil {
			v.bad(at+".pattern", "write a regular expression (RE2)")
		}
		if p.MaxLength < 0 || p.MaxLength > 4096 {
			v.bad(at+".max_length", "choose 0 to 4096")
		}
		if p.Default != nil {
			if _, rule := p.check(p.Default); rule != "" {
				v.bad(at+".default", "%s", rule)
			}
		}
	}
}

func (v *validator) unique(path string, ids []string) {
	for i, id := range ids {
		if !tenancy.ValidItemID(id) {
			v.bad(fmt.Sprintf("%s[%d].id", path, i), "start with a lower-case letter, then letters, digits, hyphens and underscores")
		}
		if slices.Index(ids, id) < i {
			v.bad(fmt.Sprintf("%s[%d].id", path, i), "another one has this id")
		}
	}
}

func (v *validator) roles(s Spec) {
	if len(s.Roles) > maxRoles {
		v.bad("roles", "at most %d", maxRoles)
	}
	ids := make([]string, len(s.Roles))
	for i, r := range s.Roles {
		ids[i] = r.ID
	}
	v.unique("roles", ids)
	for i, u := range s.InitialUsers {
		for _, r := range u.Roles {
			if !slices.Contains(ids, r) {
				v.bad(fmt.Sprintf("initial_users[%d].roles", i), "there is no role %s", r)
			}
		}
	}
	if len(s.InitialUsers) > maxUsers {
		v.bad("initial_users", "at most %d", maxUsers)
	}
}

func (v *validator) apiKeys(s Spec) {
	if len(s.APIKeys) > maxAPIKeys {
		v.bad("api_keys", "at most %d", maxAPIKeys)
	}
	ids := make([]string, len(s.APIKeys))
	for i, k := range s.APIKeys {
		ids[i] = k.ID
		v.found = append(v.found, CheckAPIKey(k, fmt.Sprintf("%sapi_keys[%d].", v.field, i))...)
	}
	v.unique("api_keys", ids)
}

// CheckAPIKey checks a tenant-locked key to make.
func CheckAPIKey(k tenancy.APIKeySpec, field string) (vs []tenancy.Violation) {
	if (k.Role != "") == (len(k.Permissions) > 0) {
		vs = append(vs, tenancy.Violation{Field: field + "role", Text: "set either role or permissions"})
	}
	if k.Role != "" && tenancy.Roles[k.Role] == nil {
		vs = append(vs, tenancy.Violation{Field: field + "role", Text: "there is no such role"})
	}
	for i, p := range k.Permissions {
		if !tenancy.ValidPermission(p) {
			vs = append(vs, tenancy.Violation{Field: fmt.Sprintf("%spermissions[%d]", field, i), Text: "write it as collection.verb or collection.*"})
		}
	}
	if k.TTL < 0 || k.TTL > maxKeyTTL {
		vs = append(vs, tenancy.Violation{Field: field + "ttl", Text: "at most ten years"})
	}
	return vs
}

func (v *validator) policy(s Spec) {
	if s.Config == nil {
		s.Config = &tenancy.Policy{Policy: &snapshotv1.Policy{}}
	}
	plain := s.Layer(nil, nil, snapshot.MergePolicies, snapshot.MergeThemes, 1)
	for _, x := range snapshot.CheckOverrides(s.Locked, nil, plain.GetPolicy()) {
		v.bad(x.Path, "%s", x.Reason)
	}
	templated, _ := s.filled(func(_, t string) string { return t }, func(_ string, t []string) []string { return t })
	for _, path := range s.Locked {
		if templated != nil && (strings.HasPrefix(path, "email.") && templated.Email != nil || strings.HasPrefix(path, "cors.") && templated.Cors != nil) {
			v.bad("locked", "%s is filled in for each tenant, so it cannot be locked", path)
		}
	}
	if len(v.found) == 0 {
		if err := snapshot.CompileLayer(plain); err != nil {
			v.bad("theme", "%s", err)
		}
	}
}

// rendered fills the spec in as for a sample tenant and checks the result as a tenant's would be.
func (v *validator) rendered(s Spec) {
	if len(v.found) > 0 {
		return
	}
	if len(s.Clients) > maxClients {
		v.bad("clients", "at most %d", maxClients)
	}
	ids := make([]string, len(s.Clients))
	for i, c := range s.Clients {
		ids[i] = c.ID
	}
	v.unique("clients", ids)
	sample := map[string]any{}
	for name, p := range s.Parameters {
		if p.Default != nil {
			continue
		}
		switch p.Type {
		case TypeNumber:
			sample[name] = 1.0
		case TypeBoolean:
			sample[name] = true
		default:
			if p.Pattern != "" || strings.Contains(strings.ToLower(name), "color") {
				return // no sample can be made up; each tenant's own values are checked when it is provisioned
			}
			sample[name] = "sample"
		}
	}
	r, err := s.Render(Facts{TenantSlug: "sample", HostLabel: "sample", OwnerEmail: "owner@sample.example", Parameters: sample})
	if err != nil {
		var e *tenancy.Error
		if errors.As(err, &e) {
			for _, x := range e.Violations {
				v.bad(x.Field, "%s", x.Text)
			}
		}
		return
	}
	for i := range r.Clients {
		v.found = append(v.found, r.Clients[i].Normalize(tenancy.ClientPlace{Development: true, Field: fmt.Sprintf("%sclients[%d].", v.field, i)})...)
	}
	for i, u := range r.InitialUsers {
		if !ValidEmail(u.Email) {
			v.bad(fmt.Sprintf("initial_users[%d].email", i), "write an e-mail address")
		}
	}
	for _, x := range snapshot.CheckOverrides(nil, nil, r.Overrides) {
		v.bad(x.Path, "%s", x.Reason)
	}
}

// ValidEmail reports whether s is a bare address, as in user@example.com.
func ValidEmail(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s && len(s) <= 254 && strings.Contains(s, "@")
}
