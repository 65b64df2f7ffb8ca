// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"slices"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
)

// SessionState is what is known of the browser's login at this tenant.
type SessionState struct {
	// Present is true when there is a valid session; the rest counts only then.
	Present bool
	// UserID is who is logged in.
	UserID id.User
	// Subject is the `sub` that this client knows the user by, when it is not the text of UserID (pairwise subjects).
	Subject string
	// SessionID is the session.
	SessionID id.Session
	// AuthTime is when the user last proved who they are, to the microsecond or finer: cut to seconds, a login just before the
	// request could pass for one that the request asked for.
	AuthTime time.Time
	// ACR is the class of that login.
	ACR string
	// Selected is true when this user has been chosen for this request on the page that prompt=select_account asks for.
	Selected bool
}

func (s SessionState) subject() string {
	if s.Subject != "" {
		return s.Subject
	}
	return s.UserID.String()
}

// ConsentState is what the user has already allowed the client.
type ConsentState struct {
	// Scopes are the scopes consented to.
	Scopes oauth2.Scopes
	// GrantedAt is when the user last said yes; zero for never.
	GrantedAt time.Time
	// Answered is true when this user has said yes to this very request. authorization_details need it: they are about one occasion, and
	// a yes to another request of the client, in another tab, says nothing of them (RFC 9396 section 11.2).
	Answered bool
}

// Step is what /authorize does next.
type Step int

// The steps.
const (
	StepError    Step = iota // answer the client with the error
	StepLogin                // show the login page
	StepRegister             // show the registration page
	StepSelect               // show the page where the user chooses an account
	StepConsent              // show the consent page
	StepIssue                // issue a code
)

// String names the step, for logs.
func (s Step) String() string {
	switch s {
	case StepLogin:
		return "login"
	case StepRegister:
		return "register"
	case StepSelect:
		return "select_account"
	case StepConsent:
		return "consent"
	case StepIssue:
		return "issue"
	default:
		return "error"
	}
}

// Next decides what happens to an authorization request: a pure function of the request, the session and the consent, asked anew
// after every page. With StepError the error is a *oauth2.RedirectError; otherwise it is nil.
//
// That a page was passed is never believed but seen: prompt=login is satisfied by a login not older than the request, and
// prompt=consent by a consent not older than it. So a request cannot be replayed past a page by editing the URL, and a user who
// thinks long on the consent page is not sent to the login again.
func Next(r *AuthorizationRequest, c *oauth2.Client, s SessionState, consent ConsentState, now time.Time) (Step, error) {
	step, err := r.next(c, s, consent, now)
	if err != nil {
		return StepError, r.Fail(err)
	}
	if step == StepIssue || !r.Prompt.Has(PromptNone) {
		return step, nil
	}
	// prompt=none: what would be a page is an error (OpenID Connect Core section 3.1.2.1).
	if step == StepConsent {
		return StepError, r.Fail(protocolError(CodeConsentRequired, "the user has to consent"))
	}
	return StepError, r.Fail(protocolError(CodeLoginRequired, "the user has to log in"))
}

func (r *AuthorizationRequest) next(c *oauth2.Client, s SessionState, consent ConsentState, now time.Time) (Step, *oauth2.Error) {
	fresh := s.Present && r.since(s.AuthTime)
	if !fresh && r.needsLogin(s, now) {
		if r.Prompt.Has(PromptCreate) {
			return StepRegister, nil
		}
		return StepLogin, nil
	}
	if r.Prompt.Has(PromptSelectAccount) && !fresh && !s.Selected {
		return StepSelect, nil
	}
	// The client insists on a user (OpenID Connect Core sections 3.1.2.1, id_token_hint, and 5.5.1, sub with a value). Somebody
	// else's old session is no answer, and after a login for this very request it is an error, not another round.
	if !r.wanted(s.subject()) {
		if fresh {
			return StepError, protocolError(CodeLoginRequired, "another user logged in than the one asked for")
		}
		return StepLogin, nil
	}
	if acr := r.Claims.acr(); len(acr) > 0 && !slices.Contains(acr, s.ACR) {
		if fresh {
			return StepError, protocolError(CodeUnmetAuthenticationRequirements, "no login here reaches the acr asked for")
		}
		return StepLogin, nil
	}
	if r.needsConsent(c, consent) {
		return StepConsent, nil
	}
	return StepIssue, nil
}

// needsLogin is about sessions that were not made for this request.
func (r *AuthorizationRequest) needsLogin(s SessionState, now time.Time) bool {
	if !s.Present || r.Prompt.Has(PromptLogin|PromptCreate) {
		return true
	}
	// "Greater than" in the standard; 0 must ask even in the same instant (OpenID Connect Core section 3.1.2.1).
	return r.MaxAge != nil && (*r.MaxAge == 0 || now.Sub(s.AuthTime) > *r.MaxAge)
}

func (r *AuthorizationRequest) needsConsent(c *oauth2.Client, consent ConsentState) bool {
	answered := !consent.GrantedAt.IsZero() && r.since(consent.GrantedAt)
	switch {
	case consent.Answered:
		return false
	case len(r.Details) > 0:
		return true // also by a client of the tenant's own company
	case answered && r.Scopes.Subset(consent.Scopes):
		return false
	case r.Prompt.Has(PromptConsent):
		return true
	case c.FirstParty:
		return false
	// Any program on the device can pretend to be this client, so an old yes must not let it in without a word to the user
	// (RFC 8252 section 8.6, RFC 6749 section 10.2).
	case c.Kind == oauth2.KindNative && c.Public && !r.WebRedirect:
		return true
	}
	return consent.GrantedAt.IsZero() || !r.Scopes.Subset(consent.Scopes)
}

// wanted says whether sub is the user that the client insists on, if it does.
func (r *AuthorizationRequest) wanted(sub string) bool {
	if r.HintSubject != "" && r.HintSubject != sub {
		return false
	}
	claimed := r.Claims.subjects()
	return len(claimed) == 0 || slices.Contains(claimed, sub)
}

// since says whether t is not before the request. Databases keep microseconds, so that is what is compared.
func (r *AuthorizationRequest) since(t time.Time) bool {
	return !t.Truncate(time.Microsecond).Before(r.CreatedAt.Truncate(time.Microsecond))
}
