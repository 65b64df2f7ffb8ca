// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package requestobject

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/localserver"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/clientkeys"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/internal/outbound"
)

const redirectURI = "https://app.example/cb"

type rig struct {
	*Resolver
	t      *testing.T
	now    time.Time
	tenant *snapshot.Tenant
	key    *jose.Signer
	host   *httptest.Server
	body   atomic.Pointer[string] // what the host answers

	plain, par, signing string // clients: nothing demanded, PAR demanded, signed requests demanded
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, now: time.Now()}
	r.host = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if strings.HasSuffix(q.URL.Path, "/missing") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Write([]byte(*r.body.Load()))
	}))
	t.Cleanup(r.host.Close)
	out, err := outbound.New(outbound.Config{AllowNetworks: []string{"127.0.0.0/8"}, AllowHTTP: true}, outbound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	private, err := jose.GenerateKey(jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	r.key = jose.NewSigner(private, "k")
	world := dptest.New(t)
	grants, err := grant.Open(grant.Config{RedisURL: localserver.TestRedis(t).URL(), Keyring: world.Keyring})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { grants.Close() })
	r.Resolver = &Resolver{Keys: clientkeys.New(out, nil), Outbound: out, Grants: grants}
	jwks, err := json.Marshal(map[string]any{"keys": []json.RawMessage{r.key.Public().JWK()}})
	if err != nil {
		t.Fatal(err)
	}
	r.tenant = world.Tenant(t, world.Org("org"), "hooli", func(d *snapshotv1.TenantSnapshot) {
		d.Type = snapshotv1.TenantType_TENANT_TYPE_DEVELOPMENT // so that the host may be http on loopback
		add := func(p *snapshotv1.ClientProtocol) string {
			doc, _ := world.Client(func(c *snapshotv1.Client) {
				p.Jwks, p.RequestUris = jwks, []string{r.host.URL + "/object", r.host.URL + "/missing#x"}
				c.Protocol = p
			})
			d.Clients = append(d.Clients, doc)
			return dptest.ClientID(doc)
		}
		r.plain = add(&snapshotv1.ClientProtocol{})
		r.par = add(&snapshotv1.ClientProtocol{RequirePushedAuthorizationRequests: true})
		r.signing = add(&snapshotv1.ClientProtocol{RequireSignedRequestObject: true})
	})
	return r
}

func (r *rig) object(client string, edit func(map[string]any)) string {
	r.t.Helper()
	c := map[string]any{"client_id": client, "response_type": "code", "redirect_uri": redirectURI, "scope": "openid"}
	if edit != nil {
		edit(c)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		r.t.Fatal(err)
	}
	token, err := r.key.Sign("oauth-authz-req+jwt", payload)
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

func (r *rig) resolve(pairs ...string) (Resolved, error) {
	r.t.Helper()
	var p oauth2.Params
	for i := 0; i+1 < len(pairs); i += 2 {
		p = p.With(pairs[i], pairs[i+1])
	}
	return r.Resolve(r.t.Context(), r.tenant, p, r.now)
}

func (r *rig) refused(name, code string, err error) {
	r.t.Helper()
	if oauth2.CodeOf(err) != code {
		r.t.Errorf("%s: %v, want %s", name, err, code)
	}
}

func TestResolveByValue(t *testing.T) {
	r := newRig(t)
	got, err := r.resolve("client_id", r.plain, "state", "outside", "request", r.object(r.plain, func(c map[string]any) { c["nonce"] = "inside" }))
	if err != nil || !got.Signed || got.Params.Get("nonce") != "inside" || got.Params.Has("state") || got.Params.Has("request") || got.PAR != "" {
		t.Errorf("%+v, %v", got, err)
	}
	got, err = r.resolve("client_id", r.plain, "state", "s", "redirect_uri", redirectURI)
	if err != nil || got.Signed || got.Params.Get("state") != "s" {
		t.Errorf("without an object: %+v, %v", got, err)
	}
	got, err = r.resolve("client_id", id.NewClient().String(), "request", "x")
	if err != nil || got.Params.Get("request") != "x" {
		t.Errorf("an unknown client is for package oidc to refuse: %+v, %v", got, err)
	}
	for name, tc := range map[string]struct {
		code  string
		pairs []string
	}{
		"of another client":            {"invalid_request_object", []string{"client_id", r.plain, "request", r.object(r.par, nil)}},
		"iss another client":           {"invalid_request_object", []string{"client_id", r.plain, "request", r.object(r.plain, func(c map[string]any) { c["iss"] = r.par })}},
		"aud somebody else":            {"invalid_request_object", []string{"client_id", r.plain, "request", r.object(r.plain, func(c map[string]any) { c["aud"] = "https://evil.example" })}},
		"expired":                      {"invalid_request_object", []string{"client_id", r.plain, "request", r.object(r.plain, func(c map[string]any) { c["exp"] = r.now.Add(-time.Second).Unix() })}},
		"unsigned":                     {"request_not_supported", []string{"client_id", r.plain, "request", "eyJhbGciOiJub25lIn0.e30."}},
		"not a JWT":                    {"invalid_request_object", []string{"client_id", r.plain, "request", "x"}},
		"both ways at once":            {"invalid_request", []string{"client_id", r.plain, "request", "x", "request_uri", r.host.URL + "/object"}},
		"a parameter that is too long": {"invalid_request_object", []string{"client_id", r.plain, "request", r.object(r.plain, func(c map[string]any) { c["state"] = strings.Repeat("x", 9000) })}},
		"PAR demanded":                 {"invalid_request", []string{"client_id", r.par, "request", r.object(r.par, nil)}},
		"PAR demanded, plain":          {"invalid_request", []string{"client_id", r.par, "redirect_uri", redirectURI}},
		"a signature demanded":         {"invalid_request", []string{"client_id", r.signing, "redirect_uri", redirectURI}},
		"dpop_jkt malformed":           {"invalid_request", []string{"client_id", r.plain, "dpop_jkt", "x"}},
	} {
		_, err := r.resolve(tc.pairs...)
		r.refused(name, tc.code, err)
	}
	if _, err := r.resolve("client_id", r.signing, "request", r.object(r.signing, nil)); err != nil {
		t.Errorf("signed as demanded: %v", err)
	}
}

func TestResolveByReference(t *testing.T) {
	r := newRig(t)
	object := r.object(r.plain, nil) + "\n"
	r.body.Store(&object)
	for _, uri := range []string{"/object", "/object#hash-of-it"} {
		got, err := r.resolve("client_id", r.plain, "request_uri", r.host.URL+uri)
		if err != nil || !got.Signed || got.Params.Get("redirect_uri") != redirectURI || got.Params.Has("request_uri") {
			t.Errorf("%s: %+v, %v", uri, got, err)
		}
	}
	for name, tc := range map[string]struct{ code, uri, body string }{
		"not registered (SSRF)":              {"invalid_request_uri", "http://169.254.169.254/latest/meta-data", object},
		"a query more":                       {"invalid_request_uri", r.host.URL + "/object?x", object},
		"another path":                       {"invalid_request_uri", r.host.URL + "/objects", object},
		"not there":                          {"invalid_request_uri", r.host.URL + "/missing", object},
		"empty":                              {"invalid_request_uri", r.host.URL + "/object", " "},
		"too large":                          {"invalid_request_uri", r.host.URL + "/object", strings.Repeat("x", maxObjectBytes+1)},
		"not an object":                      {"invalid_request_object", r.host.URL + "/object", "<html>"},
		"an object that points to another":   {"invalid_request_object", r.host.URL + "/object", r.object(r.plain, func(c map[string]any) { c["request_uri"] = r.host.URL + "/object" })},
		"another client's object":            {"invalid_request_object", r.host.URL + "/object", r.object(r.signing, nil)},
		"a pushed request that is none":      {"invalid_request_uri", grant.RequestURIPrefix + strings.Repeat("a", 43), object},
		"a name that is no pushed request's": {"invalid_request_uri", "urn:example:x", object},
	} {
		r.body.Store(&tc.body)
		_, err := r.resolve("client_id", r.plain, "request_uri", tc.uri)
		r.refused(name, tc.code, err)
	}
	r.Outbound = nil
	_, err := r.resolve("client_id", r.plain, "request_uri", r.host.URL+"/object")
	r.refused("without a client", "invalid_request_uri", err)
}

func TestResolvePushed(t *testing.T) {
	r := newRig(t)
	var p oauth2.Params
	p = p.With("client_id", r.par).With("state", "pushed")
	uri, err := r.Grants.PutRequest(t.Context(), r.tenant.ID, grant.PushedRequest{Client: r.par, Params: p, DPoPJKT: strings.Repeat("k", 43)}, r.now, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a browser may open it twice
		got, err := r.resolve("client_id", r.par, "request_uri", uri, "state", "outside", "scope", "outside")
		if err != nil || got.PAR != uri || got.DPoPJKT == "" || got.Params.Get("state") != "pushed" || got.Params.Has("scope") {
			t.Errorf("%+v, %v", got, err)
		}
	}
	_, err = r.resolve("client_id", r.plain, "request_uri", uri)
	r.refused("another client with it", "invalid_request_uri", err)
	r.now = r.now.Add(time.Minute)
	_, err = r.resolve("client_id", r.par, "request_uri", uri)
	r.refused("after its end", "invalid_request_uri", err)

	// The client has to sign since: what was pushed without a signature does not count.
	r.now = r.now.Add(-time.Minute)
	uri, err = r.Grants.PutRequest(t.Context(), r.tenant.ID, grant.PushedRequest{Client: r.signing, Params: p.With("client_id", r.signing)}, r.now, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.resolve("client_id", r.signing, "request_uri", uri)
	r.refused("pushed without a signature", "invalid_request", err)
}

func TestKeysThatCannotBeReadAreNobodysFault(t *testing.T) {
	r := newRig(t)
	c := &oauth2.Client{UID: id.NewClient(), Enabled: true, Protocol: oauth2.Protocol{JWKSURI: "http://127.0.0.1:1/keys"}}
	c.ID = c.UID.String()
	var p oauth2.Params
	_, err := r.ResolveFor(t.Context(), r.tenant, c, p.With("client_id", c.ID).With("request", r.object(c.ID, nil)), r.now)
	var e *oauth2.Error
	if !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable {
		t.Errorf("%v, want 503", err)
	}
}
