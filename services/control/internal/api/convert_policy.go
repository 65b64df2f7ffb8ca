// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package api

import (
	"strings"

	"google.golang.org/protobuf/proto"

	controlv1 "github.com/tenantry/tenantry/proto/gen/tenantry/control/v1"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/control/internal/tenancy"
)

// policyPaths pairs the path of a policy field here with its path in the snapshot contract. A test demands a row for each field of
// TenantConfig.
var policyPaths = [][2]string{
	{"password_policy.min_length", "password.min_length"},
	{"password_policy.common_check", "password.common_check"},
	{"session_policy.idle_lifetime", "session.idle_ttl"},
	{"session_policy.absolute_lifetime", "session.absolute_ttl"},
	{"token_policy.access_ttl", "token.access_ttl"},
	{"token_policy.refresh_ttl", "token.refresh_ttl"},
	{"token_policy.id_token_ttl", "token.id_token_ttl"},
	{"token_policy.access_alg", "token.access_alg"},
	{"token_policy.id_token_algs", "token.id_token_algs"},
	{"token_policy.refresh_grace", "token.refresh_grace"},
	{"token_policy.refresh_absolute_ttl", "token.refresh_absolute_ttl"},
	{"artifact_lifetimes.code", "lifetimes.code"},
	{"artifact_lifetimes.invitation", "lifetimes.invitation"},
	{"email_config.from", "email.from"},
	{"email_config.from_name", "email.from_name"},
	{"registration.enabled", "registration.enabled"},
	{"cors.origins", "cors.origins"},
	{"artifact_lifetimes.pushed_request", "lifetimes.pushed_request"},
	{"artifact_lifetimes.device_code", "lifetimes.device_code"},
	{"artifact_lifetimes.backchannel_request", "lifetimes.backchannel_request"},
	{"oauth_policy.security_profile", "oauth.security_profile"},
	{"oauth_policy.response_types", "oauth.response_types"},
	{"oauth_policy.dynamic_registration", "oauth.dynamic_registration"},
	{"oauth_policy.client_id_metadata_documents", "oauth.client_id_metadata_documents"},
	{"oauth_policy.legacy_assertion_audience", "oauth.legacy_assertion_audience"},
	{"oauth_policy.authorization_details_types", "oauth.authorization_details_types"},
	{"oauth_policy.session_management", "oauth.session_management"},
}

// lockedPath is the path in the snapshot contract of a policy field as a blueprint names it: with or without `config.`, in snake_case
// or lowerCamelCase. What is no field is handed on, and refused with its name.
func lockedPath(path string) string {
	p := snake(strings.TrimPrefix(path, "config."))
	for _, pair := range policyPaths {
		if p == pair[0] {
			return pair[1]
		}
	}
	return path
}

// lockedName is the inverse of lockedPath.
func lockedName(path string) string {
	for _, pair := range policyPaths {
		if path == pair[1] {
			return "config." + pair[0]
		}
	}
	return path
}

// policyField is the path of a violated field as callers know it: the domain names the fields of a policy as the snapshot does.
func policyField(path string) string {
	for _, pair := range policyPaths {
		if head, ok := strings.CutSuffix(path, "."+pair[1]); ok && (strings.HasSuffix(head, "overrides") || strings.HasSuffix(head, "draft")) {
			if strings.HasSuffix(head, "draft") {
				head += ".config"
			}
			return head + "." + pair[0]
		}
	}
	return path
}

func snake(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= 'A' && c <= 'Z' {
			b.WriteByte('_')
			b.WriteByte(c | 0x20)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// policyOfConfig is nil for a config that sets nothing.
func policyOfConfig(c *controlv1.TenantConfig) *tenancy.Policy {
	p := &snapshotv1.Policy{}
	if x := c.GetPasswordPolicy(); x != nil {
		p.Password = &snapshotv1.PasswordPolicy{CommonCheck: x.CommonCheck}
		if x.MinLength != nil {
			p.Password.MinLength = proto.Uint32(uint32(x.GetMinLength())) //nolint:gosec // 8 to 128 by rule
		}
	}
	if x := c.GetSessionPolicy(); x != nil {
		p.Session = &snapshotv1.SessionPolicy{IdleTtl: x.GetIdleLifetime(), AbsoluteTtl: x.GetAbsoluteLifetime()}
	}
	if x := c.GetTokenPolicy(); x != nil {
		p.Token = &snapshotv1.TokenPolicy{
			AccessTtl: x.GetAccessTtl(), IdTokenTtl: x.GetIdTokenTtl(), RefreshTtl: x.GetRefreshTtl(), RefreshAbsoluteTtl: x.GetRefreshAbsoluteTtl(),
			RefreshGrace: x.GetRefreshGrace(), AccessAlg: x.AccessAlg,
		}
		if len(x.GetIdTokenAlgs()) > 0 {
			p.Token.IdTokenAlgs = &snapshotv1.StringList{Values: x.GetIdTokenAlgs()}
		}
	}
	if x := c.GetArtifactLifetimes(); x != nil {
		p.Lifetimes = &snapshotv1.ArtifactLifetimes{
			Code: x.GetCode(), Invitation: x.GetInvitation(), PushedRequest: x.GetPushedRequest(), DeviceCode: x.GetDeviceCode(),
			BackchannelRequest: x.GetBackchannelRequest(),
		}
	}
	if x := c.GetRegistration(); x != nil {
		p.Registration = &snapshotv1.RegistrationPolicy{Enabled: x.Enabled}
	}
	if x := c.GetEmailConfig(); x != nil {
		p.Email = &snapshotv1.EmailConfig{From: x.From, FromName: x.FromName}
	}
	if x := c.GetCors(); x != nil {
		p.Cors = &snapshotv1.CorsPolicy{Origins: &snapshotv1.StringList{Values: x.GetOrigins()}}
	}
	p.Oauth = oauthIn(c.GetOauthPolicy())
	if proto.Size(p) == 0 {
		return nil
	}
	return &tenancy.Policy{Policy: p}
}

// configOfPolicy is the inverse of policyOfConfig; sections that set nothing are absent.
func configOfPolicy(in *tenancy.Policy) *controlv1.TenantConfig {
	if in == nil || in.Policy == nil {
		return nil
	}
	p, c := in.Policy, &controlv1.TenantConfig{}
	if x := p.GetPassword(); x != nil {
		c.PasswordPolicy = &controlv1.PasswordPolicy{CommonCheck: x.CommonCheck}
		if x.MinLength != nil {
			c.PasswordPolicy.MinLength = proto.Int32(int32(x.GetMinLength())) //nolint:gosec // 8 to 128
		}
	}
	if x := p.GetSession(); x != nil {
		c.SessionPolicy = &controlv1.SessionPolicy{IdleLifetime: x.GetIdleTtl(), AbsoluteLifetime: x.GetAbsoluteTtl()}
	}
	if x := p.GetToken(); x != nil {
		c.TokenPolicy = &controlv1.TokenPolicy{
			AccessTtl: x.GetAccessTtl(), RefreshTtl: x.GetRefreshTtl(), IdTokenTtl: x.GetIdTokenTtl(), AccessAlg: x.AccessAlg,
			IdTokenAlgs: x.GetIdTokenAlgs().GetValues(), RefreshGrace: x.GetRefreshGrace(), RefreshAbsoluteTtl: x.GetRefreshAbsoluteTtl(),
		}
	}
	if x := p.GetLifetimes(); x != nil {
		l := &controlv1.ArtifactLifetimes{
			Code: x.GetCode(), Invitation: x.GetInvitation(), PushedRequest: x.GetPushedRequest(), DeviceCode: x.GetDeviceCode(),
			BackchannelRequest: x.GetBackchannelRequest(),
		}
		if proto.Size(l) > 0 {
			c.ArtifactLifetimes = l
		}
	}
	if x := p.GetEmail(); x != nil {
		c.EmailConfig = &controlv1.EmailConfig{From: x.From, FromName: x.FromName}
	}
	if x := p.GetRegistration(); x != nil {
		c.Registration = &controlv1.Registration{Enabled: x.Enabled}
	}
	if x := p.GetCors().GetOrigins(); x != nil {
		c.Cors = &controlv1.Cors{Origins: x.GetValues()}
	}
	c.OauthPolicy = oauthOut(p.GetOauth())
	return c
}

// themeIn is nil for a theme that sets nothing.
func themeIn(t *controlv1.Theme) *tenancy.Theme {
	if t == nil {
		return nil
	}
	m := &snapshotv1.Theme{Title: t.DisplayName, Background: t.Background, Brand: t.Brand}
	if l := t.GetLogo(); l != nil {
		m.Logo = &snapshotv1.Logo{MediaType: l.GetMediaType(), Data: l.GetData(), Alt: l.GetAlt()}
	}
	if proto.Size(m) == 0 {
		return nil
	}
	return &tenancy.Theme{Theme: m}
}

func themeOut(in *tenancy.Theme) *controlv1.Theme {
	if in == nil || in.Theme == nil {
		return nil
	}
	t := &controlv1.Theme{DisplayName: in.Title, Background: in.Background, Brand: in.Brand}
	if l := in.GetLogo(); l != nil {
		t.Logo = &controlv1.Logo{MediaType: l.GetMediaType(), Data: l.GetData(), Alt: l.GetAlt()}
	}
	return t
}
