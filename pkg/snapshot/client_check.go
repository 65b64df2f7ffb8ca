// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tenantry/tenantry/pkg/oauth2"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// BuildClient makes of a client's document what the engine would use at a tenant with the policy (nil: the platform's defaults). A
// shared client belongs to the org, so it is checked under the widest rules. It is what the control plane asks before a write; the
// error is that of the first rule that is broken, and ClientField finds its field.
func BuildClient(doc *snapshotv1.Client, shared, development bool, policy *Policy) (*oauth2.Client, error) {
	if policy == nil {
		policy = platformLayer().policy
	}
	return buildClient(doc, clientContext{slug: "a", development: development || shared, shared: shared, policy: policy})
}

// ClientField takes an error of BuildClient apart: the field of the client's document that it is about, with `protocol.` in front for
// one of ClientProtocol, and the rule. The field is empty when the error names none.
func ClientField(err error) (field, rule string) {
	head, rest, ok := strings.Cut(err.Error(), ": ")
	if !ok {
		return "", err.Error()
	}
	name, _, _ := strings.Cut(head, ".")
	name, _, _ = strings.Cut(name, " ")
	if name == oauth2.AuthMethodTLS {
		name = "tls_client_auth_subject_dn" // the rule is about this one and those like it
	}
	switch f := protoreflect.Name(name); {
	case (&snapshotv1.Client{}).ProtoReflect().Descriptor().Fields().ByName(f) != nil:
		return name, rest
	case (&snapshotv1.ClientProtocol{}).ProtoReflect().Descriptor().Fields().ByName(f) != nil:
		return "protocol." + name, rest
	}
	return "", err.Error()
}

// LayerPolicy is the policy of a layer (nil: the platform's defaults) as tenants without overrides have it.
func LayerPolicy(layer *snapshotv1.Layer) (*Policy, error) {
	if layer == nil {
		return platformLayer().policy, nil
	}
	l, err := compileLayer(layer, [32]byte{})
	if err != nil {
		return nil, err
	}
	return l.policy, nil
}
