// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package secret

import (
	"encoding/binary"
	"math/bits"
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// secretChars holds 256 bits: 62^43 is a little more than 2^256. crcChars holds 32 bits.
const (
	secretChars = 43
	crcChars    = 6
)

var base62Values = func() (v [256]byte) {
	for i := range v {
		v[i] = 0xff
	}
	for i := range len(base62) {
		v[base62[i]] = byte(i)
	}
	return v
}()

// A chunk is ten digits, the most that fit a machine word with room to spare: the 43 digits are 3 + 4 × 10.
const chunkDigits = 10

const chunkBase = 839299365868340224 // 62^10

// appendBase62 appends raw as a big-endian number in 43 digits, left-padded with '0'.
func appendBase62(dst []byte, raw *[32]byte) []byte {
	var n [4]uint64 // most significant first
	for i := range n {
		n[i] = binary.BigEndian.Uint64(raw[i*8:])
	}
	var out [secretChars]byte
	for end := secretChars; end > 0; end -= chunkDigits {
		var rem uint64
		for i := range n {
			n[i], rem = bits.Div64(rem, n[i], chunkBase)
		}
		putDigits(out[max(0, end-chunkDigits):end], rem)
	}
	return append(dst, out[:]...)
}

// decodeBase62 is the strict inverse of appendBase62: false for another length, another character, or a number above 2^256-1.
func decodeBase62(s string, raw *[32]byte) bool {
	if len(s) != secretChars {
		return false
	}
	var n [4]uint64
	for start, end := 0, secretChars%chunkDigits; start < secretChars; start, end = end, end+chunkDigits {
		carry, ok := digits(s[start:end])
		if !ok {
			return false
		}
		for i := len(n) - 1; i >= 0; i-- {
			hi, lo := bits.Mul64(n[i], chunkBase)
			var c uint64
			n[i], c = bits.Add64(lo, carry, 0)
			carry = hi + c
		}
		if carry != 0 {
			return false
		}
	}
	for i := range n {
		binary.BigEndian.PutUint64(raw[i*8:], n[i])
	}
	return true
}

// putDigits fills dst with v in base 62, left-padded. v is below 62^len(dst).
func putDigits(dst []byte, v uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = base62[v%62]
		v /= 62
	}
}

// digits reads at most ten base62 digits.
func digits(s string) (v uint64, ok bool) {
	for i := range len(s) {
		d := base62Values[s[i]]
		if d == 0xff {
			return 0, false
		}
		v = v*62 + uint64(d)
	}
	return v, true
}
