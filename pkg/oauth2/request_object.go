// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// RequestObjectTypes are the `typ` values of a request object (RFC 9101 section 10.8). The old ones without one of its own are what
// most libraries still send; what keeps other JWTs of a client from counting as request objects is that they have no response_type,
// and a request object cannot be a client assertion since it may not have the client as `sub`.
var RequestObjectTypes = []string{"oauth-authz-req+jwt", "JWT", ""}

// CodeRequestNotSupported is the error for an unsigned request object (OpenID Connect Core section 3.1.2.6): those are not supported.
const CodeRequestNotSupported = "request_not_supported"

// ErrRequestObject is wrapped by the cause of what is wrong with a request object, for the log.
var ErrRequestObject = errors.New("oauth2: request object")

// RequestObjectRules are what a request object is judged by.
type RequestObjectRules struct {
	// ClientID is the client that the request is from, by the parameter outside.
	ClientID string
	// Issuer is the tenant's issuer, which `aud` must contain.
	Issuer string
	// Life is Profile.RequestObjectLife: with it iss, aud, exp and nbf are needed and bounded.
	Life int
	// Now is the time.
	Now time.Time
}

// jwtClaims are the members of a request object that are no parameters of the request.
var jwtClaims = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti"}

// ParseRequestObject turns the payload of a request object, whose signature was verified, into the parameters of the request (RFC
// 9101 section 4). What is inside is the whole request: a parameter that stands outside alone does not count (section 6.3), or
// whoever controls the link could add to what the client signed. Errors are *Error with the code invalid_request_object.
func ParseRequestObject(payload []byte, r RequestObjectRules) (Params, error) {
	set, err := parseClaims(payload)
	if err != nil {
		return Params{}, badObject("it is not a JSON object with one value for each name", err)
	}
	if err := set.checkRequest(r); err != nil {
		return Params{}, err
	}
	names := make([]string, 0, len(set))
	for name := range set {
		if !slices.Contains(jwtClaims, name) {
			names = append(names, name)
		}
	}
	sort.Strings(names) // so that the same object gives the same request
	p := Params{pairs: make([]param, 0, len(names)+1)}
	total := 0
	for _, name := range names {
		values, err := parameterValues(name, set[name])
		if err != nil {
			return Params{}, badObject(quoteParam(name)+" inside it is malformed", err)
		}
		for _, v := range values {
			if total += len(name) + len(v); len(p.pairs) == MaxParams || total > MaxParamsBytes {
				return Params{}, badObject("it has too many parameters", nil)
			}
			p.pairs = append(p.pairs, param{name, v})
		}
	}
	if inside := p.Get(ParamClientID); inside == "" {
		p.pairs = append(p.pairs, param{ParamClientID, r.ClientID})
	} else if inside != r.ClientID {
		return Params{}, badObject("client_id inside it is another one", nil)
	}
	return p, nil
}

// checkRequest checks the claims of the JWT itself.
func (c claimSet) checkRequest(r RequestObjectRules) error {
	if _, nested := c[ParamRequest]; nested {
		return badObject("request may not stand inside a request object", nil)
	}
	if _, nested := c[ParamRequestURI]; nested {
		return badObject("request_uri may not stand inside a request object", nil)
	}
	issuer, err := c.text("iss")
	if err != nil || issuer != "" && issuer != r.ClientID || issuer == "" && r.Life > 0 {
		return badObject("iss must be the client_id", err)
	}
	// RFC 9101 section 10.8: or it could be presented as a client assertion.
	if subject, err := c.text("sub"); err != nil || subject == r.ClientID {
		return badObject("sub must not be the client_id", err)
	}
	audience, _, err := c.audience()
	if err != nil || len(audience) > 0 && !slices.Contains(audience, r.Issuer) || len(audience) == 0 && r.Life > 0 {
		return badObject("aud must contain the issuer", err)
	}
	expire, err := c.time("exp")
	if err != nil || !expire.IsZero() && !r.Now.Before(expire) {
		return badObject("it has expired", err)
	}
	notBefore, err := c.time("nbf")
	if err != nil || notBefore.After(r.Now.Add(clockSkew)) {
		return badObject("it is not valid yet", err)
	}
	if issued, err := c.time("iat"); err != nil || issued.After(r.Now.Add(clockSkew)) {
		return badObject("it was issued in the future", err)
	}
	if r.Life == 0 {
		return nil
	}
	life := time.Duration(r.Life) * time.Second
	switch {
	case expire.IsZero():
		return badObject("exp is missing", nil)
	case notBefore.IsZero():
		return badObject("nbf is missing", nil)
	case expire.Sub(notBefore) > life:
		return badObject(fmt.Sprintf("exp is more than %d seconds after nbf", r.Life), nil)
	case r.Now.Sub(notBefore) > life:
		return badObject(fmt.Sprintf("nbf is more than %d seconds ago", r.Life), nil)
	}
	return nil
}

// parameterValues prints a member as a parameter: texts as they are, numbers and truth values in their JSON form, objects and arrays
// (claims, authorization_details) as compact JSON. null counts as absent. An array of texts under `resource` is several values (RFC
// 8707 section 2.1).
func parameterValues(name string, raw json.RawMessage) ([]string, error) {
	if name == "" || len(name) > 256 || !cleanText(name, false) || len(raw) == 0 {
		return nil, errClaimsType
	}
	var value string
	switch raw[0] {
	case 'n':
		return nil, nil
	case '"':
		var ok bool
		if value, ok = jsonText(raw); !ok {
			return nil, errClaimsType
		}
	case '{', '[':
		if name == ParamResource && raw[0] == '[' {
			var all []string
			if err := json.Unmarshal(raw, &all); err != nil {
				return nil, errClaimsType
			}
			for _, v := range all {
				if v == "" || len(v) > MaxParamBytes || !cleanText(v, false) {
					return nil, errClaimsType
				}
			}
			return all, nil
		}
		var b bytes.Buffer
		if err := json.Compact(&b, raw); err != nil {
			return nil, errClaimsType
		}
		value = b.String()
	case 't', 'f':
		value = string(raw)
	default:
		value = string(raw)
		if n, err := strconv.ParseFloat(value, 64); err == nil && n == float64(int64(n)) && strings.ContainsAny(value, ".eE") {
			value = strconv.FormatInt(int64(n), 10) // 3600.0 and 3.6e3 are max_age values that some encoders write
		}
	}
	if len(value) > MaxParamBytes || !cleanText(value, name == "claims") {
		return nil, errClaimsType
	}
	if value == "" {
		return nil, nil // as a parameter without a value (RFC 6749 section 3.1)
	}
	return []string{value}, nil
}

// InvalidRequestObject: the request object is malformed, not signed by the client, or not meant for here (RFC 9101 section 7).
func InvalidRequestObject(description string) *Error {
	return NewError(CodeInvalidRequestObject, statusBadRequest, description)
}

// InvalidRequestURI: the request_uri is unknown, expired, of another client, or cannot be read (RFC 9101 section 7, RFC 9126 section 4).
func InvalidRequestURI(description string) *Error {
	return NewError(CodeInvalidRequestURI, statusBadRequest, description)
}

func badObject(what string, cause error) *Error {
	if cause == nil {
		cause = ErrRequestObject
	} else {
		cause = fmt.Errorf("%w: %w", ErrRequestObject, cause)
	}
	return InvalidRequestObject("the request object is not valid: " + what).WithCause(cause)
}

// UnsignedRequestObject says whether a request object claims to have no signature (`alg` none), which is a feature that is not
// supported rather than a signature that is wrong.
func UnsignedRequestObject(text string) bool {
	header, _, ok := strings.Cut(text, ".")
	if !ok {
		return false
	}
	set, ok := decodeClaims(header)
	if !ok {
		return false
	}
	alg, err := set.text("alg")
	return err == nil && strings.EqualFold(alg, "none")
}

// RequestURIRegistered says whether a request object may be fetched from an address: it is one of those registered, apart from the
// fragment, in which a client may put the hash of the contents (OpenID Connect Core section 6.2).
func (c *Client) RequestURIRegistered(address string) bool {
	plain, _, _ := strings.Cut(address, "#")
	return slices.ContainsFunc(c.RequestURIs, func(u string) bool {
		registered, _, _ := strings.Cut(u, "#")
		return registered == plain
	})
}
