// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package tenancy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
)

// Warning is something that was done as asked and that the caller should know of.
type Warning struct {
	Reason   string `json:"reason"` // one of the constants below
	Field    string `json:"field,omitempty"`
	Text     string `json:"text"`
	Resource string `json:"resource,omitempty"` // what it is about, when that is not what was answered
}

// Reasons of warnings.
const (
	WarnFrontChannelTokens = "TOKENS_IN_FRONT_CHANNEL" //nolint:gosec // G101: a name
	WarnSecretJWT          = "CLIENT_SECRET_JWT"
	WarnSecretUnusable     = "SECRET_UNUSABLE"
	WarnPKCEOptional       = "PKCE_OPTIONAL"
	WarnLegacyAudience     = "LEGACY_ASSERTION_AUDIENCE"
	WarnOpenRegistration   = "OPEN_REGISTRATION"
	WarnClientRefused      = "CLIENT_REFUSED"
	WarnDetailUnseen       = "AUTHORIZATION_DETAIL_NOT_SHOWN"
)

// MaxWarnings bounds the warnings of one answer.
const MaxWarnings = 100

// maxUnseen bounds the fields that one warning names.
const maxUnseen = 10

// FitClient lists where a client is looser than the policy of its tenant, or asks for what the policy does not have; nil for the
// policy checks its own profile alone, as for a client that all tenants of an org share. Such a client is refused when it comes.
// field stands in front of the names of fields, with its dot.
func FitClient(s *ClientSettings, c *oauth2.Client, policy *snapshot.Policy, field string) (vs []Violation) {
	bad := func(name, format string, args ...any) {
		vs = append(vs, Violation{field + clientPath(name), fmt.Sprintf(format, args...)})
	}
	for _, m := range c.Misfits() {
		bad(m.Field, "%s", m.Rule)
	}
	if policy == nil {
		return vs
	}
	if name := s.protocol().GetSecurityProfile(); name != "" {
		if own, _ := oauth2.ParseProfile(name); own < policy.Profile {
			bad("security_profile", "the tenant's profile is %s: a client may be stricter, never looser", policy.Profile)
		}
	}
	for _, r := range c.ResponseTypes {
		if r != oauth2.ResponseTypeCode && c.Profile.AllowsTokenResponses() && !slices.Contains(policy.ResponseTypes, r) {
			bad("response_types", "%q is not among the response types that the tenant's policy allows", r)
		}
	}
	for _, t := range c.AuthorizationDetailsTypes {
		if !slices.ContainsFunc(policy.DetailTypes, func(d oauth2.DetailType) bool { return d.Type == t }) {
			bad("authorization_details_types", "%q is not among the types that the tenant's policy has", t)
		}
	}
	for _, a := range [...]struct{ field, alg string }{
		{"id_token_signed_response_alg", s.IDTokenSignedResponseAlg},
		{"userinfo_signed_response_alg", c.UserInfoAlg},
		{"authorization_signed_response_alg", c.AuthorizationAlg},
		{"introspection_signed_response_alg", c.IntrospectionAlg},
	} {
		// ES256 is every tenant's.
		if a.alg != "" && a.alg != "ES256" && a.alg != policy.AccessAlg && !slices.Contains(policy.IDTokenAlgs, a.alg) {
			bad(a.field, "the tenant has no %s key: add %s to token_policy.id_token_algs of its policy", a.alg, a.alg)
		}
	}
	return vs
}

// ClientWarnings lists what RFC 9700 advises against and the client does, and what does not work yet.
func ClientWarnings(c *Client) (ws []Warning) {
	warn := func(reason, field, text string) { ws = append(ws, Warning{Reason: reason, Field: field, Text: text}) }
	for _, r := range c.protocol().GetResponseTypes() {
		if r != oauth2.ResponseTypeCode {
			warn(WarnFrontChannelTokens, "protocol.response_types", fmt.Sprintf(
				"%q sends tokens through the browser, where they can leak or be injected: use code (RFC 9700 section 2.1.2)", r))
		}
	}
	if c.SealsSecrets() {
		warn(WarnSecretJWT, "token_endpoint_auth_method",
			"client_secret_jwt needs its secret in a form that can be opened on both sides: use private_key_jwt (RFC 9700 section 2.5)")
		if len(c.Secrets) > 0 && !slices.ContainsFunc(c.Secrets, func(x ClientSecret) bool { return x.Sealed != nil }) {
			warn(WarnSecretUnusable, "secrets", "of the secrets that were made before, only hashes are kept: add one for client_secret_jwt")
		}
	}
	if c.PKCEOptional && c.Type == ClientConfidential && slices.Contains(c.GrantTypes, oauth2.GrantTypeAuthorizationCode) {
		warn(WarnPKCEOptional, "pkce_optional", "without PKCE a code that was injected into this client is not noticed (RFC 9700 section 2.1.1)")
	}
	return ws
}

// PolicyWarnings lists what RFC 9700 advises against and a policy allows, and types of authorization_details whose contents people would
// approve unseen (RFC 9396 section 12), of the fields that it sets itself. field stands in front of
// their names, with its dot.
func PolicyWarnings(p *Policy, field string) (ws []Warning) {
	if p == nil || p.Policy == nil {
		return nil
	}
	o := p.GetOauth()
	warn := func(reason, name, text string) {
		ws = append(ws, Warning{Reason: reason, Field: field + "oauth_policy." + name, Text: text})
	}
	if list := o.GetResponseTypes().GetValues(); len(list) > 0 {
		warn(WarnFrontChannelTokens, "response_types", "clients may register for "+strings.Join(list, ", ")+
			", which send tokens through the browser (RFC 9700 section 2.1.2)")
	}
	if o.GetLegacyAssertionAudience() {
		warn(WarnLegacyAudience, "legacy_assertion_audience",
			"a client assertion that names more than the issuer can be used at an authorization server that the client did not mean")
	}
	if o.GetDynamicRegistration() == snapshot.RegistrationOpen {
		warn(WarnOpenRegistration, "dynamic_registration", "everybody can register clients; people see the consent page of clients that nobody has looked at")
	}
	for _, text := range o.GetAuthorizationDetailsTypes().GetValues() {
		d, err := oauth2.ParseDetailType(text)
		if err != nil || len(ws) >= MaxWarnings {
			continue // such a policy is refused elsewhere
		}
		if hidden := unseen("", d.Fields); len(hidden) > 0 {
			if more := len(hidden) - maxUnseen; more > 0 {
				hidden = append(hidden[:maxUnseen:maxUnseen], fmt.Sprintf("and %d more", more))
			}
			warn(WarnDetailUnseen, "authorization_details_types", fmt.Sprintf(
				"type %q: the consent page does not show %s: give each a label, so that people see what they approve", d.Type, strings.Join(hidden, ", ")))
		} else if len(d.Fields) > 0 && !shown(d.Fields) {
			warn(WarnDetailUnseen, "authorization_details_types", fmt.Sprintf(
				"type %q: no field has a label, so the consent page shows none of them: people approve what they do not see", d.Type))
		}
	}
	return ws
}

// unseen lists the required fields that the consent page leaves out. What is in an object without a label is left out with it, and an
// object with one shows the fields alone that have one, too.
func unseen(prefix string, fields []oauth2.DetailField) (names []string) {
	for i := range fields {
		switch f := &fields[i]; {
		case f.Label != "":
			names = append(names, unseen(prefix+f.Name+".", f.Fields)...)
		case f.Required:
			names = append(names, prefix+f.Name)
		}
	}
	return names
}

// shown says whether the consent page may show any of the fields.
func shown(fields []oauth2.DetailField) bool {
	return slices.ContainsFunc(fields, func(f oauth2.DetailField) bool {
		return f.Label != "" && (f.Kind != "object" || shown(f.Fields))
	})
}

// WrapMessages are the wraps of a sealed value as the snapshot carries them.
func WrapMessages(wraps []secret.Wrap) []*snapshotv1.KeyWrap {
	out := make([]*snapshotv1.KeyWrap, len(wraps))
	for i, w := range wraps {
		out[i] = &snapshotv1.KeyWrap{Region: w.Region, Purpose: w.Purpose, KeyId: w.KeyID, EncapsulatedKey: w.Encapsulated, Ciphertext: w.Ciphertext}
	}
	return out
}
