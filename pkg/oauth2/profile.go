// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package oauth2

// Profile is a set of rules that a tenant or a client has taken on. A later one has all the rules of the earlier ones.
type Profile uint8

// The profiles, from the loosest to the strictest.
const (
	// ProfileBaseline is RFC 9700 with what OpenID Connect needs for compatibility.
	ProfileBaseline Profile = iota
	// ProfileOAuth21 is OAuth 2.1: PKCE for every client, no response types with tokens.
	ProfileOAuth21
	// ProfileFAPI2 is the FAPI 2.0 Security Profile.
	ProfileFAPI2
	// ProfileFAPI2MessageSigning is FAPI 2.0 Message Signing on top: signed requests and signed responses.
	ProfileFAPI2MessageSigning
)

var profileNames = [...]string{"BASELINE", "OAUTH_2_1", "FAPI_2_0", "FAPI_2_0_MESSAGE_SIGNING"}

// ParseProfile reads a profile's name; empty is ProfileBaseline.
func ParseProfile(name string) (p Profile, ok bool) {
	if name == "" {
		return ProfileBaseline, true
	}
	for i, n := range profileNames {
		if n == name {
			return Profile(i), true
		}
	}
	return 0, false
}

// Profiles lists the names of all profiles, the loosest first.
func Profiles() []string { return append([]string(nil), profileNames[:]...) }

// String is the name of the profile.
func (p Profile) String() string {
	if int(p) < len(profileNames) {
		return profileNames[p]
	}
	return "unknown"
}

// RequiresPKCE: OAuth 2.1 section 7.5.2, FAPI 2.0 Security Profile section 5.3.2.2.
func (p Profile) RequiresPKCE() bool { return p >= ProfileOAuth21 }

// AllowsTokenResponses says whether the authorization endpoint may answer with tokens: not in OAuth 2.1 (section 10.1), and in FAPI
// 2.0 the response type is code alone (section 5.3.2.2).
func (p Profile) AllowsTokenResponses() bool { return p < ProfileOAuth21 }

// RequiresPAR: FAPI 2.0 Security Profile section 5.3.2.2.
func (p Profile) RequiresPAR() bool { return p >= ProfileFAPI2 }

// RequiresSenderConstraint says whether access tokens are bound to a key by DPoP or mTLS (section 5.3.2.1).
func (p Profile) RequiresSenderConstraint() bool { return p >= ProfileFAPI2 }

// RequiresConfidentialClient: section 5.3.2.1.
func (p Profile) RequiresConfidentialClient() bool { return p >= ProfileFAPI2 }

// AllowsAuthMethod says whether a client may authenticate so: FAPI 2.0 has private_key_jwt and mTLS alone (section 5.3.2.1).
func (p Profile) AllowsAuthMethod(method string) bool {
	if p < ProfileFAPI2 {
		return true
	}
	return method == AuthMethodPrivateKeyJWT || method == AuthMethodTLS || method == AuthMethodSelfSignedTLS
}

// AllowsAlg says whether a signature of a client or of ours may be made so: PS256, ES256 and EdDSA in FAPI 2.0 (section 5.4.1).
func (p Profile) AllowsAlg(alg string) bool {
	switch alg {
	case "PS256", "ES256", "EdDSA":
		return true
	case "ES384", "RS256":
		return p < ProfileFAPI2
	}
	return false
}

// StrictAssertionAudience says whether a client assertion's `aud` must be the issuer as a string, whatever the tenant's policy says
// (section 5.3.2.1).
func (p Profile) StrictAssertionAudience() bool { return p >= ProfileFAPI2 }

// RotatesRefreshTokens: FAPI 2.0 forbids it but for extraordinary circumstances (section 5.3.2.1); sender-constrained tokens do not
// need it.
func (p Profile) RotatesRefreshTokens() bool { return p < ProfileFAPI2 }

// RequiresSignedRequest: FAPI 2.0 Message Signing section 5.3.1.
func (p Profile) RequiresSignedRequest() bool { return p >= ProfileFAPI2MessageSigning }

// RequiresSignedResponse says whether authorization responses are JWTs (FAPI 2.0 Message Signing section 5.4.2).
func (p Profile) RequiresSignedResponse() bool { return p >= ProfileFAPI2MessageSigning }

// RequestObjectLife is the longest time between `nbf` and `exp` of a request object in seconds, and its longest age; 0 means that
// neither is asked for (FAPI 2.0 Message Signing section 5.3.1). It holds for a client that signs its requests in the Security Profile,
// too: that is Message Signing without signed responses, which the standard lets ecosystems choose.
func (p Profile) RequestObjectLife() int {
	if p >= ProfileFAPI2 {
		return 3600
	}
	return 0
}
