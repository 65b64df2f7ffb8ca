// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// encryptionKeys finds the key that a client wants to be encrypted to; *clientkeys.Cache is the one that services use.
type encryptionKeys interface {
	Encryption(ctx context.Context, client *oauth2.Client, alg string) (jose.EncryptionKey, error)
}

// encrypt encrypts what is for a client's eyes alone. A key that cannot be had, because its host is away or because there is none of that
// algorithm, is "try again": sent in the clear it is never.
func (m *Minter) encrypt(ctx context.Context, c *oauth2.Client, alg, enc, cty string, payload []byte) (string, error) {
	if m.keys == nil {
		return "", web.Unavailable(errors.New("token: no keys of clients here"))
	}
	key, err := m.keys.Encryption(ctx, c, alg)
	if err != nil {
		return "", web.Unavailable(fmt.Errorf("token: encryption key of %s: %w", c.ID, err))
	}
	text, err := jose.Encrypt(key, alg, enc, cty, payload)
	if err != nil {
		return "", web.Unavailable(fmt.Errorf("token: encrypting for %s: %w", c.ID, err))
	}
	return text, nil
}

// forClient is a signed ID token as the client wants it: encrypted where it registered so (OpenID Connect Core section 16.14, signed
// first).
func (m *Minter) forClient(ctx context.Context, c *oauth2.Client, idToken string) (string, error) {
	if c.IDTokenEncryptionAlg == "" {
		return idToken, nil
	}
	return m.encrypt(ctx, c, c.IDTokenEncryptionAlg, c.IDTokenEncryptionEnc, "JWT", []byte(idToken))
}

// typeJWT is the media type of UserInfo answers that are no JSON (OpenID Connect Core section 5.3.2).
var typeJWT = []string{"application/jwt"}

// writeUserInfo answers with the claims in the form that the client registered: JSON, signed, encrypted, or both.
func (s *Service) writeUserInfo(w http.ResponseWriter, r *http.Request, q *web.Request, c *oauth2.Client, body []byte) error {
	if c == nil || c.UserInfoAlg == "" && c.UserInfoEncryptionAlg == "" {
		web.WriteJSON(w, http.StatusOK, body)
		return nil
	}
	text, cty := string(body), ""
	if c.UserInfoAlg != "" {
		signer, err := s.mint.signer(q.Tenant, c.UserInfoAlg)
		if err != nil {
			return err
		}
		if text, err = signer.Sign("JWT", body); err != nil {
			return err
		}
		cty = "JWT"
	}
	if c.UserInfoEncryptionAlg != "" {
		var err error
		if text, err = s.mint.encrypt(r.Context(), c, c.UserInfoEncryptionAlg, c.UserInfoEncryptionEnc, cty, []byte(text)); err != nil {
			return err
		}
	}
	h := w.Header()
	h["Content-Type"] = typeJWT
	h["Cache-Control"] = noStore
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	w.WriteHeader(http.StatusOK)
	w.Write([]byte(text)) //nolint:errcheck // the caller is gone; there is nobody to tell
	return nil
}
