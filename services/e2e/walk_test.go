// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// sampleApps runs the sign-up portal and the chat app as `make run` does, for an org, and returns the port.
func sampleApps(t *testing.T, rig *e2etest.Rig, org *e2etest.Org) int {
	t.Helper()
	port := e2etest.FreePort(t)
	org.ShareChat(t, port)
	key := rig.Mint(t, rig.PlatformKey, org.Name, map[string]any{"displayName": "portal", "role": "tenantCreator"})
	cmd := exec.Command(filepath.Join(e2etest.Binaries(t), "piedpiper"))
	cmd.Stdout, cmd.Stderr = rig.Log, rig.Log
	cmd.Env = append(os.Environ(),
		"TENANTRY_REST="+rig.REST, "TENANTRY_API_KEY="+key, "PIEDPIPER_ORG="+org.Name, "PIEDPIPER_BLUEPRINT="+org.Blueprint, "PIEDPIPER_CHAT_CLIENT_ID="+org.Chat,
		"PIEDPIPER_AUDIENCE="+org.Audience(),
		fmt.Sprintf("TENANTRY_DATA_PLANE=http://{host}:%d", rig.Port), "PIEDPIPER_BASE_DOMAIN="+org.Slug+".localhost", fmt.Sprintf("PIEDPIPER_LISTEN=127.0.0.1:%d", port),
	)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the sample apps ended with %v", err)
		}
	})
	e2etest.Eventually(t, e2eWait, "the sample apps answer", func() bool {
		res, err := e2etest.HTTPClient().Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil
	})
	return port
}

// step is something that a person does in the browser.
type step = chromedp.Action[chromedp.Void]

// into keeps what an action has found.
func into[T any](v *T, a chromedp.Action[T]) step {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		got, err := a(ctx, t)
		*v = got
		return chromedp.Void{}, err
	}
}

// steps runs what a person does and fails with what the person sees instead.
func steps(t *testing.T, ctx context.Context, what string, actions ...step) { //nolint:revive // t first, as everywhere here
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	if err := chromedp.Do(limited, actions...); err != nil {
		location, _ := chromedp.Run(ctx, chromedp.Location())
		text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("document.body ? document.body.innerText : ''"))
		t.Fatalf("%s: %v\nat %s the person sees:\n%s", what, err, location, text)
	}
}

// linkTo is an XPath of a link or button by what it says.
func linkTo(text string) string {
	return fmt.Sprintf(`//*[self::a or self::button][normalize-space()=%q]`, text)
}

// heading waits for a page by its heading.
func heading(text string) step {
	return chromedp.WaitVisible(fmt.Sprintf(`//h1[normalize-space()=%q]`, text))
}

// TestANewcomerSignsUpHooliAndChats is the walk of the README in a real browser.
func TestANewcomerSignsUpHooliAndChats(t *testing.T) {
	t.Parallel()
	rig := system.Rig(t)
	org := rig.NewOrg(t, "newcomer")
	port := sampleApps(t, rig, org)
	ctx := e2etest.Chrome(t)
	portal := fmt.Sprintf("http://piedpiper.%s.localhost:%d/", org.Slug, port)
	who := e2etest.NewPerson()

	type company struct{ name, label, issuer, tenant, key string }
	signUp := func(name, label string) *company {
		c := &company{name: name, label: label}
		steps(t, ctx, "sign up "+name,
			chromedp.Navigate(portal), chromedp.WaitVisible("#company"),
			chromedp.SendKeys("#company", name),
			chromedp.WaitVisible(`#label-state[data-state]`),
			into(&c.label, chromedp.Value("#label")),
			chromedp.SendKeys("#name", "Gavin Belson"), chromedp.SendKeys("#email", "gavin@"+label+".example"),
			chromedp.Click(linkTo("Create our chat")),
			heading(name+" is ready"),
			into(&c.issuer, chromedp.Text("#issuer")), into(&c.tenant, chromedp.Text("#tenant")), into(&c.key, chromedp.Text("#key")),
		)
		if c.label != label || c.issuer != rig.Base(label+"."+org.Slug+".localhost") || !strings.HasPrefix(c.key, "tnk_") {
			t.Fatalf("the details are %+v", c)
		}
		return c
	}
	register := func(c *company, said string) {
		steps(t, ctx, "register at "+c.name,
			chromedp.Click(linkTo("Open your chat")),
			heading("The chat of "+c.label),
			chromedp.Click(linkTo("Sign in")),
			heading("Sign in to "+c.name),
			chromedp.Click(linkTo("Create an account")),
			heading("Create your "+c.name+" account"),
			chromedp.SendKeys("#name", who.Name), chromedp.SendKeys("#email", who.Email), chromedp.SendKeys("#password", who.Password),
			chromedp.Click(linkTo("Create account")),
			chromedp.WaitVisible("#messages"),
			chromedp.SendKeys("#text", said), chromedp.Click(linkTo("Send")),
			chromedp.WaitVisible(fmt.Sprintf(`//ol[@id="messages"]//p[normalize-space()=%q]`, said)),
		)
	}

	hooli := signUp("Hooli", "hooli")
	register(hooli, "Nobody knows what it means, but it is provocative.")
	var roles string
	steps(t, ctx, "look at the own roles", into(&roles, chromedp.Text(".roles")))
	if roles != "member" {
		t.Errorf("who registers has the roles %q", roles)
	}
	raviga := signUp("Raviga", "raviga")
	register(raviga, "Another room of another company.")
	var page string
	steps(t, ctx, "read Raviga's room", into(&page, chromedp.Text("#messages")))
	if strings.Contains(page, "provocative") {
		t.Error("Raviga reads what Hooli said")
	}

	// The same e-mail at Raviga is somebody else.
	find := func(c *company) string {
		users := rig.API(t, c.key, http.MethodGet, "/v1/"+c.tenant+"/users", nil)
		for i := range e2etest.List(users, "users") {
			if e2etest.Str(users, "users", i, "emails", 0, "address") == who.Email {
				return e2etest.Str(users, "users", i, "uid")
			}
		}
		t.Fatalf("%s does not list %s: %v", c.name, who.Email, users)
		return ""
	}
	if atHooli, atRaviga := find(hooli), find(raviga); atHooli == atRaviga {
		t.Error("the same person has one account in two companies")
	}
	refused := rig.Do(t, e2etest.Call{Method: http.MethodGet, Path: "/v1/" + raviga.tenant + "/users", Key: hooli.key})
	nobody := rig.Do(t, e2etest.Call{Method: http.MethodGet, Path: "/v1/" + lookalikeID(raviga.tenant) + "/users", Key: hooli.key})
	if refused.Status != http.StatusNotFound || judge(refused) != judge(nobody) {
		t.Errorf("Raviga's users with Hooli's key: %d %s", refused.Status, refused.Body)
	}

	// Out again, and the chat asks who it is.
	steps(t, ctx, "sign out of Raviga",
		chromedp.Click(linkTo("Sign out")),
		heading("The chat of raviga"),
		chromedp.Click(linkTo("Sign in")),
		heading("Sign in to Raviga"),
		chromedp.SendKeys("#email", who.Email), chromedp.SendKeys("#password", who.Password),
		chromedp.Click(linkTo("Sign in")),
		chromedp.WaitVisible("#messages"),
	)
}

// TestTheInvitedOwnerChoosesAPasswordAndIsAdmin follows the mail that provisioning causes.
func TestTheInvitedOwnerChoosesAPasswordAndIsAdmin(t *testing.T) {
	t.Parallel()
	rig := system.Rig(t)
	tenant := rig.NewOrg(t, "invite").Provision(t, "hooli")
	link := invitationMail(t, rig, tenant)
	mails := rig.Mail.Mails(tenant.Owner)
	if len(mails) != 1 || !strings.Contains(mails[0].Text, "The hooli company") || !strings.Contains(mails[0].HTML, link) {
		t.Errorf("mails %+v", mails)
	}

	owner := e2etest.Person{Email: tenant.Owner, Password: "a long sentence for the owner", Name: "Owner"}
	b := e2etest.NewBrowser(t)
	b.Get(link).MustBe(http.StatusOK) // a mail scanner looks first, and uses nothing up
	p := b.Get(link).MustBe(http.StatusOK)
	f := p.Form("password")
	if f.Values.Get("email") != tenant.Owner || f.Types["email"] != "text" {
		t.Errorf("password managers do not learn whose password it is: %v", f.Values)
	}
	if again := f.Fill("password", "short").Submit(); again.Status != http.StatusUnprocessableEntity || !strings.Contains(again.Text(), "at least 12 characters") {
		t.Errorf("a short password: %v %s", again, again.Text())
	}
	done := b.Get(link).Form("password").Fill("password", owner.Password).Submit().MustBe(http.StatusOK)
	if done.URL.Path != "/account" {
		t.Errorf("the owner is at %v", done)
	}

	// Signed in already, and by the password in any other browser.
	tokens := tenant.RP(t, "web").Login(e2etest.NewBrowser(t), owner, nil)
	_, claims := e2etest.JWTClaims(t, tokens.AccessToken)
	if roles := e2etest.List(claims, "roles"); len(roles) == 0 || !contains(roles, "admin") {
		t.Errorf("the owner's roles are %v", roles)
	}
	if claims["iss"] != tenant.Issuer || claims["token_use"] != "user" || claims["env"] != "dev" || claims["tnt"] == nil || claims["org"] == nil {
		t.Errorf("claims %v", claims)
	}
	if info, err := tenant.RP(t, "web").UserInfo(tokens); err != nil || info["email_verified"] != true {
		t.Errorf("the address that the link was sent to is not verified: %v %v", info, err)
	}

	// The link works once.
	if p := e2etest.NewBrowser(t).Get(link); p.Status != http.StatusNotFound {
		t.Errorf("the link works twice: %v", p)
	}
}

func contains(list []any, want string) bool {
	for _, v := range list {
		if v == want {
			return true
		}
	}
	return false
}
