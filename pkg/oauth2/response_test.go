// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got\n%s", path, got)
	}
}

// Every error body as it goes over the wire, with its status and headers.
func TestErrorBodies(t *testing.T) {
	inner := errors.New("pq: password of tenant hooli is wrong")
	basicRefused := ClientCredentials{header: true}.Refused()
	var b bytes.Buffer
	for _, e := range []*Error{
		InvalidRequest("parameter code is missing"), InvalidClient("client authentication failed"), basicRefused,
		InvalidGrant("code_verifier does not match"), UnauthorizedClient("the client may not use this grant type"), UnsupportedGrantType(),
		UnsupportedResponseType(), InvalidScope("scope is malformed"), AccessDenied("the user said no"), ServerError(inner),
		TemporarilyUnavailable(2*time.Second, inner), InvalidTarget("only one resource at a time"), UnsupportedTokenType(),
		InvalidToken("the access token has expired"), InsufficientScope("openid"), InsufficientScope(`x", realm="evil`),
		{Code: CodeInvalidRequest, Status: 400, URI: "https://docs.example/errors"},
	} {
		fmt.Fprintf(&b, "%d", e.Status)
		if e.Challenge != "" {
			fmt.Fprintf(&b, "\nWWW-Authenticate: %s", e.Challenge)
		}
		if e.RetryAfter != 0 {
			fmt.Fprintf(&b, "\nRetry-After: %d", e.RetryAfter/time.Second)
		}
		fmt.Fprintf(&b, "\n%s\n\n", e.AppendJSON(nil))
	}
	if strings.Contains(b.String(), "hooli") {
		t.Error("a cause is sent")
	}
	golden(t, "errors.txt", b.Bytes())
}

func TestErrorChain(t *testing.T) {
	inner := errors.New("inner")
	e := ServerError(inner)
	wrapped := fmt.Errorf("mint: %w", e)
	if !errors.Is(wrapped, inner) || AsError(wrapped) != e || CodeOf(wrapped) != CodeServerError {
		t.Errorf("chain of %v", wrapped)
	}
	if !strings.Contains(wrapped.Error(), "inner") {
		t.Error("the log lacks the cause")
	}
	if got := AsError(inner); got.Code != CodeServerError || got.Description != "" || !errors.Is(got, inner) {
		t.Errorf("unknown error became %+v", got)
	}
	if AsError(nil) != nil || CodeOf(nil) != "" || CodeOf(inner) != "" {
		t.Error("nil or a foreign error")
	}
	redirect := &RedirectError{Err: e, RedirectURI: "https://a.example/cb"}
	if AsError(redirect) != e || !errors.Is(redirect, inner) {
		t.Error("RedirectError does not unwrap")
	}
	page := NewPageError(CodeInvalidRequest, "no", nil, inner)
	if !errors.Is(page, inner) || !strings.Contains(page.Error(), "inner") {
		t.Error("PageError does not unwrap")
	}
	if got := NewError("x", 400, "a\"b\\c\r\nd\u00e9").Description; got != "a b c  d  " {
		t.Errorf("description %q (RFC 6749 section 5.2)", got)
	}
	raw, err := json.Marshal(InvalidScope("no"))
	if err != nil || string(raw) != `{"error":"invalid_scope","error_description":"no"}` {
		t.Errorf("MarshalJSON = %s, %v", raw, err)
	}
}

func TestLocation(t *testing.T) {
	const state = "a&b=c d#e%\u00e9\"<>"
	for _, tc := range []struct{ name, uri, mode, want string }{
		{"query", "https://a.example/cb", ResponseModeQuery, "https://a.example/cb?code=x&state="},
		{"by default query", "https://a.example/cb", "", "https://a.example/cb?code=x&state="},
		{"query is kept (RFC 6749 section 3.1.2)", "https://a.example/cb?dummy1=lorem", ResponseModeQuery, "https://a.example/cb?dummy1=lorem&code=x&state="},
		{"empty query", "https://a.example/cb?", ResponseModeQuery, "https://a.example/cb?code=x&state="},
		{"fragment", "https://a.example/cb?q=1", ResponseModeFragment, "https://a.example/cb?q=1#code=x&state="},
		{"private-use", "com.example.app:/cb", ResponseModeQuery, "com.example.app:/cb?code=x&state="},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := CodeResponse(tc.uri, tc.mode, "x", state, "https://iss.example")
			got := r.Location()
			if !strings.HasPrefix(got, tc.want) {
				t.Fatalf("got %s", got)
			}
			u, err := url.Parse(got)
			if err != nil {
				t.Fatal(err)
			}
			raw := u.RawQuery
			if tc.mode == ResponseModeFragment {
				_, raw, _ = strings.Cut(got, "#")
			}
			q, err := url.ParseQuery(raw)
			if err != nil || q.Get("state") != state || q.Get("iss") != "https://iss.example" || q.Get("code") != "x" {
				t.Errorf("reads back as %v, %v", q, err)
			}
		})
	}
	form := CodeResponse("https://a.example/cb?x=1", ResponseModeFormPost, "x", "s", "https://iss.example")
	if got := form.Location(); got != "https://a.example/cb?x=1" {
		t.Errorf("form_post action %s", got)
	}
	if len(form.Params) != 3 {
		t.Errorf("form fields %q", form.Params)
	}
	if got := CodeResponse("https://a.example", "", "x", "", "").Location(); got != "https://a.example?code=x" {
		t.Errorf("no state: %s", got)
	}
}

// A client that talks to several issuers must see whose error it is (RFC 9207 section 2, mix-up).
func TestErrorResponseHasIssuer(t *testing.T) {
	e := &RedirectError{Err: InvalidScope("no"), RedirectURI: "https://a.example/cb", State: "s", Issuer: "https://iss.example"}
	want := "https://a.example/cb?error=invalid_scope&error_description=no&state=s&iss=https%3A%2F%2Fiss.example"
	if got := e.Response().Location(); got != want {
		t.Errorf("got %s", got)
	}
}

func TestTokenResponse(t *testing.T) {
	full := TokenResponse{AccessToken: "at", ExpiresIn: 10*time.Minute + 900*time.Millisecond, RefreshToken: "rt", IDToken: "it", Scope: "openid a"}
	if got, want := string(full.AppendJSON(nil)),
		`{"access_token":"at","token_type":"Bearer","expires_in":600,"refresh_token":"rt","id_token":"it","scope":"openid a"}`; got != want {
		t.Errorf("got %s", got)
	}
	least := TokenResponse{AccessToken: "at"}
	if got, want := string(least.AppendJSON(nil)), `{"access_token":"at","token_type":"Bearer","expires_in":0}`; got != want {
		t.Errorf("got %s", got)
	}
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { buf = full.AppendJSON(buf[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestParseBearer(t *testing.T) {
	for _, tc := range []struct {
		name, header, body, want, code string
		status                         int
	}{
		{"header", "Bearer a.b-c_d~e+f/g==", "", "a.b-c_d~e+f/g==", "", 0},
		{"scheme in another case", "bearer abc", "", "abc", "", 0},
		{"body (RFC 6750 section 2.2)", "", "access_token=abc", "abc", "", 0},
		{"both", "Bearer abc", "access_token=abc", "", CodeInvalidRequest, 400},
		{"none", "", "", "", CodeInvalidToken, 401},
		{"other scheme", "Basic YTpi", "", "", CodeInvalidToken, 401},
		{"empty", "Bearer ", "", "", CodeInvalidToken, 401},
		{"only padding is fine as text, characters are not", "Bearer a b", "", "", CodeInvalidToken, 401},
		{"quote", `Bearer a"b`, "", "", CodeInvalidToken, 401},
		{"padding inside", "Bearer a=b", "", "", CodeInvalidToken, 401},
		{"too long", "Bearer " + strings.Repeat("a", MaxTokenBytes+1), "", "", CodeInvalidToken, 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, _, err := ParseBearer(tc.header, mustParams(t, tc.body))
			if got != tc.want || CodeOf(err) != tc.code {
				t.Fatalf("got %q, %v", got, err)
			}
			if err != nil {
				if e := AsError(err); e.Status != tc.status || !strings.HasPrefix(e.Challenge, "Bearer ") {
					t.Errorf("status %d, challenge %q", e.Status, e.Challenge)
				}
			}
		})
	}
	// RFC 6750 section 3.1: a request without a token gets no error code in the challenge.
	_, _, err := ParseBearer("", Params{})
	if c := AsError(err).Challenge; strings.Contains(c, "error") {
		t.Errorf("challenge %q", c)
	}
}
