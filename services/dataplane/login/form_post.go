// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"html/template"
	"net/http"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// formPost is the page that posts an authorization response to the client (OAuth 2.0 Form Post Response Mode section 2). A script
// sends it; without scripts the person presses Continue.
func (s *Service) formPost(w http.ResponseWriter, r *http.Request, q *web.Request, a oauth2.AuthorizationResponse) error {
	v := s.view(w, r, q, nil, nil)
	v.App, v.Step = target(a.RedirectURI), v.T("post.button")
	// The redirect URI is proven, and registered ones have no scheme that a browser would run.
	v.Action, v.Fields = template.URL(a.Location()), a.Params //nolint:gosec // see above
	v.Script, v.leaves = s.assets.script, true
	return s.render(w, v, "form_post")
}
