// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package blueprint

import (
	"fmt"

	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// Warnings lists what a valid spec allows although RFC 9700 advises against it, and which of its clients its own policy refuses: a
// policy may become stricter before the clients do. field is the path in front of them, with its dot.
func (s Spec) Warnings(field string) []tenancy.Warning {
	ws := tenancy.PolicyWarnings(s.Config, field+"config.")
	policy, err := snapshot.LayerPolicy(s.Layer(nil, nil, snapshot.MergePolicies, snapshot.MergeThemes, 1))
	if err != nil {
		return ws // Validate has said why
	}
	for i := range s.Clients {
		at := fmt.Sprintf("%sclients[%d].", field, i)
		c := tenancy.Client{ClientSettings: s.Clients[i].ClientSettings}
		// Addresses may have templates in them; what is judged here has none.
		c.RedirectURIs, c.PostLogoutRedirectURIs, c.CORSOrigins = nil, nil, nil
		c.Normalize(tenancy.ClientPlace{Development: true})
		for _, w := range tenancy.ClientWarnings(&c) {
			w.Field = at + w.Field
			ws = append(ws, w)
		}
		built, err := c.Build(false, true, policy)
		if err != nil {
			continue
		}
		for _, v := range tenancy.FitClient(&c.ClientSettings, built, policy, at) {
			ws = append(ws, tenancy.Warning{Reason: tenancy.WarnClientRefused, Field: v.Field, Text: "this client will be refused: " + v.Text})
		}
	}
	return ws[:min(len(ws), tenancy.MaxWarnings)]
}
