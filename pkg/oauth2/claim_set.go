// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
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

// parseClaims reads a JSON object whose names are all different (RFC 7519 section 4). The values point into payload. encoding/json
// judges the syntax; what is left to do here is to find where values end, which its decoder does at ten times the cost.
func parseClaims(payload []byte) (claimSet, error) {
	if !utf8.Valid(payload) || !json.Valid(payload) {
		return nil, errClaims
	}
	i := jsonSpace(payload, 0)
	if payload[i] != '{' {
		return nil, errClaims
	}
	set := make(claimSet, 10)
	for i = jsonSpace(payload, i+1); payload[i] != '}'; {
		if payload[i] == ',' {
			i = jsonSpace(payload, i+1)
		}
		end := jsonValue(payload, i)
		name, ok := jsonText(payload[i:end])
		if _, twice := set[name]; !ok || twice || len(set) >= MaxParams {
			return nil, errClaims
		}
		i = jsonSpace(payload, jsonSpace(payload, end)+1) // over the colon
		end = jsonValue(payload, i)
		set[name] = json.RawMessage(payload[i:end:end])
		i = jsonSpace(payload, end)
	}
	return set, nil
}

// jsonSpace skips white space. The text is valid JSON, so there is always something after it.
func jsonSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// jsonValue is the index after the value that begins at i, in valid JSON.
func jsonValue(b []byte, i int) int {
	depth, quoted := 0, false
	for ; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			if quoted = !quoted; !quoted && depth == 0 {
				return i + 1
			}
		case quoted:
		case c == '{' || c == '[':
			depth++
		case (c == '}' || c == ']') && depth == 0: // of the object around a number or a word
			return i
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
		case depth == 0 && (c == ',' || c == ':' || c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			return i
		}
	}
	return i
}

// jsonText decodes a string. An escaped lone surrogate, for which encoding/json would put another character, is refused: two texts
// would become one.
func jsonText(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	var s string
	if json.Unmarshal(raw, &s) != nil || strings.ContainsRune(s, utf8.RuneError) && !bytes.Contains(inner, []byte("\uFFFD")) {
		return "", false
	}
	return s, true
}

// text reads a string; empty when it is absent.
func (c claimSet) text(name string) (string, error) {
	raw, ok := c[name]
	if !ok {
		return "", nil
	}
	s, ok := jsonText(raw)
	if !ok {
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
	if whole, err := strconv.ParseInt(string(raw), 10, 64); err == nil && whole > 0 && whole <= 1<<40 { // what nearly all are
		return time.Unix(whole, 0), nil
	}
	n, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || raw[0] == '"' {
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
