// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2etest

import (
	"crypto/sha512"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Granted is what a client has after a request was granted.
type Granted struct {
	// Response are the parameters of the authorization response.
	Response url.Values
	// Answer is that of the token endpoint, nil when the response type has no code.
	Answer *Answer
	// FrontIDToken is the ID token of the authorization response, FrontClaims its claims.
	FrontIDToken string
	FrontClaims  map[string]any
	// IDToken is the newest ID token: of the token endpoint, else of the authorization response.
	IDToken string
	Claims  map[string]any
	// AccessToken is the newest one, of TokenType.
	AccessToken, TokenType string
	// RefreshToken is the refresh token.
	RefreshToken string
}

// Delivered is the authorization response that a page brings to the client, wherever it stands, and where that is: query, fragment or
// form_post. It reports whether there is one.
func (p *Party) Delivered(page *Page) (v url.Values, place string, ok bool) {
	p.t.Helper()
	if page.Stopped != nil {
		if f := page.Stopped.EscapedFragment(); f != "" {
			v, err := url.ParseQuery(f)
			if err != nil {
				p.t.Fatalf("fragment %q: %v", f, err)
			}
			return v, "fragment", true
		}
		return page.Stopped.Query(), "query", true
	}
	for _, f := range page.Forms() {
		if p.Returned(f.Action) && f.Method == http.MethodPost {
			return f.Values, "form_post", true
		}
	}
	return nil, "", false
}

// Response is the authorization response of a request: it must be there, in the place that the response mode says, and signed when the
// mode has a JWT. State and issuer are checked.
func (p *Party) Response(s *Started, page *Page) url.Values {
	p.t.Helper()
	v, place, ok := p.Delivered(page)
	if !ok {
		p.t.Fatalf("the browser is not back at the client but at %v:\n%s", page, page.Text())
	}
	mode := s.Params.Get("response_mode")
	plain, signed := strings.CutSuffix(mode, "jwt")
	plain = strings.TrimSuffix(plain, ".")
	want := plain
	if want == "" {
		want = "query"
		if t := s.Params.Get("response_type"); t != "code" && t != "" {
			want = "fragment"
		}
	}
	if place != want {
		p.t.Fatalf("the response came in the %s, response_mode is %q: %v", place, mode, v)
	}
	if signed {
		v = p.openJARM(v)
	} else if v.Has("response") {
		p.t.Fatalf("a JWT response where response_mode is %q", mode)
	}
	if v.Get("state") != s.Params.Get("state") || v.Has("state") != s.Params.Has("state") {
		p.t.Fatalf("state %q came back as %q", s.Params.Get("state"), v.Get("state"))
	}
	if v.Get("iss") != p.Issuer {
		p.t.Fatalf("iss %q in the response, issuer is %q (RFC 9207)", v.Get("iss"), p.Issuer)
	}
	return v
}

// openJARM verifies a JWT response (JWT Secured Authorization Response Mode section 2.4) and returns its parameters.
func (p *Party) openJARM(v url.Values) url.Values {
	p.t.Helper()
	for name := range v {
		if name != "response" && name != "dummy1" && name != "dummy2" {
			p.t.Errorf("parameter %s beside the signed response", name)
		}
	}
	_, claims, err := VerifyJWS(p.Keys(), v.Get("response"), "ES256", "PS256", "RS256", "EdDSA")
	if err != nil {
		p.t.Fatalf("the signed response %q: %v", v.Get("response"), err)
	}
	if claims["aud"] != p.ID || claims["iss"] != p.Issuer {
		p.t.Errorf("the signed response is of %v for %v", claims["iss"], claims["aud"])
	}
	if exp := Num(claims, "exp"); exp <= time.Now().Unix() || exp > time.Now().Add(11*time.Minute).Unix() {
		p.t.Errorf("the signed response ends in %d s", exp-time.Now().Unix())
	}
	out := url.Values{}
	for k, value := range claims {
		if k != "aud" && k != "exp" && k != "iat" {
			out.Set(k, fmt.Sprint(value))
		}
	}
	return out
}

// Grants is the grant that a page brings: nothing may be missing or wrong. The code is exchanged when there is one.
func (p *Party) Grants(s *Started, page *Page, tw *Twist) *Granted {
	p.t.Helper()
	v := p.Response(s, page)
	if e := v.Get("error"); e != "" {
		p.t.Fatalf("the client got %s: %s", e, v.Get("error_description"))
	}
	g := p.Front(s, v)
	if code := v.Get("code"); code != "" {
		p.Back(s, g, p.Redeem(s, code, tw))
	}
	return g
}

// Front checks what stands in an authorization response.
func (p *Party) Front(s *Started, v url.Values) *Granted {
	p.t.Helper()
	g := &Granted{Response: v, FrontIDToken: v.Get("id_token"), AccessToken: v.Get("access_token"), TokenType: v.Get("token_type")}
	types := strings.Fields(s.Params.Get("response_type"))
	for word, name := range map[string]string{"code": "code", "id_token": "id_token", "token": "access_token"} {
		if v.Has(name) != slices.Contains(types, word) {
			p.t.Errorf("response_type %q and %s: %v", s.Params.Get("response_type"), name, v)
		}
	}
	if g.AccessToken != "" && (!strings.EqualFold(g.TokenType, "bearer") || v.Get("expires_in") == "") {
		p.t.Errorf("token_type %q, expires_in %q (RFC 6749 section 4.2.2)", g.TokenType, v.Get("expires_in"))
	}
	if g.FrontIDToken != "" {
		g.FrontClaims = p.checkIDToken(g.FrontIDToken, s, g.AccessToken, v.Get("code"))
		g.IDToken, g.Claims = g.FrontIDToken, g.FrontClaims
	}
	return g
}

// Redeem exchanges a code.
func (p *Party) Redeem(s *Started, code string, tw *Twist) *Answer {
	p.t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {s.Params.Get("redirect_uri")}}
	if s.Verifier != "" {
		form.Set("code_verifier", s.Verifier)
	}
	return p.Post("token_endpoint", form, tw)
}

// Back checks an answer of the token endpoint to a code, and what it gave against what came with the code.
func (p *Party) Back(s *Started, g *Granted, a *Answer) {
	p.t.Helper()
	p.checkAnswer(a)
	g.Answer = a
	g.AccessToken, g.TokenType, g.RefreshToken = Str(a.JSON, "access_token"), Str(a.JSON, "token_type"), Str(a.JSON, "refresh_token")
	g.IDToken = Str(a.JSON, "id_token")
	if !slices.Contains(strings.Fields(s.Params.Get("scope")), "openid") {
		if g.IDToken != "" {
			p.t.Error("an ID token without scope openid")
		}
		return
	}
	g.Claims = p.checkIDToken(g.IDToken, s, g.AccessToken, "")
	if g.FrontClaims != nil {
		// OpenID Connect Core section 3.3.3.6.
		for _, name := range []string{"iss", "sub", "nonce", "auth_time"} {
			if g.FrontClaims[name] != g.Claims[name] {
				p.t.Errorf("%s is %v in the authorization response's ID token and %v in the token endpoint's", name, g.FrontClaims[name], g.Claims[name])
			}
		}
	}
}

func (p *Party) checkAnswer(a *Answer) {
	p.t.Helper()
	if a.Status != http.StatusOK {
		p.t.Fatalf("token endpoint: %d %s", a.Status, a.Body)
	}
	want := "Bearer"
	if p.DPoP != nil {
		want = "DPoP"
	}
	if !strings.EqualFold(Str(a.JSON, "token_type"), want) || Num(a.JSON, "expires_in") <= 0 {
		p.t.Errorf("token_type %q, expires_in %v", Str(a.JSON, "token_type"), a.JSON["expires_in"])
	}
	if cc := a.Header.Get("Cache-Control"); !strings.Contains(cc, "no-store") {
		p.t.Errorf("Cache-Control %q (RFC 6749 section 5.1)", cc)
	}
	if len(Str(a.JSON, "access_token")) < 32 {
		p.t.Errorf("access token %q", Str(a.JSON, "access_token"))
	}
}

// checkIDToken does what OpenID Connect Core demands of a client in sections 3.1.3.7, 3.2.2.11 and 3.3.2.11.
func (p *Party) checkIDToken(raw string, s *Started, accessToken, code string) map[string]any {
	p.t.Helper()
	algs := []string{p.IDTokenAlg}
	if p.IDTokenAlg == "" {
		algs = []string{"ES256", "RS256", "PS256", "EdDSA"}
	}
	header, claims, err := VerifyJWS(p.Keys(), raw, algs...)
	if err != nil {
		p.t.Fatalf("ID token %q: %v", raw, err)
	}
	now := time.Now().Unix()
	for _, name := range []string{"iss", "sub", "aud", "exp", "iat"} {
		if claims[name] == nil {
			p.t.Errorf("the ID token has no %s", name)
		}
	}
	aud, _ := claims["aud"].([]any)
	if claims["iss"] != p.Issuer || claims["aud"] != p.ID && (len(aud) != 1 || aud[0] != p.ID) {
		p.t.Errorf("the ID token is of %v for %v", claims["iss"], claims["aud"])
	}
	if claims["azp"] != nil && claims["azp"] != p.ID {
		p.t.Errorf("azp %v", claims["azp"])
	}
	if exp, iat := Num(claims, "exp"), Num(claims, "iat"); exp <= now || iat > now+5 || iat < now-60 {
		p.t.Errorf("exp %d, iat %d, it is %d", exp, iat, now)
	}
	if sub := Str(claims, "sub"); sub == "" || len(sub) > 255 {
		p.t.Errorf("sub %q", sub)
	}
	if nonce := s.Params.Get("nonce"); Str(claims, "nonce") != nonce || (claims["nonce"] != nil) != s.Params.Has("nonce") {
		p.t.Errorf("nonce %v, want %q", claims["nonce"], nonce)
	}
	hash := HalfHash
	if header["alg"] == "EdDSA" { // Ed25519 is made with SHA-512
		hash = func(text string) string { sum := sha512.Sum512([]byte(text)); return b64(sum[:32]) }
	}
	front := code != "" || accessToken != "" && !slices.Contains(strings.Fields(s.Params.Get("response_type")), "code")
	for name, of := range map[string]string{"at_hash": accessToken, "c_hash": code} {
		got := Str(claims, name)
		if of != "" && (front || got != "") && got != hash(of) {
			p.t.Errorf("%s is %q, want %q", name, got, hash(of))
		}
	}
	return claims
}

// Refresh sends a refresh token.
func (p *Party) Refresh(token string, more url.Values, tw *Twist) *Answer {
	p.t.Helper()
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	for k, v := range more {
		form[k] = v
	}
	return p.Post("token_endpoint", form, tw)
}

// UserInfo asks the UserInfo endpoint with an access token as the client has it: bound or not.
func (p *Party) UserInfo(token string) *Answer {
	p.t.Helper()
	scheme := "Bearer"
	if p.DPoP != nil {
		scheme = "DPoP"
	}
	return p.Resource(http.MethodGet, scheme, token, nil)
}

// Resource asks the UserInfo endpoint, which is the resource of these tests, with a scheme of the caller's choice.
func (p *Party) Resource(method, scheme, token string, tw *Twist) *Answer {
	p.t.Helper()
	if tw == nil {
		tw = straight
	}
	address := p.Endpoint("userinfo_endpoint")
	once := func() *Answer {
		header := http.Header{"Authorization": {scheme + " " + token}}
		if p.DPoP != nil && !tw.NoProof {
			header.Set("DPoP", p.Proof(method, address, token, tw))
		}
		return p.send(method, address, nil, header, tw)
	}
	a := patiently(once)
	if a.Status == http.StatusUnauthorized && strings.Contains(a.Header.Get("WWW-Authenticate"), "use_dpop_nonce") {
		a = patiently(once)
	}
	return a
}

// Num is At for a whole number; 0 when there is none.
func Num(v any, path ...any) int64 {
	f, _ := At(v, path...).(float64)
	return int64(f)
}
