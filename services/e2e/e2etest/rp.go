// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2etest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// Person is somebody who logs in.
type Person struct{ Email, Password, Name string }

// NewPerson is a person that no other test knows.
func NewPerson() Person {
	return Person{Email: Unique("person-") + "@people.example", Password: "correct horse 47 battery", Name: "Dana Example"}
}

// RP is a relying party made of stock libraries: coreos/go-oidc and golang.org/x/oauth2.
type RP struct {
	t        testing.TB
	Config   oauth2.Config
	Provider *oidc.Provider
	verifier *oidc.IDTokenVerifier
}

// Tokens are what a relying party has after a login.
type Tokens struct {
	*oauth2.Token
	// RawIDToken is the ID token, Claims its verified claims.
	RawIDToken string
	Claims     map[string]any
	// Nonce is the one that was sent.
	Nonce string
}

func withClient(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, HTTPClient())
}

// RP is the relying party of one of a tenant's clients, configured from the issuer alone.
func (tn *Tenant) RP(t testing.TB, client string) *RP {
	t.Helper()
	c, ok := tn.Clients[client]
	if !ok {
		t.Fatalf("no client %q", client)
	}
	redirect := RedirectURI
	if client == "spa" {
		redirect = "https://spa.example/cb"
	}
	return NewRP(t, tn.Issuer, c, redirect, client == "post")
}

// NewRP is a relying party of an issuer.
func NewRP(t testing.TB, issuer string, c Client, redirect string, post bool) *RP {
	t.Helper()
	provider, err := oidc.NewProvider(withClient(t.Context()), issuer)
	if err != nil {
		t.Fatalf("discovery at %s: %v", issuer, err)
	}
	endpoint := provider.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if post || c.Secret == "" {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return &RP{
		t: t, Provider: provider,
		Config: oauth2.Config{ClientID: c.ID, ClientSecret: c.Secret, RedirectURL: redirect, Endpoint: endpoint, Scopes: []string{"openid", "profile", "email"}},
		verifier: provider.VerifierContext(withClient(context.Background()), &oidc.Config{
			ClientID: c.ID, SupportedSigningAlgs: []string{oidc.ES256, oidc.RS256, oidc.PS256, oidc.EdDSA},
		}),
	}
}

// Begun is an authorization request with what its relying party remembers of it.
type Begun struct {
	URL, State, Nonce, Verifier string
}

// Begin makes an authorization request with state, nonce and PKCE. More parameters are added or replace; one with an empty value is
// taken out.
func (rp *RP) Begin(more url.Values) Begun {
	rp.t.Helper()
	s := Begun{State: Unique("state-"), Nonce: Unique("nonce-"), Verifier: oauth2.GenerateVerifier()}
	u, err := url.Parse(rp.Config.AuthCodeURL(s.State, oauth2.S256ChallengeOption(s.Verifier), oidc.Nonce(s.Nonce)))
	if err != nil {
		rp.t.Fatal(err)
	}
	q := u.Query()
	for k, v := range more {
		if len(v) == 1 && v[0] == "" {
			q.Del(k)
			continue
		}
		q[k] = v
	}
	s.State, s.Nonce = q.Get("state"), q.Get("nonce")
	if !q.Has("code_challenge") {
		s.Verifier = ""
	}
	u.RawQuery = q.Encode()
	s.URL = u.String()
	return s
}

// Returned reports whether an address is the relying party's.
func (rp *RP) Returned(u *url.URL) bool { return strings.HasPrefix(u.String(), rp.Config.RedirectURL) }

// Exchange takes the code out of the parameters of a response and exchanges it: state and issuer are checked, then the ID token.
func (rp *RP) Exchange(s Begun, q url.Values) *Tokens {
	rp.t.Helper()
	if e := q.Get("error"); e != "" {
		rp.t.Fatalf("the relying party got %s: %s", e, q.Get("error_description"))
	}
	if q.Get("state") != s.State {
		rp.t.Fatalf("state %q came back as %q", s.State, q.Get("state"))
	}
	var claims struct {
		Issuer string `json:"issuer"`
	}
	if err := rp.Provider.Claims(&claims); err != nil || q.Get("iss") != claims.Issuer {
		rp.t.Fatalf("iss %q in the response, issuer is %q (RFC 9207), %v", q.Get("iss"), claims.Issuer, err)
	}
	tokens, err := rp.Redeem(s, q.Get("code"))
	if err != nil {
		rp.t.Fatalf("exchange: %v", err)
	}
	return tokens
}

// Redeem exchanges a code.
func (rp *RP) Redeem(s Begun, code string) (*Tokens, error) {
	rp.t.Helper()
	var options []oauth2.AuthCodeOption
	if s.Verifier != "" {
		options = append(options, oauth2.VerifierOption(s.Verifier))
	}
	token, err := rp.Config.Exchange(withClient(rp.t.Context()), code, options...)
	if err != nil {
		return nil, err
	}
	return rp.verify(token, s.Nonce)
}

func (rp *RP) verify(token *oauth2.Token, nonce string) (*Tokens, error) {
	raw, ok := token.Extra("id_token").(string)
	if !ok {
		return nil, errors.New("no id_token in the answer")
	}
	idToken, err := rp.verifier.Verify(rp.t.Context(), raw)
	if err != nil {
		return nil, err
	}
	if idToken.Nonce != nonce {
		return nil, errors.New("nonce " + idToken.Nonce + ", want " + nonce)
	}
	if idToken.AccessTokenHash != "" {
		if err := idToken.VerifyAccessToken(token.AccessToken); err != nil {
			return nil, err
		}
	}
	t := &Tokens{Token: token, RawIDToken: raw, Nonce: nonce}
	return t, idToken.Claims(&t.Claims)
}

// Refresh sends the refresh token once.
func (rp *RP) Refresh(refreshToken string) (*oauth2.Token, error) {
	rp.t.Helper()
	return rp.Config.TokenSource(withClient(rp.t.Context()), &oauth2.Token{RefreshToken: refreshToken}).Token()
}

// UserInfo asks the userinfo endpoint.
func (rp *RP) UserInfo(t *Tokens) (map[string]any, error) {
	rp.t.Helper()
	info, err := rp.Provider.UserInfo(withClient(rp.t.Context()), oauth2.StaticTokenSource(t.Token))
	if err != nil {
		return nil, err
	}
	var claims map[string]any
	return claims, info.Claims(&claims)
}

// Login logs a person in who has an account, and returns the relying party's tokens.
func (rp *RP) Login(b *Browser, who Person, more url.Values) *Tokens {
	rp.t.Helper()
	s := rp.Begin(more)
	b.StopAt = rp.Returned
	p := b.Get(s.URL)
	if p.Stopped == nil {
		p = p.SignIn(who)
	}
	return rp.Exchange(s, rp.Response(p))
}

// Register makes an account for a person, and returns the relying party's tokens.
func (rp *RP) Register(b *Browser, who Person, more url.Values) *Tokens {
	rp.t.Helper()
	s := rp.Begin(more)
	b.StopAt = rp.Returned
	p := b.Get(s.URL).MustBe(http.StatusOK).Link("Create an account").SignUp(who)
	return rp.Exchange(s, rp.Response(p))
}

// Response are the parameters that the page brings to the relying party: in the address where its redirects ended, or in a form that
// is sent there.
func (rp *RP) Response(p *Page) url.Values {
	rp.t.Helper()
	v, ok := rp.Responded(p)
	if !ok {
		rp.t.Fatalf("the browser is not back at the relying party but at %v:\n%s", p, p.Text())
	}
	return v
}

// Responded is Response for a page that may be another.
func (rp *RP) Responded(p *Page) (url.Values, bool) {
	rp.t.Helper()
	if p.Stopped != nil {
		return p.Stopped.Query(), true
	}
	for _, f := range p.Forms() {
		if rp.Returned(f.Action) && f.Method == http.MethodPost {
			return f.Values, true
		}
	}
	return nil, false
}

// SignIn fills the login form and sends it.
func (p *Page) SignIn(who Person) *Page {
	p.b.t.Helper()
	return p.MustBe(http.StatusOK).Form("password").Fill("email", who.Email).Fill("password", who.Password).Submit()
}

// SignUp fills the registration form and sends it.
func (p *Page) SignUp(who Person) *Page {
	p.b.t.Helper()
	return p.MustBe(http.StatusOK).Form("password").Fill("name", who.Name).Fill("email", who.Email).Fill("password", who.Password).Submit()
}

// Endpoint is one of the addresses in an issuer's discovery document.
func (rp *RP) Endpoint(name string) string {
	rp.t.Helper()
	var all map[string]any
	if err := rp.Provider.Claims(&all); err != nil {
		rp.t.Fatal(err)
	}
	return Str(all, name)
}

// JWTClaims reads a token's claims without verifying it, and its header.
func JWTClaims(t testing.TB, token string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts, a JWT has 3", len(parts))
	}
	for i, into := range []*map[string]any{&header, &claims} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

// PostForm sends a form to an endpoint as a program does, with HTTP Basic when the client has a secret.
func PostForm(t testing.TB, endpoint string, c Client, form url.Values) *Answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.Secret != "" {
		req.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
	}
	return Send(t, req)
}

// Send sends a request as it is.
func Send(t testing.TB, req *http.Request) *Answer {
	t.Helper()
	res, err := HTTPClient().Do(req) //nolint:gosec // the tests' own system
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return read(t, res)
}
