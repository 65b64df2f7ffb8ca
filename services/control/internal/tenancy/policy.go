// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"crypto/rand"

	"google.golang.org/protobuf/encoding/protojson"

	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// Policy is a policy of the snapshot contract inside a JSON document of the control plane.
type Policy struct{ *snapshotv1.Policy }

// MarshalJSON is protojson.
func (p Policy) MarshalJSON() ([]byte, error) { return protojson.Marshal(p.Policy) }

// UnmarshalJSON is protojson, ignoring fields of a later release.
func (p *Policy) UnmarshalJSON(b []byte) error {
	p.Policy = new(snapshotv1.Policy)
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, p.Policy)
}

// Theme is an appearance of the snapshot contract inside a JSON document of the control plane.
type Theme struct{ *snapshotv1.Theme }

// MarshalJSON is protojson.
func (t Theme) MarshalJSON() ([]byte, error) { return protojson.Marshal(t.Theme) }

// UnmarshalJSON is protojson, ignoring fields of a later release.
func (t *Theme) UnmarshalJSON(b []byte) error {
	t.Theme = new(snapshotv1.Theme)
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, t.Theme)
}

// Protocol is what a client is registered for beyond the basics, inside a JSON document of the control plane.
type Protocol struct{ *snapshotv1.ClientProtocol }

// MarshalJSON is protojson.
func (p Protocol) MarshalJSON() ([]byte, error) { return protojson.Marshal(p.ClientProtocol) }

// UnmarshalJSON is protojson, ignoring fields of a later release.
func (p *Protocol) UnmarshalJSON(b []byte) error {
	p.ClientProtocol = new(snapshotv1.ClientProtocol)
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, p.ClientProtocol)
}

// NewPairwiseSalt draws what a tenant's pairwise subjects are made with, once.
func NewPairwiseSalt() []byte {
	salt := make([]byte, 32)
	rand.Read(salt) // never fails: since Go 1.24 it ends the process instead
	return salt
}
