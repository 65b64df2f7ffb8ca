// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// TestIdentityDatabaseAway is the row of PROMISES.md section 3: the login page renders, what needs the database is 503, and nothing
// is lost.
func TestIdentityDatabaseAway(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	b.code(b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat)), "gavin@hooli.example"), r.hooli, chatCallback)
	fresh := r.browser()

	r.identity.set(errAway, false)
	login := fresh.get(r.hooli.authorizeURL(r.hooli.chat)).shows(200, "Sign in to Hooli")
	p := fresh.submit(login, "email", "gavin@hooli.example", "password", password)
	p.shows(503, "takes longer than usual", "Sign in to Hooli")
	if p.header.Get("Retry-After") == "" || !strings.Contains(p.body, `value="gavin@hooli.example"`) || strings.Contains(p.body, password) {
		t.Errorf("Retry-After %q, %s", p.header.Get("Retry-After"), p.body)
	}
	for name, p := range map[string]*page{
		"session":     b.get(r.hooli.authorizeURL(r.hooli.chat)),
		"logout":      b.get(r.hooli.base + "/oauth2/logout"),
		"the account": b.get(r.hooli.base + "/account"),
	} {
		p.shows(503, "cannot sign people in at this moment", "Request number")
		if p.header.Get("Retry-After") == "" || strings.Contains(p.body, "dial") {
			t.Errorf("%s: Retry-After %q, %s", name, p.header.Get("Retry-After"), p.body)
		}
	}
	// Who asked for no page is told by redirect.
	if q := b.answered(b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "none")), chatCallback); q.Get("error") != "temporarily_unavailable" {
		t.Errorf("response %v", q)
	}
	r.identity.set(nil, false)
	fresh.code(fresh.submit(login, "email", "gavin@hooli.example", "password", password), r.hooli, chatCallback)
	b.code(b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "none")), r.hooli, chatCallback)
}

func TestRuntimeRedisAway(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	login := b.get(r.hooli.authorizeURL(r.hooli.chat))
	r.redis.Kill()
	r.browser().get(r.hooli.authorizeURL(r.hooli.chat)).shows(200, "Sign in to Hooli")
	// The password counts; only the code cannot be made. Loading the page again is all that is left to do.
	p := b.signIn(login, "gavin@hooli.example")
	p.shows(503, "Nothing is lost")
	if q := b.answered(b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "none")), chatCallback); q.Get("error") != "temporarily_unavailable" {
		t.Errorf("response %v", q)
	}
	if err := r.redis.Restart(context.Background()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		again := b.get(p.url.String())
		if b.ended != nil {
			b.code(again, r.hooli, chatCallback)
			break
		}
		if time.Now().After(deadline) {
			again.shows(303)
		}
	}
	// Logging out works without Redis: the database has it, and the marks follow.
	r.redis.Kill()
	b.submit(b.get(r.hooli.base+"/oauth2/logout")).shows(200, "You are signed out")
}

func TestTooManyPasswords(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	login := b.get(r.hooli.authorizeURL(r.hooli.chat))
	r.identity.set(nil, true)
	p := b.submit(login, "email", "gavin@hooli.example", "password", password)
	p.shows(503, "takes longer than usual right now")
	if p.header.Get("Retry-After") == "" || !strings.Contains(p.body, `value="gavin@hooli.example"`) {
		t.Errorf("Retry-After %q", p.header.Get("Retry-After"))
	}
	r.identity.set(nil, false)
	b.code(b.submit(p, "email", "gavin@hooli.example", "password", password), r.hooli, chatCallback)
}

func TestRegistrationClosed(t *testing.T) {
	r := newRig(t)
	r.serve(r.hooli, func(core *snapshotv1.TenantSnapshot) { core.Overrides.Registration.Enabled = proto.Bool(false) })
	b := r.browser()
	login := b.get(r.hooli.authorizeURL(r.hooli.chat))
	if strings.Contains(login.body, "/oauth2/register") {
		t.Error("the login page offers what is closed")
	}
	b.get(r.hooli.base+"/oauth2/register").shows(403, "Hooli adds people by invitation")
	token := hiddenField.FindStringSubmatch(login.body)[2]
	b.do("POST", r.hooli.base+"/oauth2/register", map[string][]string{"t": {token}, "email": {"x@hooli.example"}, "password": {password}}).shows(403)
	if q := b.answered(b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "create")), chatCallback); q.Get("error") != "invalid_request" {
		t.Errorf("response %v", q)
	}
}

// TestDisabledClientEndsWhatIsUnderWay: a request is held against the tenant's configuration as it is now.
func TestDisabledClientEndsWhatIsUnderWay(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	login := b.get(r.hooli.authorizeURL(r.hooli.chat))
	r.serve(r.hooli, func(core *snapshotv1.TenantSnapshot) {
		for _, c := range core.Clients {
			if c.GetDisplayName() == "Chat" {
				c.Enabled = false
			}
		}
	})
	b.submit(login, "email", "gavin@hooli.example", "password", password).shows(400, "does not work")
	if b.ended != nil || b.cookie(r.hooli, "__Host-tnt_sid") != nil {
		t.Error("a login for a client that is disabled")
	}
}

func TestSessionLimits(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	b.code(b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat)), "gavin@hooli.example"), r.hooli, chatCallback)
	r.pass(r.hooli.Policy.SessionIdleTTL - time.Minute)
	b.code(b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "none")), r.hooli, chatCallback)
	r.pass(r.hooli.Policy.SessionIdleTTL + time.Minute)
	if q := b.answered(b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "none")), chatCallback); q.Get("error") != "login_required" {
		t.Errorf("an idle session: %v", q)
	}
}

func TestAccountLeadsToTheApplications(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	p := b.signIn(b.get(r.hooli.base+"/login"), "gavin@hooli.example")
	p.shows(200, "You are signed in", "Gavin Belson", "Continue to Chat", "Continue to Starter")
	if p.url.Path != "/account" || strings.Contains(p.text(), "Photos") || strings.Contains(p.text(), "Phone") {
		t.Errorf("at %s: %s", p.url, p.text())
	}
	if home := p.link("Continue to Chat"); home != "https://chat.example/" {
		t.Errorf("chat is at %s", home)
	}
	if p := b.get(r.hooli.base + "/"); p.url.Path != "/account" {
		t.Errorf("the bare address leads to %s", p.url)
	}
	b.submit(p).shows(200, "You are signed out")
	if p := b.get(r.hooli.base + "/"); p.url.Path != "/login" {
		t.Errorf("the bare address leads to %s", p.url)
	}
}
