// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"google.golang.org/protobuf/proto"

	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// Base is a layer and an org's record, compiled once to compile many tenants on: what a control plane that provisions thousands of
// tenants from one blueprint keeps. It is immutable and safe for concurrent use.
type Base struct {
	layer *compiledLayer
	org   *compiledOrg
}

// NewBase checks and compiles a layer (nil: platform defaults alone) and an org's record. Errors are those of Compile.
func NewBase(layer *snapshotv1.Layer, org *snapshotv1.OrgSnapshot) (*Base, error) {
	b := &Base{layer: platformLayer()}
	var err error
	if layer != nil {
		if b.layer, err = compileLayer(layer, [32]byte{}); err != nil {
			return nil, err
		}
	}
	b.org, err = compileOrg(org)
	return b, err
}

// Compile is Compile on the base, and answers the encoding of core with the view: the bytes that are to be signed.
func (b *Base) Compile(core *snapshotv1.TenantSnapshot) (*Tenant, []byte, error) {
	body, err := proto.Marshal(core)
	if err != nil {
		return nil, nil, invalid("tenant", err)
	}
	if len(body) > MaxBody {
		return nil, nil, refused("tenant", "%d bytes, %d allowed", len(body), MaxBody)
	}
	t, err := compileTenant(body, core, b.layer, b.org)
	return t, body, err
}
