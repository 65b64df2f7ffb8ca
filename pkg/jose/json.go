// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"
)

// stringValue reads a raw JSON value that must be a string.
func stringValue(value []byte) (string, error) {
	s, ok := unquote(value)
	if !ok {
		return "", fmt.Errorf("%w: member is not a string", ErrMalformed)
	}
	return string(s), nil
}

var errNotObject = errors.New("not a JSON object")

// eachMember calls f for each member of a JSON object with the decoded name and the raw value. It refuses what two parsers could
// read in two ways: invalid UTF-8, duplicate names (RFC 8259 section 4, RFC 7515 section 4), more than 64 members.
func eachMember(data []byte, f func(name, value []byte) error) error {
	if !utf8.Valid(data) || !json.Valid(data) {
		return fmt.Errorf("%w: not JSON in UTF-8", ErrMalformed)
	}
	// From here on the syntax is known to be right, so the scan below only has to find where values end.
	i := skipSpace(data, 0)
	if data[i] != '{' {
		return fmt.Errorf("%w: %w", ErrMalformed, errNotObject)
	}
	var (
		first [8][]byte
		names = first[:0]
	)
	for i = skipSpace(data, i+1); data[i] != '}'; {
		if data[i] == ',' {
			i = skipSpace(data, i+1)
		}
		end := skipValue(data, i)
		name, ok := unquote(data[i:end])
		if !ok || slices.ContainsFunc(names, func(o []byte) bool { return bytes.Equal(o, name) }) {
			return fmt.Errorf("%w: duplicate JSON member", ErrMalformed)
		}
		if names = append(names, name); len(names) > 64 {
			return fmt.Errorf("%w: more than 64 JSON members", ErrMalformed)
		}
		i = skipSpace(data, end) // at ':'
		i = skipSpace(data, i+1) // at the value
		end = skipValue(data, i) // after it
		value := data[i:end:end] // raw
		i = skipSpace(data, end) // at ',' or '}'
		if err := f(name, value); err != nil {
			return err
		}
	}
	return nil
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns the index after the valid JSON value at i.
func skipValue(data []byte, i int) int {
	depth, inString := 0, false
	for ; i < len(data); i++ {
		switch c := data[i]; {
		case inString:
			switch c {
			case '\\':
				i++
			case '"':
				inString = false
				if depth == 0 {
					return i + 1
				}
			}
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth == 0 {
				return i // the end of the object around a number or word
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case depth == 0 && (c == ',' || c == ':' || c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			return i
		}
	}
	return i
}

// unquote decodes a valid JSON string; false for another value, and for an escaped lone surrogate, which encoding/json would
// silently replace, so that two spellings became one name.
func unquote(value []byte) ([]byte, bool) {
	if len(value) < 2 || value[0] != '"' {
		return nil, false
	}
	inner := value[1 : len(value)-1]
	if !slices.Contains(inner, '\\') {
		return inner, true
	}
	var s string
	if json.Unmarshal(value, &s) != nil {
		return nil, false
	}
	if slices.Contains([]rune(s), utf8.RuneError) {
		return nil, false
	}
	return []byte(s), true
}
