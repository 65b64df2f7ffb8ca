// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// testApp serves both apps in front of a control plane that answers as told.
// The path through the real one is the business of the end-to-end tests.
func testApp(t *testing.T, controlPlane http.HandlerFunc) (http.Handler, config) {
	t.Helper()
	api := httptest.NewServer(controlPlane)
	t.Cleanup(api.Close)
	cfg, err := configFromEnv(func(name string) string {
		return map[string]string{"TENANTRY_REST": api.URL, "TENANTRY_API_KEY": "tnk_test", "PIEDPIPER_CHAT_CLIENT_ID": "cli_chat"}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	app, err := newApp(cfg, api.Client(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return app, cfg
}

func post(app http.Handler, host, path string, form url.Values, change ...func(*http.Request)) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, "http://"+host+path, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range change {
		c(req)
	}
	rec := httptest.NewRecorder()
	app.ServeHTTP(rec, req)
	return rec
}

func filled() url.Values {
	return url.Values{
		"request_id": {"6f1c2a1e-0000-4000-8000-000000000001"}, "company": {"Hooli"}, "label": {"Hooli"},
		"email": {"gavin@hooli.example"}, "name": {"Gavin"}, "color": {"#0044ff"},
	}
}

func TestSignUpProvisionsOnceAndShowsTheKey(t *testing.T) {
	var got map[string]any
	app, _ := testApp(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/orgs/piedpiper/tenants:provision" || r.Header.Get("Authorization") != "Bearer tnk_test" {
			t.Errorf("called %s with %q", r.URL.Path, r.Header.Get("Authorization"))
		}
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		fmt.Fprint(w, `{"done":true,"response":{"@type":"x","tenant":{"name":"orgs/org_1/tenants/tnt_1","slug":"hooli","displayName":"Hooli"},
			"issuer":"http://hooli.localhost:8080","apiKeys":[{"id":"tenant-admin","secret":"tnk_secret"}],"consistencyToken":"tcv1"}}`)
	})
	rec := post(app, "piedpiper.localhost:8090", "/", filled())
	if rec.Code != http.StatusOK {
		t.Fatalf("status %d\n%s", rec.Code, rec.Body)
	}
	for _, want := range []string{"Hooli is ready", "tnk_secret", "http://hooli.localhost:8080", "cli_chat", "http://hooli.piedpiper.localhost:8090/?tcv=tcv1"} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if got["tenantId"] != "hooli" || got["requestId"] != filled().Get("request_id") {
		t.Errorf("asked for %v", got)
	}
	if rec.Header().Get("Cache-Control") != "no-store" {
		t.Error("a page with a secret may be stored")
	}
}

func TestSignUpKeepsWhatWasTypedAndNamesTheField(t *testing.T) {
	called := false
	app, _ := testApp(t, func(w http.ResponseWriter, _ *http.Request) {
		called = true
		w.WriteHeader(http.StatusConflict)
		fmt.Fprint(w, `{"code":6,"message":"the address hooli.localhost is not free","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"HOSTNAME_UNAVAILABLE"}]}`)
	})
	for name, tc := range map[string]struct {
		change func(url.Values)
		says   string
		calls  bool
	}{
		"no company":       {func(v url.Values) { v.Set("company", " ") }, "Enter the name of your company", false},
		"long company":     {func(v url.Values) { v.Set("company", strings.Repeat("ü", 81)) }, "80 characters or fewer", false},
		"label with dot":   {func(v url.Values) { v.Set("label", "a.b") }, "only letters a to z", false},
		"label with edge":  {func(v url.Values) { v.Set("label", "-a") }, "only letters a to z", false},
		"no e-mail":        {func(v url.Values) { v.Set("email", "gavin") }, "Enter your email address", false},
		"colour of script": {func(v url.Values) { v.Set("color", "red;}") }, "six hexadecimal digits", false},
		"address taken":    {func(url.Values) {}, "Choose another address: hooli is not free", true},
	} {
		t.Run(name, func(t *testing.T) {
			called = false
			form := filled()
			tc.change(form)
			rec := post(app, "piedpiper.localhost:8090", "/", form)
			page := rec.Body.String()
			if rec.Code != http.StatusUnprocessableEntity || strings.Count(page, tc.says) != 2 {
				t.Errorf("status %d, %q stands %d times, want beside the field and in the summary", rec.Code, tc.says, strings.Count(page, tc.says))
			}
			if !strings.Contains(page, `value="Gavin"`) || !strings.Contains(page, form.Get("request_id")) {
				t.Error("what was typed is gone")
			}
			if called != tc.calls {
				t.Errorf("control plane called: %v", called)
			}
		})
	}
}

func TestSignUpFromAnotherSiteIsRefused(t *testing.T) {
	app, _ := testApp(t, func(http.ResponseWriter, *http.Request) { t.Error("provisioned") })
	rec := post(app, "piedpiper.localhost:8090", "/", filled(), func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	if rec.Code != http.StatusForbidden {
		t.Fatalf("status %d", rec.Code)
	}
}

func TestUnknownTeamIsAFriendlyPage(t *testing.T) {
	app, _ := testApp(t, func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
	chat, err := newChat(config{DataPlane: "http://{host}", BaseDomain: "localhost", Audience: "https://api.test"}, &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		rec := httptest.NewRecorder()
		rec.WriteHeader(http.StatusNotFound)
		return rec.Result(), nil
	})}, mustPages(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	rec := httptest.NewRecorder()
	chat.routes().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(withTenantLabel(t.Context(), "nobody")))
	if rec.Code != http.StatusNotFound || !strings.Contains(rec.Body.String(), "No team chats here") {
		t.Fatalf("status %d\n%s", rec.Code, rec.Body)
	}
	for _, host := range []string{"a.b.piedpiper.localhost", "-x.piedpiper.localhost", "elsewhere.example"} {
		rec := httptest.NewRecorder()
		app.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "http://"+host+"/", nil))
		if rec.Code != http.StatusFound || rec.Header().Get("Location") != "http://piedpiper.localhost:8090/" {
			t.Errorf("%s: status %d to %q", host, rec.Code, rec.Header().Get("Location"))
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func mustPages(t *testing.T) pages {
	t.Helper()
	p, err := parsePages()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// signedInChat serves the chat app with a session at one label, whatever host it is used on.
func signedInChat(t *testing.T, s session) (*chat, *http.Cookie) {
	t.Helper()
	c, err := newChat(config{DataPlane: "http://{host}", BaseDomain: "localhost", Listen: ":8090", Audience: "https://api.test"}, http.DefaultClient, mustPages(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.Expires = time.Now().Add(time.Hour)
	return c, &http.Cookie{Name: sessionCookie, Value: c.cookies.seal(sessionCookie, s)}
}

func TestSessionOfOneTeamIsNobodyAtAnother(t *testing.T) {
	c, cookie := signedInChat(t, session{Label: "hooli", Issuer: "http://hooli.localhost", Tenant: "tnt_1", Subject: "uid_1", Name: "Gavin"})
	for label, want := range map[string]int{"hooli": http.StatusOK, "raviga": http.StatusSeeOther} {
		req := httptest.NewRequest(http.MethodGet, "/rooms/general", nil).WithContext(withTenantLabel(t.Context(), label))
		req.AddCookie(cookie)
		rec := httptest.NewRecorder()
		c.routes().ServeHTTP(rec, req)
		if rec.Code != want {
			t.Errorf("at %s: status %d, want %d", label, rec.Code, want)
		}
	}
}

func TestOnlyModeratorsOpenRooms(t *testing.T) {
	for role, want := range map[string]int{"moderator": http.StatusSeeOther, "admin": http.StatusSeeOther, "member": http.StatusForbidden} {
		c, cookie := signedInChat(t, session{Label: "hooli", Issuer: "i", Tenant: "t", Roles: []string{role}})
		rec := post(c.routes(), "x", "/rooms", url.Values{"name": {"plans"}}, func(r *http.Request) {
			r.AddCookie(cookie)
			*r = *r.WithContext(withTenantLabel(t.Context(), "hooli"))
		})
		if rec.Code != want {
			t.Errorf("%s: status %d, want %d", role, rec.Code, want)
		}
	}
}

func TestRoomsAreIsolatedAndBounded(t *testing.T) {
	h := newHub()
	hooli, raviga := team{"http://hooli", "tnt_1"}, team{"http://raviga", "tnt_2"}
	if err := h.post(hooli, "general", message{Text: "secret plan"}); err != nil {
		t.Fatal(err)
	}
	if got, err := h.messages(raviga, "general"); err != nil || len(got) != 0 {
		t.Fatalf("raviga reads %v, %v", got, err)
	}
	if err := h.create(hooli, "plans"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.messages(raviga, "plans"); !errors.Is(err, errNoRoom) {
		t.Fatalf("raviga sees hooli's room: %v", err)
	}
	for i := range maxMessages + 5 {
		if err := h.post(hooli, "general", message{Text: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := h.messages(hooli, "general")
	if len(got) != maxMessages || got[len(got)-1].Text != fmt.Sprint(maxMessages+4) {
		t.Fatalf("kept %d, last %q", len(got), got[len(got)-1].Text)
	}
	for _, text := range []string{"", strings.Repeat("x", maxText+1), "a\xff"} {
		if h.post(hooli, "general", message{Text: text}) == nil {
			t.Errorf("took a message of %d bytes", len(text))
		}
	}
	for i := 0; len(h.list(hooli)) < maxRooms; i++ {
		if err := h.create(hooli, fmt.Sprintf("room-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if h.create(hooli, "one-more") == nil {
		t.Error("no bound on rooms")
	}
}

func TestSlowReaderIsCutOffNotWaitedFor(t *testing.T) {
	h, team := newHub(), team{"i", "t"}
	feed, stop, err := h.subscribe(team, "general")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	var done sync.WaitGroup
	done.Go(func() {
		for range cap(feed) + 2 {
			_ = h.post(team, "general", message{Text: "x"})
		}
	})
	done.Wait()
	n := 0
	for range feed {
		n++
	}
	if n != cap(feed) {
		t.Fatalf("got %d messages before the end, want %d", n, cap(feed))
	}
}

func TestConfigNamesWhatIsMissing(t *testing.T) {
	_, err := configFromEnv(func(string) string { return "" })
	for _, want := range []string{"TENANTRY_API_KEY", "PIEDPIPER_CHAT_CLIENT_ID"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestSealedCookieOpensOnlyUnderItsName(t *testing.T) {
	s, err := newSealer()
	if err != nil {
		t.Fatal(err)
	}
	sealed := s.seal("a", session{Name: "Gavin"})
	var got session
	if err := s.open("a", sealed, &got); err != nil || got.Name != "Gavin" {
		t.Fatalf("%v %v", got, err)
	}
	if s.open("b", sealed, &got) == nil {
		t.Error("opened under another name")
	}
}
