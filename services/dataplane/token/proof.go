// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// bind finds the key that the tokens of a request will be bound to, and refuses a request that lacks what its client is registered for
// or its profile demands. It comes before any grant is looked at, so a wrong proof uses up nothing.
func (s *Service) bind(w http.ResponseWriter, r *http.Request, q *web.Request, c *oauth2.Client) (b oauth2.Binding, err error) {
	if b.JKT, err = s.proof(w, r, q, c.Profile, ""); err != nil {
		return oauth2.Binding{}, err
	}
	dpop, tls, required := c.SenderConstraint()
	if cert := q.ClientCertificate; cert != nil && (tls || required && b.JKT == "") {
		b.X5T = jose.CertificateThumbprint(cert.Raw)
	}
	switch {
	case tls && !dpop && b.X5T == "":
		return oauth2.Binding{}, oauth2.InvalidRequest("this client needs a client certificate")
	case required && b.IsZero(), dpop && !tls && b.JKT == "":
		return oauth2.Binding{}, oauth2.InvalidProof("this client needs a DPoP proof")
	}
	if !b.IsZero() {
		kind := "mtls"
		if b.JKT != "" {
			kind = "dpop"
		}
		q.Note(slog.String("bound", kind))
	}
	return b, nil
}

// ofFamily is what of a binding the refresh tokens of a client are bound to, too: nothing for a client that authenticates, since that
// binds them better (RFC 9449 section 5, RFC 8705 section 4).
func ofFamily(c *oauth2.Client, b oauth2.Binding) string {
	switch {
	case !c.Public:
		return ""
	case b.JKT != "":
		return oauth2.Binding{JKT: b.JKT}.String()
	}
	return b.String()
}

// proof checks the DPoP proof of a request (RFC 9449 section 4.3) and answers the thumbprint of its key; empty when there is none.
// With an access token, `ath` must be its hash. Errors are *oauth2.Error.
func (s *Service) proof(w http.ResponseWriter, r *http.Request, q *web.Request, profile oauth2.Profile, accessToken string) (jkt string, err error) {
	values := r.Header["Dpop"]
	switch len(values) {
	case 0:
		return "", nil
	case 1:
	default:
		return "", oauth2.InvalidProof("more than one DPoP proof")
	}
	payload, jkt, _, err := jose.VerifyEmbedded(values[0], proofOptions[profile >= oauth2.ProfileFAPI2])
	if err != nil {
		return "", oauth2.InvalidProof("the DPoP proof is not a JWT that is signed by its own key as it should be").WithCause(err)
	}
	p, err := oauth2.ParseProof(payload)
	if err != nil {
		return "", oauth2.InvalidProof("the DPoP proof lacks a claim or has a malformed one").WithCause(err)
	}
	path := r.URL.Path
	if err := p.Check(oauth2.ProofRules{
		Method: r.Method, URLs: []string{strings.TrimSuffix(q.Tenant.Issuer, "/") + path, q.Scheme + "://" + q.Host + path}, Now: q.Start, Token: accessToken,
	}); err != nil {
		return "", oauth2.InvalidProof("the DPoP proof is not for this request").WithCause(err)
	}
	if err := s.checkNonce(w, q, p.Nonce); err != nil {
		return "", err
	}
	err = s.grants.Once(r.Context(), q.Tenant.ID, q.Start, grant.Single{
		Kind: grant.OnceProof, Parts: [2]string{jkt, p.ID}, Issued: p.IssuedAt, Until: p.Until().Add(replaySkew),
	})
	switch {
	case errors.Is(err, grant.ErrReplayed):
		return "", oauth2.InvalidProof("the DPoP proof was presented before").WithCause(err)
	case err != nil:
		return "", grantsError(err)
	}
	return jkt, nil
}

// proofOptions are what the JWT of a proof looks like; true is for the FAPI profiles.
var proofOptions = map[bool]jose.VerifyOptions{
	false: {Typ: []string{oauth2.TypeProof}, Algorithms: algorithms(oauth2.ProofAlgs(oauth2.ProfileBaseline)), MaxBytes: oauth2.MaxProofBytes},
	true:  {Typ: []string{oauth2.TypeProof}, Algorithms: algorithms(oauth2.ProofAlgs(oauth2.ProfileFAPI2)), MaxBytes: oauth2.MaxProofBytes},
}

func algorithms(names []string) []jose.Algorithm {
	all := make([]jose.Algorithm, 0, len(names))
	for _, n := range names {
		all = append(all, jose.Algorithm(n))
	}
	return all
}

// A nonce is the number of its window, 8 bytes, and half of a MAC over it under the tenant's runtime key: every replica makes and
// accepts the same one, and nobody stores it. It counts in its window and the next.
const (
	purposeNonce = "dpop-nonce"
	nonceWindow  = 2 * time.Minute
	nonceMAC     = 16
)

// checkNonce checks `nonce` (RFC 9449 section 8). A proof without one is refused where the configuration wants nonces; a wrong or old
// one is refused anywhere, since a client that sends one means it to protect. The refusal carries the nonce to use, and so does every
// answer where nonces are wanted.
func (s *Service) checkNonce(w http.ResponseWriter, q *web.Request, nonce string) error {
	keys := s.keyring.Tenant(q.Tenant.ID)
	valid := nonce == "" && !s.nonces || nonce != "" && validNonce(keys, nonce, q.Start)
	if s.nonces || !valid {
		w.Header().Set(oauth2.HeaderDPoPNonce, newNonce(keys, q.Start))
	}
	if !valid {
		return oauth2.UseNonce()
	}
	return nil
}

func newNonce(keys secret.TenantKeys, now time.Time) string {
	var b [8 + nonceMAC]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.Unix()/int64(nonceWindow/time.Second))) //nolint:gosec // a time after 1970
	mac := keys.MAC(purposeNonce, b[:8])
	copy(b[8:], mac[:nonceMAC])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func validNonce(keys secret.TenantKeys, nonce string, now time.Time) bool {
	for _, at := range [...]time.Time{now, now.Add(-nonceWindow)} {
		if sameText(nonce, newNonce(keys, at)) {
			return true
		}
	}
	return false
}

// checkBinding holds an access token that is presented to a protected resource against what was proven there: the key of a bound token
// must be shown, and the scheme must be the one of the token (RFC 9449 section 7.1, RFC 8705 section 3).
func (s *Service) checkBinding(w http.ResponseWriter, r *http.Request, q *web.Request, scheme, text string, c *oidc.AccessTokenClaims) error {
	b := c.Binding
	bound := b.JKT != ""
	if (scheme == oauth2.TokenTypeDPoP) != bound {
		// A bound token as a bearer token is what a thief has; a bearer token with a proof would let a client believe that it was bound.
		return oauth2.ResourceError(oauth2.InvalidToken("the access token is not of this scheme"), bound)
	}
	profile := q.Tenant.Policy.Profile
	if client, ok := q.Tenant.Client(c.ClientID); ok {
		profile = client.Profile
	}
	if profile.RequiresSenderConstraint() && b.IsZero() {
		return oauth2.ResourceError(oauth2.InvalidToken("the security profile has no tokens without a key: this one is from before"), false)
	}
	if bound {
		jkt, err := s.proof(w, r, q, profile, text)
		switch {
		case err != nil:
			if e := oauth2.AsError(err); e.Code == oauth2.CodeInvalidDPoPProof || e.Code == oauth2.CodeUseDPoPNonce {
				return oauth2.ResourceError(e, true)
			}
			return err
		case jkt == "":
			return oauth2.ResourceError(oauth2.InvalidProof("a DPoP proof is needed"), true)
		case !sameText(jkt, b.JKT):
			return oauth2.ResourceError(oauth2.InvalidToken("the access token is bound to another key"), true)
		}
	}
	if b.X5T != "" && (q.ClientCertificate == nil || !sameText(jose.CertificateThumbprint(q.ClientCertificate.Raw), b.X5T)) {
		return oauth2.ResourceError(oauth2.InvalidToken("the access token is bound to another certificate"), bound)
	}
	return nil
}

// pushedProof is the key that a pushed request names: by its proof, by dpop_jkt, or by both, which must agree (RFC 9449 section 10.1).
func (s *Service) pushedProof(w http.ResponseWriter, r *http.Request, q *web.Request, c *oauth2.Client, named string) (string, error) {
	jkt, err := s.proof(w, r, q, c.Profile, "")
	switch {
	case err != nil:
		return "", err
	case jkt == "":
		return named, nil
	case named != "" && !sameText(named, jkt):
		return "", oauth2.InvalidProof("dpop_jkt is not the key of the DPoP proof")
	}
	return jkt, nil
}

// sameText compares in constant time.
func sameText(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
