// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
)

// Etag is the strong etag of a resource at a version of its row (AIP-154). It is opaque on purpose, so that no client computes one.
func Etag(resource [16]byte, version int64) string {
	var b [32]byte
	copy(b[:8], "etag-v1\x00")
	copy(b[8:24], resource[:])
	binary.BigEndian.PutUint64(b[24:], uint64(version)) //nolint:gosec // a row's version is never negative
	sum := sha256.Sum256(b[:])
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// CheckEtag compares a sent etag with the current one; an empty one asks for no check.
func CheckEtag(sent string, resource [16]byte, version int64) error {
	if sent == "" || sent == "*" || sent == Etag(resource, version) {
		return nil
	}
	return RefuseField(ReasonEtagMismatch, "etag", "")
}
