// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/secret"
	"github.com/tenantry/tenantry/pkg/snapshot"
	"github.com/tenantry/tenantry/services/dataplane/internal/clientkeys"
	"github.com/tenantry/tenantry/services/dataplane/internal/grant"
	"github.com/tenantry/tenantry/services/dataplane/internal/requestobject"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
)

// clientForm reads the form of a request and authenticates the client that it is from.
func (s *Service) clientForm(w http.ResponseWriter, r *http.Request, q *web.Request) (oauth2.Params, *oauth2.Client, error) {
	params, err := web.ReadForm(w, r)
	if err != nil {
		return oauth2.Params{}, nil, err
	}
	client, err := s.authenticate(w, r, q, params)
	return params, client, err
}

// authenticate finds and authenticates the client of a request (RFC 6749 section 2.3), by the one method that it is registered for.
// The error is the same for a client that is unknown, disabled, of another tenant, or has not proven itself. Only a client that has
// is told that its profile does not allow what it did.
func (s *Service) authenticate(w http.ResponseWriter, r *http.Request, q *web.Request, p oauth2.Params) (*oauth2.Client, error) {
	authorization, err := oneHeader(r, "Authorization")
	if err != nil {
		return nil, err
	}
	credentials, err := oauth2.ParseClientCredentials(authorization, p)
	if err != nil {
		return nil, err
	}
	client, ok := q.Tenant.Client(credentials.ClientID)
	if !ok {
		return nil, credentials.Refused()
	}
	// Safe to log from here on: it names a client of the tenant, not whatever the caller sent.
	q.Note(slog.String("client_id", client.ID))
	method, ok := client.MethodOf(credentials)
	q.Note(slog.String("auth_method", method))
	switch method {
	case oauth2.AuthMethodPrivateKeyJWT, oauth2.AuthMethodSecretJWT, oauth2.AuthMethodTLS, oauth2.AuthMethodSelfSignedTLS:
		if !ok || !client.Enabled {
			return nil, credentials.Refused()
		}
		err = s.prove(r.Context(), q, client, method, credentials)
	default:
		err = client.Authenticate(credentials, q.Start)
	}
	if err != nil {
		return nil, err
	}
	if err := client.CheckProfile(); err != nil {
		return nil, err
	}
	denyForeignOrigin(w, r, q.Tenant, client)
	return client, nil
}

// prove checks what a client presents that authenticates by a key. What is wrong goes to the log; the client is told what everybody is
// told. A dependency that is away is 503: the client has done nothing wrong, and may come again.
func (s *Service) prove(ctx context.Context, q *web.Request, c *oauth2.Client, method string, credentials oauth2.ClientCredentials) error {
	var err error
	switch method {
	case oauth2.AuthMethodTLS:
		err = s.checkCertificate(q, c)
	case oauth2.AuthMethodSelfSignedTLS:
		if q.ClientCertificate == nil {
			err = errNoCertificate
		} else {
			err = s.keys.Certificate(ctx, c, q.ClientCertificate)
		}
	default:
		err = s.checkAssertion(ctx, q, c, method, credentials.Assertion)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, clientkeys.ErrUnavailable), errors.Is(err, grant.ErrUnavailable), errors.Is(err, secret.ErrNoWrap):
		return web.Unavailable(err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return credentials.Refused().WithCause(err)
}

// maxAssertion bounds the text of a client assertion.
const maxAssertion = 8 << 10

// hmacAlgs are the algorithms of client_secret_jwt.
var hmacAlgs = []jose.Algorithm{jose.HS256, jose.HS384, jose.HS512}

// checkAssertion checks a client assertion (RFC 7523 section 3) and that it was not presented before.
func (s *Service) checkAssertion(ctx context.Context, q *web.Request, c *oauth2.Client, method, assertion string) error {
	opt := jose.VerifyOptions{Typ: oauth2.AssertionTypes, MaxBytes: maxAssertion}
	var payload []byte
	var err error
	if method == oauth2.AuthMethodPrivateKeyJWT {
		opt.Algorithms = requestobject.Algorithms(c, c.AssertionAlg)
		payload, _, err = s.keys.Verify(ctx, c, assertion, opt)
	} else {
		if opt.Algorithms = hmacAlgs; c.AssertionAlg != "" {
			opt.Algorithms = []jose.Algorithm{jose.Algorithm(c.AssertionAlg)}
		}
		payload, err = s.verifySecretJWT(c, assertion, opt, q.Start)
	}
	if err != nil {
		return err
	}
	claims, err := oauth2.ParseAssertion(payload)
	if err != nil {
		return err
	}
	rules := oauth2.AssertionRules{ClientID: c.ID, Issuer: q.Tenant.Issuer, Now: q.Start}
	if q.Tenant.Policy.LegacyAssertionAudience && !c.Profile.StrictAssertionAudience() {
		rules.Legacy = legacyAudiences(q.Tenant)
	}
	if err := claims.Check(rules); err != nil {
		return err
	}
	return s.grants.Once(ctx, q.Tenant.ID, q.Start, grant.Single{
		Kind: grant.OnceAssertion, Parts: [2]string{c.ID, claims.ID}, Issued: claims.Issued(), Until: claims.ExpireTime.Add(replaySkew),
	})
}

// replaySkew is for how long after its end a thing that counts once is remembered, for replicas whose clocks run behind.
const replaySkew = time.Minute

// legacyAudiences are the addresses that older clients put into `aud`: OpenID Connect Core section 9 named the token endpoint, RFC 9126
// section 2 allows that and the PAR endpoint, CIBA Core section 7.1 the backchannel authentication endpoint.
func legacyAudiences(t *snapshot.Tenant) []string {
	issuer := strings.TrimSuffix(t.Issuer, "/")
	return []string{issuer + oidc.PathToken, issuer + oidc.PathPushedRequest, issuer + oidc.PathBackchannel}
}

// errNoSecret is for the log.
var errNoSecret = errors.New("token: no secret of the client verifies the assertion")

// verifySecretJWT tries the client's secrets that are valid. All of them are ours, so a few hashes are all that it costs.
func (s *Service) verifySecretJWT(c *oauth2.Client, assertion string, opt jose.VerifyOptions, now time.Time) ([]byte, error) {
	for i := range c.Secrets {
		one := &c.Secrets[i]
		if one.Sealed == nil || !one.ExpireTime.IsZero() && !now.Before(one.ExpireTime) {
			continue
		}
		text, err := s.secrets.open(s.opener, c, one)
		if err != nil {
			return nil, fmt.Errorf("token: client secret of %s: %w", c.ID, err)
		}
		payload, _, err := jose.VerifyHMAC(text, assertion, opt)
		if err == nil {
			return payload, nil
		}
		if !errors.Is(err, jose.ErrSignature) {
			return nil, err
		}
	}
	return nil, errNoSecret
}

// openedSecrets are client secrets that were opened: opening one costs an X25519. They are found by the secret's id and believed only
// for the ciphertext that they were opened from.
type openedSecrets struct {
	mu   sync.Mutex
	byID map[id.ClientSecret]openedSecret
}

type openedSecret struct {
	ciphertext []byte
	text       []byte
}

const maxOpenedSecrets = 4096

func (o *openedSecrets) open(opener *secret.Opener, c *oauth2.Client, one *oauth2.ClientSecret) ([]byte, error) {
	o.mu.Lock()
	found, ok := o.byID[one.ID]
	o.mu.Unlock()
	if ok && bytes.Equal(found.ciphertext, one.Sealed.Ciphertext) {
		return found.text, nil
	}
	text, err := opener.Open(snapshot.ClientSecretAAD(c.UID, one.ID), *one.Sealed)
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byID == nil || len(o.byID) >= maxOpenedSecrets {
		o.byID = make(map[id.ClientSecret]openedSecret)
	}
	o.byID[one.ID] = openedSecret{ciphertext: one.Sealed.Ciphertext, text: text}
	return text, nil
}

// Errors of certificates, for the log.
var (
	errNoCertificate = errors.New("token: no client certificate")
	errNoAuthorities = errors.New("token: client_certificates.ca_file is not configured")
	errCertificate   = errors.New("token: the certificate is another client's")
)

// checkCertificate checks the certificate of tls_client_auth (RFC 8705 section 2.1): issued by an authority that the configuration
// names, valid now, for clients, and with the name that the client registered.
func (s *Service) checkCertificate(q *web.Request, c *oauth2.Client) error {
	cert := q.ClientCertificate
	switch {
	case cert == nil:
		return errNoCertificate
	case !c.MatchesCertificate(cert):
		return errCertificate
	case s.clientCAs == nil:
		return errNoAuthorities
	}
	chain := x509.NewCertPool()
	for _, one := range q.ClientChain {
		chain.AddCert(one)
	}
	_, err := cert.Verify(x509.VerifyOptions{
		Roots: s.clientCAs, Intermediates: chain, CurrentTime: q.Start, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}
