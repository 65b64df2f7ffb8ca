// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"strings"

	"github.com/tenantry/tenantry/pkg/id"
)

// pairwisePrefix keeps pairwise subjects apart from user ids and from clients, so that no two kinds of subject can be equal.
const pairwisePrefix = "pwu_"

// pairwiseSaltBytes is the least length of a tenant's salt: below it the sectors' keys could be guessed.
const pairwiseSaltBytes = 32

// ErrPairwise: a text is no pairwise subject of the sector, or there is no salt.
var ErrPairwise = errors.New("oidc: no pairwise subject")

// PairwiseSubject is the `sub` by which the clients of a sector know a user (OpenID Connect Core section 8.1): `pwu_` and 26 base32
// characters of the user's id, encrypted as the one block of AES-256 that it is, under a key that HKDF-SHA256 derives from the tenant's
// salt for the sector. So it is the same each time, differs between sectors and tenants, tells nothing of the user, and who has the
// salt can open it again without a table. It is empty without a salt.
func PairwiseSubject(salt []byte, sector string, user id.User) string {
	block, err := pairwiseCipher(salt, sector)
	if err != nil || user.IsZero() {
		return ""
	}
	var out [16]byte
	block.Encrypt(out[:], user[:])
	return string(id.AppendBase32([]byte(pairwisePrefix), out))
}

// OpenPairwise gives the user of a pairwise subject. Another sector's or tenant's opens as a user who does not exist, since every block
// decrypts to something: the caller looks the user up. The only error is ErrPairwise.
func OpenPairwise(salt []byte, sector, sub string) (id.User, error) {
	text, ok := strings.CutPrefix(sub, pairwisePrefix)
	if !ok {
		return id.User{}, ErrPairwise
	}
	raw, ok := id.DecodeBase32(text)
	if !ok {
		return id.User{}, ErrPairwise
	}
	block, err := pairwiseCipher(salt, sector)
	if err != nil {
		return id.User{}, ErrPairwise
	}
	var user id.User
	block.Decrypt(user[:], raw[:])
	if user.IsZero() {
		return id.User{}, ErrPairwise
	}
	return user, nil
}

func pairwiseCipher(salt []byte, sector string) (cipher.Block, error) {
	if len(salt) < pairwiseSaltBytes || sector == "" {
		return nil, ErrPairwise
	}
	key, err := hkdf.Key(sha256.New, salt, nil, "tenantry pairwise subject|"+sector, 32)
	if err != nil {
		return nil, err
	}
	return aes.NewCipher(key)
}
