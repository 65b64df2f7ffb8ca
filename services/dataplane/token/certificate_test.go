// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/oauth2"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
	"github.com/tenantry/tenantry/services/dataplane/internal/web"
	"github.com/tenantry/tenantry/services/identity"
)

// authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func issueCert(t *testing.T, from *authority, edit func(*x509.Certificate)) (*authority, tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "app", Organization: []string{"Pied Piper, Inc."}, Country: []string{"US"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	if edit != nil {
		edit(c)
	}
	parent, signer := c, key
	if from != nil {
		parent, signer = from.cert, from.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{parsed, key}, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: parsed}
}

func isCA(c *x509.Certificate) {
	c.IsCA, c.KeyUsage, c.ExtKeyUsage, c.Subject = true, x509.KeyUsageCertSign, nil, pkix.Name{CommonName: "authority"}
}

// tlsRig serves the rig's service over TLS, asking for certificates as the daemon does.
type tlsRig struct {
	*rig
	*bank
	ca               *authority
	pki, self, bound app // tls_client_auth, self_signed_tls_client_auth, public with certificate-bound tokens
	own              tls.Certificate
	endpoint         *httptest.Server
}

func newTLSRig(t *testing.T) *tlsRig {
	t.Helper()
	r := &tlsRig{rig: newRig(t)}
	r.ca, _ = issueCert(t, nil, isCA)
	_, r.own = issueCert(t, nil, nil)
	own := &wallet{key: r.own.PrivateKey.(*ecdsa.PrivateKey), kid: "own"}
	r.bank = r.rig.bank(func(d *snapshotv1.TenantSnapshot) {
		add := func(edit func(*snapshotv1.Client)) app {
			doc, _ := r.world.Client(func(c *snapshotv1.Client) { c.Secrets = nil; edit(c) })
			d.Clients = append(d.Clients, doc)
			return app{id: dptest.ClientID(doc)}
		}
		r.pki = add(func(c *snapshotv1.Client) {
			c.TokenEndpointAuthMethod = oauth2.AuthMethodTLS
			c.Protocol = &snapshotv1.ClientProtocol{TlsClientAuthSubjectDn: `CN=app,O=Pied Piper\, Inc.,C=US`, TlsClientCertificateBoundAccessTokens: true}
		})
		r.self = add(func(c *snapshotv1.Client) {
			c.TokenEndpointAuthMethod = oauth2.AuthMethodSelfSignedTLS
			c.Protocol = &snapshotv1.ClientProtocol{Jwks: own.jwks()}
		})
		r.bound = add(func(c *snapshotv1.Client) {
			c.Public, c.TokenEndpointAuthMethod, c.GrantTypes = true, "none", []string{"authorization_code", "refresh_token"}
			c.Protocol = &snapshotv1.ClientProtocol{TlsClientCertificateBoundAccessTokens: true}
		})
	})
	var err error
	r.bank.site.user, err = r.identity.Register(context.Background(), ref(r.bank.Tenant), identity.Op{Now: r.clock(), Actor: "system"},
		identity.Registration{Email: "gavin@bank.example", Password: password}, identity.PasswordPolicy{MinLength: 12})
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(r.ca.cert)
	r.service.clientCAs = pool
	r.endpoint = httptest.NewUnstartedServer(r.service.Handler())
	r.endpoint.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	r.endpoint.StartTLS()
	t.Cleanup(r.endpoint.Close)
	return r
}

// with sends a request with a certificate; nil for none.
func (r *tlsRig) with(cert *tls.Certificate, method, path string, header http.Header, pairs ...string) *answer {
	r.t.Helper()
	transport := r.endpoint.Client().Transport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	if cert != nil {
		transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	form := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.endpoint.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		r.t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", web.MediaTypeForm)
	}
	old := http.DefaultClient.Transport
	http.DefaultClient.Transport = transport
	defer func() { http.DefaultClient.Transport = old }()
	return r.send(req, r.host)
}

func TestClientCertificates(t *testing.T) {
	r := newTLSRig(t)
	cert := func(from *authority, edit func(*x509.Certificate)) *tls.Certificate {
		_, c := issueCert(t, from, edit)
		return &c
	}
	middle, middleCert := issueCert(t, r.ca, isCA)
	chained := cert(middle, nil)
	withChain := *chained
	withChain.Certificate = append(withChain.Certificate, middleCert.Certificate[0])
	otherCA, _ := issueCert(t, nil, isCA)
	unknown := r.with(cert(r.ca, nil), http.MethodPost, "/oauth2/token", nil, "grant_type", "client_credentials", "client_id", "cli_00000000000000000000000000")
	for _, tc := range []struct {
		name string
		app  app
		cert *tls.Certificate
		ok   bool
	}{
		{"issued by the authority", r.pki, cert(r.ca, nil), true},
		{"with the authority between", r.pki, &withChain, true},
		{"without the authority between", r.pki, chained, false},
		{"no certificate", r.pki, nil, false},
		{"self-signed with the same name", r.pki, cert(nil, nil), false},
		{"by another authority", r.pki, cert(otherCA, nil), false},
		{"another name", r.pki, cert(r.ca, func(c *x509.Certificate) { c.Subject.CommonName = "hooli" }), false},
		{"more in the name", r.pki, cert(r.ca, func(c *x509.Certificate) { c.Subject.OrganizationalUnit = []string{"x"} }), false},
		{"the name in an alternative name", r.pki, cert(r.ca, func(c *x509.Certificate) { c.Subject = pkix.Name{}; c.DNSNames = []string{"app"} }), false},
		{"expired", r.pki, cert(r.ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), false},
		{"for servers", r.pki, cert(r.ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), false},
		{"the registered self-signed one", r.self, &r.own, true},
		{"another self-signed one", r.self, cert(nil, nil), false},
		{"one of the authority for a self-signed client", r.self, cert(r.ca, nil), false},
		{"no certificate for a self-signed client", r.self, nil, false},
	} {
		got := r.with(tc.cert, http.MethodPost, "/oauth2/token", nil, "grant_type", "client_credentials", "client_id", tc.app.id)
		switch {
		case tc.ok && got.StatusCode != 200:
			t.Errorf("%s: %d %s", tc.name, got.StatusCode, got.raw)
		case !tc.ok && (got.StatusCode != 401 || string(got.raw) != string(unknown.raw)):
			t.Errorf("%s: %d %s, want what an unknown client is told", tc.name, got.StatusCode, got.raw)
		}
	}
	// A certificate does not help a client of another method, nor a secret or an assertion one of these.
	r.with(&r.own, http.MethodPost, "/oauth2/token", nil, "grant_type", "client_credentials", "client_id", r.dpop.id).is(t, 401, "invalid_client")
	r.with(&r.own, http.MethodPost, "/oauth2/token", nil, "grant_type", "client_credentials", "client_id", r.self.id, "client_secret", r.dpop.secret).is(t, 401, "invalid_client")
	r.service.clientCAs = nil
	r.with(cert(r.ca, nil), http.MethodPost, "/oauth2/token", nil, "grant_type", "client_credentials", "client_id", r.pki.id).is(t, 401, "invalid_client")
}

func TestCertificateBoundTokens(t *testing.T) {
	r := newTLSRig(t)
	_, mine := issueCert(t, nil, nil)
	_, theirs := issueCert(t, nil, nil)
	code := r.code(r.bank.site, r.bound, nil)
	form := []string{"grant_type", "authorization_code", "code", code, "redirect_uri", redirectURI, "code_verifier", verifier, "client_id", r.bound.id}
	r.with(nil, http.MethodPost, "/oauth2/token", nil, form...).is(t, 400, "invalid_request") // and the code is not burnt
	got := r.with(&mine, http.MethodPost, "/oauth2/token", nil, form...)
	got.is(t, 200, "")
	if got.str("token_type") != "Bearer" {
		t.Errorf("token_type %s", got.str("token_type"))
	}
	sum := sha256.Sum256(mine.Certificate[0])
	info := r.basicCall(r.host, "/oauth2/introspect", r.bank.dpop, nil, "token", got.str("access_token"))
	if cnf, _ := info.body["cnf"].(map[string]any); cnf["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Errorf("introspection %s", info.raw)
	}
	token := http.Header{"Authorization": {"Bearer " + got.str("access_token")}}
	r.with(&mine, http.MethodGet, "/oauth2/userinfo", token).is(t, 200, "")
	r.with(&theirs, http.MethodGet, "/oauth2/userinfo", token).is(t, 401, "invalid_token")
	r.with(nil, http.MethodGet, "/oauth2/userinfo", token).is(t, 401, "invalid_token")
	r.get(r.host, "/oauth2/userinfo", "Authorization", token.Get("Authorization"), "Client-Cert", header9440(mine)).is(t, 401, "invalid_token")

	refresh := []string{"grant_type", "refresh_token", "refresh_token", got.str("refresh_token"), "client_id", r.bound.id}
	r.with(&theirs, http.MethodPost, "/oauth2/token", nil, refresh...).is(t, 400, "invalid_grant")
	r.with(&mine, http.MethodPost, "/oauth2/token", nil, refresh...).is(t, 200, "")
}

func header9440(c tls.Certificate) string {
	return ":" + base64.StdEncoding.EncodeToString(c.Certificate[0]) + ":"
}

// A trusted proxy passes its caller's certificate on; its own is nobody's, and a caller's header is nothing.
func TestCertificateFromAProxy(t *testing.T) {
	r := newTLSRig(t)
	_, good := issueCert(t, r.ca, nil)
	behind := func(header string) *httptest.Server {
		s, err := build(parts{
			identity: r.identity, grants: r.service.grants, keyring: r.world.Keyring, opener: r.world.Opener, clientCAs: r.service.clientCAs, tenants: dptest.Tenants{World: r.world},
			web: web.Config{Logger: r.service.log, Now: r.clock, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, ClientCertHeader: header},
		})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(s.Handler())
		t.Cleanup(server.Close)
		return server
	}
	ask := func(server *httptest.Server, header http.Header) *answer {
		old := r.server
		r.server = server
		defer func() { r.server = old }()
		return r.call(r.host, "/oauth2/token", header, "grant_type", "client_credentials", "client_id", r.pki.id)
	}
	block := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: good.Certificate[0]}))
	standard, custom := behind("client-cert"), behind("X-SSL-Cert")
	for name, tc := range map[string]struct {
		server *httptest.Server
		header http.Header
		status int
	}{
		"RFC 9440":                          {standard, http.Header{"Client-Cert": {header9440(good)}}, 200},
		"percent-encoded PEM":               {custom, http.Header{"X-Ssl-Cert": {url.PathEscape(block)}}, 200},
		"query-encoded PEM":                 {custom, http.Header{"X-Ssl-Cert": {strings.ReplaceAll(url.QueryEscape(block), "+", "%20")}}, 200},
		"PEM with tabs":                     {custom, http.Header{"X-Ssl-Cert": {strings.ReplaceAll(strings.TrimSpace(block), "\n", "\t")}}, 200},
		"base64 of DER":                     {custom, http.Header{"X-Ssl-Cert": {base64.StdEncoding.EncodeToString(good.Certificate[0])}}, 200},
		"twice":                             {standard, http.Header{"Client-Cert": {header9440(good), header9440(good)}}, 401},
		"in a header that is not the one":   {custom, http.Header{"Client-Cert": {header9440(good)}}, 401},
		"two certificates in one":           {custom, http.Header{"X-Ssl-Cert": {url.PathEscape(block + block)}}, 401},
		"not a certificate":                 {standard, http.Header{"Client-Cert": {":AAAA:"}}, 401},
		"empty":                             {standard, http.Header{"Client-Cert": {""}}, 401},
		"of a caller who is no proxy":       {r.server, http.Header{"Client-Cert": {header9440(good)}}, 401},
		"the end of the RFC 9440 form lost": {standard, http.Header{"Client-Cert": {strings.TrimSuffix(header9440(good), ":")}}, 401},
	} {
		if got := ask(tc.server, tc.header); got.StatusCode != tc.status {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.raw)
		}
	}
}
