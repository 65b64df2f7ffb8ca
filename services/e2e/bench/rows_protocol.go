// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenantry/tenantry/services/e2e/e2etest"
)

const (
	parPath  = "/oauth2/par"
	jwtType  = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	prepared = 60_000 // requests that are signed before the measurement: one is good once
)

// assertor is a client with a key: it signs assertions and DPoP proofs as an independent program would.
type assertor struct {
	client e2etest.Client
	key    *ecdsa.PrivateKey
	jwk    string
	n      atomic.Int64
}

// assertor makes a machine client with private_key_jwt whose tokens are bound by DPoP.
func (b *bed) assertor() *assertor {
	a := &assertor{key: try(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	point := try(a.key.PublicKey.Bytes())
	x, y := base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:])
	a.jwk = fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, x, y)
	made := b.rig.API(b, b.org.Key, http.MethodPost, "/v1/"+b.tenant.Name+"/clients?clientId=signer", map[string]any{ //nolint:gosec // G101: names
		"displayName": "Signer", "kind": "WEB", "clientType": "CONFIDENTIAL", "redirectUris": []string{e2etest.RedirectURI}, "firstParty": true,
		"grantTypes": []string{"client_credentials", "authorization_code"}, "tokenEndpointAuthMethod": "private_key_jwt", "scopes": []string{"openid", "chat:read"},
		"protocol": map[string]any{"dpopBoundAccessTokens": true, "jwks": map[string]any{"keys": []any{
			map[string]any{"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "one", "alg": "ES256", "use": "sig"},
		}}},
	})
	client, ok := made["client"].(map[string]any)
	if !ok {
		client = made
	}
	a.client.ID = e2etest.Str(client, "uid")
	return a
}

func (a *assertor) sign(header string, claims map[string]any) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(try(json.Marshal(claims)))
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, a.key, digest[:])
	must(err)
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature[:])
}

// assertion is a fresh client assertion for the tenant.
func (a *assertor) assertion(b *bed) string {
	now := time.Now().Unix()
	return a.sign(`{"alg":"ES256","kid":"one"}`, map[string]any{
		"iss": a.client.ID, "sub": a.client.ID, "aud": b.tenant.Issuer, "jti": fmt.Sprintf("a%d-%d", now, a.n.Add(1)), "iat": now, "exp": now + 240,
	})
}

// proof is a fresh DPoP proof for a POST to a path.
func (a *assertor) proof(b *bed, path string) string {
	now := time.Now().Unix()
	return a.sign(`{"typ":"dpop+jwt","alg":"ES256","jwk":`+a.jwk+`}`, map[string]any{
		"htm": "POST", "htu": b.tenant.Issuer + path, "jti": fmt.Sprintf("p%d-%d", now, a.n.Add(1)), "iat": now,
	})
}

// credentials is the request for a token by client_credentials, sent to a path.
func (a *assertor) credentials(b *bed, path string) []byte {
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"chat:read"}, "client_assertion_type": {jwtType}, "client_assertion": {a.assertion(b)}}
	return request(http.MethodPost, b.host(), path, map[string]string{"DPoP": a.proof(b, tokenPath)}, form.Encode())
}

// pushed is a pushed authorization request.
func (a *assertor) pushed(b *bed) []byte {
	form := url.Values{
		"client_id": {a.client.ID}, "redirect_uri": {e2etest.RedirectURI}, "response_type": {"code"}, "scope": {"openid"}, "state": {"s"}, "nonce": {"n"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"}, "client_assertion_type": {jwtType}, "client_assertion": {a.assertion(b)},
	}
	return request(http.MethodPost, b.host(), parPath, map[string]string{"DPoP": a.proof(b, parPath)}, form.Encode())
}

// stock signs requests on all processors.
func stock(n int, one func() []byte) [][]byte {
	all := make([][]byte, n)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				all[i] = one()
			}
		})
	}
	workers.Wait()
	return all
}

// spend sends each of the requests once.
func spend(name, addr string, c, status int, served []*program, requests [][]byte) *side {
	conns := connections(addr, c)
	var next atomic.Int64
	return &side{
		name: name, workers: c, cpu: cpu(served...),
		step: func(w int) error {
			i := next.Add(1) - 1
			if i >= int64(len(requests)) {
				return fmt.Errorf("%d requests were too few", len(requests))
			}
			a, err := conns[w].do(requests[i])
			if err == nil && a.status != status {
				err = fmt.Errorf("%d %s", a.status, a.body)
			}
			return err
		},
		cleanup: func() {
			for _, c := range conns {
				c.close()
			}
		},
	}
}

// signedRequests measures what FAPI clients ask for.
func signedRequests(b *bed) []row {
	a := b.assertor()
	y := b.yardsticks()
	defer y.stop()
	// One request until the client is there, and so that its keys are.
	for range 100 {
		c := &conn{addr: b.token.addr}
		got := try(c.do(a.credentials(b, tokenPath)))
		c.close()
		if got.status == http.StatusOK {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	n := min(prepared, int(4000*b.seconds.Seconds()*2))
	r := interleave(b.seconds,
		spend("private_key_jwt + DPoP", b.token.addr, many, http.StatusOK, []*program{b.token}, stock(n, func() []byte { return a.credentials(b, tokenPath) })),
		spend("bare: verify two, sign one", y.addr, many, http.StatusOK, []*program{y}, stock(2*n, func() []byte { return a.credentials(b, "/prove") })))
	share := ratio(r[0], r[1], slice.rate)
	const at = 8
	p := interleave(b.seconds,
		spend("PAR", b.token.addr, at, http.StatusCreated, []*program{b.token}, stock(n, func() []byte { return a.pushed(b) })),
		logins("password login", b.people(b.login.addr, "q", at), b.login, b.token))
	times := ratio(p[0], p[1], slice.rate)
	return []row{
		{
			"private_key_jwt + DPoP `client_credentials`, c=64", "≥ 40 % of `bare proof`, which verifies two ES256 signatures and makes one",
			fmt.Sprintf("%.0f %% (%.0f/s of %.0f/s; %.0f µs CPU of %.0f µs)", share*100, r[0].rate, r[1].rate, r[0].cpu, r[1].cpu),
			share >= 0.40 && r[0].failed+r[1].failed == 0, "",
		},
		{
			"PAR (private_key_jwt + DPoP), c=8", "≥ 5 × the rate of whole logins", fmt.Sprintf("%.0f × (%.0f/s; %.0f µs CPU)", times, p[0].rate, p[0].cpu),
			times >= 5 && p[0].failed+p[1].failed == 0, "",
		},
	}
}

// bareProve verifies a client assertion and a DPoP proof by one key and signs one JWT.
func bareProve(y *yardsticks, key *ecdsa.PrivateKey) http.HandlerFunc {
	sign := bareSign(y, key)
	verify := func(token string, key *ecdsa.PublicKey) bool {
		dot := strings.LastIndexByte(token, '.')
		signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
		digest := sha256.Sum256([]byte(token[:max(dot, 0)]))
		return err == nil && len(signature) == 64 && ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	}
	return func(w http.ResponseWriter, r *http.Request) {
		proof := r.Header.Get("DPoP")
		head, _, _ := strings.Cut(proof, ".")
		raw, err := base64.RawURLEncoding.DecodeString(head)
		var h struct {
			JWK struct{ X, Y string }
		}
		if err != nil || json.Unmarshal(raw, &h) != nil || r.ParseForm() != nil {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		x, errX := base64.RawURLEncoding.DecodeString(h.JWK.X)
		yy, errY := base64.RawURLEncoding.DecodeString(h.JWK.Y)
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), yy...))
		if errX != nil || errY != nil || err != nil || !verify(proof, public) || !verify(r.PostForm.Get("client_assertion"), public) {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		sign(w, r)
	}
}
