// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package jsonw appends JSON values to byte slices, for the few documents that are written on every request: tokens and error
// bodies. encoding/json allocates for each of them and sorts nothing that we would want in another order. What is parsed is left
// to encoding/json.
package jsonw

import (
	"strconv"
	"unicode/utf8"
)

const hex = "0123456789abcdef"

// String appends s as a JSON string (RFC 8259 section 7). Bytes that are not UTF-8 become U+FFFD, so that the result is always
// valid. `<`, `>` and `&` are escaped as encoding/json does it, because such a document may end up inside an HTML page.
func String(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b < utf8.RuneSelf {
			if b >= 0x20 && b != '"' && b != '\\' && b != '<' && b != '>' && b != '&' {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch b {
			case '"', '\\':
				dst = append(dst, '\\', b)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\ufffd"...)
			start = i + size
		case r == '\u2028' || r == '\u2029': // line ends in JavaScript, but not in JSON
			dst = append(dst, s[start:i]...)
			dst = append(dst, `\u202`...)
			dst = append(dst, hex[r&15])
			start = i + size
		}
		i += size
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// Name appends `"name":`, with a comma in front unless it is the first member of the object.
func Name(dst []byte, name string) []byte {
	if n := len(dst); n > 0 && dst[n-1] != '{' {
		dst = append(dst, ',')
	}
	return append(String(dst, name), ':')
}

// Member appends a string member.
func Member(dst []byte, name, value string) []byte { return String(Name(dst, name), value) }

// OptionalMember appends a string member unless value is empty.
func OptionalMember(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return Member(dst, name, value)
}

// Int appends a member with a whole number.
func Int(dst []byte, name string, v int64) []byte { return strconv.AppendInt(Name(dst, name), v, 10) }

// Uint appends a member with a whole number.
func Uint(dst []byte, name string, v uint64) []byte {
	return strconv.AppendUint(Name(dst, name), v, 10)
}

// Bool appends a member that is true or false.
func Bool(dst []byte, name string, v bool) []byte { return strconv.AppendBool(Name(dst, name), v) }

// Strings appends a member with an array of strings, [] when values is empty.
func Strings(dst []byte, name string, values []string) []byte {
	dst = append(Name(dst, name), '[')
	for i, v := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = String(dst, v)
	}
	return append(dst, ']')
}
