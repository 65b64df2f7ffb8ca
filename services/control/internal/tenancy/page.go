// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// Page is what a list call asks for.
type Page struct {
	Size    int    // 0 means 50; at most 1,000
	Token   string // from the previous page, opaque
	Filter  string
	OrderBy string // empty, or one of the list's orders
}

// The sizes of pages.
const (
	DefaultPageSize = 50
	MaxPageSize     = 1000
)

// Limit is the number of items wanted.
func (p Page) Limit() (int, error) {
	switch {
	case p.Size < 0 || p.Size > MaxPageSize:
		return 0, RefuseField(ReasonInvalidArgument, "page_size", "choose 0 to 1000")
	case p.Size == 0:
		return DefaultPageSize, nil
	}
	return p.Size, nil
}

// PageTokens makes and reads page tokens. A token holds the key of the last item and a MAC over it and over what the list was asked
// for, so that a token cannot be forged, nor carried to another caller, parent, filter or order.
type PageTokens struct{ key []byte }

// NewPageTokens takes a secret of at least 32 bytes.
func NewPageTokens(key []byte) *PageTokens {
	return &PageTokens{append([]byte("tenantry-page-token-v1\x00"), key...)}
}

// Make writes the token of a page that ended at cursor.
func (p *PageTokens) Make(cursor []byte, binding ...string) string {
	return base64.RawURLEncoding.EncodeToString(append(p.mac(cursor, binding), cursor...))
}

// Read returns the cursor of a token, nil for the first page. The error is PAGE_TOKEN_INVALID.
func (p *PageTokens) Read(token string, binding ...string) ([]byte, error) {
	if token == "" {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if len(token) > 1024 || err != nil || len(raw) <= macLen || !hmac.Equal(raw[:macLen], p.mac(raw[macLen:], binding)) {
		return nil, RefuseField(ReasonPageTokenInvalid, "page_token", "send the token of the previous page of this very list")
	}
	return raw[macLen:], nil
}

const macLen = 16

func (p *PageTokens) mac(cursor []byte, binding []string) []byte {
	h := hmac.New(sha256.New, p.key)
	var n [8]byte
	write := func(b []byte) {
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	write(cursor)
	for _, b := range binding {
		write([]byte(b))
	}
	return h.Sum(nil)[:macLen]
}

// ParseOrder reads an order_by: a field of allowed, optionally followed by desc. The first allowed order is the default.
func ParseOrder(text string, allowed ...string) (field string, desc bool, err error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return allowed[0], false, nil
	}
	if len(words) <= 2 && (len(words) == 1 || words[1] == "desc" || words[1] == "asc") {
		for _, a := range allowed {
			if a == words[0] {
				return a, len(words) == 2 && words[1] == "desc", nil
			}
		}
	}
	return "", false, RefuseField(ReasonInvalidArgument, "order_by", "choose "+strings.Join(allowed, " or ")+", optionally followed by desc")
}
