// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"net/url"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/tenantry/tenantry/pkg/id"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// TestFrontchannelLogoutInARealBrowser: the application's page is loaded with iss and sid, and the browser goes on, with and without scripts.
func TestFrontchannelLogoutInARealBrowser(t *testing.T) {
	s := newStage(t)
	hooli := s.tenant("hooli", "Hooli", nil)
	chat := "http://chat.localhost:" + s.port
	s.serve(hooli, func(core *snapshotv1.TenantSnapshot) {
		core.Clients[0].PostLogoutRedirectUris = []string{chat + "/bye"}
		core.Clients[0].Protocol = &snapshotv1.ClientProtocol{FrontchannelLogoutUri: chat + "/cb?front=1"}
	})
	for _, scripts := range []bool{false, true} {
		s.size(1280, 800, scripts)
		s.open(s.authorize(hooli, hooli.chat), "#email")
		s.enter("#email", "gavin@hooli.example", "#password", password)
		s.click("button.primary", "#done")
		sessions, err := s.identity.ListSessions(t.Context(), ref(hooli.Tenant), hooli.gavin.ID, s.clock())
		if err != nil || len(sessions) != 1 {
			t.Fatalf("%d sessions, %v", len(sessions), err)
		}
		sid := sessions[0].ID
		if _, err := chromedp.Call(s.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !scripts}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		step(s, chromedp.Navigate(hooli.base+"/oauth2/logout?"+url.Values{
			"id_token_hint": {s.idToken(hooli, hooli.chat, hooli.gavin.ID, sid, s.clock())}, "post_logout_redirect_uri": {chat + "/bye"}, "state": {"s"},
		}.Encode()))
		if !scripts {
			s.wait("#onward a")
			s.shot("frontchannel-light")
		}
		s.wait("#done")
		took := time.Since(began)
		if where := step(s, chromedp.Location()); where != chat+"/bye?state=s" {
			t.Errorf("ends at %s", where)
		}
		s.told(hooli, sid)
		if scripts == (took > frontchannelWait) {
			t.Errorf("went on after %s, scripts %v", took, scripts)
		}
	}
	s.quiet()
}

// told fails unless the application's page was loaded with iss and sid.
func (s *stage) told(site *site, sid id.Session) {
	s.t.Helper()
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.got.Get("front") != "1" || s.got.Get("iss") != site.Issuer || s.got.Get("sid") != sid.String() {
		s.t.Errorf("the application's page was loaded with %v", s.got)
	}
}
