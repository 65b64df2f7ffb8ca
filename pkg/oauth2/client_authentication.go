// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"encoding/base64"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/secret"
)

// basicChallenge is the WWW-Authenticate value for a client that used the Authorization header (RFC 6749 section 5.2).
const basicChallenge = `Basic realm="token", charset="UTF-8"`

// maxBasicBytes bounds the base64 text of a Basic header: room for a client_id and secret with every byte percent-encoded.
const maxBasicBytes = 1024

// failedAuthentication is the one answer for every failed proof, so that it cannot be told which part was wrong.
const failedAuthentication = "client authentication failed"

// ClientCredentials is how a request to the token endpoint says who it is from.
type ClientCredentials struct {
	// ClientID is the claimed client.
	ClientID string
	// Secret is the client secret, empty with AuthMethodNone.
	Secret string
	// Method is the method in use: AuthMethodBasic, AuthMethodPost or AuthMethodNone.
	Method string

	header bool // the Authorization header was used, so a refusal must carry a challenge
}

// ParseClientCredentials finds out which client a request claims to come from and by which method, of which there must be exactly
// one (RFC 6749 section 2.3). Identifier and secret in the header are form-encoded before base64 (section 2.3.1). A header with an
// empty password counts as method none: that is how common libraries send a public client's id. A client_id in the body beside the
// header is fine when it is the same. Errors are invalid_request, and invalid_client when no client is named.
func ParseClientCredentials(authorizationHeader string, p Params) (ClientCredentials, error) {
	bodyID, bodySecret := p.Get(ParamClientID), p.Get(ParamClientSecret)
	if p.Has(ParamClientAssertion) || p.Has(ParamClientAssertionType) {
		return ClientCredentials{}, ClientCredentials{header: authorizationHeader != ""}.refuse("client assertions are not supported")
	}
	if authorizationHeader == "" {
		switch {
		case bodyID == "":
			return ClientCredentials{}, InvalidClient("client authentication is missing")
		case bodySecret == "":
			return ClientCredentials{ClientID: bodyID, Method: AuthMethodNone}, nil
		}
		return ClientCredentials{ClientID: bodyID, Secret: bodySecret, Method: AuthMethodPost}, nil
	}
	cc := ClientCredentials{Method: AuthMethodBasic, header: true}
	scheme, text, _ := strings.Cut(authorizationHeader, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return ClientCredentials{}, cc.refuse("only the Basic scheme is supported here")
	}
	var ok bool
	if cc.ClientID, cc.Secret, ok = decodeBasic(text); !ok {
		return ClientCredentials{}, cc.refuse("the Basic credentials are malformed")
	}
	if bodySecret != "" {
		return ClientCredentials{}, InvalidRequest("more than one client authentication method")
	}
	if bodyID != "" && bodyID != cc.ClientID {
		return ClientCredentials{}, InvalidRequest("client_id differs from the one in the Authorization header")
	}
	if cc.Secret == "" {
		cc.Method = AuthMethodNone
	}
	return cc, nil
}

// decodeBasic takes the credentials of RFC 7617 apart and undoes the form encoding of RFC 6749 section 2.3.1.
func decodeBasic(text string) (user, password string, ok bool) {
	if len(text) == 0 || len(text) > maxBasicBytes {
		return "", "", false
	}
	var in [maxBasicBytes]byte
	var out [maxBasicBytes]byte
	n, err := base64.StdEncoding.Strict().Decode(out[:], in[:copy(in[:], text)])
	if err != nil || strings.ContainsAny(text, "\r\n") {
		return "", "", false
	}
	u, pw, found := strings.Cut(string(out[:n]), ":")
	if !found {
		return "", "", false
	}
	if user, ok = unescape(u); !ok || user == "" || !cleanText(user, false) {
		return "", "", false
	}
	if password, ok = unescape(pw); !ok || !cleanText(password, false) {
		return "", "", false
	}
	return user, password, true
}

// Refused is the answer for a client that is unknown, disabled or did not prove itself: invalid_client with status 401, and with a
// challenge when the Authorization header was used (RFC 6749 section 5.2). It is the same for all three.
func (cc ClientCredentials) Refused() *Error { return cc.refuse(failedAuthentication) }

func (cc ClientCredentials) refuse(description string) *Error {
	e := InvalidClient(description)
	if cc.header {
		e.Challenge = basicChallenge
	}
	return e
}

// Authenticate checks that cc proves the client c, by the method it is registered for. A client that may use secrets is never let
// in without one, and a public client never with one, since that secret would be in the hands of every user. Errors are
// invalid_client.
func (c *Client) Authenticate(cc ClientCredentials, now time.Time) error {
	if !c.Enabled || cc.ClientID != c.ID {
		return cc.Refused()
	}
	if c.Public {
		if cc.Method != AuthMethodNone {
			return cc.refuse("a public client has no secret")
		}
		return nil
	}
	if cc.Method == AuthMethodNone {
		return cc.Refused()
	}
	if err := c.AuthenticateSecret(cc.Secret, now); err != nil {
		return cc.Refused().WithCause(err)
	}
	// Told only to who has the secret.
	if method := c.authMethod(); cc.Method != method {
		return cc.refuse("the client is registered for another authentication method")
	}
	return nil
}

func (c *Client) authMethod() string {
	switch {
	case c.AuthMethod != "":
		return c.AuthMethod
	case c.Public:
		return AuthMethodNone
	}
	return AuthMethodBasic
}

// AuthenticateSecret compares the text of a client secret with all secrets of the client that are valid at now. The time it takes
// depends on their number alone, not on which one matches. The error is invalid_client.
func (c *Client) AuthenticateSecret(text string, now time.Time) error {
	_, h, err := secret.ParseToken(secret.ClientSecret, text)
	if err != nil {
		return InvalidClient(failedAuthentication).WithCause(err)
	}
	ok := false
	for i := range c.Secrets {
		s := &c.Secrets[i]
		same := s.Hash.Equal(h)
		if s.ExpireTime.IsZero() || now.Before(s.ExpireTime) {
			ok = same || ok
		}
	}
	if !ok {
		return InvalidClient(failedAuthentication)
	}
	return nil
}
