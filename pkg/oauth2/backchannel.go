// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tenantry/tenantry/pkg/internal/jsonw"
)

// Parameters of a backchannel authentication request (CIBA Core section 7.1) beside those of OAuth 2.0 and OpenID Connect Core.
const (
	ParamLoginHintToken          = "login_hint_token"          //nolint:gosec // G101: a name
	ParamBindingMessage          = "binding_message"           // CIBA Core section 7.1
	ParamClientNotificationToken = "client_notification_token" // CIBA Core section 7.1
	ParamRequestedExpiry         = "requested_expiry"          // CIBA Core section 7.1

	paramLoginHint   = "login_hint"    // OpenID Connect Core section 3.1.2.1
	paramIDTokenHint = "id_token_hint" // OpenID Connect Core section 3.1.2.1
	paramACRValues   = "acr_values"    // OpenID Connect Core section 3.1.2.1
)

// Error codes of the backchannel authentication endpoint (CIBA Core section 13).
const (
	CodeUnknownUserID         = "unknown_user_id"
	CodeExpiredLoginHintToken = "expired_login_hint_token"
	CodeInvalidBindingMessage = "invalid_binding_message"
)

// Delivery modes (CIBA Core section 5).
const (
	DeliveryPoll = "poll"
	DeliveryPing = "ping"
)

// Bounds of a backchannel authentication request.
const (
	maxBindingMessage    = 100  // characters: a person compares it on two screens
	maxNotificationToken = 1024 // CIBA Core section 7.1
	maxUserCodeBytes     = 256
	// maxRequestObjectLife is how far `exp` may be ahead and `nbf` be behind (FAPI-CIBA section 5.2.2), backchannelSkew how far two
	// clocks may be apart.
	maxRequestObjectLife = time.Hour
	backchannelSkew      = 10 * time.Second
)

// HintKind says how a backchannel request names the person.
type HintKind uint8

// The hints (CIBA Core section 7.1).
const (
	HintLogin      HintKind = iota + 1 // login_hint: a text that the service knows the person by
	HintLoginToken                     // login_hint_token: a JWT about the person
	HintIDToken                        // id_token_hint: an ID token of ours
)

// BackchannelRequest is a well-formed backchannel authentication request (CIBA Core section 7.1). Whom the hint names and whether
// the client may have the scopes is not decided yet.
type BackchannelRequest struct {
	// Scopes are those asked for; the caller looks for openid.
	Scopes Scopes
	// HintKind and Hint name the person.
	HintKind HintKind
	Hint     string
	// BindingMessage is shown to the person and by the client; empty for none.
	BindingMessage string
	// RequestedExpiry is how long the client wants to wait; 0: as long as the tenant lets it.
	RequestedExpiry time.Duration
	// NotificationToken authenticates the ping; set exactly for clients with that delivery mode.
	NotificationToken string
	// ACRValues are in order of preference.
	ACRValues []string
	// Resource is the audience asked for (RFC 8707), AuthorizationDetails the JSON text of RFC 9396; empty for none.
	Resource, AuthorizationDetails string
}

// InvalidBindingMessage: the message cannot be shown (CIBA Core section 13).
func InvalidBindingMessage(description string) *Error {
	return NewError(CodeInvalidBindingMessage, statusBadRequest, description)
}

// UnknownUserID: the hint names nobody who can be asked (CIBA Core section 13).
func UnknownUserID() *Error {
	return NewError(CodeUnknownUserID, statusBadRequest, "the hint names nobody who can be asked")
}

// ExpiredLoginHintToken: the login_hint_token was good once (CIBA Core section 13).
func ExpiredLoginHintToken() *Error {
	return NewError(CodeExpiredLoginHintToken, statusBadRequest, "login_hint_token has expired")
}

// ParseBackchannelRequest checks the parameters of a backchannel authentication request of a client that is registered for it.
// Errors are those of CIBA Core section 13.
func ParseBackchannelRequest(p Params, c *Client) (BackchannelRequest, error) {
	var r BackchannelRequest
	for _, h := range []struct {
		kind HintKind
		name string
	}{{HintLogin, paramLoginHint}, {HintLoginToken, ParamLoginHintToken}, {HintIDToken, paramIDTokenHint}} {
		v := p.Get(h.name)
		if v == "" {
			continue
		}
		if r.HintKind != 0 {
			// Section 7.1: two hints could name two people, and the client would not know which of them was asked.
			return r, InvalidRequest("only one of login_hint, login_hint_token and id_token_hint")
		}
		r.HintKind, r.Hint = h.kind, v
	}
	if r.HintKind == 0 {
		return r, InvalidRequest("one of login_hint, login_hint_token and id_token_hint is needed")
	}
	var err error
	if r.Scopes, err = ParseScopes(p.Get(ParamScope)); err != nil {
		return r, err
	}
	if r.BindingMessage = p.Get(ParamBindingMessage); !showable(r.BindingMessage) {
		return r, InvalidBindingMessage("binding_message: letters, digits, spaces and plain punctuation, " + strconv.Itoa(maxBindingMessage) + " characters at most")
	}
	if r.RequestedExpiry, err = requestedExpiry(p.Get(ParamRequestedExpiry)); err != nil {
		return r, err
	}
	if len(p.Get(ParamUserCode)) > maxUserCodeBytes {
		return r, InvalidRequest("user_code is too long")
	}
	token := p.Get(ParamClientNotificationToken)
	switch {
	case c.DeliveryMode != DeliveryPing: // it has no meaning for a client that polls (section 7.1)
	case token == "":
		return r, InvalidRequest("client_notification_token is missing")
	case len(token) > maxNotificationToken || !bearerSyntax(token):
		return r, InvalidRequest("client_notification_token is malformed")
	default:
		r.NotificationToken = token
	}
	for _, v := range splitWords(p.Get(paramACRValues)) {
		if ValidScope(v) && len(r.ACRValues) < 16 && !slices.Contains(r.ACRValues, v) {
			r.ACRValues = append(r.ACRValues, v)
		}
	}
	if r.Resource, err = OneResource(p); err != nil {
		return r, err
	}
	r.AuthorizationDetails = p.Get(ParamAuthorizationDetails)
	return r, nil
}

// showable takes a message that looks the same on every screen and cannot be mistaken for more than itself: one line, no control or
// format characters, nothing that turns the writing direction, and no `<` and `>`.
func showable(s string) bool {
	if utf8.RuneCountInString(s) > maxBindingMessage || len(s) > 4*maxBindingMessage {
		return false
	}
	for _, r := range s {
		switch {
		case r == utf8.RuneError, r == '<', r == '>':
			return false
		case r == ' ', unicode.IsLetter(r), unicode.IsDigit(r), unicode.In(r, unicode.Mn, unicode.Sc, unicode.Po, unicode.Pd, unicode.Ps, unicode.Pe, unicode.Sm):
		default:
			return false
		}
	}
	return s == "" || s[0] != ' ' && s[len(s)-1] != ' '
}

// requestedExpiry: whole seconds from 1 on; what is beyond the tenant's own limit is cut by the caller.
func requestedExpiry(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 || s[0] == '+' {
		return 0, InvalidRequest("requested_expiry is not a positive number of seconds")
	}
	return time.Duration(n) * time.Second, nil
}

// bearerSyntax is b64token of RFC 6750 section 2.1, which is what the token has to be to fit in the ping's header.
func bearerSyntax(s string) bool {
	trimmed := s
	for len(trimmed) > 0 && trimmed[len(trimmed)-1] == '=' {
		trimmed = trimmed[:len(trimmed)-1]
	}
	for i := range len(trimmed) {
		switch c := trimmed[i]; {
		case isAlnum(c), c == '-', c == '.', c == '_', c == '~', c == '+', c == '/':
		default:
			return false
		}
	}
	return trimmed != ""
}

func splitWords(s string) []string {
	var words []string
	for _, w := range bytes.Fields([]byte(s)) {
		words = append(words, string(w))
	}
	return words
}

// BackchannelOutside are the parameters that may stand beside a signed `request`: those of client authentication. All others must be
// inside alone (CIBA Core section 7.1.1).
func BackchannelOutside(name string) bool {
	switch name {
	case ParamRequest, ParamClientID, ParamClientSecret, ParamClientAssertion, ParamClientAssertionType:
		return true
	}
	return false
}

// backchannelClaims are the members of a signed request that are parameters of it.
var backchannelClaims = map[string]bool{
	ParamScope: true, ParamClientNotificationToken: true, paramACRValues: true, ParamLoginHintToken: true, paramIDTokenHint: true,
	paramLoginHint: true, ParamBindingMessage: true, ParamUserCode: true, ParamRequestedExpiry: true, ParamResource: true,
	ParamAuthorizationDetails: true,
}

// BackchannelObject are the claims of a signed backchannel authentication request (CIBA Core section 7.1.1).
type BackchannelObject struct {
	// ID is `jti`; IssuedAt and ExpireTime say for how long it has to be remembered.
	ID                   string
	IssuedAt, ExpireTime time.Time
	// Params are the request's parameters.
	Params Params
}

// ParseBackchannelObject reads the payload of a signed request whose signature the caller has verified with the client's keys. iss,
// aud, exp, iat, nbf and jti are all demanded (CIBA Core section 7.1.1); exp is at most an hour ahead and nbf at most an hour ago
// (FAPI-CIBA section 5.2.2). Errors are invalid_request, the code that CIBA Core section 13 has for them.
func ParseBackchannelObject(payload []byte, clientID, issuer string, now time.Time) (BackchannelObject, error) {
	var o BackchannelObject
	fail := func(what string) (BackchannelObject, error) {
		return BackchannelObject{}, InvalidRequest("request: " + what)
	}
	set, err := parseClaims(payload)
	if err != nil {
		return fail("it is not a JSON object with one value for each name")
	}
	if iss, err := set.text("iss"); err != nil || iss != clientID {
		return fail("iss is not the client_id")
	}
	if aud, _, err := set.audience(); err != nil || !slices.Contains(aud, issuer) {
		return fail("aud is not the issuer")
	}
	if o.ID, err = set.text("jti"); err != nil || o.ID == "" || len(o.ID) > maxAssertionText {
		return fail("jti is missing or malformed")
	}
	var from time.Time
	for name, to := range map[string]*time.Time{"exp": &o.ExpireTime, "iat": &o.IssuedAt, "nbf": &from} {
		if *to, err = set.time(name); err != nil || to.IsZero() {
			return fail(name + " is missing or malformed")
		}
	}
	switch {
	case !now.Before(o.ExpireTime):
		return fail("exp: it has expired")
	case o.ExpireTime.Sub(now) > maxRequestObjectLife+backchannelSkew:
		return fail("exp is more than 60 minutes ahead")
	case from.Sub(now) > backchannelSkew:
		return fail("nbf is in the future")
	case now.Sub(from) > maxRequestObjectLife+backchannelSkew:
		return fail("nbf is more than 60 minutes ago")
	case o.IssuedAt.Sub(now) > backchannelSkew:
		return fail("iat is in the future")
	}
	for _, name := range []string{ParamRequest, ParamRequestURI, ParamResponseType, ParamRedirectURI} {
		if set[name] != nil {
			return fail(name + " is not for backchannel requests") // it was signed for another endpoint
		}
	}
	if sub, err := set.text("sub"); err != nil || sub == clientID {
		return fail("sub is the client, as in a client assertion")
	}
	if inside, err := set.text(ParamClientID); err != nil || inside != "" && inside != clientID {
		return fail("client_id is not the one of the request")
	}
	for name := range backchannelClaims {
		raw := set[name]
		if raw == nil || string(raw) == "null" {
			continue
		}
		value, ok := claimText(name, raw)
		if !ok || len(value) > MaxParamBytes || !cleanText(value, name == ParamAuthorizationDetails) {
			return fail(name + " is malformed")
		}
		o.Params = o.Params.With(name, value)
	}
	return o, nil
}

// claimText is a claim as the parameter that it stands for. requested_expiry may be a number, authorization_details is an array.
func claimText(name string, raw json.RawMessage) (string, bool) {
	switch name {
	case ParamAuthorizationDetails:
		if len(raw) > 0 && raw[0] == '[' {
			return string(raw), true
		}
	case ParamRequestedExpiry:
		var n json.Number
		if len(raw) > 0 && raw[0] != '"' {
			err := json.Unmarshal(raw, &n)
			return n.String(), err == nil
		}
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err == nil
}

// BackchannelResponse is a successful answer of the backchannel authentication endpoint (CIBA Core section 7.3).
type BackchannelResponse struct {
	// RequestID is `auth_req_id`.
	RequestID string
	// ExpiresIn is how long the request waits for the person, Interval how long the client waits between two polls.
	ExpiresIn, Interval time.Duration
}

// AppendJSON appends the response's body, to be sent with `Cache-Control: no-store`.
func (r *BackchannelResponse) AppendJSON(dst []byte) []byte {
	dst = jsonw.Member(append(dst, '{'), ParamAuthReqID, r.RequestID)
	dst = jsonw.Int(dst, ParamExpiresIn, int64(r.ExpiresIn/time.Second))
	dst = jsonw.Int(dst, "interval", int64(r.Interval/time.Second))
	return append(dst, '}')
}
