// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// errDeviceCode is one answer for every device code that is not a live one of this client.
var errDeviceCode = oauth2.InvalidGrant("the device code is not valid")

// retryWaiting is what a client is told to wait when too many requests are open.
const retryWaiting = 30 * time.Second

// deviceAuthorization is the device authorization endpoint (RFC 8628 section 3.1). Confidential clients authenticate as at the token
// endpoint; a public client, which a device usually is, says who it is. Whether tokens are bound to a key is decided when they are made,
// by the proof that comes with the poll.
func (s *Service) deviceAuthorization(w http.ResponseWriter, r *http.Request, q *web.Request) error {
	params, client, err := s.clientForm(w, r, q)
	if err != nil {
		return err
	}
	if err := client.CheckGrant(oauth2.GrantDeviceCode); err != nil {
		return err
	}
	waiting, err := s.waiting(q, client, params)
	if err != nil {
		return err
	}
	source := ""
	if q.ClientIP.IsValid() {
		waiting.From = q.ClientIP.String()
		if client.Public { // it could be anybody; who proved to be a client has that client's own bound
			source = addressBlock(q.ClientIP)
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	defer cancel()
	ttl := q.Tenant.Policy.DeviceCodeTTL
	deviceCode, userCode, err := s.grants.IssueDeviceCode(ctx, q.Tenant.ID, waiting, source, q.Start, ttl)
	if err != nil {
		return waitingError(err)
	}
	page := strings.TrimSuffix(q.Tenant.Issuer, "/") + oidc.PathDevice
	answer := oauth2.DeviceAuthorizationResponse{
		DeviceCode: deviceCode, UserCode: userCode, VerificationURI: page,
		VerificationURIComplete: page + "?" + url.Values{oauth2.ParamUserCode: {oauth2.FormatUserCode(userCode)}}.Encode(),
		ExpiresIn:               ttl, Interval: grant.PollInterval,
	}
	web.WriteJSON(w, http.StatusOK, answer.AppendJSON(nil))
	return nil
}

// waiting is what a request that a person answers elsewhere asks for, by the rules of an authorization request.
func (s *Service) waiting(q *web.Request, c *oauth2.Client, p oauth2.Params) (grant.Waiting, error) {
	asked, err := oauth2.ParseScopes(p.Get(oauth2.ParamScope))
	if err != nil {
		return grant.Waiting{}, err
	}
	scopes, err := c.ResolveScopes(asked, oidc.StandardScopes)
	if err != nil {
		return grant.Waiting{}, err
	}
	if !c.GrantTypes.Has(oauth2.GrantRefreshToken) {
		scopes = scopes.Without(oidc.ScopeOfflineAccess) // OpenID Connect Core section 11: no refresh token could follow
	}
	resource, err := oauth2.OneResource(p)
	if err != nil {
		return grant.Waiting{}, err
	}
	if _, err := c.ResolveAudience(resource, q.Tenant.DefaultAudience); err != nil {
		return grant.Waiting{}, err
	}
	details, err := oauth2.ParseDetails(p.Get(oauth2.ParamAuthorizationDetails), q.Tenant.Policy.DetailTypes, c.AuthorizationDetailsTypes)
	if err != nil {
		return grant.Waiting{}, err
	}
	return grant.Waiting{Client: c.ID, Scopes: scopes, Audience: resource, AuthorizationDetails: string(details.JSON())}, nil
}

// waitingError is the wire's word for a request that could not be stored.
func waitingError(err error) error {
	switch {
	case errors.Is(err, grant.ErrWaitingFull):
		e := oauth2.NewError(oauth2.CodeTemporarilyUnavailable, http.StatusTooManyRequests, "too many requests are waiting for an answer")
		e.RetryAfter = retryWaiting
		return e.WithCause(err)
	case errors.Is(err, grant.ErrWaitingSize):
		return oauth2.InvalidRequest("the request is too large")
	}
	return grantsError(err)
}

// addressBlock is who counts as one address: a host by IPv4, a network of one customer by IPv6.
func addressBlock(a netip.Addr) string {
	if a = a.Unmap(); a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}

// redeemDeviceCode is a device's poll (RFC 8628 section 3.4). The yes is taken by one exchange and made used when its answer is
// complete; a failure before gives it back for the next poll.
func (s *Service) redeemDeviceCode(ctx context.Context, x *exchange, out *redeemed) error {
	code := x.params.Get(oauth2.ParamDeviceCode)
	if code == "" {
		return oauth2.InvalidRequest("device_code is missing")
	}
	answered, err := s.grants.PollDevice(ctx, x.q.Tenant.ID, code, x.client.ID, x.now)
	return s.redeemAnswered(ctx, x, answered, err, errDeviceCode, out)
}

// redeemAnswered makes tokens of a person's yes, or says why there is none yet.
func (s *Service) redeemAnswered(ctx context.Context, x *exchange, answered *grant.Answered, err error, unknown *oauth2.Error, out *redeemed) error {
	if err != nil {
		return pollError(x, err, unknown)
	}
	out.taken = answered
	rec := &answered.Record
	if rec.Client != x.client.ID {
		return unknown
	}
	if x.params.Has(oauth2.ParamScope) && !x.scopes.Subset(rec.Scopes) {
		return oauth2.InvalidScope("the person was not asked for all of these scopes")
	}
	// RFC 8707 section 2.2, as for a code: the poll may name the resource again, not another one.
	resource, err := oauth2.OneResource(x.params)
	if err != nil {
		return err
	}
	if resource != "" && resource != rec.Audience && (rec.Audience != "" || resource != x.q.Tenant.DefaultAudience) {
		return oauth2.InvalidTarget("resource is not the one that the person was asked for")
	}
	// The yes may be as old as such a request may wait. A user who was suspended since, or who has logged out, gives nothing any more.
	behind := []string{rec.Grant.String()}
	if !rec.Session.IsZero() {
		behind = append(behind, rec.Session.String())
	}
	if ended, err := s.grants.Revoked(ctx, x.q.Tenant.ID, x.now, behind...); err != nil {
		return grantsError(err)
	} else if ended {
		return unknown
	}
	err = s.grantTokens(ctx, x, rec, out)
	if oauth2.CodeOf(err) == oauth2.CodeInvalidGrant {
		return unknown.WithCause(err) // the person, or the session of the yes, has gone since
	}
	return err
}

// pollError is the wire's word for a poll without tokens (RFC 8628 section 3.5, CIBA Core section 11).
func pollError(x *exchange, err error, unknown *oauth2.Error) error {
	if slow, ok := errors.AsType[*grant.SlowDownError](err); ok {
		x.q.Note(slog.String("answered", oauth2.CodeSlowDown))
		return oauth2.SlowDown(slow.Interval)
	}
	switch {
	case errors.Is(err, grant.ErrPending), errors.Is(err, grant.ErrCodeBusy):
		// Busy: another poll is about to be answered; when that fails the next one is.
		return oauth2.AuthorizationPending()
	case errors.Is(err, grant.ErrDenied):
		return oauth2.AccessDenied("the person said no")
	case errors.Is(err, grant.ErrExpired):
		return oauth2.ExpiredToken()
	case errors.Is(err, grant.ErrCodeUnknown):
		return unknown.WithCause(err)
	}
	return grantsError(err)
}
