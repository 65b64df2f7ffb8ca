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
	wanted, all := t.signingAlgs()
	p := t.Policy
	in := oidc.MetadataInput{
		Issuer: t.Issuer, Profile: p.Profile, IDTokenAlgs: wanted, SigningAlgs: all, RegistrationOpen: p.RegistrationEnabled,
		ResponseTypes: p.ResponseTypes, Pairwise: len(t.PairwiseSalt) > 0, ClientDocuments: p.ClientIDMetadataDocuments,
		ClientRegistration: p.DynamicRegistration != "" && p.DynamicRegistration != RegistrationOff, SessionManagement: p.SessionManagement,
	}
	for _, d := range p.DetailTypes {
		in.DetailTypes = append(in.DetailTypes, d.Type)
	}
	b := oidc.BuildMetadata(in)
	t.mu.Lock()
	defer t.mu.Unlock()
	if done := t.metadata.Load(); done != nil {
		return *done
	}
	t.metadata.Store(&b)
	t.grow(cap(b))
	return b
}

// signingAlgs are the algorithms for which the tenant has an active key: those that the policy has for ID tokens, or all when there is
// none of them, since a document without any would be invalid; and all.
func (t *Tenant) signingAlgs() (idToken, all []string) {
	for _, k := range t.Keys.docs() {
		if alg := k.GetAlgorithm(); k.GetState() == snapshotv1.SigningKeyState_SIGNING_KEY_STATE_ACTIVE && !slices.Contains(all, alg) {
			all = append(all, alg)
			if slices.Contains(t.Policy.IDTokenAlgs, alg) {
				idToken = append(idToken, alg)
			}
		}
	}
	if idToken == nil {
		return all, all
	}
	return idToken, all
}
