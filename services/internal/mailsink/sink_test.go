// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package mailsink_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wneessen/go-mail"

	"github.com/tenantry/tenantry/services/internal/mailsink"
)

func start(t *testing.T, dir string) (*mailsink.Sink, *net.TCPAddr) {
	t.Helper()
	sink, err := mailsink.New(dir, slog.New(slog.DiscardHandler))
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
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return sink, listener.Addr().(*net.TCPAddr)
}

func send(t *testing.T, addr *net.TCPAddr, to, subject, text string) {
	t.Helper()
	m := mail.NewMsg()
	if err := m.From("no-reply@ppvc.example"); err != nil {
		t.Fatal(err)
	}
	if err := m.To(to); err != nil {
		t.Fatal(err)
	}
	m.Subject(subject)
	m.SetBodyString(mail.TypeTextPlain, text)
	m.AddAlternativeString(mail.TypeTextHTML, "<p>"+text+"</p>")
	c, err := mail.NewClient(addr.IP.String(), mail.WithPort(addr.Port), mail.WithTLSPolicy(mail.NoTLS))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.DialAndSend(m); err != nil {
		t.Fatal(err)
	}
}

func TestAStockClientsMailIsKeptWhole(t *testing.T) {
	dir := t.TempDir()
	sink, addr := start(t, dir)
	text := "Grüße, set a password:\n.\n..dots\nhttp://hooli.localhost:8080/invite/" + strings.Repeat("x", 100)
	send(t, addr, "gavin@hooli.example", "Einladung für Sie", text)
	got := sink.Mails("Gavin@Hooli.example")
	if len(got) != 1 {
		t.Fatalf("kept %d mails", len(got))
	}
	if got[0].Subject != "Einladung für Sie" || strings.ReplaceAll(got[0].Text, "\r\n", "\n") != text || !strings.Contains(got[0].HTML, "<p>Grüße") {
		t.Errorf("kept %+v", got[0])
	}
	if len(sink.Mails("somebody@else.example")) != 0 {
		t.Error("found under another address")
	}
	again, err := mailsink.New(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if kept := again.Mails("gavin@hooli.example"); len(kept) != 1 || kept[0].Text != got[0].Text {
		t.Errorf("after a restart: %+v", kept)
	}
}

func TestThePageEscapesAStrangersMail(t *testing.T) {
	sink, addr := start(t, "")
	send(t, addr, "a@b.example", "<script>alert(1)</script>", `<img src=x onerror=alert(1)> http://x.example/?a=1&b="2`)
	get := func(path string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		sink.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		return rec
	}
	for _, path := range []string{"/", "/mails/1"} {
		page := get(path).Body.String()
		if strings.Contains(page, "<script>") || strings.Contains(page, "<img src=x") {
			t.Errorf("%s: not escaped\n%s", path, page)
		}
	}
	if page := get("/mails/1").Body.String(); !strings.Contains(page, `<a href="http://x.example/?a=1&amp;b=">`) {
		t.Errorf("no link\n%s", page)
	}
	if csp := get("/mails/1/html").Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "sandbox") {
		t.Errorf("HTML part served with %q", csp)
	}
	if rec := get("/mails/7"); rec.Code != http.StatusNotFound {
		t.Errorf("unknown mail: %d", rec.Code)
	}
	var list []mailsink.Mail
	if err := json.Unmarshal(get("/mails.json?to=a@b.example").Body.Bytes(), &list); err != nil || len(list) != 1 {
		t.Errorf("%v %v", list, err)
	}
}

func TestAnOversizedMailIsRefusedAndTheSessionGoesOn(t *testing.T) {
	sink, addr := start(t, "")
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	say := func(line, want string) {
		t.Helper()
		if line != "" {
			if _, err := fmt.Fprint(conn, line+"\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		got, err := r.ReadString('\n')
		if err != nil || !strings.HasPrefix(got, want) {
			t.Fatalf("%.40q was answered %q, %v; want %s", line, got, err, want)
		}
	}
	say("", "220")
	say("HELO x", "250")
	say("DATA", "503")
	say("MAIL FROM:<a@b>", "250")
	say("RCPT TO:<c@d>", "250")
	say("DATA", "354")
	say(strings.Repeat(strings.Repeat("x", 1000)+"\r\n", 1200)+".", "552")
	say("VRFY x", "502")
	say("NOOP", "250")
	say("QUIT", "221")
	if n := len(sink.Mails("")); n != 0 {
		t.Errorf("kept %d", n)
	}
}
