// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/signer"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// errAnswered is for a pushed request that was answered before, in another tab for example, or whose person took too long.
var errAnswered = oauth2.InvalidRequestURI("the pushed authorization request was answered before, or has expired")

// issue answers with what the response type has: a code (RFC 6749 section 4.1.2), tokens (OpenID Connect Core section 3.2.2.5), or both
// (section 3.3.2.5).
func (s *Service) issue(w http.ResponseWriter, r *http.Request, q *web.Request, p pending, req *oidc.AuthorizationRequest, client *oauth2.Client, who login) error {
	ctx, cancel := s.deadline(r.Context())
	defer cancel()
	params, err := s.outcome(ctx, q, p, req, client, who)
	switch {
	case errors.Is(err, grant.ErrRequestUnknown):
		return s.fault(w, r, q, req.Fail(errAnswered))
	case errors.Is(err, signer.ErrRefused):
		// Configuration that the token service has and we do not, or the other way round: the next request goes by one of them.
		return s.fault(w, r, q, req.Fail(oauth2.ServerError(err)))
	case err != nil:
		return s.fault(w, r, q, s.away(req, err))
	}
	if len(req.Details) > 0 {
		// After what could fail, and before anything leaves: a yes that is used up by a failure would only be asked for again.
		until := p.created.Add(q.Tenant.Policy.AuthorizationRequestTTL)
		err := s.grants.Once(ctx, q.Tenant.ID, q.Start, grant.Single{Kind: grant.OnceApproval, Parts: [2]string{p.approval}, Issued: until, Until: until})
		if errors.Is(err, grant.ErrReplayed) {
			p.approved, p.approval = id.User{}, ""
			return redirect(w, s.step(pathConsent, q, p))
		} else if err != nil {
			return s.fault(w, r, q, s.away(req, err))
		}
	}
	return s.respond(w, r, q, client, s.withSessionState(q, req.ClientID, who, req.RespondWith(params)))
}

// outcome makes the parameters of a successful response. A pushed request ends with it and not before, so that a failure burns nothing.
func (s *Service) outcome(ctx context.Context, q *web.Request, p pending, req *oidc.AuthorizationRequest, client *oauth2.Client, who login) ([][2]string, error) {
	g, details := id.NewGrant(), req.Details.JSON()
	var claims *oidc.UserClaims
	if len(req.Claims.IDTokenClaims()) > 0 || req.ResponseType == oauth2.ResponseTypeIDToken {
		claims = userClaims(&who.user)
	}
	var code string
	if req.Parts.Code {
		rec := grant.CodeRecord{
			Grant: g, Client: req.ClientID, RedirectURI: req.RedirectURI, CodeChallenge: req.CodeChallenge, DPoPJKT: p.jkt,
			Scopes: req.Scopes, Audience: req.Resource, Nonce: req.Nonce, Claims: req.Raw.Get(oidc.ParamClaims), AuthorizationDetails: details,
			User: who.user.ID, Session: who.session.ID, AuthTime: who.session.AuthTime, ACR: who.session.ACR, AMR: who.session.AMR,
			Roles: who.user.Roles, Groups: who.user.Groups,
		}
		if len(req.Claims.IDTokenClaims()) > 0 {
			rec.UserClaims = claims
		}
		if !req.Parts.Tokens() {
			rec.RequestURI = p.pushed
		}
		var err error
		if code, err = s.grants.IssueCode(ctx, q.Tenant.ID, rec, q.Start, q.Tenant.Policy.CodeTTL); err != nil {
			return nil, err
		}
	}
	if !req.Parts.Tokens() {
		return [][2]string{{oauth2.ParamCode, code}}, nil
	}
	tokens, err := s.signer.FrontChannel(ctx, q.Tenant, client, signer.FrontChannelRequest{
		ResponseType: req.ResponseType, User: who.user.ID, Session: who.session.ID, Grant: g, AuthTime: who.session.AuthTime, ACR: who.session.ACR,
		AMR: who.session.AMR, Roles: who.user.Roles, Groups: who.user.Groups, Scopes: req.Scopes, Resource: req.Resource, Details: details,
		Nonce: req.Nonce, State: req.State, Code: code, Claims: req.Claims.IDTokenClaims(), UserClaims: claims, Now: q.Start,
	})
	if err != nil {
		return nil, err
	}
	if names := req.Claims.UserInfoClaims(); len(names) > 0 && tokens.AccessToken != "" {
		if err := s.grants.PutUserInfoClaims(ctx, q.Tenant.ID, g, names, tokens.ExpiresIn); err != nil {
			return nil, err
		}
	}
	if p.pushed != "" {
		if ended, err := s.grants.EndRequest(ctx, q.Tenant.ID, p.pushed); err != nil {
			return nil, err
		} else if !ended {
			return nil, grant.ErrRequestUnknown
		}
	}
	var params [][2]string
	if tokens.AccessToken != "" {
		params = append(params, [2]string{oauth2.ParamAccessToken, tokens.AccessToken}, [2]string{oauth2.ParamTokenType, oauth2.TokenTypeBearer},
			[2]string{oauth2.ParamExpiresIn, strconv.FormatInt(int64(tokens.ExpiresIn/time.Second), 10)},
			[2]string{oauth2.ParamScope, req.Scopes.Without(oidc.ScopeOfflineAccess).String()})
	}
	if tokens.IDToken != "" {
		params = append(params, [2]string{oauth2.ParamIDToken, tokens.IDToken})
	}
	if code != "" {
		params = append(params, [2]string{oauth2.ParamCode, code})
	}
	return params, nil
}

// respond takes an authorization response, of success or error, to the client (RFC 6749 section 4.1.2; OAuth 2.0 Form Post Response
// Mode), in a signed mode as a JWT that the token service makes (JWT Secured Authorization Response Mode).
func (s *Service) respond(w http.ResponseWriter, r *http.Request, q *web.Request, client *oauth2.Client, a oauth2.AuthorizationResponse) error {
	if oauth2.SignedMode(a.Mode) {
		ctx, cancel := s.deadline(r.Context())
		defer cancel()
		token, err := s.signer.AuthorizationResponse(ctx, q.Tenant, client, a.Params, q.Start)
		if err != nil {
			return unavailable(err) // it cannot be sent unsigned: a page says to try again
		}
		a = a.WithJWT(token)
	}
	if a.Mode == oauth2.ResponseModeFormPost {
		return s.formPost(w, r, q, a)
	}
	return redirect(w, a.Location())
}
