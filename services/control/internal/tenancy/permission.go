// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"slices"
	"strings"
)

// Permission is `<collection>.<verb>`, the name that a method declares.
type Permission string

// Collection is the part before the dot.
func (p Permission) Collection() string {
	c, _, _ := strings.Cut(string(p), ".")
	return c
}

// PermissionSet is a sorted, minimal set of patterns: `collection.verb`, `collection.*` or `*`. The zero value allows nothing.
type PermissionSet struct{ patterns []string }

// NewPermissionSet sorts patterns and drops those that another one covers. Patterns are assumed well formed (ValidPermission).
func NewPermissionSet(patterns ...string) PermissionSet {
	in := slices.Clone(patterns)
	slices.Sort(in)
	in = slices.Compact(in)
	if slices.Contains(in, "*") {
		return PermissionSet{[]string{"*"}}
	}
	out := in[:0]
	for _, p := range in {
		c, verb, _ := strings.Cut(p, ".")
		if verb != "*" && slices.Contains(in, c+".*") {
			continue
		}
		out = append(out, p)
	}
	return PermissionSet{slices.Clip(slices.Clone(out))}
}

// ValidPermission reports whether s is a permission or a pattern.
func ValidPermission(s string) bool {
	if s == "*" {
		return true
	}
	c, verb, ok := strings.Cut(s, ".")
	return ok && validWord(c) && (verb == "*" || validWord(verb)) && len(s) <= 96
}

func validWord(s string) bool {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		if c := s[i] | 0x20; c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}

// Patterns lists the set, sorted.
func (s PermissionSet) Patterns() []string { return slices.Clone(s.patterns) }

// IsEmpty reports whether the set allows nothing.
func (s PermissionSet) IsEmpty() bool { return len(s.patterns) == 0 }

// Allows reports whether the set holds the permission (or covers the whole pattern).
func (s PermissionSet) Allows(p string) bool {
	c, _, _ := strings.Cut(p, ".")
	for _, have := range s.patterns {
		if have == "*" || have == p {
			return true
		}
		if hc, verb, _ := strings.Cut(have, "."); verb == "*" && p != "*" && hc == c {
			return true
		}
	}
	return false
}

// Covers reports whether every permission of o is in s.
func (s PermissionSet) Covers(o PermissionSet) bool {
	for _, p := range o.patterns {
		if !s.Allows(p) {
			return false
		}
	}
	return true
}

// Intersect is what both sets allow.
func (s PermissionSet) Intersect(o PermissionSet) PermissionSet {
	var both []string
	for _, p := range s.patterns {
		if o.Allows(p) {
			both = append(both, p)
		}
	}
	for _, p := range o.patterns {
		if s.Allows(p) {
			both = append(both, p)
		}
	}
	return NewPermissionSet(both...)
}

// Roles are the predefined names for sets of permissions. They are expanded when a key is checked, not when it is minted, so that a
// method added to a role reaches the keys that have it.
var Roles = map[string][]string{
	"platformOperator": {"*"},
	"orgOwner": {
		"orgs.get", "orgs.list", "orgs.update", "tenants.*", "clients.*", "apiKeys.*", "blueprints.*", "blueprintRevisions.*", "signingKeys.*",
		"users.*", "hostnameClaims.*", "auditEvents.*", "operations.*",
	},
	"orgAdmin": {
		"orgs.get", "orgs.list", "tenants.*", "clients.*", "apiKeys.*", "blueprints.*", "blueprintRevisions.*", "signingKeys.*", "users.*",
		"hostnameClaims.*", "auditEvents.*", "operations.*",
	},
	"orgBilling": {"orgs.get", "orgs.list", "tenants.get", "tenants.list"},
	"orgAuditor": {
		"orgs.get", "orgs.list", "tenants.get", "tenants.list", "clients.get", "clients.list", "apiKeys.get", "apiKeys.list", "blueprints.get",
		"blueprints.list", "blueprintRevisions.get", "blueprintRevisions.list", "signingKeys.list", "auditEvents.*",
	},
	"blueprintAdmin": {"blueprints.*", "blueprintRevisions.*", "orgs.get", "orgs.list", "tenants.get", "tenants.list"},
	"tenantCreator": {
		"tenants.provision", "tenants.get", "tenants.list", "hostnameClaims.check", "operations.*", "blueprints.get", "blueprints.list",
		"blueprintRevisions.get", "blueprintRevisions.list", "orgs.get", "orgs.list",
	},
	"tenantOwner": {
		"tenants.get", "tenants.list", "tenants.update", "clients.*", "apiKeys.*", "signingKeys.*", "users.*", "auditEvents.*", "operations.*",
		"blueprints.get", "blueprintRevisions.get",
	},
	"tenantAdmin": {
		"tenants.get", "tenants.list", "tenants.update", "clients.*", "apiKeys.get", "apiKeys.list", "signingKeys.list", "signingKeys.rotate", "users.*",
		"auditEvents.list", "operations.*", "blueprints.get", "blueprintRevisions.get",
	},
	"tenantUserManager": {"tenants.get", "tenants.list", "users.*"},
	"tenantSsoManager":  {"tenants.get", "tenants.list", "clients.get", "clients.list"},
	"tenantAuditor":     {"tenants.get", "tenants.list", "clients.get", "clients.list", "users.get", "users.list", "auditEvents.*"},
	"tenantSupport":     {"tenants.get", "tenants.list", "users.get", "users.list", "users.search", "auditEvents.list"},
	"groupManager":      {"tenants.get", "users.get", "users.list", "users.search"},
	"keyManager":        {"apiKeys.*"},
}

// personal are the collections whose content is about people: a platform key does not reach them.
var personal = map[string]bool{"users": true}

// Expand is the set of a key's own permissions and those of its role; an unknown role adds nothing.
func Expand(permissions []string, role string) PermissionSet {
	return NewPermissionSet(append(slices.Clone(permissions), Roles[role]...)...)
}
