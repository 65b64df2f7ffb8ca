// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/jose"
)

// What Config.Tenant may be instead of a tenant's id.
const (
	// TenantPerRequest: the caller of Verify says the tenant each time, in Request.Tenant. Without it a request is refused.
	TenantPerRequest = "per-request"
	// TenantOfIssuer: every issuer is one tenant (issuer mode TENANT or CUSTOM_DOMAIN), so the issuer that was asked for is the tenant that was
	// asked for. The token must name a tenant; which, is in the Claims.
	TenantOfIssuer = "of-issuer"
	// NoTenant: this API belongs to no tenant. Only tokens without tnt are taken, which are those of clients.
	NoTenant = "none"
)

// What Config.TokenUse may be.
const (
	UserTokens   = "user"   // tokens of people, through a client
	ClientTokens = "client" // tokens of clients, for themselves
	AnyTokens    = "any"
)

const tenantPrefix = "tnt_"

// Config says what a Verifier accepts. Issuer or IssuerFor, Audience, Tenant or TenantFor, and TokenUse have no default.
type Config struct {
	// Issuer is the issuer, exactly as in its discovery document.
	Issuer string
	// IssuerFor is the issuer for a request's host, which comes in lower case without port. It must answer false for a host that it does not
	// know. See HostPattern.
	IssuerFor func(host string) (issuer string, ok bool)

	// Audience is this API's identifier: what must be in aud.
	Audience string

	// Tenant is the tenant (tnt_…) of all requests, or one of the words above.
	Tenant string
	// TenantFor is the tenant of a request that Middleware serves, from its host, path or the application's session. False refuses the request.
	TenantFor func(r *http.Request) (tenant string, ok bool)

	// Org, unless it is empty, is the org that tokens must be of.
	Org string
	// TokenUse is UserTokens, ClientTokens or AnyTokens.
	TokenUse string
	// AllowDevelopment takes tokens of development tenants (env dev) as well.
	AllowDevelopment bool

	// Require is what every request needs, beside what its route asks for.
	Require Requirement
	// RequireBinding refuses bearer tokens: each token must be bound to a key, and the key proved.
	RequireBinding bool

	// Algorithms are those of access tokens. Default: ES256, ES384, PS256, RS256, EdDSA.
	Algorithms []jose.Algorithm
	// ProofAlgorithms are those of DPoP proofs, named in challenges. Default: the same.
	ProofAlgorithms []jose.Algorithm
	// Leeway is how far this machine's clock may be off; 0 means 30 s, the most is 60 s.
	Leeway time.Duration
	// ProofWindow is how old a DPoP proof may be; 0 means 60 s, the most is 5 minutes.
	ProofWindow time.Duration
	// Replays, unless it is nil, refuses a DPoP proof that was used before. See NewMemoryReplays.
	Replays ReplayCache
	// Nonces, unless it is nil, makes clients put our nonces into their proofs. See NewNonces.
	Nonces NonceSource

	// Introspection, unless it is nil, asks the issuer about each token.
	Introspection *Introspection

	// RequestURL is the URL that the client called, where a proxy in front changes it. Default: the request's Host and path, https with TLS.
	RequestURL func(r *http.Request) *url.URL
	// Certificate is the client's certificate, where a proxy in front ends TLS. Default: that of the connection.
	Certificate func(r *http.Request) *x509.Certificate

	// Realm is that of challenges. Default: the audience.
	Realm string
	// Metadata, unless it is nil, is the protected resource metadata (RFC 9728): challenges point at it, and MetadataHandler serves it.
	Metadata *ResourceMetadata

	// HTTPClient fetches discovery, keys and introspection. Default: one that follows no redirects and waits 5 s.
	HTTPClient *http.Client
	// MaxIssuers bounds the issuers that are remembered. Default 1,000.
	MaxIssuers int
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Requirement is what a request needs beyond a token that counts.
type Requirement struct {
	// Scopes must all be in the token.
	Scopes []string
	// ACR are the authentication contexts of which the token must have one (RFC 9470).
	ACR []string
	// MaxAge is how long ago the person may have logged in, 0 for any time.
	MaxAge time.Duration
}

// and is both requirements. A list of contexts narrows the other: the token's must be in both.
func (r Requirement) and(o Requirement) Requirement {
	out := Requirement{Scopes: r.Scopes, ACR: r.ACR, MaxAge: r.MaxAge}
	if len(o.Scopes) > 0 {
		out.Scopes = slices.Concat(r.Scopes, o.Scopes)
	}
	if len(o.ACR) > 0 {
		out.ACR = o.ACR
		if len(r.ACR) > 0 {
			// Made anew, and never empty: a token can have no context of this name, so nothing passes when the lists exclude each other.
			out.ACR = slices.DeleteFunc(slices.Clone(o.ACR), func(a string) bool { return !slices.Contains(r.ACR, a) })
			if len(out.ACR) == 0 {
				out.ACR = []string{""}
			}
		}
	}
	if o.MaxAge > 0 && (r.MaxAge == 0 || o.MaxAge < r.MaxAge) {
		out.MaxAge = o.MaxAge
	}
	return out
}

const (
	defaultLeeway      = 30 * time.Second
	maxLeeway          = 60 * time.Second
	defaultProofWindow = 60 * time.Second
	maxProofWindow     = 5 * time.Minute
	defaultMaxIssuers  = 1000
)

var allAlgorithms = []jose.Algorithm{jose.ES256, jose.ES384, jose.PS256, jose.RS256, jose.EdDSA}

// check fills in the defaults and names what is wrong.
func (c *Config) check() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if (c.Issuer == "") == (c.IssuerFor == nil) {
		bad("set either Issuer or IssuerFor")
	}
	if c.Issuer != "" {
		if err := checkIssuer(c.Issuer); err != nil {
			bad("Issuer: %w", err)
		}
	}
	if c.Audience == "" {
		bad("set Audience: without it every token of the org's other APIs would count here")
	}
	switch {
	case (c.Tenant == "") == (c.TenantFor == nil):
		bad("set either Tenant or TenantFor: without it a customer's token would count at another")
	case c.Tenant != "" && !strings.HasPrefix(c.Tenant, tenantPrefix) && c.Tenant != TenantPerRequest && c.Tenant != TenantOfIssuer && c.Tenant != NoTenant:
		bad("Tenant must be a tenant's id or one of the package's words")
	}
	if c.TokenUse != UserTokens && c.TokenUse != ClientTokens && c.TokenUse != AnyTokens {
		bad("TokenUse must be one of the package's words")
	}
	if c.TokenUse == UserTokens && c.Tenant == NoTenant {
		bad("every user's token has a tenant: NoTenant would refuse all")
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		bad("Leeway must be between 0 (the default) and %s", maxLeeway)
	}
	if c.ProofWindow < 0 || c.ProofWindow > maxProofWindow {
		bad("ProofWindow must be between 0 (the default) and %s", maxProofWindow)
	}
	for _, a := range slices.Concat(c.Algorithms, c.ProofAlgorithms) {
		if !a.Valid() {
			bad("%q is no algorithm that tokens or proofs may be signed with", a)
		}
	}
	if c.Introspection != nil {
		if err := c.Introspection.check(); err != nil {
			bad("Introspection: %w", err)
		}
	}
	c.defaults()
	if c.Metadata != nil {
		m := *c.Metadata // the caller's stays as it is
		c.Metadata = &m
		if err := m.complete(c); err != nil {
			bad("Metadata: %w", err)
		}
	}
	return errors.Join(problems...)
}

func (c *Config) defaults() {
	if len(c.Algorithms) == 0 {
		c.Algorithms = allAlgorithms
	}
	if len(c.ProofAlgorithms) == 0 {
		c.ProofAlgorithms = allAlgorithms
	}
	if c.Leeway == 0 {
		c.Leeway = defaultLeeway
	}
	if c.ProofWindow == 0 {
		c.ProofWindow = defaultProofWindow
	}
	if c.RequestURL == nil {
		c.RequestURL = requestURL
	}
	if c.Certificate == nil {
		c.Certificate = peerCertificate
	}
	if c.Realm == "" {
		c.Realm = c.Audience
	}
	if c.MaxIssuers <= 0 {
		c.MaxIssuers = defaultMaxIssuers
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{
			Timeout:       5 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
}

// checkIssuer takes https, and http where nothing leaves the machine.
func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("must be a URL such as https://hooli.example.com")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !isLocal(u.Hostname())) {
		return errors.New("must be https")
	}
	return nil
}

// isLocal reports whether a host is this machine (RFC 6761 section 6.3).
func isLocal(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || host == "127.0.0.1" || host == "::1"
}

// requestURL is what the client called when nothing stands in front.
func requestURL(r *http.Request) *url.URL {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return &url.URL{Scheme: scheme, Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath}
}

func peerCertificate(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0]
}

// HostPattern makes an IssuerFor from two patterns with one {label} each, which is one label of a hostname: with "{label}.app.example.com" and
// "https://{label}.login.example.com", a request to hooli.app.example.com is of the issuer https://hooli.login.example.com. A host that does not
// fit has no issuer.
func HostPattern(host, issuer string) (func(host string) (string, bool), error) {
	const label = "{label}"
	before, after, ok := strings.Cut(strings.ToLower(host), label)
	if !ok || strings.Contains(after, label) || strings.Count(issuer, label) != 1 {
		return nil, fmt.Errorf("verify: both patterns need one %s", label)
	}
	if err := checkIssuer(strings.ReplaceAll(issuer, label, "label")); err != nil {
		return nil, fmt.Errorf("verify: issuer pattern: %w", err)
	}
	return func(host string) (string, bool) {
		rest, ok := strings.CutPrefix(host, before)
		if !ok {
			return "", false
		}
		name, ok := strings.CutSuffix(rest, after)
		if !ok || !validLabel(name) {
			return "", false
		}
		return strings.Replace(issuer, label, name, 1), true
	}, nil
}

// validLabel reports whether s is one DNS label in lower case (RFC 1123 section 2.1).
func validLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
