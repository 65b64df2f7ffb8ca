// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// HeaderDPoP and HeaderDPoPNonce are the header fields of RFC 9449 (sections 4.1 and 8.1).
const (
	HeaderDPoP      = "DPoP"
	HeaderDPoPNonce = "DPoP-Nonce"
)

// TypeProof is the `typ` of a DPoP proof (RFC 9449 section 4.2).
const TypeProof = "dpop+jwt"

// MaxProofBytes bounds the text of a proof: an RSA key of 4096 bits and a nonce fit well.
const MaxProofBytes = 4 << 10

// maxProofAge is how old a proof may be; replay marks are kept for as long, and for the skew.
const maxProofAge = time.Minute

// ErrProof is wrapped by everything that is wrong with a proof.
var ErrProof = errors.New("oauth2: DPoP proof")

// Proof is the payload of a DPoP proof (RFC 9449 section 4.2).
type Proof struct {
	// ID is `jti`, by which a proof counts once.
	ID string
	// Method and URL are `htm` and `htu`.
	Method, URL string
	// IssuedAt is `iat`. NotBefore and ExpireTime are not in the standard; who sends them means them, so they count.
	IssuedAt, NotBefore, ExpireTime time.Time
	// TokenHash is `ath`, empty when absent.
	TokenHash string
	// Nonce is `nonce`, empty when absent.
	Nonce string
}

// ProofRules are what a proof is judged by.
type ProofRules struct {
	// Method and URLs are the request's: one of the addresses that the endpoint has.
	Method string
	URLs   []string
	// Now is the time.
	Now time.Time
	// Token is the access token that comes with the proof; empty where there is none. With one `ath` must be its hash.
	Token string
}

// ParseProof reads the payload of a proof whose signature was verified by its own key. Members that are not known are ignored. Errors
// wrap ErrProof.
func ParseProof(payload []byte) (p Proof, err error) {
	set, err := parseClaims(payload)
	if err != nil {
		return p, fmt.Errorf("%w: %w", ErrProof, err)
	}
	for _, t := range [...]struct {
		name string
		to   *string
	}{{"jti", &p.ID}, {"htm", &p.Method}, {"htu", &p.URL}, {"ath", &p.TokenHash}, {"nonce", &p.Nonce}} {
		if *t.to, err = set.text(t.name); err != nil {
			return p, fmt.Errorf("%w: %s: %w", ErrProof, t.name, err)
		}
	}
	for _, t := range [...]struct {
		name string
		to   *time.Time
	}{{"iat", &p.IssuedAt}, {"nbf", &p.NotBefore}, {"exp", &p.ExpireTime}} {
		if *t.to, err = set.time(t.name); err != nil {
			return p, fmt.Errorf("%w: %s: %w", ErrProof, t.name, err)
		}
	}
	if p.ID == "" || p.Method == "" || p.URL == "" || p.IssuedAt.IsZero() {
		return p, fmt.Errorf("%w: %w", ErrProof, errClaimsEmpty)
	}
	if len(p.ID) > maxIdentifierBytes || len(p.URL) > MaxParamBytes {
		return p, fmt.Errorf("%w: jti or htu is too long", ErrProof)
	}
	return p, nil
}

// Check holds the proof against the request (RFC 9449 section 4.3). The nonce and whether it was presented before are the caller's
// questions. Errors wrap ErrProof.
func (p *Proof) Check(r ProofRules) error {
	if p.Method != r.Method {
		return fmt.Errorf("%w: htm is not the method", ErrProof)
	}
	if !p.names(r.URLs) {
		return fmt.Errorf("%w: htu is not the address", ErrProof)
	}
	switch {
	case p.IssuedAt.Before(r.Now.Add(-maxProofAge)):
		return fmt.Errorf("%w: iat is too old", ErrProof)
	case p.IssuedAt.After(r.Now.Add(clockSkew)), p.NotBefore.After(r.Now.Add(clockSkew)):
		return fmt.Errorf("%w: iat or nbf is in the future", ErrProof)
	case !p.ExpireTime.IsZero() && !r.Now.Before(p.ExpireTime.Add(clockSkew)):
		return fmt.Errorf("%w: expired", ErrProof)
	}
	if r.Token == "" {
		return nil
	}
	want := TokenHash(r.Token)
	if subtle.ConstantTimeCompare([]byte(p.TokenHash), []byte(want)) != 1 {
		return fmt.Errorf("%w: ath is not the hash of the access token", ErrProof)
	}
	return nil
}

// Until is when nobody accepts the proof any more, by any clock that may be asked.
func (p *Proof) Until() time.Time { return p.IssuedAt.Add(maxProofAge + clockSkew) }

// TokenHash is `ath` of a token (RFC 9449 section 4.2).
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// names says whether htu is one of the addresses, without query and fragment (RFC 9449 section 4.3 point 9).
func (p *Proof) names(urls []string) bool {
	for _, u := range urls { // the common spelling costs no parsing
		if u == p.URL {
			return true
		}
	}
	got, ok := plainURL(p.URL)
	if !ok {
		return false
	}
	for _, u := range urls {
		if want, ok := plainURL(u); ok && got == want {
			return true
		}
	}
	return false
}

// plainURL is the form of an https or http address that two spellings of it share (RFC 3986 sections 6.2.2 and 6.2.3): scheme and host
// in lower case, without the default port, an empty path as "/", percent-encoding in upper case and not of letters that need none.
func plainURL(text string) (string, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.User != nil || u.Host == "" {
		return "", false
	}
	scheme := strings.ToLower(u.Scheme)
	port := u.Port()
	switch {
	case scheme != "https" && scheme != "http":
		return "", false
	case scheme == "https" && port == "443", scheme == "http" && port == "80":
		port = ""
	}
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" {
		host += ":" + port
	}
	path := plainPath(u.EscapedPath())
	if path == "" {
		path = "/"
	}
	return scheme + "://" + host + path, true
}

// plainPath undoes percent-encoding where it changes nothing, and prints the rest in upper case. Dots are left: no client sends them,
// and a path that has them is not one of ours.
func plainPath(p string) string {
	if !strings.Contains(p, "%") {
		return p
	}
	b := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+2 < len(p) {
			c := unhex(p[i+1])<<4 | unhex(p[i+2])&15
			if isAlnum(c) || c == '-' || c == '.' || c == '_' || c == '~' {
				b = append(b, c)
			} else {
				b = append(b, strings.ToUpper(p[i:i+3])...)
			}
			i += 2
			continue
		}
		b = append(b, p[i])
	}
	return string(b)
}

// InvalidProof: the DPoP proof is missing, malformed, of another request, or was presented before (RFC 9449 section 5). At the token
// endpoint it is a bad request; a protected resource answers ProofChallenge.
func InvalidProof(description string) *Error {
	return NewError(CodeInvalidDPoPProof, statusBadRequest, description)
}

// UseNonce: the proof needs the nonce of the DPoP-Nonce header (RFC 9449 section 8).
func UseNonce() *Error {
	return NewError(CodeUseDPoPNonce, statusBadRequest, "the DPoP proof needs the nonce that this answer carries")
}

// ProofAlgs are the algorithms of proofs under a profile, in the order of metadata.
func ProofAlgs(p Profile) []string {
	if p >= ProfileFAPI2 {
		return []string{"ES256", "PS256", "EdDSA"}
	}
	return []string{"ES256", "ES384", "PS256", "EdDSA", "RS256"}
}
