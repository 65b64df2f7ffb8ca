// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"google.golang.org/protobuf/proto"

	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
	"github.com/tenantry/tenantry/services/identity"
)

// stage is the service on a real port with a real Chromium in front of it. Set TENANTRY_SCREENSHOTS to a directory to see the pages,
// and TENANTRY_AXE to the path of axe.min.js (npm: axe-core) to have it judge them.
type stage struct {
	*rig
	ctx    context.Context
	port   string
	axe    string
	shots  string
	lock   sync.Mutex
	issues []string // what the console complained about
	got    url.Values
}

func newStage(t *testing.T) *stage {
	t.Helper()
	binary, err := exec.LookPath("chromium")
	if err != nil {
		if binary, err = exec.LookPath("google-chrome"); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal("no chromium")
			}
			t.Skip("no chromium")
		}
	}
	s := &stage{rig: newRig(t), shots: os.Getenv("TENANTRY_SCREENSHOTS")}
	if file := os.Getenv("TENANTRY_AXE"); file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s.axe = string(raw)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Host, "chat.localhost") {
			s.service.Handler().ServeHTTP(w, r)
			return
		}
		if r.URL.Path == "/cb" && r.ParseForm() == nil {
			s.lock.Lock()
			s.got = r.Form
			s.lock.Unlock()
		}
		fmt.Fprintf(w, "<!doctype html><title>chat</title><p id=done>%s at chat", r.Method)
	}))
	t.Cleanup(server.Close)
	s.port = server.URL[strings.LastIndexByte(server.URL, ':')+1:]

	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(binary), chromedp.NoSandbox, chromedp.Headless, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancel)
	s.ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	messages := chromedp.Console(s.ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if strings.Contains(m.Text, "status of 4") { // a form that is refused answers 422
				continue
			}
			if strings.Contains(m.Text, "Autofocus processing was blocked") { // the test was faster than the page: it had the focus already
				continue
			}
			s.lock.Lock()
			s.issues = append(s.issues, m.Text)
			s.lock.Unlock()
		}
	}()
	return s
}

// tenant is a development tenant at http://<slug>.localhost with the look that edit gives it.
func (s *stage) tenant(slug, name string, theme *snapshotv1.Theme) *site {
	s.t.Helper()
	org := s.tenants.Org("piedpiper-" + slug)
	site := &site{org: org, base: "http://" + slug + ".localhost:" + s.port}
	w := s.tenants.World
	site.Tenant = w.Tenant(s.t, org, slug, func(core *snapshotv1.TenantSnapshot) {
		site.core = core
		core.DisplayName, core.Type, core.Theme = name, snapshotv1.TenantType_TENANT_TYPE_DEVELOPMENT, theme
		core.Issuer, core.Hosts = site.base, []string{slug + ".localhost"}
		core.Overrides = &snapshotv1.Policy{Registration: &snapshotv1.RegistrationPolicy{Enabled: proto.Bool(true)}}
		callback := "http://chat.localhost:" + s.port + "/cb"
		for i, to := range []*string{&site.chat, &site.photos} {
			doc, _ := w.Client(func(c *snapshotv1.Client) {
				c.RedirectUris, c.DisplayName, c.FirstParty = []string{callback}, []string{"Chat", "Photos"}[i], i == 0
				if i == 1 {
					c.PolicyUri, c.TosUri = "https://photos.example/privacy", "https://photos.example/terms"
				}
			})
			core.Clients = append(core.Clients, doc)
			*to = dptest.ClientID(doc)
		}
	})
	s.tenants.byID[site.ID] = site.Tenant
	site.gavin = s.user(site, "gavin@hooli.example", "Gavin Belson")
	return site
}

func (s *stage) authorize(t *site, client string, extra ...string) string {
	extra = append([]string{"redirect_uri", "http://chat.localhost:" + s.port + "/cb"}, extra...)
	return t.authorizeURL(client, extra...)
}

// step does one thing in the browser; a failure says where it was.
func step[T any](s *stage, a chromedp.Action[T]) T {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 20*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	for try := 0; err != nil && strings.Contains(err.Error(), "navigated") && try < 3; try++ {
		v, err = chromedp.Run(ctx, a) // the page changed under the step
	}
	if err != nil {
		where, _ := chromedp.Run(s.ctx, chromedp.Location())
		text, _ := chromedp.Run(s.ctx, chromedp.Evaluate[string]("document.body.innerText"))
		s.t.Fatalf("%v at %s: %s (console: %v)", err, where, text, s.issues)
	}
	return v
}

func (s *stage) open(address, until string) {
	s.t.Helper()
	step(s, chromedp.Navigate(address))
	s.wait(until)
}

func (s *stage) wait(sel string) {
	s.t.Helper()
	step(s, chromedp.WaitVisible(chromedp.CSS(sel)))
}

func (s *stage) enter(values ...string) {
	s.t.Helper()
	for i := 0; i+1 < len(values); i += 2 {
		step(s, chromedp.SendKeys(chromedp.CSS(values[i]), values[i+1]))
	}
}

// click presses what leads to another page and waits for something on that: this one may have the like.
func (s *stage) click(sel, until string) {
	s.t.Helper()
	if until != "" {
		s.script("document.documentElement.dataset.left='yes'")
		until = "html:not([data-left]) " + until
	}
	step(s, chromedp.Click(chromedp.CSS(sel)))
	if until != "" {
		s.wait(until)
	}
}

func (s *stage) script(expression string) string {
	s.t.Helper()
	return step(s, chromedp.Evaluate[string](expression))
}

// size sets the window and the colour scheme.
func (s *stage) size(width, height int64, dark bool) {
	s.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	step(s, chromedp.EmulateViewport(width, height, chromedp.EmulateScale(1.5)))
	_, err := chromedp.Call(s.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) shot(name string) {
	s.t.Helper()
	if s.shots == "" {
		return
	}
	raw := step(s, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(s.shots, name+".png"), raw, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// judge fails for sideways scrolling, for an element without a name and for what axe finds.
func (s *stage) judge(what string) {
	s.t.Helper()
	width := step(s, chromedp.Evaluate[int]("document.documentElement.scrollWidth"))
	window := step(s, chromedp.Evaluate[int]("innerWidth"))
	if width > window {
		s.t.Errorf("%s scrolls sideways: %d in %d", what, width, window)
	}
	if s.axe == "" {
		return
	}
	s.script(s.axe + ";''")
	found := step(s, chromedp.Evaluate[string](`axe.run(document, {resultTypes: ["violations"]}).then(r =>
		JSON.stringify(r.violations.map(v => [v.id, v.nodes.map(n => n.html + " " + n.failureSummary)])))`, chromedp.EvalAwaitPromise))
	if found != "[]" {
		s.t.Errorf("%s: axe found %s", what, found)
	}
}

func (s *stage) quiet() {
	s.t.Helper()
	s.lock.Lock()
	defer s.lock.Unlock()
	if len(s.issues) > 0 {
		s.t.Errorf("the console complains: %q", s.issues)
	}
}

func TestInARealBrowser(t *testing.T) {
	s := newStage(t)
	hooli := s.tenant("hooli", "Hooli", nil)
	s.size(1280, 800, false)
	s.open(s.authorize(hooli, hooli.chat, "response_mode", "form_post"), "#email")
	s.enter("#email", "gavin@hooli.example", "#password", "not it")
	s.click(".reveal", "")
	if kind := s.script(`document.querySelector("#password").type`); kind != "text" {
		t.Errorf("the password stays hidden: type %q", kind)
	}
	s.click("button.primary", ".problem")
	focused, shown, title := s.script("document.activeElement.className"), s.script(`document.querySelector("#email").value`), s.script("document.title")
	if focused != "problem" || shown != "gavin@hooli.example" || title != "Error: Sign in - Hooli" {
		t.Errorf("focus %q, email %q, title %q", focused, shown, title)
	}
	s.enter("#password", password)
	s.click("button.primary", "#done")
	if how, got := s.script(`document.querySelector("#done").innerText`), s.sent(); how != "POST at chat" || got.Get("code") == "" || got.Get("iss") != hooli.Issuer {
		t.Errorf("%q with %v", how, got)
	}
	// The session is there, and a redirect by query needs no page.
	s.open(s.authorize(hooli, hooli.chat), "#done")
	if how, got := s.script(`document.querySelector("#done").innerText`), s.sent(); how != "GET at chat" || got.Get("code") == "" {
		t.Errorf("%q with %v", how, got)
	}
	// Consent and its refusal end at the client although the page's own policy is strict.
	s.open(s.authorize(hooli, hooli.photos), ".scopes")
	s.click("button[value=cancel]", "#done")
	if got := s.sent(); got.Get("error") != "access_denied" {
		t.Errorf("got %v", got)
	}
	s.open(hooli.base+"/account", "h1")
	if cookies := s.script("document.cookie"); cookies != "" {
		t.Errorf("scripts see %q", cookies)
	}
	s.click("button.quiet", "a.quiet")
	if heading := s.script(`document.querySelector("h1").innerText`); heading != "You are signed out" {
		t.Errorf("after logout: %q", heading)
	}
	s.quiet()
}

func (s *stage) sent() url.Values {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.got
}

// TestEveryPageInEveryShape is the matrix of the design: brand colours × schemes × directions × widths × with and without problems.
func TestEveryPageInEveryShape(t *testing.T) {
	if testing.Short() {
		t.Skip("a minute of a real browser")
	}
	s := newStage(t)
	for i, brand := range []string{"#3451b2", "#ffdd00", "#ffffff", "#000000", "#e11d48", "#0d9488"} {
		site := s.tenant(fmt.Sprintf("brand%d", i), "Hooli", &snapshotv1.Theme{Brand: proto.String(brand)})
		for _, dark := range []bool{false, true} {
			for _, width := range []int64{320, 1280} {
				s.size(width, 800, dark)
				for _, problems := range []bool{false, true} {
					s.open(s.authorize(site, site.chat), "#email")
					if problems {
						s.click("button.primary", ".problem")
					}
					for _, dir := range []string{"ltr", "rtl"} {
						s.script(`document.documentElement.dir="` + dir + `"`)
						s.judge(fmt.Sprintf("%s dark=%v %d problems=%v %s", brand, dark, width, problems, dir))
					}
				}
			}
		}
	}
	s.quiet()
}

// wordmark is a logo as tenants have them.
func wordmark(t *testing.T) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, 240, 64))
	for y := range 64 {
		for x := range 240 {
			if d := (x-32)*(x-32) + (y-32)*(y-32); d < 900 && d > 300 || x > 80 && y > 20 && y < 44 && x%28 < 20 {
				img.Set(x, y, color.NRGBA{R: 0x1d, G: 0x6f, B: 0x42, A: 0xff})
			}
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestPagesAreWithinTheirBudget loads what a browser loads and adds it up: 30 KB, four requests, nothing from elsewhere.
func TestPagesAreWithinTheirBudget(t *testing.T) {
	s := newStage(t)
	logo := &snapshotv1.Logo{MediaType: "image/png", Data: wordmark(t), Alt: "Hooli"}
	hooli := s.tenant("hooli", "Hooli", &snapshotv1.Theme{Brand: proto.String("#1d6f42"), Background: proto.String("#dcefe3"), Logo: logo})
	s.size(1280, 800, false)
	s.open(s.authorize(hooli, hooli.chat), "#email")
	raw := s.script(`JSON.stringify(performance.getEntriesByType("resource").concat(performance.getEntriesByType("navigation"))
		.map(e => ({name: e.name, size: e.decodedBodySize})))`)
	var loaded []struct {
		Name string
		Size int
	}
	if err := json.Unmarshal([]byte(raw), &loaded); err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, l := range loaded {
		t.Logf("%6d %s", l.Size, strings.SplitN(l.Name, "?", 2)[0])
		sum += l.Size
		if !strings.HasPrefix(l.Name, hooli.base) && !strings.HasPrefix(l.Name, "data:") {
			t.Errorf("loads %s", l.Name)
		}
		if strings.Contains(l.Name, "/login") && l.Size > 6<<10 {
			t.Errorf("the page has %d bytes", l.Size)
		}
	}
	if sum > 30<<10 || len(loaded) > 5 { // the icon is in the page, and counts as an entry in some versions
		t.Errorf("%d bytes in %d requests", sum, len(loaded))
	}
	s.quiet()
}

// TestScreenshots makes a picture of every page for people to look at.
func TestScreenshots(t *testing.T) {
	if os.Getenv("TENANTRY_SCREENSHOTS") == "" {
		t.Skip("TENANTRY_SCREENSHOTS is not set")
	}
	s := newStage(t)
	plain := s.tenant("hooli", "Hooli", nil)
	green := s.tenant("aviato", "Aviato", &snapshotv1.Theme{
		Brand: proto.String("#1d6f42"), Background: proto.String("#123d2a"),
		Logo: &snapshotv1.Logo{MediaType: "image/png", Data: wordmark(t), Alt: "Aviato"},
	})
	yellow := s.tenant("bachmanity", "Bachmanity", &snapshotv1.Theme{
		Brand: proto.String("#ffdd00"), Background: proto.String("#fff7cc"), Radius: proto.Uint32(0), Font: proto.String("serif"),
	})
	shapes := []struct {
		name   string
		width  int64
		height int64
		dark   bool
	}{{"light", 1280, 800, false}, {"dark", 1280, 800, true}, {"phone", 320, 640, false}, {"phone-dark", 390, 800, true}}
	for _, shape := range shapes {
		s.size(shape.width, shape.height, shape.dark)
		take := func(name string) {
			s.judge(name + " " + shape.name)
			s.shot(name + "-" + shape.name)
		}
		for name, site := range map[string]*site{"hooli": plain, "aviato": green, "bachmanity": yellow} {
			s.open(s.authorize(site, site.chat), "#email")
			take("login-" + name)
		}
		s.open(s.authorize(plain, plain.chat), "#email")
		s.enter("#email", "gavin@hooli.example", "#password", "wrong")
		s.click("button.primary", ".problem")
		take("login-problem")
		s.open(s.authorize(plain, plain.chat, "prompt", "create", "ui_locales", "de"), "#name")
		take("register-german")
		s.enter("#email", "x@hooli.example", "#password", "password")
		s.click("button.primary", ".problem")
		take("register-problem")
		s.open(s.authorize(plain, plain.photos, "prompt", "login", "scope", "openid profile email offline_access roles"), "#email")
		s.enter("#email", "gavin@hooli.example", "#password", password)
		s.click("button.primary", ".scopes")
		take("consent")
		s.open(plain.base+"/account", "h1")
		take("account")
		s.open(plain.base+"/oauth2/logout", "h1")
		take("logout")
		s.click("button.primary", "a.quiet")
		take("logged-out")
		s.open(s.authorize(plain, plain.chat, "redirect_uri", "https://evil.example/"), "pre")
		take("broken-link")
		s.open(plain.base+"/nothing", "h1")
		take("missing")
		s.open(plain.base+"/invite/"+s.invite(plain, shape.name+"@hooli.example", "Dinesh Chugtai"), "#name")
		take("invite")
	}
	s.mailPicture(plain)
}

// invite makes an invitation and gives its link's token.
func (r *rig) invite(s *site, email, name string) string {
	r.t.Helper()
	i := r.invitation(s, email, name)
	_, token, err := r.identity.IssueInvitationToken(context.Background(), ref(s.Tenant), i, r.clock())
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

func (s *stage) mailPicture(t *site) {
	m, err := newMailer(MailConfig{From: "no-reply@ppvc.example"}, s.tenants, s.identity, s.service.log, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := m.invitationLetter(t.Tenant, identity.Invitation{Email: "dinesh@hooli.example", Name: "Dinesh", ExpireTime: s.clock().Add(7 * 24 * time.Hour)}, strings.Repeat("x", 64))
	if err != nil {
		s.t.Fatal(err)
	}
	s.size(600, 700, false)
	s.open("data:text/html,"+url.PathEscape(l.HTML), "a")
	s.shot("mail")
}
