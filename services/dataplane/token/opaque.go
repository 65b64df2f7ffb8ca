// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// An opaque access token (Protocol.OpaqueAccessTokens) is the same payload as that of a JWT, sealed with the tenant's runtime key:
// nobody but the introspection and UserInfo endpoints can read it, and they need no store for that. A reference into the runtime Redis
// would be shorter, but would cost a write for each token, would end all of them when Redis loses its memory, and would stop
// client_credentials while Redis is away, which PROMISES section 3 says it does not. Revocation works as for JWTs, by `jti`, session
// and grant.
const (
	opaquePrefix  = "oat_"
	purposeOpaque = "access-token"
)

// sealAccess makes an opaque token of a payload.
func (m *Minter) sealAccess(t *snapshot.Tenant, payload []byte) (string, error) {
	if m.keyring == nil {
		return "", fmt.Errorf("token: opaque tokens of %s need the runtime keyring", t.ID)
	}
	sealed := m.keyring.Tenant(t.ID).Seal(purposeOpaque, payload, []byte(opaquePrefix))
	b := make([]byte, 0, len(opaquePrefix)+base64.RawURLEncoding.EncodedLen(len(sealed)))
	return string(base64.RawURLEncoding.AppendEncode(append(b, opaquePrefix...), sealed)), nil
}

// access checks an access token of either kind at a tenant. Errors mean that it is not one of its live tokens.
func (s *Service) access(t *snapshot.Tenant, token string, now time.Time) (accessToken, error) {
	text, ok := strings.CutPrefix(token, opaquePrefix)
	if !ok {
		return verifyAccess(t, token, now)
	}
	if len(text) > maxAccessToken {
		return accessToken{}, oidc.ErrAccessToken
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return accessToken{}, fmt.Errorf("%w: not base64url", oidc.ErrAccessToken)
	}
	payload, err := s.keyring.Tenant(t.ID).Open(purposeOpaque, sealed, []byte(opaquePrefix))
	if err != nil {
		return accessToken{}, fmt.Errorf("%w: %w", oidc.ErrAccessToken, err)
	}
	return checkAccess(t, payload, now)
}

var typeIntrospection = []string{oidc.MediaTypeIntrospection}

// writeIntrospection answers with JSON, or with the same signed for a resource server that asks for that or is registered for it (RFC
// 9701).
func (s *Service) writeIntrospection(w http.ResponseWriter, r *http.Request, q *web.Request, c *oauth2.Client, body []byte) error {
	if c.IntrospectionAlg == "" && !wantsSigned(r.Header["Accept"]) {
		web.WriteJSON(w, http.StatusOK, body)
		return nil
	}
	alg := c.IntrospectionAlg
	if alg == "" {
		alg = defaultIntrospectionAlg
	}
	signer, err := s.mint.signer(q.Tenant, alg)
	if err != nil {
		return err
	}
	token, err := signer.Sign(oidc.TypeIntrospection, oidc.AppendIntrospectionJWT(make([]byte, 0, len(body)+256), q.Tenant.Issuer, c.ID, q.Start, body))
	if err != nil {
		return err
	}
	h := w.Header()
	h["Content-Type"] = typeIntrospection
	h["Cache-Control"] = noStore
	h["Content-Length"] = []string{strconv.Itoa(len(token))}
	w.WriteHeader(http.StatusOK)
	w.Write([]byte(token)) //nolint:errcheck,gosec // the caller is gone, there is nobody to tell; a JWT of ours is no page
	return nil
}

// defaultIntrospectionAlg is for who registered none.
const defaultIntrospectionAlg = "ES256"

// wantsSigned says whether Accept names the media type of a signed answer. Its weight is of no interest: who does not want it does not
// name it, except with a weight of zero.
func wantsSigned(accept []string) bool {
	for _, field := range accept {
		for one := range strings.SplitSeq(field, ",") {
			media, params, _ := strings.Cut(one, ";")
			if strings.EqualFold(strings.TrimSpace(media), oidc.MediaTypeIntrospection) {
				weight, found := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
				return !found || strings.Trim(weight, "0.") != ""
			}
		}
	}
	return false
}
