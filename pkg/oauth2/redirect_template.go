// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"net/url"
	"strings"
)

// slugPlaceholder is what a template of a shared client has where the tenant's slug goes.
const slugPlaceholder = "{tenant.slug}"

// probeSlug stands for any slug while a template is checked.
const probeSlug = "a"

// RedirectTemplate is a redirect URI, post-logout redirect URI or origin of a client that many tenants share, with {tenant.slug}
// as the whole left-most label of its host. It is filled in when a snapshot is compiled, so that requests are compared with exact
// texts and no pattern is ever matched against a stranger's input.
type RedirectTemplate struct{ before, after string }

// ParseRedirectTemplate checks a redirect URI template. The placeholder must stand exactly once and be the whole left-most label
// of a host with at least two more labels (or under localhost): anywhere else, a tenant's slug could choose the site that gets the
// codes. Filled in, it must be a redirect URI under the rules. Errors wrap ErrRedirectURI.
func ParseRedirectTemplate(raw string, rules RedirectRules) (RedirectTemplate, error) {
	t, err := splitTemplate(raw)
	if err != nil {
		return RedirectTemplate{}, err
	}
	if _, err := ParseRedirectURI(t.before+probeSlug+t.after, rules); err != nil {
		return RedirectTemplate{}, err
	}
	return t, nil
}

// ParseOriginTemplate is ParseRedirectTemplate for a CORS origin.
func ParseOriginTemplate(raw string, rules RedirectRules) (RedirectTemplate, error) {
	t, err := splitTemplate(raw)
	if err != nil {
		return RedirectTemplate{}, err
	}
	if _, err := ParseOrigin(t.before+probeSlug+t.after, rules); err != nil {
		return RedirectTemplate{}, err
	}
	return t, nil
}

// String is the template as registered.
func (t RedirectTemplate) String() string {
	if t.before == "" {
		return ""
	}
	return t.before + slugPlaceholder + t.after
}

// Expand fills in a tenant's slug. The result still has to be parsed under the tenant's own rules: a template with plain http is
// for development tenants only. The error wraps ErrRedirectURI when slug is not a DNS label.
func (t RedirectTemplate) Expand(slug string) (string, error) {
	if t.before == "" || !validLabel(slug) || strings.Contains(slug, "_") {
		return "", redirectError("the slug is not a host label")
	}
	return t.before + slug + t.after, nil
}

func splitTemplate(raw string) (RedirectTemplate, error) {
	before, after, ok := strings.Cut(raw, slugPlaceholder)
	if !ok || strings.ContainsAny(before+after, "{}") {
		return RedirectTemplate{}, redirectError(slugPlaceholder + " must stand in it exactly once")
	}
	if before != "https://" && before != "http://" || !strings.HasPrefix(after, ".") {
		return RedirectTemplate{}, redirectError(slugPlaceholder + " must be the whole left-most label of the host")
	}
	u, err := url.Parse(before + probeSlug + after)
	if err != nil {
		return RedirectTemplate{}, redirectError("it is not a URI")
	}
	parent := strings.TrimPrefix(u.Hostname(), probeSlug+".")
	if parent != "localhost" && !strings.Contains(parent, ".") {
		return RedirectTemplate{}, redirectError("the host behind " + slugPlaceholder + " must be a domain of its own")
	}
	return RedirectTemplate{before, after}, nil
}

// ParseOrigin checks a CORS origin (RFC 6454 section 6.2): scheme, host and port only, as a browser would send it. https anywhere;
// http as for redirect URIs. Errors wrap ErrRedirectURI.
func ParseOrigin(raw string, rules RedirectRules) (string, error) {
	u, err := parseTarget(raw)
	if err != nil {
		return "", err
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return "", redirectError("an origin is https, or http on this machine")
	}
	if raw != u.Scheme+"://"+u.Host {
		return "", redirectError("an origin has no path, query or slash at its end")
	}
	if err := checkHost(u); err != nil {
		return "", err
	}
	if u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80" {
		return "", redirectError("an origin leaves out the scheme's own port")
	}
	if u.Scheme == "http" {
		if err := checkPlainHost(u, rules); err != nil {
			return "", err
		}
	}
	return raw, nil
}
