// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

// Package signer is how the login service gets signed what its flows need: it never holds a signing key (DISTRIBUTION.md 8). In a
// process that has both services the token service's Minter is the Signer; elsewhere a Client asks the token service's internal
// listener, which finds tenant and client itself and judges each request again.
//
// Requests are typed. There is none for bytes of the caller's choice, so that who controls the login service still cannot make the token
// service sign something that means anything else.
package signer

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
)

// ErrRefused: the request is not one that may be signed for this tenant and client. It means a mistake of the caller's or a change of
// the configuration in the last moment.
var ErrRefused = errors.New("signer: the request is refused")

// Signer signs on behalf of the login service. Its errors are ErrRefused, and everything else means "not now". Implementations are safe
// for concurrent use.
type Signer interface {
	// AuthorizationResponse signs an authorization response, of success or error (JWT Secured Authorization Response Mode section 2.1).
	AuthorizationResponse(ctx context.Context, t *snapshot.Tenant, c *oauth2.Client, params [][2]string, now time.Time) (jwt string, err error)
	// FrontChannel makes the tokens of response types other than code (OpenID Connect Core sections 3.2.2 and 3.3.2).
	FrontChannel(ctx context.Context, t *snapshot.Tenant, c *oauth2.Client, r FrontChannelRequest) (FrontChannelTokens, error)
	// LogoutToken signs a logout token (OpenID Connect Back-Channel Logout section 2.4).
	LogoutToken(ctx context.Context, t *snapshot.Tenant, c *oauth2.Client, r LogoutTokenRequest) (jwt string, err error)
}

// FrontChannelRequest is what the tokens of an authorization response are made from.
type FrontChannelRequest struct {
	// ResponseType is one with id_token or token in it, in the standard's spelling; it decides what is made.
	ResponseType string `json:"response_type"`
	// User is who logged in, Session in which session, Grant what the tokens belong to.
	User    id.User    `json:"user"`
	Session id.Session `json:"session"`
	Grant   id.Grant   `json:"grant"`
	// AuthTime, ACR and AMR say how.
	AuthTime time.Time `json:"auth_time"`
	ACR      string    `json:"acr"`
	AMR      []string  `json:"amr"`
	// Roles and Groups are the user's at this tenant.
	Roles  []string `json:"roles,omitempty"`
	Groups []string `json:"groups,omitempty"`
	// Scopes are those granted, Resource the audience asked for, empty for the default.
	Scopes   oauth2.Scopes `json:"scopes,omitempty"`
	Resource string        `json:"resource,omitempty"`
	// Details are the authorization_details granted (RFC 9396), nil for none.
	Details json.RawMessage `json:"details,omitempty"`
	// Nonce and State are the request's, Code the response's, empty for none.
	Nonce string `json:"nonce,omitempty"`
	State string `json:"state,omitempty"`
	Code  string `json:"code,omitempty"`
	// Claims are the names that the claims parameter asks into the ID token; UserClaims are the user's.
	Claims     []string         `json:"claims,omitempty"`
	UserClaims *oidc.UserClaims `json:"user_claims,omitempty"`
	// Now is the time of issue.
	Now time.Time `json:"now"`
}

// FrontChannelTokens are made from a FrontChannelRequest; what the response type has not is empty.
type FrontChannelTokens struct {
	IDToken     string        `json:"id_token,omitempty"`
	AccessToken string        `json:"access_token,omitempty"`
	ExpiresIn   time.Duration `json:"expires_in,omitempty"`
}

// LogoutTokenRequest is what a logout token is made from.
type LogoutTokenRequest struct {
	// Subject is the user's `sub` for this client (package subject), empty to tell the session alone; Session is what ended, zero to tell
	// the user alone. One of the two is there.
	Subject string     `json:"subject,omitempty"`
	Session id.Session `json:"session,omitzero"`
	// ID is 128 bits, printed as `jti`: the same in every attempt to deliver one logout.
	ID [16]byte `json:"id"`
	// Now is the time of issue.
	Now time.Time `json:"now"`
}
