// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
)

// sealer seals small values for cookies (AES-256-GCM, the cookie's name as
// associated data). Its key lives as long as the process: a sample app signs
// everybody out when it is restarted.
type sealer struct{ aead cipher.AEAD }

func newSealer() (*sealer, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &sealer{aead}, err
}

func (s *sealer) seal(name string, v any) string {
	plain, err := json.Marshal(v)
	if err != nil {
		return "" // only our own plain structs come here; an empty cookie opens as nobody
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, plain, []byte(name))) //nolint:gosec // the AEAD draws its own nonce
}

func (s *sealer) open(name, text string, v any) error {
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(text) > 4096 {
		return errors.New("not a sealed value")
	}
	plain, err := s.aead.Open(nil, nil, sealed, []byte(name))
	if err != nil {
		return err
	}
	return json.Unmarshal(plain, v)
}
