// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package identity

import (
	_ "embed"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// PasswordPolicy is what a new password must be. Old passwords are never judged again: a stricter policy locks nobody out.
type PasswordPolicy struct {
	// MinLength is the least number of characters after NFC; at least 8 whatever is set.
	MinLength int
	// CommonCheck refuses passwords that everybody tries first.
	CommonCheck bool
	// TenantName must not be the password.
	TenantName string
}

// PasswordViolation is one thing that is wrong with a password, as a word that pages have a sentence for.
type PasswordViolation string

// Violations of a policy.
const (
	// PasswordTooShort: fewer characters than the policy wants.
	PasswordTooShort PasswordViolation = "too_short"
	// PasswordTooLong: more than 1,024 bytes.
	PasswordTooLong PasswordViolation = "too_long"
	// PasswordUnusable: not valid UTF-8, or with a NUL.
	PasswordUnusable PasswordViolation = "unusable"
	// PasswordCommon: everybody tries it first.
	PasswordCommon PasswordViolation = "common"
	// PasswordIsEmail: it is the address or its first part.
	PasswordIsEmail PasswordViolation = "is_email"
	// PasswordIsTenant: it is the tenant's name.
	PasswordIsTenant PasswordViolation = "is_tenant"
)

// PasswordError says all that is wrong with a new password. It never holds the password.
type PasswordError struct {
	// Violations, each once.
	Violations []PasswordViolation
	// MinLength that was wanted.
	MinLength int
}

// Error lists the violations.
func (e *PasswordError) Error() string {
	words := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		words[i] = string(v)
	}
	return "identity: the password is refused: " + strings.Join(words, ", ")
}

// Is makes errors.Is(err, ErrInvalid) true.
func (*PasswordError) Is(target error) bool { return target == ErrInvalid }

const (
	// minPasswordLength holds whatever a policy says (NIST SP 800-63B section 5.1.1.2).
	minPasswordLength = 8
	// maxPasswordBytes bounds the work that a stranger can ask for.
	maxPasswordBytes = 1024
)

// Check answers nil or a *PasswordError.
func (p PasswordPolicy) Check(password, email string) error {
	e := &PasswordError{MinLength: max(p.MinLength, minPasswordLength)}
	typed, usable := normalizePassword(password)
	switch {
	case len(password) > maxPasswordBytes || len(typed) > maxPasswordBytes:
		e.Violations = append(e.Violations, PasswordTooLong)
		return e
	case !usable:
		e.Violations = append(e.Violations, PasswordUnusable)
		return e
	}
	if utf8.RuneCountInString(typed) < e.MinLength {
		e.Violations = append(e.Violations, PasswordTooShort)
	}
	key := foldKey(typed)
	if address, mailbox := foldKey(email), ""; address != "" {
		if at := strings.LastIndexByte(address, '@'); at > 0 {
			mailbox = address[:at]
		}
		if key == address || key == mailbox {
			e.Violations = append(e.Violations, PasswordIsEmail)
		}
	}
	if name := foldKey(p.TenantName); name != "" && (key == name || squeeze(key) == squeeze(name)) {
		e.Violations = append(e.Violations, PasswordIsTenant)
	}
	if p.CommonCheck && common(key) {
		e.Violations = append(e.Violations, PasswordCommon)
	}
	if len(e.Violations) == 0 {
		return nil
	}
	return e
}

// normalizePassword is what is hashed: NFC, so that one password typed on two keyboards is one (RFC 8265 section 4.2.2). Nothing is trimmed
// or folded. What is no text is not usable and never matches.
func normalizePassword(s string) (string, bool) {
	if len(s) > maxPasswordBytes {
		return "", false
	}
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 || s == "" {
		return "", false
	}
	return norm.NFC.String(s), true
}

//go:embed common.txt
var commonList string

var commonSet = sync.OnceValue(func() map[string]struct{} {
	m := make(map[string]struct{}, 1024)
	for _, w := range strings.Fields(commonList) {
		m[w] = struct{}{}
	}
	return m
})

// common reports whether a folded password is one that guessing tools try first: a word of the list as it is, with the usual
// letters swapped, with digits and signs around it, or repeated; one or two characters over and over; a run of the alphabet, the
// digits or a keyboard row.
func common(key string) bool {
	if listed(key) || fewCharacters(key) || run(key) {
		return true
	}
	core := strings.TrimFunc(key, func(r rune) bool { return !unicode.IsLetter(r) })
	for _, v := range []string{core, unswap(key), unswap(core), squeeze(unswap(key)), strings.TrimFunc(unswap(key), notLetter)} {
		// What is left must be most of the password: three letters in front of twelve random digits are fine.
		if len(v) >= 4 && len(v)*2 >= len(key) && (listed(v) || repeated(v)) {
			return true
		}
	}
	return repeated(key)
}

func notLetter(r rune) bool { return !unicode.IsLetter(r) }

func listed(s string) bool {
	_, ok := commonSet()[s]
	return ok
}

// unswap undoes the usual swaps of letters for digits and signs.
var swaps = strings.NewReplacer("@", "a", "4", "a", "3", "e", "1", "i", "!", "i", "0", "o", "$", "s", "5", "s", "7", "t")

func unswap(s string) string { return swaps.Replace(s) }

// squeeze drops everything but letters and digits.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, s)
}

// repeated reports a listed word, or any piece of up to four bytes, written several times.
func repeated(s string) bool {
	for n := 1; n <= len(s)/2; n++ {
		if len(s)%n == 0 && strings.Repeat(s[:n], len(s)/n) == s && (n <= 4 || listed(s[:n])) {
			return true
		}
	}
	return false
}

func fewCharacters(s string) bool {
	seen := make(map[rune]struct{}, 3)
	for _, r := range s {
		seen[r] = struct{}{}
		if len(seen) > 2 {
			return false
		}
	}
	return true
}

// rows are what fingers run along.
var rows = [...]string{
	"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz", "01234567890123456789012345678901234567890123456789",
	"qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm", "azertyuiopqsdfghjklmwxcvbn", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/",
	"1q2w3e4r5t6y7u8i9o0p", "qazwsxedcrfvtgbyhnujmikolp", "!@#$%^&*()_+", "1234567890qwertyuiopasdfghjklzxcvbnm", "q1w2e3r4t5y6u7i8o9p0",
}

// run reports a piece of a row, forwards or backwards.
func run(s string) bool {
	if len(s) < 4 {
		return false
	}
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	back := string(b)
	for _, row := range rows {
		if strings.Contains(row, s) || strings.Contains(row, back) {
			return true
		}
	}
	return false
}
