// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package id owns Tenantry's identifiers: 128 time-ordered bits (UUIDv7, RFC 9562 section 5.7) whose kind is a Go type, so that a
// tenant's id cannot be passed where a client's is wanted.
//
// Inside PostgreSQL an identifier is a uuid; everywhere else it is its prefix, an underscore and 26 lower-case Crockford base32
// characters, for example tnt_06c1q3v5r1ezfb4d2n8m0k7h9s. The text has exactly one spelling: upper case, the ambiguous letters
// i, l, o and u, another prefix, a wrong length and the two bits that do not fit are all refused, so an identifier may be compared
// as text and cannot be smuggled past a filter in a second form.
//
// Identifiers are names, not secrets: 62 of their bits are random, which prevents collisions and guessing at a glance, but who may
// see a resource is always decided by a right, never by knowledge of its id. Machine secrets live in pkg/secret.
//
// The zero value means "none": it prints as the empty string and no text parses to it.
package id

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Kind gives an identifier type its prefix. The kinds of this package are closed: they are the unexported types behind the
// aliases in kinds.go.
type Kind interface {
	// Prefix is the lower-case word before the underscore, such as "tnt".
	Prefix() string
}

// ID is an identifier of kind K: the 16 bytes of a UUIDv7. It is comparable, usable as a map key, and its byte order is its
// creation order. The zero value means "none".
type ID[K Kind] [16]byte

// ErrMalformed is what Parse, UnmarshalText and FromUUID return (wrapped, with the wanted prefix) for text that is not the one
// spelling of an identifier of the wanted kind.
var ErrMalformed = errors.New("id: malformed identifier")

const (
	alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
	// TextLen is the number of base32 characters after the prefix and underscore.
	TextLen = 26
)

// values maps a character to its five bits; 0xff marks what the alphabet lacks.
var values = func() (v [256]byte) {
	for i := range v {
		v[i] = 0xff
	}
	for i := range len(alphabet) {
		v[alphabet[i]] = byte(i)
	}
	return v
}()

// Parse reads the text form of an identifier of kind K. The error wraps ErrMalformed and never repeats the input, which may be
// a secret pasted into the wrong field.
func Parse[K Kind](s string) (ID[K], error) {
	var k K
	p := k.Prefix()
	if len(s) != len(p)+1+TextLen || s[:len(p)] != p || s[len(p)] != '_' {
		return ID[K]{}, malformed(p)
	}
	raw, ok := DecodeBase32(s[len(p)+1:])
	if !ok || raw == ([16]byte{}) {
		return ID[K]{}, malformed(p)
	}
	return ID[K](raw), nil
}

// FromUUID reads the hyphenated lower-case form of RFC 9562 section 4, the form that PostgreSQL prints. It is for operators'
// tools; the public surface speaks Parse's form only.
func FromUUID[K Kind](s string) (ID[K], error) {
	var (
		v ID[K]
		k K
	)
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return v, malformed(k.Prefix())
	}
	for _, c := range []byte(s) {
		if c >= 'A' && c <= 'F' {
			return v, malformed(k.Prefix())
		}
	}
	b := []byte(s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36])
	if _, err := hex.Decode(v[:], b); err != nil || v.IsZero() {
		return ID[K]{}, malformed(k.Prefix())
	}
	return v, nil
}

func malformed(prefix string) error {
	return fmt.Errorf("%w: want %s_ and %d lower-case base32 characters", ErrMalformed, prefix, TextLen)
}

// IsZero reports whether v names nothing.
func (v ID[K]) IsZero() bool { return v == ID[K]{} }

// String is the text form, or the empty string for the zero value.
func (v ID[K]) String() string {
	if v.IsZero() {
		return ""
	}
	var buf [40]byte // holds every prefix of this package; append grows it otherwise
	return string(v.append(buf[:0]))
}

// UUID is the hyphenated form of RFC 9562 section 4, for logs that are read next to the database. Unlike String it prints the
// zero value in full (the nil UUID).
func (v ID[K]) UUID() string {
	var b [36]byte
	hex.Encode(b[0:8], v[0:4])
	hex.Encode(b[9:13], v[4:6])
	hex.Encode(b[14:18], v[6:8])
	hex.Encode(b[19:23], v[8:10])
	hex.Encode(b[24:36], v[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// AppendText appends the text form to dst (encoding.TextAppender); the zero value appends nothing. The error is always nil.
func (v ID[K]) AppendText(dst []byte) ([]byte, error) {
	if v.IsZero() {
		return dst, nil
	}
	return v.append(dst), nil
}

func (v ID[K]) append(dst []byte) []byte {
	var k K
	dst = append(dst, k.Prefix()...)
	dst = append(dst, '_')
	return AppendBase32(dst, v)
}

// MarshalText is the text form, empty for the zero value. The error is always nil.
func (v ID[K]) MarshalText() ([]byte, error) { return v.AppendText(nil) }

// UnmarshalText is Parse, with the empty text giving the zero value. v keeps its value when the text is malformed.
func (v *ID[K]) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*v = ID[K]{}
		return nil
	}
	parsed, err := Parse[K](string(text))
	if err != nil {
		return err
	}
	*v = parsed
	return nil
}

// Compare orders identifiers by their bytes, which is by creation time: -1, 0 or +1.
func (v ID[K]) Compare(o ID[K]) int { return bytes.Compare(v[:], o[:]) }

// Time is the moment in the identifier's first 48 bits, at millisecond precision. It is a hint for people and for partitions of
// tables, not evidence: an imported identifier holds whatever its maker wrote.
func (v ID[K]) Time() time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(v[:8]) >> 16))
}

// AppendBase32 appends the 26 base32 characters of raw, without prefix. API key text (pkg/secret) embeds an identifier in this form.
func AppendBase32(dst []byte, raw [16]byte) []byte {
	// 128 bits in 26 groups of five: the first character holds three bits, so it is at most '7'.
	hi, lo := binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])
	var b [TextLen]byte
	for i := TextLen - 1; i >= 0; i-- {
		b[i] = alphabet[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	return append(dst, b[:]...)
}

// DecodeBase32 is the strict inverse of AppendBase32; ok is false for anything that AppendBase32 would not print.
func DecodeBase32(s string) (raw [16]byte, ok bool) {
	if len(s) != TextLen || s[0] > '7' {
		return raw, false
	}
	var hi, lo uint64
	var bad byte
	for i := range TextLen {
		v := values[s[i]]
		bad |= v // valid characters have only the low five bits
		hi = hi<<5 | lo>>59
		lo = lo<<5 | uint64(v&31)
	}
	if bad >= 32 {
		return raw, false
	}
	binary.BigEndian.PutUint64(raw[:8], hi)
	binary.BigEndian.PutUint64(raw[8:], lo)
	return raw, true
}
