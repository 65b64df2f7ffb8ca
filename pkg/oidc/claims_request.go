// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/tenantry/tenantry/pkg/oauth2"
)

// Bounds of a claims parameter beside those of every parameter.
const (
	maxClaims      = 64
	maxClaimValues = 32
	maxClaimDepth  = 8
)

// ClaimRequest is one claim that a client asks for by name (OpenID Connect Core section 5.5.1).
type ClaimRequest struct {
	// Name is the claim's name.
	Name string
	// Essential claims are needed for a smooth flow; their absence is still no error, except for acr.
	Essential bool
	// Values are the strings of `value` and `values`; other types than strings mean nothing to us.
	Values []string
}

// ClaimsRequest is a claims parameter (OpenID Connect Core section 5.5). The zero value asks for nothing.
type ClaimsRequest struct {
	// UserInfo are the claims for UserInfo, beside those of the scopes.
	UserInfo []ClaimRequest
	// IDToken are the claims for the ID token.
	IDToken []ClaimRequest
}

// ParseClaimsRequest parses a claims parameter. It is bounded in number and depth; a member given twice is refused, because two
// readers would pick different ones. Members that the standard does not name are ignored. Errors are invalid_request. The empty
// text gives the zero value.
func ParseClaimsRequest(s string) (ClaimsRequest, error) {
	if s == "" {
		return ClaimsRequest{}, nil
	}
	if len(s) > oauth2.MaxParamBytes {
		return ClaimsRequest{}, errClaims(errors.New("too long"))
	}
	p := claimsParser{d: json.NewDecoder(bytes.NewReader([]byte(s)))}
	var r ClaimsRequest
	err := p.object(func(name string) (err error) {
		switch name {
		case "userinfo":
			r.UserInfo, err = p.claims()
		case "id_token":
			r.IDToken, err = p.claims()
		default:
			err = p.skip(0)
		}
		return err
	})
	if err == nil {
		if _, end := p.d.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("text behind the object")
		}
	}
	if err != nil {
		return ClaimsRequest{}, errClaims(err)
	}
	return r, nil
}

func errClaims(cause error) error {
	return oauth2.InvalidRequest("claims is not a JSON object as OpenID Connect Core section 5.5 has it").WithCause(cause)
}

// Find gives the request for a claim in one of the two lists.
func (ClaimsRequest) find(list []ClaimRequest, name string) (ClaimRequest, bool) {
	if i := slices.IndexFunc(list, func(c ClaimRequest) bool { return c.Name == name }); i >= 0 {
		return list[i], true
	}
	return ClaimRequest{}, false
}

// subjects are the users of whom the claims parameter insists on one: `sub` with value or values (OpenID Connect Core section 5.5.1);
// nil when anybody will do.
func (r ClaimsRequest) subjects() []string {
	for _, list := range [][]ClaimRequest{r.IDToken, r.UserInfo} {
		if c, ok := r.find(list, "sub"); ok && len(c.Values) > 0 {
			return c.Values
		}
	}
	return nil
}

// acr gives the classes of which one is essential (OpenID Connect Core section 5.5.1.1), nil when any will do.
func (r ClaimsRequest) acr() []string {
	if c, ok := r.find(r.IDToken, "acr"); ok && c.Essential {
		return c.Values
	}
	return nil
}

func claimNames(list []ClaimRequest) []string {
	names := make([]string, len(list))
	for i, c := range list {
		names[i] = c.Name
	}
	return names
}

// IDTokenClaims names the claims asked for the ID token, UserInfoClaims those for UserInfo: what a code and a refresh family keep.
func (r ClaimsRequest) IDTokenClaims() []string { return claimNames(r.IDToken) }

// UserInfoClaims names the claims asked for UserInfo.
func (r ClaimsRequest) UserInfoClaims() []string { return claimNames(r.UserInfo) }

// claimsParser walks JSON token by token, since json.Unmarshal takes the last of two equal members in silence.
type claimsParser struct{ d *json.Decoder }

var errShape = errors.New("unexpected JSON")

func (p claimsParser) object(member func(name string) error) error {
	t, err := p.d.Token()
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return errShape
	}
	return p.members(member)
}

// members reads an object whose brace is already read.
func (p claimsParser) members(member func(name string) error) error {
	var seen []string
	for p.d.More() {
		t, err := p.d.Token()
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok || slices.Contains(seen, name) || len(seen) == maxClaims {
			return errShape
		}
		seen = append(seen, name)
		if err := member(name); err != nil {
			return err
		}
	}
	_, err := p.d.Token()
	return err
}

// claims reads {"name": null | {...}, ...}; null instead of the object asks for nothing.
func (p claimsParser) claims() ([]ClaimRequest, error) {
	t, err := p.d.Token()
	if err != nil || t == nil {
		return nil, err
	}
	if t != json.Delim('{') {
		return nil, errShape
	}
	var list []ClaimRequest
	err = p.members(func(name string) error {
		if name == "" || len(name) > 128 {
			return errShape
		}
		c, err := p.claim(name)
		list = append(list, c)
		return err
	})
	return list, err
}

func (p claimsParser) claim(name string) (ClaimRequest, error) {
	c := ClaimRequest{Name: name}
	t, err := p.d.Token()
	if err != nil || t == nil {
		return c, err
	}
	if t != json.Delim('{') {
		return c, errShape
	}
	err = p.members(func(member string) error {
		switch member {
		case "essential":
			t, err := p.d.Token()
			if err != nil {
				return err
			}
			b, ok := t.(bool)
			if !ok {
				return errShape
			}
			c.Essential = b
			return nil
		case "value", "values":
			var raw any
			if err := p.d.Decode(&raw); err != nil {
				return err
			}
			return c.add(raw, member == "values")
		}
		return p.skip(0)
	})
	return c, err
}

func (c *ClaimRequest) add(raw any, list bool) error {
	values := []any{raw}
	if list {
		var ok bool
		if values, ok = raw.([]any); !ok || len(values) > maxClaimValues {
			return errShape
		}
	}
	for _, v := range values {
		if s, ok := v.(string); ok {
			c.Values = append(c.Values, s)
		}
	}
	return nil
}

// skip reads one value that means nothing to us.
func (p claimsParser) skip(depth int) error {
	t, err := p.d.Token()
	if err != nil {
		return err
	}
	d, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	if depth == maxClaimDepth {
		return errShape
	}
	if d == '{' {
		return p.members(func(string) error { return p.skip(depth + 1) })
	}
	for p.d.More() {
		if err := p.skip(depth + 1); err != nil {
			return err
		}
	}
	_, err = p.d.Token()
	return err
}
