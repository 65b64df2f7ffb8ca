// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/services/dataplane/login"
	"github.com/tenantry/tenantry/services/e2e/e2etest"
	"github.com/tenantry/tenantry/services/identity"
	"github.com/tenantry/tenantry/services/internal/logbuf"
	"github.com/tenantry/tenantry/services/internal/serve/loginserver"
)

var discard = slog.New(slog.DiscardHandler)

const password = "gilfoyle waters 17 orchids" //nolint:gosec // of people who exist for a minute

// person is somebody with a browser and, for the sake of brevity, the app that they log in to.
type person struct {
	b            *bed
	email        string
	login, token *conn
	cookies      map[string]string
	scope        string
	n            int
}

func (b *bed) person(loginAddr, email string) *person {
	return &person{b: b, email: email, login: &conn{addr: loginAddr}, token: &conn{addr: b.token.addr}, scope: "openid"}
}

// verifier is the app's PKCE verifier.
const verifier = "dBjftJeZ4CVP-mBaLBoL3Jc7XkXH2k7gk3vZ1jvUsZg"

var challenge = func() string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}()

// authorize is the app's authorization request.
func (p *person) authorize(more string) string {
	p.n++
	return "/oauth2/authorize?" + url.Values{
		"client_id": {p.b.web.ID}, "redirect_uri": {e2etest.RedirectURI}, "response_type": {"code"}, "scope": {p.scope},
		"state": {"s" + strconv.Itoa(p.n)}, "nonce": {"n" + strconv.Itoa(p.n)}, "code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}.Encode() + more
}

// visit asks for a page with the cookies of the browser.
func (p *person) visit(method, path, body string) (answer, error) {
	header := map[string]string{}
	if len(p.cookies) > 0 {
		var all []string
		for k, v := range p.cookies {
			all = append(all, k+"="+v)
		}
		header["Cookie"] = strings.Join(all, "; ")
	}
	if method == http.MethodPost {
		header["Origin"] = p.b.tenant.Issuer
	}
	a, err := p.login.do(request(method, p.b.host(), path, header, body))
	if err != nil {
		return a, err
	}
	for _, c := range a.header("Set-Cookie") {
		pair, attributes, _ := strings.Cut(c, ";")
		k, v, _ := strings.Cut(pair, "=")
		if strings.Contains(attributes, "Max-Age=0") {
			delete(p.cookies, k)
		} else {
			p.cookies[k] = v
		}
	}
	return a, nil
}

// follow visits and follows redirects until there is a page, or until the app is reached: then the address is returned.
func (p *person) follow(method, path, body string) (at string, a answer, err error) {
	for range 8 {
		if a, err = p.visit(method, path, body); err != nil {
			return "", a, err
		}
		if a.status == http.StatusOK {
			return path, a, nil
		}
		to := a.header("Location")
		if a.status/100 != 3 || len(to) != 1 {
			return "", a, fmt.Errorf("%s %s: %d %s", method, path, a.status, brief(a.body))
		}
		if strings.HasPrefix(to[0], e2etest.RedirectURI) {
			return to[0], answer{}, nil
		}
		method, path, body = http.MethodGet, strings.TrimPrefix(to[0], p.b.tenant.Issuer), ""
		if path, _, _ = strings.Cut(path, "#"); !strings.HasPrefix(path, "/") {
			return "", a, fmt.Errorf("redirected to %s", to[0])
		}
	}
	return "", a, fmt.Errorf("%s redirects for ever", path)
}

var formToken = []byte(`name="t" value="`)

// fill sends the form of a page.
func (p *person) fill(at string, page answer, form url.Values) (string, error) {
	i := bytes.Index(page.body, formToken)
	if i < 0 {
		return "", fmt.Errorf("%s has no form: %s", at, brief(page.body))
	}
	value := page.body[i+len(formToken):]
	value = value[:max(0, bytes.IndexByte(value, '"'))]
	form.Set("t", html.UnescapeString(string(value)))
	to, page, err := p.follow(http.MethodPost, at, form.Encode())
	if err == nil && page.body != nil {
		err = fmt.Errorf("%s shows a page: %s", to, brief(page.body))
	}
	return to, err
}

// brief is as much of a page as an error needs.
func brief(page []byte) []byte {
	if i := bytes.Index(page, []byte("<main>")); i >= 0 {
		page = page[i:]
	}
	return page[:min(len(page), 400)]
}

// register makes the account.
func (p *person) register() error {
	p.cookies = map[string]string{}
	at, page, err := p.follow(http.MethodGet, p.authorize("&prompt=create"), "")
	if err != nil {
		return err
	}
	_, err = p.fill(at, page, url.Values{"name": {"Some Body"}, "email": {p.email}, "password": {password}})
	return err
}

// logIn is the whole login, from authorize to tokens, in a browser without a session. It returns the refresh token.
func (p *person) logIn() (refresh string, err error) {
	p.cookies = map[string]string{}
	at, page, err := p.follow(http.MethodGet, p.authorize(""), "")
	if err != nil {
		return "", err
	}
	to, err := p.fill(at, page, url.Values{"email": {p.email}, "password": {password}})
	if err != nil {
		return "", err
	}
	back, err := url.Parse(to)
	if err != nil {
		return "", err
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {back.Query().Get("code")}, "redirect_uri": {e2etest.RedirectURI}, "code_verifier": {verifier}}
	a, err := p.token.do(request(http.MethodPost, p.b.host(), tokenPath, basic(p.b.web), form.Encode()))
	if err != nil {
		return "", err
	}
	if a.status != http.StatusOK {
		return "", fmt.Errorf("token: %d %s", a.status, a.body)
	}
	_, refresh, err = tokens(a.body)
	return refresh, err
}

func (p *person) close() {
	p.login.close()
	p.token.close()
}

// people registers n persons at a login service.
func (b *bed) people(loginAddr, prefix string, n int) []*person {
	all := make([]*person, n)
	for i := range all {
		all[i] = b.person(loginAddr, fmt.Sprintf("%s%d@hooli.example", e2etest.Unique(prefix), i))
		must(all[i].register())
	}
	return all
}

func logins(name string, people []*person, served ...*program) *side {
	return &side{
		name: name, workers: len(people), cpu: cpu(served...),
		step: func(w int) error { _, err := people[w].logIn(); return err },
		cleanup: func() {
			for _, p := range people {
				p.close()
			}
		},
	}
}

func passwordLogin(b *bed) []row {
	const at = 8 // logins at a time
	y := b.yardsticks()
	defer y.stop()
	r := interleave(2*b.seconds, // 20 ms each
		logins("password login", b.people(b.login.addr, "p", at), b.login, b.token),
		ask("argon2id", y.addr, at, []*program{y}, request("GET", "bench", "/argon2id", nil, "")))
	share := ratio(r[0], r[1], slice.rate)
	b.Logf("  the login service holds %.1f MiB", b.login.rss())

	cheap := b.cheapLogin()
	defer cheap.stop()
	c := interleave(b.seconds, logins("login with a hash of 8 KiB", b.people(cheap.addr, "c", at), cheap, b.token))
	beside := c[0].cpu / 1000
	return []row{{
		"whole password login (authorize to tokens), argon2id 19 MiB t=2", "≥ 87 % of the argon2id rate of the same cores; ≤ 0.6 ms CPU beside the hash",
		fmt.Sprintf("%.0f %% (%.1f/s of %.1f/s); %.2f ms", share*100, r[0].rate, r[1].rate, beside),
		share >= 0.87 && beside <= 0.6 && r[0].failed+c[0].failed == 0, "71 % of its bcrypt rate",
	}}
}

// cheapLogin is the login service on another port, with a password hash that costs next to nothing: what remains is ours.
func (b *bed) cheapLogin() *program {
	raw := try(os.ReadFile(filepath.Join(b.rig.Dir, "login.yaml")))
	addr := freeAddress()
	file := filepath.Join(b.rig.Dir, "login-cheap.yaml")
	must(os.WriteFile(file, bytes.ReplaceAll(raw, []byte(b.login.addr), []byte(addr)), 0o600))
	p := b.program(try(os.Executable()), "serve-cheap", file)
	if b.profiles != "" {
		p.args = append(p.args, filepath.Join(b.profiles, "login-cheap.cpu"))
	}
	p.addr = addr
	p.start()
	return p
}

// serveLogin is the process of cheapLogin.
func serveLogin(file string) error {
	cfg, err := loginserver.Load(file)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	users, err := identity.Open(ctx, identity.Config{DatabaseURL: cfg.Service.IdentityDatabase.Value()}, secret.NewHasher(secret.Argon2Params{MemoryKiB: 8, Time: 1, Threads: 1}, 0, 256))
	if err != nil {
		return err
	}
	defer users.Close()
	cfg.Memory.Apply()
	log := logbuf.New(os.Stderr)
	defer log.Close()
	cfg.Service.Mail = login.MailConfig{} // the other one sends the mails
	service, err := login.New(ctx, cfg.Service, login.Deps{Logger: daemon.NewLogger(log, cfg.Process.Log), Identity: users})
	if err != nil {
		return err
	}
	service.Start()
	defer service.Stop(context.Background())
	server := &http.Server{Addr: cfg.Service.Listen.Address, Handler: service.Handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// chains are people's refresh tokens, each used once.
type chains struct {
	b      *bed
	conns  []*conn
	tokens []string
}

func (b *bed) chains(people []*person, scope string) *chains {
	c := &chains{b: b, conns: connections(b.token.addr, len(people))}
	for _, p := range people {
		p.scope = scope
		t := try(p.logIn())
		if t == "" {
			b.Fatal("no refresh token for " + scope)
		}
		c.tokens = append(c.tokens, t)
	}
	return c
}

// use sends a refresh token and returns its successor.
func (c *chains) use(w int, refresh string) (string, error) {
	a, err := c.conns[w].do(request("POST", c.b.host(), tokenPath, basic(c.b.web), "grant_type=refresh_token&refresh_token="+refresh))
	if err != nil {
		return "", err
	}
	if a.status != http.StatusOK {
		return "", fmt.Errorf("%d %s", a.status, a.body)
	}
	_, next, err := tokens(a.body)
	return next, err
}

func (c *chains) side(name string) *side {
	return &side{name: name, workers: len(c.conns), cpu: cpu(c.b.token), step: func(w int) error {
		next, err := c.use(w, c.tokens[w])
		if err == nil {
			c.tokens[w] = next
		}
		return err
	}}
}

// contend sends one token by all connections at once, again and again: whoever comes second gets the same successor, within the retry
// grace.
func (c *chains) contend(rounds int) (sent, refused int) {
	for range rounds {
		type outcome struct {
			next string
			err  error
		}
		outcomes := make(chan outcome, len(c.conns))
		for w := range c.conns {
			go func() {
				next, err := c.use(w, c.tokens[0])
				outcomes <- outcome{next, err}
			}()
		}
		next := ""
		for range c.conns {
			o := <-outcomes
			sent++
			if o.err != nil {
				refused++
				c.b.Logf("  contended: %v", o.err)
			} else {
				next = o.next
			}
		}
		if next != "" {
			c.tokens[0] = next
		}
	}
	return sent, refused
}

// refresh measures rotations beside commits of one row.
func refresh(b *bed) []row {
	const at = 16 // as many as the token service has connections
	cheap := b.cheapLogin()
	people := b.people(cheap.addr, "r", at)
	plain, openid := b.chains(people, "offline_access"), b.chains(people, "openid offline_access")
	cheap.stop()
	r := interleave(b.seconds, plain.side("refresh rotation"), openid.side("same with an ID token"), b.commits(at))
	share, with := ratio(r[0], r[2], slice.rate), ratio(r[1], r[2], slice.rate)
	sent, refused := plain.contend(40)
	return []row{{
		"refresh rotation, durable, c=16", "≥ 60 % of single-row commits/s with the same number of connections, 0 errors under contention",
		fmt.Sprintf("%.0f %% (%.0f/s of %.0f/s); %.0f %% with a new ID token as well; %d errors of %d, and %d of %d for one token at once",
			share*100, r[0].rate, r[2].rate, with*100, r[0].failed+r[1].failed, r[0].n+r[1].n, refused, sent),
		share >= 0.6 && r[0].failed+r[1].failed == 0 && refused == 0, "3,000/s in memory, 635/s durable",
	}}
}

// commits updates one row in a transaction of its own, on the same server.
func (b *bed) commits(connections int) *side {
	ctx := b.Context()
	admin := try(pgx.Connect(ctx, b.pg.URL("postgres", "postgres")))
	_ = try(admin.Exec(ctx, "CREATE TABLE IF NOT EXISTS bench_rows (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 50)"))
	_ = try(admin.Exec(ctx, "INSERT INTO bench_rows SELECT i, 0 FROM generate_series(0, 255) i ON CONFLICT DO NOTHING"))
	must(admin.Close(ctx))
	conns := make([]*pgx.Conn, connections)
	for i := range conns {
		conns[i] = try(pgx.Connect(ctx, b.pg.URL("postgres", "postgres")))
	}
	return &side{
		name: "single-row commits", workers: connections,
		step: func(w int) error {
			_, err := conns[w].Exec(ctx, "UPDATE bench_rows SET n = n + 1 WHERE id = $1", w)
			return err
		},
		cleanup: func() {
			for _, c := range conns {
				_ = c.Close(ctx)
			}
		},
	}
}
