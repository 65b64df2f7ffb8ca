// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// cibaTests are the modules of the FAPI-CIBA plan. Each has a person of its own, who may only be asked a few things at a time.
var cibaTests = withOwnPerson(joined(cibaFlows, cibaObjects, cibaClients, cibaPings))

func withOwnPerson(tests map[string]func(*run)) map[string]func(*run) {
	out := map[string]func(*run){}
	for name, test := range tests {
		out[name] = func(r *run) {
			own := *r.provider
			own.who = own.person(r.T)
			r.provider = &own
			test(r)
		}
	}
	return out
}

var cibaFlows = map[string]func(*run){
	"fapi-ciba-id1": func(r *run) {
		for _, c := range []*e2etest.Party{r.c, r.c2} {
			g := r.approved(c, r.ask(c, nil, nil))
			r.opens(c, g.AccessToken)
			r.bound(c, g.AccessToken)
		}
	},
	"discovery-end-point-verification": func(r *run) {
		doc := r.c.Doc
		r.wellFormed(doc)
		r.lists(doc, "backchannel_token_delivery_modes_supported", r.ciba.mode)
		r.lists(doc, "grant_types_supported", grantCIBA)
		r.listsOnly(doc, "backchannel_authentication_request_signing_alg_values_supported", "PS256", "ES256", "EdDSA")
		if e := e2etest.Str(doc, "backchannel_authentication_endpoint"); !strings.HasPrefix(e, r.tenant.Issuer+"/") {
			r.Errorf("backchannel_authentication_endpoint %q", e)
		}
		if doc["tls_client_certificate_bound_access_tokens"] != true {
			r.Error("tls_client_certificate_bound_access_tokens is not true")
		}
		method := r.ciba.auth
		if method == "mtls" {
			method = "tls_client_auth"
		}
		r.lists(doc, "token_endpoint_auth_methods_supported", method)
	},
	"user-rejects-authentication": func(r *run) {
		id := r.accepted(r.ask(r.c, nil, nil))
		r.answer("deny")
		r.refusedAt(r.poll(r.c, id, nil), "access_denied")
	},
	"multiple-call-to-token-endpoint": func(r *run) {
		id := r.accepted(r.ask(r.c, nil, nil))
		for range 4 {
			r.refusedAt(r.poll(r.c, id, nil), "authorization_pending", "slow_down", "invalid_request")
		}
		r.refusedAt(r.poll(r.c, id, nil), "slow_down", "invalid_request") // section 11: more often than the interval
	},
	"auth-req-id-expired": func(r *run) {
		a := r.ask(r.c, url.Values{"requested_expiry": {"5"}}, nil)
		id := r.accepted(a)
		life := e2etest.Num(a.JSON, "expires_in")
		if life > 5 {
			r.Fatalf("requested_expiry 5 became %d", life)
		}
		time.Sleep(time.Duration(life+1) * time.Second)
		r.refusedAt(r.poll(r.c, id, nil), "expired_token")
	},
	"ensure-authorization-request-with-binding-message-succeeds": func(r *run) {
		a := r.ask(r.c, url.Values{"binding_message": {"1234"}}, nil)
		if p := r.waiting(); !strings.Contains(p.Text(), "1234") {
			r.Errorf("the message is not shown:\n%s", p.Text())
		}
		r.approved(r.c, a)
	},
	"ensure-other-scope-order-succeeds": func(r *run) {
		r.approved(r.c, r.ask(r.c, url.Values{"scope": {"email profile openid"}}, nil))
	},
	"ensure-requested-expiry-as-string-succeeds": func(r *run) {
		a := r.ask(r.c, url.Values{"requested_expiry": {"30"}}, nil) // a string in the object
		if life := e2etest.Num(a.JSON, "expires_in"); life > 30 {
			r.Errorf("requested_expiry 30 became %d", life)
		}
		r.approved(r.c, a)
		a = r.ask(r.c, nil, &e2etest.Twist{Object: func(_, c map[string]any) { c["requested_expiry"] = 30 }})
		r.accepted(a)
	},
	"ensure-authorization-request-with-potentially-bad-binding-message": func(r *run) {
		a := r.ask(r.c, url.Values{"binding_message": {"1234 👍🏿 品川 \u202e <b>&amp;</b>"}}, nil)
		if a.Status == http.StatusOK {
			r.approved(r.c, a)
			return
		}
		r.refusedAt(a, "invalid_binding_message")
	},
	"ensure-authorization-request-with-multiple-hints-fails": func(r *run) {
		r.refusedAt(r.ask(r.c, url.Values{"id_token_hint": {"eyJhbGciOiJFUzI1NiJ9.e30.AAAA"}}, nil), "invalid_request")
	},
	"ensure-wrong-auth-req-id-in-token-endpoint-request": func(r *run) {
		a := r.ask(r.c, nil, nil)
		id := r.accepted(a)
		r.answer("allow")
		r.refusedAt(r.poll(r.c2, id, nil), "invalid_grant")
		r.granted(r.c, r.poll(r.c, id, nil)) // and it is not used up
	},
	"ensure-unsigned-backchannel-authorization-request-fails": func(r *run) {
		form := r.hints(r.c, nil)
		r.refusedAt(r.c.Post("backchannel_authentication_endpoint", form, nil), "invalid_request", "invalid_request_object")
	},
	"refresh-token": func(r *run) {
		g := r.approved(r.c, r.ask(r.c, url.Values{"scope": {"openid profile offline_access"}}, nil))
		if g.RefreshToken == "" {
			r.Fatal("no refresh token")
		}
		r.refusedAt(r.c2.Refresh(g.RefreshToken, nil, nil), "invalid_grant")
		a := r.c.Refresh(g.RefreshToken, nil, nil)
		r.refreshed(g, a)
		r.bound(r.c, e2etest.Str(a.JSON, "access_token"))
	},
	"ensure-mtls-holder-of-key-required": func(r *run) {
		id := r.accepted(r.ask(r.c, nil, nil))
		r.answer("allow")
		r.refusedAt(r.poll(r.c, id, &e2etest.Twist{NoCert: true}), "invalid_request", "invalid_client", "invalid_grant")
		r.granted(r.c, r.poll(r.c, id, nil))
		r.tlsIsStrict()
	},
}

// hints are the parameters of a backchannel request for the module's person.
func (r *run) hints(c *e2etest.Party, more url.Values) url.Values {
	v := url.Values{"scope": {"openid profile email"}, "login_hint": {r.who.Email}}
	if r.ciba.mode == "ping" {
		v.Set("client_notification_token", "plain-"+strings.Repeat(e2etest.Unique("x"), 3))
	}
	for k, value := range more {
		v[k] = value
	}
	return v
}

// ask sends a signed backchannel authentication request (CIBA Core section 7.1.1).
func (r *run) ask(c *e2etest.Party, more url.Values, tw *e2etest.Twist) *e2etest.Answer {
	r.Helper()
	if tw == nil {
		tw = &e2etest.Twist{}
	}
	signed := *tw
	signed.Object = func(h, claims map[string]any) {
		h["typ"] = nil
		if tw.Object != nil {
			tw.Object(h, claims)
		}
	}
	object := c.Object(&e2etest.Started{Params: r.hints(c, more)}, &signed)
	return c.Post("backchannel_authentication_endpoint", url.Values{"request": {object}}, tw)
}

// accepted is the auth_req_id of a request that was accepted (section 7.3).
func (r *run) accepted(a *e2etest.Answer) string {
	r.Helper()
	id := e2etest.Str(a.JSON, "auth_req_id")
	if a.Status != http.StatusOK || len(id) < 22 || e2etest.Num(a.JSON, "expires_in") <= 0 {
		r.Fatalf("backchannel request: %d %s", a.Status, a.Body)
	}
	return id
}

// waiting is the page where the person sees what waits for an answer, on a device of their own.
func (r *run) waiting() *e2etest.Page {
	r.Helper()
	p := r.browser.Get(r.tenant.Issuer + "/oauth2/backchannel")
	if hasField(p, "password") {
		p = p.SignIn(r.who)
	}
	return p.MustBe(http.StatusOK)
}

func (r *run) answer(with string) {
	r.Helper()
	r.waiting().Form("request").Press("answer", with).MustBe(http.StatusOK)
}

// poll asks the token endpoint (section 10.1).
func (r *run) poll(c *e2etest.Party, id string, tw *e2etest.Twist) *e2etest.Answer {
	r.Helper()
	return c.Post("token_endpoint", url.Values{"grant_type": {grantCIBA}, "auth_req_id": {id}}, tw)
}

// approved lets the person say yes, waits for the ping where there is one, and returns what the client gets.
func (r *run) approved(c *e2etest.Party, a *e2etest.Answer) *e2etest.Granted {
	r.Helper()
	id := r.accepted(a)
	r.answer("allow")
	if r.ciba.mode == "ping" {
		r.pinged(id)
	}
	return r.granted(c, r.poll(c, id, nil))
}

// pinged waits for the notification of one request (section 10.2) and returns it.
func (r *run) pinged(id string) e2etest.Received {
	r.Helper()
	var found e2etest.Received
	e2etest.Eventually(r, 30*time.Second, "the notification", func() bool {
		for _, call := range r.suite.Calls(r.notification) {
			if strings.Contains(string(call.Body), id) {
				found = call
				return true
			}
		}
		return false
	})
	if found.Method != http.MethodPost || !strings.HasPrefix(found.Header.Get("Content-Type"), "application/json") || !strings.HasPrefix(found.Header.Get("Authorization"), "Bearer ") {
		r.Errorf("notification %s %v", found.Method, found.Header)
	}
	return found
}

// granted checks an answer of the token endpoint.
func (r *run) granted(c *e2etest.Party, a *e2etest.Answer) *e2etest.Granted {
	r.Helper()
	g := &e2etest.Granted{}
	c.Back(&e2etest.Started{Params: url.Values{"scope": {"openid"}}}, g, a)
	return g
}

// cibaObjects are modules about the signed request.
var cibaObjects = map[string]func(*run){
	"ensure-request-object-missing-aud-fails": func(r *run) { r.badRequest(func(_, c map[string]any) { c["aud"] = nil }) },
	"ensure-request-object-bad-aud-fails":     func(r *run) { r.badRequest(func(_, c map[string]any) { c["aud"] = "https://other.example" }) },
	"ensure-request-object-missing-iss-fails": func(r *run) { r.badRequest(func(_, c map[string]any) { c["iss"] = nil }) },
	"ensure-request-object-bad-iss-fails":     func(r *run) { r.badRequest(func(_, c map[string]any) { c["iss"] = r.c2.ID }) },
	"ensure-request-object-missing-exp-fails": func(r *run) { r.badRequest(func(_, c map[string]any) { c["exp"] = nil }) },
	"ensure-request-object-expired-exp-fails": func(r *run) {
		r.badRequest(func(_, c map[string]any) {
			c["iat"], c["nbf"], c["exp"] = unix(-10*time.Minute), unix(-10*time.Minute), unix(-5*time.Minute)
		})
	},
	"ensure-request-object-exp-is-70-minutes-in-future-fails": func(r *run) { r.badRequest(func(_, c map[string]any) { c["exp"] = unix(70 * time.Minute) }) },
	"ensure-request-object-missing-iat-fails":                 func(r *run) { r.badRequest(func(_, c map[string]any) { c["iat"] = nil }) },
	"ensure-request-object-missing-nbf-fails":                 func(r *run) { r.badRequest(func(_, c map[string]any) { c["nbf"] = nil }) },
	"ensure-request-object-nbf-is-10-minutes-in-future-fails": func(r *run) {
		r.badRequest(func(_, c map[string]any) { c["nbf"], c["exp"] = unix(10*time.Minute), unix(15*time.Minute) })
	},
	"ensure-request-object-nbf-is-70-minutes-in-past-fails": func(r *run) { r.badRequest(func(_, c map[string]any) { c["nbf"] = unix(-70 * time.Minute) }) },
	"ensure-request-object-missing-jti-fails":               func(r *run) { r.badRequest(func(_, c map[string]any) { c["jti"] = nil }) },
	"ensure-request-object-signature-algorithm-is-none-fails": func(r *run) {
		r.badSignature(func(h, c map[string]any) string { return e2etest.Unsigned(r, h, c) })
	},
	"ensure-request-object-signature-algorithm-is-bad-fails": func(r *run) {
		r.badSignature(func(h, c map[string]any) string { h["alg"] = "PS257"; return r.c.Key.Sign(r, h, c) })
		r.badSignature(func(h, c map[string]any) string { return e2etest.SignHMAC(r, "secret", h, c) })
	},
	"ensure-request-object-signature-algorithm-is-RS256-fails": func(r *run) {
		r.badSignature(func(h, c map[string]any) string { return r.c.Key.With("RS256").Sign(r, h, c) })
	},
	"ensure-request-object-signed-by-other-client-fails": func(r *run) {
		r.badSignature(func(h, c map[string]any) string { return r.c2.Key.Sign(r, h, c) })
	},
}

func (r *run) badRequest(change func(header, claims map[string]any)) {
	r.Helper()
	r.refusedAt(r.ask(r.c, nil, &e2etest.Twist{Object: change}), "invalid_request", "invalid_request_object")
}

func (r *run) badSignature(sign func(header, claims map[string]any) string) {
	r.Helper()
	r.refusedAt(r.ask(r.c, nil, &e2etest.Twist{SignObject: sign}), "invalid_request", "invalid_request_object")
}

// cibaClients are modules about client authentication.
var cibaClients = map[string]func(*run){
	"ensure-different-client-id-and-issuer-in-backchannel-authorization-request": func(r *run) {
		r.refusedAt(r.ask(r.c, nil, &e2etest.Twist{Object: func(_, c map[string]any) { c["iss"] = r.c2.ID }}), "invalid_request", "invalid_request_object", "invalid_client")
	},
	"ensure-wrong-client-id-in-token-endpoint-request": func(r *run) {
		id := r.accepted(r.ask(r.c, nil, nil))
		r.answer("allow")
		r.refusedAt(r.poll(r.c, id, &e2etest.Twist{Form: func(f url.Values) { f.Set("client_id", r.c2.ID) }}), "invalid_client", "invalid_grant", "invalid_request")
		r.granted(r.c, r.poll(r.c, id, nil))
	},
	"ensure-wrong-client-id-in-backchannel-authorization-request": func(r *run) {
		r.refusedAt(r.ask(r.c, nil, &e2etest.Twist{Form: func(f url.Values) { f.Set("client_id", r.c2.ID) }}), "invalid_client", "invalid_request")
	},
	"ensure-without-client-assertion-in-token-endpoint-request": func(r *run) {
		id := r.accepted(r.ask(r.c, nil, nil))
		r.refusedAt(r.poll(r.c, id, &e2etest.Twist{NoAuth: true}), "invalid_client", "invalid_request")
	},
	"ensure-without-client-assertion-in-backchannel-authorization-request": func(r *run) {
		r.refusedAt(r.ask(r.c, nil, &e2etest.Twist{NoAuth: true}), "invalid_client", "invalid_request")
	},
	"ensure-client-assertion-signature-algorithm-in-backchannel-authorization-request-is-RS256-fails": func(r *run) {
		r.refusedAt(r.ask(r.c, nil, &e2etest.Twist{AssertionKey: r.c.Key.With("RS256")}), "invalid_client")
	},
	"ensure-client-assertion-signature-algorithm-in-token-endpoint-request-is-RS256-fails": func(r *run) {
		id := r.accepted(r.ask(r.c, nil, nil))
		r.refusedAt(r.poll(r.c, id, &e2etest.Twist{AssertionKey: r.c.Key.With("RS256")}), "invalid_client")
	},
	"ensure-client-assertion-with-iss-aud-to-token-endpoint-succeeds": func(r *run) {
		id := r.accepted(r.ask(r.c, nil, nil))
		r.answer("allow")
		r.granted(r.c, r.poll(r.c, id, &e2etest.Twist{Assertion: func(_, c map[string]any) { c["aud"] = r.tenant.Issuer }}))
	},
}

// cibaPings are modules about the notification endpoint's answers.
var cibaPings = map[string]func(*run){
	"ping-backchannel-notification-endpoint-response-has-body": func(r *run) { r.pingAnswered("body") },
	"ping-backchannel-notification-endpoint-response-401":      func(r *run) { r.pingAnswered("401") },
	"ping-backchannel-notification-endpoint-response-403":      func(r *run) { r.pingAnswered("403") },
	"ping-with-mtls-ciba-notification-endpoint-response-401-and-require-server-does-not-retry": func(r *run) {
		id := r.pingAnswered("401")
		time.Sleep(3 * time.Second) // longer than a first retry would wait
		n := 0
		for _, call := range r.suite.Calls(r.notification) {
			if strings.Contains(string(call.Body), id) {
				n++
			}
		}
		if n != 1 {
			r.Errorf("%d notifications of one request", n)
		}
	},
	"ping-backchannel-notification-endpoint-return-redirect-request": func(r *run) {
		r.pingAnswered("301")
		time.Sleep(time.Second)
		if calls := r.suite.Calls(r.suite.URL + "/redirected"); len(calls) != 0 {
			r.Errorf("the redirect is followed: %+v", calls)
		}
	},
}

// pingAnswered has the notification endpoint answer in a way, which changes nothing: the client's poll gets its tokens.
func (r *run) pingAnswered(how string) string {
	r.Helper()
	token := how + "-" + e2etest.Unique("") + e2etest.Unique("") + e2etest.Unique("")
	a := r.ask(r.c, url.Values{"client_notification_token": {token}}, nil)
	id := r.accepted(a)
	r.answer("allow")
	if got := r.pinged(id).Header.Get("Authorization"); got != "Bearer "+token {
		r.Errorf("Authorization %q, want the client_notification_token %q", got, token)
	}
	r.granted(r.c, r.poll(r.c, id, nil))
	return id
}
