// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
)

// TestDeviceAndRequestsInARealBrowser walks both pages as a person does, and looks at each in light and dark, on a phone and on a desk.
func TestDeviceAndRequestsInARealBrowser(t *testing.T) {
	s := newStage(t)
	hooli := s.tenant("hooli", "Hooli", nil)
	tv := s.device(hooli, nil)
	bank := s.asks(hooli, nil)
	deviceCode, userCode := s.deviceCode(hooli, tv)
	page := hooli.base + oidc.PathDevice
	shapes := func(name, until string, open func()) {
		t.Helper()
		for shape, v := range map[string]struct {
			width int64
			dark  bool
		}{"phone": {360, false}, "phone-dark": {360, true}, "desk": {1280, false}, "narrow": {320, false}} {
			s.size(v.width, 740, v.dark)
			open()
			s.wait(until)
			s.judge(name + " " + shape)
			s.shot(name + "-" + shape)
			s.script(`document.documentElement.dir="rtl"`)
			s.judge(name + " " + shape + " rtl")
		}
	}
	shapes("device-enter", "#user_code", func() { s.open(page, "#user_code") })
	if focused := s.script("document.activeElement.id"); focused != "user_code" {
		t.Errorf("the focus is on %q", focused)
	}
	s.enter("#user_code", "AEIO 1234")
	s.click("button.primary", ".problem")
	s.judge("device-wrong")
	s.shot("device-wrong")
	s.open(page, "#user_code")
	s.enter("#user_code", userCode)
	s.click("button.primary", "#email")
	s.enter("#email", "gavin@hooli.example", "#password", password)
	s.click("button.primary", "p.code")
	shapes("device-confirm", "p.code", func() { s.open(page+"?user_code="+userCode, "p.code") })
	s.open(page+"?user_code="+userCode+"&lang=de", "p.code")
	s.judge("device-confirm de")
	s.shot("device-confirm-de")
	s.click("button[value=allow]", "a.quiet")
	s.shot("device-done")
	if a, err := s.poll(hooli, deviceCode, tv); err != nil || a.Record.User != hooli.gavin.ID {
		t.Errorf("after the yes: %v", err)
	}

	first := s.request(hooli, bank, "W4SCT: 250 € an Piper")
	s.request(hooli, bank, "")
	s.open(hooli.base+pathBackchannel+"?lang=en", ".asked")
	shapes("requests", ".asked", func() { s.open(hooli.base+pathBackchannel, ".asked") })
	s.click("button[value=allow]", ".notice[role=status]")
	s.shot("requests-one-left")
	if a, err := s.grants.PollBackchannel(context.Background(), hooli.ID, first, bank, s.clock()); err != nil || a.Record.User != hooli.gavin.ID {
		t.Errorf("after the yes: %v", err)
	}
	s.click("button[value=deny]", "a.quiet")
	s.judge("requests-none")
	s.shot("requests-none")
	s.quiet()
}

// asks adds a client for backchannel authentication to a site and answers its client_id.
func (r *rig) asks(s *site, edit func(*snapshotv1.Client)) string {
	return r.device(s, func(c *snapshotv1.Client) {
		c.Public, c.TokenEndpointAuthMethod, c.DisplayName = false, "client_secret_basic", "Piper Bank"
		c.GrantTypes = []string{oauth2.GrantTypeCIBA}
		c.Protocol = &snapshotv1.ClientProtocol{BackchannelTokenDeliveryMode: "poll"}
		if edit != nil {
			edit(c)
		}
	})
}

// request is what the token service stores for a client that asks.
func (r *rig) request(s *site, client, message string) (authReqID string) {
	r.t.Helper()
	authReqID, _, err := r.grants.IssueBackchannel(context.Background(), s.ID, grant.Waiting{
		Client: client, Scopes: []string{"openid", "email"}, User: s.gavin.ID, BindingMessage: message, NotificationToken: "nt-" + message,
	}, r.clock(), 5*time.Minute)
	if err != nil {
		r.t.Fatal(err)
	}
	r.pass(time.Second)
	return authReqID
}

func (r *rig) answered(s *site, authReqID, client string) error {
	_, err := r.grants.PollBackchannel(context.Background(), s.ID, authReqID, client, r.clock())
	return err
}
