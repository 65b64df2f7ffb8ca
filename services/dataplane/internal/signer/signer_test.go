// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package signer_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/pkg/id"
	"github.com/tenantry/tenantry/pkg/jose"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/oidc"
	"github.com/tenantry/tenantry/pkg/snapshot"
	snapshotv1 "github.com/tenantry/tenantry/proto/gen/tenantry/snapshot/v1"
	"github.com/tenantry/tenantry/services/dataplane/internal/dptest"
	"github.com/tenantry/tenantry/services/dataplane/internal/signer"
	"github.com/tenantry/tenantry/services/dataplane/token"
)

// found are tenants by id.
type found map[id.Tenant]*snapshot.Tenant

func (f found) Tenant(_ context.Context, tenant id.Tenant) (*snapshot.Tenant, error) {
	if t := f[tenant]; t != nil {
		return t, nil
	}
	return nil, snapshot.ErrUnknownTenant
}

// rig is the token service's side with two tenants.
type rig struct {
	hooli, raviga *snapshot.Tenant
	client        *oauth2.Client
	handler       *signer.Handler
	minter        *token.Minter
	now           time.Time
}

func newRig(t *testing.T) *rig {
	t.Helper()
	w := dptest.New(t)
	org := w.Org("piedpiper")
	var clientID string
	make := func(slug string) *snapshot.Tenant {
		return w.Tenant(t, org, slug, func(core *snapshotv1.TenantSnapshot) {
			doc, _ := w.Client(func(c *snapshotv1.Client) {
				c.GrantTypes = append(c.GrantTypes, "implicit")
				c.Protocol = &snapshotv1.ClientProtocol{ResponseTypes: oidc.ResponseTypes()}
			})
			clientID = dptest.ClientID(doc)
			core.Clients = append(core.Clients, doc)
			core.Overrides = &snapshotv1.Policy{Oauth: &snapshotv1.OAuthPolicy{ResponseTypes: &snapshotv1.StringList{Values: oidc.ResponseTypes()[1:]}}}
		})
	}
	r := &rig{raviga: make("raviga"), now: time.Now().Truncate(time.Second)}
	r.hooli = make("hooli")
	r.client, _ = r.hooli.Client(clientID)
	r.minter = token.NewMinter(w.Opener)
	r.handler = signer.NewHandler(signer.HandlerConfig{
		Tenants: found{r.hooli.ID: r.hooli, r.raviga.ID: r.raviga}, Signer: r.minter, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return r.now },
	})
	return r
}

// socket serves the handler at a unix socket and gives a client of it.
func (r *rig) socket(t *testing.T) *signer.Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "sig") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(r.handler)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	c, err := signer.NewClient(signer.Config{Address: "unix:" + path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func payload(t *testing.T, tenant *snapshot.Tenant, jwt, typ string) map[string]any {
	t.Helper()
	b, _, err := tenant.Keys.Set().Verify(jwt, jose.VerifyOptions{Typ: []string{typ}, Algorithms: []jose.Algorithm{jose.ES256}})
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func (r *rig) request(responseType string) signer.FrontChannelRequest {
	return signer.FrontChannelRequest{
		ResponseType: responseType, User: id.NewUser(), Session: id.NewSession(), Grant: id.NewGrant(), AuthTime: r.now.Add(-time.Minute), ACR: oidc.ACRPassword,
		AMR: []string{"pwd"}, Scopes: oauth2.Scopes{"openid", "email"}, Nonce: "n", State: "st", Now: r.now, UserClaims: &oidc.UserClaims{Email: "gavin@hooli.example"},
	}
}

// TestRemoteSigner: what the client gets over the socket is what the Minter makes.
func TestRemoteSigner(t *testing.T) {
	r := newRig(t)
	c := r.socket(t)
	jwt, err := c.AuthorizationResponse(t.Context(), r.hooli, r.client, [][2]string{{"code", "abc"}, {"state", "st"}, {"iss", r.hooli.Issuer}}, r.now)
	if err != nil {
		t.Fatal(err)
	}
	if m := payload(t, r.hooli, jwt, "JWT"); m["code"] != "abc" || m["aud"] != r.client.ID || m["iss"] != r.hooli.Issuer || m["exp"] != float64(r.now.Add(5*time.Minute).Unix()) {
		t.Errorf("response %v", m)
	}

	for responseType, want := range map[string][3]bool{ // ID token, access token, code
		"id_token": {true, false, false}, "id_token token": {true, true, false}, "code id_token": {true, false, true},
		"code token": {false, true, true}, "code id_token token": {true, true, true},
	} {
		q := r.request(responseType)
		if want[2] {
			q.Code = "the-code"
		}
		tokens, err := c.FrontChannel(t.Context(), r.hooli, r.client, q)
		if err != nil || (tokens.IDToken != "") != want[0] || (tokens.AccessToken != "") != want[1] {
			t.Fatalf("%s: %+v, %v", responseType, tokens, err)
		}
		if want[1] {
			m := payload(t, r.hooli, tokens.AccessToken, "at+jwt")
			if m["sub"] != q.User.String() || m["cnf"] != nil || m["exp"].(float64)-m["iat"].(float64) > 300 || m["gnt"] != q.Grant.String() {
				t.Errorf("%s: access token %v", responseType, m)
			}
		}
		if !want[0] {
			continue
		}
		m := payload(t, r.hooli, tokens.IDToken, "JWT")
		if m["nonce"] != "n" || m["s_hash"] != oidc.HalfHash("ES256", "st") {
			t.Errorf("%s: ID token %v", responseType, m)
		}
		if _, has := m["at_hash"]; has != want[1] || has && m["at_hash"] != oidc.HalfHash("ES256", tokens.AccessToken) {
			t.Errorf("%s: at_hash %v", responseType, m["at_hash"])
		}
		if _, has := m["c_hash"]; has != want[2] || has && m["c_hash"] != oidc.HalfHash("ES256", "the-code") {
			t.Errorf("%s: c_hash %v", responseType, m["c_hash"])
		}
		// Only where no access token could fetch them do claims of scopes come in the ID token (OpenID Connect Core section 5.4).
		if _, has := m["email"]; has != (responseType == "id_token") {
			t.Errorf("%s: email %v", responseType, m["email"])
		}
	}

	ended := signer.LogoutTokenRequest{Subject: "uid_x", Session: id.NewSession(), ID: [16]byte{1}, Now: r.now}
	if jwt, err = c.LogoutToken(t.Context(), r.hooli, r.client, ended); err != nil {
		t.Fatal(err)
	}
	if m := payload(t, r.hooli, jwt, "logout+jwt"); m["sid"] != ended.Session.String() || m["events"] == nil || m["nonce"] != nil || m["tnt"] != r.hooli.ID.String() {
		t.Errorf("logout token %v", m)
	}
}

// TestSignerRefuses: the token service judges by its own configuration, whatever the asker says.
func TestSignerRefuses(t *testing.T) {
	r := newRig(t)
	c := r.socket(t)
	stranger := *r.client
	stranger.ID = id.NewClient().String()
	neighbour := &snapshot.Tenant{ID: r.raviga.ID, ConfigVersion: 1} // it does not know this client
	nobody := &snapshot.Tenant{ID: id.NewTenant(), ConfigVersion: 1}
	later := r.request("id_token")
	later.Now = r.now.Add(time.Hour)
	without := r.request("code id_token")
	target := r.request("id_token token")
	target.Resource = "https://other.example"
	for name, ask := range map[string]func() error{
		"a client of nobody": func() error {
			_, err := c.FrontChannel(t.Context(), r.hooli, &stranger, r.request("id_token"))
			return err
		},
		"a client at the neighbour": func() error {
			_, err := c.FrontChannel(t.Context(), neighbour, r.client, r.request("id_token"))
			return err
		},
		"an unknown tenant": func() error {
			_, err := c.FrontChannel(t.Context(), nobody, r.client, r.request("id_token"))
			return err
		},
		"code, which needs no signature":      func() error { _, err := c.FrontChannel(t.Context(), r.hooli, r.client, r.request("code")); return err },
		"token alone":                         func() error { _, err := c.FrontChannel(t.Context(), r.hooli, r.client, r.request("token")); return err },
		"a hybrid response without its code":  func() error { _, err := c.FrontChannel(t.Context(), r.hooli, r.client, without); return err },
		"a token for next hour":               func() error { _, err := c.FrontChannel(t.Context(), r.hooli, r.client, later); return err },
		"a resource that is not the client's": func() error { _, err := c.FrontChannel(t.Context(), r.hooli, r.client, target); return err },
		"a response that could pass for a token": func() error {
			_, err := c.AuthorizationResponse(t.Context(), r.hooli, r.client, [][2]string{{"sub", "uid_x"}}, r.now)
			return err
		},
		"a logout token about nobody": func() error {
			_, err := c.LogoutToken(t.Context(), r.hooli, r.client, signer.LogoutTokenRequest{ID: [16]byte{1}, Now: r.now})
			return err
		},
		"a response larger than any that we make": func() error {
			_, err := c.AuthorizationResponse(t.Context(), r.hooli, r.client, [][2]string{{"state", strings.Repeat("x", 70<<10)}}, r.now)
			return err
		},
	} {
		if err := ask(); !errors.Is(err, signer.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A token service that is behind says "not yet": the asker's configuration may be right.
	ahead := &snapshot.Tenant{ID: r.hooli.ID, ConfigVersion: r.hooli.ConfigVersion + 1}
	if _, err := c.FrontChannel(t.Context(), ahead, r.client, r.request("id_token")); err == nil || errors.Is(err, signer.ErrRefused) {
		t.Errorf("an older configuration: %v", err)
	}
	for name, body := range map[string]string{"no JSON": "x", "raw bytes": `{"payload":"eyJ"}`, "two values": `{}{}`, "empty": ``} {
		for _, path := range []string{"/v1/front-channel", "/v1/authorization-response", "/v1/logout-token"} {
			w := httptest.NewRecorder()
			r.handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
			if w.Code != http.StatusBadRequest {
				t.Errorf("%s at %s: %d %s", name, path, w.Code, w.Body)
			}
		}
	}
	for method, path := range map[string]string{http.MethodGet: "/v1/front-channel", http.MethodPost: "/v1/sign"} {
		w := httptest.NewRecorder()
		r.handler.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Code != http.StatusMethodNotAllowed && w.Code != http.StatusNotFound {
			t.Errorf("%s %s: %d", method, path, w.Code)
		}
	}
}

// TestSignerAway: nobody answers, so nothing is signed and the asker is told to come again.
func TestSignerAway(t *testing.T) {
	r := newRig(t)
	c, err := signer.NewClient(signer.Config{Address: "unix:/nonexistent/socket"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.FrontChannel(t.Context(), r.hooli, r.client, r.request("id_token")); err == nil || errors.Is(err, signer.ErrRefused) {
		t.Errorf("%v", err)
	}
	if _, err := signer.NewClient(signer.Config{}); err == nil {
		t.Error("a client without an address")
	}
}

// authority issues certificates for the two services.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.issue(t, name, nil)
	return a
}

func (a *authority) issue(t *testing.T, name string, parent *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: parent == nil, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	signerCert, signerKey := template, key
	if parent != nil {
		signerCert, signerKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signerCert, &key.PublicKey, signerKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".crt": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func (a *authority) file(name string) daemon.Path { return daemon.Path(filepath.Join(a.dir, name)) }

// TestSignerKnowsItsAskerByCertificate: over a network both sides show a certificate of the authority that was agreed on.
func TestSignerKnowsItsAskerByCertificate(t *testing.T) {
	r := newRig(t)
	ours, theirs := newAuthority(t, "ca"), newAuthority(t, "ca")
	for _, name := range []string{"token", "login"} {
		ours.issue(t, name, ours)
		theirs.issue(t, name, theirs)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	pair, err := tls.LoadX509KeyPair(string(ours.file("token.crt")), string(ours.file("token.key")))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(r.handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	server.StartTLS()
	defer server.Close()
	address := server.Listener.Addr().String()
	ask := func(ca, own *authority) error {
		c, err := signer.NewClient(signer.Config{Address: address, TLS: signer.ClientTLS{CAFile: ca.file("ca.crt"), CertFile: own.file("login.crt"), KeyFile: own.file("login.key")}})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.AuthorizationResponse(t.Context(), r.hooli, r.client, [][2]string{{"code", "x"}}, r.now)
		return err
	}
	if err := ask(ours, ours); err != nil {
		t.Error(err)
	}
	if err := ask(ours, theirs); err == nil {
		t.Error("an asker with a certificate of somebody else")
	}
	if err := ask(theirs, ours); err == nil {
		t.Error("a token service with a certificate of somebody else")
	}
}

func TestConfigOfTheSigner(t *testing.T) {
	for text, want := range map[string]string{
		"address: unix:/run/token.sock":    "",
		"address: token.internal:8443":     "tls",
		"address: 'unix:'":                 "address",
		"address: nonsense":                "address",
		"address: unix:/x\ntimeout: 10m":   "timeout",
		"address: unix:/x\nsocket: /x":     "socket",
		"address: a:1\ntls: {ca_file: /x}": "tls",
	} {
		var c signer.Config
		err := daemon.ParseConfig("login.yaml", []byte(text), &c)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzInternalRequest(f *testing.F) {
	f.Add([]byte(`{"tenant":"tnt_06c1q3v5r1ezfb4d2n8m0k7h9s","client":"cli_x","config_version":1,"request":{"response_type":"id_token"}}`))
	f.Add([]byte(`{"request":{"params":[["code","x"]],"now":"2026-11-20T00:00:00Z"}}`))
	h := signer.NewHandler(signer.HandlerConfig{Tenants: found{}, Logger: slog.New(slog.DiscardHandler)})
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, path := range []string{"/v1/front-channel", "/v1/authorization-response", "/v1/logout-token"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
			if w.Code == http.StatusOK {
				t.Errorf("%s signed for %s", path, base64.StdEncoding.EncodeToString(body))
			}
		}
	})
}
