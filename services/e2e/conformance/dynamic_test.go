// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/html"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// dynamic are the modules about clients that register themselves.
var dynamic = map[string]func(*run){
	"oidcc-idtoken-signature": func(r *run) {
		c, _ := r.registers(nil)
		r.c = c
		header, _ := e2etest.JWTClaims(r, r.login(nil).IDToken)
		if header["alg"] != "RS256" {
			r.Errorf("alg %v", header["alg"])
		}
	},
	"oidcc-idtoken-unsigned": func(r *run) {
		if r.advertises("id_token_signing_alg_values_supported", "none") {
			r.Fatal("alg none is offered")
		}
		r.refusedRegistration(map[string]any{"id_token_signed_response_alg": "none"}, "invalid_client_metadata")
		r.notApplicable("none is not in id_token_signing_alg_values_supported (OpenID Connect Discovery section 3: it is optional); registering it is refused")
	},
	"oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported": func(r *run) { r.unsignedByReference() },
	"oidcc-request-uri-unsigned": func(r *run) { r.unsignedByReference() },
	"oidcc-idtoken-rs256": func(r *run) {
		c, answer := r.registers(map[string]any{"id_token_signed_response_alg": "RS256"})
		if answer["id_token_signed_response_alg"] != "RS256" {
			r.Errorf("registered %v", answer["id_token_signed_response_alg"])
		}
		r.c = c
		r.login(nil)
	},
	"oidcc-userinfo-rs256": userinfoRS256,
	"oidcc-ensure-redirect-uri-in-authorization-request": func(r *run) {
		r.errorPage(r.c.Start(url.Values{"redirect_uri": {""}}, nil).URL)
	},
	"oidcc-redirect-uri-query-OK": func(r *run) {
		c, _ := r.registers(map[string]any{"redirect_uris": []string{e2etest.RedirectURI + "?foo=bar"}})
		c.Redirect = e2etest.RedirectURI + "?foo=bar"
		r.c = c
		if g := r.login(nil); r.c.ResponseType == "" && g.Response.Get("foo") != "bar" {
			r.Errorf("the query of the redirect URI is lost: %v", g.Response)
		}
	},
	"oidcc-redirect-uri-query-mismatch": func(r *run) {
		c, _ := r.registers(map[string]any{"redirect_uris": []string{e2etest.RedirectURI + "?foo=bar"}})
		r.errorPage(c.Start(url.Values{"redirect_uri": {e2etest.RedirectURI + "?foo=baz"}}, nil).URL)
	},
	"oidcc-redirect-uri-query-added": func(r *run) {
		c, _ := r.registers(map[string]any{"redirect_uris": []string{e2etest.RedirectURI}})
		r.errorPage(c.Start(url.Values{"redirect_uri": {e2etest.RedirectURI + "?foo=bar"}}, nil).URL)
	},
	"oidcc-redirect-uri-regfrag": func(r *run) {
		r.refusedRegistration(map[string]any{"redirect_uris": []string{e2etest.RedirectURI + "#fragment"}}, "invalid_redirect_uri")
	},
	"oidcc-registration-logo-uri": func(r *run) {
		logo := "https://app.example/" + e2etest.Unique("") + ".png"
		p := r.pageOf(map[string]any{"logo_uri": logo})
		if !hasElement(p, "img", "src", logo) {
			r.Errorf("no picture of %s:\n%s", logo, p.Body)
		}
		if csp := p.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "https://app.example") && !strings.Contains(csp, "img-src https:") {
			r.Errorf("the page's policy does not load it: %s", csp)
		}
	},
	"oidcc-registration-policy-uri": func(r *run) { r.pageLinks("policy_uri") },
	"oidcc-registration-tos-uri":    func(r *run) { r.pageLinks("tos_uri") },
	"oidcc-registration-jwks-uri": func(r *run) {
		key := e2etest.NewKey(r, "RS256")
		jwks := r.suite.JSON("jwks", func() any { return e2etest.JWKS(key) })
		r.c, _ = r.registers(map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": jwks})
		r.c.Key = key
		r.login(nil)
		r.suite.Wait(r, jwks, 1, time.Second)
	},
	"oidcc-ensure-client-assertion-with-iss-aud-succeeds": func(r *run) {
		key := e2etest.NewKey(r, "RS256")
		r.c, _ = r.registers(map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": e2etest.JWKS(key)})
		r.c.Key = key
		s := r.c.Start(nil, nil)
		v := r.c.Response(s, r.through(r.c, r.open(r.c, s)))
		g := &e2etest.Granted{}
		r.c.Back(s, g, r.c.Redeem(s, v.Get("code"), &e2etest.Twist{Assertion: func(_, c map[string]any) { c["aud"] = r.tenant.Issuer }}))
	},
	"oidcc-registration-sector-uri": sectorURI,
	"oidcc-registration-sector-bad": func(r *run) {
		sector := r.suite.JSON("sector", func() any { return []string{"https://elsewhere.example/cb"} })
		r.refusedRegistration(map[string]any{"sector_identifier_uri": sector, "subject_type": "pairwise"}, "invalid_client_metadata", "invalid_redirect_uri")
	},
	"oidcc-server-rotate-keys":            rotateKeys,
	"oidcc-refresh-token-rp-key-rotation": clientKeyRotation,
	"oidcc-request-uri-signed-rs256":      signedByReference,

	"oidcc-3rd_party-init-login": func(r *run) {
		address := "https://app.example/start"
		_, answer := r.registers(map[string]any{"initiate_login_uri": address})
		if answer["initiate_login_uri"] != address {
			r.Errorf("initiate_login_uri %v", answer["initiate_login_uri"])
		}
		read := get(r.T, e2etest.Str(answer, "registration_client_uri"), http.Header{"Authorization": {"Bearer " + e2etest.Str(answer, "registration_access_token")}})
		if read.Status != http.StatusOK || read.JSON["initiate_login_uri"] != address || read.JSON["client_id"] != answer["client_id"] {
			r.Errorf("RFC 7592 section 2.1: %d %s", read.Status, read.Body)
		}
	},
	"oidcc-3rd_party-init-login-nohttps": func(r *run) {
		r.refusedRegistration(map[string]any{"initiate_login_uri": "http://app.example/start"}, "invalid_client_metadata")
	},
}

// refusedRegistration registers metadata that must be refused.
func (r *run) refusedRegistration(more map[string]any, want ...string) {
	r.Helper()
	a := register(r.T, r.tenant, r.options.metadata(more))
	if a.Status != http.StatusBadRequest || !slices.Contains(want, e2etest.Str(a.JSON, "error")) {
		r.Errorf("%v: %d %s, want one of %q", more, a.Status, a.Body, want)
	}
}

// unsignedByReference: an object with alg none at an address is refused, since none is not offered.
func (r *run) unsignedByReference() {
	r.Helper()
	if r.advertises("request_object_signing_alg_values_supported", "none") {
		r.Fatal("alg none is offered")
	}
	var object atomic.Value
	object.Store("")
	address := r.suite.Handle("object.jwt", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/oauth-authz-req+jwt")
		_, _ = w.Write([]byte(object.Load().(string))) //nolint:forcetypeassert // nothing else is stored
	})
	c, _ := r.registers(map[string]any{"request_uris": []string{address}})
	s := c.Prepare(nil)
	claims := map[string]any{"iss": c.ID, "aud": r.tenant.Issuer}
	for k := range s.Params {
		claims[k] = s.Params.Get(k)
	}
	object.Store(e2etest.Unsigned(r, nil, claims))
	sent := maps.Clone(s.Params)
	sent.Set("request_uri", address)
	s.URL = c.Endpoint("authorization_endpoint") + "?" + sent.Encode()
	r.c = c
	r.isError(c, s, r.open(c, s), "request_uri_not_supported", "request_not_supported", "invalid_request_object", "invalid_request_uri")
	r.notApplicable("none is not in request_object_signing_alg_values_supported (RFC 9101 section 10.8); it is refused")
}

// signedByReference: a signed object at a registered address counts.
func signedByReference(r *run) {
	key := e2etest.NewKey(r, "RS256")
	var object atomic.Value
	object.Store("")
	address := r.suite.Handle("object.jwt", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/oauth-authz-req+jwt")
		_, _ = w.Write([]byte(object.Load().(string))) //nolint:forcetypeassert // nothing else is stored
	})
	c, _ := r.registers(map[string]any{"request_uris": []string{address}, "request_object_signing_alg": "RS256", "jwks": e2etest.JWKS(key)})
	c.Key, r.c = key, c
	s := c.Prepare(nil)
	object.Store(c.Object(s, &e2etest.Twist{}))
	// Nonce and state stand in the object alone: who ignores it answers without them.
	sent := url.Values{
		"client_id": {c.ID}, "response_type": s.Params["response_type"], "scope": {"openid"}, "redirect_uri": {c.Redirect}, "request_uri": {address},
	}
	s.URL = c.Endpoint("authorization_endpoint") + "?" + sent.Encode()
	c.Grants(s, r.through(c, r.open(c, s)), nil)
	r.suite.Wait(r, address, 1, time.Second)
}

func userinfoRS256(r *run) {
	c, _ := r.registers(map[string]any{"userinfo_signed_response_alg": "RS256"})
	r.c = c
	g := r.login(nil)
	a := c.UserInfo(g.AccessToken)
	if a.Status != http.StatusOK || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/jwt") {
		r.Fatalf("%d %s", a.Status, a.Header.Get("Content-Type"))
	}
	_, claims, err := e2etest.VerifyJWS(c.Keys(), string(a.Body), "RS256")
	if err != nil {
		r.Fatal(err)
	}
	if claims["iss"] != r.tenant.Issuer || claims["aud"] != c.ID || claims["sub"] != g.Claims["sub"] || claims["name"] != r.who.Name {
		r.Errorf("%v", claims)
	}
}

// pageOf is the first page that a person sees of a client with this metadata.
func (r *run) pageOf(more map[string]any) *e2etest.Page {
	r.Helper()
	c, _ := r.registers(more)
	p := r.open(c, c.Start(nil, nil))
	if !hasField(p, "password") {
		r.Fatalf("no login page but %v", p)
	}
	return p
}

func (r *run) pageLinks(name string) {
	r.Helper()
	address := "https://app.example/" + e2etest.Unique(name)
	if p := r.pageOf(map[string]any{name: address}); !hasElement(p, "a", "href", address) {
		r.Errorf("no link to %s:\n%s", address, p.Body)
	}
}

func hasElement(p *e2etest.Page, name, attribute, value string) bool {
	return slices.ContainsFunc(p.Elements(name), func(n *html.Node) bool {
		v, _ := e2etest.Attr(n, attribute)
		return v == value
	})
}

// sectorURI: two clients of one sector know a person by the same pairwise subject, one of another sector by another.
func sectorURI(r *run) {
	if !r.advertises("subject_types_supported", "pairwise") {
		r.notApplicable("pairwise is not in subject_types_supported (OpenID Connect Core section 8 asks for one of the two)")
		return
	}
	list := func() any { return []string{e2etest.RedirectURI, e2etest.SecondRedirectURI} }
	sector := r.suite.JSON("sector", list)
	var subjects []string
	for _, more := range []map[string]any{
		{"subject_type": "pairwise", "sector_identifier_uri": sector},
		{"subject_type": "pairwise", "sector_identifier_uri": r.suite.JSON("again", list)}, // the sector is the host
		{"subject_type": "pairwise"},
		{"subject_type": "public"},
	} {
		r.c, _ = r.registers(more)
		g := r.signedIn().login(nil)
		if info := r.c.UserInfo(g.AccessToken); info.JSON["sub"] != g.Claims["sub"] {
			r.Errorf("userinfo's sub is %v, the ID token's %v", info.JSON["sub"], g.Claims["sub"])
		}
		subjects = append(subjects, e2etest.Str(g.Claims, "sub"))
	}
	if subjects[0] != subjects[1] || subjects[0] == subjects[2] || subjects[0] == subjects[3] || subjects[2] == subjects[3] {
		r.Errorf("subjects %q", subjects)
	}
	if len(r.suite.Calls(sector)) == 0 {
		r.Error("the sector's list was not read")
	}
}

// rotateKeys: after a rotation the set has a new key and still the old ones, and what the old one signed is verified.
func rotateKeys(r *run) {
	r.provider = r.brief // nobody else there looks at keys
	r.c = r.client.For(r.T)
	first := r.login(nil)
	before := r.c.Keys()
	admin := r.tenant.Org.Key
	for _, k := range e2etest.List(r.rig.API(r, admin, http.MethodGet, "/v1/"+r.tenant.Name+"/signingKeys", nil), "signingKeys") {
		if e2etest.Str(k, "state") == "ACTIVE" {
			r.rig.API(r, admin, http.MethodPost, "/v1/"+e2etest.Str(k, "name")+":rotate", map[string]any{})
		}
	}
	kids := func(keys []map[string]any) (all []string) {
		for _, k := range keys {
			all = append(all, e2etest.Str(k, "kid"))
		}
		return all
	}
	e2etest.Eventually(r, 60*time.Second, "the set has new keys", func() bool { return len(r.c.Keys()) > len(before) })
	after := kids(r.c.Keys())
	for _, kid := range kids(before) {
		if !slices.Contains(after, kid) {
			r.Errorf("key %s is gone at once", kid)
		}
	}
	if _, _, err := e2etest.VerifyJWS(r.c.Keys(), first.IDToken, "RS256"); err != nil {
		r.Errorf("an ID token from before the rotation: %v", err)
	}
	r.login(nil)
}

// clientKeyRotation: the client's key at its jwks_uri is exchanged, and a refresh with the new one works. The suite waits a minute
// before it; the server needs less.
func clientKeyRotation(r *run) {
	var key atomic.Pointer[e2etest.Key]
	key.Store(e2etest.NewKey(r, "ES256"))
	jwks := r.suite.JSON("jwks", func() any { return e2etest.JWKS(key.Load()) })
	r.c, _ = r.registers(map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": jwks})
	r.c.Key = key.Load()
	g := r.login(url.Values{"scope": {"openid profile offline_access"}, "prompt": {"consent"}})
	old := r.c.Key
	key.Store(e2etest.NewKey(r, "ES256"))
	r.c.Key = key.Load()
	var a *e2etest.Answer
	e2etest.Eventually(r, 30*time.Second, "the new key counts", func() bool {
		if a = r.c.Refresh(g.RefreshToken, nil, nil); a.Status == http.StatusOK {
			return true
		}
		r.refusedAt(a, "invalid_client")
		time.Sleep(time.Second)
		return r.Failed()
	})
	r.refreshed(g, a)
	r.refusedAt(r.c.Refresh(e2etest.Str(a.JSON, "refresh_token"), nil, &e2etest.Twist{AssertionKey: old}), "invalid_client")
}
