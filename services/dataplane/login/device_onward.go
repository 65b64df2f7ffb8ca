// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// paramOnward carries a page of ours, sealed, over a login that no application asked for: the page for device codes, or the one for
// requests that wait. It is sealed so that nobody else can choose where a login ends.
const (
	paramOnward   = "c"
	purposeOnward = "login-continue"
	maxOnward     = 512
)

// onward is a page of ours that a login goes on to; the zero value is none.
type onward struct{ sealed, path string }

// toLogin sends a person without a session to the login, which brings them back to path.
func (s *Service) toLogin(w http.ResponseWriter, q *web.Request, path string) error {
	return redirect(w, s.loginTo(q, path))
}

// loginTo is the address of a login that comes back to path.
func (s *Service) loginTo(q *web.Request, path string) string {
	sealed := s.keyring.Tenant(q.Tenant.ID).Seal(purposeOnward, []byte(path), nil)
	return pathLogin + "?" + paramOnward + "=" + base64.RawURLEncoding.EncodeToString(sealed)
}

// onward opens what toLogin sealed. What does not open is no page: the login then ends where a login without one ends.
func (s *Service) onward(q *web.Request, sealed string) onward {
	if sealed == "" || len(sealed) > maxOnward {
		return onward{}
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil {
		return onward{}
	}
	path, err := s.keyring.Tenant(q.Tenant.ID).Open(purposeOnward, raw, nil)
	if err != nil || !strings.HasPrefix(string(path), "/") || strings.HasPrefix(string(path), "//") {
		return onward{}
	}
	return onward{sealed: sealed, path: string(path)}
}

// keepOnward makes the links to other languages keep the page that the login goes on to.
func (v *view) keepOnward(o onward) {
	for i := range v.Languages {
		if o.sealed != "" && v.Languages[i].URL != "" {
			v.Languages[i].URL += "&" + paramOnward + "=" + o.sealed
		}
	}
}
