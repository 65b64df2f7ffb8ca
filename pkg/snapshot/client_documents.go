// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"sync/atomic"

	"github.com/tenantry/tenantry/pkg/oauth2"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// ClientDocuments finds clients that are registered nowhere: whose client_id is the URL of their own metadata (OAuth Client ID Metadata
// Document). Tenant.Client asks it for tenants whose policy wants such clients.
type ClientDocuments interface {
	// Client answers the client of a URL for the tenant. It may take as long as fetching the document is allowed to.
	Client(t *Tenant, clientID string) (*oauth2.Client, bool)
}

// documentSource is where the tenants of a cache look for them.
type documentSource struct {
	from atomic.Pointer[ClientDocuments]
}

// UseDocuments gives the cache's tenants a source of clients that are not registered. The first source stays: services that share a cache
// share it, too.
func (c *Cache) UseDocuments(d ClientDocuments) { c.documents.from.CompareAndSwap(nil, &d) }

// foreignClient is Client for an id that is none of ours.
func (t *Tenant) foreignClient(clientID string) (*oauth2.Client, bool) {
	if t.cache == nil || t.Policy == nil || !t.Policy.ClientIDMetadataDocuments || !oauth2.ClientIDURL(clientID) {
		return nil, false
	}
	if d := t.cache.documents.from.Load(); d != nil {
		return (*d).Client(t, clientID)
	}
	return nil, false
}

// BuildForeignClient makes of a document what the engine uses at this tenant, by the same rules as for the tenant's own clients. Errors
// wrap nothing: a document is refused whatever is wrong with it.
func (t *Tenant) BuildForeignClient(doc *snapshotv1.Client) (*oauth2.Client, error) {
	return buildClient(doc, clientContext{slug: t.Slug, development: t.Development, policy: t.Policy})
}
