// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"maps"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// fapiModule is a module of the FAPI 2.0 plans, with what it is for: d DPoP, k private_key_jwt, s signed requests.
type fapiModule struct{ name, when string }

// inFAPI2 are the modules of the FAPI 2.0 plans that run for no national profile.
var inFAPI2 = []fapiModule{
	{"discovery-end-point-verification", ""},
	{"happy-flow", ""},
	{"user-rejects-authentication", ""},
	{"ensure-request-object-with-multiple-aud-succeeds", "s"},
	{"ensure-authorization-request-without-state-success", ""},
	{"ensure-authorization-request-without-nonce-success", "o"},
	{"ensure-authorization-request-with-64-char-nonce-success", "o"},
	{"ensure-other-scope-order-succeeds", "o"},
	{"test-claims-parameter-identity-claims", "o"},
	{"access-token-type-header-case-sensitivity", ""},
	{"ensure-request-object-with-nbf-8-seconds-in-the-future-is-accepted", "s"},
	{"check-dpop-proof-nbf-exp", "d"},
	{"ensure-dpopproof-with-iat-10seconds-before-succeeds", "d"},
	{"ensure-dpopproof-with-iat-10seconds-after-succeeds", "d"},
	{"ensure-mismatched-dpop-jkt-fails", "d"},
	{"ensure-token-endpoint-fails-with-mismatched-dpop-proof-jkt", "d"},
	{"ensure-token-endpoint-fails-with-mismatched-dpop-jkt", "d"},
	{"ensure-dpopproof-at-par-endpoint-binding-success", "d"},
	{"ensure-dpop-auth-code-binding-success", "d"},
	{"ensure-different-nonce-inside-and-outside-request-object", "o"},
	{"ensure-different-state-inside-and-outside-request-object", ""},
	{"ensure-authorization-request-with-long-nonce", "o"},
	{"ensure-authorization-request-with-long-state", ""},
	{"ensure-request-object-without-exp-fails", "s"},
	{"ensure-request-object-without-nbf-fails", "s"},
	{"state-only-outside-request-object-not-used", ""},
	{"ensure-request-object-without-redirect-uri-fails", ""},
	{"ensure-expired-request-object-fails", "s"},
	{"ensure-request-object-with-bad-aud-fails", "s"},
	{"ensure-request-object-with-exp-over-60-fails", "s"},
	{"ensure-request-object-with-nbf-over-60-fails", "s"},
	{"ensure-signed-request-object-with-RS256-fails", "s"},
	{"ensure-request-object-signature-algorithm-is-not-none", "s"},
	{"ensure-request-object-with-invalid-signature-fails", "s"},
	{"ensure-matching-key-in-authorization-request", "s"},
	{"ensure-unsigned-request-at-par-endpoint-fails", "s"},
	{"plain-fapi-tolerate-unregistered-redirect-uri", ""},
	{"ensure-unsigned-authorization-request-without-using-par-fails", ""},
	{"ensure-redirect-uri-in-authorization-request", ""},
	{"ensure-response-type-code-idtoken-fails", ""},
	{"ensure-response-type-token-fails", ""},
	{"ensure-client-id-in-token-endpoint", ""},
	{"ensure-holder-of-key-required", ""},
	{"ensure-authorization-code-is-bound-to-client", ""},
	{"attempt-reuse-authorization-code-after-one-second", ""},
	{"ensure-token-endpoint-fails-with-expired-auth-code", ""},
	{"ensure-signed-client-assertion-with-RS256-fails", "k"},
	{"ensure-client-assertion-in-token-endpoint", "k"},
	{"ensure-client-assertion-with-exp-is-5-minutes-in-past-fails", "k"},
	{"ensure-client-assertion-with-wrong-aud-fails", "k"},
	{"ensure-client-assertion-with-no-sub-fails", "k"},
	{"dpop-negative-tests", "d"},
	{"refresh-token", ""},
	{"par-ensure-reused-request-uri-prior-to-auth-completion-succeeds", ""},
	{"par-attempt-reuse-request_uri", ""},
	{"par-attempt-to-use-expired-request_uri", ""},
	{"par-ensure-jwt-client-assertions-nbf-8-seconds-in-the-future-is-accepted", "k"},
	{"par-ensure-jwt-client-assertions-nbf-over-60-seconds-in-the-future-fails", "k"},
	{"par-attempt-to-use-request_uri-for-different-client", ""},
	{"par-authorization-request-containing-request_uri-form-param", ""},
	{"par-attempt-invalid-http-method", ""},
	{"par-ensure-pkce-required", ""},
	{"ensure-pkce-code-verifier-required", ""},
	{"incorrect-pkce-code-verifier-rejected", ""},
	{"par-plain-pkce-rejected", ""},
	{"par-authorization-request-containing-request_uri", "s"},
	{"par-without-duplicate-parameters", ""},
	{"par-test-array-as-audience-fails", "k"},
	{"par-test-par-endpoint-url-as-audience-fails", "k"},
	{"par-test-token-endpoint-url-as-audience-fails", "k"},
}

// fapi2 is a variant of the FAPI 2.0 plans.
type fapi2 struct {
	// auth and constraint are how clients authenticate and how their tokens are bound: private_key_jwt or mtls, dpop or mtls.
	auth, constraint string
	// signed is for signed request objects, jarm for signed responses.
	signed, jarm bool
}

func fapi2Plans() (all []*plan) {
	for _, auth := range []string{"private_key_jwt", "mtls"} {
		for _, constraint := range []string{"dpop", "mtls"} {
			all = append(all, fapi2{auth: auth, constraint: constraint}.plan("fapi2-security-profile-final", auth+"+"+constraint))
		}
	}
	for _, constraint := range []string{"dpop", "mtls"} {
		for _, jarm := range []bool{false, true} {
			v := fapi2{auth: "private_key_jwt", constraint: constraint, signed: true, jarm: jarm}
			mode := "plain_response"
			if jarm {
				mode = "jarm"
			}
			all = append(all, v.plan("fapi2-message-signing-final", v.auth+"+"+constraint+","+mode))
		}
	}
	return all
}

func (v fapi2) plan(name, variant string) *plan {
	p := &plan{name: name, variant: variant, prefix: "fapi2-security-profile-final-", tests: fapi2Tests, setup: v.provider}
	for _, m := range inFAPI2 {
		if strings.Contains(m.when, "d") && v.constraint != "dpop" || strings.Contains(m.when, "k") && v.auth != "private_key_jwt" || strings.Contains(m.when, "s") && !v.signed {
			continue
		}
		p.modules = append(p.modules, m.name)
	}
	return p
}

// fapiRedirect2 is the second client's redirect URI, with a query as the suite's.
const fapiRedirect2 = "https://app.example/cb?dummy1=lorem&dummy2=ipsum"

func (v fapi2) provider(t *testing.T) *provider {
	t.Helper()
	profile := "FAPI_2_0"
	if v.jarm {
		profile = "FAPI_2_0_MESSAGE_SIGNING"
	}
	ids := []string{"one", "two"}
	keys := map[string]*e2etest.Key{"one": e2etest.NewKey(t, "PS256"), "two": e2etest.NewKey(t, "ES256")}
	certs := map[string]*tls.Certificate{}
	var clients []map[string]any
	for _, id := range ids {
		protocol := map[string]any{"jwks": e2etest.JWKS(keys[id])}
		method := v.auth
		if v.auth == "mtls" || v.constraint == "mtls" {
			// The first is known by its subject, the second by its key.
			certs[id] = e2etest.ClientCertificate(t, pkix.Name{CommonName: e2etest.Unique("client-"), Organization: []string{"Pied Piper"}}, id == "two")
		}
		if v.auth == "mtls" {
			method = "tls_client_auth"
			if id == "one" {
				protocol["tlsClientAuthSubjectDn"] = certs[id].Leaf.Subject.String()
			} else {
				method = "self_signed_tls_client_auth"
				protocol["jwks"] = map[string]any{"keys": []any{e2etest.CertificateJWK(t, certs[id]), keys[id].JWK()}}
			}
		}
		if v.constraint == "mtls" {
			protocol["tlsClientCertificateBoundAccessTokens"] = true
		} else {
			protocol["dpopBoundAccessTokens"] = true
		}
		if v.signed {
			protocol["requireSignedRequestObject"] = true
		}
		redirect := e2etest.RedirectURI
		if id == "two" {
			redirect = fapiRedirect2
		}
		clients = append(clients, web(id, method, map[string]any{"protocol": protocol, "redirectUris": []string{redirect}, "pkceOptional": false}))
	}
	d := e2etest.Draft()
	list := make([]any, len(clients))
	for i, c := range clients {
		list[i] = c
	}
	d["clients"] = list
	config, _ := d["config"].(map[string]any)
	maps.Copy(config, map[string]any{"oauthPolicy": map[string]any{"securityProfile": profile}})
	p := provision(t, "fapi", d, nil)
	p.brief = provisionIn(t, p.rig, p.tenant.Org, "brief", brieflyLived(map[string]string{"pushedRequest": briefLife.String()}))
	for _, q := range []*provider{p, p.brief} {
		party := func(id, redirect string) *e2etest.Party {
			auth := v.auth
			if auth == "mtls" {
				auth = "tls_client_auth"
			}
			c := e2etest.NewParty(t, q.tenant.Issuer, q.tenant.Clients[id], auth)
			c.Redirect, c.Key, c.PKCE, c.Pushed, c.Signed, c.IDTokenAlg = redirect, keys[id], true, true, v.signed, "ES256"
			if v.constraint == "dpop" {
				c.DPoP = e2etest.NewKey(t, "ES256")
			}
			if v.jarm {
				c.ResponseMode = "jwt"
			}
			if certs[id] != nil {
				c.UseCertificate(certs[id])
			}
			return c
		}
		q.client, q.client2 = party("one", e2etest.RedirectURI), party("two", fapiRedirect2)
		q.fapi = v
		q.signIn(t)
	}
	return p
}
