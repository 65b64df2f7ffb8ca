// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package blueprint owns the description from which tenants are made: its checks, its templates and what it renders to, and the
// split into what tenants inherit (a layer, the same for all of them) and what is filled in for each. It is pure; storing revisions and
// moving tenants between them is the work of store and provision, reading files that of the command line.
//
// A text with {{…}} in it differs from tenant to tenant, so it cannot be in the layer: policy and appearance with templates are
// rendered at provision into the tenant's own overrides, everything else is inherited by reference.
package blueprint

import (
	"crypto/sha256"
	"encoding/json"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// Spec is the content of a blueprint.
type Spec struct {
	Config       *tenancy.Policy      `json:"config,omitempty"`
	Theme        *tenancy.Theme       `json:"theme,omitempty"`
	Roles        []tenancy.RoleSpec   `json:"roles,omitempty"`
	Clients      []tenancy.ClientSpec `json:"clients,omitempty"`
	APIKeys      []tenancy.APIKeySpec `json:"apiKeys,omitempty"`
	InitialUsers []tenancy.UserSpec   `json:"initialUsers,omitempty"`
	Locked       []string             `json:"locked,omitempty"` // paths of pkg/snapshot's policy fields, such as token.access_alg
	Parameters   map[string]Parameter `json:"parameters,omitempty"`
}

// ParameterType is the type of a parameter's values.
type ParameterType string

// The parameter types; the zero value is STRING.
const (
	TypeString  ParameterType = "STRING"
	TypeNumber  ParameterType = "NUMBER"
	TypeBoolean ParameterType = "BOOLEAN"
)

// Parameter is a value that provisioning fills in.
type Parameter struct {
	Type        ParameterType `json:"type,omitempty"`
	Default     any           `json:"default,omitempty"` // nil: a value must be given
	Description string        `json:"description,omitempty"`
	Pattern     string        `json:"pattern,omitempty"`   // RE2, matched against the whole text
	MaxLength   int           `json:"maxLength,omitempty"` // characters of a text; 0 means 256
}

// Blueprint is a named description with a draft.
type Blueprint struct {
	tenancy.Standard
	Org         id.Org
	ID          id.Blueprint
	Slug        string
	Description string
	Draft       Spec
	Revision    int               // the revision that new tenants are made from; 0 before the first
	Warnings    []tenancy.Warning `json:",omitzero"` // about the change that this is the answer to
}

// Revision is an immutable state of a blueprint.
type Revision struct {
	Org        id.Org
	Blueprint  id.Blueprint
	ID         id.Revision
	Number     int
	Spec       Spec
	Digest     [sha256.Size]byte // of the stored bytes of the spec
	Author     id.APIKey
	Message    string
	CreateTime time.Time
	// Cap is the rights of who published it: no key made from the revision exceeds them.
	Cap []string
	// Warnings are about its publishing, which this is the answer to.
	Warnings []tenancy.Warning `json:",omitzero"`
}

// Encode is the stored form of a spec and its digest. Maps are written in sorted order, so the same content has the same digest.
func (s Spec) Encode() (data []byte, digest [sha256.Size]byte, err error) {
	if data, err = json.Marshal(s); err != nil {
		return nil, digest, err
	}
	return data, sha256.Sum256(data), nil
}

// Decode reads what Encode wrote.
func Decode(data []byte) (Spec, error) {
	var s Spec
	err := json.Unmarshal(data, &s)
	return s, err
}
