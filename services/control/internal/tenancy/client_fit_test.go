// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"fmt"
	"strings"
	"testing"

	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// What a type of authorization_details requires and the consent page does not show, a person approves unseen.
func TestAttackDetailsThatNobodySees(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf(`{"name":"f%d","kind":"string","required":true}`, i))
	}
	for name, c := range map[string]struct {
		fields string
		want   string // in the text; empty for no warning
	}{
		"all labelled":                       {`[{"name":"sum","kind":"number","label":"Sum","required":true}]`, ""},
		"an optional one without":            {`[{"name":"sum","kind":"number","label":"Sum","required":true},{"name":"ref","kind":"string"}]`, ""},
		"nothing but the type":               {`[]`, ""},
		"a required one without":             {`[{"name":"sum","kind":"number","required":true},{"name":"to","kind":"string","label":"To"}]`, "does not show sum:"},
		"none, and none required":            {`[{"name":"sum","kind":"number"}]`, "no field has a label"},
		"in an object":                       {`[{"name":"to","kind":"object","label":"To","fields":[{"name":"iban","kind":"string","required":true}]}]`, "does not show to.iban:"},
		"an object alone":                    {`[{"name":"to","kind":"object","label":"To","fields":[{"name":"iban","kind":"string"}]}]`, "no field has a label"},
		"labels in an object without":        {`[{"name":"to","kind":"object","fields":[{"name":"iban","kind":"string","label":"IBAN","required":true}]}]`, "no field has a label"},
		"labels in a required one without":   {`[{"name":"to","kind":"object","required":true,"fields":[{"name":"iban","kind":"string","label":"IBAN"}]}]`, "does not show to:"},
		"more than a warning can have names": {"[" + strings.Join(many, ",") + "]", "f9, and 2 more"},
	} {
		list := &snapshotv1.StringList{Values: []string{`{"type":"payment","fields":` + c.fields + `}`}}
		ws := PolicyWarnings(&Policy{Policy: &snapshotv1.Policy{Oauth: &snapshotv1.OAuthPolicy{AuthorizationDetailsTypes: list}}}, "overrides.")
		if c.want == "" {
			if len(ws) > 0 {
				t.Errorf("%s: %v", name, ws)
			}
			continue
		}
		if len(ws) != 1 || ws[0].Reason != WarnDetailUnseen || ws[0].Field != "overrides.oauth_policy.authorization_details_types" ||
			!strings.Contains(ws[0].Text, c.want) || !strings.Contains(ws[0].Text, `"payment"`) {
			t.Errorf("%s: %v, want %q", name, ws, c.want)
		}
	}
}

func TestSourceNetwork(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.77": "192.0.2.0/24", "::ffff:192.0.2.1": "192.0.2.0/24", "2001:db8:1:2::3": "2001:db8:1::/48", "fe80::1%eth0": "fe80::/48",
		"": "unknown", "192.0.2.77:80": "unknown", "x": "unknown",
	} {
		if got := SourceNetwork(address); got != want {
			t.Errorf("%q is of %s, want %s", address, got, want)
		}
	}
}
