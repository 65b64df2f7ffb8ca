// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Bounds of an assertion that is an authorization grant (RFC 7523 section 2.1).
const (
	// MaxGrantAssertionBytes bounds its text.
	MaxGrantAssertionBytes = 8 << 10
	// MaxGrantAssertionLife is the longest time between now and its `exp`.
	MaxGrantAssertionLife = time.Hour
	// grantAssertionSkew is how far two clocks may be apart.
	grantAssertionSkew = 10 * time.Second
	maxAssertionText   = 512 // iss, sub, jti
)

// Errors of GrantAssertion.
var (
	// ErrAssertion is wrapped by what is wrong with an assertion.
	ErrAssertion = errors.New("oauth2: assertion")
	// ErrAssertionExpired is wrapped, beside ErrAssertion, when it was good once.
	ErrAssertionExpired = errors.New("expired")
)

// GrantAssertion are the claims of a JWT that stands for an authorization grant (RFC 7523 section 3).
type GrantAssertion struct {
	// Issuer, Subject and ID are `iss`, `sub` and `jti`.
	Issuer, Subject, ID string
	// Audience is `aud`, one or several.
	Audience []string
	// IssuedAt, NotBefore and ExpireTime are `iat`, `nbf` and `exp`; zero when absent.
	IssuedAt, NotBefore, ExpireTime time.Time
	// AuthTime is when the issuer says that the person logged in; zero when it does not.
	AuthTime time.Time
}

// AssertionIssuer reads the `iss` of a JWT that nobody has verified yet, to find whose keys it needs. It is empty for what is no
// JWT. Nothing else may be believed of it.
func AssertionIssuer(token string) string {
	if len(token) > MaxGrantAssertionBytes {
		return ""
	}
	_, rest, ok := strings.Cut(token, ".")
	if !ok {
		return ""
	}
	part, _, ok := strings.Cut(rest, ".")
	if !ok {
		return ""
	}
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return ""
	}
	var c struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(raw, &c) != nil || len(c.Issuer) > 2048 {
		return ""
	}
	return c.Issuer
}

// ParseGrantAssertion reads the payload of an assertion whose signature the caller has verified. Errors wrap ErrAssertion and name
// the claim, never its value.
func ParseGrantAssertion(payload []byte) (GrantAssertion, error) {
	c, err := parseClaims(payload)
	if err != nil {
		return GrantAssertion{}, fmt.Errorf("%w: payload", ErrAssertion)
	}
	var a GrantAssertion
	for name, to := range map[string]*string{"iss": &a.Issuer, "sub": &a.Subject, "jti": &a.ID} {
		if *to, err = c.text(name); err != nil {
			return GrantAssertion{}, fmt.Errorf("%w: %s", ErrAssertion, name)
		}
	}
	for name, to := range map[string]*time.Time{"iat": &a.IssuedAt, "nbf": &a.NotBefore, "exp": &a.ExpireTime, "auth_time": &a.AuthTime} {
		if *to, err = c.time(name); err != nil {
			return GrantAssertion{}, fmt.Errorf("%w: %s", ErrAssertion, name)
		}
	}
	if a.Audience, _, err = c.audience(); err != nil {
		return GrantAssertion{}, fmt.Errorf("%w: aud", ErrAssertion)
	}
	for name, v := range map[string]string{"iss": a.Issuer, "sub": a.Subject, "jti": a.ID} {
		if v == "" || len(v) > maxAssertionText || !cleanText(v, false) {
			return GrantAssertion{}, fmt.Errorf("%w: %s", ErrAssertion, name)
		}
	}
	return a, nil
}

// Check holds an assertion against the issuer that was trusted with the key, the audiences that stand for us, and the time (RFC
// 7523 section 3). jti must be there, so that it counts once, iat, so that one from before our memory begins is told from a new one,
// and exp at most an hour away, so that we need not remember it for longer. Errors wrap ErrAssertion.
func (a *GrantAssertion) Check(issuer string, audiences []string, now time.Time) error {
	fail := func(name string) error { return fmt.Errorf("%w: %s", ErrAssertion, name) }
	switch {
	case issuer == "" || a.Issuer != issuer:
		return fail("iss")
	case len(a.Audience) == 0 || !slices.ContainsFunc(a.Audience, func(aud string) bool { return aud != "" && slices.Contains(audiences, aud) }):
		return fail("aud")
	case a.ExpireTime.IsZero():
		return fail("exp")
	case a.IssuedAt.IsZero():
		return fail("iat")
	case !now.Before(a.ExpireTime):
		return fmt.Errorf("%w: %w", ErrAssertion, ErrAssertionExpired)
	case a.ExpireTime.Sub(now) > MaxGrantAssertionLife+grantAssertionSkew:
		return fail("exp: more than an hour away")
	case !a.NotBefore.IsZero() && a.NotBefore.Sub(now) > grantAssertionSkew:
		return fail("nbf")
	case a.IssuedAt.Sub(now) > grantAssertionSkew:
		return fail("iat")
	case !a.AuthTime.IsZero() && a.AuthTime.Sub(now) > grantAssertionSkew:
		return fail("auth_time")
	}
	return nil
}
