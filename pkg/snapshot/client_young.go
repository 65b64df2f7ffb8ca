// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
)

const (
	// youngClient is for how long after its creation a client that a replica does not know may be on its way to it: longer than the
	// tail's pace, with room for clocks that differ.
	youngClient = 10 * time.Second
	// youngEvery bounds how often strangers who make up ids can have Redis asked, for each tenant.
	youngEvery = 50 * time.Millisecond
)

// youngClient finds a client that was created a moment ago and is not in this view of the tenant. Its id says when it was made: whoever has
// just created it, by the API or by registering itself, may use it at every replica at once, also at one that has not yet applied the
// change. The answer is of a newer view than t; the request goes on with t otherwise.
func (t *Tenant) youngClient(uid id.Client) (*oauth2.Client, bool) {
	c := t.cache
	if c == nil {
		return nil, false
	}
	now := time.Now()
	if age := now.Sub(uid.Time()); age > youngClient || age < -youngClient {
		return nil, false
	}
	for range 4 {
		if known := c.cachedTenant(t.ID); known != nil && known != t {
			if found, ok := known.registered(uid); ok {
				return found, true
			}
		}
		now = time.Now()
		asked := t.asked.Load()
		if now.UnixMilli()-asked >= youngEvery.Milliseconds() && t.asked.CompareAndSwap(asked, now.UnixMilli()) {
			return c.askForClient(t.ID, uid)
		}
		time.Sleep(youngEvery / 3) // another request has just asked: what it found is there in a moment
	}
	return nil, false
}

// askForClient loads the tenant as it is in Redis now, and looks for the client there.
func (c *Cache) askForClient(tenant id.Tenant, uid id.Client) (*oauth2.Client, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
	defer cancel()
	// A load that was under way already may have read what was there before; the second one began after this request.
	for range 2 {
		fresh, err := c.fly(ctx, tenantFlight(tenant), func(ctx context.Context) (*Tenant, error) { return c.reload(ctx, tenant) })
		if err != nil || fresh == nil {
			return nil, false
		}
		if found, ok := fresh.registered(uid); ok {
			return found, true
		}
	}
	return nil, false
}

// cachedTenant is the view of a tenant that new requests get, nil for none.
func (c *Cache) cachedTenant(tenant id.Tenant) *Tenant {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.slots[tenant]; s != nil {
		return s.tenant
	}
	return nil
}
