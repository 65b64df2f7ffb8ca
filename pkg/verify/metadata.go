// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// ResourceMetadata is the protected resource metadata of an API (RFC 9728 section 2). Empty members are left out.
type ResourceMetadata struct {
	// Resource is the API's identifier: an https URL without fragment. Default: the audience. "{host}" in it stands for the request's Host, for an
	// API with a host for each tenant.
	Resource string `json:"resource"`
	// AuthorizationServers are the issuers. Default: the issuer of the request's host.
	AuthorizationServers []string `json:"authorization_servers,omitempty"`
	// ScopesSupported are those that make sense to ask for.
	ScopesSupported []string `json:"scopes_supported,omitempty"`
	// BearerMethodsSupported is always ["header"]: the two others leave tokens in logs.
	BearerMethodsSupported []string `json:"bearer_methods_supported,omitempty"`
	// ResourceName, ResourceDocumentation, ResourcePolicy and ResourceTermsOfService are for people.
	ResourceName           string `json:"resource_name,omitempty"`
	ResourceDocumentation  string `json:"resource_documentation,omitempty"`
	ResourcePolicy         string `json:"resource_policy_uri,omitempty"`
	ResourceTermsOfService string `json:"resource_tos_uri,omitempty"`
	// AuthorizationDetailsTypes are the types of RFC 9396 that the API knows.
	AuthorizationDetailsTypes []string `json:"authorization_details_types_supported,omitempty"`
	// CertificateBound says that tokens are bound to client certificates (RFC 8705).
	CertificateBound bool `json:"tls_client_certificate_bound_access_tokens,omitempty"`
	// DPoPAlgorithms are those of proofs. Default: the configuration's.
	DPoPAlgorithms []string `json:"dpop_signing_alg_values_supported,omitempty"`
	// DPoPRequired says that every token must be bound by DPoP.
	DPoPRequired bool `json:"dpop_bound_access_tokens_required,omitempty"`
}

const (
	metadataPath = "/.well-known/oauth-protected-resource"
	hostWord     = "{host}"
)

// complete fills in the defaults.
func (m *ResourceMetadata) complete(c *Config) error {
	if m.Resource == "" {
		m.Resource = c.Audience
	}
	m.BearerMethodsSupported = []string{"header"}
	if len(m.DPoPAlgorithms) == 0 {
		for _, a := range c.ProofAlgorithms {
			m.DPoPAlgorithms = append(m.DPoPAlgorithms, string(a))
		}
	}
	_, err := ResourceMetadataURL(strings.ReplaceAll(m.Resource, hostWord, "host.example"))
	return err
}

// ResourceMetadataURL is where the metadata of a resource is: the well-known path between its host and its path (RFC 9728 section 3.1). The error is
// for what is no resource identifier.
func ResourceMetadataURL(resource string) (string, error) {
	u, err := url.Parse(resource)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return "", errors.New("verify: a resource identifier is an https URL without fragment")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !isLocal(u.Hostname())) {
		return "", errors.New("verify: a resource identifier is an https URL")
	}
	out := u.Scheme + "://" + u.Host + metadataPath + strings.TrimSuffix(u.EscapedPath(), "/")
	if u.RawQuery != "" {
		out += "?" + u.RawQuery
	}
	return out, nil
}

// resource is the identifier for a request, with its host filled in if that is a host that a URL can have.
func (m *ResourceMetadata) resource(host string) (string, error) {
	if !strings.Contains(m.Resource, hostWord) {
		return m.Resource, nil
	}
	for i := range len(host) {
		if c := host[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("-.:[]", c) < 0 {
			return "", fmt.Errorf("verify: odd host")
		}
	}
	return strings.ReplaceAll(m.Resource, hostWord, strings.ToLower(host)), nil
}

// MetadataHandler serves Config.Metadata. Mount it at /.well-known/oauth-protected-resource, and for a resource with a path at that path below it. A
// host that has no issuer gets 404, as does every request when Config.Metadata is nil.
func (v *Verifier) MetadataHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		if v.cfg.Metadata == nil {
			http.NotFound(w, r)
			return
		}
		m := *v.cfg.Metadata
		resource, err := m.resource(r.Host)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		m.Resource = resource
		if len(m.AuthorizationServers) == 0 {
			issuer, ok := v.cfg.Issuer, true
			if v.cfg.IssuerFor != nil {
				issuer, ok = v.cfg.IssuerFor(hostname(r.Host))
			}
			if !ok {
				http.NotFound(w, r)
				return
			}
			m.AuthorizationServers = []string{issuer}
		}
		raw, err := json.Marshal(m)
		if err != nil {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "public, max-age=300")
		w.Header().Set("Access-Control-Allow-Origin", "*") // clients in browsers read it; it is public
		_, _ = w.Write(raw)
	})
}
