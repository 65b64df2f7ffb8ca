// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// fapi2Tests are the modules of the FAPI 2.0 Security Profile and of Message Signing.
var fapi2Tests = joined(fapi2Requests, fapi2Objects, fapi2Tokens, fapi2Assertions, fapi2DPoP, fapi2PAR)

func joined(all ...map[string]func(*run)) map[string]func(*run) {
	out := map[string]func(*run){}
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}

// fapi2Requests are modules about authorization requests and their responses.
var fapi2Requests = map[string]func(*run){
	"discovery-end-point-verification": fapiDiscovery,
	"happy-flow":                       fapiHappyFlow,
	"user-rejects-authentication": func(r *run) {
		r.signedIn()
		s := r.c.Start(url.Values{"prompt": {"consent"}}, nil)
		p := r.open(r.c, s)
		if !hasButton(p, "answer", "cancel") {
			r.Fatalf("no page that can be declined but %v\n%s", p, p.Text())
		}
		r.isError(r.c, s, p.Form("t").Press("answer", "cancel"), "access_denied")
	},
	"ensure-authorization-request-without-state-success": func(r *run) { r.signedIn().login(url.Values{"state": {""}}) },
	"ensure-authorization-request-without-nonce-success": func(r *run) { r.signedIn().login(url.Values{"nonce": {""}}) },
	"ensure-authorization-request-with-64-char-nonce-success": func(r *run) {
		r.signedIn().login(url.Values{"nonce": {strings.Repeat("n0nce-64", 8)}})
	},
	"ensure-other-scope-order-succeeds":     func(r *run) { r.signedIn().login(url.Values{"scope": {"email profile openid"}}) },
	"test-claims-parameter-identity-claims": fapiClaims,
	"ensure-different-nonce-inside-and-outside-request-object": func(r *run) {
		r.innerCounts(url.Values{"nonce": {"another-nonce"}})
	},
	"ensure-different-state-inside-and-outside-request-object": func(r *run) {
		r.innerCounts(url.Values{"state": {"another-state"}})
	},
	"ensure-authorization-request-with-long-nonce": func(r *run) {
		r.wholeOrRefused("nonce", strings.Repeat("a-long-nonce", 32))
	},
	"ensure-authorization-request-with-long-state": func(r *run) {
		r.wholeOrRefused("state", strings.Repeat("a-very-long-state", 60))
	},
	"state-only-outside-request-object-not-used": func(r *run) {
		r.signedIn().loginAs(r.c, url.Values{"state": {""}}, &e2etest.Twist{Outside: url.Values{"state": {"outside"}}})
	},
	"ensure-request-object-without-redirect-uri-fails": func(r *run) {
		s := r.c.TryStart(url.Values{"redirect_uri": {""}}, &e2etest.Twist{Outside: url.Values{"redirect_uri": {r.c.Redirect}}})
		r.refusedAt(s.Pushed, "invalid_request", "invalid_request_object")
	},
	"plain-fapi-tolerate-unregistered-redirect-uri": func(r *run) {
		s := r.c.TryStart(url.Values{"redirect_uri": {"https://app.example/unregistered"}}, nil)
		if s.Pushed.Status == http.StatusCreated { // RFC 9126 section 2.4 would allow it
			r.errorPage(s.URL)
			return
		}
		r.refusedAt(s.Pushed, "invalid_request", "invalid_redirect_uri", "invalid_request_object")
	},
	"ensure-unsigned-authorization-request-without-using-par-fails": func(r *run) {
		r.signedIn()
		s := r.c.Prepare(nil)
		p := r.open(r.c, &e2etest.Started{URL: r.c.Endpoint("authorization_endpoint") + "?" + s.Params.Encode()})
		if _, _, back := r.c.Delivered(p); back {
			r.isError(r.c, s, p, "invalid_request", "invalid_request_object", "request_not_supported")
		} else if p.Status < 400 {
			r.Errorf("no error page but %v", p)
		}
	},
	"ensure-redirect-uri-in-authorization-request": func(r *run) {
		r.refusedAt(r.c.TryStart(url.Values{"redirect_uri": {""}}, nil).Pushed, "invalid_request", "invalid_request_object")
	},
	"ensure-response-type-code-idtoken-fails": func(r *run) { r.refusedType("code id_token") },
	"ensure-response-type-token-fails":        func(r *run) { r.refusedType("token") },
}

func fapiDiscovery(r *run) {
	doc := r.c.Doc
	r.wellFormed(doc)
	for _, name := range []string{
		"authorization_endpoint", "token_endpoint", "pushed_authorization_request_endpoint", "jwks_uri", "userinfo_endpoint", "introspection_endpoint", "revocation_endpoint",
	} {
		if e2etest.Str(doc, name) == "" {
			r.Errorf("no %s", name)
		}
	}
	fapiAlgs := []string{"PS256", "ES256", "EdDSA"}
	r.listsOnly(doc, "response_types_supported", "code")
	r.listsOnly(doc, "token_endpoint_auth_methods_supported", "private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth")
	r.listsOnly(doc, "token_endpoint_auth_signing_alg_values_supported", fapiAlgs...)
	r.listsOnly(doc, "id_token_signing_alg_values_supported", fapiAlgs...)
	r.listsOnly(doc, "code_challenge_methods_supported", "S256")
	r.lists(doc, "grant_types_supported", "authorization_code")
	for _, grant := range []string{"implicit", "password"} {
		if r.advertises("grant_types_supported", grant) {
			r.Errorf("grant %s is offered", grant)
		}
	}
	for _, name := range []string{"require_pushed_authorization_requests", "authorization_response_iss_parameter_supported"} {
		if doc[name] != true {
			r.Errorf("%s is %v", name, doc[name])
		}
	}
	if r.fapi.auth == "private_key_jwt" {
		r.lists(doc, "token_endpoint_auth_methods_supported", "private_key_jwt")
		r.lists(doc, "token_endpoint_auth_signing_alg_values_supported", "PS256", "ES256")
	} else {
		r.lists(doc, "token_endpoint_auth_methods_supported", "tls_client_auth", "self_signed_tls_client_auth")
	}
	if r.fapi.constraint == "dpop" {
		r.listsOnly(doc, "dpop_signing_alg_values_supported", fapiAlgs...)
	} else if doc["tls_client_certificate_bound_access_tokens"] != true {
		r.Errorf("tls_client_certificate_bound_access_tokens is %v", doc["tls_client_certificate_bound_access_tokens"])
	}
	if r.fapi.signed {
		r.listsOnly(doc, "request_object_signing_alg_values_supported", fapiAlgs...)
	}
	if r.fapi.jarm {
		r.listsOnly(doc, "authorization_signing_alg_values_supported", fapiAlgs...)
		r.lists(doc, "response_modes_supported", "jwt")
		if doc["require_signed_request_object"] != true {
			r.Errorf("require_signed_request_object is %v", doc["require_signed_request_object"])
		}
	}
	if a := get(r.T, r.tenant.Issuer+"/.well-known/oauth-authorization-server", nil); a.Status != http.StatusOK || e2etest.Str(a.JSON, "issuer") != r.tenant.Issuer {
		r.Errorf("RFC 8414: %d %s", a.Status, a.Body)
	}
	for _, k := range r.keySet() {
		if alg, _ := k["alg"].(string); !slices.Contains(fapiAlgs, alg) {
			r.Errorf("a key for %s in the JWKS", alg)
		}
	}
}

// fapiHappyFlow logs in with both clients: the login page is shown, and what comes of it opens the resource.
func fapiHappyFlow(r *run) {
	for _, c := range []*e2etest.Party{r.c, r.c2} {
		s := c.Start(nil, nil)
		if life := e2etest.Num(s.Pushed.JSON, "expires_in"); life < 5 || life >= 600 || len(s.RequestURI) < 40 {
			r.Errorf("request_uri %q lives for %d s", s.RequestURI, life)
		}
		g := c.Grants(s, r.through(c, r.open(c, s)), nil)
		if len(g.Response.Get("code")) < 22 || len(g.AccessToken) < 22 {
			r.Errorf("code %q, access token %q: fewer than 128 bits", g.Response.Get("code"), g.AccessToken)
		}
		if c == r.c2 && (g.Response.Get("dummy1") != "lorem" || g.Response.Get("dummy2") != "ipsum") && !r.fapi.jarm {
			r.Errorf("the query of the redirect URI is lost: %v", g.Response)
		}
		r.opens(c, g.AccessToken)
		r.bound(c, g.AccessToken)
	}
	r.tlsIsStrict()
}

// opens asks the resource with an access token.
func (r *run) opens(c *e2etest.Party, token string) {
	r.Helper()
	if a := c.UserInfo(token); a.Status != http.StatusOK || a.JSON["sub"] == nil {
		r.Errorf("userinfo: %d %s %s", a.Status, a.Header.Get("WWW-Authenticate"), a.Body)
	}
}

// bound checks that a token names the key it is bound to (RFC 7800, RFC 9449 section 6.1, RFC 8705 section 3.1).
func (r *run) bound(c *e2etest.Party, token string) {
	r.Helper()
	_, claims := e2etest.JWTClaims(r, token)
	if c.DPoP != nil {
		if got := e2etest.Str(claims, "cnf", "jkt"); got != c.DPoP.Thumbprint() {
			r.Errorf("cnf.jkt %q, want %q", got, c.DPoP.Thumbprint())
		}
		return
	}
	if got, want := e2etest.Str(claims, "cnf", "x5t#S256"), e2etest.Hash(string(c.Cert.Certificate[0])); got != want {
		r.Errorf("cnf.x5t#S256 %q, want %q", got, want)
	}
}

func fapiClaims(r *run) {
	if r.c.Doc["claims_parameter_supported"] != true {
		r.notApplicable("claims_parameter_supported is not true (OpenID Connect Core section 5.5)")
		return
	}
	r.signedIn()
	for _, form := range []string{"null", `{"essential":true}`, `{"essential":false}`, `{"value":"nothing that anybody is called"}`} {
		asked := map[string][]string{}
		for _, v := range e2etest.List(r.c.Doc, "claims_supported") {
			name, _ := v.(string)
			if slices.Contains([]string{"iss", "sub", "aud", "exp", "iat", "nonce", "acr", "amr", "auth_time", "azp", "sid", "org", "tnt", "at_hash", "c_hash", "s_hash"}, name) {
				continue // about the login, not the person
			}
			asked["userinfo"] = append(asked["userinfo"], `"`+name+`":`+form)
		}
		g := r.login(url.Values{"scope": {"openid"}, "claims": {`{"userinfo":{` + strings.Join(asked["userinfo"], ",") + `},"id_token":{"acr":{"essential":false}}}`}})
		if info := r.c.UserInfo(g.AccessToken); info.Status != http.StatusOK || !strings.Contains(form, "value") && info.JSON["name"] != r.who.Name {
			r.Errorf("claims asked for as %s: %d %s", form, info.Status, info.Body)
		}
	}
}

// innerCounts sends parameters beside the request_uri: they change nothing, or the request is refused.
func (r *run) innerCounts(outside url.Values) {
	r.Helper()
	r.signedIn()
	s := r.c.Start(nil, &e2etest.Twist{Outside: outside})
	p := r.open(r.c, s)
	v := r.c.Response(s, p) // with the inner state
	if v.Has("error") {
		r.isError(r.c, s, p, "invalid_request", "invalid_request_object")
		return
	}
	r.c.Grants(s, p, nil) // with the inner nonce
}

// wholeOrRefused sends a long value, which comes back whole or is refused.
func (r *run) wholeOrRefused(name, value string) {
	r.Helper()
	r.signedIn()
	s := r.c.TryStart(url.Values{name: {value}}, nil)
	if s.Pushed.Status != http.StatusCreated {
		r.refusedAt(s.Pushed, "invalid_request", "invalid_request_object")
		return
	}
	r.c.Grants(s, r.open(r.c, s), nil)
}

func (r *run) refusedType(responseType string) {
	r.Helper()
	s := r.c.TryStart(url.Values{"response_type": {responseType}}, nil)
	r.refusedAt(s.Pushed, "unsupported_response_type", "unauthorized_client", "invalid_request", "invalid_request_object")
}

// fapi2Objects are modules about signed request objects.
var fapi2Objects = map[string]func(*run){
	"ensure-request-object-with-multiple-aud-succeeds": func(r *run) {
		r.object(func(_, c map[string]any) { c["aud"] = []string{r.tenant.Issuer, "https://other.example"} })
	},
	"ensure-request-object-with-nbf-8-seconds-in-the-future-is-accepted": func(r *run) {
		r.object(func(_, c map[string]any) { c["nbf"] = unix(8 * time.Second) })
	},
	"ensure-request-object-without-exp-fails": func(r *run) { r.badObject(func(_, c map[string]any) { c["exp"] = nil }) },
	"ensure-request-object-without-nbf-fails": func(r *run) { r.badObject(func(_, c map[string]any) { c["nbf"] = nil }) },
	"ensure-expired-request-object-fails": func(r *run) {
		r.badObject(func(_, c map[string]any) {
			c["iat"], c["nbf"], c["exp"] = unix(-20*time.Minute), unix(-20*time.Minute), unix(-10*time.Minute)
		})
	},
	"ensure-request-object-with-bad-aud-fails": func(r *run) {
		r.badObject(func(_, c map[string]any) { c["aud"] = "https://other.example" })
	},
	"ensure-request-object-with-exp-over-60-fails": func(r *run) {
		r.badObject(func(_, c map[string]any) { c["exp"] = unix(70 * time.Minute) })
	},
	"ensure-request-object-with-nbf-over-60-fails": func(r *run) {
		r.badObject(func(_, c map[string]any) { c["nbf"] = unix(-70 * time.Minute) })
	},
	"ensure-signed-request-object-with-RS256-fails": func(r *run) {
		r.signedBy(func(h, c map[string]any) string { return r.c.Key.With("RS256").Sign(r, h, c) })
	},
	"ensure-request-object-signature-algorithm-is-not-none": func(r *run) {
		r.signedBy(func(h, c map[string]any) string { return e2etest.Unsigned(r, h, c) })
	},
	"ensure-request-object-with-invalid-signature-fails": func(r *run) {
		r.signedBy(func(h, c map[string]any) string { return e2etest.BreakSignature(r, r.c.Key.Sign(r, h, c)) })
	},
	"ensure-matching-key-in-authorization-request": func(r *run) {
		r.signedBy(func(h, c map[string]any) string { return r.c2.Key.Sign(r, h, c) })
	},
	"ensure-unsigned-request-at-par-endpoint-fails": func(r *run) {
		r.c.Signed = false
		r.refusedAt(r.c.TryStart(nil, nil).Pushed, "invalid_request", "invalid_request_object")
	},
	"par-authorization-request-containing-request_uri": func(r *run) {
		r.badObject(func(_, c map[string]any) {
			c["request_uri"] = "urn:ietf:params:oauth:request_uri:" + e2etest.Unique("")
		})
	},
}

func unix(from time.Duration) int64 { return time.Now().Add(from).Unix() }

func (r *run) object(change func(header, claims map[string]any)) {
	r.Helper()
	r.signedIn().loginAs(r.c, nil, &e2etest.Twist{Object: change})
}

func (r *run) badObject(change func(header, claims map[string]any)) {
	r.Helper()
	r.refusedAt(r.c.TryStart(nil, &e2etest.Twist{Object: change}).Pushed, "invalid_request_object", "invalid_request")
}

func (r *run) signedBy(sign func(header, claims map[string]any) string) {
	r.Helper()
	r.refusedAt(r.c.TryStart(nil, &e2etest.Twist{SignObject: sign}).Pushed, "invalid_request_object", "invalid_request")
}
