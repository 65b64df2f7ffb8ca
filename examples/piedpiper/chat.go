// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/verify"
)

// chat is the multi-tenant app. A request's host names the tenant, the tenant's
// issuer proves the person, and the pair (issuer, tnt) picks the rooms: there is
// no way to name another tenant's room.
type chat struct {
	cfg     config
	pages   pages
	log     *slog.Logger
	cookies *sealer
	tokens  *verify.Verifier
	logins  *relyingParty
	rooms   *hub
}

func newChat(cfg config, client *http.Client, pages pages, log *slog.Logger) (*chat, error) {
	cookies, err := newSealer()
	if err != nil {
		return nil, err
	}
	tokens, err := cfg.verifier(client)
	if err != nil {
		return nil, err
	}
	return &chat{cfg: cfg, pages: pages, log: log, cookies: cookies, tokens: tokens, logins: newRelyingParty(cfg, client, tokens), rooms: newHub()}, nil
}

func (c *chat) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.home)
	mux.HandleFunc("GET /login", c.login)
	mux.HandleFunc("GET /callback", c.callback)
	mux.HandleFunc("POST /logout", c.logout)
	mux.HandleFunc("POST /rooms", c.createRoom)
	mux.HandleFunc("GET /rooms/{room}", c.room)
	mux.HandleFunc("POST /rooms/{room}", c.say)
	mux.HandleFunc("GET /rooms/{room}/events", c.events)
	mux.HandleFunc("GET /static/{file}", static)
	mux.Handle("/api/", c.api())
	return mux
}

type tenantLabelKey struct{}

func withTenantLabel(ctx context.Context, label string) context.Context {
	return context.WithValue(ctx, tenantLabelKey{}, label)
}

func tenantLabel(r *http.Request) string {
	label, _ := r.Context().Value(tenantLabelKey{}).(string)
	return label
}

// session is who is signed in at this host, sealed into a cookie.
type session struct {
	Label, Issuer, Tenant, Subject, Name string
	Roles                                []string
	// IDToken goes back as id_token_hint, so that the log-out needs no question.
	IDToken string
	Expires time.Time
}

// Moderator reports whether the person may open rooms.
func (s session) Moderator() bool {
	for _, r := range s.Roles {
		if r == "admin" || r == "moderator" {
			return true
		}
	}
	return false
}

const (
	sessionCookie = "piedpiper_session"
	sessionLife   = 8 * time.Hour
)

// session returns who is signed in. The label inside the sealed cookie must be
// the host's, so a cookie carried to another tenant's host is nobody's.
func (c *chat) session(r *http.Request) (session, bool) {
	var s session
	cookie, err := r.Cookie(sessionCookie)
	if err != nil || c.cookies.open(sessionCookie, cookie.Value, &s) != nil {
		return session{}, false
	}
	return s, s.Label == tenantLabel(r) && time.Now().Before(s.Expires)
}

func (c *chat) setCookie(w http.ResponseWriter, name, value string, life time.Duration) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure wherever the installation is on https
		Name: name, Value: value, Path: "/", MaxAge: int(life.Seconds()), HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(c.cfg.DataPlane, "https://"),
	})
}

// welcome is the page before the sign-in.
type welcome struct{ Label, Issuer, LoginURL string }

func (c *chat) home(w http.ResponseWriter, r *http.Request) {
	if _, ok := c.session(r); ok {
		http.Redirect(w, r, "/rooms/general", http.StatusFound)
		return
	}
	login := "/login"
	if tcv := r.URL.Query().Get("tcv"); tcv != "" && len(tcv) < 512 {
		login += "?" + url.Values{"tcv": {tcv}}.Encode()
	}
	label := tenantLabel(r)
	if _, err := c.logins.tenant(r.Context(), label); err != nil {
		c.tenantProblem(w, label, err)
		return
	}
	c.pages.render(w, http.StatusOK, "welcome", welcome{label, c.cfg.issuer(label), login})
}

func (c *chat) tenantProblem(w http.ResponseWriter, label string, err error) {
	if errors.Is(err, errNoTenant) {
		c.pages.render(w, http.StatusNotFound, "problem", problem{"No team chats here", "Nobody has signed up as " + label + ". Check the address, or sign up.", c.cfg.portalURL(), "Go to sign-up"})
		return
	}
	c.log.Error("issuer not reached", "issuer", c.cfg.issuer(label), "error", err)
	c.pages.render(w, http.StatusBadGateway, "problem", problem{"Sign-in is not reachable", "Nothing is lost. Try again in a minute.", "/", "Try again"})
}

// attempt is one sign-in on its way, sealed into a cookie of its own so that
// five tabs do not disturb each other.
type attempt struct {
	State, Nonce, Verifier, Label string
	Expires                       time.Time
}

func attemptCookie(state string) string { return "piedpiper_login_" + state[:8] }

func (c *chat) login(w http.ResponseWriter, r *http.Request) {
	label := tenantLabel(r)
	at, target, err := c.logins.begin(r.Context(), label, r.URL.Query().Get("tcv"))
	if err != nil {
		c.tenantProblem(w, label, err)
		return
	}
	c.setCookie(w, attemptCookie(at.State), c.cookies.seal(attemptCookie(at.State), at), time.Until(at.Expires))
	http.Redirect(w, r, target, http.StatusFound) //nolint:gosec // the issuer's authorization endpoint
}

func (c *chat) callback(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	state := q.Get("state")
	var at attempt
	cookie, err := (*http.Cookie)(nil), http.ErrNoCookie
	if len(state) >= 8 && validState(state) {
		cookie, err = r.Cookie(attemptCookie(state))
	}
	if err != nil || c.cookies.open(attemptCookie(state), cookie.Value, &at) != nil ||
		at.State != state || at.Label != tenantLabel(r) || time.Now().After(at.Expires) {
		c.pages.render(w, http.StatusBadRequest, "problem", problem{"This sign-in is over", "It took too long or was started in another browser. Start again.", "/login", "Sign in again"})
		return
	}
	c.setCookie(w, attemptCookie(state), "", -time.Second)
	if code := q.Get("error"); code != "" {
		text := "The sign-in ended without a result (" + code + ")."
		if code == "access_denied" {
			text = "You did not let the chat see who you are, so it cannot let you in."
		}
		c.pages.render(w, http.StatusForbidden, "problem", problem{"Not signed in", text, "/login", "Sign in again"})
		return
	}
	s, err := c.logins.finish(r.Context(), at, q.Get("iss"), q.Get("code"))
	if err != nil {
		c.log.Warn("sign-in refused", "tenant", at.Label, "error", err)
		c.pages.render(w, http.StatusBadGateway, "problem", problem{"Not signed in", "The sign-in could not be checked. Start again.", "/login", "Sign in again"})
		return
	}
	s.Expires = time.Now().Add(sessionLife)
	c.setCookie(w, sessionCookie, c.cookies.seal(sessionCookie, s), sessionLife)
	http.Redirect(w, r, "/rooms/general", http.StatusFound)
}

func (c *chat) logout(w http.ResponseWriter, r *http.Request) {
	s, ok := c.session(r)
	c.setCookie(w, sessionCookie, "", -time.Second)
	if !ok {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	target, err := c.logins.endSession(r.Context(), s)
	if err != nil {
		c.tenantProblem(w, s.Label, err)
		return
	}
	http.Redirect(w, r, target, http.StatusSeeOther)
}

// roomPage is the chat itself.
type roomPage struct {
	session
	Room     string
	Rooms    []string
	Messages []message
	Problem  string
	Draft    string
}

// signedIn returns the session, or sends the person to the start.
func (c *chat) signedIn(w http.ResponseWriter, r *http.Request) (session, bool) {
	s, ok := c.session(r)
	if !ok {
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
	return s, ok
}

func (c *chat) room(w http.ResponseWriter, r *http.Request) {
	if s, ok := c.signedIn(w, r); ok {
		c.showRoom(w, http.StatusOK, s, r.PathValue("room"), "", "")
	}
}

func (c *chat) showRoom(w http.ResponseWriter, status int, s session, name, trouble, draft string) {
	messages, err := c.rooms.messages(s.team(), name)
	if err != nil {
		c.pages.render(w, http.StatusNotFound, "problem", problem{"No such room", "Your team has no room of that name.", "/rooms/general", "Go to general"})
		return
	}
	c.pages.render(w, status, "room", roomPage{s, name, c.rooms.list(s.team()), messages, trouble, draft})
}

func (c *chat) say(w http.ResponseWriter, r *http.Request) {
	s, ok := c.signedIn(w, r)
	if !ok {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 32<<10)
	room, text := r.PathValue("room"), strings.TrimSpace(r.PostFormValue("text"))
	err := c.rooms.post(s.team(), room, message{From: s.Name, Subject: s.Subject, Text: text, Time: time.Now()})
	switch {
	case errors.Is(err, errNoRoom):
		c.showRoom(w, http.StatusNotFound, s, room, "", "")
	case err != nil:
		c.showRoom(w, http.StatusUnprocessableEntity, s, room, err.Error(), text)
	case r.Header.Get("Accept") == "application/json":
		w.WriteHeader(http.StatusNoContent)
	default:
		http.Redirect(w, r, "/rooms/"+room+"#end", http.StatusSeeOther) //nolint:gosec // a room that exists: one label, no slash
	}
}

func (c *chat) createRoom(w http.ResponseWriter, r *http.Request) {
	s, ok := c.signedIn(w, r)
	if !ok {
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	name := strings.ToLower(strings.TrimSpace(r.PostFormValue("name")))
	if !s.Moderator() {
		c.showRoom(w, http.StatusForbidden, s, "general", "Only moderators and admins open rooms", "")
		return
	}
	if err := c.rooms.create(s.team(), name); err != nil {
		c.showRoom(w, http.StatusUnprocessableEntity, s, "general", err.Error(), "")
		return
	}
	http.Redirect(w, r, "/rooms/"+name, http.StatusSeeOther) //nolint:gosec // a room that was just made: one label, no slash
}

// events streams the room's new messages (Server-Sent Events).
func (c *chat) events(w http.ResponseWriter, r *http.Request) {
	s, ok := c.session(r)
	if !ok {
		http.Error(w, "sign in first", http.StatusUnauthorized)
		return
	}
	feed, stop, err := c.rooms.subscribe(s.team(), r.PathValue("room"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer stop()
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	ping := time.NewTicker(20 * time.Second)
	defer ping.Stop()
	for {
		_ = flush.Flush()
		select {
		case <-r.Context().Done():
			return
		case <-ping.C:
			if time.Now().After(s.Expires) {
				return
			}
			fmt.Fprint(w, ": still here\n\n")
		case m, open := <-feed:
			if !open {
				return // too slow a reader: the browser connects again and reloads
			}
			data, err := json.Marshal(map[string]any{"from": m.From, "text": m.Text, "time": m.Clock(), "own": m.Subject == s.Subject})
			if err != nil {
				return
			}
			fmt.Fprintf(w, "data: %s\n\n", data)
		}
	}
}
