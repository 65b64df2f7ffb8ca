// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package conformance_test

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

// fapi2DPoP are modules about DPoP (RFC 9449).
var fapi2DPoP = map[string]func(*run){
	"check-dpop-proof-nbf-exp": func(r *run) {
		r.proven(func(_, c map[string]any) { c["nbf"], c["exp"] = unix(-5*time.Second), unix(time.Minute) })
	},
	"ensure-dpopproof-with-iat-10seconds-before-succeeds": func(r *run) {
		r.proven(func(_, c map[string]any) { c["iat"] = unix(-10 * time.Second) })
	},
	"ensure-dpopproof-with-iat-10seconds-after-succeeds": func(r *run) {
		r.proven(func(_, c map[string]any) { c["iat"] = unix(10 * time.Second) })
	},
	"ensure-mismatched-dpop-jkt-fails": func(r *run) {
		other := e2etest.NewKey(r, "ES256").Thumbprint()
		s := r.c.TryStart(url.Values{"dpop_jkt": {other}}, &e2etest.Twist{PARProof: true})
		r.refusedAt(s.Pushed, "invalid_dpop_proof", "invalid_request", "invalid_request_object")
	},
	"ensure-token-endpoint-fails-with-mismatched-dpop-proof-jkt": func(r *run) {
		s, code := r.code(nil, &e2etest.Twist{PARProof: true})
		r.otherKey(s, code)
	},
	"ensure-token-endpoint-fails-with-mismatched-dpop-jkt": func(r *run) {
		s, code := r.code(url.Values{"dpop_jkt": {r.c.DPoP.Thumbprint()}}, nil)
		r.otherKey(s, code)
	},
	"ensure-dpopproof-at-par-endpoint-binding-success": func(r *run) {
		g := r.signedIn().loginAs(r.c, nil, &e2etest.Twist{PARProof: true})
		r.opens(r.c, g.AccessToken)
	},
	"ensure-dpop-auth-code-binding-success": func(r *run) {
		g := r.signedIn().loginAs(r.c, url.Values{"dpop_jkt": {r.c.DPoP.Thumbprint()}}, &e2etest.Twist{PARProof: true})
		r.opens(r.c, g.AccessToken)
	},
	"dpop-negative-tests": dpopNegative,
}

// proven uses a proof with a change at the PAR endpoint, the token endpoint and the resource.
func (r *run) proven(change func(header, claims map[string]any)) {
	r.Helper()
	tw := &e2etest.Twist{PARProof: true, Proof: change}
	g := r.signedIn().loginAs(r.c, nil, tw)
	if a := r.c.Resource(http.MethodGet, "DPoP", g.AccessToken, tw); a.Status != http.StatusOK {
		r.Errorf("resource: %d %s", a.Status, a.Header.Get("WWW-Authenticate"))
	}
}

// otherKey redeems a code that is bound to the client's key with the proof of another.
func (r *run) otherKey(s *e2etest.Started, code string) {
	r.Helper()
	a := r.c.Redeem(s, code, &e2etest.Twist{ProofKey: e2etest.NewKey(r, "ES256")})
	r.refusedAt(a, "invalid_grant", "invalid_dpop_proof", "invalid_request")
}

// dpopNegative sends proofs to the resource that have one thing wrong each, and some that only look unusual.
func dpopNegative(r *run) {
	g := r.signedIn().login(nil)
	foreign := e2etest.NewKey(r, "ES256")
	rsa := e2etest.NewKey(r, "RS256")
	ask := func(method, scheme string, tw *e2etest.Twist) *e2etest.Answer {
		return r.c.Resource(method, scheme, g.AccessToken, tw)
	}
	claim := func(name string, v any) *e2etest.Twist {
		return &e2etest.Twist{Proof: func(_, c map[string]any) { c[name] = v }}
	}
	head := func(name string, v any) *e2etest.Twist {
		return &e2etest.Twist{Proof: func(h, _ map[string]any) { h[name] = v }}
	}
	raw := func(proofs ...string) *e2etest.Twist {
		return &e2etest.Twist{NoProof: true, Header: http.Header{"Dpop": proofs}}
	}
	proof := func(tw *e2etest.Twist) string {
		return r.c.Proof(http.MethodGet, r.c.Endpoint("userinfo_endpoint"), g.AccessToken, tw)
	}
	none := &e2etest.Twist{}
	unsigned := func() string {
		header, claims := e2etest.JWTClaims(r, proof(none))
		header["alg"] = "none"
		return e2etest.Unsigned(r, header, claims)
	}
	address := r.c.Endpoint("userinfo_endpoint")
	bad := map[string]func() *e2etest.Answer{
		"typ missing":                 func() *e2etest.Answer { return ask("GET", "DPoP", head("typ", nil)) },
		"typ JWT":                     func() *e2etest.Answer { return ask("GET", "DPoP", head("typ", "JWT")) },
		"alg missing":                 func() *e2etest.Answer { return ask("GET", "DPoP", head("alg", nil)) },
		"alg none":                    func() *e2etest.Answer { return ask("GET", "DPoP", raw(unsigned())) },
		"alg that the key is not for": func() *e2etest.Answer { return ask("GET", "DPoP", head("alg", "PS256")) },
		"RS256":                       func() *e2etest.Answer { return ask("GET", "DPoP", &e2etest.Twist{ProofKey: rsa}) },
		"jwk missing":                 func() *e2etest.Answer { return ask("GET", "DPoP", head("jwk", nil)) },
		"jwk with the private key":    func() *e2etest.Answer { return ask("GET", "DPoP", head("jwk", r.c.DPoP.PrivateJWK())) },
		"jwk of another key":          func() *e2etest.Answer { return ask("GET", "DPoP", head("jwk", foreign.Bare())) },
		"jwk that is a symmetric key": func() *e2etest.Answer {
			return ask("GET", "DPoP", head("jwk", map[string]any{"kty": "oct", "k": "c2VjcmV0"}))
		},
		"another key":           func() *e2etest.Answer { return ask("GET", "DPoP", &e2etest.Twist{ProofKey: foreign}) },
		"signature broken":      func() *e2etest.Answer { return ask("GET", "DPoP", raw(e2etest.BreakSignature(r, proof(none)))) },
		"jti missing":           func() *e2etest.Answer { return ask("GET", "DPoP", claim("jti", nil)) },
		"jti empty":             func() *e2etest.Answer { return ask("GET", "DPoP", claim("jti", "")) },
		"htm missing":           func() *e2etest.Answer { return ask("GET", "DPoP", claim("htm", nil)) },
		"htm of another method": func() *e2etest.Answer { return ask("GET", "DPoP", claim("htm", "POST")) },
		"htm in small letters":  func() *e2etest.Answer { return ask("GET", "DPoP", claim("htm", "get")) },
		"htu missing":           func() *e2etest.Answer { return ask("GET", "DPoP", claim("htu", nil)) },
		"htu of another path":   func() *e2etest.Answer { return ask("GET", "DPoP", claim("htu", address+"/x")) },
		"htu of another host": func() *e2etest.Answer {
			return ask("GET", "DPoP", claim("htu", "https://other.example/oauth2/userinfo"))
		},
		"htu with http": func() *e2etest.Answer {
			return ask("GET", "DPoP", claim("htu", strings.Replace(address, "https:", "http:", 1)))
		},
		"htu that is no address":        func() *e2etest.Answer { return ask("GET", "DPoP", claim("htu", "%")) },
		"iat missing":                   func() *e2etest.Answer { return ask("GET", "DPoP", claim("iat", nil)) },
		"iat a text":                    func() *e2etest.Answer { return ask("GET", "DPoP", claim("iat", "yesterday")) },
		"iat an hour ago":               func() *e2etest.Answer { return ask("GET", "DPoP", claim("iat", unix(-time.Hour))) },
		"iat in an hour":                func() *e2etest.Answer { return ask("GET", "DPoP", claim("iat", unix(time.Hour))) },
		"ath missing":                   func() *e2etest.Answer { return ask("GET", "DPoP", claim("ath", nil)) },
		"ath of another token":          func() *e2etest.Answer { return ask("GET", "DPoP", claim("ath", e2etest.Hash("another"))) },
		"ath the token itself":          func() *e2etest.Answer { return ask("GET", "DPoP", claim("ath", g.AccessToken)) },
		"two proofs":                    func() *e2etest.Answer { return ask("GET", "DPoP", raw(proof(none), proof(none))) },
		"no proof":                      func() *e2etest.Answer { return ask("GET", "DPoP", &e2etest.Twist{NoProof: true}) },
		"an empty proof":                func() *e2etest.Answer { return ask("GET", "DPoP", raw("")) },
		"a proof that is no JWT":        func() *e2etest.Answer { return ask("GET", "DPoP", raw("proof")) },
		"scheme Bearer with a proof":    func() *e2etest.Answer { return ask("GET", "Bearer", none) },
		"scheme Bearer without a proof": func() *e2etest.Answer { return ask("GET", "Bearer", &e2etest.Twist{NoProof: true}) },
		"a proof for POST, sent by GET": func() *e2etest.Answer {
			return ask("GET", "DPoP", raw(r.c.Proof(http.MethodPost, address, g.AccessToken, none)))
		},
		"jti used before": func() *e2etest.Answer {
			once := raw(proof(none))
			if a := ask("GET", "DPoP", once); a.Status != http.StatusOK {
				r.Errorf("a proof sent as it is: %d %s", a.Status, a.Header.Get("WWW-Authenticate"))
			}
			return ask("GET", "DPoP", once)
		},
	}
	for name, try := range bad {
		a := try()
		challenge := strings.Join(a.Header.Values("WWW-Authenticate"), ", ")
		if a.Status != http.StatusUnauthorized || !strings.Contains(challenge, "DPoP") {
			r.Errorf("%s: %d, challenge %q", name, a.Status, challenge)
		}
	}
	u := mustURL(r.T, address)
	shouted := "HTTPS://" + strings.ToUpper(u.Host) + u.Path
	good := map[string]*e2etest.Twist{
		"as it should be":             none,
		"header name in capitals":     {NoProof: true, Header: http.Header{"DPOP": {proof(none)}}},
		"more claims":                 claim("more", map[string]any{"a": 1}),
		"more header members":         head("more", "x"),
		"htu with query and fragment": claim("htu", address+"?a=b#c"),
		"htu with capitals":           claim("htu", shouted),
		"jwk with kid, alg and use":   head("jwk", withMembers(r.c.DPoP.Bare(), map[string]any{"kid": "k", "alg": "ES256", "use": "sig"})),
		"iat a few seconds ago":       claim("iat", unix(-5*time.Second)),
	}
	for name, tw := range good {
		if a := ask("GET", "DPoP", tw); a.Status != http.StatusOK {
			r.Errorf("%s: %d %s", name, a.Status, a.Header.Get("WWW-Authenticate"))
		}
	}
}

func withMembers(m, more map[string]any) map[string]any {
	for k, v := range more {
		m[k] = v
	}
	return m
}
