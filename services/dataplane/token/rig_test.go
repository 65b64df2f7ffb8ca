// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/localserver"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/dbtest"
)

const (
	redirectURI = "https://app.example/cb"
	verifier    = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
	challenge   = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	password    = "correct horse 47 battery"
)

var errAway = errors.New("connection refused")

// faulty is the real user store with failures on demand: the store call named fails before, or after, it has done its work.
type faulty struct {
	*identity.Store
	mu     sync.Mutex
	before map[string]error
	after  map[string]error
	hooks  map[string]func()
}

// hook runs f after each call of that name.
func (f *faulty) hook(call string, do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hooks = map[string]func(){call: do}
}

func (f *faulty) fail(before bool, call string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if before {
		f.before = map[string]error{call: err}
	} else {
		f.after = map[string]error{call: err}
	}
}

func (f *faulty) heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = nil, nil
}

func (f *faulty) err(m *map[string]error, call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := (*m)["*"]; err != nil {
		return err
	}
	return (*m)[call]
}

func run[T any](f *faulty, name string, call func() (T, error)) (T, error) {
	var zero T
	if err := f.err(&f.before, name); err != nil {
		return zero, err
	}
	v, err := call()
	f.mu.Lock()
	do := f.hooks[name]
	f.mu.Unlock()
	if do != nil {
		do()
	}
	if broken := f.err(&f.after, name); broken != nil {
		return zero, broken
	}
	return v, err
}

func (f *faulty) CreateFamily(ctx context.Context, ref identity.TenantRef, op identity.Op, n identity.NewFamily) (identity.Family, error) {
	return run(f, "CreateFamily", func() (identity.Family, error) { return f.Store.CreateFamily(ctx, ref, op, n) })
}

func (f *faulty) Rotate(ctx context.Context, ref identity.TenantRef, op identity.Op, r identity.Rotation) (identity.Rotated, error) {
	return run(f, "Rotate", func() (identity.Rotated, error) { return f.Store.Rotate(ctx, ref, op, r) })
}

func (f *faulty) Family(ctx context.Context, ref identity.TenantRef, g id.Grant) (identity.Family, error) {
	return run(f, "Family", func() (identity.Family, error) { return f.Store.Family(ctx, ref, g) })
}

func (f *faulty) RevokeGrant(ctx context.Context, ref identity.TenantRef, op identity.Op, g id.Grant, c id.Client, reason string) (identity.Ended, error) {
	return run(f, "RevokeGrant", func() (identity.Ended, error) { return f.Store.RevokeGrant(ctx, ref, op, g, c, reason) })
}

func (f *faulty) Revoke(ctx context.Context, ref identity.TenantRef, op identity.Op, kind identity.RevocationKind, subject string, until time.Time) error {
	_, err := run(f, "Revoke", func() (any, error) { return nil, f.Store.Revoke(ctx, ref, op, kind, subject, until) })
	return err
}

func (f *faulty) GetUser(ctx context.Context, ref identity.TenantRef, user id.User) (identity.User, error) {
	return run(f, "GetUser", func() (identity.User, error) { return f.Store.GetUser(ctx, ref, user) })
}

func (f *faulty) Revocations(ctx context.Context, ref identity.TenantRef, now time.Time) ([]identity.Revocation, error) {
	return run(f, "Revocations", func() ([]identity.Revocation, error) { return f.Store.Revocations(ctx, ref, now) })
}

// app is a client with what its owner knows.
type app struct{ id, secret string }

// site is a tenant with its apps and one user.
type site struct {
	*snapshot.Tenant
	host  string
	web   app // confidential, client_secret_basic, all grants
	post  app // confidential, client_secret_post
	spa   app // public
	rs256 app // confidential, RS256 ID tokens
	user  identity.User
}

// rig is the whole service on a real Redis and a real PostgreSQL.
type rig struct {
	t        testing.TB
	world    *dptest.World
	identity *faulty
	service  *Service
	server   *httptest.Server
	redis    *redis.Client
	redisURL string
	log      *safeBuffer
	mu       sync.Mutex
	now      time.Time

	hooli, raviga, aviato *site // two tenants of one org, one of another
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

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, world: dptest.New(t), log: new(safeBuffer), now: time.Now().UTC().Truncate(time.Second)}
	db := dbtest.New(t, "identity", identity.Migrate)
	hasher := secret.NewHasher(secret.Argon2Params{MemoryKiB: 64, Time: 1, Threads: 1}, 2, 1000)
	store, err := identity.Open(t.Context(), identity.Config{DatabaseURL: db.URL(identity.Role), MaxConns: 24}, hasher)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	r.identity = &faulty{Store: store}
	r.redisURL = localserver.TestRedis(t).URL()
	opt, err := redis.ParseURL(r.redisURL)
	if err != nil {
		t.Fatal(err)
	}
	r.redis = redis.NewClient(opt)
	t.Cleanup(func() { r.redis.Close() })
	r.service = r.replica()
	r.server = httptest.NewServer(r.service.Handler())
	t.Cleanup(r.server.Close)

	piper, other := r.world.Org("piedpiper"), r.world.Org("bachmanity")
	r.hooli, r.raviga, r.aviato = r.site(piper, "hooli"), r.site(piper, "raviga"), r.site(other, "aviato")
	return r
}

// replica is another process of the service.
func (r *rig) replica() *Service {
	r.t.Helper()
	log := slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	grants, err := grant.Open(grant.Config{RedisURL: r.redisURL, Keyring: r.world.Keyring, Revocations: revocations{r.identity}, Logger: log})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { grants.Close() })
	s, err := build(parts{
		identity: r.identity, grants: grants, keyring: r.world.Keyring, opener: r.world.Opener,
		tenants: dptest.Tenants{World: r.world}, web: web.Config{Logger: log, Now: r.clock},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
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
	s := &site{host: slug + ".example.com"}
	w := r.world
	s.Tenant = w.Tenant(r.t, org, slug, func(core *snapshotv1.TenantSnapshot) {
		add := func(a *app, edit func(*snapshotv1.Client)) {
			doc, text := w.Client(edit)
			*a = app{dptest.ClientID(doc), text}
			core.Clients = append(core.Clients, doc)
		}
		add(&s.web, func(c *snapshotv1.Client) {
			c.Scopes = []string{"openid", "profile", "email", "offline_access", "roles", "chat:read", "chat:write"}
			c.Audiences = []string{"https://files.example"}
			c.CorsOrigins = []string{"https://web.example"}
		})
		add(&s.post, func(c *snapshotv1.Client) { c.TokenEndpointAuthMethod = "client_secret_post" })
		add(&s.rs256, func(c *snapshotv1.Client) { c.IdTokenSignedResponseAlg = "RS256" })
		public := w.Public(func(c *snapshotv1.Client) { c.CorsOrigins = []string{"https://spa.example"} })
		s.spa = app{id: dptest.ClientID(public)}
		core.Clients = append(core.Clients, public)
		if slug == "hooli" { // RSA keys take a while to make
			core.SigningKeys = append(core.SigningKeys, w.SigningKey(r.t, id.Tenant(core.TenantId), jose.RS256))
		}
		core.Entitlements = []string{"plan:premium"}
	})
	ctx, now := context.Background(), r.clock()
	by := identity.Op{Now: now, Actor: "system"}
	var err error
	s.user, err = r.identity.Register(ctx, ref(s.Tenant), by, identity.Registration{
		Email: "gavin@" + slug + ".example", Password: password, Roles: []string{"admin"},
		Profile: identity.Profile{Name: "Gavin " + slug, GivenName: "Gavin", Locale: "en-US"},
	}, identity.PasswordPolicy{MinLength: 12})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// login is what happens in a browser before a code: a session at the tenant.
func (r *rig) login(s *site) id.Session {
	r.t.Helper()
	session, _, err := r.identity.CreateSession(context.Background(), ref(s.Tenant), identity.Op{Now: r.clock(), Actor: s.user.ID.String()}, identity.NewSession{
		User: s.user.ID, AuthTime: r.clock(), AMR: []string{"pwd"}, ACR: oidc.ACRPassword, Life: 24 * time.Hour,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return session.ID
}

// code is an authorization code as login issues it.
func (r *rig) code(s *site, a app, edit func(*grant.CodeRecord)) string {
	r.t.Helper()
	rec := grant.CodeRecord{
		Grant: id.NewGrant(), Client: a.id, RedirectURI: redirectURI, CodeChallenge: challenge, Scopes: []string{"openid", "profile", "email"},
		Nonce: "n-0S6_WzA2Mj", User: s.user.ID, Session: r.login(s), AuthTime: r.clock(), ACR: oidc.ACRPassword, AMR: []string{"pwd"},
		Roles: s.user.Roles,
	}
	if edit != nil {
		edit(&rec)
	}
	code, err := r.service.grants.IssueCode(context.Background(), s.ID, rec, r.clock(), 30*time.Second)
	if err != nil {
		r.t.Fatal(err)
	}
	return code
}

// answer is an HTTP answer with its JSON.
type answer struct {
	*http.Response
	raw  []byte
	body map[string]any
}

func (a *answer) str(name string) string { s, _ := a.body[name].(string); return s }

func (a *answer) is(t testing.TB, status int, code string) {
	t.Helper()
	if a.StatusCode != status || a.str("error") != code {
		t.Errorf("got %d %s, want %d %s", a.StatusCode, a.raw, status, code)
	}
}

func (r *rig) send(req *http.Request, host string) *answer {
	r.t.Helper()
	req.Host = host
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	a := &answer{Response: resp}
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		r.t.Fatal(err)
	}
	a.raw = b.Bytes()
	if len(a.raw) > 0 {
		if err := json.Unmarshal(a.raw, &a.body); err != nil && strings.Contains(resp.Header.Get("Content-Type"), "json") {
			r.t.Fatalf("%s: %v", a.raw, err)
		}
	}
	return a
}

func (r *rig) get(host, path string, header ...string) *answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, r.server.URL+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return r.send(req, host)
}

// post sends a form, authenticated by Basic when a has a secret, by client_id otherwise. Pairs follow.
func (r *rig) post(host, path string, a app, pairs ...string) *answer {
	r.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	if a.secret == "" && a.id != "" {
		form.Set("client_id", a.id)
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, r.server.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", web.MediaTypeForm)
	if a.secret != "" {
		req.SetBasicAuth(a.id, a.secret)
	}
	return r.send(req, host)
}

func (r *rig) token(s *site, a app, pairs ...string) *answer {
	r.t.Helper()
	return r.post(s.host, "/oauth2/token", a, pairs...)
}

// exchange redeems a code the right way.
func (r *rig) exchange(s *site, a app, code string) *answer {
	r.t.Helper()
	return r.token(s, a, "grant_type", "authorization_code", "code", code, "redirect_uri", redirectURI, "code_verifier", verifier)
}

// issue runs a whole exchange and fails the test if it does not succeed.
func (r *rig) issue(s *site, a app, edit func(*grant.CodeRecord)) *answer {
	r.t.Helper()
	got := r.exchange(s, a, r.code(s, a, edit))
	if got.StatusCode != http.StatusOK {
		r.t.Fatalf("exchange: %d %s", got.StatusCode, got.raw)
	}
	return got
}

func (r *rig) refresh(s *site, a app, token string, pairs ...string) *answer {
	r.t.Helper()
	return r.token(s, a, append([]string{"grant_type", "refresh_token", "refresh_token", token}, pairs...)...)
}

func (r *rig) active(s *site, a app, token string) bool {
	r.t.Helper()
	got := r.post(s.host, "/oauth2/introspect", a, "token", token)
	if got.StatusCode != http.StatusOK {
		r.t.Fatalf("introspect: %d %s", got.StatusCode, got.raw)
	}
	active, _ := got.body["active"].(bool)
	if !active && len(got.body) != 1 {
		r.t.Errorf("an inactive token says more: %s", got.raw)
	}
	return active
}

// claims verifies a token as an app would, against the tenant's published keys, and gives its header and payload.
func (r *rig) claims(s *site, token string) (header, payload map[string]any) {
	r.t.Helper()
	keys, err := jose.ParseSet(r.get(s.host, "/.well-known/jwks.json").raw)
	if err != nil {
		r.t.Fatal(err)
	}
	raw, h, err := jose.NewKeySet(keys...).Verify(token, jose.VerifyOptions{
		Typ: []string{"at+jwt", "JWT"}, Algorithms: []jose.Algorithm{jose.ES256, jose.RS256}, MaxBytes: 16 << 10,
	})
	if err != nil {
		r.t.Fatalf("%v: %s", err, token)
	}
	if err := json.Unmarshal(raw, &payload); err != nil {
		r.t.Fatal(err)
	}
	return map[string]any{"typ": h.Typ, "alg": h.Alg, "kid": h.KeyID}, payload
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }
