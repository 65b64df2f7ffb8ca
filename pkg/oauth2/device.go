// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"fmt"
	"io"
	"time"

	"github.com/tenantry/tenantry/pkg/internal/jsonw"
)

// userCodeAlphabet has no vowels, so that no code is a word, and nothing that looks like something else (RFC 8628 section 6.1).
const userCodeAlphabet = "BCDFGHJKLMNPQRSTVWXZ"

// UserCodeLen is the number of letters of a user code: 20^8, 34.5 bits. That many are only enough because guessing is slow and a
// code lives for minutes (section 5.1).
const UserCodeLen = 8

// maxTypedCode bounds what a person may have typed around the letters.
const maxTypedCode = 64

// NewUserCode draws a user code (RFC 8628 section 6.1) from a source of random bytes. Each letter is equally likely. The error is
// the source's.
func NewUserCode(random io.Reader) (string, error) {
	const fair = 256 / len(userCodeAlphabet) * len(userCodeAlphabet) // larger bytes would prefer the first letters
	code := make([]byte, 0, UserCodeLen)
	var raw [2 * UserCodeLen]byte
	for {
		if _, err := io.ReadFull(random, raw[:]); err != nil {
			return "", fmt.Errorf("oauth2: user code: %w", err)
		}
		for _, b := range raw {
			if int(b) < fair {
				if code = append(code, userCodeAlphabet[int(b)%len(userCodeAlphabet)]); len(code) == UserCodeLen {
					return string(code), nil
				}
			}
		}
	}
}

// ParseUserCode reads what a person typed: in either case, with or without spaces, dashes and dots between the letters (RFC 8628
// section 6.1). ok is false for what cannot be a user code.
func ParseUserCode(typed string) (code string, ok bool) {
	if len(typed) > maxTypedCode {
		return "", false
	}
	b := make([]byte, 0, UserCodeLen)
	for _, r := range typed {
		switch r {
		case ' ', '-', '.', '_', '\t', '\u00a0', '\u2010', '\u2011', '\u2012', '\u2013', '\u2014':
			continue
		}
		if r >= 'a' && r <= 'z' {
			r -= 'a' - 'A'
		}
		if len(b) == UserCodeLen || !userCodeLetter(r) {
			return "", false
		}
		b = append(b, byte(r)) //nolint:gosec // one of the twenty letters
	}
	return string(b), len(b) == UserCodeLen
}

func userCodeLetter(r rune) bool {
	for i := range len(userCodeAlphabet) {
		if r == rune(userCodeAlphabet[i]) {
			return true
		}
	}
	return false
}

// FormatUserCode prints a user code in two groups, as people read it aloud.
func FormatUserCode(code string) string {
	if len(code) != UserCodeLen {
		return code
	}
	return code[:UserCodeLen/2] + "-" + code[UserCodeLen/2:]
}

// DeviceAuthorizationResponse is a successful answer of the device authorization endpoint (RFC 8628 section 3.2).
type DeviceAuthorizationResponse struct {
	// DeviceCode is what the device polls with.
	DeviceCode string
	// UserCode is what the person types, as NewUserCode made it; it is printed in groups.
	UserCode string
	// VerificationURI is the page where they type it; VerificationURIComplete has the code in it.
	VerificationURI, VerificationURIComplete string
	// ExpiresIn is how long both codes live, Interval how long the device waits between two polls. Both are cut to seconds.
	ExpiresIn, Interval time.Duration
}

// AppendJSON appends the response's body, to be sent with `Cache-Control: no-store`.
func (r *DeviceAuthorizationResponse) AppendJSON(dst []byte) []byte {
	dst = jsonw.Member(append(dst, '{'), ParamDeviceCode, r.DeviceCode)
	dst = jsonw.Member(dst, ParamUserCode, FormatUserCode(r.UserCode))
	dst = jsonw.Member(dst, "verification_uri", r.VerificationURI)
	dst = jsonw.Member(dst, "verification_uri_complete", r.VerificationURIComplete)
	dst = jsonw.Int(dst, ParamExpiresIn, int64(r.ExpiresIn/time.Second))
	dst = jsonw.Int(dst, "interval", int64(r.Interval/time.Second))
	return append(dst, '}')
}

// AuthorizationPending: nobody has answered yet; the client polls on (RFC 8628 section 3.5, CIBA Core section 11).
func AuthorizationPending() *Error {
	return NewError(CodeAuthorizationPending, statusBadRequest, "nobody has answered the request yet")
}

// SlowDown: the client polls too often; its interval is longer by five seconds from now on (RFC 8628 section 3.5). interval is the
// new one.
func SlowDown(interval time.Duration) *Error {
	return NewError(CodeSlowDown, statusBadRequest, fmt.Sprintf("wait %d seconds between two requests", int64(interval/time.Second)))
}

// ExpiredToken: the device code or the authentication request has expired unanswered (RFC 8628 section 3.5, CIBA Core section 11).
func ExpiredToken() *Error {
	return NewError(CodeExpiredToken, statusBadRequest, "nobody answered in time: start again")
}
