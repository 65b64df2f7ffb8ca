// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package web

import (
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
)

// HeaderClientCert and HeaderClientCertChain are the fields in which a proxy passes on the certificate of its caller (RFC 9440).
const (
	HeaderClientCert      = "Client-Cert"
	HeaderClientCertChain = "Client-Cert-Chain"
)

// Bounds of a certificate that comes in a header.
const (
	maxCertificateText = 16 << 10
	maxChain           = 5
)

// certificate fills in the certificate that the caller showed: that of the TLS connection when the peer is the caller itself, or what
// a trusted proxy says in the configured header. A proxy's own certificate is never its caller's, and a header of anybody else is
// never looked at: whoever could send it could be any client. Text that is no certificate is no certificate.
func (s *Server) certificate(q *Request, r *http.Request, trusted bool) {
	if !trusted {
		if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
			q.ClientCertificate, q.ClientChain = r.TLS.PeerCertificates[0], r.TLS.PeerCertificates[1:]
		}
		return
	}
	if s.certHeader == "" {
		return
	}
	values := r.Header[s.certHeader]
	if len(values) != 1 { // of two, the proxy may have written either
		return
	}
	q.ClientCertificate = parseCertificate(values[0])
	if q.ClientCertificate != nil && s.certHeader == HeaderClientCert {
		q.ClientChain = parseChain(r.Header[HeaderClientCertChain])
	}
}

// parseCertificate reads a certificate as proxies write it: the byte sequence of RFC 9440 (base64 of DER between colons), PEM with or
// without percent-encoding and with whatever its line breaks have become, or base64 of DER alone. It is nil for anything else.
func parseCertificate(text string) *x509.Certificate {
	if len(text) > maxCertificateText {
		return nil
	}
	text = strings.TrimSpace(text)
	if inner, ok := strings.CutPrefix(text, ":"); ok {
		if inner, ok = strings.CutSuffix(inner, ":"); !ok {
			return nil
		}
		return parseDER(inner)
	}
	if strings.Contains(text, "%") {
		var err error
		if text, err = url.PathUnescape(text); err != nil { // a plus sign is a plus sign
			return nil
		}
	}
	if _, after, ok := strings.Cut(text, "-----BEGIN CERTIFICATE-----"); ok {
		body, rest, ok := strings.Cut(after, "-----END CERTIFICATE-----")
		if !ok || strings.TrimSpace(rest) != "" {
			return nil // no end, or a second one
		}
		text = body
	}
	return parseDER(strings.Join(strings.Fields(text), ""))
}

func parseDER(text string) *x509.Certificate {
	der, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil
	}
	return cert
}

// parseChain reads the list of RFC 9440 section 2.3. What is not a certificate in it ends it: a chain that lacks one does not verify.
func parseChain(values []string) (chain []*x509.Certificate) {
	for _, v := range values {
		if len(v) > maxChain*maxCertificateText {
			return chain
		}
		for item := range strings.SplitSeq(v, ",") {
			cert := parseCertificate(item)
			if cert == nil || len(chain) == maxChain {
				return chain
			}
			chain = append(chain, cert)
		}
	}
	return chain
}
