// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

type contextKey struct{}

// FromContext is the claims of the token that a request came with, inside a handler behind Middleware.
func FromContext(ctx context.Context) (*Claims, bool) {
	c, ok := ctx.Value(contextKey{}).(*Claims)
	return c, ok
}

// Middleware lets requests through that have a token which counts and meets the requirements, and answers the others: 401 or 403 with the
// challenges of RFC 6750, 9449, 9470 and 9728, 400 for a request that is malformed, 503 when the token cannot be checked. The token is taken from
// the Authorization header alone.
func (v *Verifier) Middleware(next http.Handler, need ...Requirement) http.Handler {
	var all Requirement
	for _, n := range need {
		all = all.and(n)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, err := v.VerifyHTTP(r, all)
		if err != nil {
			v.WriteError(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, claims)))
	})
}

// VerifyHTTP is what Middleware does before it answers: for handlers that want to answer themselves, or that learn only on the way what a
// request needs.
func (v *Verifier) VerifyHTTP(r *http.Request, need Requirement) (*Claims, error) {
	scheme, token, err := authorization(r)
	if err != nil {
		return nil, err
	}
	in := Request{
		Token: token, Scheme: scheme, Host: r.Host, Require: need,
		Method: r.Method, URL: v.cfg.RequestURL(r), Proofs: r.Header.Values("DPoP"), Certificate: v.cfg.Certificate(r),
	}
	if v.cfg.TenantFor != nil {
		tenant, ok := v.cfg.TenantFor(r)
		if !ok || tenant == "" {
			return nil, invalidToken("No tenant belongs to this request", nil)
		}
		in.Tenant = tenant
	}
	return v.Verify(r.Context(), in)
}

// authorization takes the token from the header (RFC 6750 section 2.1, RFC 9449 section 7.1).
func authorization(r *http.Request) (scheme, token string, err error) {
	values := r.Header.Values("Authorization")
	switch len(values) {
	case 0:
		return "", "", ErrNoToken
	case 1:
	default:
		return "", "", &Error{Code: CodeInvalidRequest, Description: "There is more than one Authorization header"}
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	switch {
	case strings.EqualFold(scheme, SchemeBearer):
		scheme = SchemeBearer
	case strings.EqualFold(scheme, SchemeDPoP):
		scheme = SchemeDPoP
	default:
		return "", "", ErrNoToken // another scheme is not for us
	}
	token = strings.Trim(token, " ")
	if !ok || !isToken68(token) {
		return "", "", &Error{Code: CodeInvalidRequest, Description: "The Authorization header is malformed", dpop: scheme == SchemeDPoP}
	}
	return scheme, token, nil
}

// isToken68 is the form of a token in the header (RFC 9110 section 11.2).
func isToken68(s string) bool {
	rest := strings.TrimRight(s, "=")
	if rest == "" {
		return false
	}
	for i := range len(rest) {
		if c := rest[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("-._~+/", c) < 0 {
			return false
		}
	}
	return true
}

// WriteError answers an error of Verify or VerifyHTTP with its status and challenges, and a short body.
func (v *Verifier) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	var known *Error
	switch {
	case errors.As(err, &known):
		if known.Nonce != "" {
			h.Set("DPoP-Nonce", known.Nonce)
		}
		for _, challenge := range v.Challenges(r, known) {
			h.Add("WWW-Authenticate", challenge)
		}
		http.Error(w, known.Code+": "+known.Description, known.Status())
	case errors.Is(err, ErrNoToken):
		for _, challenge := range v.Challenges(r, nil) {
			h.Add("WWW-Authenticate", challenge)
		}
		http.Error(w, "an access token is needed", http.StatusUnauthorized)
	default:
		h.Set("Retry-After", "5")
		http.Error(w, "the access token cannot be checked at the moment", http.StatusServiceUnavailable)
	}
}

// Challenges are the WWW-Authenticate values for an error, or for a request without a token when e is nil: then there is one for each scheme that
// would do, without an error code (RFC 6750 section 3.1, RFC 9449 section 7.1).
func (v *Verifier) Challenges(r *http.Request, e *Error) []string {
	if e == nil {
		dpop := v.challenge(SchemeDPoP, r, nil)
		if v.cfg.Metadata != nil && v.cfg.Metadata.DPoPRequired {
			return []string{dpop}
		}
		return []string{v.challenge(SchemeBearer, r, nil), dpop}
	}
	// The scheme that was used, or that should have been.
	if scheme, _, err := authorization(r); e.dpop || err == nil && scheme == SchemeDPoP {
		return []string{v.challenge(SchemeDPoP, r, e)}
	}
	return []string{v.challenge(SchemeBearer, r, e)}
}

func (v *Verifier) challenge(scheme string, r *http.Request, e *Error) string {
	var b strings.Builder
	b.WriteString(scheme)
	separator := " "
	param := func(name, value string) {
		if value == "" {
			return
		}
		b.WriteString(separator + name + `="`)
		for i := range len(value) {
			// The characters of RFC 6750 section 3; nothing of the request gets here, and the application's own words cannot break the header.
			if c := value[i]; c >= ' ' && c <= '~' && c != '"' && c != '\\' {
				b.WriteByte(c)
			}
		}
		b.WriteByte('"')
		separator = ", "
	}
	param("realm", v.cfg.Realm)
	if e != nil {
		param("error", e.Code)
		param("error_description", e.Description)
		switch e.Code {
		case CodeInsufficientScope:
			param("scope", strings.Join(e.Require.Scopes, " "))
		case CodeInsufficientAuthentication:
			param("acr_values", strings.TrimSpace(strings.Join(e.Require.ACR, " ")))
			if e.Require.MaxAge > 0 {
				param("max_age", strconv.FormatInt(int64(e.Require.MaxAge.Seconds()), 10))
			}
		}
	}
	if scheme == SchemeDPoP {
		names := make([]string, len(v.cfg.ProofAlgorithms))
		for i, a := range v.cfg.ProofAlgorithms {
			names[i] = string(a)
		}
		param("algs", strings.Join(names, " "))
	}
	if m := v.cfg.Metadata; m != nil {
		if resource, err := m.resource(r.Host); err == nil {
			if address, err := ResourceMetadataURL(resource); err == nil {
				param("resource_metadata", address)
			}
		}
	}
	return b.String()
}
