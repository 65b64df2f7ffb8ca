// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"encoding/base64"
	"errors"
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
	// Secret is the client secret of AuthMethodBasic and AuthMethodPost.
	Secret string
	// Assertion is the unverified JWT of AuthMethodPrivateKeyJWT and AuthMethodSecretJWT.
	Assertion string
	// Method is the method in use. The two methods with a certificate look like AuthMethodNone here, since the certificate is not in
	// the request: MethodOf tells them apart once the client is known.
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
		return parseAssertionCredentials(authorizationHeader, p)
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

// parseAssertionCredentials reads the parameters of RFC 7521 section 4.2. client_id may be left out, and must be that of the assertion
// when it is there. Everything that is wrong with the assertion itself is answered like an assertion that does not verify.
func parseAssertionCredentials(authorizationHeader string, p Params) (ClientCredentials, error) {
	cc := ClientCredentials{header: authorizationHeader != ""}
	if authorizationHeader != "" || p.Has(ParamClientSecret) {
		return ClientCredentials{}, InvalidRequest("more than one client authentication method")
	}
	if p.Get(ParamClientAssertionType) != AssertionTypeJWTBearer {
		return ClientCredentials{}, cc.refuse("client_assertion_type must be " + AssertionTypeJWTBearer)
	}
	cc.Assertion = p.Get(ParamClientAssertion)
	var ok bool
	if cc.ClientID, cc.Method, ok = assertionHint(cc.Assertion); !ok {
		return ClientCredentials{}, cc.refuse(failedAuthentication)
	}
	if id := p.Get(ParamClientID); id != "" && id != cc.ClientID {
		return ClientCredentials{}, cc.refuse(failedAuthentication)
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

// Authenticate checks that cc proves the client c by a secret, or that c is public: the methods that need nothing but the request. A
// client that may use secrets is never let in without one, and a public client never with one, since that secret would be in the
// hands of every user. Clients of the other methods are refused here, whatever they present. Errors are invalid_client.
func (c *Client) Authenticate(cc ClientCredentials, now time.Time) error {
	if !c.Enabled || cc.ClientID != c.ID {
		return cc.Refused()
	}
	method := c.authMethod()
	if c.Public {
		if cc.Method != AuthMethodNone || method != AuthMethodNone {
			return cc.Refused().WithCause(errMethod)
		}
		return nil
	}
	if cc.Method != AuthMethodBasic && cc.Method != AuthMethodPost {
		return cc.Refused()
	}
	if err := c.AuthenticateSecret(cc.Secret, now); err != nil {
		return cc.Refused().WithCause(err)
	}
	if cc.Method != method {
		if method != AuthMethodBasic && method != AuthMethodPost {
			return cc.Refused().WithCause(errMethod)
		}
		// Told only to who has the secret.
		return cc.refuse("the client is registered for another authentication method")
	}
	return nil
}

// errMethod is for the log.
var errMethod = errors.New("oauth2: the client is registered for another authentication method")

// MethodOf is the method that cc uses for the client c, or false when c is not registered for it: a client of one method never gets
// in by another (RFC 8705 section 2, RFC 7591 section 2).
func (c *Client) MethodOf(cc ClientCredentials) (method string, ok bool) {
	method = c.authMethod()
	switch method {
	case AuthMethodTLS, AuthMethodSelfSignedTLS:
		return method, cc.Method == AuthMethodNone && !c.Public
	case AuthMethodNone:
		return method, cc.Method == AuthMethodNone && c.Public
	}
	return method, cc.Method == method && !c.Public
}

// CheckProfile refuses a client, which has proven itself, that does not meet its profile: unauthorized_client.
func (c *Client) CheckProfile() error {
	if c.Profile == ProfileBaseline {
		return nil
	}
	if misfits := c.Misfits(); len(misfits) > 0 {
		return UnauthorizedClient("the client does not meet its security profile: " + misfits[0].Rule)
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
