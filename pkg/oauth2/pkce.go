// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// challengeLen is a SHA-256 in base64url without padding.
const challengeLen = 43

// strictBase64 refuses the second spelling that the two spare bits of the last character would allow.
var strictBase64 = base64.RawURLEncoding.Strict()

// ParseCodeChallenge reads code_challenge and code_challenge_method of an authorization request (RFC 7636 section 4.3). Only S256
// exists here: `plain`, which is also what a missing method means, puts the verifier into the URL that it is to protect (RFC 9700
// section 2.1.1). The result is empty when there is none and none is required. Errors are invalid_request.
func ParseCodeChallenge(p Params, required bool) (challenge string, err error) {
	challenge, method := p.Get(ParamCodeChallenge), p.Get(ParamCodeChallengeMethod)
	if challenge == "" {
		if method != "" {
			return "", InvalidRequest("code_challenge_method without code_challenge")
		}
		if required {
			return "", InvalidRequest("code_challenge is missing: this client must use PKCE with S256")
		}
		return "", nil
	}
	if method != ChallengeMethodS256 {
		return "", InvalidRequest("code_challenge_method must be S256")
	}
	if !validChallenge(challenge) {
		return "", InvalidRequest("code_challenge is not a base64url SHA-256")
	}
	return challenge, nil
}

// VerifyCodeVerifier compares the code_verifier of a token request with the challenge that its code is bound to (RFC 7636 section
// 4.6). A verifier for a code without challenge is refused as well: such a code may have been injected by somebody who stripped
// the challenge from the authorization request (PKCE downgrade, RFC 9700 section 4.8). Errors are invalid_grant.
func VerifyCodeVerifier(challenge, verifier string) error {
	switch {
	case challenge == "" && verifier == "":
		return nil
	case challenge == "":
		return InvalidGrant("code_verifier given, but the authorization request had no code_challenge")
	case verifier == "":
		return InvalidGrant("code_verifier is missing")
	case !validVerifier(verifier):
		return InvalidGrant("code_verifier is malformed")
	}
	sum := sha256.Sum256([]byte(verifier))
	var got [challengeLen]byte
	base64.RawURLEncoding.Encode(got[:], sum[:])
	if subtle.ConstantTimeCompare(got[:], []byte(challenge)) != 1 {
		return InvalidGrant("code_verifier does not match")
	}
	return nil
}

func validChallenge(s string) bool {
	if len(s) != challengeLen {
		return false
	}
	var raw [sha256.Size]byte
	n, err := strictBase64.Decode(raw[:], []byte(s))
	return err == nil && n == len(raw)
}

// validVerifier is the syntax of RFC 7636 section 4.1: 43 to 128 unreserved characters.
func validVerifier(s string) bool {
	if len(s) < 43 || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && c != '-' && c != '.' && c != '_' && c != '~' {
			return false
		}
	}
	return true
}
