// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"strings"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/provision"
)

// resourceName is a parsed name: who owns the resource, and the segments below the owner, such as "clients", "cli_…".
type resourceName struct {
	platform    bool
	org, tenant string
	rest        []string
}

// parseName takes a resource name apart without judging its ids; ok is false for what is no name below an org or the platform.
func parseName(s string) (n resourceName, ok bool) {
	seg := strings.Split(s, "/")
	for _, x := range seg {
		if x == "" {
			return n, false
		}
	}
	switch {
	case seg[0] == "platform":
		n.platform, n.rest = true, seg[1:]
	case seg[0] == "orgs" && len(seg) >= 2:
		n.org, n.rest = seg[1], seg[2:]
		if len(n.rest) >= 2 && n.rest[0] == "tenants" {
			n.tenant, n.rest = n.rest[1], n.rest[2:]
		}
	default:
		return n, false
	}
	return n, len(n.rest)%2 == 0
}

func (n resourceName) scope(attached bool) provision.Scope {
	return provision.Scope{Org: n.org, Tenant: n.tenant, Platform: n.platform, Attached: attached}
}

// segment is the id that follows a collection, empty for none.
func (n resourceName) segment(collection string) string {
	for i := 0; i+1 < len(n.rest); i += 2 {
		if n.rest[i] == collection {
			return n.rest[i+1]
		}
	}
	return ""
}

// lastSegment is the id of the resource itself, empty when the name is that of an owner.
func lastSegment(name, collection string) string {
	n, ok := parseName(name)
	if !ok {
		return ""
	}
	return n.segment(collection)
}

func orgName(org id.Org) string { return "orgs/" + idText(org) }

func tenantName(org id.Org, tenant id.Tenant) string {
	return orgName(org) + "/tenants/" + idText(tenant)
}

// parentName is the owner of what belongs to a tenant or, without one, to the org.
func parentName(org id.Org, tenant id.Tenant) string {
	switch {
	case org.IsZero():
		return "platform"
	case tenant.IsZero():
		return orgName(org)
	}
	return tenantName(org, tenant)
}

func blueprintName(org id.Org, bp id.Blueprint) string {
	return orgName(org) + "/blueprints/" + idText(bp)
}

func revisionName(org id.Org, bp id.Blueprint, number int) string {
	return fmt.Sprintf("%s/revisions/%d", blueprintName(org, bp), number)
}

func keyName(org id.Org, tenant id.Tenant, key id.APIKey) string {
	return parentName(org, tenant) + "/apiKeys/" + idText(key)
}

// idText prints an id; one that was not drawn, as in the answer to a call that only validates, is `-`.
func idText(v interface {
	IsZero() bool
	String() string
},
) string {
	if v.IsZero() {
		return "-"
	}
	return v.String()
}

// uidText prints an id for a uid field: empty when it was not drawn.
func uidText(v interface {
	IsZero() bool
	String() string
},
) string {
	if v.IsZero() {
		return ""
	}
	return v.String()
}
