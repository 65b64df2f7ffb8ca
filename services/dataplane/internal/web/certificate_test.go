// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package web

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func newCertificate(t testing.TB) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// Whose certificate counts depends on who the peer is, and never on what a stranger says.
func TestWhoseCertificate(t *testing.T) {
	header, own := newCertificate(t), newCertificate(t)
	text := ":" + base64.StdEncoding.EncodeToString(header.Raw) + ":"
	chain := text + ", " + text
	for _, tc := range []struct {
		name    string
		trusted bool
		field   string
		header  http.Header
		tls     bool
		want    *x509.Certificate
		chain   int
	}{
		{"the caller's own, by TLS", false, HeaderClientCert, nil, true, own, 1},
		{"the caller's own, whatever the caller's header says", false, HeaderClientCert, http.Header{"Client-Cert": {text}}, true, own, 1},
		{"a stranger's header", false, HeaderClientCert, http.Header{"Client-Cert": {text}}, false, nil, 0},
		{"a proxy's header", true, HeaderClientCert, http.Header{"Client-Cert": {text}, "Client-Cert-Chain": {chain, text}}, true, header, 3},
		{"a proxy's own certificate is nobody's", true, HeaderClientCert, nil, true, nil, 0},
		{"a proxy that passes none on", true, "", http.Header{"Client-Cert": {text}}, true, nil, 0},
	} {
		s := &Server{certHeader: http.CanonicalHeaderKey(tc.field)}
		r := &http.Request{Header: tc.header}
		if tc.tls {
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{own, own}}
		}
		var q Request
		s.certificate(&q, r, tc.trusted)
		same := q.ClientCertificate == nil && tc.want == nil || q.ClientCertificate != nil && tc.want != nil && q.ClientCertificate.Equal(tc.want)
		if !same || len(q.ClientChain) != tc.chain {
			t.Errorf("%s: another certificate, or %d of a chain", tc.name, len(q.ClientChain))
		}
	}
}

func FuzzParseCertificate(f *testing.F) {
	cert := newCertificate(f)
	der := base64.StdEncoding.EncodeToString(cert.Raw)
	block := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	for _, s := range []string{":" + der + ":", der, block, url.PathEscape(block), ":" + der, block + block, strings.ReplaceAll(block, "\n", " "), "%", "::", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := parseCertificate(text)
		if got == nil {
			return
		}
		if len(text) > maxCertificateText {
			t.Fatal("a text that is too long was read")
		}
		again := parseCertificate(":" + base64.StdEncoding.EncodeToString(got.Raw) + ":")
		if again == nil || !again.Equal(got) {
			t.Fatal("the certificate does not survive being written")
		}
		_ = parseChain([]string{text, text})
	})
}
