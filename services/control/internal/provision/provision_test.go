// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package provision

import (
	"errors"
	"testing"

	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

func TestProvisionMakesEverythingAtOnce(t *testing.T) {
	h := newHarness(t)
	res := h.provision("hooli")
	if res.Tenant.Issuer != "https://hooli.ppvc.example" || res.ConfigVersion != 1 {
		t.Errorf("issuer %q, version %d", res.Tenant.Issuer, res.ConfigVersion)
	}
	got, err := h.GetTenant(h.ctx, h.owner, h.org.ID, res.Tenant.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Roles) != 3 || got.OwnerEmail != "gavin@hooli.example" || got.Owner.IsZero() || got.Theme.GetBackground() != "#ffffff" || got.Overrides.GetCors().GetOrigins().GetValues()[0] != "https://hooli.app.ppvc.example" {
		t.Errorf("tenant %+v", got)
	}
	if len(res.Clients) != 2 || res.Clients[0].Secret != "" || res.Clients[1].Secret == "" || len(res.APIKeys) != 2 {
		t.Errorf("credentials %+v %+v", res.Clients, res.APIKeys)
	}
	caller, err := h.Authenticate(h.ctx, res.APIKeys[1].Text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Authorize(h.ctx, caller, "users.list", Scope{Org: "-", Tenant: "-"}); err != nil {
		t.Errorf("the tenant's own key may not list its users: %v", err)
	}
	other := h.provision("raviga")
	if _, err := h.Authorize(h.ctx, caller, "users.list", Scope{Org: h.org.ID.String(), Tenant: other.Tenant.ID.String()}); !errors.Is(err, tenancy.ReasonNotFound) {
		t.Errorf("another tenant's key got %v, want NOT_FOUND", err)
	}
}
