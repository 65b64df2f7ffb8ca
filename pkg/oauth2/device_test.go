// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"
	"time"
)

func TestUserCode(t *testing.T) {
	seen := map[rune]int{}
	for range 4000 {
		code, err := NewUserCode(rand.Reader)
		if err != nil || len(code) != UserCodeLen {
			t.Fatalf("%q, %v", code, err)
		}
		for _, r := range code {
			seen[r]++
		}
		for _, typed := range []string{code, FormatUserCode(code), strings.ToLower(FormatUserCode(code)), " " + code[:4] + " – " + code[4:] + " "} {
			if got, ok := ParseUserCode(typed); !ok || got != code {
				t.Fatalf("%q is read as %q", typed, got)
			}
		}
	}
	if len(seen) != len(userCodeAlphabet) {
		t.Errorf("%d letters, want %d", len(seen), len(userCodeAlphabet))
	}
	for r, n := range seen { // 1,600 of each are expected, with a deviation of 39
		if n < 1300 || n > 1900 {
			t.Errorf("%c comes %d times in 32,000", r, n)
		}
	}
	// Bytes that would prefer some letters are drawn again, and a source that ends is an error.
	code, err := NewUserCode(io.MultiReader(bytes.NewReader(bytes.Repeat([]byte{255}, 16)), bytes.NewReader(make([]byte, 16))))
	if err != nil || code != "BBBBBBBB" {
		t.Errorf("%q, %v", code, err)
	}
	if _, err := NewUserCode(strings.NewReader("short")); err == nil {
		t.Error("a code of a source that ended")
	}
	for _, typed := range []string{"", "BCDFGHJ", "BCDFGHJKL", "BCDFGHJA", "BCDF1234", "BCDFGHJ\u0132", "BCDF/GHJK", strings.Repeat("-", 57) + "BCDFGHJK", strings.Repeat("B", 1000)} {
		if got, ok := ParseUserCode(typed); ok {
			t.Errorf("%q is read as %q", typed, got)
		}
	}
}

func TestDeviceAuthorizationResponse(t *testing.T) {
	r := DeviceAuthorizationResponse{
		DeviceCode: "dc", UserCode: "BCDFGHJK", VerificationURI: "https://x/d", VerificationURIComplete: "https://x/d?user_code=BCDF-GHJK",
		ExpiresIn: 90*time.Second + 900*time.Millisecond, Interval: 5 * time.Second,
	}
	want := `{"device_code":"dc","user_code":"BCDF-GHJK","verification_uri":"https://x/d","verification_uri_complete":"https://x/d?user_code=BCDF-GHJK","expires_in":90,"interval":5}`
	if got := string(r.AppendJSON(nil)); got != want {
		t.Errorf("%s", got)
	}
}

func FuzzParseUserCode(f *testing.F) {
	for _, s := range []string{"BCDF-GHJK", "bcdfghjk", "b c d f g h j k", "", "\xff", "BCDF\u2013GHJK"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		code, ok := ParseUserCode(s)
		if !ok {
			return
		}
		if again, ok := ParseUserCode(FormatUserCode(code)); !ok || again != code || len(code) != UserCodeLen {
			t.Errorf("%q: %q, then %q", s, code, again)
		}
	})
}

func exchangeParams(t *testing.T, edit map[string]string) Params {
	t.Helper()
	all := map[string]string{ParamSubjectToken: "st", ParamSubjectTokenType: TokenTypeURNAccessToken}
	maps.Copy(all, edit)
	var p Params
	for k, v := range all {
		p = p.With(k, v)
	}
	return p
}

func TestParseTokenExchange(t *testing.T) {
	for name, c := range map[string]struct {
		edit map[string]string
		want TokenExchange
		code string
	}{
		"least":               {nil, TokenExchange{SubjectToken: "st"}, ""},
		"all":                 {map[string]string{ParamSubjectTokenType: TokenTypeURNJWT, ParamActorToken: "at", ParamActorTokenType: TokenTypeURNAccessToken, ParamResource: "r", ParamAudience: "r", ParamRequestedTokenType: TokenTypeURNAccessToken}, TokenExchange{SubjectToken: "st", ActorToken: "at", Target: "r"}, ""},
		"audience alone":      {map[string]string{ParamAudience: "a"}, TokenExchange{SubjectToken: "st", Target: "a"}, ""},
		"tenant":              {map[string]string{ParamTenant: "tnt_x"}, TokenExchange{SubjectToken: "st", Tenant: "tnt_x"}, ""},
		"no subject":          {map[string]string{ParamSubjectToken: ""}, TokenExchange{}, CodeInvalidRequest},
		"no type":             {map[string]string{ParamSubjectTokenType: ""}, TokenExchange{}, CodeInvalidRequest},
		"a refresh token":     {map[string]string{ParamSubjectTokenType: TokenTypeURNRefreshToken}, TokenExchange{}, CodeInvalidRequest},
		"actor without type":  {map[string]string{ParamActorToken: "at"}, TokenExchange{}, CodeInvalidRequest},
		"type without actor":  {map[string]string{ParamActorTokenType: TokenTypeURNAccessToken}, TokenExchange{}, CodeInvalidRequest},
		"wants refresh":       {map[string]string{ParamRequestedTokenType: TokenTypeURNRefreshToken}, TokenExchange{}, CodeInvalidRequest},
		"wants something":     {map[string]string{ParamRequestedTokenType: "urn:x"}, TokenExchange{}, CodeInvalidRequest},
		"two targets":         {map[string]string{ParamResource: "r", ParamAudience: "a"}, TokenExchange{}, CodeInvalidTarget},
		"an actor and tenant": {map[string]string{ParamActorToken: "at", ParamActorTokenType: TokenTypeURNJWT, ParamTenant: "tnt_x"}, TokenExchange{}, CodeInvalidRequest},
	} {
		got, err := ParseTokenExchange(exchangeParams(t, c.edit))
		if CodeOf(err) != c.code || err == nil && got != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestActors(t *testing.T) {
	var act json.RawMessage
	for i, want := range []string{
		`{"sub":"a0"}`, `{"sub":"a1","act":{"sub":"a0"}}`, `{"sub":"a2","act":{"sub":"a1","act":{"sub":"a0"}}}`,
	} {
		next, err := AppendActor(act, fmt.Sprintf("a%d", i), fmt.Sprintf("a%d", i))
		if err != nil || string(next) != want {
			t.Fatalf("%s, %v", next, err)
		}
		act = next
	}
	if again, err := AppendActor(act, "a2", "a2"); err != nil || string(again) != string(act) {
		t.Errorf("the current actor again: %s, %v", again, err)
	}
	if user, err := AppendActor(nil, "uid_1", "cli_1"); err != nil || string(user) != `{"sub":"uid_1","client_id":"cli_1"}` {
		t.Errorf("a user at a client: %s, %v", user, err)
	}
	for i := 3; i < MaxActors; i++ {
		var err error
		if act, err = AppendActor(act, fmt.Sprintf("a%d", i), "c"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := AppendActor(act, "one more", "c"); !errors.Is(err, ErrActor) {
		t.Errorf("six actors: %v", err)
	}
	for name, before := range map[string]string{
		"no object": `"a"`, "no sub": `{"client_id":"c"}`, "broken": `{`, "a number": `{"sub":1}`, "inside": `{"sub":"a","act":{"x":1}}`,
		"deep": strings.Repeat(`{"sub":"a","act":`, 40) + `{"sub":"a"}` + strings.Repeat("}", 40), "long": `{"sub":"` + strings.Repeat("a", 3000) + `"}`,
	} {
		if _, err := AppendActor(json.RawMessage(before), "s", "c"); !errors.Is(err, ErrActor) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := AppendActor(nil, "", "c"); !errors.Is(err, ErrActor) {
		t.Error("an actor without a name")
	}
}

func TestMayAct(t *testing.T) {
	for claim, want := range map[string]bool{
		``: true, `{"sub":"s"}`: true, `{"sub":["x","s"]}`: true, `{"client_id":"c"}`: true, `{"sub":"s","client_id":"c"}`: true,
		`{}`: false, `null`: false, `[]`: false, `{"sub":"x"}`: false, `{"sub":[]}`: false, `{"sub":"s","client_id":"x"}`: false, `{"sub":"s","iss":"i"}`: false,
		`{"sub":{"a":1}}`: false, `{`: false, `{"sub":"s","x":"` + strings.Repeat("a", 3000) + `"}`: false,
	} {
		if got := MayAct(json.RawMessage(claim), "s", "c"); got != want {
			t.Errorf("%s: %t", claim, got)
		}
	}
}

func FuzzActors(f *testing.F) {
	for _, s := range []string{"", `{"sub":"a"}`, `{"sub":"a","client_id":"b","act":{"sub":"c"}}`, `{"sub":"a","act":null}`, "\xff", `{"sub":["s"],"client_id":"c"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		MayAct(raw, "s", "c")
		act, err := AppendActor(raw, "s", "c")
		if err != nil {
			return
		}
		if n, head, err := actors(act); err != nil || n < 1 || n > MaxActors || head.Subject != "s" {
			t.Errorf("%s: %d actors, first %q, %v", act, n, head.Subject, err)
		}
	})
}

func TestGrantAssertion(t *testing.T) {
	now := time.Date(2026, 11, 20, 22, 0, 0, 0, time.UTC)
	good := fmt.Sprintf(`{"iss":"i","sub":"s","jti":"j","aud":["x","me"],"iat":%d,"exp":%d.9,"auth_time":1}`, now.Unix(), now.Unix()+60)
	a, err := ParseGrantAssertion([]byte(good))
	if err != nil || !a.ExpireTime.Truncate(time.Second).Equal(now.Add(time.Minute)) || a.AuthTime.Unix() != 1 || a.Check("i", []string{"me"}, now) != nil {
		t.Fatalf("%+v, %v", a, err)
	}
	for _, text := range []string{
		``, `[]`, `{"iss":"i","sub":"s"}`, strings.Replace(good, `"iss"`, `"ISS"`, 1), strings.Replace(good, `{`, `{"iss":"x",`, 1), good + `{}`, `{"iss":1}`, strings.Replace(good, `"j"`, `"`+strings.Repeat("j", 600)+`"`, 1), strings.Replace(good, `"s"`, `"s\u0000"`, 1),
		strings.Replace(good, `"auth_time":1`, `"auth_time":"1"`, 1), strings.Replace(good, `"auth_time":1`, `"auth_time":-1`, 1),
		strings.Replace(good, `"auth_time":1`, `"auth_time":1e300`, 1), strings.Replace(good, `["x","me"]`, `{"a":1}`, 1),
	} {
		if _, err := ParseGrantAssertion([]byte(text)); !errors.Is(err, ErrAssertion) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if err := a.Check("i", []string{"me"}, a.ExpireTime); !errors.Is(err, ErrAssertionExpired) || !errors.Is(err, ErrAssertion) {
		t.Errorf("expired: %v", err)
	}
	for name, err := range map[string]error{
		"no issuer": a.Check("", []string{"me"}, now), "another issuer": a.Check("x", []string{"me"}, now), "another audience": a.Check("i", []string{"you"}, now),
		"no audience": a.Check("i", nil, now), "too long": a.Check("i", []string{"me"}, now.Add(-2*time.Hour)), "from the future": a.Check("i", []string{"me"}, now.Add(-time.Minute)),
	} {
		if !errors.Is(err, ErrAssertion) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := AssertionIssuer("e30.eyJpc3MiOiJpIn0.x"); got != "i" {
		t.Errorf("issuer %q", got)
	}
	for _, text := range []string{"", "a", "a.b", "a.!.c", "a.e30.c", "a.W10.c", strings.Repeat("a", MaxGrantAssertionBytes+1)} {
		if got := AssertionIssuer(text); got != "" {
			t.Errorf("%.20q: issuer %q", text, got)
		}
	}
}

func FuzzGrantAssertion(f *testing.F) {
	for _, s := range []string{`{"iss":"i","sub":"s","jti":"j","aud":"me","iat":1,"exp":2}`, `{}`, `{"aud":[1]}`, "a.eyJpc3MiOiJpIn0.c"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		AssertionIssuer(string(raw))
		a, err := ParseGrantAssertion(raw)
		if err != nil {
			if !errors.Is(err, ErrAssertion) {
				t.Errorf("%v", err)
			}
			return
		}
		if a.Issuer == "" || a.Subject == "" || a.ID == "" {
			t.Errorf("%+v", a)
		}
		if a.Check(a.Issuer, a.Audience, time.Unix(1, 0)) == nil && a.ExpireTime.IsZero() {
			t.Error("an assertion that never ends")
		}
	})
}

func FuzzBackchannelObject(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	f.Add([]byte(`{"iss":"c","aud":"i","jti":"j","iat":1800000000,"nbf":1800000000,"exp":1800000060,"scope":"openid","login_hint":"a","requested_expiry":9}`))
	f.Add([]byte(`{"iss":"c","aud":["i"],"jti":"j","iat":1800000000,"nbf":1800000000,"exp":1800000060,"authorization_details":[{"type":"x"}],"binding_message":"\u202e"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := ParseBackchannelObject(raw, "c", "i", now)
		if err != nil {
			if CodeOf(err) != CodeInvalidRequest {
				t.Errorf("%v", err)
			}
			return
		}
		if o.ID == "" || !o.ExpireTime.After(now) || o.ExpireTime.Sub(now) > maxRequestObjectLife+backchannelSkew {
			t.Errorf("%+v", o)
		}
		r, err := ParseBackchannelRequest(o.Params, &Client{Protocol: Protocol{DeliveryMode: DeliveryPing}})
		if err == nil && (r.HintKind == 0 || r.NotificationToken == "" || !showable(r.BindingMessage)) {
			t.Errorf("%+v", r)
		}
	})
}

func TestBindingMessages(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, "W4SCT": true, "1234": true, "Überweisung: 250 € an Piper (Müller & Söhne) #42!": true, "支払い": true, strings.Repeat("ä", 100): true,
		strings.Repeat("ä", 101): false, "a\u202eb": false, "a\u200bb": false, "<b>": false, " a": false, "a ": false, "a\u00a0b": false, "\U0001F600": false, "a\x00": false, "\xff": false,
	} {
		if got := showable(text); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}
