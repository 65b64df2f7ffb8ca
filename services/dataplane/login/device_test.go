// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
)

// device adds a client for devices to a site and answers its client_id.
func (r *rig) device(s *site, edit func(*snapshotv1.Client)) string {
	r.t.Helper()
	doc := r.tenants.Public(func(c *snapshotv1.Client) {
		c.DisplayName, c.RedirectUris = "Television", nil
		c.GrantTypes = []string{oauth2.GrantTypeDeviceCode, "refresh_token"}
	})
	if edit != nil {
		edit(doc)
	}
	r.serve(s, func(core *snapshotv1.TenantSnapshot) { core.Clients = append(core.Clients, doc) })
	return dptest.ClientID(doc)
}

// deviceCode is what the token service answers a device.
func (r *rig) deviceCode(s *site, client string) (deviceCode, userCode string) {
	r.t.Helper()
	deviceCode, userCode, err := r.grants.IssueDeviceCode(context.Background(), s.ID, grant.Waiting{
		Client: client, Scopes: []string{"openid", "profile"}, From: "198.51.100.7",
	}, "", r.clock(), 10*time.Minute)
	if err != nil {
		r.t.Fatal(err)
	}
	return deviceCode, oauth2.FormatUserCode(userCode)
}

func (r *rig) poll(s *site, deviceCode, client string) (*grant.Answered, error) {
	return r.grants.PollDevice(context.Background(), s.ID, deviceCode, client, r.clock())
}

func TestDeviceFlow(t *testing.T) {
	r := newRig(t)
	tv := r.device(r.hooli, nil)
	page := r.hooli.base + oidc.PathDevice

	t.Run("typed, signed in, allowed", func(t *testing.T) {
		deviceCode, userCode := r.deviceCode(r.hooli, tv)
		b := r.browser()
		p := b.get(page).shows(200, "Enter the code")
		p = b.submit(p, "user_code", strings.ToLower(strings.ReplaceAll(userCode, "-", " ")))
		if p.url.Path != pathLogin {
			t.Fatalf("at %s", p.url)
		}
		p = b.signIn(p, "gavin@hooli.example").shows(200, "Sign in to Television on another device?", userCode, "198.51.100.7", "Gavin Belson", "Go on only if you began this yourself")
		b.submit(p, "answer", "allow").shows(200, "Your device is connected")
		a, err := r.poll(r.hooli, deviceCode, tv)
		if err != nil {
			t.Fatal(err)
		}
		rec := a.Record
		if rec.User != r.hooli.gavin.ID || rec.Client != tv || rec.Session.IsZero() || rec.Grant.IsZero() || rec.ACR == "" || strings.Join(rec.Scopes, " ") != "openid profile" {
			t.Fatalf("record %+v", rec)
		}
		b.get(page+"?user_code="+userCode).shows(422, "not known here")
	})
	t.Run("link, denied", func(t *testing.T) {
		deviceCode, userCode := r.deviceCode(r.hooli, tv)
		b := r.browser()
		p := b.signIn(b.get(page+"?user_code="+userCode), "gavin@hooli.example").shows(200, userCode)
		b.submit(p, "answer", "deny").shows(200, "You did not allow it")
		if _, err := r.poll(r.hooli, deviceCode, tv); !errors.Is(err, grant.ErrDenied) {
			t.Fatal(err)
		}
	})
	t.Run("languages keep the code over the login", func(t *testing.T) {
		_, userCode := r.deviceCode(r.hooli, tv)
		b := r.browser()
		p := b.get(page + "?user_code=" + userCode)
		p = b.get(p.link("Deutsch")).shows(200, "Bei Hooli anmelden")
		p = b.submit(p, "email", "gavin@hooli.example", "password", password).shows(200, "anderen Gerät", userCode)
		b.get(p.link("English")).shows(200, "on another device", userCode)
	})
	t.Run("what is wrong with a code", func(t *testing.T) {
		b := r.browser()
		p := b.get(page)
		b.submit(p, "user_code", "").shows(422, "Enter the code that your device shows")
		b.submit(p, "user_code", "1234-5678").shows(422, "no digits and no vowels")
		b.get(page+"?user_code=%3Cscript%3E").shows(422, "no digits")
		b.signIn(b.submit(p, "user_code", "BCDFGHJK"), "gavin@hooli.example").shows(422, "not known here")
	})
	t.Run("expired while the page was open", func(t *testing.T) {
		_, userCode := r.deviceCode(r.hooli, tv)
		b := r.browser()
		p := b.signIn(b.get(page+"?user_code="+userCode), "gavin@hooli.example").shows(200, userCode)
		r.pass(11 * time.Minute)
		b.submit(p, "answer", "allow").shows(422, "has run out")
	})
	t.Run("the client may not use device codes any more", func(t *testing.T) {
		other := r.device(r.hooli, func(c *snapshotv1.Client) { c.GrantTypes = []string{"refresh_token"} })
		_, userCode := r.deviceCode(r.hooli, other)
		b := r.browser()
		b.signIn(b.get(page+"?user_code="+userCode), "gavin@hooli.example").shows(422, "not known here")
	})
}

func TestAttackDeviceAnswerFromElsewhere(t *testing.T) {
	r := newRig(t)
	tv := r.device(r.hooli, nil)
	page := r.hooli.base + oidc.PathDevice
	deviceCode, userCode := r.deviceCode(r.hooli, tv)
	b := r.browser()
	mine := b.signIn(b.get(page+"?user_code="+userCode), "gavin@hooli.example").shows(200, userCode)
	pending := func(what string) {
		t.Helper()
		r.pass(time.Minute)
		if _, err := r.poll(r.hooli, deviceCode, tv); !errors.Is(err, grant.ErrPending) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	form := url.Values{"user_code": {userCode}, "answer": {"allow"}}
	b.do(http.MethodPost, page, form, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example").shows(403, "from another site")
	pending("another site's form")
	b.do(http.MethodPost, page, form).shows(200, "on another device?")
	pending("a form without the token")
	_, other := r.deviceCode(r.hooli, tv)
	b.submit(mine, "user_code", other, "answer", "allow").shows(200, other)
	pending("the token of one device for another")
	// Somebody else signs in in this browser while the page is open.
	r.user(r.hooli, "peter@hooli.example", "Peter")
	b.signIn(b.get(r.hooli.base+pathLogin), "peter@hooli.example").shows(200, "You are signed in")
	b.submit(mine, "answer", "allow").shows(200, "peter@hooli.example")
	pending("one person's yes sent for another")
	// A code of this tenant at another one.
	nb := r.browser()
	r.user(r.raviga, "monica@raviga.example", "Monica")
	nb.signIn(nb.get(r.raviga.base+oidc.PathDevice+"?user_code="+userCode), "monica@raviga.example").shows(422, "not known here")
	pending("another tenant")
	// A login cannot be sent on to where a stranger wants.
	for _, c := range []string{"https://evil.example/", "//evil.example", "AAAA"} {
		x := r.browser()
		if p := x.signIn(x.get(r.hooli.base+pathLogin+"?c="+url.QueryEscape(c)), "gavin@hooli.example"); p.url.Path != pathAccount || x.ended != nil {
			t.Fatalf("sent on to %s", p.url)
		}
	}
}

func TestAttackGuessingUserCodes(t *testing.T) {
	r := newRig(t)
	tv := r.device(r.hooli, nil)
	page := r.hooli.base + oidc.PathDevice
	b := r.browser()
	b.signIn(b.get(page+"?user_code=BCDFGHJK"), "gavin@hooli.example").shows(422, "not known here")
	for i := range guessesOfBrowser - 1 {
		b.get(page+"?user_code="+strings.Repeat(string("BCDFGHJKLM"[i]), 8)).shows(422, "not known here")
	}
	_, userCode := r.deviceCode(r.hooli, tv)
	if p := b.get(page+"?user_code="+userCode).shows(429, "Wait ten minutes"); p.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	// Another browser of the same person has what is left of the person's guesses.
	nb := r.browser()
	nb.signIn(nb.get(page+"?user_code="+userCode), "gavin@hooli.example").shows(200, userCode)
	for i := range guessesOfUser {
		p := nb.get(page + "?user_code=" + strings.Repeat(string("BCDFGHJKLMNPQRSTVWXZ"[i%20]), 7) + "B")
		if p.status == http.StatusTooManyRequests {
			return
		}
	}
	t.Error("a person can guess without end with new browsers")
}
