// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/tenantry/tenantry/pkg/verify"
)

// errNoTenant says that no issuer lives at the tenant's address.
var errNoTenant = errors.New("no tenant at this address")

// relyingParty signs people in at the issuer of their tenant with the client
// that all tenants share.
type relyingParty struct {
	cfg    config
	client *http.Client
	tokens *verify.Verifier

	mu      sync.Mutex
	tenants map[string]*tenant
}

// tenant is an issuer's discovery document and keys, kept for a while.
type tenant struct {
	provider *oidc.Provider
	oauth    oauth2.Config
	endURL   string
	until    time.Time
}

const (
	discoveryLife = 5 * time.Minute
	maxDiscovered = 1_000
)

func newRelyingParty(cfg config, client *http.Client, tokens *verify.Verifier) *relyingParty {
	return &relyingParty{cfg: cfg, client: client, tokens: tokens, tenants: map[string]*tenant{}}
}

// tenant discovers the issuer of a label, or errNoTenant.
func (p *relyingParty) tenant(ctx context.Context, label string) (*tenant, error) {
	p.mu.Lock()
	known := p.tenants[label]
	p.mu.Unlock()
	if known != nil && time.Now().Before(known.until) {
		return known, nil
	}
	issuer := p.cfg.issuer(label)
	// The key set of the provider outlives the request, so it must not inherit its end.
	provider, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.client), issuer)
	if err != nil {
		if strings.HasPrefix(err.Error(), "404 ") {
			return nil, errNoTenant
		}
		return nil, err
	}
	var more struct {
		EndSession string `json:"end_session_endpoint"`
	}
	if err := provider.Claims(&more); err != nil {
		return nil, err
	}
	t := &tenant{
		provider: provider,
		oauth: oauth2.Config{
			ClientID:    p.cfg.ChatClientID,
			Endpoint:    provider.Endpoint(),
			RedirectURL: p.cfg.chatURL(label) + "callback",
			Scopes:      []string{oidc.ScopeOpenID, "profile", "email"},
		},
		endURL: more.EndSession,
		until:  time.Now().Add(discoveryLife),
	}
	t.oauth.Endpoint.AuthStyle = oauth2.AuthStyleInParams // a public client: client_id in the form, no secret
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.tenants) >= maxDiscovered {
		clear(p.tenants)
	}
	p.tenants[label] = t
	return t, nil
}

// begin starts a sign-in: state, nonce and PKCE verifier, and where to send the browser.
func (p *relyingParty) begin(ctx context.Context, label, consistency string) (attempt, string, error) {
	t, err := p.tenant(ctx, label)
	if err != nil {
		return attempt{}, "", err
	}
	at := attempt{State: randomText(), Nonce: randomText(), Verifier: oauth2.GenerateVerifier(), Label: label, Expires: time.Now().Add(15 * time.Minute)}
	options := []oauth2.AuthCodeOption{oidc.Nonce(at.Nonce), oauth2.S256ChallengeOption(at.Verifier)}
	if consistency != "" {
		options = append(options, oauth2.SetAuthURLParam("tcv", consistency))
	}
	return at, t.oauth.AuthCodeURL(at.State, options...), nil
}

// finish exchanges the code and checks both tokens: who the person is, and that
// the tenant is the one of this host.
func (p *relyingParty) finish(ctx context.Context, at attempt, iss, code string) (session, error) {
	t, err := p.tenant(ctx, at.Label)
	if err != nil {
		return session{}, err
	}
	issuer := p.cfg.issuer(at.Label)
	if iss != issuer { // RFC 9207: the answer comes from the issuer that was asked
		return session{}, fmt.Errorf("the answer is from %q", iss)
	}
	ctx = oidc.ClientContext(ctx, p.client)
	tokens, err := t.oauth.Exchange(ctx, code, oauth2.VerifierOption(at.Verifier))
	if err != nil {
		return session{}, err
	}
	raw, _ := tokens.Extra("id_token").(string)
	idToken, err := t.provider.Verifier(&oidc.Config{ClientID: p.cfg.ChatClientID, SupportedSigningAlgs: []string{oidc.ES256, oidc.RS256}}).Verify(ctx, raw)
	if err != nil {
		return session{}, err
	}
	if idToken.Nonce != at.Nonce {
		return session{}, errors.New("the ID token answers another sign-in")
	}
	if err := idToken.VerifyAccessToken(tokens.AccessToken); err != nil {
		return session{}, err
	}
	var who struct {
		Tenant string `json:"tnt"`
	}
	if err := idToken.Claims(&who); err != nil || who.Tenant == "" {
		return session{}, errors.New("the ID token names no tenant")
	}
	// The access token is for the org's API, which this app is part of: it is of
	// this host's issuer, and of the tenant, person and client of the ID token.
	access, err := p.tokens.Verify(ctx, verify.Request{Token: tokens.AccessToken, Host: p.cfg.chatHost(at.Label), Tenant: who.Tenant})
	if err != nil {
		return session{}, err
	}
	if access.Subject != idToken.Subject || access.ClientID != p.cfg.ChatClientID {
		return session{}, errors.New("the access token is somebody else's")
	}
	info, err := t.provider.UserInfo(ctx, t.oauth.TokenSource(ctx, tokens))
	if err != nil {
		return session{}, err
	}
	var profile struct {
		Name string `json:"name"`
	}
	if err := info.Claims(&profile); err != nil || info.Subject != idToken.Subject {
		return session{}, errors.New("the profile is somebody else's")
	}
	name := profile.Name
	if name == "" {
		name = info.Email
	}
	return session{Label: at.Label, Issuer: issuer, Tenant: who.Tenant, Subject: idToken.Subject, Name: name, Roles: access.Roles, IDToken: raw}, nil
}

// endSession is where the browser ends the session at the tenant (OpenID
// Connect RP-Initiated Logout 1.0).
func (p *relyingParty) endSession(ctx context.Context, s session) (string, error) {
	t, err := p.tenant(ctx, s.Label)
	if err != nil {
		return "", err
	}
	q := url.Values{"id_token_hint": {s.IDToken}, "client_id": {p.cfg.ChatClientID}, "post_logout_redirect_uri": {p.cfg.chatURL(s.Label)}}
	return t.endURL + "?" + q.Encode(), nil
}

// randomText returns 128 random bits as text.
func randomText() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// validState reports whether a state is one of ours, so that it can name a cookie.
func validState(s string) bool {
	b, err := base64.RawURLEncoding.DecodeString(s)
	return err == nil && len(b) == 16
}
