// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package signer

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
)

// Paths of the internal listener, one for each kind of request.
const (
	pathAuthorizationResponse = "/v1/authorization-response"
	pathFrontChannel          = "/v1/front-channel"
	pathLogoutToken           = "/v1/logout-token" //nolint:gosec // G101: a path
)

// Bounds of the internal listener.
const (
	// maxRequestBytes fits an authorization response with all that a client may have us echo, and a user's claims.
	maxRequestBytes = 64 << 10
	// maxAnswerBytes fits an ID token with its claims, encrypted to a large key, beside an access token.
	maxAnswerBytes = 64 << 10
	// maxSkew is how far the asker's clock may be from ours: nobody gets a token for next year.
	maxSkew = time.Minute
)

// envelope is a request on the wire. The token service looks up tenant and client itself; Version is the configuration that the asker
// goes by, so that a token service which is behind says "not yet" rather than "no".
type envelope[R any] struct {
	Tenant  id.Tenant `json:"tenant"`
	Client  string    `json:"client"`
	Version uint64    `json:"config_version"`
	Request R         `json:"request"`
}

// responseRequest is a request to sign an authorization response.
type responseRequest struct {
	Params [][2]string `json:"params"`
	Now    time.Time   `json:"now"`
}

// answer is what comes back. Error is "refused" or "unavailable", with the reason for the asker's log.
type answer struct {
	JWT    string              `json:"jwt,omitempty"`
	Tokens *FrontChannelTokens `json:"tokens,omitempty"`
	Error  string              `json:"error,omitempty"`
	Reason string              `json:"reason,omitempty"`
}

const (
	errorRefused     = "refused"
	errorUnavailable = "unavailable"
)

// decode reads one JSON value with no unknown members and nothing behind it.
func decode(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}
