// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// paramToken is the hidden field that proves that a form of ours was sent from a page that this browser got from us.
const paramToken = "t"

// Errors of ownForm.
var (
	// errForeign: another site sent the form (cross-site request forgery).
	errForeign = errors.New("login: the form was sent from another site")
	// errFormToken: the browser did not return the cookie, or returned another one than the page was made with.
	errFormToken = errors.New("login: the form token does not fit the browser's cookie")
)

const formNonceBytes = 18

// formNonce is the nonce of this browser, which form tokens are bound to. A nonce that is there is kept, so that five tabs, Back and
// a page left open overnight go on working; otherwise one is drawn and set.
func formNonce(w http.ResponseWriter, r *http.Request, q *web.Request) []byte {
	if nonce := sentNonce(r, q); nonce != nil {
		return nonce
	}
	nonce := make([]byte, formNonceBytes)
	rand.Read(nonce) // never fails since Go 1.24: it ends the process instead
	setCookie(w, q.Tenant, cookieForm, base64.RawURLEncoding.EncodeToString(nonce), 0)
	return nonce
}

// sentNonce is the nonce that the browser sent, nil for none. With two cookies of the name somebody planted one: neither counts.
func sentNonce(r *http.Request, q *web.Request) []byte {
	cookies := r.CookiesNamed(cookieName(q.Tenant, cookieForm))
	if len(cookies) != 1 {
		return nil
	}
	nonce, err := base64.RawURLEncoding.Strict().DecodeString(cookies[0].Value)
	if err != nil || len(nonce) != formNonceBytes {
		return nil
	}
	return nonce
}

// formToken is the token of a form: a MAC over the browser's nonce and over what else the form is bound to, so that a "yes" of one
// user or to one request cannot be sent for another.
func (s *Service) formToken(q *web.Request, nonce []byte, bound ...[]byte) string {
	mac := s.keyring.Tenant(q.Tenant.ID).MAC(purposeForm, append([][]byte{nonce}, bound...)...)
	return base64.RawURLEncoding.EncodeToString(mac[:])
}

// ownForm accepts a form that a page of ours sent: from the same origin as far as the browser says, and with the token that fits the
// browser's cookie. Errors: errForeign, errFormToken.
func (s *Service) ownForm(r *http.Request, q *web.Request, form oauth2.Params, bound ...[]byte) error {
	if s.crossOrigin.Check(r) != nil && !opaqueOrigin(r) {
		return errForeign
	}
	nonce := sentNonce(r, q)
	mac, err := base64.RawURLEncoding.Strict().DecodeString(form.Get(paramToken))
	if nonce == nil || err != nil || !s.keyring.Tenant(q.Tenant.ID).VerifyMAC(purposeForm, mac, append([][]byte{nonce}, bound...)...) {
		return errFormToken
	}
	return nil
}

// opaqueOrigin is how browsers without Fetch Metadata send our own forms: "Referrer-Policy: no-referrer" makes the Origin of a form
// post null (Fetch Standard, serializing a request origin). It says nothing either way, so the token decides.
func opaqueOrigin(r *http.Request) bool {
	return r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "null"
}
