// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// audit looks at a page in the browser and returns what is wrong with it: names of things, contrast, sizes, sideways scrolling.
//
//go:embed audit.js
var audit string

// shown is a page of the product with the way to it.
type shown struct {
	name string
	at   func(ctx context.Context) []step
}

// call is a command of the protocol that chromedp has no action for.
func call[P any](command cdp.Command[P, cdp.Empty], params P) step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

// TestPagesAreReadableByEverybody looks at every page with brand colours at the edges of what is possible, light and dark, on a
// phone's 320 px and on a desk, with and without errors (UX.md 5 and 6).
func TestPagesAreReadableByEverybody(t *testing.T) {
	t.Parallel()
	rig := system.Rig(t)
	org := rig.NewOrg(t, "pages")
	for _, brand := range []string{"#0b6e4f", "#ffdd00", "#ffffff", "#808080"} {
		t.Run(brand, func(t *testing.T) {
			t.Parallel()
			request := org.ProvisionRequest("b" + brand[1:])
			request["parameters"] = map[string]any{"brandColor": brand}
			tenant := org.ProvisionWith(t, request)
			auditPages(t, rig, tenant)
		})
	}
}

func auditPages(t *testing.T, rig *e2etest.Rig, tenant *e2etest.Tenant) {
	ctx := e2etest.Chrome(t)
	who := e2etest.NewPerson()
	third := tenant.RP(t, "third")
	invite := invitationMail(t, rig, tenant)
	tenant.RP(t, "web").Register(e2etest.NewBrowser(t), who, nil)
	start := third.Begin(nil).URL
	goTo := func(address string) []step { return []step{chromedp.Navigate(address), chromedp.WaitReady("main, h1")} }
	then := func(before []step, more ...step) []step { return append(before, more...) }
	submit := chromedp.Click("main form button.primary")
	pages := []shown{
		{"login", func(context.Context) []step { return goTo(start) }},
		{"login with an empty form", func(context.Context) []step {
			return then(goTo(start), submit, chromedp.WaitVisible(".problem"))
		}},
		{"login with wrong credentials", func(context.Context) []step {
			return then(goTo(start), chromedp.SendKeys("#email", who.Email), chromedp.SendKeys("#password", "not this one"), submit, chromedp.WaitVisible(".problem"))
		}},
		{"register", func(context.Context) []step {
			return then(goTo(start), chromedp.Click(linkTo("Create an account")), chromedp.WaitVisible("#name"))
		}},
		{"register with errors", func(context.Context) []step {
			return then(goTo(tenant.Issuer+"/oauth2/register"), chromedp.SendKeys("#email", "nobody"), chromedp.SendKeys("#password", "short"), submit, chromedp.WaitVisible(".problem"))
		}},
		{"invitation", func(context.Context) []step { return goTo(invite) }},
		{"invitation that does not work", func(context.Context) []step { return goTo(tenant.Issuer + "/invite/nothing") }},
		{"app misconfigured", func(context.Context) []step { return goTo(tenant.Issuer + "/oauth2/authorize?client_id=nobody") }},
		{"nothing at this path", func(context.Context) []step { return goTo(tenant.Issuer + "/nothing") }},
		{"unknown host", func(context.Context) []step { return goTo(rig.Base("nobody.localhost")) }},
		{"consent", func(context.Context) []step {
			return then(goTo(start), chromedp.SendKeys("#email", who.Email), chromedp.SendKeys("#password", who.Password), submit, chromedp.WaitVisible(".scopes"))
		}},
		{"account", func(context.Context) []step { return goTo(tenant.Issuer + "/account") }},
		{"logout", func(context.Context) []step { return goTo(tenant.Issuer + "/oauth2/logout") }},
		{"logged out", func(context.Context) []step {
			return then(goTo(tenant.Issuer+"/oauth2/logout"), submit, chromedp.WaitNotPresent("form"), chromedp.WaitReady("main h1"))
		}},
	}
	for _, p := range pages {
		steps(t, ctx, "go to "+p.name, p.at(ctx)...)
		for _, dark := range []bool{false, true} {
			for _, width := range []int64{320, 1280} {
				scheme := "light"
				if dark {
					scheme = "dark"
				}
				var problems []string
				steps(t, ctx, "audit "+p.name,
					call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 800, DeviceScaleFactor: 1, Mobile: width == 320}),
					call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}),
					into(&problems, chromedp.Evaluate[[]string](audit)),
				)
				for _, problem := range problems {
					t.Errorf("%s, %s, %d px: %s", p.name, scheme, width, problem)
				}
			}
		}
	}
}

// TestAPersonSignsInWithTheKeyboardAlone uses no pointer, and a browser whose scripts are off.
func TestAPersonSignsInWithTheKeyboardAlone(t *testing.T) {
	t.Parallel()
	rig := system.Rig(t)
	tenant := rig.NewOrg(t, "keyboard").Provision(t, "hooli")
	who := e2etest.NewPerson()
	ctx := e2etest.Chrome(t)
	focused := func() (id string) {
		steps(t, ctx, "look at the focus", into(&id, chromedp.Evaluate[string]("document.activeElement ? (document.activeElement.id || document.activeElement.tagName) : ''")))
		return id
	}
	press := func(keys string) {
		steps(t, ctx, "press keys", chromedp.KeyEvent(keys))
	}
	steps(t, ctx, "turn scripts off", call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	steps(t, ctx, "open the page", chromedp.Navigate(tenant.Issuer+"/oauth2/register"), chromedp.WaitVisible("#email"))

	// Tab until the field has the focus: it must come, in the order of the page.
	to := func(id string) {
		t.Helper()
		for range 12 {
			if focused() == id {
				return
			}
			press(kb.Tab)
		}
		t.Fatalf("Tab never comes to #%s", id)
	}
	to("name")
	press(who.Name)
	to("email")
	press("nobody")
	to("password")
	press(who.Password)
	press(kb.Enter)
	steps(t, ctx, "see the error", chromedp.WaitVisible(".problem"))
	if id := focused(); id != "DIV" {
		t.Errorf("the summary of errors has not the focus, but %s", id)
	}
	press(kb.Tab)
	press(kb.Enter) // the summary's link leads into the field
	to("email")
	press(who.Email) // in front of or behind what was kept; so begin again
	steps(t, ctx, "begin again", chromedp.Navigate(tenant.Issuer+"/oauth2/register"), chromedp.WaitVisible("#email"))
	to("name")
	press(who.Name)
	to("email")
	press(who.Email)
	to("password")
	press(who.Password)
	press(kb.Enter)
	steps(t, ctx, "be signed in", heading("You are signed in"))

	steps(t, ctx, "go to sign out", chromedp.Navigate(tenant.Issuer+"/oauth2/logout"), chromedp.WaitVisible("form button"))
	for range 12 {
		if focused() == "BUTTON" {
			break
		}
		press(kb.Tab)
	}
	press(kb.Enter)
	steps(t, ctx, "be signed out", heading("You are signed out"))
	steps(t, ctx, "open the login page", chromedp.Navigate(tenant.Issuer+"/login"), chromedp.WaitVisible("#email"))
	if id := focused(); id != "email" {
		t.Errorf("the login page begins at %s", id)
	}
	press(who.Email + kb.Tab + who.Password + kb.Enter)
	steps(t, ctx, "be signed in again", heading("You are signed in"))
}

// TestPagesAreSmallAndStrict weighs the login page and reads its headers (UX.md 5: budgets; TOOLCHAIN.md: policies).
func TestPagesAreSmallAndStrict(t *testing.T) {
	t.Parallel()
	tenant := system.Rig(t).NewOrg(t, "budget").Provision(t, "hooli")
	b := e2etest.NewBrowser(t)
	p := b.Get(tenant.RP(t, "web").Begin(nil).URL).MustBe(http.StatusOK)
	total := len(p.Body)
	if total > 6<<10 {
		t.Errorf("the page has %d bytes, 6 KiB is the budget", total)
	}
	var parts []string
	for _, e := range []struct {
		element, attribute string
		most               int
	}{{"link", "href", 10 << 10}, {"script", "src", 4 << 10}, {"img", "src", 10 << 10}} {
		for _, n := range p.Elements(e.element) {
			address, ok := e2etest.Attr(n, e.attribute)
			if !ok || strings.HasPrefix(address, "data:") {
				continue
			}
			u, err := p.URL.Parse(address)
			if err != nil || u.Host != p.URL.Host {
				t.Errorf("%s %s is of a third party", e.element, address)
				continue
			}
			part := b.Get(u.String()).MustBe(http.StatusOK)
			parts = append(parts, u.Path)
			total += len(part.Body)
			if len(part.Body) > e.most {
				t.Errorf("%s has %d bytes, %d is the budget", u.Path, len(part.Body), e.most)
			}
			if cache := part.Header.Get("Cache-Control"); !strings.Contains(cache, "immutable") {
				t.Errorf("%s: Cache-Control %q", u.Path, cache)
			}
		}
	}
	if total > 30<<10 || len(parts) > 4 {
		t.Errorf("%d bytes in %d requests besides the page (%q); 30 KiB and 4 are the budget", total, len(parts), parts)
	}
	policy := p.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy lacks %s: %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe-") || strings.Contains(policy, "*") {
		t.Errorf("the policy is open: %s", policy)
	}
	for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"} {
		if got := p.Header.Get(name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	for _, c := range p.Header.Values("Set-Cookie") {
		if !strings.Contains(c, "HttpOnly") || !strings.Contains(c, "SameSite=Lax") || !strings.Contains(c, "Path=/") || strings.Contains(c, "Domain") {
			t.Errorf("cookie %s", c)
		}
	}
}

// TestWhoHasAnAccountIsNotTold compares the answers for an unknown address and a wrong password.
func TestWhoHasAnAccountIsNotTold(t *testing.T) {
	t.Parallel()
	tenant := system.Rig(t).NewOrg(t, "enum").Provision(t, "hooli")
	who := e2etest.NewPerson()
	tenant.RP(t, "web").Register(e2etest.NewBrowser(t), who, nil)
	try := func(email string) string {
		p := e2etest.NewBrowser(t).Get(tenant.Issuer+"/login").Form("password").Fill("email", email).Fill("password", "not the password").Submit()
		return fmt.Sprint(p.Status) + volatile.ReplaceAllString(strings.ReplaceAll(strings.ReplaceAll(string(p.Body), url.QueryEscape(email), "·"), email, "·"), "·")
	}
	if known, unknown := try(who.Email), try("nobody-"+who.Email); known != unknown {
		t.Errorf("known:\n%s\nunknown:\n%s", known, unknown)
	}
}
