// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"slices"
	"strings"

	"github.com/tenantry/tenantry/pkg/oauth2"
)

// ResponseParts are what a successful authorization response carries.
type ResponseParts struct{ Code, IDToken, AccessToken bool }

// Tokens says whether tokens come from the authorization endpoint.
func (p ResponseParts) Tokens() bool { return p.IDToken || p.AccessToken }

// responseTypes are those that exist (OAuth 2.0 Multiple Response Type Encoding Practices section 5). `token` alone is not among them: a
// token that came that way cannot be told from one that was injected (RFC 9700 section 2.1.2), and `none` has no use here.
var responseTypes = map[string]ResponseParts{
	oauth2.ResponseTypeCode:             {Code: true},
	oauth2.ResponseTypeIDToken:          {IDToken: true},
	oauth2.ResponseTypeIDTokenToken:     {IDToken: true, AccessToken: true},
	oauth2.ResponseTypeCodeIDToken:      {Code: true, IDToken: true},
	oauth2.ResponseTypeCodeToken:        {Code: true, AccessToken: true},
	oauth2.ResponseTypeCodeIDTokenToken: {Code: true, IDToken: true, AccessToken: true},
}

// ResponseTypes lists the response types that exist, code first.
func ResponseTypes() []string {
	return []string{
		oauth2.ResponseTypeCode, oauth2.ResponseTypeIDToken, oauth2.ResponseTypeIDTokenToken, oauth2.ResponseTypeCodeIDToken,
		oauth2.ResponseTypeCodeToken, oauth2.ResponseTypeCodeIDTokenToken,
	}
}

// CanonicalResponseType gives a response type in the order of words in which it is registered: the order has no meaning (RFC 6749 section
// 3.1.1). What does not exist comes back as it is.
func CanonicalResponseType(responseType string) string {
	words := strings.Fields(responseType)
	for _, known := range ResponseTypes() {
		k := strings.Fields(known)
		if len(k) == len(words) && !slices.ContainsFunc(k, func(w string) bool { return !slices.Contains(words, w) }) {
			return known
		}
	}
	return responseType
}

// CheckResponseType decides whether a client may use a response type, in the spelling of CanonicalResponseType, at a tenant whose policy
// allows the given ones beside code:
//
//   - nobody may use it, or the tenant does not allow it: unsupported_response_type;
//   - the client is not registered for it or for the grants behind it, its profile forbids tokens from the authorization endpoint, or its
//     access tokens have to be bound to a key, which these cannot be: unauthorized_client.
func CheckResponseType(responseType string, c *oauth2.Client, tenant []string) (ResponseParts, error) {
	if responseType == "" {
		return ResponseParts{}, oauth2.InvalidRequest("response_type is missing")
	}
	parts, known := responseTypes[responseType]
	if !known || responseType != oauth2.ResponseTypeCode && !slices.Contains(tenant, responseType) {
		return ResponseParts{}, oauth2.UnsupportedResponseType()
	}
	registered := c.ResponseTypes
	if len(registered) == 0 {
		registered = []string{oauth2.ResponseTypeCode} // RFC 7591 section 2
	}
	if !slices.Contains(registered, responseType) {
		return ResponseParts{}, oauth2.UnauthorizedClient("the client is not registered for this response_type")
	}
	if parts.Code && !c.GrantTypes.Has(oauth2.GrantAuthorizationCode) {
		return ResponseParts{}, oauth2.UnauthorizedClient("the client may not use the authorization_code grant")
	}
	if !parts.Tokens() {
		return parts, nil
	}
	switch _, _, bound := c.SenderConstraint(); {
	case !c.Profile.AllowsTokenResponses():
		return ResponseParts{}, oauth2.UnauthorizedClient("the security profile has no tokens from the authorization endpoint")
	case !c.GrantTypes.Has(oauth2.GrantImplicit):
		return ResponseParts{}, oauth2.UnauthorizedClient("the client may not use the implicit grant")
	case parts.AccessToken && bound:
		return ResponseParts{}, oauth2.UnauthorizedClient("the client's access tokens are bound to a key, which one from the authorization endpoint cannot be")
	}
	return parts, nil
}
