// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
)

func TestNext(t *testing.T) {
	gavin, other := id.NewUser(), id.NewUser()
	third := newClient(t)
	first := newClient(t)
	first.FirstParty = true
	native := newClient(t)
	native.Kind, native.Public = oauth2.KindNative, true
	native.RedirectURIs = append(native.RedirectURIs, redirects(t, oauth2.RedirectRules{Native: true}, "com.example.app:/cb")...)
	appScheme := map[string]string{"redirect_uri": "com.example.app:/cb"}

	at := func(d time.Duration) SessionState {
		return SessionState{Present: true, UserID: gavin, SessionID: id.NewSession(), AuthTime: created.Add(d), ACR: ACRPassword}
	}
	yes := func(d time.Duration, scopes ...string) ConsentState {
		return ConsentState{Scopes: scopes, GrantedAt: created.Add(d)}
	}
	selected := func(s SessionState) SessionState { s.Selected = true; return s }
	details := map[string]string{"authorization_details": `[{"type":"payment"}]`}
	none := SessionState{}
	now := created.Add(5 * time.Minute)

	for _, tc := range []struct {
		name    string
		client  *oauth2.Client
		change  map[string]string
		hint    string
		session SessionState
		consent ConsentState
		want    Step
		code    string
	}{
		{"not logged in", first, nil, "", none, ConsentState{}, StepLogin, ""},
		{"logged in, first party", first, nil, "", at(-time.Hour), ConsentState{}, StepIssue, ""},
		{"logged in, third party", third, nil, "", at(-time.Hour), ConsentState{}, StepConsent, ""},
		{"consented before", third, nil, "", at(-time.Hour), yes(-time.Hour, "openid"), StepIssue, ""},
		{"consented to less (scope upgrade)", third, map[string]string{"scope": "openid email"}, "", at(-time.Hour), yes(-time.Hour, "openid"), StepConsent, ""},
		{"consented to more", third, nil, "", at(-time.Hour), yes(-time.Hour, "email", "openid"), StepIssue, ""},
		{"no scopes at all, never consented", third, map[string]string{"scope": ""}, "", at(-time.Hour), ConsentState{}, StepConsent, ""},

		{"none, not logged in", first, map[string]string{"prompt": "none"}, "", none, ConsentState{}, StepError, CodeLoginRequired},
		{"none, logged in", first, map[string]string{"prompt": "none"}, "", at(-time.Hour), ConsentState{}, StepIssue, ""},
		{"none, consented", third, map[string]string{"prompt": "none"}, "", at(-time.Hour), yes(-time.Hour, "openid"), StepIssue, ""},
		{"none, not consented", third, map[string]string{"prompt": "none"}, "", at(-time.Hour), ConsentState{}, StepError, CodeConsentRequired},
		{"none, login too old", first, map[string]string{"prompt": "none", "max_age": "60"}, "", at(-time.Hour), ConsentState{}, StepError, CodeLoginRequired},

		{"login, old session", first, map[string]string{"prompt": "login"}, "", at(-time.Millisecond), ConsentState{}, StepLogin, ""},
		{"login, old session of the same second", first, map[string]string{"prompt": "login"}, "", at(-time.Microsecond), ConsentState{}, StepLogin, ""},
		{"login, done", first, map[string]string{"prompt": "login"}, "", at(time.Second), ConsentState{}, StepIssue, ""},
		{"login, done at the same instant", first, map[string]string{"prompt": "login"}, "", at(0), ConsentState{}, StepIssue, ""},
		{"select_account, nobody to choose", first, map[string]string{"prompt": "select_account"}, "", none, ConsentState{}, StepLogin, ""},
		{"select_account", first, map[string]string{"prompt": "select_account"}, "", at(-time.Hour), ConsentState{}, StepSelect, ""},
		{"select_account, chosen", first, map[string]string{"prompt": "select_account"}, "", selected(at(-time.Hour)), ConsentState{}, StepIssue, ""},
		{"select_account, another one came in", first, map[string]string{"prompt": "select_account"}, "", at(time.Second), ConsentState{}, StepIssue, ""},
		{"select_account, login too old", first, map[string]string{"prompt": "select_account", "max_age": "60"}, "", selected(at(-time.Hour)), ConsentState{}, StepLogin, ""},
		{"login select_account, chosen", first, map[string]string{"prompt": "login select_account"}, "", selected(at(-time.Hour)), ConsentState{}, StepLogin, ""},

		{"details, first party", first, details, "", at(-time.Hour), ConsentState{}, StepConsent, ""},
		{"details, consented before", third, details, "", at(-time.Hour), yes(-time.Hour, "openid"), StepConsent, ""},
		{"details, a yes to another request since", third, details, "", at(-time.Hour), yes(time.Second, "openid"), StepConsent, ""},
		{"details, a yes to this request", third, details, "", at(-time.Hour), ConsentState{Answered: true}, StepIssue, ""},
		{"details, none", first, map[string]string{"prompt": "none", "authorization_details": details["authorization_details"]}, "", at(-time.Hour), ConsentState{}, StepError, CodeConsentRequired},
		{"create, not logged in", first, map[string]string{"prompt": "create"}, "", none, ConsentState{}, StepRegister, ""},
		{"create, logged in before", first, map[string]string{"prompt": "create"}, "", at(-time.Hour), ConsentState{}, StepRegister, ""},
		{"create, done", first, map[string]string{"prompt": "create"}, "", at(time.Second), ConsentState{}, StepIssue, ""},

		{"max_age, young enough", first, map[string]string{"max_age": "10000"}, "", at(-time.Hour), ConsentState{}, StepIssue, ""},
		{"max_age, too old", first, map[string]string{"max_age": "60"}, "", at(-time.Hour), ConsentState{}, StepLogin, ""},
		{"max_age exactly", first, map[string]string{"max_age": "3900"}, "", at(-time.Hour), ConsentState{}, StepIssue, ""},
		{"max_age one less", first, map[string]string{"max_age": "3899"}, "", at(-time.Hour), ConsentState{}, StepLogin, ""},
		{"max_age 0 is prompt=login", first, map[string]string{"max_age": "0"}, "", at(-time.Nanosecond * 1000), ConsentState{}, StepLogin, ""},
		{"max_age 0, done, however long the consent took", first, map[string]string{"max_age": "0"}, "", at(time.Second), ConsentState{}, StepIssue, ""},
		{"max_age 1, done, however long the consent took", third, map[string]string{"max_age": "1"}, "", at(time.Second), yes(4*time.Minute, "openid"), StepIssue, ""},

		{"consent again", third, map[string]string{"prompt": "consent"}, "", at(-time.Hour), yes(-time.Second, "openid"), StepConsent, ""},
		{"consent again, done", third, map[string]string{"prompt": "consent"}, "", at(-time.Hour), yes(time.Second, "openid"), StepIssue, ""},
		{"consent again, first party", first, map[string]string{"prompt": "consent"}, "", at(-time.Hour), ConsentState{}, StepConsent, ""},
		{"login and consent, only login done", third, map[string]string{"prompt": "login consent"}, "", at(time.Second), yes(-time.Hour, "openid"), StepConsent, ""},
		{"login and consent, only consent done", third, map[string]string{"prompt": "login consent"}, "", at(-time.Hour), yes(time.Second, "openid"), StepLogin, ""},

		{"hint of the same user", first, map[string]string{"prompt": "none"}, gavin.String(), at(-time.Hour), ConsentState{}, StepIssue, ""},
		{"hint of another user, none", first, map[string]string{"prompt": "none"}, other.String(), at(-time.Hour), ConsentState{}, StepError, CodeLoginRequired},
		{"hint of another user, old session", first, nil, other.String(), at(-time.Hour), ConsentState{}, StepLogin, ""},
		{"hint of another user, just logged in (account swap)", first, nil, other.String(), at(time.Second), ConsentState{}, StepError, CodeLoginRequired},
		{"claims ask for another sub", first, map[string]string{"claims": `{"id_token":{"sub":{"value":"uid_x"}}}`}, "", at(time.Second), ConsentState{}, StepError, CodeLoginRequired},
		{"claims ask for this sub", first, map[string]string{"claims": `{"id_token":{"sub":{"value":"` + gavin.String() + `"}}}`}, "", at(-time.Hour), ConsentState{}, StepIssue, ""},

		{"essential acr reached", first, map[string]string{"claims": `{"id_token":{"acr":{"essential":true,"values":["x","` + ACRPassword + `"]}}}`}, "", at(-time.Hour), ConsentState{}, StepIssue, ""},
		{"essential acr not reached, old session", first, map[string]string{"claims": `{"id_token":{"acr":{"essential":true,"value":"` + ACRMFA + `"}}}`}, "", at(-time.Hour), ConsentState{}, StepLogin, ""},
		{"essential acr not reached after login", first, map[string]string{"claims": `{"id_token":{"acr":{"essential":true,"value":"` + ACRMFA + `"}}}`}, "", at(time.Second), ConsentState{}, StepError, CodeUnmetAuthenticationRequirements},
		{"voluntary acr not reached", first, map[string]string{"claims": `{"id_token":{"acr":{"value":"` + ACRMFA + `"}}}`}, "", at(-time.Hour), ConsentState{}, StepIssue, ""},
		{"acr_values is a wish", first, map[string]string{"acr_values": ACRMFA}, "", at(-time.Hour), ConsentState{}, StepIssue, ""},

		{"client impersonation on the device (RFC 8252 section 8.6)", native, appScheme, "", at(-time.Hour), yes(-time.Hour, "openid"), StepConsent, ""},
		{"native, consented now", native, appScheme, "", at(-time.Hour), yes(time.Second, "openid"), StepIssue, ""},
		{"native by claimed https", native, nil, "", at(-time.Hour), yes(-time.Hour, "openid"), StepIssue, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := parse(t, tc.client, tc.change)
			r.HintSubject = tc.hint
			step, err := Next(r, tc.client, tc.session, tc.consent, now)
			if step != tc.want || oauth2.CodeOf(err) != tc.code {
				t.Fatalf("got %v, %v; want %v %s", step, err, tc.want, tc.code)
			}
			if (step == StepError) != (err != nil) {
				t.Errorf("step %v with error %v", step, err)
			}
			if redirect, ok := errors.AsType[*oauth2.RedirectError](err); err != nil && (!ok || redirect.Issuer != issuer) {
				t.Errorf("error %#v", err)
			}
		})
	}
}

// max_age=0 asks for a login even when the clock has not moved since the last one, or runs behind on this replica.
func TestMaxAgeZeroOnAStandingClock(t *testing.T) {
	c := newClient(t)
	c.FirstParty = true
	r := parse(t, c, map[string]string{"max_age": "0"})
	s := SessionState{Present: true, UserID: id.NewUser(), AuthTime: created.Add(-time.Microsecond)}
	if step, err := Next(r, c, s, ConsentState{}, s.AuthTime.Add(-time.Second)); step != StepLogin {
		t.Errorf("%v, %v", step, err)
	}
}

// A pairwise subject is what the client knows, so it is what a hint is compared with.
func TestNextWithPairwiseSubject(t *testing.T) {
	c := newClient(t)
	c.FirstParty = true
	s := SessionState{Present: true, UserID: id.NewUser(), Subject: "pwu_1", AuthTime: created.Add(-time.Hour)}
	r := parse(t, c, map[string]string{"prompt": "none"})
	r.HintSubject = "pwu_1"
	if step, err := Next(r, c, s, ConsentState{}, created); step != StepIssue {
		t.Errorf("%v, %v", step, err)
	}
	r.HintSubject = s.UserID.String()
	if step, _ := Next(r, c, s, ConsentState{}, created); step != StepError {
		t.Errorf("the internal id passes for the subject: %v", step)
	}
}

// Every path that a user can take ends: logging in and consenting once is enough, whatever the request asks.
func TestNextEnds(t *testing.T) {
	for _, prompt := range []string{"", "login", "consent", "create", "select_account", "login consent", "create consent", "login consent create select_account"} {
		for _, maxAge := range []string{"", "0", "1"} {
			c := newClient(t)
			r := parse(t, c, map[string]string{"prompt": prompt, "max_age": maxAge})
			now := created
			var s SessionState
			var consent ConsentState
			var path []Step
			for len(path) < 6 {
				step, err := Next(r, c, s, consent, now)
				if err != nil {
					t.Fatal(err)
				}
				path = append(path, step)
				if step == StepIssue {
					break
				}
				now = now.Add(time.Hour)
				switch step {
				case StepSelect:
					s.Selected = true
				case StepLogin, StepRegister:
					s = SessionState{Present: true, UserID: id.NewUser(), AuthTime: now}
				case StepConsent:
					consent = ConsentState{Scopes: r.Scopes, GrantedAt: now}
				default:
					t.Fatalf("step %v without an error", step)
				}
			}
			if len(path) != 3 || path[1] != StepConsent || path[2] != StepIssue || !slices.Contains([]Step{StepLogin, StepRegister}, path[0]) {
				t.Errorf("prompt %q, max_age %q: %v", prompt, maxAge, path)
			}
		}
	}
}

func TestStepNames(t *testing.T) {
	var names []string
	for s := StepError; s <= StepIssue; s++ {
		names = append(names, s.String())
	}
	if !slices.Equal(names, []string{"error", "login", "register", "select_account", "consent", "issue"}) {
		t.Errorf("%q", names)
	}
}

func TestParsePrompt(t *testing.T) {
	for in, want := range map[string]PromptSet{
		"": 0, "none": PromptNone, "consent login": PromptLogin | PromptConsent, " login  login ": PromptLogin,
		"create select_account": PromptCreate | PromptSelectAccount,
	} {
		got, err := ParsePrompt(in)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
		if again, err := ParsePrompt(got.String()); err != nil || again != got {
			t.Errorf("%q prints as %q", in, got)
		}
	}
	for _, in := range []string{"None", "none none login", "login none", "x", "login,consent"} {
		if _, err := ParsePrompt(in); oauth2.CodeOf(err) != oauth2.CodeInvalidRequest {
			t.Errorf("%q: %v", in, err)
		}
	}
}
