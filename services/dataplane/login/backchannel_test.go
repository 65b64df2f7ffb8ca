// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/internal/mailsink"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

func TestBackchannelPage(t *testing.T) {
	r := newRig(t)
	bank := r.asks(r.hooli, nil)
	page := r.hooli.base + pathBackchannel
	first := r.request(r.hooli, bank, "W4SCT")
	b := r.browser()
	p := b.signIn(b.get(page), "gavin@hooli.example").shows(200, "Piper Bank asks for access", "W4SCT", "Allow only what you began yourself")
	p = b.submit(p, "answer", "allow").shows(200, "You allowed it", "No application is waiting")
	if p.url.Path != pathBackchannel {
		t.Errorf("at %s", p.url)
	}
	if err := r.answered(r.hooli, first, bank); err != nil {
		t.Fatal(err)
	}
	second := r.request(r.hooli, bank, "second")
	p = b.get(page)
	b.submit(p, "answer", "deny").shows(200, "You did not allow it")
	if err := r.answered(r.hooli, second, bank); !errors.Is(err, grant.ErrDenied) {
		t.Fatal(err)
	}
	b.submit(p, "answer", "allow").shows(200, "answered already")
	if err := r.answered(r.hooli, second, bank); !errors.Is(err, grant.ErrDenied) {
		t.Fatalf("a second answer counts: %v", err)
	}
	third := r.request(r.hooli, bank, "third")
	p = b.get(page)
	r.pass(6 * time.Minute)
	b.submit(p, "answer", "allow").shows(200, "has run out")
	if err := r.answered(r.hooli, third, bank); !errors.Is(err, grant.ErrExpired) {
		t.Fatal(err)
	}
}

func TestAttackBackchannelAnswerFromElsewhere(t *testing.T) {
	r := newRig(t)
	bank := r.asks(r.hooli, nil)
	page := r.hooli.base + pathBackchannel
	asked := r.request(r.hooli, bank, "W4SCT")
	pending := func(what string) {
		t.Helper()
		r.pass(20 * time.Second)
		if err := r.answered(r.hooli, asked, bank); !errors.Is(err, grant.ErrPending) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	b := r.browser()
	mine := b.signIn(b.get(page), "gavin@hooli.example").shows(200, "W4SCT")
	hidden := url.Values{"answer": {"allow"}}
	for _, m := range hiddenField.FindAllStringSubmatch(mine.body, -1) {
		hidden.Set(m[1], m[2])
	}
	b.do(http.MethodPost, page, hidden, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example").shows(403, "from another site")
	pending("another site's form")
	b.do(http.MethodPost, page, url.Values{"answer": {"allow"}, "request": hidden["request"]}).shows(200, "W4SCT")
	pending("no token")
	// Somebody else sees nothing of it, and cannot answer for the person, with or without their form.
	r.user(r.hooli, "peter@hooli.example", "Peter")
	other := r.browser()
	p := other.signIn(other.get(page), "peter@hooli.example").shows(200, "No application is waiting")
	if strings.Contains(p.body, "W4SCT") {
		t.Error("somebody else sees the message")
	}
	other.do(http.MethodPost, page, hidden).shows(200, "No application is waiting")
	pending("somebody else with the person's form")
	// The client loses the right to ask while the person looks at the page.
	r.serve(r.hooli, func(core *snapshotv1.TenantSnapshot) {
		core.Clients[len(core.Clients)-1].Enabled = false
	})
	b.submit(mine, "answer", "allow").shows(200, "answered already")
	pending("a client that was disabled")
}

func TestBackchannelMail(t *testing.T) {
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
	bank := r.asks(r.hooli, nil)
	order := func(message string) grant.Backchannel {
		t.Helper()
		r.request(r.hooli, bank, message)
		list, err := r.grants.Backchannels(ctx, r.hooli.ID, r.hooli.gavin.ID, r.clock())
		if err != nil || len(list) == 0 {
			t.Fatalf("%d waiting, %v", len(list), err)
		}
		last := list[len(list)-1]
		if err := r.identity.AskByMail(ctx, ref(r.hooli.Tenant), r.hooli.gavin.ID, last.Handle.String()); err != nil {
			t.Fatal(err)
		}
		return last
	}
	// One that was answered before the mail left is not mailed; the job ahead of the good one shows it.
	if err := r.grants.DecideBackchannel(ctx, r.hooli.ID, order("too late"), nil, r.clock()); err != nil {
		t.Fatal(err)
	}
	order("W4SCT <b>")
	r.service.Start()
	t.Cleanup(func() { r.service.Stop(context.Background()) })
	var mails []*mailsink.Mail
	for deadline := time.Now().Add(20 * time.Second); len(mails) == 0; time.Sleep(20 * time.Millisecond) {
		if mails = sink.Mails("gavin@hooli.example"); len(mails) == 0 && time.Now().After(deadline) {
			t.Fatalf("no mail: %s", r.log)
		}
	}
	mail := mails[0]
	if len(mails) != 1 || mail.Subject != "Piper Bank asks for your permission" || !strings.Contains(mail.Text, "W4SCT <b>") || strings.Contains(mail.HTML, "<b>") {
		t.Errorf("%d mails, subject %q\n%s\n%s", len(mails), mail.Subject, mail.Text, mail.HTML)
	}
	link := r.hooli.Issuer + pathBackchannel
	if !strings.Contains(mail.Text, link+"\n") && !strings.Contains(mail.Text, link+"\r\n") || !strings.Contains(mail.HTML, `href="`+link+`"`) {
		t.Errorf("the link carries more than the page's address: %s", mail.Text)
	}
	b := r.browser()
	b.signIn(b.get(link), "gavin@hooli.example").shows(200, "W4SCT <b>")
	p := b.get(r.hooli.base+"/account").shows(200, "Waiting for your answer")
	b.get(p.link("Waiting for your answer")).shows(200, "Piper Bank asks for access")
}

// notified is a client's endpoint for pings.
type notified struct {
	sync.Mutex
	status int
	seen   []string
	came   chan struct{}
}

func (n *notified) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	n.Lock()
	defer n.Unlock()
	n.seen = append(n.seen, r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization")+" "+r.Header.Get("Content-Type")+" "+string(body))
	if n.status == http.StatusMovedPermanently {
		w.Header().Set("Location", "/elsewhere")
	}
	w.WriteHeader(n.status)
	io.WriteString(w, `{"a":"body that nobody reads"}`)
	n.came <- struct{}{}
}

func TestBackchannelPing(t *testing.T) {
	n := &notified{came: make(chan struct{}, 10)}
	server := httptest.NewServer(n)
	defer server.Close()
	out, err := outbound.New(outbound.Config{AllowNetworks: []string{"127.0.0.0/8"}, AllowHTTP: true}, outbound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(p *parts) { p.outbound = out })
	r.serve(r.hooli, func(core *snapshotv1.TenantSnapshot) { core.Type = snapshotv1.TenantType_TENANT_TYPE_DEVELOPMENT })
	client := r.asks(r.hooli, func(c *snapshotv1.Client) {
		c.Protocol = &snapshotv1.ClientProtocol{BackchannelTokenDeliveryMode: "ping", BackchannelClientNotificationEndpoint: server.URL + "/notify"}
	})
	b := r.browser()
	page := r.hooli.base + pathBackchannel
	b.signIn(b.get(r.hooli.base+pathLogin), "gavin@hooli.example")
	for _, c := range []struct {
		answer string
		status int
	}{{"allow", 204}, {"deny", 200}, {"allow", 401}, {"allow", 403}, {"allow", 301}} {
		n.Lock()
		n.status, n.seen = c.status, nil
		n.Unlock()
		requestID := r.request(r.hooli, client, "m")
		b.submit(b.get(page), "answer", c.answer)
		select {
		case <-n.came:
		case <-time.After(10 * time.Second):
			t.Fatalf("%v: no ping", c)
		}
		r.service.pings.wg.Wait() // until it has given up, too
		n.Lock()
		body, _ := json.Marshal(map[string]string{"auth_req_id": requestID})
		if want := "POST /notify Bearer nt-m application/json " + string(body); len(n.seen) != 1 || n.seen[0] != want {
			t.Errorf("%v: pings %q, want one %q", c, n.seen, want)
		}
		n.Unlock()
		// Whatever the client answered, it can poll.
		err := r.answered(r.hooli, requestID, client)
		if c.answer == "allow" && err != nil || c.answer == "deny" && !errors.Is(err, grant.ErrDenied) {
			t.Errorf("%v: poll %v", c, err)
		}
	}
}
