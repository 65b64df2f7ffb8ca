// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/tenantry/tenantry/pkg/jose"
)

// The authentication schemes.
const (
	SchemeBearer = "Bearer" // RFC 6750
	SchemeDPoP   = "DPoP"   // RFC 9449
)

// maxToken is larger than any access token of Tenantry.
const maxToken = 8 << 10

// Verifier checks access tokens. It is safe for concurrent use; an application makes one for each of its APIs.
type Verifier struct {
	cfg     Config
	options jose.VerifyOptions
	proofs  jose.VerifyOptions
	issuers *issuers
	answers *answers // of introspection
}

// New makes a Verifier. It fetches nothing yet. The error names all that is wrong with the configuration.
func New(cfg Config) (*Verifier, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	v := &Verifier{
		cfg:     cfg,
		options: jose.VerifyOptions{Typ: []string{"at+jwt"}, Algorithms: cfg.Algorithms, MaxBytes: maxToken},
		proofs:  jose.VerifyOptions{Typ: []string{"dpop+jwt"}, Algorithms: cfg.ProofAlgorithms, MaxBytes: maxToken},
		issuers: newIssuers(cfg.HTTPClient, cfg.MaxIssuers, cfg.Now),
	}
	if cfg.Introspection != nil {
		v.answers = newAnswers(cfg.Introspection.Cache, cfg.Now)
	}
	return v, nil
}

// Request is a token with all of the request that it is judged by.
type Request struct {
	// Token is the access token.
	Token string
	// Scheme is what it came with; empty is SchemeBearer.
	Scheme string
	// Host is the request's, for IssuerFor; in any case, with or without port.
	Host string
	// Tenant is the tenant of this request, tnt_…. It must be set with TenantPerRequest, and wins over Config.Tenant otherwise.
	Tenant string
	// Require is what this request needs beside Config.Require.
	Require Requirement

	// Method and URL are the request's as the client sent it, and Proofs the values of its DPoP headers: for tokens bound by DPoP.
	Method string
	URL    *url.URL
	Proofs []string
	// Certificate is the client's: for tokens bound to one.
	Certificate *x509.Certificate
}

// Verify answers the claims of a token that counts, in all that the package comment says. The error is an *Error for the client, or wraps
// ErrNoToken, ErrUnavailable or the context's own.
func (v *Verifier) Verify(ctx context.Context, r Request) (*Claims, error) {
	if r.Token == "" {
		return nil, ErrNoToken
	}
	if len(r.Token) > maxToken {
		return nil, invalidToken("The token is too large", nil)
	}
	issuer, tenant := v.cfg.Issuer, v.cfg.Tenant
	if v.cfg.IssuerFor != nil {
		var ok bool
		if issuer, ok = v.cfg.IssuerFor(hostname(r.Host)); !ok {
			return nil, invalidToken("No issuer belongs to this host", nil)
		}
		if err := checkIssuer(issuer); err != nil {
			return nil, fmt.Errorf("%w: IssuerFor: %w", ErrUnavailable, err)
		}
	}
	switch {
	case strings.HasPrefix(r.Tenant, tenantPrefix):
		tenant = r.Tenant
	case r.Tenant != "" || tenant == "" || tenant == TenantPerRequest:
		// What comes with the request may be out of its path. It is an id, or it is nothing; never one of the words of the configuration.
		return nil, invalidToken("No tenant belongs to this request", nil)
	}
	payload, err := v.payload(ctx, issuer, r.Token)
	if err != nil {
		return nil, err
	}
	c, err := parseClaims(payload)
	if err != nil {
		return nil, invalidToken("The token is not an access token", err)
	}
	if err := v.check(c, issuer, tenant); err != nil {
		return nil, err
	}
	if err := v.checkBinding(ctx, c, &r); err != nil {
		return nil, err
	}
	if err := v.meets(c, v.cfg.Require.and(r.Require)); err != nil {
		return nil, err
	}
	return c, nil
}

// payload is the token's claims: those that the issuer signed, or those that it answers when asked.
func (v *Verifier) payload(ctx context.Context, issuer, token string) ([]byte, error) {
	if v.cfg.Introspection != nil && strings.Count(token, ".") != 2 {
		return v.introspect(ctx, issuer, token)
	}
	payload, err := v.verifyJWT(ctx, issuer, token)
	if err != nil || v.cfg.Introspection == nil {
		return payload, err
	}
	return v.introspect(ctx, issuer, token)
}

// verifyJWT checks the signature with the issuer's keys. A kid that is not among them is worth one look for new ones.
func (v *Verifier) verifyJWT(ctx context.Context, issuer, token string) ([]byte, error) {
	entry, err := v.issuers.get(ctx, issuer)
	if err != nil {
		return nil, err
	}
	state := entry.state.Load()
	payload, _, err := state.set.Verify(token, v.options)
	if errors.Is(err, jose.ErrUnknownKey) {
		renewed, waitErr := v.issuers.lookAgain(ctx, entry, state)
		if waitErr != nil {
			return nil, waitErr
		}
		if renewed != nil {
			payload, _, err = renewed.set.Verify(token, v.options)
		}
	}
	if err != nil {
		return nil, invalidToken("The token is malformed, or was not issued by this issuer", err)
	}
	return payload, nil
}

// checkBinding is rule 6: who presents a bound token proves its key, in the scheme that belongs to it.
func (v *Verifier) checkBinding(ctx context.Context, c *Claims, r *Request) error {
	dpop := strings.EqualFold(r.Scheme, SchemeDPoP)
	switch {
	case c.KeyThumbprint != "" && !dpop:
		// RFC 9449 section 7.2: a bound token in the Bearer scheme is a stolen one, or a client that forgot.
		return &Error{Code: CodeInvalidToken, Description: "The token is bound to a key and needs the DPoP scheme", dpop: true}
	case c.KeyThumbprint == "" && dpop:
		return &Error{Code: CodeInvalidToken, Description: "The token is not bound to a DPoP key", dpop: true}
	case c.KeyThumbprint == "" && c.CertificateThumbprint == "" && v.cfg.RequireBinding:
		return invalidToken("The token must be bound to a key", nil)
	}
	if c.CertificateThumbprint != "" {
		if r.Certificate == nil {
			return invalidToken("The token is bound to a client certificate, which is missing", nil)
		}
		if !sameText(jose.CertificateThumbprint(r.Certificate.Raw), c.CertificateThumbprint) {
			return invalidToken("The token is bound to another client certificate", nil)
		}
	}
	if c.KeyThumbprint != "" {
		return v.checkProof(ctx, c, r)
	}
	return nil
}

func sameText(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// hostname is a Host header's name: without port and trailing dot, in lower case.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
