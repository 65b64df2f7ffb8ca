// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"slices"

	"github.com/tenantry/tenantry/pkg/oidc"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// Metadata is the document of both well-known addresses (OpenID Connect Discovery section 4, RFC 8414 section 3). Callers must not
// change it.
func (t *Tenant) Metadata() []byte {
	if b := t.metadata.Load(); b != nil {
		return *b
	}
	b := oidc.BuildMetadata(oidc.MetadataInput{
		Issuer: t.Issuer, IDTokenAlgs: t.idTokenAlgs(), RegistrationOpen: t.Policy.RegistrationEnabled,
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	if done := t.metadata.Load(); done != nil {
		return *done
	}
	t.metadata.Store(&b)
	t.grow(cap(b))
	return b
}

// idTokenAlgs are the algorithms of the policy for which the tenant has an active key; those of all its active keys when there is
// none, since a document without any would be invalid.
func (t *Tenant) idTokenAlgs() []string {
	var wanted, all []string
	for _, k := range t.Keys.docs() {
		if alg := k.GetAlgorithm(); k.GetState() == snapshotv1.SigningKeyState_SIGNING_KEY_STATE_ACTIVE && !slices.Contains(all, alg) {
			all = append(all, alg)
			if slices.Contains(t.Policy.IDTokenAlgs, alg) {
				wanted = append(wanted, alg)
			}
		}
	}
	if wanted == nil {
		return all
	}
	return wanted
}
