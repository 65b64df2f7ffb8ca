// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// AssertionTypeJWTBearer is the one client_assertion_type (RFC 7523 section 2.2).
const AssertionTypeJWTBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" //nolint:gosec // G101: a name

// AssertionTypes are the `typ` values of a client assertion: none, the general one and the explicit one. A request object has one of
// its own, so that it never counts as an assertion.
var AssertionTypes = []string{"", "JWT", "client-authentication+jwt"}

// ErrClientAssertion is wrapped by everything that is wrong with a client assertion. It is for the log; the client is told invalid_client.
var ErrClientAssertion = errors.New("oauth2: client assertion")

// maxAssertionLife is the longest life of an assertion, and its greatest age: replay marks are kept for as long.
const maxAssertionLife = time.Hour

// undatedAssertion is the longest rest of life of an assertion that does not say when it was made: so it was made, or at least first
// presented, no longer ago than that before it expires, and who has forgotten what was presented can tell (Issued).
const undatedAssertion = 5 * time.Minute

// AssertionClaims are the claims of a client assertion (RFC 7523 section 3, OpenID Connect Core section 9).
type AssertionClaims struct {
	// Issuer and Subject are both the client_id.
	Issuer, Subject string
	// Audience is `aud`; AudienceList is true when it was an array.
	Audience     []string
	AudienceList bool
	// ID is `jti`, by which an assertion counts once.
	ID string
	// ExpireTime, NotBefore and IssuedAt are exp, nbf and iat; zero when absent.
	ExpireTime, NotBefore, IssuedAt time.Time
}

// AssertionRules are what a client assertion is judged by.
type AssertionRules struct {
	// ClientID is the client.
	ClientID string
	// Issuer is the tenant's issuer: what `aud` must be, as a string and nothing else, so that no other server that the client
	// trusts can have it made out to us (the audience injection of 2025 against private_key_jwt).
	Issuer string
	// Legacy are addresses that an older client may name instead, or beside others in an array; nil: none, and no array.
	Legacy []string
	// Now is the time.
	Now time.Time
}

// ParseAssertion reads the payload of a client assertion whose signature was verified. Errors wrap ErrClientAssertion.
func ParseAssertion(payload []byte) (c AssertionClaims, err error) {
	set, err := parseClaims(payload)
	if err != nil {
		return c, fmt.Errorf("%w: %w", ErrClientAssertion, err)
	}
	for _, t := range []struct {
		name string
		to   *string
	}{{"iss", &c.Issuer}, {"sub", &c.Subject}, {"jti", &c.ID}} {
		if *t.to, err = set.text(t.name); err != nil {
			return c, fmt.Errorf("%w: %s: %w", ErrClientAssertion, t.name, err)
		}
	}
	for _, t := range []struct {
		name string
		to   *time.Time
	}{{"exp", &c.ExpireTime}, {"nbf", &c.NotBefore}, {"iat", &c.IssuedAt}} {
		if *t.to, err = set.time(t.name); err != nil {
			return c, fmt.Errorf("%w: %s: %w", ErrClientAssertion, t.name, err)
		}
	}
	if c.Audience, c.AudienceList, err = set.audience(); err != nil {
		return c, fmt.Errorf("%w: aud: %w", ErrClientAssertion, err)
	}
	return c, nil
}

// Check says whether the assertion proves the client now, if it was not presented before. Errors wrap ErrClientAssertion.
func (c *AssertionClaims) Check(r AssertionRules) error {
	switch {
	case r.ClientID == "" || c.Issuer != r.ClientID:
		return fmt.Errorf("%w: iss is not the client", ErrClientAssertion)
	case c.Subject != r.ClientID:
		return fmt.Errorf("%w: sub is not the client", ErrClientAssertion)
	case !c.meant(r):
		return fmt.Errorf("%w: aud is not this issuer", ErrClientAssertion)
	case c.ID == "" || len(c.ID) > maxIdentifierBytes:
		return fmt.Errorf("%w: jti", ErrClientAssertion)
	case c.ExpireTime.IsZero() || !r.Now.Before(c.ExpireTime):
		return fmt.Errorf("%w: expired", ErrClientAssertion)
	case c.ExpireTime.After(r.Now.Add(maxAssertionLife + clockSkew)):
		return fmt.Errorf("%w: exp is too far ahead", ErrClientAssertion)
	case c.IssuedAt.IsZero() && c.NotBefore.IsZero() && c.ExpireTime.After(r.Now.Add(undatedAssertion)):
		return fmt.Errorf("%w: exp is too far ahead for an assertion without iat", ErrClientAssertion)
	case c.NotBefore.After(r.Now.Add(clockSkew)):
		return fmt.Errorf("%w: not valid yet", ErrClientAssertion)
	case c.IssuedAt.After(r.Now.Add(clockSkew)):
		return fmt.Errorf("%w: issued in the future", ErrClientAssertion)
	case !c.IssuedAt.IsZero() && c.IssuedAt.Before(r.Now.Add(-maxAssertionLife-clockSkew)):
		return fmt.Errorf("%w: issued too long ago", ErrClientAssertion)
	}
	return nil
}

func (c *AssertionClaims) meant(r AssertionRules) bool {
	if r.Issuer == "" {
		return false
	}
	if len(r.Legacy) == 0 {
		return !c.AudienceList && len(c.Audience) == 1 && c.Audience[0] == r.Issuer
	}
	return slices.ContainsFunc(c.Audience, func(a string) bool { return a == r.Issuer || a != "" && slices.Contains(r.Legacy, a) })
}

// Issued is when the assertion was made; for one that does not say, a time before which nobody has accepted it.
func (c *AssertionClaims) Issued() time.Time {
	switch {
	case !c.IssuedAt.IsZero():
		return c.IssuedAt
	case !c.NotBefore.IsZero():
		return c.NotBefore
	}
	return c.ExpireTime.Add(-undatedAssertion)
}

// assertionHint reads what an assertion says of itself before anybody verified it: the client it is about, to find its keys, and the
// method that its algorithm belongs to. Nothing else may be concluded from it.
func assertionHint(assertion string) (clientID, method string, ok bool) {
	header, rest, found := strings.Cut(assertion, ".")
	payload, _, more := strings.Cut(rest, ".")
	if !found || !more {
		return "", "", false
	}
	head, ok := decodeClaims(header)
	if !ok {
		return "", "", false
	}
	alg, err := head.text("alg")
	if err != nil || alg == "" {
		return "", "", false
	}
	claims, ok := decodeClaims(payload)
	if !ok {
		return "", "", false
	}
	if clientID, err = claims.text("sub"); err != nil || clientID == "" || !cleanText(clientID, false) {
		return "", "", false
	}
	if strings.HasPrefix(alg, "HS") {
		return clientID, AuthMethodSecretJWT, true
	}
	return clientID, AuthMethodPrivateKeyJWT, true
}

func decodeClaims(text string) (claimSet, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, false
	}
	set, err := parseClaims(raw)
	return set, err == nil
}
