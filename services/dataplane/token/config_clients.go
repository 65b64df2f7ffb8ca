// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/tenantry/tenantry/pkg/daemon"
)

// ClientCertificates says where certificates of clients come from and who issues them (RFC 8705).
type ClientCertificates struct {
	// CAFile is a PEM file of the authorities whose certificates count for tls_client_auth. Empty: no client can use that method.
	// Self-signed certificates need none.
	CAFile daemon.Path `yaml:"ca_file"`
	// Header is the field in which trusted proxies pass on the certificate of their caller: Client-Cert (RFC 9440), or one of the
	// proxy's own with PEM, percent-encoded PEM or base64 of DER. The proxy must remove it from what callers send. Empty: the
	// service itself ends TLS, with listen.tls.request_client_cert.
	Header string `yaml:"header"`
}

// Validate implements daemon.Validator.
func (c *ClientCertificates) Validate(k *daemon.Check) {
	for i := range len(c.Header) {
		if b := c.Header[i]; b != '-' && (b < '0' || b > '9') && (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') {
			k.Fail("header", "is not the name of a header field")
			return
		}
	}
	for _, of := range []string{"Authorization", "Cookie", "DPoP", "Host", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if strings.EqualFold(c.Header, of) {
			k.Fail("header", "%s has another meaning", of)
		}
	}
}

// authorities reads CAFile; nil for none.
func (c *ClientCertificates) authorities() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil // nobody is no error
	}
	text, err := os.ReadFile(string(c.CAFile))
	if err != nil {
		return nil, fmt.Errorf("token: client_certificates.ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("token: client_certificates.ca_file: %s has no certificate in PEM", c.CAFile)
	}
	return pool, nil
}

// Values of Config.DPoPNonces.
const (
	NoncesOptional = "optional"
	NoncesRequired = "required"
)
