// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"bytes"
	"context"
	"errors"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/localserver"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/dataplane/token"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/dbtest"
)

const (
	chatCallback   = "https://chat.example/cb"
	photosCallback = "https://photos.example/cb?kept=1"
	goodbye        = "https://chat.example/bye"
	challenge      = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" // RFC 7636 appendix B
	password       = "correct horse 47 battery"
)

var errAway = errors.New("dial tcp: connection refused")

// faulty is the real user store, which can be away.
type faulty struct {
	*identity.Store
	mu   sync.Mutex
	away error
	busy bool
}

func (f *faulty) set(away error, busy bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.away, f.busy = away, busy
}

func (f *faulty) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.away
}

func (f *faulty) Authenticate(ctx context.Context, ref identity.TenantRef, op identity.Op, email, password string) (identity.User, error) {
	if err := f.err(); err != nil {
		return identity.User{}, err
	}
	f.mu.Lock()
	busy := f.busy
	f.mu.Unlock()
	if busy {
		return identity.User{}, secret.ErrBusy
	}
	return f.Store.Authenticate(ctx, ref, op, email, password)
}

func (f *faulty) Session(ctx context.Context, ref identity.TenantRef, token identity.SessionToken, now time.Time, l identity.SessionLimits) (identity.Session, identity.User, error) {
	if err := f.err(); err != nil {
		return identity.Session{}, identity.User{}, err
	}
	return f.Store.Session(ctx, ref, token, now, l)
}

// tenants are the world's, found by id too.
type tenants struct {
	*dptest.World
	mu   sync.Mutex
	byID map[id.Tenant]*snapshot.Tenant
}

// Lookup normalises the host as the cache does.
func (t *tenants) Lookup(ctx context.Context, host string) (*snapshot.Tenant, error) {
	if normal, err := snapshot.NormalizeHost(host); err == nil {
		host = normal
	}
	return t.World.Lookup(ctx, host)
}

func (t *tenants) Fresh(ctx context.Context, host, _ string) (*snapshot.Tenant, error) {
	return t.Lookup(ctx, host)
}

func (t *tenants) Tenant(_ context.Context, tenant id.Tenant) (*snapshot.Tenant, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if found := t.byID[tenant]; found != nil {
		return found, nil
	}
	return nil, snapshot.ErrUnknownTenant
}

// site is a tenant with its apps and one user.
type site struct {
	*snapshot.Tenant
	base         string
	chat, photos string // client ids: first party, third party
	starter      string // first party, with an address to begin at
	phone        string // public native
	disabled     string
	gavin        identity.User
	core         *snapshotv1.TenantSnapshot
	org          *snapshotv1.OrgSnapshot
}

// rig is the service on a real Redis and a real PostgreSQL.
type rig struct {
	t        testing.TB
	tenants  *tenants
	identity *faulty
	grants   *grant.Store
	redis    *localserver.Redis
	service  *Service
	db       dbtest.DB
	log      *safeBuffer

	mu  sync.Mutex
	now time.Time

	hooli, raviga *site
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newRig(t testing.TB, edit ...func(*parts)) *rig {
	t.Helper()
	r := &rig{
		t: t, tenants: &tenants{World: dptest.New(t), byID: map[id.Tenant]*snapshot.Tenant{}}, log: new(safeBuffer),
		now: time.Now().UTC().Truncate(time.Second),
	}
	r.db = dbtest.New(t, "identity", identity.Migrate)
	hasher := secret.NewHasher(secret.Argon2Params{MemoryKiB: 64, Time: 1, Threads: 1}, 2, 1000)
	store, err := identity.Open(t.Context(), identity.Config{DatabaseURL: r.db.URL(identity.Role), MaxConns: 8}, hasher)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	r.identity = &faulty{Store: store}
	r.redis = localserver.TestRedis(t)
	log := slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.grants, err = grant.Open(grant.Config{RedisURL: r.redis.URL(), Keyring: r.tenants.Keyring, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.grants.Close() })
	p := parts{
		tenants: r.tenants, identity: r.identity, grants: r.grants, keyring: r.tenants.Keyring,
		signer: token.NewMinter(r.tenants.Opener), web: web.Config{Logger: log, Now: r.clock},
	}
	for _, f := range edit {
		f(&p)
	}
	if r.service, err = build(p); err != nil {
		t.Fatal(err)
	}
	org := r.tenants.Org("piedpiper")
	r.hooli, r.raviga = r.site(org, "hooli"), r.site(org, "raviga")
	return r
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = r.now.Add(d)
}

func (r *rig) site(org *snapshotv1.OrgSnapshot, slug string) *site {
	r.t.Helper()
	s := &site{base: "https://" + slug + ".example.com", org: org}
	w := r.tenants.World
	s.Tenant = w.Tenant(r.t, org, slug, func(core *snapshotv1.TenantSnapshot) {
		s.core = core
		core.DisplayName = strings.ToUpper(slug[:1]) + slug[1:]
		member := id.NewRole()
		core.Roles = []*snapshotv1.Role{{RoleId: member[:], Name: "member", Default: true}}
		core.Overrides = &snapshotv1.Policy{
			Registration: &snapshotv1.RegistrationPolicy{Enabled: proto.Bool(true)},
		}
		add := func(to *string, edit func(*snapshotv1.Client)) {
			doc, _ := w.Client(edit)
			*to = dptest.ClientID(doc)
			core.Clients = append(core.Clients, doc)
		}
		add(&s.chat, func(c *snapshotv1.Client) {
			c.DisplayName, c.RedirectUris, c.PostLogoutRedirectUris = "Chat", []string{chatCallback}, []string{goodbye}
		})
		add(&s.photos, func(c *snapshotv1.Client) {
			c.DisplayName, c.FirstParty, c.RedirectUris = "Photos", false, []string{photosCallback}
			c.PolicyUri, c.TosUri = "https://photos.example/privacy", "https://photos.example/terms"
		})
		add(&s.starter, func(c *snapshotv1.Client) {
			c.DisplayName, c.InitiateLoginUri = "Starter", "https://start.example/login?x=1"
		})
		add(&s.disabled, func(c *snapshotv1.Client) { c.Enabled, c.RedirectUris = false, []string{chatCallback} })
		phone := w.Public(func(c *snapshotv1.Client) {
			c.Kind, c.DisplayName, c.RedirectUris = snapshotv1.ClientKind_CLIENT_KIND_NATIVE, "Phone", []string{"com.example.phone:/cb"}
		})
		s.phone = dptest.ClientID(phone)
		core.Clients = append(core.Clients, phone)
	})
	r.tenants.byID[s.ID] = s.Tenant
	s.gavin = r.user(s, "gavin@hooli.example", "Gavin Belson")
	return s
}

// serve replaces the tenant's document.
func (r *rig) serve(s *site, edit func(*snapshotv1.TenantSnapshot)) {
	r.t.Helper()
	edit(s.core)
	s.core.ConfigVersion++
	s.Tenant = r.tenants.Serve(r.t, s.core, s.org)
	r.tenants.mu.Lock()
	defer r.tenants.mu.Unlock()
	r.tenants.byID[s.ID] = s.Tenant
}

func (r *rig) user(s *site, email, name string) identity.User {
	r.t.Helper()
	u, err := r.identity.Register(context.Background(), ref(s.Tenant), identity.Op{Now: r.clock(), Actor: "system"}, identity.Registration{
		Email: email, Password: password, Roles: []string{"admin"}, Profile: identity.Profile{Name: name, Locale: "en-US"},
	}, identity.PasswordPolicy{})
	if err != nil {
		r.t.Fatal(err)
	}
	return u
}

// idToken signs what the token service would have.
func (r *rig) idToken(s *site, client string, user id.User, session id.Session, issued time.Time) string {
	r.t.Helper()
	signer, err := s.Keys.Signer("ES256", r.tenants.Opener)
	if err != nil {
		r.t.Fatal(err)
	}
	payload, err := oidc.BuildIDToken(oidc.IDTokenInput{
		Issuer: s.Issuer, Subject: user.String(), ClientID: client, Org: s.Org, Tenant: s.ID, Session: session, IssuedAt: issued,
		ExpireTime: issued.Add(10 * time.Minute), AuthTime: issued,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	token, err := signer.Sign("JWT", payload)
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

// browser is a person's browser without scripts: it keeps cookies, follows redirects inside the service, and stops at an application.
type browser struct {
	r      *rig
	client *http.Client
	// ended is where a redirect left the service, nil while it has not.
	ended *url.URL
}

// page is what the browser shows.
type page struct {
	t      testing.TB
	url    *url.URL
	status int
	header http.Header
	body   string
}

func (r *rig) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	b := &browser{r: r}
	b.client = &http.Client{Jar: jar, Transport: transport{r}, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if !strings.HasSuffix(req.URL.Hostname(), ".example.com") {
			b.ended = req.URL
			return http.ErrUseLastResponse
		}
		if len(via) > 10 {
			return errors.New("a redirect loop")
		}
		return nil
	}}
	return b
}

// transport calls the handler as the edge would.
type transport struct{ r *rig }

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	in := req.Clone(req.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	in.Host, in.RemoteAddr, in.RequestURI = req.URL.Host, "203.0.113.9:4000", req.URL.RequestURI()
	if req.Host != "" {
		in.Host = req.Host
	}
	w := httptest.NewRecorder()
	t.r.service.Handler().ServeHTTP(w, in)
	resp := w.Result()
	resp.Request = req
	return resp, nil
}

func (b *browser) do(method, target string, form url.Values, header ...string) *page {
	b.r.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(context.Background(), method, target, body)
	if err != nil {
		b.r.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	b.ended = nil
	resp, err := b.client.Do(req)
	if err != nil {
		b.r.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		b.r.t.Fatal(err)
	}
	return &page{t: b.r.t, url: resp.Request.URL, status: resp.StatusCode, header: resp.Header, body: string(raw)}
}

func (b *browser) get(target string, header ...string) *page {
	b.r.t.Helper()
	return b.do(http.MethodGet, target, nil, header...)
}

var (
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
	formAction  = regexp.MustCompile(`<form[^>]*\baction="([^"]*)"`)
	anyTag      = regexp.MustCompile(`<[^>]*>`)
)

// submit fills in the page's form and sends it as a browser would.
func (b *browser) submit(p *page, values ...string) *page {
	b.r.t.Helper()
	form := url.Values{}
	for _, m := range hiddenField.FindAllStringSubmatch(p.body, -1) {
		form.Set(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	for i := 0; i+1 < len(values); i += 2 {
		form.Set(values[i], values[i+1])
	}
	target := p.url
	if m := formAction.FindStringSubmatch(p.body); m != nil {
		u, err := p.url.Parse(html.UnescapeString(m[1]))
		if err != nil {
			b.r.t.Fatal(err)
		}
		target = u
	}
	return b.do(http.MethodPost, target.String(), form)
}

// text is the page without tags.
func (p *page) text() string {
	return strings.Join(strings.Fields(html.UnescapeString(anyTag.ReplaceAllString(p.body, " "))), " ")
}

// shows fails unless the page has this status and all these texts.
func (p *page) shows(status int, texts ...string) *page {
	p.t.Helper()
	if p.status != status {
		p.t.Fatalf("%s: status %d, want %d: %s", p.url, p.status, status, p.text())
	}
	for _, want := range texts {
		if !strings.Contains(p.text(), want) {
			p.t.Fatalf("%s lacks %q: %s", p.url, want, p.text())
		}
	}
	return p
}

// link is the address behind a link's text.
func (p *page) link(text string) string {
	p.t.Helper()
	m := regexp.MustCompile(`<a[^>]*href="([^"]*)"[^>]*>` + regexp.QuoteMeta(html.EscapeString(text)) + `</a>`).FindStringSubmatch(p.body)
	if m == nil {
		p.t.Fatalf("%s has no link %q: %s", p.url, text, p.body)
	}
	u, err := p.url.Parse(html.UnescapeString(m[1]))
	if err != nil {
		p.t.Fatal(err)
	}
	return u.String()
}

// authorizeURL is a client's request; extra parameters replace.
func (s *site) authorizeURL(client string, extra ...string) string {
	q := url.Values{
		"response_type": {"code"}, "client_id": {client}, "redirect_uri": {s.callback(client)}, "scope": {"openid profile email"},
		"state": {"st&te=1"}, "nonce": {"n-1"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	for i := 0; i+1 < len(extra); i += 2 {
		if extra[i+1] == "" {
			q.Del(extra[i])
		} else {
			q.Set(extra[i], extra[i+1])
		}
	}
	return s.base + "/oauth2/authorize?" + q.Encode()
}

func (s *site) callback(client string) string {
	switch client {
	case s.photos:
		return photosCallback
	case s.starter:
		return "https://app.example/cb"
	case s.phone:
		return "com.example.phone:/cb"
	}
	return chatCallback
}

// answered takes the authorization response that the browser was sent to the client with.
func (b *browser) answered(p *page, callback string) url.Values {
	b.r.t.Helper()
	if b.ended == nil {
		b.r.t.Fatalf("still at %s (%d): %s", p.url, p.status, p.text())
	}
	if p.status != http.StatusSeeOther || !strings.HasPrefix(b.ended.String(), callback) {
		b.r.t.Fatalf("%d to %s", p.status, b.ended)
	}
	return b.ended.Query()
}

// code takes a successful response and the record behind its code.
func (b *browser) code(p *page, s *site, callback string) grant.CodeRecord {
	b.r.t.Helper()
	q := b.answered(p, callback)
	if q.Get("error") != "" || q.Get("iss") != s.Issuer || q.Get("state") != "st&te=1" {
		b.r.t.Fatalf("response %v", q)
	}
	return b.r.take(s, q.Get("code"))
}

func (r *rig) take(s *site, code string) grant.CodeRecord {
	r.t.Helper()
	taken, err := r.grants.TakeCode(context.Background(), s.ID, code, r.clock())
	if err != nil {
		r.t.Fatalf("code %q: %v", code, err)
	}
	return taken.Record
}

// signIn goes through the login page that p shows.
func (b *browser) signIn(p *page, email string) *page {
	b.r.t.Helper()
	p.shows(200, "Sign in")
	return b.submit(p, "email", email, "password", password)
}
