// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package jose

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// keyFrom says where a way of verifying takes its key from, and thereby what the header must and must not hold.
type keyFrom uint8

const (
	fromKeyID  keyFrom = iota // a key of ours: the header must name it by kid
	fromHints                 // one of a few keys: kid may be there
	fromHeader                // the header's own jwk, which must be there; a kid beside it means nothing
)

// compactJWS is a compact JWS taken apart. There is one reading of a token in this package, and this is it.
type compactJWS struct {
	Header
	jwk        []byte // raw "jwk" member with fromHeader
	text       []byte // the token
	dot1, dot2 int    // the indexes of its dots
	payload    []byte // after decode
	signature  []byte // after decode
	buf        []byte
}

// open reads the token as far as its header and checks that against what the caller accepts. The errors are ErrMalformed,
// ErrAlgorithm and ErrType, in this order.
func (c *compactJWS) open(token string, opt VerifyOptions, from keyFrom) error {
	limit := opt.MaxBytes
	if limit <= 0 {
		limit = DefaultMaxBytes
	}
	if len(token) > limit {
		return fmt.Errorf("%w: token above %d bytes", ErrMalformed, limit)
	}
	c.dot1 = strings.IndexByte(token, '.')
	c.dot2 = strings.LastIndexByte(token, '.')
	// Two dots, three parts; encoding/base64 would skip line breaks.
	if c.dot1 < 1 || c.dot2 < c.dot1+2 || c.dot2 == len(token)-1 ||
		strings.IndexByte(token[c.dot1+1:c.dot2], '.') >= 0 || strings.ContainsAny(token, "\r\n") {
		return fmt.Errorf("%w: not a compact JWS", ErrMalformed)
	}
	// Two buffers: the text, since hash functions and decoders take slices, and the three decoded parts.
	c.text = []byte(token)
	buf, err := encoding.AppendDecode(make([]byte, 0, base64.RawURLEncoding.DecodedLen(len(c.text))), c.text[:c.dot1])
	if err != nil {
		return fmt.Errorf("%w: header is not base64url", ErrMalformed)
	}
	c.buf = buf
	head := tokenHeader{from: from}
	if err := head.parse(buf); err != nil {
		return err
	}
	c.Header, c.jwk = head.Header, head.jwk
	if !slices.Contains(opt.Algorithms, Algorithm(c.Alg)) {
		return ErrAlgorithm
	}
	if !slices.ContainsFunc(opt.Typ, func(want string) bool { return sameType(want, c.Typ) }) {
		return ErrType
	}
	return nil
}

// decode fills in payload and signature.
func (c *compactJWS) decode() (err error) {
	start := len(c.buf)
	if c.buf, err = encoding.AppendDecode(c.buf, c.text[c.dot1+1:c.dot2]); err != nil {
		return fmt.Errorf("%w: payload is not base64url", ErrMalformed)
	}
	end := len(c.buf)
	if c.buf, err = encoding.AppendDecode(c.buf, c.text[c.dot2+1:]); err != nil {
		return fmt.Errorf("%w: signature is not base64url", ErrMalformed)
	}
	c.payload, c.signature = c.buf[start:end:end], c.buf[end:]
	return nil
}

// input is what was signed (RFC 7515 section 5.1).
func (c *compactJWS) input() []byte { return c.text[:c.dot2] }

// encoding is base64url without padding; Strict refuses trailing bits that an encoder would have left at zero.
var encoding = base64.RawURLEncoding.Strict()

type tokenHeader struct {
	Header
	from   keyFrom
	hasTyp bool
	hasKid bool
	jwk    []byte
}

func (h *tokenHeader) parse(data []byte) error {
	if err := eachMember(data, h.read); err != nil {
		return err
	}
	switch {
	case h.Alg == "" || h.hasTyp && h.Typ == "":
		return fmt.Errorf("%w: header needs alg", ErrMalformed)
	case h.hasKid && h.KeyID == "" || len(h.KeyID) > maxKeyID:
		return fmt.Errorf("%w: kid must be of 1 to %d bytes", ErrMalformed, maxKeyID)
	case h.from == fromKeyID && !h.hasKid:
		return fmt.Errorf("%w: header needs kid", ErrMalformed)
	case h.from == fromHeader && h.jwk == nil:
		return fmt.Errorf("%w: header needs jwk", ErrMalformed)
	}
	return nil
}

func (h *tokenHeader) read(name, value []byte) (err error) {
	switch string(name) {
	case "alg":
		h.Alg, err = stringValue(value)
	case "kid":
		h.hasKid = true
		h.KeyID, err = stringValue(value)
	case "typ":
		h.hasTyp = true
		h.Typ, err = stringValue(value)
	case "crit", "b64":
		return fmt.Errorf("%w: header has extensions", ErrMalformed)
	case "jwk":
		if h.from != fromHeader {
			return fmt.Errorf("%w: header brings its own key", ErrMalformed)
		}
		h.jwk = value
	case "jku", "x5c", "x5u":
		return fmt.Errorf("%w: header brings its own key", ErrMalformed)
	}
	return err
}

// sameType compares media types as RFC 7515 section 4.1.9 abbreviates them: "application/" may be left out where no other slash
// follows.
func sameType(want, got string) bool {
	return strings.EqualFold(want, got) || want != "" && got != "" && strings.EqualFold(longType(want), longType(got))
}

func longType(t string) string {
	if strings.Contains(t, "/") {
		return t
	}
	return "application/" + t
}
