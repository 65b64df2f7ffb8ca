// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/secret"
)

// A refresh token is <family>.<generation>.<MAC>: the 26 base32 characters of the grant, a decimal number, and base64url of one byte
// of key id and HMAC-SHA256 under the tenant's runtime key. The MAC covers grant, generation and client. So a token that is forged,
// of another tenant or presented by another client is refused without asking the database, and no copy of it is stored anywhere:
// whoever reads the database cannot use what is in it (PROMISES.md R-64), and a retry can be given the same generation again.
const (
	purposeRefresh = "refresh-token"
	macTextLen     = 44 // 33 bytes
)

func refreshMAC(keys secret.TenantKeys, keyID uint8, grant id.Grant, generation int, client id.Client) ([32]byte, error) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(generation)) //nolint:gosec // never negative
	return keys.MACWith(keyID, purposeRefresh, grant[:], n[:], client[:])
}

// refreshText is the refresh token of a family's generation.
func refreshText(keys secret.TenantKeys, grant id.Grant, generation int, client id.Client) (string, error) {
	var mac [33]byte
	mac[0] = keys.CurrentKeyID()
	sum, err := refreshMAC(keys, mac[0], grant, generation, client)
	if err != nil {
		return "", err
	}
	copy(mac[1:], sum[:])
	b := make([]byte, 0, id.TextLen+12+macTextLen)
	b = id.AppendBase32(b, grant)
	b = append(b, '.')
	b = strconv.AppendInt(b, int64(generation), 10)
	b = append(b, '.')
	return string(base64.RawURLEncoding.AppendEncode(b, mac[:])), nil
}

// errRefreshToken is one answer for everything that is not a refresh token of this client at this tenant.
var errRefreshToken = oauth2.InvalidGrant("the refresh token is not valid")

// parseRefresh checks a refresh token against tenant and client. It accepts the one spelling that refreshText prints.
func parseRefresh(keys secret.TenantKeys, text string, client id.Client) (grant id.Grant, generation int, ok bool) {
	if len(text) < id.TextLen+2+macTextLen+1 || len(text) > id.TextLen+2+macTextLen+10 || text[id.TextLen] != '.' {
		return id.Grant{}, 0, false
	}
	raw, ok := id.DecodeBase32(text[:id.TextLen])
	if !ok {
		return id.Grant{}, 0, false
	}
	number, mac, ok := strings.Cut(text[id.TextLen+1:], ".")
	if !ok || len(mac) != macTextLen {
		return id.Grant{}, 0, false
	}
	n, err := strconv.ParseUint(number, 10, 31)
	if err != nil || n == 0 || number[0] == '0' || number[0] == '+' {
		return id.Grant{}, 0, false
	}
	var got [33]byte
	if _, err := base64.RawURLEncoding.Strict().Decode(got[:], []byte(mac)); err != nil {
		return id.Grant{}, 0, false
	}
	grant, generation = id.Grant(raw), int(n)
	want, err := refreshMAC(keys, got[0], grant, generation, client)
	if err != nil || !hmac.Equal(want[:], got[1:]) {
		return id.Grant{}, 0, false
	}
	return grant, generation, true
}
