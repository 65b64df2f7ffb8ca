// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// ErrHost is wrapped by every refusal of NormalizeHost.
var ErrHost = errors.New("snapshot: not a hostname")

// NormalizeHost gives the one form of a hostname that is stored, compared and looked up: lower-case A-labels (RFC 5891 section
// 4.4), without port and without the trailing dot of a fully qualified name. It refuses what is no DNS hostname: IP literals in
// any spelling, underscores, empty labels, labels over 63 and names over 253 bytes, and what is not valid under the IDNA2008
// lookup profile (among it A-labels that no U-label gives). A name that is already normal is returned as it is, without
// allocation.
func NormalizeHost(s string) (string, error) {
	host, normal := hostShape(s)
	if normal && !strings.Contains(host, "xn--") {
		return host, nil
	}
	return normalizeSlow(s)
}

// hostShape strips the port and reports whether the rest has the shape of a normal name. It does not look into A-labels, which is
// enough for looking a name up among stored ones.
func hostShape(s string) (host string, ok bool) {
	label, digits := 0, true // length of the current label, and whether it is all digits
	var last byte
	n := len(s)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z':
			digits = false
			label++
		case c >= '0' && c <= '9':
			label++
		case c == '-':
			if label == 0 {
				return s, false
			}
			digits = false
			label++
		case c == '.':
			if label == 0 || label > 63 || last == '-' {
				return s, false
			}
			label, digits = 0, true
		case c == ':':
			if !isPort(s[i+1:]) {
				return s, false
			}
			n = i
			i = len(s)
			continue
		default:
			return s, false
		}
		last = c
	}
	if label == 0 || label > 63 || last == '-' || digits || n > 253 || hexNumber(s[n-label:n]) {
		return s, false
	}
	return s[:n], true
}

// hexNumber reports whether the last label makes the name an IPv4 address in its hexadecimal spelling. Together with a last label
// of digits alone it is what the WHATWG URL standard calls "ends in a number": browsers read such a name as an address.
func hexNumber(label string) bool {
	if len(label) < 2 || label[0] != '0' || label[1] != 'x' {
		return false
	}
	return strings.Trim(label[2:], "0123456789abcdef") == ""
}

func isPort(s string) bool {
	if len(s) > 5 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true // "host:" has an empty port (RFC 3986 section 3.2.3)
}

// idnaLookup is UTS #46 non-transitional with the checks of a lookup (RFC 5891 section 5), so that "straße" and "strasse" differ.
var idnaLookup = idna.New(
	idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(), idna.CheckHyphens(false), idna.CheckJoiners(true),
	idna.StrictDomainName(true), idna.VerifyDNSLength(true),
)

func normalizeSlow(s string) (string, error) {
	// Four bytes a character, 253 characters, a port: nothing longer can become a name, and IDNA work is not free.
	if len(s) > 4*253+6 {
		return "", fmt.Errorf("%w: too long", ErrHost)
	}
	host := s
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		if !isPort(host[i+1:]) {
			return "", fmt.Errorf("%w: port", ErrHost)
		}
		host = host[:i]
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" {
		return "", fmt.Errorf("%w: empty", ErrHost)
	}
	ascii, err := idnaLookup.ToASCII(host)
	if err != nil {
		return "", fmt.Errorf("%w: not a valid domain name", ErrHost)
	}
	// x/net/idna lets the replacement character through, which is what invalid UTF-8 decodes to: one name for many inputs.
	if unicode, err := idnaLookup.ToUnicode(ascii); err != nil || strings.ContainsRune(unicode, utf8.RuneError) {
		return "", fmt.Errorf("%w: not a valid domain name", ErrHost)
	}
	// The mapping may have made a port, an address or an empty label out of full-width characters.
	out, ok := hostShape(ascii)
	if !ok || len(out) != len(ascii) {
		return "", fmt.Errorf("%w: not a DNS hostname", ErrHost)
	}
	return out, nil
}
