// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// Session management (OpenID Connect Session Management 1.0), for tenants that ask for it. A client keeps the session_state of its
// authorization response and asks an iframe of ours, which the client loads, whether the browser's login is still the one that the
// response was made in. No request reaches us for that: the iframe compares with a cookie of its own.
//
// That cookie, tnt_state, is the one cookie of ours that scripts can read and that is sent in other sites' frames, because both are the
// purpose of it. It holds a MAC of the session's id and nothing else: whoever reads it learns neither user nor session, and it opens
// nothing. It comes with the first authorization response of a session, changes with the session, and goes with it. Browsers that
// block cookies in foreign frames make the iframe answer "error", which clients take for "do not know" (section 3.2).

// cookieState is the cookie that the iframe reads.
const cookieState = "tnt_state"

// paramSessionState is the parameter of authorization responses (section 2).
const paramSessionState = "session_state"

const purposeState = "session-state"

//go:embed assets/check_session.html
var checkSessionPage []byte

//go:embed assets/check_session.js
var checkSessionScript []byte

// browserState is the value of the cookie for a login; empty without one.
func (s *Service) browserState(q *web.Request, who login) string {
	if !who.present {
		return ""
	}
	mac := s.keyring.Tenant(q.Tenant.ID).MAC(purposeState, who.session.ID[:])
	return base64.RawURLEncoding.EncodeToString(mac[:18])
}

// setBrowserState makes the browser's cookie say which login it has, where the tenant wants session management and the browser does not
// say so already.
func (s *Service) setBrowserState(w http.ResponseWriter, r *http.Request, q *web.Request, who login) {
	state := s.browserState(q, who)
	sent := r.CookiesNamed(cookieName(q.Tenant, cookieState))
	if !q.Tenant.Policy.SessionManagement && len(sent) == 0 || len(sent) == 1 && sent[0].Value == state || len(sent) == 0 && state == "" {
		return
	}
	c := http.Cookie{ //nolint:gosec // G124: scripts are meant to read it, see above
		Name: cookieName(q.Tenant, cookieState), Value: state, Path: "/", Secure: secureTenant(q.Tenant), SameSite: http.SameSiteNoneMode,
	}
	if !c.Secure {
		c.SameSite = http.SameSiteLaxMode // browsers refuse None without Secure; under .localhost all is one site
	}
	if state == "" || !q.Tenant.Policy.SessionManagement {
		c.Value, c.MaxAge = "", -1
	}
	http.SetCookie(w, &c)
}

// sessionState is the session_state of an authorization response (section 2): a salted hash of the client, the origin of its page and
// the browser's state, all of which the iframe knows. Empty when the tenant has no session management or the redirect URI no origin.
func (s *Service) sessionState(q *web.Request, clientID, redirectURI string, who login) string {
	if !q.Tenant.Policy.SessionManagement || !who.present {
		return ""
	}
	origin := originOf(redirectURI)
	if origin == "" {
		return ""
	}
	var raw [12]byte
	rand.Read(raw[:]) // as in formNonce
	salt := base64.RawURLEncoding.EncodeToString(raw[:])
	return sessionStateHash(clientID, origin, s.browserState(q, who), salt) + "." + salt
}

// sessionStateHash is what assets/check_session.js computes as well.
func sessionStateHash(clientID, origin, state, salt string) string {
	sum := sha256.Sum256([]byte(clientID + " " + origin + " " + state + " " + salt))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// originOf is the origin of a web address as browsers print it; empty for an app's own scheme.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	host := u.Host
	if u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80" {
		host = u.Host[:len(u.Host)-len(u.Port())-1]
	}
	return u.Scheme + "://" + host
}

// withSessionState adds session_state to a successful response.
func (s *Service) withSessionState(q *web.Request, clientID string, who login, a oauth2.AuthorizationResponse) oauth2.AuthorizationResponse {
	if state := s.sessionState(q, clientID, a.RedirectURI, who); state != "" {
		a.Params = append(a.Params, [2]string{paramSessionState, state})
	}
	return a
}

// checkSession is GET /oauth2/check_session (section 3.3): the page that clients load into an iframe. It is the same for everybody. Tenants
// without session management answer as on any unknown path.
func (s *Service) checkSession(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	if !q.Tenant.Policy.SessionManagement {
		return errNoAsset
	}
	nonce := pageNonce()
	page := bytes.ReplaceAll(checkSessionPage, []byte("NONCE"), []byte(nonce))
	page = bytes.ReplaceAll(page, []byte("SCRIPT"), []byte(s.assets.checkSession))
	page = bytes.ReplaceAll(page, []byte("COOKIE"), []byte(cookieName(q.Tenant, cookieState)))
	h := w.Header()
	// Any site may be a client's, and what the page says depends on who asks it.
	h.Del("X-Frame-Options")
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+nonce+"'; base-uri 'none'; form-action 'none'; frame-ancestors *")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(page)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		w.Write(page) //nolint:errcheck // the caller is gone; there is nobody to tell
	}
	return nil
}
