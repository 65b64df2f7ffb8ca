// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Command standards does, as an application would, what curl cannot do alone: requests that are signed. Each command prints what the
// tenant answered; docs/standards.md shows them all.
//
//	standards key FILE          make a P-256 key, unless FILE has one, and print its public half as a JWK Set
//	standards private-key-jwt   a client's own token; the client proves itself by a signature         RFC 7523 section 2.2
//	standards dpop              the same, and the token is good only together with the key            RFC 9449
//	standards jwt-bearer        a token for a user whom a trusted issuer vouches for                  RFC 7523 section 2.1
//	standards jar               a signed authorization request, pushed, and the signed answer         RFC 9101, RFC 9126, JARM
//
// It uses the standard library alone (and go-oidc to check what the tenant signed), to show that there is no more to it. In your
// application take a library for JWTs.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

func main() {
	var a app
	flag.StringVar(&a.issuer, "issuer", "http://standards.localhost:8080", "the tenant's issuer")
	flag.StringVar(&a.id, "client", "", "client_id")
	flag.StringVar(&a.scope, "scope", "", "scopes to ask for")
	flag.StringVar(&a.redirect, "redirect-uri", "", "for jar: where the browser comes back to")
	flag.StringVar(&a.assertionIssuer, "assertion-issuer", "", "for jwt-bearer: who vouches for the user")
	flag.StringVar(&a.subject, "subject", "", "for jwt-bearer: the id of the user at the tenant")
	file := flag.String("key", "", "file with the client's private key")
	flag.Parse()
	ctx := oidc.ClientContext(context.Background(), client)
	if err := a.run(ctx, flag.Arg(0), flag.Arg(1), *file); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

// client reaches *.localhost on this machine, as browsers and curl do and Go does not, and leaves redirections to us. Outside of
// development http.DefaultClient will do for the first.
var client = &http.Client{
	Timeout: 10 * time.Second,
	Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, port, err := net.SplitHostPort(address); err == nil && strings.HasSuffix(host, ".localhost") {
			address = net.JoinHostPort("127.0.0.1", port)
		}
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// app is a client of a tenant.
type app struct {
	issuer, id, scope, redirect      string
	assertionIssuer, subject         string
	key                              *ecdsa.PrivateKey
	token, pushed, authorize, jwkSet string // endpoints, from discovery
}

func (a *app) run(ctx context.Context, command, newKey, file string) error {
	if command == "key" {
		return makeKey(newKey)
	}
	var err error
	if a.key, err = readKey(file); err != nil {
		return err
	}
	if err := a.discover(ctx); err != nil {
		return err
	}
	switch command {
	case "private-key-jwt":
		return show(a.post(ctx, a.token, url.Values{"grant_type": {"client_credentials"}, "scope": {a.scope}}, ""))
	case "dpop":
		return a.dpop(ctx)
	case "jwt-bearer":
		return a.jwtBearer(ctx)
	case "jar":
		return a.signedRequest(ctx)
	}
	return errors.New("say which: key, private-key-jwt, dpop, jwt-bearer or jar")
}

// discover reads where the endpoints are. Issuer and endpoints come from the one document of this tenant: an application that mixes
// those of two tenants can be tricked (RFC 9700 section 4.4).
func (a *app) discover(ctx context.Context) error {
	provider, err := oidc.NewProvider(ctx, a.issuer) // compares the issuer in the document with ours
	if err != nil {
		return err
	}
	var doc struct {
		Token     string `json:"token_endpoint"`
		Authorize string `json:"authorization_endpoint"`
		Pushed    string `json:"pushed_authorization_request_endpoint"`
		JWKSet    string `json:"jwks_uri"`
	}
	err = provider.Claims(&doc)
	a.token, a.authorize, a.pushed, a.jwkSet = doc.Token, doc.Authorize, doc.Pushed, doc.JWKSet
	return err
}

// dpop asks for a token that is bound to the client's key. An API that gets the token wants a proof for each request, too, with the hash
// of the token in it (`ath`): pkg/verify checks both.
func (a *app) dpop(ctx context.Context) error {
	nonce := ""
	for {
		proof := map[string]any{"htm": http.MethodPost, "htu": a.token, "jti": rand.Text(), "iat": time.Now().Unix()}
		if nonce != "" {
			proof["nonce"] = nonce
		}
		text, err := sign(a.key, header{Type: "dpop+jwt", JWK: public(a.key)}, proof)
		if err != nil {
			return err
		}
		answer, err := a.post(ctx, a.token, url.Values{"grant_type": {"client_credentials"}, "scope": {a.scope}}, text)
		// An installation may demand a nonce of its own in each proof: the first answer has it (RFC 9449 section 8).
		if next := answer.header.Get("DPoP-Nonce"); err == nil && nonce == "" && next != "" && answer.is("use_dpop_nonce") {
			nonce = next
			continue
		}
		return show(answer, err)
	}
}

// jwtBearer trades an assertion for an access token. The assertion is what another system of yours makes, whose key the client is
// registered to trust; here both are one program.
func (a *app) jwtBearer(ctx context.Context) error {
	now := time.Now().Unix()
	assertion, err := sign(a.key, header{Type: "JWT"}, map[string]any{
		"iss": a.assertionIssuer, "sub": a.subject, "aud": a.issuer, "jti": rand.Text(), "iat": now, "exp": now + 60,
	})
	if err != nil {
		return err
	}
	return show(a.post(ctx, a.token, url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}, "scope": {a.scope},
	}, ""))
}

// signedRequest pushes a signed authorization request, follows it as a browser would, and checks the signed answer.
func (a *app) signedRequest(ctx context.Context) error {
	verifier, state, now := rand.Text(), rand.Text(), time.Now().Unix()
	challenge := sha256.Sum256([]byte(verifier))
	object, err := sign(a.key, header{Type: "oauth-authz-req+jwt"}, map[string]any{
		"iss": a.id, "aud": a.issuer, "nbf": now, "exp": now + 60, "jti": rand.Text(),
		"client_id": a.id, "response_type": "code", "response_mode": "jwt", "redirect_uri": a.redirect, "scope": a.scope,
		"state": state, "nonce": rand.Text(), "code_challenge": b64(challenge[:]), "code_challenge_method": "S256",
		"prompt": "none", // answer at once: nobody is there to log in
	})
	if err != nil {
		return err
	}
	// Only what is inside the signed object counts (RFC 9101 section 6.3).
	answer, err := a.post(ctx, a.pushed, url.Values{"request": {object}}, "")
	if err != nil {
		return err
	}
	var pushed struct {
		RequestURI string `json:"request_uri"`
	}
	if err := json.Unmarshal(answer.body, &pushed); err != nil || pushed.RequestURI == "" {
		return fmt.Errorf("the request was not taken: %s", answer.body)
	}
	fmt.Printf("pushed: %s\n", answer.body)

	// The browser carries nothing but a reference.
	front := a.authorize + "?" + url.Values{"client_id": {a.id}, "request_uri": {pushed.RequestURI}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, front, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req) // one step: the redirection is for us to read
	if err != nil {
		return err
	}
	defer res.Body.Close()
	back, err := res.Location()
	if err != nil {
		return fmt.Errorf("authorization endpoint: %s without a redirection", res.Status)
	}
	// The tenant's keys by its jwks_uri. Signature first, then iss, aud, exp, then state (JARM section 2.4).
	payload, err := oidc.NewRemoteKeySet(ctx, a.jwkSet).VerifySignature(ctx, back.Query().Get("response"))
	if err != nil {
		return err
	}
	var got struct {
		Issuer   string `json:"iss"`
		Audience string `json:"aud"`
		Expires  int64  `json:"exp"`
		State    string `json:"state"`
	}
	if err := json.Unmarshal(payload, &got); err != nil {
		return err
	}
	if got.Issuer != a.issuer || got.Audience != a.id || got.Expires < time.Now().Unix() || got.State != state {
		return errors.New("the answer is not for this request")
	}
	fmt.Printf("verified: %s\n", payload)
	return nil
}

// answer is what the tenant said.
type answer struct {
	header http.Header
	body   []byte
}

func (r answer) is(code string) bool {
	var e struct {
		Error string `json:"error"`
	}
	return json.Unmarshal(r.body, &e) == nil && e.Error == code
}

// post sends a form with what proves that it comes from the client: a JWT that names the client, is for this tenant alone, counts once and
// for a minute (RFC 7523 section 3). No secret leaves the client.
func (a *app) post(ctx context.Context, to string, form url.Values, proof string) (answer, error) {
	now := time.Now().Unix()
	assertion, err := sign(a.key, header{Type: "JWT"}, map[string]any{
		"iss": a.id, "sub": a.id, "aud": a.issuer, "jti": rand.Text(), "iat": now, "exp": now + 60,
	})
	if err != nil {
		return answer{}, err
	}
	form.Set("client_id", a.id)
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", assertion)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if proof != "" {
		req.Header.Set("DPoP", proof)
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return answer{res.Header, body}, err
}

func show(r answer, err error) error {
	if err == nil {
		fmt.Printf("%s\n", r.body)
	}
	return err
}
