// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2etest

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"testing"
)

// Org is an org of its own for one test, with a base domain under localhost, a published blueprint and a key with all rights in it.
// Nothing of one Org is seen by another, so that tests may share a Rig and run side by side.
type Org struct {
	r *Rig
	// Slug is the org's slug, and its base domain is Slug.localhost.
	Slug string
	// Name is the resource name, orgs/{slug}; Resource is the one that the API prints.
	Name, Resource string
	// Key has every right in the org.
	Key string
	// Blueprint is the resource name of its blueprint.
	Blueprint string
	// Chat is the client_id of the client that all tenants share.
	Chat string
}

// Tenant is a provisioned tenant.
type Tenant struct {
	*Org
	// Slug is the tenant's slug and the label of its host.
	Slug string
	// Name is the resource name that the API prints.
	Name string
	// Host is its hostname, Issuer its address.
	Host, Issuer string
	// Clients are the credentials of its clients, by the blueprint's ids.
	Clients map[string]Client
	// Keys are the secrets of its API keys, by the blueprint's ids.
	Keys map[string]string
	// Owner is the e-mail address of who was invited.
	Owner string
	// Response is the whole answer.
	Response map[string]any
}

// Client are the credentials of a client, as the API returned them.
type Client struct{ ID, Secret string }

// RequestID is a fresh id for an idempotent call.
func RequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Unique is a short label that no other test of this run uses.
func Unique(prefix string) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return prefix + hex.EncodeToString(b[:])
}

// Addresses of the relying parties in Draft. Nobody listens there: the tests read what a browser would bring.
const (
	RedirectURI       = "https://app.example/cb"
	SecondRedirectURI = "https://app.example/cb?dummy1=lorem"
	PostLogoutURI     = "https://app.example/bye"
)

// Draft is the blueprint of an Org: each kind of client, roles, an invited owner, and keys locked to the tenant. Its tenants sign by
// ES256 alone, since an RSA key for each tenant of each test would be most of the work of a run.
func Draft() map[string]any { return draft("ES256") }

// DraftRS256 is Draft with an RSA key for each tenant, and one more client, rs256, that gets its ID tokens by RS256.
func DraftRS256() map[string]any { return draft("ES256", "RS256") }

func draft(algorithms ...string) map[string]any {
	web := func(id, auth string, more map[string]any) map[string]any {
		c := map[string]any{
			"id": id, "displayName": "App " + id, "kind": "WEB", "clientType": "CONFIDENTIAL", "firstParty": true,
			"redirectUris": []string{RedirectURI, SecondRedirectURI}, "postLogoutRedirectUris": []string{PostLogoutURI},
			"grantTypes": []string{"authorization_code", "refresh_token"}, "tokenEndpointAuthMethod": auth, "pkceOptional": true,
		}
		for k, v := range more {
			c[k] = v
		}
		return c
	}
	clients := []any{
		web("web", "client_secret_basic", nil),
		web("post", "client_secret_post", nil),
		web("third", "client_secret_basic", map[string]any{"firstParty": false}),
		map[string]any{
			"id": "spa", "displayName": "Single page", "kind": "SPA", "clientType": "PUBLIC", "firstParty": true, "redirectUris": []string{"https://spa.example/cb"},
			"postLogoutRedirectUris": []string{"https://spa.example/"}, "grantTypes": []string{"authorization_code", "refresh_token"}, "tokenEndpointAuthMethod": "none",
			"corsOrigins": []string{"https://spa.example"},
		},
		map[string]any{
			"id": "api", "displayName": "Machine", "kind": "SERVICE", "clientType": "CONFIDENTIAL", "grantTypes": []string{"client_credentials"},
			"tokenEndpointAuthMethod": "client_secret_basic", "scopes": []string{"chat:read", "chat:write"},
		},
	}
	if slices.Contains(algorithms, "RS256") {
		clients = append(clients, web("rs256", "client_secret_basic", map[string]any{"idTokenAlg": "RS256"}))
	}
	return map[string]any{
		"config": map[string]any{
			"passwordPolicy": map[string]any{"minLength": 12},
			"tokenPolicy":    map[string]any{"accessAlg": "ES256", "idTokenAlgs": algorithms},
			"registration":   map[string]any{"enabled": true},
		},
		"parameters": map[string]any{"brandColor": map[string]any{"type": "STRING", "default": "#0b6e4f", "pattern": "#[0-9a-fA-F]{6}"}},
		"theme":      map[string]any{"brand": "{{brandColor}}"},
		"roles":      []any{map[string]any{"id": "admin"}, map[string]any{"id": "moderator"}, map[string]any{"id": "member", "default": true}},
		"clients":    clients,
		"apiKeys": []any{
			map[string]any{"id": "tenant-admin", "role": "tenantAdmin"},
			map[string]any{"id": "user-reader", "permissions": []string{"users.get", "users.list"}},
		},
		"initialUsers": []any{map[string]any{"email": "{{owner.email}}", "roles": []string{"admin"}, "invite": true}},
	}
}

// NewOrg makes an org.
func (r *Rig) NewOrg(t testing.TB, prefix string) *Org {
	t.Helper()
	return r.NewOrgWith(t, prefix, Draft())
}

// NewOrgWith makes an org with a blueprint of the test's own.
func (r *Rig) NewOrgWith(t testing.TB, prefix string, draft map[string]any) *Org {
	t.Helper()
	o := &Org{r: r, Slug: Unique(prefix)}
	o.Name, o.Blueprint = "orgs/"+o.Slug, "orgs/"+o.Slug+"/blueprints/standard"
	made := r.API(t, r.PlatformKey, http.MethodPost, "/v1/orgs?orgId="+o.Slug, map[string]any{
		"displayName": "Org " + o.Slug, "baseDomain": o.Slug + ".localhost", "reservedLabels": []string{"piedpiper", "www"},
	})
	o.Resource = Str(made, "name")
	o.Key = r.Mint(t, r.PlatformKey, o.Name, map[string]any{"displayName": "owner", "role": "orgOwner"})
	r.API(t, o.Key, http.MethodPost, "/v1/"+o.Name+"/blueprints?blueprintId=standard", map[string]any{"displayName": "Standard", "draft": draft})
	r.API(t, o.Key, http.MethodPost, "/v1/"+o.Blueprint+":publish", map[string]any{"message": "first"})
	return o
}

// Mint makes a key under a parent and returns its secret.
func (r *Rig) Mint(t testing.TB, key, parent string, apiKey map[string]any) string {
	t.Helper()
	text := Str(r.API(t, key, http.MethodPost, "/v1/"+parent+"/apiKeys:mint", map[string]any{"apiKey": apiKey}), "secret")
	if text == "" {
		t.Fatal("a minted key has no secret")
	}
	return text
}

// Audience is the org's default audience: what is in aud of its tenants' access tokens.
func (o *Org) Audience() string { return "https://" + o.Slug + "." + apiDomain }

// ShareChat makes the client that all tenants of the org share, with redirect URIs at an app's port.
func (o *Org) ShareChat(t testing.TB, port int) {
	t.Helper()
	app := fmt.Sprintf("http://{tenant.slug}.piedpiper.%s.localhost:%d/", o.Slug, port)
	made := o.r.API(t, o.Key, http.MethodPost, "/v1/"+o.Name+"/clients?clientId=chat", map[string]any{
		"displayName": "Chat", "kind": "WEB", "clientType": "PUBLIC", "tenantBinding": "ALL", "firstParty": true,
		"redirectUriTemplates": []string{app + "callback"}, "postLogoutRedirectUriTemplates": []string{app},
		"grantTypes": []string{"authorization_code", "refresh_token"}, "tokenEndpointAuthMethod": "none",
	})
	o.Chat = Str(made, "uid")
}

// ProvisionRequest is the usual body of a provision call.
func (o *Org) ProvisionRequest(slug string) map[string]any {
	return map[string]any{
		"tenantId": slug, "requestId": RequestID(), "blueprint": o.Blueprint,
		"tenant":  map[string]any{"displayName": "The " + slug + " company"},
		"owner":   map[string]any{"email": "owner@" + slug + "." + o.Slug + ".example", "displayName": "Owner of " + slug},
		"waitFor": "LOGIN_READY",
	}
}

// Provision makes a tenant, ready to log in.
func (o *Org) Provision(t testing.TB, slug string) *Tenant {
	t.Helper()
	return o.ProvisionWith(t, o.ProvisionRequest(slug))
}

// ProvisionWith makes a tenant from a request.
func (o *Org) ProvisionWith(t testing.TB, request map[string]any) *Tenant {
	t.Helper()
	op := o.r.API(t, o.Key, http.MethodPost, "/v1/"+o.Name+"/tenants:provision", request)
	return o.tenant(t, Str(request, "tenantId"), Str(request, "owner", "email"), op)
}

func (o *Org) tenant(t testing.TB, slug, owner string, op map[string]any) *Tenant {
	t.Helper()
	res, _ := At(op, "response").(map[string]any)
	tn := &Tenant{
		Org: o, Slug: slug, Name: Str(res, "tenant", "name"), Host: slug + "." + o.Slug + ".localhost", Issuer: Str(res, "issuer"),
		Owner: owner, Response: res, Clients: map[string]Client{}, Keys: map[string]string{},
	}
	if want := o.r.Base(tn.Host); tn.Issuer != want {
		t.Fatalf("issuer %q, want %q: %v", tn.Issuer, want, op)
	}
	for i := range List(res, "clients") {
		tn.Clients[Str(res, "clients", i, "id")] = Client{ID: Str(res, "clients", i, "clientId"), Secret: Str(res, "clients", i, "secret")}
	}
	for i := range List(res, "apiKeys") {
		tn.Keys[Str(res, "apiKeys", i, "id")] = Str(res, "apiKeys", i, "secret")
	}
	return tn
}
