// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"strings"
	"unicode/utf8"
)

// Bounds of a query or form. The longest honest request (a claims parameter, a signed request object) is far below them.
const (
	// MaxParams is the largest number of parameters, counting those without a value.
	MaxParams = 64
	// MaxParamBytes is the largest size of one decoded value.
	MaxParamBytes = 8 << 10
	// MaxParamsBytes is the largest size of the whole encoded text.
	MaxParamsBytes = 32 << 10
)

// Params is a parsed query or form whose parameters have one value each (RFC 6749 sections 3.1 and 3.2). The zero value has none.
// It is immutable and may be shared.
type Params struct {
	pairs []param
}

type param struct{ name, value string }

// ParseParams parses application/x-www-form-urlencoded text: the query of a GET or the body of a POST.
//
// A repeated parameter is refused, because two readers would pick different ones (parameter pollution); RFC 8707 section 2 makes
// `resource` the exception. A parameter without a value counts as omitted (RFC 6749 section 3.1), but still not twice. Invalid
// UTF-8, control characters, bad percent-encoding and a bare `;` (which some readers take for a separator) are refused. Tabs and
// line breaks are allowed in `claims`, whose value is JSON. Errors are invalid_request.
func ParseParams(raw string) (Params, error) {
	if len(raw) > MaxParamsBytes {
		return Params{}, InvalidRequest("the request is too long")
	}
	if raw == "" {
		return Params{}, nil
	}
	n := strings.Count(raw, "&") + 1
	if n > MaxParams {
		return Params{}, InvalidRequest("too many parameters")
	}
	p := Params{pairs: make([]param, 0, n)}
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, ok := unescape(name)
		if !ok || name == "" {
			return Params{}, InvalidRequest("a parameter name is malformed")
		}
		if value, ok = unescape(value); !ok || len(value) > MaxParamBytes || !cleanText(value, name == "claims") {
			return Params{}, InvalidRequest(quoteParam(name) + " is malformed")
		}
		for _, q := range p.pairs {
			if q.name == name && name != ParamResource {
				return Params{}, InvalidRequest(quoteParam(name) + " is given more than once")
			}
		}
		if !cleanText(name, false) {
			return Params{}, InvalidRequest("a parameter name is malformed")
		}
		p.pairs = append(p.pairs, param{name, value})
	}
	return p, nil
}

// Get is the value of a parameter, or the empty string when it is absent.
func (p Params) Get(name string) string {
	for i := range p.pairs {
		if p.pairs[i].name == name {
			return p.pairs[i].value
		}
	}
	return ""
}

// Has says whether a parameter is there with a value that is not empty.
func (p Params) Has(name string) bool { return p.Get(name) != "" }

// Values gives all values of a parameter that may be repeated (`resource`), nil when there is none. Empty ones are left out.
func (p Params) Values(name string) []string {
	var all []string
	for _, q := range p.pairs {
		if q.name == name && q.value != "" {
			all = append(all, q.value)
		}
	}
	return all
}

// With returns a copy of p in which name has the given value instead of its own; an empty value removes it.
func (p Params) With(name, value string) Params {
	c := Params{pairs: make([]param, 0, len(p.pairs)+1)}
	for _, q := range p.pairs {
		if q.name != name {
			c.pairs = append(c.pairs, q)
		}
	}
	if value != "" {
		c.pairs = append(c.pairs, param{name, value})
	}
	return c
}

// Only returns a copy of p without the parameters whose name keep refuses.
func (p Params) Only(keep func(name string) bool) Params {
	c := Params{pairs: make([]param, 0, len(p.pairs))}
	for _, q := range p.pairs {
		if keep(q.name) {
			c.pairs = append(c.pairs, q)
		}
	}
	return c
}

// Encode prints all parameters in their order, for sealing a request: ParseParams(p.Encode()) gives p again.
func (p Params) Encode() string {
	n := 0
	for _, q := range p.pairs {
		n += len(q.name) + len(q.value) + 2
	}
	b := make([]byte, 0, n+n/4)
	for i, q := range p.pairs {
		if i > 0 {
			b = append(b, '&')
		}
		b = appendEscaped(b, q.name)
		b = append(b, '=')
		b = appendEscaped(b, q.value)
	}
	return string(b)
}

// quoteParam names a parameter in a description. A name made by a stranger is only repeated when it looks like one.
func quoteParam(name string) string {
	if len(name) > 40 {
		return "a parameter"
	}
	for i := range len(name) {
		if c := name[i]; !isAlnum(c) && c != '_' && c != '-' && c != '.' {
			return "a parameter"
		}
	}
	return "parameter " + name
}

// unescape decodes form encoding. It allocates only when there is something to decode.
func unescape(s string) (string, bool) {
	i := strings.IndexAny(s, "%+;")
	if i < 0 {
		return s, true
	}
	b := make([]byte, i, len(s))
	copy(b, s)
	for ; i < len(s); i++ {
		switch c := s[i]; c {
		case ';':
			return "", false
		case '+':
			b = append(b, ' ')
		case '%':
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi > 15 || lo > 15 {
				return "", false
			}
			b = append(b, hi<<4|lo)
			i += 2
		default:
			b = append(b, c)
		}
	}
	return string(b), true
}

// appendEscaped appends s form-encoded. Only the characters that every URL parser leaves alone stay as they are.
func appendEscaped(dst []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; {
		case isAlnum(c) || c == '-' || c == '.' || c == '_' || c == '~':
			dst = append(dst, c)
		case c == ' ':
			dst = append(dst, '+')
		default:
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}

// cleanText says whether s is UTF-8 without control characters (C0, DEL, C1).
func cleanText(s string, lines bool) bool {
	ascii := true
	for i := range len(s) {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			ascii = false
		case c < 0x20 && (!lines || c != '\n' && c != '\r' && c != '\t'), c == 0x7f:
			return false
		}
	}
	if ascii {
		return true
	}
	for i, r := range s {
		if r >= 0x80 && r < 0xa0 {
			return false
		}
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return false
			}
		}
	}
	return true
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
