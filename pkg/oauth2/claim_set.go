// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"time"
	"unicode/utf8"
)

// clockSkew is how far ahead the clock of somebody who made a JWT may be: FAPI 2.0 Security Profile section 5.3.2.1 wants 10 seconds
// accepted and more than 60 refused.
const clockSkew = 30 * time.Second

// maxIdentifierBytes bounds `jti`.
const maxIdentifierBytes = 512

var (
	errClaims      = errors.New("oauth2: not a JSON object with one value for each name")
	errClaimsType  = errors.New("oauth2: a claim is of the wrong type")
	errClaimsTime  = errors.New("oauth2: a time is out of bounds")
	errClaimsEmpty = errors.New("oauth2: a claim is missing")
)

// claimSet is the payload of a stranger's JWT. encoding/json alone would take `ISS` for `iss` and the last of two values for the
// value; a reader that takes the first would then see another token.
type claimSet map[string]json.RawMessage

// parseClaims reads a JSON object whose names are all different (RFC 7519 section 4).
func parseClaims(payload []byte) (claimSet, error) {
	if !utf8.Valid(payload) {
		return nil, errClaims
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errClaims
	}
	set := make(claimSet, 12)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, errClaims
		}
		key, ok := name.(string)
		if _, twice := set[key]; !ok || twice || len(set) >= MaxParams {
			return nil, errClaims
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errClaims
		}
		set[key] = value
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return nil, errClaims
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errClaims
	}
	return set, nil
}

// text reads a string; empty when it is absent.
func (c claimSet) text(name string) (string, error) {
	raw, ok := c[name]
	if !ok {
		return "", nil
	}
	var s string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", errClaimsType
	}
	return s, nil
}

// time reads a NumericDate (RFC 7519 section 2), which may have a fraction; zero when it is absent.
func (c claimSet) time(name string) (time.Time, error) {
	raw, ok := c[name]
	if !ok {
		return time.Time{}, nil
	}
	var n float64
	if len(raw) == 0 || raw[0] == 'n' || json.Unmarshal(raw, &n) != nil {
		return time.Time{}, errClaimsType
	}
	if n <= 0 || n > 1<<40 {
		return time.Time{}, errClaimsTime
	}
	whole, fraction := math.Modf(n)
	return time.Unix(int64(whole), int64(fraction*1e9)), nil
}

// audience reads `aud`: a string or an array of strings (RFC 7519 section 4.1.3). list is true for an array.
func (c claimSet) audience() (values []string, list bool, err error) {
	raw, ok := c["aud"]
	if !ok {
		return nil, false, nil
	}
	if len(raw) > 0 && raw[0] == '[' {
		if json.Unmarshal(raw, &values) != nil || len(values) > MaxParams {
			return nil, true, errClaimsType
		}
		return values, true, nil
	}
	one, err := c.text("aud")
	return []string{one}, false, err
}
