// Copyright The Tenantry Authors. SPDX-License-Identifier: Apache-2.0

package signer

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/tenantry/tenantry/pkg/daemon"
	"github.com/tenantry/tenantry/pkg/oauth2"
	"github.com/tenantry/tenantry/pkg/snapshot"
)

// Config says where the token service's internal listener is.
type Config struct {
	// Address is host:port, where TLS with a client certificate is spoken, or unix:PATH. Whoever may write to the socket may ask for
	// signatures, so it belongs in a directory that the two services alone may enter.
	Address string `yaml:"address"`
	// TLS names the files for host:port.
	TLS ClientTLS `yaml:"tls"`
	// Timeout bounds one request. Default 2 s.
	Timeout daemon.Duration `yaml:"timeout"`
}

// ClientTLS names the files by which the two services know each other.
type ClientTLS struct {
	// CAFile holds the certificates of who issued the token service's certificate.
	CAFile daemon.Path `yaml:"ca_file"`
	// CertFile and KeyFile are this service's own certificate, by which the token service knows it.
	CertFile daemon.Path `yaml:"cert_file"`
	KeyFile  daemon.Path `yaml:"key_file"`
}

// Validate implements daemon.Validator.
func (c *Config) Validate(k *daemon.Check) {
	if path, unix := strings.CutPrefix(c.Address, "unix:"); unix {
		if path == "" {
			k.Fail("address", "has no path after unix:")
		}
	} else if c.Address != "" {
		if host, _, err := net.SplitHostPort(c.Address); err != nil || host == "" {
			k.Fail("address", "must be host:port or unix:PATH")
		}
		if c.TLS.CAFile == "" || c.TLS.CertFile == "" || c.TLS.KeyFile == "" {
			k.Fail("tls", "must name ca_file, cert_file and key_file: the two services know each other by certificates alone")
		}
	}
	if c.Timeout < 0 || c.Timeout > daemon.Duration(30*time.Second) {
		k.Fail("timeout", "must be between 0s (the default) and 30s")
	}
}

// Client is a Signer that asks the token service.
type Client struct {
	http    *http.Client
	base    string
	timeout time.Duration
}

// NewClient makes a Client. It reads the certificates and connects to nothing. Close ends its idle connections.
func NewClient(c Config) (*Client, error) {
	if c.Address == "" {
		return nil, errors.New("signer: the address of the token service's internal listener is not set")
	}
	transport := &http.Transport{
		MaxIdleConns: 32, MaxIdleConnsPerHost: 32, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 16 << 10, DisableCompression: true,
	}
	base := "https://" + c.Address
	var dialer net.Dialer
	if path, unix := strings.CutPrefix(c.Address, "unix:"); unix {
		base = "http://signer"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", path) }
	} else {
		cfg, err := c.TLS.config()
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig, transport.DialContext = cfg, dialer.DialContext
	}
	timeout := time.Duration(c.Timeout)
	if timeout == 0 {
		timeout = 2 * time.Second
	}
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{http: &http.Client{Transport: transport, CheckRedirect: refuse}, base: base, timeout: timeout}, nil
}

// config reads the files. The own certificate is read again for every connection, so that a renewed one needs no restart.
func (c *ClientTLS) config() (*tls.Config, error) {
	text, err := os.ReadFile(string(c.CAFile))
	if err != nil {
		return nil, fmt.Errorf("signer: ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("signer: no certificate in %s", c.CAFile)
	}
	own := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(string(c.CertFile), string(c.KeyFile))
		return &pair, err
	}
	if _, err := own(nil); err != nil {
		return nil, fmt.Errorf("signer: cert_file, key_file: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, GetClientCertificate: own}, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// AuthorizationResponse implements Signer.
func (c *Client) AuthorizationResponse(ctx context.Context, t *snapshot.Tenant, client *oauth2.Client, params [][2]string, now time.Time) (string, error) {
	a, err := ask(ctx, c, pathAuthorizationResponse, t, client, responseRequest{Params: params, Now: now})
	return a.JWT, err
}

// FrontChannel implements Signer.
func (c *Client) FrontChannel(ctx context.Context, t *snapshot.Tenant, client *oauth2.Client, r FrontChannelRequest) (FrontChannelTokens, error) {
	a, err := ask(ctx, c, pathFrontChannel, t, client, r)
	if err != nil || a.Tokens == nil {
		return FrontChannelTokens{}, err
	}
	return *a.Tokens, nil
}

// LogoutToken implements Signer.
func (c *Client) LogoutToken(ctx context.Context, t *snapshot.Tenant, client *oauth2.Client, r LogoutTokenRequest) (string, error) {
	a, err := ask(ctx, c, pathLogoutToken, t, client, r)
	return a.JWT, err
}

// ask sends a request. Signing twice does no harm, so a connection that had died is tried again by net/http where it can tell.
func ask[R any](ctx context.Context, c *Client, path string, t *snapshot.Tenant, client *oauth2.Client, r R) (answer, error) {
	body, err := json.Marshal(envelope[R]{Tenant: t.ID, Client: client.ID, Version: t.ConfigVersion, Request: r})
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("signer: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("signer: the token service does not answer: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err != nil || len(text) > maxAnswerBytes {
		return answer{}, errors.Join(errors.New("signer: the answer broke off or is too long"), err)
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		return answer{}, fmt.Errorf("signer: status %d: %w", resp.StatusCode, err)
	}
	switch {
	case a.Error == errorRefused:
		return answer{}, fmt.Errorf("%w: %s", ErrRefused, a.Reason)
	case resp.StatusCode != http.StatusOK || a.JWT == "" && a.Tokens == nil:
		return answer{}, fmt.Errorf("signer: status %d: %s", resp.StatusCode, a.Reason)
	}
	return a, nil
}
