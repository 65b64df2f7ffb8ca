// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package conformance_test

import "slices"

// The plans of the suite with the names of their modules, in its order.

// plans are all plans in the variants that this server is held against.
func plans() []*plan {
	return slices.Concat(
		oidcPlans(),
		rpLogoutPlans(),
		tokenPlans(),
		fapi2Plans(),
		otherLogoutPlans(),
		cibaPlans(),
		dynamicPlans(),
	)
}

// inBasic are the modules of the basic plan; the hybrid and implicit plans have most of them.
var inBasic = []string{
	"oidcc-server", "oidcc-response-type-missing", "oidcc-idtoken-signature", "oidcc-idtoken-unsigned", "oidcc-userinfo-get", "oidcc-userinfo-post-header", "oidcc-userinfo-post-body",
	"oidcc-ensure-request-without-nonce-succeeds-for-code-flow", "oidcc-scope-profile", "oidcc-scope-email", "oidcc-scope-address", "oidcc-scope-phone", "oidcc-scope-all",
	"oidcc-alternate-happy-flow", "oidcc-display-page", "oidcc-display-popup", "oidcc-prompt-login", "oidcc-prompt-none-not-logged-in", "oidcc-prompt-none-logged-in", "oidcc-max-age-1",
	"oidcc-max-age-10000", "oidcc-ensure-request-with-unknown-parameter-succeeds", "oidcc-id-token-hint", "oidcc-login-hint", "oidcc-ui-locales", "oidcc-claims-locales",
	"oidcc-ensure-request-with-acr-values-succeeds", "oidcc-codereuse", "oidcc-codereuse-30seconds", "oidcc-ensure-registered-redirect-uri",
	"oidcc-ensure-post-request-succeeds", "oidcc-server-client-secret-post", "oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported",
	"oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported", "oidcc-claims-essential", "oidcc-ensure-request-object-with-redirect-uri",
	"oidcc-refresh-token", "oidcc-ensure-request-with-valid-pkce-succeeds",
}

// notImplicit are the modules of the basic plan that the implicit plan lacks, notHybrid those that the hybrid plan lacks.
var (
	notImplicit = []string{
		"oidcc-idtoken-unsigned", "oidcc-ensure-request-without-nonce-succeeds-for-code-flow", "oidcc-codereuse", "oidcc-codereuse-30seconds", "oidcc-ensure-post-request-succeeds",
		"oidcc-server-client-secret-post", "oidcc-refresh-token", "oidcc-ensure-request-with-valid-pkce-succeeds",
	}
	notHybrid = []string{"oidcc-idtoken-unsigned", "oidcc-ensure-post-request-succeeds"}
)

// onlyDynamic are modules that the suite runs for clients that register themselves.
var onlyDynamic = []string{"oidcc-idtoken-signature", "oidcc-idtoken-unsigned", "oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported"}

var inConfig = []string{"oidcc-discovery-endpoint-verification"}

var inDynamic = []string{
	"oidcc-server", "oidcc-idtoken-unsigned", "oidcc-ensure-request-object-with-redirect-uri", "oidcc-refresh-token", "oidcc-discovery-endpoint-verification", "oidcc-idtoken-rs256",
	"oidcc-userinfo-rs256", "oidcc-ensure-redirect-uri-in-authorization-request", "oidcc-redirect-uri-query-OK", "oidcc-redirect-uri-query-mismatch",
	"oidcc-redirect-uri-query-added", "oidcc-redirect-uri-regfrag", "oidcc-registration-logo-uri", "oidcc-registration-policy-uri", "oidcc-registration-tos-uri",
	"oidcc-registration-jwks-uri", "oidcc-registration-sector-uri", "oidcc-registration-sector-bad", "oidcc-server-rotate-keys", "oidcc-refresh-token-rp-key-rotation",
	"oidcc-request-uri-unsigned", "oidcc-request-uri-signed-rs256", "oidcc-ensure-client-assertion-with-iss-aud-succeeds",
}

var (
	inBackchannelLogout  = []string{"oidcc-backchannel-logout-discovery-endpoint-verification", "oidcc-backchannel-rp-initiated-logout"}
	inFrontchannelLogout = []string{"oidcc-frontchannel-logout-discovery-endpoint-verification", "oidcc-frontchannel-rp-initiated-logout"}
	inSessionManagement  = []string{"oidcc-session-management-discovery-endpoint-verification", "oidcc-session-management-rp-initiated-logout"}
	inThirdPartyInit     = []string{"oidcc-3rd_party-init-login", "oidcc-3rd_party-init-login-nohttps"}
)

var inRPLogout = []string{
	"oidcc-rp-initiated-logout-discovery-endpoint-verification", "oidcc-rp-initiated-logout", "oidcc-rp-initiated-logout-bad-post-logout-redirect-uri", "oidcc-rp-initiated-logout-modified-id-token-hint", "oidcc-rp-initiated-logout-no-id-token-hint", "oidcc-rp-initiated-logout-no-params",
	"oidcc-rp-initiated-logout-no-post-logout-redirect-uri", "oidcc-rp-initiated-logout-no-state", "oidcc-rp-initiated-logout-only-state", "oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri", "oidcc-rp-initiated-logout-bad-id-token-hint",
}
