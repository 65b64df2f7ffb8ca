// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/pkg/verify"
	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// TestAnAppChecksTokensWithPkgVerify runs an application's API with a host for each tenant behind pkg/verify, as a customer would build it, against the
// running system: each tenant's tokens count at its own host, DPoP is demanded where it belongs, and a revoked token ends when the issuer is asked.
func TestAnAppChecksTokensWithPkgVerify(t *testing.T) {
	t.Parallel()
	org := system.Rig(t).NewOrg(t, "verify")
	hooli, raviga := org.Provision(t, "hooli"), org.Provision(t, "raviga")

	// The application's own table: which tenant lives at which host.
	table := map[string]*e2etest.Tenant{"hooli": hooli, "raviga": raviga}
	domain := ".api." + org.Slug + ".localhost"
	issuerFor, err := verify.HostPattern("{label}"+domain, strings.Replace(hooli.Issuer, "hooli", "{label}", 1))
	if err != nil {
		t.Fatal(err)
	}
	config := func(change func(*verify.Config)) *verify.Verifier {
		cfg := verify.Config{
			IssuerFor: issuerFor, Audience: org.Audience(), TokenUse: verify.AnyTokens, AllowDevelopment: true, HTTPClient: e2etest.HTTPClient(),
			TenantFor: func(r *http.Request) (string, bool) {
				host, _, _ := net.SplitHostPort(r.Host)
				tenant := table[strings.TrimSuffix(host, domain)]
				if tenant == nil {
					return "", false
				}
				return path.Base(tenant.Name), true
			},
		}
		change(&cfg)
		v, err := verify.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	plain := config(func(*verify.Config) {})
	asking := config(func(cfg *verify.Config) {
		cfg.Introspection = &verify.Introspection{CredentialsFor: func(issuer string) (string, string, bool) {
			for _, tenant := range table {
				if tenant.Issuer == issuer {
					return tenant.Clients["web"].ID, tenant.Clients["web"].Secret, true
				}
			}
			return "", "", false
		}}
	})
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := verify.FromContext(r.Context())
		_, _ = io.WriteString(w, claims.Subject)
	})
	mux := http.NewServeMux()
	mux.Handle("/", plain.Middleware(api))
	mux.Handle("/write", plain.Middleware(api, verify.Requirement{Scopes: []string{"chat:write"}}))
	mux.Handle("/mfa", plain.Middleware(api, verify.Requirement{ACR: []string{"urn:tenantry:acr:mfa"}}))
	mux.Handle("/asked", asking.Middleware(api))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	address := func(label, page string) string { return fmt.Sprintf("http://%s%s:%s%s", label, domain, port, page) }
	call := func(label, page, scheme, token string, proof ...string) *e2etest.Answer {
		h := http.Header{"Authorization": {scheme + " " + token}}
		if len(proof) > 0 {
			h["Dpop"] = proof
		}
		return send(t, http.MethodGet, address(label, page), "", h)
	}
	expect := func(what string, a *e2etest.Answer, status int, challenge string) {
		t.Helper()
		if a.Status != status || !strings.Contains(a.Header.Get("WWW-Authenticate"), challenge) {
			t.Errorf("%s: %d %s, want %d %s", what, a.Status, a.Header.Get("WWW-Authenticate"), status, challenge)
		}
	}

	rp := hooli.RP(t, "web")
	person := rp.Register(e2etest.NewBrowser(t), e2etest.NewPerson(), nil)
	a := call("hooli", "/", "Bearer", person.AccessToken)
	expect("a person", a, 200, "")
	if string(a.Body) != person.Claims["sub"] {
		t.Errorf("sub %s, want %s", a.Body, person.Claims["sub"])
	}
	expect("at the neighbour", call("raviga", "/", "Bearer", person.AccessToken), 401, `error="invalid_token"`)
	expect("at nobody's host", call("endframe", "/", "Bearer", person.AccessToken), 401, `error="invalid_token"`)
	expect("the ID token", call("hooli", "/", "Bearer", person.RawIDToken), 401, `error="invalid_token"`)
	expect("the refresh token", call("hooli", "/", "Bearer", person.RefreshToken), 401, `error="invalid_token"`)
	expect("a scope that it has not", call("hooli", "/write", "Bearer", person.AccessToken), 403, `error="insufficient_scope", error_description="The token lacks a scope that this needs", scope="chat:write"`)
	expect("a second factor", call("hooli", "/mfa", "Bearer", person.AccessToken), 401, `error="insufficient_user_authentication", error_description="A different authentication level is required", acr_values="urn:tenantry:acr:mfa"`)

	// A program with a token that is bound to its key.
	party := e2etest.NewParty(t, hooli.Issuer, hooli.Clients["api"], "client_secret_basic")
	party.DPoP = e2etest.NewKey(t, "ES256")
	bound := e2etest.Str(party.Post("token_endpoint", url.Values{"grant_type": {"client_credentials"}, "scope": {"chat:write"}}, nil).JSON, "access_token")
	straight := &e2etest.Twist{}
	expect("with its proof", call("hooli", "/write", "DPoP", bound, party.Proof(http.MethodGet, address("hooli", "/write"), bound, straight)), 200, "")
	expect("stolen, without a proof", call("hooli", "/write", "DPoP", bound), 401, `error="invalid_dpop_proof"`)
	expect("stolen, as a bearer token", call("hooli", "/write", "Bearer", bound), 401, `DPoP `)
	expect("stolen, with the thief's proof", call("hooli", "/write", "DPoP", bound, party.Proof(http.MethodGet, address("hooli", "/write"), bound, &e2etest.Twist{ProofKey: e2etest.NewKey(t, "ES256")})), 401, `error="invalid_token", error_description="Invalid DPoP key binding"`)
	expect("with the proof of another page", call("hooli", "/write", "DPoP", bound, party.Proof(http.MethodGet, address("hooli", "/"), bound, straight)), 401, `error="invalid_dpop_proof"`)
	expect("bound, and asked about", call("hooli", "/asked", "DPoP", bound, party.Proof(http.MethodGet, address("hooli", "/asked"), bound, straight)), 200, "")

	// Revoked: a good signature, and not active.
	expect("before", call("hooli", "/asked", "Bearer", person.AccessToken), 200, "")
	if a := e2etest.PostForm(t, rp.Endpoint("revocation_endpoint"), hooli.Clients["web"], url.Values{"token": {person.AccessToken}}); a.Status != http.StatusOK {
		t.Fatalf("revocation: %d %s", a.Status, a.Body)
	}
	expect("asked", call("hooli", "/asked", "Bearer", person.AccessToken), 401, `error="invalid_token", error_description="The token is not active"`)
	expect("not asked", call("hooli", "/", "Bearer", person.AccessToken), 200, "")
}
