// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package e2etest

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"time"
)

// loopback answers for localhost and everything below it with 127.0.0.1, as browsers do (RFC 6761 section 6.3) and as Go's resolver
// does not everywhere.
func loopback(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && (host == "localhost" || strings.HasSuffix(host, ".localhost")) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

// Transport reaches *.localhost and trusts no proxy of the environment.
func Transport() *http.Transport {
	d := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return d.DialContext(ctx, network, loopback(addr))
		},
		TLSClientConfig:     &tls.Config{RootCAs: certificates().pool(), MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     30 * time.Second,
	}
}

// patient asks again when it is told to: an answer of 503 with Retry-After has changed nothing and used nothing up (PROMISES.md R-06),
// and a machine that runs many tests is slow enough for some. What stays away stays a failure.
type patient struct{ http.RoundTripper }

const patience = 5

func (p patient) RoundTrip(req *http.Request) (*http.Response, error) {
	for n := 1; ; n++ {
		res, err := p.RoundTripper.RoundTrip(req)
		if err != nil || res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || n == patience || req.Body != nil && req.GetBody == nil {
			return res, err
		}
		_ = res.Body.Close()
		select {
		case <-req.Context().Done():
			return nil, req.Context().Err()
		case <-time.After(time.Second):
		}
		req = req.Clone(req.Context())
		if req.Body != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// HTTPClient follows no redirect and keeps no cookie: what a test asks for is what it gets.
func HTTPClient() *http.Client {
	return &http.Client{
		Transport:     patient{shared},
		Timeout:       60 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

var shared = Transport()

// DialTLS opens a connection to a host and port with a TLS configuration of the caller's, which gets the tests' authority.
func DialTLS(ctx context.Context, address string, cfg *tls.Config) (*tls.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	cfg.ServerName, cfg.RootCAs = host, certificates().pool()
	conn, err := (&tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: cfg}).DialContext(ctx, "tcp", loopback(address))
	if err != nil {
		return nil, err
	}
	return conn.(*tls.Conn), nil //nolint:forcetypeassert // tls.Dialer has no other
}
