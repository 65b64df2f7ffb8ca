// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"fmt"
	"testing"
	"time"

	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// TestAccountChoiceAndDetailsInARealBrowser: both pages fit every width and scheme, and lead on without a script of theirs.
func TestAccountChoiceAndDetailsInARealBrowser(t *testing.T) {
	s := newStage(t)
	hooli := s.tenant("hooli", "Hooli", nil)
	hooli.core.Overrides.Oauth = &snapshotv1.OAuthPolicy{AuthorizationDetailsTypes: &snapshotv1.StringList{Values: []string{paymentType}}}
	s.serve(hooli, func(core *snapshotv1.TenantSnapshot) {
		for _, c := range core.Clients {
			c.Protocol = &snapshotv1.ClientProtocol{AuthorizationDetailsTypes: []string{"payment"}}
		}
	})
	s.size(1280, 800, false)
	s.open(s.authorize(hooli, hooli.chat), "#email")
	s.enter("#email", "gavin@hooli.example", "#password", password)
	s.click("button.primary", "#done")
	s.pass(time.Second) // or the login would count as made for the next request

	const large = `[{"type":"payment","creditor":"A creditor with a name that is longer than the narrowest window is wide: Donaudampfschifffahrtsgesellschaft","amount":{"currency":"EUR","value":1234567.50},"instant":false}]`
	pages := map[string]string{
		"select": s.authorize(hooli, hooli.chat, "prompt", "select_account"),
		"detail": s.authorize(hooli, hooli.photos, "authorization_details", large),
	}
	for name, address := range pages {
		for _, language := range []string{"en", "de"} {
			for _, dark := range []bool{false, true} {
				for _, width := range []int64{320, 1280} {
					s.size(width, 800, dark)
					s.open(address+"&ui_locales="+language, "button.primary")
					s.judge(fmt.Sprintf("%s %s dark=%v %d", name, language, dark, width))
					s.shot(fmt.Sprintf("%s-%s-%v-%d", name, language, dark, width))
				}
			}
		}
	}
	s.size(1280, 800, false)
	s.open(pages["select"], "button.primary")
	s.click("button.primary", "#done")
	if got := s.sent(); got.Get("code") == "" {
		t.Errorf("chosen: %v", got)
	}
	s.open(pages["select"], "button.primary")
	s.click(".aside a", "#password")
	s.open(pages["detail"], ".detail")
	s.click("button[value=allow]", "#done")
	if got := s.sent(); got.Get("code") == "" {
		t.Errorf("allowed: %v", got)
	}
	s.quiet()
}
