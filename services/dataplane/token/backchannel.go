// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/services/dataplane/internal/clientkeys"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/requestobject"
	"github.com/tenantry/tenantry/services/dataplane/internal/subject"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

// errAuthReqID is one answer for every auth_req_id that is not a live one of this client.
var errAuthReqID = oauth2.InvalidGrant("the auth_req_id is not valid")

const (
	// maxBackchannelObject bounds a signed request.
	maxBackchannelObject = 16 << 10
	// mailsOfUser is how many mails about requests one person gets in ten minutes, whatever they are asked: all of it is on their page.
	mailsOfUser = 10
)

// backchannelAuthorize is the backchannel authentication endpoint (CIBA Core section 7): a client asks a person who is not in front of
// it. The person answers on a page of ours; the client polls the token endpoint, or is pinged to do so.
func (s *Service) backchannelAuthorize(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	params, client, err := s.clientForm(w, r, q)
	if err != nil {
		return err
	}
	if err := client.CheckGrant(oauth2.GrantCIBA); err != nil {
		return err
	}
	if client.Public || client.DeliveryMode == "" {
		// Section 4: who asks people to log in has proven who it is, and is registered with a delivery mode.
		return oauth2.UnauthorizedClient("the client is not registered for backchannel authentication")
	}
	ctx := r.Context()
	asked, signed, err := s.backchannelParams(ctx, q, client, params)
	if err != nil {
		return err
	}
	req, err := oauth2.ParseBackchannelRequest(asked, client)
	if err != nil {
		return err
	}
	if !req.Scopes.Contains(oidc.ScopeOpenID) {
		return oauth2.InvalidScope("scope must have openid")
	}
	waiting, err := s.waiting(q, client, asked)
	if err != nil {
		return err
	}
	waiting.BindingMessage, waiting.NotificationToken, waiting.ACRValues = req.BindingMessage, req.NotificationToken, req.ACRValues
	if waiting.User, err = s.hinted(ctx, q, client, req); err != nil {
		return err
	}
	if err := s.backchannelOnce(ctx, q, client, signed); err != nil {
		return err
	}
	ttl := q.Tenant.Policy.BackchannelRequestTTL
	if req.RequestedExpiry > 0 && req.RequestedExpiry < ttl {
		ttl = req.RequestedExpiry
	}
	storing, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	requestID, h, err := s.grants.IssueBackchannel(storing, q.Tenant.ID, waiting, q.Start, ttl)
	if err != nil {
		return waitingError(err)
	}
	s.mailBackchannel(storing, q, waiting.User, h)
	answer := oauth2.BackchannelResponse{RequestID: requestID, ExpiresIn: ttl, Interval: grant.PollInterval}
	web.WriteJSON(w, http.StatusOK, answer.AppendJSON(nil))
	return nil
}

// backchannelParams are the parameters that count: those of the signed request of a client that is registered to sign, else those of
// the form. signed is nil for the latter.
func (s *Service) backchannelParams(ctx context.Context, q *web.Request, c *oauth2.Client, p oauth2.Params) (asked oauth2.Params, signed *oauth2.BackchannelObject, err error) {
	switch object := p.Get(oauth2.ParamRequest); {
	case c.BackchannelRequestAlg == "" && c.Profile >= oauth2.ProfileFAPI2:
		return p, nil, oauth2.UnauthorizedClient("the security profile wants signed requests: the client is not registered with backchannel_authentication_request_signing_alg")
	case c.BackchannelRequestAlg == "" && object != "":
		return p, nil, oauth2.InvalidRequest("the client is not registered for signed requests")
	case c.BackchannelRequestAlg == "":
		return p, nil, nil
	case object == "":
		return p, nil, oauth2.InvalidRequest("the client must send a signed request")
	default:
		// Section 7.1.1: what is not signed could have been put there by anybody.
		if outside := p.Only(func(name string) bool { return !oauth2.BackchannelOutside(name) }); outside.Encode() != "" {
			return p, nil, oauth2.InvalidRequest("all parameters must be inside the signed request")
		}
		payload, _, err := s.keys.Verify(ctx, c, object, jose.VerifyOptions{
			Typ: oauth2.RequestObjectTypes, Algorithms: requestobject.Algorithms(c, c.BackchannelRequestAlg), MaxBytes: maxBackchannelObject,
		})
		switch {
		case errors.Is(err, clientkeys.ErrUnavailable):
			return p, nil, web.Unavailable(err)
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
			return p, nil, err
		case err != nil:
			return p, nil, oauth2.InvalidRequest("request: not signed as the client is registered").WithCause(err)
		}
		o, err := oauth2.ParseBackchannelObject(payload, c.ID, q.Tenant.Issuer, q.Start)
		if err != nil {
			return p, nil, err
		}
		return o.Params, &o, nil
	}
}

// backchannelOnce lets a signed request count once: a copy of it would ask the person again.
func (s *Service) backchannelOnce(ctx context.Context, q *web.Request, c *oauth2.Client, signed *oauth2.BackchannelObject) error {
	if signed == nil {
		return nil
	}
	err := s.grants.Once(ctx, q.Tenant.ID, q.Start, grant.Single{
		Kind: grant.OnceRequest, Parts: [2]string{c.ID, signed.ID}, Issued: signed.IssuedAt, Until: signed.ExpireTime.Add(replaySkew),
	})
	if errors.Is(err, grant.ErrReplayed) {
		return oauth2.InvalidRequest("request: jti was used before").WithCause(err)
	}
	return grantsError(err)
}

// hinted finds the person that a request is to. One answer for everybody who cannot be asked: unknown, suspended, of another tenant.
func (s *Service) hinted(ctx context.Context, q *web.Request, c *oauth2.Client, req oauth2.BackchannelRequest) (id.User, error) {
	var user id.User
	var err error
	switch req.HintKind {
	case oauth2.HintIDToken:
		user, err = hintedByIDToken(q, c, req.Hint)
	case oauth2.HintLoginToken:
		user, err = s.hintedByToken(ctx, q, c, req.Hint)
	default:
		if strings.Contains(req.Hint, "@") {
			return s.hintedByEmail(ctx, q, req.Hint)
		}
		if user, err = subject.User(q.Tenant, c, req.Hint); err != nil {
			err = oauth2.UnknownUserID().WithCause(err)
		}
	}
	if err != nil {
		return id.User{}, err
	}
	if _, err := s.member(ctx, q.Tenant, user); err != nil {
		return id.User{}, storeError(err, oauth2.UnknownUserID())
	}
	return user, nil
}

// hintedByEmail finds a member by the address that they log in with.
func (s *Service) hintedByEmail(ctx context.Context, q *web.Request, email string) (id.User, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	found, err := s.identity.ListUsers(ctx, ref(q.Tenant), identity.UserPage{Filter: identity.UserFilter{Email: email}, Limit: 1})
	if errors.Is(err, identity.ErrInvalid) {
		return id.User{}, oauth2.UnknownUserID().WithCause(err)
	}
	if err != nil {
		return id.User{}, storeError(err, oauth2.UnknownUserID())
	}
	if len(found) == 0 || !found[0].CanLogIn() {
		return id.User{}, oauth2.UnknownUserID()
	}
	return found[0].ID, nil
}

// idTokenTypes and idTokenAlgorithms are what ID tokens of ours have had; an access token has another typ.
var (
	idTokenTypes      = []string{"", "JWT"}
	idTokenAlgorithms = []jose.Algorithm{jose.ES256, jose.ES384, jose.RS256, jose.PS256, jose.EdDSA}
)

// hintedByIDToken takes an ID token that this client got from us. It may have expired: it only says whom the client means.
func hintedByIDToken(q *web.Request, c *oauth2.Client, text string) (id.User, error) {
	payload, _, err := q.Tenant.Keys.Set().Verify(text, jose.VerifyOptions{Typ: idTokenTypes, Algorithms: idTokenAlgorithms, MaxBytes: maxBackchannelObject})
	if err != nil {
		return id.User{}, oauth2.InvalidRequest("id_token_hint is not an ID token of this issuer").WithCause(err)
	}
	hint, err := oidc.ParseIDTokenHint(payload, q.Tenant.Issuer)
	if err != nil || hint.Client() != c.ID {
		return id.User{}, oauth2.InvalidRequest("id_token_hint is not an ID token of this client").WithCause(err)
	}
	user, err := subject.User(q.Tenant, c, hint.Subject)
	if err != nil {
		return id.User{}, oauth2.UnknownUserID().WithCause(err)
	}
	return user, nil
}

// hintedByToken takes a login_hint_token: a JWT as the JWT bearer grant takes it, of an issuer that the client is registered to trust,
// whose `sub` names the person. It may be shown more than once, since it gives nothing by itself.
func (s *Service) hintedByToken(ctx context.Context, q *web.Request, c *oauth2.Client, text string) (id.User, error) {
	a, err := s.assertion(ctx, q, c, text)
	switch {
	case errors.Is(err, oauth2.ErrAssertionExpired):
		return id.User{}, oauth2.ExpiredLoginHintToken().WithCause(err)
	case oauth2.CodeOf(err) == oauth2.CodeInvalidGrant:
		return id.User{}, oauth2.InvalidRequest("login_hint_token is not valid").WithCause(err)
	case err != nil:
		return id.User{}, err
	}
	user, err := subject.User(q.Tenant, c, a.Subject)
	if err != nil {
		return id.User{}, oauth2.UnknownUserID().WithCause(err)
	}
	return user, nil
}

// mailBackchannel has the person told by mail. A mail that cannot be ordered is no failure: the request is on the person's page.
func (s *Service) mailBackchannel(ctx context.Context, q *web.Request, user id.User, h grant.Handle) {
	_, err := s.grants.Guess(ctx, q.Tenant.ID, grant.Guesser{Name: "request mails to " + user.String(), Max: mailsOfUser})
	if err == nil {
		err = s.identity.AskByMail(ctx, ref(q.Tenant), user, h.String())
	}
	if err != nil {
		q.Note(slog.Bool("mailed", false))
		s.log.WarnContext(ctx, "no mail about a backchannel request", slog.String("tenant", q.Tenant.ID.String()),
			slog.String("request_id", q.ID), slog.String("cause", err.Error()))
	}
}

// redeemBackchannel is a client's poll (CIBA Core section 10.1).
func (s *Service) redeemBackchannel(ctx context.Context, x *exchange, out *redeemed) error {
	requestID := x.params.Get(oauth2.ParamAuthReqID)
	if requestID == "" {
		return oauth2.InvalidRequest("auth_req_id is missing")
	}
	answered, err := s.grants.PollBackchannel(ctx, x.q.Tenant.ID, requestID, x.client.ID, x.now)
	return s.redeemAnswered(ctx, x, answered, err, errAuthReqID, out)
}
