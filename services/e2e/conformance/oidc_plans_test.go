// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// oidcPlans are the OpenID Connect Core plans of the code flow.
func oidcPlans() (all []*plan) {
	all = append(all, &plan{
		name: "oidcc-config-certification-test-plan", variant: "discovery", modules: inConfig, tests: oidc, setup: oidcOptions{}.provider,
	})
	for _, mode := range []string{"", "form_post"} {
		for _, dynamicClient := range []bool{false, true} {
			all = append(all, oidcOptions{mode: mode, dynamic: dynamicClient}.plan("basic", inBasic))
		}
	}
	return all
}

// plan is a plan of one of the response types: what is only for clients that register themselves is left to those.
func (o oidcOptions) plan(kind string, modules []string) *plan {
	p := &plan{name: "oidcc-" + strings.ReplaceAll(o.mode, "form_post", "formpost-") + kind + "-certification-test-plan", tests: joined(oidc, dynamic), setup: o.provider}
	p.variant, p.modules = "static_client", without(modules, onlyDynamic)
	if o.dynamic {
		p.variant, p.modules = "dynamic_client", modules
	}
	if o.responseType != "" {
		p.variant = o.responseType + "," + p.variant
	}
	return p
}

// tokenPlans are those of the response types with tokens: clients register themselves in the plans of the default response mode, and
// are there beforehand in those of form_post.
func tokenPlans() (all []*plan) {
	for _, kind := range []struct {
		name  string
		types []string
		minus []string
	}{
		{"implicit", []string{"id_token", "id_token token"}, notImplicit},
		{"hybrid", []string{"code id_token", "code token", "code id_token token"}, notHybrid},
	} {
		modules := append(without(inBasic, kind.minus), "oidcc-ensure-request-without-nonce-fails")
		for _, mode := range []string{"", "form_post"} {
			for _, responseType := range kind.types {
				all = append(all, oidcOptions{mode: mode, responseType: responseType, dynamic: mode == ""}.plan(kind.name, modules))
			}
		}
	}
	return all
}

func without(list, minus []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(minus, s) })
}

// oidcOptions are the variants of the OpenID Connect plans.
type oidcOptions struct {
	// mode and responseType are what all requests ask for, "" for the default.
	mode, responseType string
	// dynamic registers the clients by RFC 7591.
	dynamic bool
}

// web is a confidential client of a blueprint.
func web(id, auth string, more map[string]any) map[string]any {
	c := map[string]any{
		"id": id, "displayName": "App " + id, "kind": "WEB", "clientType": "CONFIDENTIAL", "firstParty": true,
		"redirectUris": []string{e2etest.RedirectURI, e2etest.SecondRedirectURI}, "postLogoutRedirectUris": []string{e2etest.PostLogoutURI},
		"grantTypes": []string{"authorization_code", "refresh_token"}, "tokenEndpointAuthMethod": auth, "pkceOptional": true,
	}
	maps.Copy(c, more)
	return c
}

// draft is a blueprint with these clients.
func draft(config map[string]any, clients ...map[string]any) map[string]any {
	d := e2etest.DraftRS256()
	list := make([]any, len(clients))
	for i, c := range clients {
		list[i] = c
	}
	d["clients"] = list
	base, _ := d["config"].(map[string]any)
	maps.Copy(base, config)
	return d
}

// provision makes an org with a blueprint and a tenant of it; more goes into the request.
func provision(t *testing.T, prefix string, d, more map[string]any) *provider {
	t.Helper()
	rig := system.Rig(t)
	org := rig.NewOrgWith(t, prefix, d)
	return provisionIn(t, rig, org, "op", more)
}

func provisionIn(t *testing.T, rig *e2etest.Rig, org *e2etest.Org, slug string, more map[string]any) *provider {
	t.Helper()
	request := org.ProvisionRequest(slug)
	request["tenant"] = map[string]any{"displayName": "Conformance", "type": "PRODUCTION"}
	maps.Copy(request, more)
	p := &provider{rig: rig, tenant: org.ProvisionWith(t, request)}
	p.who = p.person(t)
	return p
}

// brieflyLived is a policy with short lives for what modules wait for.
func brieflyLived(more map[string]string) map[string]any {
	lives := map[string]any{"code": briefLife.String()}
	for k, v := range more {
		lives[k] = v
	}
	return map[string]any{"overrides": map[string]any{"artifactLifetimes": lives}}
}

func (o oidcOptions) provider(t *testing.T) *provider {
	t.Helper()
	registered := map[string]any{"idTokenAlg": "RS256"}
	config := map[string]any{}
	switch {
	case o.dynamic:
		config = openPolicy(o.responseType)
	case o.responseType != "":
		config["oauthPolicy"] = map[string]any{"responseTypes": []string{o.responseType}}
		registered["protocol"] = map[string]any{"responseTypes": []string{"code", o.responseType}}
		registered["grantTypes"] = []string{"authorization_code", "refresh_token", "implicit"}
	}
	var clients []map[string]any
	if !o.dynamic {
		clients = []map[string]any{
			web("one", "client_secret_basic", registered), web("two", "client_secret_basic", registered), web("post", "client_secret_post", registered),
		}
	}
	p := provision(t, "oidf", draft(config, clients...), nil)
	p.brief = provisionIn(t, p.rig, p.tenant.Org, "brief", brieflyLived(nil))
	suite := e2etest.NewSuite(t)
	for _, q := range []*provider{p, p.brief} {
		q.suite, q.options = suite, o
		q.waitForRSA(t)
		q.client, q.client2 = o.party(t, q.tenant, "one", "client_secret_basic"), o.party(t, q.tenant, "two", "client_secret_basic")
		q.clientPost = o.party(t, q.tenant, "post", "client_secret_post")
		q.signIn(t)
	}
	return p
}

// party is a client of a provider: registered beforehand, or by itself.
func (o oidcOptions) party(t *testing.T, tn *e2etest.Tenant, client, auth string) *e2etest.Party {
	t.Helper()
	if o.dynamic {
		c, _ := o.registered(t, tn, map[string]any{"token_endpoint_auth_method": auth})
		return c
	}
	c := e2etest.NewParty(t, tn.Issuer, tn.Clients[client], auth)
	c.ResponseMode, c.ResponseType, c.IDTokenAlg = o.mode, o.responseType, "RS256"
	return c
}

// waitForRSA waits for the RSA key, which joins a moment later when the pool of them is empty.
func (p *provider) waitForRSA(t *testing.T) {
	t.Helper()
	e2etest.Eventually(t, 60*time.Second, "an RSA key in the JWKS", func() bool {
		a := get(t, p.tenant.Issuer+"/.well-known/jwks.json", http.Header{})
		return strings.Contains(string(a.Body), `"RS256"`)
	})
}
