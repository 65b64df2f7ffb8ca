// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/internal/jsonw"
	"github.com/tenantry/tenantry/pkg/oauth2"
)

// ErrIncomplete is wrapped by the errors of the Build functions: a token without one of its must-have claims is never made. It
// means a mistake of ours and is answered with server_error.
var ErrIncomplete = errors.New("oidc: incomplete token")

// IDTokenInput is what an ID token is made from (OpenID Connect Core section 2, API claims `org` and `tnt`).
type IDTokenInput struct {
	// Issuer, Subject and ClientID become iss, sub and aud.
	Issuer, Subject, ClientID string
	// Org and Tenant are the tenant that authenticated the user.
	Org    id.Org
	Tenant id.Tenant
	// Session is the session, zero for none.
	Session id.Session
	// IssuedAt and ExpireTime become iat and exp, AuthTime auth_time; a refreshed ID token keeps the AuthTime of the login (section
	// 12.2).
	IssuedAt, ExpireTime, AuthTime time.Time
	// Nonce is the nonce of the authorization request, empty for none.
	Nonce string
	// ACR and AMR say how the user logged in.
	ACR string
	AMR []string
	// Algorithm is the one that the token will be signed with; AccessToken is the token issued with it. Together they make at_hash;
	// an empty AccessToken makes none.
	Algorithm, AccessToken string
	// Code and State are what an ID token of the authorization endpoint comes with: they make c_hash (section 3.3.2.11) and s_hash
	// (FAPI 1.0 Part 2 section 5.1.1), so that neither can be exchanged on the way. Empty in ID tokens of the token endpoint.
	Code, State string
	// Claims are the names asked for by the claims parameter (ClaimsRequest.IDTokenClaims): in the code flow scopes are answered by
	// UserInfo alone (section 5.4).
	Claims []string
	// Scopes put their claims into the ID token: set for response_type=id_token alone, where no access token could fetch them (section
	// 5.4).
	Scopes oauth2.Scopes
	// User are the user's claims.
	User UserClaims
}

// BuildIDToken writes the payload of an ID token. The error wraps ErrIncomplete.
func BuildIDToken(in IDTokenInput) ([]byte, error) {
	switch {
	case in.Issuer == "" || in.Subject == "" || in.ClientID == "":
		return nil, fmt.Errorf("%w: iss, sub or aud", ErrIncomplete)
	case in.Org.IsZero() || in.Tenant.IsZero():
		return nil, fmt.Errorf("%w: org or tnt", ErrIncomplete)
	case in.IssuedAt.IsZero() || in.AuthTime.IsZero() || !in.ExpireTime.After(in.IssuedAt):
		return nil, fmt.Errorf("%w: iat, exp or auth_time", ErrIncomplete)
	}
	b := make([]byte, 0, 768)
	b = jsonw.Member(append(b, '{'), "iss", in.Issuer)
	b = jsonw.Member(b, "sub", in.Subject)
	b = jsonw.Member(b, "aud", in.ClientID)
	b = jsonw.Int(b, "exp", in.ExpireTime.Unix())
	b = jsonw.Int(b, "iat", in.IssuedAt.Unix())
	b = jsonw.Int(b, "auth_time", in.AuthTime.Unix())
	b = jsonw.OptionalMember(b, "nonce", in.Nonce)
	b = jsonw.OptionalMember(b, "acr", in.ACR)
	b = list(b, "amr", in.AMR)
	for _, h := range [...]struct{ claim, of string }{{"at_hash", in.AccessToken}, {"c_hash", in.Code}, {"s_hash", in.State}} {
		if h.of == "" {
			continue
		}
		hash := HalfHash(in.Algorithm, h.of)
		if hash == "" {
			return nil, fmt.Errorf("%w: %s: unknown algorithm", ErrIncomplete, h.claim)
		}
		b = jsonw.Member(b, h.claim, hash)
	}
	b = idMember(b, "sid", in.Session)
	b = idMember(b, "org", in.Org)
	b = idMember(b, "tnt", in.Tenant)
	b = in.User.appendTo(b, in.Scopes, in.Claims)
	return append(b, '}'), nil
}

// idMember appends an id member unless it is zero. The text of an id needs no escaping.
func idMember[K id.Kind](dst []byte, name string, v id.ID[K]) []byte {
	if v.IsZero() {
		return dst
	}
	dst = append(jsonw.Name(dst, name), '"')
	dst, _ = v.AppendText(dst) // never fails
	return append(dst, '"')
}

// HalfHash is the value of at_hash, c_hash and s_hash (OpenID Connect Core sections 3.1.3.6 and 3.3.2.11): the left half of the text's
// hash, by the hash function of the signature algorithm. Ed25519 has SHA-512 inside, so that is its hash. It is empty for an unknown
// algorithm.
func HalfHash(alg, token string) string {
	var sum []byte
	switch {
	case alg == "EdDSA" || alg == "Ed25519" || strings.HasSuffix(alg, "512"):
		h := sha512.Sum512([]byte(token))
		sum = h[:]
	case strings.HasSuffix(alg, "384"):
		h := sha512.Sum384([]byte(token))
		sum = h[:]
	case strings.HasSuffix(alg, "256"):
		h := sha256.Sum256([]byte(token))
		sum = h[:]
	default:
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// ErrHint is wrapped by the errors of ParseIDTokenHint.
var ErrHint = errors.New("oidc: id_token_hint is not one of ours")

// IDTokenHint is what is read of an ID token that comes back as a hint. The zero value is no hint.
type IDTokenHint struct {
	// Subject is who it was about, SessionID the session (`sid`), empty when it had none.
	Subject, SessionID string
	// Audience are the clients it was for; exactly one in the tokens that we issue.
	Audience []string
}

// Client is the client that the token was issued to.
func (h IDTokenHint) Client() string {
	if len(h.Audience) == 0 {
		return ""
	}
	return h.Audience[0]
}

// ParseIDTokenHint reads the payload of an ID token whose signature the caller has verified with the tenant's keys and whose header
// says that it is no access token. It may have expired (OpenID Connect Core section 3.1.2.1, RP-Initiated Logout section 2). A
// token of another issuer is refused, so that tenants which share a key (by mistake) still do not share users. Errors wrap
// ErrHint.
func ParseIDTokenHint(payload []byte, issuer string) (IDTokenHint, error) {
	var c struct {
		Issuer   string   `json:"iss"`
		Subject  string   `json:"sub"`
		Audience audience `json:"aud"`
		Session  string   `json:"sid"`
		TokenUse string   `json:"token_use"`
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return IDTokenHint{}, fmt.Errorf("%w: payload", ErrHint)
	}
	switch {
	case issuer == "" || c.Issuer != issuer:
		return IDTokenHint{}, fmt.Errorf("%w: iss", ErrHint)
	case c.TokenUse != "":
		return IDTokenHint{}, fmt.Errorf("%w: an access token", ErrHint)
	case c.Subject == "" || len(c.Audience) == 0 || slices.Contains(c.Audience, ""):
		return IDTokenHint{}, fmt.Errorf("%w: sub or aud", ErrHint)
	}
	return IDTokenHint{Subject: c.Subject, SessionID: c.Session, Audience: c.Audience}, nil
}

// audience is one string or an array of strings (RFC 7519 section 4.1.3).
type audience []string

// UnmarshalJSON takes both forms.
func (a *audience) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*a = make(audience, 1)
		return json.Unmarshal(b, &(*a)[0])
	}
	var many []string
	if err := json.Unmarshal(b, &many); err != nil {
		return err
	}
	*a = many
	return nil
}
