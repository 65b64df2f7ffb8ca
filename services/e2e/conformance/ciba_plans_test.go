// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"net/http"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// inCIBA are the modules of the FAPI-CIBA plan that run for no national profile: m only with mtls, k only with private_key_jwt, p only
// with ping.
var inCIBA = []fapiModule{
	{"fapi-ciba-id1", ""},
	{"discovery-end-point-verification", ""},
	{"user-rejects-authentication", ""},
	{"multiple-call-to-token-endpoint", ""},
	{"auth-req-id-expired", ""},
	{"ensure-authorization-request-with-binding-message-succeeds", ""},
	{"ensure-other-scope-order-succeeds", ""},
	{"ensure-requested-expiry-as-string-succeeds", ""},
	{"ensure-authorization-request-with-potentially-bad-binding-message", ""},
	{"ensure-request-object-missing-aud-fails", ""},
	{"ensure-request-object-bad-aud-fails", ""},
	{"ensure-request-object-missing-iss-fails", ""},
	{"ensure-request-object-bad-iss-fails", ""},
	{"ensure-request-object-missing-exp-fails", ""},
	{"ensure-request-object-expired-exp-fails", ""},
	{"ensure-request-object-exp-is-70-minutes-in-future-fails", ""},
	{"ensure-request-object-missing-iat-fails", ""},
	{"ensure-request-object-missing-nbf-fails", ""},
	{"ensure-request-object-nbf-is-10-minutes-in-future-fails", ""},
	{"ensure-request-object-nbf-is-70-minutes-in-past-fails", ""},
	{"ensure-request-object-missing-jti-fails", ""},
	{"ensure-request-object-signature-algorithm-is-none-fails", ""},
	{"ensure-request-object-signature-algorithm-is-bad-fails", ""},
	{"ensure-request-object-signature-algorithm-is-RS256-fails", ""},
	{"ensure-request-object-signed-by-other-client-fails", ""},
	{"ensure-authorization-request-with-multiple-hints-fails", ""},
	{"ensure-wrong-auth-req-id-in-token-endpoint-request", ""},
	{"ensure-different-client-id-and-issuer-in-backchannel-authorization-request", "m"},
	{"ensure-wrong-client-id-in-token-endpoint-request", "m"},
	{"ensure-wrong-client-id-in-backchannel-authorization-request", "m"},
	{"ensure-without-client-assertion-in-token-endpoint-request", "k"},
	{"ensure-without-client-assertion-in-backchannel-authorization-request", "k"},
	{"ensure-client-assertion-signature-algorithm-in-backchannel-authorization-request-is-RS256-fails", "k"},
	{"ensure-client-assertion-signature-algorithm-in-token-endpoint-request-is-RS256-fails", "k"},
	{"ensure-client-assertion-with-iss-aud-to-token-endpoint-succeeds", "k"},
	{"ping-backchannel-notification-endpoint-response-has-body", "p"},
	{"ping-backchannel-notification-endpoint-response-401", "p"},
	{"ping-backchannel-notification-endpoint-response-403", "p"},
	{"ping-with-mtls-ciba-notification-endpoint-response-401-and-require-server-does-not-retry", "p"},
	{"ping-backchannel-notification-endpoint-return-redirect-request", "p"},
	{"ensure-unsigned-backchannel-authorization-request-fails", ""},
	{"refresh-token", ""},
	{"ensure-mtls-holder-of-key-required", ""},
}

// ciba is a variant of the FAPI-CIBA plan.
type ciba struct{ auth, mode string }

const grantCIBA = "urn:openid:params:grant-type:ciba"

func cibaPlans() (all []*plan) {
	for _, auth := range []string{"private_key_jwt", "mtls"} {
		for _, mode := range []string{"poll", "ping"} {
			v := ciba{auth: auth, mode: mode}
			p := &plan{name: "fapi-ciba-id1-test-plan", variant: auth + "," + mode, prefix: "fapi-ciba-id1-", tests: cibaTests, setup: v.provider}
			for _, m := range inCIBA {
				if strings.Contains(m.when, "m") && auth != "mtls" || strings.Contains(m.when, "k") && auth != "private_key_jwt" || strings.Contains(m.when, "p") && mode != "ping" {
					continue
				}
				p.modules = append(p.modules, m.name)
			}
			all = append(all, p)
		}
	}
	return all
}

func (v ciba) provider(t *testing.T) *provider {
	t.Helper()
	suite := e2etest.NewSuite(t)
	notification := suite.Handle("ciba-notification", notified)
	keys := map[string]*e2etest.Key{"one": e2etest.NewKey(t, "PS256"), "two": e2etest.NewKey(t, "ES256")}
	certs := map[string]*tls.Certificate{}
	var clients []map[string]any
	for _, id := range []string{"one", "two"} {
		certs[id] = e2etest.ClientCertificate(t, pkix.Name{CommonName: e2etest.Unique("ciba-"), Organization: []string{"Pied Piper"}}, false)
		protocol := map[string]any{
			"jwks": e2etest.JWKS(keys[id]), "tlsClientCertificateBoundAccessTokens": true, "backchannelTokenDeliveryMode": v.mode,
			"backchannelAuthenticationRequestSigningAlg": keys[id].Alg,
		}
		if v.mode == "ping" {
			protocol["backchannelClientNotificationEndpoint"] = notification
		}
		method := v.auth
		if v.auth == "mtls" {
			method = "tls_client_auth"
			protocol["tlsClientAuthSubjectDn"] = certs[id].Leaf.Subject.String()
		}
		clients = append(clients, web(id, method, map[string]any{
			"protocol": protocol, "pkceOptional": false, "grantTypes": []string{"authorization_code", "refresh_token", grantCIBA},
		}))
	}
	d := draft(map[string]any{
		"oauthPolicy": map[string]any{"securityProfile": "FAPI_2_0"}, "tokenPolicy": map[string]any{"accessAlg": "ES256", "idTokenAlgs": []string{"ES256"}},
	}, clients...)
	p := provision(t, "ciba", d, nil)
	p.suite, p.notification, p.ciba = suite, notification, v
	party := func(id string) *e2etest.Party {
		auth := v.auth
		if auth == "mtls" {
			auth = "tls_client_auth"
		}
		c := e2etest.NewParty(t, p.tenant.Issuer, p.tenant.Clients[id], auth)
		c.Key, c.IDTokenAlg = keys[id], "ES256"
		c.UseCertificate(certs[id])
		return c
	}
	p.client, p.client2 = party("one"), party("two")
	return p
}

// notified is the client's notification endpoint. How it answers is said by the token that the module made: what comes before the
// first hyphen.
func notified(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	kind, _, _ := strings.Cut(token, "-")
	switch kind {
	case "body":
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte("a body that means nothing"))
	case "401":
		w.WriteHeader(http.StatusUnauthorized)
	case "403":
		w.WriteHeader(http.StatusForbidden)
	case "301":
		http.Redirect(w, r, "/redirected", http.StatusMovedPermanently)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}
