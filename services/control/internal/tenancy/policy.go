// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
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
