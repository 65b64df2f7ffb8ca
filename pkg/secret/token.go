// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package secret

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"hash/crc32"

	"github.com/tenantry/tenantry/pkg/id"
)

// TokenKind is the three-letter word that a machine secret starts with. It is made for secret scanners, and keeps a client secret
// from being taken for an API key.
type TokenKind string

// The kinds of machine secrets.
const (
	APIKey       TokenKind = "tnk" // credential for the control plane
	ClientSecret TokenKind = "tns" // credential of a confidential client at the token endpoint
	// RegistrationToken is the credential by which a client that registered itself is read and changed (RFC 7592).
	RegistrationToken TokenKind = "tnr"
)

// tokenLen is kind, id, secret and checksum with three underscores between them.
const tokenLen = 3 + 1 + id.TextLen + 1 + secretChars + 1 + crcChars

// ErrMalformed is returned for text that is not a machine secret of the wanted kind: wrong prefix, length, checksum or encoding.
// It says nothing about whether such a secret was ever issued.
var ErrMalformed = errors.New("secret: malformed")

// Hash is the SHA-256 of a machine secret's 32 raw bytes: what is stored. The secret has 256 bits of entropy, so neither salt,
// pepper nor a slow hash would add anything.
type Hash [sha256.Size]byte

// HashFromBytes reads a stored hash; ok is false when b is not exactly 32 bytes.
func HashFromBytes(b []byte) (h Hash, ok bool) {
	if len(b) != len(h) {
		return Hash{}, false
	}
	return Hash(b), true
}

// Equal compares in constant time. The zero Hash equals nothing, itself included, so that a row whose hash was never filled in
// lets nobody in.
func (h Hash) Equal(o Hash) bool {
	same := subtle.ConstantTimeCompare(h[:], o[:])
	var zero Hash
	return same&^subtle.ConstantTimeCompare(h[:], zero[:]) == 1
}

// NewToken draws a secret for the record named id and returns its text, to be shown once, and its hash, to be stored.
//
// The text is kind_<id>_<secret>_<crc>: 26 base32 characters, 43 base62 digits (0-9A-Za-z, left-padded), and the CRC-32 (IEEE) of
// the characters before the last underscore as 6 base62 digits. The checksum lets a scanner or a form tell a mistyped or cut-off
// secret from a wrong one without asking anybody; it protects nothing.
func NewToken(k TokenKind, id [16]byte) (text string, h Hash) {
	var raw [32]byte
	rand.Read(raw[:]) // never fails: since Go 1.24 it ends the process instead
	return formatToken(k, id, &raw), sha256.Sum256(raw[:])
}

func formatToken(k TokenKind, record [16]byte, raw *[32]byte) string {
	b := make([]byte, 0, tokenLen)
	b = append(b, k...)
	b = append(b, '_')
	b = id.AppendBase32(b, record)
	b = append(b, '_')
	b = appendBase62(b, raw)
	sum := checksum(string(b))
	b = append(b, '_')
	b = b[:len(b)+crcChars]
	putDigits(b[len(b)-crcChars:], uint64(sum))
	return string(b)
}

// ParseToken takes the text of a machine secret of kind k apart: the id of the record to look up, and the hash to compare with
// the record's. The checksum is looked at before anything else, and every text has one spelling. The only error is ErrMalformed.
func ParseToken(k TokenKind, text string) (record [16]byte, h Hash, err error) {
	const (
		idAt     = 4
		secretAt = idAt + id.TextLen + 1
		crcAt    = secretAt + secretChars + 1
	)
	if len(text) != tokenLen || text[:3] != string(k) || text[3] != '_' || text[secretAt-1] != '_' || text[crcAt-1] != '_' {
		return record, h, ErrMalformed
	}
	sum, ok := digits(text[crcAt:])
	if !ok || sum != uint64(checksum(text[:crcAt-1])) {
		return record, h, ErrMalformed
	}
	record, ok = id.DecodeBase32(text[idAt : secretAt-1])
	if !ok || record == ([16]byte{}) {
		return [16]byte{}, h, ErrMalformed
	}
	var raw [32]byte
	if !decodeBase62(text[secretAt:crcAt-1], &raw) {
		return [16]byte{}, h, ErrMalformed
	}
	return record, sha256.Sum256(raw[:]), nil
}

// checksum is crc32.ChecksumIEEE of a string, byte by byte over the library's table: the library's own loop is reached through a
// variable, for which its argument would have to be copied to the heap.
func checksum(s string) uint32 {
	crc := ^uint32(0)
	for i := range len(s) {
		crc = crc32.IEEETable[byte(crc&0xff)^s[i]] ^ crc>>8
	}
	return ^crc
}
