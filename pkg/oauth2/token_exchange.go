// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"

	"github.com/tenantry/tenantry/pkg/internal/jsonw"
)

// Token type identifiers (RFC 8693 section 3).
const (
	TokenTypeURNAccessToken  = "urn:ietf:params:oauth:token-type:access_token"  //nolint:gosec // G101: a name
	TokenTypeURNRefreshToken = "urn:ietf:params:oauth:token-type:refresh_token" //nolint:gosec // G101: a name
	TokenTypeURNIDToken      = "urn:ietf:params:oauth:token-type:id_token"      //nolint:gosec // G101: a name
	TokenTypeURNJWT          = "urn:ietf:params:oauth:token-type:jwt"           //nolint:gosec // G101: a name
)

// MaxActors is the longest chain of actors in an access token (RFC 8693 section 4.1): the one who acts and four before.
const MaxActors = 5

// maxActBytes bounds `act` and `may_act`, which travel in a header.
const maxActBytes = 2 << 10

// TokenExchange is a well-formed token exchange request (RFC 8693 section 2.1). The tokens are not verified yet.
type TokenExchange struct {
	// SubjectToken is the access token of whom the new one is about, ActorToken that of who acts; empty for none.
	SubjectToken, ActorToken string
	// Target is the `resource` or `audience` asked for; empty: none.
	Target string
	// Tenant is the tenant to switch to, as sent; empty: none.
	Tenant string
}

// ParseTokenExchange reads a token exchange request. Only access tokens are taken and given: a refresh token would turn a short
// permission into a long one, and an ID token is for the client alone. Errors are invalid_request and invalid_target.
func ParseTokenExchange(p Params) (TokenExchange, error) {
	x := TokenExchange{SubjectToken: p.Get(ParamSubjectToken), ActorToken: p.Get(ParamActorToken), Tenant: p.Get(ParamTenant)}
	switch {
	case x.SubjectToken == "":
		return x, InvalidRequest("subject_token is missing")
	case !isAccessTokenType(p.Get(ParamSubjectTokenType)):
		return x, InvalidRequest("subject_token_type must be " + TokenTypeURNAccessToken)
	case x.ActorToken == "" && p.Has(ParamActorTokenType):
		return x, InvalidRequest("actor_token_type without an actor_token")
	case x.ActorToken != "" && !isAccessTokenType(p.Get(ParamActorTokenType)):
		return x, InvalidRequest("actor_token_type must be " + TokenTypeURNAccessToken)
	}
	switch p.Get(ParamRequestedTokenType) {
	case "", TokenTypeURNAccessToken:
	case TokenTypeURNRefreshToken:
		return x, InvalidRequest("requested_token_type: an exchange gives no refresh token; exchange again instead")
	default:
		return x, InvalidRequest("requested_token_type must be " + TokenTypeURNAccessToken)
	}
	resource, err := OneResource(p)
	if err != nil {
		return x, err
	}
	audience := p.Get(ParamAudience)
	if resource != "" && audience != "" && resource != audience {
		return x, InvalidTarget("only one resource at a time")
	}
	if x.Target = resource; x.Target == "" {
		x.Target = audience
	}
	if x.Tenant != "" && x.ActorToken != "" {
		return x, InvalidRequest("tenant is not for requests with an actor_token")
	}
	return x, nil
}

// isAccessTokenType takes the generic name of a JWT too, since that is what the access tokens are (RFC 8693 section 3).
func isAccessTokenType(t string) bool { return t == TokenTypeURNAccessToken || t == TokenTypeURNJWT }

// actor is one link of the chain of `act` (RFC 8693 section 4.1), or what `may_act` allows (section 4.4).
type actor struct {
	Subject  string          `json:"sub"`
	ClientID string          `json:"client_id"`
	Actor    json.RawMessage `json:"act"`
}

// ErrActor: an `act` or `may_act` claim is not one that we would make, or the chain is too long.
var ErrActor = errors.New("oauth2: not a chain of actors")

// AppendActor makes the `act` claim of a token in which subject, a token of client, acts for somebody; before is the `act` of the
// subject's token, nil for none: earlier actors are kept inside (RFC 8693 section 4.1). An actor who is the current one already is
// not put in again. A chain of more than MaxActors is ErrActor.
func AppendActor(before json.RawMessage, subject, clientID string) (json.RawMessage, error) {
	if subject == "" {
		return nil, ErrActor
	}
	n, head, err := actors(before)
	if err != nil {
		return nil, err
	}
	if n > 0 && head.Subject == subject && head.ClientID == clientID {
		return before, nil
	}
	if n+1 > MaxActors {
		return nil, ErrActor
	}
	b := jsonw.Member([]byte{'{'}, "sub", subject)
	if clientID != subject {
		b = jsonw.OptionalMember(b, ParamClientID, clientID)
	}
	if n > 0 {
		b = append(jsonw.Name(b, "act"), bytes.TrimSpace(before)...)
	}
	if b = append(b, '}'); len(b) > maxActBytes {
		return nil, ErrActor
	}
	return b, nil
}

// actors counts a chain and gives its head.
func actors(raw json.RawMessage) (n int, head actor, err error) {
	if len(raw) > maxActBytes {
		return 0, actor{}, ErrActor
	}
	for ; len(raw) > 0; n++ {
		var a actor
		if err := json.Unmarshal(raw, &a); err != nil || a.Subject == "" || n == MaxActors {
			return 0, actor{}, ErrActor
		}
		if a.ClientID == "" {
			a.ClientID = a.Subject
		}
		if n == 0 {
			head = a
		}
		raw = a.Actor
	}
	return n, head, nil
}

// MayAct says whether a `may_act` claim lets an actor act (RFC 8693 section 4.4): subject is the actor, clientID the client that
// presents it. nil, no claim, says nothing and lets everybody: whether an exchange is allowed without it is decided elsewhere. A
// claim with members that we do not know lets nobody, since to ignore a condition would be to widen it.
func MayAct(claim json.RawMessage, subject, clientID string) bool {
	if len(claim) == 0 {
		return true
	}
	if len(claim) > maxActBytes {
		return false
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(claim, &members) != nil || len(members) == 0 {
		return false
	}
	for name, raw := range members {
		var allowed []string
		if json.Unmarshal(raw, &allowed) != nil {
			var one string
			if json.Unmarshal(raw, &one) != nil {
				return false
			}
			allowed = []string{one}
		}
		switch name {
		case "sub":
			if !slices.Contains(allowed, subject) {
				return false
			}
		case ParamClientID:
			if !slices.Contains(allowed, clientID) {
				return false
			}
		default:
			return false
		}
	}
	return true
}
