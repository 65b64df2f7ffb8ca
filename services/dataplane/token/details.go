// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"encoding/json"

	"github.com/tenantry/tenantry/pkg/oauth2"
)

// details are the authorization_details of the tokens of this request: those of the grant, or the fewer that the request names (RFC 9396
// sections 6.1 and 7).
func (x *exchange) details(granted json.RawMessage) (json.RawMessage, error) {
	return oauth2.Narrow(granted, x.params.Get(oauth2.ParamAuthorizationDetails), x.q.Tenant.Policy.DetailTypes, x.client.AuthorizationDetailsTypes)
}
