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

// HTTPClient follows no redirect and keeps no cookie: what a test asks for is what it gets.
func HTTPClient() *http.Client {
	return &http.Client{
		Transport:     shared,
		Timeout:       60 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

var shared = Transport()
