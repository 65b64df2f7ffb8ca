// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/pkg/oauth2"
)

// Limits of clients.
const (
	MaxClients       = 1000 // of one tenant or org, until client pages exist
	MaxClientSecrets = 2
)

// ClientPlace is where a client is registered, which decides what it may have.
type ClientPlace struct {
	Shared      bool   // for all tenants of the org
	Development bool   // http under .localhost is allowed
	Field       string // path in front of the names of violations, with its dot
}

// Normalize fills in what the owner left out and checks the rest; it answers every violation at once. What remains valid here is
// still compiled before it is written.
func (s *ClientSettings) Normalize(p ClientPlace) (vs []Violation) {
	bad := func(field, format string, args ...any) {
		vs = append(vs, Violation{p.Field + field, fmt.Sprintf(format, args...)})
	}
	switch s.Kind {
	case KindWeb, KindSPA, KindNative, KindService:
	case KindUnspecified:
		bad("kind", "choose WEB, SPA, NATIVE or SERVICE")
	default:
		bad("kind", "choose WEB, SPA, NATIVE or SERVICE")
	}
	if s.Type == ClientTypeUnspecified {
		s.Type = ClientPublic
		if s.Kind == KindWeb || s.Kind == KindService {
			s.Type = ClientConfidential
		}
	}
	if len(s.GrantTypes) == 0 {
		s.GrantTypes = []string{oauth2.GrantTypeAuthorizationCode, oauth2.GrantTypeRefreshToken}
		if s.Kind == KindService {
			s.GrantTypes = []string{oauth2.GrantTypeClientCredentials}
		}
	}
	public := s.Type == ClientPublic
	if s.TokenEndpointAuthMethod == "" {
		s.TokenEndpointAuthMethod = "client_secret_basic"
		if public {
			s.TokenEndpointAuthMethod = "none"
		}
	}
	switch m := s.TokenEndpointAuthMethod; {
	case !slices.Contains(authMethods, m):
		bad("token_endpoint_auth_method", "choose of %s", strings.Join(authMethods, ", "))
	case public != (m == oauth2.AuthMethodNone):
		bad("token_endpoint_auth_method", "a public client has none, a confidential one any other")
	}
	s.checkGrants(public, bad)
	s.checkURIs(p, bad)
	if s.frontChannel() && len(s.RedirectURIs)+len(s.RedirectURITemplates) == 0 {
		bad("redirect_uris", "a client that uses the authorization endpoint needs one")
	}
	for i, scope := range s.Scopes {
		if !oauth2.ValidScope(scope) {
			bad(fmt.Sprintf("scopes[%d]", i), "use printable ASCII without spaces, quotes and backslashes")
		}
	}
	for i, a := range s.Audiences {
		if u, err := url.Parse(a); err != nil || !u.IsAbs() || u.Fragment != "" || len(a) > 512 {
			bad(fmt.Sprintf("audiences[%d]", i), "write an absolute URI without a fragment (RFC 8707)")
		}
	}
	if o := s.Overrides; o != nil && o.Policy != nil && (o.Session != nil || o.Password != nil || o.Lifetimes != nil || o.Registration != nil || o.Email != nil || o.Cors != nil || o.Oauth != nil) {
		bad("overrides", "a client overrides the token policy only")
	}
	s.checkProtocol(p, len(vs) == 0, bad)
	return vs
}

func (s *ClientSettings) checkURIs(p ClientPlace, bad func(field, format string, args ...any)) {
	rules := oauth2.RedirectRules{Development: p.Development, Native: s.Kind == KindNative}
	each := func(field string, values []string, template bool, parse func(string) error) {
		if template && !p.Shared && len(values) > 0 {
			bad(field, "templates are for clients that all tenants share")
		}
		if len(values) > 100 {
			bad(field, "at most 100")
			return
		}
		for i, v := range values {
			if err := parse(v); err != nil {
				bad(fmt.Sprintf("%s[%d]", field, i), "%s", sentence(err))
			}
			if slices.Index(values, v) < i {
				bad(fmt.Sprintf("%s[%d]", field, i), "the same value stands before it")
			}
		}
	}
	uri := func(v string) error { _, err := oauth2.ParseRedirectURI(v, rules); return err }
	template := func(v string) error { _, err := oauth2.ParseRedirectTemplate(v, rules); return err }
	each("redirect_uris", s.RedirectURIs, false, uri)
	each("redirect_uri_templates", s.RedirectURITemplates, true, template)
	each("post_logout_redirect_uris", s.PostLogoutRedirectURIs, false, uri)
	each("post_logout_redirect_uri_templates", s.PostLogoutRedirectURITemplates, true, template)
	each("cors_origins", s.CORSOrigins, false, func(v string) error { _, err := oauth2.ParseOrigin(v, rules); return err })
	each("cors_origin_templates", s.CORSOriginTemplates, true, func(v string) error { _, err := oauth2.ParseOriginTemplate(v, rules); return err })
}

// sentence is the innermost part of an error's text: the rule that was broken, without the package that found it.
func sentence(err error) string {
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}
