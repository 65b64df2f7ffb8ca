// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2etest

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// Party is a client that speaks the protocols itself, from the standards and without the code of the system under test. RP is made of
// stock libraries, which send only what is right; a Party can also be told, by a Twist, to send what is wrong.
type Party struct {
	t testing.TB

	// Issuer is the provider, and Doc its discovery document.
	Issuer string
	Doc    map[string]any
	// ID and Secret are the client's; Auth is how it authenticates (token_endpoint_auth_method).
	ID, Secret, Auth string
	// Redirect and Scope are what it asks for.
	Redirect, Scope string
	// ResponseType is `code` when empty; ResponseMode is only sent when it is not.
	ResponseType, ResponseMode string
	// Key signs its client assertions and request objects.
	Key *Key
	// DPoP makes its proofs; nil: it uses none.
	DPoP *Key
	// Cert is its certificate; nil: it has none.
	Cert *tls.Certificate
	// PKCE sends a code_challenge, Pushed sends authorization requests to the PAR endpoint, Signed sends them as request objects.
	PKCE, Pushed, Signed bool
	// IDTokenAlg is the algorithm that its ID tokens must have.
	IDTokenAlg string

	http  *http.Client
	nonce string // the last DPoP-Nonce
}

// Twist is what is wrong, or merely unusual, with the messages of one step. The functions change what is about to be sent.
type Twist struct {
	// NoAuth leaves out the client's authentication, NoProof the DPoP proof, NoCert the certificate.
	NoAuth, NoProof, NoCert bool
	// Assertion changes the client assertion, which AssertionKey signs when it is set.
	Assertion    func(header, claims map[string]any)
	AssertionKey *Key
	// Object changes the request object, and SignObject signs it instead of the client's key.
	Object     func(header, claims map[string]any)
	SignObject func(header, claims map[string]any) string
	// Proof changes the DPoP proof, which ProofKey signs when it is set.
	Proof    func(header, claims map[string]any)
	ProofKey *Key
	// Form changes the form when it is complete.
	Form func(url.Values)
	// Header is sent besides.
	Header http.Header
	// Outside are parameters that are sent to the authorization endpoint beside what was pushed or signed.
	Outside url.Values
	// PARProof sends a DPoP proof to the PAR endpoint, which binds the code to its key.
	PARProof bool
}

// straight is nothing wrong.
var straight = &Twist{}

// NewParty makes a client of an issuer, with what its discovery document says.
func NewParty(t testing.TB, issuer string, c Client, auth string) *Party {
	t.Helper()
	p := &Party{t: t, Issuer: issuer, ID: c.ID, Secret: c.Secret, Auth: auth, Redirect: RedirectURI, Scope: "openid profile email", http: impatient()}
	p.Doc = p.Get(issuer+"/.well-known/openid-configuration", nil).JSON
	if Str(p.Doc, "issuer") != issuer {
		t.Fatalf("issuer %q in the discovery document of %q", Str(p.Doc, "issuer"), issuer)
	}
	return p
}

// For is the same client in another test.
func (p *Party) For(t testing.TB) *Party {
	c := *p
	c.t = t
	return &c
}

// UseCertificate shows a certificate in every connection.
func (p *Party) UseCertificate(cert *tls.Certificate) {
	p.Cert = cert
	p.http = HTTPClient()
	tr := Transport()
	tr.TLSClientConfig.Certificates = []tls.Certificate{*cert}
	p.http.Transport = tr
	p.t.Cleanup(tr.CloseIdleConnections)
}

// Endpoint is one of the addresses in the discovery document: for a client with a certificate its alias, where there is one (RFC 8705
// section 5).
func (p *Party) Endpoint(name string) string {
	p.t.Helper()
	if p.Cert != nil {
		if alias := Str(p.Doc, "mtls_endpoint_aliases", name); alias != "" {
			return alias
		}
	}
	address := Str(p.Doc, name)
	if address == "" {
		p.t.Fatalf("the discovery document has no %s", name)
	}
	return address
}

// Keys is the provider's JWK set.
func (p *Party) Keys() (keys []map[string]any) {
	p.t.Helper()
	for _, k := range List(p.Get(Str(p.Doc, "jwks_uri"), nil).JSON, "keys") {
		if m, ok := k.(map[string]any); ok {
			keys = append(keys, m)
		}
	}
	return keys
}

// Get asks for an address without authentication.
func (p *Party) Get(address string, header http.Header) *Answer {
	p.t.Helper()
	return patiently(func() *Answer { return p.send(http.MethodGet, address, nil, header, straight) })
}

// impatient sends each request once.
func impatient() *http.Client {
	c := HTTPClient()
	c.Transport = shared
	return c
}

func (p *Party) send(method, address string, form url.Values, header http.Header, tw *Twist) *Answer {
	p.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(p.t.Context(), method, address, body)
	if err != nil {
		p.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	maps.Copy(req.Header, header)
	maps.Copy(req.Header, tw.Header)
	c := p.http
	if tw.NoCert {
		c = impatient()
	}
	res, err := c.Do(req)
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, address, err)
	}
	a := read(p.t, res)
	if n := a.Header.Get("DPoP-Nonce"); n != "" {
		p.nonce = n
	}
	return a
}

// Assertion is a client assertion (RFC 7523 section 2.2) for the issuer, as FAPI 2.0 wants it.
func (p *Party) Assertion(tw *Twist) string {
	p.t.Helper()
	now := time.Now().Unix()
	header := map[string]any{}
	claims := map[string]any{"iss": p.ID, "sub": p.ID, "aud": p.Issuer, "jti": Unique("ca-") + Unique(""), "iat": now, "exp": now + 60}
	if tw.Assertion != nil {
		tw.Assertion(header, claims)
	}
	switch {
	case p.Auth == "client_secret_jwt":
		return SignHMAC(p.t, p.Secret, header, claims)
	case tw.AssertionKey != nil:
		return tw.AssertionKey.Sign(p.t, header, claims)
	}
	return p.Key.Sign(p.t, header, claims)
}

// Authenticate puts the client's authentication into a form or a header.
func (p *Party) Authenticate(form url.Values, header http.Header, tw *Twist) {
	p.t.Helper()
	if p.Auth == "client_secret_basic" {
		if !tw.NoAuth {
			req := &http.Request{Header: header}
			req.SetBasicAuth(url.QueryEscape(p.ID), url.QueryEscape(p.Secret))
		}
		return
	}
	form.Set("client_id", p.ID)
	switch {
	case tw.NoAuth:
	case p.Auth == "client_secret_post":
		form.Set("client_secret", p.Secret)
	case p.Auth == "private_key_jwt" || p.Auth == "client_secret_jwt":
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", p.Assertion(tw))
	}
}

// Proof is a DPoP proof (RFC 9449 section 4.2); with an access token it is one for a resource.
func (p *Party) Proof(method, address, token string, tw *Twist) string {
	p.t.Helper()
	key := p.DPoP
	if tw.ProofKey != nil {
		key = tw.ProofKey
	}
	header := map[string]any{"typ": "dpop+jwt", "jwk": key.Bare(), "kid": nil}
	claims := map[string]any{"jti": Unique("dp-") + Unique(""), "htm": method, "htu": address, "iat": time.Now().Unix()}
	if token != "" {
		claims["ath"] = Hash(token)
	}
	if p.nonce != "" {
		claims["nonce"] = p.nonce
	}
	if tw.Proof != nil {
		tw.Proof(header, claims)
	}
	return key.Sign(p.t, header, claims)
}

// Post sends a form as the client: authenticated, with a proof when it uses DPoP and the endpoint is not the PAR endpoint. A nonce that
// the server asks for is given (RFC 9449 section 8).
func (p *Party) Post(endpoint string, form url.Values, tw *Twist) *Answer {
	p.t.Helper()
	if tw == nil {
		tw = straight
	}
	address := p.Endpoint(endpoint)
	prove := p.DPoP != nil && !tw.NoProof && (endpoint == "token_endpoint" || endpoint == "pushed_authorization_request_endpoint" && tw.PARProof)
	once := func() *Answer {
		f, header := maps.Clone(form), http.Header{}
		p.Authenticate(f, header, tw)
		if tw.Form != nil {
			tw.Form(f)
		}
		if prove {
			header.Set("DPoP", p.Proof(http.MethodPost, address, "", tw))
		}
		return p.send(http.MethodPost, address, f, header, tw)
	}
	a := patiently(once)
	if a.Status == http.StatusBadRequest && Str(a.JSON, "error") == "use_dpop_nonce" {
		a = patiently(once)
	}
	return a
}

// patiently is what patient is for messages that may be sent once: each try has an assertion and a proof of its own.
func patiently(once func() *Answer) *Answer {
	for n := 1; ; n++ {
		a := once()
		if a.Status != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || n == patience {
			return a
		}
		time.Sleep(time.Second)
	}
}

// Started is an authorization request with what its client remembers of it.
type Started struct {
	// Params are what was asked for, wherever it stood.
	Params url.Values
	// Verifier is the code_verifier.
	Verifier string
	// URL is where the browser is sent.
	URL string
	// Pushed is the answer of the PAR endpoint, and RequestURI what it gave.
	Pushed     *Answer
	RequestURI string
}

// Prepare makes the parameters of a request. More parameters are added or replace; one with an empty value is taken out.
func (p *Party) Prepare(more url.Values) *Started {
	s := &Started{Params: url.Values{
		"client_id": {p.ID}, "response_type": {"code"}, "redirect_uri": {p.Redirect}, "scope": {p.Scope},
		"state": {Unique("state-")}, "nonce": {Unique("nonce-")},
	}}
	if p.ResponseType != "" {
		s.Params.Set("response_type", p.ResponseType)
	}
	if p.ResponseMode != "" {
		s.Params.Set("response_mode", p.ResponseMode)
	}
	if p.PKCE {
		s.Verifier = oauth2.GenerateVerifier()
		s.Params.Set("code_challenge", Hash(s.Verifier))
		s.Params.Set("code_challenge_method", "S256")
	}
	for k, v := range more {
		if len(v) == 1 && v[0] == "" {
			s.Params.Del(k)
			continue
		}
		s.Params[k] = v
	}
	return s
}

// Object is the request object (RFC 9101) of a request.
func (p *Party) Object(s *Started, tw *Twist) string {
	p.t.Helper()
	now := time.Now().Unix()
	header := map[string]any{"typ": "oauth-authz-req+jwt"}
	claims := map[string]any{"iss": p.ID, "aud": p.Issuer, "iat": now, "nbf": now, "exp": now + 300, "jti": Unique("ro-")}
	for k, v := range s.Params {
		claims[k] = v[0]
		// What is JSON in a query is JSON in the object (OpenID Connect Core section 6.1).
		if k == "claims" || k == "authorization_details" {
			claims[k] = json.RawMessage(v[0])
		}
	}
	if tw.Object != nil {
		tw.Object(header, claims)
	}
	if tw.SignObject != nil {
		return tw.SignObject(header, claims)
	}
	return p.Key.Sign(p.t, header, claims)
}

// Start makes a request that must be accepted as far as it goes.
func (p *Party) Start(more url.Values, tw *Twist) *Started {
	p.t.Helper()
	s := p.TryStart(more, tw)
	if s.Pushed != nil && s.Pushed.Status != http.StatusCreated {
		p.t.Fatalf("the pushed request: %d %s", s.Pushed.Status, s.Pushed.Body)
	}
	return s
}

// TryStart is Start for a request that the PAR endpoint may refuse; then it has no URL.
func (p *Party) TryStart(more url.Values, tw *Twist) *Started {
	p.t.Helper()
	if tw == nil {
		tw = straight
	}
	s := p.Prepare(more)
	sent := maps.Clone(s.Params)
	if p.Signed {
		sent = url.Values{"client_id": {p.ID}, "request": {p.Object(s, tw)}}
	}
	if p.Pushed {
		if s.Pushed = p.Post("pushed_authorization_request_endpoint", sent, tw); s.Pushed.Status != http.StatusCreated {
			return s
		}
		s.RequestURI = Str(s.Pushed.JSON, "request_uri")
		sent = url.Values{"client_id": {p.ID}, "request_uri": {s.RequestURI}}
	} else if p.Signed && p.Doc != nil {
		// OpenID Connect Core section 6.1: these two also outside.
		sent.Set("response_type", s.Params.Get("response_type"))
		sent.Set("scope", s.Params.Get("scope"))
	}
	maps.Copy(sent, tw.Outside)
	s.URL = p.Endpoint("authorization_endpoint") + "?" + sent.Encode()
	return s
}

// Returned reports whether an address is the client's.
func (p *Party) Returned(u *url.URL) bool { return strings.HasPrefix(u.String(), p.Redirect) }
