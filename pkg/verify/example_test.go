// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package verify_test

import (
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/tenantry/tenantry/pkg/verify"
)

// An API of one tenant.
func ExampleNew() {
	v, err := verify.New(verify.Config{
		Issuer:   "https://hooli.example.com",
		Audience: "https://api.piedpiper.example",
		Tenant:   "tnt_01j9zq1c7hx5f0m2p4r6t8v0w2",
		TokenUse: verify.UserTokens,
	})
	if err != nil {
		log.Fatal(err)
	}
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := verify.FromContext(r.Context())
		fmt.Fprintf(w, "hello %s", claims.Subject)
	})
	mux := http.NewServeMux()
	mux.Handle("GET /rooms", v.Middleware(api, verify.Requirement{Scopes: []string{"chat:read"}}))
	// A route that moves money wants a second factor, and not from this morning (RFC 9470).
	mux.Handle("POST /transfers", v.Middleware(api, verify.Requirement{
		Scopes: []string{"transfers:write"}, ACR: []string{"urn:tenantry:acr:mfa"}, MaxAge: 5 * time.Minute,
	}))
}

// One API for all tenants of an org, each at a host of its own.
func ExampleHostPattern() {
	issuerFor, err := verify.HostPattern("{label}.chat.example.com", "https://{label}.login.example.com")
	if err != nil {
		log.Fatal(err)
	}
	issuer, ok := issuerFor("hooli.chat.example.com")
	fmt.Println(issuer, ok)
	_, ok = issuerFor("hooli.chat.example.com.evil.example")
	fmt.Println(ok)

	v, err := verify.New(verify.Config{
		IssuerFor: issuerFor,
		Audience:  "https://chat.example.com",
		Tenant:    verify.TenantOfIssuer,
		TokenUse:  verify.AnyTokens,
		Metadata:  &verify.ResourceMetadata{ScopesSupported: []string{"chat:read", "chat:write"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/.well-known/oauth-protected-resource", v.MetadataHandler())
	// Output:
	// https://hooli.login.example.com true
	// false
}

// A token outside HTTP, or for an API that finds the tenant in its own way.
func ExampleVerifier_Verify() {
	v, err := verify.New(verify.Config{
		Issuer: "https://hooli.example.com", Audience: "https://api.piedpiper.example", Tenant: verify.TenantPerRequest, TokenUse: verify.ClientTokens,
	})
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("GET /tenants/{tenant}/usage", func(w http.ResponseWriter, r *http.Request) {
		claims, err := v.Verify(r.Context(), verify.Request{Token: r.Header.Get("X-Forwarded-Access-Token"), Tenant: r.PathValue("tenant")})
		if err != nil {
			v.WriteError(w, r, err)
			return
		}
		fmt.Fprintln(w, claims.ClientID)
	})
}

// DPoP with nonces and without replays, and nothing but bound tokens.
func ExampleNewNonces() {
	nonces, err := verify.NewNonces([]byte("32 random bytes, shared by all processes"), 5*time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	_, err = verify.New(verify.Config{
		Issuer: "https://hooli.example.com", Audience: "https://api.piedpiper.example", Tenant: verify.TenantOfIssuer, TokenUse: verify.AnyTokens,
		RequireBinding: true, Nonces: nonces, Replays: verify.NewMemoryReplays(0),
	})
	fmt.Println(err)
	// Output: <nil>
}
