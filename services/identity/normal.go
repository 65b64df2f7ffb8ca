// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// InvalidError says which argument can never be right and why. It wraps ErrInvalid.
type InvalidError struct {
	// Field in the words of the API.
	Field string
	// Reason is a text for people; it never repeats the value.
	Reason string
}

// Error names the field and the reason.
func (e *InvalidError) Error() string { return "identity: " + e.Field + ": " + e.Reason }

// Unwrap makes errors.Is(err, ErrInvalid) true.
func (*InvalidError) Unwrap() error { return ErrInvalid }

// Bounds of texts, in bytes.
const (
	maxName     = 256
	maxURL      = 2048
	maxTag      = 64
	maxMetadata = 16 << 10
	maxLabels   = 100
	maxLabel    = 128
)

// domains maps internationalised domains to A-labels as a browser or mail client does before it looks them up.
var domains = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false), idna.StrictDomainName(true), idna.VerifyDNSLength(true))

// NormalizeEmail answers an address as it is shown and mailed to (NFC, the domain as lower-case A-labels), and the key that is
// unique in a pool (the local part case-folded too: providers that tell Bob@ from bob@ are rarer than people who forget which they
// typed). Quoted local parts, comments and address literals of RFC 5321 are refused: no person has one, and parsers disagree on them.
func NormalizeEmail(s string) (address, key string, err error) {
	invalid := func(reason string) (string, string, error) {
		return "", "", &InvalidError{Field: "email", Reason: reason}
	}
	if len(s) > 1024 || !utf8.ValidString(s) {
		return invalid("it is no e-mail address")
	}
	s = norm.NFC.String(strings.TrimSpace(s))
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at == len(s)-1 {
		return invalid("an e-mail address has a name, an @ and a domain")
	}
	local, domain := s[:at], s[at+1:]
	if len(local) > 64 {
		return invalid("the part before the @ is longer than 64 bytes")
	}
	if local[0] == '.' || local[len(local)-1] == '.' || strings.Contains(local, "..") {
		return invalid("the part before the @ has a misplaced dot")
	}
	for _, r := range local {
		if !localRune(r) {
			return invalid("the part before the @ has a character that no mailbox has")
		}
	}
	if domain, err = domains.ToASCII(domain); err != nil || !strings.Contains(domain, ".") && domain != "localhost" || strings.HasSuffix(domain, ".") {
		return invalid("the part after the @ is no domain")
	}
	if last := domain[strings.LastIndexByte(domain, '.')+1:]; last[0] >= '0' && last[0] <= '9' {
		return invalid("the part after the @ is no domain")
	}
	return local + "@" + domain, foldKey(local) + "@" + domain, nil
}

// localRune accepts atext of RFC 5322 and, beyond ASCII (RFC 6531), what is visible and not a space or a format control.
func localRune(r rune) bool {
	if r < utf8.RuneSelf {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".!#$%&'*+-/=?^_`{|}~", r)
	}
	return unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S) && r != utf8.RuneError
}

// foldKey is the spelling that is compared: canonical, case-folded, with single spaces.
func foldKey(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	return norm.NFC.String(cases.Fold().String(norm.NFC.String(strings.Join(strings.Fields(s), " "))))
}

// text bounds one line that people write: NFC, trimmed, no controls, nothing that turns the direction of what follows.
func text(field, s string, limit int) (string, error) {
	if !utf8.ValidString(s) {
		return "", &InvalidError{Field: field, Reason: "it is not valid UTF-8"}
	}
	s = norm.NFC.String(strings.TrimSpace(s))
	if len(s) > limit {
		return "", &InvalidError{Field: field, Reason: fmt.Sprintf("it is longer than %d bytes", limit)}
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control) || r == '\u2028' || r == '\u2029' {
			return "", &InvalidError{Field: field, Reason: "it has a control character"}
		}
	}
	return s, nil
}

// link bounds a URL that ends in a claim: https or http, so that no page ever renders a javascript: one.
func link(field, s string) (string, error) {
	s, err := text(field, s, maxURL)
	if err != nil || s == "" {
		return s, err
	}
	lower := strings.ToLower(s)
	if !strings.HasPrefix(lower, "https://") && !strings.HasPrefix(lower, "http://") || strings.ContainsAny(s, " \"<>\\^`{|}") {
		return "", &InvalidError{Field: field, Reason: "it is no http or https URL"}
	}
	return s, nil
}

// profileFields is the table of what a profile has: how each member is called and checked.
var profileFields = []struct {
	name  string
	of    func(*Profile) *string
	in    func(*UserChange) *string
	check func(field, value string) (string, error)
}{
	{"name", func(p *Profile) *string { return &p.Name }, func(c *UserChange) *string { return c.Name }, line},
	{"given_name", func(p *Profile) *string { return &p.GivenName }, func(c *UserChange) *string { return c.GivenName }, line},
	{"family_name", func(p *Profile) *string { return &p.FamilyName }, func(c *UserChange) *string { return c.FamilyName }, line},
	{"nickname", func(p *Profile) *string { return &p.Nickname }, func(c *UserChange) *string { return c.Nickname }, line},
	{"preferred_username", func(p *Profile) *string { return &p.PreferredUsername }, func(c *UserChange) *string { return c.PreferredUsername }, line},
	{"picture", func(p *Profile) *string { return &p.Picture }, func(c *UserChange) *string { return c.Picture }, link},
	{"website", func(p *Profile) *string { return &p.Website }, func(c *UserChange) *string { return c.Website }, link},
	{"locale", func(p *Profile) *string { return &p.Locale }, func(c *UserChange) *string { return c.Locale }, tag},
	{"zoneinfo", func(p *Profile) *string { return &p.Zoneinfo }, func(c *UserChange) *string { return c.Zoneinfo }, tag},
}

func line(field, s string) (string, error) { return text(field, s, maxName) }

// tag bounds a language tag or time zone name: letters, digits and the few joints they have.
func tag(field, s string) (string, error) {
	s, err := text(field, s, maxTag)
	if err != nil {
		return "", err
	}
	for _, r := range s {
		if r >= utf8.RuneSelf || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_/+", r) {
			return "", &InvalidError{Field: field, Reason: "it has a character that such a name does not have"}
		}
	}
	return s, nil
}

// profile answers the normal form of a profile and the folded name.
func profile(p Profile) (Profile, string, error) {
	for _, f := range profileFields {
		v := f.of(&p)
		var err error
		if *v, err = f.check(f.name, *v); err != nil {
			return Profile{}, "", err
		}
	}
	return p, foldKey(p.Name), nil
}

// normalizeChange checks a change and replaces its texts by their normal forms; what the caller holds is not written to.
func normalizeChange(c *UserChange) error {
	c.EmailKey, c.NameKey = nil, nil
	if c.Email != nil {
		address, key, err := NormalizeEmail(*c.Email)
		if err != nil {
			return err
		}
		c.Email, c.EmailKey = &address, &key
	}
	for _, f := range profileFields {
		v := f.in(c)
		if v == nil {
			continue
		}
		n, err := f.check(f.name, *v)
		if err != nil {
			return err
		}
		setProfile(c, f.name, &n)
	}
	if c.Name != nil {
		key := foldKey(*c.Name)
		c.NameKey = &key
	}
	if c.State != nil && *c.State != UserActive && *c.State != UserSuspended {
		return &InvalidError{Field: "state", Reason: "it can be set to ACTIVE or SUSPENDED"}
	}
	var roles, groups []string
	if c.Roles != nil {
		roles = *c.Roles
	}
	if c.Groups != nil {
		groups = *c.Groups
	}
	var app, user json.RawMessage
	if c.AppMetadata != nil {
		app = *c.AppMetadata
	}
	if c.UserMetadata != nil {
		user = *c.UserMetadata
	}
	return errors.Join(labels(roles, groups), metadata("app_metadata", app), metadata("user_metadata", user))
}

func setProfile(c *UserChange, name string, v *string) {
	switch name {
	case "name":
		c.Name = v
	case "given_name":
		c.GivenName = v
	case "family_name":
		c.FamilyName = v
	case "nickname":
		c.Nickname = v
	case "preferred_username":
		c.PreferredUsername = v
	case "picture":
		c.Picture = v
	case "website":
		c.Website = v
	case "locale":
		c.Locale = v
	case "zoneinfo":
		c.Zoneinfo = v
	}
}

// labels bounds roles and groups: they end in claims.
func labels(roles, groups []string) error {
	for _, l := range []struct {
		field  string
		values []string
	}{{"roles", roles}, {"groups", groups}} {
		if len(l.values) > maxLabels {
			return &InvalidError{Field: l.field, Reason: fmt.Sprintf("there are more than %d", maxLabels)}
		}
		for _, v := range l.values {
			if n, err := text(l.field, v, maxLabel); err != nil || n == "" || n != v {
				return &InvalidError{Field: l.field, Reason: "a name is empty, too long or not in its normal form"}
			}
		}
	}
	return nil
}

// wordLists accepts lists that are stored as words between spaces: scopes (RFC 6749 section 3.3) and authentication methods.
func wordLists(scopes, amr []string) error {
	for _, l := range []struct {
		field  string
		values []string
	}{{"scopes", scopes}, {"amr", amr}} {
		for _, v := range l.values {
			if v == "" || !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return r == 0 || unicode.IsSpace(r) }) {
				return &InvalidError{Field: l.field, Reason: "a value is empty or has a space"}
			}
		}
	}
	return nil
}

// metadata accepts a bounded JSON object.
func metadata(field string, raw json.RawMessage) error {
	if len(raw) == 0 {
		return nil
	}
	if len(raw) > maxMetadata {
		return &InvalidError{Field: field, Reason: fmt.Sprintf("it is longer than %d bytes", maxMetadata)}
	}
	if b := bytes.TrimLeft(raw, " \t\r\n"); len(b) == 0 || b[0] != '{' || !json.Valid(raw) || !utf8.Valid(raw) {
		return &InvalidError{Field: field, Reason: "it is no JSON object"}
	}
	// PostgreSQL's jsonb has no place for U+0000.
	if bytes.Contains(raw, []byte(`\u0000`)) {
		return &InvalidError{Field: field, Reason: "it has a NUL character"}
	}
	return nil
}
