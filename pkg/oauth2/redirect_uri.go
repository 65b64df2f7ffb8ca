// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// MaxRedirectURIBytes is the largest size of a redirect URI.
const MaxRedirectURIBytes = 2000

// ErrRedirectURI is wrapped by every error about a registered redirect URI, template or origin. The text after it says what is
// wrong and may be shown to who registers it.
var ErrRedirectURI = errors.New("invalid redirect URI")

// RedirectRules say which redirect URIs a client may have beside https ones and http ones on this machine.
type RedirectRules struct {
	// Development also allows plain http on any host under `.localhost`.
	Development bool
	// Native allows private-use schemes (RFC 8252 section 7.1) and any port on a loopback IP address (section 7.3).
	Native bool
}

// RedirectURI is a registered redirect URI. The zero value matches nothing.
type RedirectURI struct {
	raw string
	// port is where ":port" of a loopback address stands or would stand, rest what follows it; 0 when only the exact text matches.
	port, rest uint16
	web        bool
}

// ParseRedirectURI checks a redirect URI at registration (RFC 6749 section 3.1.2, RFC 8252, RFC 9700 sections 2.1 and 4.1).
//
// Allowed are https; http on 127.0.0.1, [::1] and localhost; http under `.localhost` in development; private-use schemes with a
// dot for native clients. The text must be what a browser would send it to, byte for byte, since that is how it will be compared:
// absolute, ASCII, lower-case scheme and host, no user information, no fragment, no wildcard, no backslash, no dot segments. A
// query must not hold names that an authorization response uses, or the client could not tell which value is ours.
// Errors wrap ErrRedirectURI.
func ParseRedirectURI(raw string, rules RedirectRules) (RedirectURI, error) {
	u, err := parseTarget(raw)
	if err != nil {
		return RedirectURI{}, err
	}
	r := RedirectURI{raw: raw, web: u.Scheme == "https"}
	switch u.Scheme {
	case "https":
		err = checkHost(u)
	case "http":
		if err = checkHost(u); err == nil {
			err = checkPlainHost(u, rules)
		}
		if err == nil && rules.Native && loopbackIP(u.Hostname()) {
			at := len("http://") + len(u.Host)
			r.rest = uint16(at) //nolint:gosec // G115: at most MaxRedirectURIBytes
			if p := u.Port(); p != "" {
				at -= len(p) + 1
			}
			r.port = uint16(at) //nolint:gosec // G115: at most MaxRedirectURIBytes
		}
	default:
		err = checkPrivateUse(u, rules)
	}
	if err != nil {
		return RedirectURI{}, err
	}
	return r, nil
}

// String is the URI as registered.
func (r RedirectURI) String() string { return r.raw }

// Web says whether the URI is https, so that the operating system and the browser make sure that nobody else receives what is
// sent there. Loopback and private-use URIs can be claimed by any program on the device (RFC 8252 section 8.6).
func (r RedirectURI) Web() bool { return r.web }

// Matches compares byte for byte (RFC 9700 section 2.1), except that a native client's loopback IP address may have any port,
// because it gets it from the operating system when it starts listening (RFC 8252 section 7.3).
func (r RedirectURI) Matches(requested string) bool {
	if r.raw == "" {
		return false
	}
	if r.raw == requested {
		return true
	}
	if r.port == 0 {
		return false
	}
	tail, ok := strings.CutPrefix(requested, r.raw[:r.port])
	if !ok {
		return false
	}
	port, ok := strings.CutSuffix(tail, r.raw[r.rest:])
	if !ok {
		return false
	}
	if port == "" {
		return true
	}
	return port[0] == ':' && validPort(port[1:])
}

// parseTarget does what is the same for all schemes.
func parseTarget(raw string) (*url.URL, error) {
	switch {
	case raw == "":
		return nil, redirectError("it is empty")
	case len(raw) > MaxRedirectURIBytes:
		return nil, redirectError("it is longer than 2000 bytes")
	}
	for i := range len(raw) {
		switch c := raw[i]; {
		case c <= 0x20 || c >= 0x7f:
			return nil, redirectError("it has a space, control or non-ASCII character; percent-encode it, or use the host's punycode form")
		case strings.IndexByte("\\\"<>^`{|}", c) >= 0:
			return nil, redirectError("it has a character that a URI cannot have")
		case c == '#':
			return nil, redirectError("it has a fragment")
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, redirectError("it is not a URI")
	}
	scheme, _, ok := strings.Cut(raw, ":")
	switch {
	case !ok || u.Scheme == "":
		return nil, redirectError("it is not absolute")
	case scheme != u.Scheme:
		return nil, redirectError("its scheme is not lower-case")
	case u.User != nil:
		return nil, redirectError("it has user information")
	case u.Opaque != "":
		return nil, redirectError("it has no path that starts with a slash")
	case dotSegments(u.Path):
		return nil, redirectError("its path has . or .. segments")
	case strings.Contains(u.Path, "\\"):
		return nil, redirectError("its path has a backslash")
	}
	return u, checkQuery(u)
}

// responseParams are the names that an authorization or logout response may add.
var responseParams = []string{
	ParamCode, ParamState, ParamIssuer, ParamError, ParamErrorDescription, ParamErrorURI, ParamAccessToken, ParamTokenType,
	ParamExpiresIn, ParamScope, "id_token", "session_state", "response",
}

func checkQuery(u *url.URL) error {
	if u.RawQuery == "" {
		return nil
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return redirectError("its query is malformed")
	}
	for _, name := range responseParams {
		if q.Has(name) {
			return redirectError("its query has the name " + name + ", which belongs to the response")
		}
	}
	return nil
}

// checkHost allows host names in lower-case letters, digits and hyphens, and IP literals.
func checkHost(u *url.URL) error {
	host := u.Hostname()
	if host == "" {
		return redirectError("it has no host")
	}
	if p := u.Port(); p != "" && !validPort(p) || strings.HasSuffix(u.Host, ":") {
		return redirectError("its port is not a number from 1 to 65535")
	}
	if strings.HasPrefix(u.Host, "[") {
		// A second spelling of an address (zeros, upper case) would never equal what a browser makes of it.
		if a, err := netip.ParseAddr(host); err != nil || a.Zone() != "" || a.String() != host || a.Is4In6() {
			return redirectError("its IPv6 address is not in canonical form")
		}
		return nil
	}
	return checkName(host)
}

func checkName(host string) error {
	if len(host) > 253 {
		return redirectError("its host is longer than 253 bytes")
	}
	numeric := true
	for label := range strings.SplitSeq(host, ".") {
		if !validLabel(label) {
			return redirectError("its host is not a lower-case host name")
		}
		numeric = strings.Trim(label, "0123456789") == ""
	}
	// Browsers read a host whose last label is a number as an IPv4 address, in any of its spellings (https://url.spec.whatwg.org).
	if last := host[strings.LastIndexByte(host, '.')+1:]; numeric || strings.HasPrefix(last, "0x") {
		if a, err := netip.ParseAddr(host); err != nil || a.String() != host {
			return redirectError("its IPv4 address is not in canonical form")
		}
	}
	return nil
}

// validLabel is a DNS label; underscores are tolerated, since such hosts exist.
func validLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// checkPlainHost names the only hosts that http may go to: none of them leaves the machine.
func checkPlainHost(u *url.URL, rules RedirectRules) error {
	host := u.Hostname()
	if host == "localhost" || loopbackIP(host) || rules.Development && strings.HasSuffix(host, ".localhost") {
		return nil
	}
	return redirectError("plain http is only for 127.0.0.1, [::1], localhost and, in development, hosts under .localhost")
}

func loopbackIP(host string) bool { return host == "127.0.0.1" || host == "::1" }

// checkPrivateUse: a scheme based on a domain name (RFC 8252 section 7.1). The dot keeps out javascript, data, file and their like.
func checkPrivateUse(u *url.URL, rules RedirectRules) error {
	if !rules.Native {
		return redirectError("its scheme is not https; private-use schemes are for native clients")
	}
	labels := strings.Split(u.Scheme, ".")
	if len(labels) < 2 || slices.ContainsFunc(labels, func(l string) bool { return !validLabel(l) || strings.Contains(l, "_") }) {
		return redirectError("a private-use scheme must be a domain name in reverse, such as com.example.app")
	}
	if u.Host == "" && !strings.HasPrefix(u.Path, "/") {
		return redirectError("it has no path that starts with a slash")
	}
	if u.Host != "" {
		return checkHost(u)
	}
	return nil
}

// dotSegments looks at the decoded path, because browsers resolve %2e%2e like .. .
func dotSegments(path string) bool {
	for seg := range strings.SplitSeq(path, "/") {
		if seg == "." || seg == ".." {
			return true
		}
	}
	return false
}

func validPort(s string) bool {
	if s == "" || len(s) > 5 || s[0] == '0' {
		return false
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

func redirectError(why string) error { return fmt.Errorf("%w: %s", ErrRedirectURI, why) }
