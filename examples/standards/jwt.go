// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
)

// header is the JOSE header of a JWT (RFC 7515 section 4). The type says what the JWT is for, so that none can be taken for another.
type header struct {
	Algorithm string `json:"alg"`
	Type      string `json:"typ,omitempty"`
	KeyID     string `json:"kid,omitempty"`
	JWK       *jwk   `json:"jwk,omitempty"`
}

// jwk is a public P-256 key (RFC 7518 section 6.2).
type jwk struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Y         string `json:"y"`
	KeyID     string `json:"kid,omitempty"`
	Algorithm string `json:"alg,omitempty"`
	Use       string `json:"use,omitempty"`
}

// keyID names the one key of this program.
const keyID = "standards-1"

// sign makes a JWT with ES256. A key that stands in the header needs no name.
func sign(key *ecdsa.PrivateKey, h header, claims map[string]any) (string, error) {
	h.Algorithm = "ES256"
	if h.JWK == nil {
		h.KeyID = keyID
	}
	head, err := json.Marshal(h)
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	input := b64(head) + "." + b64(payload)
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return "", err
	}
	signature := make([]byte, 64) // R and S, 32 bytes each (RFC 7518 section 3.4): not the DER that other formats have
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + b64(signature), nil
}

// public is the public half of a key.
func public(key *ecdsa.PrivateKey) *jwk {
	point, err := key.PublicKey.Bytes() // 4, X, Y
	if err != nil {
		panic(err) // P-256 keys alone come here
	}
	return &jwk{Type: "EC", Curve: "P-256", X: b64(point[1:33]), Y: b64(point[33:])}
}

// makeKey prints the JWK Set of the key in a file, which it makes when there is none.
func makeKey(file string) error {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
			return err
		}
	}
	key, err := readKey(file)
	if err != nil {
		return err
	}
	k := public(key)
	k.KeyID, k.Algorithm, k.Use = keyID, "ES256", "sig"
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"keys": []*jwk{k}})
}

// readKey reads a private P-256 key in PEM.
func readKey(file string) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New(file + " has no PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if key, ok := key.(*ecdsa.PrivateKey); ok && key.Curve == elliptic.P256() {
		return key, nil
	}
	return nil, errors.New(file + " has no P-256 key")
}

func b64(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }
