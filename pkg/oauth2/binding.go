// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/tenantry/tenantry/pkg/internal/jsonw"
)

// Binding is the key that a token is bound to: who presents the token must prove that they have it. It is the `cnf` claim of access
// tokens (RFC 7800 section 3.1) and what a code or a refresh family remembers. The zero value is a bearer token. It is comparable.
type Binding struct {
	// JKT is the thumbprint of a DPoP key: base64url of the SHA-256 of RFC 7638 (RFC 9449 section 6.1).
	JKT string `json:"jkt,omitempty"`
	// X5T is the thumbprint of a client certificate: base64url of the SHA-256 of its DER form (RFC 8705 section 3.1).
	X5T string `json:"x5t#S256,omitempty"`
}

// IsZero says whether there is no binding.
func (b Binding) IsZero() bool { return b == Binding{} }

// TokenType is the `token_type` of a token with this binding: DPoP for a DPoP key (RFC 9449 section 5), else Bearer, also with a
// certificate (RFC 8705 section 3).
func (b Binding) TokenType() string {
	if b.JKT != "" {
		return TokenTypeDPoP
	}
	return TokenTypeBearer
}

// AppendJSON appends the value of a `cnf` claim.
func (b Binding) AppendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	dst = jsonw.OptionalMember(dst, "jkt", b.JKT)
	dst = jsonw.OptionalMember(dst, "x5t#S256", b.X5T)
	return append(dst, '}')
}

var errConfirmation = errors.New("oauth2: not a cnf claim that is understood")

// UnmarshalJSON reads a `cnf` claim. One without a member that is known here, or with others, is an error: a token that is bound in a
// way that we cannot check must never pass for a bearer token.
func (b *Binding) UnmarshalJSON(data []byte) error {
	type plain Binding // without this method
	var p plain
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return errConfirmation
	}
	if p == (plain{}) || p.JKT != "" && !ValidThumbprint(p.JKT) || p.X5T != "" && !ValidThumbprint(p.X5T) {
		return errConfirmation
	}
	*b = Binding(p)
	return nil
}

// String is the form that is stored beside a refresh family: `jkt:…`, `x5t:…`, both with a space between, or the empty string.
func (b Binding) String() string {
	switch {
	case b.JKT != "" && b.X5T != "":
		return "jkt:" + b.JKT + " x5t:" + b.X5T
	case b.JKT != "":
		return "jkt:" + b.JKT
	case b.X5T != "":
		return "x5t:" + b.X5T
	}
	return ""
}

// ParseBinding reads what String printed; false for anything else.
func ParseBinding(text string) (b Binding, ok bool) {
	if text == "" {
		return Binding{}, true
	}
	const prefix = len("jkt:")
	jkt, x5t := "", text
	if len(text) >= prefix+challengeLen && text[:prefix] == "jkt:" {
		jkt, x5t = text[prefix:prefix+challengeLen], text[prefix+challengeLen:]
		if x5t != "" {
			if x5t[0] != ' ' {
				return Binding{}, false
			}
			if x5t = x5t[1:]; x5t == "" {
				return Binding{}, false
			}
		}
	}
	if x5t != "" {
		if len(x5t) != prefix+challengeLen || x5t[:prefix] != "x5t:" {
			return Binding{}, false
		}
		x5t = x5t[prefix:]
	}
	if jkt != "" && !ValidThumbprint(jkt) || x5t != "" && !ValidThumbprint(x5t) {
		return Binding{}, false
	}
	return Binding{JKT: jkt, X5T: x5t}, true
}

// ValidThumbprint says whether s is a SHA-256 in base64url without padding, in its one spelling: the form of dpop_jkt (RFC 9449
// section 10) and of both thumbprints of a Binding.
func ValidThumbprint(s string) bool { return validChallenge(s) }
