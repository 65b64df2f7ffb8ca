// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"

	"github.com/tenantry/tenantry/pkg/id"
)

// A consistency token says "at least config_version v of tenant t exists": tenant (16) | version (8) | signer (1) | signature (64),
// in unpadded base64url. It is signed, because a made-up version would make every request with it reload from Redis.
const (
	tokenDomain = "tenantry-tcv-v1" //nolint:gosec // a label under signatures, no credential
	tokenHead   = 16 + 8 + 1
	tokenBytes  = tokenHead + ed25519.SignatureSize
	tokenText   = (tokenBytes*8 + 5) / 6
)

// ConsistencyToken is the text that goes into `tcv=` and the consistency_token of answers.
func (k SigningKey) ConsistencyToken(tenant id.Tenant, version uint64) string {
	b := make([]byte, tokenHead, tokenBytes)
	copy(b, tenant[:])
	binary.BigEndian.PutUint64(b[16:], version)
	b[24] = k.signer
	return base64.RawURLEncoding.EncodeToString(append(b, ed25519.Sign(k.private, tokenSigned(k.region, b))...))
}

func tokenSigned(region string, head []byte) []byte {
	b := make([]byte, 0, len(tokenDomain)+len(region)+2+len(head))
	b = append(b, tokenDomain...)
	b = append(b, 0)
	b = append(b, region...)
	b = append(b, 0)
	return append(b, head...)
}

// consistencyToken is a parsed token. Its claims are worth nothing until verified.
type consistencyToken struct {
	raw     [tokenBytes]byte
	tenant  id.Tenant
	version uint64
}

func parseConsistencyToken(text string) (t consistencyToken, ok bool) {
	if len(text) != tokenText {
		return t, false
	}
	if n, err := base64.RawURLEncoding.Strict().Decode(t.raw[:], []byte(text)); err != nil || n != tokenBytes {
		return t, false
	}
	copy(t.tenant[:], t.raw[:])
	t.version = binary.BigEndian.Uint64(t.raw[16:])
	return t, true
}

func (v *Verifier) verifyToken(t *consistencyToken) bool {
	key, pinned := v.keys[t.raw[24]]
	return pinned && ed25519.Verify(key, tokenSigned(v.region, t.raw[:tokenHead]), t.raw[tokenHead:])
}
