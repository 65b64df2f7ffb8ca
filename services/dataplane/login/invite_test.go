// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/mailsink"
)

// invitation makes a user who is invited, as a provision does.
func (r *rig) invitation(s *site, email, name string) id.Invitation {
	r.t.Helper()
	i := id.NewInvitation()
	err := r.identity.ApplySeeds(context.Background(), []identity.Seed{{
		TenantRef: ref(s.Tenant), Time: r.clock(), Actor: "system", Users: []identity.SeedUser{{
			ID: id.NewUser(), Membership: id.NewMembership(), Email: email, Profile: identity.Profile{Name: name}, Roles: []string{"admin"},
			Invitation: &identity.NewInvitation{ID: i, ExpireTime: r.clock().Add(7 * 24 * time.Hour)},
		}},
	}})
	if err != nil {
		r.t.Fatal(err)
	}
	return i
}

func TestInvitationByMail(t *testing.T) {
	sink, err := mailsink.New("", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sink.Serve(ctx, listener) }()
	t.Cleanup(func() { stop(); <-done })

	r := newRig(t, func(p *parts) {
		p.mail = MailConfig{Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, TLS: TLSNone, From: "no-reply@ppvc.example"}
	})
	r.invitation(r.hooli, "dinesh@hooli.example", "Dinesh Chugtai")
	r.service.Start()
	t.Cleanup(func() { r.service.Stop(context.Background()) })

	var mail *mailsink.Mail
	for deadline := time.Now().Add(20 * time.Second); mail == nil; time.Sleep(20 * time.Millisecond) {
		if got := sink.Mails("dinesh@hooli.example"); len(got) > 0 {
			mail = got[0]
		} else if time.Now().After(deadline) {
			t.Fatalf("no mail: %s", r.log)
		}
	}
	if !strings.Contains(mail.From, "no-reply@ppvc.example") || !strings.Contains(mail.From, "Hooli") || mail.Subject != "Your invitation to Hooli" {
		t.Errorf("mail from %q, subject %q", mail.From, mail.Subject)
	}
	link := regexp.MustCompile(`https://hooli\.example\.com/invite/[A-Za-z0-9_-]+`).FindString(mail.Text)
	if link == "" || !strings.Contains(mail.HTML, link) || !strings.Contains(mail.Text, "Hello Dinesh Chugtai,") {
		t.Fatalf("text %s\nhtml %s", mail.Text, mail.HTML)
	}
	if strings.Contains(r.log.String(), link[strings.LastIndexByte(link, '/')+1:]) {
		t.Error("the link is in the log")
	}

	b := r.browser()
	p := b.get(link).shows(200, "Welcome to Hooli", "You are invited to join Hooli")
	if !strings.Contains(p.body, `autocomplete="username"`) || !strings.Contains(p.body, `value="dinesh@hooli.example"`) ||
		!strings.Contains(p.body, `autocomplete="new-password"`) {
		t.Error("a password manager cannot tell whose password it is")
	}
	b.get(link).shows(200) // looking uses nothing up
	p = b.submit(p, "password", "hooli")
	p.shows(422, "at least 10 characters")
	b.submit(p, "password", password, "name", "Dinesh C.").shows(200, "You are signed in", "dinesh@hooli.example")
	rec := b.code(b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "none")), r.hooli, chatCallback)
	u, err := r.identity.GetUser(t.Context(), ref(r.hooli.Tenant), rec.User)
	if err != nil || !u.EmailVerified || u.Name != "Dinesh C." || !slices.Equal(u.Roles, []string{"admin"}) {
		t.Errorf("user %+v %v", u, err)
	}
	// Once means once, for everybody, and at no other tenant.
	r.browser().get(link).shows(404, "does not work any more")
	b.submit(p, "password", password).shows(404, "does not work any more")
	token := r.invite(r.hooli, "gilfoyle@hooli.example", "")
	r.browser().get(r.raviga.base+"/invite/"+token).shows(404, "does not work any more")
	r.browser().get(r.hooli.base + "/invite/" + token).shows(200)
	r.pass(8 * 24 * time.Hour)
	r.browser().get(r.hooli.base + "/invite/" + token).shows(404)
}
