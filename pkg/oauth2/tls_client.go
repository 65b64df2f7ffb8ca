// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

// MatchesCertificate says whether a certificate has the one name that the client registered for tls_client_auth (RFC 8705 section
// 2.1.2). The chain is the caller's question: a name proves nothing in a certificate that anybody made.
func (c *Client) MatchesCertificate(cert *x509.Certificate) bool {
	if cert == nil {
		return false
	}
	switch {
	case c.TLSSubjectDN != "":
		return sameSubject(c.TLSSubjectDN, cert.RawSubject)
	case c.TLSSANDNS != "":
		return slices.ContainsFunc(cert.DNSNames, func(n string) bool { return strings.EqualFold(n, c.TLSSANDNS) })
	case c.TLSSANURI != "":
		return slices.ContainsFunc(sanURIs(cert), func(u string) bool { return u == c.TLSSANURI })
	case c.TLSSANIP != "":
		want, err := netip.ParseAddr(c.TLSSANIP)
		return err == nil && slices.ContainsFunc(cert.IPAddresses, func(ip net.IP) bool {
			got, ok := netip.AddrFromSlice(ip)
			return ok && got.Unmap() == want.Unmap()
		})
	case c.TLSSANEmail != "":
		return slices.ContainsFunc(cert.EmailAddresses, func(e string) bool { return sameEmail(e, c.TLSSANEmail) })
	}
	return false
}

// ParseDN checks a subject_dn as a client registers it: the text form of RFC 4514.
func ParseDN(text string) error {
	_, err := parseDN(text)
	return err
}

func sanURIs(cert *x509.Certificate) []string {
	all := make([]string, 0, len(cert.URIs))
	for _, u := range cert.URIs {
		all = append(all, u.String())
	}
	return all
}

// sameEmail compares as RFC 5280 section 7.5: the part before the @ exactly, the domain in any case.
func sameEmail(a, b string) bool {
	i, j := strings.LastIndexByte(a, '@'), strings.LastIndexByte(b, '@')
	return i > 0 && i == j && a[:i] == b[:j] && strings.EqualFold(a[i:], b[j:])
}

// attribute is one attribute of a distinguished name in a form that can be compared: the dotted type and the prepared value.
type attribute struct{ oid, value string }

// sameSubject compares a registered name with the subject of a certificate, attribute by attribute and not as texts: one name has
// many texts (RFC 8705 section 2.1.2, RFC 5280 section 7.1).
func sameSubject(registered string, rawSubject []byte) bool {
	want, err := parseDN(registered)
	if err != nil || len(want) == 0 {
		return false
	}
	var seq pkix.RDNSequence
	if rest, err := asn1.Unmarshal(rawSubject, &seq); err != nil || len(rest) > 0 || len(seq) != len(want) {
		return false
	}
	for i, set := range seq {
		got := make([]attribute, 0, len(set))
		for _, a := range set {
			value, ok := a.Value.(string)
			if !ok {
				return false
			}
			got = append(got, attribute{a.Type.String(), prepare(value)})
		}
		// The text has the last one first (RFC 4514 section 2.1); the order within a set means nothing.
		other := want[len(want)-1-i]
		slices.SortFunc(got, compareAttributes)
		if !slices.Equal(got, other) {
			return false
		}
	}
	return true
}

func compareAttributes(a, b attribute) int {
	if d := strings.Compare(a.oid, b.oid); d != 0 {
		return d
	}
	return strings.Compare(a.value, b.value)
}

// prepare is what of RFC 4518 matters for names that people register: case and runs of spaces do not count.
func prepare(value string) string { return strings.ToLower(strings.Join(strings.Fields(value), " ")) }

// attributeTypes are the short names of RFC 4514 section 3 and those that certificate authorities use beside them.
var attributeTypes = map[string]string{
	"CN": "2.5.4.3", "SURNAME": "2.5.4.4", "SN": "2.5.4.4", "SERIALNUMBER": "2.5.4.5", "C": "2.5.4.6", "L": "2.5.4.7", "ST": "2.5.4.8", "S": "2.5.4.8",
	"STREET": "2.5.4.9", "O": "2.5.4.10", "OU": "2.5.4.11", "T": "2.5.4.12", "TITLE": "2.5.4.12", "BUSINESSCATEGORY": "2.5.4.15", "POSTALCODE": "2.5.4.17",
	"GIVENNAME": "2.5.4.42", "GN": "2.5.4.42", "DNQ": "2.5.4.46", "ORGANIZATIONIDENTIFIER": "2.5.4.97", "UID": "0.9.2342.19200300.100.1.1",
	"DC": "0.9.2342.19200300.100.1.25", "EMAILADDRESS": "1.2.840.113549.1.9.1", "E": "1.2.840.113549.1.9.1",
	"JURISDICTIONC": "1.3.6.1.4.1.311.60.2.1.3", "JURISDICTIONCOUNTRYNAME": "1.3.6.1.4.1.311.60.2.1.3",
}

var errDN = errors.New("not a distinguished name in the form of RFC 4514")

// maxAttributes bounds a name.
const maxAttributes = 32

// parseDN reads a name into its sets of attributes, in the order of the text.
func parseDN(text string) (sets [][]attribute, err error) {
	var set []attribute
	for n := 0; text != ""; n++ {
		if n == maxAttributes {
			return nil, errDN
		}
		name, rest, ok := strings.Cut(text, "=")
		if !ok {
			return nil, errDN
		}
		oid, ok := attributeOID(strings.TrimSpace(name))
		if !ok {
			return nil, fmt.Errorf("%w: an attribute type is not known; write it in numbers", errDN)
		}
		value, sep, rest, err := dnValue(strings.TrimLeft(rest, " "))
		if err != nil {
			return nil, err
		}
		set = append(set, attribute{oid, prepare(value)})
		if sep != '+' {
			slices.SortFunc(set, compareAttributes)
			sets, set = append(sets, set), nil
		}
		if text = rest; sep != 0 && strings.TrimSpace(text) == "" {
			return nil, errDN // a separator and nothing after it
		}
	}
	return sets, nil
}

func attributeOID(name string) (string, bool) {
	if len(name) > 0 && name[0] >= '0' && name[0] <= '2' {
		for i := range len(name) {
			if c := name[i]; c != '.' && (c < '0' || c > '9') {
				return "", false
			}
		}
		return name, strings.Contains(name, ".") && !strings.Contains(name, "..") && name[len(name)-1] != '.'
	}
	oid, ok := attributeTypes[strings.ToUpper(name)]
	return oid, ok
}

// dnValue reads an attribute value up to its separator: ',' (or the older ';'), '+', or 0 for the end.
func dnValue(text string) (value string, sep byte, rest string, err error) {
	if strings.HasPrefix(text, "#") {
		return hexValue(text)
	}
	var b []byte
	i := 0
	for ; i < len(text); i++ {
		c := text[i]
		if c == ',' || c == ';' || c == '+' {
			sep = c
			break
		}
		switch c {
		case '"', '<', '>', 0:
			return "", 0, "", errDN // must be escaped (section 2.4)
		case '\\':
			if i++; i >= len(text) {
				return "", 0, "", errDN
			}
			hi := unhex(text[i])
			if hi > 15 {
				b = append(b, text[i])
				continue
			}
			if i++; i >= len(text) || unhex(text[i]) > 15 {
				return "", 0, "", errDN
			}
			b = append(b, hi<<4|unhex(text[i]))
		default:
			b = append(b, c)
		}
	}
	if !utf8.Valid(b) || len(b) == 0 {
		return "", 0, "", errDN
	}
	if sep == 0 {
		return string(b), 0, "", nil
	}
	return string(b), sep, text[i+1:], nil
}

// hexValue reads the form # and the hexadecimal BER of the value (section 2.4).
func hexValue(text string) (value string, sep byte, rest string, err error) {
	end := strings.IndexAny(text, ",;+")
	digits := text[1:]
	if end >= 0 {
		digits, sep, rest = text[1:end], text[end], text[end+1:]
	}
	raw, err := hex.DecodeString(strings.TrimRight(digits, " "))
	if err != nil {
		return "", 0, "", errDN
	}
	var v any
	if left, err := asn1.Unmarshal(raw, &v); err != nil || len(left) > 0 {
		return "", 0, "", errDN
	}
	s, ok := v.(string)
	if !ok {
		return "", 0, "", errDN
	}
	return s, sep, rest, nil
}
