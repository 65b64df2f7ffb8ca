// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"testing"

	"github.com/tenantry/tenantry/pkg/oauth2"
)

type documents map[string]*oauth2.Client

func (d documents) Client(_ *Tenant, clientID string) (*oauth2.Client, bool) {
	c, ok := d[clientID]
	return c, ok
}

func TestUnregisteredClientsNeedThePolicy(t *testing.T) {
	const address = "https://app.example/client.json"
	c := &Cache{}
	c.UseDocuments(documents{address: {ID: address}})
	c.UseDocuments(documents{}) // the first source stays
	tenant := &Tenant{Policy: &Policy{}}
	if _, ok := tenant.Client(address); ok {
		t.Error("a tenant outside a cache has documents")
	}
	tenant.cache = c
	if _, ok := tenant.Client(address); ok {
		t.Error("a document is taken without the policy")
	}
	tenant.Policy.ClientIDMetadataDocuments = true
	if got, ok := tenant.Client(address); !ok || got.ID != address {
		t.Error("no document with the policy")
	}
	for _, other := range []string{"https://other.example/c", "http://app.example/client.json", "app", ""} {
		if _, ok := tenant.Client(other); ok {
			t.Errorf("%q is a client", other)
		}
	}
}
