// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

// hearing is a client's server that is told of logouts.
type hearing struct {
	*httptest.Server
	status atomic.Int32
	tokens chan string
}

func newHearing(t *testing.T) (*hearing, *outbound.Client) {
	t.Helper()
	h := &hearing{tokens: make(chan string, 16)}
	h.status.Store(http.StatusOK)
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		form, ferr := url.ParseQuery(string(body))
		if err != nil || ferr != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
			t.Errorf("%s %s %v %v", r.Method, r.Header.Get("Content-Type"), err, ferr)
		}
		h.tokens <- form.Get("logout_token")
		w.WriteHeader(int(h.status.Load()))
	}))
	t.Cleanup(h.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := outbound.New(outbound.Config{AllowNetworks: []string{"127.0.0.0/8"}, CAFile: daemon.Path(ca)}, outbound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return h, client
}

func (h *hearing) token(t *testing.T) string {
	t.Helper()
	select {
	case token := <-h.tokens:
		return token
	case <-time.After(20 * time.Second):
		t.Fatal("the client was not told")
		return ""
	}
}

// tellChat gives the chat client logout addresses.
func (r *rig) tellChat(back, front string) {
	r.serve(r.hooli, func(core *snapshotv1.TenantSnapshot) {
		core.Clients[0].Protocol = &snapshotv1.ClientProtocol{
			BackchannelLogoutUri: back, BackchannelLogoutSessionRequired: back != "", FrontchannelLogoutUri: front,
		}
	})
}

func TestBackchannelLogout(t *testing.T) {
	h, client := newHearing(t)
	r := newRig(t, func(p *parts) { p.outbound = client })
	r.tellChat(h.URL+"/backchannel_logout", "")
	r.service.Start()
	t.Cleanup(func() { r.service.Stop(context.Background()) })

	b := r.browser()
	rec := b.code(b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat)), "gavin@hooli.example"), r.hooli, chatCallback)
	b.get(r.hooli.base + "/oauth2/logout?" + url.Values{"id_token_hint": {r.idToken(r.hooli, r.hooli.chat, rec.User, rec.Session, r.clock())}}.Encode())
	token := h.token(t)

	payload, header, err := r.hooli.Keys.Set().Verify(token, jose.VerifyOptions{Algorithms: []jose.Algorithm{jose.ES256}, Typ: []string{"logout+jwt"}})
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	if claims["iss"] != r.hooli.Issuer || claims["aud"] != r.hooli.chat || claims["sub"] != rec.User.String() || claims["sid"] != rec.Session.String() ||
		claims["tnt"] != r.hooli.ID.String() || claims["jti"] == "" || claims["iat"] == nil || claims["exp"] == nil {
		t.Errorf("header %v claims %s", header, payload)
	}
	if events, ok := claims["events"].(map[string]any); !ok || len(events) != 1 || events["http://schemas.openid.net/event/backchannel-logout"] == nil {
		t.Errorf("events %v", claims["events"])
	}
	if _, ok := claims["nonce"]; ok {
		t.Error("a logout token with a nonce could pass for an ID token")
	}
}

// TestBackchannelLogoutOutcomes: what an answer of the client means for the job.
func TestBackchannelLogoutOutcomes(t *testing.T) {
	h, client := newHearing(t)
	strict, err := outbound.New(outbound.Config{}, outbound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(strict.Close)
	r := newRig(t)
	args := identity.BackchannelLogout{
		TenantRef: ref(r.hooli.Tenant), Session: id.NewSession(), User: r.hooli.gavin.ID, Message: id.NewEvent(), Time: r.clock(),
	}
	if args.Client, err = id.ParseClient(r.hooli.chat); err != nil {
		t.Fatal(err)
	}
	work := func(out *outbound.Client, edit func(*identity.BackchannelLogout)) (*backchannel, error) {
		b := &backchannel{tenants: r.tenants, signer: r.service.signer, outbound: out, log: r.service.log, now: r.clock}
		a := args
		if edit != nil {
			edit(&a)
		}
		return b, b.work(context.Background(), a, r.clock())
	}
	canceled := func(err error) bool { var c *river.JobCancelError; return errors.As(err, &c) }
	snoozed := func(err error) bool { var c *river.JobSnoozeError; return errors.As(err, &c) }

	if _, err := work(client, nil); err != nil {
		t.Errorf("a client that does not want to be told: %v", err)
	}
	r.tellChat(h.URL, "")
	for status, again := range map[int]bool{200: false, 204: false, 400: false, 501: true, 503: true, 429: true, 404: false} {
		h.status.Store(int32(status))
		_, err := work(client, nil)
		<-h.tokens
		switch {
		case status < 300 && err != nil, again && (err == nil || canceled(err)), !again && status >= 300 && !canceled(err):
			t.Errorf("status %d: %v", status, err)
		}
	}
	if _, err := work(strict, nil); !canceled(err) {
		t.Errorf("server-side request forgery to a private address: %v", err)
	}
	if _, err := work(client, func(a *identity.BackchannelLogout) { a.Tenant = id.NewTenant() }); !snoozed(err) {
		t.Errorf("a tenant that is not served: %v", err)
	}
	r.tellChat("https://127.0.0.1:1/", "")
	b, err := work(client, nil)
	if err == nil || canceled(err) || snoozed(err) {
		t.Errorf("a host that is away: %v", err)
	}
	if err := b.work(context.Background(), args, r.clock()); !snoozed(err) {
		t.Errorf("a host that was away a moment ago keeps a worker: %v", err)
	}
	if !canceled(b.work(context.Background(), args, r.clock().Add(-7*time.Hour))) {
		t.Error("an old logout waits for ever")
	}
	if len(h.tokens) != 0 {
		t.Error("told by the way")
	}
}

func TestFrontchannelLogout(t *testing.T) {
	r := newRig(t)
	r.tellChat("", "https://chat.example:8443/out?app=1")
	for _, method := range []string{"GET", "POST"} {
		b := r.browser()
		rec := b.code(b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat)), "gavin@hooli.example"), r.hooli, chatCallback)
		var p *page
		want := goodbye + "?state=xyz"
		if method == "GET" {
			p = b.get(r.hooli.base + "/oauth2/logout?" + url.Values{
				"id_token_hint": {r.idToken(r.hooli, r.hooli.chat, rec.User, rec.Session, r.clock())}, "post_logout_redirect_uri": {goodbye}, "state": {"xyz"},
			}.Encode())
		} else {
			p = b.submit(b.get(r.hooli.base + "/oauth2/logout"))
			want = "/oauth2/logout"
		}
		p.shows(200, "You are signed out")
		src := "https://chat.example:8443/out?app=1&amp;" + strings.ReplaceAll(url.Values{"iss": {r.hooli.Issuer}, "sid": {rec.Session.String()}}.Encode(), "&", "&amp;")
		if !strings.Contains(p.body, `<iframe src="`+src+`"`) || strings.Count(p.body, "<iframe") != 1 {
			t.Errorf("%s: no frame %s in %s", method, src, p.body)
		}
		if csp := p.header.Get("Content-Security-Policy"); !strings.Contains(csp, "; frame-src https://chat.example:8443;") {
			t.Error(csp)
		}
		if !strings.Contains(p.body, `href="`+want+`"`) || p.header.Get("Refresh") != "4; url="+want {
			t.Errorf("%s: goes on to %q: %s", method, p.header.Get("Refresh"), p.body)
		}
		if b.answered(b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "none")), chatCallback).Get("error") != "login_required" {
			t.Error("still signed in")
		}
		// Once more there is nothing to load.
		if again := b.get(r.hooli.base + "/oauth2/logout"); strings.Contains(again.body, "<iframe") {
			t.Error("frames without a session")
		}
	}
	// A client that the session is not known to is not told of it.
	b := r.browser()
	b.signIn(b.get(r.hooli.authorizeURL(r.hooli.starter)), "gavin@hooli.example")
	if p := b.submit(b.get(r.hooli.base + "/oauth2/logout")); strings.Contains(p.body, "<iframe") {
		t.Error("a client that never saw the session is told of it")
	}
}

func TestSessionManagement(t *testing.T) {
	r := newRig(t)
	cookies := func(p *page) string { return strings.Join(p.header["Set-Cookie"], "\n") }
	b := r.browser()
	first := b.answered(b.signIn(b.get(r.hooli.authorizeURL(r.hooli.chat)), "gavin@hooli.example"), chatCallback)
	if first.Get("session_state") != "" {
		t.Error("session_state without the policy")
	}
	b.get(r.hooli.base + "/oauth2/check_session").shows(404)

	r.serve(r.hooli, func(core *snapshotv1.TenantSnapshot) {
		if core.Overrides.Oauth == nil {
			core.Overrides.Oauth = &snapshotv1.OAuthPolicy{}
		}
		on := true
		core.Overrides.Oauth.SessionManagement = &on
	})
	p := b.get(r.hooli.base + "/oauth2/check_session").shows(200)
	csp := p.header.Get("Content-Security-Policy")
	if p.header.Get("X-Frame-Options") != "" || !strings.Contains(csp, "frame-ancestors *") || !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("%s %s", p.header.Get("X-Frame-Options"), csp)
	}
	if !strings.Contains(p.body, `data-cookie="__Host-tnt_state"`) {
		t.Error(p.body)
	}
	answer := b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "none"))
	cookie := cookies(answer)
	if !strings.Contains(cookie, "__Host-tnt_state=") || !strings.Contains(cookie, "SameSite=None") || !strings.Contains(cookie, "Secure") || strings.Contains(cookie, "HttpOnly") {
		t.Error(cookie)
	}
	state, salt, ok := strings.Cut(b.answered(answer, chatCallback).Get("session_state"), ".")
	value, _, _ := strings.Cut(strings.TrimPrefix(cookie, "__Host-tnt_state="), ";")
	if raw, err := base64.RawURLEncoding.DecodeString(value); err != nil || len(raw) != 18 {
		t.Errorf("%q %v", value, err)
	}
	if !ok || state != sessionStateHash(r.hooli.chat, "https://chat.example", value, salt) {
		t.Errorf("session_state %s.%s", state, salt)
	}
	// The cookie stays as long as the session does, and goes with it.
	if again := b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "none")); cookies(again) != "" {
		t.Error(cookies(again))
	}
	if gone := b.submit(b.get(r.hooli.base + "/oauth2/logout")); gone.status != 200 {
		t.Error(gone.status)
	}
	after := b.answered(b.get(r.hooli.authorizeURL(r.hooli.chat, "prompt", "none")), chatCallback)
	if after.Get("error") != "login_required" {
		t.Error(after)
	}
	u, _ := url.Parse(r.hooli.base)
	for _, c := range b.client.Jar.Cookies(u) {
		if c.Name == "__Host-tnt_state" {
			t.Error("the cookie outlives the session")
		}
	}
}

func TestOrigins(t *testing.T) {
	for address, want := range map[string]string{
		"https://chat.example/cb": "https://chat.example", "https://chat.example:443/cb": "https://chat.example", "https://[::1]:8443/": "https://[::1]:8443",
		"http://localhost:80/cb": "http://localhost", "com.example.app:/cb": "", "https://chat.example:8443": "https://chat.example:8443", "%": "",
	} {
		if got := originOf(address); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

// The snapshot refuses such addresses already; the page's policy does not rely on it.
func TestPolicyInjectionByAHost(t *testing.T) {
	for host, fits := range map[string]bool{
		"chat.example": true, "chat.example:8443": true, "[::1]:8443": true, "xn--bcher-kva.example": true, "a;script-src": false, "a,b": false, "a'b": false, "a*b": false,
	} {
		if strings.ContainsFunc(host, notInHost) == fits {
			t.Errorf("%s: %v", host, !fits)
		}
	}
}
